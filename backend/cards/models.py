"""Cards (卡): the physical one and the virtual one, two credentials with states of their own."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class CardKind(StrEnum):
    """Which credential."""

    PHYSICAL = "physical"
    """实体卡"""
    VIRTUAL = "virtual"
    """虚拟卡"""


class CardState(StrEnum):
    """Where a card stands in its life, regulation 三(一)."""

    PENDING = "pending"
    """待激活"""
    ACTIVE = "active"
    """正常"""
    LOST = "lost"
    """挂失"""
    FROZEN = "frozen"
    """冻结"""
    EXPIRED = "expired"
    """过期"""
    CLOSING = "closing"
    """销户中"""
    CLOSED = "closed"
    """已销户"""
    VOID = "void"
    """作废: replaced or unbound, for ever"""


class Card(Base):
    """One credential of a holder."""

    __tablename__ = "cards"
    __table_args__ = (
        UniqueConstraint("id", "alias", "state"),  # what accounts.card_* follows
        CheckConstraint(
            "(kind = 'virtual') = (alias IS NOT NULL)"
            " AND (kind = 'physical') = (number IS NOT NULL)",
            name="alias_or_number",
        ),
        Index(
            "uq_cards_one_live",
            "holder_id",
            "kind",
            unique=True,
            postgresql_where=text("state NOT IN ('void', 'closed')"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    kind: Mapped[CardKind]
    state: Mapped[CardState]
    alias: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    """Six random bytes that stand for the virtual card in its codes.  Every loss, restore, burn and
    rebind draws new ones, so no earlier code can come back."""
    number: Mapped[str | None] = mapped_column(unique=True)
    """Printed on the physical card."""
    created_at: Mapped[datetime]


class SpentCode(Base):
    """A card code that was decided on.  The primary key is what makes single use true (K1)."""

    __tablename__ = "spent_codes"
    __table_args__ = (Index(None, "alias", "scope", "issued_at"), Index(None, "spent_at"))

    code_key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    alias: Mapped[bytes] = mapped_column(LargeBinary)
    scope: Mapped[int]
    issued_at: Mapped[int]
    """Epoch seconds.  A code older than the newest spent one is dead too: a filmed frame."""
    decision_id: Mapped[UUID]
    """The charge or passage."""
    spent_at: Mapped[datetime]


class LossReport(Base):
    """A loss reported (挂失), with the answer that every retry gets."""

    __tablename__ = "loss_reports"
    __table_args__ = (Index(None, "holder_id", "reported_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    credential: Mapped[str]
    stop_virtual_card: Mapped[bool]
    reported_at: Mapped[datetime]
    answer: Mapped[dict[str, Any]]


class Restoration(Base):
    """Cards put back in use (解挂), with the policy rows that allowed it."""

    __tablename__ = "restorations"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    restored: Mapped[list[Any]]
    policy_ids: Mapped[list[Any]]
    restored_at: Mapped[datetime]
