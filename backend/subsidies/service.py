"""Subsidy batches (补贴批次): made by 学工, approved by 财务, paid by a job, item by item.

A batch is taken whole or not at all: what is wrong with it is told row by row, and nothing is left
out in silence.  Subsidies are spent before the holder's own money, and never refunded.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from backend.cards.service import closed_accounts
from backend.clock import business_date
from backend.db import transaction
from backend.errors import DomainError, IdReused, Kind, NotFound
from backend.holders.models import Holder
from backend.ids import content_hash, new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import SYSTEM, Actor
from backend.operators.models import Role
from backend.operators.service import OperatorCaller, SecondPersonNeeded
from backend.policies.service import policies_at
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
AT_ONCE = 50
"""So many items are paid in one transaction: holders wait no longer for their purse."""
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


class SubsidyWithdrawalWaits(DomainError, code="subsidy-withdrawal-waits", kind=Kind.CONFLICT):
    """This item is being, or has been, taken back under another id."""


class SubsidyNotPaid(DomainError, code="subsidy-not-paid", kind=Kind.CONFLICT):
    """It was not paid: nothing can be taken back.  Fact: `state`."""


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
    open_ids = _open(session, set(known.values()))
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


def _open(session: Session, holder_ids: set[UUID]) -> set[UUID]:
    """Return those whose account is neither closing nor closed."""
    return holder_ids - closed_accounts(session, holder_ids=holder_ids)


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
    session.execute(text("SELECT lock_id(:id)"), {"id": batch_id})
    content = content_hash(
        asked.name,
        asked.document_number,
        asked.fund,
        asked.pay_on,
        [(row.holder_number, row.amount_fen) for row in asked.rows],
    )
    earlier = session.get(SubsidyBatch, batch_id)
    if earlier is not None:
        if earlier.made_by != maker.operator_id:
            raise NotFound
        if earlier.content_hash != content:
            raise IdReused
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
    _log(session, batch, "subsidy.make", maker.actor, policy_ids=policy_ids, now=now)
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
    batch = _lock(session, batch_id)
    if batch.state is not BatchState.WAITING:
        if batch.approved_by != checker.operator_id:
            raise SubsidyBatchDecided(state=batch.state.value)
        return batch, False
    if batch.made_by == checker.operator_id:
        raise SecondPersonNeeded
    batch.state, batch.approved_by = BatchState.APPROVED, checker.operator_id
    batch.approved_at = now
    _log(session, batch, "subsidy.approve", checker.actor, now=now)
    return batch, True


def withdraw_batch(
    session: Session, *, batch_id: UUID, reason: str, who: OperatorCaller, now: datetime
) -> tuple[SubsidyBatch, bool]:
    """Take a batch back before it is approved; say whether that was news.

    Raises:
        NotFound: there is no such batch.
        SubsidyBatchDecided: it was approved, or somebody else has withdrawn it.
    """
    batch = _lock(session, batch_id)
    if batch.state is BatchState.WITHDRAWN and batch.withdrawn_by == who.operator_id:
        return batch, False
    if batch.state is not BatchState.WAITING:
        raise SubsidyBatchDecided(state=batch.state.value)
    batch.state, batch.withdrawn_by = BatchState.WITHDRAWN, who.operator_id
    batch.withdrawn_at, batch.withdrawn_reason = now, reason
    _log(session, batch, "subsidy.withdraw_batch", who.actor, reason=reason, now=now)
    return batch, True


def pay_due(*, now: datetime) -> int:
    """Pay what approved batches owe by today, some items at a time; return how many were paid.

    May be killed at any point, and run beside itself: an item is paid with its row.
    """
    with transaction() as session:
        due = session.scalars(
            select(SubsidyBatch.id)
            .where(
                SubsidyBatch.state == BatchState.APPROVED,
                SubsidyBatch.pay_on.is_(None) | (SubsidyBatch.pay_on <= business_date(now)),
            )
            .order_by(SubsidyBatch.approved_at)
        ).all()
    return sum(_pay_batch(batch_id, now=now) for batch_id in due)


def _pay_batch(batch_id: UUID, *, now: datetime) -> int:
    paid = 0
    while True:
        with transaction() as session:
            batch = session.get_one(SubsidyBatch, batch_id)
            items = session.scalars(
                select(SubsidyItem)
                .where(SubsidyItem.batch_id == batch_id, SubsidyItem.state == ItemState.DUE)
                .order_by(SubsidyItem.id)
                .limit(AT_ONCE)
                .with_for_update(skip_locked=True)
            ).all()
            with session.no_autoflush:  # notices and log entries go in together
                paid += _pay_items(session, batch, items, now=now)
        if len(items) < AT_ONCE:
            break
    with transaction() as session:
        batch = _lock(session, batch_id)
        counts = counts_of(session, batch_id=batch_id)
        if batch.state is BatchState.APPROVED and not counts[ItemState.DUE]:
            batch.state, batch.paid_at = BatchState.PAID, now
            _log(
                session,
                batch,
                "subsidy.paid",
                SYSTEM,
                now=now,
                paid=counts[ItemState.PAID],
                left_out=counts[ItemState.LEFT_OUT],
            )
    return paid


def _pay_items(
    session: Session, batch: SubsidyBatch, items: Sequence[SubsidyItem], *, now: datetime
) -> int:
    """Pay items that are locked.  Locks their holders' purses in one order."""
    fund = ledger.school_account(session, AccountKind.SUBSIDY_FUND)
    holder_ids = {item.holder_id for item in items}
    purses = ledger.lock_purses(session, holder_ids=holder_ids)
    open_ids = _open(session, holder_ids)
    paid = 0
    for item in sorted(items, key=lambda item: item.holder_id):
        item.settled_at = now
        if item.holder_id not in open_ids:
            item.state = ItemState.LEFT_OUT
            continue
        purse_id = purses[item.holder_id]
        facts = {"name": batch.name, "document_number": batch.document_number}
        movement = Movement(TransferKind.SUBSIDY, item.id, fund, purse_id, item.amount_fen, facts)
        ledger.post(session, [movement], now=now)
        item.state = ItemState.PAID
        paid += 1
        notices.tell(
            session,
            holder_id=item.holder_id,
            kind="subsidy-paid",
            now=now,
            amount_fen=item.amount_fen,
            name=batch.name,
        )
        operation_log.record(
            session,
            actor=SYSTEM,
            action="subsidy.pay",
            holder_id=item.holder_id,
            subject_id=item.id,
            now=now,
            batch_id=str(batch.id),
            amount_fen=item.amount_fen,
        )
    return paid


