"""Top-ups (充值): ordering them, and `settle`, the only place that credits one or sends it back."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text, true
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.cards.models import CardKind, CardState
from backend.cards.service import STANDS_AGAINST, AccountClosed, find_card, is_account_closed
from backend.errors import DomainError, IdReused, Kind, NotFound
from backend.holders import permissions
from backend.holders.limits import BelowLeast, LimitExceeded
from backend.holders.models import Holder, Permission
from backend.ids import is_own_number, new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.models import LogChannel
from backend.operation_log.service import Actor
from backend.policies.service import policies_at
from backend.refunds import service as refunds
from backend.refunds.service import RefundOutcome
from backend.topups import strays
from backend.topups.models import ChannelNotice, NoticeOutcome, StrayReason, TopUp, TopUpState
from backend.topups.rules import (
    LAST_LOOK,
    OVERDUE,
    RETRY,
    TRANSITIONS,
    UNPAID,
    UNRESOLVED,
    TopUpEvent,
    close_due_at,
    next_query_at,
)
from payments import CloseOutcome, Notice, NoticeEvent, Prepayment, Trade, TradeState

POLICIES = (
    "top_up.least_fen",
    "top_up.most_fen",
    "top_up.most_balance_fen",
    "top_up.valid_minutes",
)
LEASE = timedelta(seconds=60)


class ChannelOff(DomainError, code="channel-off", kind=Kind.CONFLICT):
    """The school does not take money through this channel.  Fact: `channel`."""


class TooManyUnpaid(DomainError, code="too-many-unpaid", kind=Kind.CONFLICT):
    """Too many orders wait to be paid: pay one, or let it run out.  Fact: `orders`."""


class AlreadyPaid(DomainError, code="top-up-paid", kind=Kind.CONFLICT):
    """The order to be replaced was paid meanwhile.  Facts: `top_up_id`, `state`, `amount_fen`."""


def find_earlier(
    session: Session,
    *,
    top_up_id: UUID,
    holder_id: UUID,
    channel: str,
    amount_fen: Fen,
    replaces_id: UUID | None = None,
) -> TopUp | None:
    """Return the order that this id and content made before, None if there is none.

    Raises:
        NotFound: somebody else's order has this id.
        IdReused: `top_up_id` came before with other content.
    """
    earlier = session.get(TopUp, top_up_id)
    if earlier is None:
        return None
    if earlier.holder_id != holder_id:
        raise NotFound
    content = (earlier.channel, earlier.amount_fen, earlier.replaces_id)
    if content != (channel, amount_fen, replaces_id):
        raise IdReused
    return earlier


def order(
    session: Session,
    *,
    top_up_id: UUID,
    holder_id: UUID,
    channel: str,
    amount_fen: Fen,
    payer_sealed: bytes | None,
    actor: Actor,
    now: datetime,
    replaces_id: UUID | None = None,
) -> tuple[TopUp, bool]:
    """Store an order, before anybody asks the channel for it; say whether this call was the first.

    Locks the order's id, the order that it replaces, then the holder's main purse, so that limits
    count every order, and no payment of the replaced one slips in between.

    Raises:
        NotFound: somebody else's order has this id, or is to be replaced; or there is none.
        IdReused: `top_up_id` came before with other content.
        AlreadyPaid: the order to be replaced was paid.
        CardExpired, AccountClosed: the account takes no money any more; a lost card does.
        NotPermitted: the card is not for finance (金融服务).
        BelowLeast: too little.
        LimitExceeded: too much, or too high a balance.
        TooManyUnpaid: as many as are allowed wait to be paid.
    """
    session.execute(text("SELECT lock_id(:id)"), {"id": top_up_id})
    earlier = find_earlier(
        session,
        top_up_id=top_up_id,
        holder_id=holder_id,
        channel=channel,
        amount_fen=amount_fen,
        replaces_id=replaces_id,
    )
    if earlier is not None:
        return earlier, False
    wish_id = top_up_id
    if replaces_id is not None:
        wish_id = _lock_replaced(session, top_up_id=replaces_id, holder_id=holder_id).wish_id
    purse = ledger.lock_purse(session, holder_id=holder_id)
    _refuse_dead_account(session, holder_id=holder_id)
    policies = policies_at(session, now)
    if amount_fen < policies["top_up.least_fen"]:
        raise BelowLeast(limit="top_up_least", limit_fen=policies["top_up.least_fen"])
    for name, limit, exceeded in (
        ("most", policies["top_up.most_fen"], amount_fen > policies["top_up.most_fen"]),
        (
            "balance",
            policies["top_up.most_balance_fen"],
            (purse.balance_fen or 0) + amount_fen > policies["top_up.most_balance_fen"],
        ),
    ):
        if exceeded:
            raise LimitExceeded(limit=f"top_up_{name}", limit_fen=limit)
    unpaid = _count_unpaid(session, holder_id=holder_id, now=now)
    if unpaid >= policies["top_up.unpaid_orders"]:
        raise TooManyUnpaid(orders=unpaid)
    expires_at = now + timedelta(minutes=policies["top_up.valid_minutes"])
    top_up = TopUp(
        id=top_up_id,
        holder_id=holder_id,
        channel=channel,
        amount_fen=amount_fen,
        replaces_id=replaces_id,
        wish_id=wish_id,
        state=TopUpState.CREATED,
        payer_sealed=payer_sealed,
        created_at=now,
        expires_at=expires_at,
        queries=0,
        next_query_at=next_query_at(
            state=TopUpState.CREATED, queries=0, created_at=now, expires_at=expires_at, now=now
        ),
        policy_ids=[str(id_) for id_ in policies.used(*POLICIES)],
    )
    session.add(top_up)
    operation_log.record(
        session,
        actor=actor,
        action="top_up.order",
        holder_id=holder_id,
        subject_id=top_up_id,
        now=now,
        channel=channel,
        amount_fen=amount_fen,
        replaces=str(replaces_id) if replaces_id else None,
    )
    return top_up, True


def _lock_replaced(session: Session, *, top_up_id: UUID, holder_id: UUID) -> TopUp:
    """Return the order to be replaced, locked, if nothing was paid for it."""
    replaced = session.get(TopUp, top_up_id, with_for_update=True, populate_existing=True)
    if replaced is None or replaced.holder_id != holder_id:
        raise NotFound
    refuse_paid(replaced)
    return replaced


def refuse_paid(top_up: TopUp) -> None:
    """Refuse to replace an order that brought money.

    Raises:
        AlreadyPaid: it was credited, or waits for a person.
    """
    if top_up.state in (TopUpState.PAID, TopUpState.EXCEPTION):
        raise AlreadyPaid(
            top_up_id=str(top_up.id), state=top_up.state.value, amount_fen=top_up.amount_fen
        )


def _refuse_dead_account(session: Session, *, holder_id: UUID) -> None:
    """Refuse money for an account that takes none.

    Raises:
        CardExpired, AccountClosed: by the virtual card's state; a lost or frozen one takes it.
        NotPermitted: the card is not for finance (金融服务).
    """
    virtual = find_card(session, holder_id=holder_id, kind=CardKind.VIRTUAL)
    if virtual is not None and virtual.state not in (CardState.LOST, CardState.FROZEN):
        refusal = STANDS_AGAINST.get(virtual.state)
        if refusal is not None:
            raise refusal
    if is_account_closed(session, holder_id=holder_id):
        raise AccountClosed
    permissions.require(session.get_one(Holder, holder_id), Permission.FINANCE)


def _count_unpaid(session: Session, *, holder_id: UUID, now: datetime) -> int:
    counted = session.scalar(
        select(func.count())
        .select_from(TopUp)
        .where(TopUp.holder_id == holder_id, TopUp.state.in_(UNPAID), TopUp.expires_at > now)
    )
    return counted or 0


def note_ordered(session: Session, *, top_up_id: UUID, prepayment: Prepayment) -> TopUp:
    """Note that the channel took the order.  Never overwrites what settled meanwhile."""
    top_up = session.get_one(TopUp, top_up_id, with_for_update=True)
    top_up.prepayment = prepayment.reference
    top_up.client_params = prepayment.client_params
    _happen(top_up, TopUpEvent.ORDERED)
    return top_up


def note_refused(session: Session, *, top_up_id: UUID) -> TopUp:
    """Note that the channel surely refused the order."""
    top_up = session.get_one(TopUp, top_up_id, with_for_update=True)
    if _happen(top_up, TopUpEvent.REFUSED):
        top_up.next_query_at = top_up.expires_at + LAST_LOOK
    return top_up


def _happen(top_up: TopUp, event: TopUpEvent) -> bool:
    after = TRANSITIONS.get((top_up.state, event))
    if after is None:
        return False
    top_up.state = after
    return True


def settle(
    session: Session, *, channel: str, trade: Trade, via: str, now: datetime
) -> NoticeOutcome:
    """Credit a top-up by a verified word of its channel, once, whoever brings it.

    The only writer of PAID: notices, the query job, the phone's question and the bill all come
    here.  Locks the order, then the purse.  A payment of a closed order is credited too: the money
    came.  What is credited pays arrears first.

    A payment that no purse takes goes back: of an order that was paid before, through another
    channel than ordered, for an account that is closing, or of a wish that another order fulfilled.
    A wrong amount or currency, money that already went back, or a payment that another order was
    credited for, freezes the order for a person.
    """
    top_up = _find_order(session, out_trade_no=trade.out_trade_no)
    if top_up is None:
        return NoticeOutcome.UNKNOWN_ORDER
    if trade.state not in (TradeState.PAID, TradeState.REFUNDED):
        return NoticeOutcome.IGNORED
    stray = _reason_to_return(top_up, channel=channel, trade=trade)
    if stray is not None:
        return _return(session, top_up, channel, trade, stray, via=via, now=now)
    as_ordered = (trade.amount_fen, trade.currency) == (top_up.amount_fen, "CNY")
    if top_up.state in (TopUpState.PAID, TopUpState.RETURNED):
        known = as_ordered and trade.trade_no
        return NoticeOutcome.ALREADY_SETTLED if known else NoticeOutcome.MISMATCH
    if (
        not as_ordered
        or not trade.trade_no
        or trade.state is TradeState.REFUNDED
        or _settled_elsewhere(session, top_up, channel=channel, trade_no=trade.trade_no)
    ):
        if _happen(top_up, TopUpEvent.PAID_WRONG):
            _log(session, top_up, "top_up.exception", via=via, now=now)
            top_up.next_query_at = None
        return NoticeOutcome.MISMATCH
    return _take(session, top_up, trade, via=via, now=now)


def _reason_to_return(top_up: TopUp, *, channel: str, trade: Trade) -> StrayReason | None:
    """Say why a payment with an order's number is not the one that the order waits for."""
    if channel != top_up.channel:
        return StrayReason.OTHER_CHANNEL
    settled = top_up.state in (TopUpState.PAID, TopUpState.RETURNED)
    if settled and trade.trade_no and trade.trade_no != top_up.trade_no:
        return StrayReason.SECOND_PAYMENT
    return None


