"""Verifying the operation log (校验): the whole chain is computed again from the rows.

Where entries were kept for long enough and are gone, an entry of the log itself says so: of their
seals the chain alone is computed, and that no row is left there.  Such an entry excuses nothing
that was younger than the law allows.

What is read here is evidence, and perhaps forged: whatever stands in a row, it is a difference or
it proves nothing, and never an exception.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Text, cast, func, or_, select, text
from sqlalchemy.orm import Session

from backend.operation_log.models import LogEntry, LogSeal
from backend.operation_log.rules import (
    DISPOSE,
    EARLIEST,
    LATE,
    LATEST,
    LEAST_KEPT,
    NO_HEAD,
    WIDTH,
    Difference,
    Fault,
    compare,
    head_of,
    read,
    read_moment,
)
from backend.operation_log.seals import Head, digests, head

FIRST = -(2**63)
"""Not above any transaction id or number: no row hides beneath the chain."""
SEALS = select(
    LogSeal.number,
    LogSeal.since,
    LogSeal.until,
    LogSeal.entries,
    LogSeal.total,
    LogSeal.contents,
    LogSeal.previous_head,
    LogSeal.head,
    cast(LogSeal.sealed_at, Text),
)


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found."""

    head: Head
    """As it is stored."""
    seals: int
    """Seals that hold."""
    entries: int
    """Sealed entries whose rows were compared."""
    disposed: int
    """Sealed entries that were kept for long enough and are gone; their seals hold."""
    unsealed: int
    difference: Difference | None

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return self.difference is None


@dataclass(frozen=True, slots=True)
class Disposal:
    """What the log says of its own entries that are gone (期满销毁)."""

    through: int
    """The last seal whose entries went, and those of all before it."""
    head: bytes
    at: datetime


def disposal(session: Session) -> Disposal | None:
    """Return the newest word on entries that are gone, or None.

    One that is dated in the future by the database's clock is none: it would excuse too much.  Nor
    is one that does not name a seal and its head: `dispose_log` did not write it.
    """
    through, head = (LogEntry.facts[name].astext for name in ("through", "head"))
    found = session.execute(
        select(through, head, LogEntry.at)
        .where(
            LogEntry.action == DISPOSE,
            LogEntry.at.between(EARLIEST, func.least(func.clock_timestamp(), LATEST)),
            through.regexp_match("^[1-9][0-9]{0,17}$"),
            head.regexp_match("^[0-9a-f]{64}$"),
        )
        .order_by(LogEntry.written_by.desc(), LogEntry.id.desc())
        .limit(1)
    ).one_or_none()
    if found is None:
        return None
    return Disposal(int(found[0]), bytes.fromhex(found[1]), found[2])


def read_only(session: Session) -> None:
    """Let everything that follows see one moment, and take its time."""
    session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    session.execute(text("SET LOCAL statement_timeout = 0"))


def verify(
    session: Session, *, heads: Mapping[int, bytes] | None = None, rows_from: int = 1
) -> Verification:
    """Compute the chain again, up to the first difference.

    `heads` are heads by number that were kept elsewhere: only they show a tail that was cut off, or
    a chain that was made anew.  The rows are read from seal `rows_from` on, of earlier seals only
    what they store.  Call `read_only` first.
    """
    chain = _Chain(session, heads or {}, rows_from)
    difference = chain.follow()
    last = chain.last
    unsealed = session.execute(
        text("SELECT count(*) FROM operation_log WHERE written_by >= :since OR written_by IS NULL"),
        {"since": last.until if last else 0},
    ).scalar_one()
    return Verification(
        head=head(session),
        seals=last.number if last else 0,
        entries=chain.entries,
        disposed=chain.disposed,
        unsealed=unsealed,
        difference=difference,
    )


def holds(session: Session, *, first: int, last: int) -> bool:
    """Say whether some seals, one after another, are what they were and so are their entries."""
    for number in range(first, last + 1):
        seal = _whole(session.execute(SEALS.where(LogSeal.number == number)).first())
        if seal is None:
            return False
        since = FIRST if number == 1 else seal.since
        rows = [(id_, hashed) for id_, _, hashed in digests(session, since=since, until=seal.until)]
        if compare(list(read(seal.contents)), rows):
            return False
    return True


@dataclass(frozen=True, slots=True)
class _Seal:
    """A seal that is whole: everything is there, and its head is the head of that."""

    number: int
    since: int
    until: int
    entries: int
    total: int
    contents: bytes
    previous_head: bytes
    head: bytes
    sealed_at: datetime


