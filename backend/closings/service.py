"""Closings (销户): starting one, what stands against it, emptying the purses, the end.

`advance` takes a closing as far as it can go, one step a transaction, so it may be killed at any
point and goes on where it was.  Lock order: the closing, then the holder, the cards and the main
purse.
"""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.cards.models import Card
from backend.cards.rules import CardEvent
from backend.cards.service import EXPIRING, GONE, change_state, list_cards
from backend.cases.models import Resolution
from backend.clock import business_date
from backend.closings.models import Closing, ClosingKind, ClosingState
from backend.closings.rules import (
    TEMPORARY,
    WAIVABLE,
    Check,
    CheckName,
    ClosingEvent,
    next_state,
    standing,
)
from backend.db import transaction
from backend.errors import DomainError, Kind
from backend.holders.models import Holder
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import Account, AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.policies.service import policies_at
from backend.refunds import batches
from backend.refunds import service as refunds
from backend.refunds.models import ChannelRefund, PayoutLine
from backend.refunds.rules import UNSETTLED
from backend.rows import find_row, first_answer, lock_id, lock_row
from backend.topups import refunding
from backend.topups.models import TopUp
from backend.topups.rules import UNRESOLVED
from backend.uploads.models import LateUpload

REASON = "校园卡销户退款"
"""What the payer reads on the platform."""
POLICIES = ("closing.wait_days", "refund.wechat_days", "refund.alipay_days")
GOING_ON = (ClosingState.STARTED, ClosingState.SETTLING, ClosingState.PAYING)
HOLDS = and_(Closing.state != ClosingState.CANCELLED, Closing.reopened_at.is_(None))
"""A closing that goes on, or has ended and was not undone by a reopening (复户)."""

log = logging.getLogger(__name__)


class AlreadyClosing(DomainError, code="already-closing", kind=Kind.CONFLICT):
    """The account is closing or closed by another request.  Fact: `closing_id`."""


class CheckNotWaivable(DomainError, code="check-not-waivable", kind=Kind.CONFLICT):
    """This check has to be met.  Fact: `check`."""


def start(
    session: Session,
    *,
    closing_id: UUID,
    holder_id: UUID,
    kind: ClosingKind,
    document: str | None,
    actor: Actor,
    now: datetime,
    allowed_by: Sequence[UUID] = (),
) -> tuple[Closing, bool]:
    """Start to close an account, and say whether this call was first: from now on no card works.

    Whatever stands against it stands against emptying the purses, never against this: who has left
    enters no gate.  Locks the closing's id, the holder, the cards, the main purse.

    Raises:
        IdReused: `closing_id` came before for somebody else or with other content.
        AlreadyClosing: another closing of this account goes on, or has ended.
    """
    lock_id(session, closing_id)
    earlier = first_answer(
        session, Closing, closing_id, holder_id=holder_id, kind=kind, document=document
    )
    if earlier is not None:
        return earlier, False
    _lock_account(session, holder_id=holder_id)
    other = live_closing(session, holder_id=holder_id)
    if other is not None:
        raise AlreadyClosing(closing_id=str(other.id))
    policies = policies_at(session, now)
    used = [*policies.used(*POLICIES), *allowed_by]
    closing = Closing(
        id=closing_id,
        holder_id=holder_id,
        kind=kind,
        document=document,
        state=ClosingState.STARTED,
        started_at=now,
        started_by=actor.name,
        wait_until=now + timedelta(days=policies["closing.wait_days"]),
        waived=[],
        standing=[],
        paid_fen=Fen(0),
        withdrawn_fen=Fen(0),
        settled_at=None,
        closed_at=None,
        policy_ids=[str(id_) for id_ in used],
    )
    session.add(closing)
    session.flush()
    before = _change_cards(session, closing, CardEvent.START_CLOSING, actor=actor, now=now)
    found = checks(session, closing=closing, now=now)
    closing.standing = standing(found, waived=())
    notices.tell(
        session,
        holder_id=holder_id,
        kind="closing-started",
        now=now,
        closing_id=str(closing_id),
        balance_fen=ledger.balance_of(session, holder_id=holder_id),
    )
    operation_log.record(
        session,
        actor=actor,
        action="closing.start",
        holder_id=holder_id,
        subject_id=closing_id,
        now=now,
        before=before,
        after={"state": closing.state.value},
        documents=[document] if document else (),
        policy_ids=used,
        kind=kind.value,
        standing=closing.standing,
    )
    return closing, True


def _lock_account(session: Session, *, holder_id: UUID) -> None:
    """Lock what a binding, a loss report, a charge or a top-up would change.

    The holder, then the cards, then the purse.  The weaker lock on the holder lets charges through,
    which lock the purse first and then refer to the holder.
    """
    session.execute(select(Holder.id).where(Holder.id == holder_id).with_for_update(key_share=True))
    session.execute(
        select(Card.id).where(Card.holder_id == holder_id).order_by(Card.kind).with_for_update()
    )
    ledger.lock_purse(session, holder_id=holder_id)