def ask_back(
    session: Session,
    *,
    withdrawal_id: UUID,
    item_id: UUID,
    reason: str,
    maker: OperatorCaller,
    now: datetime,
) -> tuple[SubsidyWithdrawal, bool]:
    """Ask for a mistaken item to be taken back; say whether this call was the first.

    Locks the withdrawal's id, then the item.

    Raises:
        NotFound: there is no such item, or somebody else's withdrawal has this id.
        IdReused: `withdrawal_id` came before with other content.
        SubsidyNotPaid: it was not paid, or is taken back already.
        SubsidyWithdrawalWaits: the item is being taken back under another id.
    """
    session.execute(text("SELECT lock_id(:id)"), {"id": withdrawal_id})
    earlier = session.get(SubsidyWithdrawal, withdrawal_id)
    if earlier is not None:
        if earlier.made_by != maker.operator_id:
            raise NotFound
        if (earlier.item_id, earlier.reason) != (item_id, reason):
            raise IdReused
        return earlier, False
    item = _lock_item(session, item_id)
    if item.state is not ItemState.PAID:
        raise SubsidyNotPaid(state=item.state.value)
    if session.scalar(select(SubsidyWithdrawal.id).where(SubsidyWithdrawal.item_id == item_id)):
        raise SubsidyWithdrawalWaits
    withdrawal = SubsidyWithdrawal(
        id=withdrawal_id,
        item_id=item_id,
        reason=reason,
        made_by=maker.operator_id,
        made_at=now,
    )
    session.add(withdrawal)
    _log_item(session, item, "subsidy.ask_back", maker.actor, reason=reason, now=now)
    return withdrawal, True


