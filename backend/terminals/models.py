"""Terminals (终端): tills, gates and kiosks, and how they prove who they are."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ColumnElement, ForeignKey, LargeBinary, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.hybrid import hybrid_property
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
    """One device at one place.

    What the device tells of itself (`queue_length` to `bundle_issued_at`) is as it was last told,
    and null until then; it is forgotten, as are its bundles, when another device enrols.
    """

    __tablename__ = "terminals"
    __table_args__ = (
        CheckConstraint("(kind = 'till') = (stall_id IS NOT NULL)", name="tills_have_stalls"),
        CheckConstraint("num_nonnulls(token_hash, public_key) <= 1", name="token_or_key"),
        CheckConstraint("(public_key IS NULL) = (key_id IS NULL)", name="keys_have_names"),
        CheckConstraint(
            "revoked_at IS NULL OR num_nonnulls(token_hash, public_key, enrolment_hash) = 0",
            name="revoked_hold_nothing",
        ),
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
    public_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The device key (设备密钥), Ed25519; the private half never leaves the device."""
    key_id: Mapped[str | None] = mapped_column(unique=True)
    """The key's name, its thumbprint: two terminals never hold the same key."""
    enrolled_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_seen_at: Mapped[datetime | None]
    online_since: Mapped[datetime | None]
    """Since when it was never silent for longer than `service.ONLINE_WITHIN`."""
    queue_length: Mapped[int | None]
    """What happened offline and waits to be uploaded (待上送)."""
    queue_since: Mapped[datetime | None]
    """Since when the queue is not empty; null while it is."""
    last_sequence: Mapped[int | None] = mapped_column(BigInteger)
    """The number of what it did last."""
    clock_offset_seconds: Mapped[int | None] = mapped_column(BigInteger)
    """Its clock minus the server's, rounded to whole seconds."""
    clock_off_since: Mapped[datetime | None]
    """Since when its clock is off by more than `heartbeats.CLOCK_OFF`; null while it is not."""
    bundle_sequence: Mapped[int | None] = mapped_column(BigInteger)
    """The bundle (脱机数据包) that it says it holds."""
    bundle_confirmed_at: Mapped[datetime | None]
    """When it first said so."""
    bundle_issued_at: Mapped[datetime | None]
    """When that bundle was issued; null where it is not one that we issued last."""
    bundle_latest_sequence: Mapped[int | None] = mapped_column(BigInteger)
    """The newest bundle that it was given; null where it was given none."""
    bundle_latest_issued_at: Mapped[datetime | None]
    gap_since: Mapped[datetime | None]
    """Since when numbers are missing among what it uploaded (序号缺口); null while none is."""
    missing_sequences: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))

    @hybrid_property
    def credential(self) -> bytes | None:
        """What its device is known by: a token's hash or a public key.  Null: not in service."""
        return self.token_hash or self.public_key

    @credential.inplace.expression
    @classmethod
    def _credential(cls) -> ColumnElement[bytes | None]:
        return func.coalesce(cls.token_hash, cls.public_key)

    @property
    def known_by(self) -> str | None:
        """In a word what its device is known by."""
        return "key" if self.public_key else "token" if self.token_hash else None
