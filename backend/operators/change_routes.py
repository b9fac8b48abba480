"""HTTP for operators' access: appoint, change, suspend, recover; set the secrets."""

from typing import Any
from uuid import UUID

from flask import Response, json
from flask_smorest import Blueprint

from backend import clock
from backend.db import transaction
from backend.errors import IdReused, NotFound, ServiceUnavailable
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import changes, enrolment, rules, service
from backend.operators.changes import (
    LastAdministrator,
    OperatorChangeDecided,
    OperatorChangeNotPossible,
    OperatorChangeWaits,
    OwnAccess,
    UsernameTaken,
)
from backend.operators.enrolment import OperatorEnrolmentRefused, PasswordWeak
from backend.operators.models import ChangeKind, OperatorChange
from backend.operators.schemas import (
    AppointmentRequest,
    EnrolmentBeginRequest,
    EnrolmentBegunReply,
    EnrolmentFinishRequest,
    OperatorChangeReply,
    OperatorChangeRequest,
    OperatorDecisionRequest,
    OperatorList,
    OperatorTokenReply,
)
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import (
    ConfirmationNeeded,
    OperatorCaller,
    RoleNotAllowed,
    TotpWrong,
    caller_in,
)

MOST_CHANGES = 200

blueprint = guard(
    Blueprint(
        "operators", __name__, url_prefix="/staff/operators", description="Staff: who works here"
    ),
    "operator",
    service.authenticate,
)
public = guard(
    Blueprint(
        "operator-enrolments",
        __name__,
        url_prefix="/staff/enrolments",
        description="Staff: set password and second factor",
    ),
    "nobody",
    None,
)


@blueprint.route("", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed)
@blueprint.response(200, OperatorList)
def list_operators() -> dict[str, Any]:
    """List everybody who works here or did, and the newest changes."""
    caller().must_be(*rules.MAY_LOOK)
    with transaction() as session:
        made = changes.list_changes(session, limit=MOST_CHANGES)
        people = {id_ for one in made for id_ in (one.made_by, one.approved_by) if id_}
        names = service.usernames(session, people)
        return {
            "items": changes.list_operators(session),
            "changes": [_reply(one, names) for one in made],
        }


@blueprint.route("/<uuid:operator_id>", methods=["PUT"])
@blueprint.arguments(AppointmentRequest)
@raises(
    blueprint, Unauthenticated, RoleNotAllowed, ConfirmationNeeded, NotFound, IdReused, OwnAccess,
    UsernameTaken, OperatorChangeWaits,
)  # fmt: skip
@blueprint.response(201, OperatorChangeReply)
@blueprint.alt_response(200, schema=OperatorChangeReply, description="It was proposed before.")
@logged("operator.change_make", subject="operator_id")
def appoint_operator(request: dict[str, Any], operator_id: UUID) -> Response:
    """Propose somebody new; another person approves."""
    who = _may(ChangeKind.APPOINT)
    with transaction() as session:
        made, first = changes.appoint(
            session, operator_id=operator_id, maker=who, now=clock.now(), **request
        )
        session.flush()
        said = _reply(made, service.usernames(session, [made.made_by]))
    return _answer(said, first=first)


@blueprint.route("/<uuid:operator_id>/changes/<uuid:change_id>", methods=["PUT"])
@blueprint.arguments(OperatorChangeRequest)
@raises(
    blueprint, Unauthenticated, RoleNotAllowed, ConfirmationNeeded, NotFound, IdReused, OwnAccess,
    OperatorChangeNotPossible, OperatorChangeWaits, LastAdministrator,
)  # fmt: skip
@blueprint.response(201, OperatorChangeReply)
@blueprint.alt_response(200, schema=OperatorChangeReply, description="It was proposed before.")
@logged("operator.change_make", subject="operator_id")
def change_operator(request: dict[str, Any], operator_id: UUID, change_id: UUID) -> Response:
    """Propose another role, the return or a new second factor; or suspend, at once."""
    who = _may(ChangeKind(request["kind"]))
    with transaction() as session:
        made, first = changes.change(
            session,
            change_id=change_id,
            operator_id=operator_id,
            kind=ChangeKind(request["kind"]),
            role=request["role"],
            maker=who,
            now=clock.now(),
        )
        session.flush()
        said = _reply(made, service.usernames(session, [made.made_by]))
    return _answer(said, first=first)


