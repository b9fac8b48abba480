"""Subsidies (补贴): a list is checked, made, approved by another office, paid; mistakes taken back.

As with the roster, nothing keeps the file between the check and the making: it is chosen again, and
a mark in the form says whether it is the same.
"""

from functools import partial
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from backend import clock
from backend.clock import business_date
from backend.console import access, language
from backend.console.forms import again, form_id, mark, sent_file, typed, was_checked
from backend.console.search import searchable
from backend.db import transaction
from backend.errors import DomainError, NotFound
from backend.holders import feeds, viewing
from backend.holders.feeds import RosterUnreadable
from backend.http.paging import page_of
from backend.http.problems import tell
from backend.http.words import Words
from backend.ids import new_id
from backend.operation_log.refusals import logged
from backend.subsidies import rules, service, taking_back
from backend.subsidies.models import BatchState, ItemState
from backend.subsidies.routes import replies, withdrawals
from backend.subsidies.rules import MOST_ITEMS, ListUnreadable, Row
from backend.subsidies.schemas import (
    MOST_NAME,
    MOST_REASON,
    SubsidyBatchHead,
    SubsidyReasonRequest,
)
from backend.subsidies.service import (
    MAY_APPROVE,
    MAY_MAKE,
    MAY_WITHDRAW,
    MOST_FAULTS_TOLD,
    Asked,
    SubsidyListUnreadable,
    SubsidyRowsFaulty,
)

MOST = 50
MOST_LISTED = 100
"""Items on one page."""
MOST_NUMBER = 32
MARKED_FOR = "console-subsidies"
FIELDS = "subsidy_fields"
"""The section with the names of what is asked for."""
LINES = ("name", "document_number", "fund", "pay_on")

blueprint = Blueprint("subsidies", __name__, url_prefix="/subsidies")


@blueprint.get("")
def show() -> str:
    """List batches, of one state or all, and what waits to be taken back."""
    who, said = access.operator(), request.args.get("state", "")
    state = next((known for known in BatchState if known == said), None)
    with transaction() as session:
        found = page_of(
            partial(service.list_batches, session, state=state),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="made_at",
        )
        return render_template(
            "console/subsidies.html",
            state=state,
            states=list(BatchState),
            batches=replies(session, found["items"]),
            next_cursor=found["next_cursor"],
            waiting=_waiting(session),
            may_make=who.role in MAY_MAKE,
        )


def _waiting(session: Session, batch_id: UUID | None = None) -> list[dict[str, Any]]:
    """Return the withdrawals that wait for a second person, with what they would bring."""
    found = taking_back.waiting(session, batch_id=batch_id)
    told = withdrawals(session, [withdrawal for withdrawal, _ in found])
    holders = viewing.holders_by_id(session, [item.holder_id for _, item in found])
    return [
        told[item.id]
        | {
            "item": item,
            "holder": holders[item.holder_id],
            "left_fen": taking_back.left_of(session, item)[1],
        }
        for _, item in found
    ]


@blueprint.get("/new")
def ask() -> str:
    """Ask for a list and what it is for."""
    access.operator_in(*MAY_MAKE)
    return _form()


@blueprint.post("/check")
def check() -> str | Response:
    """Report what is wrong with a list, row by row, and what it comes to; write nothing."""
    access.operator_in(*MAY_MAKE)
    return _checked(sent_file())


def _checked(content: bytes, *, other_file: bool = False) -> str | Response:
    try:
        _said()
        rows = _rows(content)
    except (ma.ValidationError, DomainError) as error:
        return again(error, _form, _labels())
    with transaction() as session:
        report = service.check(session, rows, now=clock.now())
    return _form(
        report=report,
        checked="" if report.faults else mark(MARKED_FOR, content),
        other_file=other_file,
    )


@blueprint.post("")
@logged("subsidy.make")
def make() -> str | Response:
    """Make a batch of the file that was checked; another one is checked first."""
    who, batch_id, content = access.operator_in(*MAY_MAKE), form_id("batch_id"), sent_file()
    if not was_checked(MARKED_FOR, content):
        return _checked(content, other_file=True)
    try:
        asked = Asked(**_said(), rows=_rows(content))
        with transaction() as session:
            service.make(session, batch_id=batch_id, asked=asked, maker=who, now=clock.now())
    except SubsidyRowsFaulty as error:  # somebody left meanwhile
        tell(error)
        return _checked(content)
    except (ma.ValidationError, DomainError) as error:
        return again(error, _form, _labels())
    return _to(batch_id)


def _form(problem: Words | None = None, **facts: Any) -> str:
    return render_template(
        "console/subsidy_form.html",
        batch_id=request.form.get("batch_id") or new_id(),
        said=request.form,
        today=business_date(clock.now()),
        most_name=MOST_NAME,
        most_items=MOST_ITEMS,
        most_faults=MOST_FAULTS_TOLD,
        problem=problem,
        **facts,
    )


def _said() -> dict[str, Any]:
    """Return what the form says of a batch, as the API reads it.

    Raises:
        ValidationError: it does not fit.
    """
    said: dict[str, Any] = SubsidyBatchHead().load(typed(*LINES))
    return said


def _rows(content: bytes) -> list[Row]:
    """Return the rows of a file, CSV or XLSX.

    Raises:
        SubsidyListUnreadable: it is neither, or no list.
    """
    try:
        return rules.read_table(list(feeds.table(content)))
    except RosterUnreadable as error:
        fault = language.word("faults", str(error.facts["fault"]))
    except ListUnreadable as error:
        fault = language.word("list_faults", error.fault)
    raise SubsidyListUnreadable(fault=fault)


def _labels() -> dict[str, str]:
    return language.dictionary(language.language())[FIELDS]


