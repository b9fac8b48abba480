"""Writing and reading the operation log (台账)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.ids import new_id
from backend.operation_log.models import LogChannel, LogEntry


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and where."""

    channel: LogChannel
    name: str


SYSTEM = Actor(LogChannel.BATCH, "system")


def record(
    session: Session,
    *,
    actor: Actor,
    action: str,
    now: datetime,
    outcome: str = "done",
    holder_id: UUID | None = None,
    subject_id: UUID | None = None,
    reference: str | None = None,
    **facts: Any,
) -> None:
    """Append one operation, in the transaction of the operation itself."""
    session.add(
        LogEntry(
            id=new_id(),
            at=now,
            channel=actor.channel,
            actor=actor.name,
            action=action,
            outcome=outcome,
            holder_id=holder_id,
            subject_id=subject_id,
            facts=facts,
            reference=reference,
        )
    )


def list_entries(
    session: Session,
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
    action: str | None = None,
    holder_id: UUID | None = None,
    subject_id: UUID | None = None,
) -> Sequence[LogEntry]:
    """Return operations, newest first: all, or those of an action, on a holder, on a subject."""
    query = select(LogEntry)
    if action is not None:
        query = query.where(LogEntry.action == action)
    if holder_id is not None:
        query = query.where(LogEntry.holder_id == holder_id)
    if subject_id is not None:
        query = query.where(LogEntry.subject_id == subject_id)
    if before is not None:
        query = query.where(
            (LogEntry.at < before[0]) | ((LogEntry.at == before[0]) & (LogEntry.id < before[1]))
        )
    return session.scalars(
        query.order_by(LogEntry.at.desc(), LogEntry.id.desc()).limit(limit)
    ).all()
