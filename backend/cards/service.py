"""Cards: opening, finding and changing them."""

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.cards.models import Card, CardAlias, CardKind, CardState, Delegation
from backend.cards.rules import CardEvent, next_state
from backend.clock import business_date
from backend.errors import DomainError, Kind
from backend.holders.category_changes import is_due
from backend.holders.limits import limits_of
from backend.holders.login import NotBound
from backend.holders.models import Holder
from backend.holders.rules import masked_name, masked_number
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.policies.service import policies_at

ALIAS_BYTES = 6
CARD_NUMBER_DIGITS = 10
GONE = (CardState.VOID, CardState.CLOSED)
EXPIRING = (CardState.ACTIVE, CardState.LOST, CardState.FROZEN)
"""States in which a card can expire; one that nobody has in hand cannot."""


class CardLost(DomainError, code="card-lost", kind=Kind.CONFLICT):
    """The card is reported lost (挂失)."""


class CardFrozen(DomainError, code="card-frozen", kind=Kind.CONFLICT):
    """The card centre has frozen the card (冻结)."""


class CardExpired(DomainError, code="card-expired", kind=Kind.CONFLICT):
    """The card's validity is over (过期)."""


class AccountClosed(DomainError, code="account-closed", kind=Kind.CONFLICT):
    """The account is closing or closed (销户)."""


STANDS_AGAINST: dict[CardState, type[DomainError]] = {
    CardState.LOST: CardLost,
    CardState.FROZEN: CardFrozen,
    CardState.EXPIRED: CardExpired,
    CardState.CLOSING: AccountClosed,
    CardState.CLOSED: AccountClosed,
}
"""States that keep a card from being used.  `card_refusal` in the database says the same."""
CARD_REFUSALS = (CardLost, CardFrozen, CardExpired, AccountClosed)
"""What they are answered with, in order of precedence."""


def open_account(session: Session, holder_id: UUID, *, actor: Actor, now: datetime) -> None:
    """Open purses and the first physical card of a new holder (开户), who holds it in hand."""
    _open_accounts(session, [holder_id], CardState.ACTIVE, actor=actor, now=now)


def open_accounts(
    session: Session, holder_ids: Sequence[UUID], *, actor: Actor, now: datetime
) -> None:
    """Open purses and the first physical card of new holders: `open_account` for many."""
    _open_accounts(session, holder_ids, CardState.ACTIVE, actor=actor, now=now)


def open_accounts_to_issue(
    session: Session, holder_ids: Sequence[UUID], *, actor: Actor, now: datetime
) -> None:
    """Open purses and first physical cards that wait to be handed out (待发), regulation 三(二).

    The virtual card can be bound all the same, from the first day on: 二(五).
    """
    _open_accounts(session, holder_ids, CardState.PENDING, actor=actor, now=now)


def _open_accounts(
    session: Session,
    holder_ids: Sequence[UUID],
    state: CardState,
    *,
    actor: Actor,
    now: datetime,
) -> None:
    numbers = _new_numbers(session, len(holder_ids))
    for holder_id, number in zip(holder_ids, numbers, strict=True):
        ledger.open_purses(session, holder_id=holder_id)
        card = Card(
            id=new_id(),
            holder_id=holder_id,
            kind=CardKind.PHYSICAL,
            state=state,
            alias=None,
            number=number,
            created_at=now,
        )
        session.add(card)
        operation_log.record(
            session,
            actor=actor,
            action="card.open_account",
            holder_id=holder_id,
            card_id=card.id,
            subject_id=card.id,
            now=now,
            after=card.state.value,
        )


def _new_numbers(session: Session, count: int) -> list[str]:
    """Return card numbers that no card has: among thousands, two are the same now and then."""
    found: set[str] = set()
    while len(found) < count:
        drawn = {draw_number() for _ in range(count - len(found))}
        found |= drawn - set(session.scalars(select(Card.number).where(Card.number.in_(drawn))))
    return list(found)


def draw_number() -> str:
    """Return a number for a physical card."""
    return "".join(secrets.choice("0123456789") for _ in range(CARD_NUMBER_DIGITS))


def open_physical_card(
    session: Session, *, holder_id: UUID, state: CardState, now: datetime
) -> Card:
    """Give a holder another physical card, with a number nobody had.  Any earlier one is gone."""
    card = Card(
        id=new_id(),
        holder_id=holder_id,
        kind=CardKind.PHYSICAL,
        state=state,
        alias=None,
        number=_new_numbers(session, 1)[0],
        created_at=now,
    )
    session.add(card)
    session.flush()
    return card


def find_card(session: Session, *, holder_id: UUID, kind: CardKind) -> Card | None:
    """Return a holder's card of one kind that is not gone for ever, or None."""
    return session.scalars(
        select(Card).where(Card.holder_id == holder_id, Card.kind == kind, Card.state.not_in(GONE))
    ).one_or_none()


