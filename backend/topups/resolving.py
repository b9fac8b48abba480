"""Frozen top-ups (异常充值处理): two people of finance settle one by what its channel says now.

A frozen order was paid, by a signed word, and not as ordered.  Nobody chooses what becomes of it:
the channel is asked afresh, and its answer leaves one way.  One person proposes it, with a reason;
another approves, the channel is asked again, and only the same answer is acted on.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.db import transaction
from backend.errors import DomainError, Kind
from backend.money import Fen
from backend.operation_log import service as operation_log
from backend.operators.models import Role
from backend.operators.second_person import is_decided
from backend.operators.service import OperatorCaller
from backend.refunds.handling import ChannelSilent
from backend.rows import find_row, first_answer, lock_id, lock_row
from backend.topups.models import TopUp, TopUpResolution, TopUpState
from backend.topups.settling import thaw, way_out
from payments import Channel, ChannelError, Trade

MAY_LOOK = (Role.CARD_CENTRE, Role.FINANCE, Role.AUDITOR)
MAY_ACT = (Role.FINANCE,)


class TopUpNotFrozen(DomainError, code="top-up-not-frozen", kind=Kind.CONFLICT):
    """Only an order in the state `exception` is settled by people.  Fact: `state`."""


class ResolutionWaits(DomainError, code="resolution-waits", kind=Kind.CONFLICT):
    """Another resolution of this order waits for the second person."""


class ResolutionNotPossible(DomainError, code="resolution-not-possible", kind=Kind.CONFLICT):
    """What the channel says leaves no way: in another currency, or too much to send back."""


class ResolutionDecided(DomainError, code="resolution-decided", kind=Kind.CONFLICT):
    """Somebody has decided otherwise.  Fact: `approved`."""


class ChannelSaysOtherwise(DomainError, code="channel-says-otherwise", kind=Kind.CONFLICT):
    """The channel says something else than when it was proposed: refuse it, and propose anew."""


def find(session: Session, *, top_up_id: UUID) -> TopUp:
    """Return anybody's order.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, TopUp, top_up_id)


def resolutions_of(session: Session, *, top_up_id: UUID) -> Sequence[TopUpResolution]:
    """Return what was proposed for an order, newest first."""
    return session.scalars(
        select(TopUpResolution)
        .where(TopUpResolution.top_up_id == top_up_id)
        .order_by(TopUpResolution.made_at.desc(), TopUpResolution.id.desc())
    ).all()


def propose(
    *,
    resolution_id: UUID,
    top_up_id: UUID,
    reason: str,
    channels: Mapping[str, Channel],
    maker: OperatorCaller,
    now: datetime,
) -> tuple[TopUpResolution, bool]:
    """Ask the channel about a frozen order and propose what follows; say whether it was first.

    Locks the resolution's id, then the order, never while the channel is asked.

    Raises:
        NotFound: there is no such order, or the id stands for a resolution of another one.
        IdReused: `resolution_id` came before with another reason, or from somebody else.
        TopUpNotFrozen: the order does not wait for people.
        ResolutionWaits: another resolution waits.
        ChannelSilent: the channel is off, or gave no trustworthy answer.
        ResolutionNotPossible: its answer leaves no way.
    """
    with transaction() as session:
        top_up = find_row(session, TopUp, top_up_id)
        earlier = _find_earlier(session, resolution_id, top_up_id, reason, maker)
        if earlier is not None:
            return earlier, False
        _must_wait_for_people(session, top_up)
    trade = _ask(channels, top_up)
    with transaction() as session:
        lock_id(session, resolution_id)
        top_up = lock_row(session, TopUp, top_up_id)
        earlier = _find_earlier(session, resolution_id, top_up_id, reason, maker)
        if earlier is not None:
            return earlier, False
        _must_wait_for_people(session, top_up)
        way = way_out(session, top_up, trade)
        if way is None:
            raise ResolutionNotPossible
        resolution = TopUpResolution(
            id=resolution_id,
            top_up_id=top_up_id,
            way=way,
            told_state=trade.state,
            told_fen=None if trade.amount_fen is None else Fen(trade.amount_fen),
            told_currency=trade.currency,
            trade_no=trade.trade_no,
            reason=reason,
            made_by=maker.operator_id,
            made_at=now,
        )
        session.add(resolution)
        _log(session, top_up, "top_up.resolution_make", resolution, maker, now=now)
        return resolution, True


