"""Rows: found by id, locked, listed, or made before by the same request (幂等重试).

The caller makes the id of what it asks for, so it can ask again when no answer came.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from backend.errors import IdReused, NotFound

Row = TypeVar("Row")
Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])
NOBODY: Mapping[str, object] = {}
LOCK_ID = text("SELECT lock_id(:id)")


def find_row(session: Session, model: type[Row], id_: UUID, **belongs: object) -> Row:
    """Return the row that has an id and belongs so, by names of columns.

    Raises:
        NotFound: there is none, or it belongs to something else.
    """
    row = session.get(model, id_)
    if row is None or not _says(row, belongs):
        raise NotFound
    return row


def lock_row(
    session: Session,
    model: type[Row],
    id_: UUID,
    *,
    key_share: bool = False,
    **belongs: object,
) -> Row:
    """Return what `find_row` does as it stands now, locked until commit.

    With `key_share` others may still write rows that refer to it.

    Raises:
        NotFound: there is none, or it belongs to something else.
    """
    row = session.get(model, id_, with_for_update={"key_share": key_share}, populate_existing=True)
    if row is None or not _says(row, belongs):
        raise NotFound
    return row


def newest_first(
    query: Query,
    at: InstrumentedAttribute[Any],
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Query:
    """Return a page of a query: the newest rows by a moment of theirs, then by their id.

    `before` is the place that the last page ended with: see `http/paging.py`.
    """
    id_ = at.class_.id
    if before is not None:
        query = query.where((at < before[0]) | ((at == before[0]) & (id_ < before[1])))
    return query.order_by(at.desc(), id_.desc()).limit(limit)


def lock_id(session: Session, id_: UUID) -> None:
    """Let nobody else work under an id until commit, whether or not a row has it yet."""
    session.execute(LOCK_ID, {"id": id_})


def first_answer(
    session: Session,
    model: type[Row],
    id_: UUID,
    *,
    owner: Mapping[str, object] = NOBODY,
    **content: object,
) -> Row | None:
    """Return what the same request made before under its id, None if nobody has used the id.

    Owner and content are by names of columns.  To be asked before everything that could refuse: a
    retry gets the first answer whatever holds by then.  The caller has locked the id, or what it
    belongs to, so of two requests at once the second one finds the first one's row.

    Raises:
        NotFound: the id is somebody else's.
        IdReused: it came before with other content.
    """
    row = session.get(model, id_)
    if row is None:
        return None
    if not _says(row, owner):
        raise NotFound
    if not _says(row, content):
        raise IdReused
    return row


def _says(row: object, wanted: Mapping[str, object]) -> bool:
    return all(getattr(row, name) == value for name, value in wanted.items())
