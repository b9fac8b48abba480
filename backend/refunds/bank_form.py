"""An approved batch as rows for the bank's form (打款导出)."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.holders.models import Holder
from backend.holders.rules import masked_name
from backend.money import yuan_text
from backend.operation_log import service as operation_log
from backend.operators.service import OperatorCaller
from backend.refunds.batches import BatchNotApproved, find, lines_of
from backend.refunds.models import ClaimWay, PayoutBatch, PayoutLine

HEADINGS = (
    "打款编号", "学工号", "姓名", "金额（元）", "应付日期", "上次退票原因", "认领方式", "账户登记号"
)  # fmt: skip
CLAIM_WORDS = {ClaimWay.NEW_ACCOUNT: "新账户", ClaimWay.IN_PERSON: "到财务领取"}


def export(
    session: Session, *, batch_id: UUID, operator: OperatorCaller, reference: str, now: datetime
) -> list[tuple[object, ...]]:
    """Return an approved batch as rows for the bank's form, headings first; note that it was taken.

    Names are masked: the bank account is found by the holder's number, in finance's own records.
    The caller commits before the first row is handed out.

    Raises:
        NotFound: there is no such batch.
        BatchNotApproved: nobody has approved it.
    """
    batch = find(session, batch_id=batch_id)
    if batch.approved is not True:
        raise BatchNotApproved
    lines = lines_of(session, batch_id=batch_id)
    _log_export(session, batch, operator, reference=reference, now=now)
    holders = {
        holder.id: holder
        for holder in session.scalars(
            select(Holder).where(Holder.id.in_({line.holder_id for line in lines}))
        )
    }
    earlier = {
        line.id: line.bounce_reason
        for line in session.scalars(
            select(PayoutLine).where(PayoutLine.id.in_({line.follows_id for line in lines}))
        )
    }
    return [HEADINGS, *_rows(lines, holders, earlier)]


def _log_export(
    session: Session, batch: PayoutBatch, operator: OperatorCaller, *, reference: str, now: datetime
) -> None:
    operation_log.record(
        session,
        actor=operator.actor,
        action="payout_batch.export",
        subject_id=batch.id,
        now=now,
        reference=reference,
        lines=batch.lines,
        amount_fen=batch.total_fen,
    )


def _rows(
    lines: Sequence[PayoutLine],
    holders: Mapping[UUID, Holder],
    bounced: Mapping[UUID, str | None],
) -> Iterator[tuple[object, ...]]:
    for line in lines:
        holder = holders[line.holder_id]
        yield (
            line.id,
            holder.holder_number,
            masked_name(holder.name),
            yuan_text(line.amount_fen),
            business_date(line.owed_since),
            bounced.get(line.follows_id) if line.follows_id else None,
            CLAIM_WORDS[line.claim_way] if line.claim_way and line.claim_accepted else None,
            line.account_reference,
        )
