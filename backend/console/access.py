"""Who may open which page: the cookie, the form token, the roles."""

import hmac
import secrets
from typing import Any

from flask import abort, g, request
from werkzeug.wrappers import Response

from backend import clock
from backend.applications.service import MAY_LOOK as APPLICATIONS_MAY_LOOK
from backend.cards import counter
from backend.cases.lending import MAY_LOOK as LENDING_MAY_LOOK
from backend.cases.write_offs import MAY_LOOK as ARREARS_MAY_LOOK
from backend.cash_desk import shifts
from backend.charges import surcharge_flags
from backend.charges.rerating import MAY_LOOK as RERATINGS_MAY_LOOK
from backend.closings.departure_routes import MAY_LOOK_AT_DEPARTURES
from backend.closings.routes import MAY_LOOK as CLOSINGS_MAY_LOOK
from backend.db import transaction
from backend.gates.access import MAY_LOOK
from backend.http.auth import MAX_TOKEN_LENGTH
from backend.http.parts import parts
from backend.issues.service import MAY_LOOK as ISSUES_MAY_LOOK
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.rules import MAY_LOOK as OPERATORS_MAY_LOOK
from backend.operators.service import OperatorCaller
from backend.refunds.handling import MAY_LOOK as REFUNDS_MAY_LOOK
from backend.rulebook import proposals
from backend.subsidies.service import MAY_LOOK as SUBSIDIES_MAY_LOOK

PATH = "/console"
COOKIE = "campus_card_console"
FORM_FIELD = "form_token"
OPEN = frozenset({"console.static", "console.sign-in", "console.enrolment", "console.language"})
"""What nobody has to sign in for: an endpoint, or the blueprint it belongs to."""
EVERYBODY = tuple(Role)
ROLES: dict[str, tuple[Role, ...]] = {
    "overview": (Role.CARD_CENTRE, Role.FINANCE, Role.LOGISTICS, Role.AUDITOR),
    "search": (Role.CARD_CENTRE, Role.FINANCE, Role.AUDITOR),
    "holders": (Role.CARD_CENTRE, Role.FINANCE, Role.AUDITOR),
    "cards": counter.MAY_ACT,
    "found-cards": (Role.CARD_CENTRE, Role.LOGISTICS, Role.AUDITOR),
    "top-ups": (Role.CARD_CENTRE, Role.FINANCE, Role.AUDITOR),
    "refunds": REFUNDS_MAY_LOOK,
    "departures": MAY_LOOK_AT_DEPARTURES,
    "graduates": CLOSINGS_MAY_LOOK,
    "closings": REFUNDS_MAY_LOOK,
    "subsidies": SUBSIDIES_MAY_LOOK,
    "reratings": RERATINGS_MAY_LOOK,
    "payouts": REFUNDS_MAY_LOOK,
    "screenings": CLOSINGS_MAY_LOOK,
    "cash-desk": shifts.MAY_LOOK,
    "arrears": ARREARS_MAY_LOOK,
    "bills": (Role.FINANCE, Role.CARD_CENTRE, Role.AUDITOR),
    "reviews": (Role.CARD_CENTRE, Role.FINANCE, Role.AUDITOR),
    "lending": LENDING_MAY_LOOK,
    "terminals": (Role.CARD_CENTRE, Role.LOGISTICS, Role.AUDITOR),
    "gates": MAY_LOOK,
    "offline-money": (Role.CARD_CENTRE, Role.FINANCE, Role.AUDITOR),
    "people": (Role.CARD_CENTRE, Role.AUDITOR),
    "policies": proposals.MAY_LOOK,
    "surcharge-flags": surcharge_flags.MAY_LOOK,
    "roster": (Role.CARD_CENTRE, Role.ACADEMIC, Role.PERSONNEL),
    "issues": ISSUES_MAY_LOOK,
    "applications": APPLICATIONS_MAY_LOOK,
    "log": (Role.CARD_CENTRE, Role.AUDITOR),
    "operators": OPERATORS_MAY_LOOK,
    "confirmation": EVERYBODY,
    "sign-out": EVERYBODY,
    "console": EVERYBODY,  # addresses that lead nowhere
}
"""Who may open the pages of each blueprint; a page that is not here opens for nobody."""


def enter() -> None:
    """Let a request in, or not.  Runs before every page.

    Raises:
        403: the form does not carry the token of this browser's session.
        Unauthenticated: nobody is signed in here.
        RoleNotAllowed: the page is for other roles.
    """
    room = (request.blueprint or "").rpartition(".")[2]
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        _check_form()
    if OPEN & {request.endpoint, request.blueprint}:
        return
    with transaction() as session:
        g.operator = operators.authenticate(session, _cookie(), clock.now())
    operator().must_be(*ROLES.get(room, ()))


def _check_form() -> None:
    sent = request.form.get(FORM_FIELD, "")
    if not _cookie() or not hmac.compare_digest(sent.encode(), form_token().encode()):
        abort(403)


def _cookie() -> str:
    value = request.cookies.get(COOKIE, "")
    return value if len(value) <= MAX_TOKEN_LENGTH else ""


def operator() -> OperatorCaller:
    """Return who is signed in."""
    who: OperatorCaller = g.operator
    return who


def operator_in(*roles: Role) -> OperatorCaller:
    """Return who is signed in, where the role covers what is asked for.

    Raises:
        RoleNotAllowed: this operator has another role.
    """
    who = operator()
    who.must_be(*roles)
    return who


def signed_in() -> OperatorCaller | None:
    """Return who is signed in, or None on the pages that are open to all."""
    who: OperatorCaller | None = g.get("operator")
    return who


def may_open(room: str) -> bool:
    """Say whether whoever is signed in may open the pages of a blueprint."""
    who = signed_in()
    return who is not None and who.role in ROLES[room]


def form_token() -> str:
    """Return what every form of this browser's session carries: an HMAC of the session's token.

    Before anybody signs in, a random cookie stands in for the session's, so that nobody can be
    signed in by another site either.
    """
    if not _cookie() and "visitor" not in g:
        g.visitor = secrets.token_urlsafe(32)
    return parts().sealer.index("console-form", g.get("visitor") or _cookie()).hex()


def open_session(answer: Response, token: str) -> None:
    """Hand the browser the token of a new session."""
    _set_cookie(answer, token)


def close_session(answer: Response) -> None:
    """Take the token back from the browser."""
    answer.delete_cookie(COOKIE, **_cookie_options())


def remember_visitor(answer: Response) -> Response:
    """Keep the random cookie that a form was made for."""
    if "visitor" in g:
        _set_cookie(answer, g.visitor)
    return answer


def _set_cookie(answer: Response, value: str) -> None:
    answer.set_cookie(COOKIE, value, **_cookie_options())


def _cookie_options() -> dict[str, Any]:
    return {
        "path": PATH,
        "httponly": True,
        "samesite": "Strict",
        "secure": parts().settings.base_url.startswith("https://"),
    }
