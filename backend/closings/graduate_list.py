"""Looking through graduates' batches: who graduates when, how far a batch is, what is left."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.closings import graduates
from backend.closings.graduates import Row
from backend.closings.models import Closing, ClosingBatch, ClosingState, Graduate
from backend.closings.rules import CheckName
from backend.holders.models import Holder
from backend.holders.rules import masked_name
from backend.ledger.models import Account
from backend.money import Fen, yuan_text
from backend.operation_log import service as operation_log
from backend.operators.service import OperatorCaller
from backend.rows import newest_first

HEADINGS = ("学工号", "姓名", "班级", "情况", "余额（元）", "销户前检查", "截止日")


class GraduateState(StrEnum):
    """How far one graduate of a batch is."""

    WAITING = "waiting"
    """待销户"""
    CLOSING = "closing"
    """销户中"""
    EXEMPT = "exempt"
    """已豁免"""
    STAYS = "stays"
    """不再毕业: no graduate any more, see `graduates.stays`"""
    CLOSED = "closed"
    """已销户"""


LEFT = (GraduateState.WAITING, GraduateState.CLOSING)
"""Whose account is still to be closed."""
CHECKS = {
    CheckName.ARREARS: "欠费",
    CheckName.UNPAID_ORDERS: "充值未了",
    CheckName.REFUNDS_UNDER_WAY: "退款未了",
    CheckName.REVIEWS: "复核未了",
}
STATES = {GraduateState.WAITING: "待销户", GraduateState.CLOSING: "销户中"}


@dataclass(frozen=True, slots=True)
class ClassDue:
    """One class that graduates on one day, and is in no batch yet."""

    day: date
    """The first day after graduation."""
    unit: str
    people: int
    balance_fen: Fen
    """What they have in all purses."""


def classes_due(session: Session, *, year: int) -> list[ClassDue]:
    """Return who graduates in a year, class by class, the earliest first."""
    due = graduates.graduations()
    balances = (
        select(Account.holder_id, func.sum(Account.balance_fen).label("fen"))
        .where(Account.holder_id.in_(select(due.c.holder_id)))
        .group_by(Account.holder_id)
        .subquery()
    )
    found = session.execute(
        select(due.c.day, Holder.unit, func.count(), func.coalesce(func.sum(balances.c.fen), 0))
        .join(Holder, Holder.id == due.c.holder_id)
        .outerjoin(balances, balances.c.holder_id == Holder.id)
        .where(due.c.day >= date(year, 1, 1), due.c.day <= date(year, 12, 31))
        .group_by(due.c.day, Holder.unit)
        .order_by(due.c.day, Holder.unit)
    )
    return [ClassDue(day, unit, people, Fen(int(fen))) for day, unit, people, fen in found]


def balances_of(session: Session, holder_ids: Collection[UUID]) -> dict[UUID, Fen]:
    """Return what some holders have in all purses."""
    found = session.execute(
        select(Account.holder_id, func.sum(Account.balance_fen))
        .where(Account.holder_id.in_(holder_ids))
        .group_by(Account.holder_id)
    )
    return {id_: Fen(int(fen or 0)) for id_, fen in found if id_ is not None}


def list_batches(
    session: Session,
    *,
    only_left: bool,
    before: tuple[datetime, UUID] | None,
    limit: int,
    now: datetime,
) -> Sequence[ClosingBatch]:
    """Return batches, newest first, all or those of which somebody is left."""
    query = select(ClosingBatch)
    if only_left:
        of_it = Graduate.batch_id == ClosingBatch.id
        query = query.where(
            ClosingBatch.withdrawn_at.is_(None),
            select(Graduate.id).where(of_it, _state(now).in_(LEFT)).exists(),
        )
    return session.scalars(
        newest_first(query, ClosingBatch.made_at, before=before, limit=limit)
    ).all()


def _state(now: datetime) -> ColumnElement[str]:
    closing = (
        select(Closing.state)
        .where(Closing.holder_id == Graduate.holder_id, Closing.state != ClosingState.CANCELLED)
        .scalar_subquery()
    )
    return case(
        (closing == ClosingState.CLOSED, GraduateState.CLOSED.value),
        (graduates.exempt_on(business_date(now)), GraduateState.EXEMPT.value),
        (closing.is_not(None), GraduateState.CLOSING.value),
        (~graduates.still_graduate(business_date(now)), GraduateState.STAYS.value),
        else_=GraduateState.WAITING.value,
    )


def state_of(row: Row) -> GraduateState:
    """Return how far one graduate is: the same as the queries here say."""
    if row.closing is not None and row.closing.state is ClosingState.CLOSED:
        return GraduateState.CLOSED
    if row.is_exempt:
        return GraduateState.EXEMPT
    if row.closing is not None:
        return GraduateState.CLOSING
    return GraduateState.WAITING if row.stays is None else GraduateState.STAYS


def counts_of(
    session: Session, batch_ids: Collection[UUID], *, now: datetime
) -> dict[UUID, dict[GraduateState, int]]:
    """Return of each batch how many people are in each state."""
    counts: dict[UUID, dict[GraduateState, int]] = {
        id_: dict.fromkeys(GraduateState, 0) for id_ in batch_ids
    }
    states = (
        select(Graduate.batch_id, _state(now).label("state"))
        .where(Graduate.batch_id.in_(batch_ids))
        .subquery()
    )
    for batch_id, state, count in session.execute(
        select(states.c.batch_id, states.c.state, func.count()).group_by(
            states.c.batch_id, states.c.state
        )
    ):
        counts[batch_id][GraduateState(state)] = count
    return counts


def left_fen(session: Session, *, batch_id: UUID, now: datetime) -> Fen:
    """Return what those who are left of a batch have in all purses."""
    total = (
        select(func.sum(Account.balance_fen))
        .join(Graduate, Graduate.holder_id == Account.holder_id)
        .where(Graduate.batch_id == batch_id, _state(now).in_(LEFT))
    )
    return Fen(int(session.scalar(total) or 0))


def list_rows(
    session: Session,
    *,
    batch_id: UUID,
    states: Collection[GraduateState],
    after: UUID | None,
    limit: int,
    now: datetime,
) -> list[Row]:
    """Return people of a batch who are in some states, as they stand now."""
    query = select(Graduate).where(Graduate.batch_id == batch_id, _state(now).in_(states))
    if after is not None:
        query = query.where(Graduate.id > after)
    found = session.scalars(query.order_by(Graduate.id).limit(limit)).all()
    return graduates.rows_of(session, found, now=now)


def batches_of(session: Session, *, holder_id: UUID) -> Sequence[ClosingBatch]:
    """Return the batches that somebody is in, newest first."""
    return session.scalars(
        select(ClosingBatch)
        .join(Graduate, Graduate.batch_id == ClosingBatch.id)
        .where(Graduate.holder_id == holder_id)
        .order_by(ClosingBatch.made_at.desc())
    ).all()


def export_left(
    session: Session,
    *,
    batch_id: UUID,
    operator: OperatorCaller,
    reference: str,
    now: datetime,
) -> list[tuple[object, ...]]:
    """Return who is left of a batch as rows, headings first; note that it was taken.

    The caller commits before the first row is handed out.

    Raises:
        NotFound: there is no such batch.
    """
    batch = graduates.find(session, batch_id=batch_id)
    rows = [row for row in graduates.preview(session, batch_id=batch_id, now=now) if row.is_open]
    operation_log.record(
        session,
        actor=operator.actor,
        action="closing_batch.export",
        subject_id=batch_id,
        now=now,
        reference=reference,
        people=len(rows),
    )
    return [HEADINGS, *(_line(row, batch) for row in rows)]


def _line(row: Row, batch: ClosingBatch) -> tuple[object, ...]:
    return (
        row.holder.holder_number,
        masked_name(row.holder.name),
        row.holder.unit,
        STATES[state_of(row)],
        yuan_text(row.balance_fen),
        "；".join(CHECKS[check.name] for check in row.checks if check.stands),
        batch.deadline,
    )