@blueprint.route("/<uuid:operator_id>/changes/<uuid:change_id>/decision", methods=["PUT"])
@blueprint.arguments(OperatorDecisionRequest)
@raises(
    blueprint, Unauthenticated, RoleNotAllowed, ConfirmationNeeded, NotFound, OperatorChangeDecided,
    OwnAccess, SecondPersonNeeded, UsernameTaken, OperatorChangeNotPossible, LastAdministrator,
)  # fmt: skip
@blueprint.response(200, OperatorChangeReply)
@logged("operator.change_decide", subject="operator_id")
def decide_operator_change(
    request: dict[str, Any], operator_id: UUID, change_id: UUID
) -> dict[str, Any]:
    """Approve what somebody else proposed, or refuse it."""
    who = caller_in(*rules.MAY_APPROVE)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        made, _ = changes.decide(
            session,
            change_id=change_id,
            operator_id=operator_id,
            approve=request["approve"],
            checker=who,
            now=clock.now(),
        )
        people = {made.made_by} | ({made.approved_by} if made.approved_by else set())
        return _reply(made, service.usernames(session, people))


@blueprint.route("/<uuid:operator_id>/enrolment-token", methods=["POST"])
@raises(
    blueprint, Unauthenticated, RoleNotAllowed, ConfirmationNeeded, NotFound, OwnAccess,
    OperatorChangeNotPossible,
)  # fmt: skip
@blueprint.response(201, OperatorTokenReply)
@logged("operator.invite", subject="operator_id")
def invite_operator(operator_id: UUID) -> dict[str, Any]:
    """Give out the token with which an approved person sets password and second factor."""
    who = caller_in(*rules.MAY_APPROVE)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        token, issued = enrolment.issue(
            session, operator_id=operator_id, issuer=who, now=clock.now()
        )
    return {"enrolment_token": token, "expires_at": issued.expires_at}


@public.route("", methods=["POST"])
@public.arguments(EnrolmentBeginRequest)
@raises(public, OperatorEnrolmentRefused, PasswordWeak, ServiceUnavailable)
@public.response(201, EnrolmentBegunReply)
@logged("operator.enrol")
def begin_enrolment(request: dict[str, Any]) -> dict[str, Any]:
    """Choose a password and get the secret for an authenticator; none is shown twice."""
    with transaction() as session:
        operator, secret = enrolment.choose(
            session,
            token=request["enrolment_token"],
            password=request["password"],
            sealer=parts().sealer,
            now=clock.now(),
        )
        return {
            "username": operator.username,
            "totp_secret": secret,
            "totp_uri": enrolment.secret_uri(operator, secret),
        }


@public.route("/confirmation", methods=["POST"])
@public.arguments(EnrolmentFinishRequest)
@raises(public, OperatorEnrolmentRefused, TotpWrong)
@public.response(204)
@logged("operator.enrol")
def finish_enrolment(request: dict[str, Any]) -> None:
    """Show that the authenticator has the secret: from then on one signs in with both."""
    with transaction() as session:
        enrolment.finish(
            session,
            token=request["enrolment_token"],
            totp=request["totp"],
            sealer=parts().sealer,
            now=clock.now(),
        )


def _may(kind: ChangeKind) -> OperatorCaller:
    who = caller_in(*rules.MAY_MAKE[kind])
    who.must_have_confirmed(clock.now())
    return who


def _answer(said: dict[str, Any], *, first: bool) -> Response:
    return Response(
        json.dumps(OperatorChangeReply().dump(said)),
        201 if first else 200,
        content_type="application/json",
    )


def _reply(made: OperatorChange, names: dict[UUID, str]) -> dict[str, Any]:
    same = ("id", "operator_id", "kind", "role", "made_at", "approved", "decided_at")
    return {name: getattr(made, name) for name in same} | {
        "maker": names.get(made.made_by, ""),
        "checker": names.get(made.approved_by, "") if made.approved_by else None,
    }
