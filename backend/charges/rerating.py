"""Re-rating (搭伙费重算): what was too much is proposed to go back, and approved.

What was too much goes back, once for each charge; what was too little is told and never taken: it
stays a matter for people.  Reversals are respected, and go by the right surcharge from then on.

Source: regulation 三(七).
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from backend.charges.meal_sums import Basis, ReratingPeriodRefused, sums
from backend.charges.models import SurchargeRerating, SurchargeReturn
from backend.clock import business_date, start_of_day
from backend.errors import DomainError, Kind
from backend.money import Fen
from backend.operation_log import service as operation_log
from backend.operators.models import Role
from backend.operators.second_person import must_be_another
from backend.operators.service import OperatorCaller
from backend.rows import find_row, first_answer, lock_id, lock_row

MAY_LOOK = (Role.CARD_CENTRE, Role.FINANCE, Role.LOGISTICS, Role.AUDITOR)
MAY_PROPOSE = (Role.CARD_CENTRE, Role.FINANCE, Role.LOGISTICS)
MAY_APPROVE = (Role.CARD_CENTRE, Role.FINANCE)
LIFE = timedelta(hours=24)
"""Nobody approves what was computed longer ago."""


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


class NothingToReturn(DomainError, code="nothing-to-return", kind=Kind.CONFLICT):
    """Nothing was too much in this period."""


class ReratingChanged(DomainError, code="rerating-changed", kind=Kind.CONFLICT):
    """The sums are no longer those that were proposed.  Facts: `proposed_fen`, `present_fen`."""


class ReratingDecided(DomainError, code="rerating-decided", kind=Kind.CONFLICT):
    """Somebody else has approved it."""


class ReratingLapsed(DomainError, code="rerating-lapsed", kind=Kind.CONFLICT):
    """Nobody approved it within 24 hours: it has to be proposed anew."""


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
