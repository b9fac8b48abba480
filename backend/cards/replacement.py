"""A new physical card in a lost or damaged one's place (补卡): quote, request, and the exchange.

Fee and new card are one transaction: either the fee left the purse, the old card is void for ever
and the new one is in use, or nothing happened.  The virtual card and its binding go on.

Source: regulation 三(二), 三(四).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.cards import loss
from backend.cards.models import (
    Card,
    CardKind,
    CardState,
    Replacement,
    ReplacementRequest,
    ReplacementState,
)
from backend.cards.rules import (
    ID_DOCUMENT,
    REPLACED_IN,
    CardEvent,
    DocumentsMissing,
    TransitionNotPossible,
    fee_key,
    short_by,
)
from backend.cards.service import (
    STANDS_AGAINST,
    change_state,
    draw_number,
    find_card,
    is_account_closed,
    refuse_after_last_day,
)
from backend.errors import DomainError, Kind, NotFound
from backend.holders.models import Holder
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import Account, AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at
from backend.rows import find_row, first_answer, lock_id

LOCK_NUMBER = text("SELECT pg_advisory_xact_lock(hashtextextended(:number, 1))")
"""Two counters with one number: the second is refused, not failed by the unique constraint."""
QUALITY = "quality"
CAUSES = tuple(REPLACED_IN)
ASKED_FOR = ("lost", "damaged")
"""What a holder may say; whether a card was badly made is for the counter to see."""


class ReplacementFeeShort(DomainError, code="replacement-fee-short", kind=Kind.CONFLICT):
    """The main purse cannot pay the fee.  Facts: `fee_fen`, `balance_fen`, `arrears_fen`,
    `short_fen`."""


class ReportLostFirst(DomainError, code="report-lost-first", kind=Kind.CONFLICT):
    """The card that is said to be lost is in use: it has to be stopped first."""


class QuoteOutdated(DomainError, code="quote-outdated", kind=Kind.CONFLICT):
    """The fee is higher than the holder was told.  Facts: `quoted_fen`, `fee_fen`."""


class ReplacementAsked(DomainError, code="replacement-asked", kind=Kind.CONFLICT):
    """The holder has asked for a new card already.  Fact: `request_id`."""


class ReplacementEnded(DomainError, code="replacement-ended", kind=Kind.CONFLICT):
    """The new card was handed out, or the request cancelled.  Fact: `state`."""


class NothingToReplace(DomainError, code="nothing-to-replace", kind=Kind.CONFLICT):
    """The holder has no physical card to replace, or the card is a virtual one."""


class CardNumberTaken(DomainError, code="card-number-taken", kind=Kind.CONFLICT):
    """A card has, or had, the number of the new one."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What a new card costs somebody now, and whether the purse can pay it."""

    fee_fen: Fen
    balance_fen: Fen
    """Of the main purse."""
    arrears_fen: Fen
    short_fen: Fen
    policy_ids: list[UUID]

    def must_be_payable(self) -> None:
        """Refuse a fee that the purse cannot pay.

        Raises:
            ReplacementFeeShort: it is short, be it by one fen.
        """
        if self.short_fen:
            raise ReplacementFeeShort(
                fee_fen=self.fee_fen,
                balance_fen=self.balance_fen,
                arrears_fen=self.arrears_fen,
                short_fen=self.short_fen,
            ).decided_by(self.policy_ids)


def quote(
    session: Session, *, holder: Holder, now: datetime, purse: Account | None = None
) -> Quote:
    """Say what a new card costs a holder now.  `purse` is the main purse, where it is locked."""
    policies, key = policies_at(session, now), fee_key(holder.category)
    if purse is None:
        purse = ledger.purses_of(session, holder_id=holder.id)[AccountKind.MAIN_PURSE]
    fee_fen, balance_fen = Fen(policies[key]), purse.balance_fen or Fen(0)
    arrears_fen = arrears.open_fen(session, holder_id=holder.id)
    return Quote(
        fee_fen=fee_fen,
        balance_fen=balance_fen,
        arrears_fen=arrears_fen,
        short_fen=short_by(fee_fen=fee_fen, balance_fen=balance_fen, arrears_fen=arrears_fen),
        policy_ids=policies.used(key),
    )


