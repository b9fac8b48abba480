"""Binding a platform account to a holder (实名绑定), in two steps, and unbinding.

Source: regulation 五(一): the person and the payment account are both verified by real name.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.cards.models import Card, CardKind, CardState
from backend.cards.rules import CardEvent
from backend.cards.service import (
    STANDS_AGAINST,
    AccountClosed,
    change_state,
    find_card,
    is_account_closed,
    open_virtual_card,
    refuse_after_last_day,
)
from backend.errors import DomainError, Kind
from backend.holders.identity import (
    IdentityStepExpired,
    forget_identity_step,
    forget_tries,
    keep_for_payment_step,
    match_roster,
)
from backend.holders.login import HolderCaller, end_sessions
from backend.holders.models import Binding, BindingState, Holder
from backend.ids import new_id
from backend.notices import messages
from backend.operation_log import service as operation_log
from backend.sealing import Sealer
from payments import RealNameResult


class AlreadyBound(DomainError, code="already-bound", kind=Kind.CONFLICT):
    """The account is bound to somebody, or the holder to another account: unbind that first."""


class PaymentIdentityMismatch(DomainError, code="payment-identity-mismatch", kind=Kind.CONFLICT):
    """The platform account belongs to another person."""


class PaymentIdentityUnavailable(
    DomainError, code="payment-identity-unavailable", kind=Kind.UNAVAILABLE
):
    """The platform does not say whose account it is now; the counter can confirm in person."""


class RestoreFirst(DomainError, code="restore-first", kind=Kind.CONFLICT):
    """A card is reported lost (挂失): unbinding would undo that, or bar the way to restoring it."""


def verify_identity(
    session: Session,
    *,
    caller: HolderCaller,
    holder_number: str,
    name: str,
    document_number: str,
    terms_version: str,
    sealer: Sealer,
    now: datetime,
) -> tuple[Holder, Binding]:
    """Bind the caller's account to the person on the roster, half: the identity step.

    A repetition by the same person is harmless.  Half a binding elsewhere gives way; a whole one
    does not.

    Raises:
        IdentityNotMatched: number, name and document do not belong together.
        CardLost, CardFrozen, CardExpired, AccountClosed: the physical card's state.
        AlreadyBound: the account or the holder has another binding.
    """

    def keep() -> None:
        keep_for_payment_step(
            session,
            caller=caller,
            holder_id=holder.id,
            name=name,
            document_number=document_number,
            sealer=sealer,
            now=now,
        )

    def proved() -> None:
        forget_tries(
            session,
            account_index=caller.account_index,
            holder_number=holder_number,
            sealer=sealer,
        )

    holder = match_roster(
        session,
        holder_number=holder_number,
        name=name,
        document_number=document_number,
        sealer=sealer,
    )
    # Two phones at once: one after the other.  The weaker lock lets either's payment step pass,
    # which locks its binding first and then refers to the holder.
    session.refresh(holder, with_for_update={"key_share": True})
    _must_be_bindable(session, holder, now=now)
    live = session.scalars(
        select(Binding)
        .where(
            (Binding.holder_id == holder.id) | (Binding.account_index == caller.account_index),
            Binding.state != BindingState.ENDED,
        )
        .order_by(Binding.id)
        .with_for_update()
    ).all()
    for binding in live:
        if binding.holder_id == holder.id and binding.account_index == caller.account_index:
            proved()
            if binding.state is BindingState.IDENTITY_VERIFIED:
                keep()
            return holder, binding
    for binding in live:
        if binding.state is BindingState.ACTIVE:
            raise AlreadyBound
        binding.state, binding.ended_at = BindingState.ENDED, now
    session.flush()
    binding = Binding(
        id=new_id(),
        holder_id=holder.id,
        account_index=caller.account_index,
        platform=caller.platform,
        state=BindingState.IDENTITY_VERIFIED,
        terms_version=terms_version,
        identity_verified_at=now,
        activated_at=None,
        ended_at=None,
    )
    session.add(binding)
    proved()
    keep()
    operation_log.record(
        session,
        actor=caller.actor,
        action="holder.verify_identity",
        holder_id=holder.id,
        subject_id=binding.id,
        now=now,
        platform=caller.platform,
        terms_version=terms_version,
    )
    return holder, binding


def _must_be_bindable(session: Session, holder: Holder, *, now: datetime) -> None:
    if is_account_closed(session, holder_id=holder.id):
        raise AccountClosed
    refuse_after_last_day(session, holder_id=holder.id, now=now)
    physical = find_card(session, holder_id=holder.id, kind=CardKind.PHYSICAL)
    if physical is not None and (refusal := STANDS_AGAINST.get(physical.state)):
        raise refusal


def activate(
    session: Session, *, caller: HolderCaller, result: RealNameResult, now: datetime
) -> Holder:
    """Finish a binding by what the platform said of the account's real name.

    The holder gets a virtual card.  A retry after success changes nothing.

    Raises:
        PaymentIdentityMismatch: another person's account.
        PaymentIdentityUnavailable: the platform does not say.
        IdentityStepExpired: while the platform was asked, the binding gave way to another.
        AccountClosed: meanwhile the account was closed.
    """
    if result is RealNameResult.MISMATCH:
        raise PaymentIdentityMismatch
    if result is not RealNameResult.MATCH:
        raise PaymentIdentityUnavailable
    binding = session.scalars(
        select(Binding)
        .where(
            Binding.account_index == caller.account_index,
            Binding.holder_id == caller.bound_to,
            Binding.state != BindingState.ENDED,
        )
        .with_for_update()
    ).one_or_none()
    if binding is None:
        raise IdentityStepExpired
    if binding.state is BindingState.IDENTITY_VERIFIED:
        if is_account_closed(session, holder_id=binding.holder_id):
            raise AccountClosed
        binding.state, binding.activated_at = BindingState.ACTIVE, now
        forget_identity_step(session, session_id=caller.session_id)
        card = open_virtual_card(session, holder_id=binding.holder_id, now=now)
        operation_log.record(
            session,
            actor=caller.actor,
            action="holder.bind",
            holder_id=binding.holder_id,
            subject_id=card.id,
            now=now,
            platform=binding.platform,
            method="platform_real_name",
        )
    return session.get_one(Holder, binding.holder_id)


def unbind(session: Session, *, caller: HolderCaller, now: datetime) -> None:
    """End the caller's binding: sessions and codes die with it, the money stays.

    Not while a card is lost.  A new binding brings a new virtual card: a thief who holds the phone
    would be rid of the report.  And with the physical card lost there is no binding anew, so the
    holder would be without the phone to restore it from.  Locks the holder, as loss reports do,
    then the binding, the virtual card and the purse.

    Raises:
        RestoreFirst: a card of the holder is lost.
        TransitionNotPossible: the virtual card is frozen.
    """
    if caller.binding == BindingState.ACTIVE:
        _refuse_while_lost(session, holder_id=caller.holder_id)
    binding = session.scalars(
        select(Binding)
        .where(
            Binding.account_index == caller.account_index,
            Binding.state != BindingState.ENDED,
        )
        .with_for_update()
    ).one_or_none()
    if binding is not None:
        _end(session, binding, now=now)
        _void_virtual_card(session, holder_id=binding.holder_id, caller=caller, now=now)
        operation_log.record(
            session,
            actor=caller.actor,
            action="holder.unbind",
            holder_id=binding.holder_id,
            subject_id=binding.id,
            now=now,
        )
    end_sessions(session, account_index=caller.account_index, now=now)


def _end(session: Session, binding: Binding, *, now: datetime) -> None:
    binding.state, binding.ended_at = BindingState.ENDED, now
    messages.forget_account(session, holder_id=binding.holder_id)


def end_at_counter(session: Session, *, holder_id: UUID, now: datetime) -> None:
    """End a holder's binding and its sessions: the counter voids the virtual card."""
    for binding in session.scalars(
        select(Binding)
        .where(Binding.holder_id == holder_id, Binding.state != BindingState.ENDED)
        .with_for_update()
    ).all():
        _end(session, binding, now=now)
        end_sessions(session, account_index=binding.account_index, now=now)


def _refuse_while_lost(session: Session, *, holder_id: UUID) -> None:
    session.execute(select(Holder.id).where(Holder.id == holder_id).with_for_update(key_share=True))
    lost = select(Card.id).where(Card.holder_id == holder_id, Card.state == CardState.LOST)
    if session.scalars(lost.limit(1)).first() is not None:
        raise RestoreFirst


def _void_virtual_card(
    session: Session, *, holder_id: UUID, caller: HolderCaller, now: datetime
) -> None:
    card = find_card(session, holder_id=holder_id, kind=CardKind.VIRTUAL)
    if card is not None:
        change_state(session, card=card, event=CardEvent.VOID, actor=caller.actor, now=now)
