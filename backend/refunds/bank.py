"""What the bank did with a line of the payout list: paid, or sent back (退票).

Lock order: the line, then its refund.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from backend.errors import DomainError, IdReused, Kind
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operators.service import OperatorCaller
from backend.refunds import payouts, service
from backend.refunds.batches import BatchNotApproved
from backend.refunds.models import PayoutBatch, PayoutLine, PayoutLineState
from backend.refunds.payout_lines import OPEN, add_line
from backend.rows import lock_row


class PayoutLineEnded(DomainError, code="payout-line-ended", kind=Kind.CONFLICT):
    """The line does not take this any more.  Fact: `state`."""


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
