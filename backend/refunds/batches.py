"""The payout list (打款清单): what banks send, in batches for which two people answer.

Money on the list lies in `refunds_due` until the bank has sent it.  Lock order: the batch, then the
line, then its refund.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.errors import DomainError, IdReused, Kind
from backend.holders.models import Holder
from backend.holders.rules import masked_name
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen, yuan_text
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operators import limits
from backend.operators.limits import OperatorLimit
from backend.operators.second_person import is_decided
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at
from backend.refunds import payouts, service
from backend.refunds.models import (
    ChannelRefund,
    Payout,
    PayoutBatch,
    PayoutLine,
    PayoutLineState,
    RefundState,
)
from backend.refunds.payouts import DAY_LIMIT, DAY_POLICY, PayoutDecided
from backend.refunds.rules import UNSETTLED, fitting
from backend.rows import find_row, first_answer, lock_id, lock_row

MOST_LINES = 500
WITHDRAWN = PayoutLineState.WITHDRAWN
OPEN = (PayoutLineState.LISTED, PayoutLineState.BATCHED)
"""What is still to be paid."""
HEADINGS = ("打款编号", "学工号", "姓名", "金额（元）", "应付日期", "上次退票原因")


class NothingToPay(DomainError, code="nothing-to-pay", kind=Kind.CONFLICT):
    """Nothing is on the payout list."""


class BatchNotApproved(DomainError, code="batch-not-approved", kind=Kind.CONFLICT):
    """The batch waits for the second person, or was refused."""


class PayoutLineEnded(DomainError, code="payout-line-ended", kind=Kind.CONFLICT):
    """The line does not take this any more.  Fact: `state`."""


def add_line(
    session: Session,
    *,
    line_id: UUID,
    subject_id: UUID,
    holder_id: UUID,
    amount_fen: Fen,
    now: datetime,
    refund_id: UUID | None = None,
    follows: PayoutLine | None = None,
) -> PayoutLine:
    """Put an amount onto the list.  The caller has moved it to `refunds_due` under `line_id`."""
    line = PayoutLine(
        id=line_id,
        subject_id=subject_id,
        holder_id=holder_id,
        refund_id=refund_id,
        follows_id=follows and follows.id,
        amount_fen=amount_fen,
        state=PayoutLineState.LISTED,
        batch_id=None,
        bank_reference=None,
        bounce_reason=None,
        owed_since=follows.owed_since if follows else now,
        listed_at=now,
        settled_at=None,
    )
    session.add(line)
    session.flush()
    return line


def follow_channel(session: Session, *, subject_id: UUID, now: datetime) -> None:
    """List what a channel could not send for a subject; take off what has ended otherwise.

    Locks each refund that it lists.  What waits to be approved as paid by hand is left to that.
    """
    stands_for = select(PayoutLine.id).where(
        PayoutLine.refund_id == ChannelRefund.id,
        PayoutLine.state.in_((*OPEN, PayoutLineState.PAID)),
    )
    by_hand = select(Payout.id).where(
        Payout.refund_id == ChannelRefund.id, Payout.approved.is_not(False)
    )
    for refund in session.scalars(
        select(ChannelRefund)
        .where(
            ChannelRefund.subject_id == subject_id,
            ChannelRefund.state == RefundState.ABNORMAL,
            ~stands_for.exists(),
            ~by_hand.exists(),
        )
        .with_for_update()
    ).all():
        add_line(
            session,
            line_id=new_id(),
            subject_id=subject_id,
            holder_id=refund.holder_id,
            amount_fen=refund.amount_fen,
            refund_id=refund.id,
            now=now,
        )
    session.execute(
        update(PayoutLine)
        .where(
            PayoutLine.subject_id == subject_id,
            PayoutLine.state.in_(OPEN),
            PayoutLine.refund_id.in_(
                select(ChannelRefund.id).where(ChannelRefund.state != RefundState.ABNORMAL)
            ),
        )
        .values(state=PayoutLineState.WITHDRAWN, settled_at=now)
    )


def take_off(session: Session, *, subject_id: UUID, now: datetime) -> Sequence[PayoutLine]:
    """Take the lines of a subject off the list that are in no batch; return them.

    Lines that stand for a channel's refund stay.  The caller moves the money out of `refunds_due`.
    Locks the lines; one that goes into a batch this moment is left there.
    """
    lines = session.scalars(
        select(PayoutLine)
        .where(
            PayoutLine.subject_id == subject_id,
            PayoutLine.refund_id.is_(None),
            PayoutLine.state == PayoutLineState.LISTED,
        )
        .order_by(PayoutLine.id)
        .with_for_update(skip_locked=True)
    ).all()
    for line in lines:
        line.state, line.settled_at = WITHDRAWN, now
    session.flush()
    return lines


def due_fen(session: Session, *, subject_id: UUID) -> Fen:
    """Return what of a subject has not reached anybody yet."""
    at_channels = select(func.coalesce(func.sum(ChannelRefund.amount_fen), 0)).where(
        ChannelRefund.subject_id == subject_id, ChannelRefund.state.in_(UNSETTLED)
    )
    at_banks = select(func.coalesce(func.sum(PayoutLine.amount_fen), 0)).where(
        PayoutLine.subject_id == subject_id,
        PayoutLine.refund_id.is_(None),
        PayoutLine.state.in_(OPEN),
    )
    return Fen(sum(int(session.scalar(query) or 0) for query in (at_channels, at_banks)))


@dataclass(frozen=True, slots=True)
class Draft:
    """What a batch would hold if somebody made it now (打款预览)."""

    lines: Sequence[PayoutLine]
    """What fits into the maker's day, the longest owed first, at most `MOST_LINES`."""
    waiting: int
    """How many are listed, among them those that do not fit."""
    room_fen: int
    """What the maker may still pay out today, without these lines."""
    most_fen: int
    """What one person may pay out on one day."""
    policy_ids: Sequence[UUID]

    @property
    def total_fen(self) -> Fen:
        """What the lines come to."""
        return Fen(sum(line.amount_fen for line in self.lines))


