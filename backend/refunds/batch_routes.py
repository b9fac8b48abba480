"""HTTP for staff: the payout list (打款清单), its batches, what bounced."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from flask import Response
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import viewing
from backend.http import csv_files
from backend.http.auth import Unauthenticated, guard
from backend.http.paging import CursorUnknown, PageQuery, page_of
from backend.http.problems import raises
from backend.ids import new_reference
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.limits import OperatorLimit
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import ConfirmationNeeded, RoleNotAllowed, caller_in
from backend.refunds import bank, bank_form, batches, claims, payout_list
from backend.refunds.bank import PayoutLineEnded
from backend.refunds.batch_schemas import (
    BatchDecisionRequest,
    ClaimAnswerRequest,
    LineBouncedRequest,
    LinePaidRequest,
    PayoutBatchFull,
    PayoutBatchList,
    PayoutLineList,
    PayoutLineReply,
)
from backend.refunds.batches import BatchNotApproved, NothingToPay
from backend.refunds.claims import AccountReferenceNeeded, ClaimAnswered, NothingToClaim
from backend.refunds.handling import MAY_ACT, MAY_LOOK
from backend.refunds.models import PayoutBatch, PayoutLine
from backend.refunds.payouts import PayoutDecided, PayoutNotPossible

MOST_OPEN = 500

staff = guard(
    Blueprint(
        "staff-payouts",
        __name__,
        url_prefix="/staff",
        description="Staff: paying out by bank (打款)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("/payout-lines", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed)
@staff.response(200, PayoutLineList)
def list_payout_lines() -> dict[str, Any]:
    """List what nobody has got yet (打款清单), the longest owed first, at most 500."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return {"items": lines_told(session, payout_list.list_open(session, limit=MOST_OPEN))}


@staff.route("/payout-lines/<uuid:line_id>/payment", methods=["PUT"])
@staff.arguments(LinePaidRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    PayoutLineEnded,
    BatchNotApproved,
    PayoutNotPossible,
)
@staff.response(200, PayoutLineReply)
@logged("payout_line.pay", subject="line_id")
def note_line_paid(body: dict[str, Any], line_id: UUID) -> dict[str, Any]:
    """Note that the bank has sent a line of an approved batch."""
    who = caller_in(*MAY_ACT)
    with transaction() as session:
        line = bank.note_paid(
            session,
            line_id=line_id,
            bank_reference=body["bank_reference"],
            operator=who,
            now=clock.now(),
        )
        return lines_told(session, [line])[0]


@staff.route("/payout-lines/<uuid:line_id>/bounce", methods=["PUT"])
@staff.arguments(LineBouncedRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    PayoutLineEnded,
    BatchNotApproved,
)
@staff.response(200, PayoutLineReply)
@logged("payout_line.bounce", subject="line_id")
def note_line_bounced(body: dict[str, Any], line_id: UUID) -> dict[str, Any]:
    """Note that a line did not reach its holder; its amount is on the list again."""
    who = caller_in(*MAY_ACT)
    with transaction() as session:
        line = bank.note_bounced(
            session, line_id=line_id, reason=body["reason"], operator=who, now=clock.now()
        )
        return lines_told(session, [line])[0]


@staff.route("/payout-batches", methods=["GET"])
@staff.arguments(PageQuery, location="query")
@raises(staff, Unauthenticated, RoleNotAllowed, CursorUnknown)
@staff.response(200, PayoutBatchList)
def list_payout_batches(query: dict[str, Any]) -> dict[str, Any]:
    """List batches, newest first."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        found = page_of(
            partial(payout_list.list_batches, session),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="made_at",
        )
        return found | {"items": batches_told(session, found["items"])}


@staff.route("/payout-batches/<uuid:batch_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, PayoutBatchFull)
def read_payout_batch(batch_id: UUID) -> dict[str, Any]:
    """Show one batch with its lines."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return _full(session, batches.find(session, batch_id=batch_id))


