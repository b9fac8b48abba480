"""Who pays the meal surcharge (搭伙费对象): holders of whom nobody has said it, and saying it.

Source: regulation 三(七).  Unknown costs nothing: the canteen's charge goes through without, and
the holder stands here until logistics has decided.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from backend.charges.models import Charge, ChargeState
from backend.errors import DomainError, Kind
from backend.holders.models import Holder
from backend.holders.rules import SURCHARGED
from backend.merchants.models import Merchant
from backend.operation_log import service as operation_log
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.rows import find_row, lock_row

MAY_LOOK = (Role.CARD_CENTRE, Role.LOGISTICS, Role.AUDITOR)
MAY_DECIDE = (Role.CARD_CENTRE, Role.LOGISTICS)
MOST_LISTED = 200


class NeverSurcharged(DomainError, code="never-surcharged", kind=Kind.CONFLICT):
    """Holders of this category pay no meal surcharge, whatever is said.  Fact: `category`."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A holder who ate in a canteen while nobody had said whether the surcharge is due (告警)."""

    holder: Holder
    meals: int
    """How many charges went through without it that may have to bear it."""
    since: datetime
    last_at: datetime


def list_unknown(session: Session, *, limit: int = MOST_LISTED) -> list[Unknown]:
    """Return whom somebody has to decide about, the longest waiting first."""
    eaten = _eaten().subquery()
    rows = session.execute(
        select(Holder, eaten)
        .join(eaten, eaten.c.holder_id == Holder.id)
        .order_by(eaten.c.since, Holder.id)
        .limit(limit)
    )
    return [Unknown(row.Holder, row.meals, row.since, row.last_at) for row in rows]


def count_unknown(session: Session) -> int:
    """Return how many those are."""
    return session.scalar(select(func.count()).select_from(_eaten().subquery())) or 0


def find(session: Session, *, holder_id: UUID) -> tuple[Holder, int]:
    """Return a holder, and how many meals were had while nobody had said it.

    Raises:
        NotFound: there is no such holder.
    """
    holder = find_row(session, Holder, holder_id)
    eaten = _eaten().where(Holder.id == holder_id).subquery()
    return holder, session.scalar(select(eaten.c.meals)) or 0


def _eaten() -> Select[UUID | None, int, datetime, datetime]:
    return (
        select(
            Charge.holder_id,
            func.count().label("meals"),
            func.min(Charge.charged_at).label("since"),
            func.max(Charge.charged_at).label("last_at"),
        )
        .join(Holder, Holder.id == Charge.holder_id)
        .join(Merchant, Merchant.id == Charge.merchant_id)
        .where(
            Holder.pays_surcharge.is_(None),
            Merchant.is_canteen,
            Charge.state == ChargeState.APPROVED,
        )
        .group_by(Charge.holder_id)
    )


def decide(
    session: Session,
    *,
    holder_id: UUID,
    pays: bool,
    document_number: str,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[Holder, bool]:
    """Say whether a holder's meals cost the surcharge; say whether that was news.

    From now on: meals of before stay as they were charged.  Locks the holder.

    Raises:
        NotFound: there is no such holder.
        NeverSurcharged: the category pays none.
    """
    holder = lock_row(session, Holder, holder_id, key_share=True)
    if holder.category not in SURCHARGED:
        raise NeverSurcharged(category=holder.category.value)
    if holder.pays_surcharge is pays:
        return holder, False
    before, holder.pays_surcharge = holder.pays_surcharge, pays
    operation_log.record(
        session,
        actor=operator.actor,
        action="surcharge.flag",
        holder_id=holder_id,
        subject_id=holder_id,
        now=now,
        before={"pays_surcharge": before},
        after={"pays_surcharge": pays},
        document_number=document_number,
    )
    return holder, True
