"""HTTP for top-ups, as staff see them: everybody's orders, and what is done about frozen ones."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import viewing
from backend.http.auth import Unauthenticated, guard
from backend.http.paging import CursorUnknown, page_of
from backend.http.parts import parts
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import (
    ConfirmationNeeded,
    RoleNotAllowed,
    caller_in,
)
from backend.refunds.handling import ChannelSilent
from backend.topups import figures, resolving
from backend.topups.models import TopUp, TopUpResolution
from backend.topups.resolving import (
    MAY_ACT,
    MAY_LOOK,
    ChannelSaysOtherwise,
    ResolutionDecided,
    ResolutionNotPossible,
    ResolutionWaits,
    TopUpNotFrozen,
)
from backend.topups.staff_schemas import (
    StaffTopUpFull,
    StaffTopUpList,
    StaffTopUpReply,
    StaffTopUpsQuery,
    TopUpResolutionDecisionRequest,
    TopUpResolutionReply,
    TopUpResolutionRequest,
)

staff = guard(
    Blueprint(
        "staff-top-ups",
        __name__,
        url_prefix="/staff/top-ups",
        description="Staff: top-ups (充值), and what is done about frozen ones",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("", methods=["GET"])
@staff.arguments(StaffTopUpsQuery, location="query")
@raises(staff, Unauthenticated, RoleNotAllowed, CursorUnknown)
@staff.response(200, StaffTopUpList)
def list_staff_top_ups(query: dict[str, Any]) -> dict[str, Any]:
    """List everybody's top-ups, newest first; those in `exception` wait for people."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        found = page_of(
            partial(figures.list_by_state, session, state=query.get("state")),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="created_at",
        )
        return found | {"items": _replies(session, found["items"])}


@staff.route("/<uuid:top_up_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, StaffTopUpFull)
def read_staff_top_up(top_up_id: UUID) -> dict[str, Any]:
    """Show one top-up, and what was proposed for it."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        top_up = resolving.find(session, top_up_id=top_up_id)
        made = resolving.resolutions_of(session, top_up_id=top_up_id)
        return _replies(session, [top_up])[0] | {"resolutions": _resolutions(session, made)}


@staff.route("/<uuid:top_up_id>/resolutions/<uuid:resolution_id>", methods=["PUT"])
@staff.arguments(TopUpResolutionRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    TopUpNotFrozen,
    ResolutionWaits,
    ChannelSilent,
    ResolutionNotPossible,
)
@staff.alt_response(201, schema=TopUpResolutionReply, description="Proposed now.")
@staff.response(200, TopUpResolutionReply)
@logged("top_up.resolution_make", subject="top_up_id")
def propose_resolution(body: dict[str, Any], top_up_id: UUID, resolution_id: UUID) -> Any:
    """Ask the channel about a frozen top-up, and propose the one way that its answer leaves."""
    resolution, first = resolving.propose(
        resolution_id=resolution_id,
        top_up_id=top_up_id,
        reason=body["reason"],
        channels=parts().channels,
        maker=caller_in(*MAY_ACT),
        now=clock.now(),
    )
    answer = _reply(resolution)
    if not first:
        answer |= {"approved": None, "approved_by": None, "decided_at": None}
    return answer, 201 if first else 200


@staff.route("/<uuid:top_up_id>/resolutions/<uuid:resolution_id>/decision", methods=["POST"])
@staff.arguments(TopUpResolutionDecisionRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    ConfirmationNeeded,
    NotFound,
    ResolutionDecided,
    SecondPersonNeeded,
    ChannelSilent,
    ChannelSaysOtherwise,
)
@staff.alt_response(201, schema=TopUpResolutionReply, description="Decided now.")
@staff.response(200, TopUpResolutionReply)
@logged("top_up.resolution_decide", subject="top_up_id")
def decide_resolution(body: dict[str, Any], top_up_id: UUID, resolution_id: UUID) -> Any:
    """Do what somebody else proposed, or refuse it; the same again gets the first answer."""
    who = caller_in(*MAY_ACT)
    who.must_have_confirmed(clock.now())
    resolution, first = resolving.decide(
        resolution_id=resolution_id,
        top_up_id=top_up_id,
        approve=body["approve"],
        channels=parts().channels,
        checker=who,
        now=clock.now(),
    )
    return _reply(resolution), 201 if first else 200


def _replies(session: Session, top_ups: Sequence[TopUp]) -> list[dict[str, Any]]:
    holders = viewing.holders_by_id(session, [top_up.holder_id for top_up in top_ups])
    return [
        {name: getattr(top_up, name, None) for name in StaffTopUpReply().fields}
        | viewing.masked(holders[top_up.holder_id])
        for top_up in top_ups
    ]


def _reply(resolution: TopUpResolution) -> dict[str, Any]:
    with transaction() as session:
        return _resolutions(session, [resolution])[0]


def _resolutions(session: Session, made: Sequence[TopUpResolution]) -> list[dict[str, Any]]:
    people = {id_ for row in made for id_ in (row.made_by, row.approved_by) if id_}
    names = operators.usernames(session, people)
    return [
        {name: getattr(row, name) for name in TopUpResolutionReply().fields}
        | {
            "made_by": names.get(row.made_by, ""),
            "approved_by": row.approved_by and names.get(row.approved_by, ""),
        }
        for row in made
    ]