def is_account_closed(session: Session, *, holder_id: UUID) -> bool:
    """Say whether an account is closing or closed (销户): it takes no money any more.

    Whoever holds the main purse's lock is sure of it until commit: a closing locks it, too.
    """
    return bool(closed_accounts(session, holder_ids=[holder_id]))


CLOSED_ACCOUNTS = text("""
    SELECT wanted.id,
           EXISTS (SELECT FROM cards WHERE holder_id = wanted.id AND state = 'closing')
           OR EXISTS (SELECT FROM closings WHERE holder_id = wanted.id
                         AND state NOT IN ('closed', 'cancelled') AND reopened_at IS NULL)
           AS goes_on
      FROM unnest(CAST(:ids AS uuid[])) AS wanted (id)
     WHERE is_account_closed(wanted.id)
""")


def closed_accounts(session: Session, *, holder_ids: Collection[UUID]) -> set[UUID]:
    """Return whose accounts, among some holders', are closing or closed: `is_account_closed`."""
    return set(ended_accounts(session, holder_ids=holder_ids))


def ended_accounts(session: Session, *, holder_ids: Collection[UUID]) -> dict[UUID, bool]:
    """Return whose accounts are closing or closed, and whether the closing goes on still."""
    rows = session.execute(CLOSED_ACCOUNTS, {"ids": list(holder_ids)})
    return {row.id: row.goes_on for row in rows}


def list_cards(session: Session, *, holder_id: UUID) -> Sequence[Card]:
    """Return every card that a holder has or had, newest first."""
    return session.scalars(
        select(Card).where(Card.holder_id == holder_id).order_by(Card.created_at.desc(), Card.kind)
    ).all()


def open_virtual_card(session: Session, *, holder_id: UUID, now: datetime) -> Card:
    """Give a holder a virtual card and tie the main purse to it.

    Locks the main purse.  From now on the purse's row follows the card's alias and state.
    """
    card = Card(
        id=new_id(),
        holder_id=holder_id,
        kind=CardKind.VIRTUAL,
        state=CardState.ACTIVE,
        alias=secrets.token_bytes(ALIAS_BYTES),
        number=None,
        created_at=now,
    )
    session.add(card)
    session.flush()
    _note_alias(session, card, now=now)
    purse = ledger.lock_purse(session, holder_id=holder_id)
    purse.card_id, purse.card_alias, purse.card_state = card.id, card.alias, card.state
    session.flush()
    return card


def change_state(
    session: Session,
    *,
    card: Card,
    event: CardEvent,
    actor: Actor,
    now: datetime,
    **facts: Any,
) -> bool:
    """Let an event happen to a card; say whether it was news.

    Locks the card's row, and through the foreign key the purse that it pays from.  A virtual card
    gets a new alias, so that every code shown so far is stale; what its phone may do without
    network ends with anything that stops the card, and does not come back with it.

    Raises:
        TransitionNotPossible: the card's state does not allow it.
    """
    session.refresh(card, with_for_update=True)
    before = card.state
    after = next_state(before, event)
    if after is before:
        return False
    card.state = after
    if card.kind is CardKind.VIRTUAL:
        renew_alias(session, card=card, now=now)
        revoke_delegations(session, card_id=card.id, now=now)
    session.flush()
    operation_log.record(
        session,
        actor=actor,
        action=f"card.{event}",
        holder_id=card.holder_id,
        card_id=card.id,
        subject_id=card.id,
        now=now,
        card=card.kind.value,
        before=before.value,
        after=after.value,
        **facts,
    )
    return True


def renew_alias(session: Session, *, card: Card, now: datetime) -> None:
    """Give a virtual card another alias: every code shown so far is stale.

    The caller has locked the card.
    """
    session.execute(update(CardAlias).where(CardAlias.alias == card.alias).values(retired_at=now))
    card.alias = secrets.token_bytes(ALIAS_BYTES)
    session.flush()
    _note_alias(session, card, now=now)


def _note_alias(session: Session, card: Card, *, now: datetime) -> None:
    session.add(CardAlias(alias=card.alias or b"", card_id=card.id, given_at=now))
    session.flush()


def revoke_delegations(session: Session, *, card_id: UUID, now: datetime) -> None:
    """Take back what phones may do for a card without network (撤销脱机授权)."""
    session.execute(
        update(Delegation)
        .where(Delegation.card_id == card_id, Delegation.revoked_at.is_(None))
        .values(revoked_at=now)
    )


