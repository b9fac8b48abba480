"""The exchange (换卡) of new-student cards for student cards, by class, regulation 三(二), 二(五).

The account, the binding and the virtual card go on; it costs nothing.  It goes by the card that was
made as a new-student card, and by the holder's category: a roster that calls somebody a student in
the meantime does not exchange the card.  A new-student card that was
not exchanged when it was due stays usable and stands on a list of exceptions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from backend.cards.loss import lock_holder
from backend.cards.models import Card, CardKind, CardState
from backend.cards.rules import CardEvent, TransitionNotPossible
from backend.cards.service import STANDS_AGAINST, change_state, find_card, open_physical_card
from backend.clock import business_date
from backend.db import transaction
from backend.holders import permissions
from backend.holders.models import Category, Holder
from backend.holders.roster import STUDENTS
from backend.ids import new_id
from backend.issues.models import BatchKind, IssueBatch, IssueDecision, IssueItem, Outcome
from backend.issues.rules import MOST_ITEMS, NewStudent, due_classes
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at

MONTHS, GRACE_DAYS = "exchange.months", "exchange.grace_days"


def propose_due(*, now: datetime) -> int:
    """Propose a batch for every class that is due by today (换卡批次); return how many.

    Each class is a transaction of its own; run again, it proposes nothing twice.
    """
    with transaction() as session:
        units = list(_due(session, now=now))
    for unit in units:
        with transaction() as session:
            propose(session, unit=unit, now=now)
    return len(units)


def _due(session: Session, *, now: datetime) -> dict[str, list[tuple[NewStudent, date]]]:
    policies = policies_at(session, now)
    if MONTHS not in policies.values:
        return {}
    return due_classes(new_students(session), today=business_date(now), months=policies[MONTHS])


def new_students(session: Session) -> list[NewStudent]:
    """Return everybody with a new-student card who is not on the list of an exchange.

    Counted from the day on which the first card was handed out, whatever replaced it since; a card
    that never was on a batch counts from when it was made.
    """
    signed = (
        select(IssueDecision.holder_id, func.min(IssueDecision.decided_at).label("at"))
        .where(IssueDecision.outcome == Outcome.HANDED_OUT)
        .group_by(IssueDecision.holder_id)
        .subquery()
    )
    made = (
        select(Card.holder_id, func.min(Card.created_at).label("at"))
        .where(Card.kind == CardKind.PHYSICAL)
        .group_by(Card.holder_id)
        .subquery()
    )
    in_use = select(Card.holder_id).where(
        Card.kind == CardKind.PHYSICAL,
        Card.state.in_((CardState.ACTIVE, CardState.LOST, CardState.FROZEN)),
    )
    exchanged = (
        Holder.category == Category.NEW_STUDENT,
        Holder.id.in_(in_use.where(Card.new_student)),
    )
    on_a_list = select(IssueItem.holder_id).where(IssueItem.kind == BatchKind.EXCHANGE)
    rows = session.execute(
        select(Holder.id, Holder.unit, func.coalesce(signed.c.at, made.c.at).label("at"))
        .join(made, made.c.holder_id == Holder.id)
        .outerjoin(signed, signed.c.holder_id == Holder.id)
        .where(
            Holder.category.in_(STUDENTS),
            or_(*exchanged),
            Holder.id.in_(in_use),
            Holder.id.not_in(on_a_list),
        )
        .order_by(Holder.holder_number)
    )
    return [NewStudent(row.id, row.unit, business_date(row.at)) for row in rows]


def propose(session: Session, *, unit: str, now: datetime) -> IssueBatch | None:
    """Propose the exchange of a class, and tell its students; None where it is not due."""
    students = _due(session, now=now).get(unit, [])[:MOST_ITEMS]
    if not students:
        return None
    policies = policies_at(session, now)
    used = policies.used(MONTHS)
    batch = IssueBatch(
        id=new_id(),
        kind=BatchKind.EXCHANGE,
        unit=unit,
        note=None,
        due_on=min(day for _, day in students),
        policy_ids=[str(id_) for id_ in used],
        made_by=None,
        made_at=now,
        closed_at=None,
    )
    session.add(batch)
    session.flush()
    for student, day in students:
        session.add(
            IssueItem(
                batch_id=batch.id,
                holder_id=student.holder_id,
                kind=BatchKind.EXCHANGE,
                due_on=day,
                outcome=None,
            )
        )
        notices.tell(
            session,
            holder_id=student.holder_id,
            kind="card-exchange-due",
            now=now,
            due_on=day.isoformat(),
        )
    operation_log.record(
        session,
        actor=operation_log.SYSTEM,
        action="issue_batch.propose",
        subject_id=batch.id,
        now=now,
        policy_ids=used,
        unit=unit,
        people=len(students),
    )
    session.flush()
    return batch


def exchange(
    session: Session,
    *,
    batch: IssueBatch,
    holder_id: UUID,
    documents: Sequence[str],
    operator: OperatorCaller,
    now: datetime,
) -> tuple[Card, UUID]:
    """Take the new-student card back and give a student card; return it, and the id of the old one.

    A lost card is not exchanged: it is found again, or replaced at its price, first.  Locks the
    holder, as a replacement does, then the old card.

    Raises:
        CardLost, CardFrozen, CardExpired, AccountClosed: by the old card's state.
        TransitionNotPossible: there is no old card.
    """
    lock_holder(session, holder_id)
    old = find_card(session, holder_id=holder_id, kind=CardKind.PHYSICAL)
    if old is None:
        raise TransitionNotPossible(state=CardState.VOID.value, event=CardEvent.VOID.value)
    session.refresh(old, with_for_update=True)
    if refusal := STANDS_AGAINST.get(old.state):
        raise refusal
    change_state(
        session,
        card=old,
        event=CardEvent.VOID,
        actor=operator.actor,
        now=now,
        documents=documents,
        batch_id=str(batch.id),
    )
    holder = session.get_one(Holder, holder_id)
    before, holder.category = holder.category, Category.STUDENT
    holder.note_proven("category")  # an older roster still says new student
    session.flush()  # the card that is made now is a student's
    card = open_physical_card(session, holder_id=holder_id, state=CardState.ACTIVE, now=now)
    policies = policies_at(session, now)
    permissions.work_out(session, policies=policies, now=now, holder_ids=[holder.id])
    operation_log.record(
        session,
        actor=operator.actor,
        action="issue_batch.exchange",
        holder_id=holder_id,
        card_id=card.id,
        subject_id=card.id,
        now=now,
        before={"category": before.value, "card_id": str(old.id)},
        after={"category": holder.category.value, "card_id": str(card.id)},
        documents=documents,
        policy_ids=[
            *(UUID(id_) for id_ in batch.policy_ids),
            *permissions.rows_for(policies, holder.category),
        ],
    )
    return card, old.id


@dataclass(frozen=True, slots=True)
class Overdue:
    """A new-student card that should have been exchanged by now (逾期未换)."""

    item: IssueItem
    batch: IssueBatch
    holder: Holder


def overdue(session: Session, *, now: datetime) -> list[Overdue]:
    """Return the exceptions: due, past the days of grace, and not exchanged; the oldest first."""
    policies = policies_at(session, now)
    last = business_date(now) - timedelta(days=policies[GRACE_DAYS])
    rows = session.execute(
        select(IssueItem, IssueBatch, Holder)
        .join(IssueBatch, IssueBatch.id == IssueItem.batch_id)
        .join(Holder, Holder.id == IssueItem.holder_id)
        .where(
            IssueItem.kind == BatchKind.EXCHANGE,
            IssueItem.due_on < last,
            IssueItem.outcome.is_(None) | (IssueItem.outcome == Outcome.DEFERRED),
        )
        .order_by(IssueItem.due_on, Holder.holder_number)
        .limit(MOST_ITEMS)
    )
    return [Overdue(row.IssueItem, row.IssueBatch, row.Holder) for row in rows]
