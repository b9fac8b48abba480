"""HTTP for terminals: enrol once, then look, roll, and tell that one is alive."""

from typing import Any
from uuid import UUID

from flask import request as http_request
from flask_smorest import Blueprint

from backend import clock
from backend.db import transaction
from backend.errors import NotFound
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.http.rates import TooManyRequests
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.service import OperatorCaller, RoleNotAllowed
from backend.terminals import service
from backend.terminals.schemas import (
    EnrolmentRequest,
    HeartbeatReply,
    HeartbeatRequest,
    InvitationReply,
    TerminalList,
    TerminalReply,
    TokenReply,
)
from backend.terminals.service import EnrolmentRefused, TerminalCaller

ENROLMENTS_A_MINUTE = 60
MAY_LOOK = (Role.CARD_CENTRE, Role.LOGISTICS, Role.AUDITOR)

public = guard(
    Blueprint("enrolments", __name__, url_prefix="/terminals", description="Enrol a terminal"),
    "nobody",
    None,
)
blueprint = guard(
    Blueprint("terminals", __name__, url_prefix="/terminals", description="The terminal (终端)"),
    "terminal",
    service.authenticate,
)


@public.route("/enrolments", methods=["POST"])
@public.arguments(EnrolmentRequest)
@raises(public, EnrolmentRefused, TooManyRequests)
@public.response(201, TokenReply)
def enrol(request: dict[str, Any]) -> dict[str, Any]:
    """Become the terminal that a one-time token names, within 15 minutes."""
    parts().rates.count(
        f"enrolment:{http_request.remote_addr}", most=ENROLMENTS_A_MINUTE, seconds=60
    )
    with transaction() as session:
        terminal, token = service.enrol(session, now=clock.now(), **request)
    return {"terminal_id": terminal.id, "token": token}


@blueprint.route("/current", methods=["GET"])
@raises(blueprint, Unauthenticated)
@blueprint.response(200, TerminalReply)
def read_terminal() -> dict[str, Any]:
    """Show which terminal this token is."""
    who: TerminalCaller = caller()
    return {
        "terminal_id": who.terminal_id,
        "kind": who.kind,
        "place": who.place,
        "merchant": who.merchant,
        "stall": who.stall,
        "reader": who.reader,
        "server_time": clock.now(),
    }


@blueprint.route("/current/roll", methods=["POST"])
@raises(blueprint, Unauthenticated)
@blueprint.response(200, TokenReply)
def roll() -> dict[str, Any]:
    """Get a new token; the old one is dead at once."""
    who: TerminalCaller = caller()
    with transaction() as session:
        token = service.roll(session, caller=who, now=clock.now())
    return {"terminal_id": who.terminal_id, "token": token}


@blueprint.route("/current/heartbeat", methods=["POST"])
@blueprint.arguments(HeartbeatRequest)
@raises(blueprint, Unauthenticated)
@blueprint.response(200, HeartbeatReply)
def heartbeat(request: dict[str, Any]) -> dict[str, Any]:
    """Tell that the terminal is alive, and learn the server's time."""
    now = clock.now()
    with transaction() as session:
        service.note_alive(session, caller=caller(), software=request.get("software"), now=now)
    return {"server_time": now, "commands": []}


staff = guard(
    Blueprint(
        "staff-terminals",
        __name__,
        url_prefix="/staff/terminals",
        description="Staff: terminals (终端管理)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed)
@staff.response(200, TerminalList)
def list_terminals() -> dict[str, Any]:
    """List every terminal and when it was last heard of."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        return {"items": service.list_all(session)}


@staff.route("/<uuid:terminal_id>/enrolment-token", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(201, InvitationReply)
def invite_terminal(terminal_id: UUID) -> dict[str, Any]:
    """Make a one-time token with which a device enrols as this terminal."""
    who: OperatorCaller = caller()
    who.must_be(Role.CARD_CENTRE)
    now = clock.now()
    with transaction() as session:
        token = service.invite(session, terminal_id=terminal_id, actor=who.actor, now=now)
    return {
        "terminal_id": terminal_id,
        "enrolment_token": token,
        "expires_at": now + service.ENROLMENT_LIFE,
    }


@staff.route("/<uuid:terminal_id>", methods=["DELETE"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(204)
def revoke_terminal(terminal_id: UUID) -> None:
    """Shut a terminal out for ever."""
    who: OperatorCaller = caller()
    who.must_be(Role.CARD_CENTRE)
    with transaction() as session:
        service.revoke(session, terminal_id=terminal_id, actor=who.actor, now=clock.now())
