"""The only module that asks the machine for the time."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")


def now() -> datetime:
    """Return this moment as aware UTC.  Only routes, jobs and the command line call it."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Return a moment as it is written in every answer: UTC, milliseconds, ending in Z.

    >>> rfc3339(datetime(2026, 9, 1, 12, 0, tzinfo=SHANGHAI))
    '2026-09-01T04:00:00.000Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def business_date(moment: datetime) -> date:
    """Return the accounting day (记账日) of a moment: the calendar day in Asia/Shanghai.

    >>> business_date(datetime(2026, 8, 31, 16, 0, tzinfo=UTC))
    datetime.date(2026, 9, 1)
    """
    return moment.astimezone(SHANGHAI).date()


def start_of_day(day: date) -> datetime:
    """Return the moment at which an accounting day begins, as aware UTC.

    >>> start_of_day(date(2026, 9, 1)).isoformat()
    '2026-08-31T16:00:00+00:00'
    """
    return datetime(day.year, day.month, day.day, tzinfo=SHANGHAI).astimezone(UTC)
