"""Paying back what approved re-ratings found to be too much (搭伙费退还)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.charges.meal_sums import Basis, excess, meals_of
from backend.charges.models import Charge, ChargeState, SurchargeRerating, SurchargeReturn
from backend.charges.rules import split_return
from backend.db import transaction
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import SYSTEM
from backend.rows import lock_id


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
            for meal in meals_of(session, rerating.first_day, rerating.last_day)
            if excess(meal, basis) > 0 and not meal.is_closed
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
    meal = next(meals_of(session, rerating.first_day, rerating.last_day, only=charge_id), None)
    charged = session.get(Charge, charge_id, populate_existing=True)
    if meal is None or charged is None or charged.holder_id is None:
        return False
    excess_fen = excess(meal, basis)
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
