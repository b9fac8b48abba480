"""HTTP for staff: who pays the meal surcharge (搭伙费对象), and whom nobody decided on (告警)."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.charges import surcharge_flags
from backend.charges.surcharge_flag_schemas import (
    SurchargeFlagReply,
    SurchargeFlagRequest,
    UnknownSurchargeList,
)
from backend.charges.surcharge_flags import MAY_DECIDE, MAY_LOOK, NeverSurcharged
from backend.db import transaction
from backend.errors import NotFound
from backend.holders.models import Holder
from backend.holders.rules import masked_name
from backend.http.auth import Unauthenticated, guard
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.service import RoleNotAllowed, caller_in

PAGE = "/console/surcharge-flags/"
"""Where the console shows one holder to those who decide."""

staff = guard(
    Blueprint(
        "surcharge-flags",
        __name__,
        url_prefix="/staff/surcharge-flags",
        description="Staff: who pays the meal surcharge (搭伙费对象)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed)
@staff.response(200, UnknownSurchargeList)
def list_unknown_surcharges() -> dict[str, Any]:
    """List holders who ate without the surcharge because nobody has said whether it is due."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return {
            "items": [
                told(one.holder)
                | {
                    "meals": one.meals,
                    "since": one.since,
                    "last_at": one.last_at,
                    "page": f"{PAGE}{one.holder.id}",
                }
                for one in surcharge_flags.list_unknown(session)
            ]
        }


@staff.route("/<uuid:holder_id>", methods=["PUT"])
@staff.arguments(SurchargeFlagRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, NeverSurcharged)
@staff.response(200, SurchargeFlagReply)
@logged("surcharge.flag", subject="holder_id")
def flag_surcharge(body: dict[str, Any], holder_id: UUID) -> dict[str, Any]:
    """Say whether a holder's meals cost the surcharge, from now on; again changes nothing."""
    who = caller_in(*MAY_DECIDE)
    with transaction() as session:
        holder, _ = surcharge_flags.decide(
            session,
            holder_id=holder_id,
            pays=body["pays_surcharge"],
            document_number=body["document_number"],
            operator=who,
            now=clock.now(),
        )
        return told(holder)


def told(holder: Holder) -> dict[str, Any]:
    """Return a holder as those are told who decide."""
    return {
        "holder_id": holder.id,
        "holder_number": holder.holder_number,
        "name_masked": masked_name(holder.name),
        "category": holder.category,
        "unit": holder.unit,
        "pays_surcharge": holder.pays_surcharge,
    }
