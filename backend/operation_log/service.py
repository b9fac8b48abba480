"""Writing and reading the operation log (台账)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from backend.ids import new_id
from backend.operation_log.models import LogChannel, LogEntry
from backend.rows import newest_first

HOLDER = "holder:"
UNBOUND = "unbound"
"""Every phone that is nobody's yet."""
OPERATOR = "operator:"
DONE = "done"
MOST_HISTORY = 200


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and where."""

    channel: LogChannel
    name: str


SYSTEM = Actor(LogChannel.BATCH, "system")


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which operations are asked for; what is None does not matter.

    A subject is asked for together with its holder, whose entries an index finds; no index leads to
    a subject alone, and none is needed: among two million entries it takes less than 1 ms.
    """

    since: datetime | None = None
    until: datetime | None = None
    """Not included."""
    action: str | None = None
    actor: str | None = None
    """The whole name of an actor, or its kind, such as `operator`."""
    holder_id: UUID | None = None
    subject_id: UUID | None = None
    refused: bool | None = None
    reference: str | None = None

    def apply(self, query: Select[Any]) -> Select[Any]:
        """Return a query of entries, narrowed down."""
        if self.since is not None:
            query = query.where(LogEntry.at >= self.since)
        if self.until is not None:
            query = query.where(LogEntry.at < self.until)
        if self.action is not None:
            query = query.where(LogEntry.action == self.action)
        if self.actor is not None:
            named = LogEntry.actor == self.actor
            of_kind = LogEntry.actor.startswith(f"{self.actor}:", autoescape=True)
            query = query.where(named | of_kind)
        if self.holder_id is not None:
            query = query.where(LogEntry.holder_id == self.holder_id)
        if self.subject_id is not None:
            query = query.where(LogEntry.subject_id == self.subject_id)
        if self.refused is not None:
            done = LogEntry.outcome == DONE
            query = query.where(~done if self.refused else done)
        if self.reference is not None:
            query = query.where(LogEntry.reference == self.reference)
        return query


ALL = LogFilter()


def record(
    session: Session,
    *,
    actor: Actor,
    action: str,
    now: datetime,
    outcome: str = DONE,
    holder_id: UUID | None = None,
    card_id: UUID | None = None,
    subject_id: UUID | None = None,
    before: Any = None,
    after: Any = None,
    documents: Sequence[str] = (),
    receipt_number: str | None = None,
    policy_ids: Sequence[UUID] = (),
    reference: str | None = None,
    **facts: Any,
) -> None:
    """Append one operation, in the transaction of the operation itself.

    `documents` are kinds of papers that were checked, never their numbers.  What has no column of
    its own goes into the facts.  A refusal is written by `refusals.py`, in one of its own.
    """
    session.add(
        LogEntry(
            id=new_id(),
            at=now,
            channel=actor.channel,
            actor=actor.name,
            action=action,
            outcome=outcome,
            holder_id=holder_id,
            card_id=card_id,
            subject_id=subject_id,
            before=before,
            after=after,
            documents=list(documents) or None,
            receipt_number=receipt_number,
            policy_ids=[str(id_) for id_ in policy_ids] or None,
            facts=facts,
            reference=reference,
        )
    )


def history_of(session: Session, *, holder_id: UUID, subject_id: UUID) -> Sequence[LogEntry]:
    """Return what happened to one thing of a holder, newest first."""
    wanted = LogFilter(holder_id=holder_id, subject_id=subject_id)
    return list_entries(session, wanted=wanted, before=None, limit=MOST_HISTORY)


def list_entries(
    session: Session,
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
    wanted: LogFilter = ALL,
) -> Sequence[LogEntry]:
    """Return operations, newest first."""
    query = wanted.apply(select(LogEntry))
    return session.scalars(newest_first(query, LogEntry.at, before=before, limit=limit)).all()
