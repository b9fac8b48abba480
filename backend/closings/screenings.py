"""Screenings (清查): all accounts looked through after a term, each finding with an outcome.

三(十三).  A filed screening is immutable: the trigger `refuse_filed` sees to it.
"""

import re
from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from backend.arrears.models import Arrears
from backend.arrears.service import OPEN_FEN
from backend.cards.models import Card, CardState
from backend.cards.service import GONE
from backend.clock import business_date, start_of_day
from backend.closings.models import (
    Closing,
    ClosingState,
    Finding,
    Screening,
    ScreeningItem,
    ScreeningOutcome,
)
from backend.closings.rules import months_after
from backend.closings.service import HOLDS
from backend.errors import DomainError, Kind
from backend.holders.models import Holder
from backend.holders.rules import masked_name
from backend.ids import new_id
from backend.ledger.models import Account, Transfer
from backend.operation_log import service as operation_log
from backend.operators.service import OperatorCaller
from backend.policies.service import Policies, policies_at
from backend.rows import find_row, first_answer, lock_id, lock_row, newest_first

POLICIES = ("screening.unused_months", "term.autumn_ends_day", "term.spring_ends_day")
TERM = re.compile(r"([0-9]{4})-([0-9]{4})-([12])")
HEADINGS = ("学工号", "姓名", "类别", "清查情况", "处理结果", "说明", "处理时间")
FINDINGS = {
    Finding.EXPIRED: "已过期未处理",
    Finding.UNUSED: "长期未使用",
    Finding.CLOSED_WITH_BALANCE: "已销户有余额",
    Finding.ARREARS: "欠费",
    Finding.DUPLICATE: "疑似一人多户",
}
OUTCOMES = {
    ScreeningOutcome.CLOSE: "销户",
    ScreeningOutcome.EXTEND: "延期",
    ScreeningOutcome.CONTACT: "联系本人",
    ScreeningOutcome.KEEP: "保留",
}


class TermUnknown(DomainError, code="term-unknown", kind=Kind.INVALID):
    """It is no name of a term, such as 2026-2027-1, or the term has not ended."""


class ScreeningFiled(DomainError, code="screening-filed", kind=Kind.CONFLICT):
    """It is filed: nothing of it changes any more."""


class ScreeningOpen(DomainError, code="screening-open", kind=Kind.CONFLICT):
    """Some findings have no outcome yet.  Fact: `count`."""


def make(
    session: Session, *, screening_id: UUID, term: str, operator: OperatorCaller, now: datetime
) -> tuple[Screening, bool]:
    """Look through all accounts after a term; say whether this call was first.

    Raises:
        IdReused: `screening_id` came before for another term, or from somebody else.
        TermUnknown: it is no name of a term, or the term is not over.
    """
    lock_id(session, screening_id)
    earlier = first_answer(
        session, Screening, screening_id, term=term, made_by=operator.operator_id
    )
    if earlier is not None:
        return earlier, False
    policies = policies_at(session, now)
    _must_be_over(term, policies, now=now)
    screening = Screening(
        id=screening_id,
        term=term,
        made_by=operator.operator_id,
        made_at=now,
        policy_ids=[str(id_) for id_ in policies.used(*POLICIES)],
    )
    session.add(screening)
    session.flush()
    found = _look(session, unused_months=policies["screening.unused_months"], now=now)
    session.add_all(
        ScreeningItem(
            id=new_id(),
            screening_id=screening_id,
            holder_id=holder_id,
            finding=finding,
            facts=facts,
        )
        for finding, holder_id, facts in found
    )
    operation_log.record(
        session,
        actor=operator.actor,
        action="screening.make",
        subject_id=screening_id,
        now=now,
        policy_ids=policies.used(*POLICIES),
        term=term,
        findings=len(found),
    )
    session.flush()
    return screening, True


def preview(session: Session, *, term: str, now: datetime) -> dict[Finding, int]:
    """Return how many accounts a screening would list now, by finding.

    Raises:
        TermUnknown: it is no name of a term, or the term is not over.
    """
    policies = policies_at(session, now)
    _must_be_over(term, policies, now=now)
    found = _look(session, unused_months=policies["screening.unused_months"], now=now)
    return {finding: sum(one is finding for one, _, _ in found) for finding in Finding}


def ended_terms(session: Session, *, count: int, now: datetime) -> list[str]:
    """Return the names of the terms that ended last, the newest first."""
    policies, today = policies_at(session, now), business_date(now)
    names = [f"{year}-{year + 1}-{half}" for year in range(today.year, 0, -1) for half in (2, 1)][
        : count + 4
    ]
    return [name for name in names if (last_day(name, policies) or today) < today][:count]


