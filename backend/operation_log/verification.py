"""Verifying the operation log (校验): the whole chain is computed again from the rows.

Where entries were kept for long enough and are gone, an entry of the log itself says so: of their
seals the chain alone is computed, and that no row is left there.  Such an entry excuses nothing
that was younger than the law allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from backend.operation_log.models import LogEntry, LogSeal
from backend.operation_log.rules import (
    DISPOSE,
    LATE,
    LEAST_KEPT,
    NO_HEAD,
    Difference,
    Fault,
    compare,
    head_of,
    read,
)
from backend.operation_log.seals import Head, digests

FIRST = -(2**63)
"""Below every transaction id: no row hides beneath the chain."""


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

    One that is dated in the future by the database's clock is none: it would excuse too much.
    """
    found = session.execute(
        select(LogEntry.facts, LogEntry.at)
        .where(LogEntry.action == DISPOSE, LogEntry.at <= func.clock_timestamp())
        .order_by(LogEntry.written_by.desc(), LogEntry.id.desc())
        .limit(1)
    ).one_or_none()
    if found is None:
        return None
    return Disposal(found.facts["through"], bytes.fromhex(found.facts["head"]), found.at)


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
    stored = session.execute(
        select(LogSeal.number, LogSeal.head, LogSeal.total, LogSeal.sealed_at)
        .order_by(LogSeal.number.desc())
        .limit(1)
    ).one_or_none()
    unsealed = session.execute(
        text("SELECT count(*) FROM operation_log WHERE written_by >= :since"),
        {"since": last.until if last else 0},
    ).scalar_one()
    return Verification(
        head=Head(*stored) if stored else Head(0, NO_HEAD, 0, None),
        seals=last.number if last else 0,
        entries=chain.entries,
        disposed=chain.disposed,
        unsealed=unsealed,
        difference=difference,
    )


def holds(session: Session, *, first: int, last: int) -> bool:
    """Say whether some seals, one after another, are what they were and so are their entries."""
    for number in range(first, last + 1):
        seal = session.get_one(LogSeal, number)
        since = FIRST if number == 1 else seal.since
        rows = [(id_, hashed) for id_, _, hashed in digests(session, since=since, until=seal.until)]
        if _head_of(seal) != seal.head or compare(list(read(seal.contents)), rows):
            return False
        session.expunge(seal)
    return True


def _head_of(seal: LogSeal) -> bytes:
    return head_of(
        number=seal.number,
        since=seal.since,
        until=seal.until,
        entries=seal.entries,
        total=seal.total,
        contents=seal.contents,
        previous_head=seal.previous_head,
        sealed_at=seal.sealed_at,
    )


class _Chain:
    """The chain as far as it holds."""

    def __init__(self, session: Session, heads: Mapping[int, bytes], rows_from: int) -> None:
        self._session, self._heads, self._rows_from = session, heads, rows_from
        self._disposal = disposal(session)
        self.last: LogSeal | None = None
        self.entries = self.disposed = 0

    def follow(self) -> Difference | None:
        """Go along the chain; return the first difference."""
        number = 0
        while seal := self._next():
            number += 1
            if difference := self._check(seal, number):
                return difference
            self._session.expunge(seal)
            self.last = seal
        if missing := sorted(kept for kept in self._heads if kept > number):
            return Difference(Fault.SEAL_MISSING, missing[0])
        return self._tail()

    def _next(self) -> LogSeal | None:
        after = self.last.number if self.last else FIRST
        return self._session.scalars(
            select(LogSeal).where(LogSeal.number > after).order_by(LogSeal.number).limit(1)
        ).one_or_none()

    def _check(self, seal: LogSeal, number: int) -> Difference | None:
        last = self.last
        if seal.number != number:
            return Difference(Fault.SEAL_MISSING, number)
        follows = (
            seal.since == (last.until if last else 0)
            and seal.total == (last.total if last else 0) + seal.entries
            and seal.previous_head == (last.head if last else NO_HEAD)
        )
        head = _head_of(seal)
        if not follows or head != seal.head:
            return Difference(Fault.SEAL_CHANGED, number)
        if self._heads.get(number, head) != head:
            return Difference(Fault.HEAD_DIFFERS, number)
        if self._disposal is not None and number <= self._disposal.through:
            return self._check_disposed(seal, self._disposal)
        return self._compare_rows(seal) if number >= self._rows_from else None

    def _check_disposed(self, seal: LogSeal, said: "Disposal") -> Difference | None:
        if seal.sealed_at > said.at - LEAST_KEPT:
            return Difference(Fault.DISPOSED_EARLY, seal.number)
        if seal.number == said.through and seal.head != said.head:
            return Difference(Fault.HEAD_DIFFERS, seal.number)
        left = list(digests(self._session, since=self._since(seal), until=seal.until))
        if left:
            return Difference(Fault.ENTRY_INSERTED, seal.number, left[0][0])
        self.disposed += seal.entries
        return None

    def _since(self, seal: LogSeal) -> int:
        return seal.since if self.last else FIRST

    def _compare_rows(self, seal: LogSeal) -> Difference | None:
        sealed = list(read(seal.contents))
        rows = list(digests(self._session, since=self._since(seal), until=seal.until))
        found = compare(sealed, ((id_, hashed) for id_, _, hashed in rows))
        if found is not None:
            return Difference(found[0], seal.number, found[1])
        self.entries += len(rows)
        if self.last is not None:
            for id_, at, _ in rows:
                if at < self._oldest(self.last.sealed_at):
                    return Difference(Fault.ENTRY_BACKDATED, seal.number, id_)
        return None

    def _tail(self) -> Difference | None:
        """Return an unsealed entry that was not written when it says."""
        if self.last is None:
            return None
        id_ = self._session.scalar(
            select(LogEntry.id)
            .where(
                LogEntry.written_by >= self.last.until,
                LogEntry.at < self._oldest(self.last.sealed_at),
            )
            .order_by(LogEntry.written_by, LogEntry.id)
            .limit(1)
        )
        return None if id_ is None else Difference(Fault.ENTRY_BACKDATED, self.last.number + 1, id_)

    @staticmethod
    def _oldest(sealed_at: datetime) -> datetime:
        return sealed_at - LATE
