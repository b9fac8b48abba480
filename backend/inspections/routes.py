"""HTTP for inspections: search the operation log, verify it, take a copy."""

from functools import partial
from typing import Any

from flask import Response
from flask_smorest import Blueprint

from backend import clock
from backend.db import transaction
from backend.http import csv_files
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.paging import CursorUnknown, page_of
from backend.http.problems import raises
from backend.ids import new_reference
from backend.inspections import export, service
from backend.inspections.schemas import (
    LogEntryList,
    LogExportRequest,
    LogSearchRequest,
    SealsReply,
    VerificationReply,
    VerificationRequest,
)
from backend.inspections.service import MAY_LOOK, ExportTooLarge, Names
from backend.operation_log import seals
from backend.operation_log.models import LogEntry
from backend.operation_log.refusals import logged
from backend.operation_log.seals import Head
from backend.operators import service as operators
from backend.operators.limits import OperatorLimit
from backend.operators.service import ConfirmationNeeded, RoleNotAllowed, caller_in

blueprint = guard(
    Blueprint(
        "staff-log",
        __name__,
        url_prefix="/staff/operation-log",
        description="Staff: the operation log (台账)",
    ),
    "operator",
    operators.authenticate,
)


@blueprint.route("/searches", methods=["POST"])
@blueprint.arguments(LogSearchRequest)
@raises(blueprint, Unauthenticated, RoleNotAllowed, CursorUnknown)
@blueprint.response(200, LogEntryList)
def search_log(request: dict[str, Any]) -> dict[str, Any]:
    """List operations, newest first, also those that were refused.

    A POST, so that no holder's number stands in an address.
    """
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        found = page_of(
            partial(service.search, session, wanted=service.understand(session, request)),
            cursor=request.get("cursor"),
            limit=request["limit"],
        )
        names = service.names_in(session, found["items"])
        until = seals.sealed_until(session)
    return found | {"items": [_entry(entry, names, until) for entry in found["items"]]}


def _entry(entry: LogEntry, names: Names, sealed_until: int) -> dict[str, Any]:
    columns = {column.key: getattr(entry, column.key) for column in LogEntry.__table__.columns}
    return columns | {
        "operator": names.username(entry),
        "holder_number": names.holder_number(entry),
        "sealed": entry.written_by < sealed_until,
    }


@blueprint.route("/seals", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed)
@blueprint.response(200, SealsReply)
def read_log_head() -> dict[str, Any]:
    """Show the head of the chain, to be kept elsewhere, and what is not sealed yet."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        head, lag = seals.head(session), seals.lag(session, now=clock.now())
    return {"head": _head(head), "unsealed": lag, "alarm": lag.is_alarming}


def _head(head: Head) -> dict[str, Any]:
    return {
        "number": head.number,
        "head": head.head.hex(),
        "total": head.total,
        "sealed_at": head.sealed_at,
    }


@blueprint.route("/verifications", methods=["POST"])
@blueprint.arguments(VerificationRequest)
@raises(blueprint, Unauthenticated, RoleNotAllowed)
@blueprint.response(200, VerificationReply)
def verify_log(request: dict[str, Any]) -> dict[str, Any]:
    """Compute the chain again, against a head that was kept elsewhere where one is given.

    All seals are computed again; rows are compared for the newest 50,000 entries.  The command
    `campus-card verify-log` compares all.
    """
    caller().must_be(*MAY_LOOK)
    kept = {request["number"]: bytes.fromhex(request["head"])} if "number" in request else {}
    with transaction() as session:
        found = service.verify_newest(session, heads=kept)
    return {
        "holds": found.holds,
        "head": _head(found.head),
        "seals": found.seals,
        "entries": found.entries,
        "unsealed_entries": found.unsealed,
        "difference": found.difference,
    }


@blueprint.route("/exports", methods=["POST"])
@blueprint.arguments(LogExportRequest)
@raises(
    blueprint, Unauthenticated, RoleNotAllowed, ConfirmationNeeded, OperatorLimit, ExportTooLarge
)
@blueprint.response(200, {"type": "string", "format": "binary"}, content_type="text/csv")
@logged("log.export")
def export_log(request: dict[str, Any]) -> Response:
    """Take a copy of a period for an inspection: CSV, at most 20,000 rows, oldest first.

    The export is in the log before the first row is handed out.
    """
    who = caller_in(*MAY_LOOK)
    now, reference = clock.now(), new_reference()
    with transaction() as session:
        wanted = service.understand(session, request)
        used = service.count_export(session, caller=who, now=now)
        wanted, _ = service.allow_export(
            session,
            policy_ids=used,
            wanted=wanted,
            most=service.MOST_EXPORTED,
            actor=who.actor,
            reference=reference,
            now=now,
        )
    file = export.lines(
        wanted=wanted, taken_by=who.username, reference=reference, action_words={}, now=now
    )
    return csv_files.attached((line.encode() for line in file), "operation-log")
