"""Bills (账单): importing one, once, and how its rows stand beside our books.

A bill is unsigned.  Nothing is credited by it: an order that it calls paid and that is not paid
here is asked about at its channel, and settled by that answer.
"""

import hashlib
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_new
from sqlalchemy.orm import Session

from backend.clock import business_date, start_of_day
from backend.errors import DomainError, Kind, NotFound
from backend.ids import is_own_number, new_id
from backend.money import Fen
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators.models import Role
from backend.reconciliation.models import (
    BillFetch,
    BillFile,
    BillLine,
    BillSource,
    BillState,
    ChannelBill,
    LineMatch,
)
from backend.reconciliation.rules import (
    CAUGHT_UP_DAYS,
    OurOrder,
    OurRefund,
    days_to_fetch,
    first_try_at,
    is_over,
    is_overdue,
    match_payment,
    match_refund,
    next_try_at,
)
from backend.refunds.models import ChannelRefund
from backend.rows import find_row
from backend.sealing import Sealer
from backend.topups import following
from backend.topups.following import Question
from backend.topups.models import StrayPayment, TopUp
from payments import Bill, BillMalformed, BillRow, BillRowKind, Channel

MAY_LOOK = (Role.FINANCE, Role.CARD_CENTRE, Role.AUDITOR)
MAY_IMPORT = (Role.FINANCE,)
LEASE = timedelta(minutes=5)
BATCH = 1000
SEALED_FOR = "bill-file"


class DayNotOver(DomainError, code="bill-day-not-over", kind=Kind.INVALID):
    """The day is not over in Shanghai, so it has no bill yet.  Fact: `day`."""


class BillEmpty(DomainError, code="bill-empty", kind=Kind.CONFLICT):
    """Nothing is in it, and we know better.  Fact: `answer`, one of the words below."""


NO_CONTENT = "no-content"
"""A person brought a file of no bytes."""
EMPTY_THOUGH_PAID = "empty-though-paid"
"""Our books know a payment of that day."""
EMPTY_THOUGH_TOLD = "empty-though-told"
"""An earlier bill of that day has rows."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file.

    Attributes:
        first: whether this call brought it; else it is the import of that time.
        superseded: the bill that counted for that day before, and no longer does.
        unpaid: orders that it calls paid and that are not paid here, to be asked about at once.
    """

    bill: ChannelBill
    first: bool
    superseded: ChannelBill | None
    unpaid: list[Question]


def import_bill(
    session: Session,
    *,
    channel: Channel,
    day: date,
    content: bytes,
    source: BillSource,
    sealer: Sealer,
    actor: Actor,
    now: datetime,
) -> Imported:
    """Keep a bill's file and take its rows in, or keep why it could not be read.

    The same content of the same day again is the first import; what was refused is read again, as
    this version may know more.  Another content is another version: what was brought last and could
    be read counts, the former is superseded and stays.  So a superseded file that is brought again
    counts again, as the version that it was; the operation log tells of each change.  A refused one
    supersedes nothing.

    Locks the fetch of that channel and day, then the orders that the bill calls paid.  Reading
    comes before the first statement, as it takes seconds.

    Raises:
        DayNotOver: that day has no bill yet.
        BillEmpty: it tells of no trade, and we know of one, or a person brought no bytes.
    """
    if not is_over(day, now):
        raise DayNotOver(day=day.isoformat())
    if source is BillSource.UPLOADED and not content:
        raise BillEmpty(answer=NO_CONTENT)
    digest = hashlib.sha256(content).digest()
    read = _read(channel, content, day)
    fetch = _lock_fetch(session, channel=channel.name, day=day, now=now)
    if isinstance(read, Bill) and not read.rows:
        _must_be_empty(session, channel=channel.name, day=day)
    bill = session.scalars(
        select(ChannelBill).where(
            ChannelBill.channel == channel.name,
            ChannelBill.day == day,
            ChannelBill.digest == digest,
        )
    ).one_or_none()
    first = bill is None
    if bill is None:
        bill = _store(session, channel=channel.name, day=day, digest=digest, source=source, now=now)
        packed = sealer.seal_bytes(SEALED_FOR, zlib.compress(content), also=bill.id.bytes)
        session.flush()
        session.add(BillFile(bill_id=bill.id, content_sealed=packed))
    superseded, unpaid = None, []
    if bill.state is BillState.REFUSED:
        if isinstance(read, BillMalformed):
            bill.fault, bill.fault_line = read.reason, read.line
        else:
            superseded = _supersede(session, bill, now=now)
            unpaid = _take_in(session, bill, read, now=now)
            fetch.next_try_at = fetch.answer = fetch.alarmed_at = None
    elif bill.state is BillState.SUPERSEDED:
        superseded = _supersede(session, bill, now=now)
        unpaid = _count_again(session, bill, now=now)
        fetch.next_try_at = fetch.answer = fetch.alarmed_at = None
    if first or superseded or unpaid:
        _log(session, bill, superseded, actor=actor, now=now)
    return Imported(bill, first, superseded, unpaid)


