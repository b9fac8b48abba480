"""HTTP for staff: departures, retirees, graduates' batches, screenings."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask import Response
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.cards.reopening import AccountOpen
from backend.cards.rules import TransitionNotPossible
from backend.cards.service import AccountClosed, CardExpired
from backend.closings import (
    departures,
    graduate_list,
    graduates,
    reopenings,
    retirements,
    screenings,
)
from backend.closings.departures import (
    DepartureApplied,
    DepartureNotPossible,
    DepartureScheduled,
    HoldersUnknown,
)
from backend.closings.graduates import (
    ClosingStarted,
    ExemptionOver,
    NobodyGraduates,
    NotAStudent,
    NotGraduated,
    Row,
)
from backend.closings.models import (
    ClosingBatch,
    Departure,
    DepartureKind,
    Exemption,
    Screening,
    ScreeningItem,
    ScreeningOutcome,
)
from backend.closings.reopenings import PayoutOpen
from backend.closings.retirements import NotStaff
from backend.closings.routes import MAY_CLOSE, MAY_LOOK
from backend.closings.rules import MAY_FILE
from backend.closings.schemas import (
    ClosingBatchPreview,
    ClosingBatchReply,
    ClosingBatchRequest,
    ClosingBatchRun,
    DepartureReply,
    DepartureRequest,
    ExemptionRequest,
    GraduateReply,
    OutcomeRequest,
    ReopeningReply,
    ReopeningRequest,
    RetirementReply,
    RetirementRequest,
    ScreeningItemReply,
    ScreeningReply,
    ScreeningRequest,
)
from backend.closings.screenings import ScreeningFiled, ScreeningOpen, TermUnknown
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import viewing
from backend.holders.rules import masked_name
from backend.http import csv_files
from backend.http.auth import Unauthenticated, guard
from backend.http.problems import raises
from backend.ids import new_reference
from backend.operation_log.refusals import about, logged
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import (
    ConfirmationNeeded,
    RoleNotAllowed,
    caller_in,
)
from backend.refunds.batches import BatchNotApproved

MAY_SWITCH = (Role.CARD_CENTRE,)
MAY_LOOK_AT_DEPARTURES = (*MAY_FILE, Role.AUDITOR)
MAY_EXPORT = (Role.CARD_CENTRE, Role.AUDITOR)
"""Who takes a screening, and what is left of a batch, as a file."""

staff = guard(
    Blueprint(
        "staff-leaving",
        __name__,
        url_prefix="/staff",
        description="Staff: who leaves, graduates, screenings (离校、毕业、清查)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("/departures/<uuid:departure_id>", methods=["PUT"])
@staff.arguments(DepartureRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    HoldersUnknown,
    DepartureNotPossible,
    DepartureScheduled,
)
@staff.alt_response(201, schema=DepartureReply, description="Filed now.")
@staff.response(200, DepartureReply)
@logged("departure.file", subject="departure_id")
def file_departure(body: dict[str, Any], departure_id: UUID) -> Any:
    """Tell who leaves, all or nobody: from the first instant of that day no card of theirs works.

    The academic office tells of students, personnel of staff, the sponsor of temporary people.
    """
    who = caller_in(*MAY_FILE)
    with transaction() as session:
        departure, first = departures.file(
            session,
            departure_id=departure_id,
            holder_numbers=body["holder_numbers"],
            kind=DepartureKind(body["kind"]),
            effective_on=body["effective_on"],
            document=body["document"],
            operator=who,
            now=clock.now(),
        )
        return _departure(session, departure), 201 if first else 200


@staff.route("/departures/<uuid:departure_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, DepartureReply)
def read_departure(departure_id: UUID) -> dict[str, Any]:
    """Show a departure and what became of each person."""
    caller_in(*MAY_LOOK_AT_DEPARTURES)
    with transaction() as session:
        return _departure(session, departures.find(session, departure_id=departure_id))


@staff.route("/departures/<uuid:departure_id>/withdrawal", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, DepartureApplied)
@staff.response(200, DepartureReply)
@logged("departure.withdraw", subject="departure_id")
def withdraw_departure(departure_id: UUID) -> dict[str, Any]:
    """Take a departure back before its day."""
    who = caller_in(*MAY_FILE)
    with transaction() as session:
        departure = departures.withdraw(
            session, departure_id=departure_id, operator=who, now=clock.now()
        )
        session.flush()
        return _departure(session, departure)


@staff.route("/retirements/<uuid:retirement_id>", methods=["PUT"])
@staff.arguments(RetirementRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    AccountClosed,
    NotStaff,
    TransitionNotPossible,
)
@staff.alt_response(201, schema=RetirementReply, description="Switched now.")
@staff.response(200, RetirementReply)
@logged("retirement.switch", subject="retirement_id")
def switch_retiree(body: dict[str, Any], retirement_id: UUID) -> Any:
    """Give a retiree the temporary card in place of the staff card; the account stays."""
    who = caller_in(*MAY_SWITCH)
    with transaction() as session:
        holder_id = viewing.id_by_present_number(session, holder_number=body["holder_number"])
        about(holder_id=holder_id)
        made, first = retirements.switch(
            session,
            retirement_id=retirement_id,
            holder_id=holder_id,
            document=body["document"],
            operator=who,
            now=clock.now(),
        )
        answer = {
            name: getattr(made, name) for name in ("id", "valid_until", "document", "made_at")
        }
        return answer | {"holder_number": body["holder_number"]}, 201 if first else 200


@staff.route("/reopenings/<uuid:reopening_id>", methods=["PUT"])
@staff.arguments(ReopeningRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    AccountOpen,
    AccountClosed,
    PayoutOpen,
    CardExpired,
)
@staff.alt_response(201, schema=ReopeningReply, description="Opened now.")
@staff.response(200, ReopeningReply)
@logged("card.reopen_account", subject="reopening_id")
def reopen_account(body: dict[str, Any], reopening_id: UUID) -> Any:
    """Open a closed account again for somebody who comes back (复户); its card waits."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        holder_id = viewing.id_by_present_number(session, holder_number=body["holder_number"])
        about(holder_id=holder_id)
        made, first = reopenings.make(
            session,
            reopening_id=reopening_id,
            holder_id=holder_id,
            document=body["document"],
            valid_until=body["valid_until"],
            operator=who,
            now=clock.now(),
        )
        answer = {
            name: getattr(made, name)
            for name in ("id", "document", "valid_until", "card_id", "made_at")
        }
        return answer | {"holder_number": body["holder_number"]}, 201 if first else 200


