"""Taking a mistaken subsidy back (补贴收回): asked for by one person, approved by another."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators.second_person import must_be_another
from backend.operators.service import OperatorCaller
from backend.rows import find_row, first_answer, lock_id, lock_row
from backend.subsidies.models import ItemState, SubsidyItem, SubsidyWithdrawal


class SubsidyWithdrawalWaits(DomainError, code="subsidy-withdrawal-waits", kind=Kind.CONFLICT):
    """This item is being, or has been, taken back under another id."""


class SubsidyNotPaid(DomainError, code="subsidy-not-paid", kind=Kind.CONFLICT):
    """It was not paid: nothing can be taken back.  Fact: `state`."""


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
    lock_id(session, withdrawal_id)
    earlier = first_answer(
        session,
        SubsidyWithdrawal,
        withdrawal_id,
        owner={"made_by": maker.operator_id},
        item_id=item_id,
        reason=reason,
    )
    if earlier is not None:
        return earlier, False
    item = lock_row(session, SubsidyItem, item_id)
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
    withdrawal = lock_row(session, SubsidyWithdrawal, withdrawal_id)
    if withdrawal.approved_by is not None:
        return withdrawal, False
    must_be_another(checker.operator_id, made_by=withdrawal.made_by)
    item = lock_row(session, SubsidyItem, withdrawal.item_id)
    ledger.lock_purse(session, holder_id=item.holder_id)
    purse_id, amount_fen = left_of(session, item)
    fund = ledger.school_account(session, AccountKind.SUBSIDY_FUND)
    movement = Movement(TransferKind.SUBSIDY_WITHDRAWN, withdrawal.id, purse_id, fund, amount_fen)
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


def left_of(session: Session, item: SubsidyItem) -> tuple[UUID, Fen]:
    """Return the subsidy purse of an item's holder, and what of the item could be taken back."""
    purse = ledger.purses_of(session, holder_id=item.holder_id)[AccountKind.SUBSIDY_PURSE]
    return purse.id, Fen(min(item.amount_fen, purse.balance_fen or 0))


def waiting(
    session: Session, *, batch_id: UUID | None = None
) -> list[tuple[SubsidyWithdrawal, SubsidyItem]]:
    """Return the withdrawals that nobody has approved, of one batch or all, oldest first."""
    query = (
        select(SubsidyWithdrawal, SubsidyItem)
        .join(SubsidyItem, SubsidyItem.id == SubsidyWithdrawal.item_id)
        .where(SubsidyWithdrawal.approved_by.is_(None))
    )
    if batch_id is not None:
        query = query.where(SubsidyItem.batch_id == batch_id)
    found = session.execute(query.order_by(SubsidyWithdrawal.made_at)).all()
    return [(withdrawal, item) for withdrawal, item in found]


def find_item(session: Session, *, item_id: UUID) -> SubsidyItem:
    """Return an item.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, SubsidyItem, item_id)


def find(session: Session, *, withdrawal_id: UUID) -> tuple[SubsidyWithdrawal, SubsidyItem]:
    """Return a withdrawal and its item.

    Raises:
        NotFound: there is none.
    """
    withdrawal = find_row(session, SubsidyWithdrawal, withdrawal_id)
    return withdrawal, session.get_one(SubsidyItem, withdrawal.item_id)


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
