"""HTTP for operators: log in and out."""

from datetime import datetime
from typing import Any

from flask_smorest import Blueprint

from backend import clock
from backend.db import transaction
from backend.errors import ServiceUnavailable
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service
from backend.operators.schemas import (
    ConfirmationReply,
    ConfirmationRequest,
    OperatorSessionReply,
    OperatorSessionRequest,
)
from backend.operators.service import (
    OperatorCaller,
    OperatorLocked,
    OperatorNotKnown,
    TotpWrong,
)

public = guard(
    Blueprint(
        "operator-logins", __name__, url_prefix="/staff/sessions", description="Staff: log in"
    ),
    "nobody",
    None,
)
blueprint = guard(
    Blueprint(
        "operator-sessions", __name__, url_prefix="/staff/sessions", description="Staff: log out"
    ),
    "operator",
    service.authenticate,
)


@public.route("", methods=["POST"])
@public.arguments(OperatorSessionRequest)
@raises(public, OperatorLocked, OperatorNotKnown, ServiceUnavailable)
@public.response(201, OperatorSessionReply)
@logged("operator.log_in")
def create_operator_session(request: dict[str, Any]) -> dict[str, Any]:
    """Log in with password and one-time code; a code works once."""
    now, sealer = clock.now(), parts().sealer
    with transaction() as session:
        service.check_tries(session, username=request["username"], sealer=sealer, now=now)
    try:
        with transaction() as session:
            token, opened, operator = service.log_in(session, sealer=sealer, now=now, **request)
    except OperatorNotKnown:
        with transaction() as session:
            service.count_failure(session, username=request["username"], sealer=sealer, now=now)
        raise
    return {
        "token": token,
        "expires_at": opened.created_at + service.LONGEST,
        "role": operator.role,
    }


@blueprint.route("/current", methods=["DELETE"])
@raises(blueprint, Unauthenticated)
@blueprint.response(204)
def delete_operator_session() -> None:
    """Log out: the token is dead at once."""
    who: OperatorCaller = caller()
    with transaction() as session:
        service.log_out(session, session_id=who.session_id, now=clock.now())


@blueprint.route("/current/confirmations", methods=["POST"])
@blueprint.arguments(ConfirmationRequest)
@raises(blueprint, Unauthenticated, OperatorLocked, TotpWrong)
@blueprint.response(201, ConfirmationReply)
@logged("operator.confirm")
def confirm(request: dict[str, Any]) -> dict[str, Any]:
    """Show a one-time code anew: what moves money or shows names asks for it every five minutes."""
    return {"confirmed_until": confirm_now(caller(), request["totp"])}


def confirm_now(who: OperatorCaller, totp: str) -> datetime:
    """Confirm in transactions of their own, so that a wrong code counts; return until when.

    Raises:
        OperatorLocked: too many wrong ones.
        TotpWrong: it is not the code of now.
    """
    now, sealer = clock.now(), parts().sealer
    with transaction() as session:
        service.check_tries(session, username=who.username, sealer=sealer, now=now)
    try:
        with transaction() as session:
            return service.confirm(session, caller=who, totp=totp, sealer=sealer, now=now)
    except TotpWrong:
        with transaction() as session:
            service.count_failure(session, username=who.username, sealer=sealer, now=now)
        raise
