"""Who calls.  Every blueprint names its guard; a feature says what a token or a key stands for.

The tokens are opaque and random, only their hashes are stored, and each request looks them up:
what was ended a moment ago is refused now.
"""

from collections.abc import Callable
from typing import Any

from flask import g, request
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.db import transaction
from backend.errors import DomainError, Kind
from backend.http.json_body import BODY_PARSER
from backend.http.signatures import Signature, is_signed, read_signature

MAX_TOKEN_LENGTH = 200
Authenticate = Callable[[Session, str, Any], Any]
"""From a session, a bearer token and the time to the caller; raises Unauthenticated."""
AuthenticateSigned = Callable[[Session, Signature, Any], Any]
"""From a session, a signature and the time to the caller whose key it is, with it checked."""
GUARDS: dict[str, str] = {}
"""Blueprint name to the kind of its callers; a contract test reads it."""
SIGNED: set[str] = set()
"""The blueprints whose callers may sign instead of showing a token."""


class Unauthenticated(DomainError, code="unauthenticated", kind=Kind.UNAUTHENTICATED):
    """The token is missing, unknown, ended or expired."""


def bearer_token() -> str:
    """Return the token of this request.

    Raises:
        Unauthenticated: there is none.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_LENGTH:
        raise Unauthenticated
    return token


def guard(
    blueprint: Blueprint,
    kind: str,
    authenticate: Authenticate | None,
    authenticate_signed: AuthenticateSigned | None = None,
) -> Blueprint:
    """Let only callers of one kind reach a blueprint; `nobody` with None leaves it open.

    With `authenticate_signed` a caller may sign the request.  An `Authorization` that comes along
    decides alone: nobody is let in by one proof for what the other would not cover.
    """
    GUARDS[blueprint.name] = kind
    blueprint.ARGUMENTS_PARSER = BODY_PARSER  # read when the views below are decorated
    if authenticate is not None:

        def look_up() -> None:
            if (
                authenticate_signed
                and is_signed(request)
                and "Authorization" not in request.headers
            ):
                signature = read_signature(request)
                with transaction() as session:
                    g.caller = authenticate_signed(session, signature, clock.now())
                signature.check_body(request.get_data())  # read for those only whom we know
            else:
                token = bearer_token()
                with transaction() as session:
                    g.caller = authenticate(session, token, clock.now())

        blueprint.before_request(look_up)
    if authenticate_signed is not None:
        SIGNED.add(blueprint.name)
    return blueprint


def caller() -> Any:
    """Return who calls: whatever the blueprint's `authenticate` returned."""
    return g.caller
