"""Re-rating (搭伙费重算): a period's meal surcharge as it should have been, and paying back.

What was too much goes back, once for each charge; what was too little is told and never taken: it
stays a matter for people.  Reversals are respected, and go by the right surcharge from then on.

Source: regulation 三(七).
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ColumnElement, Row, select, text
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.charges.models import Charge, ChargeState, SurchargeRerating, SurchargeReturn
from backend.charges.rules import meal_surcharge, split_return, surcharge_excess
from backend.clock import business_date, start_of_day
from backend.db import transaction
from backend.errors import DomainError, Kind
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.operators.second_person import must_be_another
from backend.operators.service import OperatorCaller
from backend.policies.models import Policy
from backend.rows import find_row, first_answer, lock_id, lock_row

KEY = "charge.surcharge_permille"
MAY_LOOK = (Role.CARD_CENTRE, Role.FINANCE, Role.LOGISTICS, Role.AUDITOR)
MAY_PROPOSE = (Role.CARD_CENTRE, Role.FINANCE, Role.LOGISTICS)
MAY_APPROVE = (Role.CARD_CENTRE, Role.FINANCE)
LONGEST = timedelta(days=366)
LIFE = timedelta(hours=24)
"""Nobody approves what was computed longer ago."""
AT_ONCE = 1000
"""Charges that are read with one statement."""
MEALS = text("""
    SELECT c.id, c.amount_fen, c.surcharge_fen, c.reversed_fen, c.surcharge_reversed_fen,
           coalesce((c.facts ->> 'decided_at')::timestamptz, c.charged_at) AS at,
           m.is_canteen, coalesce(h.pays_surcharge, false) AS pays_surcharge,
           NOT EXISTS (SELECT FROM cards k
                        WHERE k.holder_id = c.holder_id
                          AND k.state NOT IN ('closing', 'closed', 'void')) AS is_closed
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


class Standing(StrEnum):
    """How far a re-rating has come."""

    WAITING = "waiting"
    """待批准"""
    LAPSED = "lapsed"
    """已失效: nobody approved it in time"""
    PAYING = "paying"
    """退回中"""
    PAID = "paid"
    """已退回"""


class ReratingPeriodRefused(DomainError, code="rerating-period-refused", kind=Kind.INVALID):
    """From a day to the same or a later one that is over, at most 366 days."""


class NothingToReturn(DomainError, code="nothing-to-return", kind=Kind.CONFLICT):
    """Nothing was too much in this period."""


class ReratingChanged(DomainError, code="rerating-changed", kind=Kind.CONFLICT):
    """The sums are no longer those that were proposed.  Facts: `proposed_fen`, `present_fen`."""


class ReratingDecided(DomainError, code="rerating-decided", kind=Kind.CONFLICT):
    """Somebody else has approved it."""


class ReratingLapsed(DomainError, code="rerating-lapsed", kind=Kind.CONFLICT):
    """Nobody approved it within 24 hours: it has to be proposed anew."""


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
    for meal in _meals(session, first_day, last_day):
        found.add(meal, _excess(meal, basis))
    return found


def sums_at_rate(session: Session, *, day: date, permille: int) -> MealSums:
    """Return what one day would have come to at another rate."""
    return sums(session, first_day=day, last_day=day, permille=permille, flags=False)


def propose(
    session: Session,
    *,
    rerating_id: UUID,
    first_day: date,
    last_day: date,
    permille: int | None,
    flags: bool,
    document_number: str,
    reason: str,
    maker: OperatorCaller,
    now: datetime,
) -> tuple[SurchargeRerating, bool]:
    """Propose to pay back what was too much, with its sums; say whether this call was the first.

    Locks the re-rating's id.

    Raises:
        NotFound: somebody else's re-rating has this id.
        IdReused: `rerating_id` came before with other content.
        ReratingPeriodRefused: no such period, or it is not over.
        NothingToReturn: nothing was too much.
    """
    lock_id(session, rerating_id)
    content = {
        "first_day": first_day,
        "last_day": last_day,
        "permille": permille,
        "flags": flags,
        "document_number": document_number,
        "reason": reason,
    }
    earlier = first_answer(
        session, SurchargeRerating, rerating_id, owner={"made_by": maker.operator_id}, **content
    )
    if earlier is not None:
        return earlier, False
    if last_day >= business_date(now):
        raise ReratingPeriodRefused
    found = sums(session, first_day=first_day, last_day=last_day, permille=permille, flags=flags)
    if not found.return_fen:
        raise NothingToReturn
    rerating = SurchargeRerating(
        id=rerating_id,
        **content,
        return_charges=found.return_charges,
        return_fen=Fen(found.return_fen),
        made_by=maker.operator_id,
        made_at=now,
    )
    session.add(rerating)
    _log(session, rerating, "surcharge.rerate_propose", maker, now=now)
    return rerating, True


