"""HTTP for staff: what the roster says against what was proven (名册差异).

Taking over a later last day wakes cards, so it stands here and not with the other decisions about
people.
"""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.cards.counter import wake_all
from backend.db import transaction
from backend.errors import NotFound
from backend.holders import data_changes
from backend.holders.data_changes import ConflictSettled
from backend.holders.people_routes import LOOKS, MOST
from backend.holders.people_schemas import ConflictList, ConflictReply, SettleRequest
from backend.http.auth import Unauthenticated, guard
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.service import RoleNotAllowed, caller_in

blueprint = guard(
    Blueprint(
        "staff-roster-conflicts",
        __name__,
        url_prefix="/staff/roster-conflicts",
        description="Staff: differences from the roster (名册差异)",
    ),
    "operator",
    operators.authenticate,
)


@blueprint.route("", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed)
@blueprint.response(200, ConflictList)
def list_conflicts() -> dict[str, Any]:
    """List where the roster differs from what was proven (名册差异), 200 at most, oldest first."""
    caller_in(*LOOKS)
    with transaction() as session:
        return {"items": data_changes.list_conflicts(session, limit=MOST)}


@blueprint.route("/<uuid:conflict_id>/settlement", methods=["PUT"])
@blueprint.arguments(SettleRequest)
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound, ConflictSettled)
@blueprint.response(200, ConflictReply)
@logged("holder.settle_conflict", subject="conflict_id")
def settle_conflict(request: dict[str, Any], conflict_id: UUID) -> Any:
    """Keep what was proven, or take the roster's value over, which two people do.

    The first who accepts proposes it, `made_at`; the second one settles it.  Keeping takes one.
    Retries get the first answer.
    """
    who = caller_in(Role.CARD_CENTRE)
    with transaction() as session:
        return data_changes.settle(
            session,
            conflict_id=conflict_id,
            accept=request["accept"],
            wake_cards=wake_all,
            actor=who.actor,
            now=clock.now(),
        )[0]
