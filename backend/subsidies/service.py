"""Subsidy batches (补贴批次): made by 学工, approved by 财务; `paying.py` pays them.

A batch is taken whole or not at all: what is wrong with it is told row by row, and nothing is left
out in silence.  Subsidies are spent before the holder's own money, and never refunded.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from backend.cards.service import closed_accounts
from backend.clock import business_date
from backend.errors import DomainError, Kind
from backend.holders.models import Holder
from backend.ids import content_hash, new_id
from backend.money import Fen
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators.models import Role
from backend.operators.second_person import must_be_another
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at
from backend.rows import find_row, first_answer, lock_id, lock_row, newest_first
from backend.subsidies.models import (
    BatchState,
    ItemState,
    SubsidyBatch,
    SubsidyItem,
    SubsidyWithdrawal,
)
from backend.subsidies.rules import Row, RowFault

MAY_MAKE = (Role.STUDENT_AFFAIRS,)
MAY_APPROVE = (Role.FINANCE,)
MAY_WITHDRAW = (Role.STUDENT_AFFAIRS, Role.FINANCE)
MAY_LOOK = (Role.STUDENT_AFFAIRS, Role.FINANCE, Role.CARD_CENTRE, Role.AUDITOR)
MOST_FAULTS_TOLD = 100
MOST = "subsidy.most_fen"


class SubsidyListUnreadable(DomainError, code="subsidy-list-unreadable", kind=Kind.INVALID):
    """No rows, too many, or not the columns that are asked for.  Fact: `fault`."""


class SubsidyRowsFaulty(DomainError, code="subsidy-rows-faulty", kind=Kind.CONFLICT):
    """Some rows cannot be paid.  Facts: `count`, `faults`, the first 100 with row and fault."""


class SubsidyDayOver(DomainError, code="subsidy-day-over", kind=Kind.CONFLICT):
    """The day on which it is to be paid has passed."""


class SubsidyBatchDecided(DomainError, code="subsidy-batch-decided", kind=Kind.CONFLICT):
    """Somebody has decided otherwise.  Fact: `state`."""


@dataclass(slots=True)
class Report:
    """What a list comes to, and what is wrong with it."""

    rows: int = 0
    total_fen: int = 0
    """Of the rows that are right."""
    faults: list[dict[str, object]] = field(default_factory=list)
    found: list[tuple[UUID, int]] = field(default_factory=list)
    """Holder and amount of the rows that are right."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a batch is to be."""

    name: str
    document_number: str
    fund: str
    pay_on: date | None
    rows: Sequence[Row]


def check(session: Session, rows: Sequence[Row], *, now: datetime) -> Report:
    """Return what a list comes to; writes nothing."""
    most_fen = policies_at(session, now)[MOST]
    known = _holders(session, {row.holder_number for row in rows})
    open_ids = open_accounts(session, set(known.values()))
    report, met = Report(rows=len(rows)), set[str]()
    for row in rows:
        fault = None
        if row.holder_number not in known:
            fault = RowFault.UNKNOWN_HOLDER
        elif row.holder_number in met:
            fault = RowFault.TWICE
        elif known[row.holder_number] not in open_ids:
            fault = RowFault.ACCOUNT_CLOSED
        elif row.amount_fen is None or not 0 < row.amount_fen <= most_fen:
            fault = RowFault.AMOUNT
        met.add(row.holder_number)
        if fault:
            report.faults.append({"row": row.number, "fault": fault.value})
        else:
            report.total_fen += row.amount_fen or 0
            report.found.append((known[row.holder_number], row.amount_fen or 0))
    return report


def _holders(session: Session, numbers: set[str]) -> dict[str, UUID]:
    possible = {number for number in numbers if number.isascii() and number.isalnum()}
    found = session.execute(
        select(Holder.holder_number, Holder.id).where(Holder.holder_number.in_(possible))
    )
    return {row.holder_number: row.id for row in found}


