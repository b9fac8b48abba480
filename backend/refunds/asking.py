"""Sending refunds and asking about them: every call to a gateway, always between transactions.

    claimed ─▶ may the channel know it? ─ yes ▶ query ─▶ its word: settle
                    │ no, or it does not                     │ no trustworthy word: later
                    ▼
               begin_send, committed ─▶ refund ─▶ its word: settle
                                           │ surely never: given up, the money returns
                                           │ no trustworthy word, or "not now": later

A worker may die anywhere: the claim runs out, and the next one starts at the query, since what is
about to be sent was marked before.  It is the same number with the same content every time.
"""

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from backend.db import transaction
from backend.operation_log.models import LogChannel
from backend.operation_log.service import Actor
from backend.refunds import service
from backend.refunds.models import ChannelRefund, RefundState
from payments import Channel, ChannelRejected, ChannelUnknown, Refund
from payments import RefundState as ToldState

BATCH = 20
LEASE = timedelta(seconds=60)

log = logging.getLogger(__name__)


def ask_due(*, channels: Mapping[str, Channel], now: datetime, limit: int = BATCH) -> int:
    """Send or ask about the refunds that are due, at most so many at each channel; return how many.

    Each channel has a thread of its own, so one that hangs keeps the others waiting for nothing.
    """
    if not channels:
        return 0
    with ThreadPoolExecutor(len(channels), "refunds") as threads:
        asked = [
            threads.submit(_ask_channel, channel, now=now, limit=limit)
            for channel in channels.values()
        ]
    return sum(future.result() for future in asked)


def _ask_channel(channel: Channel, *, now: datetime, limit: int) -> int:
    for done in range(limit):
        with transaction() as session:
            refund = service.claim_next(
                session, channels=[channel.name], now=now, lease_until=now + LEASE
            )
        if refund is None:
            return done
        try:
            ask(refund, channel=channel, now=now)
        except SQLAlchemyError:  # its lease runs out and it is asked again; the others do not wait
            log.exception("refund %s: the answer could not be noted", refund.id)
    return limit


def ask(refund: ChannelRefund, *, channel: Channel, now: datetime) -> None:
    """Bring one refund as far as its channel's word goes."""
    if refund.state is not RefundState.DUE:
        told = _query(refund, channel, now=now)
        if told is None:
            return
        if told.state is not ToldState.UNKNOWN:
            _settle(refund, told, via="query", now=now)
            return
    if refund.state is RefundState.ABNORMAL:  # known once, and no more: for a person
        _later(refund.id, ToldState.UNKNOWN.value, now=now)
        return
    with transaction() as session:
        if not service.begin_send(session, refund_id=refund.id, now=now):
            return
    _send(refund, channel, now=now)


def _send(refund: ChannelRefund, channel: Channel, *, now: datetime) -> None:
    try:
        told = channel.refund(service.order_of(refund))
    except ChannelUnknown as error:
        _later(refund.id, error.reason, now=now)
    except ChannelRejected as error:
        log.warning("refund %s: refused: %s", refund.id, error.code)
        if error.for_now:
            _later(refund.id, error.code, now=now)
        else:
            _give_up(refund, error.code, now=now)
    else:
        _settle(refund, told, via="answer", now=now)


def _give_up(refund: ChannelRefund, code: str, *, now: datetime) -> None:
    actor = Actor(LogChannel.PLATFORM, refund.channel)
    with transaction() as session:
        service.give_up(session, refund_id=refund.id, why=code, actor=actor, via="answer", now=now)


def _query(refund: ChannelRefund, channel: Channel, *, now: datetime) -> Refund | None:
    try:
        return channel.query_refund(service.order_of(refund))
    except ChannelUnknown as error:
        _later(refund.id, error.reason, now=now)
    except ChannelRejected as error:
        _later(refund.id, error.code, now=now)
    return None


def _later(refund_id: UUID, why: str, *, now: datetime) -> None:
    log.warning("refund %s: not answered: %s", refund_id, why)
    with transaction() as session:
        service.note_no_answer(session, refund_id=refund_id, why=why, now=now)


def _settle(refund: ChannelRefund, told: Refund, *, via: str, now: datetime) -> None:
    with transaction() as session:
        outcome = service.settle(session, channel=refund.channel, answer=told, via=via, now=now)
        if outcome in (service.RefundOutcome.MISMATCH, service.RefundOutcome.UNKNOWN):
            service.note_no_answer(session, refund_id=refund.id, why=outcome.value, now=now)
