"""What the card centre does to one card, at the counter or for somebody who called (柜台卡务).

Source: regulation 三(一), 三(四), 三(十)–(十二).
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.cards import loss
from backend.cards.binding import end_at_counter
from backend.cards.models import Card, CardKind, CardState, CounterOperation
from backend.cards.rules import (
    BY_PHONE,
    CardEvent,
    TransitionNotPossible,
    check_documents,
    next_state,
)
from backend.cards.service import change_state, refuse_after_last_day
from backend.clock import business_date
from backend.errors import DomainError, Kind
from backend.holders.models import Holder
from backend.notices import service as notices
from backend.operation_log.models import LogChannel, LogEntry
from backend.operation_log.service import Actor
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.rows import find_row, first_answer, lock_id

MAY_ACT = (Role.CARD_CENTRE,)
MAY_LOOK = (Role.CARD_CENTRE, Role.FINANCE, Role.AUDITOR)
NOTICES: dict[CardEvent, str] = {
    CardEvent.ACTIVATE: "card-activated",
    CardEvent.FREEZE: "card-frozen",
    CardEvent.UNFREEZE: "card-unfrozen",
    CardEvent.EXTEND: "card-extended",
    CardEvent.VOID: "card-voided",
}
"""What the holder is told.  Loss and restoration tell for themselves."""


class CardNumberMismatch(DomainError, code="card-number-mismatch", kind=Kind.CONFLICT):
    """The number that was read is not this card's: the card itself has to be there."""


class NotByPhone(DomainError, code="not-by-phone", kind=Kind.FORBIDDEN):
    """Somebody who calls can have a card stopped, nothing else."""


class ExtensionTooShort(DomainError, code="extension-too-short", kind=Kind.CONFLICT):
    """The new last day lies before today.  Fact: `day`, the earliest that is good."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for; a retry asks for the same."""

    event: CardEvent
    channel: LogChannel = LogChannel.COUNTER
    """`counter`, or `hotline` for somebody who called."""
    documents: Sequence[str] = ()
    reason: str | None = None
    card_number: str | None = None
    """As it was read off a physical card that is restored."""
    stop_virtual_card: bool = False
    """With the loss of a physical card: whether the virtual card stops too."""
    valid_until: date | None = None
    """With an extension: the new last day."""
    approval_number: str | None = None
    """With an extension: the paper that allows it (文号)."""

    @property
    def content(self) -> dict[str, Any]:
        """As it is kept, to know a retry by."""
        return asdict(self) | {
            "documents": sorted(set(self.documents)),
            "valid_until": self.valid_until and self.valid_until.isoformat(),
        }


