"""Somebody becomes another kind of holder on a day (类别变更): student to staff, staff to retired.

Account, history, cards and binding stay; so do the numbers that they had.  A re-admission under a
new number is the same.

Source: regulation 二(二)–(六).
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
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
from backend.rows import find_row, first_answer, lock_row


class HolderNumberTaken(DomainError, code="holder-number-taken", kind=Kind.CONFLICT):
    """The number (学工号) is or was somebody else's, or is promised to them."""


class ChangeEndsEarly(DomainError, code="change-ends-early", kind=Kind.INVALID):
    """The card's new last day lies before the day of the change.  Fact: `day`, that day."""


class ChangeApplied(DomainError, code="change-applied", kind=Kind.CONFLICT):
    """Its day has come: it cannot be withdrawn."""


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

    A day that has come is applied at once, a later one by the job after midnight in Shanghai; what
    the day itself decides (may a card be used, is an account closed) sees it as applied from the
    first instant on, see `is_due`.  Locks the roster, so that no number is given away twice, then
    the holder.  Whoever has to do with cards calls `cards.categories` instead.

    Raises:
        NotFound: there is no such holder, or somebody else's change has this id.
        IdReused: `change_id` came before with other content.
        ChangeEndsEarly: it would be over before it begins.
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
    find_row(session, Holder, holder_id)
    if valid_until is not None and valid_until < from_day:
        raise ChangeEndsEarly(day=from_day.isoformat())
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
        withdrawn_at=None,
        withdrawn_by=None,
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
        select(CategoryChange.id).where(CategoryChange.holder_id == holder_id, WAITS)
    )


WAITS = CategoryChange.applied_at.is_(None) & CategoryChange.withdrawn_at.is_(None)


def is_due(day: date) -> ColumnElement[bool]:
    """Return, for a query of holders, whether a change of theirs has come and is still to apply.

    What ends cards and accounts leaves such people alone: who they are by now is applied first, in
    whatever order the jobs run.
    """
    of_them = CategoryChange.holder_id == Holder.id
    return select(CategoryChange.id).where(of_them, WAITS, CategoryChange.from_day <= day).exists()


def waiting_from(session: Session, holder_ids: Collection[UUID]) -> dict[UUID, date]:
    """Return from which day some holders will be of another kind, of those for whom one waits."""
    of_them = CategoryChange.holder_id.in_(holder_ids)
    changes = session.scalars(select(CategoryChange).where(of_them, WAITS)).all()
    return {change.holder_id: change.from_day for change in changes}


def withdraw(
    session: Session, *, change_id: UUID, holder_id: UUID, actor: Actor, now: datetime
) -> CategoryChange:
    """Take a change back before it is applied (撤回); the same again changes nothing.

    Another one can be noted then, also with the number that was promised by it.  Locks the roster.

    Raises:
        NotFound: this holder has no such change.
        ChangeApplied: they are of the new kind by now.
    """
    lock_roster(session)
    change = session.get(CategoryChange, change_id, populate_existing=True)
    if change is None or change.holder_id != holder_id:
        raise NotFound
    if change.applied_at is not None:
        raise ChangeApplied
    if change.withdrawn_at is None:
        change.withdrawn_at, change.withdrawn_by = now, actor.name
        operation_log.record(
            session,
            actor=actor,
            action="holder.withdraw_category",
            holder_id=holder_id,
            subject_id=change_id,
            now=now,
            before=change.category.value,
            document_number=change.document_number,
            from_day=change.from_day.isoformat(),
        )
        session.flush()
    return change


def is_waiting(session: Session, *, holder_id: UUID) -> bool:
    """Say whether a change of this holder waits for its day."""
    return _waiting(session, holder_id) is not None


def apply_due(session: Session, *, now: datetime) -> Sequence[CategoryChange]:
    """Apply the changes whose day has come, and return them."""
    lock_roster(session)
    due = session.scalars(
        select(CategoryChange).where(WAITS, CategoryChange.from_day <= business_date(now))
    ).all()
    for change in due:
        _apply(session, change, actor=operation_log.SYSTEM, now=now)
    return due


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
            func.upper(CategoryChange.holder_number) == number.upper(),
            CategoryChange.withdrawn_at.is_(None),
        )
    ).first()
    if set(owners) - {holder_id} or promised is not None:
        raise HolderNumberTaken


def _apply(session: Session, change: CategoryChange, *, actor: Actor, now: datetime) -> None:
    holder = lock_row(session, Holder, change.holder_id, key_share=True)
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
