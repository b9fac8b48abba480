"""Graduates' batches (毕业批量销户): preview, exemptions, approval, the run.

三(十): accounts are closed together within three months after graduation.  Staff make and run the
batches here; what happens where they do not, is in `deadlines`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, Subquery, func, select, union
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.closings import service
from backend.closings.departures import holders_named
from backend.closings.models import (
    Closing,
    ClosingBatch,
    ClosingKind,
    ClosingState,
    Departure,
    DepartureKind,
    Exemption,
    Graduate,
    Leaver,
    LeaverState,
)
from backend.closings.rules import STUDENTS, Check, months_after
from backend.errors import DomainError, Kind, NotFound
from backend.holders.category_changes import is_due
from backend.holders.models import Holder
from backend.ids import content_hash, new_id
from backend.ledger import service as ledger
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators.second_person import must_be_another
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at
from backend.refunds.batches import BatchNotApproved
from backend.rows import find_row, first_answer, lock_id, lock_row

AT_ONCE = 100
"""How many closings one transaction of a run starts."""
AHEAD_MONTHS = 12
"""How far ahead a graduation can be: a batch of a later one is a slip of the pen."""


class Stays(StrEnum):
    """Why somebody of a batch is no graduate any more, so that no run closes the account."""

    OTHER_CATEGORY = "other_category"
    """类别已变更: they are no student"""
    CARD_GOES_ON = "card_goes_on"
    """卡片仍有效: their last day is still to come, as after a leave of absence (休学)"""


class NobodyGraduates(DomainError, code="nobody-graduates", kind=Kind.CONFLICT):
    """Nobody is known to graduate on that day."""


class NotAStudent(DomainError, code="not-a-student", kind=Kind.CONFLICT):
    """A batch is for students alone.  Fact: `category`."""


class NotGraduated(DomainError, code="not-graduated", kind=Kind.CONFLICT):
    """They study here until that day: the batch runs from it on.  Fact: `graduated_on`."""


class GraduationTooFar(DomainError, code="graduation-too-far", kind=Kind.INVALID):
    """The day is more than a year ahead.  Fact: `latest`, the last that is good."""


class BatchStands(DomainError, code="closing-batch-stands", kind=Kind.CONFLICT):
    """It was approved or run, or the deadline made it: it cannot be withdrawn."""


class BatchWithdrawn(DomainError, code="closing-batch-withdrawn", kind=Kind.CONFLICT):
    """The batch was taken back: make another one."""


class ExemptionOver(DomainError, code="exemption-over", kind=Kind.INVALID):
    """The exemption would have ended before today."""


class ClosingStarted(DomainError, code="closing-started", kind=Kind.CONFLICT):
    """The account is being closed: nobody is exempted any more."""


def make(
    session: Session,
    *,
    batch_id: UUID,
    graduated_on: date,
    holder_numbers: Collection[str] | None,
    document: str,
    operator: OperatorCaller,
    now: datetime,
    units: Collection[str] | None = None,
) -> tuple[ClosingBatch, bool]:
    """Put graduates into a batch and tell each of them; say whether this call was first.

    Without numbers it is everybody who graduates on that day, of all classes or of some: see
    `graduates_of`.

    Raises:
        IdReused: `batch_id` came before with other content, or from somebody else.
        GraduationTooFar: the day is more than a year ahead.
        HoldersUnknown: some numbers belong to nobody.
        NotAStudent: somebody is none.
        NobodyGraduates: nobody is left to be closed.
    """
    lock_id(session, batch_id)
    numbers = None if holder_numbers is None else sorted(set(holder_numbers))
    said = [graduated_on.isoformat(), numbers, document]
    content = content_hash(*said, *([] if units is None else [sorted(set(units))]))
    earlier = first_answer(
        session, ClosingBatch, batch_id, content_hash=content, made_by=operator.operator_id
    )
    if earlier is not None:
        return earlier, False
    people = candidates(
        session, graduated_on=graduated_on, holder_numbers=numbers, units=units, now=now
    )
    policies = policies_at(session, now)
    batch = ClosingBatch(
        id=batch_id,
        graduated_on=graduated_on,
        deadline=months_after(graduated_on, policies["closing.deadline_months"]),
        document=document,
        made_by=operator.operator_id,
        made_at=now,
        content_hash=content,
    )
    used = policies.used("closing.deadline_months")
    put(session, batch, [holder.id for holder in people], used, operator.actor)
    return batch, True


def put(
    session: Session,
    batch: ClosingBatch,
    holder_ids: Sequence[UUID],
    policy_ids: Sequence[UUID],
    actor: Actor,
) -> None:
    """Store a batch with its people, and tell each of them."""
    session.add(batch)
    session.flush()
    for holder_id in holder_ids:
        session.add(Graduate(id=new_id(), batch_id=batch.id, holder_id=holder_id))
        announce(session, batch, holder_id, now=batch.made_at)
    operation_log.record(
        session,
        actor=actor,
        action="closing_batch.make",
        subject_id=batch.id,
        now=batch.made_at,
        documents=[batch.document],
        policy_ids=policy_ids,
        graduated_on=batch.graduated_on.isoformat(),
        deadline=batch.deadline.isoformat(),
        people=len(holder_ids),
    )
    session.flush()


def candidates(
    session: Session,
    *,
    graduated_on: date,
    holder_numbers: Collection[str] | None,
    units: Collection[str] | None,
    now: datetime,
) -> Sequence[Holder]:
    """Return whom a batch would hold: see `make`.  Locks those who are named by their numbers.

    Raises:
        GraduationTooFar: the day is more than a year ahead.
        HoldersUnknown: some numbers belong to nobody.
        NotAStudent: somebody is none.
        NobodyGraduates: nobody is left to be closed.
    """
    latest = months_after(business_date(now), AHEAD_MONTHS)
    if graduated_on > latest:
        raise GraduationTooFar(latest=latest.isoformat())
    people = (
        graduates_of(session, graduated_on, units=units)
        if holder_numbers is None
        else holders_named(session, sorted(set(holder_numbers)))
    )
    for holder in people:
        if holder.category not in STUDENTS:
            raise NotAStudent(category=holder.category.value)
    if not people:
        raise NobodyGraduates
    return people


CLOSING = select(Closing.id).where(Closing.holder_id == Holder.id, service.HOLDS)
"""A holder's closing that goes on or holds, for `exists`."""