def open_accounts(session: Session, holder_ids: Collection[UUID]) -> set[UUID]:
    """Return those holders whose account is neither closing nor closed."""
    return set(holder_ids) - closed_accounts(session, holder_ids=holder_ids)


def make(
    session: Session, *, batch_id: UUID, asked: Asked, maker: OperatorCaller, now: datetime
) -> tuple[SubsidyBatch, bool]:
    """Make a batch, to be approved by somebody else; say whether this call was the first.

    Locks the batch's id.

    Raises:
        NotFound: somebody else's batch has this id.
        IdReused: `batch_id` came before with other content.
        SubsidyDayOver: it should have been paid before today.
        SubsidyRowsFaulty: something is wrong with the rows: nothing was stored.
    """
    lock_id(session, batch_id)
    content = content_hash(
        asked.name,
        asked.document_number,
        asked.fund,
        asked.pay_on,
        [(row.holder_number, row.amount_fen) for row in asked.rows],
    )
    earlier = first_answer(
        session,
        SubsidyBatch,
        batch_id,
        owner={"made_by": maker.operator_id},
        content_hash=content,
    )
    if earlier is not None:
        return earlier, False
    if asked.pay_on is not None and asked.pay_on < business_date(now):
        raise SubsidyDayOver
    report = check(session, asked.rows, now=now)
    if report.faults:
        raise SubsidyRowsFaulty(count=len(report.faults), faults=report.faults[:MOST_FAULTS_TOLD])
    batch = SubsidyBatch(
        id=batch_id,
        content_hash=content,
        name=asked.name,
        document_number=asked.document_number,
        fund=asked.fund,
        pay_on=asked.pay_on,
        state=BatchState.WAITING,
        item_count=len(report.found),
        total_fen=Fen(report.total_fen),
        made_by=maker.operator_id,
        made_at=now,
    )
    session.add(batch)
    session.flush()
    ids = sorted(new_id() for _ in report.found)  # in the order of the list
    session.execute(
        insert(SubsidyItem),
        [
            {
                "id": item_id,
                "batch_id": batch_id,
                "holder_id": holder_id,
                "amount_fen": amount_fen,
                "state": ItemState.DUE,
            }
            for item_id, (holder_id, amount_fen) in zip(ids, report.found, strict=True)
        ],
    )
    policy_ids = policies_at(session, now).used(MOST)
    log(session, batch, "subsidy.make", maker.actor, policy_ids=policy_ids, now=now)
    return batch, True


def approve(
    session: Session, *, batch_id: UUID, checker: OperatorCaller, now: datetime
) -> tuple[SubsidyBatch, bool]:
    """Approve a batch, which a job then pays; say whether this call was the first.

    Locks the batch.  The database itself refuses one person for both.

    Raises:
        NotFound: there is no such batch.
        SubsidyBatchDecided: it was withdrawn, or somebody else approved it.
        SecondPersonNeeded: the caller made it.
    """
    batch = lock(session, batch_id)
    if batch.state is not BatchState.WAITING:
        if batch.approved_by != checker.operator_id:
            raise SubsidyBatchDecided(state=batch.state.value)
        return batch, False
    must_be_another(checker.operator_id, made_by=batch.made_by)
    batch.state, batch.approved_by = BatchState.APPROVED, checker.operator_id
    batch.approved_at = now
    log(session, batch, "subsidy.approve", checker.actor, now=now)
    return batch, True


def withdraw_batch(
    session: Session, *, batch_id: UUID, reason: str, who: OperatorCaller, now: datetime
) -> tuple[SubsidyBatch, bool]:
    """Take a batch back before it is approved; say whether that was news.

    Raises:
        NotFound: there is no such batch.
        SubsidyBatchDecided: it was approved, or somebody else has withdrawn it.
    """
    batch = lock(session, batch_id)
    if batch.state is BatchState.WITHDRAWN and batch.withdrawn_by == who.operator_id:
        return batch, False
    if batch.state is not BatchState.WAITING:
        raise SubsidyBatchDecided(state=batch.state.value)
    batch.state, batch.withdrawn_by = BatchState.WITHDRAWN, who.operator_id
    batch.withdrawn_at, batch.withdrawn_reason = now, reason
    log(session, batch, "subsidy.withdraw_batch", who.actor, reason=reason, now=now)
    return batch, True


