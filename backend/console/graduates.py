"""Graduates' batches (毕业销户): who graduates, whom a batch holds, exemptions, approval, the run.

One of the card centre makes a batch, another approves it; at the deadline it tells who is left.
"""

import time
from datetime import date
from functools import partial
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.clock import business_date
from backend.closings import deadlines, graduate_list, graduates
from backend.closings.graduate_list import LEFT, GraduateState
from backend.closings.models import Exemption
from backend.closings.routes import MAY_CLOSE, MAY_EXPORT
from backend.closings.schemas import (
    MOST_DOCUMENT,
    MOST_PEOPLE,
    MOST_REASON,
    ClosingBatchRequest,
    ExemptionRequest,
)
from backend.console import access, forms, language
from backend.console.forms import BETWEEN_NUMBERS
from backend.db import transaction
from backend.errors import DomainError
from backend.http import csv_files, words
from backend.http.fields import EARLIEST, LATEST
from backend.http.paging import cursor_of, page_of, place_of
from backend.ids import new_id, new_reference
from backend.operation_log.refusals import logged
from backend.operators import service as operators

MOST = 50
RUN_SECONDS = 5
"""How long one press of the button goes on starting closings, a hundred at once."""
LISTS = {
    "left": LEFT,
    **{state.value: (state,) for state in GraduateState},
    "all": tuple(GraduateState),
}
"""Whom the page of a batch shows, by the word that asks for it."""

blueprint = Blueprint("graduates", __name__, url_prefix="/graduates")


@blueprint.get("")
def show() -> str:
    """List batches, those of which somebody is left unless all are asked for."""
    now, everything = clock.now(), request.args.get("state") == "all"
    with transaction() as session:
        found = page_of(
            partial(graduate_list.list_batches, session, only_left=not everything, now=now),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="made_at",
        )
        ids = [batch.id for batch in found["items"]]
        return render_template(
            "console/graduates.html",
            batches=found["items"],
            counts=graduate_list.counts_of(session, ids, now=now),
            makers=operators.usernames(
                session, {batch.made_by for batch in found["items"] if batch.made_by}
            ),
            next_cursor=found["next_cursor"],
            everything=everything,
            today=business_date(now),
            beyond_deadline=deadlines.open_beyond_deadline(session, now=now),
            may_act=access.operator().role in MAY_CLOSE,
        )


@blueprint.get("/new")
def ask() -> str:
    """Show who graduates in a year, class by class, to choose whom a batch holds."""
    access.operator_in(*MAY_CLOSE)
    return _due()


def _due(problem: words.Words | None = None) -> str:
    today = business_date(clock.now())
    said = request.values.get("year", "")
    year = int(said) if said.isascii() and said.isdigit() and len(said) <= len("9999") else 0
    year = year if EARLIEST.year <= year < LATEST.year else today.year
    with transaction() as session:
        due = graduate_list.classes_due(session, year=year)
    days: dict[date, list[graduate_list.ClassDue]] = {}
    for one in due:
        days.setdefault(one.day, []).append(one)
    return render_template(
        "console/graduates_due.html",
        year=year,
        days=days,
        today=today,
        said=request.form,
        problem=problem,
        most_document=MOST_DOCUMENT,
        most_people=MOST_PEOPLE,
    )


@blueprint.post("/preview")
def preview() -> str | Response:
    """Show whom a batch would hold, and what they have left."""
    access.operator_in(*MAY_CLOSE)
    now = clock.now()
    try:
        said = _said()
        with transaction() as session:
            people = graduates.candidates(
                session,
                graduated_on=said["graduated_on"],
                holder_numbers=said["holder_numbers"],
                units=said["units"],
                now=now,
            )
            staying = {
                holder.id: graduates.stays(holder, graduated_on=said["graduated_on"], now=now)
                for holder in people
            }
            balances = graduate_list.balances_of(session, [holder.id for holder in people])
            return render_template(
                "console/graduates_preview.html",
                people=people,
                staying={id_: why for id_, why in staying.items() if why},
                balances=balances,
                total_fen=sum(balances.values()),
                said=said,
                batch_id=new_id(),
            )
    except (ma.ValidationError, DomainError) as error:
        return forms.again(error, _due, _labels())


def _said() -> dict[str, Any]:
    """Return what the form says, as the API reads it.

    Raises:
        ValidationError: it does not fit.
    """
    numbers = BETWEEN_NUMBERS.split(request.form.get("holder_numbers", ""))
    numbers = list(dict.fromkeys(filter(None, numbers)))
    units = request.form.getlist("units")
    if not numbers and not units:
        raise ma.ValidationError({"units": ["Nothing is ticked."]})
    said: dict[str, Any] = ClosingBatchRequest().load(
        forms.typed("graduated_on", "document")
        | {"holder_numbers": numbers or None, "units": None if numbers else units}
    )
    return said


def _labels() -> dict[str, str]:
    return {
        "units": language.say("graduates", "unit"),
        "holder_numbers": language.say("graduates", "numbers", most=MOST_PEOPLE),
        "graduated_on": language.say("graduates", "graduated_on"),
        "document": language.say("graduates", "document"),
    }


@blueprint.post("/<uuid:batch_id>")
@logged("closing_batch.make", subject="batch_id")
def make(batch_id: UUID) -> AnyResponse:
    """Make a batch.  The page made the id, so a form sent twice is one batch."""
    who = access.operator_in(*MAY_CLOSE)
    try:
        said = _said()
        with transaction() as session:
            graduates.make(session, batch_id=batch_id, operator=who, now=clock.now(), **said)
    except (ma.ValidationError, DomainError) as error:
        return forms.again(error, _due, _labels())
    return _to(batch_id)


