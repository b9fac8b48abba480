"""The life of a refund as a table, and when its channel is asked.  Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from backend.clock import business_date, start_of_day
from backend.money import Fen
from backend.refunds.models import RefundState as S


class RefundEvent(StrEnum):
    """What can happen to a refund."""

    SEND = "send"
    """It is about to be sent: from now on the channel may know it."""
    TAKEN = "taken"
    """The channel's verified word: taken, not yet there."""
    SUCCEEDED = "succeeded"
    """The channel's verified word: the payer has it."""
    CLOSED = "closed"
    """The channel's verified word: it is not sent and never will be."""
    ABNORMAL = "abnormal"
    """The channel's verified word: it cannot be sent as things are."""
    PAID_OUT = "paid_out"
    """Two people of finance say: paid by hand."""


E = RefundEvent

TRANSITIONS: dict[tuple[S, E], S] = {
    (S.DUE, E.SEND): S.SENDING,
    (S.DUE, E.CLOSED): S.RETURNED,
    (S.DUE, E.ABNORMAL): S.ABNORMAL,
    (S.SENDING, E.SEND): S.SENDING,
    (S.SENDING, E.TAKEN): S.PROCESSING,
    (S.SENDING, E.SUCCEEDED): S.SUCCEEDED,
    (S.SENDING, E.CLOSED): S.RETURNED,
    (S.SENDING, E.ABNORMAL): S.ABNORMAL,
    (S.PROCESSING, E.SEND): S.SENDING,
    (S.PROCESSING, E.SUCCEEDED): S.SUCCEEDED,
    (S.PROCESSING, E.CLOSED): S.RETURNED,
    (S.PROCESSING, E.ABNORMAL): S.ABNORMAL,
    (S.ABNORMAL, E.SUCCEEDED): S.SUCCEEDED,
    (S.ABNORMAL, E.CLOSED): S.RETURNED,
    (S.ABNORMAL, E.PAID_OUT): S.PAID_OUT,
}
"""Every legal change.  What is not here is no news.  `processing` is sent once more only when the
channel says that it does not know the number; the number is the same, so it is sent once."""

OPEN = (S.DUE, S.SENDING, S.PROCESSING)
"""What the worker still asks about."""
UNSETTLED = (*OPEN, S.ABNORMAL)
"""What lies in `refunds_due`."""
PAID_TWICE = (S.RETURNED, S.PAID_OUT)
"""Where "succeeded" would mean that the money left twice: a person has to look."""

LADDER = tuple(timedelta(minutes=m) for m in (1, 1, 1, 1, 1, 5, 10, 20, 30))
"""The pauses between two questions (the platforms' own advice); the last one repeats."""
PACE = {"wechat": timedelta(minutes=1), "alipay": timedelta(seconds=3)}
"""The least pause between two refunds of one payment."""
MOST_REFUNDS = {"wechat": 50}
"""How many refunds of one payment a platform makes."""
STUCK_AFTER = timedelta(days=1)
"""A refund that has not ended by then is listed for staff."""
ON_ITS_WAY = timedelta(minutes=10)
"""What was sent may still reach the channel for so long, though it does not know it yet."""


def next_try_at(*, tries: int, now: datetime) -> datetime:
    """Return when to ask the channel again, after so many questions without an end."""
    return now + LADDER[min(tries, len(LADDER) - 1)]


AGES_DAYS = (30, 90, 365)
"""Where the list of what nobody has got yet is cut by age (账龄)."""


def owed_before(days: int, *, now: datetime) -> datetime:
    """Return the moment before which something was listed that is owed for more than some days.

    >>> owed_before(30, now=datetime.fromisoformat("2026-12-31T12:00:00Z")).isoformat()
    '2026-11-30T16:00:00+00:00'
    """
    return start_of_day(business_date(now) - timedelta(days=days))


def fitting(amounts_fen: Iterable[Fen], *, room_fen: int) -> list[int]:
    """Return the places of the amounts that fit into a sum, each in its turn.

    What does not fit is passed over: one large amount does not hold up those behind it.

    >>> fitting([600, 500, 300], room_fen=1000)
    [0, 2]
    """
    places = []
    for place, amount_fen in enumerate(amounts_fen):
        if amount_fen <= room_fen:
            places.append(place)
            room_fen -= amount_fen
    return places
