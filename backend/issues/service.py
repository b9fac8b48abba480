"""Issue batches (发卡批次): listing whose cards wait; `handing_out.py` does the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.cards.models import Card, CardKind, CardState
from backend.errors import DomainError, Kind
from backend.holders.models import Holder
from backend.issues.models import BatchKind, IssueBatch, IssueDecision, IssueItem, Outcome
from backend.issues.rules import MOST_ITEMS
from backend.operation_log import service as operation_log
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.rows import find_row, first_answer, lock_id, newest_first

ISSUERS = (Role.CARD_CENTRE,)
MAY_LOOK = (Role.CARD_CENTRE, Role.ACADEMIC, Role.PERSONNEL, Role.AUDITOR)


class NothingToIssue(DomainError, code="nothing-to-issue", kind=Kind.CONFLICT):
    """Nobody of this unit has a card that waits, or all of them are in another batch."""


@dataclass(frozen=True, slots=True)
class Item:
    """One person of a batch as a class list shows them."""

    item: IssueItem
    holder: Holder
    card: Card | None
    """The physical card that they have by now."""
    decision: IssueDecision | None
    """The newest one."""
    batch_unit: str

    @property
    def moved(self) -> bool:
        """Whether the person is in another class by now (转班); the card stays on this list."""
        return self.batch_unit != self.holder.unit


def make_batch(
    session: Session,
    *,
    batch_id: UUID,
    unit: str,
    note: str | None,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[IssueBatch, bool]:
    """List everybody of a class or department whose card waits; say whether this call was first.

    At most `MOST_ITEMS` people by number; whoever waits in another batch stays there, also after a
    change of class.  Locks the batch's id.

    Raises:
        IdReused: the id came before with other content.
        NothingToIssue: nobody waits.
    """
    lock_id(session, batch_id)
    earlier = first_answer(
        session, IssueBatch, batch_id, kind=BatchKind.FIRST, unit=unit, note=note
    )
    if earlier is not None:
        return earlier, False
    waiting = (
        select(Holder.id)
        .join(Card, Card.holder_id == Holder.id)
        .where(
            Holder.unit == unit,
            Card.kind == CardKind.PHYSICAL,
            Card.state == CardState.PENDING,
            Holder.id.not_in(listed(BatchKind.FIRST)),
        )
        .order_by(Holder.holder_number)
        .limit(MOST_ITEMS)
    )
    holders = session.scalars(waiting).all()
    if not holders:
        raise NothingToIssue
    batch = IssueBatch(
        id=batch_id,
        kind=BatchKind.FIRST,
        unit=unit,
        note=note,
        due_on=None,
        policy_ids=[],
        made_by=operator.operator_id,
        made_at=now,
        closed_at=None,
    )
    session.add(batch)
    session.flush()
    session.add_all(
        IssueItem(
            batch_id=batch.id, holder_id=holder_id, kind=BatchKind.FIRST, due_on=None, outcome=None
        )
        for holder_id in holders
    )
    operation_log.record(
        session,
        actor=operator.actor,
        action="issue_batch.make",
        subject_id=batch.id,
        now=now,
        unit=unit,
        people=len(holders),
    )
    session.flush()
    return batch, True


def listed(kind: BatchKind) -> Any:
    """Return whom a batch of a kind has on its list without an end, as a subquery."""
    return select(IssueItem.holder_id).where(
        IssueItem.kind == kind,
        IssueItem.outcome.is_(None) | (IssueItem.outcome == Outcome.DEFERRED),
    )


def find_batch(session: Session, *, batch_id: UUID) -> IssueBatch:
    """Return a batch.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, IssueBatch, batch_id)


def list_batches(
    session: Session,
    *,
    kind: BatchKind | None,
    closed: bool | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[IssueBatch]:
    """Return batches, newest first."""
    query = select(IssueBatch)
    if kind is not None:
        query = query.where(IssueBatch.kind == kind)
    if closed is not None:
        at = IssueBatch.closed_at
        query = query.where(at.is_not(None) if closed else at.is_(None))
    return session.scalars(
        newest_first(query, IssueBatch.made_at, before=before, limit=limit)
    ).all()


def items_of(session: Session, batch: IssueBatch) -> list[Item]:
    """Return the class list of a batch, by holder number."""
    rows = session.execute(
        select(IssueItem, Holder)
        .join(Holder, Holder.id == IssueItem.holder_id)
        .where(IssueItem.batch_id == batch.id)
        .order_by(Holder.holder_number)
    ).all()
    decisions = {
        decision.holder_id: decision
        for decision in session.scalars(
            select(IssueDecision)
            .where(IssueDecision.batch_id == batch.id)
            .order_by(IssueDecision.decided_at)
        )
    }
    cards = {
        card.holder_id: card
        for card in session.scalars(
            select(Card)
            .where(
                Card.holder_id.in_([row.Holder.id for row in rows]), Card.kind == CardKind.PHYSICAL
            )
            .order_by(Card.created_at)
        )
    }
    return [
        Item(
            row.IssueItem,
            row.Holder,
            cards.get(row.Holder.id),
            decisions.get(row.Holder.id),
            batch.unit,
        )
        for row in rows
    ]


def outcomes_of(session: Session, batch_ids: Sequence[UUID]) -> dict[UUID, list[Outcome | None]]:
    """Return the outcomes of some batches' items."""
    found: dict[UUID, list[Outcome | None]] = {id_: [] for id_ in batch_ids}
    for row in session.execute(
        select(IssueItem.batch_id, IssueItem.outcome).where(IssueItem.batch_id.in_(batch_ids))
    ):
        found[row.batch_id].append(row.outcome)
    return found