def _must_be_over(term: str, policies: Policies, *, now: datetime) -> None:
    ended = last_day(term, policies)
    if ended is None or ended >= business_date(now):
        raise TermUnknown


def last_day(term: str, policies: Policies) -> date | None:
    """Return the last day of a term by its name, such as 2026-2027-1, None where it is no name.

    The term calendar (学期) is a policy: 1 is the autumn term, which ends in the second year.
    """
    said = TERM.fullmatch(term)
    if said is None or int(said[2]) != int(said[1]) + 1 or not int(said[1]):
        return None
    number = policies["term.autumn_ends_day" if said[3] == "1" else "term.spring_ends_day"]
    return date(int(said[2]), 1, 1) + timedelta(days=number - 1)


def _look(
    session: Session, *, unused_months: int, now: datetime
) -> list[tuple[Finding, UUID, dict[str, Any]]]:
    today = business_date(now)
    live = (
        select(Card.id)
        .where(Card.holder_id == Holder.id, Card.state.not_in((*GONE, CardState.CLOSING)))
        .exists()
    )
    expired = select(Holder.id, Holder.valid_until).where(Holder.valid_until < today, live)
    since = start_of_day(months_after(today, -unused_months))
    moved = (
        select(Transfer.id)
        .join(Account, Account.id.in_((Transfer.debit_account_id, Transfer.credit_account_id)))
        .where(Account.holder_id == Holder.id, Transfer.posted_at >= since)
        .exists()
    )
    older = (
        select(Card.id)
        .where(Card.holder_id == Holder.id, Card.state == CardState.ACTIVE, Card.created_at < since)
        .exists()
    )
    unused = select(Holder.id).where(Holder.valid_until >= today, older, ~moved)
    ended = select(Closing.id).where(
        Closing.holder_id == Holder.id, Closing.state == ClosingState.CLOSED, HOLDS
    )
    closed = (
        select(Holder.id, func.sum(Account.balance_fen))
        .join(Account, Account.holder_id == Holder.id)
        .where(ended.exists())
        .group_by(Holder.id)
        .having(func.sum(Account.balance_fen) > 0)
    )
    owing = (
        select(Arrears.holder_id, func.sum(OPEN_FEN))
        .where(Arrears.settled_at.is_(None))
        .group_by(Arrears.holder_id)
    )
    staying = Holder.valid_until >= today
    # Grouped once: to look for the twin of each takes the square of the college.  Nobody has two
    # accounts under one document: `holders.document_index` is unique.
    alike = (
        select(Holder.name, Holder.unit)
        .where(staying)
        .group_by(Holder.name, Holder.unit)
        .having(func.count() > 1)
    )
    duplicate = select(Holder.id).where(staying, live, tuple_(Holder.name, Holder.unit).in_(alike))
    return [
        *(
            (Finding.EXPIRED, id_, {"valid_until": last.isoformat()})
            for id_, last in session.execute(expired)
        ),
        *((Finding.UNUSED, id_, {}) for id_ in session.scalars(unused)),
        *(
            (Finding.CLOSED_WITH_BALANCE, id_, {"balance_fen": int(fen or 0)})
            for id_, fen in session.execute(closed)
        ),
        *((Finding.ARREARS, id_, {"arrears_fen": int(fen)}) for id_, fen in session.execute(owing)),
        *((Finding.DUPLICATE, id_, {}) for id_ in session.scalars(duplicate)),
    ]


def decide(
    session: Session,
    *,
    screening_id: UUID,
    item_id: UUID,
    outcome: ScreeningOutcome,
    reason: str,
    operator: OperatorCaller,
    now: datetime,
) -> ScreeningItem:
    """Give a finding its outcome, or another one before it is filed.  The same changes nothing.

    Raises:
        NotFound: there is no such item of this screening.
        ScreeningFiled: nothing of it changes any more.
    """
    screening = lock_row(session, Screening, screening_id)
    item = find_row(session, ScreeningItem, item_id, screening_id=screening_id)
    if (item.outcome, item.reason) == (outcome, reason):
        return item
    if screening.filed_at is not None:
        raise ScreeningFiled
    before = item.outcome
    item.outcome, item.reason = outcome, reason
    item.decided_by, item.decided_at = operator.operator_id, now
    operation_log.record(
        session,
        actor=operator.actor,
        action="screening.decide",
        holder_id=item.holder_id,
        subject_id=screening_id,
        now=now,
        before=before and {"outcome": before.value},
        after={"outcome": outcome.value},
        finding=item.finding.value,
        reason=reason,
    )
    return item


