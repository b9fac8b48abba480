"""Emptying the purses of an account that is closing (清退), and the end of it.

`advance` takes a closing as far as it can go, one step a transaction, so it may be killed at any
point and goes on where it was.  Lock order: the closing, then the holder, the cards and the main
purse.
"""

import logging
from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.cards.rules import CardEvent
from backend.closings.models import Closing, ClosingState
from backend.closings.rules import CheckName, ClosingEvent, next_state, standing
from backend.closings.service import (
    HOLDS,
    change_cards,
    checks,
    live_closing,
    lock,
    lock_account,
    tell_and_log,
    waived_of,
)
from backend.db import transaction
from backend.errors import DomainError
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import Account, AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.operation_log import service as operation_log
from backend.refunds import payout_lines
from backend.refunds import service as refunds
from backend.refunds.models import PayoutLine
from backend.topups import refunding

REASON = "校园卡销户退款"
"""What the payer reads on the platform."""

log = logging.getLogger(__name__)


def advance_due(*, channels: Collection[str], now: datetime) -> int:
    """Take every closing a step further that can be; return how many moved.

    One that fails is told to the operations, and keeps nobody else waiting.
    """
    with transaction() as session:
        due = list(session.scalars(_due(now)))
    moved = 0
    for closing_id in due:
        try:
            while advance(closing_id=closing_id, channels=channels, now=now):
                moved += 1
        except (DomainError, SQLAlchemyError):
            log.exception("closing %s did not go on", closing_id)
    return moved


def _due(now: datetime) -> Select[Any]:
    left = select(Account.id).where(Account.holder_id == Closing.holder_id, Account.balance_fen > 0)
    bounced = select(PayoutLine.id).where(
        PayoutLine.subject_id == Closing.id,
        PayoutLine.state.in_(payout_lines.OPEN),
    )
    waits = Closing.waived.contains([{"check": CheckName.WAITING.value}])
    return (
        select(Closing.id)
        .where(
            or_(
                (Closing.state == ClosingState.STARTED) & ((Closing.wait_until <= now) | waits),
                Closing.state.in_((ClosingState.SETTLING, ClosingState.PAYING)),
                and_(Closing.state == ClosingState.CLOSED, left.exists() | bounced.exists(), HOLDS),
            )
        )
        .order_by(Closing.started_at, Closing.id)
    )


def advance(*, closing_id: UUID, channels: Collection[str], now: datetime) -> bool:
    """Take a closing one step further in a transaction of its own; say whether it moved."""
    with transaction() as session:
        closing = lock(session, closing_id=closing_id)
        before = closing.state
        if before is ClosingState.STARTED:
            _end_waiting(closing, now=now)
        elif before is ClosingState.SETTLING:
            _settle(session, closing, channels=channels, now=now)
        elif before is ClosingState.PAYING:
            _finish(session, closing, channels=channels, now=now)
        elif before is ClosingState.CLOSED:
            _reopen(session, closing)
        return closing.state is not before


def _reopen(session: Session, closing: Closing) -> None:
    """Go on with a closing to which money came back, unless the account is in use again (复户)."""
    lock_account(session, holder_id=closing.holder_id)
    live = live_closing(session, holder_id=closing.holder_id)
    if live is not None and live.id == closing.id and not _is_done(session, closing):
        closing.state = next_state(closing.state, ClosingEvent.REOPEN)
        closing.closed_at = None


def _end_waiting(closing: Closing, *, now: datetime) -> None:
    if closing.wait_until <= now or CheckName.WAITING in waived_of(closing):
        closing.state = next_state(closing.state, ClosingEvent.WAIT_OVER)


def _settle(
    session: Session, closing: Closing, *, channels: Collection[str], now: datetime
) -> None:
    """Empty the purses unless something stands against it.

    Arrears are paid first, out of the main purse.
    """
    ledger.lock_purse(session, holder_id=closing.holder_id)
    arrears.collect(session, holder_id=closing.holder_id, now=now)
    found = checks(session, closing=closing, now=now)
    closing.standing = standing(found, waived=waived_of(closing))
    if closing.standing:
        return
    closing.state = next_state(closing.state, ClosingEvent.PAY_OUT)
    closing.settled_at = now
    _sweep(session, closing, channels=channels, now=now)
    actor = operation_log.SYSTEM
    tell_and_log(session, closing, "closing.settle", "closing-paying", actor=actor, now=now)


