"""Which policies hold at a moment."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from backend.ids import new_id
from backend.policies.models import Policy
from backend.policies.rules import PRESETS


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


def document_of(session: Session, policy_id: UUID) -> str:
    """Return the number of the paper that decided a policy (文号)."""
    return session.get_one(Policy, policy_id).document_number


def adopt_preset(session: Session, name: str, *, document_number: str, now: datetime) -> None:
    """Put a preset in force from `now` on, ending the rows that it replaces."""
    for key, value in PRESETS[name].items():
        current = session.scalars(
            select(Policy).where(Policy.key == key, Policy.valid_until.is_(None)).with_for_update()
        ).one_or_none()
        if current is not None:
            if current.value == value:
                continue
            current.valid_until = now
        session.add(
            Policy(
                id=new_id(),
                key=key,
                value=value,
                document_number=document_number,
                valid_from=now,
                valid_until=None,
            )
        )
