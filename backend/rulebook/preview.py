"""What a change of policies would do (预览): beside what holds then, and to how many."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.charges import meal_sums
from backend.charges.meal_sums import MealSums
from backend.clock import business_date
from backend.holders.models import Holder
from backend.policies import service
from backend.policies.models import Policy
from backend.policies.rules import CATALOGUE, PolicyRule, Touches
from backend.terminals.models import Terminal, TerminalKind

ONE_DAY = timedelta(days=1)
SURCHARGE = "charge.surcharge_permille"


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that would change."""

    key: str
    value: Any
    present: Policy | None
    """What would hold at that moment otherwise."""
    next_change_at: datetime | None
    """Until when it would hold: its own end, or what is decided already, whichever comes first."""
    next_value: Any
    """What would hold from then on."""
    touches: Touches | None
    touched: int | None
    """How many of those."""
    meals: MealSums | None
    """Of the surcharge: yesterday's meals, as they were and as they would have been."""


def preview(
    session: Session,
    changes: Mapping[str, Any],
    *,
    at: datetime,
    until: datetime | None = None,
    beside: datetime | None = None,
    now: datetime,
) -> list[Difference]:
    """Return what changes would do that `resolve` has let pass, or did, beside an earlier moment.

    Without that they are compared with what would hold otherwise.
    """
    return [
        _difference(session, key, changes[key], at=at, until=until, beside=beside or at, now=now)
        for key in sorted(changes)
    ]


def _difference(
    session: Session,
    key: str,
    value: Any,
    *,
    at: datetime,
    until: datetime | None,
    beside: datetime,
    now: datetime,
) -> Difference:
    rule, meals = CATALOGUE[key], None
    present = service.row_at(session, key=key, at=beside)
    following = session.scalars(
        select(Policy)
        .where(Policy.key == key, Policy.valid_from > at)
        .order_by(Policy.valid_from)
        .limit(1)
    ).one_or_none()
    then = following
    ends_at = None if following is None else following.valid_from
    if until is not None and present is not None and (ends_at is None or until < ends_at):
        ends_at, then = until, present
    if key == SURCHARGE:
        day = business_date(now) - ONE_DAY
        meals = meal_sums.sums_at_rate(session, day=day, permille=value)
    return Difference(
        key=key,
        value=value,
        present=present,
        next_change_at=ends_at,
        next_value=then and then.value,
        touches=rule.touches,
        touched=_count(session, rule, now=now),
        meals=meals,
    )


def _count(session: Session, rule: PolicyRule, *, now: datetime) -> int | None:
    if rule.touches is None:
        return None
    if rule.touches in (Touches.HOLDERS, Touches.PAYING_SURCHARGE):
        query = select(func.count(Holder.id)).where(Holder.valid_until >= business_date(now))
        if rule.touches is Touches.PAYING_SURCHARGE:
            query = query.where(Holder.pays_surcharge.is_(True))
        if rule.categories:
            query = query.where(Holder.category.in_(rule.categories))
    else:
        query = select(func.count(Terminal.id)).where(
            Terminal.enrolled_at.is_not(None), Terminal.revoked_at.is_(None)
        )
        if rule.touches is Touches.TILLS:
            query = query.where(Terminal.kind == TerminalKind.TILL)
    return session.scalar(query) or 0
