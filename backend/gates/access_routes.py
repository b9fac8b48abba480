"""HTTP for staff: who may pass a gate and when, who would be refused, and emergencies."""

from functools import partial
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.db import transaction
from backend.errors import NotFound
from backend.gates import access, emergencies, trial
from backend.gates.access import MAY_CHANGE, MAY_LOOK, HolderNumbersUnknown
from backend.gates.access_schemas import (
    AccessReply,
    AccessRequest,
    EmergencyList,
    EmergencyReply,
    EmergencyRequest,
    TrialReply,
    TrialRequest,
)
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.paging import CursorUnknown, PageQuery, page_of
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.service import RoleNotAllowed, caller_in

gates = guard(
    Blueprint(
        "staff-gates",
        __name__,
        url_prefix="/staff/gates",
        description="Staff: who may pass where and when (通行规则)",
    ),
    "operator",
    operators.authenticate,
)
declared = guard(
    Blueprint(
        "staff-emergencies",
        __name__,
        url_prefix="/staff/emergencies",
        description="Staff: emergencies (应急)",
    ),
    "operator",
    operators.authenticate,
)


@gates.route("/<uuid:terminal_id>/access", methods=["GET"])
@raises(gates, Unauthenticated, RoleNotAllowed, NotFound)
@gates.response(200, AccessReply)
def read_gate_access(terminal_id: UUID) -> dict[str, Any]:
    """Show a gate's settings and rules; version 0 is as shipped: everybody passes."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        return _access(session, terminal_id)


def _access(session: Session, terminal_id: UUID) -> dict[str, Any]:
    gate = access.find_gate(session, terminal_id=terminal_id)
    settings, said = access.access_of(session, terminal_id=terminal_id)
    return {
        "terminal_id": terminal_id,
        "place": gate.place,
        "version": settings.version if settings else 0,
        "since": settings.valid_from if settings else None,
        **access.spell(session, said),
    }


@gates.route("/<uuid:terminal_id>/access", methods=["PUT"])
@gates.arguments(AccessRequest)
@raises(gates, Unauthenticated, RoleNotAllowed, NotFound, HolderNumbersUnknown)
@gates.response(200, AccessReply)
@logged("gate.change_access", subject="terminal_id")
def change_gate_access(request: dict[str, Any], terminal_id: UUID) -> dict[str, Any]:
    """Put a gate's settings and rules in force, all of them; the same again changes nothing."""
    who = caller_in(*MAY_CHANGE)
    with transaction() as session:
        access.find_gate(session, terminal_id=terminal_id)
        access.change(
            session,
            terminal_id=terminal_id,
            wanted=access.understand(session, request),
            actor=who.actor,
            now=clock.now(),
        )
        session.flush()
        return _access(session, terminal_id)


@gates.route("/<uuid:terminal_id>/access/dry-run", methods=["POST"])
@gates.arguments(TrialRequest)
@raises(gates, Unauthenticated, RoleNotAllowed, NotFound, HolderNumbersUnknown)
@gates.response(200, TrialReply)
def try_gate_access(request: dict[str, Any], terminal_id: UUID) -> trial.Trial:
    """Tell who would be refused at a moment, by the present or by other rules; write nothing."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        access.find_gate(session, terminal_id=terminal_id)
        return trial.try_out(
            session,
            terminal_id=terminal_id,
            wanted=access.understand(session, request["settings"])
            if "settings" in request
            else None,
            at=request.get("at", clock.now()),
        )


@declared.route("", methods=["GET"])
@declared.arguments(PageQuery, location="query")
@raises(declared, Unauthenticated, RoleNotAllowed, CursorUnknown)
@declared.response(200, EmergencyList)
def list_emergencies(query: dict[str, Any]) -> dict[str, Any]:
    """List emergencies, newest first, also those that are over."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        found = page_of(
            partial(emergencies.list_all, session),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="starts_at",
        )
        return {
            **found,
            "items": emergencies.describe(session, found["items"], now=clock.now()),
        }


@declared.route("", methods=["POST"])
@declared.arguments(EmergencyRequest)
@raises(declared, Unauthenticated, RoleNotAllowed, NotFound)
@declared.response(201, EmergencyReply)
@logged("emergency.declare")
def declare_emergency(request: dict[str, Any]) -> dict[str, Any]:
    """Declare an emergency at one gate or at all: while it lasts, everybody may leave."""
    who = caller_in(*MAY_CHANGE)
    now = clock.now()
    with transaction() as session:
        made = emergencies.declare(session, actor=who.actor, now=now, **request)
        return emergencies.describe(session, [made], now=now)[0]


@declared.route("/<uuid:emergency_id>", methods=["DELETE"])
@raises(declared, Unauthenticated, RoleNotAllowed, NotFound)
@declared.response(204)
@logged("emergency.end", subject="emergency_id")
def end_emergency(emergency_id: UUID) -> None:
    """End an emergency before its time; one that is over stays so."""
    who = caller_in(*MAY_CHANGE)
    with transaction() as session:
        emergencies.end(session, emergency_id=emergency_id, actor=who.actor, now=clock.now())
