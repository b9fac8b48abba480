"""Top-ups (充值): ordering them, giving them up, and what the channel said to the order."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.cards.models import CardKind, CardState
from backend.cards.service import STANDS_AGAINST, AccountClosed, find_card, is_account_closed
from backend.errors import DomainError, Kind
from backend.holders import permissions
from backend.holders.limits import BelowLeast, LimitExceeded
from backend.holders.models import Holder, Permission
from backend.ledger import service as ledger
from backend.money import Fen
from backend.operation_log import service as operation_log
from backend.operation_log.models import LogChannel
from backend.operation_log.service import Actor
from backend.policies.service import policies_at
from backend.rows import find_row, first_answer, lock_id, lock_row
from backend.topups.models import TopUp, TopUpState
from backend.topups.rules import (
    LAST_LOOK,
    UNPAID,
    TopUpEvent,
    close_due_at,
    happen,
    next_query_at,
)
from payments import Prepayment

POLICIES = (
    "top_up.least_fen",
    "top_up.most_balance_fen",
    "top_up.most_fen",
    "top_up.unpaid_orders",
    "top_up.valid_minutes",
)


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
    return first_answer(
        session,
        TopUp,
        top_up_id,
        owner={"holder_id": holder_id},
        channel=channel,
        amount_fen=amount_fen,
        replaces_id=replaces_id,
    )


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
    lock_id(session, top_up_id)
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
        raise BelowLeast(limit="top_up_least", limit_fen=policies["top_up.least_fen"]).decided_by(
            policies.used("top_up.least_fen")
        )
    for name, limit, exceeded in (
        ("most", policies["top_up.most_fen"], amount_fen > policies["top_up.most_fen"]),
        (
            "balance",
            policies["top_up.most_balance_fen"],
            (purse.balance_fen or 0) + amount_fen > policies["top_up.most_balance_fen"],
        ),
    ):
        if exceeded:
            raise LimitExceeded(limit=f"top_up_{name}", limit_fen=limit).decided_by(
                policies.used("top_up.most_fen", "top_up.most_balance_fen")
            )
    unpaid = _count_unpaid(session, holder_id=holder_id, now=now)
    if unpaid >= policies["top_up.unpaid_orders"]:
        raise TooManyUnpaid(orders=unpaid).decided_by(policies.used("top_up.unpaid_orders"))
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
    replaced = lock_row(session, TopUp, top_up_id, holder_id=holder_id)
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
    if happen(top_up, TopUpEvent.ORDERED):  # no thread waits any more: it is on the ladder
        top_up.next_query_at = next_query_at(
            state=top_up.state,
            queries=top_up.queries,
            created_at=top_up.created_at,
            expires_at=top_up.expires_at,
            now=top_up.created_at,
        )
    return top_up


def note_refused(session: Session, *, top_up_id: UUID) -> TopUp:
    """Note that the channel surely refused the order."""
    top_up = session.get_one(TopUp, top_up_id, with_for_update=True)
    if happen(top_up, TopUpEvent.REFUSED):
        top_up.next_query_at = top_up.expires_at + LAST_LOOK
    return top_up


def record_word(
    session: Session, top_up: TopUp, action: str, *, via: str, now: datetime, **facts: Any
) -> None:
    """Write into the operation log what a channel's word did to an order."""
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


def find(session: Session, *, top_up_id: UUID, holder_id: UUID) -> TopUp:
    """Return a holder's own order.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    return find_row(session, TopUp, top_up_id, holder_id=holder_id)


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
    if happen(top_up, TopUpEvent.CLOSE):
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
