"""An account that was closed is opened again (复户): somebody comes back.

One person is one holder, regulation 二(三): purses, history and earlier numbers are the same, and
every card is new.  Who they are by now, a change of category says.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.cards.binding import end_at_counter
from backend.cards.loss import lock_holder
from backend.cards.models import Card, CardState
from backend.cards.service import (
    AccountClosed,
    is_account_closed,
    list_cards,
    open_physical_card,
    refuse_after_last_day,
)
from backend.errors import DomainError, Kind
from backend.ledger import service as ledger
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor

UNDO_CLOSING = text("""
    UPDATE closings SET reopened_at = :now
     WHERE holder_id = :holder_id AND state <> 'cancelled' AND reopened_at IS NULL
""")


class AccountOpen(DomainError, code="account-open", kind=Kind.CONFLICT):
    """The account is not closed: it has a card, or may be given one."""


def reopen(
    session: Session,
    *,
    holder_id: UUID,
    state: CardState,
    actor: Actor,
    now: datetime,
    **facts: Any,
) -> Card:
    """Open a closed account again and return its new physical card.

    The phone is bound anew, as with a first card.  Locks the holder, then the main purse.  The
    caller has seen to it that nothing is owed to the holder from before.

    Raises:
        AccountClosed: the closing still goes on.
        AccountOpen: the account is not closed.
        CardExpired: the holder's last day is over; a change of category gives another one.
    """
    lock_holder(session, holder_id)
    ledger.lock_purse(session, holder_id=holder_id)
    states = {card.state for card in list_cards(session, holder_id=holder_id)}
    if CardState.CLOSING in states:
        raise AccountClosed
    if not is_account_closed(session, holder_id=holder_id):
        raise AccountOpen
    refuse_after_last_day(session, holder_id=holder_id, now=now)
    session.execute(UNDO_CLOSING, {"holder_id": holder_id, "now": now})
    end_at_counter(session, holder_id=holder_id, now=now)
    card = open_physical_card(session, holder_id=holder_id, state=state, now=now)
    operation_log.record(
        session,
        actor=actor,
        action="card.reopen_account",
        holder_id=holder_id,
        card_id=card.id,
        subject_id=card.id,
        now=now,
        before=CardState.CLOSED.value,
        after=card.state.value,
        **facts,
    )
    return card