def find(session: Session, *, batch_id: UUID) -> SubsidyBatch:
    """Return a batch.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, SubsidyBatch, batch_id)


def list_batches(
    session: Session,
    *,
    state: BatchState | None = None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[SubsidyBatch]:
    """Return batches, of one state or all, newest first."""
    query = select(SubsidyBatch)
    if state is not None:
        query = query.where(SubsidyBatch.state == state)
    return session.scalars(
        newest_first(query, SubsidyBatch.made_at, before=before, limit=limit)
    ).all()


def counts_of(session: Session, *, batch_id: UUID) -> Counter[ItemState]:
    """Return how many items of a batch stand how."""
    found = session.execute(
        select(SubsidyItem.state, func.count())
        .where(SubsidyItem.batch_id == batch_id)
        .group_by(SubsidyItem.state)
    ).all()
    counts = Counter[ItemState]()
    for state, count in found:
        counts[state] = count
    return counts


def items_of(
    session: Session,
    *,
    batch_id: UUID,
    state: ItemState | None = None,
    holder_number: str | None = None,
    after: UUID | None,
    limit: int,
) -> list[tuple[SubsidyItem, Holder, SubsidyWithdrawal | None]]:
    """Return items of a batch in the order of its list, with their holders and withdrawals.

    All of them, or those that stand in one state, or one holder's.
    """
    query = (
        select(SubsidyItem, Holder, SubsidyWithdrawal)
        .join(Holder, Holder.id == SubsidyItem.holder_id)
        .outerjoin(SubsidyWithdrawal, SubsidyWithdrawal.item_id == SubsidyItem.id)
        .where(SubsidyItem.batch_id == batch_id)
    )
    if state is not None:
        query = query.where(SubsidyItem.state == state)
    if holder_number is not None:
        query = query.where(Holder.holder_number == holder_number)
    if after is not None:
        query = query.where(SubsidyItem.id > after)
    found = session.execute(query.order_by(SubsidyItem.id).limit(limit)).all()
    return [(item, holder, withdrawal) for item, holder, withdrawal in found]


def items_of_holder(
    session: Session, *, holder_id: UUID, limit: int
) -> list[tuple[SubsidyItem, SubsidyBatch]]:
    """Return what a holder was given or is about to be, newest first."""
    found = session.execute(
        select(SubsidyItem, SubsidyBatch)
        .join(SubsidyBatch, SubsidyBatch.id == SubsidyItem.batch_id)
        .where(SubsidyItem.holder_id == holder_id, SubsidyBatch.state != BatchState.WITHDRAWN)
        .order_by(SubsidyItem.id.desc())
        .limit(limit)
    ).all()
    return [(item, batch) for item, batch in found]


def lock(session: Session, batch_id: UUID) -> SubsidyBatch:
    """Return a batch, locked until commit.

    Raises:
        NotFound: there is none.
    """
    return lock_row(session, SubsidyBatch, batch_id)


def log(
    session: Session,
    batch: SubsidyBatch,
    action: str,
    actor: Actor,
    *,
    now: datetime,
    policy_ids: Sequence[UUID] = (),
    **facts: Any,
) -> None:
    """Write down what was done with a whole batch."""
    operation_log.record(
        session,
        actor=actor,
        action=action,
        subject_id=batch.id,
        now=now,
        policy_ids=policy_ids,
        document_number=batch.document_number,
        items=batch.item_count,
        total_fen=batch.total_fen,
        **facts,
    )
