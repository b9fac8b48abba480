"""HTTP for staff: departures (离校、离职)."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.closings import departures
from backend.closings.departures import (
    DepartureApplied,
    DepartureNotPossible,
    DepartureScheduled,
    HoldersUnknown,
)
from backend.closings.models import Departure, DepartureKind
from backend.closings.rules import MAY_FILE
from backend.closings.schemas import DepartureReply, DepartureRequest
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import viewing
from backend.holders.category_changes import waiting_from
from backend.http.auth import Unauthenticated, guard
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.service import RoleNotAllowed, caller_in

MAY_LOOK_AT_DEPARTURES = (*MAY_FILE, Role.AUDITOR)


staff = guard(
    Blueprint(
        "staff-departures",
        __name__,
        url_prefix="/staff/departures",
        description="Staff: who leaves (离校、离职)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("/<uuid:departure_id>", methods=["PUT"])
@staff.arguments(DepartureRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    HoldersUnknown,
    DepartureNotPossible,
    DepartureScheduled,
)
@staff.alt_response(201, schema=DepartureReply, description="Filed now.")
@staff.response(200, DepartureReply)
@logged("departure.file", subject="departure_id")
def file_departure(body: dict[str, Any], departure_id: UUID) -> Any:
    """Tell who leaves, all or nobody: from the first instant of that day no card of theirs works.

    The academic office tells of students, personnel of staff, the sponsor of temporary people.
    """
    who = caller_in(*MAY_FILE)
    with transaction() as session:
        departure, first = departures.file(
            session,
            departure_id=departure_id,
            holder_numbers=body["holder_numbers"],
            kind=DepartureKind(body["kind"]),
            effective_on=body["effective_on"],
            document=body["document"],
            operator=who,
            now=clock.now(),
        )
        return _departure(session, departure), 201 if first else 200


@staff.route("/<uuid:departure_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, DepartureReply)
def read_departure(departure_id: UUID) -> dict[str, Any]:
    """Show a departure and what became of each person."""
    caller_in(*MAY_LOOK_AT_DEPARTURES)
    with transaction() as session:
        return _departure(session, departures.find(session, departure_id=departure_id))


@staff.route("/<uuid:departure_id>/withdrawal", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, DepartureApplied)
@staff.response(200, DepartureReply)
@logged("departure.withdraw", subject="departure_id")
def withdraw_departure(departure_id: UUID) -> dict[str, Any]:
    """Take a departure back before its day."""
    who = caller_in(*MAY_FILE)
    with transaction() as session:
        departure = departures.withdraw(
            session, departure_id=departure_id, operator=who, now=clock.now()
        )
        session.flush()
        return _departure(session, departure)


def _departure(session: Session, departure: Departure) -> dict[str, Any]:
    leavers = departures.leavers_of(session, departure_id=departure.id)
    ids = [leaver.holder_id for leaver in leavers]
    holders, changes = viewing.holders_by_id(session, ids), waiting_from(session, ids)
    same = ("id", "kind", "effective_on", "document", "filed_at")
    return {name: getattr(departure, name) for name in same} | {
        "items": [
            {name: getattr(leaver, name) for name in ("state", "applied_at", "closing_id")}
            | {"changes_on": changes.get(leaver.holder_id)}
            | viewing.masked(holders[leaver.holder_id])
            for leaver in leavers
        ]
    }
