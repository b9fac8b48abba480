"""Who would be refused at a gate at a moment (试算): tried out, and nothing written."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.clock import SHANGHAI, business_date
from backend.gates.access import access_of, find_gate
from backend.gates.rules import GateAccess, Person, next_opening, timetable
from backend.holders.models import Holder
from backend.holders.rules import masked_name
from qr.rules import Access, Hours, Reason

MOST_NAMED = 200
"""How many people, and how many units, are named."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What the rules would say at a moment."""

    at: datetime
    people: int
    """Everybody whose card has not expired by then."""
    refused: int
    by_category: list[dict[str, Any]]
    by_unit: list[dict[str, Any]]
    items: list[dict[str, Any]]
    """The first of them, by holder number."""


def try_out(
    session: Session, *, terminal_id: UUID, wanted: GateAccess | None, at: datetime
) -> Trial:
    """Return whom a gate's rules would refuse at a moment; None tries those in force.

    It goes by the rules alone: whether somebody's card is lost, or passed a minute ago, is not
    asked.

    Raises:
        NotFound: there is no such gate.
    """
    find_gate(session, terminal_id=terminal_id)
    access = wanted or access_of(session, terminal_id=terminal_id)[1]
    rows = session.execute(
        select(Holder.id, Holder.category, Holder.unit)
        .where(Holder.valid_until >= business_date(at))
        .order_by(Holder.holder_number)
    )
    people = [Person(*row) for row in rows]
    local = at.astimezone(SHANGHAI)
    why: dict[UUID, tuple[Reason, tuple[Hours, ...]]] = {}
    for hours, alike in timetable(access, people).items():
        reason = Access(hours).refusal(local)
        if reason is not None:
            why |= {person.holder_id: (reason, hours) for person in alike}
    refused = [person for person in people if person.holder_id in why]
    return Trial(
        at=at,
        people=len(people),
        refused=len(refused),
        by_category=_counted("category", ((p.category, why[p.holder_id][0]) for p in refused)),
        by_unit=_counted("unit", ((p.unit, why[p.holder_id][0]) for p in refused)),
        items=[
            {
                "holder_number": holder.holder_number,
                "name_masked": masked_name(holder.name),
                "category": holder.category,
                "unit": holder.unit,
                "reason": reason,
                "opens_at": next_opening(hours, local) if hours else None,
            }
            for holder in _holders(session, refused[:MOST_NAMED])
            for reason, hours in [why[holder.id]]
        ],
    )


def _counted(name: str, refused: Iterable[tuple[str, Reason]]) -> list[dict[str, Any]]:
    """Return how many there are of each kind and reason, the most numerous first."""
    found: dict[tuple[str, Reason], int] = {}
    for kind in refused:
        found[kind] = found.get(kind, 0) + 1
    most_first = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MOST_NAMED]
    return [{name: kind, "reason": reason, "count": count} for (kind, reason), count in most_first]


def _holders(session: Session, people: list[Person]) -> Iterable[Holder]:
    return session.scalars(
        select(Holder)
        .where(Holder.id.in_([person.holder_id for person in people]))
        .order_by(Holder.holder_number)
    )