def _must_be_empty(session: Session, *, channel: str, day: date) -> None:
    """Refuse that a day was empty when our books or an earlier bill know a trade of it.

    Raises:
        BillEmpty: they do.
    """
    if had_trades(session, channel=channel, day=day):
        raise BillEmpty(answer=EMPTY_THOUGH_PAID)
    told = select(ChannelBill.id).where(
        ChannelBill.channel == channel,
        ChannelBill.day == day,
        ChannelBill.payments + ChannelBill.refunds > 0,
    )
    if session.scalar(select(told.exists())):
        raise BillEmpty(answer=EMPTY_THOUGH_TOLD)


def _read(channel: Channel, content: bytes, day: date) -> Bill | BillMalformed:
    try:
        return channel.read_bill(content, day)
    except BillMalformed as malformed:
        return malformed


def _lock_fetch(session: Session, *, channel: str, day: date, now: datetime) -> BillFetch:
    """Return the row that keeps two imports of one channel and day in a row, locked."""
    session.execute(
        insert_new(BillFetch)
        .values(channel=channel, day=day, next_try_at=max(first_try_at(day), now), tries=0)
        .on_conflict_do_nothing()
    )
    return session.get_one(BillFetch, (channel, day), with_for_update=True, populate_existing=True)


def _store(
    session: Session, *, channel: str, day: date, digest: bytes, source: BillSource, now: datetime
) -> ChannelBill:
    """Add a bill of which nothing is read yet."""
    newest = session.scalar(
        select(func.max(ChannelBill.version)).where(
            ChannelBill.channel == channel, ChannelBill.day == day
        )
    )
    bill = ChannelBill(
        id=new_id(),
        channel=channel,
        day=day,
        version=(newest or 0) + 1,
        digest=digest,
        state=BillState.REFUSED,
        source=source,
        payments=0,
        payments_fen=Fen(0),
        refunds=0,
        refunds_fen=Fen(0),
        fee_fen=Fen(0),
        fault="unread",
        fault_line=None,
        imported_at=now,
        superseded_at=None,
    )
    session.add(bill)
    return bill


def _supersede(session: Session, bill: ChannelBill, *, now: datetime) -> ChannelBill | None:
    former = session.scalars(
        select(ChannelBill).where(
            ChannelBill.channel == bill.channel,
            ChannelBill.day == bill.day,
            ChannelBill.state == BillState.IMPORTED,
        )
    ).one_or_none()
    if former is not None:
        former.state, former.superseded_at = BillState.SUPERSEDED, now
        session.flush()  # before the other counts: the index allows one
    return former


def _count_again(session: Session, bill: ChannelBill, *, now: datetime) -> list[Question]:
    """Let a superseded bill count again; return the orders to be asked about, as `_take_in`."""
    bill.state, bill.superseded_at = BillState.IMPORTED, None
    session.flush()
    match_again(session, bill_id=bill.id)
    unpaid = session.scalars(
        select(BillLine.out_trade_no)
        .where(BillLine.bill_id == bill.id, BillLine.match == LineMatch.NOT_PAID_HERE)
        .distinct()
        .order_by(BillLine.out_trade_no)
    ).all()
    return _ask_again(session, unpaid, bill=bill, now=now)


