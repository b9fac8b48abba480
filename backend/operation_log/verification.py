"""Verifying the operation log (校验): the whole chain is computed again from the rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from backend.operation_log.models import LogEntry, LogSeal
from backend.operation_log.rules import (
    LATE,
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
    unsealed: int
    difference: Difference | None

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return self.difference is None


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
        unsealed=unsealed,
        difference=difference,
    )


class _Chain:
    """The chain as far as it holds."""

    def __init__(self, session: Session, heads: Mapping[int, bytes], rows_from: int) -> None:
        self._session, self._heads, self._rows_from = session, heads, rows_from
        self.last: LogSeal | None = None
        self.entries = 0

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
        head = head_of(
            number=seal.number,
            since=seal.since,
            until=seal.until,
            entries=seal.entries,
            total=seal.total,
            contents=seal.contents,
            previous_head=seal.previous_head,
            sealed_at=seal.sealed_at,
        )
        if not follows or head != seal.head:
            return Difference(Fault.SEAL_CHANGED, number)
        if self._heads.get(number, head) != head:
            return Difference(Fault.HEAD_DIFFERS, number)
        return self._compare_rows(seal) if number >= self._rows_from else None

    def _compare_rows(self, seal: LogSeal) -> Difference | None:
        sealed = list(read(seal.contents))
        since = seal.since if self.last else FIRST
        rows = list(digests(self._session, since=since, until=seal.until))
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
