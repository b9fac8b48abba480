"""Whole seconds since 1970-01-01 UTC: the only time that a card code can say."""

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