def graduates_of(
    session: Session, day: date, *, units: Collection[str] | None = None
) -> Sequence[Holder]:
    """Return who graduates on a day, of all classes or of some, and is in no batch for it yet.

    It is whose departure says so, and whose card's last day is the one before.
    """
    query = (
        select(Holder)
        .join(due := graduations(), due.c.holder_id == Holder.id)
        .where(due.c.day == day)
        .order_by(Holder.id)
    )
    if units is not None:
        query = query.where(Holder.unit.in_(units))
    return session.scalars(query).all()


def graduations() -> Subquery:
    """Return `holder_id` and `day` of all graduations whose accounts nobody has begun to close."""
    told = (
        select(Leaver.holder_id, Departure.effective_on.label("day"))
        .join(Departure, Departure.id == Leaver.departure_id)
        .where(
            Departure.kind == DepartureKind.GRADUATION,
            Leaver.state.in_((LeaverState.SCHEDULED, LeaverState.APPLIED)),
        )
    )
    by_card = select(Holder.id, (Holder.valid_until + 1).label("day"))
    days = union(told, by_card).subquery()
    batched = (
        select(Graduate.id)
        .join(ClosingBatch, ClosingBatch.id == Graduate.batch_id)
        .where(
            Graduate.holder_id == Holder.id,
            ClosingBatch.graduated_on >= days.c.day,
            ClosingBatch.withdrawn_at.is_(None),
        )
    )
    return (
        select(days.c.holder_id, days.c.day)
        .join(Holder, Holder.id == days.c.holder_id)
        .where(Holder.category.in_(STUDENTS), ~CLOSING.exists(), ~batched.exists())
        .subquery()
    )


