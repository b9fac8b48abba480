"""Sealing the operation log (封存): a job chains what was written, outside every request.

A seal covers a range of transaction ids that ends below the oldest transaction still running
(`pg_snapshot_xmin`): nothing can be written into it any more.  So nothing is skipped, however late
a transaction commits; it only holds the seal up, and the lag shows it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Text, cast, func, select, text
from sqlalchemy.orm import Session

from backend.operation_log.models import LogEntry, LogSeal
from backend.operation_log.rules import (
    EARLIEST,
    ENTRY,
    LATEST,
    NO_HEAD,
    digest,
    head_of,
    moment_text,
    read_moment,
    spell,
)

ENTRIES_A_SEAL = 10_000
"""About: the entries of one transaction are never divided."""
ALARM_SECONDS = 60
FETCH = 1_000
FURTHEST = 2**62
"""Above every number and total that a seal can have come to."""
LOCK = text(
    "SELECT pg_try_advisory_xact_lock("
    "hashtextextended(current_schema() || '.operation_log_seals', 0))"
)
HORIZON = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
ENTRIES = text(
    "SELECT id, at::text, channel, actor, action, outcome, holder_id::text, card_id::text,"
    " subject_id::text, before::text, after::text, documents::text, receipt_number,"
    " policy_ids::text, facts::text, reference, written_by::text"
    " FROM operation_log WHERE written_by >= :since AND written_by < :until"
    " ORDER BY written_by, id"
)


class LogRestored(RuntimeError):
    """The server counts transactions from below the last seal: the log came from another one."""


class LastSealForged(RuntimeError):
    """The last seal is none that a seal can follow: `verify-log` says more."""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain (链头): whoever keeps it elsewhere notices a tail that was cut off."""

    number: int
    head: bytes
    total: int
    sealed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Lag:
    """What is not sealed yet."""

    entries: int
    seconds: int
    """Age of the oldest of them."""

    @property
    def is_alarming(self) -> bool:
        """Whether the sealer has stopped, or a transaction holds it up."""
        return self.seconds > ALARM_SECONDS


def read_slowly(session: Session) -> None:
    """Let a job read for as long as it takes."""
    session.execute(text("SET LOCAL statement_timeout = 0"))


def seal(session: Session, *, now: datetime) -> int:
    """Add one seal for what was written since the last; return how many entries it covers.

    Returns 0, and adds none, where nothing new is final yet or another sealer is at work.  Killed
    at any point it leaves nothing, and the next run does the same again.

    Raises:
        LastSealForged: nothing can follow it.
        LogRestored: transaction ids went backwards; see `backend/decisions/0012-operation-log.md`.
    """
    if not session.scalar(LOCK):
        return 0
    last = session.execute(
        select(LogSeal.number, LogSeal.until, LogSeal.total, LogSeal.head)
        .order_by(LogSeal.number.desc())
        .limit(1)
    ).one_or_none()
    if last and (None in last or max(last.number, last.total) > FURTHEST):
        raise LastSealForged
    since = last.until if last else 0
    horizon: int = session.execute(HORIZON).scalar_one()
    if horizon < since:
        raise LogRestored
    until = _end(session, since=since, horizon=horizon)
    sealed = [(id_, hashed) for id_, _, hashed in digests(session, since=since, until=until)]
    if not sealed:
        return 0
    members: dict[str, Any] = {
        "number": last.number + 1 if last else 1,
        "since": since,
        "until": until,
        "entries": len(sealed),
        "total": (last.total if last else 0) + len(sealed),
        "contents": spell(sealed),
        "previous_head": last.head if last else NO_HEAD,
        "sealed_at": now,
    }
    session.add(LogSeal(**members, head=head_of(**members)))
    session.flush()
    return len(sealed)


def _end(session: Session, *, since: int, horizon: int) -> int:
    """Return the transaction id at which a seal ends: the horizon, or sooner where much waits."""
    full = session.scalar(
        select(LogEntry.written_by)
        .where(LogEntry.written_by >= since, LogEntry.written_by < horizon)
        .order_by(LogEntry.written_by)
        .offset(ENTRIES_A_SEAL - 1)
        .limit(1)
    )
    return horizon if full is None else full + 1


def digests(
    session: Session, *, since: int, until: int
) -> Iterator[tuple[UUID, datetime | None, bytes]]:
    """Yield id, time and digest of each entry of a range of transaction ids, in sealing order.

    No row is trusted: one whose time is none is hashed with what stands there, and has no time.
    """
    rows = session.connection().execute(
        ENTRIES, {"since": since, "until": until}, execution_options={"yield_per": FETCH}
    )
    for id_, stored, *members in rows:
        at = read_moment(stored)
        yield id_, at, digest(ENTRY, [str(id_), moment_text(at) if at else stored, *members])


def head(session: Session) -> Head:
    """Return the end of the chain; before the first seal it is number 0."""
    row = session.execute(
        select(LogSeal.number, LogSeal.head, LogSeal.total, cast(LogSeal.sealed_at, Text))
        .order_by(LogSeal.number.desc())
        .limit(1)
    ).one_or_none()
    return Head(*row[:3], read_moment(row[3])) if row else Head(0, NO_HEAD, 0, None)


def sealed_until(session: Session) -> int:
    """Return the transaction id below which entries are sealed."""
    found = session.scalar(select(LogSeal.until).order_by(LogSeal.number.desc()).limit(1))
    return found or 0


def lag(session: Session, *, now: datetime) -> Lag:
    """Return what is not sealed yet, and how long it has waited."""
    count, oldest = session.execute(
        select(
            func.count(), func.min(LogEntry.at).filter(LogEntry.at.between(EARLIEST, LATEST))
        ).where(LogEntry.written_by >= sealed_until(session))
    ).one()
    return Lag(count, max(0, int((now - oldest).total_seconds())) if oldest else 0)
