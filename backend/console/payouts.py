"""Payouts (打款): what nobody has got yet, by age; batches for the bank; what it sent or sent back.

One of finance makes a batch, another approves it; then it is taken to the bank, and line by line
what became of it is noted.
"""

from functools import partial
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.clock import business_date
from backend.console import access, forms, language
from backend.db import transaction
from backend.errors import DomainError
from backend.holders import viewing
from backend.http import csv_files, words
from backend.http.paging import page, page_of, place_of
from backend.ids import new_id, new_reference
from backend.operation_log import service as operation_log
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.service import OperatorCaller
from backend.refunds import bank, bank_form, batches, claims, payout_lines, payout_list
from backend.refunds.batch_routes import batches_told, lines_told
from backend.refunds.batch_schemas import (
    MOST_REASON,
    ClaimAnswerRequest,
    LineBouncedRequest,
    LinePaidRequest,
)
from backend.refunds.handling import MAY_ACT
from backend.refunds.models import PayoutLineState
from backend.refunds.payout_list import BatchState
from backend.refunds.rules import AGES_DAYS
from backend.refunds.schemas import MOST_BANK_REFERENCE

MOST = 50
OPEN = "open"
CLAIMS = "claims"
LISTS = {OPEN: payout_lines.OPEN, CLAIMS: payout_lines.OPEN} | {
    state.value: (state,) for state in PayoutLineState
}
"""What the list of lines shows, by the word that asks for it."""

blueprint = Blueprint("payouts", __name__, url_prefix="/payouts")


@blueprint.get("")
def show() -> str:
    """Show what nobody has got yet, by age, and the batches, all or those of one state."""
    who, now, said = access.operator(), clock.now(), request.args.get("state", "")
    wanted = next((state for state in BatchState if state == said), None)
    with transaction() as session:
        found = page_of(
            partial(payout_list.list_batches, session, state=wanted),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="made_at",
        )
        counts = payout_list.counts_of(session, [batch.id for batch in found["items"]])
        return render_template(
            "console/payouts.html",
            ages=payout_list.unclaimed_by_age(session, now=now),
            claims=claims.count_waiting(session),
            batches=batches_told(session, found["items"]),
            counts=counts,
            batch_states={b.id: payout_list.state_of(b, counts[b.id]) for b in found["items"]},
            next_cursor=found["next_cursor"],
            wanted=wanted,
            states=list(BatchState),
            may_act=who.role in MAY_ACT,
        )


@blueprint.get("/lines")
def list_lines() -> str:
    """List lines of the payout list (打款清单), the longest owed first."""
    now, said = clock.now(), request.args.get("state", "")
    wanted = said if said in LISTS else OPEN
    days = next((d for d in AGES_DAYS if str(d) == request.args.get("days")), 0)
    with transaction() as session:
        found = page(
            payout_list.list_lines(
                session,
                states=LISTS[wanted],
                owed_for_days=days,
                claim_waits=wanted == CLAIMS,
                after=place_of(request.args.get("cursor")),
                limit=MOST + 1,
                now=now,
            ),
            limit=MOST,
            at="owed_since",
        )
        return render_template(
            "console/payout_lines.html",
            lines=lines_told(session, found["items"]),
            next_cursor=found["next_cursor"],
            wanted=wanted,
            lists=list(LISTS),
            days=days,
            ages=AGES_DAYS,
            today=business_date(now),
            day_of=business_date,
        )


@blueprint.get("/draft")
def draft() -> str:
    """Show what a batch would hold if it were made now."""
    return _draft(access.operator_in(*MAY_ACT))


def _draft(who: OperatorCaller, problem: words.Words | None = None) -> str:
    with transaction() as session:
        found = batches.draft(session, maker=who, now=clock.now())
        return render_template(
            "console/payout_draft.html",
            draft=found,
            lines=lines_told(session, found.lines),
            batch_id=new_id(),
            problem=problem,
        )


