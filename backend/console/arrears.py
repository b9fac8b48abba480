"""Arrears of closed accounts (欠费): who owes, what was paid, and writing off by two people."""

from functools import partial
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend import clock
from backend.arrears import service
from backend.cards.service import is_account_closed
from backend.cases import write_offs
from backend.cases.schemas import MOST_DOCUMENT, MOST_REASON, WriteOffRequest
from backend.cases.write_offs import MAY_ACT
from backend.cash_desk.shifts import CASHIERS
from backend.closings import service as closings
from backend.console import access, forms, language
from backend.db import transaction
from backend.errors import DomainError, NotFound
from backend.holders import viewing
from backend.holders.models import Holder
from backend.http.paging import page_of
from backend.http.words import Words
from backend.ids import new_id
from backend.operation_log.refusals import about, logged
from backend.operators import service as operators

MOST = 50

blueprint = Blueprint("arrears", __name__, url_prefix="/arrears")


@blueprint.get("")
def show() -> str:
    """List whose closing or closed accounts owe."""
    with transaction() as session:
        found = page_of(
            partial(write_offs.list_debtors, session),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="opened_at",
        )
        ids = [debtor.id for debtor in found["items"]]
        return render_template(
            "console/arrears.html",
            debtors=found["items"],
            next_cursor=found["next_cursor"],
            holders=viewing.holders_by_id(session, ids),
            waits=write_offs.waiting(session, holder_ids=ids),
        )


@blueprint.get("/<uuid:holder_id>")
def look(holder_id: UUID) -> str:
    """Show what one closed account owes, and how it may end."""
    return _debtor(holder_id)


def _debtor(holder_id: UUID, problem: Words | None = None) -> str:
    who = access.operator()
    with transaction() as session:
        holder = session.get(Holder, holder_id)
        owed = service.list_of(session, holder_id=holder_id)
        if holder is None or not owed:
            raise NotFound
        made = write_offs.write_offs_of(session, holder_id=holder_id)
        people = {id_ for row in made for id_ in (row.made_by, row.approved_by) if id_}
        closing = closings.live_closing(session, holder_id=holder_id)
        return render_template(
            "console/debtor.html",
            holder=holder,
            owed=owed,
            owed_fen=service.open_fen(session, holder_id=holder_id),
            closing_id=closing and closing.id,
            is_closed=is_account_closed(session, holder_id=holder_id),
            made=made,
            waits=next((row for row in made if row.approved is None), None),
            names=operators.usernames(session, people),
            may_act=who.role in MAY_ACT,
            may_take=who.role in CASHIERS,
            me=who.operator_id,
            new_write_off_id=new_id(),
            most_reason=MOST_REASON,
            most_document=MOST_DOCUMENT,
            said=request.form,
            problem=problem,
        )


@blueprint.post("/<uuid:holder_id>/write-offs/<uuid:write_off_id>")
@logged("arrears.write_off_make", subject="write_off_id", holder="holder_id")
def propose(holder_id: UUID, write_off_id: UUID) -> Response:
    """Propose to write off what the page showed.  It made the id, so sent twice it is one."""
    who = access.operator_in(*MAY_ACT)
    said = forms.typed("amount_fen", "reason", "document")
    try:
        with transaction() as session:
            holder = session.get(Holder, holder_id)
            if holder is None:
                raise NotFound
            amount = said.get("amount_fen", "")
            asked = said | {
                "holder_number": holder.holder_number,
                "amount_fen": int(amount) if amount.isascii() and amount.isdigit() else None,
            }
            body = WriteOffRequest().load(asked)
            body.pop("holder_number")
            write_offs.propose(
                session,
                write_off_id=write_off_id,
                holder_id=holder_id,
                maker=who,
                now=clock.now(),
                **body,
            )
    except (ma.ValidationError, DomainError) as error:
        if isinstance(error, NotFound):
            raise
        labels = {
            "reason": language.say("arrears", "reason"),
            "document": language.say("arrears", "document"),
            "amount_fen": language.say("arrears", "open"),
        }
        return forms.again(error, lambda problem: _debtor(holder_id, problem), labels)
    return redirect(url_for("console.arrears.look", holder_id=holder_id), 303)


@blueprint.post("/write-offs/<uuid:write_off_id>/decision")
@logged("arrears.write_off_decide", subject="write_off_id")
def decide(write_off_id: UUID) -> Response:
    """Write off what somebody else proposed, or refuse it."""
    who, said = access.operator_in(*MAY_ACT), request.form.get("decision", "")
    if said not in ("approve", "refuse"):
        abort(422)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        holder_id = write_offs.find(session, write_off_id=write_off_id).holder_id
    about(holder_id=holder_id)
    try:
        with transaction() as session:
            write_offs.decide(
                session,
                write_off_id=write_off_id,
                approve=said == "approve",
                checker=who,
                now=clock.now(),
            )
    except DomainError as error:
        return forms.again(error, lambda problem: _debtor(holder_id, problem))
    return redirect(url_for("console.arrears.look", holder_id=holder_id), 303)
