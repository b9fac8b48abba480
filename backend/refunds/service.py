"""Refunds (退款): storing what is owed, and `settle`, the only place that ends one by the channel's
word.

The account `refunds_due` holds exactly what has not ended, here and on the payout list (打款清单):
`difference` is zero.  Lock order: the
refund, then the holder's main purse, then the payment's row.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.ids import is_own_number, new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, Transfer, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.models import LogChannel
from backend.operation_log.service import Actor
from backend.refunds.models import (
    ChannelRefund,
    PayoutLine,
    PayoutLineState,
    RefundedPayment,
    RefundState,
    StrangeRefund,
)
from backend.refunds.rules import (
    OPEN,
    PACE,
    PAID_TWICE,
    TRANSITIONS,
    UNSETTLED,
    RefundEvent,
    next_try_at,
)
from backend.rows import lock_row
from payments import Refund, RefundOrder
from payments import RefundState as ToldState

EVENTS = {
    ToldState.PROCESSING: RefundEvent.TAKEN,
    ToldState.SUCCEEDED: RefundEvent.SUCCEEDED,
    ToldState.CLOSED: RefundEvent.CLOSED,
    ToldState.ABNORMAL: RefundEvent.ABNORMAL,
}
MISMATCH = "mismatch"
CONFLICT = "conflict"
NEEDS_A_PERSON = (MISMATCH, CONFLICT)
"""Values of `answer` of which no further question rids us."""


def owe(
    session: Session,
    *,
    channel: str,
    out_trade_no: str,
    trade_no: str,
    paid_fen: Fen,
    amount_fen: Fen,
    reason: str,
    holder_id: UUID,
    subject_id: UUID,
    now: datetime,
    to_purse: bool = True,
) -> ChannelRefund:
    """Store that a part of a payment goes back, due now; the worker sends it.

    The caller has moved the money to `refunds_due` in this transaction.  The same payment for the
    same subject again gets the first one.  `to_purse=False`: the holder's purse takes nothing any
    more; what the channel surely does not send then waits for staff.  Locks the payment's row.

    Raises:
        IntegrityError: more would go back than was paid, or this payment was another sum before.
    """
    earlier = session.scalars(
        select(ChannelRefund).where(
            ChannelRefund.subject_id == subject_id,
            ChannelRefund.channel == channel,
            ChannelRefund.trade_no == trade_no,
        )
    ).one_or_none()
    if earlier is not None:
        return earlier
    refund = ChannelRefund(
        id=new_id(),
        subject_id=subject_id,
        holder_id=holder_id,
        to_purse=to_purse,
        channel=channel,
        out_trade_no=out_trade_no,
        trade_no=trade_no,
        paid_fen=paid_fen,
        amount_fen=amount_fen,
        reason=reason,
        state=RefundState.DUE,
        tries=0,
        next_try_at=now,
        created_at=now,
    )
    session.add(refund)
    session.flush()
    return refund


@dataclass(frozen=True, slots=True)
class GivenBack:
    """What of one payment went back, or is on its way, in how many refunds."""

    refunded_fen: Fen
    refunds: int


NOTHING = GivenBack(Fen(0), 0)


def given_back(
    session: Session, payments: Collection[tuple[str, str]]
) -> dict[tuple[str, str], GivenBack]:
    """Return what went back of payments, each named by channel and `trade_no`; none where absent.

    What was returned does not count.
    """
    if not payments:
        return {}
    rows = session.execute(
        select(
            RefundedPayment.channel,
            RefundedPayment.trade_no,
            RefundedPayment.refunded_fen,
            RefundedPayment.refunds,
        ).where(tuple_(RefundedPayment.channel, RefundedPayment.trade_no).in_(payments))
    )
    return {
        (row.channel, row.trade_no): GivenBack(Fen(row.refunded_fen), row.refunds) for row in rows
    }


def order_of(refund: ChannelRefund) -> RefundOrder:
    """Return what the channel is sent: the very same on every try."""
    return RefundOrder(
        out_refund_no=refund.out_refund_no,
        out_trade_no=refund.out_trade_no,
        trade_no=refund.trade_no,
        paid_fen=refund.paid_fen,
        amount_fen=refund.amount_fen,
        reason=refund.reason,
    )


class RefundOutcome(StrEnum):
    """What became of a channel's word on a refund."""

    SETTLED = "settled"
    """It changed how the refund stands."""
    ALREADY_SETTLED = "already_settled"
    """No news."""
    MISMATCH = "mismatch"
    """Of another amount or order than ours: kept for a person, and nothing moved."""
    CONFLICT = "conflict"
    """It was sent although the money had gone another way: kept for a person."""
    UNKNOWN = "unknown"
    """Not our number: made in the merchant console.  Kept for a person."""


