"""What of a balance can go back where it came from (原路退款), and over which top-ups.  Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from backend.money import Fen
from backend.refunds.rules import MOST_REFUNDS


class Kept(StrEnum):
    """Why a part of the balance cannot go back from the phone, in the order in which it is told."""

    SUBSIDY = "subsidy"
    """补贴: it was given, not paid in"""
    TOO_OLD = "too-old"
    """已超过可退期限: paid in longer ago than the channel takes back"""
    NOT_REFUNDABLE = "payment-not-refundable"
    """该笔支付不能再退: its channel is off, or has made all the refunds that it makes"""
    CASH = "cash"
    """现金充值: paid in at a cash desk"""
    OTHER = "spent-or-other"
    """其他: the top-ups that are left have gone back already or were spent before"""


@dataclass(frozen=True, slots=True)
class Source:
    """A paid top-up, and what of it has gone back or is on its way."""

    top_up_id: UUID
    channel: str
    trade_no: str | None
    amount_fen: Fen
    paid_at: datetime
    refunded_fen: Fen
    refunds: int

    @property
    def left_fen(self) -> Fen:
        """What of it is left."""
        return Fen(self.amount_fen - self.refunded_fen)


@dataclass(frozen=True, slots=True)
class Part:
    """What goes back of one top-up."""

    top_up_id: UUID
    channel: str
    amount_fen: Fen


@dataclass(frozen=True, slots=True)
class Rest:
    """What stays in the purses, and why."""

    reason: Kept
    amount_fen: Fen


def stands_against(
    source: Source,
    *,
    windows: Mapping[str, timedelta],
    channels: Collection[str],
    now: datetime,
) -> Kept | None:
    """Return why nothing of a top-up goes back any more, None when something may."""
    if now >= source.paid_at + windows[source.channel]:
        return Kept.TOO_OLD
    most = MOST_REFUNDS.get(source.channel)
    worn_out = most is not None and source.refunds >= most
    off = source.channel not in channels or not source.trade_no
    return Kept.NOT_REFUNDABLE if off or worn_out else None


def split(amount_fen: int, sources: Sequence[Source]) -> list[Part]:
    """Spread an amount over top-ups, newest first, each at most what is left of it.

    What they do not hold is left out: the sum of the parts says how much goes back.
    """
    parts, left_fen = [], amount_fen
    for source in sorted(
        sources, key=lambda source: (source.paid_at, source.top_up_id), reverse=True
    ):
        part_fen = min(left_fen, source.left_fen)
        if part_fen > 0:
            parts.append(Part(source.top_up_id, source.channel, Fen(part_fen)))
            left_fen -= part_fen
    return parts


def explain(
    *,
    main_fen: int,
    subsidy_fen: int,
    refundable_fen: int,
    closed: Sequence[tuple[Kept, Fen]],
    cash_fen: int,
) -> list[Rest]:
    """Say why the rest of both purses stays, each fen once: the parts sum up to the rest.

    `closed` are the top-ups of which nothing goes back, and what is left of them; `cash_fen` is
    what came in over a cash desk.
    """
    left_fen = main_fen - refundable_fen
    may_be: dict[Kept, int] = {
        Kept.TOO_OLD: sum(fen for why, fen in closed if why is Kept.TOO_OLD),
        Kept.NOT_REFUNDABLE: sum(fen for why, fen in closed if why is Kept.NOT_REFUNDABLE),
        Kept.CASH: cash_fen,
        Kept.OTHER: left_fen,
    }
    rests = [Rest(Kept.SUBSIDY, Fen(subsidy_fen))]
    for kept, most_fen in may_be.items():
        rests.append(Rest(kept, Fen(min(left_fen, most_fen))))
        left_fen -= rests[-1].amount_fen
    return [rest for rest in rests if rest.amount_fen]
