"""When a card is due for exchange, and what an application needs.  Pure."""

import calendar
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from backend.issues.models import Outcome

MOST_ITEMS = 500
"""People of one batch; the rest of a larger unit waits for the next one."""


def months_later(day: date, months: int) -> date:
    """Return the same day of a later calendar month, or that month's last day.

    >>> months_later(date(2026, 9, 1), 3), months_later(date(2026, 11, 30), 3)
    (datetime.date(2026, 12, 1), datetime.date(2027, 2, 28))
    """
    years, month = divmod(day.month - 1 + months, 12)
    year = day.year + years
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


@dataclass(frozen=True, slots=True)
class NewStudent:
    """Somebody with a new-student card (新生卡), and when the first one was handed out."""

    holder_id: UUID
    unit: str
    issued_on: date


def due_classes(
    students: Iterable[NewStudent], *, today: date, months: int
) -> dict[str, list[tuple[NewStudent, date]]]:
    """Return the classes that are due for exchange, each with all its students and their own days.

    A class is due as soon as one of its students is: cards are exchanged by class.
    """
    by_class: dict[str, list[tuple[NewStudent, date]]] = {}
    for student in students:
        day = months_later(student.issued_on, months)
        by_class.setdefault(student.unit, []).append((student, day))
    return {
        unit: found for unit, found in by_class.items() if min(day for _, day in found) <= today
    }


def is_closed(outcomes: Collection[Outcome | None]) -> bool:
    """Say whether a batch has come to its end: every item has an outcome."""
    return None not in outcomes


def counts(outcomes: Iterable[Outcome | None]) -> dict[str, int]:
    """Return how many items wait, and how many had each outcome."""
    names = ["waiting" if outcome is None else outcome.value for outcome in outcomes]
    return {name: names.count(name) for name in ("waiting", *(one.value for one in Outcome))}