def draft(session: Session, *, maker: OperatorCaller, now: datetime, lock: bool = False) -> Draft:
    """Return what a batch would hold; with `lock` its lines, and those passed over, are locked."""
    by_hand = select(Payout.id).where(
        Payout.refund_id == PayoutLine.refund_id, Payout.approved.is_(None)
    )
    listed = select(PayoutLine).where(PayoutLine.state == PayoutLineState.LISTED, ~by_hand.exists())
    oldest = listed.order_by(PayoutLine.owed_since, PayoutLine.id).limit(MOST_LINES)
    waiting = session.scalars(oldest.with_for_update(skip_locked=True) if lock else oldest).all()
    policies = policies_at(session, now)
    most_fen = policies[DAY_POLICY]
    room_fen = max(0, most_fen - payouts.made_today_fen(session, maker, now=now))
    places = fitting([line.amount_fen for line in waiting], room_fen=room_fen)
    return Draft(
        lines=[waiting[place] for place in places],
        waiting=session.scalar(select(func.count()).select_from(listed.subquery())) or 0,
        room_fen=room_fen,
        most_fen=most_fen,
        policy_ids=policies.used(DAY_POLICY),
    )


def is_owed(session: Session, *, holder_id: UUID) -> bool:
    """Say whether something of an earlier closing has not reached its holder yet."""
    line = select(PayoutLine.id).where(
        PayoutLine.holder_id == holder_id, PayoutLine.state.in_(OPEN)
    )
    return session.scalars(line.limit(1)).first() is not None