def check_replaceable(session: Session, *, card: Card, cause: str, now: datetime) -> None:
    """Refuse a card that cannot be replaced as it is.

    Raises:
        NothingToReplace: it is a virtual card.
        Replaced: another card took its place.
        CardFrozen, CardExpired, AccountClosed: what stands against it is settled first; an expired
            card is extended.
        ReportLostFirst: it is said to be lost and is in use.
        TransitionNotPossible: it was never handed out, or is void.
    """
    if card.kind is not CardKind.PHYSICAL:
        raise NothingToReplace
    if loss.is_replaced(session, card_id=card.id):
        raise loss.Replaced
    if is_account_closed(session, holder_id=card.holder_id):
        raise STANDS_AGAINST[CardState.CLOSED]
    if card.state in REPLACED_IN[cause]:
        refuse_after_last_day(session, holder_id=card.holder_id, now=now)
        live = find_card(session, holder_id=card.holder_id, kind=CardKind.PHYSICAL)
        if live is None or live.id == card.id:
            return
        raise loss.Replaced  # voided, and the holder has another one
    if card.state is CardState.ACTIVE:
        raise ReportLostFirst
    if card.state is not CardState.LOST and (refusal := STANDS_AGAINST.get(card.state)):
        raise refusal
    raise TransitionNotPossible(state=card.state.value, event="replace")


def refusal_for(session: Session, *, card: Card, cause: str, now: datetime) -> DomainError | None:
    """Return why a card cannot be replaced as it is, None where it can."""
    try:
        check_replaceable(session, card=card, cause=cause, now=now)
    except DomainError as refusal:
        return refusal
    return None


def ask(
    session: Session,
    *,
    request_id: UUID,
    holder_id: UUID,
    cause: str,
    actor: Actor,
    now: datetime,
) -> tuple[ReplacementRequest, bool]:
    """Ask for a new card (补卡申请) and be told the fee; say whether this call was the first.

    Nothing is taken yet: the counter does, when it hands the card out.  Locks the holder.

    Raises:
        NotFound: somebody else's request has this id.
        IdReused: `request_id` came before with other content.
        NothingToReplace, Replaced, CardFrozen, CardExpired, AccountClosed, ReportLostFirst,
            TransitionNotPossible: as `check_replaceable` says.
        ReplacementAsked: there is an open request.
        ReplacementFeeShort: the purse cannot pay it.
    """
    loss.lock_holder(session, holder_id)
    earlier = first_answer(
        session, ReplacementRequest, request_id, owner={"holder_id": holder_id}, cause=cause
    )
    if earlier is not None:
        return earlier, False
    card = card_to_replace(session, holder_id=holder_id)
    if card is None:
        raise NothingToReplace
    check_replaceable(session, card=card, cause=cause, now=now)
    open_ = open_request(session, holder_id=holder_id)
    if open_ is not None:
        raise ReplacementAsked(request_id=str(open_.id))
    told = quote(session, holder=session.get_one(Holder, holder_id), now=now)
    told.must_be_payable()
    request = ReplacementRequest(
        id=request_id,
        holder_id=holder_id,
        card_id=card.id,
        cause=cause,
        fee_fen=told.fee_fen,
        policy_ids=[str(id_) for id_ in told.policy_ids],
        state=ReplacementState.REQUESTED,
        requested_at=now,
        ended_at=None,
    )
    session.add(request)
    session.flush()
    notices.tell(
        session, holder_id=holder_id, kind="replacement-requested", now=now, fee_fen=told.fee_fen
    )
    operation_log.record(
        session,
        actor=actor,
        action="replacement.request",
        holder_id=holder_id,
        card_id=card.id,
        subject_id=request_id,
        now=now,
        after=ReplacementState.REQUESTED.value,
        policy_ids=told.policy_ids,
        cause=cause,
        fee_fen=told.fee_fen,
    )
    return request, True


