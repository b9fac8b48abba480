"""The life of a top-up as a table, and when its channel is asked.  Pure."""

from datetime import datetime, timedelta
from enum import StrEnum

from backend.topups.models import TopUp
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
    """Its time is over, or its holder does not want it any more: the channel is to close it."""
    PAID_STRAY = "paid_stray"
    """A verified word of the channel: paid as ordered, but no purse takes it: it goes back."""
    CLOSED = "closed"
    """The channel says that nobody can pay it any more."""
    THAWED = "thawed"
    """Two people let it go on: what its channel says now is done next."""


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
    (S.CREATED, E.PAID_STRAY): S.RETURNED,
    (S.PENDING, E.PAID_STRAY): S.RETURNED,
    (S.CLOSING, E.PAID_STRAY): S.RETURNED,
    (S.CLOSED, E.PAID_STRAY): S.RETURNED,
    (S.FAILED, E.PAID_STRAY): S.RETURNED,
    (S.EXCEPTION, E.THAWED): S.CLOSED,
}
"""Every legal change.  What is not here is no news: a second notice, an answer that came late."""


def happen(top_up: TopUp, event: TopUpEvent) -> bool:
    """Let an event change a locked order's state; say whether it was news."""
    after = TRANSITIONS.get((top_up.state, event))
    if after is None:
        return False
    top_up.state = after
    return True


UNPAID = (S.CREATED, S.PENDING)
"""The holder can pay, or is about to be able to."""
UNRESOLVED = (S.CREATED, S.PENDING, S.CLOSING, S.EXCEPTION)
OVERDUE = timedelta(hours=26)
"""Nothing is unresolved for so long, or somebody has to look (P4 of the reliability rules)."""

LADDER = tuple(timedelta(seconds=s) for s in (5, 30, 60, 180, 300, 600, 1800))
"""When an unpaid order is asked about, counted from its creation (the platform's own advice)."""
UNANSWERED = timedelta(seconds=30)
"""An order without the channel's answer is younger than this while a thread may still wait for it;
then the channel is asked, and gets the same order again if it does not know it."""
STEP = timedelta(hours=1)
"""Above the ladder, for a school whose orders are valid for long."""
RETRY = timedelta(seconds=30)
LAST_LOOK = timedelta(hours=1)
"""A dead order is looked at again: a payment may have been under way."""
NEXT_DAY_LOOK = timedelta(hours=22)
"""And once more before it is a day old; what comes later, the bill of its day tells."""
EARLIEST_CLOSE = {"wechat": timedelta(minutes=5)}
"""WeChat Pay advises against closing a younger order.  A wish that can wait, waits."""


def next_query_at(
    *, state: S, queries: int, created_at: datetime, expires_at: datetime, now: datetime
) -> datetime | None:
    """Return when the channel is to be asked next, None when nothing is left to ask."""
    if state in UNPAID:
        due = created_at + LADDER[queries] if queries < len(LADDER) else now + STEP
        if state is S.CREATED:
            due = max(due, created_at + UNANSWERED)
        return max(min(due, expires_at), now)
    if state is S.CLOSING:
        return now + RETRY
    if state in (S.CLOSED, S.FAILED):
        return _next_look(expires_at, now)
    return None


def _next_look(expires_at: datetime, now: datetime) -> datetime | None:
    """Return when to look again at a dead order that was just answered about, None for never."""
    for after in (LAST_LOOK, NEXT_DAY_LOOK):
        if now < expires_at + after:
            return expires_at + after
    return None


def close_due_at(*, channel: str, created_at: datetime, expires_at: datetime) -> datetime:
    """Return from when on an unpaid order that nobody wants any more is closed at its channel."""
    return min(created_at + EARLIEST_CLOSE.get(channel, timedelta()), expires_at)
