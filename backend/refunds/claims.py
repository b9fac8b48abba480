"""Claiming what the bank sent back (退票认领): the holder says how to get it, finance answers.

The bank account itself is told to finance, which keeps it: no number of an account comes here, only
the number under which finance keeps it.  A line whose claim waits for an answer goes into no batch.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.errors import DomainError, IdReused, Kind, NotFound
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators.service import OperatorCaller
from backend.refunds.models import ClaimWay, PayoutLine, PayoutLineState
from backend.refunds.payout_lines import WAITS
from backend.rows import lock_id, lock_row


class ClaimAnswered(DomainError, code="claim-answered", kind=Kind.CONFLICT):
    """Somebody has answered otherwise.  Fact: `accepted`."""


class AccountReferenceNeeded(DomainError, code="account-reference-needed", kind=Kind.CONFLICT):
    """Another account is accepted with the number under which finance keeps it."""


class NothingToClaim(DomainError, code="nothing-to-claim", kind=Kind.CONFLICT):
    """The line came back from no bank, is on its way, or has been paid.  Fact: `state`."""


def claim(
    session: Session,
    *,
    claim_id: UUID,
    line_id: UUID,
    holder_id: UUID,
    way: ClaimWay,
    actor: Actor,
    now: datetime,
) -> tuple[PayoutLine, bool]:
    """Note how a holder wants to get what bounced; say whether this call was first.

    Another claim of the same line takes the place of the earlier one and its answer.  Locks the id,
    then the line.

    Raises:
        NotFound: there is no such line, or it, or the claim's id, is somebody else's.
        IdReused: `claim_id` came before with other content.
        NothingToClaim: nothing bounced before it, or a batch has it.
    """
    lock_id(session, claim_id)
    earlier = session.scalars(
        select(PayoutLine).where(PayoutLine.claim_id == claim_id)
    ).one_or_none()
    if earlier is not None:
        if earlier.holder_id != holder_id:
            raise NotFound
        if (earlier.id, earlier.claim_way) != (line_id, way):
            raise IdReused
        return earlier, False
    line = lock_row(session, PayoutLine, line_id, holder_id=holder_id)
    if not may_claim(line):
        raise NothingToClaim(state=line.state.value)
    before = line.claim_way
    line.claim_id, line.claim_way, line.claimed_at = claim_id, way, now
    line.claim_accepted = line.account_reference = line.claim_refusal = None
    line.answered_by = line.answered_at = None
    operation_log.record(
        session,
        actor=actor,
        action="payout_line.claim",
        holder_id=holder_id,
        subject_id=line_id,
        now=now,
        before=before and before.value,
        after=way.value,
        amount_fen=line.amount_fen,
    )
    session.flush()
    return line, True


def may_claim(line: PayoutLine) -> bool:
    """Say whether a line waits for its holder to say how to get it."""
    return line.follows_id is not None and line.state is PayoutLineState.LISTED


def find(session: Session, *, claim_id: UUID) -> PayoutLine:
    """Return the line that a claim is of.

    Raises:
        NotFound: there is no such claim, or another one took its place.
    """
    line = session.scalars(select(PayoutLine).where(PayoutLine.claim_id == claim_id)).one_or_none()
    if line is None:
        raise NotFound
    return line


def answer(
    session: Session,
    *,
    claim_id: UUID,
    accept: bool,
    account_reference: str | None,
    reason: str | None,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[PayoutLine, bool]:
    """Answer a claim and tell its holder; say whether this call was first.

    Accepted, the line goes into the next batch, with the number under which finance keeps the
    account.  Refused, with a reason, its holder may claim anew.  Locks the line.

    Raises:
        NotFound: there is no such claim, or another one took its place.
        ClaimAnswered: it was answered otherwise.
        NothingToClaim: the line was taken off the list meanwhile.
        AccountReferenceNeeded: another account is accepted without a number.
    """
    line_id = find(session, claim_id=claim_id).id
    line = lock_row(session, PayoutLine, line_id, claim_id=claim_id)
    said = (accept, account_reference if accept else None, None if accept else reason)
    if line.claim_accepted is not None:
        if (line.claim_accepted, line.account_reference, line.claim_refusal) != said:
            raise ClaimAnswered(accepted=line.claim_accepted)
        return line, False
    if not may_claim(line):
        raise NothingToClaim(state=line.state.value)
    if accept and line.claim_way is ClaimWay.NEW_ACCOUNT and account_reference is None:
        raise AccountReferenceNeeded
    line.claim_accepted, line.account_reference, line.claim_refusal = said
    line.answered_by, line.answered_at = operator.operator_id, now
    session.flush()
    notices.tell(
        session,
        holder_id=line.holder_id,
        kind="payout-claim-accepted" if accept else "payout-claim-refused",
        now=now,
        closing_id=str(line.subject_id),
        amount_fen=line.amount_fen,
        **({} if accept else {"note": reason}),
    )
    operation_log.record(
        session,
        actor=operator.actor,
        action="payout_line.claim_accept" if accept else "payout_line.claim_refuse",
        holder_id=line.holder_id,
        subject_id=line.id,
        now=now,
        claim_id=str(claim_id),
        way=line.claim_way and line.claim_way.value,
        amount_fen=line.amount_fen,
        account_reference=line.account_reference,
        reason=line.claim_refusal,
    )
    return line, True


def count_waiting(session: Session) -> int:
    """Return how many claims wait for an answer of finance."""
    waiting = select(func.count()).select_from(PayoutLine).where(WAITS)
    return session.scalar(waiting) or 0
