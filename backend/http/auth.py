"""Who calls.  Every blueprint names its guard; a feature says what a token stands for.

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

MAX_TOKEN_LENGTH = 200
Authenticate = Callable[[Session, str, Any], Any]
"""From a session, a bearer token and the time to the caller; raises Unauthenticated."""
GUARDS: dict[str, str] = {}
"""Blueprint name to the kind of its callers; a contract test reads it."""


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


def guard(blueprint: Blueprint, kind: str, authenticate: Authenticate | None) -> Blueprint:
    """Let only callers of one kind reach a blueprint; `nobody` with None leaves it open."""
    GUARDS[blueprint.name] = kind
    blueprint.ARGUMENTS_PARSER = BODY_PARSER  # read when the views below are decorated
    if authenticate is not None:

        def look_up() -> None:
            token = bearer_token()
            with transaction() as session:
                g.caller = authenticate(session, token, clock.now())

        blueprint.before_request(look_up)

    return blueprint


def caller() -> Any:
    """Return who calls: whatever the blueprint's `authenticate` returned."""
    return g.caller
