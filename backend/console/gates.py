"""Gates (门禁): who may pass when, who would be refused (试算), and emergencies (应急)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.clock import SHANGHAI
from backend.console import access as rooms
from backend.db import transaction
from backend.gates import access, emergencies, trial
from backend.gates.access import MAY_CHANGE, HolderNumbersUnknown
from backend.gates.access_schemas import MOST_RULES, AccessRequest, EmergencyRequest, is_near
from backend.gates.models import Decision
from backend.gates.rules import WEEK
from backend.holders.models import Category
from backend.http.problems import tell
from backend.operation_log.refusals import logged
from qr.rules import OfflinePolicy

BLANK_RULES = 3
"""How many empty rules a form ends with."""
MOST_EMERGENCIES = 20
MOST_DIGITS = 9
FIELDS = ("allow", "category", "unit", "holder_numbers", "from", "until")

blueprint = Blueprint("gates", __name__, url_prefix="/gates")


@dataclass
class Form:
    """What stands in the form of a gate: as it was typed, also where it is wrong."""

    settings: dict[str, str]
    rules: list[dict[str, Any]]
    at: str
    faults: set[tuple[int, str]] = field(default_factory=set)
    """Rule and field, counted from 0; -1 for what belongs to no rule."""

    @classmethod
    def of(cls, said: dict[str, Any]) -> "Form":
        """Return the form of the settings in force, with empty rules to fill in."""
        rules = [
            {name: _typed(rule[name]) for name in FIELDS} | {"days": rule["days"]}
            for rule in said["rules"]
        ]
        now = clock.now().astimezone(SHANGHAI)
        settings = {name: str(said[name]) for name in ("offline", "passback_minutes", "default")}
        return cls(settings, [*rules, *_blank(MOST_RULES - len(rules))], f"{now:%Y-%m-%dT%H:%M}")

    @classmethod
    def sent(cls) -> "Form":
        """Return what this request's form holds."""
        form = request.form
        numbers = [n for n in range(MOST_RULES + BLANK_RULES) if f"rule-{n}-allow" in form]
        return cls(
            {name: form.get(name, "") for name in ("offline", "passback_minutes", "default")},
            [
                {name: form.get(f"rule-{n}-{name}", "").strip() for name in FIELDS}
                | {"days": [int(day) for day in form.getlist(f"rule-{n}-days") if day in _DAYS]}
                for n in numbers
            ],
            form.get("at", ""),
        )

    def read(self) -> dict[str, Any]:
        """Return what is meant, as the API reads it.

        Raises:
            ValidationError: `faults` says where.
        """
        kept = [n for n, rule in enumerate(self.rules) if rule["allow"]]
        said = self.settings | {
            "passback_minutes": _whole(self.settings["passback_minutes"]),
            "rules": [_meant(self.rules[n]) for n in kept],
        }
        try:
            found: dict[str, Any] = AccessRequest().load(said)
        except ma.ValidationError as error:
            self.faults = set(_faults(error.messages_dict, kept))
            raise
        return found

    def blame(self, unknown: Iterable[str]) -> None:
        """Note whose lists name people whom nobody knows."""
        kept = [n for n, rule in enumerate(self.rules) if rule["allow"]]
        self.faults = {(kept[int(place.split(".")[1])], "holder_numbers") for place in unknown}

    def moment(self) -> datetime:
        """Return the moment to try, by the school's clock.

        Raises:
            ValidationError: it is none; `faults` says so.
        """
        try:
            at = datetime.fromisoformat(self.at).replace(tzinfo=SHANGHAI)
        except ValueError:
            at = None
        if at is None or not is_near(at):
            self.faults = {(-1, "at")}
            raise ma.ValidationError("at")
        return at


_DAYS = {str(day) for day in WEEK}


def _typed(value: Any) -> str:
    if isinstance(value, bool):
        return str(Decision.ALLOW if value else Decision.DENY)
    return " ".join(value) if isinstance(value, list) else value or ""