def announce(session: Session, batch: ClosingBatch, holder_id: UUID, *, now: datetime) -> None:
    """Tell somebody by when the account is closed, and what is in it."""
    notices.tell(
        session,
        holder_id=holder_id,
        kind="closing-announced",
        now=now,
        deadline=batch.deadline.isoformat(),
        balance_fen=ledger.balance_of(session, holder_id=holder_id),
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One graduate of a batch as it stands now."""

    graduate: Graduate
    holder: Holder
    closing: Closing | None
    balance_fen: Fen
    checks: list[Check]
    """What would stand against emptying the purses."""
    is_exempt: bool
    stays: Stays | None
    """Why the account is not closed by this batch; None: the closing goes on, or is to come."""

    @property
    def is_open(self) -> bool:
        """Whether the account is still to be closed."""
        closed = self.closing is not None and self.closing.state is ClosingState.CLOSED
        return not (self.is_exempt or closed or self.stays)


def preview(session: Session, *, batch_id: UUID, now: datetime) -> list[Row]:
    """Return who is in a batch, with balances and what stands against each.

    Raises:
        NotFound: there is no such batch.
    """
    find(session, batch_id=batch_id)
    graduates = session.scalars(
        select(Graduate).where(Graduate.batch_id == batch_id).order_by(Graduate.id)
    ).all()
    return rows_of(session, graduates, now=now)


def rows_of(session: Session, graduates: Sequence[Graduate], *, now: datetime) -> list[Row]:
    """Return graduates as they stand now."""
    return [_row(session, graduate, now=now) for graduate in graduates]


def _row(session: Session, graduate: Graduate, *, now: datetime) -> Row:
    holder = session.get_one(Holder, graduate.holder_id)
    batch = session.get_one(ClosingBatch, graduate.batch_id)
    closing = service.live_closing(session, holder_id=holder.id)
    return Row(
        graduate=graduate,
        holder=holder,
        closing=closing,
        balance_fen=ledger.balance_of(session, holder_id=holder.id),
        checks=service.account_checks(session, holder_id=holder.id),
        is_exempt=is_exempt(graduate, now=now),
        stays=None if closing else stays(holder, graduated_on=batch.graduated_on, now=now),
    )


def stays(holder: Holder, *, graduated_on: date, now: datetime) -> Stays | None:
    """Return why somebody is no graduate, None where they are one.

    A graduate is a student whose last day lies before the graduation, or is over by now.  A batch
    closes nobody else, whoever put them into it: for a student whose card goes on, the academic
    office or the card centre files the graduation first (离校), which ends the card.
    """
    if holder.category not in STUDENTS:
        return Stays.OTHER_CATEGORY
    if holder.valid_until >= max(graduated_on, business_date(now)):
        return Stays.CARD_GOES_ON
    return None


def still_graduate(day: date) -> ColumnElement[bool]:
    """Return, for a query of graduates, whether they are graduates on a day: see `stays`."""
    return (
        select(Holder.id)
        .join(ClosingBatch, ClosingBatch.id == Graduate.batch_id)
        .where(
            Holder.id == Graduate.holder_id,
            Holder.category.in_(STUDENTS),
            Holder.valid_until < func.greatest(ClosingBatch.graduated_on, day),
        )
        .correlate(Graduate)
        .exists()
    )


def nothing_due(day: date) -> ColumnElement[bool]:
    """Return, for a query of graduates, whether no change of category is still to apply."""
    return select(Holder.id).where(Holder.id == Graduate.holder_id, ~is_due(day)).exists()


def is_exempt(graduate: Graduate, *, now: datetime) -> bool:
    """Say whether an exemption holds today."""
    until = graduate.exempted_until
    return graduate.exemption is not None and (until is None or until >= business_date(now))


def exempt_on(day: date) -> ColumnElement[bool]:
    """Return the same for a query, on a day."""
    return Graduate.exemption.is_not(None) & (
        Graduate.exempted_until.is_(None) | (Graduate.exempted_until >= day)
    )


def exempt(
    session: Session,
    *,
    batch_id: UUID,
    graduate_id: UUID,
    exemption: Exemption | None,
    reason: str | None,
    until: date | None,
    operator: OperatorCaller,
    now: datetime,
) -> Graduate:
    """Keep somebody's account open until a day, with a reason, or take that back.

    A change of an exemption asks for another approval of the batch: it closes accounts that nobody
    approved.  Locks the batch, then the graduate.

    Raises:
        NotFound: nobody of this batch has this id.
        BatchWithdrawn: it was taken back.
        ExemptionOver: it would have ended already.
        ClosingStarted: the account is being closed.
    """
    batch = lock(session, batch_id)
    graduate = session.scalars(
        select(Graduate)
        .where(Graduate.id == graduate_id, Graduate.batch_id == batch_id)
        .with_for_update()
    ).one_or_none()
    if graduate is None:
        raise NotFound
    if (graduate.exemption, graduate.exempted_why, graduate.exempted_until) == (
        exemption,
        reason,
        until,
    ):
        return graduate
    _must_hold(batch)
    if until is not None and until < business_date(now):
        raise ExemptionOver
    if service.live_closing(session, holder_id=graduate.holder_id) is not None:
        raise ClosingStarted
    before = graduate.exemption
    graduate.exemption, graduate.exempted_why, graduate.exempted_until = exemption, reason, until
    if before is not None:
        batch.approved_by = batch.approved_at = None
    operation_log.record(
        session,
        actor=operator.actor,
        action="closing_batch.exempt",
        holder_id=graduate.holder_id,
        subject_id=batch_id,
        now=now,
        before=before and {"exemption": before.value},
        after={"exemption": exemption and exemption.value},
        reason=reason,
        until=until and until.isoformat(),
    )
    return graduate


def approve(
    session: Session, *, batch_id: UUID, operator: OperatorCaller, now: datetime
) -> ClosingBatch:
    """Let a batch be run.  The same again changes nothing.  Locks the batch.

    Raises:
        NotFound: there is no such batch.
        BatchWithdrawn: it was taken back.
        SecondPersonNeeded: the caller made it.
    """
    batch = lock(session, batch_id)
    if batch.approved_by is not None:
        return batch
    _must_hold(batch)
    must_be_another(operator.operator_id, made_by=batch.made_by)
    batch.approved_by, batch.approved_at = operator.operator_id, now
    operation_log.record(
        session,
        actor=operator.actor,
        action="closing_batch.approve",
        subject_id=batch_id,
        now=now,
        documents=[batch.document],
        staying=len(_staying(session, batch, now=now)),
    )
    session.flush()
    return batch


def _must_hold(batch: ClosingBatch) -> None:
    if batch.withdrawn_at is not None:
        raise BatchWithdrawn


def may_withdraw(batch: ClosingBatch) -> bool:
    """Say whether a batch can still be taken back: see `withdraw`."""
    begun = batch.approved_by is not None or batch.run_at is not None
    return not begun and batch.made_by is not None and batch.withdrawn_at is None


def withdraw(
    session: Session, *, batch_id: UUID, operator: OperatorCaller, now: datetime
) -> ClosingBatch:
    """Take back a batch that nobody has approved (撤回): its people are in none then.

    Its maker may, and any colleague; the same again changes nothing.  The right batch, or the
    deadline, tells its people of another day.  A batch that the deadline made stays: people are
    exempted from it.  Locks the batch.

    Raises:
        NotFound: there is no such batch.
        BatchStands: it was approved or run, or nobody made it.
    """
    batch = lock(session, batch_id)
    if batch.withdrawn_at is not None:
        return batch
    if not may_withdraw(batch):
        raise BatchStands
    batch.withdrawn_by, batch.withdrawn_at = operator.operator_id, now
    operation_log.record(
        session,
        actor=operator.actor,
        action="closing_batch.withdraw",
        subject_id=batch_id,
        now=now,
        documents=[batch.document],
        graduated_on=batch.graduated_on.isoformat(),
    )
    session.flush()
    return batch


def lock(session: Session, batch_id: UUID) -> ClosingBatch:
    """Return a batch, locked.

    Raises:
        NotFound: there is none.
    """
    return lock_row(session, ClosingBatch, batch_id)


def run(
    session: Session, *, batch_id: UUID, operator: OperatorCaller, now: datetime
) -> tuple[ClosingBatch, int]:
    """Start to close the accounts of a batch, a hundred at once; return how many are left to start.

    Called again it goes on; with nobody left it changes nothing.  Whose exemption has ended is
    among them; who is no graduate any more is skipped, see `stays`.  Locks the batch.

    Raises:
        NotFound: there is no such batch.
        BatchWithdrawn: it was taken back.
        BatchNotApproved: no second person has approved it.
        NotGraduated: its day is still to come.
    """
    batch = lock(session, batch_id)
    _must_hold(batch)
    if batch.approved_by is None:
        raise BatchNotApproved
    if business_date(now) < batch.graduated_on:
        raise NotGraduated(graduated_on=batch.graduated_on.isoformat())
    whom = ~exempt_on(business_date(now))
    _, left = go_on(session, batch, whom, operator.actor, now=now)
    return batch, left


def go_on(
    session: Session, batch: ClosingBatch, whom: ColumnElement[bool], actor: Actor, *, now: datetime
) -> tuple[int, int]:
    """Return how many of a locked batch were worked on, and how many are left."""
    waiting = session.scalars(
        select(Graduate)
        .where(
            Graduate.batch_id == batch.id,
            whom,
            still_graduate(business_date(now)),
            nothing_due(business_date(now)),
            Graduate.closing_id.is_(None),
        )
        .order_by(Graduate.id)
        .with_for_update()
    ).all()
    for graduate in waiting[:AT_ONCE]:
        holder = lock_row(session, Holder, graduate.holder_id, key_share=True)
        if stays(holder, graduated_on=batch.graduated_on, now=now):
            continue  # changed between the look and the lock
        live = service.live_closing(session, holder_id=graduate.holder_id)
        graduate.closing_id = live.id if live else _start(session, batch, graduate, actor, now)
    if batch.run_at is None:
        batch.run_at = now
        _note_who_stays(session, batch, actor, now=now)
    if waiting:
        operation_log.record(
            session,
            actor=actor,
            action="closing_batch.run",
            subject_id=batch.id,
            now=now,
            documents=[batch.document],
            started=len(waiting[:AT_ONCE]),
        )
    return len(waiting[:AT_ONCE]), len(waiting[AT_ONCE:])


def _staying(session: Session, batch: ClosingBatch, *, now: datetime) -> list[tuple[UUID, Stays]]:
    """Return who of a batch is no graduate any more, and why."""
    people = session.scalars(
        select(Holder)
        .join(Graduate, Graduate.holder_id == Holder.id)
        .where(Graduate.batch_id == batch.id, Graduate.closing_id.is_(None))
        .order_by(Holder.id)
    ).all()
    found = [(one.id, stays(one, graduated_on=batch.graduated_on, now=now)) for one in people]
    return [(id_, why) for id_, why in found if why is not None]


def _note_who_stays(session: Session, batch: ClosingBatch, actor: Actor, *, now: datetime) -> None:
    for holder_id, why in _staying(session, batch, now=now):
        operation_log.record(
            session,
            actor=actor,
            action="closing_batch.skip",
            holder_id=holder_id,
            subject_id=batch.id,
            now=now,
            why=why.value,
        )


def _start(
    session: Session,
    batch: ClosingBatch,
    graduate: Graduate,
    actor: Actor,
    now: datetime,
) -> UUID:
    closing, _ = service.start(
        session,
        closing_id=new_id(),
        holder_id=graduate.holder_id,
        kind=ClosingKind.GRADUATION,
        document=batch.document,
        actor=actor,
        now=now,
    )
    return closing.id


def find(session: Session, *, batch_id: UUID) -> ClosingBatch:
    """Return a batch.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, ClosingBatch, batch_id)
