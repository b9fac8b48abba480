"""The holder's own limits (限额) and pause."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.errors import DomainError, Kind
from backend.holders.login import StepUpRequired
from backend.holders.models import Holder
from backend.holders.rules import LIMIT_NAMES, Limits, limits_on, lower_now
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor


class LimitExceeded(DomainError, code="limit-exceeded", kind=Kind.CONFLICT):
    """Above a limit of the holder or the school.  Facts: `limit`, `limit_fen`, `spent_fen`."""


class BelowLeast(DomainError, code="below-least", kind=Kind.CONFLICT):
    """Less than the least amount.  Facts: `limit`, `limit_fen`."""


class PaymentPaused(DomainError, code="payment-paused", kind=Kind.CONFLICT):
    """The holder has paused payments."""


def limits_of(holder: Holder, *, now: datetime) -> dict[str, Any]:
    """Return the limits in force and those that wait for tomorrow."""
    today = business_date(now)
    waiting = holder.raised_limits
    if waiting is not None and waiting["from"] <= today.isoformat():
        waiting = None
    return {
        **limits_on(today, present=_present(holder), raised=holder.raised_limits),
        "paused": holder.payment_paused,
        "pending": waiting,
    }


def change_limits(
    session: Session,
    *,
    holder_id: UUID,
    wanted: dict[str, int | None],
    paused: bool | None,
    may_resume: bool,
    actor: Actor,
    now: datetime,
    policy_ids: Sequence[UUID] = (),
) -> Holder:
    """Change limits: lower ones and a pause hold at once, higher ones from the next day on.

    `may_resume` says that the caller has shown who they are, which resuming payments asks for;
    `policy_ids`, which rows say how.
    Locks the holder's row.

    Raises:
        StepUpRequired: payments were paused meanwhile, and nobody has shown anything.
    """
    holder = session.scalars(select(Holder).where(Holder.id == holder_id).with_for_update()).one()
    if paused is False and holder.payment_paused and not may_resume:
        raise StepUpRequired
    today = business_date(now)
    present = limits_on(today, present=_present(holder), raised=holder.raised_limits)
    if wanted:
        waiting = holder.raised_limits or present  # what holds from tomorrow on
        at_once, tomorrow = lower_now(
            present, {name: wanted.get(name, waiting[name]) for name in LIMIT_NAMES}
        )
        holder.per_charge_limit_fen = at_once["per_charge_fen"]
        holder.per_day_limit_fen = at_once["per_day_fen"]
        holder.raised_limits = (
            {"from": (today + timedelta(days=1)).isoformat(), **tomorrow} if tomorrow else None
        )
    if paused is not None:
        holder.payment_paused = paused
    operation_log.record(
        session,
        actor=actor,
        action="holder.change_limits",
        holder_id=holder_id,
        now=now,
        before=present,
        policy_ids=policy_ids,
        wanted=wanted,
        paused=holder.payment_paused,
    )
    notices.tell(session, holder_id=holder_id, kind="limits-changed", now=now)
    return holder


def _present(holder: Holder) -> Limits:
    return dict(
        zip(LIMIT_NAMES, (holder.per_charge_limit_fen, holder.per_day_limit_fen), strict=True)
    )


def holder_of(session: Session, *, holder_id: UUID) -> Holder:
    """Return a holder."""
    return session.get_one(Holder, holder_id)
