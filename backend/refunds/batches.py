"""Batches of the payout list (打款批次): made by one person, approved by another.

Lock order: the batch, then its lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind
from backend.money import Fen
from backend.operation_log import service as operation_log
from backend.operators import limits
from backend.operators.limits import OperatorLimit
from backend.operators.second_person import is_decided
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at
from backend.refunds import payout_lines, payouts
from backend.refunds.models import Payout, PayoutBatch, PayoutLine, PayoutLineState
from backend.refunds.payouts import DAY_LIMIT, DAY_POLICY, PayoutDecided
from backend.refunds.rules import fitting
from backend.rows import find_row, first_answer, lock_id, lock_row

MOST_LINES = 500


class NothingToPay(DomainError, code="nothing-to-pay", kind=Kind.CONFLICT):
    """Nothing is on the payout list."""


class BatchNotApproved(DomainError, code="batch-not-approved", kind=Kind.CONFLICT):
    """The batch waits for the second person, or was refused."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a batch would hold if somebody made it now (打款预览)."""

    lines: Sequence[PayoutLine]
    """What fits into the maker's day, the longest owed first, at most `MOST_LINES`."""
    waiting: int
    """How many are listed, among them those that do not fit."""
    room_fen: int
    """What the maker may still pay out today, without these lines."""
    most_fen: int
    """What one person may pay out on one day."""
    policy_ids: Sequence[UUID]

    @property
    def total_fen(self) -> Fen:
        """What the lines come to."""
        return Fen(sum(line.amount_fen for line in self.lines))


def draft(session: Session, *, maker: OperatorCaller, now: datetime, lock: bool = False) -> Draft:
    """Return what a batch would hold; with `lock` its lines, and those passed over, are locked."""
    by_hand = select(Payout.id).where(
        Payout.refund_id == PayoutLine.refund_id, Payout.approved.is_(None)
    )
    listed = select(PayoutLine).where(
        PayoutLine.state == PayoutLineState.LISTED, ~payout_lines.WAITS, ~by_hand.exists()
    )
    oldest = listed.order_by(PayoutLine.owed_since, PayoutLine.id).limit(MOST_LINES)
    waiting = session.scalars(oldest.with_for_update(skip_locked=True) if lock else oldest).all()
    policies = policies_at(session, now)
    most_fen = policies[DAY_POLICY]
    room_fen = max(0, most_fen - payouts.made_today_fen(session, maker, now=now))
    places = fitting([line.amount_fen for line in waiting], room_fen=room_fen)
    return Draft(
        lines=[waiting[place] for place in places],
        waiting=session.scalar(select(func.count()).select_from(listed.subquery())) or 0,
        room_fen=room_fen,
        most_fen=most_fen,
        policy_ids=policies.used(DAY_POLICY),
    )


def make(
    session: Session, *, batch_id: UUID, maker: OperatorCaller, now: datetime
) -> tuple[PayoutBatch, bool]:
    """Put what is listed, the oldest first, into a batch; say whether this call was first.

    As much of it as the maker may pay out today; the rest is for a colleague, or for tomorrow.
    Locks the batch's id, the maker's day, then the lines; two batches at once never share one.

    Raises:
        IdReused: somebody else made a batch under this id.
        NothingToPay: nothing is listed.
        OperatorLimit: nothing of it fits into what the maker may pay out today.
    """
    lock_id(session, batch_id)
    earlier = first_answer(session, PayoutBatch, batch_id, made_by=maker.operator_id)
    if earlier is not None:
        return earlier, False
    limits.lock_day(session, maker)
    found = draft(session, maker=maker, now=now, lock=True)
    if not found.waiting:
        raise NothingToPay
    if not found.lines:
        raise OperatorLimit(limit=DAY_LIMIT, most=found.most_fen).decided_by(found.policy_ids)
    batch = PayoutBatch(
        id=batch_id,
        lines=len(found.lines),
        total_fen=found.total_fen,
        made_by=maker.operator_id,
        made_at=now,
    )
    session.add(batch)
    session.flush()
    for line in found.lines:
        line.state, line.batch_id = PayoutLineState.BATCHED, batch_id
    _log(session, batch, "payout_batch.make", maker, now=now, policy_ids=found.policy_ids)
    return batch, True


def decide(
    session: Session, *, batch_id: UUID, approve: bool, checker: OperatorCaller, now: datetime
) -> tuple[PayoutBatch, bool]:
    """Approve a batch to be paid, or refuse it, which lists its lines again; say if it was news.

    Raises:
        NotFound: there is no such batch.
        PayoutDecided: it was decided otherwise.
        SecondPersonNeeded: the caller made it.
    """
    batch = lock_row(session, PayoutBatch, batch_id)
    if is_decided(
        batch.approved,
        approve=approve,
        otherwise=PayoutDecided,
        checker=checker.operator_id,
        made_by=batch.made_by,
    ):
        return batch, False
    batch.approved, batch.approved_by, batch.decided_at = approve, checker.operator_id, now
    if not approve:
        session.execute(
            update(PayoutLine)
            .where(PayoutLine.batch_id == batch_id, PayoutLine.state == PayoutLineState.BATCHED)
            .values(state=PayoutLineState.LISTED, batch_id=None)
        )
    action = "payout_batch.approve" if approve else "payout_batch.refuse"
    _log(session, batch, action, checker, now=now)
    return batch, True


def _log(
    session: Session,
    batch: PayoutBatch,
    action: str,
    operator: OperatorCaller,
    *,
    now: datetime,
    policy_ids: Sequence[UUID] = (),
) -> None:
    operation_log.record(
        session,
        actor=operator.actor,
        action=action,
        subject_id=batch.id,
        now=now,
        policy_ids=policy_ids,
        lines=batch.lines,
        amount_fen=batch.total_fen,
    )


def find(session: Session, *, batch_id: UUID) -> PayoutBatch:
    """Return a batch.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, PayoutBatch, batch_id)


def lines_of(session: Session, *, batch_id: UUID) -> Sequence[PayoutLine]:
    """Return the lines of a batch, the longest owed first."""
    return session.scalars(
        select(PayoutLine)
        .where(PayoutLine.batch_id == batch_id)
        .order_by(PayoutLine.owed_since, PayoutLine.id)
    ).all()
