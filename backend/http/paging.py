"""Lists in pages: bounded, by an opaque place instead of a number."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import request

from backend.errors import DomainError, Kind
from backend.http.fields import Digits

MOST = 100


class CursorUnknown(DomainError, code="cursor-unknown", kind=Kind.INVALID):
    """The cursor was not made by this list."""


class PageQuery(ma.Schema):
    """The query of every list."""

    limit = Digits(load_default=20, validate=ma.validate.Range(1, MOST))
    cursor = ma.fields.String(validate=ma.validate.Length(1, 200))


def cursor_of(at: datetime, id_: UUID) -> str:
    """Return the cursor that stands behind one row of the list that is asked for."""
    place = f"{request.endpoint} {at.isoformat()} {id_}"
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def place_of(cursor: str | None) -> tuple[datetime, UUID] | None:
    """Return the place that a cursor names in the list that is asked for, None for the first page.

    Raises:
        CursorUnknown: this list did not make this cursor.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        maker, at, id_ = place.split(" ")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None or maker != request.endpoint:
            raise CursorUnknown
        return moment, UUID(id_)
    except (ValueError, binascii.Error, UnicodeError) as error:
        raise CursorUnknown from error


def page_of(
    find: Callable[..., Sequence[Any]], *, cursor: str | None, limit: int, at: str = "at"
) -> dict[str, Any]:
    """Return the page that a cursor names of what `find` lists, `before` a place, up to a `limit`.

    `at` is as `page` has it.

    Raises:
        CursorUnknown: as `place_of`.
    """
    return page(find(before=place_of(cursor), limit=limit + 1), limit=limit, at=at)


def page(rows: Sequence[Any], *, limit: int, at: str = "at") -> dict[str, Any]:
    """Return one page of rows that were asked for with `limit + 1`, by their moment and `id`.

    `at` names the attribute that holds the moment by which the rows are sorted.
    """
    more = len(rows) > limit
    rows = rows[:limit]
    return {
        "items": rows,
        "next_cursor": cursor_of(getattr(rows[-1], at), rows[-1].id) if more else None,
    }
