"""HTTP for applications: made, approved, opened, extended, ended early."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.applications import ending, opening, service
from backend.applications.ending import ApplicationNotOpened, LeavingNotEarly, LeftEarly
from backend.applications.models import Applicant, Application, ApplicationState
from backend.applications.opening import (
    ApplicationNotApproved,
    ReceiptNeeded,
    ReceiptNumberUsed,
)
from backend.applications.rules import PeriodNotPossible
from backend.applications.schemas import (
    ApplicationList,
    ApplicationReply,
    ApplicationRequest,
    ApplicationsQuery,
    ApplicationSummary,
    EarlyLeavingReply,
    EarlyLeavingRequest,
    ExtensionReply,
    ExtensionRequest,
    OaApprovalReply,
    OaApprovalRequest,
    OpeningReply,
    OpeningRequest,
)
from backend.applications.service import (
    MAKERS,
    MAY_LOOK,
    TELL_OF_LEAVING,
    ApplicationOpened,
    ApplicationWithdrawn,
    ApprovalAhead,
    ApprovalRecorded,
    DocumentsNotValid,
    OaNumberUsed,
    Paper,
    SponsorNotStaff,
    Wanted,
)
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders.rules import masked_name
from backend.http.auth import Unauthenticated, guard
from backend.http.paging import CursorUnknown, page_of
from backend.http.parts import parts
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.service import RoleNotAllowed, caller_in

blueprint = guard(
    Blueprint(
        "applications",
        __name__,
        url_prefix="/staff/applications",
        description="Staff: temporary cards by application (临时卡申请)",
    ),
    "operator",
    operators.authenticate,
)


@blueprint.route("", methods=["GET"])
@blueprint.arguments(ApplicationsQuery, location="query")
@raises(blueprint, Unauthenticated, RoleNotAllowed, CursorUnknown)
@blueprint.response(200, ApplicationList)
def list_applications(query: dict[str, Any]) -> dict[str, Any]:
    """List applications, newest first."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        found = page_of(
            partial(
                service.list_applications,
                session,
                state=None if query["state"] == "all" else ApplicationState(query["state"]),
            ),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="made_at",
        )
        return found | {"items": [_summary(one) for one in found["items"]]}


@blueprint.route("/<uuid:application_id>", methods=["PUT"])
@blueprint.arguments(ApplicationRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    PeriodNotPossible,
    DocumentsNotValid,
    SponsorNotStaff,
    OaNumberUsed,
)
@blueprint.alt_response(201, schema=ApplicationReply, description="Recorded now.")
@blueprint.response(200, ApplicationReply)
@logged("application.make", subject="application_id")
def make_application(wanted: Wanted, application_id: UUID) -> Any:
    """Record an application of the OA, for one person or many; document numbers are forgotten.

    A retry gets the first answer; `GET` tells how it stands by now.
    """
    who = caller_in(*MAKERS)
    with transaction() as session:
        application, first = service.make(
            session,
            application_id=application_id,
            wanted=wanted,
            sealer=parts().sealer,
            operator=who,
            now=clock.now(),
        )
        told = _whole(session, application)
    return _as_made(told, wanted), 201 if first else 200