@blueprint.get("/<uuid:batch_id>")
def look(batch_id: UUID) -> str:
    """Show a batch: how far it is, who is left, and to those who may, what can be done."""
    return _batch(batch_id)


def _batch(batch_id: UUID, problem: words.Words | None = None) -> str:
    who, now = access.operator(), clock.now()
    said = request.values.get("state", "")
    state = said if said in LISTS else "all"
    place = place_of(request.args.get("cursor"))
    with transaction() as session:
        batch = graduates.find(session, batch_id=batch_id)
        counts = graduate_list.counts_of(session, [batch_id], now=now)[batch_id]
        found = graduate_list.list_rows(
            session,
            batch_id=batch_id,
            states=LISTS[state],
            after=place[1] if place else None,
            limit=MOST + 1,
            now=now,
        )
        rows = found[:MOST]
        people = {id_ for id_ in (batch.made_by, batch.approved_by, batch.withdrawn_by) if id_}
        may_act = who.role in MAY_CLOSE
        return render_template(
            "console/graduates_batch.html",
            batch=batch,
            counts=counts,
            left=sum(counts[one] for one in LEFT),
            left_fen=graduate_list.left_fen(session, batch_id=batch_id, now=now),
            days_left=(batch.deadline - business_date(now)).days,
            today=business_date(now),
            names=operators.usernames(session, people),
            rows=rows,
            state_of=graduate_list.state_of,
            next_cursor=cursor_of(batch.made_at, rows[-1].graduate.id) if found[MOST:] else None,
            state=state,
            lists=list(LISTS),
            may_act=may_act,
            may_withdraw=may_act and graduates.may_withdraw(batch),
            may_approve=may_act and batch.made_by != who.operator_id,
            may_export=who.role in MAY_EXPORT,
            exemptions=list(Exemption),
            said=request.form,
            problem=problem,
            most_reason=MOST_REASON,
        )


@blueprint.post("/<uuid:batch_id>/people/<uuid:graduate_id>")
@logged("closing_batch.exempt", subject="batch_id")
def exempt(batch_id: UUID, graduate_id: UUID) -> AnyResponse:
    """Keep somebody's account open until a day, or take that back."""
    who = access.operator_in(*MAY_CLOSE)
    nothing: dict[str, Any] = dict.fromkeys(("exemption", "reason", "until"))
    try:
        said = ExemptionRequest().load(nothing | forms.typed(*nothing))
        with transaction() as session:
            graduates.exempt(
                session,
                batch_id=batch_id,
                graduate_id=graduate_id,
                exemption=Exemption(said["exemption"]) if said["exemption"] else None,
                reason=said["reason"],
                until=said["until"],
                operator=who,
                now=clock.now(),
            )
    except (ma.ValidationError, DomainError) as error:
        labels = {name: language.say("graduates", name) for name in nothing}
        return forms.again(error, lambda problem: _batch(batch_id, problem), labels)
    return _to(batch_id, state=request.form.get("state") or None)


@blueprint.post("/<uuid:batch_id>/approval")
@logged("closing_batch.approve", subject="batch_id")
def approve(batch_id: UUID) -> AnyResponse:
    """Let a batch that somebody else made be run."""
    who = access.operator_in(*MAY_CLOSE)
    who.must_have_confirmed(clock.now())
    try:
        with transaction() as session:
            graduates.approve(session, batch_id=batch_id, operator=who, now=clock.now())
    except DomainError as error:
        return forms.again(error, lambda problem: _batch(batch_id, problem))
    return _to(batch_id)


@blueprint.post("/<uuid:batch_id>/withdrawal")
@logged("closing_batch.withdraw", subject="batch_id")
def withdraw(batch_id: UUID) -> AnyResponse:
    """Take back a batch that nobody has approved."""
    who = access.operator_in(*MAY_CLOSE)
    try:
        with transaction() as session:
            graduates.withdraw(session, batch_id=batch_id, operator=who, now=clock.now())
    except DomainError as error:
        return forms.again(error, lambda problem: _batch(batch_id, problem))
    return _to(batch_id)


@blueprint.post("/<uuid:batch_id>/runs")
@logged("closing_batch.run", subject="batch_id")
def run(batch_id: UUID) -> AnyResponse:
    """Start to close the accounts of a batch; the page offers to go on where some are left."""
    who, until = access.operator_in(*MAY_CLOSE), time.monotonic() + RUN_SECONDS
    try:
        left = 1
        while left and time.monotonic() < until:
            with transaction() as session:
                _, left = graduates.run(session, batch_id=batch_id, operator=who, now=clock.now())
    except DomainError as error:
        return forms.again(error, lambda problem: _batch(batch_id, problem))
    return _to(batch_id)


@blueprint.post("/<uuid:batch_id>/export")
@logged("closing_batch.export", subject="batch_id")
def export(batch_id: UUID) -> Response:
    """Hand out who is left, names masked; that it was taken is on record first."""
    who = access.operator_in(*MAY_EXPORT)
    with transaction() as session:
        rows = graduate_list.export_left(
            session,
            batch_id=batch_id,
            operator=who,
            reference=new_reference(),
            now=clock.now(),
        )
    return csv_files.attached(csv_files.whole(rows), "graduates", type_=csv_files.IN_UTF8)


def _to(batch_id: UUID, **query: Any) -> AnyResponse:
    return redirect(url_for("console.graduates.look", batch_id=batch_id, **query), 303)
