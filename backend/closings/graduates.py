"""Graduates' batches (毕业批量销户): preview, exemptions, the run, what is left at the deadline.

三(十): accounts are closed together within three months after graduation.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import func, or_, select, text
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
from backend.errors import DomainError, IdReused, Kind, NotFound
from backend.holders.models import Holder
from backend.ids import content_hash, new_id
from backend.ledger import service as ledger
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at

AT_ONCE = 100
"""How many closings one transaction of a run starts."""


class NobodyGraduates(DomainError, code="nobody-graduates", kind=Kind.CONFLICT):
    """Nobody is known to graduate on that day."""


class NotAStudent(DomainError, code="not-a-student", kind=Kind.CONFLICT):
    """A batch is for students alone.  Fact: `category`."""


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
) -> tuple[ClosingBatch, bool]:
    """Put graduates into a batch and tell each of them; say whether this call was first.

    Without numbers it is everybody whose departure says so, or whose card ends, on that day.

    Raises:
        IdReused: `batch_id` came before with other content, or from somebody else.
        HoldersUnknown: some numbers belong to nobody.
        NotAStudent: somebody is none.
        NobodyGraduates: nobody is left to be closed.
    """
    session.execute(text("SELECT lock_id(:id)"), {"id": batch_id})
    numbers = None if holder_numbers is None else sorted(set(holder_numbers))
    content = content_hash(graduated_on.isoformat(), numbers, document)
    earlier = session.get(ClosingBatch, batch_id)
    if earlier is not None:
        if (earlier.content_hash, earlier.made_by) != (content, operator.operator_id):
            raise IdReused
        return earlier, False
    people = (
        _graduates_of(session, graduated_on) if numbers is None else holders_named(session, numbers)
    )
    for holder in people:
        if holder.category not in STUDENTS:
            raise NotAStudent(category=holder.category.value)
    if not people:
        raise NobodyGraduates
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
    session.add(batch)
    session.flush()
    for holder in people:
        session.add(Graduate(id=new_id(), batch_id=batch_id, holder_id=holder.id))
        _announce(session, batch, holder.id, now=now)
    operation_log.record(
        session,
        actor=operator.actor,
        action="closing_batch.make",
        subject_id=batch_id,
        now=now,
        documents=[document],
        policy_ids=policies.used("closing.deadline_months"),
        graduated_on=graduated_on.isoformat(),
        deadline=batch.deadline.isoformat(),
        people=len(people),
    )
    session.flush()
    return batch, True


def _graduates_of(session: Session, day: date) -> Sequence[Holder]:
    told = (
        select(Leaver.holder_id)
        .join(Departure, Departure.id == Leaver.departure_id)
        .where(
            Departure.kind == DepartureKind.GRADUATION,
            Departure.effective_on == day,
            Leaver.state != LeaverState.WITHDRAWN,
        )
    )
    closing = select(Closing.id).where(
        Closing.holder_id == Holder.id, Closing.state != ClosingState.CANCELLED
    )
    return session.scalars(
        select(Holder)
        .where(
            Holder.category.in_(STUDENTS),
            or_(Holder.id.in_(told), Holder.valid_until == day - timedelta(days=1)),
            ~closing.exists(),
        )
        .order_by(Holder.id)
    ).all()


def _announce(session: Session, batch: ClosingBatch, holder_id: UUID, *, now: datetime) -> None:
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

    @property
    def is_open(self) -> bool:
        """Whether the account is still to be closed."""
        closed = self.closing is not None and self.closing.state is ClosingState.CLOSED
        return self.graduate.exemption is None and not closed


def preview(session: Session, *, batch_id: UUID) -> list[Row]:
    """Return who is in a batch, with balances and what stands against each.

    Raises:
        NotFound: there is no such batch.
    """
    find(session, batch_id=batch_id)
    rows = []
    for graduate in session.scalars(
        select(Graduate).where(Graduate.batch_id == batch_id).order_by(Graduate.id)
    ):
        holder_id = graduate.holder_id
        rows.append(
            Row(
                graduate=graduate,
                holder=session.get_one(Holder, holder_id),
                closing=service.live_closing(session, holder_id=holder_id),
                balance_fen=ledger.balance_of(session, holder_id=holder_id),
                checks=service.account_checks(session, holder_id=holder_id),
            )
        )
    return rows


def exempt(
    session: Session,
    *,
    batch_id: UUID,
    graduate_id: UUID,
    exemption: Exemption | None,
    reason: str | None,
    operator: OperatorCaller,
    now: datetime,
) -> Graduate:
    """Keep somebody's account open, with a reason, or take that back.  Locks the graduate.

    Raises:
        NotFound: nobody of this batch has this id.
        ClosingStarted: the account is being closed.
    """
    graduate = session.scalars(
        select(Graduate)
        .where(Graduate.id == graduate_id, Graduate.batch_id == batch_id)
        .with_for_update()
    ).one_or_none()
    if graduate is None:
        raise NotFound
    if (graduate.exemption, graduate.exempted_why) == (exemption, reason):
        return graduate
    if service.live_closing(session, holder_id=graduate.holder_id) is not None:
        raise ClosingStarted
    before = graduate.exemption
    graduate.exemption, graduate.exempted_why = exemption, reason
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
    )
    return graduate


def run(
    session: Session, *, batch_id: UUID, operator: OperatorCaller, now: datetime
) -> tuple[ClosingBatch, int]:
    """Start to close the accounts of a batch, a hundred at once; return how many are left to start.

    Called again it goes on; with nobody left it changes nothing.  Locks the batch.

    Raises:
        NotFound: there is no such batch.
    """
    find(session, batch_id=batch_id)
    batch = session.get_one(ClosingBatch, batch_id, with_for_update=True, populate_existing=True)
    waiting = session.scalars(
        select(Graduate)
        .where(
            Graduate.batch_id == batch_id,
            Graduate.exemption.is_(None),
            Graduate.closing_id.is_(None),
        )
        .order_by(Graduate.id)
        .with_for_update()
    ).all()
    for graduate in waiting[:AT_ONCE]:
        live = service.live_closing(session, holder_id=graduate.holder_id)
        graduate.closing_id = live.id if live else _start(session, batch, graduate, operator, now)
    if batch.run_at is None:
        batch.run_at = now
    if waiting:
        operation_log.record(
            session,
            actor=operator.actor,
            action="closing_batch.run",
            subject_id=batch_id,
            now=now,
            documents=[batch.document],
            started=len(waiting[:AT_ONCE]),
        )
    return batch, len(waiting[AT_ONCE:])


def _start(
    session: Session,
    batch: ClosingBatch,
    graduate: Graduate,
    operator: OperatorCaller,
    now: datetime,
) -> UUID:
    closing, _ = service.start(
        session,
        closing_id=new_id(),
        holder_id=graduate.holder_id,
        kind=ClosingKind.GRADUATION,
        document=batch.document,
        actor=operator.actor,
        now=now,
    )
    return closing.id


def remind(session: Session, *, now: datetime) -> int:
    """Tell those whose account is still open that the deadline is near, once a batch."""
    days = policies_at(session, now).values.get("closing.remind_days", 0)
    near = session.scalars(
        select(ClosingBatch)
        .where(
            ClosingBatch.reminded_at.is_(None),
            ClosingBatch.deadline <= business_date(now) + timedelta(days=days),
        )
        .with_for_update(skip_locked=True)
    ).all()
    told = 0
    for batch in near:
        batch.reminded_at = now
        for row in preview(session, batch_id=batch.id):
            if row.is_open and row.closing is None:
                _announce(session, batch, row.holder.id, now=now)
                told += 1
    return told


def open_beyond_deadline(session: Session, *, now: datetime) -> int:
    """Return how many graduates' accounts are open although their deadline is over."""
    closed = select(Closing.id).where(
        Closing.holder_id == Graduate.holder_id, Closing.state == ClosingState.CLOSED
    )
    return (
        session.scalar(
            select(func.count())
            .select_from(Graduate)
            .join(ClosingBatch, ClosingBatch.id == Graduate.batch_id)
            .where(
                ClosingBatch.deadline < business_date(now),
                Graduate.exemption.is_(None),
                ~closed.exists(),
            )
        )
        or 0
    )


def find(session: Session, *, batch_id: UUID) -> ClosingBatch:
    """Return a batch.

    Raises:
        NotFound: there is none.
    """
    batch = session.get(ClosingBatch, batch_id)
    if batch is None:
        raise NotFound
    return batch


def list_batches(
    session: Session, *, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[ClosingBatch]:
    """Return batches, newest first."""
    at, id_ = ClosingBatch.made_at, ClosingBatch.id
    query = select(ClosingBatch)
    if before is not None:
        query = query.where((at < before[0]) | ((at == before[0]) & (id_ < before[1])))
    return session.scalars(query.order_by(at.desc(), id_.desc()).limit(limit)).all()
