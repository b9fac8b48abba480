"""HTTP for staff: graduates' accounts closed in batches (毕业销户)."""

from typing import Any
from uuid import UUID

from flask import Response
from flask_smorest import Blueprint

from backend import clock
from backend.closings import graduate_list, graduates
from backend.closings.departures import HoldersUnknown
from backend.closings.graduates import (
    BatchStands,
    BatchWithdrawn,
    ClosingStarted,
    ExemptionOver,
    GraduationTooFar,
    NobodyGraduates,
    NotAStudent,
    NotGraduated,
    Row,
)
from backend.closings.models import ClosingBatch, Exemption
from backend.closings.routes import MAY_CLOSE, MAY_EXPORT, MAY_LOOK
from backend.closings.schemas import (
    ClosingBatchPreview,
    ClosingBatchReply,
    ClosingBatchRequest,
    ClosingBatchRun,
    ExemptionRequest,
    GraduateReply,
)
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import viewing
from backend.http import csv_files
from backend.http.auth import Unauthenticated, guard
from backend.http.problems import raises
from backend.ids import new_reference
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import ConfirmationNeeded, RoleNotAllowed, caller_in
from backend.refunds.batches import BatchNotApproved

staff = guard(
    Blueprint(
        "staff-closing-batches",
        __name__,
        url_prefix="/staff/closing-batches",
        description="Staff: graduates (毕业)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("/<uuid:batch_id>", methods=["PUT"])
@staff.arguments(ClosingBatchRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    GraduationTooFar,
    HoldersUnknown,
    NotAStudent,
    NobodyGraduates,
)
@staff.alt_response(201, schema=ClosingBatchReply, description="Made now.")
@staff.response(200, ClosingBatchReply)
@logged("closing_batch.make", subject="batch_id")
def make_closing_batch(body: dict[str, Any], batch_id: UUID) -> Any:
    """Put graduates into a batch; each is told.  Nothing is closed before it is run.

    Without `holder_numbers` it is everybody who graduates then and is in no batch yet, of all
    classes or of `units`.
    """
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        batch, first = graduates.make(
            session,
            batch_id=batch_id,
            graduated_on=body["graduated_on"],
            holder_numbers=body["holder_numbers"],
            units=body["units"],
            document=body["document"],
            operator=who,
            now=clock.now(),
        )
        return _batch(batch), 201 if first else 200


@staff.route("/<uuid:batch_id>/preview", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, ClosingBatchPreview)
def preview_closing_batch(batch_id: UUID) -> dict[str, Any]:
    """Show who is in a batch, what each has left, and what stands against closing it.

    After the run, and at the deadline, it tells what is left: `open`.
    """
    caller_in(*MAY_LOOK)
    with transaction() as session:
        rows = graduates.preview(session, batch_id=batch_id, now=clock.now())
        return _batch(graduates.find(session, batch_id=batch_id)) | {
            "items": [_graduate(row) for row in rows],
            "open": sum(row.is_open for row in rows),
        }


@staff.route("/<uuid:batch_id>/graduates/<uuid:graduate_id>", methods=["PUT"])
@staff.arguments(ExemptionRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    BatchWithdrawn,
    ExemptionOver,
    ClosingStarted,
)
@staff.response(200, GraduateReply)
@logged("closing_batch.exempt", subject="batch_id")
def exempt_graduate(body: dict[str, Any], batch_id: UUID, graduate_id: UUID) -> dict[str, Any]:
    """Keep a graduate's account open until a day, with a reason; null takes that back.

    A change of an exemption asks for another approval of the batch.
    """
    who = caller_in(*MAY_CLOSE)
    said = body["exemption"]
    with transaction() as session:
        graduates.exempt(
            session,
            batch_id=batch_id,
            graduate_id=graduate_id,
            exemption=Exemption(said) if said else None,
            reason=body["reason"],
            until=body["until"],
            operator=who,
            now=clock.now(),
        )
        session.flush()
        rows = graduates.preview(session, batch_id=batch_id, now=clock.now())
        return next(_graduate(row) for row in rows if row.graduate.id == graduate_id)


@staff.route("/<uuid:batch_id>/approval", methods=["POST"])
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    ConfirmationNeeded,
    NotFound,
    BatchWithdrawn,
    SecondPersonNeeded,
)
@staff.response(200, ClosingBatchReply)
@logged("closing_batch.approve", subject="batch_id")
def approve_closing_batch(batch_id: UUID) -> dict[str, Any]:
    """Let a batch that somebody else made be run; the same again changes nothing."""
    who = caller_in(*MAY_CLOSE)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        return _batch(graduates.approve(session, batch_id=batch_id, operator=who, now=clock.now()))


@staff.route("/<uuid:batch_id>/exports", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, {"type": "string", "format": "binary"}, content_type="text/csv")
@logged("closing_batch.export", subject="batch_id")
def export_closing_batch(batch_id: UUID) -> Response:
    """Take who is left of a batch as CSV, names masked; that it was taken is logged before."""
    who = caller_in(*MAY_EXPORT)
    with transaction() as session:
        rows = graduate_list.export_left(
            session,
            batch_id=batch_id,
            operator=who,
            reference=new_reference(),
            now=clock.now(),
        )
    return csv_files.attached(csv_files.whole(rows), "graduates")


@staff.route("/<uuid:batch_id>/runs", methods=["POST"])
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    BatchWithdrawn,
    BatchNotApproved,
    NotGraduated,
)
@staff.response(200, ClosingBatchRun)
@logged("closing_batch.run", subject="batch_id")
def run_closing_batch(batch_id: UUID) -> dict[str, Any]:
    """Start to close a hundred accounts of a batch; call it again while `left` is not zero."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        batch, left = graduates.run(session, batch_id=batch_id, operator=who, now=clock.now())
        return _batch(batch) | {"left": left}


@staff.route("/<uuid:batch_id>/withdrawal", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, BatchStands)
@staff.response(200, ClosingBatchReply)
@logged("closing_batch.withdraw", subject="batch_id")
def withdraw_closing_batch(batch_id: UUID) -> dict[str, Any]:
    """Take back a batch that nobody has approved; the same again changes nothing."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        return _batch(graduates.withdraw(session, batch_id=batch_id, operator=who, now=clock.now()))


def _batch(batch: ClosingBatch) -> dict[str, Any]:
    same = (
        "id", "graduated_on", "deadline", "document", "made_at", "approved_at", "run_at",
        "withdrawn_at",
    )  # fmt: skip
    return {name: getattr(batch, name) for name in same}


def _graduate(row: Row) -> dict[str, Any]:
    return viewing.masked(row.holder) | {
        "id": row.graduate.id,
        "exemption": row.graduate.exemption,
        "reason": row.graduate.exempted_why,
        "until": row.graduate.exempted_until,
        "closing_id": row.closing and row.closing.id,
        "closing_state": row.closing and row.closing.state,
        "balance_fen": row.balance_fen,
        "standing": [check.name for check in row.checks if check.stands],
        "stays": row.stays,
    }
