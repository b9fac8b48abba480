"""Which policies hold at a moment, and how rows are put in force."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, or_, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind
from backend.ids import new_id
from backend.policies.models import Policy
from backend.policies.rules import PRESETS

SHIPPED_DOCUMENT = "系统预置"
"""Stands where a paper's number would, for a value that came with an upgrade."""


class MomentTaken(DomainError, code="policy-moment-taken", kind=Kind.CONFLICT):
    """Another decision about the same policy takes effect at this moment.  Fact: `key`."""


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of one moment.  A decision stores the ids of the rows that it used."""

    values: dict[str, Any]
    ids: dict[str, UUID]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def used(self, *keys: str) -> list[UUID]:
        """Return the ids of the rows behind some keys."""
        return [self.ids[key] for key in keys]


def policies_at(session: Session, now: datetime) -> Policies:
    """Return every policy in force at a moment."""
    rows = session.execute(
        select(Policy.key, Policy.value, Policy.id).where(
            Policy.valid_from <= now, or_(Policy.valid_until.is_(None), Policy.valid_until > now)
        )
    ).all()
    return Policies(
        values={row.key: row.value for row in rows}, ids={row.key: row.id for row in rows}
    )


def are_adopted(session: Session) -> bool:
    """Say whether anything was ever put in force, which the operation log tells of."""
    return session.scalar(select(Policy.id).limit(1)) is not None


def document_of(session: Session, policy_id: UUID) -> str:
    """Return the number of the paper that decided a policy (文号)."""
    return session.get_one(Policy, policy_id).document_number


def lock(session: Session) -> None:
    """Wait until nobody else changes policies: rows are cut and joined, one change at a time."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('policies'))"))


def row_at(session: Session, *, key: str, at: datetime) -> Policy | None:
    """Return the row of a key that is, or will be, in force at a moment."""
    return session.scalars(
        select(Policy).where(
            Policy.key == key,
            Policy.valid_from <= at,
            or_(Policy.valid_until.is_(None), Policy.valid_until > at),
        )
    ).one_or_none()


def put_in_force(
    session: Session,
    *,
    key: str,
    value: Any,
    document_number: str,
    at: datetime,
    until: datetime | None = None,
    proposal_id: UUID | None = None,
) -> Policy:
    """Let a value hold from a moment until the next one that is decided already.

    With an end before that, what held at the beginning holds again from the end on, by its own
    paper.  The caller holds `lock`.

    Raises:
        MomentTaken: another row begins at this very moment.
    """
    current = row_at(session, key=key, at=at)
    if current is not None and current.valid_from == at:
        raise MomentTaken(key=key)
    following = session.scalar(
        select(func.min(Policy.valid_from)).where(Policy.key == key, Policy.valid_from > at)
    )
    if current is not None:
        current.valid_until = at
        session.flush()
    row = Policy(
        id=new_id(),
        key=key,
        value=value,
        document_number=document_number,
        valid_from=at,
        valid_until=following,
        proposal_id=proposal_id,
    )
    session.add(row)
    session.flush()
    if until is not None and current is not None and (following is None or until < following):
        put_in_force(
            session,
            key=key,
            value=current.value,
            document_number=current.document_number,
            at=until,
            proposal_id=proposal_id,
        )
    return row


def take_back(session: Session, row: Policy) -> None:
    """Let what came before a row that is not yet in force go on in its place."""
    before = session.scalars(
        select(Policy).where(Policy.key == row.key, Policy.valid_until == row.valid_from)
    ).one_or_none()
    if before is not None:
        before.valid_until = row.valid_until
    session.delete(row)
    session.flush()


def adopt_preset(session: Session, name: str, *, document_number: str, now: datetime) -> None:
    """Put a preset in force from `now` on, leaving alone what says the same already.

    Only the owner of the database may: everybody else needs a proposal.
    """
    lock(session)
    for key, value in PRESETS[name].items():
        current = row_at(session, key=key, at=now)
        if current is None or current.value != value:
            put_in_force(session, key=key, value=value, document_number=document_number, at=now)


ADD_MISSING = text(
    "INSERT INTO policies (id, key, value, document_number, valid_from)"
    " SELECT uuidv7(), CAST(:key AS text), :value, CAST(:document_number AS text), now()"
    " WHERE EXISTS (SELECT FROM policies)"
    " AND NOT EXISTS (SELECT FROM policies WHERE key = CAST(:key AS text))"
).bindparams(bindparam("value", type_=JSONB))


def add_missing(connection: Connection) -> None:
    """Give a school that has policies the keys that it lacks, with the values that are shipped.

    Part of every migration: code may ask for any key of the catalogue.
    """
    for key, value in PRESETS["standard"].items():
        connection.execute(
            ADD_MISSING, {"key": key, "value": value, "document_number": SHIPPED_DOCUMENT}
        )
