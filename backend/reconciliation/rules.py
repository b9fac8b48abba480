"""When a bill is fetched, and how its rows stand beside our books.  Pure."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from backend.clock import SHANGHAI, business_date
from backend.money import Fen
from backend.reconciliation.models import LineMatch
from backend.refunds.models import RefundState
from backend.topups.models import TopUpState

FIRST_TRY = time(10, 10)
"""Bills are written by ten in the morning of the next day, in Shanghai."""
LAST_TRY = time(20, 0)
"""If there is none by then, somebody should look; it is tried again on the next morning."""
PAUSE = timedelta(minutes=30)
CAUGHT_UP_DAYS = 30
"""How far back missed bills are fetched.  WeChat keeps them for three months."""

KEPT_DAYS = 92
"""How far back the platforms give bills: three months."""

WENT_BACK = {"SUCCESS", "退款"}
"""The platforms' words for a refund that left them; any other may still come to nothing."""


def _at(day: date, clock: time) -> datetime:
    return datetime.combine(day, clock, SHANGHAI)


def first_try_at(day: date) -> datetime:
    """Return from when on the bill of a day is fetched."""
    return _at(day + timedelta(days=1), FIRST_TRY)


def next_try_at(now: datetime) -> datetime:
    """Return when to try again after a try that brought nothing: today, or tomorrow morning."""
    later = now + PAUSE
    today = business_date(now)
    if later < _at(today, FIRST_TRY):
        return _at(today, FIRST_TRY)
    if later <= _at(today, LAST_TRY):
        return later
    return _at(today + timedelta(days=1), FIRST_TRY)


def is_overdue(day: date, now: datetime) -> bool:
    """Say whether somebody should look: the next try would come too late."""
    return now + PAUSE > _at(day + timedelta(days=1), LAST_TRY)


def is_over(day: date, now: datetime) -> bool:
    """Say whether a day is over in Shanghai: no other has a bill."""
    return day < business_date(now)


def is_kept(day: date, now: datetime) -> bool:
    """Say whether the platforms still give the bill of a day."""
    return day >= business_date(now) - timedelta(days=KEPT_DAYS)


def days_to_fetch(first: date | None, now: datetime) -> list[date]:
    """Return the days whose bills should be there: since the first trade, thirty at most.

    Yesterday is always among them: somebody else may use the merchant number.
    """
    yesterday = business_date(now) - timedelta(days=1)
    since = max(first or yesterday, yesterday - timedelta(days=CAUGHT_UP_DAYS - 1))
    since = min(since, yesterday)
    return [since + timedelta(days=n) for n in range((yesterday - since).days + 1)]


@dataclass(frozen=True, slots=True)
class OurOrder:
    """What our books say of the order whose number a payment carries.

    Attributes:
        trade_no: the payment that settled it; None until one does.
        strays: the numbers of further payments of it that were sent back.
    """

    amount_fen: Fen
    state: TopUpState
    trade_no: str | None
    strays: AbstractSet[str]


def match_payment(*, trade_no: str, amount_fen: int, ours: OurOrder | None) -> LineMatch:
    """Say how a payment stands beside our order."""
    if ours is None:
        return LineMatch.UNKNOWN_ORDER
    if amount_fen != ours.amount_fen:
        return LineMatch.AMOUNT_DIFFERS
    if trade_no in ours.strays:
        return LineMatch.MATCHED
    if ours.state not in (TopUpState.PAID, TopUpState.RETURNED):
        return LineMatch.NOT_PAID_HERE
    return LineMatch.MATCHED if trade_no == ours.trade_no else LineMatch.OTHER_PAYMENT


@dataclass(frozen=True, slots=True)
class OurRefund:
    """What our books say of the refund whose number a row carries."""

    trade_no: str
    amount_fen: Fen
    state: RefundState


def match_refund(
    *, trade_no: str, amount_fen: int, state: str, ours: OurRefund | None
) -> LineMatch:
    """Say how a refund stands beside ours.

    A bill tells how a refund stood that night: one that was under way is no difference, whatever
    became of it.
    """
    if ours is None or ours.trade_no != trade_no:
        return LineMatch.UNKNOWN_REFUND
    if amount_fen != ours.amount_fen:
        return LineMatch.AMOUNT_DIFFERS
    back_here = ours.state in (RefundState.DUE, RefundState.RETURNED, RefundState.PAID_OUT)
    if back_here and state in WENT_BACK:
        return LineMatch.STATE_DIFFERS
    return LineMatch.MATCHED
