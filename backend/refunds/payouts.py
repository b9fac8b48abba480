"""Payouts by hand (线下退款): finance pays what a channel cannot send; two people answer for it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.clock import business_date, start_of_day
from backend.errors import DomainError, Kind
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.operation_log import service as operation_log
from backend.operators import limits
from backend.operators.second_person import is_decided
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at
from backend.refunds import service
from backend.refunds.models import ChannelRefund, Payout, PayoutBatch, PayoutLine, PayoutLineState
from backend.refunds.rules import TRANSITIONS, RefundEvent
from backend.rows import first_answer, lock_id, lock_row

DAY_POLICY = "operator.payout_day_fen"
DAY_LIMIT = "payout_day_fen"


class PayoutNotPossible(DomainError, code="payout-not-possible", kind=Kind.CONFLICT):
    """Only what its channel cannot send is paid by hand.  Fact: `state`."""


class PayoutWaits(DomainError, code="payout-waits", kind=Kind.CONFLICT):
    """Another payout of this refund waits for the second person or for the bank, or was made."""


class PayoutDecided(DomainError, code="payout-decided", kind=Kind.CONFLICT):
    """Somebody has decided otherwise.  Fact: `approved`."""


def make(
    session: Session,
    *,
    payout_id: UUID,
    refund_id: UUID,
    bank_reference: str,
    maker: OperatorCaller,
    now: datetime,
) -> tuple[Payout, bool]:
    """Note a payment by hand, to be approved by somebody else; say whether this call was first.

    Locks the payout's id, then the refund.

    Raises:
        NotFound: there is no such refund, or the id stands for a payout of another one.
        IdReused: `payout_id` came before with other content, or from somebody else.
        PayoutNotPossible: the refund's channel can still send it, or it has ended.
        PayoutWaits: another one waits.
        OperatorLimit: the maker has paid out as much today as one person may.
    """
    lock_id(session, payout_id)
    refund = service.lock(session, refund_id=refund_id)
    earlier = first_answer(
        session,
        Payout,
        payout_id,
        owner={"refund_id": refund_id},
        bank_reference=bank_reference,
        maker_id=maker.operator_id,
    )
    if earlier is not None:
        return earlier, False
    _must_be_possible(refund)
    if any(payout.approved is not False for payout in payouts_of(session, refund_id=refund_id)):
        raise PayoutWaits
    if _is_batched(session, refund_id=refund_id):
        raise PayoutWaits
    limits.lock_day(session, maker)
    policies = policies_at(session, now)
    limits.check_sum(
        limit=DAY_LIMIT,
        already_fen=made_today_fen(session, maker, now=now),
        amount_fen=refund.amount_fen,
        most_fen=policies[DAY_POLICY],
        policy_ids=policies.used(DAY_POLICY),
    )
    payout = Payout(
        id=payout_id,
        refund_id=refund_id,
        bank_reference=bank_reference,
        maker_id=maker.operator_id,
        made_at=now,
    )
    session.add(payout)
    used = policies.used(DAY_POLICY)
    _log(session, refund, "refund.payout_make", payout, maker, policy_ids=used, now=now)
    return payout, True


def decide(
    session: Session,
    *,
    payout_id: UUID,
    refund_id: UUID,
    approve: bool,
    checker: OperatorCaller,
    now: datetime,
) -> tuple[Payout, bool]:
    """Approve a payout, which ends its refund, or refuse it; say whether this call was first.

    Locks the refund, then the payout.  The database itself refuses one person for both.

    Raises:
        NotFound: there is no such payout of this refund.
        PayoutDecided: it was decided otherwise.
        SecondPersonNeeded: the caller made it.
        PayoutNotPossible: the channel has sent or closed the refund meanwhile.
    """
    refund = service.lock(session, refund_id=refund_id)
    payout = lock_row(session, Payout, payout_id, refund_id=refund_id)
    if is_decided(
        payout.approved,
        approve=approve,
        otherwise=PayoutDecided,
        checker=checker.operator_id,
        made_by=payout.maker_id,
    ):
        return payout, False
    payout.approved, payout.checker_id, payout.decided_at = approve, checker.operator_id, now
    if approve:
        pay(session, refund, now=now)
    action = "refund.payout_approve" if approve else "refund.payout_refuse"
    _log(session, refund, action, payout, checker, now=now)
    return payout, True


def _is_batched(session: Session, *, refund_id: UUID) -> bool:
    return (
        session.scalar(
            select(PayoutLine.id).where(
                PayoutLine.refund_id == refund_id, PayoutLine.state == PayoutLineState.BATCHED
            )
        )
        is not None
    )


def made_today_fen(session: Session, maker: OperatorCaller, *, now: datetime) -> Fen:
    """Return what somebody has paid out today, by hand and in batches, without what was refused."""
    since = start_of_day(business_date(now))
    by_hand = (
        select(func.coalesce(func.sum(ChannelRefund.amount_fen), 0))
        .join(Payout, Payout.refund_id == ChannelRefund.id)
        .where(
            Payout.maker_id == maker.operator_id,
            Payout.made_at >= since,
            Payout.approved.is_not(False),
        )
    )
    in_batches = select(func.coalesce(func.sum(PayoutBatch.total_fen), 0)).where(
        PayoutBatch.made_by == maker.operator_id,
        PayoutBatch.made_at >= since,
        PayoutBatch.approved.is_not(False),
    )
    return Fen(sum(int(session.scalar(query) or 0) for query in (by_hand, in_batches)))


def _must_be_possible(refund: ChannelRefund) -> None:
    if (refund.state, RefundEvent.PAID_OUT) not in TRANSITIONS:
        raise PayoutNotPossible(state=refund.state.value)


def pay(session: Session, refund: ChannelRefund, *, now: datetime) -> None:
    """Let a locked refund end by the bank: out of `refunds_due`, and its holder is told.

    Raises:
        PayoutNotPossible: the channel has sent or closed it, or somebody has paid it.
    """
    _must_be_possible(refund)
    refund.state = TRANSITIONS[refund.state, RefundEvent.PAID_OUT]
    refund.settled_at, refund.next_try_at = now, None
    due = ledger.school_account(session, AccountKind.REFUNDS_DUE)
    bank = ledger.school_account(session, AccountKind.BANK)
    ledger.post(
        session,
        [Movement(TransferKind.REFUND_PAYOUT, refund.id, due, bank, refund.amount_fen)],
        now=now,
    )
    service.tell(session, refund, "refund-paid-out", now=now)


def _log(
    session: Session,
    refund: ChannelRefund,
    action: str,
    payout: Payout,
    operator: OperatorCaller,
    *,
    now: datetime,
    policy_ids: Sequence[UUID] = (),
) -> None:
    operation_log.record(
        session,
        actor=operator.actor,
        action=action,
        holder_id=refund.holder_id,
        subject_id=refund.id,
        now=now,
        policy_ids=policy_ids,
        payout_id=str(payout.id),
        amount_fen=refund.amount_fen,
        bank_reference=payout.bank_reference,
    )


def payouts_of(session: Session, *, refund_id: UUID) -> Sequence[Payout]:
    """Return the payouts of a refund, newest first."""
    return session.scalars(
        select(Payout).where(Payout.refund_id == refund_id).order_by(Payout.made_at.desc())
    ).all()
