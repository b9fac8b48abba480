"""Cards follow their holders into another category (类别变更): a later last day wakes them.

`holders.category_changes` knows nothing of cards; whoever notes or applies a change comes here.
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.cards.counter import wake
from backend.clock import business_date
from backend.holders import category_changes
from backend.holders.models import CategoryChange, Holder
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor


def schedule(
    session: Session, *, holder_id: UUID, actor: Actor, now: datetime, **said: Any
) -> tuple[CategoryChange, bool]:
    """Note who somebody is from a day on, as `category_changes.schedule` does; see there.

    Where the day has come, cards that had expired live again up to the new last day.
    """
    change, first = category_changes.schedule(
        session, holder_id=holder_id, actor=actor, now=now, **said
    )
    if first and change.applied_at is not None:
        _wake(session, change, actor=actor, now=now)
    return change, first


def apply_due(session: Session, *, now: datetime) -> int:
    """Apply the changes whose day has come, and wake the cards that go on; return how many."""
    due = category_changes.apply_due(session, now=now)
    for change in due:
        _wake(session, change, actor=operation_log.SYSTEM, now=now)
    return len(due)


def _wake(session: Session, change: CategoryChange, *, actor: Actor, now: datetime) -> None:
    holder = session.get_one(Holder, change.holder_id)
    if holder.valid_until >= business_date(now):
        session.flush()
        wake(
            session,
            holder_id=holder.id,
            actor=actor,
            now=now,
            documents=[change.document_number],
            change_id=str(change.id),
            valid_until=holder.valid_until.isoformat(),
        )


LEAVES = text("""
    SELECT d.effective_on FROM leavers l JOIN departures d ON d.id = l.departure_id
     WHERE l.holder_id = :id AND l.state = 'scheduled'
""")


def leaves_on(session: Session, *, holder_id: UUID) -> date | None:
    """Return the day of a departure (离校、离职) that waits for a holder, or None.

    Who is of another kind by then does not leave by it: whoever notes a change is told of it.
    """
    day: date | None = session.scalar(LEAVES, {"id": holder_id})
    return day
