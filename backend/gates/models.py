"""Passages (通行): every decision of a gate, also the refused ones."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class Decision(StrEnum):
    """What a gate decided."""

    ALLOW = "allow"
    """放行"""
    DENY = "deny"
    """拒绝"""


class Direction(StrEnum):
    """Which way."""

    IN = "in"
    """进"""
    OUT = "out"
    """出"""


class Passage(Base):
    """One decision, under the id that the gate made."""

    __tablename__ = "passages"
    __table_args__ = (Index(None, "holder_id", "decided_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    terminal_id: Mapped[UUID] = mapped_column(ForeignKey("terminals.id"))
    place: Mapped[str]
    direction: Mapped[Direction]
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    decision: Mapped[Decision]
    reason: Mapped[str | None]
    holder_id: Mapped[UUID | None] = mapped_column(ForeignKey("holders.id"))
    name_masked: Mapped[str | None]
    category: Mapped[str | None]
    decided_at: Mapped[datetime]
    """By our clock; of a late upload, when it was received."""
    device_at: Mapped[datetime | None]
    """When the gate says that it decided, without network: a claim."""
    reference: Mapped[str] = mapped_column(index=True)
