"""HTTP for sponsors (申办单位): whom they answer for, and that somebody leaves early."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.applications import sponsoring
from backend.applications.ending import LeavingNotEarly, LeftEarly
from backend.applications.schemas import EarlyLeavingReply, OwnEarlyLeavingRequest, SponsoredList
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import login
from backend.holders.login import HolderCaller, NotBound, StepUpRequired
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.problems import raises
from backend.operation_log.refusals import logged

blueprint = guard(
    Blueprint(
        "sponsored",
        __name__,
        url_prefix="/me",
        description="People for whom I answer (我申办的临时人员)",
    ),
    "holder",
    login.authenticate,
)


@blueprint.route("/sponsored-people", methods=["GET"])
@raises(blueprint, Unauthenticated, NotBound)
@blueprint.response(200, SponsoredList)
def list_sponsored() -> dict[str, Any]:
    """List the temporary people for whom the caller answers today, the first to end first."""
    who: HolderCaller = caller()
    with transaction() as session:
        return {"items": sponsoring.people_of(session, sponsor_id=who.holder_id, now=clock.now())}


@blueprint.route("/early-leavings/<uuid:leaving_id>", methods=["PUT"])
@blueprint.arguments(OwnEarlyLeavingRequest)
@raises(
    blueprint,
    Unauthenticated,
    NotBound,
    NotFound,
    StepUpRequired,
    IdReused,
    LeftEarly,
    LeavingNotEarly,
)
@blueprint.alt_response(201, schema=EarlyLeavingReply, description="Noted now.")
@blueprint.response(200, EarlyLeavingReply)
@logged("application.leave_early", subject="leaving_id")
def tell_of_leaving(request: dict[str, Any], leaving_id: UUID) -> Any:
    """Tell that somebody leaves before their day (提前离校): the card ends with it.

    It needs a fresh login.  The account closes as one that ended early.
    """
    who: HolderCaller = caller()
    with transaction() as session:
        leaving, first = sponsoring.leave_early(
            session,
            leaving_id=leaving_id,
            who=who,
            now=clock.now(),
            **request,
        )
    answer = {
        "id": leaving.id,
        "application_id": request["application_id"],
        "holder_id": request["holder_id"],
        "last_on": leaving.last_on,
        "reason": leaving.reason,
        "told_at": leaving.told_at,
    }
    return answer, 201 if first else 200
