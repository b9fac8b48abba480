"""Ending what the operation log kept for long enough (台账保存期满): whole seals of entries go.

The seals stay, with the digest of every entry, and so does the chain: what is left still verifies,
and so does every head that was kept elsewhere.  That it happened is an entry itself, which only the
database's function that deletes can write.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from backend.operation_log.models import LogEntry, LogSeal
from backend.operation_log.verification import holds

ENTRIES_AT_ONCE = 50_000
"""About, in one transaction: a seal is never divided."""
GONE = text("SELECT dispose_log(:through, :policy_ids, :before)").bindparams(
    bindparam("policy_ids", type_=JSONB)
)
BIGGEST = 2**63 - 1
LOCK = text(
    "SELECT pg_try_advisory_xact_lock("
    "hashtextextended(current_schema() || '.operation_log.dispose', 0))"
)


class LogDoesNotHold(RuntimeError):
    """The entries differ from what was sealed: what shows that is not deleted."""


def dispose(session: Session, *, before: datetime, policy_ids: Sequence[UUID]) -> int:
    """Delete the entries of the oldest seals that were sealed before a moment; return how many.

    Compares them with their seals first.  A part of them at once; 0 when nothing is left to do, or
    another job is at it.  Killed at any point, nothing happened.

    Raises:
        LogDoesNotHold: somebody changed the log; everything stays.
        ProgrammingError: `before` is younger than the law allows.
    """
    if not session.scalar(LOCK):
        return 0
    due = _due(session, before)
    if due is None:
        return 0
    first, through = due
    if not holds(session, first=first, last=through):
        raise LogDoesNotHold
    named = [str(id_) for id_ in policy_ids]
    gone: int = session.execute(
        GONE, {"through": through, "policy_ids": named, "before": before}
    ).scalar_one()
    return gone


def _due(session: Session, before: datetime) -> tuple[int, int] | None:
    """Return the first and the last seal whose entries are to go now, or None.

    Raises:
        LogDoesNotHold: the first has no total.
    """
    oldest = session.scalar(select(func.min(LogEntry.written_by)))
    if oldest is None:
        return None
    younger = session.scalar(select(func.min(LogSeal.number)).where(LogSeal.sealed_at >= before))
    due = select(LogSeal.number, LogSeal.total, LogSeal.entries).where(LogSeal.until > oldest)
    if younger is not None:
        due = due.where(LogSeal.number < younger)
    first = session.execute(due.order_by(LogSeal.number).limit(1)).one_or_none()
    if first is None:
        return None
    if None in first:
        raise LogDoesNotHold
    most = min(max(first.total - first.entries + ENTRIES_AT_ONCE, first.total), BIGGEST)
    last = due.where(LogSeal.total <= most).order_by(LogSeal.number.desc()).limit(1)
    return first.number, session.execute(last).scalars().one()
