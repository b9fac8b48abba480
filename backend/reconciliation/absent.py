"""What our books know of a day and its bill does not tell (账单缺此笔): books beside bill."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    Subquery,
    Text,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session

from backend.clock import start_of_day
from backend.reconciliation.models import BillLine, BillState, ChannelBill
from backend.refunds.models import ChannelRefund, RefundState
from backend.topups.models import StrayPayment, TopUp
from payments import BillRowKind


def list_absent(
    session: Session,
    *,
    bill: ChannelBill,
    before: tuple[datetime, UUID] | None = None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Return our payments and succeeded refunds of a bill's day that it lacks, newest first.

    A payment is of the day on which it was made, a refund of the day on which it was sent last.
    What the bill of another day tells is not absent: clocks differ around midnight.  A bill that
    was refused tells nothing, and so lacks nothing.
    """
    absent = _absent(bill)
    query = select(absent)
    if before is not None:
        query = query.where(tuple_(absent.c.at, absent.c.id) < tuple_(*map(literal, before)))
    return session.execute(
        query.order_by(absent.c.at.desc(), absent.c.id.desc()).limit(limit)
    ).all()


def count_absent(session: Session, *, bills: Collection[ChannelBill]) -> dict[UUID, int]:
    """Count what each of some bills lacks."""
    return {
        bill.id: session.scalar(select(func.count()).select_from(_absent(bill))) or 0
        for bill in bills
    }


def _absent(bill: ChannelBill) -> Subquery:
    since, until = start_of_day(bill.day), start_of_day(bill.day + timedelta(days=1))
    payments = [
        select(
            table.id.label("id"),
            literal(BillRowKind.PAYMENT.value).label("kind"),
            _hex(order).label("out_trade_no"),
            table.trade_no.label("trade_no"),
            cast(null(), Text).label("out_refund_no"),
            table.amount_fen.label("amount_fen"),
            table.paid_at.label("at"),
        ).where(
            table.channel == bill.channel,
            table.paid_at >= since,
            table.paid_at < until,
            table.trade_no.is_not(None),
            ~_told(
                bill,
                _hex(order),
                BillLine.kind == BillRowKind.PAYMENT,
                BillLine.trade_no == table.trade_no,
            ),
        )
        for table, order in ((TopUp, TopUp.id), (StrayPayment, StrayPayment.top_up_id))
    ]
    sent_at = func.coalesce(ChannelRefund.sent_at, ChannelRefund.settled_at)
    refunds = select(
        ChannelRefund.id,
        literal(BillRowKind.REFUND.value),
        ChannelRefund.out_trade_no,
        ChannelRefund.trade_no,
        _hex(ChannelRefund.id),
        ChannelRefund.amount_fen,
        sent_at,
    ).where(
        ChannelRefund.channel == bill.channel,
        ChannelRefund.state == RefundState.SUCCEEDED,
        sent_at >= since,
        sent_at < until,
        ~_told(
            bill,
            ChannelRefund.out_trade_no,
            BillLine.kind == BillRowKind.REFUND,
            BillLine.out_refund_no == _hex(ChannelRefund.id),
        ),
    )
    every = union_all(*payments, refunds).subquery()
    known = select(every).where(literal(bill.state is not BillState.REFUSED))
    return known.subquery()


def _told(
    bill: ChannelBill, out_trade_no: Any, *conditions: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Say whether this bill, or the one in force of another day, has the row."""
    others = (ChannelBill.state == BillState.IMPORTED) & (ChannelBill.day != bill.day)
    found: ColumnElement[bool] = (
        select(BillLine.id)
        .join(ChannelBill, ChannelBill.id == BillLine.bill_id)
        .where(
            BillLine.out_trade_no == out_trade_no,
            ChannelBill.channel == bill.channel,
            or_(ChannelBill.id == bill.id, others),
            *conditions,
        )
        .exists()
    )
    return found


def _hex(number: Any) -> ColumnElement[str]:
    """Return an id as it is written to a channel."""
    return func.replace(cast(number, Text), "-", "")
