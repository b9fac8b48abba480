"""Departures (离校、离职): who leaves on which day, and retirees who get another card (退休换卡).

What is about to be filed is shown first, person by person; it takes effect on its day.
"""

from functools import partial
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.cards.models import Card
from backend.clock import business_date
from backend.closings import departures, retirements
from backend.closings.departures import DepartureState
from backend.closings.models import DepartureKind
from backend.closings.retirement_routes import MAY_SWITCH
from backend.closings.rules import KINDS, MAY_FILE
from backend.closings.schemas import (
    MOST_DOCUMENT,
    MOST_NUMBER,
    MOST_PEOPLE,
    DepartureRequest,
    RetirementRequest,
)
from backend.console import access, forms, language
from backend.console.forms import BETWEEN_NUMBERS
from backend.db import transaction
from backend.errors import DomainError, NotFound
from backend.holders import viewing
from backend.holders.category_changes import waiting_from
from backend.holders.models import Holder
from backend.http import words
from backend.http.paging import page_of
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.operation_log.refusals import about, logged
from backend.operators import service as operators
from backend.operators.models import Role

MOST = 50

blueprint = Blueprint("departures", __name__, url_prefix="/departures")


@blueprint.get("")
def show() -> str:
    """List the departures of those for whom one answers, newest first."""
    role, said = access.operator().role, request.args.get("state", "")
    wanted = next((state for state in DepartureState if state == said), None)
    with transaction() as session:
        found = page_of(
            partial(
                departures.list_departures, session, state=wanted, categories=MAY_FILE.get(role)
            ),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="filed_at",
        )
        counts = departures.counts_of(session, [one.id for one in found["items"]])
        return render_template(
            "console/departures.html",
            departures=found["items"],
            people={id_: sum(count.values()) for id_, count in counts.items()},
            departure_states={id_: departures.state_of(count) for id_, count in counts.items()},
            filers=operators.usernames(session, {one.filed_by for one in found["items"]}),
            next_cursor=found["next_cursor"],
            wanted=wanted,
            states=list(DepartureState),
            may_file=role in MAY_FILE,
            may_see_retirements=role in (*MAY_SWITCH, Role.AUDITOR),
        )


@blueprint.get("/new")
def ask() -> str:
    """Ask who leaves, how and when."""
    access.operator_in(*MAY_FILE)
    return _form(said={"holder_numbers": _number_of(request.args.get("holder", ""))})


def _number_of(said: str) -> str:
    """Return the number of a holder whose page led here, or nothing."""
    try:
        holder_id = UUID(said)
    except ValueError:
        return ""
    with transaction() as session:
        holder = viewing.holders_by_id(session, [holder_id]).get(holder_id)
        return holder.holder_number if holder else ""


def _form(problem: words.Words | None = None, *, said: Any = None) -> str:
    role = access.operator().role
    return render_template(
        "console/departure_form.html",
        kinds=[kind for kind in DepartureKind if set(KINDS[kind]) & set(MAY_FILE[role])],
        said=request.form if said is None else said,
        problem=problem,
        most_people=MOST_PEOPLE,
        most_document=MOST_DOCUMENT,
    )


@blueprint.post("/preview")
def preview() -> str | Response:
    """Show who is named, what stands against it, and what would happen on the day."""
    who = access.operator_in(*MAY_FILE)
    try:
        said = _said()
    except ma.ValidationError as error:
        return forms.again(error, _form, _labels())
    with transaction() as session:
        people = departures.preview(
            session,
            holder_numbers=said["holder_numbers"],
            kind=DepartureKind(said["kind"]),
            operator=who,
        )
        return render_template(
            "console/departure_preview.html",
            people=people,
            changes=waiting_from(session, [one.holder.id for one in people if one.holder]),
            faults=sum(one.fault is not None for one in people),
            kind=DepartureKind(said["kind"]),
            effective_on=said["effective_on"],
            document=said["document"],
            at_once=said["effective_on"] <= business_date(clock.now()),
            departure_id=new_id(),
        )


@blueprint.post("/change")
def change() -> str:
    """Show the form once more, as it was."""
    access.operator_in(*MAY_FILE)
    return _form()


def _labels() -> dict[str, str]:
    return {
        "holder_numbers": language.say("departures", "numbers", most=MOST_PEOPLE),
        "holder_number": language.say("holder", "number"),
    } | {name: language.say("departures", name) for name in ("kind", "effective_on", "document")}


def _said() -> dict[str, Any]:
    """Return what the form says, as the API reads it.

    Raises:
        ValidationError: it does not fit.
    """
    numbers = BETWEEN_NUMBERS.split(request.form.get("holder_numbers", ""))
    said: dict[str, Any] = DepartureRequest().load(
        forms.typed("kind", "effective_on", "document")
        | {"holder_numbers": list(dict.fromkeys(filter(None, numbers)))}
    )
    return said


@blueprint.post("/<uuid:departure_id>")
@logged("departure.file", subject="departure_id")
def file(departure_id: UUID) -> AnyResponse:
    """File a departure.  The page made the id, so a form sent twice is one departure."""
    who = access.operator_in(*MAY_FILE)
    try:
        said = _said()
        with transaction() as session:
            departures.file(
                session,
                departure_id=departure_id,
                holder_numbers=said["holder_numbers"],
                kind=DepartureKind(said["kind"]),
                effective_on=said["effective_on"],
                document=said["document"],
                operator=who,
                now=clock.now(),
            )
    except (ma.ValidationError, DomainError) as error:
        return forms.again(error, _form, _labels())
    return _to(departure_id)


