"""Retirees (退休换卡): a staff card gives way to a temporary one, in one step, 三(九).

Balance, binding, virtual card and history stay: it is the same account.

It is done when the retiree stands at the counter: the staff card is handed in and void at once,
also where the filed day is still ahead, and the account does not close on that day.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.cards import counter
from backend.cards.models import Card, CardKind, CardState
from backend.cards.rules import CardEvent, next_state
from backend.cards.service import (
    CARD_NUMBER_DIGITS,
    AccountClosed,
    change_state,
    find_card,
    is_account_closed,
)
from backend.clock import business_date
from backend.closings.models import (
    Departure,
    DepartureKind,
    Leaver,
    LeaverState,
    Retirement,
)
from backend.closings.rules import may_switch_from, months_after
from backend.errors import DomainError, Kind
from backend.holders import permissions
from backend.holders.models import Category, Holder
from backend.ids import new_id
from backend.operation_log import service as operation_log
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at
from backend.rows import find_row, first_answer, lock_id, newest_first


class NotStaff(DomainError, code="not-staff", kind=Kind.CONFLICT):
    """Only staff retire.  Fact: `category`."""


class RetirementTooEarly(DomainError, code="retirement-too-early", kind=Kind.CONFLICT):
    """Years before the age of retirement, or long before the day that was filed.

    Fact: `day`, from which it is possible.
    """


def switch(
    session: Session,
    *,
    retirement_id: UUID,
    holder_id: UUID,
    document: str,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[Retirement, bool]:
    """Give a retiree the temporary card in place of the staff card; say if this call was first.

    The old physical card is void for ever; an expired virtual card works again.  Locks the
    retirement's id, then the holder, then the cards.

    Raises:
        IdReused: `retirement_id` came before with other content, or from somebody else.
        AccountClosed: the account is closing or closed.
        NotStaff: the holder is no member of the staff.
        RetirementTooEarly: it is long before their day, see `may_switch_from`.
        TransitionNotPossible: the staff card is frozen: what froze it comes first.
    """
    lock_id(session, retirement_id)
    earlier = first_answer(
        session,
        Retirement,
        retirement_id,
        holder_id=holder_id,
        document=document,
        made_by=operator.operator_id,
    )
    if earlier is not None:
        return earlier, False
    holder = session.scalars(
        select(Holder)
        .where(Holder.id == holder_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()
    _must_be_possible(session, holder)
    _must_be_of_age(session, holder, now=now)
    policies = policies_at(session, now)
    last = months_after(business_date(now), policies["retired.valid_months"])
    before = {
        "category": holder.category.value,
        "employment": holder.employment and holder.employment.value,
        "valid_until": holder.valid_until.isoformat(),
    }
    holder.category, holder.employment, holder.valid_until = (
        Category.TEMPORARY_RETIRED, None, last,
    )  # fmt: skip
    holder.pays_surcharge = None  # not every retiree pays it: logistics says who does, 三(七)
    for field in ("category", "valid_until"):
        holder.note_proven(field)
    permissions.work_out(session, policies=policies, now=now, holder_ids=[holder.id])
    used = [
        *policies.used("retired.valid_months"),
        *permissions.rows_for(policies, holder.category),
    ]
    old, new = _exchange_card(session, holder_id, operator, now=now)
    counter.wake(session, holder_id=holder_id, actor=operator.actor, now=now)
    made = Retirement(
        id=retirement_id,
        holder_id=holder_id,
        document=document,
        valid_until=last,
        old_card_id=old and old.id,
        new_card_id=new.id,
        made_by=operator.operator_id,
        made_at=now,
        policy_ids=[str(id_) for id_ in used],
    )
    session.add(made)
    operation_log.record(
        session,
        actor=operator.actor,
        action="retirement.switch",
        holder_id=holder_id,
        card_id=new.id,
        subject_id=retirement_id,
        now=now,
        before=before,
        after={
            "category": holder.category.value,
            "employment": None,
            "valid_until": last.isoformat(),
        },
        documents=[document],
        policy_ids=used,
    )
    session.flush()
    return made, True


def _must_be_of_age(session: Session, holder: Holder, *, now: datetime) -> None:
    if of_holder(session, holder_id=holder.id) is not None:
        return  # of age for good, also when employed again (返聘)
    leaves_on = session.scalar(
        select(Departure.effective_on)
        .join(Leaver, Leaver.departure_id == Departure.id)
        .where(
            Leaver.holder_id == holder.id,
            Leaver.state == LeaverState.SCHEDULED,
            Departure.kind == DepartureKind.RETIREMENT,
        )
    )
    day = may_switch_from(last_day=holder.valid_until, leaves_on=leaves_on)
    if business_date(now) < day:
        raise RetirementTooEarly(day=day.isoformat())


@dataclass(frozen=True, slots=True)
class Draft:
    """What a switch would do if it were made now (换卡预览)."""

    holder: Holder
    valid_until: date
    """How long the temporary card would be valid."""
    old_card: Card | None
    """The physical card that would be void."""
    virtual_card: Card | None


def preview(session: Session, *, holder_id: UUID, now: datetime) -> Draft:
    """Return what a switch would do.

    Raises:
        AccountClosed: the account is closing or closed.
        NotStaff: the holder is no member of the staff.
        RetirementTooEarly: it is long before their day.
        TransitionNotPossible: the staff card is frozen.
    """
    holder = session.get_one(Holder, holder_id)
    _must_be_possible(session, holder)
    _must_be_of_age(session, holder, now=now)
    old = find_card(session, holder_id=holder_id, kind=CardKind.PHYSICAL)
    if old is not None:
        next_state(old.state, CardEvent.VOID)
    months = policies_at(session, now)["retired.valid_months"]
    return Draft(
        holder=holder,
        valid_until=months_after(business_date(now), months),
        old_card=old,
        virtual_card=find_card(session, holder_id=holder_id, kind=CardKind.VIRTUAL),
    )


def _must_be_possible(session: Session, holder: Holder) -> None:
    if is_account_closed(session, holder_id=holder.id):
        raise AccountClosed
    if holder.category is not Category.STAFF:
        raise NotStaff(category=holder.category.value)


def _exchange_card(
    session: Session, holder_id: UUID, operator: OperatorCaller, *, now: datetime
) -> tuple[Card | None, Card]:
    old = find_card(session, holder_id=holder_id, kind=CardKind.PHYSICAL)
    if old is not None:
        change_state(session, card=old, event=CardEvent.VOID, actor=operator.actor, now=now)
    new = Card(
        id=new_id(),
        holder_id=holder_id,
        kind=CardKind.PHYSICAL,
        state=CardState.ACTIVE,
        alias=None,
        number="".join(secrets.choice("0123456789") for _ in range(CARD_NUMBER_DIGITS)),
        created_at=now,
    )
    session.add(new)
    session.flush()
    return old, new


def find(session: Session, *, retirement_id: UUID) -> Retirement:
    """Return a switch that was made.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, Retirement, retirement_id)


def of_holder(session: Session, *, holder_id: UUID) -> Retirement | None:
    """Return how somebody last got the retiree's card, or None."""
    return session.scalars(
        select(Retirement)
        .where(Retirement.holder_id == holder_id)
        .order_by(Retirement.made_at.desc())
        .limit(1)
    ).one_or_none()


def list_retirements(
    session: Session, *, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Retirement]:
    """Return switches, newest first."""
    query = select(Retirement)
    return session.scalars(
        newest_first(query, Retirement.made_at, before=before, limit=limit)
    ).all()
