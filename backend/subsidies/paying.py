"""Paying approved batches (发放): a few items at a time, each item once, by whoever is there."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.db import transaction
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import SYSTEM
from backend.subsidies.models import BatchState, ItemState, SubsidyBatch, SubsidyItem
from backend.subsidies.service import counts_of, lock, log, open_accounts

AT_ONCE = 50
"""So many items are paid in one transaction: holders wait no longer for their purse."""


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
    paid, count = 0, AT_ONCE
    while count == AT_ONCE:
        with transaction() as session:
            batch = session.get_one(SubsidyBatch, batch_id)
            items = session.scalars(
                select(SubsidyItem)
                .where(SubsidyItem.batch_id == batch_id, SubsidyItem.state == ItemState.DUE)
                .order_by(SubsidyItem.id)
                .limit(AT_ONCE)
                .with_for_update(skip_locked=True)
            ).all()
            count = len(items)
            paid += _pay_items(session, batch, items, now=now)
    _finish(batch_id, now=now)
    return paid


def _finish(batch_id: UUID, *, now: datetime) -> None:
    """Note that a batch is paid, unless somebody beside us is still at some of its items."""
    with transaction() as session:
        batch = lock(session, batch_id)
        counts = counts_of(session, batch_id=batch_id)
        if batch.state is BatchState.APPROVED and not counts[ItemState.DUE]:
            batch.state, batch.paid_at = BatchState.PAID, now
            log(
                session,
                batch,
                "subsidy.paid",
                SYSTEM,
                now=now,
                paid=counts[ItemState.PAID],
                left_out=counts[ItemState.LEFT_OUT],
            )


def _pay_items(
    session: Session, batch: SubsidyBatch, items: Sequence[SubsidyItem], *, now: datetime
) -> int:
    """Pay items that are locked; return how many.  Locks their holders' purses in one order."""
    fund = ledger.school_account(session, AccountKind.SUBSIDY_FUND)
    holder_ids = {item.holder_id for item in items}
    purses = ledger.lock_purses(session, holder_ids=holder_ids)
    open_ids = open_accounts(session, holder_ids)
    for item in items:
        item.settled_at = now
        item.state = ItemState.PAID if item.holder_id in open_ids else ItemState.LEFT_OUT
    paid = sorted(
        (item for item in items if item.state is ItemState.PAID), key=lambda item: item.holder_id
    )
    facts = {"name": batch.name, "document_number": batch.document_number}
    ledger.post(
        session,
        [
            Movement(
                TransferKind.SUBSIDY, item.id, fund, purses[item.holder_id], item.amount_fen, facts
            )
            for item in paid
        ],
        now=now,
    )
    notices.tell_each(
        session,
        kind="subsidy-paid",
        now=now,
        told={item.holder_id: {"amount_fen": item.amount_fen, "name": batch.name} for item in paid},
    )
    for item in paid:
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
    return len(paid)
