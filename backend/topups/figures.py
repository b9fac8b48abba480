"""Lists and figures of top-ups (充值)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.orm import Session

from backend.money import Fen
from backend.rows import newest_first
from backend.topups.models import TopUp, TopUpState
from backend.topups.rules import (
    OVERDUE,
    UNRESOLVED,
)


@dataclass(frozen=True, slots=True)
class StateFigures:
    """How many orders stand in one state, and for how much."""

    state: TopUpState
    count: int
    amount_fen: Fen


def figures_by_state(session: Session, *, since: datetime) -> list[StateFigures]:
    """Return the figures of the orders made since a moment, in the order of their life."""
    rows = session.execute(
        select(TopUp.state, func.count(), func.sum(TopUp.amount_fen))
        .where(TopUp.created_at >= since)
        .group_by(TopUp.state)
    ).all()
    known = {state: StateFigures(state, count, Fen(int(fen))) for state, count, fen in rows}
    return [known.get(state, StateFigures(state, 0, Fen(0))) for state in TopUpState]


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Orders that somebody should look at."""

    frozen: int
    """They wait for a person to settle them."""
    overdue: int
    """They are open for longer than any order should be."""


def unresolved(session: Session, *, now: datetime) -> Unresolved:
    """Count the orders that somebody should look at; both are zero when all is well."""
    frozen, overdue = session.execute(
        select(
            func.count().filter(TopUp.state == TopUpState.EXCEPTION),
            func.count().filter(TopUp.created_at < now - OVERDUE),
        ).where(TopUp.state.in_(UNRESOLVED))
    ).one()
    return Unresolved(frozen=frozen, overdue=overdue)


def list_by_state(
    session: Session,
    *,
    state: TopUpState | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[TopUp]:
    """Return everybody's orders in one state, or in any, newest first."""
    return _newest(session, TopUp.state == state if state else true(), before=before, limit=limit)


def list_top_ups(
    session: Session, *, holder_id: UUID, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[TopUp]:
    """Return a holder's orders, newest first."""
    return _newest(session, TopUp.holder_id == holder_id, before=before, limit=limit)


def _newest(
    session: Session,
    condition: ColumnElement[bool],
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[TopUp]:
    query = select(TopUp).where(condition)
    return session.scalars(newest_first(query, TopUp.created_at, before=before, limit=limit)).all()
