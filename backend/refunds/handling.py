"""What staff do about refunds (退款处理): find what needs a person, ask again, give up."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.orm import Session

from backend.db import transaction
from backend.errors import DomainError, Kind
from backend.operation_log import service as operation_log
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.refunds import asking, service
from backend.refunds.models import ChannelRefund, RefundState, StrangeRefund
from backend.refunds.rules import ON_ITS_WAY, OPEN, STUCK_AFTER, UNSETTLED
from backend.refunds.service import NEEDS_A_PERSON
from backend.rows import find_row, newest_first
from payments import Channel, ChannelError, Refund
from payments import RefundState as ToldState

MAY_LOOK = (Role.CARD_CENTRE, Role.FINANCE, Role.AUDITOR)
MAY_ACT = (Role.FINANCE,)


class Wanted(StrEnum):
    """Which refunds a list shows, beside those of one state."""

    NEEDS_A_PERSON = "needs_a_person"
    """待处理: abnormal, older than a day, or told otherwise than we have it"""
    ALL = "all"


LISTS = (*Wanted, *RefundState)


class RefundEnded(DomainError, code="refund-ended", kind=Kind.CONFLICT):
    """The refund has come to its end.  Fact: `state`."""


class RefundHasNoPurse(DomainError, code="refund-no-purse", kind=Kind.CONFLICT):
    """It is sent no more already, and no purse takes its money.  Fact: `state`."""


class RefundOnItsWay(DomainError, code="refund-on-its-way", kind=Kind.CONFLICT):
    """It was sent a moment ago and may still reach the channel.  Fact: `retry_after`, seconds."""


class ChannelHasIt(DomainError, code="channel-has-refund", kind=Kind.CONFLICT):
    """The channel knows the refund, and has not closed it.  Fact: `state`, as it stands now."""


class ChannelSilent(DomainError, code="channel-silent", kind=Kind.UNAVAILABLE):
    """The channel is off, or gave no trustworthy answer."""


def list_refunds(
    session: Session,
    *,
    wanted: str,
    before: tuple[datetime, UUID] | None,
    limit: int,
    now: datetime,
) -> Sequence[ChannelRefund]:
    """Return refunds of one of `LISTS`, newest first."""
    query = select(ChannelRefund).where(_condition(wanted, now=now))
    return session.scalars(
        newest_first(query, ChannelRefund.created_at, before=before, limit=limit)
    ).all()


def _condition(wanted: str, *, now: datetime) -> ColumnElement[bool]:
    if wanted == Wanted.ALL:
        return true()
    if wanted == Wanted.NEEDS_A_PERSON:
        stuck = ChannelRefund.state.in_(OPEN) & (ChannelRefund.created_at <= now - STUCK_AFTER)
        return (
            (ChannelRefund.state == RefundState.ABNORMAL)
            | stuck
            | ChannelRefund.answer.in_(NEEDS_A_PERSON)
        )
    return ChannelRefund.state == RefundState(wanted)


def find(session: Session, *, refund_id: UUID) -> ChannelRefund:
    """Return one refund.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, ChannelRefund, refund_id)


def list_strange(session: Session, *, limit: int) -> Sequence[StrangeRefund]:
    """Return the newest refunds that were made in a merchant console."""
    return session.scalars(
        select(StrangeRefund)
        .order_by(StrangeRefund.told_at.desc(), StrangeRefund.out_refund_no)
        .limit(limit)
    ).all()


def ask_again(
    *, refund_id: UUID, channels: Mapping[str, Channel], operator: OperatorCaller, now: datetime
) -> None:
    """Ask the channel now, and send what it does not know, as the worker does when it is due.

    Raises:
        NotFound: there is no such refund.
        RefundEnded: there is nothing left to ask.
        ChannelSilent: the channel is off.
    """
    with transaction() as session:
        refund = _hold(session, refund_id, now=now)
        channel = _channel(channels, refund)
        _log(session, refund, "refund.ask_again", operator, now=now)
    asking.ask(refund, channel=channel, now=now)


def give_up(
    *, refund_id: UUID, channels: Mapping[str, Channel], operator: OperatorCaller, now: datetime
) -> None:
    """Send a refund no more and return its money to the purse.

    Only when the channel, asked afresh, does not know it or has closed it.  What it knows instead
    is settled.  One that belongs into no purse then waits to be paid by hand.  No worker sends it
    meanwhile: it is claimed, and a worker that claimed it before is told by `begin_send`.

    Raises:
        NotFound: there is no such refund.
        RefundEnded: it has come to its end.
        RefundHasNoPurse: it waits to be paid by hand, so there is nothing to give up.
        RefundOnItsWay: it was sent less than ten minutes ago, or is being sent now.
        ChannelSilent: the channel is off, or gave no trustworthy answer.
        ChannelHasIt: it knows the refund.
    """
    with transaction() as session:
        refund = _hold(session, refund_id, now=now)
        _must_lead_somewhere(refund)
        if refund.sent_at is not None:
            _must_have_arrived(refund.sent_at, now=now)
    if refund.sent_at is not None:
        told = _asked(refund, _channel(channels, refund))
        if told.state not in (ToldState.UNKNOWN, ToldState.CLOSED):
            with transaction() as session:
                service.settle(session, channel=refund.channel, answer=told, via="staff", now=now)
                state = find(session, refund_id=refund_id).state.value
            raise ChannelHasIt(state=state)
    with transaction() as session:
        present = service.lock(session, refund_id=refund_id)
        _must_go_on(present)
        _must_lead_somewhere(present)
        if present.sent_at != refund.sent_at:
            raise RefundOnItsWay(retry_after=int(ON_ITS_WAY.total_seconds()))
        _log(session, present, "refund.give_up", operator, now=now)
        service.give_up(
            session,
            refund_id=refund_id,
            why=present.answer or "staff",
            actor=operator.actor,
            via="staff",
            now=now,
        )


def _hold(session: Session, refund_id: UUID, *, now: datetime) -> ChannelRefund:
    """Claim a refund as a worker does, so that none takes it meanwhile."""
    refund = service.lock(session, refund_id=refund_id)
    _must_go_on(refund)
    refund.next_try_at = now + asking.LEASE
    return refund


def _must_go_on(refund: ChannelRefund) -> None:
    if refund.state not in UNSETTLED:
        raise RefundEnded(state=refund.state.value)


def _must_lead_somewhere(refund: ChannelRefund) -> None:
    if refund.state is RefundState.ABNORMAL and not refund.to_purse:
        raise RefundHasNoPurse(state=refund.state.value)


def _must_have_arrived(sent_at: datetime, *, now: datetime) -> None:
    if now < sent_at + ON_ITS_WAY:
        raise RefundOnItsWay(retry_after=max(1, int((sent_at + ON_ITS_WAY - now).total_seconds())))


def _channel(channels: Mapping[str, Channel], refund: ChannelRefund) -> Channel:
    channel = channels.get(refund.channel)
    if channel is None:
        raise ChannelSilent
    return channel


def _asked(refund: ChannelRefund, channel: Channel) -> Refund:
    try:
        return channel.query_refund(service.order_of(refund))
    except ChannelError as error:
        raise ChannelSilent from error


def _log(
    session: Session, refund: ChannelRefund, action: str, operator: OperatorCaller, *, now: datetime
) -> None:
    operation_log.record(
        session,
        actor=operator.actor,
        action=action,
        holder_id=refund.holder_id,
        subject_id=refund.id,
        now=now,
        state=refund.state.value,
        amount_fen=refund.amount_fen,
    )
