"""Somebody comes back (复户): a closed account is opened again at the counter."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.cards.models import CardState
from backend.cards.reopening import reopen
from backend.cards.service import AccountClosed
from backend.closings import service
from backend.closings.models import ClosingState, Reopening
from backend.errors import DomainError, IdReused, Kind, NotFound
from backend.holders.models import Holder
from backend.operators.service import OperatorCaller
from backend.refunds import batches


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
    session.execute(text("SELECT lock_id(:id)"), {"id": reopening_id})
    earlier = session.get(Reopening, reopening_id)
    if earlier is not None:
        if earlier.made_by != operator.operator_id:
            raise NotFound
        same = (holder_id, document, valid_until)
        if (earlier.holder_id, earlier.document, earlier.valid_until) != same:
            raise IdReused
        return earlier, False
    if batches.is_owed(session, holder_id=holder_id):
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