def _take(
    session: Session, top_up: TopUp, trade: Trade, *, via: str, now: datetime
) -> NoticeOutcome:
    """Credit a payment that is as ordered, or send it back.

    The purse's lock keeps the payments of one wish, and the closing of the account, in a row.
    """
    purse = ledger.lock_purse(session, holder_id=top_up.holder_id)
    reason = _stands_against(session, top_up)
    if not _happen(top_up, TopUpEvent.PAID_STRAY if reason else TopUpEvent.PAID):
        return NoticeOutcome.ALREADY_SETTLED  # frozen: a person settles it
    top_up.trade_no = trade.trade_no
    top_up.paid_at = trade.paid_at or now
    top_up.next_query_at = None
    if reason is not None:
        return _return(session, top_up, top_up.channel, trade, reason, via=via, now=now)
    ledger.post(
        session,
        [
            Movement(
                TransferKind.TOP_UP,
                top_up.id,
                ledger.school_account(session, AccountKind.CHANNEL, top_up.channel),
                purse.id,
                top_up.amount_fen,
                {"channel": top_up.channel},
            )
        ],
        now=now,
    )
    arrears.collect(session, holder_id=top_up.holder_id, now=now)
    notices.tell(
        session,
        holder_id=top_up.holder_id,
        kind="top-up-paid",
        now=now,
        top_up_id=str(top_up.id),
        amount_fen=top_up.amount_fen,
        channel=top_up.channel,
        balance_fen=ledger.balance_of(session, holder_id=top_up.holder_id),
    )
    _log(session, top_up, "top_up.settle", via=via, now=now)
    return NoticeOutcome.CREDITED


