"""Settling top-ups (入账): the only place that credits a payment, sends it back or freezes it."""

import hashlib
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.cards.service import is_account_closed
from backend.ids import is_own_number, new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.notices import service as notices
from backend.refunds import service as refunds
from backend.refunds.service import RefundOutcome
from backend.topups import strays
from backend.topups.models import (
    ChannelNotice,
    NoticeOutcome,
    ResolutionWay,
    StrayReason,
    TopUp,
    TopUpState,
)
from backend.topups.rules import (
    TopUpEvent,
    happen,
)
from backend.topups.service import record_word
from payments import Notice, NoticeEvent, Trade, TradeState


def settle(
    session: Session, *, channel: str, trade: Trade, via: str, now: datetime
) -> NoticeOutcome:
    """Credit a top-up by a verified word of its channel, once, whoever brings it.

    The only writer of PAID: notices, the query job, the phone's question and the bill all come
    here.  Locks the order, then the purse.  A payment of a closed order is credited too: the money
    came.  What is credited pays arrears first.

    A payment that no purse takes goes back: of an order that was paid before, through another
    channel than ordered, for an account that is closing, or of a wish that another order fulfilled.
    A wrong amount or currency, money that already went back, or a payment that another order was
    credited for, freezes the order for a person.
    """
    top_up = _find_order(session, out_trade_no=trade.out_trade_no)
    if top_up is None:
        return NoticeOutcome.UNKNOWN_ORDER
    if trade.state not in (TradeState.PAID, TradeState.REFUNDED):
        return NoticeOutcome.IGNORED
    stray = _reason_to_return(top_up, channel=channel, trade=trade)
    if stray is not None:
        return _return(session, top_up, channel, trade, stray, via=via, now=now)
    as_ordered = _is_as_ordered(top_up, trade)
    if top_up.state in (TopUpState.PAID, TopUpState.RETURNED):
        known = as_ordered and trade.trade_no
        return NoticeOutcome.ALREADY_SETTLED if known else NoticeOutcome.MISMATCH
    if (
        not as_ordered
        or not trade.trade_no
        or trade.state is TradeState.REFUNDED
        or _settled_elsewhere(session, top_up, channel=channel, trade_no=trade.trade_no)
    ):
        if happen(top_up, TopUpEvent.PAID_WRONG):
            record_word(session, top_up, "top_up.exception", via=via, now=now)
            top_up.next_query_at = None
        return NoticeOutcome.MISMATCH
    return _take(session, top_up, trade, via=via, now=now)


def _reason_to_return(top_up: TopUp, *, channel: str, trade: Trade) -> StrayReason | None:
    """Say why a payment with an order's number is not the one that the order waits for."""
    if channel != top_up.channel:
        return StrayReason.OTHER_CHANNEL
    settled = top_up.state in (TopUpState.PAID, TopUpState.RETURNED)
    if settled and trade.trade_no and trade.trade_no != top_up.trade_no:
        return StrayReason.SECOND_PAYMENT
    return None


def _is_as_ordered(top_up: TopUp, trade: Trade) -> bool:
    return (trade.amount_fen, trade.currency) == (top_up.amount_fen, "CNY")


def way_out(session: Session, top_up: TopUp, trade: Trade) -> ResolutionWay | None:
    """Say what a channel's present word makes of a frozen order; None where it makes nothing."""
    if trade.state not in (TradeState.PAID, TradeState.REFUNDED):
        return ResolutionWay.NOTHING_CAME
    if not trade.trade_no:
        return None
    if _settled_elsewhere(session, top_up, channel=top_up.channel, trade_no=trade.trade_no):
        return ResolutionWay.OF_ANOTHER
    if trade.state is TradeState.REFUNDED:
        return ResolutionWay.GONE_BACK
    if _is_as_ordered(top_up, trade):
        return ResolutionWay.CREDIT
    return ResolutionWay.SEND_BACK if strays.can_go_back(trade) else None


def thaw(
    session: Session, top_up: TopUp, trade: Trade, way: ResolutionWay, *, now: datetime
) -> None:
    """Let a locked, frozen order end the way that `way_out` names for this word of its channel."""
    happen(top_up, TopUpEvent.THAWED)
    if way is ResolutionWay.CREDIT:
        settle(session, channel=top_up.channel, trade=trade, via="staff", now=now)
    elif way in (ResolutionWay.SEND_BACK, ResolutionWay.GONE_BACK):
        happen(top_up, TopUpEvent.PAID_STRAY)
        top_up.trade_no, top_up.paid_at = trade.trade_no, trade.paid_at or now
        if way is ResolutionWay.SEND_BACK:
            reason = StrayReason.NOT_AS_ORDERED
            _return(session, top_up, top_up.channel, trade, reason, via="staff", now=now)


def _take(
    session: Session, top_up: TopUp, trade: Trade, *, via: str, now: datetime
) -> NoticeOutcome:
    """Credit a payment that is as ordered, or send it back.

    The purse's lock keeps the payments of one wish, and the closing of the account, in a row.
    """
    purse = ledger.lock_purse(session, holder_id=top_up.holder_id)
    reason = _stands_against(session, top_up)
    if not happen(top_up, TopUpEvent.PAID_STRAY if reason else TopUpEvent.PAID):
        return NoticeOutcome.ALREADY_SETTLED  # frozen: a person settles it
    top_up.trade_no = trade.trade_no
    top_up.paid_at = trade.paid_at or now
    top_up.next_query_at = None
    if reason is not None:
        return _return(session, top_up, top_up.channel, trade, reason, via=via, now=now)
    ledger.post(
        session,
        [
            Movement(
                TransferKind.TOP_UP,
                top_up.id,
                ledger.school_account(session, AccountKind.CHANNEL, top_up.channel),
                purse.id,
                top_up.amount_fen,
                {"channel": top_up.channel},
            )
        ],
        now=now,
    )
    arrears.collect(session, holder_id=top_up.holder_id, now=now)
    notices.tell(
        session,
        holder_id=top_up.holder_id,
        kind="top-up-paid",
        now=now,
        top_up_id=str(top_up.id),
        amount_fen=top_up.amount_fen,
        channel=top_up.channel,
        balance_fen=ledger.balance_of(session, holder_id=top_up.holder_id),
    )
    record_word(session, top_up, "top_up.settle", via=via, now=now)
    return NoticeOutcome.CREDITED