def _sweep(session: Session, closing: Closing, *, channels: Collection[str], now: datetime) -> None:
    """Move what the purses hold: back where it came from, else onto the payout list.

    What comes into a purse afterwards goes onto the list: a payment goes back once for one closing.
    The caller holds the lock on the main purse.
    """
    first = not refunds.of_subjects(session, [closing.id])[closing.id] and not closing.paid_fen
    sent_fen = _send_back(session, closing, channels=channels, now=now) if first else Fen(0)
    purses = ledger.purses_of(session, holder_id=closing.holder_id)
    main, subsidy = purses[AccountKind.MAIN_PURSE], purses[AccountKind.SUBSIDY_PURSE]
    left_fen, given_fen = main.balance_fen or Fen(0), subsidy.balance_fen or Fen(0)
    due = ledger.school_account(session, AccountKind.REFUNDS_DUE)
    fund = ledger.school_account(session, AccountKind.SUBSIDY_FUND)
    line_id = new_id()
    ledger.post(
        session,
        [
            Movement(TransferKind.CLOSING, line_id, main.id, due, left_fen),
            Movement(TransferKind.SUBSIDY_WITHDRAWN, new_id(), subsidy.id, fund, given_fen),
        ],
        now=now,
    )
    if left_fen:
        payout_lines.add_line(
            session,
            line_id=line_id,
            subject_id=closing.id,
            holder_id=closing.holder_id,
            amount_fen=left_fen,
            now=now,
        )
    closing.paid_fen = Fen(closing.paid_fen + sent_fen + left_fen)
    closing.withdrawn_fen = Fen(closing.withdrawn_fen + given_fen)


def _send_back(
    session: Session, closing: Closing, *, channels: Collection[str], now: datetime
) -> Fen:
    able = refunding.refundable(session, holder_id=closing.holder_id, channels=channels, now=now)
    if not able.refundable_fen:
        return Fen(0)
    through = sorted({part.channel for part in able.parts})
    movement = Movement(
        TransferKind.REFUND,
        closing.id,
        ledger.purses_of(session, holder_id=closing.holder_id)[AccountKind.MAIN_PURSE].id,
        ledger.school_account(session, AccountKind.REFUNDS_DUE),
        able.refundable_fen,
        {"channel": through[0]} if len(through) == 1 else {},
    )
    ledger.post(session, [movement], now=now)
    for part in able.parts:
        refunding.owe(
            session,
            part,
            able.sources[part.top_up_id],
            reason=REASON,
            holder_id=closing.holder_id,
            subject_id=closing.id,
            now=now,
            to_purse=False,
        )
    return able.refundable_fen


def _finish(
    session: Session, closing: Closing, *, channels: Collection[str], now: datetime
) -> None:
    """Follow the money; close when nothing is left and nothing is due."""
    payout_lines.follow_channel(session, subject_id=closing.id, now=now)
    lock_account(session, holder_id=closing.holder_id)
    if closing.reopened_at is not None:  # purses and cards are no longer this closing's
        if not payout_lines.due_fen(session, subject_id=closing.id):
            closing.state = next_state(closing.state, ClosingEvent.DONE)
            closing.closed_at = now
        return
    if arrears.open_fen(session, holder_id=closing.holder_id):
        _set_off(session, closing, now=now)
    if ledger.balance_of(session, holder_id=closing.holder_id):
        arrears.collect(session, holder_id=closing.holder_id, now=now)
        _sweep(session, closing, channels=channels, now=now)
    if not _is_done(session, closing):
        return
    closing.state = next_state(closing.state, ClosingEvent.DONE)
    closing.closed_at = now
    actor = operation_log.SYSTEM
    change_cards(session, closing, CardEvent.CLOSE, actor=actor, now=now)
    tell_and_log(session, closing, "closing.close", "closing-closed", actor=actor, now=now)


def _set_off(session: Session, closing: Closing, *, now: datetime) -> None:
    """Take off the payout list what a late charge has to be paid from (抵扣).

    A till told of it after the purses were emptied.  What a channel has, or two people answer for,
    goes on to the holder, and the debt stays on record.  The caller holds the lock on the main
    purse, out of which the debt is paid next; the rest is listed again.
    """
    purse = ledger.purses_of(session, holder_id=closing.holder_id)[AccountKind.MAIN_PURSE]
    due = ledger.school_account(session, AccountKind.REFUNDS_DUE)
    for line in payout_lines.take_off(session, subject_id=closing.id, now=now):
        # The same kind as when it left, the other way round.
        movement = Movement(TransferKind.CLOSING, line.id, due, purse.id, line.amount_fen)
        ledger.post(session, [movement], now=now)
        closing.paid_fen = Fen(closing.paid_fen - line.amount_fen)


def _is_done(session: Session, closing: Closing) -> bool:
    return not ledger.balance_of(session, holder_id=closing.holder_id) and not payout_lines.due_fen(
        session, subject_id=closing.id
    )