def make(
    session: Session, *, batch_id: UUID, maker: OperatorCaller, now: datetime
) -> tuple[PayoutBatch, bool]:
    """Put what is listed, the oldest first, into a batch; say whether this call was first.

    As much of it as the maker may pay out today; the rest is for a colleague, or for tomorrow.
    Locks the batch's id, the maker's day, then the lines; two batches at once never share one.

    Raises:
        IdReused: somebody else made a batch under this id.
        NothingToPay: nothing is listed.
        OperatorLimit: nothing of it fits into what the maker may pay out today.
    """
    lock_id(session, batch_id)
    earlier = first_answer(session, PayoutBatch, batch_id, made_by=maker.operator_id)
    if earlier is not None:
        return earlier, False
    limits.lock_day(session, maker)
    found = draft(session, maker=maker, now=now, lock=True)
    if not found.waiting:
        raise NothingToPay
    if not found.lines:
        raise OperatorLimit(limit=DAY_LIMIT, most=found.most_fen).decided_by(found.policy_ids)
    batch = PayoutBatch(
        id=batch_id,
        lines=len(found.lines),
        total_fen=found.total_fen,
        made_by=maker.operator_id,
        made_at=now,
    )
    session.add(batch)
    session.flush()
    for line in found.lines:
        line.state, line.batch_id = PayoutLineState.BATCHED, batch_id
    _log(session, batch, "payout_batch.make", maker, now=now, policy_ids=found.policy_ids)
    return batch, True


def decide(
    session: Session, *, batch_id: UUID, approve: bool, checker: OperatorCaller, now: datetime
) -> tuple[PayoutBatch, bool]:
    """Approve a batch to be paid, or refuse it, which lists its lines again; say if it was news.

    Raises:
        NotFound: there is no such batch.
        PayoutDecided: it was decided otherwise.
        SecondPersonNeeded: the caller made it.
    """
    batch = lock_row(session, PayoutBatch, batch_id)
    if is_decided(
        batch.approved,
        approve=approve,
        otherwise=PayoutDecided,
        checker=checker.operator_id,
        made_by=batch.made_by,
    ):
        return batch, False
    batch.approved, batch.approved_by, batch.decided_at = approve, checker.operator_id, now
    if not approve:
        session.execute(
            update(PayoutLine)
            .where(PayoutLine.batch_id == batch_id, PayoutLine.state == PayoutLineState.BATCHED)
            .values(state=PayoutLineState.LISTED, batch_id=None)
        )
    action = "payout_batch.approve" if approve else "payout_batch.refuse"
    _log(session, batch, action, checker, now=now)
    return batch, True


def note_paid(
    session: Session,
    *,
    line_id: UUID,
    bank_reference: str,
    operator: OperatorCaller,
    now: datetime,
) -> PayoutLine:
    """Note that the bank has sent a line: the money leaves `refunds_due`.

    The same again changes nothing.

    Raises:
        NotFound: there is no such line.
        IdReused: it was paid under another reference.
        PayoutLineEnded: it bounced, or was taken off.
        BatchNotApproved: nobody has approved that it is paid.
        PayoutNotPossible: its channel has sent it after all.
    """
    line = lock_row(session, PayoutLine, line_id)
    if line.state is PayoutLineState.PAID:
        if line.bank_reference != bank_reference:
            raise IdReused
        return line
    _must_be_approved(session, line)
    if line.refund_id is not None:
        payouts.pay(session, service.lock(session, refund_id=line.refund_id), now=now)
    else:
        _post(session, line, AccountKind.REFUNDS_DUE, AccountKind.BANK, now=now)
        _tell(session, line, "payout-paid", now=now)
    line.state, line.bank_reference = PayoutLineState.PAID, bank_reference
    line.settled_at = now
    _log_line(session, line, "payout_line.pay", operator, now=now)
    return line


