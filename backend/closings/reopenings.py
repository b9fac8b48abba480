"""Somebody comes back (复户): a closed account is opened again at the counter.

It goes by a paper, or by a roster that names them as being here: whoever imports a roster opens
no account with it, the card centre does, one by one.
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.cards.models import CardState
from backend.cards.reopening import reopen
from backend.cards.service import AccountClosed
from backend.closings import service
from backend.closings.models import Closing, ClosingState, Reopening
from backend.errors import DomainError, Kind
from backend.holders.models import Holder, RosterBatch
from backend.operators.service import OperatorCaller
from backend.refunds import payout_lines
from backend.rows import first_answer, lock_id


class PayoutOpen(DomainError, code="payout-open", kind=Kind.CONFLICT):
    """Money of the earlier closing has not reached its holder yet."""


class NotOnRoster(DomainError, code="not-on-roster", kind=Kind.CONFLICT):
    """This roster does not name them as being here since their account began to close."""


def make(
    session: Session,
    *,
    reopening_id: UUID,
    holder_id: UUID,
    document: str | None = None,
    valid_until: date | None = None,
    roster_batch_id: UUID | None = None,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[Reopening, bool]:
    """Open a closed account again; say whether this call was first.

    By a document, until the day that it says; or by a roster, until the day that the holder has by
    it.  The card waits to be handed out.  As whom they come back, a change of category says, before
    or after.  Locks the reopening's id, the holder, the main purse.

    Raises:
        NotFound: somebody else made a reopening under this id.
        IdReused: `reopening_id` came before with other content.
        AccountOpen: the account is not closed.
        AccountClosed: its closing still goes on.
        PayoutOpen: what it had has not reached its holder yet.
        NotOnRoster: the roster does not say that they are here.
        CardExpired: the day is over.
    """
    lock_id(session, reopening_id)
    said: dict[str, Any] = {"document": document, "roster_batch_id": roster_batch_id}
    if valid_until is not None:
        said["valid_until"] = valid_until
    earlier = first_answer(
        session,
        Reopening,
        reopening_id,
        owner={"made_by": operator.operator_id},
        holder_id=holder_id,
        **said,
    )
    if earlier is not None:
        return earlier, False
    if payout_lines.is_owed(session, holder_id=holder_id):
        raise PayoutOpen
    live = service.live_closing(session, holder_id=holder_id)
    if live is not None and live.state is not ClosingState.CLOSED:
        raise AccountClosed
    holder = session.get_one(Holder, holder_id, with_for_update={"key_share": True})
    before = holder.valid_until
    if valid_until is not None:
        holder.valid_until = valid_until
        holder.note_proven("valid_until")
        session.flush()
    elif roster_batch_id is None or all(
        batch.id != roster_batch_id for batch in naming(session, holder=holder, closing=live)
    ):
        raise NotOnRoster
    card = reopen(
        session,
        holder_id=holder_id,
        state=CardState.PENDING,
        actor=operator.actor,
        now=now,
        documents=[document] if document else [],
        valid_until_before=before.isoformat(),
        valid_until=holder.valid_until.isoformat(),
        **({"roster_batch": str(roster_batch_id)} if roster_batch_id else {}),
    )
    made = Reopening(
        id=reopening_id,
        holder_id=holder_id,
        document=document,
        roster_batch_id=roster_batch_id,
        valid_until=holder.valid_until,
        card_id=card.id,
        made_by=operator.operator_id,
        made_at=now,
    )
    session.add(made)
    session.flush()
    return made, True


def naming(session: Session, *, holder: Holder, closing: Closing | None) -> Sequence[RosterBatch]:
    """Return the rosters that named somebody as being here after their closing began, newest first.

    They did so in a remark: the account was closing or closed by then.
    """
    named = RosterBatch.report.contains({"remarks": [{"holder_number": holder.holder_number}]})
    query = select(RosterBatch).where(named).order_by(RosterBatch.at.desc(), RosterBatch.id.desc())
    if closing is not None:
        query = query.where(RosterBatch.at >= closing.started_at)
    return session.scalars(query).all()


def closings_of(session: Session, *, holder_numbers: Collection[str]) -> dict[str, UUID]:
    """Return the closings of accounts that go on or have ended, by present holder number."""
    rows = session.execute(
        select(Holder.holder_number, Closing.id)
        .join(Closing, Closing.holder_id == Holder.id)
        .where(Holder.holder_number.in_(holder_numbers), service.HOLDS)
        .order_by(Closing.started_at, Closing.id)
    )
    return {row.holder_number: row.id for row in rows}