def decide(
    *,
    resolution_id: UUID,
    top_up_id: UUID,
    approve: bool,
    channels: Mapping[str, Channel],
    checker: OperatorCaller,
    now: datetime,
) -> tuple[TopUpResolution, bool]:
    """Do what was proposed, or refuse it; say whether this call was the first.

    To approve, the channel is asked again.  Locks the order, then the resolution; the database
    itself refuses one person for both.

    Raises:
        NotFound: there is no such resolution of this order.
        ResolutionDecided: it was decided otherwise.
        SecondPersonNeeded: the caller proposed it.
        ChannelSilent: the channel is off, or gave no trustworthy answer.
        ChannelSaysOtherwise: its answer is not the one that the resolution was made of.
    """
    with transaction() as session:
        resolution = find_row(session, TopUpResolution, resolution_id, top_up_id=top_up_id)
        if _is_decided(resolution, approve=approve, checker=checker):
            return resolution, False
        top_up = find_row(session, TopUp, top_up_id)
    trade = _ask(channels, top_up) if approve else None
    with transaction() as session:
        top_up = lock_row(session, TopUp, top_up_id)
        resolution = lock_row(session, TopUpResolution, resolution_id, top_up_id=top_up_id)
        if _is_decided(resolution, approve=approve, checker=checker):
            return resolution, False
        if trade is not None:
            _must_be_as_proposed(session, resolution, top_up, trade)
            thaw(session, top_up, trade, resolution.way, now=now)
        resolution.approved, resolution.approved_by = approve, checker.operator_id
        resolution.decided_at = now
        action = "top_up.resolution_approve" if approve else "top_up.resolution_refuse"
        _log(session, top_up, action, resolution, checker, now=now)
        return resolution, True


def _find_earlier(
    session: Session, resolution_id: UUID, top_up_id: UUID, reason: str, maker: OperatorCaller
) -> TopUpResolution | None:
    return first_answer(
        session,
        TopUpResolution,
        resolution_id,
        owner={"top_up_id": top_up_id},
        reason=reason,
        made_by=maker.operator_id,
    )


def _must_wait_for_people(session: Session, top_up: TopUp) -> None:
    if top_up.state is not TopUpState.EXCEPTION:
        raise TopUpNotFrozen(state=top_up.state.value)
    if any(made.approved is None for made in resolutions_of(session, top_up_id=top_up.id)):
        raise ResolutionWaits


def _is_decided(resolution: TopUpResolution, *, approve: bool, checker: OperatorCaller) -> bool:
    return is_decided(
        resolution.approved,
        approve=approve,
        otherwise=ResolutionDecided,
        checker=checker.operator_id,
        made_by=resolution.made_by,
    )


def _must_be_as_proposed(
    session: Session, resolution: TopUpResolution, top_up: TopUp, trade: Trade
) -> None:
    proposed = (
        resolution.told_state,
        resolution.told_fen,
        resolution.told_currency,
        resolution.trade_no,
        resolution.way,
    )
    now_told = (trade.state, trade.amount_fen, trade.currency, trade.trade_no)
    if proposed != (*now_told, way_out(session, top_up, trade)):
        raise ChannelSaysOtherwise


def _ask(channels: Mapping[str, Channel], top_up: TopUp) -> Trade:
    channel = channels.get(top_up.channel)
    if channel is None:
        raise ChannelSilent
    try:
        return channel.query(top_up.out_trade_no)
    except ChannelError as error:
        raise ChannelSilent from error


def _log(
    session: Session,
    top_up: TopUp,
    action: str,
    resolution: TopUpResolution,
    operator: OperatorCaller,
    *,
    now: datetime,
) -> None:
    operation_log.record(
        session,
        actor=operator.actor,
        action=action,
        holder_id=top_up.holder_id,
        subject_id=top_up.id,
        now=now,
        resolution_id=str(resolution.id),
        way=resolution.way.value,
        told_fen=resolution.told_fen,
        reason=resolution.reason,
        state=top_up.state.value,
    )