def operate(
    session: Session,
    *,
    operation_id: UUID,
    card_id: UUID,
    wanted: Wanted,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[CounterOperation, bool]:
    """Let one event happen to one card; say whether this call was the first.

    What has happened already (a frozen card is frozen) is recorded and changes nothing.  Locks the
    id, the holder, then the cards and with a virtual one the purse.

    Raises:
        NotFound: another operator's operation has this id, or there is no such card.
        IdReused: `operation_id` came before with other content.
        Replaced: the card is void because another took its place.
        TransitionNotPossible: the card's state does not allow it.
        CardExpired: a card that waits, after its holder's last day.
        NotByPhone: the hotline is for reporting losses.
        DocumentsMissing: see `rules.CHECKED`.
        CardNumberMismatch, ChannelNotAllowed: of a restoration.
        ExtensionTooShort: of an extension.
    """
    lock_id(session, operation_id)
    earlier = first_answer(
        session,
        CounterOperation,
        operation_id,
        owner={"operator_id": operator.operator_id},
        card_id=card_id,
        content=wanted.content,
    )
    if earlier is not None:
        return earlier, False
    card = find_card(session, card_id=card_id)
    loss.lock_holder(session, card.holder_id)
    session.refresh(card, with_for_update=True)
    before = card.state
    _check(session, card, wanted, now=now)
    actor = Actor(wanted.channel, operator.actor.name)
    _happen(session, card, wanted, operation_id=operation_id, actor=actor, now=now)
    operation = CounterOperation(
        id=operation_id,
        card_id=card_id,
        holder_id=card.holder_id,
        operator_id=operator.operator_id,
        event=wanted.event.value,
        content=wanted.content,
        before=before.value,
        after=card.state.value,
        made_at=now,
    )
    session.add(operation)
    session.flush()
    if card.state is not before and (kind := NOTICES.get(wanted.event)):
        notices.tell(
            session,
            holder_id=card.holder_id,
            kind=kind,
            now=now,
            card=card.kind.value,
            **({"valid_until": wanted.content["valid_until"]} if wanted.valid_until else {}),
        )
    return operation, True


def _check(session: Session, card: Card, wanted: Wanted, *, now: datetime) -> None:
    """Refuse what the card's state, the way it was asked for, or the proof stand against."""
    try:
        next_state(card.state, wanted.event)
    except TransitionNotPossible:
        if card.state is CardState.VOID and loss.is_replaced(session, card_id=card.id):
            raise loss.Replaced from None
        # A phone that is lost is logged out, also where its card is stopped otherwise.
        phone_lost = card.kind is CardKind.VIRTUAL and wanted.event is CardEvent.REPORT_LOST
        if not (phone_lost and card.state in loss.STOPPED_OTHERWISE):
            raise
    if wanted.event is CardEvent.ACTIVATE and card.state is CardState.PENDING:
        refuse_after_last_day(session, holder_id=card.holder_id, now=now)
    if wanted.channel is LogChannel.HOTLINE and wanted.event not in BY_PHONE:
        raise NotByPhone
    check_documents(wanted.event, wanted.channel.value, wanted.documents)
    restored = wanted.event is CardEvent.RESTORE and card.kind is CardKind.PHYSICAL
    if restored and wanted.card_number != card.number:
        raise CardNumberMismatch


def _happen(
    session: Session,
    card: Card,
    wanted: Wanted,
    *,
    operation_id: UUID,
    actor: Actor,
    now: datetime,
) -> None:
    facts: dict[str, Any] = {"documents": list(wanted.content["documents"])}
    if wanted.reason is not None:
        facts["reason"] = wanted.reason
    if wanted.event is CardEvent.REPORT_LOST:
        physical = card.kind is CardKind.PHYSICAL
        loss.report_lost(
            session,
            report_id=operation_id,
            holder_id=card.holder_id,
            credential="physical_card" if physical else "phone",
            stop_virtual_card=physical and wanted.stop_virtual_card,
            actor=actor,
            now=now,
            **facts,
        )
        return
    if wanted.event is CardEvent.EXTEND:
        _extend(session, card, wanted, actor=actor, now=now, **facts)
        return
    if wanted.event is CardEvent.RESTORE:
        restore(session, card=card, actor=actor, now=now, **facts)
        return
    if wanted.event is CardEvent.VOID and card.kind is CardKind.VIRTUAL:
        end_at_counter(session, holder_id=card.holder_id, now=now)
    change_state(session, card=card, event=wanted.event, actor=actor, now=now, **facts)


def restore(
    session: Session,
    *,
    card: Card,
    documents: Sequence[str],
    actor: Actor,
    now: datetime,
    **facts: Any,
) -> None:
    """Put one lost card back in use at the counter (解挂), and tell the holder.

    The caller checked document and card, and holds the lock on the holder.

    Raises:
        ChannelNotAllowed: the rules in force leave the counter out.
        TransitionNotPossible: the card is not lost.
    """
    change_state(
        session,
        card=card,
        event=CardEvent.RESTORE,
        actor=actor,
        now=now,
        documents=sorted(set(documents)),
        policy_ids=loss.may_restore(session, channel="counter", logged_in_at=None, now=now),
        **facts,
    )
    if card.kind is CardKind.PHYSICAL:
        loss.drop_request(session, holder_id=card.holder_id, now=now)
    notices.tell(session, holder_id=card.holder_id, kind="card-restored", now=now)


def _extend(
    session: Session, card: Card, wanted: Wanted, *, actor: Actor, now: datetime, **facts: Any
) -> None:
    """Give the holder another last day (延期), and with it every expired card its life: `wake`."""
    today = business_date(now)
    if wanted.valid_until is None or wanted.valid_until < today:
        raise ExtensionTooShort(day=today.isoformat())
    holder = session.get_one(Holder, card.holder_id)
    facts |= {
        "valid_until_before": holder.valid_until.isoformat(),
        "valid_until": wanted.valid_until.isoformat(),
        "approval_number": wanted.approval_number,
    }
    holder.valid_until = wanted.valid_until
    holder.note_proven("valid_until")
    session.flush()
    wake(session, holder_id=holder.id, actor=actor, now=now, **facts)


def wake(session: Session, *, holder_id: UUID, actor: Actor, now: datetime, **facts: Any) -> None:
    """Let every expired card of a holder live again, once there is another last day.

    What stopped a card before it expired stops it again: nobody waits for a lost card to expire.
    """
    expired = session.scalars(
        select(Card)
        .where(Card.holder_id == holder_id, Card.state == CardState.EXPIRED)
        .order_by(Card.kind)
    ).all()
    for one in expired:
        change_state(session, card=one, event=CardEvent.EXTEND, actor=actor, now=now, **facts)
        again = STOPPED_BEFORE.get(_before_expiry(session, one))
        if again is not None:
            change_state(session, card=one, event=again, actor=actor, now=now, as_before=True)


def wake_all(
    session: Session, holder_ids: Collection[UUID], *, actor: Actor, now: datetime, **facts: Any
) -> None:
    """Let the expired cards of holders live again who have a last day ahead, and tell them: `wake`.

    So does the roster (名册) with those of whom it says a later one, regulation 三(十).
    """
    today = business_date(now)
    asleep = session.execute(
        select(Holder.id, Holder.valid_until)
        .join(Card, Card.holder_id == Holder.id)
        .where(
            Holder.id.in_(holder_ids),
            Holder.valid_until >= today,
            Card.state == CardState.EXPIRED,
        )
        .distinct()
        .order_by(Holder.id)
    ).all()
    for holder_id, valid_until in asleep:
        until = valid_until.isoformat()
        wake(session, holder_id=holder_id, actor=actor, now=now, valid_until=until, **facts)
        notices.tell(
            session,
            holder_id=holder_id,
            kind=NOTICES[CardEvent.EXTEND],
            now=now,
            valid_until=until,
        )


STOPPED_BEFORE: dict[str | None, CardEvent] = {
    CardState.LOST.value: CardEvent.REPORT_LOST,
    CardState.FROZEN.value: CardEvent.FREEZE,
}


def _before_expiry(session: Session, card: Card) -> str | None:
    state: str | None = session.scalars(
        select(LogEntry.before)
        .where(LogEntry.card_id == card.id, LogEntry.action == f"card.{CardEvent.EXPIRE}")
        .order_by(LogEntry.at.desc(), LogEntry.id.desc())
        .limit(1)
    ).one_or_none()
    return state


def find_card(session: Session, *, card_id: UUID) -> Card:
    """Return a card.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, Card, card_id)


def find_operation(session: Session, *, operation_id: UUID, card_id: UUID) -> CounterOperation:
    """Return what was done to a card under an id.

    Raises:
        NotFound: nothing was.
    """
    return find_row(session, CounterOperation, operation_id, card_id=card_id)


def find_by_card_number(session: Session, *, number: str) -> UUID | None:
    """Return whose physical card has, or had, this number; None where nobody's has."""
    return session.scalar(select(Card.holder_id).where(Card.number == number))
