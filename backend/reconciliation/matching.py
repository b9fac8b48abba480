"""How the rows of a bill stand beside our books (勾对)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.ids import is_own_number
from backend.reconciliation.models import BillLine, BillState, ChannelBill, LineMatch
from backend.reconciliation.rules import (
    CAUGHT_UP_DAYS,
    OurOrder,
    OurRefund,
    match_payment,
    match_refund,
)
from backend.refunds.models import ChannelRefund
from backend.topups.models import StrayPayment, TopUp
from payments import BillRow, BillRowKind

BATCH = 1000
"""How many rows of a bill one statement looks at or writes."""

_Row = BillRow | BillLine


def match_rows(session: Session, channel: str, rows: Sequence[_Row]) -> list[LineMatch]:
    """Say how some rows of a channel stand beside our books."""
    payments = [row for row in rows if row.kind is BillRowKind.PAYMENT]
    orders = _orders(session, channel, _ids(row.out_trade_no for row in payments))
    refunds = _refunds(session, channel, _ids(row.out_refund_no for row in rows))
    return [
        match_payment(
            trade_no=row.trade_no, amount_fen=row.amount_fen, ours=orders.get(row.out_trade_no)
        )
        if row.kind is BillRowKind.PAYMENT
        else match_refund(
            trade_no=row.trade_no,
            amount_fen=row.amount_fen,
            state=row.state,
            ours=refunds.get(row.out_refund_no or ""),
        )
        for row in rows
    ]


def _ids(numbers: Iterable[str | None]) -> set[UUID]:
    """Return the ids among some numbers, of which others' may be of any shape."""
    return {UUID(hex=number) for number in numbers if number and is_own_number(number)}


def _orders(session: Session, channel: str, ids: Collection[UUID]) -> Mapping[str, OurOrder]:
    strays: dict[UUID, set[str]] = {}
    for top_up_id, trade_no in session.execute(
        select(StrayPayment.top_up_id, StrayPayment.trade_no).where(
            StrayPayment.top_up_id.in_(ids), StrayPayment.channel == channel
        )
    ):
        strays.setdefault(top_up_id, set()).add(trade_no)
    found = session.execute(
        select(TopUp.id, TopUp.amount_fen, TopUp.state, TopUp.trade_no).where(
            TopUp.id.in_(ids), TopUp.channel == channel
        )
    )
    return {
        row.id.hex: OurOrder(
            row.amount_fen, row.state, row.trade_no, frozenset(strays.get(row.id, ()))
        )
        for row in found
    }


def _refunds(session: Session, channel: str, ids: Collection[UUID]) -> Mapping[str, OurRefund]:
    found = session.execute(
        select(
            ChannelRefund.id,
            ChannelRefund.trade_no,
            ChannelRefund.amount_fen,
            ChannelRefund.state,
        ).where(ChannelRefund.id.in_(ids), ChannelRefund.channel == channel)
    )
    return {row.id.hex: OurRefund(row.trade_no, row.amount_fen, row.state) for row in found}


def match_again(session: Session, *, bill_id: UUID) -> int:
    """Look again at the rows of a bill that did not match; return how many changed."""
    bill = session.get_one(ChannelBill, bill_id)
    open_lines = session.scalars(
        select(BillLine).where(BillLine.bill_id == bill_id, BillLine.match != LineMatch.MATCHED)
    ).all()
    changed = 0
    for start in range(0, len(open_lines), BATCH):
        lines = open_lines[start : start + BATCH]
        for line, match in zip(lines, match_rows(session, bill.channel, lines), strict=True):
            changed += line.match is not match
            line.match = match
    return changed


def waiting_bills(session: Session, *, now: datetime) -> Sequence[UUID]:
    """Return the bills that came lately and hold payments which are not here yet."""
    return session.scalars(
        select(ChannelBill.id).where(
            ChannelBill.state == BillState.IMPORTED,
            ChannelBill.imported_at >= now - timedelta(days=CAUGHT_UP_DAYS),
            select(BillLine.id)
            .where(BillLine.bill_id == ChannelBill.id, BillLine.match == LineMatch.NOT_PAID_HERE)
            .exists(),
        )
    ).all()