@blueprint.get("/<uuid:departure_id>")
def look(departure_id: UUID) -> str:
    """Show a departure and what became of each person."""
    return _departure(departure_id)


def _departure(departure_id: UUID, problem: words.Words | None = None) -> str:
    who = access.operator()
    with transaction() as session:
        departure = departures.find(session, departure_id=departure_id)
        leavers = departures.leavers_of(session, departure_id=departure_id)
        ids = [leaver.holder_id for leaver in leavers]
        counts = departures.counts_of(session, [departure_id])[departure_id]
        return render_template(
            "console/departure.html",
            departure=departure,
            state=departures.state_of(counts),
            leavers=leavers,
            holders=viewing.holders_by_id(session, ids),
            changes=waiting_from(session, ids),
            filer=operators.usernames(session, {departure.filed_by})[departure.filed_by],
            may_withdraw=departures.may_withdraw(session, departure_id=departure_id, operator=who),
            may_switch=departure.kind is DepartureKind.RETIREMENT and who.role in MAY_SWITCH,
            problem=problem,
        )


@blueprint.post("/<uuid:departure_id>/withdrawal")
@logged("departure.withdraw", subject="departure_id")
def withdraw(departure_id: UUID) -> AnyResponse:
    """Take a departure back before its day."""
    who = access.operator_in(*MAY_FILE)
    try:
        with transaction() as session:
            departures.withdraw(session, departure_id=departure_id, operator=who, now=clock.now())
    except DomainError as error:
        return forms.again(error, lambda problem: _departure(departure_id, problem))
    return _to(departure_id)


@blueprint.get("/retirements")
def list_retirements() -> str:
    """List who got the retiree's card, newest first."""
    role = access.operator().role
    access.operator_in(*MAY_SWITCH, Role.AUDITOR)
    with transaction() as session:
        found = page_of(
            partial(retirements.list_retirements, session),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="made_at",
        )
        return render_template(
            "console/retirements.html",
            retirements=found["items"],
            holders=viewing.holders_by_id(session, [one.holder_id for one in found["items"]]),
            makers=operators.usernames(session, {one.made_by for one in found["items"]}),
            next_cursor=found["next_cursor"],
            may_switch=role in MAY_SWITCH,
        )


@blueprint.get("/retirements/new")
def ask_to_switch() -> str:
    """Ask who retires."""
    access.operator_in(*MAY_SWITCH)
    return _switch_form(said={"holder_number": _number_of(request.args.get("holder", ""))})


def _switch_form(problem: words.Words | None = None, *, said: Any = None) -> str:
    return render_template(
        "console/retirement_form.html",
        said=request.form if said is None else said,
        problem=problem,
        most_number=MOST_NUMBER,
        most_document=MOST_DOCUMENT,
    )


@blueprint.post("/retirements/preview")
def preview_switch() -> str | Response:
    """Show what the switch would do to somebody's cards, and what stays."""
    access.operator_in(*MAY_SWITCH)
    try:
        said = _switch_said()
        with transaction() as session:
            draft = retirements.preview(
                session, holder_id=_holder_id(said["holder_number"]), now=clock.now()
            )
            return render_template(
                "console/retirement_preview.html",
                draft=draft,
                document=said["document"],
                balance_fen=ledger.balance_of(session, holder_id=draft.holder.id),
                retirement_id=new_id(),
            )
    except (ma.ValidationError, DomainError) as error:
        return forms.again(error, _switch_form, _labels())


def _switch_said() -> dict[str, Any]:
    said: dict[str, Any] = RetirementRequest().load(forms.typed("holder_number", "document"))
    return said


def _holder_id(number: str) -> UUID:
    with transaction() as session:
        holder_id = viewing.id_by_number(session, holder_number=number)
        if holder_id is None:
            raise NotFound
        return holder_id


@blueprint.post("/retirements/<uuid:retirement_id>")
@logged("retirement.switch", subject="retirement_id")
def switch(retirement_id: UUID) -> AnyResponse:
    """Give a retiree the temporary card in place of the staff card; the account stays."""
    who = access.operator_in(*MAY_SWITCH)
    try:
        said = _switch_said()
        holder_id = _holder_id(said["holder_number"])
        about(holder_id=holder_id)
        with transaction() as session:
            retirements.switch(
                session,
                retirement_id=retirement_id,
                holder_id=holder_id,
                document=said["document"],
                operator=who,
                now=clock.now(),
            )
    except (ma.ValidationError, DomainError) as error:
        return forms.again(error, _switch_form, _labels())
    return redirect(url_for("console.departures.look_at_switch", retirement_id=retirement_id), 303)


@blueprint.get("/retirements/<uuid:retirement_id>")
def look_at_switch(retirement_id: UUID) -> str:
    """Show a switch that was made."""
    access.operator_in(*MAY_SWITCH, Role.AUDITOR)
    with transaction() as session:
        made = retirements.find(session, retirement_id=retirement_id)
        return render_template(
            "console/retirement.html",
            retirement=made,
            holder=session.get_one(Holder, made.holder_id),
            maker=operators.usernames(session, {made.made_by})[made.made_by],
            new_card=session.get_one(Card, made.new_card_id),
        )


def _to(departure_id: UUID) -> AnyResponse:
    return redirect(url_for("console.departures.look", departure_id=departure_id), 303)
