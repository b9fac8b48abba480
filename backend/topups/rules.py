"""The life of a top-up as a table, and when its channel is asked.  Pure."""

from datetime import datetime, timedelta
from enum import StrEnum

from backend.topups.models import TopUpState as S


class TopUpEvent(StrEnum):
    """What can happen to a top-up."""

    ORDERED = "ordered"
    """The channel took the order."""
    REFUSED = "refused"
    """The channel surely refused the order."""
    PAID = "paid"
    """A verified word of the channel: paid, exactly as ordered."""
    PAID_WRONG = "paid_wrong"
    """A verified word of the channel: paid, but not as ordered."""
    CLOSE = "close"
    """Its time is over: the channel is asked to close it."""
    CLOSED = "closed"
    """The channel says that nobody can pay it any more."""


E = TopUpEvent

TRANSITIONS: dict[tuple[S, E], S] = {
    (S.CREATED, E.ORDERED): S.PENDING,
    (S.CREATED, E.REFUSED): S.FAILED,
    (S.CREATED, E.CLOSE): S.CLOSING,
    (S.PENDING, E.CLOSE): S.CLOSING,
    (S.CLOSING, E.CLOSED): S.CLOSED,
    (S.CREATED, E.PAID): S.PAID,
    (S.PENDING, E.PAID): S.PAID,
    (S.CLOSING, E.PAID): S.PAID,
    (S.CLOSED, E.PAID): S.PAID,
    (S.FAILED, E.PAID): S.PAID,
    (S.CREATED, E.PAID_WRONG): S.EXCEPTION,
    (S.PENDING, E.PAID_WRONG): S.EXCEPTION,
    (S.CLOSING, E.PAID_WRONG): S.EXCEPTION,
    (S.CLOSED, E.PAID_WRONG): S.EXCEPTION,
    (S.FAILED, E.PAID_WRONG): S.EXCEPTION,
}
"""Every legal change.  What is not here is no news: a second notice, an answer that came late."""

LADDER = tuple(timedelta(seconds=s) for s in (5, 30, 60, 180, 300, 600, 1800))
"""When an unpaid order is asked about, counted from its creation (the platform's own advice)."""
RETRY = timedelta(seconds=30)
LAST_LOOK = timedelta(hours=1)
"""A closed order is looked at once more: a payment may have been under way."""


def next_query_at(
    *, state: S, queries: int, created_at: datetime, expires_at: datetime, now: datetime
) -> datetime | None:
    """Return when the channel is to be asked next, None when nothing is left to ask."""
    if state in (S.CREATED, S.PENDING):
        due = created_at + LADDER[queries] if queries < len(LADDER) else expires_at
        return max(min(due, expires_at), now)
    if state is S.CLOSING:
        return now + RETRY
    return None