def _stands_against(session: Session, top_up: TopUp) -> StrayReason | None:
    """Say why a purse, whose lock the caller holds, does not take the payment of an order."""
    fulfilled = select(TopUp.id).where(
        TopUp.wish_id == top_up.wish_id, TopUp.state == TopUpState.PAID, TopUp.id != top_up.id
    )
    if session.scalar(fulfilled) is not None:
        return StrayReason.REPLACED
    if is_account_closed(session, holder_id=top_up.holder_id):
        return StrayReason.ACCOUNT_CLOSED
    return None


def _return(
    session: Session,
    top_up: TopUp,
    channel: str,
    trade: Trade,
    reason: StrayReason,
    *,
    via: str,
    now: datetime,
) -> NoticeOutcome:
    """Send a payment back that carries a locked order's number, once; what cannot be, is told."""
    elsewhere = _settled_elsewhere(session, top_up, channel=channel, trade_no=trade.trade_no or "")
    if elsewhere or not strays.can_go_back(trade):
        _log(session, top_up, "top_up.stray_mismatch", via=via, now=now, channel=channel)
        return NoticeOutcome.MISMATCH
    stray = strays.take(
        session, top_up=top_up, channel=channel, trade=trade, reason=reason, now=now
    )
    if stray is None:
        return NoticeOutcome.ALREADY_SETTLED
    _log(
        session, top_up, "top_up.return", via=via, now=now, channel=channel, reason=reason.value,
        returned_fen=stray.amount_fen,
    )  # fmt: skip
    return NoticeOutcome.RETURNED


