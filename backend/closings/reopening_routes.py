"""HTTP for staff: a closed account opened again (复户)."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.cards.reopening import AccountOpen
from backend.cards.service import AccountClosed, CardExpired
from backend.closings import reopenings
from backend.closings.reopenings import NotOnRoster, PayoutOpen
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
    NotOnRoster,
    CardExpired,
)
@staff.alt_response(201, schema=ReopeningReply, description="Opened now.")
@staff.response(200, ReopeningReply)
@logged("card.reopen_account", subject="reopening_id")
def reopen_account(body: dict[str, Any], reopening_id: UUID) -> Any:
    """Open a closed account again for somebody who comes back (复户); its card waits."""
    who, number = caller_in(*MAY_CLOSE), body.pop("holder_number")
    with transaction() as session:
        holder_id = viewing.id_by_present_number(session, holder_number=number)
        about(holder_id=holder_id)
        made, first = reopenings.make(
            session,
            reopening_id=reopening_id,
            holder_id=holder_id,
            operator=who,
            now=clock.now(),
            **body,
        )
        told = ("id", "document", "roster_batch_id", "valid_until", "card_id", "made_at")
        answer = {name: getattr(made, name) for name in told}
        return answer | {"holder_number": number}, 201 if first else 200