def settle(
    session: Session, *, channel: str, answer: Refund, via: str, now: datetime
) -> RefundOutcome:
    """Bring a refund where its channel's verified word says it is, once, whoever brings the word.

    The only writer of succeeded, returned and abnormal: the answer to sending, the query and the
    notice all come here.  What succeeded leaves `refunds_due` to the channel; what surely does not
    go goes back into the purse, pays arrears first, and the holder is told.
    """
    refund = _lock(session, channel=channel, out_refund_no=answer.out_refund_no)
    if refund is None:
        _keep_strange(session, channel=channel, answer=answer, now=now)
        return RefundOutcome.UNKNOWN
    actor = Actor(LogChannel.PLATFORM, channel)
    if answer.out_trade_no != refund.out_trade_no or answer.amount_fen not in (
        None,
        refund.amount_fen,
    ):
        if refund.answer != MISMATCH:
            _log(session, refund, "refund.mismatch", actor, via=via, now=now)
        refund.answer = MISMATCH
        return RefundOutcome.MISMATCH
    if answer.state is ToldState.UNKNOWN:
        return RefundOutcome.ALREADY_SETTLED
    refund.refund_no = refund.refund_no or answer.refund_no
    event = EVENTS[answer.state]
    if event is RefundEvent.SUCCEEDED and refund.state in PAID_TWICE:
        if refund.answer != CONFLICT:
            _log(session, refund, "refund.conflict", actor, via=via, now=now)
        refund.answer = CONFLICT
        return RefundOutcome.CONFLICT
    at = answer.refunded_at or now
    return _apply(session, refund, event, actor=actor, via=via, at=at, now=now)


def give_up(
    session: Session, *, refund_id: UUID, why: str, actor: Actor, via: str, now: datetime
) -> RefundOutcome:
    """End a refund that its channel surely never makes, as if it had closed it.

    `why` is the channel's code.  Without such a no, the caller has asked the channel after the last
    time it was sent, and the channel did not know it.
    """
    refund = lock(session, refund_id=refund_id)
    refund.answer = why
    return _apply(session, refund, RefundEvent.CLOSED, actor=actor, via=via, at=now, now=now)


def _apply(
    session: Session,
    refund: ChannelRefund,
    event: RefundEvent,
    *,
    actor: Actor,
    via: str,
    at: datetime,
    now: datetime,
) -> RefundOutcome:
    if event is RefundEvent.CLOSED and not refund.to_purse:
        event = RefundEvent.ABNORMAL
    if via != "notice" and refund.state not in OPEN:
        refund.tries += 1  # it was asked about all the same
    after = TRANSITIONS.get((refund.state, event))
    if after is None:
        _rest(refund, now=now)
        return RefundOutcome.ALREADY_SETTLED
    if after is RefundState.RETURNED:  # before the change is written: purse, then payment
        ledger.lock_purse(session, holder_id=refund.holder_id)
    refund.state = after
    _rest(refund, now=now)
    if after not in UNSETTLED:
        refund.settled_at = at
    session.flush()
    if after in OPEN:
        return RefundOutcome.SETTLED
    if after is RefundState.SUCCEEDED:
        _succeed(session, refund, now=now)
    elif after is RefundState.RETURNED:
        _return(session, refund, now=now)
    _log(session, refund, f"refund.{after.value}", actor, via=via, now=now)
    return RefundOutcome.SETTLED


def _succeed(session: Session, refund: ChannelRefund, *, now: datetime) -> None:
    due = ledger.school_account(session, AccountKind.REFUNDS_DUE)
    channel = ledger.school_account(session, AccountKind.CHANNEL, refund.channel)
    _post(session, refund, TransferKind.REFUND_SENT, due, channel, now=now)
    tell(session, refund, "refund-succeeded", now=now)


def _return(session: Session, refund: ChannelRefund, *, now: datetime) -> None:
    due = ledger.school_account(session, AccountKind.REFUNDS_DUE)
    purse = ledger.lock_purse(session, holder_id=refund.holder_id)
    _post(session, refund, TransferKind.REFUND_RETURNED, due, purse.id, now=now)
    arrears.collect(session, holder_id=refund.holder_id, now=now)
    tell(
        session,
        refund,
        "refund-returned",
        now=now,
        balance_fen=ledger.balance_of(session, holder_id=refund.holder_id),
    )


def _post(
    session: Session,
    refund: ChannelRefund,
    kind: TransferKind,
    debit: UUID,
    credit: UUID,
    *,
    now: datetime,
) -> None:
    facts = {"channel": refund.channel}
    movement = Movement(kind, refund.id, debit, credit, refund.amount_fen, facts)
    ledger.post(session, [movement], now=now)


def tell(
    session: Session, refund: ChannelRefund, kind: str, *, now: datetime, **facts: object
) -> None:
    """Tell the holder what became of a refund."""
    notices.tell(
        session,
        holder_id=refund.holder_id,
        kind=kind,
        now=now,
        refund_id=str(refund.subject_id),
        amount_fen=refund.amount_fen,
        channel=refund.channel,
        **facts,
    )


