"""Emergencies (应急): while one lasts, whoever wants to leave is let out, and it is written down.

Source: regulation 六.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.gates.access import find_gate
from backend.gates.models import Emergency
from backend.ids import new_id
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators import service as operators
from backend.rows import lock_row, newest_first

OPERATOR = "operator:"
"""Before the id of one, where somebody who acted is named."""


def declare(
    session: Session,
    *,
    terminal_id: UUID | None,
    reason: str,
    minutes: int,
    actor: Actor,
    now: datetime,
) -> Emergency:
    """Declare an emergency at one gate, or with None at all, from now on for some minutes.

    It ends by itself.  A second one changes nothing of the first: a door is free to leave by as
    long as either lasts.

    Raises:
        NotFound: there is no such gate.
    """
    gate = None if terminal_id is None else find_gate(session, terminal_id=terminal_id)
    made = Emergency(
        id=new_id(),
        terminal_id=terminal_id,
        place=gate.place if gate else None,
        reason=reason,
        declared_by=actor.name,
        starts_at=now,
        ends_at=now + timedelta(minutes=minutes),
    )
    session.add(made)
    operation_log.record(
        session,
        actor=actor,
        action="emergency.declare",
        subject_id=made.id,
        now=now,
        terminal_id=None if terminal_id is None else str(terminal_id),
        minutes=minutes,
    )
    return made


def end(session: Session, *, emergency_id: UUID, actor: Actor, now: datetime) -> None:
    """End an emergency before its time.  Idempotent.  Locks it.

    Raises:
        NotFound: there is no such emergency.
    """
    found = lock_row(session, Emergency, emergency_id)
    if is_over(found, now=now):
        return
    found.ended_at, found.ended_by = now, actor.name
    operation_log.record(
        session, actor=actor, action="emergency.end", subject_id=emergency_id, now=now
    )


def note_ends(session: Session, *, now: datetime) -> int:
    """Write down, once, which emergencies have ended by themselves; return how many did.

    Leaving goes by the clock and never waits for this.  Locks them; one that somebody ends this
    moment is left to them.
    """
    over = session.scalars(
        select(Emergency)
        .where(Emergency.ended_at.is_(None), Emergency.ends_at <= now)
        .order_by(Emergency.ends_at, Emergency.id)
        .with_for_update(skip_locked=True)
    ).all()
    for found in over:
        found.ended_at, found.ended_by = found.ends_at, operation_log.SYSTEM.name
        operation_log.record(
            session,
            actor=operation_log.SYSTEM,
            action="emergency.end",
            subject_id=found.id,
            now=now,
            by_itself=True,
            ended_at=found.ends_at.isoformat(),
        )
    session.flush()
    return len(over)


def is_over(emergency: Emergency, *, now: datetime) -> bool:
    """Return whether an emergency has ended, by itself or by hand."""
    return emergency.ended_at is not None or now >= emergency.ends_at


def may_leave(session: Session, *, terminal_id: UUID, now: datetime) -> bool:
    """Return whether an emergency lasts at a gate."""
    lasting = select(Emergency.id).where(
        Emergency.terminal_id.is_(None) | (Emergency.terminal_id == terminal_id),
        Emergency.ended_at.is_(None),
        Emergency.ends_at > now,
        Emergency.starts_at <= now,
    )
    return session.scalar(lasting.limit(1)) is not None


def list_all(
    session: Session, *, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Emergency]:
    """Return emergencies, newest first."""
    query = select(Emergency)
    return session.scalars(
        newest_first(query, Emergency.starts_at, before=before, limit=limit)
    ).all()


def describe(session: Session, rows: Sequence[Emergency], *, now: datetime) -> list[dict[str, Any]]:
    """Return emergencies as staff read them: with the names of those who declared them."""
    ids = {
        UUID(row.declared_by.removeprefix(OPERATOR)) for row in rows if OPERATOR in row.declared_by
    }
    names = {f"{OPERATOR}{id_}": name for id_, name in operators.usernames(session, ids).items()}
    return [
        {
            "id": row.id,
            "terminal_id": row.terminal_id,
            "place": row.place,
            "reason": row.reason,
            "declared_by": names.get(row.declared_by),
            "starts_at": row.starts_at,
            "ends_at": row.ends_at,
            "ended_at": row.ended_at,
            "lasts": not is_over(row, now=now),
        }
        for row in rows
    ]
