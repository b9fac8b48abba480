"""Staff look a holder up (查询): by number or name, and every look is in the operation log."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import NotFound
from backend.holders.models import Binding, BindingState, Holder, HolderNumber
from backend.holders.rules import masked_name
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators import limits
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at
from backend.rows import find_row

VIEW, REVEAL = "holder.view", "holder.reveal"
SEE_IN_FULL = (Role.CARD_CENTRE, Role.AUDITOR)
"""Who sees full names and card numbers, one holder at a time and for a reason."""


def find_holders(session: Session, *, text: str, limit: int) -> Sequence[Holder]:
    """Return who has or had this number, or whose name begins with this text, by number."""
    numbered = select(HolderNumber.holder_id).where(HolderNumber.number == text)
    return session.scalars(
        select(Holder)
        .where(Holder.id.in_(numbered) | Holder.name.startswith(text, autoescape=True))
        .order_by(Holder.holder_number)
        .limit(limit)
    ).all()


def id_by_number(session: Session, *, holder_number: str) -> UUID | None:
    """Return the id of the holder who has or had this number, or None."""
    return session.scalar(
        select(HolderNumber.holder_id).where(HolderNumber.number == holder_number)
    )


def id_by_present_number(session: Session, *, holder_number: str) -> UUID:
    """Return the id of the holder who has this number now; an earlier number finds nobody.

    Raises:
        NotFound: nobody has it.
    """
    holder_id = session.scalar(select(Holder.id).where(Holder.holder_number == holder_number))
    if holder_id is None:
        raise NotFound
    return holder_id


def masked(holder: Holder) -> dict[str, str]:
    """Return how a holder is named where the full name is not for the reader to see."""
    return {"holder_number": holder.holder_number, "name_masked": masked_name(holder.name)}


def view(session: Session, *, holder_id: UUID, actor: Actor, now: datetime) -> Holder:
    """Note that a member of staff looks at a holder, and return the holder.

    The caller commits before anything is shown: whoever was looked at is on record, also when
    showing fails.

    Raises:
        NotFound: there is no such holder.
    """
    return _note(session, VIEW, holder_id=holder_id, actor=actor, now=now)


def reveal(
    session: Session, *, holder_id: UUID, reason: str, caller: OperatorCaller, now: datetime
) -> Holder:
    """Note that a member of staff reads a holder's full name and card number, and why.

    The one door to them: the caller commits before anything is shown, so that without a row in the
    operation log nothing is.  `reason` is a fixed word, never free text: the log holds no personal
    data.

    Raises:
        RoleNotAllowed: the role is not one that sees people in full.
        ConfirmationNeeded: no one-time code was shown in the last five minutes.
        NotFound: there is no such holder.
        OperatorLimit: the operator has seen as many people today as the role may.
    """
    caller.must_be(*SEE_IN_FULL)
    caller.must_have_confirmed(now)
    policies, key = policies_at(session, now), f"operator.{caller.role}.daily_reveals"
    limits.count(
        session,
        caller=caller,
        action=REVEAL,
        limit="daily_reveals",
        most=policies[key],
        policy_ids=policies.used(key),
        now=now,
    )
    return _note(
        session,
        REVEAL,
        holder_id=holder_id,
        actor=caller.actor,
        now=now,
        policy_ids=policies.used(key),
        reason=reason,
    )


def _note(
    session: Session, action: str, *, holder_id: UUID, actor: Actor, now: datetime, **facts: Any
) -> Holder:
    holder = find_row(session, Holder, holder_id)
    operation_log.record(session, actor=actor, action=action, holder_id=holder_id, now=now, **facts)
    return holder


def live_binding(session: Session, *, holder_id: UUID) -> Binding | None:
    """Return a holder's binding that has not ended, or None."""
    return session.scalars(
        select(Binding).where(Binding.holder_id == holder_id, Binding.state != BindingState.ENDED)
    ).one_or_none()


def holders_by_id(session: Session, holder_ids: Sequence[UUID]) -> dict[UUID, Holder]:
    """Return some holders by their ids."""
    found = session.scalars(select(Holder).where(Holder.id.in_(holder_ids)))
    return {holder.id: holder for holder in found}
