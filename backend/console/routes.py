"""Puts the console's pages together, and answers what goes wrong in them as pages."""

from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, current_app, redirect, render_template, request
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from backend.clock import SHANGHAI
from backend.console import (
    access,
    applications,
    arrears,
    bills,
    cards,
    cash_desk,
    closings,
    confirmation,
    departures,
    enrolment,
    found_cards,
    gates,
    graduates,
    holders,
    issues,
    language,
    lending,
    log,
    offline_money,
    operators,
    overview,
    payouts,
    people,
    policies,
    refunds,
    reratings,
    reviews,
    roster,
    screenings,
    search,
    sign_in,
    subsidies,
    surcharge_flags,
    terminals,
    top_ups,
)
from backend.errors import DomainError, NotFound, ServiceUnavailable
from backend.holders.rules import masked_name, masked_number
from backend.http.auth import Unauthenticated
from backend.http.problems import HTTP_CODES, STATUS, tell
from backend.ids import new_reference
from backend.money import yuan_text
from backend.operators.service import ConfirmationNeeded

POLICY = (
    "default-src 'self'; script-src 'none'; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
LANGUAGE_AGE_SECONDS = 365 * 24 * 3600
ROOMS: dict[str, tuple[str, ...]] = {
    "today": ("overview", "search"),
    "cards": ("people", "roster", "issues", "applications", "found-cards"),
    "money": ("top-ups", "cash-desk", "refunds", "arrears", "bills", "subsidies"),
    "leaving": ("departures", "graduates", "closings", "payouts", "screenings"),
    "places": ("terminals", "gates", "offline-money", "reviews", "lending"),
    "rules": ("policies", "surcharge-flags", "reratings", "log", "operators"),
}
"""What the navigation offers under each heading, in this order, to whom it is for."""

blueprint = Blueprint(
    "console",
    __name__,
    url_prefix=access.PATH,
    template_folder="templates",
    static_folder="static",
)
for page in (
    overview,
    search,
    holders,
    cards,
    found_cards,
    top_ups,
    refunds,
    departures,
    graduates,
    closings,
    subsidies,
    reratings,
    payouts,
    screenings,
    cash_desk,
    arrears,
    bills,
    reviews,
    lending,
    terminals,
    gates,
    offline_money,
    people,
    policies,
    surcharge_flags,
    roster,
    issues,
    applications,
    log,
    operators,
    confirmation,
):
    blueprint.register_blueprint(page.blueprint)
blueprint.register_blueprint(sign_in.public)
blueprint.register_blueprint(enrolment.public)
blueprint.register_blueprint(sign_in.blueprint)
blueprint.before_request(access.enter)
blueprint.after_request(access.remember_visitor)


def install(app: Flask) -> None:
    """Serve the console."""
    app.register_blueprint(blueprint)


def _rooms() -> dict[str, list[str]]:
    """Return what whoever is signed in may open, by heading."""
    open_ = {
        name: [room for room in rooms if access.may_open(room)] for name, rooms in ROOMS.items()
    }
    return {name: rooms for name, rooms in open_.items() if rooms}


@blueprint.context_processor
def words() -> dict[str, Any]:
    """Give the templates their words and who is looking."""
    return {
        "say": language.say,
        "word": language.word,
        "refused": language.refusal,
        "language": language.language(),
        "other_language": language.other_language(),
        "form_token": access.form_token,
        "signed_in": access.signed_in(),
        "rooms": _rooms(),
        "may_open": access.may_open,
        "log_facts": log.facts_of,
        "here": f"{request.path}?{request.query_string.decode()}".rstrip("?")
        if request.method == "GET" and request.url_rule
        else access.PATH + "/",
    }


@blueprint.app_template_filter("yuan")
def yuan(amount_fen: int | None) -> str:
    """Return an amount as people read it.

    >>> yuan(-300), yuan(1250), yuan(None)
    ('−¥3.00', '¥12.50', '—')
    """
    if amount_fen is None:
        return "—"
    return f"{'−' if amount_fen < 0 else ''}¥{yuan_text(abs(amount_fen))}"


@blueprint.app_template_filter("moment")
def moment(at: Any) -> str:
    """Return a moment by the school's clock."""
    return "—" if at is None else f"{at.astimezone(SHANGHAI):%Y-%m-%d %H:%M:%S}"


blueprint.add_app_template_filter(masked_name)
blueprint.add_app_template_filter(masked_number)


@blueprint.post("/language", endpoint="language")
def choose_language() -> Response:
    """Remember the language, and go back to where it was chosen."""
    answer = go(back_to(request.form.get("to", "")))
    chosen = request.form.get("language")
    if chosen in language.LANGUAGES:
        answer.set_cookie(
            language.COOKIE,
            chosen,
            max_age=LANGUAGE_AGE_SECONDS,
            path=access.PATH,
            httponly=True,
            samesite="Strict",
        )
    return answer


def back_to(said: str) -> str:
    """Return an address of the console that a form named, or its first page.

    >>> back_to("/console/log?action=x"), back_to("//elsewhere/console/"), back_to("/console//x")
    ('/console/log?action=x', '/console/', '/console//x')
    """
    parts = urlsplit(said) if said.isprintable() and "\\" not in said else urlsplit("")
    if parts.scheme or parts.netloc or not parts.path.startswith(access.PATH + "/"):
        return access.PATH + "/"
    return said


def go(address: str) -> Response:
    """Return the answer that leads on."""
    answer = Response(status=303)
    answer.headers["Location"] = address
    return answer


@blueprint.route("/<path:_>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def nowhere(_: str) -> Response:
    """Answer addresses that lead nowhere with a page, to those who are signed in."""
    raise NotFound


@blueprint.errorhandler(Unauthenticated)
def send_to_sign_in(_: Unauthenticated) -> Any:
    """Lead whoever is not signed in, or no longer, to where one signs in."""
    return redirect(access.PATH + "/sign-in", 303)


@blueprint.errorhandler(ConfirmationNeeded)
def ask_to_confirm(error: ConfirmationNeeded) -> Response:
    """Ask whoever is signed in to show a one-time code anew."""
    return confirmation.ask(error)


@blueprint.errorhandler(DomainError)
def refuse(error: DomainError) -> Response:
    """Show a refusal of a service."""
    said = language.refusal(error.code, dict(error.facts))
    return show(said.title, said.detail, STATUS[error.kind], tell(error))


@blueprint.errorhandler(OperationalError)
@blueprint.errorhandler(InterfaceError)
@blueprint.errorhandler(PoolTimeout)
def unavailable(_: Exception) -> Response:
    """Show that a part is away."""
    return refuse(ServiceUnavailable())


@blueprint.errorhandler(HTTPException)
def refuse_request(error: HTTPException) -> Response:
    """Show what Flask refused."""
    status = error.code or 500
    if status == HTTPStatus.FORBIDDEN:
        return show(language.say("form", "title"), language.say("form", "detail"), status)
    said = language.refusal(HTTP_CODES.get(status, "other"), {})
    return show(said.title, said.detail, status)


@blueprint.errorhandler(Exception)
def unexpected(error: Exception) -> Response:
    """Show a fault of ours: a reference, and no text of it."""
    reference = new_reference()
    current_app.logger.error("fault %s: %s", reference, type(error).__name__, exc_info=error)
    said = language.refusal("internal-error", {})
    return show(said.title, said.detail, 500, reference)


def show(title: str, detail: str, status: int, reference: object = None) -> Response:
    """Return the page of a refusal, with the reference by which it can be asked about."""
    page = render_template(
        "console/refusal.html",
        title=title,
        detail=detail,
        reference=reference or new_reference(),
    )
    return Response(page, status)


@blueprint.after_request
def harden(answer: Response) -> Response:
    """Set the headers that keep browsers careful."""
    answer.headers["Content-Security-Policy"] = POLICY
    if request.endpoint != "console.static":
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["Content-Language"] = language.language()
    return answer