def file(
    session: Session, *, screening_id: UUID, operator: OperatorCaller, now: datetime
) -> Screening:
    """File a screening (归档): nothing of it changes any more.  The same again changes nothing.

    Raises:
        NotFound: there is no such screening.
        ScreeningOpen: some findings have no outcome yet.
    """
    screening = lock_row(session, Screening, screening_id)
    if screening.filed_at is not None:
        return screening
    left = session.scalar(
        select(func.count())
        .select_from(ScreeningItem)
        .where(ScreeningItem.screening_id == screening_id, ScreeningItem.outcome.is_(None))
    )
    if left:
        raise ScreeningOpen(count=left)
    screening.filed_at, screening.filed_by = now, operator.operator_id
    operation_log.record(
        session,
        actor=operator.actor,
        action="screening.file",
        subject_id=screening_id,
        now=now,
        term=screening.term,
    )
    session.flush()
    return screening


def find(session: Session, *, screening_id: UUID) -> Screening:
    """Return a screening.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, Screening, screening_id)


def items_of(session: Session, *, screening_id: UUID) -> Sequence[ScreeningItem]:
    """Return what a screening found."""
    return session.scalars(
        select(ScreeningItem)
        .where(ScreeningItem.screening_id == screening_id)
        .order_by(ScreeningItem.id)
    ).all()


def list_items(
    session: Session,
    *,
    screening_id: UUID,
    finding: Finding | None,
    is_open: bool | None,
    after: UUID | None,
    limit: int,
) -> Sequence[ScreeningItem]:
    """Return what a screening found, of one kind or of all, with or without an outcome."""
    query = select(ScreeningItem).where(ScreeningItem.screening_id == screening_id)
    if finding is not None:
        query = query.where(ScreeningItem.finding == finding)
    if is_open is not None:
        query = query.where(ScreeningItem.outcome.is_(None) == is_open)
    if after is not None:
        query = query.where(ScreeningItem.id > after)
    return session.scalars(query.order_by(ScreeningItem.id).limit(limit)).all()


def outcomes_of(
    session: Session, screening_ids: Collection[UUID]
) -> dict[UUID, dict[tuple[Finding, ScreeningOutcome | None], int]]:
    """Return of each screening how many items there are by finding and outcome."""
    counts: dict[UUID, dict[tuple[Finding, ScreeningOutcome | None], int]] = {
        id_: {} for id_ in screening_ids
    }
    for id_, finding, outcome, count in session.execute(
        select(
            ScreeningItem.screening_id, ScreeningItem.finding, ScreeningItem.outcome, func.count()
        )
        .where(ScreeningItem.screening_id.in_(screening_ids))
        .group_by(ScreeningItem.screening_id, ScreeningItem.finding, ScreeningItem.outcome)
    ):
        counts[id_][finding, outcome] = count
    return counts


def open_items_of(session: Session, *, holder_id: UUID) -> Sequence[ScreeningItem]:
    """Return what of one holder waits for an outcome, newest first."""
    return session.scalars(
        select(ScreeningItem)
        .where(ScreeningItem.holder_id == holder_id, ScreeningItem.outcome.is_(None))
        .order_by(ScreeningItem.id.desc())
    ).all()


def list_screenings(
    session: Session, *, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Screening]:
    """Return screenings, newest first."""
    query = select(Screening)
    return session.scalars(newest_first(query, Screening.made_at, before=before, limit=limit)).all()


def export(
    session: Session,
    *,
    screening_id: UUID,
    operator: OperatorCaller,
    reference: str,
    now: datetime,
) -> list[tuple[object, ...]]:
    """Return a screening as rows, headings first; note that it was taken.

    The caller commits before the first row is handed out.

    Raises:
        NotFound: there is no such screening.
    """
    screening = find(session, screening_id=screening_id)
    items = items_of(session, screening_id=screening_id)
    operation_log.record(
        session,
        actor=operator.actor,
        action="screening.export",
        subject_id=screening_id,
        now=now,
        reference=reference,
        term=screening.term,
        findings=len(items),
    )
    holders = {
        holder.id: holder
        for holder in session.scalars(
            select(Holder).where(Holder.id.in_({item.holder_id for item in items}))
        )
    }
    return [HEADINGS, *(_row(item, holders[item.holder_id]) for item in items)]


def _row(item: ScreeningItem, holder: Holder) -> tuple[object, ...]:
    return (
        holder.holder_number,
        masked_name(holder.name),
        holder.category.value,
        FINDINGS[item.finding],
        OUTCOMES[item.outcome] if item.outcome else None,
        item.reason,
        item.decided_at and business_date(item.decided_at),
    )