def _change_cards(
    session: Session, closing: Closing, event: CardEvent, *, actor: Actor, now: datetime
) -> dict[str, str]:
    """Let an event happen to every card that is not gone; return how they stood before."""
    cards = [
        card for card in list_cards(session, holder_id=closing.holder_id) if card.state not in GONE
    ]
    before = {card.kind.value: card.state.value for card in cards}
    for card in cards:
        change_state(
            session, card=card, event=event, actor=actor, now=now, closing_id=str(closing.id)
        )
    return before


def live_closing(session: Session, *, holder_id: UUID) -> Closing | None:
    """Return the closing of an account that goes on or has ended, None where there is none."""
    return session.scalars(
        select(Closing)
        .where(Closing.holder_id == holder_id, HOLDS)
        .order_by(Closing.started_at.desc(), Closing.id.desc())
        .limit(1)
    ).one_or_none()


def checks(session: Session, *, closing: Closing, now: datetime) -> list[Check]:
    """Return every check of a closing as it stands now."""
    waits = Check(
        CheckName.WAITING,
        stands=now < closing.wait_until,
        facts={"wait_until": closing.wait_until.isoformat()},
    )
    return [*account_checks(session, holder_id=closing.holder_id), waits]


def account_checks(session: Session, *, holder_id: UUID) -> list[Check]:
    """Return what stands, or would stand, against emptying an account's purses."""
    owed_fen = arrears.open_fen(session, holder_id=holder_id)
    main = ledger.purses_of(session, holder_id=holder_id)[AccountKind.MAIN_PURSE]
    short_fen = max(0, owed_fen - (main.balance_fen or 0))
    orders = _count(session, select(TopUp.id).where(
        TopUp.holder_id == holder_id, TopUp.state.in_(UNRESOLVED)
    ))  # fmt: skip
    returning = _count(session, select(ChannelRefund.id).where(
        ChannelRefund.holder_id == holder_id,
        ChannelRefund.to_purse,
        ChannelRefund.state.in_(UNSETTLED),
    ))  # fmt: skip
    reviews = _count(session, select(LateUpload.id)
        .outerjoin(Resolution, Resolution.upload_id == LateUpload.id)
        .where(
            LateUpload.holder_id == holder_id,
            LateUpload.needs_review,
            LateUpload.record_id.is_(None),
            Resolution.upload_id.is_(None),
    ))  # fmt: skip
    return [
        Check(CheckName.ARREARS, short_fen > 0, {"arrears_fen": owed_fen, "short_fen": short_fen}),
        Check(CheckName.UNPAID_ORDERS, orders > 0, {"count": orders}),
        Check(CheckName.REFUNDS_UNDER_WAY, returning > 0, {"count": returning}),
        Check(CheckName.REVIEWS, reviews > 0, {"count": reviews}),
    ]


def _count(session: Session, query: Select[Any]) -> int:
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0


def waive(
    session: Session,
    *,
    closing_id: UUID,
    check: CheckName,
    reason: str,
    actor: Actor,
    now: datetime,
) -> Closing:
    """Let a check pass; the same check again changes nothing.  Locks the closing.

    Raises:
        NotFound: there is no such closing.
        CheckNotWaivable: it has to be met.
        ClosingNotPossible: the purses were emptied already, or it was cancelled.
    """
    closing = lock(session, closing_id=closing_id)
    if check not in WAIVABLE:
        raise CheckNotWaivable(check=check.value)
    if check in waived_of(closing):
        return closing
    if closing.state is not ClosingState.STARTED:
        next_state(closing.state, ClosingEvent.PAY_OUT)
    entry = {"check": check.value, "reason": reason, "by": actor.name, "at": now.isoformat()}
    closing.waived = [*closing.waived, entry]
    operation_log.record(
        session,
        actor=actor,
        action="closing.waive",
        holder_id=closing.holder_id,
        subject_id=closing.id,
        now=now,
        check=check.value,
        reason=reason,
    )
    return closing


def waived_of(closing: Closing) -> list[str]:
    """Return the names of the checks that were waived."""
    return [entry["check"] for entry in closing.waived]


def cancel(session: Session, *, closing_id: UUID, actor: Actor, now: datetime) -> Closing:
    """Undo a closing that was a mistake: its cards are frozen until somebody unfreezes them.

    Locks the closing, then the main purse.  The same again changes nothing.

    Raises:
        NotFound: there is no such closing.
        ClosingNotPossible: money has moved by then.
    """
    closing = lock(session, closing_id=closing_id)
    if closing.state is ClosingState.CANCELLED:
        return closing
    closing.state = next_state(closing.state, ClosingEvent.CANCEL)
    _lock_account(session, holder_id=closing.holder_id)
    _change_cards(session, closing, CardEvent.CANCEL_CLOSING, actor=actor, now=now)
    _tell_and_log(session, closing, "closing.cancel", "closing-cancelled", actor=actor, now=now)
    return closing