def take_back(
    session: Session, *, withdrawal_id: UUID, checker: OperatorCaller, now: datetime
) -> tuple[SubsidyWithdrawal, bool]:
    """Take a mistaken item back, at most what is left; say whether this call was the first.

    What was spent stays spent.  Locks the withdrawal, the item, then the purse.

    Raises:
        NotFound: there is no such withdrawal.
        SecondPersonNeeded: the caller asked for it.
    """
    withdrawal = session.get(
        SubsidyWithdrawal, withdrawal_id, with_for_update=True, populate_existing=True
    )
    if withdrawal is None:
        raise NotFound
    if withdrawal.approved_by is not None:
        return withdrawal, False
    if withdrawal.made_by == checker.operator_id:
        raise SecondPersonNeeded
    item = _lock_item(session, withdrawal.item_id)
    ledger.lock_purse(session, holder_id=item.holder_id)
    purse = ledger.purses_of(session, holder_id=item.holder_id)[AccountKind.SUBSIDY_PURSE]
    amount_fen = Fen(min(item.amount_fen, purse.balance_fen or 0))
    fund = ledger.school_account(session, AccountKind.SUBSIDY_FUND)
    movement = Movement(TransferKind.SUBSIDY_WITHDRAWN, withdrawal.id, purse.id, fund, amount_fen)
    ledger.post(session, [movement], now=now)
    withdrawal.approved_by, withdrawal.approved_at = checker.operator_id, now
    withdrawal.amount_fen, item.state = amount_fen, ItemState.WITHDRAWN
    notices.tell(
        session,
        holder_id=item.holder_id,
        kind="subsidy-withdrawn",
        now=now,
        amount_fen=amount_fen,
        reason=withdrawal.reason,
    )
    _log_item(session, item, "subsidy.take_back", checker.actor, taken_fen=amount_fen, now=now)
    return withdrawal, True


def find(session: Session, *, batch_id: UUID) -> SubsidyBatch:
    """Return a batch.

    Raises:
        NotFound: there is none.
    """
    batch = session.get(SubsidyBatch, batch_id)
    if batch is None:
        raise NotFound
    return batch


def list_batches(
    session: Session, *, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[SubsidyBatch]:
    """Return batches, newest first."""
    query = select(SubsidyBatch)
    if before is not None:
        at, id_ = before
        query = query.where(
            (SubsidyBatch.made_at < at) | ((SubsidyBatch.made_at == at) & (SubsidyBatch.id < id_))
        )
    return session.scalars(
        query.order_by(SubsidyBatch.made_at.desc(), SubsidyBatch.id.desc()).limit(limit)
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
    session: Session, *, batch_id: UUID, after: UUID | None, limit: int
) -> list[tuple[SubsidyItem, Holder, SubsidyWithdrawal | None]]:
    """Return items of a batch in the order of its list, with their holders and withdrawals."""
    query = (
        select(SubsidyItem, Holder, SubsidyWithdrawal)
        .join(Holder, Holder.id == SubsidyItem.holder_id)
        .outerjoin(SubsidyWithdrawal, SubsidyWithdrawal.item_id == SubsidyItem.id)
        .where(SubsidyItem.batch_id == batch_id)
    )
    if after is not None:
        query = query.where(SubsidyItem.id > after)
    found = session.execute(query.order_by(SubsidyItem.id).limit(limit)).all()
    return [(item, holder, withdrawal) for item, holder, withdrawal in found]


def withdrawals_waiting(session: Session) -> Sequence[SubsidyWithdrawal]:
    """Return the withdrawals that nobody has approved, oldest first."""
    return session.scalars(
        select(SubsidyWithdrawal)
        .where(SubsidyWithdrawal.approved_by.is_(None))
        .order_by(SubsidyWithdrawal.made_at)
    ).all()


def _lock(session: Session, batch_id: UUID) -> SubsidyBatch:
    batch = session.get(SubsidyBatch, batch_id, with_for_update=True, populate_existing=True)
    if batch is None:
        raise NotFound
    return batch


def _lock_item(session: Session, item_id: UUID) -> SubsidyItem:
    item = session.get(SubsidyItem, item_id, with_for_update=True, populate_existing=True)
    if item is None:
        raise NotFound
    return item


def _log(
    session: Session,
    batch: SubsidyBatch,
    action: str,
    actor: Actor,
    *,
    now: datetime,
    policy_ids: Sequence[UUID] = (),
    **facts: Any,
) -> None:
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


def _log_item(
    session: Session,
    item: SubsidyItem,
    action: str,
    actor: Actor,
    *,
    now: datetime,
    **facts: Any,
) -> None:
    operation_log.record(
        session,
        actor=actor,
        action=action,
        holder_id=item.holder_id,
        subject_id=item.id,
        now=now,
        amount_fen=item.amount_fen,
        **facts,
    )
