"""Show a one-time code anew, before what moves money or shows names."""

import re

from flask import Blueprint, Response, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from backend.console import access, language
from backend.errors import DomainError
from backend.http.problems import STATUS, tell
from backend.operation_log.refusals import logged
from backend.operators.routes import confirm_now
from backend.operators.service import OperatorLocked, TotpWrong

TOTP = re.compile("[0-9]{6}")

blueprint = Blueprint("confirmation", __name__, url_prefix="/confirmation")


@blueprint.get("")
def show() -> str:
    """Ask for the code."""
    return render_template("console/confirmation.html", problem=None, done=False)


@blueprint.post("")
@logged("operator.confirm")
def confirm() -> str | AnyResponse:
    """Note the code, or say that it is wrong."""
    totp = request.form.get("totp", "")
    try:
        if not TOTP.fullmatch(totp):
            raise TotpWrong
        confirm_now(access.operator(), totp)
    except (TotpWrong, OperatorLocked) as error:
        return ask(error)
    return render_template("console/confirmation.html", problem=None, done=True)


def ask(error: DomainError) -> Response:
    """Answer a refusal with the form that gets past it."""
    tell(error)
    problem = language.refusal(error.code, dict(error.facts))
    page = render_template("console/confirmation.html", problem=problem, done=False)
    return Response(page, STATUS[error.kind])
