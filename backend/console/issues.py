"""Issuing cards (发卡): batches, the class list used at the counter, the sheet that is signed."""

from functools import partial
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.console import access
from backend.console.forms import again, form_id
from backend.db import transaction
from backend.errors import DomainError
from backend.http import words
from backend.http.paging import page_of
from backend.ids import new_id
from backend.issues import exchanges, handing_out, service
from backend.issues.models import BatchKind, DeferralReason, Signature
from backend.issues.rules import counts
from backend.issues.schemas import (
    DOCUMENTS,
    ITEM_STATES,
    MOST_NAME,
    MOST_NOTE,
    MOST_UNIT,
    IssueBatchRequest,
    ItemDecisionRequest,
    ItemReceiptRequest,
)
from backend.operation_log import service as operation_log
from backend.operation_log.refusals import logged

MOST = 50
STATES = ("open", "closed")

blueprint = Blueprint("issues", __name__, url_prefix="/issues")


@blueprint.get("")
def show() -> str:
    """List batches, those under way unless others are asked for, and what is overdue."""
    return _batches()


def _batches(problem: words.Words | None = None) -> str:
    wanted = request.args.get("state", STATES[0])
    state = wanted if wanted in STATES else None
    with transaction() as session:
        found = page_of(
            partial(
                service.list_batches,
                session,
                kind=None,
                closed=None if state is None else state == "closed",
            ),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="made_at",
        )
        batches = found["items"]
        outcomes = service.outcomes_of(session, [batch.id for batch in batches])
        return render_template(
            "console/issues.html",
            state=state,
            states=STATES,
            batches=batches,
            counts={id_: counts(said) for id_, said in outcomes.items()},
            next_cursor=found["next_cursor"],
            overdue=exchanges.overdue(session, now=clock.now()),
            may_issue=access.operator().role in service.ISSUERS,
            batch_id=new_id(),
            said=request.form,
            problem=problem,
            most_unit=MOST_UNIT,
            most_note=MOST_NOTE,
        )


@blueprint.post("/batches")
@logged("issue_batch.make")
def make() -> AnyResponse:
    """Make a batch, and lead to its class list."""
    who = access.operator_in(*service.ISSUERS)
    batch_id, form = form_id("batch_id"), request.form
    try:
        said = IssueBatchRequest().load(
            {
                "unit": form.get("unit", "").strip(),
                "note": form.get("note", "").strip() or None,
            }
        )
        with transaction() as session:
            service.make_batch(session, batch_id=batch_id, operator=who, now=clock.now(), **said)
    except (ma.ValidationError, DomainError) as error:
        return again(error, _batches)
    return _to(batch_id)


@blueprint.get("/<uuid:batch_id>")
def look(batch_id: UUID) -> str:
    """Show a class list, and to those who may, how each card is handed out."""
    return _list(batch_id)


def _list(batch_id: UUID, problem: words.Words | None = None) -> str:
    with transaction() as session:
        batch = service.find_batch(session, batch_id=batch_id)
        items = service.items_of(session, batch)
        return render_template(
            "console/issue_batch.html",
            batch=batch,
            items=items,
            counts=counts([one.item.outcome for one in items]),
            item_states=ITEM_STATES,
            may_issue=access.operator().role in service.ISSUERS,
            is_exchange=batch.kind is BatchKind.EXCHANGE,
            new_ids=[(new_id(), new_id()) for _ in items],
            signatures=list(Signature),
            reasons=list(DeferralReason),
            documents=DOCUMENTS,
            problem=problem,
            most_name=MOST_NAME,
        )


@blueprint.post("/<uuid:batch_id>/sheet")
@logged("issue_batch.print", subject="batch_id")
def sheet(batch_id: UUID) -> str:
    """Show the list with names for printing; that it was printed is on record first."""
    who = access.operator_in(*service.ISSUERS)
    with transaction() as session:
        service.find_batch(session, batch_id=batch_id)
        operation_log.record(
            session,
            actor=who.actor,
            action="issue_batch.print",
            subject_id=batch_id,
            now=clock.now(),
        )
    with transaction() as session:
        batch = service.find_batch(session, batch_id=batch_id)
        return render_template(
            "console/issue_sheet.html", batch=batch, items=service.items_of(session, batch)
        )


@blueprint.post("/<uuid:batch_id>/items/<uuid:holder_id>/receipt")
@logged("issue_batch.hand_out", subject="batch_id", holder="holder_id")
def hand_out(batch_id: UUID, holder_id: UUID) -> AnyResponse:
    """Hand a card out against a signature."""
    who = access.operator_in(*service.ISSUERS)
    receipt_id, form = form_id("receipt_id"), request.form
    try:
        said = ItemReceiptRequest().load(
            {
                "signed_by": form.get("signed_by", "").strip(),
                "signature": form.get("signature", ""),
                "documents": form.getlist("documents"),
            }
        )
        with transaction() as session:
            handing_out.hand_out(
                session,
                receipt_id=receipt_id,
                batch_id=batch_id,
                holder_id=holder_id,
                operator=who,
                now=clock.now(),
                **said,
            )
    except (ma.ValidationError, DomainError) as error:
        return again(error, lambda problem: _list(batch_id, problem))
    return _to(batch_id)


@blueprint.post("/<uuid:batch_id>/items/<uuid:holder_id>/decision")
@logged("issue_batch.decide", subject="batch_id", holder="holder_id")
def decide(batch_id: UUID, holder_id: UUID) -> AnyResponse:
    """Note that somebody never came, or gets the card later."""
    who = access.operator_in(*service.ISSUERS)
    decision_id, form = form_id("decision_id"), request.form
    try:
        said = ItemDecisionRequest().load(
            {"outcome": form.get("outcome", ""), "reason": form.get("reason") or None}
        )
        with transaction() as session:
            handing_out.decide(
                session,
                decision_id=decision_id,
                batch_id=batch_id,
                holder_id=holder_id,
                operator=who,
                now=clock.now(),
                **said,
            )
    except (ma.ValidationError, DomainError) as error:
        return again(error, lambda problem: _list(batch_id, problem))
    return _to(batch_id)


def _to(batch_id: UUID) -> AnyResponse:
    return redirect(url_for("console.issues.look", batch_id=batch_id), 303)