@blueprint.get("/<uuid:batch_id>")
def look(batch_id: UUID) -> str:
    """Show one batch: who decided, how far it is paid, and its items."""
    said = request.args.get("state", "")
    return _one(batch_id, state=next((known for known in ItemState if known == said), None))


@blueprint.post("/<uuid:batch_id>/search")
def search(batch_id: UUID) -> str:
    """Show the item of one holder; the number stays out of the address."""
    number = searchable(request.form.get("holder_number", ""), longest=MOST_NUMBER)
    return _one(batch_id, holder_number=number or None)


def _one(
    batch_id: UUID,
    problem: Words | None = None,
    *,
    state: ItemState | None = None,
    holder_number: str | None = None,
) -> str:
    who = access.operator()
    with transaction() as session:
        batch = service.find(session, batch_id=batch_id)
        counts = service.counts_of(session, batch_id=batch_id)
        found = service.items_of(
            session,
            batch_id=batch_id,
            state=state,
            holder_number=holder_number,
            after=_after(),
            limit=MOST_LISTED + 1,
        )
        return render_template(
            "console/subsidy.html",
            batch=replies(session, [batch])[0],
            counts=counts,
            settled=batch.item_count - counts[ItemState.DUE],
            items=found[:MOST_LISTED],
            taken=withdrawals(session, [one for *_, one in found if one]),
            next_after=found[MOST_LISTED - 1][0].id if len(found) > MOST_LISTED else None,
            waiting=_waiting(session, batch_id),
            state=state,
            states=list(ItemState),
            holder_number=holder_number or "",
            is_own=batch.made_by == who.operator_id,
            may_approve=who.role in MAY_APPROVE,
            may_withdraw=who.role in MAY_WITHDRAW,
            said=request.form,
            problem=problem,
            most_number=MOST_NUMBER,
            most_reason=MOST_REASON,
        )


def _after() -> UUID | None:
    try:
        return UUID(request.args.get("after", ""))
    except ValueError:
        return None


@blueprint.post("/<uuid:batch_id>/approval")
@logged("subsidy.approve", subject="batch_id")
def approve(batch_id: UUID) -> Response:
    """Approve a batch that somebody else made."""
    who = access.operator_in(*MAY_APPROVE)
    who.must_have_confirmed(clock.now())
    try:
        with transaction() as session:
            service.approve(session, batch_id=batch_id, checker=who, now=clock.now())
    except DomainError as error:
        return _again(error, batch_id)
    return _to(batch_id)


@blueprint.post("/<uuid:batch_id>/withdrawal")
@logged("subsidy.withdraw_batch", subject="batch_id")
def withdraw(batch_id: UUID) -> Response:
    """Take a batch back, or refuse it, before it is approved."""
    who = access.operator_in(*MAY_WITHDRAW)
    try:
        said = SubsidyReasonRequest().load(typed("reason"))
        with transaction() as session:
            service.withdraw_batch(session, batch_id=batch_id, who=who, now=clock.now(), **said)
    except (ma.ValidationError, DomainError) as error:
        return _again(error, batch_id)
    return _to(batch_id)


@blueprint.get("/items/<uuid:item_id>/withdrawal")
def ask_why(item_id: UUID) -> str:
    """Show what of a mistaken item could be taken back, and ask why."""
    access.operator_in(*MAY_WITHDRAW)
    return _mistake(item_id)


def _mistake(item_id: UUID, problem: Words | None = None) -> str:
    with transaction() as session:
        item = taking_back.find_item(session, item_id=item_id)
        return render_template(
            "console/subsidy_mistake.html",
            item=item,
            batch=service.find(session, batch_id=item.batch_id),
            holder=viewing.holders_by_id(session, [item.holder_id])[item.holder_id],
            left_fen=taking_back.left_of(session, item)[1],
            withdrawal_id=request.form.get("withdrawal_id") or new_id(),
            said=request.form,
            problem=problem,
            most_reason=MOST_REASON,
        )


@blueprint.post("/items/<uuid:item_id>/withdrawal")
@logged("subsidy.ask_back", subject="item_id")
def ask_back(item_id: UUID) -> Response:
    """Ask for a mistaken item to be taken back."""
    who, withdrawal_id = access.operator_in(*MAY_WITHDRAW), form_id("withdrawal_id")
    try:
        said = SubsidyReasonRequest().load(typed("reason"))
        with transaction() as session:
            taking_back.ask_back(
                session,
                withdrawal_id=withdrawal_id,
                item_id=item_id,
                maker=who,
                now=clock.now(),
                **said,
            )
            batch_id = taking_back.find_item(session, item_id=item_id).batch_id
    except (ma.ValidationError, DomainError) as error:
        if isinstance(error, NotFound):
            raise
        return again(error, lambda problem: _mistake(item_id, problem), _labels())
    return _to(batch_id)


@blueprint.post("/withdrawals/<uuid:withdrawal_id>/approval")
@logged("subsidy.take_back", subject="withdrawal_id")
def take_back(withdrawal_id: UUID) -> Response:
    """Take a mistaken item back, at most what is left of it."""
    who = access.operator_in(*MAY_APPROVE)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        _, item = taking_back.find(session, withdrawal_id=withdrawal_id)
    try:
        with transaction() as session:
            taking_back.take_back(
                session, withdrawal_id=withdrawal_id, checker=who, now=clock.now()
            )
    except DomainError as error:
        return _again(error, item.batch_id)
    return _to(item.batch_id)


def _again(error: ma.ValidationError | DomainError, batch_id: UUID) -> Response:
    if isinstance(error, NotFound):
        raise error
    return again(error, lambda problem: _one(batch_id, problem), _labels())


def _to(batch_id: UUID) -> Response:
    return redirect(url_for("console.subsidies.look", batch_id=batch_id), 303)
