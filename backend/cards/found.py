"""Found cards (拾卡): recorded by number, told to the holder, handed back with the document.

Source: regulation 三(四), 四(二).
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.cards import counter, loss
from backend.cards.models import Card, CardKind, CardState, FoundCard
from backend.cards.rules import CardEvent, check_documents
from backend.cards.service import GONE, change_state
from backend.errors import DomainError, IdReused, Kind, NotFound
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.rows import find_row, first_answer, lock_id, lock_row, newest_first

MAY_RECORD = (Role.CARD_CENTRE, Role.LOGISTICS)


class HandedBack(DomainError, code="handed-back", kind=Kind.CONFLICT):
    """The card was handed back before, under another id."""


class FoundCardUnknown(DomainError, code="found-card-unknown", kind=Kind.CONFLICT):
    """No card has this number, so there is nobody to hand it back to."""


def record(
    session: Session, *, found_id: UUID, number: str, place: str, actor: Actor, now: datetime
) -> tuple[FoundCard, bool]:
    """Record a card that somebody found; say whether this call was the first.

    Whoever records it learns neither whose it is nor whether there is such a card.  A card in use
    is stopped as lost, since it lay where anybody could take it; the virtual card goes on.  A card
    that was replaced or closed is dead already, and its holder is not troubled.  Locks the id, the
    holder and the card.

    Raises:
        NotFound: somebody else's record has this id.
        IdReused: `found_id` came before with other content.
    """
    lock_id(session, found_id)
    earlier = first_answer(
        session, FoundCard, found_id, owner={"found_by": actor.name}, number=number, place=place
    )
    if earlier is not None:
        return earlier, False
    card = session.scalars(select(Card).where(Card.number == number)).one_or_none()
    if card is not None:  # before the record refers to the card: that locks it, too
        loss.lock_holder(session, card.holder_id)
        session.refresh(card, with_for_update=True)
    found = FoundCard(
        id=found_id,
        number=number,
        place=place,
        card_id=card.id if card else None,
        found_by=actor.name,
        found_at=now,
        hand_back_id=None,
        handed_back_by=None,
        handed_back_at=None,
    )
    session.add(found)
    session.flush()
    if card is not None:
        _tell_holder(session, card, place=place, actor=actor, now=now)
    operation_log.record(
        session,
        actor=actor,
        action="card.found",
        holder_id=card.holder_id if card else None,
        card_id=card.id if card else None,
        subject_id=found_id,
        now=now,
        place=place,
        known=card is not None,
    )
    return found, True


def _tell_holder(session: Session, card: Card, *, place: str, actor: Actor, now: datetime) -> None:
    if card.state in GONE:
        return
    stopped = card.state is CardState.ACTIVE and change_state(
        session, card=card, event=CardEvent.REPORT_LOST, actor=actor, now=now, reason="found"
    )
    notices.tell(
        session,
        holder_id=card.holder_id,
        kind="card-found",
        now=now,
        place=place,
        stopped=bool(stopped),
    )


def hand_back(
    session: Session,
    *,
    hand_back_id: UUID,
    found_id: UUID,
    documents: Sequence[str],
    operator: OperatorCaller,
    now: datetime,
) -> tuple[FoundCard, bool]:
    """Hand a found card to its holder; say whether this call was the first.

    A lost card is in use again then; one that is frozen, expired or void is handed over as it is.
    Locks the record, the holder and the card.

    Raises:
        NotFound: there is no such record, or another operator's hand-back has this id.
        HandedBack: it was handed back under another id.
        FoundCardUnknown: nobody's card has this number.
        DocumentsMissing: the ID document was not checked.
        ChannelNotAllowed: the counter restores nothing by the rules in force.
    """
    lock_id(session, hand_back_id)
    found = lock_row(session, FoundCard, found_id)
    if found.hand_back_id is not None:
        if found.hand_back_id != hand_back_id:
            raise HandedBack
        if found.handed_back_by != operator.operator_id:
            raise NotFound
        return found, False
    if _is_used(session, hand_back_id=hand_back_id):
        raise IdReused
    if found.card_id is None:
        raise FoundCardUnknown
    card = counter.find_card(session, card_id=found.card_id)
    loss.lock_holder(session, card.holder_id)
    session.refresh(card, with_for_update=True)
    check_documents(CardEvent.RESTORE, "counter", documents)
    if card.state is CardState.LOST and card.kind is CardKind.PHYSICAL:
        counter.restore(session, card=card, documents=documents, actor=operator.actor, now=now)
    found.hand_back_id, found.handed_back_by = hand_back_id, operator.operator_id
    found.handed_back_at = now
    operation_log.record(
        session,
        actor=operator.actor,
        action="card.hand_back",
        holder_id=card.holder_id,
        card_id=card.id,
        subject_id=found_id,
        now=now,
        documents=sorted(set(documents)),
    )
    return found, True


def _is_used(session: Session, *, hand_back_id: UUID) -> bool:
    used = select(FoundCard.id).where(FoundCard.hand_back_id == hand_back_id)
    return session.scalars(used).first() is not None


def find(session: Session, *, found_id: UUID) -> FoundCard:
    """Return a record of a found card.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, FoundCard, found_id)


def list_found(
    session: Session, *, before: tuple[datetime, UUID] | None, limit: int
) -> list[tuple[FoundCard, Card | None]]:
    """Return found cards with the card that each is, newest first."""
    query = select(FoundCard, Card).outerjoin(Card, Card.id == FoundCard.card_id)
    rows = session.execute(newest_first(query, FoundCard.found_at, before=before, limit=limit))
    return [(found, card) for found, card in rows]
