"""Telling the holder, and reading what was told."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.ids import new_id
from backend.notices import messages
from backend.notices.models import HolderNotice, InboxMark

HORIZON = text("pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
"""The oldest transaction that still runs.  What lies below it is complete, so a reader that goes on
from there never skips a row that committed late."""

Place = tuple[int, UUID]
"""A place in the inbox: the transaction that wrote a notice, and the notice."""

PLACE = tuple_(HolderNotice.written_by, HolderNotice.id)
NOT_KEPT_TO_READ = ("passage-allowed",)
"""Kinds that the phone shows as they happen; their record is the list of passages."""
MOST_COUNTED = 100
DELETED_AT_ONCE = 10_000


def tell(session: Session, *, holder_id: UUID, kind: str, now: datetime, **facts: Any) -> None:
    """Put one notice into a holder's inbox, in the transaction of what it tells about.

    If the holder agreed to messages of this kind, one is put into the outbox as well.
    """
    session.add(HolderNotice(id=new_id(), holder_id=holder_id, kind=kind, facts=facts, at=now))
    messages.enqueue(session, holder_id=holder_id, kind=kind, facts=facts, now=now)


def tell_each(
    session: Session, *, kind: str, now: datetime, told: Mapping[UUID, Mapping[str, Any]]
) -> None:
    """Put one notice into the inbox of each of several holders, with facts of their own."""
    session.add_all(
        HolderNotice(id=new_id(), holder_id=holder_id, kind=kind, facts=dict(facts), at=now)
        for holder_id, facts in told.items()
    )
    for holder_id in messages.who_agreed(session, kind=kind, holder_ids=list(told)):
        messages.enqueue(session, holder_id=holder_id, kind=kind, facts=told[holder_id], now=now)


def read_after(
    session: Session, *, holder_id: UUID, after: Place, limit: int
) -> list[HolderNotice]:
    """Return the notices behind a place in the inbox, oldest first."""
    return list(
        session.scalars(
            select(HolderNotice)
            .where(
                HolderNotice.holder_id == holder_id,
                _place(after) < PLACE,
                HolderNotice.written_by < HORIZON,
            )
            .order_by(HolderNotice.written_by, HolderNotice.id)
            .limit(limit)
        )
    )


def newest_place(session: Session) -> int:
    """Return the place from which everything is new."""
    return int(session.execute(select(HORIZON)).scalar_one())


def place_name(notice: HolderNotice) -> str:
    """Return how the place of a notice is written."""
    return f"{notice.written_by}.{notice.id.hex}"


def place_named(text_: str) -> Place:
    """Return the place that such a text names.

    >>> place_named("12.0000000000000000000000000000000f")[0]
    12
    """
    number, _, id_ = text_.partition(".")
    return int(number), UUID(hex=id_)


def list_notices(
    session: Session, *, holder_id: UUID, before: Place | None, limit: int
) -> Sequence[HolderNotice]:
    """Return what a holder was told, newest first.

    Sorted by who wrote it, not by when, so that what is listed is complete down from its first: a
    notice that commits late comes on top, never among those that were read.
    """
    wanted = _readable(holder_id)
    if before is not None:
        wanted = and_(wanted, _place(before) > PLACE)
    return session.scalars(
        select(HolderNotice)
        .where(wanted)
        .order_by(HolderNotice.written_by.desc(), HolderNotice.id.desc())
        .limit(limit)
    ).all()


def mark_of(session: Session, *, holder_id: UUID) -> Place:
    """Return how far a holder has read."""
    mark = session.get(InboxMark, holder_id, populate_existing=True)
    return (mark.written_by, mark.notice_id) if mark else (0, UUID(int=0))


def count_unread(session: Session, *, holder_id: UUID) -> int:
    """Return how many notices a holder has not read, counted up to `MOST_COUNTED`."""
    behind = (
        select(HolderNotice.id)
        .where(_readable(holder_id), _place(mark_of(session, holder_id=holder_id)) < PLACE)
        .limit(MOST_COUNTED)
    )
    return session.scalar(select(func.count()).select_from(behind.subquery())) or 0


def mark_read(session: Session, *, holder_id: UUID, up_to: Place) -> None:
    """Note that a holder has read up to a place.  Never goes back; a repetition changes nothing.

    A place that lies ahead of what can be read counts as the newest notice: what is yet to come is
    not read.
    """
    newest = session.execute(
        select(HolderNotice.written_by, HolderNotice.id)
        .where(_readable(holder_id), _place(up_to) >= PLACE)
        .order_by(HolderNotice.written_by.desc(), HolderNotice.id.desc())
        .limit(1)
    ).one_or_none()
    if newest is None:
        return
    marking = insert(InboxMark).values(
        holder_id=holder_id, written_by=newest.written_by, notice_id=newest.id
    )
    new = marking.excluded
    session.execute(
        marking.on_conflict_do_update(
            index_elements=[InboxMark.holder_id],
            set_={"written_by": new.written_by, "notice_id": new.notice_id},
            where=tuple_(InboxMark.written_by, InboxMark.notice_id)
            < tuple_(new.written_by, new.notice_id),
        )
    )


def forget_old(session: Session, *, before: datetime) -> int:
    """Delete notices from before a moment, a bounded number at once; return how many."""
    old = select(HolderNotice.id).where(HolderNotice.at < before).limit(DELETED_AT_ONCE)
    deleted = session.execute(
        delete(HolderNotice).where(HolderNotice.id.in_(old)).returning(HolderNotice.id)
    )
    return len(deleted.all())


def _readable(holder_id: UUID) -> ColumnElement[bool]:
    return and_(
        HolderNotice.holder_id == holder_id,
        HolderNotice.written_by < HORIZON,
        HolderNotice.kind.not_in(NOT_KEPT_TO_READ),
    )


def _place(place: Place) -> ColumnElement[Any]:
    return tuple_(literal(place[0]), literal(place[1]))
