"""Operators (操作员): who works here and as what, and what waits for a second person."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend import clock
from backend.console import access, forms
from backend.db import transaction
from backend.ids import new_id
from backend.operation_log.refusals import logged
from backend.operators import changes, enrolment, rules, service
from backend.operators.models import ChangeKind, Role
from backend.operators.schemas import AppointmentRequest, OperatorChangeRequest

MOST_CHANGES = 50
APPOINTMENT = AppointmentRequest(unknown=ma.EXCLUDE)
CHANGE = OperatorChangeRequest(unknown=ma.EXCLUDE)

blueprint = Blueprint("operators", __name__, url_prefix="/operators")


@blueprint.get("")
def show() -> str:
    """List everybody, the changes that wait and those of late."""
    who = access.operator()
    with transaction() as session:
        made = changes.list_changes(session, limit=MOST_CHANGES)
        everybody = changes.list_operators(session)
        return render_template(
            "console/operators.html",
            operators=everybody,
            changes=made,
            usernames={operator.id: operator.username for operator in everybody},
            roles=Role,
            me=who.operator_id,
            may_appoint=who.role in rules.MAY_MAKE[ChangeKind.APPOINT],
            may_approve=who.role in rules.MAY_APPROVE,
            kinds={
                operator.id: [
                    kind
                    for kind, states in rules.FROM.items()
                    if operator.state in states
                    and who.role in rules.MAY_MAKE[kind]
                    and operator.id != who.operator_id
                ]
                for operator in everybody
            },
            new_id=new_id,
        )


@blueprint.post("/<uuid:operator_id>")
@logged("operator.change_make", subject="operator_id")
def appoint(operator_id: UUID) -> Response:
    """Propose somebody new.  The page made the id, so a form sent twice is one proposal."""
    who = access.operator_in(*rules.MAY_MAKE[ChangeKind.APPOINT])
    said = _read(APPOINTMENT)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        changes.appoint(session, operator_id=operator_id, maker=who, now=clock.now(), **said)
    return _back()


@blueprint.post("/<uuid:operator_id>/changes/<uuid:change_id>")
@logged("operator.change_make", subject="operator_id")
def change(operator_id: UUID, change_id: UUID) -> Response:
    """Propose a change of somebody who is there, or suspend them at once."""
    who = access.operator_in(*rules.MAY_MAKE[ChangeKind.RECOVER])
    said = _read(CHANGE)
    kind = ChangeKind(said["kind"])
    who.must_be(*rules.MAY_MAKE[kind])
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        changes.change(
            session,
            change_id=change_id,
            operator_id=operator_id,
            kind=kind,
            role=said["role"],
            maker=who,
            now=clock.now(),
        )
    return _back()


@blueprint.post("/<uuid:operator_id>/changes/<uuid:change_id>/decision")
@logged("operator.change_decide", subject="operator_id")
def decide(operator_id: UUID, change_id: UUID) -> Response:
    """Approve or refuse what somebody else proposed."""
    who, approve = access.operator_in(*rules.MAY_APPROVE), forms.decision()
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        changes.decide(
            session,
            change_id=change_id,
            operator_id=operator_id,
            approve=approve,
            checker=who,
            now=clock.now(),
        )
    return _back()


@blueprint.post("/<uuid:operator_id>/enrolment-token")
@logged("operator.invite", subject="operator_id")
def invite(operator_id: UUID) -> str:
    """Show a token once: with it the person sets password and second factor."""
    who = access.operator_in(*rules.MAY_APPROVE)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        token, issued = enrolment.issue(
            session, operator_id=operator_id, issuer=who, now=clock.now()
        )
        return render_template(
            "console/operator_token.html",
            token=token,
            username=service.usernames(session, [operator_id])[operator_id],
            expires_at=issued.expires_at,
        )


def _read(schema: ma.Schema) -> dict[str, Any]:
    """Return what a form says; what is empty was not said."""
    try:
        said: dict[str, Any] = schema.load({k: v for k, v in request.form.items() if v})
    except ma.ValidationError:
        abort(422)
    return said


def _back() -> Response:
    return redirect(url_for("console.operators.show"), 303)