@blueprint.post("/<uuid:batch_id>")
@logged("payout_batch.make", subject="batch_id")
def make(batch_id: UUID) -> AnyResponse:
    """Make a batch.  The page made the id, so a form sent twice is one batch."""
    who = access.operator_in(*MAY_ACT)
    try:
        with transaction() as session:
            batches.make(session, batch_id=batch_id, maker=who, now=clock.now())
    except DomainError as error:
        return forms.again(error, lambda problem: _draft(who, problem))
    return _to(batch_id)


@blueprint.get("/<uuid:batch_id>")
def look(batch_id: UUID) -> str:
    """Show a batch, and to those who may, what can be done about it."""
    return _batch(batch_id)


def _batch(batch_id: UUID, problem: words.Words | None = None) -> str:
    who = access.operator()
    with transaction() as session:
        batch = batches.find(session, batch_id=batch_id)
        counts = payout_list.counts_of(session, [batch_id])[batch_id]
        state = payout_list.state_of(batch, counts)
        return render_template(
            "console/payout_batch.html",
            batch=batches_told(session, [batch])[0],
            state=state,
            counts=counts,
            lines=lines_told(session, batches.lines_of(session, batch_id=batch_id)),
            may_decide=state is BatchState.WAITING and who.role in MAY_ACT,
            is_own=batch.made_by == who.operator_id,
            may_take=batch.approved is True and who.role in MAY_ACT,
            may_settle=state is BatchState.PAYING and who.role in MAY_ACT,
            said=request.form,
            problem=problem,
            most_reference=MOST_BANK_REFERENCE,
        )


@blueprint.post("/<uuid:batch_id>/decision")
@logged("payout_batch.decide", subject="batch_id")
def decide(batch_id: UUID) -> AnyResponse:
    """Approve or refuse a batch that somebody else made."""
    who, said = access.operator_in(*MAY_ACT), request.form.get("decision", "")
    who.must_have_confirmed(clock.now())
    try:
        if said not in ("approve", "refuse"):
            raise ma.ValidationError({"decision": ["Neither."]})
        with transaction() as session:
            batches.decide(
                session, batch_id=batch_id, approve=said == "approve", checker=who, now=clock.now()
            )
    except (ma.ValidationError, DomainError) as error:
        return forms.again(error, lambda problem: _batch(batch_id, problem))
    return _to(batch_id)


@blueprint.post("/<uuid:batch_id>/export")
@logged("payout_batch.export", subject="batch_id")
def export(batch_id: UUID) -> Response:
    """Hand an approved batch out for the bank's form; that it was taken is on record first."""
    who = access.operator_in(*MAY_ACT)
    with transaction() as session:
        rows = bank_form.export(
            session, batch_id=batch_id, operator=who, reference=new_reference(), now=clock.now()
        )
    return csv_files.attached(csv_files.whole(rows), "payout-batch", type_=csv_files.IN_UTF8)


@blueprint.post("/<uuid:batch_id>/payments")
@logged("payout_line.pay", subject="batch_id")
def pay_lines(batch_id: UUID) -> AnyResponse:
    """Note that the bank has sent the lines that were ticked, all of them or none."""
    who, line_ids = access.operator_in(*MAY_ACT), forms.chosen_ids("lines")
    try:
        reference = _reference()
        if not line_ids:
            raise ma.ValidationError({"lines": ["Nothing is ticked."]})
        with transaction() as session:
            for line_id in sorted(line_ids):
                bank.note_paid(
                    session,
                    line_id=line_id,
                    bank_reference=reference,
                    operator=who,
                    now=clock.now(),
                )
    except (ma.ValidationError, DomainError) as error:
        return forms.again(error, lambda problem: _batch(batch_id, problem), _labels())
    return _to(batch_id)


@blueprint.get("/lines/<uuid:line_id>")
def look_at_line(line_id: UUID) -> str:
    """Show a line: where its money is, every try to pay it, and what can be noted about it."""
    return _line(line_id)