@staff.route("/closing-batches/<uuid:batch_id>", methods=["PUT"])
@staff.arguments(ClosingBatchRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
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


@staff.route("/closing-batches/<uuid:batch_id>/preview", methods=["GET"])
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


@staff.route("/closing-batches/<uuid:batch_id>/graduates/<uuid:graduate_id>", methods=["PUT"])
@staff.arguments(ExemptionRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, ExemptionOver, ClosingStarted)
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


@staff.route("/closing-batches/<uuid:batch_id>/approval", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, ConfirmationNeeded, NotFound, SecondPersonNeeded)
@staff.response(200, ClosingBatchReply)
@logged("closing_batch.approve", subject="batch_id")
def approve_closing_batch(batch_id: UUID) -> dict[str, Any]:
    """Let a batch that somebody else made be run; the same again changes nothing."""
    who = caller_in(*MAY_CLOSE)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        return _batch(graduates.approve(session, batch_id=batch_id, operator=who, now=clock.now()))


@staff.route("/closing-batches/<uuid:batch_id>/exports", methods=["POST"])
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
    return Response(
        csv_files.whole(rows),
        content_type="text/csv",
        headers={"Content-Disposition": "attachment; filename=graduates.csv"},
    )


@staff.route("/closing-batches/<uuid:batch_id>/runs", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, BatchNotApproved, NotGraduated)
@staff.response(200, ClosingBatchRun)
@logged("closing_batch.run", subject="batch_id")
def run_closing_batch(batch_id: UUID) -> dict[str, Any]:
    """Start to close a hundred accounts of a batch; call it again while `left` is not zero."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        batch, left = graduates.run(session, batch_id=batch_id, operator=who, now=clock.now())
        return _batch(batch) | {"left": left}


@staff.route("/screenings/<uuid:screening_id>", methods=["PUT"])
@staff.arguments(ScreeningRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, IdReused, TermUnknown)
@staff.alt_response(201, schema=ScreeningReply, description="Made now.")
@staff.response(200, ScreeningReply)
@logged("screening.make", subject="screening_id")
def make_screening(body: dict[str, Any], screening_id: UUID) -> Any:
    """Look through all accounts after a term (清查)."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        screening, first = screenings.make(
            session, screening_id=screening_id, term=body["term"], operator=who, now=clock.now()
        )
        return _screening(session, screening), 201 if first else 200


