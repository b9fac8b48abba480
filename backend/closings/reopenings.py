"""Somebody comes back (复户): a closed account is opened again at the counter."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy.orm import Session

from backend.cards.models import CardState
from backend.cards.reopening import reopen
from backend.cards.service import AccountClosed
from backend.closings import service
from backend.closings.models import ClosingState, Reopening
from backend.errors import DomainError, Kind
from backend.holders.models import Holder
from backend.operators.service import OperatorCaller
from backend.refunds import payout_lines
from backend.rows import first_answer, lock_id


class PayoutOpen(DomainError, code="payout-open", kind=Kind.CONFLICT):
    """Money of the earlier closing has not reached its holder yet."""


def make(
    session: Session,
    *,
    reopening_id: UUID,
    holder_id: UUID,
    document: str,
    valid_until: date,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[Reopening, bool]:
    """Open a closed account again, until a day; say whether this call was first.

    The card waits to be handed out.  As whom they come back, a change of category says, before or
    after.  Locks the reopening's id, the holder, the main purse.

    Raises:
        NotFound: somebody else made a reopening under this id.
        IdReused: `reopening_id` came before with other content.
        AccountOpen: the account is not closed.
        AccountClosed: its closing still goes on.
        PayoutOpen: what it had has not reached its holder yet.
        CardExpired: the day is over.
    """
    lock_id(session, reopening_id)
    earlier = first_answer(
        session,
        Reopening,
        reopening_id,
        owner={"made_by": operator.operator_id},
        holder_id=holder_id,
        document=document,
        valid_until=valid_until,
    )
    if earlier is not None:
        return earlier, False
    if payout_lines.is_owed(session, holder_id=holder_id):
        raise PayoutOpen
    live = service.live_closing(session, holder_id=holder_id)
    if live is not None and live.state is not ClosingState.CLOSED:
        raise AccountClosed
    holder = session.get_one(Holder, holder_id, with_for_update={"key_share": True})
    before, holder.valid_until = holder.valid_until, valid_until
    holder.note_proven("valid_until")
    session.flush()
    card = reopen(
        session,
        holder_id=holder_id,
        state=CardState.PENDING,
        actor=operator.actor,
        now=now,
        documents=[document],
        valid_until_before=before.isoformat(),
        valid_until=valid_until.isoformat(),
    )
    made = Reopening(
        id=reopening_id,
        holder_id=holder_id,
        document=document,
        valid_until=valid_until,
        card_id=card.id,
        made_by=operator.operator_id,
        made_at=now,
    )
    session.add(made)
    session.flush()
    return made, True