def _settled_elsewhere(session: Session, top_up: TopUp, *, channel: str, trade_no: str) -> bool:
    """Say whether another order has this payment; the unique key says so even in a race."""
    other = select(TopUp.id).where(
        TopUp.channel == channel, TopUp.trade_no == trade_no, TopUp.id != top_up.id
    )
    return session.scalar(other) is not None


def _find_order(session: Session, *, out_trade_no: str) -> TopUp | None:
    if not is_own_number(out_trade_no):
        return None
    return session.get(TopUp, UUID(hex=out_trade_no), with_for_update=True, populate_existing=True)


def _log(
    session: Session, top_up: TopUp, action: str, *, via: str, now: datetime, **facts: Any
) -> None:
    operation_log.record(
        session,
        actor=Actor(LogChannel.PLATFORM, top_up.channel),
        action=action,
        holder_id=top_up.holder_id,
        subject_id=top_up.id,
        now=now,
        via=via,
        amount_fen=top_up.amount_fen,
        state=top_up.state.value,
        **facts,
    )


def receive_notice(
    session: Session, *, notice: Notice, body: bytes, now: datetime
) -> NoticeOutcome:
    """Work a verified notice and keep it, in one transaction.

    The caller acknowledges after the commit, and only what `ACKNOWLEDGED` holds.
    """
    outcome = NoticeOutcome.IGNORED
    if notice.event is NoticeEvent.PAID:
        outcome = settle(session, channel=notice.channel, trade=notice.trade, via="notice", now=now)
    elif notice.event is NoticeEvent.REFUND and notice.refund is not None:
        told = refunds.settle(
            session, channel=notice.channel, answer=notice.refund, via="notice", now=now
        )
        outcome = REFUND_OUTCOMES[told]
    _keep(session, notice.channel, outcome, body, now=now, notice=notice)
    return outcome


ACKNOWLEDGED = (
    NoticeOutcome.CREDITED,
    NoticeOutcome.ALREADY_SETTLED,
    NoticeOutcome.RETURNED,
    NoticeOutcome.IGNORED,
    NoticeOutcome.REFUND_NOTED,
    NoticeOutcome.UNKNOWN_REFUND,
)
REFUND_OUTCOMES = {
    RefundOutcome.SETTLED: NoticeOutcome.REFUND_NOTED,
    RefundOutcome.ALREADY_SETTLED: NoticeOutcome.ALREADY_SETTLED,
    RefundOutcome.CONFLICT: NoticeOutcome.REFUND_NOTED,
    RefundOutcome.MISMATCH: NoticeOutcome.MISMATCH,
    RefundOutcome.UNKNOWN: NoticeOutcome.UNKNOWN_REFUND,
}


