"""Somebody becomes another kind of holder on a day (类别变更): student to staff, staff to retired.

Account, history, cards and binding stay; so do the numbers that they had.  A re-admission under a
new number is the same.

Source: regulation 二(二)–(六).
"""

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.errors import DomainError, Kind, NotFound
from backend.holders import permissions
from backend.holders.models import (
    Category,
    CategoryChange,
    Employment,
    Holder,
    HolderNumber,
)
from backend.holders.roster import lock_roster
from backend.holders.rules import SURCHARGED
from backend.ids import content_hash
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.policies.service import policies_at
from backend.rows import first_answer


class HolderNumberTaken(DomainError, code="holder-number-taken", kind=Kind.CONFLICT):
    """The number (学工号) is or was somebody else's, or is promised to them."""


class ChangeWaiting(DomainError, code="change-waiting", kind=Kind.CONFLICT):
    """Another change of the same kind waits for this holder.  Fact: `change_id`."""


def schedule(
    session: Session,
    *,
    change_id: UUID,
    holder_id: UUID,
    category: Category,
    employment: Employment | None,
    unit: str,
    holder_number: str | None,
    from_day: date,
    valid_until: date | None,
    document_number: str,
    actor: Actor,
    now: datetime,
) -> tuple[CategoryChange, bool]:
    """Note who somebody is from a day on; say whether this call was the first.

    A day that has come is applied at once, a later one by the job after midnight in Shanghai.
    Locks the roster, so that no number is given away twice, then the holder.

    Raises:
        NotFound: there is no such holder, or somebody else's change has this id.
        IdReused: `change_id` came before with other content.
        ChangeWaiting: one is noted already.
        HolderNumberTaken: the new number is not free.
    """
    lock_roster(session)
    content = content_hash(
        category, employment, unit, holder_number, from_day, valid_until, document_number
    )
    earlier = first_answer(
        session, CategoryChange, change_id, owner={"holder_id": holder_id}, content_hash=content
    )
    if earlier is not None:
        return earlier, False
    if session.get(Holder, holder_id) is None:
        raise NotFound
    waiting = _waiting(session, holder_id)
    if waiting is not None:
        raise ChangeWaiting(change_id=str(waiting))
    if holder_number is not None:
        _refuse_taken(session, holder_number, holder_id)
    change = CategoryChange(
        id=change_id,
        holder_id=holder_id,
        content_hash=content,
        category=category,
        employment=employment,
        unit=unit,
        holder_number=holder_number,
        from_day=from_day,
        valid_until=valid_until,
        document_number=document_number,
        made_by=actor.name,
        made_at=now,
        applied_at=None,
        before=None,
    )
    session.add(change)
    session.flush()
    if from_day <= business_date(now):
        _apply(session, change, actor=actor, now=now)
    else:
        operation_log.record(
            session,
            actor=actor,
            action="holder.schedule_category",
            holder_id=holder_id,
            subject_id=change_id,
            now=now,
            after=category.value,
            document_number=document_number,
            from_day=from_day.isoformat(),
        )
    return change, True


def _waiting(session: Session, holder_id: UUID) -> UUID | None:
    return session.scalar(
        select(CategoryChange.id).where(
            CategoryChange.holder_id == holder_id, CategoryChange.applied_at.is_(None)
        )
    )


def is_waiting(session: Session, *, holder_id: UUID) -> bool:
    """Say whether a change of this holder waits for its day."""
    return _waiting(session, holder_id) is not None


def apply_due(session: Session, *, now: datetime) -> int:
    """Apply the changes whose day has come; return how many."""
    lock_roster(session)
    due = session.scalars(
        select(CategoryChange).where(
            CategoryChange.applied_at.is_(None), CategoryChange.from_day <= business_date(now)
        )
    ).all()
    for change in due:
        _apply(session, change, actor=operation_log.SYSTEM, now=now)
    return len(due)


def list_changes(session: Session, *, holder_id: UUID) -> Sequence[CategoryChange]:
    """Return every change that was noted for a holder, newest first."""
    return session.scalars(
        select(CategoryChange)
        .where(CategoryChange.holder_id == holder_id)
        .order_by(CategoryChange.made_at.desc(), CategoryChange.id.desc())
    ).all()


def numbers_of(session: Session, *, holder_id: UUID) -> list[str]:
    """Return every number that a holder has or had."""
    return list(
        session.scalars(
            select(HolderNumber.number)
            .where(HolderNumber.holder_id == holder_id)
            .order_by(HolderNumber.number)
        )
    )


def _refuse_taken(session: Session, number: str, holder_id: UUID) -> None:
    """Refuse a number that is, was or will be somebody else's, in upper or lower case."""
    owners = session.scalars(
        select(HolderNumber.holder_id).where(HolderNumber.folded == number.upper())
    ).all()
    promised = session.scalars(
        select(CategoryChange.holder_id).where(
            func.upper(CategoryChange.holder_number) == number.upper()
        )
    ).first()
    if set(owners) - {holder_id} or promised is not None:
        raise HolderNumberTaken


def _apply(session: Session, change: CategoryChange, *, actor: Actor, now: datetime) -> None:
    holder = session.get_one(
        Holder, change.holder_id, with_for_update={"key_share": True}, populate_existing=True
    )
    change.applied_at = now
    change.before = {
        "category": holder.category.value,
        "employment": holder.employment and holder.employment.value,
        "unit": holder.unit,
        "holder_number": holder.holder_number,
        "valid_until": holder.valid_until.isoformat(),
    }
    if change.category not in SURCHARGED:
        holder.pays_surcharge = False
    elif holder.category not in SURCHARGED:
        holder.pays_surcharge = None
    holder.category, holder.employment, holder.unit = (
        change.category,
        change.employment,
        change.unit,
    )
    if change.holder_number is not None and change.holder_number != holder.holder_number:
        holder.document_tail_number = holder.document_tail_number or holder.holder_number
        holder.holder_number = change.holder_number
    if change.valid_until is not None:
        holder.valid_until = change.valid_until
    holder.note_proven("category")
    policies = policies_at(session, now)
    permissions.work_out(session, policies=policies, now=now, holder_ids=[holder.id])
    operation_log.record(
        session,
        actor=actor,
        action="holder.change_category",
        holder_id=holder.id,
        subject_id=change.id,
        now=now,
        before=change.before["category"],
        after=change.category.value,
        policy_ids=permissions.rows_for(policies, change.category),
        document_number=change.document_number,
        new_number=change.holder_number is not None,
    )