@staff.route("/screenings/<uuid:screening_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, ScreeningReply)
def read_screening(screening_id: UUID) -> dict[str, Any]:
    """Show a screening and its findings."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return _screening(session, screenings.find(session, screening_id=screening_id))


@staff.route("/screenings/<uuid:screening_id>/items/<uuid:item_id>", methods=["PUT"])
@staff.arguments(OutcomeRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, ScreeningFiled)
@staff.response(200, ScreeningItemReply)
@logged("screening.decide", subject="screening_id")
def decide_finding(body: dict[str, Any], screening_id: UUID, item_id: UUID) -> dict[str, Any]:
    """Give a finding its outcome, or another one before the screening is filed."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        item = screenings.decide(
            session,
            screening_id=screening_id,
            item_id=item_id,
            outcome=ScreeningOutcome(body["outcome"]),
            reason=body["reason"],
            operator=who,
            now=clock.now(),
        )
        return _items(session, [item])[0]


@staff.route("/screenings/<uuid:screening_id>/filing", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, ScreeningOpen)
@staff.response(200, ScreeningReply)
@logged("screening.file", subject="screening_id")
def file_screening(screening_id: UUID) -> dict[str, Any]:
    """File a screening (归档) once every finding has an outcome: nothing of it changes then."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        screening = screenings.file(
            session, screening_id=screening_id, operator=who, now=clock.now()
        )
        return _screening(session, screening)


@staff.route("/screenings/<uuid:screening_id>/exports", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, {"type": "string", "format": "binary"}, content_type="text/csv")
@logged("screening.export", subject="screening_id")
def export_screening(screening_id: UUID) -> Response:
    """Take a screening as CSV, names masked; that it was taken is logged before."""
    who = caller_in(*MAY_EXPORT)
    with transaction() as session:
        rows = screenings.export(
            session,
            screening_id=screening_id,
            operator=who,
            reference=new_reference(),
            now=clock.now(),
        )
    return Response(
        csv_files.whole(rows),
        content_type="text/csv",
        headers={"Content-Disposition": "attachment; filename=screening.csv"},
    )


def _departure(session: Session, departure: Departure) -> dict[str, Any]:
    leavers = departures.leavers_of(session, departure_id=departure.id)
    holders = viewing.holders_by_id(session, [leaver.holder_id for leaver in leavers])
    same = ("id", "kind", "effective_on", "document", "filed_at")
    return {name: getattr(departure, name) for name in same} | {
        "items": [
            {name: getattr(leaver, name) for name in ("state", "applied_at", "closing_id")}
            | _named(holders[leaver.holder_id])
            for leaver in leavers
        ]
    }


def _named(holder: Any) -> dict[str, str]:
    return {"holder_number": holder.holder_number, "name_masked": masked_name(holder.name)}


def _batch(batch: ClosingBatch) -> dict[str, Any]:
    same = ("id", "graduated_on", "deadline", "document", "made_at", "approved_at", "run_at")
    return {name: getattr(batch, name) for name in same}


def _graduate(row: Row) -> dict[str, Any]:
    return _named(row.holder) | {
        "id": row.graduate.id,
        "exemption": row.graduate.exemption,
        "reason": row.graduate.exempted_why,
        "until": row.graduate.exempted_until,
        "closing_id": row.closing and row.closing.id,
        "closing_state": row.closing and row.closing.state,
        "balance_fen": row.balance_fen,
        "standing": [check.name for check in row.checks if check.stands],
    }


def _screening(session: Session, screening: Screening) -> dict[str, Any]:
    same = ("id", "term", "made_at", "filed_at")
    items = screenings.items_of(session, screening_id=screening.id)
    return {name: getattr(screening, name) for name in same} | {"items": _items(session, items)}


def _items(session: Session, items: Sequence[ScreeningItem]) -> list[dict[str, Any]]:
    holders = viewing.holders_by_id(session, [item.holder_id for item in items])
    same = ("id", "finding", "facts", "outcome", "reason", "decided_at")
    return [
        {name: getattr(item, name) for name in same} | _named(holders[item.holder_id])
        for item in items
    ]