def _whole(row: Row[*tuple[Any, ...]] | None) -> _Seal | None:
    """Return the seal that a row holds, or None where it was changed."""
    if row is None or None in row:
        return None
    members = tuple(row)
    sealed_at = read_moment(members[-1])
    if sealed_at is None:
        return None
    seal = _Seal(*[*members[:-1], sealed_at])
    of_contents = {name: getattr(seal, name) for name in _Seal.__slots__ if name != "head"}
    fits = len(seal.contents) == WIDTH * seal.entries and head_of(**of_contents) == seal.head
    return seal if fits else None


class _Chain:
    """The chain as far as it holds."""

    def __init__(self, session: Session, heads: Mapping[int, bytes], rows_from: int) -> None:
        self._session, self._heads, self._rows_from = session, heads, rows_from
        self._disposal = disposal(session)
        self.last: _Seal | None = None
        self.entries = self.disposed = 0

    def follow(self) -> Difference | None:
        """Go along the chain; return the first difference."""
        number = 0
        while row := self._next():
            number += 1
            if row.number != number:
                return Difference(Fault.SEAL_MISSING, number)
            seal = _whole(row)
            if seal is None or not self._follows(seal):
                return Difference(Fault.SEAL_CHANGED, number)
            if difference := self._check(seal):
                return difference
            self.last = seal
        if missing := sorted(kept for kept in self._heads if kept > number):
            return Difference(Fault.SEAL_MISSING, missing[0])
        return self._tail()

    def _next(self) -> Row[*tuple[Any, ...]] | None:
        following = self.last.number + 1 if self.last else FIRST
        return self._session.execute(
            SEALS.where(LogSeal.number >= following).order_by(LogSeal.number).limit(1)
        ).one_or_none()

    def _follows(self, seal: _Seal) -> bool:
        last = self.last
        return (
            seal.since == (last.until if last else 0)
            and seal.total == (last.total if last else 0) + seal.entries
            and seal.previous_head == (last.head if last else NO_HEAD)
        )

    def _check(self, seal: _Seal) -> Difference | None:
        number = seal.number
        if self._heads.get(number, seal.head) != seal.head:
            return Difference(Fault.HEAD_DIFFERS, number)
        if self._disposal is not None and number <= self._disposal.through:
            return self._check_disposed(seal, self._disposal)
        return self._compare_rows(seal) if number >= self._rows_from else None

    def _check_disposed(self, seal: _Seal, said: Disposal) -> Difference | None:
        if seal.sealed_at > said.at - LEAST_KEPT:
            return Difference(Fault.DISPOSED_EARLY, seal.number)
        if seal.number == said.through and seal.head != said.head:
            return Difference(Fault.HEAD_DIFFERS, seal.number)
        left = list(digests(self._session, since=self._since(seal), until=seal.until))
        if left:
            return Difference(Fault.ENTRY_INSERTED, seal.number, left[0][0])
        self.disposed += seal.entries
        return None

    def _since(self, seal: _Seal) -> int:
        return seal.since if self.last else FIRST

    def _compare_rows(self, seal: _Seal) -> Difference | None:
        sealed = list(read(seal.contents))
        rows = list(digests(self._session, since=self._since(seal), until=seal.until))
        found = compare(sealed, ((id_, hashed) for id_, _, hashed in rows))
        if found is not None:
            return Difference(found[0], seal.number, found[1])
        self.entries += len(rows)
        oldest = self._oldest()
        for id_, at, _ in rows:
            if at is None or at < oldest:
                return Difference(Fault.ENTRY_BACKDATED, seal.number, id_)
        return None

    def _tail(self) -> Difference | None:
        """Return an unsealed entry that was not written when it says, or that no seal will hold."""
        until, number = (self.last.until, self.last.number) if self.last else (FIRST, 0)
        in_time = func.coalesce(LogEntry.at.between(self._oldest(), LATEST), False)
        found = self._session.execute(
            select(LogEntry.id)
            .where(or_(LogEntry.written_by.is_(None), (LogEntry.written_by >= until) & ~in_time))
            .order_by(LogEntry.written_by, LogEntry.id)
            .limit(1)
        ).one_or_none()
        return found and Difference(Fault.ENTRY_BACKDATED, number + 1, found.id)

    def _oldest(self) -> datetime:
        """Return since when everything was written that the last seal does not hold."""
        return self.last.sealed_at - LATE if self.last else EARLIEST
