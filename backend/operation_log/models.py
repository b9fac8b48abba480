"""The operation log (台账): who did what to whom, appended and never changed."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class LogChannel(StrEnum):
    """Where an operation came in."""

    MINI_PROGRAM = "mini_program"
    """小程序"""
    KIOSK = "kiosk"
    """自助机"""
    COUNTER = "counter"
    """柜台"""
    HOTLINE = "hotline"
    """热线: an operator acts for a holder who called"""
    TERMINAL = "terminal"
    """收银与门禁终端"""
    PLATFORM = "platform"
    """支付平台"""
    BATCH = "batch"
    """批处理"""


class LogEntry(Base):
    """One operation, done or refused.

    Insert-only: a trigger refuses every change, also the owner's.

    The role that serves may name every column but `written_by`, so it cannot choose where in the
    order of sealing a row stands.

    Source: regulation 三(一).
    """

    __tablename__ = "operation_log"
    __table_args__ = (
        Index(None, "holder_id", "at"),
        Index(None, "at"),
        Index(None, "actor", "at"),
        Index(None, "written_by", "id"),
        Index(None, "reference", postgresql_where=text("reference IS NOT NULL")),
        Index(
            "ix_operation_log_disposals",
            "written_by",
            postgresql_where=text("action = 'log.dispose'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    channel: Mapped[LogChannel]
    actor: Mapped[str]
    """Who acted, as `holder:<id>`, `terminal:<id>`, `operator:<id>`, `system` or `nobody`."""
    action: Mapped[str]
    """Feature and verb, such as `card.report_lost`."""
    outcome: Mapped[str]
    """`done`, or the code of the refusal."""
    holder_id: Mapped[UUID | None]
    card_id: Mapped[UUID | None]
    subject_id: Mapped[UUID | None]
    """What it was done to, or the id that the caller made for it."""
    before: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    documents: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Which documents were checked (核验材料): kinds, never numbers."""
    receipt_number: Mapped[str | None]
    """收据号"""
    policy_ids: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    """The rows of policies (规定) that decided."""
    facts: Mapped[dict[str, Any]]
    """Whatever else there is to say.  No personal data."""
    reference: Mapped[str | None]
    """What the caller was shown (编号)."""
    written_by: Mapped[int] = mapped_column(
        BigInteger, server_default=text("pg_current_xact_id()::text::bigint")
    )
    """The transaction that wrote it: seals cover ranges of these, below the oldest one running."""


class LogSeal(Base):
    """A link of the hash chain (封存): what stood in the log between two transaction ids.

    How each member is made is in `rules.py`.  Insert-only, as the log is.
    """

    __tablename__ = "operation_log_seals"
    __table_args__ = (
        CheckConstraint("entries > 0", name="not_empty"),
        CheckConstraint("length(contents) = 48 * entries", name="contents"),
    )

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """From 1, without gaps."""
    since: Mapped[int] = mapped_column(BigInteger)
    """The first transaction id that it covers: where the seal before ended."""
    until: Mapped[int] = mapped_column(BigInteger)
    """The first one that it does not cover."""
    entries: Mapped[int]
    total: Mapped[int] = mapped_column(BigInteger)
    """Entries in this seal and in all before it."""
    contents: Mapped[bytes] = mapped_column(LargeBinary)
    """For each entry in order its id, 16 bytes, and its digest, 32: so a difference has a name."""
    previous_head: Mapped[bytes] = mapped_column(LargeBinary)
    head: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_at: Mapped[datetime]