def cancel(
    session: Session, *, request_id: UUID, holder_id: UUID, actor: Actor, now: datetime
) -> ReplacementRequest:
    """Take a request back.  A retry changes nothing.  Locks the holder.

    Raises:
        NotFound: there is no such request, or it is somebody else's.
        ReplacementEnded: the new card was handed out.
    """
    loss.lock_holder(session, holder_id)
    request = find_request(session, request_id=request_id, holder_id=holder_id)
    session.refresh(request, with_for_update=True)
    if request.state is ReplacementState.REPLACED:
        raise ReplacementEnded(state=request.state.value)
    if request.state is ReplacementState.REQUESTED:
        request.state, request.ended_at = ReplacementState.CANCELLED, now
        operation_log.record(
            session,
            actor=actor,
            action="replacement.cancel",
            holder_id=holder_id,
            card_id=request.card_id,
            subject_id=request_id,
            now=now,
            before=ReplacementState.REQUESTED.value,
            after=ReplacementState.CANCELLED.value,
        )
    return request


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the counter asks for; a retry asks for the same."""

    cause: str
    documents: Sequence[str]
    quoted_fee_fen: Fen
    """What the holder was told; a quality replacement costs nothing."""
    reason: str | None = None
    evidence: str | None = None
    new_number: str | None = None
    """Printed on the new card; None lets one be drawn."""

    @property
    def content(self) -> dict[str, Any]:
        """As it is kept, to know a retry by."""
        return {
            "cause": self.cause,
            "documents": sorted(set(self.documents)),
            "quoted_fee_fen": self.quoted_fee_fen,
            "reason": self.reason,
            "evidence": self.evidence,
            "new_number": self.new_number,
        }


def replace(
    session: Session,
    *,
    replacement_id: UUID,
    card_id: UUID,
    wanted: Wanted,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[Replacement, bool]:
    """Void a card, take the fee and put a new one in use; say whether this call was the first.

    Locks the id, the holder, the old card, then the main purse.  Arrears are paid before the fee.

    Raises:
        NotFound: another operator's replacement has this id, or there is no such card.
        IdReused: `replacement_id` came before with other content.
        NothingToReplace, Replaced, CardFrozen, CardExpired, AccountClosed, ReportLostFirst,
            TransitionNotPossible: as `check_replaceable` says.
        DocumentsMissing: the ID document was not checked.
        QuoteOutdated: the fee is higher than the holder was told.
        ReplacementFeeShort: the purse cannot pay it.
        CardNumberTaken: the new number belongs to a card.
    """
    lock_id(session, replacement_id)
    earlier = first_answer(
        session,
        Replacement,
        replacement_id,
        owner={"operator_id": operator.operator_id},
        old_card_id=card_id,
        content=wanted.content,
    )
    if earlier is not None:
        return earlier, False
    old = find_row(session, Card, card_id)
    loss.lock_holder(session, old.holder_id)
    session.refresh(old, with_for_update=True)
    check_replaceable(session, card=old, cause=wanted.cause, now=now)
    if ID_DOCUMENT not in wanted.documents:
        raise DocumentsMissing(needs=ID_DOCUMENT)
    fee_fen, balance_fen, policy_ids = _take_fee(
        session, replacement_id=replacement_id, holder_id=old.holder_id, wanted=wanted, now=now
    )
    before = old.state
    change_state(session, card=old, event=CardEvent.VOID, actor=operator.actor, now=now)
    new = _issue(session, holder_id=old.holder_id, number=wanted.new_number, now=now)
    request = open_request(session, holder_id=old.holder_id)
    if request is not None:
        request.state, request.ended_at = ReplacementState.REPLACED, now
    replacement = Replacement(
        id=replacement_id,
        holder_id=old.holder_id,
        old_card_id=old.id,
        new_card_id=new.id,
        request_id=request.id if request else None,
        operator_id=operator.operator_id,
        cause=wanted.cause,
        reason=wanted.reason,
        evidence=wanted.evidence,
        content=wanted.content,
        fee_fen=fee_fen,
        balance_fen=balance_fen,
        policy_ids=[str(id_) for id_ in policy_ids],
        replaced_at=now,
    )
    session.add(replacement)
    session.flush()
    notices.tell(
        session,
        holder_id=old.holder_id,
        kind="card-replaced",
        now=now,
        fee_fen=fee_fen,
        balance_fen=balance_fen,
    )
    operation_log.record(
        session,
        actor=operator.actor,
        action="card.replace",
        holder_id=old.holder_id,
        card_id=new.id,
        subject_id=replacement_id,
        now=now,
        before=before.value,
        after=new.state.value,
        documents=wanted.content["documents"],
        policy_ids=policy_ids,
        cause=wanted.cause,
        fee_fen=fee_fen,
        old_card_id=str(old.id),
        **{
            name: said
            for name, said in (("reason", wanted.reason), ("evidence", wanted.evidence))
            if said is not None
        },
    )
    return replacement, True


def _take_fee(
    session: Session, *, replacement_id: UUID, holder_id: UUID, wanted: Wanted, now: datetime
) -> tuple[Fen, Fen, list[UUID]]:
    """Return the fee that was taken, what is left in the main purse, and the policies' rows."""
    purse = ledger.lock_purse(session, holder_id=holder_id)
    if wanted.cause == QUALITY:
        return Fen(0), purse.balance_fen or Fen(0), []
    now_costs = quote(session, holder=session.get_one(Holder, holder_id), now=now, purse=purse)
    fee_fen = now_costs.fee_fen
    if fee_fen > wanted.quoted_fee_fen:
        raise QuoteOutdated(quoted_fen=wanted.quoted_fee_fen, fee_fen=fee_fen).decided_by(
            now_costs.policy_ids
        )
    now_costs.must_be_payable()
    arrears.collect(session, holder_id=holder_id, now=now)
    account = ledger.school_account(session, AccountKind.CARD_FEES)
    movement = Movement(TransferKind.CARD_FEE, replacement_id, purse.id, account, fee_fen)
    ledger.post(session, [movement], now=now)
    left = ledger.lock_purse(session, holder_id=holder_id).balance_fen or Fen(0)
    return fee_fen, left, now_costs.policy_ids


