"""Every failure leaves as RFC 9457 problem details, from here and nowhere else."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import marshmallow as ma
from flask import Response, current_app, g, json, request
from flask_smorest import Api, Blueprint
from psycopg.errors import UniqueViolation
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from backend.errors import DomainError, Kind, ServiceUnavailable
from backend.http import words
from backend.ids import new_reference

STATUS = {
    Kind.INVALID: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.RATE_LIMITED: 429,
    Kind.UNAVAILABLE: 503,
}
HTTP_CODES = {
    400: "malformed-request",
    404: "not-found",
    405: "method-not-allowed",
    408: "body-too-slow",
    413: "body-too-large",
    415: "media-type-not-supported",
    422: "validation-failed",
}
PROBLEM_JSON = "application/problem+json"
REFUSALS = "x-refusals"
"""Where an endpoint keeps its refusals until `document.py` writes them out."""
DEFAULT_RETRY_AFTER_SECONDS = 2

log = logging.getLogger(__name__)


class DisplaySchema(ma.Schema):
    """What a terminal without logic of its own can show and say."""

    line1 = ma.fields.String(required=True)
    line2 = ma.fields.String(required=True)
    voice = ma.fields.String(required=True)


class ProblemSchema(ma.Schema):
    """RFC 9457 problem details.  Facts of the case stand beside the fixed members."""

    class Meta:
        unknown = ma.INCLUDE

    type = ma.fields.String(required=True)
    title = ma.fields.String(required=True)
    status = ma.fields.Integer(required=True)
    detail = ma.fields.String(required=True)
    code = ma.fields.String(required=True)
    reference = ma.fields.String(required=True)
    errors = ma.fields.Dict()
    display = ma.fields.Nested(DisplaySchema)


def problem(code: str, status: int, *, reference: str | None = None, **facts: Any) -> Response:
    """Return the answer that tells of a failure, in the caller's language."""
    said = words.of(code, facts)
    body = {
        "type": f"urn:campus-card:problem:{code}",
        "title": said.title,
        "status": status,
        "detail": said.detail,
        "code": code,
        "reference": reference or new_reference(),
    }
    answer = Response(json.dumps(facts | body), status, content_type=PROBLEM_JSON)
    answer.headers["Content-Language"] = words.language()
    if status in (STATUS[Kind.RATE_LIMITED], STATUS[Kind.UNAVAILABLE]):
        seconds = facts.get("retry_after", DEFAULT_RETRY_AFTER_SECONDS)
        answer.headers["Retry-After"] = str(seconds)
    if status == STATUS[Kind.UNAUTHENTICATED]:
        answer.headers["WWW-Authenticate"] = "Bearer"
    log.info("refused %s %s %s", request.method, code, body["reference"])
    return answer


@dataclass(frozen=True, slots=True)
class Told:
    """A refusal as it was told."""

    error: DomainError
    reference: str


def tell(error: DomainError) -> str:
    """Keep a refusal for the operation log; return the reference under which it is told."""
    reference = str(error.facts.get("reference") or new_reference())
    g.told = Told(error, reference)
    return reference


def refusal_told() -> Told | None:
    """Return the refusal that this request was answered with, or None."""
    told: Told | None = g.get("told")
    return told


def refuse(error: DomainError) -> Response:
    """Answer a refusal of a service."""
    reference = tell(error)
    facts = {name: fact for name, fact in error.facts.items() if name != "reference"}
    if request.blueprint in words.SCANNED:
        facts["display"] = words.refusal_display(error.code, facts)
    return problem(error.code, STATUS[error.kind], reference=reference, **facts)


def unavailable(_: Exception) -> Response:
    """Answer that a part is away: nothing is known to have happened."""
    return refuse(ServiceUnavailable())


def overtaken(error: IntegrityError) -> Response:
    """Answer that the same was done at the same moment: sent again, it gets the first answer."""
    if not isinstance(error.orig, UniqueViolation):
        return unexpected(error)
    log.warning("overtaken: %s", error.orig.diag.constraint_name)
    return refuse(ServiceUnavailable())


def unexpected(error: Exception) -> Response:
    """Answer a fault of ours: a reference, and no text of it."""
    reference = new_reference()
    current_app.logger.error("fault %s: %s", reference, type(error).__name__, exc_info=error)
    return problem("internal-error", 500, reference=reference)


class ProblemApi(Api):  # type: ignore[misc] # flask-smorest carries no types
    """Flask-Smorest, speaking problem details."""

    ERROR_SCHEMA = ProblemSchema

    def _register_error_handlers(self) -> None:
        super()._register_error_handlers()
        app = self._app
        app.register_error_handler(DomainError, refuse)
        for away in (OperationalError, InterfaceError, PoolTimeout):
            app.register_error_handler(away, unavailable)
        app.register_error_handler(IntegrityError, overtaken)
        app.register_error_handler(Exception, unexpected)

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Answer what Flask, Werkzeug or a schema refused, keeping headers such as Allow."""
        status = error.code or 500
        facts: dict[str, Any] = {}
        data = getattr(error, "data", None) or {}
        messages = data.get("messages")
        if messages and status == STATUS[Kind.INVALID]:
            facts["errors"] = _in_words(next(iter(messages.values())))
        answer = problem(HTTP_CODES.get(status, f"http-{status}"), status, **facts)
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                answer.headers[name] = value
        return answer


def _in_words(faults: Any) -> Any:
    """Return what is wrong with each field, in the caller's language, in marshmallow's shape."""
    if isinstance(faults, dict):
        return {name: _in_words(said) for name, said in faults.items()}
    if isinstance(faults, list):
        return [_in_words(said) for said in faults]
    return words.fault(faults)


def raises(
    blueprint: Blueprint, *errors: type[DomainError]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Document on an endpoint the refusals that it can answer with, in order of precedence."""
    document: Callable[[Callable[..., Any]], Callable[..., Any]] = blueprint.doc(
        **{REFUSALS: [error.code for error in errors]}
    )
    return document
