"""Passages (通行): every decision of a gate, also the refused ones, and what it was decided by."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.holders.models import Category
from qr.rules import OfflinePolicy


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
    __table_args__ = (Index(None, "holder_id", "decided_at"), Index(None, "decided_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    terminal_id: Mapped[UUID] = mapped_column(ForeignKey("terminals.id"))
    place: Mapped[str]
    direction: Mapped[Direction]
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    decision: Mapped[Decision]
    reason: Mapped[str | None]
    """Why not; or, where it opened in spite of it, what stood against it."""
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    """Of `access-outside-hours`: `hours_today`, `opens_at`."""
    settings_id: Mapped[UUID | None] = mapped_column(ForeignKey("gate_settings.id"))
    """By which version of the gate's rules it was decided; None where none was asked."""
    holder_id: Mapped[UUID | None] = mapped_column(ForeignKey("holders.id"))
    name_masked: Mapped[str | None]
    category: Mapped[str | None]
    decided_at: Mapped[datetime]
    """By our clock; of a late upload, when it was received."""
    device_at: Mapped[datetime | None]
    """When the gate says that it decided, without network: a claim."""
    reference: Mapped[str] = mapped_column(index=True)


class PassageCount(Base):
    """What stays of passages that were kept for long enough: how many there were on a day."""

    __tablename__ = "passage_counts"

    day: Mapped[date] = mapped_column(primary_key=True)
    terminal_id: Mapped[UUID] = mapped_column(ForeignKey("terminals.id"), primary_key=True)
    direction: Mapped[Direction] = mapped_column(primary_key=True)
    decision: Mapped[Decision] = mapped_column(primary_key=True)
    passages: Mapped[int]


class GateSettings(Base):
    """One version of all that the school decided about one gate (门禁设置).

    A change adds a version and ends the one before; none is ever altered, so a passage can name
    the one that it was decided by.
    """

    __tablename__ = "gate_settings"
    __table_args__ = (
        UniqueConstraint("terminal_id", "version"),
        Index(
            "uq_gate_settings_current",
            "terminal_id",
            unique=True,
            postgresql_where=text("valid_until IS NULL"),
        ),
        CheckConstraint("passback_minutes >= 0", name="passback_not_negative"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    terminal_id: Mapped[UUID] = mapped_column(ForeignKey("terminals.id"))
    version: Mapped[int]
    """1, 2, 3 … of this gate."""
    offline: Mapped[OfflinePolicy]
    passback_minutes: Mapped[int]
    default: Mapped[Decision]
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime | None]


class AccessRule(Base):
    """One rule of one version (通行规则).  `backend.gates.rules.Rule` says what it means."""

    __tablename__ = "access_rules"
    __table_args__ = (
        CheckConstraint(
            "begins BETWEEN 0 AND 1439 AND ends BETWEEN 0 AND 1440", name="within_a_day"
        ),
    )

    settings_id: Mapped[UUID] = mapped_column(ForeignKey("gate_settings.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Its place in the list, from 1 on."""
    allow: Mapped[bool]
    days: Mapped[list[Any]]
    begins: Mapped[int]
    ends: Mapped[int]
    category: Mapped[Category | None]
    unit: Mapped[str | None]
    holder_ids: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    """A named list of people; None: everybody."""


class Emergency(Base):
    """An emergency that was declared (应急): while it lasts, everybody may leave.

    Source: regulation 六.
    """

    __tablename__ = "emergencies"
    __table_args__ = (CheckConstraint("ends_at > starts_at", name="period"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    terminal_id: Mapped[UUID | None] = mapped_column(ForeignKey("terminals.id"))
    """At one gate; None: at all."""
    place: Mapped[str | None]
    reason: Mapped[str]
    declared_by: Mapped[str]
    """As the operation log names who acted."""
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime] = mapped_column(index=True)
    """It ends by itself then."""
    ended_at: Mapped[datetime | None]
    """When somebody ended it, or when it ended by itself, as soon as that is written down."""
    ended_by: Mapped[str | None]
