"""HTTP for staff: the meal surcharge (搭伙费) of a period, computed anew and paid back."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.charges import meal_sums, rerating
from backend.charges.meal_sums import ReratingPeriodRefused
from backend.charges.models import SurchargeRerating
from backend.charges.rerating import (
    MAY_APPROVE,
    MAY_LOOK,
    MAY_PROPOSE,
    NothingToReturn,
    ReratingChanged,
    ReratingDecided,
    ReratingLapsed,
)
from backend.charges.rerating_schemas import (
    MealSumsReply,
    ReratingFull,
    ReratingList,
    ReratingPreviewRequest,
    ReratingReply,
    ReratingRequest,
)
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.http.auth import Unauthenticated, guard
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import ConfirmationNeeded, RoleNotAllowed, caller_in

MOST_LISTED = 100

staff = guard(
    Blueprint(
        "surcharge",
        __name__,
        url_prefix="/staff/surcharge-reratings",
        description="Staff: the meal surcharge (搭伙费)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed)
@staff.response(200, ReratingList)
def list_reratings() -> dict[str, Any]:
    """List the newest 100 re-ratings."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return {"items": replies(session, rerating.newest(session, limit=MOST_LISTED))}


@staff.route("/previews", methods=["POST"])
@staff.arguments(ReratingPreviewRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, ReratingPeriodRefused)
@staff.response(200, MealSumsReply)
@logged("surcharge.preview")
def preview_rerating(body: dict[str, Any]) -> Any:
    """Show what re-rating a period would pay back, and what was too little; writes nothing."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return meal_sums.sums(session, **body)


@staff.route("/<uuid:rerating_id>", methods=["PUT"])
@staff.arguments(ReratingRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    ReratingPeriodRefused,
    NothingToReturn,
)
@staff.alt_response(201, schema=ReratingReply, description="Proposed now.")
@staff.response(200, ReratingReply)
@logged("surcharge.rerate_propose", subject="rerating_id")
def propose_rerating(body: dict[str, Any], rerating_id: UUID) -> Any:
    """Propose to pay back what was too much in a period that is over; somebody else approves it."""
    who = caller_in(*MAY_PROPOSE)
    with transaction() as session:
        proposed, first = rerating.propose(
            session, rerating_id=rerating_id, **body, maker=who, now=clock.now()
        )
        session.flush()
        return replies(session, [proposed])[0], 201 if first else 200


@staff.route("/<uuid:rerating_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, ReratingFull)
def read_rerating(rerating_id: UUID) -> dict[str, Any]:
    """Show one re-rating and how much of it has gone back."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        found, returned_fen = rerating.find(session, rerating_id=rerating_id)
        return replies(session, [found])[0] | {"returned_fen": returned_fen}


@staff.route("/<uuid:rerating_id>/approval", methods=["POST"])
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    ConfirmationNeeded,
    NotFound,
    ReratingDecided,
    SecondPersonNeeded,
    ReratingLapsed,
    ReratingChanged,
)
@staff.alt_response(201, schema=ReratingReply, description="Approved now.")
@staff.response(200, ReratingReply)
@logged("surcharge.rerate_approve", subject="rerating_id")
def approve_rerating(rerating_id: UUID) -> Any:
    """Approve what somebody else proposed; it is paid within seconds, charge by charge."""
    who = caller_in(*MAY_APPROVE)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        approved, first = rerating.approve(
            session, rerating_id=rerating_id, checker=who, now=clock.now()
        )
        return replies(session, [approved])[0], 201 if first else 200


def replies(session: Session, found: Sequence[SurchargeRerating]) -> list[dict[str, Any]]:
    """Return re-ratings as they are told, with the user names of who acted."""
    people = {id_ for one in found for id_ in (one.made_by, one.approved_by) if id_}
    names = operators.usernames(session, people)
    same = (
        "id", "first_day", "last_day", "permille", "flags", "document_number", "reason",
        "return_charges", "return_fen", "made_at", "approved_at", "finished_at",
    )  # fmt: skip
    return [
        {name: getattr(one, name) for name in same}
        | {
            "made_by": names.get(one.made_by, ""),
            "approved_by": one.approved_by and names.get(one.approved_by, ""),
        }
        for one in found
    ]