def keep_forged(session: Session, *, channel: str, reason: str, body: bytes, now: datetime) -> None:
    """Record a notice that is not the platform's word to us: its digest and why, nothing else."""
    _keep(session, channel, NoticeOutcome.FORGED, body, now=now, reason=reason)


def _keep(
    session: Session,
    channel: str,
    outcome: NoticeOutcome,
    body: bytes,
    *,
    now: datetime,
    notice: Notice | None = None,
    reason: str | None = None,
) -> None:
    top_up_id = None
    if notice is not None:
        top_up = _find_order(session, out_trade_no=notice.trade.out_trade_no)
        top_up_id = top_up.id if top_up else None
    session.add(
        ChannelNotice(
            id=new_id(),
            channel=channel,
            notice_id=notice.notice_id if notice else None,
            top_up_id=top_up_id,
            outcome=outcome,
            reason=reason,
            digest=hashlib.sha256(body).digest(),
            received_at=now,
        )
    )


@dataclass(frozen=True, slots=True)
class Question:
    """An order that its channel is to be asked about, and closed at if it is not `wanted`."""

    top_up_id: UUID
    channel: str
    out_trade_no: str
    wanted: bool


def claim_due(session: Session, *, channel: str, now: datetime, limit: int) -> list[Question]:
    """Claim orders of a channel that is to be asked now, for a minute; others skip them.

    A worker that dies leaves them to be claimed again.
    """
    due = session.scalars(
        select(TopUp)
        .where(TopUp.next_query_at <= now, TopUp.channel == channel)
        .order_by(TopUp.next_query_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    questions = [question_about(top_up, now=now) for top_up in due]
    for top_up in due:
        top_up.next_query_at = now + LEASE
    return questions


def question_about(top_up: TopUp, *, now: datetime) -> Question:
    """Return what to ask an order's channel now; one that is closing is closed when it is due."""
    due = top_up.next_query_at is not None and top_up.next_query_at <= now
    unwanted = now >= top_up.expires_at or (top_up.state is TopUpState.CLOSING and due)
    return Question(top_up.id, top_up.channel, top_up.out_trade_no, wanted=not unwanted)


def doubt(session: Session, *, top_up_id: UUID, bill_id: UUID, now: datetime) -> Question | None:
    """Have an order asked about that a bill calls paid; None where it is settled or frozen.

    The caller asks within a minute, or the query job does.  Locks the order.
    """
    top_up = session.get_one(TopUp, top_up_id, with_for_update=True, populate_existing=True)
    if top_up.state in (TopUpState.PAID, TopUpState.RETURNED, TopUpState.EXCEPTION):
        return None
    question = question_about(top_up, now=now)
    top_up.next_query_at = now + LEASE
    _log(session, top_up, "top_up.doubt", via="bill", now=now, bill_id=str(bill_id))
    return question


def find(session: Session, *, top_up_id: UUID, holder_id: UUID) -> TopUp:
    """Return a holder's own order.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    found = session.get(TopUp, top_up_id)
    if found is None or found.holder_id != holder_id:
        raise NotFound
    return found


def note_answer(
    session: Session, *, question: Question, trade: Trade | None, now: datetime, via: str = "query"
) -> TopUp:
    """Note what the channel said of an order, None for no trustworthy answer; set the next date."""
    if trade is not None:
        settle(session, channel=question.channel, trade=trade, via=via, now=now)
    top_up = session.get_one(TopUp, question.top_up_id, with_for_update=True)
    if trade is not None:
        top_up.queries += 1
        if trade.state is TradeState.CLOSED:
            _happen(top_up, TopUpEvent.CLOSE)
            _happen(top_up, TopUpEvent.CLOSED)
    if top_up.state is TopUpState.CLOSING and top_up.next_query_at is not None:
        top_up.next_query_at = max(top_up.next_query_at, now + RETRY)  # when it may be closed
    else:
        _schedule(top_up, answered=trade is not None, now=now)
    return top_up


def cancel(
    session: Session, *, top_up_id: UUID, holder_id: UUID, actor: Actor, now: datetime
) -> TopUp:
    """Note that the holder does not want an unpaid order any more; its channel closes it.

    One that is paid or over stays as it is.  Locks the order.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    find(session, top_up_id=top_up_id, holder_id=holder_id)
    top_up = session.get_one(TopUp, top_up_id, with_for_update=True, populate_existing=True)
    if _happen(top_up, TopUpEvent.CLOSE):
        due_at = close_due_at(
            channel=top_up.channel, created_at=top_up.created_at, expires_at=top_up.expires_at
        )
        top_up.next_query_at = max(now, due_at)
        operation_log.record(
            session,
            actor=actor,
            action="top_up.cancel",
            holder_id=holder_id,
            subject_id=top_up_id,
            now=now,
        )
    return top_up


def begin_close(session: Session, *, top_up_id: UUID, now: datetime) -> bool:
    """Mark an unpaid order as closing; say whether its channel is to be asked.

    The caller asks within a minute, or the query job does.
    """
    top_up = session.get_one(TopUp, top_up_id, with_for_update=True)
    if _happen(top_up, TopUpEvent.CLOSE):
        top_up.next_query_at = now + LEASE
    return top_up.state is TopUpState.CLOSING


def note_closed(
    session: Session, *, top_up_id: UUID, outcome: CloseOutcome, now: datetime
) -> TopUp:
    """Note what became of the wish to close an order: only the channel's yes closes it."""
    top_up = session.get_one(TopUp, top_up_id, with_for_update=True)
    if outcome in (CloseOutcome.CLOSED, CloseOutcome.NOT_FOUND) and _happen(
        top_up, TopUpEvent.CLOSED
    ):
        top_up.next_query_at = max(now, top_up.expires_at) + LAST_LOOK
    else:
        _schedule(top_up, answered=False, now=now)
    return top_up


def _schedule(top_up: TopUp, *, answered: bool, now: datetime) -> None:
    when = next_query_at(
        state=top_up.state,
        queries=top_up.queries,
        created_at=top_up.created_at,
        expires_at=top_up.expires_at,
        now=now,
    )
    if not answered and top_up.next_query_at is not None:
        when = now + RETRY  # a last look, too, has to be answered
    top_up.next_query_at = when


@dataclass(frozen=True, slots=True)
class StateFigures:
    """How many orders stand in one state, and for how much."""

    state: TopUpState
    count: int
    amount_fen: Fen


def figures_by_state(session: Session, *, since: datetime) -> list[StateFigures]:
    """Return the figures of the orders made since a moment, in the order of their life."""
    rows = session.execute(
        select(TopUp.state, func.count(), func.sum(TopUp.amount_fen))
        .where(TopUp.created_at >= since)
        .group_by(TopUp.state)
    ).all()
    known = {state: StateFigures(state, count, Fen(int(fen))) for state, count, fen in rows}
    return [known.get(state, StateFigures(state, 0, Fen(0))) for state in TopUpState]


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Orders that somebody should look at."""

    frozen: int
    """They wait for a person to settle them."""
    overdue: int
    """They are open for longer than any order should be."""


def unresolved(session: Session, *, now: datetime) -> Unresolved:
    """Count the orders that somebody should look at; both are zero when all is well."""
    frozen, overdue = session.execute(
        select(
            func.count().filter(TopUp.state == TopUpState.EXCEPTION),
            func.count().filter(TopUp.created_at < now - OVERDUE),
        ).where(TopUp.state.in_(UNRESOLVED))
    ).one()
    return Unresolved(frozen=frozen, overdue=overdue)


def list_by_state(
    session: Session,
    *,
    state: TopUpState | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[TopUp]:
    """Return everybody's orders in one state, or in any, newest first."""
    return _newest(session, TopUp.state == state if state else true(), before=before, limit=limit)


def list_top_ups(
    session: Session, *, holder_id: UUID, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[TopUp]:
    """Return a holder's orders, newest first."""
    return _newest(session, TopUp.holder_id == holder_id, before=before, limit=limit)


def _newest(
    session: Session,
    condition: ColumnElement[bool],
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[TopUp]:
    query = select(TopUp).where(condition)
    if before is not None:
        query = query.where(
            (TopUp.created_at < before[0])
            | ((TopUp.created_at == before[0]) & (TopUp.id < before[1]))
        )
    return session.scalars(
        query.order_by(TopUp.created_at.desc(), TopUp.id.desc()).limit(limit)
    ).all()
