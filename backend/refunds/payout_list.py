"""Looking through the payout list (打款清单): its lines, what nobody has got yet, its batches."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.orm import Session

from backend.money import Fen
from backend.refunds.models import PayoutBatch, PayoutLine, PayoutLineState
from backend.refunds.payout_lines import OPEN, WAITS, lines_of_subjects
from backend.refunds.rules import AGES_DAYS, owed_before
from backend.rows import find_row, newest_first


class BatchState(StrEnum):
    """How far a batch has come, worked out from its decision and its lines."""

    WAITING = "waiting"
    """待复核"""
    PAYING = "paying"
    """打款中: approved, and some lines are neither paid nor bounced"""
    SETTLED = "settled"
    """已办结"""
    REFUSED = "refused"
    """已退回: its lines are listed again"""


def list_lines(
    session: Session,
    *,
    states: Collection[PayoutLineState],
    owed_for_days: int,
    now: datetime,
    after: tuple[datetime, UUID] | None,
    limit: int,
    claim_waits: bool = False,
) -> Sequence[PayoutLine]:
    """Return lines of some states, the longest owed first; those owed for more than some days.

    With `claim_waits` those alone whose claim finance has to answer.
    """
    at, id_ = PayoutLine.owed_since, PayoutLine.id
    query = select(PayoutLine).where(PayoutLine.state.in_(states))
    if claim_waits:
        query = query.where(WAITS)
    if owed_for_days:
        query = query.where(at < owed_before(owed_for_days, now=now))
    if after is not None:
        query = query.where((at > after[0]) | ((at == after[0]) & (id_ > after[1])))
    return session.scalars(query.order_by(at, id_).limit(limit)).all()


def list_open(session: Session, *, limit: int) -> Sequence[PayoutLine]:
    """Return what nobody has got yet (未领), the longest owed first."""
    return session.scalars(
        select(PayoutLine)
        .where(PayoutLine.state.in_(OPEN))
        .order_by(PayoutLine.owed_since, PayoutLine.id)
        .limit(limit)
    ).all()


def find_line(session: Session, *, line_id: UUID) -> PayoutLine:
    """Return a line.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, PayoutLine, line_id)


def tries_of(session: Session, *, line: PayoutLine) -> Sequence[PayoutLine]:
    """Return all tries to pay what a line is for, the first one first: see `follows_id`."""
    of_subject = lines_of_subjects(session, [line.subject_id])[line.subject_id]
    earlier = {one.id: one for one in of_subject}
    later = {one.follows_id: one for one in of_subject if one.follows_id}
    first = line
    while first.follows_id is not None:
        first = earlier[first.follows_id]
    tries = [first]
    while tries[-1].id in later:
        tries.append(later[tries[-1].id])
    return tries


@dataclass(frozen=True, slots=True)
class AgeGroup:
    """What has been owed for about as long (账龄)."""

    more_than_days: int
    """0 for what is not older than the first of `AGES_DAYS`."""
    lines: int
    amount_fen: Fen


def unclaimed_by_age(session: Session, *, now: datetime) -> list[AgeGroup]:
    """Return what nobody has got yet (未领) by how long it has been owed: see `AGES_DAYS`."""
    ages = (0, *AGES_DAYS)
    older = [true(), *(PayoutLine.owed_since < owed_before(days, now=now) for days in AGES_DAYS)]
    sums = session.execute(
        select(
            *(func.count().filter(condition) for condition in older),
            *(
                func.coalesce(func.sum(PayoutLine.amount_fen).filter(condition), 0)
                for condition in older
            ),
        ).where(PayoutLine.state.in_(OPEN))
    ).one()
    counts, amounts = [*sums[: len(ages)], 0], [*sums[len(ages) :], 0]
    return [
        AgeGroup(
            days, counts[place] - counts[place + 1], Fen(int(amounts[place] - amounts[place + 1]))
        )
        for place, days in enumerate(ages)
    ]


def list_batches(
    session: Session,
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
    state: BatchState | None = None,
) -> Sequence[PayoutBatch]:
    """Return batches, newest first, all or those of one state."""
    query = select(PayoutBatch)
    if state is not None:
        query = query.where(_in_state(state))
    return session.scalars(
        newest_first(query, PayoutBatch.made_at, before=before, limit=limit)
    ).all()


def _in_state(state: BatchState) -> ColumnElement[bool]:
    if state is BatchState.WAITING:
        return PayoutBatch.approved.is_(None)
    if state is BatchState.REFUSED:
        return PayoutBatch.approved.is_(False)
    is_open = (
        select(PayoutLine.id)
        .where(PayoutLine.batch_id == PayoutBatch.id, PayoutLine.state == PayoutLineState.BATCHED)
        .exists()
    )
    approved = PayoutBatch.approved.is_(True)
    return approved & (is_open if state is BatchState.PAYING else ~is_open)


def state_of(batch: PayoutBatch, count: Mapping[PayoutLineState, int]) -> BatchState:
    """Return how far a batch has come, by what became of its lines."""
    if batch.approved is None:
        return BatchState.WAITING
    if not batch.approved:
        return BatchState.REFUSED
    return BatchState.PAYING if count.get(PayoutLineState.BATCHED) else BatchState.SETTLED


def counts_of(
    session: Session, batch_ids: Collection[UUID]
) -> dict[UUID, dict[PayoutLineState, int]]:
    """Return of each batch how many of its lines are in each state; a refused one has none."""
    found: dict[UUID, dict[PayoutLineState, int]] = {id_: {} for id_ in batch_ids}
    for batch_id, state, count in session.execute(
        select(PayoutLine.batch_id, PayoutLine.state, func.count())
        .where(PayoutLine.batch_id.in_(batch_ids))
        .group_by(PayoutLine.batch_id, PayoutLine.state)
    ):
        if batch_id is not None:
            found[batch_id][state] = count
    return found


def open_lines_of(session: Session, *, holder_id: UUID) -> Sequence[PayoutLine]:
    """Return what one holder has not got yet, the longest owed first."""
    return session.scalars(
        select(PayoutLine)
        .where(PayoutLine.holder_id == holder_id, PayoutLine.state.in_(OPEN))
        .order_by(PayoutLine.owed_since, PayoutLine.id)
    ).all()
