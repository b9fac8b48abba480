"""Graduates' accounts by their deadline (毕业销户期限): what happens where nobody does anything.

Whom nobody put into a batch is gathered into one before the deadline, and what nobody ran by then
runs, 三(十).
"""

from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.closings.graduates import (
    CLOSING,
    announce,
    exempt_on,
    go_on,
    lock,
    nothing_due,
    preview,
    put,
    still_graduate,
)
from backend.closings.models import Closing, ClosingBatch, ClosingState, Graduate
from backend.closings.rules import STUDENTS, months_after
from backend.holders.category_changes import is_due
from backend.holders.models import Holder
from backend.ids import new_id
from backend.operation_log import service as operation_log
from backend.policies.service import policies_at

POLICIES = ("closing.deadline_months", "closing.remind_days", "closing.wait_days")
CLAUSE = "校园一卡通管理办法 三(十)"
"""What a batch goes by that nobody made."""


def gather(session: Session, *, now: datetime) -> int:
    """Put the graduates whom nobody put into a batch into one of each day; return how many.

    So early that they can be told `closing.remind_days` before their accounts start to close.  From
    then on it is a batch like any other: staff exempt people of it, or run it.

    A batch of the staff counts where it is done in time: nobody's deadline is later than their own
    last day and `closing.deadline_months` because somebody named another day, or never approved it.
    Whom staff exempted is theirs to close.
    """
    policies = policies_at(session, now)
    ahead = policies["closing.remind_days"] + policies["closing.wait_days"]
    latest = business_date(now) + timedelta(days=ahead)
    batched = (
        select(Graduate.id)
        .join(ClosingBatch, ClosingBatch.id == Graduate.batch_id)
        .where(
            Graduate.holder_id == Holder.id,
            ClosingBatch.graduated_on > Holder.valid_until,
            ClosingBatch.withdrawn_at.is_(None),
            or_(
                Graduate.exemption.is_not(None),
                ClosingBatch.made_by.is_(None),
                ClosingBatch.deadline <= _own_deadline(policies["closing.deadline_months"]),
            ),
        )
    )
    ended = session.execute(
        select(Holder.valid_until, Holder.id)
        .where(
            Holder.category.in_(STUDENTS),
            Holder.valid_until < business_date(now),
            ~is_due(business_date(now)),
            ~batched.exists(),
            ~CLOSING.exists(),
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
        put(session, batch, holder_ids, policies.used(*POLICIES), operation_log.SYSTEM)
        gathered += len(holder_ids)
    return gathered


def _own_deadline(months: int) -> ColumnElement[date]:
    """Return, for a query of holders, by when each is closed by their own last day."""
    return func.months_after(Holder.valid_until + 1, months)


def run_due(session: Session, *, now: datetime) -> int:
    """Go on with the batches that have to start now to be done by their deadline, by a hundred.

    The regulation sets the deadline, so nobody has to approve this: it is counted from each one's
    own last day where nobody has, so that a wrong day closes nobody early.  Whom staff ever
    exempted is theirs to close, also when the exemption has ended; so is whose card goes on by now,
    as after a leave of absence (休学).  Return how many were started; the caller comes again until
    it is nobody.
    """
    today, policies = business_date(now), policies_at(session, now)
    latest = today + timedelta(days=policies["closing.wait_days"])
    theirs = (
        select(Holder.id)
        .join(ClosingBatch, ClosingBatch.id == Graduate.batch_id)
        .where(
            Holder.id == Graduate.holder_id,
            Holder.valid_until < today,
            ClosingBatch.withdrawn_at.is_(None),
            or_(
                ClosingBatch.approved_by.is_not(None),
                _own_deadline(policies["closing.deadline_months"]) <= latest,
            ),
        )
        .correlate(Graduate)
    )
    whom = Graduate.exemption.is_(None) & theirs.exists()
    left = (
        select(Graduate.batch_id)
        .join(ClosingBatch, ClosingBatch.id == Graduate.batch_id)
        .where(
            ClosingBatch.deadline <= latest,
            whom,
            still_graduate(today),
            nothing_due(today),
            Graduate.closing_id.is_(None),
        )
        .limit(1)
    )
    batch_id = session.scalar(left)
    if batch_id is None:
        return 0
    batch = lock(session, batch_id)
    started, _ = go_on(session, batch, whom, operation_log.SYSTEM, now=now)
    return started


def remind(session: Session, *, now: datetime) -> int:
    """Tell those whose account is still open that the deadline is near, once a batch."""
    policies = policies_at(session, now)
    days = policies["closing.remind_days"]
    near = session.scalars(
        select(ClosingBatch)
        .where(
            ClosingBatch.reminded_at.is_(None),
            ClosingBatch.withdrawn_at.is_(None),
            ClosingBatch.deadline <= business_date(now) + timedelta(days=days),
        )
        .with_for_update(skip_locked=True)
    ).all()
    told = 0
    for batch in near:
        batch.reminded_at = now
        late = [
            row.holder.id
            for row in preview(session, batch_id=batch.id, now=now)
            if row.is_open and row.closing is None
        ]
        for holder_id in late:
            announce(session, batch, holder_id, now=now)
        operation_log.record(
            session,
            actor=operation_log.SYSTEM,
            action="closing_batch.remind",
            subject_id=batch.id,
            now=now,
            policy_ids=policies.used("closing.remind_days"),
            people=len(late),
        )
        told += len(late)
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
                ClosingBatch.withdrawn_at.is_(None),
                ~exempt_on(business_date(now)),
                still_graduate(business_date(now)),
                ~closed.exists(),
            )
        )
        or 0
    )