def _stands_against(session: Session, top_up: TopUp) -> StrayReason | None:
    """Say why a purse, whose lock the caller holds, does not take the payment of an order."""
    fulfilled = select(TopUp.id).where(
        TopUp.wish_id == top_up.wish_id, TopUp.state == TopUpState.PAID, TopUp.id != top_up.id
    )
    if session.scalar(fulfilled) is not None:
        return StrayReason.REPLACED
    if is_account_closed(session, holder_id=top_up.holder_id):
        return StrayReason.ACCOUNT_CLOSED
    return None


def _return(
    session: Session,
    top_up: TopUp,
    channel: str,
    trade: Trade,
    reason: StrayReason,
    *,
    via: str,
    now: datetime,
) -> NoticeOutcome:
    """Send a payment back that carries a locked order's number, once; what cannot be, is told."""
    elsewhere = _settled_elsewhere(session, top_up, channel=channel, trade_no=trade.trade_no or "")
    if elsewhere or not strays.can_go_back(trade):
        record_word(session, top_up, "top_up.stray_mismatch", via=via, now=now, channel=channel)
        return NoticeOutcome.MISMATCH
    stray = strays.take(
        session, top_up=top_up, channel=channel, trade=trade, reason=reason, now=now
    )
    if stray is None:
        return NoticeOutcome.ALREADY_SETTLED
    record_word(
        session, top_up, "top_up.return", via=via, now=now, channel=channel, reason=reason.value,
        returned_fen=stray.amount_fen,
    )  # fmt: skip
    return NoticeOutcome.RETURNED


def _settled_elsewhere(session: Session, top_up: TopUp, *, channel: str, trade_no: str) -> bool:
    """Say whether another order has this payment; the unique key says so even in a race."""
    other = select(TopUp.id).where(
        TopUp.channel == channel, TopUp.trade_no == trade_no, TopUp.id != top_up.id
    )
    return session.scalar(other) is not None


def _find_order(session: Session, *, out_trade_no: str) -> TopUp | None:
    if not is_own_number(out_trade_no):
        return None
    return session.get(TopUp, UUID(hex=out_trade_no), with_for_update=True, populate_existing=True)


def receive_notice(
    session: Session, *, notice: Notice, body: bytes, now: datetime
) -> NoticeOutcome:
    """Work a verified notice and keep it, in one transaction.

    The caller acknowledges after the commit, and only what `ACKNOWLEDGED` holds.
    """
    outcome = NoticeOutcome.IGNORED
    if notice.event is NoticeEvent.PAID:
        outcome = settle(session, channel=notice.channel, trade=notice.trade, via="notice", now=now)
    elif notice.event is NoticeEvent.REFUND and notice.refund is not None:
        told = refunds.settle(
            session, channel=notice.channel, answer=notice.refund, via="notice", now=now
        )
        outcome = REFUND_OUTCOMES[told]
    _keep(session, notice.channel, outcome, body, now=now, notice=notice)
    return outcome


ACKNOWLEDGED = (
    NoticeOutcome.CREDITED,
    NoticeOutcome.ALREADY_SETTLED,
    NoticeOutcome.RETURNED,
    NoticeOutcome.IGNORED,
    NoticeOutcome.REFUND_NOTED,
    NoticeOutcome.UNKNOWN_REFUND,
)


REFUND_OUTCOMES = {
    RefundOutcome.SETTLED: NoticeOutcome.REFUND_NOTED,
    RefundOutcome.ALREADY_SETTLED: NoticeOutcome.ALREADY_SETTLED,
    RefundOutcome.CONFLICT: NoticeOutcome.REFUND_NOTED,
    RefundOutcome.MISMATCH: NoticeOutcome.MISMATCH,
    RefundOutcome.UNKNOWN: NoticeOutcome.UNKNOWN_REFUND,
}


def keep_forged(session: Session, *, channel: str, reason: str, body: bytes, now: datetime) -> None:
    """Record a notice that is not the platform's word to us: its digest and why, nothing else."""
    _keep(session, channel, NoticeOutcome.FORGED, body, now=now, reason=reason)


def _keep(
    session: Session,
    channel: str,
    outcome: NoticeOutcome,
    body: bytes,
    *,
    now: datetime,
    notice: Notice | None = None,
    reason: str | None = None,
) -> None:
    top_up_id = None
    if notice is not None:
        top_up = _find_order(session, out_trade_no=notice.trade.out_trade_no)
        top_up_id = top_up.id if top_up else None
    session.add(
        ChannelNotice(
            id=new_id(),
            channel=channel,
            notice_id=notice.notice_id if notice else None,
            top_up_id=top_up_id,
            outcome=outcome,
            reason=reason,
            digest=hashlib.sha256(body).digest(),
            received_at=now,
        )
    )
