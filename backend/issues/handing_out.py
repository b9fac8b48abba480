"""Handing cards out against a signature (签收), and noting who did not come (未报到、缓发)."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.cards.loss import lock_holder
from backend.cards.models import Card, CardKind, CardState
from backend.cards.rules import CardEvent, TransitionNotPossible, next_state
from backend.cards.service import (
    GONE,
    AccountClosed,
    change_state,
    find_card,
    is_account_closed,
    list_cards,
    open_physical_card,
    refuse_after_last_day,
)
from backend.errors import DomainError, Kind, NotFound
from backend.issues import exchanges
from backend.issues.models import (
    BatchKind,
    DeferralReason,
    IssueBatch,
    IssueDecision,
    IssueItem,
    Outcome,
    Signature,
)
from backend.issues.rules import is_closed
from backend.issues.service import outcomes_of
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.models import LogEntry
from backend.operators.service import OperatorCaller
from backend.rows import first_answer, lock_row


class ItemDecided(DomainError, code="item-decided", kind=Kind.CONFLICT):
    """The card was handed out or made void before.  Fact: `outcome`."""


class OutcomeNotPossible(DomainError, code="outcome-not-possible", kind=Kind.CONFLICT):
    """In an exchange nobody is absent for good: their card is in use.  Fact: `outcome`."""


def hand_out(
    session: Session,
    *,
    receipt_id: UUID,
    batch_id: UUID,
    holder_id: UUID,
    signed_by: str,
    signature: Signature,
    documents: Sequence[str],
    operator: OperatorCaller,
    now: datetime,
) -> tuple[IssueDecision, bool]:
    """Hand a card out against a signature (签收); say whether this call was the first.

    A first card becomes active; who was noted as absent and comes later (补报到) gets another one,
    free as the first; in an exchange the new-student card is void and a student card active in its
    place.  A retry gets the first answer.  Locks the batch, the holder in an
    exchange, then the card.

    Raises:
        NotFound: no such batch, or the holder is not on its list.
        IdReused: the id came before with other content.
        ItemDecided: the card was handed out by another receipt, or made void.
        CardLost, CardFrozen, CardExpired, AccountClosed: an exchange, and the card's state; or
            somebody who comes later, and the account is closed.
        TransitionNotPossible: the card that waited is pending no more.
        CardExpired: it waits still, and the holder's last day is over.
    """
    batch, item = _lock(session, batch_id, holder_id)
    earlier = first_answer(
        session,
        IssueDecision,
        receipt_id,
        batch_id=batch_id,
        holder_id=holder_id,
        outcome=Outcome.HANDED_OUT,
        signature=signature,
        signed_by=signed_by,
        documents=list(documents),
    )
    if earlier is not None:
        return earlier, False
    came_later = item.outcome is Outcome.NOT_COLLECTED
    if not came_later:
        _refuse_decided(item)
    if came_later:
        card, replaced = _issue_anew(session, item, operator, now), None
    elif batch.kind is BatchKind.FIRST:
        card, replaced = _activate(session, holder_id, documents, operator, now), None
    else:
        card, replaced = exchanges.exchange(
            session,
            batch=batch,
            holder_id=holder_id,
            documents=documents,
            operator=operator,
            now=now,
        )
    decision = _decide(
        session,
        batch,
        item,
        IssueDecision(
            id=receipt_id,
            batch_id=batch_id,
            holder_id=holder_id,
            outcome=Outcome.HANDED_OUT,
            signature=signature,
            signed_by=signed_by,
            documents=list(documents),
            reason=None,
            note=None,
            card_id=card.id,
            replaced_card_id=replaced,
            decided_by=operator.operator_id,
            decided_at=now,
        ),
        now=now,
    )
    notices.tell(
        session,
        holder_id=holder_id,
        kind="card-issued" if batch.kind is BatchKind.FIRST else "card-exchanged",
        now=now,
    )
    operation_log.record(
        session,
        actor=operator.actor,
        action="issue_batch.hand_out",
        holder_id=holder_id,
        card_id=card.id,
        subject_id=receipt_id,
        now=now,
        after=Outcome.HANDED_OUT.value,
        documents=documents,
        policy_ids=[UUID(id_) for id_ in batch.policy_ids],
        batch_id=str(batch_id),
        signature=signature.value,
        fee_fen=0,
    )
    return decision, True


def _activate(
    session: Session,
    holder_id: UUID,
    documents: Sequence[str],
    operator: OperatorCaller,
    now: datetime,
) -> Card:
    card = _pending_card(session, holder_id, CardEvent.ACTIVATE)
    refuse_after_last_day(session, holder_id=holder_id, now=now)
    change_state(
        session,
        card=card,
        event=CardEvent.ACTIVATE,
        actor=operator.actor,
        now=now,
        documents=documents,
    )
    return card


def _issue_anew(session: Session, item: IssueItem, operator: OperatorCaller, now: datetime) -> Card:
    """Give another first card to somebody whose card was made void because they never came.

    A virtual card that was frozen for that alone works again.  Locks the holder.
    """
    holder_id = item.holder_id
    lock_holder(session, holder_id)
    if is_account_closed(session, holder_id=holder_id):
        raise AccountClosed
    live = find_card(session, holder_id=holder_id, kind=CardKind.PHYSICAL)
    if live is not None:
        raise TransitionNotPossible(state=live.state.value, event=CardEvent.ACTIVATE.value)
    card = open_physical_card(session, holder_id=holder_id, state=CardState.ACTIVE, now=now)
    virtual = find_card(session, holder_id=holder_id, kind=CardKind.VIRTUAL)
    if virtual is not None and _was_frozen_for_absence(session, item, virtual):
        change_state(session, card=virtual, event=CardEvent.UNFREEZE, actor=operator.actor, now=now)
    return card


def _was_frozen_for_absence(session: Session, item: IssueItem, card: Card) -> bool:
    absent_at = session.scalar(
        select(func.max(IssueDecision.decided_at)).where(
            IssueDecision.batch_id == item.batch_id,
            IssueDecision.holder_id == item.holder_id,
            IssueDecision.outcome == Outcome.NOT_COLLECTED,
        )
    )
    frozen_at = session.scalar(
        select(func.max(LogEntry.at)).where(
            LogEntry.card_id == card.id, LogEntry.action == f"card.{CardEvent.FREEZE}"
        )
    )
    return card.state is CardState.FROZEN and frozen_at == absent_at


def _pending_card(session: Session, holder_id: UUID, event: CardEvent) -> Card:
    card = _live_card(session, holder_id, event)
    if card.state is not CardState.PENDING:
        raise TransitionNotPossible(state=card.state.value, event=event.value)
    return card


def _live_card(session: Session, holder_id: UUID, event: CardEvent) -> Card:
    """Return the physical card that is not gone; where there is none, say how the last one stands.

    Raises:
        TransitionNotPossible: it is void, or closed.
    """
    cards = list_cards(session, holder_id=holder_id)
    newest = next(card for card in cards if card.kind is CardKind.PHYSICAL)
    if newest.state in GONE:
        raise TransitionNotPossible(state=newest.state.value, event=event.value)
    return newest


def decide(
    session: Session,
    *,
    decision_id: UUID,
    batch_id: UUID,
    holder_id: UUID,
    outcome: Outcome,
    reason: DeferralReason | None,
    note: str | None,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[IssueDecision, bool]:
    """Note that somebody never came, or gets the card later; say whether this call was first.

    Not collected (未报到): the card is void and never was active; a virtual card that is in use is
    frozen until somebody looks into it.  Deferred: the card still waits.  Locks as `hand_out` does.

    Raises:
        NotFound: no such batch, or the holder is not on its list.
        IdReused: the id came before with other content.
        ItemDecided: the card was handed out or made void.
        OutcomeNotPossible: an exchange, and not collected.
        TransitionNotPossible: the card that waited is pending no more.
    """
    batch, item = _lock(session, batch_id, holder_id)
    earlier = first_answer(
        session,
        IssueDecision,
        decision_id,
        batch_id=batch_id,
        holder_id=holder_id,
        outcome=outcome,
        reason=reason,
        note=note,
    )
    if earlier is not None:
        return earlier, False
    _refuse_decided(item)
    if outcome is Outcome.NOT_COLLECTED:
        if batch.kind is BatchKind.EXCHANGE:
            raise OutcomeNotPossible(outcome=outcome.value)
        card = _pending_card(session, holder_id, CardEvent.VOID)
        change_state(session, card=card, event=CardEvent.VOID, actor=operator.actor, now=now)
        _freeze_virtual_card(session, holder_id=holder_id, operator=operator, now=now)
    else:
        card = _live_card(session, holder_id, CardEvent.ACTIVATE)
    before = item.outcome
    decision = _decide(
        session,
        batch,
        item,
        IssueDecision(
            id=decision_id,
            batch_id=batch_id,
            holder_id=holder_id,
            outcome=outcome,
            signature=None,
            signed_by=None,
            documents=[],
            reason=reason,
            note=note,
            card_id=card.id,
            replaced_card_id=None,
            decided_by=operator.operator_id,
            decided_at=now,
        ),
        now=now,
    )
    operation_log.record(
        session,
        actor=operator.actor,
        action="issue_batch.decide",
        holder_id=holder_id,
        card_id=card.id,
        subject_id=decision_id,
        now=now,
        before=before.value if before else None,
        after=outcome.value,
        batch_id=str(batch_id),
        reason=reason.value if reason else None,
    )
    return decision, True


def _freeze_virtual_card(
    session: Session, *, holder_id: UUID, operator: OperatorCaller, now: datetime
) -> None:
    card = find_card(session, holder_id=holder_id, kind=CardKind.VIRTUAL)
    if card is None:
        return
    try:
        next_state(card.state, CardEvent.FREEZE)
    except TransitionNotPossible:
        return  # stopped otherwise
    change_state(session, card=card, event=CardEvent.FREEZE, actor=operator.actor, now=now)


def _lock(session: Session, batch_id: UUID, holder_id: UUID) -> tuple[IssueBatch, IssueItem]:
    """Let one decision of a batch happen at a time."""
    batch = lock_row(session, IssueBatch, batch_id)
    item = session.get(IssueItem, (batch_id, holder_id), populate_existing=True)
    if item is None:
        raise NotFound
    return batch, item


def _refuse_decided(item: IssueItem) -> None:
    if item.outcome not in (None, Outcome.DEFERRED):
        raise ItemDecided(outcome=item.outcome.value)


def _decide(
    session: Session, batch: IssueBatch, item: IssueItem, decision: IssueDecision, *, now: datetime
) -> IssueDecision:
    session.add(decision)
    item.outcome = decision.outcome
    session.flush()
    if batch.closed_at is None and is_closed(outcomes_of(session, [batch.id])[batch.id]):
        batch.closed_at = now
        session.flush()
    return decision
