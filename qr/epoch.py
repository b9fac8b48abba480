"""Whole seconds since 1970-01-01 UTC, the only time that a code can say; and RFC 3339 for JSON."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def to_epoch(moment: datetime) -> int:
    """Return the second that `moment`, which must be aware, lies in.

    Always rounds down, in integers, so every instant of an accepted second is accepted.
    """
    return (moment - _EPOCH) // _SECOND


def from_epoch(seconds: int) -> datetime:
    """Return the beginning of a second, aware UTC."""
    return _EPOCH + seconds * _SECOND


def rfc3339(moment: datetime) -> str:
    """Return an aware moment in UTC as the published API writes it: milliseconds, ending in Z."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
