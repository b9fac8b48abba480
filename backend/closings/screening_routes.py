"""HTTP for staff: screenings (清查)."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask import Response
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.closings import screenings
from backend.closings.models import Screening, ScreeningItem, ScreeningOutcome
from backend.closings.routes import MAY_CLOSE, MAY_EXPORT, MAY_LOOK
from backend.closings.schemas import (
    OutcomeRequest,
    ScreeningItemReply,
    ScreeningReply,
    ScreeningRequest,
)
from backend.closings.screenings import ScreeningFiled, ScreeningOpen, TermUnknown
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import viewing
from backend.http import csv_files
from backend.http.auth import Unauthenticated, guard
from backend.http.problems import raises
from backend.ids import new_reference
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.service import RoleNotAllowed, caller_in

staff = guard(
    Blueprint(
        "staff-screenings",
        __name__,
        url_prefix="/staff/screenings",
        description="Staff: screenings (清查)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("/<uuid:screening_id>", methods=["PUT"])
@staff.arguments(ScreeningRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, IdReused, TermUnknown)
@staff.alt_response(201, schema=ScreeningReply, description="Made now.")
@staff.response(200, ScreeningReply)
@logged("screening.make", subject="screening_id")
def make_screening(body: dict[str, Any], screening_id: UUID) -> Any:
    """Look through all accounts after a term (清查)."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        screening, first = screenings.make(
            session, screening_id=screening_id, term=body["term"], operator=who, now=clock.now()
        )
        return _screening(session, screening), 201 if first else 200


@staff.route("/<uuid:screening_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, ScreeningReply)
def read_screening(screening_id: UUID) -> dict[str, Any]:
    """Show a screening and its findings."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return _screening(session, screenings.find(session, screening_id=screening_id))


@staff.route("/<uuid:screening_id>/items/<uuid:item_id>", methods=["PUT"])
@staff.arguments(OutcomeRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, ScreeningFiled)
@staff.response(200, ScreeningItemReply)
@logged("screening.decide", subject="screening_id")
def decide_finding(body: dict[str, Any], screening_id: UUID, item_id: UUID) -> dict[str, Any]:
    """Give a finding its outcome, or another one before the screening is filed."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        item = screenings.decide(
            session,
            screening_id=screening_id,
            item_id=item_id,
            outcome=ScreeningOutcome(body["outcome"]),
            reason=body["reason"],
            operator=who,
            now=clock.now(),
        )
        return _items(session, [item])[0]


@staff.route("/<uuid:screening_id>/filing", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, ScreeningOpen)
@staff.response(200, ScreeningReply)
@logged("screening.file", subject="screening_id")
def file_screening(screening_id: UUID) -> dict[str, Any]:
    """File a screening (归档) once every finding has an outcome: nothing of it changes then."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        screening = screenings.file(
            session, screening_id=screening_id, operator=who, now=clock.now()
        )
        return _screening(session, screening)


@staff.route("/<uuid:screening_id>/exports", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, {"type": "string", "format": "binary"}, content_type="text/csv")
@logged("screening.export", subject="screening_id")
def export_screening(screening_id: UUID) -> Response:
    """Take a screening as CSV, names masked; that it was taken is logged before."""
    who = caller_in(*MAY_EXPORT)
    with transaction() as session:
        rows = screenings.export(
            session,
            screening_id=screening_id,
            operator=who,
            reference=new_reference(),
            now=clock.now(),
        )
    return csv_files.attached(csv_files.whole(rows), "screening")


def _screening(session: Session, screening: Screening) -> dict[str, Any]:
    same = ("id", "term", "made_at", "filed_at")
    items = screenings.items_of(session, screening_id=screening.id)
    return {name: getattr(screening, name) for name in same} | {"items": _items(session, items)}


def _items(session: Session, items: Sequence[ScreeningItem]) -> list[dict[str, Any]]:
    holders = viewing.holders_by_id(session, [item.holder_id for item in items])
    same = ("id", "finding", "facts", "outcome", "reason", "decided_at")
    return [
        {name: getattr(item, name) for name in same} | viewing.masked(holders[item.holder_id])
        for item in items
    ]
