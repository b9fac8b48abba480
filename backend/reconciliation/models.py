"""Bills (账单) of the channels, their rows beside our books, and when to fetch them."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.money import Fen
from payments import BillRowKind


class BillState(StrEnum):
    """What became of a bill's file."""

    IMPORTED = "imported"
    """已导入: its rows count for that channel and day"""
    SUPERSEDED = "superseded"
    """已替换: it counted until another file of the same day came"""
    REFUSED = "refused"
    """已拒收: it could not be read whole; the file and the reason are kept"""


class BillSource(StrEnum):
    """Who brought a bill's file."""

    FETCHED = "fetched"
    """自动下载"""
    UPLOADED = "uploaded"
    """人工上传"""


class ChannelBill(Base):
    """One file of one channel and day.  At most one of a day counts: the newest that was read."""

    __tablename__ = "channel_bills"
    __table_args__ = (
        UniqueConstraint("channel", "day", "digest"),
        UniqueConstraint("channel", "day", "version"),
        Index(
            "uq_channel_bills_counts",
            "channel",
            "day",
            unique=True,
            postgresql_where=text("state = 'imported'"),
        ),
        Index(None, "imported_at", "id"),
        CheckConstraint("(state = 'refused') = (fault IS NOT NULL)", name="fault_when_refused"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    channel: Mapped[str]
    day: Mapped[date]
    """In Asia/Shanghai; refunds belong to the day on which the platform accepted them."""
    version: Mapped[int]
    """Counts the files of this channel and day, from 1."""
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 of the file as it came."""
    state: Mapped[BillState]
    source: Mapped[BillSource]
    payments: Mapped[int]
    payments_fen: Mapped[Fen]
    refunds: Mapped[int]
    refunds_fen: Mapped[Fen]
    fee_fen: Mapped[Fen]
    """What the platform kept; below zero where it gave back more."""
    fault: Mapped[str | None]
    """Why it was refused: a reason of `payments.BillMalformed`."""
    fault_line: Mapped[int | None]
    imported_at: Mapped[datetime]
    superseded_at: Mapped[datetime | None]


class BillFile(Base):
    """The file as it came, compressed and sealed: it names the payers' accounts."""

    __tablename__ = "bill_files"

    bill_id: Mapped[UUID] = mapped_column(ForeignKey("channel_bills.id"), primary_key=True)
    content_sealed: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)


class LineMatch(StrEnum):
    """How a row of a bill stands beside our books."""

    MATCHED = "matched"
    """相符"""
    UNKNOWN_ORDER = "unknown_order"
    """无此订单: no order of ours has this number at this channel"""
    AMOUNT_DIFFERS = "amount_differs"
    """金额不符"""
    NOT_PAID_HERE = "not_paid_here"
    """我方未到账: the order is not paid here; its channel is asked at once"""
    OTHER_PAYMENT = "other_payment"
    """另一笔支付: the order was settled by another payment, and this one is not known"""
    UNKNOWN_REFUND = "unknown_refund"
    """无此退款: no refund of ours has this number, as when it is made at the platform's desk"""
    STATE_DIFFERS = "state_differs"
    """状态不符: the money went back, and is not on its way here"""


class BillLine(Base):
    """One payment or refund of a bill, as the platform tells it."""

    __tablename__ = "bill_lines"
    __table_args__ = (
        UniqueConstraint("bill_id", "line"),
        Index(None, "bill_id", "match", "at"),
        Index(None, "out_trade_no"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    bill_id: Mapped[UUID] = mapped_column(ForeignKey("channel_bills.id"))
    line: Mapped[int]
    """Where it stands in the file, from 1."""
    kind: Mapped[BillRowKind]
    out_trade_no: Mapped[str]
    trade_no: Mapped[str]
    out_refund_no: Mapped[str | None]
    refund_no: Mapped[str | None]
    amount_fen: Mapped[Fen]
    fee_fen: Mapped[Fen]
    at: Mapped[datetime]
    state: Mapped[str]
    """The platform's own word."""
    match: Mapped[LineMatch]


class BillFetch(Base):
    """That the bill of a channel and day is to be fetched, and how it went so far."""

    __tablename__ = "bill_fetches"
    __table_args__ = (
        Index(
            "ix_bill_fetches_due",
            "next_try_at",
            postgresql_where=text("next_try_at IS NOT NULL"),
        ),
    )

    channel: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    next_try_at: Mapped[datetime | None]
    """When to fetch it next; None once it is there, or is not to be had any more."""
    tries: Mapped[int]
    answer: Mapped[str | None]
    """Why the last try brought nothing: the channel's word, or ours."""
    alarmed_at: Mapped[datetime | None]
    """Since when somebody should look; None once the bill is there."""
