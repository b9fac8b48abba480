"""What a sponsor (申办单位) sees and tells of their temporary people, regulation 三(十一).

The sponsor is the member of staff whom the application names.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.applications import ending
from backend.applications.models import Applicant, Application, ApplicationState, EarlyLeaving
from backend.clock import business_date
from backend.errors import NotFound
from backend.holders.login import HolderCaller, must_be_fresh
from backend.holders.models import Holder
from backend.policies.service import policies_at

MOST = 500


@dataclass(frozen=True, slots=True)
class Sponsored:
    """One person for whom a sponsor answers, and until when."""

    application_id: UUID
    holder_id: UUID
    name: str
    unit: str
    valid_until: date
    left_on: date | None
    """The last day that was told, where they leave early."""


def people_of(session: Session, *, sponsor_id: UUID, now: datetime) -> list[Sponsored]:
    """Return whom a sponsor answers for today, whoever ends first before the others."""
    rows = session.execute(
        select(Application.id, Applicant.left_on, Holder)
        .join(Applicant, Applicant.application_id == Application.id)
        .join(Holder, Holder.id == Applicant.holder_id)
        .where(
            Application.sponsor_id == sponsor_id,
            Application.state == ApplicationState.OPENED,
            Holder.valid_until >= business_date(now),
        )
        .order_by(Holder.valid_until, Holder.holder_number)
        .limit(MOST)
    )
    return [
        Sponsored(id_, holder.id, holder.name, holder.unit, holder.valid_until, left_on)
        for id_, left_on, holder in rows
    ]


def leave_early(
    session: Session,
    *,
    leaving_id: UUID,
    application_id: UUID,
    holder_id: UUID,
    last_on: date,
    reason: str,
    who: HolderCaller,
    now: datetime,
) -> tuple[EarlyLeaving, bool]:
    """Let the sponsor tell that somebody leaves before their day: `ending.leave_early`.

    It ends somebody's card, so it needs a fresh login; a retry does not.

    Raises:
        NotFound: the caller sponsors no such application, or nobody of it is this holder.
        StepUpRequired: the login is too old.
        IdReused, LeftEarly, LeavingNotEarly: as there.
    """
    sponsor_id = session.scalar(
        select(Application.sponsor_id).where(Application.id == application_id)
    )
    if sponsor_id != who.holder_id:
        raise NotFound
    used: list[UUID] = []
    if session.get(EarlyLeaving, leaving_id) is None:
        policies = policies_at(session, now)
        used = must_be_fresh(policies, logged_in_at=who.logged_in_at, now=now)
    return ending.leave_early(
        session,
        leaving_id=leaving_id,
        application_id=application_id,
        holder_id=holder_id,
        last_on=last_on,
        reason=reason,
        who=who,
        now=now,
        allowed_by=used,
    )


def left_early(session: Session, *, holder_ids: Collection[UUID]) -> set[UUID]:
    """Return whose last day is one that an early leaving brought forward, of some holders."""
    return set(
        session.scalars(
            select(Holder.id)
            .join(Applicant, Applicant.holder_id == Holder.id)
            .where(Holder.id.in_(holder_ids), Applicant.left_on == Holder.valid_until)
        )
    )
