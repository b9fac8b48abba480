"""Terminals (终端): tills, gates and kiosks, and how they prove who they are."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class TerminalKind(StrEnum):
    """What a terminal is for; it can do nothing else."""

    TILL = "till"
    """收银"""
    GATE = "gate"
    """门禁"""
    KIOSK = "kiosk"
    """自助机"""


class Reader(StrEnum):
    """How a terminal reads codes; the phone offers what suits it."""

    HID = "hid"
    """A scanner that types: short codes suit it."""
    SERIAL = "serial"
    CAMERA = "camera"


class Terminal(Base):
    """One device at one place."""

    __tablename__ = "terminals"
    __table_args__ = (
        CheckConstraint("(kind = 'till') = (stall_id IS NOT NULL)", name="tills_have_stalls"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[TerminalKind]
    place: Mapped[str] = mapped_column(unique=True)
    stall_id: Mapped[UUID | None] = mapped_column(ForeignKey("stalls.id"))
    reader: Mapped[Reader]
    software: Mapped[str | None]
    enrolment_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    """Of the one-time token; cleared when it is used."""
    enrolment_expires_at: Mapped[datetime | None]
    token_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    enrolled_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_seen_at: Mapped[datetime | None]