def usable_virtual_card(session: Session, *, holder_id: UUID, now: datetime) -> Card:
    """Return the virtual card of a holder who may show codes.

    Raises:
        CardLost, CardFrozen, CardExpired, AccountClosed: by the card's state, or its last day.
        NotBound: there is none.
    """
    card = find_card(session, holder_id=holder_id, kind=CardKind.VIRTUAL)
    if card is None and is_account_closed(session, holder_id=holder_id):
        raise AccountClosed
    if card is None:
        raise NotBound(binding="none")
    if refusal := STANDS_AGAINST.get(card.state):
        raise refusal
    if now >= usable_until(session, holder_id=holder_id):
        raise CardExpired
    return card


def usable_until(session: Session, *, holder_id: UUID) -> datetime:
    """Return the first instant at which a holder's cards are over, by the roster or by leaving."""
    until: datetime = session.execute(
        text("SELECT usable_until(h) FROM holders h WHERE h.id = :id"), {"id": holder_id}
    ).scalar_one()
    return until


def refuse_after_last_day(session: Session, *, holder_id: UUID, now: datetime) -> None:
    """Refuse a card to somebody whose last day is over.

    Raises:
        CardExpired: it is; another last day comes first.
    """
    if now >= usable_until(session, holder_id=holder_id):
        raise CardExpired


def expire_cards(session: Session, *, now: datetime) -> int:
    """Expire the cards of holders whose last day is over (到期自动失效), regulation 三(十).

    Charges and passages refuse them from midnight on, whenever this comes.  Who is another kind of
    holder from today on is left until that is applied: it may give them a later last day.  Locks
    each holder that nobody else has locked, then the cards.
    """
    today = business_date(now)
    over = (Holder.valid_until < today) & ~is_due(today)
    expiring = select(Card.id).where(Card.holder_id == Holder.id, Card.state.in_(EXPIRING))
    holders = session.scalars(
        select(Holder.id).where(over, expiring.exists()).order_by(Holder.id)
    ).all()
    expired = 0
    for holder_id in holders:
        # An extension or a closing holds the same lock: it is seen here, or left to the next run.
        locked = select(Holder.id).where(Holder.id == holder_id, over)
        if session.scalar(locked.with_for_update(key_share=True, skip_locked=True)) is None:
            continue
        cards = select(Card).where(Card.holder_id == holder_id, Card.state.in_(EXPIRING))
        for card in session.scalars(cards.order_by(Card.kind)).all():
            change_state(
                session, card=card, event=CardEvent.EXPIRE, actor=operation_log.SYSTEM, now=now
            )
            expired += 1
    return expired


def overview(
    session: Session, *, holder_id: UUID | None, binding: str, now: datetime
) -> dict[str, Any]:
    """Return what the phone shows of its holder."""
    if holder_id is None or binding != "active":
        return {
            "binding": binding,
            "holder": None,
            "physical_card": None,
            "virtual_card": None,
            "purses": [],
            "arrears_fen": 0,
            "limits": None,
            "spent_today_fen": 0,
            "restore_from_phone": False,
        }
    holder = session.get_one(Holder, holder_id)
    physical, virtual = (
        _shown_card(session, holder_id=holder_id, kind=kind)
        for kind in (CardKind.PHYSICAL, CardKind.VIRTUAL)
    )
    purses = ledger.purses_of(session, holder_id=holder_id)
    return {
        "binding": binding,
        "holder": {
            "name_masked": masked_name(holder.name),
            "holder_number": holder.holder_number,
            "category": holder.category,
            "unit": holder.unit,
        },
        "physical_card": physical
        and {
            "state": physical.state,
            "number_masked": masked_number(physical.number or ""),
            "valid_until": holder.valid_until,
        },
        "virtual_card": virtual and {"state": virtual.state, "valid_until": holder.valid_until},
        "purses": [
            {"kind": name, "balance_fen": purses[kind].balance_fen}
            for name, kind in (
                ("main", AccountKind.MAIN_PURSE),
                ("subsidy", AccountKind.SUBSIDY_PURSE),
            )
        ],
        "arrears_fen": arrears.open_fen(session, holder_id=holder_id),
        "limits": limits_of(holder, now=now),
        "spent_today_fen": ledger.spent_on(session, holder_id=holder_id, day=business_date(now)),
        "restore_from_phone": "mini_program" in policies_at(session, now)["card.restore_channels"],
    }


def _shown_card(session: Session, *, holder_id: UUID, kind: CardKind) -> Card | None:
    """Return the card of a kind that is in use; of a closed account the one that was."""
    card = find_card(session, holder_id=holder_id, kind=kind)
    if card is not None or not is_account_closed(session, holder_id=holder_id):
        return card
    return session.scalars(
        select(Card)
        .where(Card.holder_id == holder_id, Card.kind == kind, Card.state == CardState.CLOSED)
        .order_by(Card.created_at.desc())
        .limit(1)
    ).one_or_none()
