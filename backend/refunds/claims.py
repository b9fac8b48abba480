"""Claiming what the bank sent back (退票认领): the holder says on the phone how to get it.

The bank account itself is told to finance, which keeps it: no number of an account comes here.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import DomainError, IdReused, Kind, NotFound
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.refunds import payout_lines
from backend.refunds.models import ClaimWay, PayoutLine
from backend.rows import lock_id, lock_row


class NothingToClaim(DomainError, code="nothing-to-claim", kind=Kind.CONFLICT):
    """The line came back from no bank, or has been paid.  Fact: `state`."""


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

    Another claim of the same line takes the earlier one's place.  Locks the id, then the line.

    Raises:
        NotFound: there is no such line, or it, or the claim's id, is somebody else's.
        IdReused: `claim_id` came before with other content.
        NothingToClaim: nothing bounced before it, or it has been paid.
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
    return line.follows_id is not None and line.state in payout_lines.OPEN
