"""Stray payments (多付款): they came in, no purse takes them, and they go back."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices
from backend.refunds import service as refunds
from backend.topups.models import StrayPayment, StrayReason, TopUp
from payments import Trade, TradeState

MOST_FEN = 100_000_000
"""What the ledger posts at once."""
TOLD = {
    StrayReason.SECOND_PAYMENT: "重复支付退回",
    StrayReason.OTHER_CHANNEL: "重复支付退回",
    StrayReason.REPLACED: "重复支付退回",
    StrayReason.ACCOUNT_CLOSED: "账户已销户，充值退回",
    StrayReason.NOT_AS_ORDERED: "与订单不符，充值退回",
}
"""What the payer reads on the platform."""


def can_go_back(trade: Trade) -> bool:
    """Say whether a payment is one that can be sent back without a person looking at it."""
    return (
        trade.state is TradeState.PAID
        and bool(trade.trade_no)
        and trade.currency == "CNY"
        and 0 < (trade.amount_fen or 0) <= MOST_FEN
    )


def take(
    session: Session,
    *,
    top_up: TopUp,
    channel: str,
    trade: Trade,
    reason: StrayReason,
    now: datetime,
) -> StrayPayment | None:
    """Keep a payment that carries a locked order's number and owe it to its payer, all of it.

    Returns None when it had been taken before.  The holder is told.  The money goes back on the
    channel that it came through; the refunds' worker sends it.  What cannot be sent waits for
    staff: no purse takes it then either.
    """
    trade_no, amount_fen = trade.trade_no or "", Fen(trade.amount_fen or 0)
    known = select(StrayPayment.id).where(
        StrayPayment.channel == channel, StrayPayment.trade_no == trade_no
    )
    if session.scalar(known) is not None:
        return None
    stray = StrayPayment(
        id=new_id(),
        channel=channel,
        trade_no=trade_no,
        top_up_id=top_up.id,
        amount_fen=amount_fen,
        reason=reason,
        paid_at=trade.paid_at or now,
        received_at=now,
    )
    session.add(stray)
    session.flush()
    ledger.post(
        session,
        [
            Movement(
                TransferKind.STRAY_PAYMENT,
                stray.id,
                ledger.school_account(session, AccountKind.CHANNEL, channel),
                ledger.school_account(session, AccountKind.REFUNDS_DUE),
                amount_fen,
                {"channel": channel},
            )
        ],
        now=now,
    )
    refunds.owe(
        session,
        channel=channel,
        out_trade_no=trade.out_trade_no,
        trade_no=trade_no,
        paid_fen=amount_fen,
        amount_fen=amount_fen,
        reason=TOLD[reason],
        holder_id=top_up.holder_id,
        subject_id=stray.id,
        now=now,
        to_purse=False,
    )
    notices.tell(
        session,
        holder_id=top_up.holder_id,
        kind="top-up-returned",
        now=now,
        top_up_id=str(top_up.id),
        amount_fen=amount_fen,
        channel=channel,
        reason=reason.value,
    )
    return stray
