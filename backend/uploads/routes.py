"""HTTP for late uploads: working a batch item by item, and showing what is missing."""

import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.ids import new_reference
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.service import RoleNotAllowed
from backend.terminals import service as terminals
from backend.uploads import service
from backend.uploads.models import LateUpload
from backend.uploads.rules import Refused
from backend.uploads.schemas import GapsReply
from backend.uploads.service import Batch, Claim

MAY_LOOK = (Role.CARD_CENTRE, Role.LOGISTICS, Role.AUDITOR)
Record = Callable[[Session, Claim, Batch], LateUpload]
"""What a kind of item makes of a claim, within one transaction."""

log = logging.getLogger(__name__)
staff = guard(
    Blueprint(
        "staff-gaps",
        __name__,
        url_prefix="/staff/terminals",
        description="Staff: gaps in what terminals told (序号缺口)",
    ),
    "operator",
    operators.authenticate,
)


def work(
    items: list[dict[str, Any]], *, schema: ma.Schema, accepted: str, record: Record
) -> dict[str, Any]:
    """Work a batch of the calling terminal; return an outcome for each item, in the same order.

    Each item is a transaction of its own, so a cut in the middle loses nothing: what was answered
    or not, the same batch may be sent again.  `accepted` is the word by which the terminal says
    that it let somebody pass, or took the money.
    """
    own, terminal, now = parts(), caller(), clock.now()
    with transaction() as session:
        batch = service.open_batch(
            session,
            terminal=terminal,
            key_ring=own.code_keys,
            issuer=own.settings.issuer,
            now=now,
        )
    answer = {"items": [_outcome(item, schema, accepted, record, batch) for item in items]}
    with transaction() as session:
        service.note_gaps(session, terminal.terminal_id, now=now)
    return answer


def _outcome(
    item: dict[str, Any], schema: ma.Schema, accepted: str, record: Record, batch: Batch
) -> dict[str, Any]:
    try:
        claim = _read(schema.load(item), accepted=accepted)
    except ma.ValidationError as error:
        return _refused(item, Refused.MALFORMED, field=_field(error, schema))
    try:
        with transaction() as session:
            late = record(session, claim, batch)
    except IdReused:
        return _refused(item, Refused.ID_REUSED)
    return {
        "id": late.id,
        "sequence": claim.sequence,
        "outcome": late.outcome.value,
        "reason": service.reason_of(late),
        "reference": late.reference,
    }


def _read(said: Mapping[str, Any], *, accepted: str) -> Claim:
    word = said.get("decision", said.get("state"))
    common = ("id", "sequence", "code", "reason", "decided_at", "bundle_sequence")
    return Claim(**{name: said[name] for name in common}, accepted=word == accepted, said=said)


def _refused(item: Mapping[str, Any], outcome: Refused, field: str | None = None) -> dict[str, Any]:
    """Return the answer to an item of which nothing is kept but this line in the log."""
    reference = new_reference()
    log.warning("late item %s %s %s", outcome.value, field or "", reference)
    sequence = item.get("sequence")
    return {
        "id": _id_in(item.get("id")),
        "sequence": sequence if type(sequence) is int else None,
        "outcome": outcome.value,
        "reason": field,
        "reference": reference,
    }


def _field(error: ma.ValidationError, schema: ma.Schema) -> str:
    """Return the first field at fault; a name that we do not know may be content."""
    known = [name for name in error.messages_dict if name in schema.fields]
    return min(known) if known else "unknown-field"


def _id_in(said: Any) -> UUID | None:
    try:
        return UUID(said) if isinstance(said, str) else None
    except ValueError:
        return None


@staff.route("/<uuid:terminal_id>/gaps", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, GapsReply)
def read_gaps(terminal_id: UUID) -> dict[str, Any]:
    """Show which numbers are missing among what a terminal told of its time without network."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        terminals.find(session, terminal_id=terminal_id)
        gaps = service.missing_sequences(session, terminal_id)
    return {
        "terminal_id": terminal_id,
        "highest": gaps.highest,
        "missing_count": gaps.count,
        "missing": gaps.missing,
    }
