"""What a card is for (用途权限): by category, with exceptions for one holder, until a day.

What somebody may not do stands in `Holder.denied`, which the database reads with every charge.  It
is worked out anew by whatever changes it: an exception, a change of category, a policy, and a job
after midnight, when exceptions end.

Source: regulation 一(一), 二(二).
"""

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import Uuid, bindparam, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.errors import DomainError, Kind, NotFound
from backend.holders.models import Category, Holder, Permission, PermissionOverride
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.policies.service import Policies, policies_at
from backend.rows import first_answer, lock_id, lock_row

WORK_OUT = text(
    "UPDATE holders SET denied = wanted.denied FROM ("
    " SELECT h.id, ARRAY("
    "  SELECT p.name FROM unnest(CAST(:every AS text[])) WITH ORDINALITY AS p (name, place)"
    "  WHERE NOT coalesce("
    "   (SELECT o.allowed FROM permission_overrides o WHERE o.holder_id = h.id"
    "     AND o.permission = p.name AND o.ended_at IS NULL"
    "     AND (o.until IS NULL OR o.until >= :today)),"
    "   jsonb_exists(:templates -> h.category, p.name), true)"
    "  ORDER BY p.place) AS denied"
    " FROM holders h WHERE CAST(:ids AS uuid[]) IS NULL OR h.id = ANY(:ids)) AS wanted"
    " WHERE holders.id = wanted.id AND holders.denied IS DISTINCT FROM wanted.denied"
).bindparams(bindparam("templates", type_=JSONB), bindparam("ids", type_=ARRAY(Uuid())))


class NotPermitted(DomainError, code="not-permitted", kind=Kind.CONFLICT):
    """The card is not for this (无此用途权限).  Fact: `permission`."""


def permissions_of(holder: Holder) -> list[Permission]:
    """Return what a holder's card is for today."""
    return [permission for permission in Permission if permission not in holder.denied]


def require(holder: Holder, permission: Permission) -> None:
    """Refuse what a holder's card is not for.

    Raises:
        NotPermitted: fact `permission`.
    """
    if permission in holder.denied:
        raise NotPermitted(permission=permission.value)


def work_out(
    session: Session,
    *,
    policies: Policies,
    now: datetime,
    holder_ids: Sequence[UUID] | None = None,
) -> int:
    """Write down who may not do what today, of some holders or of all; return how many changed.

    A category without a policy may do everything.
    """
    session.flush()
    templates = {
        category.value: policies.values[f"permissions.{category}"]
        for category in Category
        if f"permissions.{category}" in policies.values
    }
    done = session.execute(
        WORK_OUT,
        {
            "every": [permission.value for permission in Permission],
            "today": business_date(now),
            "templates": templates,
            "ids": None if holder_ids is None else list(holder_ids),
        },
    )
    return int(done.rowcount)  # type: ignore[attr-defined]


def rows_for(policies: Policies, category: Category) -> list[UUID]:
    """Return the row that says what a category's card is for, for the decision that made it so."""
    key = f"permissions.{category}"
    return policies.used(key) if key in policies.ids else []


class ExceptionOver(DomainError, code="exception-over", kind=Kind.CONFLICT):
    """The exception's last day lies before today.  Fact: `day`, the earliest that is good."""


def make_override(
    session: Session,
    *,
    override_id: UUID,
    holder_id: UUID,
    permission: Permission,
    allowed: bool,
    reason: str,
    document_number: str,
    until: date | None,
    actor: Actor,
    now: datetime,
) -> tuple[PermissionOverride, bool]:
    """Make an exception for one holder (权限例外); say whether this call was the first.

    It takes the place of an earlier one of the same permission.  The reason may name people, so it
    stands here and not in the operation log.  Locks the exception's id, then the holder.

    Raises:
        NotFound: there is no such holder, or somebody else's exception has this id.
        IdReused: `override_id` came before with other content.
        ExceptionOver: its last day lies before today.
    """
    lock_id(session, override_id)
    wanted = {
        "permission": permission,
        "allowed": allowed,
        "reason": reason,
        "document_number": document_number,
        "until": until,
    }
    earlier = first_answer(
        session, PermissionOverride, override_id, owner={"holder_id": holder_id}, **wanted
    )
    if earlier is not None:
        return earlier, False
    holder = lock_row(session, Holder, holder_id, key_share=True)
    if until is not None and until < business_date(now):
        raise ExceptionOver(day=business_date(now).isoformat())
    before = permissions_of(holder)
    session.execute(
        update(PermissionOverride)
        .where(
            PermissionOverride.holder_id == holder_id,
            PermissionOverride.permission == permission,
            PermissionOverride.ended_at.is_(None),
        )
        .values(ended_at=now)
    )
    made = PermissionOverride(
        id=override_id,
        holder_id=holder_id,
        made_by=actor.name,
        made_at=now,
        ended_at=None,
        **wanted,
    )
    session.add(made)
    _decided(session, "holder.except", holder, made, before=before, actor=actor, now=now)
    return made, True


def end_override(
    session: Session, *, override_id: UUID, holder_id: UUID, actor: Actor, now: datetime
) -> PermissionOverride:
    """End an exception: the category decides again.  A retry changes nothing.

    Raises:
        NotFound: this holder has no such exception.
    """
    holder = lock_row(session, Holder, holder_id, key_share=True)
    override = session.get(PermissionOverride, override_id, populate_existing=True)
    if override is None or override.holder_id != holder_id:
        raise NotFound
    if override.ended_at is None:
        before = permissions_of(holder)
        override.ended_at = now
        _decided(
            session, "holder.end_exception", holder, override, before=before, actor=actor, now=now
        )
    return override


def list_overrides(session: Session, *, holder_id: UUID) -> Sequence[PermissionOverride]:
    """Return every exception that was made for a holder, newest first."""
    return session.scalars(
        select(PermissionOverride)
        .where(PermissionOverride.holder_id == holder_id)
        .order_by(PermissionOverride.made_at.desc(), PermissionOverride.id.desc())
    ).all()


def _decided(
    session: Session,
    action: str,
    holder: Holder,
    override: PermissionOverride,
    *,
    before: Sequence[Permission],
    actor: Actor,
    now: datetime,
) -> None:
    policies = policies_at(session, now)
    work_out(session, policies=policies, now=now, holder_ids=[holder.id])
    session.refresh(holder)
    operation_log.record(
        session,
        actor=actor,
        action=action,
        holder_id=holder.id,
        subject_id=override.id,
        now=now,
        before=[permission.value for permission in before],
        after=[permission.value for permission in permissions_of(holder)],
        policy_ids=rows_for(policies, holder.category),
        permission=override.permission.value,
        document_number=override.document_number,
        until=override.until and override.until.isoformat(),
    )
