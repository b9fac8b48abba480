"""A person who comes back (再次开户): a new card on the account that was closed.

One person is one holder, 二(三): a returning trainee, or somebody admitted anew under another
number, keeps account and history, and has one card.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from backend.cards.binding import end_at_counter
from backend.cards.loss import lock_holder
from backend.cards.models import Card, CardState
from backend.cards.service import GONE, list_cards, open_physical_card
from backend.errors import DomainError, Kind
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor


class AccountNotClosed(DomainError, code="account-not-closed", kind=Kind.CONFLICT):
    """The holder's account is in use, or still closing: nobody has two."""


def reopen(
    session: Session, *, holder_id: UUID, state: CardState, actor: Actor, now: datetime
) -> Card:
    """Give somebody whose account is closed a new physical card, `active` or still `pending`.

    The phone has to be bound anew: identity and payment account are looked at again, 五(一).
    Purses, bills and debts are the old ones.  Locks the holder.

    Raises:
        AccountNotClosed: the account is in use, or still closing.
    """
    lock_holder(session, holder_id)
    if not may_reopen(session, holder_id=holder_id):
        raise AccountNotClosed
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
        after=card.state.value,
    )
    return card


def may_reopen(session: Session, *, holder_id: UUID) -> bool:
    """Say whether all cards of a holder are gone, and the account was closed."""
    states = {card.state for card in list_cards(session, holder_id=holder_id)}
    return CardState.CLOSED in states and states <= {*GONE}
