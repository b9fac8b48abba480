"""Graduates' batches (毕业批量销户): preview, exemptions, the run, what is left at the deadline.

三(十): accounts are closed together within three months after graduation.  Staff make and run the
batches; whom nobody put into one is gathered before the deadline, and what nobody ran by then runs.
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
from backend.operation_log.service import Actor
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at

AT_ONCE = 100
"""How many closings one transaction of a run starts."""
POLICIES = ("closing.deadline_months", "closing.remind_days", "closing.wait_days")
CLAUSE = "校园一卡通管理办法 三(十)"
"""What a batch goes by that nobody made."""


class NobodyGraduates(DomainError, code="nobody-graduates", kind=Kind.CONFLICT):
    """Nobody is known to graduate on that day."""


class NotAStudent(DomainError, code="not-a-student", kind=Kind.CONFLICT):
    """A batch is for students alone.  Fact: `category`."""


class NotGraduated(DomainError, code="not-graduated", kind=Kind.CONFLICT):
    """They study here until that day: the batch runs from it on.  Fact: `graduated_on`."""


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
    used = policies.used("closing.deadline_months")
    _put(session, batch, [holder.id for holder in people], used, operator.actor)
    return batch, True


def _put(
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
        _announce(session, batch, holder_id, now=batch.made_at)
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
    return session.scalars(
        select(Holder)
        .where(
            Holder.category.in_(STUDENTS),
            or_(Holder.id.in_(told), Holder.valid_until == day - timedelta(days=1)),
            ~_CLOSING.exists(),
        )
        .order_by(Holder.id)
    ).all()


_CLOSING = select(Closing.id).where(Closing.holder_id == Holder.id, service.HOLDS)


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
        NotGraduated: its day is still to come.
    """
    graduated_on = find(session, batch_id=batch_id).graduated_on
    if business_date(now) < graduated_on:
        raise NotGraduated(graduated_on=graduated_on.isoformat())
    batch, _, left = _go_on(session, batch_id, operator.actor, now=now)
    return batch, left


def _go_on(
    session: Session, batch_id: UUID, actor: Actor, *, now: datetime
) -> tuple[ClosingBatch, int, int]:
    """Return the batch, how many were worked on, and how many are left."""
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
        graduate.closing_id = live.id if live else _start(session, batch, graduate, actor, now)
    if batch.run_at is None:
        batch.run_at = now
    if waiting:
        operation_log.record(
            session,
            actor=actor,
            action="closing_batch.run",
            subject_id=batch_id,
            now=now,
            documents=[batch.document],
            started=len(waiting[:AT_ONCE]),
        )
    return batch, len(waiting[:AT_ONCE]), len(waiting[AT_ONCE:])


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


def gather(session: Session, *, now: datetime) -> int:
    """Put the graduates whom nobody put into a batch into one of each day; return how many.

    So early that they can be told `closing.remind_days` before their accounts start to close.  From
    then on it is a batch like any other: staff exempt people of it, or run it.
    """
    policies = policies_at(session, now)
    ahead = policies["closing.remind_days"] + policies["closing.wait_days"]
    latest = business_date(now) + timedelta(days=ahead)
    batched = (
        select(Graduate.id)
        .join(ClosingBatch, ClosingBatch.id == Graduate.batch_id)
        .where(Graduate.holder_id == Holder.id, ClosingBatch.graduated_on > Holder.valid_until)
    )
    ended = session.execute(
        select(Holder.valid_until, Holder.id)
        .where(
            Holder.category.in_(STUDENTS),
            Holder.valid_until < business_date(now),
            ~batched.exists(),
            ~_CLOSING.exists(),
        )
        .order_by(Holder.id)
    )
    days: dict[date, list[UUID]] = {}
    for last_day, holder_id in ended:
        days.setdefault(last_day + timedelta(days=1), []).append(holder_id)
    gathered = 0
    for graduated_on, holder_ids in sorted(days.items()):
        deadline = months_after(graduated_on, policies["closing.deadline_months"])
        if deadline > latest:
            continue
        batch = ClosingBatch(
            id=new_id(),
            graduated_on=graduated_on,
            deadline=max(deadline, latest),
            document=CLAUSE,
            made_by=None,
            made_at=now,
            reminded_at=now,
            content_hash=b"",
        )
        _put(session, batch, holder_ids, policies.used(*POLICIES), operation_log.SYSTEM)
        gathered += len(holder_ids)
    return gathered


def run_due(session: Session, *, now: datetime) -> int:
    """Go on with the batches that have to start now to be done by their deadline, by a hundred.

    Return how many were started; the caller comes again until it is nobody.
    """
    latest = business_date(now) + timedelta(days=policies_at(session, now)["closing.wait_days"])
    left = (
        select(Graduate.batch_id)
        .join(ClosingBatch, ClosingBatch.id == Graduate.batch_id)
        .where(
            ClosingBatch.deadline <= latest,
            Graduate.exemption.is_(None),
            Graduate.closing_id.is_(None),
        )
        .limit(1)
    )
    batch_id = session.scalar(left)
    if batch_id is None:
        return 0
    _, started, _ = _go_on(session, batch_id, operation_log.SYSTEM, now=now)
    return started


def remind(session: Session, *, now: datetime) -> int:
    """Tell those whose account is still open that the deadline is near, once a batch."""
    days = policies_at(session, now)["closing.remind_days"]
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
