"""What a day's charges come to, for the staff's overview.  Reads only."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.charges.models import Charge, ChargeState
from backend.clock import business_date, start_of_day
from backend.money import Fen
from backend.terminals.models import Terminal

SCHOOL_TIME = "Asia/Shanghai"


@dataclass(frozen=True, slots=True)
class DayFigures:
    """The charges of one accounting day."""

    approved: int
    declined: int
    total_fen: Fen
    """Price and surcharge of what was approved."""
    returned_fen: Fen
    """How much of it was given back by now."""
    by_hour_fen: tuple[Fen, ...]
    """`total_fen` by the hour of the school's clock: 24 of them."""


def figures_of_day(session: Session, *, day: date) -> DayFigures:
    """Return the figures of one accounting day.

    Goes by terminal and time, the index that tills are searched by: no day scans the table.
    """
    hour = func.extract("hour", func.timezone(SCHOOL_TIME, Charge.charged_at))
    approved, declined = (
        func.count().filter(Charge.state == state)
        for state in (ChargeState.APPROVED, ChargeState.DECLINED)
    )
    total, returned = (
        func.coalesce(func.sum(fen).filter(Charge.state == ChargeState.APPROVED), 0)
        for fen in (
            Charge.amount_fen + Charge.surcharge_fen,
            Charge.reversed_fen + Charge.surcharge_reversed_fen,
        )
    )
    rows = session.execute(
        select(hour, approved, declined, total, returned)
        .join(Terminal, Terminal.id == Charge.terminal_id)
        .where(
            Charge.charged_at >= start_of_day(day),
            Charge.charged_at < start_of_day(day + timedelta(days=1)),
        )
        .group_by(hour)
    ).all()
    by_hour = {int(row[0]): Fen(int(row[3])) for row in rows}
    return DayFigures(
        approved=sum(row[1] for row in rows),
        declined=sum(row[2] for row in rows),
        total_fen=Fen(sum(by_hour.values())),
        returned_fen=Fen(sum(int(row[4]) for row in rows)),
        by_hour_fen=tuple(by_hour.get(hour, Fen(0)) for hour in range(24)),
    )


def totals_by_day(session: Session, *, days: int, now: datetime) -> dict[date, Fen]:
    """Return what was charged on each of the last days, oldest first, today included."""
    today = business_date(now)
    first = today - timedelta(days=days - 1)
    rows = session.execute(
        select(Charge.business_date, func.sum(Charge.amount_fen + Charge.surcharge_fen))
        .join(Terminal, Terminal.id == Charge.terminal_id)
        .where(Charge.charged_at >= start_of_day(first), Charge.state == ChargeState.APPROVED)
        .group_by(Charge.business_date)
    ).all()
    charged = {day: Fen(int(fen or 0)) for day, fen in rows}
    return {
        day: charged.get(day, Fen(0)) for day in (first + timedelta(days=n) for n in range(days))
    }
