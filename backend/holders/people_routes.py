"""HTTP for what staff decide about people: permissions, data, the roster's say."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import category_changes, data_changes, permissions, viewing
from backend.holders.category_changes import ChangeWaiting
from backend.holders.data_changes import (
    ChangeDecided,
    DocumentInUse,
    DocumentWrong,
)
from backend.holders.models import (
    DataField,
    DocumentKind,
    Permission,
    PermissionOverride,
)
from backend.holders.people_schemas import (
    ApprovalRequest,
    DataChangeList,
    DataChangeReply,
    DataChangeRequest,
    OverrideReply,
    OverrideRequest,
    PersonReply,
)
from backend.holders.permissions import ExceptionOver
from backend.http.auth import Unauthenticated, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import RoleNotAllowed, caller_in

MOST = 200
LOOKS = (Role.CARD_CENTRE, Role.AUDITOR)

blueprint = guard(
    Blueprint(
        "staff-people", __name__, url_prefix="/staff", description="Staff: who a holder is (持卡人)"
    ),
    "operator",
    operators.authenticate,
)


@blueprint.route("/holders/<uuid:holder_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound)
@blueprint.response(200, PersonReply)
def read_person(holder_id: UUID) -> dict[str, Any]:
    """Show who a holder is and what their card is for; the look is in the operation log."""
    who = caller_in(*LOOKS)
    with transaction() as session:
        holder = viewing.view(session, holder_id=holder_id, actor=who.actor, now=clock.now())
        return {
            "holder_number": holder.holder_number,
            "numbers": category_changes.numbers_of(session, holder_id=holder_id),
            "category": holder.category,
            "employment": holder.employment,
            "identity": holder.identity,
            "unit": holder.unit,
            "entered_on": holder.entered_on,
            "valid_until": holder.valid_until,
            "permissions": permissions.permissions_of(holder),
            "overrides": permissions.list_overrides(session, holder_id=holder_id),
        }


@blueprint.route(
    "/holders/<uuid:holder_id>/permission-overrides/<uuid:override_id>", methods=["PUT"]
)
@blueprint.arguments(OverrideRequest)
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound, IdReused, ExceptionOver)
@blueprint.alt_response(201, schema=OverrideReply, description="Made now.")
@blueprint.response(200, OverrideReply)
@logged("holder.except", subject="override_id", holder="holder_id")
def make_override(request: dict[str, Any], holder_id: UUID, override_id: UUID) -> Any:
    """Make an exception from what a category may do (权限例外), until a day or until it is ended.

    It takes the place of an earlier one of the same permission, and holds from now on.
    """
    who = caller_in(Role.CARD_CENTRE)
    with transaction() as session:
        made, first = permissions.make_override(
            session,
            override_id=override_id,
            holder_id=holder_id,
            permission=Permission(request.pop("permission")),
            actor=who.actor,
            now=clock.now(),
            **request,
        )
    return made, 201 if first else 200


@blueprint.route(
    "/holders/<uuid:holder_id>/permission-overrides/<uuid:override_id>", methods=["DELETE"]
)
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound)
@blueprint.response(200, OverrideReply)
@logged("holder.end_exception", subject="override_id", holder="holder_id")
def end_override(holder_id: UUID, override_id: UUID) -> PermissionOverride:
    """End an exception: the category decides again.  A retry changes nothing."""
    who = caller_in(Role.CARD_CENTRE)
    with transaction() as session:
        return permissions.end_override(
            session,
            override_id=override_id,
            holder_id=holder_id,
            actor=who.actor,
            now=clock.now(),
        )


@blueprint.route("/holders/<uuid:holder_id>/data-changes/<uuid:change_id>", methods=["PUT"])
@blueprint.arguments(DataChangeRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    ChangeWaiting,
    DocumentWrong,
    DocumentInUse,
)
@blueprint.alt_response(201, schema=DataChangeReply, description="Proposed now.")
@blueprint.response(200, DataChangeReply)
@logged("holder.propose_data", subject="change_id", holder="holder_id")
def propose_data_change(request: dict[str, Any], holder_id: UUID, change_id: UUID) -> Any:
    """Propose a change of a name or a document, with its proof (信息变更); change a unit at once.

    A document number is compared and forgotten.
    """
    who = caller_in(Role.CARD_CENTRE)
    kind = request.pop("document_kind")
    with transaction() as session:
        change, first = data_changes.propose(
            session,
            change_id=change_id,
            holder_id=holder_id,
            field=DataField(request.pop("field")),
            document_kind=DocumentKind(kind) if kind else None,
            sealer=parts().sealer,
            actor=who.actor,
            now=clock.now(),
            **request,
        )
    return change, 201 if first else 200


@blueprint.route("/data-changes", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed)
@blueprint.response(200, DataChangeList)
def list_data_changes() -> dict[str, Any]:
    """List the changes that wait for a second person, the first 200, oldest first."""
    caller_in(*LOOKS)
    with transaction() as session:
        return {"items": data_changes.list_waiting(session, limit=MOST)}


@blueprint.route("/data-changes/<uuid:change_id>/approval", methods=["PUT"])
@blueprint.arguments(ApprovalRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    ChangeDecided,
    SecondPersonNeeded,
    DocumentInUse,
)
@blueprint.response(200, DataChangeReply)
@logged("holder.approve_data", subject="change_id")
def decide_data_change(request: dict[str, Any], change_id: UUID) -> Any:
    """Approve or refuse a change that another person proposed.  Retries get the first answer."""
    who = caller_in(Role.CARD_CENTRE)
    with transaction() as session:
        return data_changes.decide(
            session,
            change_id=change_id,
            approve=request["approve"],
            actor=who.actor,
            now=clock.now(),
        )[0]
