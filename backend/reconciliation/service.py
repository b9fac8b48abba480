"""Bills (账单): one of them, lists of them and of their rows."""

import zlib
from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.clock import start_of_day
from backend.errors import NotFound
from backend.operators.models import Role
from backend.reconciliation.models import BillFile, BillLine, ChannelBill, LineMatch
from backend.rows import find_row, newest_first
from backend.sealing import Sealer
from backend.topups.models import StrayPayment, TopUp
from payments import BillRowKind

MAY_LOOK = (Role.FINANCE, Role.CARD_CENTRE, Role.AUDITOR)
MAY_IMPORT = (Role.FINANCE,)
SEALED_FOR = "bill-file"


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
    return session.scalars(
        newest_first(query, ChannelBill.imported_at, before=before, limit=limit)
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
    return session.scalars(newest_first(query, BillLine.at, before=before, limit=limit)).all()


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