def _log(
    session: Session,
    refund: ChannelRefund,
    action: str,
    actor: Actor,
    *,
    via: str,
    now: datetime,
) -> None:
    operation_log.record(
        session,
        actor=actor,
        action=action,
        holder_id=refund.holder_id,
        subject_id=refund.id,
        now=now,
        via=via,
        channel=refund.channel,
        amount_fen=refund.amount_fen,
        state=refund.state.value,
    )


def _keep_strange(session: Session, *, channel: str, answer: Refund, now: datetime) -> None:
    told = {
        "out_trade_no": answer.out_trade_no,
        "state": answer.state.value,
        "amount_fen": answer.amount_fen,
        "refund_no": answer.refund_no,
    }
    session.execute(
        insert(StrangeRefund)
        .values(channel=channel, out_refund_no=answer.out_refund_no, told_at=now, **told)
        .on_conflict_do_update(index_elements=["channel", "out_refund_no"], set_=told)
    )


def _lock(session: Session, *, channel: str, out_refund_no: str) -> ChannelRefund | None:
    if not is_own_number(out_refund_no):
        return None
    return session.scalars(
        select(ChannelRefund)
        .where(ChannelRefund.id == UUID(hex=out_refund_no), ChannelRefund.channel == channel)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def lock(session: Session, *, refund_id: UUID) -> ChannelRefund:
    """Return a refund, locked.

    Raises:
        NotFound: there is none.
    """
    return lock_row(session, ChannelRefund, refund_id)


def claim_next(
    session: Session, *, channels: Collection[str], now: datetime, lease_until: datetime
) -> ChannelRefund | None:
    """Claim the refund that is due the longest, for a while; others skip it.

    A worker that dies leaves it to be claimed again.  Refunds of a channel that is off wait.
    """
    refund = session.scalars(
        select(ChannelRefund)
        .where(ChannelRefund.next_try_at <= now, ChannelRefund.channel.in_(channels))
        .order_by(ChannelRefund.next_try_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if refund is not None:
        refund.next_try_at = lease_until
    return refund


def begin_send(session: Session, *, refund_id: UUID, now: datetime) -> bool:
    """Mark a refund as being sent, before it is; say whether to send it.

    Not when it has ended meanwhile, nor sooner after another refund of the payment than the
    platform wants: then it is due at that moment.  Locks the refund, then the payment's row.
    """
    refund = lock(session, refund_id=refund_id)
    after = TRANSITIONS.get((refund.state, RefundEvent.SEND))
    if after is None:
        return False
    payment = session.get_one(
        RefundedPayment,
        (refund.channel, refund.trade_no),
        with_for_update=True,
        populate_existing=True,
    )
    if payment.sent_at is not None and now < payment.sent_at + PACE[refund.channel]:
        refund.next_try_at = payment.sent_at + PACE[refund.channel]
        return False
    refund.state, refund.sent_at, payment.sent_at = after, now, now
    return True


def note_no_answer(session: Session, *, refund_id: UUID, why: str, now: datetime) -> ChannelRefund:
    """Note why the channel gave no yes and no final no, and ask again later."""
    refund = lock(session, refund_id=refund_id)
    if refund.answer not in NEEDS_A_PERSON:
        refund.answer = why
    _rest(refund, now=now)
    return refund


def _rest(refund: ChannelRefund, *, now: datetime) -> None:
    if refund.state not in OPEN:
        refund.next_try_at = None
        return
    refund.next_try_at = next_try_at(tries=refund.tries, now=now)
    refund.tries += 1


def difference(session: Session) -> Fen:
    """Return how far `refunds_due` is from what has not ended: zero."""
    account = ledger.school_account(session, AccountKind.REFUNDS_DUE)
    fen = Transfer.amount_fen
    held = select(
        func.coalesce(func.sum(fen).filter(Transfer.credit_account_id == account), 0)
        - func.coalesce(func.sum(fen).filter(Transfer.debit_account_id == account), 0)
    ).where((Transfer.debit_account_id == account) | (Transfer.credit_account_id == account))
    unsettled = select(func.coalesce(func.sum(ChannelRefund.amount_fen), 0)).where(
        ChannelRefund.state.in_(UNSETTLED)
    )
    listed = select(func.coalesce(func.sum(PayoutLine.amount_fen), 0)).where(
        PayoutLine.refund_id.is_(None),  # what stands for a refund is counted there
        PayoutLine.state.in_((PayoutLineState.LISTED, PayoutLineState.BATCHED)),
    )
    due_fen = sum(int(session.scalar(query) or 0) for query in (unsettled, listed))
    return Fen(int(session.scalar(held) or 0) - due_fen)


def of_subjects(
    session: Session, subject_ids: Collection[UUID]
) -> dict[UUID, Sequence[ChannelRefund]]:
    """Return the refunds of each subject, in the order in which they were stored."""
    found: dict[UUID, list[ChannelRefund]] = {subject_id: [] for subject_id in subject_ids}
    for refund in session.scalars(
        select(ChannelRefund)
        .where(ChannelRefund.subject_id.in_(subject_ids))
        .order_by(ChannelRefund.id)
    ):
        found[refund.subject_id].append(refund)
    return dict(found)