def _issue(session: Session, *, holder_id: UUID, number: str | None, now: datetime) -> Card:
    if number is not None:
        session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:n, 1))"), {"n": number}
        )
        if session.scalars(select(Card.id).where(Card.number == number)).first() is not None:
            raise CardNumberTaken
    card = Card(
        id=new_id(),
        holder_id=holder_id,
        kind=CardKind.PHYSICAL,
        state=CardState.ACTIVE,
        alias=None,
        number=number or draw_number(),
        created_at=now,
    )
    session.add(card)
    session.flush()
    return card


def card_to_replace(session: Session, *, holder_id: UUID) -> Card | None:
    """Return the physical card that a new one would stand for: the live one, else the last."""
    live = find_card(session, holder_id=holder_id, kind=CardKind.PHYSICAL)
    if live is not None:
        return live
    return session.scalars(
        select(Card)
        .where(Card.holder_id == holder_id, Card.kind == CardKind.PHYSICAL)
        .order_by(Card.created_at.desc(), Card.id.desc())
        .limit(1)
    ).one_or_none()


def open_request(session: Session, *, holder_id: UUID) -> ReplacementRequest | None:
    """Return what a holder has asked for and not yet got."""
    return session.scalars(
        select(ReplacementRequest)
        .where(
            ReplacementRequest.holder_id == holder_id,
            ReplacementRequest.state == ReplacementState.REQUESTED,
        )
        .execution_options(populate_existing=True)
    ).one_or_none()


def find_request(session: Session, *, request_id: UUID, holder_id: UUID) -> ReplacementRequest:
    """Return a holder's request.

    Raises:
        NotFound: there is no such request, or it is somebody else's.
    """
    request = session.get(ReplacementRequest, request_id, populate_existing=True)
    if request is None or request.holder_id != holder_id:
        raise NotFound
    return request


def find_replacement(session: Session, *, replacement_id: UUID, card_id: UUID) -> Replacement:
    """Return how a card was replaced under an id.

    Raises:
        NotFound: it was not.
    """
    return find_row(session, Replacement, replacement_id, old_card_id=card_id)
