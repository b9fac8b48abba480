"""Asking the channels: every call to a gateway, always between transactions, never inside one."""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from backend.db import transaction
from backend.sealing import Sealer
from backend.topups import following, service
from backend.topups.following import Question
from backend.topups.models import TopUp, TopUpState
from backend.topups.rules import UNPAID
from payments import (
    Channel,
    ChannelBusy,
    ChannelRejected,
    ChannelUnknown,
    CloseOutcome,
    TopUpOrder,
    Trade,
    TradeState,
)

DESCRIPTION = "校园卡充值"
BATCH = 20

log = logging.getLogger(__name__)


def place_order(top_up: TopUp, *, channel: Channel, sealer: Sealer) -> TopUp:
    """Ask the channel to take a stored order, and note its answer.

    Without a trustworthy answer the order stays as it is: the query job finds out.  Repeating it is
    harmless: the channel gets the same number with the same content.
    """
    payer = top_up.payer_sealed and sealer.unseal("platform-account", top_up.payer_sealed)
    asked = TopUpOrder(
        out_trade_no=top_up.out_trade_no,
        amount_fen=top_up.amount_fen,
        description=DESCRIPTION,
        payer=payer or None,
        expires_at=top_up.expires_at,
        created_at=top_up.created_at,
    )
    try:
        prepayment = channel.create(asked)
    except ChannelUnknown as error:
        log.warning("top-up %s: order not answered: %s", top_up.id, error.reason)
        return top_up
    except ChannelRejected as error:
        log.warning("top-up %s: order refused: %s", top_up.id, error.code)
        with transaction() as session:
            return service.note_refused(session, top_up_id=top_up.id)
    with transaction() as session:
        return service.note_ordered(session, top_up_id=top_up.id, prepayment=prepayment)


def ask_due(
    *, channels: Mapping[str, Channel], sealer: Sealer, now: datetime, limit: int = BATCH
) -> int:
    """Ask about every order that is due, and close those that nobody wants any more.

    Each channel has a thread of its own, so one that hangs keeps the others waiting for nothing.
    Return how many were claimed.
    """
    if not channels:
        return 0
    with ThreadPoolExecutor(len(channels), "asking") as threads:
        claimed = [
            threads.submit(_ask_channel, channel, sealer=sealer, now=now, limit=limit)
            for channel in channels.values()
        ]
        return sum(future.result() for future in claimed)


def _ask_channel(channel: Channel, *, sealer: Sealer, now: datetime, limit: int) -> int:
    """Ask one channel about its due orders, for half their lease at most.

    What is not asked until then, or because the channel is busy or down, is due again when its
    lease runs out.
    """
    until = time.monotonic() + following.LEASE.total_seconds() / 2
    with transaction() as session:
        questions = following.claim_due(session, channel=channel.name, now=now, limit=limit)
    for question in questions:
        try:
            ask(question, channel=channel, sealer=sealer, now=now)
        except ChannelBusy:
            log.warning("%s: busy or down: its orders wait", channel.name)
            break
        except SQLAlchemyError:  # its lease runs out and it is asked again; the others do not wait
            log.exception("top-up %s: the answer could not be noted", question.top_up_id)
        if time.monotonic() > until:
            break
    return len(questions)


def ask(
    question: Question, *, channel: Channel, sealer: Sealer, now: datetime, via: str = "query"
) -> TopUp:
    """Ask a channel about one order and do what follows from its answer.

    `via` says in the operation log what made us ask.

    Raises:
        ChannelBusy: it was not asked, and nothing is noted.
    """
    trade = _query(question, channel)
    with transaction() as session:
        top_up = following.note_answer(session, question=question, trade=trade, now=now, via=via)
    if trade is None:
        return top_up
    not_ordered = trade.state is TradeState.UNKNOWN and top_up.state is TopUpState.CREATED
    if not_ordered and question.wanted:
        return place_order(top_up, channel=channel, sealer=sealer)
    unpaid = trade.state in (TradeState.UNPAID, TradeState.UNKNOWN)
    if unpaid and not question.wanted and top_up.state in (*UNPAID, TopUpState.CLOSING):
        return close(question, channel=channel, now=now)
    return top_up


def close(question: Question, *, channel: Channel, now: datetime) -> TopUp:
    """Have an unpaid order closed at its channel; one that turns out paid is settled at once.

    Without the channel's yes it is `closing`, and the query job goes on with it.
    """
    with transaction() as session:
        wanted = following.begin_close(session, top_up_id=question.top_up_id, now=now)
    outcome = CloseOutcome.RETRY
    if wanted:
        try:
            outcome = channel.close(question.out_trade_no)
        except (ChannelUnknown, ChannelRejected) as error:
            log.warning("top-up %s: close not answered: %s", question.top_up_id, error)
    trade = None
    if outcome is CloseOutcome.ALREADY_PAID:
        with suppress(ChannelBusy):
            trade = _query(question, channel)
    with transaction() as session:
        if trade is not None:
            return following.note_answer(session, question=question, trade=trade, now=now)
        return following.note_closed(
            session, top_up_id=question.top_up_id, outcome=outcome, now=now
        )


def _query(question: Question, channel: Channel) -> Trade | None:
    try:
        return channel.query(question.out_trade_no)
    except ChannelBusy:
        raise
    except (ChannelUnknown, ChannelRejected) as error:
        log.warning("top-up %s: query not answered: %s", question.top_up_id, error)
        return None