def _tell_and_log(
    session: Session, closing: Closing, action: str, notice: str, *, actor: Actor, now: datetime
) -> None:
    notices.tell(
        session,
        holder_id=closing.holder_id,
        kind=notice,
        now=now,
        closing_id=str(closing.id),
        amount_fen=closing.paid_fen,
    )
    operation_log.record(
        session,
        actor=actor,
        action=action,
        holder_id=closing.holder_id,
        subject_id=closing.id,
        now=now,
        after={"state": closing.state.value},
        paid_fen=closing.paid_fen,
        withdrawn_fen=closing.withdrawn_fen,
    )


def lock(session: Session, *, closing_id: UUID) -> Closing:
    """Return a closing, locked.

    Raises:
        NotFound: there is none.
    """
    return lock_row(session, Closing, closing_id)


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
        PayoutLine.state.in_(batches.OPEN),
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
    _lock_account(session, holder_id=closing.holder_id)
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
    _tell_and_log(session, closing, "closing.settle", "closing-paying", actor=actor, now=now)


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
        batches.add_line(
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
        top_up = able.sources[part.top_up_id]
        refunds.owe(
            session,
            channel=top_up.channel,
            out_trade_no=top_up.out_trade_no,
            trade_no=top_up.trade_no or "",
            paid_fen=top_up.amount_fen,
            amount_fen=part.amount_fen,
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
    batches.follow_channel(session, subject_id=closing.id, now=now)
    _lock_account(session, holder_id=closing.holder_id)
    if closing.reopened_at is not None:  # purses and cards are no longer this closing's
        if not batches.due_fen(session, subject_id=closing.id):
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
    _change_cards(session, closing, CardEvent.CLOSE, actor=actor, now=now)
    _tell_and_log(session, closing, "closing.close", "closing-closed", actor=actor, now=now)


def _set_off(session: Session, closing: Closing, *, now: datetime) -> None:
    """Take off the payout list what a late charge has to be paid from (抵扣).

    A till told of it after the purses were emptied.  What a channel has, or two people answer for,
    goes on to the holder, and the debt stays on record.  The caller holds the lock on the main
    purse, out of which the debt is paid next; the rest is listed again.
    """
    purse = ledger.purses_of(session, holder_id=closing.holder_id)[AccountKind.MAIN_PURSE]
    due = ledger.school_account(session, AccountKind.REFUNDS_DUE)
    for line in batches.take_off(session, subject_id=closing.id, now=now):
        # The same kind as when it left, the other way round.
        movement = Movement(TransferKind.CLOSING, line.id, due, purse.id, line.amount_fen)
        ledger.post(session, [movement], now=now)
        closing.paid_fen = Fen(closing.paid_fen - line.amount_fen)


def _is_done(session: Session, closing: Closing) -> bool:
    return not ledger.balance_of(session, holder_id=closing.holder_id) and not batches.due_fen(
        session, subject_id=closing.id
    )


def close_expired(session: Session, *, now: datetime) -> int:
    """Start to close temporary accounts whose last day is over (到期销户), 三(十一).

    Their cards have expired before; one that was never handed out, or is void, needs not.
    """
    closing = select(Closing.id).where(Closing.holder_id == Holder.id, HOLDS)
    expiring = select(Card.id).where(Card.holder_id == Holder.id, Card.state.in_(EXPIRING))
    due = session.scalars(
        select(Holder.id).where(
            Holder.category.in_(TEMPORARY),
            Holder.valid_until < business_date(now),
            ~expiring.exists(),
            ~closing.exists(),
        )
    ).all()
    for holder_id in due:
        start(
            session,
            closing_id=new_id(),
            holder_id=holder_id,
            kind=ClosingKind.EXPIRY,
            document=None,
            actor=operation_log.SYSTEM,
            now=now,
        )
    return len(due)


def find(session: Session, *, closing_id: UUID) -> Closing:
    """Return a closing.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, Closing, closing_id)


def list_closings(
    session: Session,
    *,
    states: Collection[ClosingState],
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Closing]:
    """Return closings in some states, newest first."""
    at, id_ = Closing.started_at, Closing.id
    query = select(Closing).where(Closing.state.in_(states))
    if before is not None:
        query = query.where((at < before[0]) | ((at == before[0]) & (id_ < before[1])))
    return session.scalars(query.order_by(at.desc(), id_.desc()).limit(limit)).all()
