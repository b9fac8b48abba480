"""Closing an account at the counter (柜台销户): who it is, what it would mean, starting it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.cards.models import Card
from backend.cards.service import GONE, list_cards
from backend.clock import business_date
from backend.closings import service
from backend.closings.graduates import exempt_on
from backend.closings.models import Closing, ClosingBatch, ClosingKind, Graduate
from backend.closings.rules import CLOSED_AS, Check
from backend.errors import DomainError, Kind
from backend.holders.models import Holder
from backend.ledger import service as ledger
from backend.money import Fen
from backend.operators.service import OperatorCaller
from backend.rows import lock_row


class ClosingKindNotPossible(DomainError, code="closing-kind-not-possible", kind=Kind.CONFLICT):
    """Somebody of this category is not closed so, or not yet.  Facts: `kind`, `category`."""


class ExemptFromClosing(DomainError, code="exempt-from-closing", kind=Kind.CONFLICT):
    """A graduates' batch keeps the account open.  Facts: `exemption`, `until`, `batch_id`."""


def start(
    session: Session,
    *,
    closing_id: UUID,
    holder_id: UUID,
    kind: ClosingKind,
    document: str | None,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[Closing, bool]:
    """Start to close an account, as `service.start` does, and say whether this call was first.

    The kind fits who the holder is, as a departure's does.  What two people decided in a batch of
    graduates is not undone by one: who is exempted there is exempted no more first.  Locks the
    holder, then as `service.start` does.

    Raises:
        IdReused: `closing_id` came before for somebody else or with other content.
        AlreadyClosing: another closing of this account goes on, or has ended.
        ClosingKindNotPossible: the holder's category is not closed so; an expiry is still to come.
        ExemptFromClosing: a graduate, whom a batch exempts.
    """
    holder = lock_row(session, Holder, holder_id, key_share=True)
    known = session.get(Closing, closing_id) is not None
    if not known and service.live_closing(session, holder_id=holder_id) is None:
        if kind not in kinds_for(holder, now=now):
            raise ClosingKindNotPossible(kind=kind.value, category=holder.category.value)
        if kind is ClosingKind.GRADUATION:
            _refuse_exempt(session, holder_id, now=now)
    return service.start(
        session,
        closing_id=closing_id,
        holder_id=holder_id,
        kind=kind,
        document=document,
        actor=operator.actor,
        now=now,
    )


def kinds_for(holder: Holder, *, now: datetime) -> list[ClosingKind]:
    """Return how an account can be closed at the counter today."""
    over = holder.valid_until < business_date(now)
    return [
        kind
        for kind, categories in CLOSED_AS.items()
        if holder.category in categories and (over or kind is not ClosingKind.EXPIRY)
    ]


def _refuse_exempt(session: Session, holder_id: UUID, *, now: datetime) -> None:
    exempted = session.scalars(
        select(Graduate)
        .join(ClosingBatch, ClosingBatch.id == Graduate.batch_id)
        .where(
            Graduate.holder_id == holder_id,
            exempt_on(business_date(now)),
            ClosingBatch.withdrawn_at.is_(None),
        )
        .order_by(ClosingBatch.made_at.desc())
        .limit(1)
    ).one_or_none()
    if exempted is None or exempted.exemption is None:
        return
    raise ExemptFromClosing(
        exemption=exempted.exemption.value,
        until=exempted.exempted_until and exempted.exempted_until.isoformat(),
        batch_id=str(exempted.batch_id),
    )


@dataclass(frozen=True, slots=True)
class Draft:
    """What closing an account would mean if it were started now (销户预览)."""

    holder: Holder
    cards: Sequence[Card]
    """Those that would stop."""
    balance_fen: Fen
    checks: Sequence[Check]
    """What stands, or would stand, against emptying the purses."""
    kinds: Sequence[ClosingKind]


def preview(session: Session, *, holder_id: UUID, now: datetime) -> Draft:
    """Return what starting to close an account would do.

    Raises:
        AlreadyClosing: it is closing or closed.
    """
    live = service.live_closing(session, holder_id=holder_id)
    if live is not None:
        raise service.AlreadyClosing(closing_id=str(live.id))
    holder = session.get_one(Holder, holder_id)
    cards = list_cards(session, holder_id=holder_id)
    return Draft(
        holder=holder,
        cards=[card for card in cards if card.state not in GONE],
        balance_fen=ledger.balance_of(session, holder_id=holder_id),
        checks=service.account_checks(session, holder_id=holder_id),
        kinds=kinds_for(holder, now=now),
    )