def _take_in(session: Session, bill: ChannelBill, read: Bill, *, now: datetime) -> list[Question]:
    """Write the rows of a bill; return the orders to be asked about, claimed for a minute."""
    totals = read.totals
    bill.state, bill.fault, bill.fault_line = BillState.IMPORTED, None, None
    bill.payments, bill.payments_fen = totals.payments, Fen(totals.payments_fen)
    bill.refunds, bill.refunds_fen = totals.refunds, Fen(totals.refunds_fen)
    bill.fee_fen = Fen(totals.fee_fen)
    session.flush()
    unpaid: list[str] = []
    for start in range(0, len(read.rows), BATCH):
        rows = read.rows[start : start + BATCH]
        matches = _matches(session, bill.channel, rows)
        session.execute(
            insert(BillLine),
            [
                {
                    "id": new_id(),
                    "bill_id": bill.id,
                    "line": row.line,
                    "kind": row.kind,
                    "out_trade_no": row.out_trade_no,
                    "trade_no": row.trade_no,
                    "out_refund_no": row.out_refund_no,
                    "refund_no": row.refund_no,
                    "amount_fen": row.amount_fen,
                    "fee_fen": row.fee_fen,
                    "at": row.at,
                    "state": row.state,
                    "match": match,
                }
                for row, match in zip(rows, matches, strict=True)
            ],
        )
        unpaid += [
            row.out_trade_no
            for row, match in zip(rows, matches, strict=True)
            if match is LineMatch.NOT_PAID_HERE
        ]
    return _ask_again(session, sorted(set(unpaid)), bill=bill, now=now)


def _ask_again(
    session: Session, out_trade_nos: Iterable[str], *, bill: ChannelBill, now: datetime
) -> list[Question]:
    questions = []
    for out_trade_no in out_trade_nos:
        question = following.doubt(
            session, top_up_id=UUID(hex=out_trade_no), bill_id=bill.id, now=now
        )
        if question is not None:
            questions.append(question)
    return questions


def _log(
    session: Session,
    bill: ChannelBill,
    superseded: ChannelBill | None,
    *,
    actor: Actor,
    now: datetime,
) -> None:
    operation_log.record(
        session,
        actor=actor,
        action="bill.import",
        subject_id=bill.id,
        now=now,
        channel=bill.channel,
        day=bill.day.isoformat(),
        version=bill.version,
        state=bill.state.value,
        source=bill.source.value,
        rows=bill.payments + bill.refunds,
        fault=bill.fault,
        supersedes=superseded.version if superseded else None,
    )


_Row = BillRow | BillLine


def _matches(session: Session, channel: str, rows: Sequence[_Row]) -> list[LineMatch]:
    """Say how some rows of a channel stand beside our books."""
    payments = [row for row in rows if row.kind is BillRowKind.PAYMENT]
    orders = _orders(session, channel, _ids(row.out_trade_no for row in payments))
    refunds = _refunds(session, channel, _ids(row.out_refund_no for row in rows))
    return [
        match_payment(
            trade_no=row.trade_no, amount_fen=row.amount_fen, ours=orders.get(row.out_trade_no)
        )
        if row.kind is BillRowKind.PAYMENT
        else match_refund(
            trade_no=row.trade_no,
            amount_fen=row.amount_fen,
            state=row.state,
            ours=refunds.get(row.out_refund_no or ""),
        )
        for row in rows
    ]


def _ids(numbers: Iterable[str | None]) -> set[UUID]:
    """Return the ids among some numbers, of which others' may be of any shape."""
    return {UUID(hex=number) for number in numbers if number and is_own_number(number)}


