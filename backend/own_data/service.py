"""Everything that is kept about one holder, as they are shown it."""

from datetime import date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.clock import rfc3339
from backend.holders.viewing import REVEAL, VIEW
from backend.operation_log.models import LogEntry
from backend.operation_log.service import DONE, HOLDER, OPERATOR
from backend.operators.models import Operator
from backend.own_data.catalogue import PARTS

OWN = "self"


def read(session: Session, *, holder_id: UUID) -> dict[str, list[dict[str, Any]]]:
    """Return every row about a holder by the name of its table, tables without any left out.

    Members of the staff are told by their role, not by their id: whom to ask is the card centre.
    """
    roles = _roles(session)
    found: dict[str, list[dict[str, Any]]] = {}
    for part in PARTS:
        rows = session.execute(
            select(*part.told)
            .where(part.whose(holder_id))
            .order_by(*part.table.primary_key.columns)
        ).mappings()
        shown = [
            {name: _shown(name, value, holder_id, roles) for name, value in row.items()}
            for row in rows
        ]
        if shown:
            found[part.table.name] = shown
    return found


def looks(session: Session, *, holder_id: UUID) -> list[dict[str, Any]]:
    """Return who of the staff looked at a holder, or read the full name (显示), newest first."""
    entries = session.scalars(
        select(LogEntry)
        .where(
            LogEntry.holder_id == holder_id,
            LogEntry.action.in_((VIEW, REVEAL)),
            LogEntry.outcome == DONE,
        )
        .order_by(LogEntry.at.desc(), LogEntry.id.desc())
    )
    roles = _roles(session)
    return [
        {
            "at": entry.at,
            "revealed": entry.action == REVEAL,
            "role": roles.get(entry.actor),
            "reason": entry.facts.get("reason"),
        }
        for entry in entries
    ]


def _roles(session: Session) -> dict[str, str]:
    """Return the role of every member of the staff by the name that they have in the log."""
    return {
        f"{OPERATOR}{id_}": role.value
        for id_, role in session.execute(select(Operator.id, Operator.role))
    }


def _shown(name: str, value: Any, holder_id: UUID, roles: dict[str, str]) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if name == "actor":
        return OWN if value == f"{HOLDER}{holder_id}" else roles.get(value, value)
    return value
