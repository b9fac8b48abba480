"""What an application has to hold, and when its end is near.  Pure."""

from collections.abc import Collection
from datetime import date, timedelta

from backend.applications.models import ApprovalKind
from backend.errors import DomainError, Kind
from backend.holders.models import Category

MOST_PEOPLE = 200
"""People of one application."""
MOST_YEARS = 5
TEMPORARY = (
    Category.TEMPORARY_RETIRED,
    Category.TEMPORARY_TRAINEE,
    Category.TEMPORARY_OUTSIDER,
)
PERMISSIONS = ("pay", "identify", "finance", "information")
"""What a card is for (用途权限), regulation 一(一)."""


class PeriodNotPossible(DomainError, code="period-not-possible", kind=Kind.CONFLICT):
    """The end is before the beginning, in the past, or years away.  Facts: `first`, `last`."""


def missing_approvals(given: Collection[ApprovalKind]) -> list[ApprovalKind]:
    """Return whose approval is still missing: the unit's and the leader's are needed.

    >>> missing_approvals([ApprovalKind.UNIT])
    [<ApprovalKind.LEADER: 'leader'>]
    """
    return [kind for kind in ApprovalKind if kind not in given]


def check_end(valid_until: date, *, first: date) -> None:
    """Refuse an end outside of what a temporary card may last.

    Raises:
        PeriodNotPossible: before `first`, or more than five years after it.
    """
    last = first + timedelta(days=366 * MOST_YEARS)
    if not first <= valid_until <= last:
        raise PeriodNotPossible(first=first.isoformat(), last=last.isoformat())


def is_near(valid_until: date, *, today: date, days: int) -> bool:
    """Say whether an end is so near that people are reminded of it.

    >>> [is_near(date(2026, 6, 30), today=date(2026, 6, day), days=14) for day in (15, 16, 30)]
    [False, True, True]
    """
    return timedelta(0) <= valid_until - today <= timedelta(days=days)
