"""A period's meal surcharge (搭伙费): as it is, and as it should have been."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from backend.charges.rules import meal_surcharge, surcharge_excess
from backend.errors import DomainError, Kind
from backend.money import Fen
from backend.policies.models import Policy

KEY = "charge.surcharge_permille"
LONGEST = timedelta(days=366)
AT_ONCE = 1000
"""Charges that are read with one statement."""
MEALS = text("""
    SELECT c.id, c.amount_fen, c.surcharge_fen, c.reversed_fen, c.surcharge_reversed_fen,
           coalesce((c.facts ->> 'decided_at')::timestamptz, c.charged_at) AS at,
           m.is_canteen, coalesce(h.pays_surcharge, false) AS pays_surcharge,
           is_account_closed(c.holder_id) AS is_closed
      FROM charges c
      JOIN merchants m ON m.id = c.merchant_id
      JOIN holders h ON h.id = c.holder_id
     WHERE c.business_date BETWEEN :first_day AND :last_day AND c.state = 'approved'
       AND (c.surcharge_fen > 0 OR m.is_canteen AND h.pays_surcharge)
       AND NOT EXISTS (SELECT FROM surcharge_returns r WHERE r.charge_id = c.id)
       AND (CAST(:after AS uuid) IS NULL OR c.id > :after)
       AND (CAST(:only AS uuid) IS NULL OR c.id = :only)
     ORDER BY c.id LIMIT :limit
""")


class ReratingPeriodRefused(DomainError, code="rerating-period-refused", kind=Kind.INVALID):
    """From a day to the same or a later one that is over, at most 366 days."""


@dataclass(frozen=True, slots=True)
class Basis:
    """By what the surcharge is computed anew."""

    permille: int | None
    flags: bool
    _since: Sequence[datetime]
    _rates: Sequence[int]
    _ids: Sequence[UUID]

    @classmethod
    def of(cls, session: Session, *, permille: int | None, flags: bool) -> Self:
        """Return it with the rates that the policies tell, each since its moment."""
        rows = session.scalars(
            select(Policy).where(Policy.key == KEY).order_by(Policy.valid_from)
        ).all()
        return cls(
            permille,
            flags,
            [row.valid_from for row in rows],
            [row.value for row in rows],
            [row.id for row in rows],
        )

    def due_fen(self, meal: Row[Any]) -> Fen:
        """Return what the surcharge on one charge's whole price should have been."""
        pays = meal.pays_surcharge if self.flags else meal.surcharge_fen or meal.pays_surcharge
        if not (meal.is_canteen and pays):
            return Fen(0)
        return meal_surcharge(Fen(meal.amount_fen), permille=self._rate(meal.at))

    def rows(self, first: datetime, last: datetime) -> list[UUID]:
        """Return the rows of policies that say the rate from one moment to another."""
        if self.permille is not None:
            return []
        begins = max(0, bisect_right(self._since, first) - 1)
        return list(self._ids[begins : bisect_right(self._since, last)])

    def _rate(self, at: datetime) -> int:
        if self.permille is not None:
            return self.permille
        place = bisect_right(self._since, at)
        return self._rates[place - 1] if place else 0


@dataclass(slots=True)
class MealSums:
    """A period's meal surcharge: as it is, and as it should have been."""

    charges: int = 0
    taken_fen: int = 0
    """What they still bear, reversals taken off."""
    return_charges: int = 0
    return_fen: int = 0
    """Too much, and to be paid back."""
    short_charges: int = 0
    short_fen: int = 0
    """Too little: nobody takes it."""
    closed_charges: int = 0
    closed_fen: int = 0
    """Too much, of accounts that are closed: a matter for people."""

    def add(self, meal: Row[Any], excess_fen: int) -> None:
        """Count one charge."""
        self.charges += 1
        self.taken_fen += meal.surcharge_fen - meal.surcharge_reversed_fen
        if excess_fen < 0:
            self.short_charges, self.short_fen = self.short_charges + 1, self.short_fen - excess_fen
        elif excess_fen and meal.is_closed:
            self.closed_charges += 1
            self.closed_fen += excess_fen
        elif excess_fen:
            self.return_charges += 1
            self.return_fen += excess_fen


def sums(
    session: Session, *, first_day: date, last_day: date, permille: int | None, flags: bool
) -> MealSums:
    """Return what re-rating a period would come to; charges that were re-rated before are out.

    Raises:
        ReratingPeriodRefused: the period ends before it begins, or is too long.
    """
    if not timedelta(0) <= last_day - first_day < LONGEST:
        raise ReratingPeriodRefused
    basis, found = Basis.of(session, permille=permille, flags=flags), MealSums()
    for meal in meals_of(session, first_day, last_day):
        found.add(meal, excess(meal, basis))
    return found


def sums_at_rate(session: Session, *, day: date, permille: int) -> MealSums:
    """Return what one day would have come to at another rate."""
    return sums(session, first_day=day, last_day=day, permille=permille, flags=False)


def excess(meal: Row[Any], basis: Basis) -> int:
    """Return by how much the surcharge of a charge is too much; below zero, too little."""
    return surcharge_excess(
        amount_fen=meal.amount_fen,
        surcharge_fen=meal.surcharge_fen,
        reversed_fen=meal.reversed_fen,
        surcharge_reversed_fen=meal.surcharge_reversed_fen,
        due_fen=basis.due_fen(meal),
    )


def meals_of(
    session: Session, first_day: date, last_day: date, *, only: UUID | None = None
) -> Iterator[Row[Any]]:
    """Yield the charges of a period that bear a surcharge or might have to, some at a time."""
    after: UUID | None = None
    while True:
        found = session.execute(
            MEALS,
            {
                "first_day": first_day,
                "last_day": last_day,
                "after": after,
                "only": only,
                "limit": AT_ONCE,
            },
        ).all()
        yield from found
        if len(found) < AT_ONCE:
            return
        after = found[-1].id
