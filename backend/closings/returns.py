"""People who come back after their account was closed (再次入校), at the card centre."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.cards.models import CardState
from backend.cards.reopening import reopen
from backend.closings.models import AccountReturn
from backend.errors import IdReused
from backend.holders import permissions
from backend.holders.category_changes import SURCHARGED, refuse_taken
from backend.holders.models import Category, Holder
from backend.operation_log import service as operation_log
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at


def take_back(
    session: Session,
    *,
    return_id: UUID,
    holder_id: UUID,
    wanted: dict[str, Any],
    operator: OperatorCaller,
    now: datetime,
) -> tuple[AccountReturn, bool]:
    """Open a closed account again, with a new card; say whether this call was first.

    `wanted` holds the holder number of now on, `category`, `unit`, `valid_until`, and `document`,
    the paper that it goes by.  The old number still finds the person.  Locks the id, then the
    holder.

    Raises:
        IdReused: `return_id` came before with other content, or from somebody else.
        AccountNotClosed: the account is in use, or still closing.
        HolderNumberTaken: somebody else has, had or will have the number.
    """
    session.execute(text("SELECT lock_id(:id)"), {"id": return_id})
    content = wanted | {"valid_until": wanted["valid_until"].isoformat()}
    earlier = session.get(AccountReturn, return_id)
    if earlier is not None:
        same = (earlier.holder_id, earlier.content, earlier.made_by)
        if same != (holder_id, content, operator.operator_id):
            raise IdReused
        return earlier, False
    card = reopen(
        session, holder_id=holder_id, state=CardState.ACTIVE, actor=operator.actor, now=now
    )
    holder = session.get_one(Holder, holder_id, populate_existing=True)
    before = _said_of(holder)
    _change(session, holder, wanted)
    policies = policies_at(session, now)
    permissions.work_out(session, policies=policies, now=now, holder_ids=[holder_id])
    made = AccountReturn(
        id=return_id,
        holder_id=holder_id,
        card_id=card.id,
        content=content,
        made_by=operator.operator_id,
        made_at=now,
    )
    session.add(made)
    operation_log.record(
        session,
        actor=operator.actor,
        action="closing.return",
        holder_id=holder_id,
        card_id=card.id,
        subject_id=return_id,
        now=now,
        before=before,
        after=_said_of(holder),
        documents=[wanted["document"]],
    )
    session.flush()
    return made, True


def _said_of(holder: Holder) -> dict[str, str]:
    return {
        "holder_number": holder.holder_number,
        "category": holder.category.value,
        "valid_until": holder.valid_until.isoformat(),
    }


def _change(session: Session, holder: Holder, wanted: dict[str, Any]) -> None:
    number: str = wanted["holder_number"]
    if number != holder.holder_number:
        refuse_taken(session, number, holder.id)
        holder.document_tail_number = holder.document_tail_number or holder.holder_number
        holder.holder_number = number
    category, valid_until = Category(wanted["category"]), wanted["valid_until"]
    if category is not Category.STAFF:
        holder.employment = None
    if category not in SURCHARGED:
        holder.pays_surcharge = False
    holder.category, holder.unit, holder.valid_until = category, wanted["unit"], valid_until
    for field in ("category", "unit", "valid_until"):
        holder.note_proven(field)
