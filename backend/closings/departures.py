"""Departures (离校、离职): told ahead by those who answer for people, applied on their day."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.closings import service
from backend.closings.models import Departure, DepartureKind, Leaver, LeaverState
from backend.closings.rules import CLOSES_AS, KINDS, MAY_FILE, TEMPORARY, leaves_as
from backend.errors import DomainError, Kind, NotFound
from backend.holders.category_changes import is_due
from backend.holders.models import Category, Holder
from backend.ids import content_hash, new_id
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators.service import OperatorCaller
from backend.rows import find_row, first_answer, lock_id, lock_row, newest_first

AT_ONCE = 200
"""How many leavers one run of the job applies."""


class DepartureState(StrEnum):
    """How far a departure has come, worked out from its people."""

    SCHEDULED = "scheduled"
    """待生效"""
    APPLIED = "applied"
    """已生效"""
    WITHDRAWN = "withdrawn"
    """已撤回"""
    SUPERSEDED = "superseded"
    """已不适用"""


class HoldersUnknown(DomainError, code="holders-unknown", kind=Kind.INVALID):
    """Some numbers belong to nobody.  Fact: `count`."""


class DepartureNotPossible(DomainError, code="departure-not-possible", kind=Kind.CONFLICT):
    """Somebody cannot leave so, or not by the caller's word.  Facts: `kind`, `category`."""


class DepartureScheduled(DomainError, code="departure-scheduled", kind=Kind.CONFLICT):
    """Another departure of somebody on the list waits for its day."""


class DepartureApplied(DomainError, code="departure-applied", kind=Kind.CONFLICT):
    """Its day has come: it cannot be withdrawn."""