def note_bounced(
    session: Session, *, line_id: UUID, reason: str, operator: OperatorCaller, now: datetime
) -> PayoutLine:
    """Note that a line did not reach its holder (退票), before or after it was noted as paid.

    What had left comes back into `refunds_due`, and a new line is listed.  The same again changes
    nothing.

    Raises:
        NotFound: there is no such line.
        IdReused: it bounced for another reason.
        PayoutLineEnded: it was taken off.
        BatchNotApproved: nobody has approved that it is paid.
    """
    line = lock_row(session, PayoutLine, line_id)
    if line.state is PayoutLineState.BOUNCED:
        if line.bounce_reason != reason:
            raise IdReused
        return line
    was_paid = line.state is PayoutLineState.PAID
    if was_paid:
        _post(session, line, AccountKind.BANK, AccountKind.REFUNDS_DUE, now=now)
    else:
        _must_be_approved(session, line)
    line.state, line.bounce_reason, line.settled_at = PayoutLineState.BOUNCED, reason, now
    session.flush()
    add_line(
        session,
        line_id=new_id(),
        subject_id=line.subject_id,
        holder_id=line.holder_id,
        amount_fen=line.amount_fen,
        refund_id=None if was_paid else line.refund_id,  # a refund that was paid out has ended
        follows=line,
        now=now,
    )
    _tell(session, line, "payout-bounced", now=now)
    _log_line(session, line, "payout_line.bounce", operator, now=now)
    return line


def _must_be_approved(session: Session, line: PayoutLine) -> None:
    if line.state not in OPEN:
        raise PayoutLineEnded(state=line.state.value)
    batch = session.get(PayoutBatch, line.batch_id) if line.batch_id else None
    if batch is None or batch.approved is not True:
        raise BatchNotApproved


def _post(
    session: Session, line: PayoutLine, debit: AccountKind, credit: AccountKind, *, now: datetime
) -> None:
    """Move a line's amount; what comes back is the same kind, the other way round."""
    movement = Movement(
        TransferKind.REFUND_PAYOUT,
        line.id,
        ledger.school_account(session, debit),
        ledger.school_account(session, credit),
        line.amount_fen,
    )
    ledger.post(session, [movement], now=now)


def _tell(session: Session, line: PayoutLine, kind: str, *, now: datetime) -> None:
    notices.tell(
        session,
        holder_id=line.holder_id,
        kind=kind,
        now=now,
        closing_id=str(line.subject_id),
        amount_fen=line.amount_fen,
    )


def _log(
    session: Session,
    batch: PayoutBatch,
    action: str,
    operator: OperatorCaller,
    *,
    now: datetime,
    policy_ids: Sequence[UUID] = (),
) -> None:
    operation_log.record(
        session,
        actor=operator.actor,
        action=action,
        subject_id=batch.id,
        now=now,
        policy_ids=policy_ids,
        lines=batch.lines,
        amount_fen=batch.total_fen,
    )


def _log_line(
    session: Session, line: PayoutLine, action: str, operator: OperatorCaller, *, now: datetime
) -> None:
    operation_log.record(
        session,
        actor=operator.actor,
        action=action,
        holder_id=line.holder_id,
        subject_id=line.id,
        now=now,
        after=line.state.value,
        batch_id=str(line.batch_id),
        amount_fen=line.amount_fen,
        bank_reference=line.bank_reference,
        reason=line.bounce_reason,
    )


def find(session: Session, *, batch_id: UUID) -> PayoutBatch:
    """Return a batch.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, PayoutBatch, batch_id)


def lines_of(session: Session, *, batch_id: UUID) -> Sequence[PayoutLine]:
    """Return the lines of a batch, the longest owed first."""
    return session.scalars(
        select(PayoutLine)
        .where(PayoutLine.batch_id == batch_id)
        .order_by(PayoutLine.owed_since, PayoutLine.id)
    ).all()


def list_open(session: Session, *, limit: int) -> Sequence[PayoutLine]:
    """Return what nobody has got yet (未领), the longest owed first."""
    return session.scalars(
        select(PayoutLine)
        .where(PayoutLine.state.in_(OPEN))
        .order_by(PayoutLine.owed_since, PayoutLine.id)
        .limit(limit)
    ).all()


def lines_of_subjects(
    session: Session, subject_ids: Collection[UUID]
) -> dict[UUID, list[PayoutLine]]:
    """Return the lines of each subject, oldest first."""
    found: dict[UUID, list[PayoutLine]] = {id_: [] for id_ in subject_ids}
    for line in session.scalars(
        select(PayoutLine)
        .where(PayoutLine.subject_id.in_(subject_ids))
        .order_by(PayoutLine.listed_at, PayoutLine.id)
    ):
        found[line.subject_id].append(line)
    return found


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
        )