def approve(
    session: Session, *, rerating_id: UUID, checker: OperatorCaller, now: datetime
) -> tuple[SurchargeRerating, bool]:
    """Approve a re-rating whose sums are still those that were proposed; a job pays them.

    Say whether this call was the first.  Locks the re-rating.

    Raises:
        NotFound: there is none.
        ReratingDecided: somebody else approved it.
        SecondPersonNeeded: the caller proposed it.
        ReratingLapsed: it waited for a day.
        ReratingChanged: something was reversed, re-rated or corrected meanwhile.
    """
    rerating = lock_row(session, SurchargeRerating, rerating_id)
    if rerating.approved_by is not None:
        if rerating.approved_by != checker.operator_id:
            raise ReratingDecided
        return rerating, False
    must_be_another(checker.operator_id, made_by=rerating.made_by)
    if now >= rerating.made_at + LIFE:
        raise ReratingLapsed
    found = sums(
        session,
        first_day=rerating.first_day,
        last_day=rerating.last_day,
        permille=rerating.permille,
        flags=rerating.flags,
    )
    if (found.return_charges, found.return_fen) != (rerating.return_charges, rerating.return_fen):
        raise ReratingChanged(proposed_fen=rerating.return_fen, present_fen=found.return_fen)
    rerating.approved_by, rerating.approved_at = checker.operator_id, now
    _log(session, rerating, "surcharge.rerate_approve", checker, now=now)
    return rerating, True


def pay_due(*, now: datetime) -> int:
    """Pay back what approved re-ratings owe, each charge in a transaction of its own.

    May be killed at any point, and run beside itself: what is paid is a row.  Returns how many
    charges were paid.
    """
    with transaction() as session:
        due = session.scalars(
            select(SurchargeRerating)
            .where(
                SurchargeRerating.approved_at.is_not(None), SurchargeRerating.finished_at.is_(None)
            )
            .order_by(SurchargeRerating.approved_at)
        ).all()
    return sum(_pay(rerating, now=now) for rerating in due)


def _pay(rerating: SurchargeRerating, *, now: datetime) -> int:
    with transaction() as session:
        basis = Basis.of(session, permille=rerating.permille, flags=rerating.flags)
        meals = [
            meal.id
            for meal in _meals(session, rerating.first_day, rerating.last_day)
            if _excess(meal, basis) > 0 and not meal.is_closed
        ]
    paid = 0
    for charge_id in meals:
        with transaction() as session:
            paid += _pay_one(session, rerating, charge_id, basis, now=now)
    with transaction() as session:
        session.get_one(SurchargeRerating, rerating.id, with_for_update=True).finished_at = now
    return paid


