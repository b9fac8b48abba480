"""The operation log (台账): who did what to whom, appended and never changed."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Index
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
    TERMINAL = "terminal"
    """收银与门禁终端"""
    PLATFORM = "platform"
    """支付平台"""
    BATCH = "batch"
    """批处理"""


class LogEntry(Base):
    """One operation.  Insert-only: a trigger refuses every change, also the owner's.

    Source: regulation 三(一).
    """

    __tablename__ = "operation_log"
    __table_args__ = (Index(None, "holder_id", "at"), Index(None, "at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    channel: Mapped[LogChannel]
    actor: Mapped[str]
    """Who acted, as `holder:<id>`, `terminal:<id>`, `operator:<id>` or `system`."""
    action: Mapped[str]
    """Feature and verb, such as `card.report_lost`."""
    outcome: Mapped[str]
    """`done`, or the code of the refusal."""
    holder_id: Mapped[UUID | None]
    subject_id: Mapped[UUID | None]
    facts: Mapped[dict[str, Any]]
    """Before and after, documents checked, policy rows used.  No personal data."""
    reference: Mapped[str | None]
