"""The cash desk (现金充值): shifts, what was taken in them, and what was taken back."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.money import Fen


class ShiftState(StrEnum):
    """How far a shift has come."""

    OPEN = "open"
    """当班"""
    CLOSING = "closing"
    """待复核: counted, and off by more than a cashier answers for"""
    CLOSED = "closed"
    """已交款"""


class CloseOutRuling(StrEnum):
    """What a supervisor can say of a count that is off by too much."""

    APPROVE = "approve"
    """核准: the count stands, the difference is posted"""
    RECOUNT = "recount"
    """重新清点: nothing is posted, the cashier counts again"""


class CashPurpose(StrEnum):
    """What cash is taken for."""

    TOP_UP = "top_up"
    """充值"""
    ARREARS = "arrears"
    """补缴欠费: of a closed account"""


class CashShift(Base):
    """One cashier (出纳) at one desk with one drawer, within one accounting day (班次).

    The opening float (备用金) is the school's petty cash: it is no ledger's matter, and stands in
    the drawer before and after.  Whoever has not closed out opens no other shift.
    """

    __tablename__ = "cash_shifts"
    __table_args__ = (
        Index(
            "uq_cash_shifts_unclosed",
            "cashier_id",
            unique=True,
            postgresql_where=text("state <> 'closed'"),
        ),
        Index(None, "opened_at"),
        CheckConstraint("ruled_by <> cashier_id", name="another_person_rules"),
        CheckConstraint(
            "(state = 'open') = (counted_fen IS NULL)"
            " AND (counted_fen IS NULL) = (expected_fen IS NULL)"
            " AND (counted_fen IS NULL) = (counted_at IS NULL)",
            name="counted_when_not_open",
        ),
        CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="closed_when"),
        CheckConstraint("counted_fen = expected_fen OR note IS NOT NULL", name="says_why"),
        CheckConstraint("opening_float_fen >= 0 AND counted_fen >= 0", name="not_negative"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    cashier_id: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    desk: Mapped[str]
    """Which desk (窗口), in words; receipts and statements show it."""
    opening_float_fen: Mapped[Fen]
    business_date: Mapped[date]
    state: Mapped[ShiftState]
    opened_at: Mapped[datetime]
    counted_fen: Mapped[Fen | None]
    """All that lay in the drawer, the float included."""
    expected_fen: Mapped[Fen | None]
    """All that should have: float, plus what was taken, less what was reversed."""
    counts: Mapped[list[Any] | None]
    """How many of each note and coin, where that was said."""
    note: Mapped[str | None]
    """Why the count differs (差异说明)."""
    counted_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    held: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether the last count had to wait for a supervisor."""
    ruling: Mapped[CloseOutRuling | None]
    ruling_reason: Mapped[str | None]
    ruled_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    ruled_at: Mapped[datetime | None]

    @property
    def difference_fen(self) -> Fen | None:
        """How much more lay in the drawer than should have (长款); negative: less (短款)."""
        if self.counted_fen is None or self.expected_fen is None:
            return None
        return Fen(self.counted_fen - self.expected_fen)


class CashTopUp(Base):
    """Cash taken over the desk and credited at once.  Append-only, as the receipt is.

    Of a closed account it pays arrears (现金补缴欠费), past its purses.

    Receipts (收据) are numbered from 1 on each accounting day, without a gap: a number is drawn in
    the transaction that takes the money, and rows are never deleted.  So the last number of a day
    is how many there are, and an auditor misses none.
    """

    __tablename__ = "cash_top_ups"
    __table_args__ = (
        UniqueConstraint("business_date", "number"),
        # What a reversal repeats, so that the database itself compares cashier and day.
        UniqueConstraint("id", "cashier_id", "business_date"),
        CheckConstraint("amount_fen > 0", name="amount_positive"),
        CheckConstraint("number > 0", name="number_positive"),
        Index(None, "shift_id", "taken_at"),
        Index(None, "taken_at"),
        Index(None, "holder_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    shift_id: Mapped[UUID] = mapped_column(ForeignKey("cash_shifts.id"))
    cashier_id: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    amount_fen: Mapped[Fen]
    balance_fen: Mapped[Fen]
    """Of both purses, right after: what the receipt says."""
    business_date: Mapped[date]
    number: Mapped[int]
    note: Mapped[str | None]
    """What the cashier wants to remember; no personal data belongs here."""
    arrears_parts: Mapped[list[Any] | None]
    """Where it paid arrears of a closed account: `arrears_id` and `amount_fen` of each part."""
    taken_at: Mapped[datetime]
    policy_ids: Mapped[list[Any]]

    @property
    def purpose(self) -> CashPurpose:
        """What the cash was for."""
        return CashPurpose.ARREARS if self.arrears_parts else CashPurpose.TOP_UP

    @property
    def receipt_number(self) -> str:
        """Day and number as they are printed and read out, such as `20261125-0007`."""
        return f"{self.business_date:%Y%m%d}-{self.number:04d}"


class CashReversal(Base):
    """A cash top-up taken back as a whole (现金充值冲正), by a supervisor, on the same day.

    The database itself refuses the cashier's own hand, another day and a second time.
    """

    __tablename__ = "cash_reversals"
    __table_args__ = (
        ForeignKeyConstraint(
            ["top_up_id", "cashier_id", "business_date"],
            ["cash_top_ups.id", "cash_top_ups.cashier_id", "cash_top_ups.business_date"],
            name="fk_cash_reversals_top_up",
        ),
        CheckConstraint("supervisor_id <> cashier_id", name="another_person_reverses"),
        Index(None, "reversed_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    top_up_id: Mapped[UUID] = mapped_column(unique=True)
    cashier_id: Mapped[UUID]
    """Who had taken the money."""
    business_date: Mapped[date]
    supervisor_id: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    amount_fen: Mapped[Fen]
    balance_fen: Mapped[Fen]
    """Of both purses, right after."""
    reason: Mapped[str]
    reversed_at: Mapped[datetime]