def _pay_one(
    session: Session, rerating: SurchargeRerating, charge_id: UUID, basis: Basis, *, now: datetime
) -> bool:
    """Pay one charge's excess back; say whether there was any.  Locks the charge, then the purse.

    It goes back as a reversal does: the holder's own money first, so that a subsidy does not become
    money that can be paid out.
    """
    lock_id(session, charge_id)
    meal = next(_meals(session, rerating.first_day, rerating.last_day, only=charge_id), None)
    charged = session.get(Charge, charge_id, populate_existing=True)
    if meal is None or charged is None or charged.holder_id is None:
        return False
    excess_fen = _excess(meal, basis)
    if charged.state is not ChargeState.APPROVED or excess_fen <= 0 or meal.is_closed:
        return False
    main = ledger.lock_purse(session, holder_id=charged.holder_id)
    subsidy = ledger.purses_of(session, holder_id=charged.holder_id)[AccountKind.SUBSIDY_PURSE]
    to_main_fen, to_subsidy_fen = split_return(
        total_fen=Fen((charged.amount_fen or 0) + charged.surcharge_fen),
        from_subsidy_fen=charged.from_subsidy_fen,
        returned_before_fen=Fen(charged.reversed_fen + charged.surcharge_reversed_fen),
        return_fen=Fen(excess_fen),
    )
    collected = ledger.school_account(session, AccountKind.SURCHARGE)
    facts = {"place": charged.place, "reference": charged.reference}
    ledger.post(
        session,
        [
            Movement(TransferKind.SURCHARGE_RETURNED, charge_id, collected, purse, fen, facts)
            for purse, fen in ((main.id, to_main_fen), (subsidy.id, to_subsidy_fen))
        ],
        now=now,
    )
    session.add(
        SurchargeReturn(
            charge_id=charge_id,
            rerating_id=rerating.id,
            due_fen=basis.due_fen(meal),
            amount_fen=Fen(excess_fen),
            returned_at=now,
        )
    )
    notices.tell(
        session,
        holder_id=charged.holder_id,
        kind="surcharge-returned",
        now=now,
        charge_id=str(charge_id),
        amount_fen=excess_fen,
        place=charged.place,
    )
    operation_log.record(
        session,
        actor=SYSTEM,
        action="surcharge.return",
        holder_id=charged.holder_id,
        subject_id=charge_id,
        reference=charged.reference,
        now=now,
        policy_ids=basis.rows(meal.at, meal.at),
        rerating_id=str(rerating.id),
        amount_fen=excess_fen,
        due_fen=basis.due_fen(meal),
    )
    arrears.collect(session, holder_id=charged.holder_id, now=now)
    return True


def find(session: Session, *, rerating_id: UUID) -> tuple[SurchargeRerating, Fen]:
    """Return a re-rating and what has gone back by now.

    Raises:
        NotFound: there is none.
    """
    rerating = find_row(session, SurchargeRerating, rerating_id)
    returned = session.scalars(
        select(SurchargeReturn.amount_fen).where(SurchargeReturn.rerating_id == rerating_id)
    ).all()
    return rerating, Fen(sum(returned))


def newest(
    session: Session, *, limit: int, standing: Standing | None = None, now: datetime | None = None
) -> Sequence[SurchargeRerating]:
    """Return the newest re-ratings: all, or those that stand so at a moment."""
    query = select(SurchargeRerating)
    if standing is not None and now is not None:
        query = query.where(*_of_standing(standing, now=now))
    return session.scalars(query.order_by(SurchargeRerating.made_at.desc()).limit(limit)).all()


def standing_of(rerating: SurchargeRerating, *, now: datetime) -> Standing:
    """Return how far a re-rating has come."""
    if rerating.finished_at is not None:
        return Standing.PAID
    if rerating.approved_by is not None:
        return Standing.PAYING
    return Standing.WAITING if now < rerating.made_at + LIFE else Standing.LAPSED


def _of_standing(standing: Standing, *, now: datetime) -> tuple[ColumnElement[bool], ...]:
    one = SurchargeRerating
    return {
        Standing.WAITING: (one.approved_by.is_(None), one.made_at > now - LIFE),
        Standing.LAPSED: (one.approved_by.is_(None), one.made_at <= now - LIFE),
        Standing.PAYING: (one.approved_by.is_not(None), one.finished_at.is_(None)),
        Standing.PAID: (one.finished_at.is_not(None),),
    }[standing]


def _excess(meal: Row[Any], basis: Basis) -> int:
    return surcharge_excess(
        amount_fen=meal.amount_fen,
        surcharge_fen=meal.surcharge_fen,
        reversed_fen=meal.reversed_fen,
        surcharge_reversed_fen=meal.surcharge_reversed_fen,
        due_fen=basis.due_fen(meal),
    )


def _meals(
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


def _log(
    session: Session,
    rerating: SurchargeRerating,
    action: str,
    who: OperatorCaller,
    *,
    now: datetime,
) -> None:
    operation_log.record(
        session,
        actor=who.actor,
        action=action,
        subject_id=rerating.id,
        now=now,
        policy_ids=Basis.of(session, permille=rerating.permille, flags=rerating.flags).rows(
            start_of_day(rerating.first_day), start_of_day(rerating.last_day + timedelta(days=1))
        ),
        first_day=rerating.first_day.isoformat(),
        last_day=rerating.last_day.isoformat(),
        permille=rerating.permille,
        flags=rerating.flags,
        document_number=rerating.document_number,
        return_charges=rerating.return_charges,
        return_fen=rerating.return_fen,
    )