def _orders(session: Session, channel: str, ids: Collection[UUID]) -> Mapping[str, OurOrder]:
    strays: dict[UUID, set[str]] = {}
    for top_up_id, trade_no in session.execute(
        select(StrayPayment.top_up_id, StrayPayment.trade_no).where(
            StrayPayment.top_up_id.in_(ids), StrayPayment.channel == channel
        )
    ):
        strays.setdefault(top_up_id, set()).add(trade_no)
    found = session.execute(
        select(TopUp.id, TopUp.amount_fen, TopUp.state, TopUp.trade_no).where(
            TopUp.id.in_(ids), TopUp.channel == channel
        )
    )
    return {
        row.id.hex: OurOrder(
            row.amount_fen, row.state, row.trade_no, frozenset(strays.get(row.id, ()))
        )
        for row in found
    }


def _refunds(session: Session, channel: str, ids: Collection[UUID]) -> Mapping[str, OurRefund]:
    found = session.execute(
        select(
            ChannelRefund.id,
            ChannelRefund.trade_no,
            ChannelRefund.amount_fen,
            ChannelRefund.state,
        ).where(ChannelRefund.id.in_(ids), ChannelRefund.channel == channel)
    )
    return {row.id.hex: OurRefund(row.trade_no, row.amount_fen, row.state) for row in found}


def match_again(session: Session, *, bill_id: UUID) -> int:
    """Look again at the rows of a bill that did not match; return how many changed."""
    bill = session.get_one(ChannelBill, bill_id)
    open_lines = session.scalars(
        select(BillLine).where(BillLine.bill_id == bill_id, BillLine.match != LineMatch.MATCHED)
    ).all()
    changed = 0
    for start in range(0, len(open_lines), BATCH):
        lines = open_lines[start : start + BATCH]
        for line, match in zip(lines, _matches(session, bill.channel, lines), strict=True):
            changed += line.match is not match
            line.match = match
    return changed


def waiting_bills(session: Session, *, now: datetime) -> Sequence[UUID]:
    """Return the bills that came lately and hold payments which are not here yet."""
    return session.scalars(
        select(ChannelBill.id).where(
            ChannelBill.state == BillState.IMPORTED,
            ChannelBill.imported_at >= now - timedelta(days=CAUGHT_UP_DAYS),
            select(BillLine.id)
            .where(BillLine.bill_id == ChannelBill.id, BillLine.match == LineMatch.NOT_PAID_HERE)
            .exists(),
        )
    ).all()


def had_trades(session: Session, *, channel: str, day: date) -> bool:
    """Say whether our own books know a payment through a channel on a day: then it has a bill."""
    since, until = start_of_day(day), start_of_day(day + timedelta(days=1))
    paid = select(TopUp.id).where(
        TopUp.channel == channel, TopUp.paid_at >= since, TopUp.paid_at < until
    )
    stray = select(StrayPayment.id).where(
        StrayPayment.channel == channel, StrayPayment.paid_at >= since, StrayPayment.paid_at < until
    )
    return bool(session.scalar(select(paid.exists() | stray.exists())))


def plan_fetches(session: Session, *, channel: str, now: datetime) -> None:
    """Note which bills are to be fetched: yesterday's, and those that were missed."""
    first = session.scalar(select(func.min(TopUp.created_at)).where(TopUp.channel == channel))
    days = days_to_fetch(first and business_date(first), now)
    session.execute(
        insert_new(BillFetch).on_conflict_do_nothing(),
        [
            {"channel": channel, "day": day, "next_try_at": first_try_at(day), "tries": 0}
            for day in days
        ],
    )


