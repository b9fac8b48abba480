"""Subsidies (补贴) that 学工 gives to many holders at once."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.money import Fen


class BatchState(StrEnum):
    """How far a batch has come."""

    WAITING = "waiting"
    """待批准"""
    APPROVED = "approved"
    """已批准: paid from its day on"""
    PAID = "paid"
    """已发放: every item was paid or left out"""
    WITHDRAWN = "withdrawn"
    """已撤回: before anything was paid"""


class SubsidyBatch(Base):
    """A list of subsidies (补贴批次): made by one person, approved by another, paid by a job."""

    __tablename__ = "subsidy_batches"
    __table_args__ = (
        CheckConstraint("approved_by <> made_by", name="another_person_approves"),
        CheckConstraint(
            "(state IN ('approved', 'paid')) = (approved_by IS NOT NULL)",
            name="approved_by_somebody",
        ),
        Index(None, "made_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    """Of all that was asked for, to tell a retry from a reused id."""
    name: Mapped[str]
    document_number: Mapped[str]
    """文号"""
    fund: Mapped[str]
    """Whose money it is (经费来源)."""
    pay_on: Mapped[date | None]
    """Not before this accounting day; None: as soon as it is approved."""
    state: Mapped[BatchState]
    item_count: Mapped[int]
    total_fen: Mapped[Fen]
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    approved_at: Mapped[datetime | None]
    withdrawn_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    withdrawn_at: Mapped[datetime | None]
    withdrawn_reason: Mapped[str | None]
    paid_at: Mapped[datetime | None]


class ItemState(StrEnum):
    """What became of one holder's subsidy."""

    DUE = "due"
    """待发放"""
    PAID = "paid"
    """已发放"""
    LEFT_OUT = "left_out"
    """未发放: the account was closing or closed by then"""
    WITHDRAWN = "withdrawn"
    """已收回: it was a mistake"""


class SubsidyItem(Base):
    """One holder's subsidy in a batch."""

    __tablename__ = "subsidy_items"
    __table_args__ = (
        UniqueConstraint("batch_id", "holder_id"),
        CheckConstraint("amount_fen > 0", name="amount"),
        Index(None, "batch_id", "id", postgresql_where=text("state = 'due'")),
        Index(None, "holder_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    batch_id: Mapped[UUID] = mapped_column(ForeignKey("subsidy_batches.id"))
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    amount_fen: Mapped[Fen]
    state: Mapped[ItemState]
    settled_at: Mapped[datetime | None]
    """When it was paid or left out."""


class SubsidyWithdrawal(Base):
    """A mistaken subsidy taken back (补贴收回): asked for by one person, approved by another."""

    __tablename__ = "subsidy_withdrawals"
    __table_args__ = (CheckConstraint("approved_by <> made_by", name="another_person_approves"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    item_id: Mapped[UUID] = mapped_column(ForeignKey("subsidy_items.id"), unique=True)
    reason: Mapped[str]
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    approved_at: Mapped[datetime | None]
    amount_fen: Mapped[Fen | None]
    """What came back: at most what was left of it.  None: not approved yet."""
