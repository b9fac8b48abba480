"""HTTP for staff: retirees get the temporary card (退休换卡)."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.cards.rules import TransitionNotPossible
from backend.cards.service import AccountClosed
from backend.closings import retirements
from backend.closings.retirements import NotStaff, RetirementTooEarly
from backend.closings.schemas import RetirementReply, RetirementRequest
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import viewing
from backend.http.auth import Unauthenticated, guard
from backend.http.problems import raises
from backend.operation_log.refusals import about, logged
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.service import RoleNotAllowed, caller_in

MAY_SWITCH = (Role.CARD_CENTRE,)


staff = guard(
    Blueprint(
        "staff-retirements",
        __name__,
        url_prefix="/staff/retirements",
        description="Staff: retirees (退休)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("/<uuid:retirement_id>", methods=["PUT"])
@staff.arguments(RetirementRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    AccountClosed,
    NotStaff,
    RetirementTooEarly,
    TransitionNotPossible,
)
@staff.alt_response(201, schema=RetirementReply, description="Switched now.")
@staff.response(200, RetirementReply)
@logged("retirement.switch", subject="retirement_id")
def switch_retiree(body: dict[str, Any], retirement_id: UUID) -> Any:
    """Give a retiree the temporary card in place of the staff card; the account stays."""
    who = caller_in(*MAY_SWITCH)
    with transaction() as session:
        holder_id = viewing.id_by_present_number(session, holder_number=body["holder_number"])
        about(holder_id=holder_id)
        made, first = retirements.switch(
            session,
            retirement_id=retirement_id,
            holder_id=holder_id,
            document=body["document"],
            operator=who,
            now=clock.now(),
        )
        answer = {
            name: getattr(made, name) for name in ("id", "valid_until", "document", "made_at")
        }
        return answer | {"holder_number": body["holder_number"]}, 201 if first else 200