def _as_made(told: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    fresh = {"holder_id": None, "opening_fault": None, "left_on": None}
    return told | {
        "state": ApplicationState.WAITING,
        "valid_until": wanted.valid_until,
        "receipt_number": None,
        "opened_at": None,
        "withdrawn_at": None,
        "approvals": [],
        "people": [person | fresh for person in told["people"]],
    }


@blueprint.route("/<uuid:application_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound)
@blueprint.response(200, ApplicationReply)
def read_application(application_id: UUID) -> dict[str, Any]:
    """Show an application, its people and its approvals."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return _whole(session, service.find(session, application_id=application_id))


@blueprint.route("/<uuid:application_id>/approvals/<uuid:approval_id>", methods=["PUT"])
@blueprint.arguments(OaApprovalRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    ApplicationWithdrawn,
    ApprovalRecorded,
    ApprovalAhead,
)
@blueprint.alt_response(201, schema=OaApprovalReply, description="Recorded now.")
@blueprint.response(200, OaApprovalReply)
@logged("application.approve", subject="application_id")
def record_approval(paper: Paper, application_id: UUID, approval_id: UUID) -> Any:
    """Record an approval that was given in the OA, with its paper; both make it approved."""
    who = caller_in(*MAKERS)
    with transaction() as session:
        approval, first = service.approve(
            session,
            approval_id=approval_id,
            application_id=application_id,
            paper=paper,
            operator=who,
            now=clock.now(),
        )
    return approval, 201 if first else 200


@blueprint.route("/<uuid:application_id>/withdrawal", methods=["PUT"])
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound, ApplicationOpened)
@blueprint.alt_response(201, schema=ApplicationSummary, description="Withdrawn now.")
@blueprint.response(200, ApplicationSummary)
@logged("application.withdraw", subject="application_id")
def withdraw_application(application_id: UUID) -> Any:
    """Take an application back (撤回), before any card is opened."""
    who = caller_in(*MAKERS)
    with transaction() as session:
        application, first = service.withdraw(
            session, application_id=application_id, operator=who, now=clock.now()
        )
    return _summary(application), 201 if first else 200


@blueprint.route("/<uuid:application_id>/openings/<uuid:opening_id>", methods=["PUT"])
@blueprint.arguments(OpeningRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    ApplicationOpened,
    ApplicationWithdrawn,
    ApplicationNotApproved,
    PeriodNotPossible,
    ReceiptNeeded,
    ReceiptNumberUsed,
)
@blueprint.alt_response(201, schema=OpeningReply, description="Opened now.")
@blueprint.response(200, OpeningReply)
@logged("application.open", subject="application_id")
def open_cards(request: dict[str, Any], application_id: UUID, opening_id: UUID) -> Any:
    """Open account and card for everybody of an approved application, with a report of each.

    A retry goes on where the first was cut off, and opens nothing twice.
    """
    who = caller_in(*MAKERS)
    first = opening.open_cards(
        application_id=application_id,
        opening_id=opening_id,
        operator=who,
        now=clock.now(),
        **request,
    )
    with transaction() as session:
        application = service.find(session, application_id=application_id)
        people = service.people_of(session, application_id)
        answer = {
            "id": opening_id,
            "application_id": application_id,
            "receipt_number": application.receipt_number,
            "opened_at": application.opened_at,
            "opened_count": sum(one.holder_id is not None for one in people),
            "people": [_person(one) | {"left_on": None} for one in people],
        }
    return answer, 201 if first else 200


@blueprint.route("/<uuid:application_id>/extensions/<uuid:extension_id>", methods=["PUT"])
@blueprint.arguments(ExtensionRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    ApplicationNotOpened,
    PeriodNotPossible,
    OaNumberUsed,
    ApprovalAhead,
)
@blueprint.alt_response(201, schema=ExtensionReply, description="Extended now.")
@blueprint.response(200, ExtensionReply)
@logged("application.extend", subject="application_id")
def extend_application(request: dict[str, Any], application_id: UUID, extension_id: UUID) -> Any:
    """Put the end off by a new approval of the OA (延期): the same cards go on."""
    who = caller_in(*MAKERS)
    with transaction() as session:
        extension, first = ending.extend(
            session,
            extension_id=extension_id,
            application_id=application_id,
            oa_number=request["oa_number"],
            valid_until=request["valid_until"],
            papers=request["approvals"],
            sealer=parts().sealer,
            operator=who,
            now=clock.now(),
        )
    return extension, 201 if first else 200


@blueprint.route("/<uuid:application_id>/early-leavings/<uuid:leaving_id>", methods=["PUT"])
@blueprint.arguments(EarlyLeavingRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    LeftEarly,
    LeavingNotEarly,
)
@blueprint.alt_response(201, schema=EarlyLeavingReply, description="Noted now.")
@blueprint.response(200, EarlyLeavingReply)
@logged("application.leave_early", subject="leaving_id")
def note_early_leaving(request: dict[str, Any], application_id: UUID, leaving_id: UUID) -> Any:
    """Note that somebody leaves before their day, as the sponsor tells: the card ends then."""
    who = caller_in(*TELL_OF_LEAVING)
    with transaction() as session:
        leaving, first = ending.leave_early(
            session,
            leaving_id=leaving_id,
            application_id=application_id,
            who=who,
            now=clock.now(),
            **request,
        )
    answer = {
        "id": leaving.id,
        "application_id": application_id,
        "holder_id": request["holder_id"],
        "last_on": leaving.last_on,
        "reason": leaving.reason,
        "told_at": leaving.told_at,
    }
    return answer, 201 if first else 200


def _summary(application: Application) -> dict[str, Any]:
    return {name: getattr(application, name) for name in ApplicationSummary().fields}


def _whole(session: Session, application: Application) -> dict[str, Any]:
    people: Sequence[Applicant] = service.people_of(session, application.id)
    return _summary(application) | {
        "people": [_person(one) for one in people],
        "approvals": service.approvals_of(session, application.id),
    }


def _person(one: Applicant) -> dict[str, Any]:
    return {
        "position": one.position,
        "holder_number": one.holder_number,
        "name_masked": masked_name(one.name),
        "unit": one.unit,
        "document_kind": one.document_kind,
        "holder_id": one.holder_id,
        "opening_fault": one.fault,
        "left_on": one.left_on,
    }
