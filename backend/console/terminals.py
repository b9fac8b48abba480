"""Terminals (终端): what each tells of itself and what is wrong; enrol and revoke them."""

from uuid import UUID

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend import clock
from backend.console import access
from backend.db import transaction
from backend.operation_log.refusals import logged
from backend.operators.models import Role
from backend.terminals import heartbeats, service

blueprint = Blueprint("terminals", __name__, url_prefix="/terminals")


@blueprint.get("")
def show() -> str:
    """List every terminal."""
    now = clock.now()
    with transaction() as session:
        alarms = heartbeats.list_alarms(session, now=now)
        return render_template(
            "console/terminals.html",
            terminals=service.list_all(session),
            alarms=alarms,
            troubles={
                id_: [alarm for alarm in alarms if alarm.terminal.id == id_]
                for id_ in {alarm.terminal.id for alarm in alarms}
            },
            may_change=access.operator().role is Role.CARD_CENTRE,
            revoked="revoked" in request.args,
        )


@blueprint.post("/<uuid:terminal_id>/enrolment-token")
@logged("terminal.invite", subject="terminal_id")
def invite(terminal_id: UUID) -> str:
    """Make a one-time token and show it, this once."""
    who = access.operator_in(Role.CARD_CENTRE)
    now = clock.now()
    with transaction() as session:
        token = service.invite(session, terminal_id=terminal_id, actor=who.actor, now=now)
        terminal = service.find(session, terminal_id=terminal_id)
    return render_template(
        "console/enrolment_token.html",
        terminal=terminal,
        token=token,
        expires_at=now + service.ENROLMENT_LIFE,
    )


@blueprint.get("/<uuid:terminal_id>/revoke")
def ask_to_revoke(terminal_id: UUID) -> str:
    """Ask once more: a revoked terminal never comes back."""
    access.operator_in(Role.CARD_CENTRE)
    with transaction() as session:
        terminal = service.find(session, terminal_id=terminal_id)
    return render_template("console/revoke.html", terminal=terminal)


@blueprint.post("/<uuid:terminal_id>/revoke")
@logged("terminal.revoke", subject="terminal_id")
def revoke(terminal_id: UUID) -> Response:
    """Shut a terminal out for ever."""
    who = access.operator_in(Role.CARD_CENTRE)
    with transaction() as session:
        service.revoke(session, terminal_id=terminal_id, actor=who.actor, now=clock.now())
    return redirect(url_for("console.terminals.show", revoked=1), 303)
