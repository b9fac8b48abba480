"""Importing a bill (账单导入), once: its file is kept, its rows are taken in.

A bill is unsigned.  Nothing is credited by it: an order that it calls paid and that is not paid
here is asked about at its channel, and settled by that answer.
"""

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind
from backend.ids import new_id
from backend.money import Fen
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.reconciliation.fetch_plan import lock_fetch
from backend.reconciliation.matching import BATCH, match_again, match_rows
from backend.reconciliation.models import (
    BillFile,
    BillLine,
    BillSource,
    BillState,
    ChannelBill,
    LineMatch,
)
from backend.reconciliation.rules import is_over
from backend.reconciliation.service import SEALED_FOR, had_trades
from backend.sealing import Sealer
from backend.topups import following
from backend.topups.following import Question
from payments import Bill, BillMalformed, Channel


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
    fetch = lock_fetch(session, channel=channel.name, day=day, now=now)
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
        matches = match_rows(session, bill.channel, rows)
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
