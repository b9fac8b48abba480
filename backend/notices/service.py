"""Telling the holder, and reading what was told."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import literal, select, text, tuple_
from sqlalchemy.orm import Session

from backend.ids import new_id
from backend.notices.models import HolderNotice

HORIZON = text("pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
"""The oldest transaction that still runs.  What lies below it is complete, so a reader that goes on
from there never skips a row that committed late."""


def tell(session: Session, *, holder_id: UUID, kind: str, now: datetime, **facts: Any) -> None:
    """Put one notice into a holder's inbox, in the transaction of what it tells about."""
    session.add(HolderNotice(id=new_id(), holder_id=holder_id, kind=kind, facts=facts, at=now))


def read_after(
    session: Session, *, holder_id: UUID, after: tuple[int, UUID], limit: int
) -> list[HolderNotice]:
    """Return the notices behind a place in the inbox, oldest first."""
    place = tuple_(HolderNotice.written_by, HolderNotice.id)
    return list(
        session.scalars(
            select(HolderNotice)
            .where(
                HolderNotice.holder_id == holder_id,
                place > tuple_(literal(after[0]), literal(after[1])),
                HolderNotice.written_by < HORIZON,
            )
            .order_by(HolderNotice.written_by, HolderNotice.id)
            .limit(limit)
        )
    )


def newest_place(session: Session) -> int:
    """Return the place from which everything is new."""
    return int(session.execute(select(HORIZON)).scalar_one())
