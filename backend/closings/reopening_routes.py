"""HTTP for staff: a closed account opened again (复户)."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.cards.reopening import AccountOpen
from backend.cards.service import AccountClosed, CardExpired
from backend.closings import reopenings
from backend.closings.reopenings import PayoutOpen
from backend.closings.routes import MAY_CLOSE
from backend.closings.schemas import ReopeningReply, ReopeningRequest
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import viewing
from backend.http.auth import Unauthenticated, guard
from backend.http.problems import raises
from backend.operation_log.refusals import about, logged
from backend.operators import service as operators
from backend.operators.service import RoleNotAllowed, caller_in

staff = guard(
    Blueprint(
        "staff-reopenings",
        __name__,
        url_prefix="/staff/reopenings",
        description="Staff: closed accounts opened again (复户)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("/<uuid:reopening_id>", methods=["PUT"])
@staff.arguments(ReopeningRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    AccountOpen,
    AccountClosed,
    PayoutOpen,
    CardExpired,
)
@staff.alt_response(201, schema=ReopeningReply, description="Opened now.")
@staff.response(200, ReopeningReply)
@logged("card.reopen_account", subject="reopening_id")
def reopen_account(body: dict[str, Any], reopening_id: UUID) -> Any:
    """Open a closed account again for somebody who comes back (复户); its card waits."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        holder_id = viewing.id_by_present_number(session, holder_number=body["holder_number"])
        about(holder_id=holder_id)
        made, first = reopenings.make(
            session,
            reopening_id=reopening_id,
            holder_id=holder_id,
            document=body["document"],
            valid_until=body["valid_until"],
            operator=who,
            now=clock.now(),
        )
        answer = {
            name: getattr(made, name)
            for name in ("id", "document", "valid_until", "card_id", "made_at")
        }
        return answer | {"holder_number": body["holder_number"]}, 201 if first else 200
