"""Lines of the payout list (打款清单): put on, taken off, and what of them is still owed.

Money on the list lies in `refunds_due` until the bank has sent it.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, func, select, update
from sqlalchemy.orm import Session

from backend.ids import new_id
from backend.money import Fen
from backend.refunds.models import ChannelRefund, Payout, PayoutLine, PayoutLineState, RefundState
from backend.refunds.rules import UNSETTLED

WITHDRAWN = PayoutLineState.WITHDRAWN
OPEN = (PayoutLineState.LISTED, PayoutLineState.BATCHED)
"""What is still to be paid."""
WAITS = and_(
    PayoutLine.state == PayoutLineState.LISTED,
    PayoutLine.claim_id.is_not(None),
    PayoutLine.claim_accepted.is_(None),
)
"""A claim that finance has to answer first (待答复): no batch takes the line."""


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


def is_owed(session: Session, *, holder_id: UUID) -> bool:
    """Say whether something of an earlier closing has not reached its holder yet."""
    line = select(PayoutLine.id).where(
        PayoutLine.holder_id == holder_id, PayoutLine.state.in_(OPEN)
    )
    return session.scalars(line.limit(1)).first() is not None


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
