"""Sign in with password and one-time code; sign out."""

import marshmallow as ma
from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.console import access, language
from backend.db import transaction
from backend.errors import DomainError
from backend.http.parts import parts
from backend.http.problems import STATUS, tell
from backend.operation_log.refusals import logged
from backend.operators import service
from backend.operators.models import Role
from backend.operators.schemas import OperatorSessionRequest
from backend.operators.service import OperatorLocked, OperatorNotKnown

FIELDS = OperatorSessionRequest(unknown=ma.EXCLUDE)
FIRST_ROOMS = {
    "overview": "console.overview.show",
    "roster": "console.roster.show",
    "subsidies": "console.subsidies.show",
    "operators": "console.operators.show",
}
"""Where one begins, in order of preference."""

public = Blueprint("sign-in", __name__, url_prefix="/sign-in")
blueprint = Blueprint("sign-out", __name__)


@public.get("")
def show() -> str:
    """Ask who it is."""
    return render_template("console/sign_in.html", problem=None, username="")


@public.post("")
@logged("operator.log_in")
def sign_in() -> AnyResponse:
    """Open a session, or say that user name, password and code do not belong together."""
    try:
        token, role = _log_in()
    except (OperatorNotKnown, OperatorLocked) as error:
        return _again(error)
    answer = redirect(_first_room(role), 303)
    access.open_session(answer, token)
    return answer


def _log_in() -> tuple[str, Role]:
    """Log in as the API does; each step commits by itself, so that a failure counts."""
    try:
        said = FIELDS.load(request.form)
    except ma.ValidationError as error:
        raise OperatorNotKnown from error
    now, sealer = clock.now(), parts().sealer
    with transaction() as session:
        service.check_tries(session, username=said["username"], sealer=sealer, now=now)
    try:
        with transaction() as session:
            token, _, operator = service.log_in(session, sealer=sealer, now=now, **said)
    except OperatorNotKnown:
        with transaction() as session:
            service.count_failure(session, username=said["username"], sealer=sealer, now=now)
        raise
    return token, operator.role


def _again(error: DomainError) -> Response:
    tell(error)
    page = render_template(
        "console/sign_in.html",
        problem=language.refusal(error.code, dict(error.facts)),
        username=request.form.get("username", "")[:64],
    )
    return Response(page, STATUS[error.kind])


def _first_room(role: Role) -> str:
    room = next((name for name in FIRST_ROOMS if role in access.ROLES[name]), "overview")
    return url_for(FIRST_ROOMS[room])


@blueprint.post("/sign-out")
def sign_out() -> AnyResponse:
    """End the session: its token is dead at once."""
    with transaction() as session:
        service.log_out(session, session_id=access.operator().session_id, now=clock.now())
    answer = redirect(url_for("console.sign-in.show"), 303)
    access.close_session(answer)
    return answer