def claim_fetch(session: Session, *, channel: str, now: datetime) -> date | None:
    """Claim the next bill that is due, for five minutes; a worker that dies leaves it to others."""
    fetch = session.scalars(
        select(BillFetch)
        .where(BillFetch.channel == channel, BillFetch.next_try_at <= now)
        .order_by(BillFetch.day.desc())
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if fetch is None:
        return None
    fetch.next_try_at = now + LEASE
    return fetch.day


def note_not_fetched(
    session: Session, *, channel: str, day: date, answer: str, now: datetime
) -> bool:
    """Note why a try brought no bill, and when the next one is; say whether to raise the alarm.

    The alarm is raised once a day, from the evening on or where waiting does not help.
    """
    fetch = _lock_fetch(session, channel=channel, day=day, now=now)
    fetch.tries += 1
    fetch.answer = answer
    fetch.next_try_at = next_try_at(now)
    if day < days_to_fetch(date.min, now)[0]:
        fetch.next_try_at = None
    raised = fetch.alarmed_at is not None and business_date(fetch.alarmed_at) == business_date(now)
    if raised or not is_overdue(day, now):
        return False
    fetch.alarmed_at = now
    return True


def note_refused(session: Session, *, channel: str, day: date, now: datetime) -> None:
    """Note that what was fetched could not be read: tried again on the next morning."""
    fetch = _lock_fetch(session, channel=channel, day=day, now=now)
    fetch.tries += 1
    fetch.answer = "refused"
    fetch.next_try_at = first_try_at(business_date(now))
    fetch.alarmed_at = now


def overdue_fetches(session: Session) -> Sequence[BillFetch]:
    """Return the bills that are missing and that somebody should look after, oldest first."""
    return session.scalars(
        select(BillFetch).where(BillFetch.alarmed_at.is_not(None)).order_by(BillFetch.day)
    ).all()


def find(session: Session, *, bill_id: UUID) -> ChannelBill:
    """Return a bill.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, ChannelBill, bill_id)


def content_of(session: Session, *, bill_id: UUID, sealer: Sealer) -> bytes:
    """Return a bill's file as it came.

    Raises:
        NotFound: there is none, or another key sealed it.
    """
    sealed = session.scalar(select(BillFile.content_sealed).where(BillFile.bill_id == bill_id))
    packed = sealed and sealer.unseal_bytes(SEALED_FOR, sealed, also=bill_id.bytes)
    if not packed:
        raise NotFound
    return zlib.decompress(packed)


def list_bills(
    session: Session,
    *,
    channel: str | None = None,
    day: date | None = None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[ChannelBill]:
    """Return bills, the newest import first."""
    query = select(ChannelBill)
    if channel is not None:
        query = query.where(ChannelBill.channel == channel)
    if day is not None:
        query = query.where(ChannelBill.day == day)
    if before is not None:
        query = query.where(_before(ChannelBill.imported_at, ChannelBill.id, before))
    return session.scalars(
        query.order_by(ChannelBill.imported_at.desc(), ChannelBill.id.desc()).limit(limit)
    ).all()


def list_lines(
    session: Session,
    *,
    bill_id: UUID,
    match: LineMatch | None = None,
    kind: BillRowKind | None = None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[BillLine]:
    """Return rows of a bill, newest first."""
    query = select(BillLine).where(BillLine.bill_id == bill_id)
    if match is not None:
        query = query.where(BillLine.match == match)
    if kind is not None:
        query = query.where(BillLine.kind == kind)
    if before is not None:
        query = query.where(_before(BillLine.at, BillLine.id, before))
    return session.scalars(
        query.order_by(BillLine.at.desc(), BillLine.id.desc()).limit(limit)
    ).all()


def _before(at: Any, id_: Any, place: tuple[datetime, UUID]) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = (at < place[0]) | ((at == place[0]) & (id_ < place[1]))
    return condition


def count_matches(
    session: Session, *, bill_ids: Collection[UUID]
) -> dict[UUID, dict[LineMatch, int]]:
    """Count the rows of some bills by how they stand."""
    counted: dict[UUID, dict[LineMatch, int]] = {bill_id: {} for bill_id in bill_ids}
    for bill_id, match, count in session.execute(
        select(BillLine.bill_id, BillLine.match, func.count())
        .where(BillLine.bill_id.in_(bill_ids))
        .group_by(BillLine.bill_id, BillLine.match)
    ):
        counted[bill_id][match] = count
    return counted
