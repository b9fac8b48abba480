"""What to ask the channels about top-ups (查单), when, and what follows from their answers."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.topups.models import TopUp, TopUpState
from backend.topups.rules import (
    LAST_LOOK,
    RETRY,
    TopUpEvent,
    happen,
    next_query_at,
)
from backend.topups.service import record_word
from backend.topups.settling import settle
from payments import CloseOutcome, Trade, TradeState

LEASE = timedelta(seconds=60)


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
    record_word(session, top_up, "top_up.doubt", via="bill", now=now, bill_id=str(bill_id))
    return question


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
            happen(top_up, TopUpEvent.CLOSE)
            happen(top_up, TopUpEvent.CLOSED)
    if top_up.state is TopUpState.CLOSING and top_up.next_query_at is not None:
        top_up.next_query_at = max(top_up.next_query_at, now + RETRY)  # when it may be closed
    else:
        _schedule(top_up, answered=trade is not None, now=now)
    return top_up


def begin_close(session: Session, *, top_up_id: UUID, now: datetime) -> bool:
    """Mark an unpaid order as closing; say whether its channel is to be asked.

    The caller asks within a minute, or the query job does.
    """
    top_up = session.get_one(TopUp, top_up_id, with_for_update=True)
    if happen(top_up, TopUpEvent.CLOSE):
        top_up.next_query_at = now + LEASE
    return top_up.state is TopUpState.CLOSING


def note_closed(
    session: Session, *, top_up_id: UUID, outcome: CloseOutcome, now: datetime
) -> TopUp:
    """Note what became of the wish to close an order: only the channel's yes closes it."""
    top_up = session.get_one(TopUp, top_up_id, with_for_update=True)
    if outcome in (CloseOutcome.CLOSED, CloseOutcome.NOT_FOUND) and happen(
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
