"""Retirees (退休换卡): a staff card gives way to a temporary one, in one step, 三(九).

Balance, binding, virtual card and history stay: it is the same account.
"""

import secrets
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from backend.cards.models import Card, CardKind, CardState
from backend.cards.rules import CardEvent
from backend.cards.service import (
    CARD_NUMBER_DIGITS,
    AccountClosed,
    change_state,
    find_card,
    is_account_closed,
)
from backend.clock import business_date
from backend.closings.models import Retirement
from backend.closings.rules import months_after
from backend.errors import DomainError, IdReused, Kind
from backend.holders import permissions
from backend.holders.models import Category, Holder
from backend.ids import new_id
from backend.operation_log import service as operation_log
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at


class NotStaff(DomainError, code="not-staff", kind=Kind.CONFLICT):
    """Only staff retire.  Fact: `category`."""


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
        TransitionNotPossible: the staff card is frozen: what froze it comes first.
    """
    session.execute(text("SELECT lock_id(:id)"), {"id": retirement_id})
    earlier = session.get(Retirement, retirement_id)
    if earlier is not None:
        same = (holder_id, document, operator.operator_id)
        if (earlier.holder_id, earlier.document, earlier.made_by) != same:
            raise IdReused
        return earlier, False
    holder = session.scalars(
        select(Holder)
        .where(Holder.id == holder_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()
    if is_account_closed(session, holder_id=holder_id):
        raise AccountClosed
    if holder.category is not Category.STAFF:
        raise NotStaff(category=holder.category.value)
    policies = policies_at(session, now)
    last = months_after(business_date(now), policies["retired.valid_months"])
    before = {"category": holder.category.value, "valid_until": holder.valid_until.isoformat()}
    holder.category, holder.valid_until = Category.TEMPORARY_RETIRED, last
    for field in ("category", "valid_until"):
        holder.note_proven(field)
    permissions.work_out(session, policies=policies, now=now, holder_ids=[holder_id])
    old, new = _exchange_card(session, holder_id, operator, now=now)
    _extend_virtual_card(session, holder_id, operator, now=now)
    made = Retirement(
        id=retirement_id,
        holder_id=holder_id,
        document=document,
        valid_until=last,
        old_card_id=old and old.id,
        new_card_id=new.id,
        made_by=operator.operator_id,
        made_at=now,
        policy_ids=[str(id_) for id_ in policies.used("retired.valid_months")],
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
        after={"category": holder.category.value, "valid_until": last.isoformat()},
        documents=[document],
        policy_ids=policies.used("retired.valid_months"),
    )
    session.flush()
    return made, True


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


def _extend_virtual_card(
    session: Session, holder_id: UUID, operator: OperatorCaller, *, now: datetime
) -> None:
    virtual = find_card(session, holder_id=holder_id, kind=CardKind.VIRTUAL)
    if virtual is not None and virtual.state is CardState.EXPIRED:
        change_state(session, card=virtual, event=CardEvent.EXTEND, actor=operator.actor, now=now)