@staff.route("/payout-batches/<uuid:batch_id>", methods=["PUT"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, IdReused, NothingToPay, OperatorLimit)
@staff.alt_response(201, schema=PayoutBatchFull, description="Made now.")
@staff.response(200, PayoutBatchFull)
@logged("payout_batch.make", subject="batch_id")
def make_payout_batch(batch_id: UUID) -> Any:
    """Put what is listed into a batch, at most 500 lines; somebody else of finance approves it.

    What does not fit into the caller's day stays listed (每日限额, `operator.payout_day_fen`).
    """
    who = caller_in(*MAY_ACT)
    with transaction() as session:
        batch, first = batches.make(session, batch_id=batch_id, maker=who, now=clock.now())
        session.flush()
        return _full(session, batch), 201 if first else 200


@staff.route("/payout-batches/<uuid:batch_id>/decision", methods=["POST"])
@staff.arguments(BatchDecisionRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    ConfirmationNeeded,
    NotFound,
    PayoutDecided,
    SecondPersonNeeded,
)
@staff.response(200, PayoutBatchFull)
@logged("payout_batch.decide", subject="batch_id")
def decide_payout_batch(body: dict[str, Any], batch_id: UUID) -> dict[str, Any]:
    """Approve or refuse a batch that somebody else made; the same again changes nothing."""
    who = caller_in(*MAY_ACT)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        batch, _ = batches.decide(
            session, batch_id=batch_id, approve=body["approve"], checker=who, now=clock.now()
        )
        session.flush()
        return _full(session, batch)


@staff.route("/payout-batches/<uuid:batch_id>/exports", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, BatchNotApproved)
@staff.response(200, {"type": "string", "format": "binary"}, content_type="text/csv")
@logged("payout_batch.export", subject="batch_id")
def export_payout_batch(batch_id: UUID) -> Response:
    """Take an approved batch as CSV for the bank's form; that it was taken is logged before."""
    who = caller_in(*MAY_ACT)
    with transaction() as session:
        rows = bank_form.export(
            session, batch_id=batch_id, operator=who, reference=new_reference(), now=clock.now()
        )
    return csv_files.attached(csv_files.whole(rows), "payout-batch")


@staff.route("/payout-claims/<uuid:claim_id>/answer", methods=["PUT"])
@staff.arguments(ClaimAnswerRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    ClaimAnswered,
    NothingToClaim,
    AccountReferenceNeeded,
)
@staff.alt_response(201, schema=PayoutLineReply, description="Answered now.")
@staff.response(200, PayoutLineReply)
@logged("payout_line.claim_answer", subject="claim_id")
def answer_claim(body: dict[str, Any], claim_id: UUID) -> Any:
    """Answer how a holder wants to get what the bank sent back; the holder is told.

    Accepted, the line goes into the next batch; while the claim waits, no batch takes it.
    """
    who = caller_in(*MAY_ACT)
    with transaction() as session:
        line, first = claims.answer(
            session, claim_id=claim_id, operator=who, now=clock.now(), **body
        )
        return lines_told(session, [line])[0], 201 if first else 200


def lines_told(session: Session, lines: Sequence[PayoutLine]) -> list[dict[str, Any]]:
    """Return lines as they are answered."""
    holders = viewing.holders_by_id(session, [line.holder_id for line in lines])
    same = (
        "id", "amount_fen", "state", "batch_id", "bank_reference", "bounce_reason", "owed_since",
        "settled_at", "claim_id", "claim_way", "claimed_at", "claim_accepted", "claim_refusal",
        "account_reference",
    )  # fmt: skip
    return [
        {name: getattr(line, name) for name in same}
        | {"closing_id": line.subject_id}
        | viewing.masked(holders[line.holder_id])
        for line in lines
    ]


def batches_told(session: Session, made: Sequence[PayoutBatch]) -> list[dict[str, Any]]:
    """Return batches as they are answered."""
    people = {batch.made_by for batch in made} | {b.approved_by for b in made if b.approved_by}
    names = operators.usernames(session, people)
    same = ("id", "lines", "total_fen", "made_at", "approved", "decided_at")
    return [
        {name: getattr(batch, name) for name in same}
        | {
            "maker": names.get(batch.made_by, ""),
            "checker": batch.approved_by and names.get(batch.approved_by, ""),
        }
        for batch in made
    ]


def _full(session: Session, batch: PayoutBatch) -> dict[str, Any]:
    lines = batches.lines_of(session, batch_id=batch.id)
    return batches_told(session, [batch])[0] | {"items": lines_told(session, lines)}
