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
from backend.operation_log.models import LogChannel
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.service import RoleNotAllowed, caller_in
from backend.terminals import heartbeats, service
from backend.terminals.models import Terminal
from backend.terminals.schemas import (
    AlarmList,
    CredentialReply,
    EnrolmentRequest,
    HeartbeatReply,
    HeartbeatRequest,
    InvitationReply,
    RollRequest,
    TerminalList,
    TerminalReply,
)
from backend.terminals.service import (
    DeviceKeyInUse,
    DeviceKeyNeeded,
    EnrolmentRefused,
    TerminalCaller,
)

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
    service.authenticate_signed,
)


@public.route("/enrolments", methods=["POST"])
@public.arguments(EnrolmentRequest)
@raises(public, EnrolmentRefused, DeviceKeyInUse, TooManyRequests)
@public.response(201, CredentialReply)
@logged("terminal.enrol", channel=LogChannel.TERMINAL)
def enrol(request: dict[str, Any]) -> dict[str, Any]:
    """Become the terminal that a one-time token names, within 15 minutes.

    With a `public_key` of its own the device signs every request from now on and gets no token.
    """
    parts().rates.count(
        f"enrolment:{http_request.remote_addr}", most=ENROLMENTS_A_MINUTE, seconds=60
    )
    with transaction() as session:
        terminal, token = service.enrol(session, now=clock.now(), **request)
    return _credential(terminal, token)


def _credential(terminal: Terminal, token: str | None) -> dict[str, Any]:
    return {"terminal_id": terminal.id, "token": token, "key_id": terminal.key_id}


@blueprint.route("/current", methods=["GET"])
@raises(blueprint, Unauthenticated)
@blueprint.response(200, TerminalReply)
def read_terminal() -> dict[str, Any]:
    """Show which terminal calls."""
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
@blueprint.arguments(RollRequest)
@raises(blueprint, Unauthenticated, DeviceKeyInUse, DeviceKeyNeeded)
@blueprint.response(200, CredentialReply)
@logged("terminal.roll")
def roll(request: dict[str, Any]) -> dict[str, Any]:
    """Get a new token, or change over to a new device key; the old one is dead at once.

    A terminal with a device key names its next one, and signs with the old one.  If no answer
    comes, send the same signed by the new key: that answers whether it was done or not.
    """
    with transaction() as session:
        terminal, token = service.roll(
            session, caller=caller(), public_key=request.get("public_key"), now=clock.now()
        )
    return _credential(terminal, token)


@blueprint.route("/current/heartbeat", methods=["POST"])
@blueprint.arguments(HeartbeatRequest)
@raises(blueprint, Unauthenticated)
@blueprint.response(200, HeartbeatReply)
def heartbeat(request: dict[str, Any]) -> dict[str, Any]:
    """Tell every 30 seconds that the terminal is alive, and learn what it is asked to do."""
    now = clock.now()
    with transaction() as session:
        terminal = heartbeats.note_heartbeat(session, caller=caller(), now=now, **request)
    return {
        "server_time": now,
        "clock_offset_seconds": terminal.clock_offset_seconds,
        "commands": heartbeats.commands_for(terminal),
    }


staff = guard(
    Blueprint(
        "staff-terminals",
        __name__,
        url_prefix="/staff",
        description="Staff: terminals (终端管理)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("/terminals", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed)
@staff.response(200, TerminalList)
def list_terminals() -> dict[str, Any]:
    """List every terminal and when it was last heard of."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        return {"items": service.list_all(session)}


@staff.route("/terminal-alarms", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed)
@staff.response(200, AlarmList)
def list_terminal_alarms() -> dict[str, Any]:
    """List what is wrong with terminals now, the oldest first (终端告警)."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        alarms = heartbeats.list_alarms(session, now=clock.now())
    return {
        "items": [
            {"alarm": alarm.kind, "since": alarm.since, "terminal": alarm.terminal}
            for alarm in alarms
        ]
    }


@staff.route("/terminals/<uuid:terminal_id>/enrolment-token", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(201, InvitationReply)
@logged("terminal.invite", subject="terminal_id")
def invite_terminal(terminal_id: UUID) -> dict[str, Any]:
    """Make a one-time token with which a device enrols as this terminal."""
    who = caller_in(Role.CARD_CENTRE)
    now = clock.now()
    with transaction() as session:
        token = service.invite(session, terminal_id=terminal_id, actor=who.actor, now=now)
    return {
        "terminal_id": terminal_id,
        "enrolment_token": token,
        "expires_at": now + service.ENROLMENT_LIFE,
    }


@staff.route("/terminals/<uuid:terminal_id>", methods=["DELETE"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(204)
@logged("terminal.revoke", subject="terminal_id")
def revoke_terminal(terminal_id: UUID) -> None:
    """Shut a terminal out for ever."""
    who = caller_in(Role.CARD_CENTRE)
    with transaction() as session:
        service.revoke(session, terminal_id=terminal_id, actor=who.actor, now=clock.now())