def _line(line_id: UUID, problem: words.Words | None = None) -> str:
    who = access.operator()
    with transaction() as session:
        line = payout_list.find_line(session, line_id=line_id)
        tries = payout_list.tries_of(session, line=line)
        batch = batches.find(session, batch_id=line.batch_id) if line.batch_id else None
        entries = operation_log.history_of(session, holder_id=line.holder_id, subject_id=line_id)
        approved = batch is not None and batch.approved is True and who.role in MAY_ACT
        return render_template(
            "console/payout_line.html",
            line=lines_told(session, [line])[0],
            holder=viewing.holders_by_id(session, [line.holder_id])[line.holder_id],
            refund_id=line.refund_id,
            tries=tries,
            entries=entries,
            actors=operators.names_in_log(session, entries),
            may_answer=line.claim_waits and claims.may_claim(line) and who.role in MAY_ACT,
            may_pay=approved and line.state is PayoutLineState.BATCHED,
            may_bounce=approved and line.state in (PayoutLineState.BATCHED, PayoutLineState.PAID),
            said=request.form,
            problem=problem,
            most_reference=MOST_BANK_REFERENCE,
            most_reason=MOST_REASON,
        )


@blueprint.post("/lines/<uuid:line_id>/payment")
@logged("payout_line.pay", subject="line_id")
def pay(line_id: UUID) -> AnyResponse:
    """Note that the bank has sent a line."""
    who = access.operator_in(*MAY_ACT)
    try:
        reference = _reference()
        with transaction() as session:
            bank.note_paid(
                session,
                line_id=line_id,
                bank_reference=reference,
                operator=who,
                now=clock.now(),
            )
    except (ma.ValidationError, DomainError) as error:
        return forms.again(error, lambda problem: _line(line_id, problem), _labels())
    return redirect(url_for("console.payouts.look_at_line", line_id=line_id), 303)


@blueprint.post("/lines/<uuid:line_id>/bounce")
@logged("payout_line.bounce", subject="line_id")
def bounce(line_id: UUID) -> AnyResponse:
    """Note that a line did not reach its holder (退票); its amount is on the list again."""
    who = access.operator_in(*MAY_ACT)
    try:
        said = LineBouncedRequest().load({"reason": request.form.get("reason", "")})
        with transaction() as session:
            bank.note_bounced(session, line_id=line_id, operator=who, now=clock.now(), **said)
    except (ma.ValidationError, DomainError) as error:
        return forms.again(error, lambda problem: _line(line_id, problem), _labels())
    return redirect(url_for("console.payouts.look_at_line", line_id=line_id), 303)


@blueprint.post("/claims/<uuid:claim_id>/answer")
@logged("payout_line.claim_answer", subject="claim_id")
def answer(claim_id: UUID) -> AnyResponse:
    """Answer how a holder wants to get what the bank sent back."""
    who, accept = access.operator_in(*MAY_ACT), request.form.get("answer") == "accept"
    with transaction() as session:
        line_id = claims.find(session, claim_id=claim_id).id
    try:
        said = ClaimAnswerRequest().load(
            forms.typed("account_reference" if accept else "reason") | {"accept": accept}
        )
        with transaction() as session:
            claims.answer(session, claim_id=claim_id, operator=who, now=clock.now(), **said)
    except (ma.ValidationError, DomainError) as error:
        return forms.again(error, lambda problem: _line(line_id, problem), _labels())
    return redirect(url_for("console.payouts.look_at_line", line_id=line_id), 303)


def _labels() -> dict[str, str]:
    return {
        "account_reference": language.say("payouts", "account_reference"),
        "lines": language.say("payouts", "batch_lines"),
        "bank_reference": language.say("payouts", "bank_reference"),
        "reason": language.say("payouts", "bounce_reason"),
    }


def _reference() -> str:
    """Return the bank's number that a form says.

    Raises:
        ValidationError: it is none.
    """
    typed = request.form.get("bank_reference", "").strip()
    return str(LinePaidRequest().load({"bank_reference": typed})["bank_reference"])


def _to(batch_id: UUID) -> AnyResponse:
    return redirect(url_for("console.payouts.look", batch_id=batch_id), 303)
