"""Inspecting the operation log (台账检查): who is who in it, is it whole, what leaves the house."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind
from backend.holders import viewing
from backend.operation_log import seals, verification
from backend.operation_log import service as operation_log
from backend.operation_log.models import LogEntry, LogSeal
from backend.operation_log.service import OPERATOR, Actor, LogFilter
from backend.operation_log.verification import Verification
from backend.operators import limits
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at

MAY_LOOK = (Role.CARD_CENTRE, Role.AUDITOR)
MOST_EXPORTED = 20_000
"""Rows that one request hands out; the command line is for more."""
MOST_EXPORTED_BY_COMMAND = 2_000_000
MOST_VERIFIED = 50_000
"""Entries whose rows one request compares, the newest; `campus-card verify-log` compares all."""
NOBODY = UUID(int=0)


class ExportTooLarge(DomainError, code="export-too-large", kind=Kind.INVALID):
    """The period holds more operations than one export may: divide it.  Fact: `most`."""


@dataclass(frozen=True, slots=True)
class Names:
    """Who those are that entries name by their ids."""

    holder_numbers: dict[UUID, str]
    usernames: dict[UUID, str]

    def holder_number(self, entry: LogEntry) -> str | None:
        """Return the number of the holder that an entry is about."""
        return self.holder_numbers.get(entry.holder_id or NOBODY)

    def username(self, entry: LogEntry) -> str | None:
        """Return the user name of the operator who acted."""
        return self.usernames.get(operators.id_in_log(entry.actor) or NOBODY)


def names_in(session: Session, entries: Iterable[LogEntry]) -> Names:
    """Return who those are that some entries name."""
    entries = list(entries)
    found = viewing.holders_by_id(
        session, list({entry.holder_id for entry in entries if entry.holder_id})
    )
    ids = {id_ for id_ in (operators.id_in_log(entry.actor) for entry in entries) if id_}
    return Names(
        {id_: holder.holder_number for id_, holder in found.items()},
        operators.usernames(session, ids),
    )


def understand(session: Session, said: dict[str, Any]) -> LogFilter:
    """Return the filter that somebody means who names people by their numbers and user names.

    A number or name that nobody has finds nothing.
    """
    holder_id = actor = None
    if number := said.get("holder_number"):
        holder_id = viewing.id_by_number(session, holder_number=number) or NOBODY
    if username := said.get("operator"):
        actor = f"{OPERATOR}{operators.id_of(session, username=username) or NOBODY}"
    return LogFilter(
        since=said.get("from_at"),
        until=said.get("until_at"),
        action=said.get("action"),
        actor=actor,
        holder_id=holder_id,
        refused={"done": False, "refused": True}.get(said.get("outcome", "")),
        reference=said.get("reference"),
    )


def search(
    session: Session, *, wanted: LogFilter, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[LogEntry]:
    """Return operations, newest first."""
    return operation_log.list_entries(session, wanted=wanted, before=before, limit=limit)


def verify_newest(session: Session, *, heads: dict[int, bytes]) -> Verification:
    """Compute the whole chain of seals again, and compare the rows of the newest of them."""
    verification.read_only(session)
    total = seals.head(session).total
    rows_from = session.scalar(
        select(func.min(LogSeal.number)).where(LogSeal.total > max(0, total - MOST_VERIFIED))
    )
    return verification.verify(session, heads=heads, rows_from=rows_from or 1)


def count_export(session: Session, *, caller: OperatorCaller, now: datetime) -> list[UUID]:
    """Refuse an operator who has taken copies enough today, or who showed no code just now.

    Returns the row of policies that allows one more, for `allow_export`.

    Locks the operator's row until `allow_export` has written the entry.

    Raises:
        ConfirmationNeeded: no one-time code was shown in the last five minutes.
        OperatorLimit: the operator has taken as many copies today as one may.
    """
    caller.must_have_confirmed(now)
    policies, key = policies_at(session, now), "operator.daily_exports"
    limits.count(
        session,
        caller=caller,
        action="log.export",
        limit="daily_exports",
        most=policies[key],
        policy_ids=policies.used(key),
        now=now,
    )
    return policies.used(key)


def allow_export(
    session: Session,
    *,
    wanted: LogFilter,
    most: int,
    actor: Actor,
    reference: str,
    now: datetime,
    policy_ids: Sequence[UUID] = (),
    **facts: Any,
) -> tuple[LogFilter, int]:
    """Write an export into the log; return what it holds, and how many rows that are.

    It ends before now, so it is not in itself.  Commit before anything is handed out: no row in the
    log, no data (O5).

    Raises:
        ExportTooLarge: there are more than `most`; nothing is cut off in silence.
    """
    wanted = replace(wanted, until=min(wanted.until or now, now))
    counted = wanted.apply(select(LogEntry.id)).limit(most + 1).subquery()
    count: int = session.execute(select(func.count()).select_from(counted)).scalar_one()
    if count > most:
        raise ExportTooLarge(most=most)
    operation_log.record(
        session,
        actor=actor,
        action="log.export",
        now=now,
        holder_id=None if wanted.holder_id == NOBODY else wanted.holder_id,
        policy_ids=policy_ids,
        reference=reference,
        rows=count,
        period=[moment and moment.isoformat() for moment in (wanted.since, wanted.until)],
        filters=sorted(
            name
            for name in ("action", "actor", "holder_id", "refused", "reference")
            if getattr(wanted, name) is not None
        ),
        **facts,
    )
    return wanted, count
