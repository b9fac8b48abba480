"""HTTP for staff: who becomes another kind of holder (类别变更), and taking that back."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.cards import categories
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import category_changes
from backend.holders.category_changes import (
    ChangeApplied,
    ChangeEndsEarly,
    ChangeWaiting,
    HolderNumberTaken,
)
from backend.holders.models import Category, CategoryChange, Employment
from backend.holders.people_schemas import CategoryChangeReply, CategoryChangeRequest
from backend.http.auth import Unauthenticated, guard
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.service import RoleNotAllowed, caller_in

blueprint = guard(
    Blueprint(
        "staff-categories",
        __name__,
        url_prefix="/staff/holders",
        description="Staff: what kind of holder somebody becomes (类别变更)",
    ),
    "operator",
    operators.authenticate,
)


@blueprint.route("/<uuid:holder_id>/category-changes/<uuid:change_id>", methods=["PUT"])
@blueprint.arguments(CategoryChangeRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    ChangeEndsEarly,
    ChangeWaiting,
    HolderNumberTaken,
)
@blueprint.alt_response(201, schema=CategoryChangeReply, description="Noted now.")
@blueprint.response(200, CategoryChangeReply)
@logged("holder.change_category", subject="change_id", holder="holder_id")
def change_category(request: dict[str, Any], holder_id: UUID, change_id: UUID) -> Any:
    """Make somebody another kind of holder from a day on (类别变更): today or before is at once.

    Account, history, cards and binding stay; a later last day wakes cards that had expired.  An old
    number still finds its holder, and nobody else is ever given it.
    """
    who = caller_in(Role.CARD_CENTRE)
    employment = request.pop("employment")
    with transaction() as session:
        change, first = categories.schedule(
            session,
            change_id=change_id,
            holder_id=holder_id,
            category=Category(request.pop("category")),
            employment=Employment(employment) if employment else None,
            actor=who.actor,
            now=clock.now(),
            **request,
        )
        return _told(session, change), 201 if first else 200


@blueprint.route("/<uuid:holder_id>/category-changes/<uuid:change_id>/withdrawal", methods=["POST"])
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound, ChangeApplied)
@blueprint.response(200, CategoryChangeReply)
@logged("holder.withdraw_category", subject="change_id", holder="holder_id")
def withdraw_category_change(holder_id: UUID, change_id: UUID) -> dict[str, Any]:
    """Take a change back before its day, so that the right one can be noted."""
    who = caller_in(Role.CARD_CENTRE)
    with transaction() as session:
        change = category_changes.withdraw(
            session, change_id=change_id, holder_id=holder_id, actor=who.actor, now=clock.now()
        )
        return _told(session, change)


def _told(session: Session, change: CategoryChange) -> dict[str, Any]:
    same = (
        "id", "category", "employment", "unit", "holder_number", "from_day", "valid_until",
        "document_number", "made_at", "applied_at", "withdrawn_at",
    )  # fmt: skip
    return {name: getattr(change, name) for name in same} | {
        "departs_on": categories.leaves_on(session, holder_id=change.holder_id)
    }