def file(
    session: Session,
    *,
    departure_id: UUID,
    holder_numbers: Collection[str],
    kind: DepartureKind,
    effective_on: date,
    document: str,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[Departure, bool]:
    """Note who leaves on a day, all or nobody; say whether this call was first.

    It is of the category that each has now: see `apply_due`.  Another departure that waits for
    somebody who has changed category since is superseded by this.  Locks the departure's id, then
    the holders.

    Raises:
        IdReused: `departure_id` came before with other content, or from somebody else.
        HoldersUnknown: some numbers belong to nobody.
        DepartureNotPossible: somebody's category does not leave so, or is not the caller's.
        DepartureScheduled: another departure of somebody waits.
    """
    numbers = sorted(set(holder_numbers))
    lock_id(session, departure_id)
    content = content_hash(numbers, kind.value, effective_on.isoformat(), document)
    earlier = first_answer(
        session, Departure, departure_id, content_hash=content, filed_by=operator.operator_id
    )
    if earlier is not None:
        return earlier, False
    holders = holders_named(session, numbers)
    for holder in holders:
        if not _may_leave(holder, kind, operator):
            raise DepartureNotPossible(kind=kind.value, category=holder.category.value)
    _supersede_stale(session, holders, actor=operator.actor, now=now)
    if session.scalars(_scheduled(holders)).first():
        raise DepartureScheduled
    departure = Departure(
        id=departure_id,
        kind=kind,
        effective_on=effective_on,
        document=document,
        filed_by=operator.operator_id,
        filed_at=now,
        content_hash=content,
    )
    session.add(departure)
    session.flush()
    session.add_all(
        Leaver(
            id=new_id(),
            departure_id=departure_id,
            holder_id=holder.id,
            category=holder.category,
            state=LeaverState.SCHEDULED,
        )
        for holder in holders
    )
    session.flush()
    _log(session, departure, "departure.file", operator, people=len(holders), now=now)
    return departure, True


@dataclass(frozen=True, slots=True)
class Candidate:
    """One number of a list before it is filed."""

    number: str
    holder: Holder | None
    """None where nobody has it, and where it is not the operator's to tell of."""
    fault: type[DomainError] | None
    """Why the list cannot be filed with it."""


def preview(
    session: Session,
    *,
    holder_numbers: Collection[str],
    kind: DepartureKind,
    operator: OperatorCaller,
) -> list[Candidate]:
    """Return who a list names and what stands against each, by the rules by which it is filed."""
    numbers = sorted(set(holder_numbers))
    known = {
        holder.holder_number: holder
        for holder in session.scalars(select(Holder).where(Holder.holder_number.in_(numbers)))
    }
    by_id = {holder.id: holder for holder in known.values()}
    waiting = {
        leaver.holder_id
        for leaver in session.scalars(_scheduled(by_id.values()))
        if not _is_other(leaver, by_id[leaver.holder_id])
    }
    return [_candidate(number, known.get(number), kind, operator, waiting) for number in numbers]


def _candidate(
    number: str,
    holder: Holder | None,
    kind: DepartureKind,
    operator: OperatorCaller,
    waiting: Collection[UUID],
) -> Candidate:
    if holder is None:
        return Candidate(number, None, HoldersUnknown)
    if not _may_leave(holder, kind, operator):
        concerns = holder.category in MAY_FILE[operator.role]
        return Candidate(number, holder if concerns else None, DepartureNotPossible)
    return Candidate(number, holder, DepartureScheduled if holder.id in waiting else None)


def _may_leave(holder: Holder, kind: DepartureKind, operator: OperatorCaller) -> bool:
    return holder.category in KINDS[kind] and holder.category in MAY_FILE[operator.role]


def _scheduled(holders: Collection[Holder]) -> Select[Leaver]:
    return select(Leaver).where(
        Leaver.holder_id.in_([holder.id for holder in holders]),
        Leaver.state == LeaverState.SCHEDULED,
    )


def _supersede_stale(
    session: Session, holders: Collection[Holder], *, actor: Actor, now: datetime
) -> None:
    """Give up departures that wait for people who are of another kind by now.

    What the job has locked is left to it: it locks the holders after the leavers.
    """
    by_id = {holder.id: holder for holder in holders}
    waiting = _scheduled(holders).with_for_update(skip_locked=True)
    for leaver in session.scalars(waiting).all():
        if _is_other(leaver, by_id[leaver.holder_id]):
            _supersede(session, leaver, actor=actor, now=now)
    session.flush()


def _is_other(leaver: Leaver, holder: Holder) -> bool:
    """Say whether somebody is another kind of holder than the one a departure was filed for."""
    return leaves_as(leaver.category) is not leaves_as(holder.category)


def holders_named(session: Session, numbers: Sequence[str]) -> Sequence[Holder]:
    """Return the holders with these numbers, locked: one departure of one person at a time.

    Raises:
        HoldersUnknown: some belong to nobody.
    """
    found = session.scalars(
        select(Holder)
        .where(Holder.holder_number.in_(numbers))
        .order_by(Holder.id)
        .with_for_update(key_share=True)
    ).all()
    if len(found) != len(set(numbers)):
        raise HoldersUnknown(count=len(set(numbers)) - len(found))
    return found


def withdraw(
    session: Session, *, departure_id: UUID, operator: OperatorCaller, now: datetime
) -> Departure:
    """Take a departure back before its day.  The same again changes nothing.

    Raises:
        NotFound: there is none, or it is not the caller's to tell of.
        DepartureApplied: somebody has left by it, or it applies to nobody any more.
    """
    departure = find(session, departure_id=departure_id)
    leavers = session.scalars(
        select(Leaver).where(Leaver.departure_id == departure_id).with_for_update()
    ).all()
    for leaver in leavers:
        if leaver.category not in MAY_FILE[operator.role]:
            raise NotFound
    states = {leaver.state for leaver in leavers}
    if LeaverState.APPLIED in states or states == {LeaverState.SUPERSEDED}:
        raise DepartureApplied
    waiting = [leaver for leaver in leavers if leaver.state is LeaverState.SCHEDULED]
    if waiting:
        _log(session, departure, "departure.withdraw", operator, people=len(waiting), now=now)
    for leaver in waiting:
        leaver.state = LeaverState.WITHDRAWN
    return departure


def apply_due(session: Session, *, now: datetime) -> int:
    """Let those leave whose day has come: from this instant on no card of theirs works.

    Graduates' cards expire with their last day, and their accounts are closed in a batch; who
    retired with a new card, or is closed already, is left as they are.

    A departure is of the category it was filed for: to somebody who has become another kind of
    holder by then, on that day or before, it does not apply, and that is on record (已不适用).  A
    student who becomes staff stays, a graduation or not; who leaves as staff, too, has a departure
    of their own.  A change that is due comes first: such people are left to the next run.  A few at
    once; return how many.
    """
    today = business_date(now)
    due = session.execute(
        select(Leaver, Departure)
        .join(Departure, Departure.id == Leaver.departure_id)
        .join(Holder, Holder.id == Leaver.holder_id)
        .where(
            Leaver.state == LeaverState.SCHEDULED,
            Departure.effective_on <= today,
            ~is_due(today),
        )
        .order_by(Departure.effective_on, Leaver.id)
        .limit(AT_ONCE)
        .with_for_update(of=Leaver, skip_locked=True)
    ).all()
    for leaver, departure in due:
        holder = lock_row(session, Holder, leaver.holder_id, key_share=True)
        if _is_other(leaver, holder) and not _is_switched(holder, departure):
            _supersede(session, leaver, actor=operation_log.SYSTEM, now=now)
            continue
        leaver.state, leaver.applied_at = LeaverState.APPLIED, now
        if departure.kind is DepartureKind.GRADUATION:
            _end_validity(session, holder, departure, now=now)
        elif not _is_switched(holder, departure):
            leaver.closing_id = _close(session, holder, departure, now=now)
    return len(due)


def _supersede(session: Session, leaver: Leaver, *, actor: Actor, now: datetime) -> None:
    leaver.state = LeaverState.SUPERSEDED
    operation_log.record(
        session,
        actor=actor,
        action="departure.supersede",
        holder_id=leaver.holder_id,
        subject_id=leaver.departure_id,
        now=now,
        before=leaver.category.value,
        after=session.get_one(Holder, leaver.holder_id).category.value,
    )


def _is_switched(holder: Holder, departure: Departure) -> bool:
    """Say whether a retiree has the temporary card by now (退休换卡)."""
    return departure.kind is DepartureKind.RETIREMENT and holder.category in TEMPORARY


def _end_validity(session: Session, holder: Holder, departure: Departure, *, now: datetime) -> None:
    """Let the day before be the last one, where the card would go on for longer.

    The job that expires cards does the rest, in the same minute.
    """
    last = date.fromordinal(departure.effective_on.toordinal() - 1)
    if holder.valid_until <= last:
        return
    before, holder.valid_until = holder.valid_until, last
    holder.note_proven("valid_until")
    operation_log.record(
        session,
        actor=operation_log.SYSTEM,
        action="departure.end_validity",
        holder_id=holder.id,
        subject_id=departure.id,
        now=now,
        before={"valid_until": before.isoformat()},
        after={"valid_until": last.isoformat()},
        documents=[departure.document],
    )


def _close(session: Session, holder: Holder, departure: Departure, *, now: datetime) -> UUID:
    live = service.live_closing(session, holder_id=holder.id)
    if live is not None:
        return live.id
    closing, _ = service.start(
        session,
        closing_id=new_id(),
        holder_id=holder.id,
        kind=CLOSES_AS[departure.kind],
        document=departure.document,
        actor=operation_log.SYSTEM,
        now=now,
    )
    return closing.id


def _log(
    session: Session,
    departure: Departure,
    action: str,
    operator: OperatorCaller,
    *,
    people: int,
    now: datetime,
) -> None:
    operation_log.record(
        session,
        actor=operator.actor,
        action=action,
        subject_id=departure.id,
        now=now,
        documents=[departure.document],
        kind=departure.kind.value,
        effective_on=departure.effective_on.isoformat(),
        people=people,
    )


def find(session: Session, *, departure_id: UUID) -> Departure:
    """Return a departure.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, Departure, departure_id)


def leavers_of(session: Session, *, departure_id: UUID) -> Sequence[Leaver]:
    """Return the people of a departure."""
    return session.scalars(
        select(Leaver).where(Leaver.departure_id == departure_id).order_by(Leaver.id)
    ).all()


def may_withdraw(session: Session, *, departure_id: UUID, operator: OperatorCaller) -> bool:
    """Say whether a departure can still be taken back, by this operator: see `withdraw`."""
    people = session.execute(
        select(Leaver.state, Leaver.category).where(Leaver.departure_id == departure_id)
    ).all()
    states = {state for state, _ in people}
    return (
        LeaverState.SCHEDULED in states
        and LeaverState.APPLIED not in states
        and all(category in MAY_FILE.get(operator.role, ()) for _, category in people)
    )


def list_departures(
    session: Session,
    *,
    state: DepartureState | None,
    categories: Collection[Category] | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Departure]:
    """Return departures, newest first; with `categories` those that concern one of them."""
    query = select(Departure)
    if state is not None:
        query = query.where(_in_state(state))
    if categories is not None:
        query = query.where(
            select(Leaver.id)
            .where(Leaver.departure_id == Departure.id, Leaver.category.in_(categories))
            .exists()
        )
    return session.scalars(
        newest_first(query, Departure.filed_at, before=before, limit=limit)
    ).all()


def _in_state(state: DepartureState) -> ColumnElement[bool]:
    def has(wanted: LeaverState) -> ColumnElement[bool]:
        of_it = Leaver.departure_id == Departure.id
        return select(Leaver.id).where(of_it, Leaver.state == wanted).exists()

    if state is DepartureState.SCHEDULED:
        return has(LeaverState.SCHEDULED)
    if state is DepartureState.APPLIED:
        return has(LeaverState.APPLIED) & ~has(LeaverState.SCHEDULED)
    waits_or_applied = has(LeaverState.SCHEDULED) | has(LeaverState.APPLIED)
    if state is DepartureState.SUPERSEDED:
        return has(LeaverState.SUPERSEDED) & ~waits_or_applied
    return ~has(LeaverState.SUPERSEDED) & ~waits_or_applied


def state_of(count: Mapping[LeaverState, int]) -> DepartureState:
    """Return how far a departure has come, by how many of its people are in each state."""
    for state in (LeaverState.SCHEDULED, LeaverState.APPLIED, LeaverState.SUPERSEDED):
        if count.get(state):
            return DepartureState(state.value)
    return DepartureState.WITHDRAWN


def counts_of(
    session: Session, departure_ids: Collection[UUID]
) -> dict[UUID, dict[LeaverState, int]]:
    """Return of each departure how many of its people are in each state."""
    found: dict[UUID, dict[LeaverState, int]] = {id_: {} for id_ in departure_ids}
    for departure_id, state, count in session.execute(
        select(Leaver.departure_id, Leaver.state, func.count())
        .where(Leaver.departure_id.in_(departure_ids))
        .group_by(Leaver.departure_id, Leaver.state)
    ):
        found[departure_id][state] = count
    return found


def scheduled_of(session: Session, *, holder_id: UUID) -> Departure | None:
    """Return the departure of a holder that waits for its day, or None."""
    return session.scalars(
        select(Departure)
        .join(Leaver, Leaver.departure_id == Departure.id)
        .where(Leaver.holder_id == holder_id, Leaver.state == LeaverState.SCHEDULED)
    ).one_or_none()