def _whole(text: str) -> int | str:
    """Return the number that was typed; what is none stays as it is, for the schema to refuse."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else text


def _blank(room: int) -> list[dict[str, Any]]:
    empty = dict.fromkeys(FIELDS, "") | {"days": sorted(WEEK), "from": "00:00", "until": "24:00"}
    return [dict(empty) for _ in range(min(BLANK_RULES, room))]


def _meant(rule: dict[str, Any]) -> dict[str, Any]:
    people = rule["holder_numbers"].replace(",", " ").replace("，", " ").split()
    return {
        "allow": rule["allow"] == Decision.ALLOW,
        "category": rule["category"] or None,
        "unit": rule["unit"] or None,
        "holder_numbers": people or None,
        "days": rule["days"],
        "from": rule["from"],
        "until": rule["until"],
    }


def _faults(messages: dict[str, Any], kept: list[int]) -> Iterable[tuple[int, str]]:
    for name, said in messages.items():
        if name != "rules" or not isinstance(said, dict):
            yield -1, name
            continue
        for number, fields in said.items():
            yield from ((kept[number], each) for each in fields)


@blueprint.get("")
def show() -> str:
    """List gates and emergencies."""
    return _overview()


def _overview(*, wrong: bool = False) -> str:
    now = clock.now()
    with transaction() as session:
        rows = emergencies.list_all(session, before=None, limit=MOST_EMERGENCIES)
        return render_template(
            "console/gates.html",
            gates=access.list_gates(session),
            emergencies=emergencies.describe(session, rows, now=now),
            may_change=rooms.operator().role in MAY_CHANGE,
            wrong=wrong,
            said=request.form,
        )


@blueprint.get("/<uuid:terminal_id>")
def gate(terminal_id: UUID) -> str:
    """Show what was decided about a gate."""
    with transaction() as session:
        access.find_gate(session, terminal_id=terminal_id)
        _, said = access.access_of(session, terminal_id=terminal_id)
        form = Form.of(access.spell(session, said))
    return _page(terminal_id, form)


@blueprint.post("/<uuid:terminal_id>")
@logged("gate.change_access", subject="terminal_id")
def change(terminal_id: UUID) -> AnyResponse:
    """Put what the form says in force."""
    who, form = rooms.operator(), Form.sent()
    who.must_be(*MAY_CHANGE)
    try:
        said = form.read()
        with transaction() as session:
            access.find_gate(session, terminal_id=terminal_id)
            access.change(
                session,
                terminal_id=terminal_id,
                wanted=access.understand(session, said),
                actor=who.actor,
                now=clock.now(),
            )
    except (ma.ValidationError, HolderNumbersUnknown) as error:
        return _wrong(terminal_id, form, error)
    return redirect(url_for("console.gates.gate", terminal_id=terminal_id, saved=1), 303)


@blueprint.post("/<uuid:terminal_id>/dry-run")
def try_out(terminal_id: UUID) -> str | Response:
    """Show whom the rules in the form would refuse; write nothing."""
    form = Form.sent()
    try:
        said, at = form.read(), form.moment()
        with transaction() as session:
            access.find_gate(session, terminal_id=terminal_id)
            tried = trial.try_out(
                session,
                terminal_id=terminal_id,
                wanted=access.understand(session, said),
                at=at,
            )
    except (ma.ValidationError, HolderNumbersUnknown) as error:
        return _wrong(terminal_id, form, error)
    return _page(terminal_id, form, tried=tried)


def _wrong(
    terminal_id: UUID, form: Form, error: ma.ValidationError | HolderNumbersUnknown
) -> Response:
    if isinstance(error, HolderNumbersUnknown):
        tell(error)
        form.blame(error.facts["unknown"])  # type: ignore[arg-type]
        return Response(_page(terminal_id, form, problem=error.code), 422)
    return Response(_page(terminal_id, form, problem="validation-failed"), 422)


def _page(
    terminal_id: UUID,
    form: Form,
    *,
    tried: trial.Trial | None = None,
    problem: str | None = None,
) -> str:
    with transaction() as session:
        found = access.find_gate(session, terminal_id=terminal_id)
        settings, _ = access.access_of(session, terminal_id=terminal_id)
    return render_template(
        "console/gate.html",
        gate=found,
        settings=settings,
        form=form,
        tried=tried,
        problem=problem,
        most_named=trial.MOST_NAMED,
        policies=list(OfflinePolicy),
        decisions=list(Decision),
        categories=list(Category),
        week=sorted(WEEK),
        may_change=rooms.operator().role in MAY_CHANGE,
        saved="saved" in request.args,
    )


@blueprint.post("/emergencies")
@logged("emergency.declare")
def declare() -> AnyResponse:
    """Declare an emergency."""
    who = rooms.operator()
    who.must_be(*MAY_CHANGE)
    try:
        said = EmergencyRequest().load(
            {
                "terminal_id": request.form.get("terminal_id") or None,
                "reason": request.form.get("reason", "").strip(),
                "minutes": _whole(request.form.get("minutes", "")),
            }
        )
    except ma.ValidationError:
        return Response(_overview(wrong=True), 422)
    with transaction() as session:
        emergencies.declare(session, actor=who.actor, now=clock.now(), **said)
    return redirect(url_for("console.gates.show"), 303)


@blueprint.post("/emergencies/<uuid:emergency_id>/end")
@logged("emergency.end", subject="emergency_id")
def end(emergency_id: UUID) -> AnyResponse:
    """End an emergency before its time."""
    who = rooms.operator()
    who.must_be(*MAY_CHANGE)
    with transaction() as session:
        emergencies.end(session, emergency_id=emergency_id, actor=who.actor, now=clock.now())
    return redirect(url_for("console.gates.show"), 303)
