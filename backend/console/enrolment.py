"""Where a person sets password and second factor: open to whoever has a token.

The token travels in the form, never in an address.
"""

import segno
from flask import Blueprint, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.console import language
from backend.db import transaction
from backend.errors import DomainError
from backend.http.parts import parts
from backend.http.problems import STATUS, tell
from backend.operation_log.refusals import logged
from backend.operators import enrolment
from backend.operators.enrolment import OperatorEnrolmentRefused, PasswordWeak
from backend.operators.service import TotpWrong

LONGEST = 128

public = Blueprint("enrolment", __name__, url_prefix="/enrolment")


@public.get("")
def show() -> str:
    """Ask for the token and a password."""
    return render_template("console/enrolment.html", problem=None)


@public.post("")
@logged("operator.enrol")
def begin() -> str | tuple[str, int]:
    """Show the secret for the authenticator, once, and ask for its code."""
    token, password = _said("enrolment_token"), _said("password")
    try:
        with transaction() as session:
            operator, secret = enrolment.choose(
                session, token=token, password=password, sealer=parts().sealer, now=clock.now()
            )
            username, uri = operator.username, enrolment.secret_uri(operator, secret)
    except (OperatorEnrolmentRefused, PasswordWeak) as error:
        return _refused("console/enrolment.html", error)
    code = segno.make(uri, micro=False).svg_inline(scale=5, border=2, light="#fff")
    return render_template(
        "console/enrolment_code.html",
        problem=None,
        token_again=token,
        username=username,
        secret=secret,
        code=Markup(code),  # noqa: S704 - made by segno, of an address that we made
    )


@public.post("/confirmation")
@logged("operator.enrol")
def finish() -> AnyResponse | tuple[str, int]:
    """Put both in force, and lead to where one signs in."""
    token = _said("enrolment_token")
    try:
        with transaction() as session:
            enrolment.finish(
                session,
                token=token,
                totp=_said("totp"),
                sealer=parts().sealer,
                now=clock.now(),
            )
    except OperatorEnrolmentRefused as error:
        return _refused("console/enrolment.html", error)
    except TotpWrong as error:
        return _refused("console/enrolment_code.html", error, token_again=token)
    return redirect(url_for("console.sign-in.show"), 303)


def _said(name: str) -> str:
    """Return a field of the form as the API would take it; too long a text fits nothing."""
    text = request.form.get(name, "")
    return text if len(text) <= LONGEST and "\x00" not in text else ""


def _refused(template: str, error: DomainError, **more: str) -> tuple[str, int]:
    tell(error)
    problem = language.refusal(error.code, dict(error.facts))
    return render_template(template, problem=problem, **more), STATUS[error.kind]
