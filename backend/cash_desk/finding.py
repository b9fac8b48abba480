"""Whose account cash is for: by number, by card, by a shown code."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.cards.codes import CodeRevoked, CodeStale, PresentedCode, read_code
from backend.cards.models import Card, CardKind, CardState
from backend.cards.service import (
    GONE,
    AccountClosed,
    CardExpired,
    is_account_closed,
    list_cards,
)
from backend.errors import DomainError, NotFound
from backend.holders import viewing
from backend.holders.models import Holder, Permission
from backend.holders.permissions import NotPermitted
from backend.http.parts import Parts
from backend.ledger import service as ledger
from backend.money import Fen
from backend.operators.service import OperatorCaller
from qr import CodeError, Scope

FINDS = ("holder_number", "card_number", "code")
"""By what the desk finds a holder."""
LONGEST = 512
"""More than any number or code has letters."""
DELEGATED = text("SELECT alias, refusal FROM delegated_alias(:serial, :issued_at)")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the desk sees of a holder."""

    holder: Holder
    physical_card_state: CardState | None
    virtual_card_state: CardState | None
    balance_fen: Fen
    """Of both purses."""
    arrears_fen: Fen
    refusal: DomainError | None
    """Why the account takes no cash; None where it does."""

    @property
    def takes_arrears(self) -> bool:
        """Whether cash pays arrears of a closed account instead (现金补缴欠费)."""
        return isinstance(self.refusal, AccountClosed) and self.arrears_fen > 0


def find(
    session: Session, *, by: str, shown: str, parts: Parts, operator: OperatorCaller, now: datetime
) -> UUID:
    """Return the holder whom the desk is shown: `by` is one of `FINDS`.

    A pay code is read as a till reads it, and not spent.

    Raises:
        NotFound: nobody has this number, or this card.
        DomainError: what is wrong with the code, in the order of `CODE_REFUSALS`.
        TooManyRequests: this operator guessed too many short codes.
        ServiceUnavailable: a short code, and Redis is away.
    """
    if by == "holder_number":
        return find_by_number(session, holder_number=shown)
    if by == "card_number":
        return find_by_card(session, card_number=shown)
    try:
        code = read_code(
            shown,
            need=Scope.PAY,
            key_ring=parts.code_keys,
            issuer=parts.settings.issuer,
            redis=parts.redis,
            rates=parts.rates,
            reader=str(operator.operator_id),
            now=now,
        )
    except CodeError as error:
        raise DomainError.by_code[error.code] from error
    return find_by_code(session, code=code)


def find_by_number(session: Session, *, holder_number: str) -> UUID:
    """Return the holder who has or had this number (学工号).

    Raises:
        NotFound: there is none.
    """
    return _known(viewing.id_by_number(session, holder_number=holder_number))


def find_by_card(session: Session, *, card_number: str) -> UUID:
    """Return the holder whose physical card has this number, also where it is lost.

    Raises:
        NotFound: there is none, or the card is gone for ever.
    """
    return _known(
        session.scalar(
            select(Card.holder_id).where(Card.number == card_number, Card.state.not_in(GONE))
        )
    )


def find_by_code(session: Session, *, code: PresentedCode) -> UUID:
    """Return whose code was shown.  Showing it at the desk does not spend it.

    Raises:
        CodeRevoked, CodeStale: the card has changed since the code was made.
    """
    alias = code.alias
    if code.serial is not None:
        delegated = session.execute(
            DELEGATED, {"serial": code.serial, "issued_at": code.issued_at}
        ).one()
        if delegated.refusal is not None:
            raise CodeRevoked if delegated.refusal == CodeRevoked.code else CodeStale
        alias = delegated.alias
    holder_id = session.scalar(select(Card.holder_id).where(Card.alias == alias))
    if holder_id is None:
        raise CodeStale
    return holder_id


def _known(holder_id: UUID | None) -> UUID:
    if holder_id is None:
        raise NotFound
    return holder_id


def look_at(session: Session, *, holder_id: UUID, operator: OperatorCaller, now: datetime) -> Seen:
    """Return what the desk sees of a holder, and note that somebody looked.

    Raises:
        NotFound: there is no such holder.
    """
    holder = viewing.view(session, holder_id=holder_id, actor=operator.actor, now=now)
    states = _card_states(session, holder_id)
    return Seen(
        holder=holder,
        physical_card_state=states.get(CardKind.PHYSICAL),
        virtual_card_state=states.get(CardKind.VIRTUAL),
        balance_fen=ledger.balance_of(session, holder_id=holder_id),
        arrears_fen=arrears.open_fen(session, holder_id=holder_id),
        refusal=refusal_for(session, holder_id=holder_id),
    )


def _card_states(session: Session, holder_id: UUID) -> dict[CardKind, CardState]:
    cards = list_cards(session, holder_id=holder_id)
    return {card.kind: card.state for card in cards if card.state not in GONE}


def refusal_for(session: Session, *, holder_id: UUID) -> DomainError | None:
    """Return why a holder's account takes no cash, None where it does.

    A lost or frozen card is no reason, nor is a void one: the money is the holder's all the same,
    and whoever is short of the fee for a new card brings it here.
    """
    if is_account_closed(session, holder_id=holder_id):
        return AccountClosed()
    if CardState.EXPIRED in _card_states(session, holder_id).values():
        return CardExpired()
    if Permission.FINANCE in session.get_one(Holder, holder_id).denied:
        return NotPermitted(permission=Permission.FINANCE.value)
    return None
