"""The roster (名册): importing a feed of people, row by row, with a report of every fault.

A feed is CSV (UTF-8 or GB 18030) or XLSX with the columns of `COLUMNS`, in any order, headed in
Chinese or English; it may have those of `FURTHER_COLUMNS`, too.  Importing the same feed again
changes nothing.  Imports happen one after the other.

Source: regulation 三(二); the plaintext document number never reaches a table, a log or a queue.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.errors import IdReused
from backend.holders import permissions
from backend.holders.feed_rows import (
    CATEGORY_WORDS,
    COLUMNS,
    FURTHER_COLUMNS,
    NEEDED,
    Faulty,
    RetirementAges,
    Row,
    read_row,
)
from backend.holders.feeds import (
    MOST_ROWS,
    MOST_UNPACKED_BYTES,
    RosterUnreadable,
    rows,
    unread_sheets,
)
from backend.holders.models import (
    Category,
    Holder,
    HolderNumber,
    Identity,
    RosterBatch,
    RosterConflict,
    RosterSource,
)
from backend.holders.roster_reports import (
    Remark,
    RosterReport,
    RowFault,
    RowRemark,
    read_report,
)
from backend.holders.rules import SURCHARGED
from backend.ids import new_id
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators.models import Role
from backend.policies.service import policies_at
from backend.rows import lock_id
from backend.sealing import Sealer

__all__ = [
    "CATEGORY_WORDS",
    "COLUMNS",
    "FURTHER_COLUMNS",
    "MOST_ROWS",
    "MOST_UNPACKED_BYTES",
    "RosterReport",
    "RosterUnreadable",
    "RowFault",
    "RowRemark",
]
LOCK = UUID("00000000-0000-4000-8000-726f73746572")
"""Whoever holds `lock_id` of it may give numbers and documents to people."""
RETIREMENT = ("male_months", "female_months", "step_months", "later_months")
CHUNK = 1000
"""Rows that are written at once."""
STUDENTS = (Category.STUDENT, Category.NEW_STUDENT)
SOURCE_CATEGORIES: dict[RosterSource, tuple[Category, ...]] = {
    RosterSource.ACADEMIC: STUDENTS,
    RosterSource.PERSONNEL: (Category.STAFF,),
    RosterSource.CARD_CENTRE: tuple(Category),
}
ROLE_SOURCES: dict[Role, tuple[RosterSource, ...]] = {
    Role.ACADEMIC: (RosterSource.ACADEMIC,),
    Role.PERSONNEL: (RosterSource.PERSONNEL,),
    Role.CARD_CENTRE: (
        RosterSource.CARD_CENTRE,
        RosterSource.ACADEMIC,
        RosterSource.PERSONNEL,
    ),
}
"""Whose list each role may import; the first one unless it says which."""
PROVABLE = {
    "name": "name",
    "unit": "unit",
    "category": "category",
    "employment": "category",
    "valid_until": "valid_until",
    "document_index": "document",
}
"""Columns of a holder that a proof protects, and what the proof is called in `Holder.proven`."""
DOCUMENT_COLUMNS = (
    "identity",
    "document_kind",
    "document_index",
    "document_tail_index",
    "document_tail_number",
)
HASHES = ("document_index", "document_tail_index", "document_tail_number")
COMPARED = (
    "id",
    "holder_number",
    "name",
    "category",
    "employment",
    "unit",
    "pays_surcharge",
    "valid_until",
    "entered_on",
    "programme_ends_on",
    "proven",
    *DOCUMENT_COLUMNS,
)


class OpenAccounts(Protocol):
    """Opens purses and card of new holders (开户)."""

    def __call__(
        self, session: Session, holder_ids: Sequence[UUID], *, actor: Actor, now: datetime
    ) -> None: ...


class WakeCards(Protocol):
    """Lets expired cards live again of holders who have a last day ahead (延期)."""

    def __call__(
        self,
        session: Session,
        holder_ids: Collection[UUID],
        *,
        actor: Actor,
        now: datetime,
        **facts: Any,
    ) -> None: ...


class EndedAccounts(Protocol):
    """Says whose accounts, among some holders', are closed, and whose closing goes on (销户)."""

    def __call__(
        self, session: Session, *, holder_ids: Collection[UUID]
    ) -> Mapping[UUID, bool]: ...


def lock_roster(session: Session) -> None:
    """Wait until nobody else gives numbers and documents to people, until commit."""
    lock_id(session, LOCK)


def import_roster(
    session: Session,
    *,
    content: bytes,
    source: RosterSource,
    sealer: Sealer,
    actor: Actor,
    now: datetime,
    dry_run: bool,
    open_accounts: OpenAccounts,
    ended_accounts: EndedAccounts,
    wake_cards: WakeCards,
    batch_id: UUID | None = None,
    whole: bool = False,
) -> RosterReport:
    """Add and update the people of a feed, leaving out the rows that are at fault.

    `open_accounts` opens purses and cards for people who are new (开户), in the same transaction;
    `ended_accounts` says who has none any more, which is remarked on: a row opens nothing again.
    `wake_cards` lets cards live again that had expired before a row gave a later last day, 三(十).
    `whole` says that the feed has everybody of its source: who is missing is listed, not touched.
    A `batch_id` that was imported before gets its report again.  A dry run writes nothing and
    reports the same.

    Raises:
        RosterUnreadable: nothing can be read at all.
        IdReused: `batch_id` came before with another file.
    """
    lock_roster(session)
    index = sealer.index("roster-batch", f"{source}:{whole}:{content.hex()}")
    if batch_id is not None and (earlier := session.get(RosterBatch, batch_id)):
        if earlier.content_index != index:
            raise IdReused
        return read_report(earlier.report)
    policies = policies_at(session, now)
    ages = RetirementAges(**{name: policies[f"validity.retire_{name}"] for name in RETIREMENT})
    used = policies.used(*(f"validity.retire_{name}" for name in RETIREMENT))
    used += [id_ for one in Category for id_ in permissions.rows_for(policies, one)]
    people = _People(session, source)
    report, new, changed = RosterReport(), [], []
    today, here = business_date(now), {}
    for number, cells in rows(content, headings=COLUMNS | FURTHER_COLUMNS, needed=NEEDED):
        report.rows += 1
        people.names(cells.get("holder_number", ""))
        try:
            row = read_row(cells, sealer=sealer, ages=ages, today=today)
            holder = people.match(row)
        except Faulty as fault:
            report.faults.append(RowFault(number, fault.column, fault.fault))
            continue
        if holder is None:
            report.added += 1
            new.append({"id": new_id()} | row.person)
            continue
        if row.person["valid_until"] >= today:
            here[holder.id] = (number, holder.holder_number)
        differing, proven = people.difference(holder, row)
        report.conflicts += [RowFault(number, c, "differs from the proven value") for c in proven]
        if not differing:
            report.unchanged += 1
            continue
        report.changed += 1
        changed.append((holder, differing))
    report.remarks = _remarks(here, ended_accounts(session, holder_ids=here))
    report.unread_sheets = unread_sheets(content)
    if whole:
        report.absent = people.absent(today=today)
    if not dry_run:
        batch_id = batch_id or new_id()
        _write(
            session,
            new,
            changed,
            batch_id=batch_id,
            open_accounts=open_accounts,
            wake_cards=wake_cards,
            actor=actor,
            now=now,
        )
        permissions.work_out(session, policies=policies, now=now)
        _note(
            session,
            report=report,
            conflicts=people.conflicts,
            source=source,
            batch_id=batch_id,
            index=index,
            policy_ids=used,
            actor=actor,
            now=now,
        )
    return report


def _remarks(here: Mapping[UUID, tuple[int, str]], ended: Mapping[UUID, bool]) -> list[RowRemark]:
    """Return who is here still by the feed and has no account, in the order of the rows."""
    return [
        RowRemark(row, number, Remark.ACCOUNT_CLOSING if ended[id_] else Remark.ACCOUNT_CLOSED)
        for id_, (row, number) in here.items()
        if id_ in ended
    ]


def _write(
    session: Session,
    new: list[dict[str, Any]],
    changed: list[tuple[Any, dict[str, Any]]],
    *,
    batch_id: UUID,
    open_accounts: OpenAccounts,
    wake_cards: WakeCards,
    actor: Actor,
    now: datetime,
) -> None:
    for start in range(0, len(new), CHUNK):
        chunk = new[start : start + CHUNK]
        session.execute(insert(Holder), [BLANK | person for person in chunk])
        open_accounts(session, [person["id"] for person in chunk], actor=actor, now=now)
        session.flush()
    for holder, differing in changed:
        session.execute(update(Holder).where(Holder.id == holder.id).values(differing))
        operation_log.record(
            session,
            actor=actor,
            action="roster.change",
            holder_id=holder.id,
            subject_id=batch_id,
            now=now,
            before=_logged({column: getattr(holder, column) for column in differing}),
            after=_logged(differing),
            fields=sorted(column for column in differing if column not in HASHES),
        )
    extended = [holder.id for holder, differing in changed if "valid_until" in differing]
    wake_cards(session, extended, actor=actor, now=now, roster_batch=str(batch_id))


def _logged(values: dict[str, Any]) -> dict[str, Any]:
    """Return what the operation log may say of a change: no names, nothing of documents."""
    return {
        column: _told(value)
        for column, value in sorted(values.items())
        if column not in HASHES and column != "name"
    }


BLANK: dict[str, Any] = {
    "employment": None,
    "entered_on": None,
    "programme_ends_on": None,
    "document_tail_number": None,
    "pays_surcharge": None,
}


def _note(
    session: Session,
    *,
    report: RosterReport,
    conflicts: Sequence[tuple[UUID, str, Any]],
    source: RosterSource,
    batch_id: UUID,
    index: bytes,
    policy_ids: Sequence[UUID],
    actor: Actor,
    now: datetime,
) -> None:
    session.add(
        RosterBatch(
            id=batch_id,
            source=source,
            content_index=index,
            made_by=actor.name,
            at=now,
            report=asdict(report),
        )
    )
    session.flush()
    for holder_id, column, value in conflicts:
        seen = {"value": value, "batch_id": batch_id, "seen_at": now}
        seen |= {"made_by": None, "made_at": None}  # who wanted to take over another value
        row = upsert(RosterConflict).values(id=new_id(), holder_id=holder_id, field=column, **seen)
        session.execute(
            row.on_conflict_do_update(  # an open one says what the newest roster says
                index_elements=["holder_id", "field"],
                index_where=RosterConflict.settled_at.is_(None),
                set_=seen,
            )
        )
    operation_log.record(
        session,
        actor=actor,
        action="roster.import",
        subject_id=batch_id,
        now=now,
        policy_ids=policy_ids,
        source=source.value,
        rows=report.rows,
        added=report.added,
        changed=report.changed,
        faults=len(report.faults),
        conflicts=len(report.conflicts),
        remarks=len(report.remarks),
        unread_sheets=len(report.unread_sheets),
        absent=len(report.absent),
    )


class _People:
    """Who is on the roster, and who was met in this file."""

    def __init__(self, session: Session, source: RosterSource) -> None:
        columns = [getattr(Holder, name) for name in COMPARED]
        self._known = {row.holder_number: row for row in session.execute(select(*columns))}
        self._owners = {
            row.document_index: row.holder_number
            for row in self._known.values()
            if row.document_index
        }
        self._numbers = {
            row.number: row.holder_id
            for row in session.execute(select(HolderNumber.number, HolderNumber.holder_id))
        }
        self._spelled = {number.upper(): number for number in self._numbers}
        """Numbers by what nobody tells apart who says them; of this file, too."""
        self._named: set[UUID] = set()
        self._may = SOURCE_CATEGORIES[source]
        self._met: set[str] = set()
        told = select(RosterConflict.holder_id, RosterConflict.field, RosterConflict.value)
        self._open = {
            tuple(row) for row in session.execute(told.where(RosterConflict.settled_at.is_(None)))
        }
        self._unwanted = {
            tuple(row) for row in session.execute(told.where(RosterConflict.accepted.is_(False)))
        }
        self.conflicts: list[tuple[UUID, str, Any]] = []
        """New ones, or what is new in open ones: holder, column, and what the roster says."""

    def names(self, number: str) -> None:
        """Note that a row has a number, of today or of before, whatever else is wrong with it."""
        if number in self._numbers:
            self._named.add(self._numbers[number])

    def match(self, row: Row) -> Any:
        """Return the holder that a row is about, as it stands, None for a new one.

        Raises:
            Faulty: it is about somebody whom it may not be about.
        """
        number, category = row.number, row.person["category"]
        if number in self._met:
            raise Faulty("holder_number", "appears twice in this file")
        if category not in self._may:
            raise Faulty("category", "is not for this source")
        holder = self._known.get(number)
        if holder is None and number in self._numbers:
            raise Faulty("holder_number", "is somebody's earlier number")
        if holder is None and number.upper() in self._spelled:
            raise Faulty("holder_number", "differs from another one only in upper and lower case")
        for index in row.every_index:
            if self._owners.get(index, number) != number:
                raise Faulty("document_number", "belongs to another holder number")
        if holder is not None:
            self._check_same(holder, row)
        for index in row.every_index:
            self._owners[index] = number
        self._met.add(number)
        self._spelled.setdefault(number.upper(), number)
        return holder

    def _check_same(self, holder: Any, row: Row) -> None:
        if holder.category not in self._may:
            raise Faulty("category", "is another kind of holder by now")
        if row.person["category"] in SURCHARGED and holder.category not in SURCHARGED:
            row.person.setdefault("pays_surcharge", None)
        known = holder.document_index
        if known and row.every_index and known not in row.every_index:
            if "document" not in holder.proven:
                raise Faulty("document_number", "differs from the one on record")
            return
        if known and (not row.every_index or not row.kind_said):
            for column in DOCUMENT_COLUMNS:  # the feed says less of the document than we know
                row.person.pop(column, None)

    def difference(self, holder: Any, row: Row) -> tuple[dict[str, Any], list[str]]:
        """Return what is to be changed, and the columns that differ from what was proven."""
        differing = {
            key: value for key, value in row.person.items() if getattr(holder, key) != value
        }
        proven = [key for key in differing if PROVABLE.get(key) in holder.proven]
        if "document_index" in proven:
            differing = {k: v for k, v in differing.items() if k not in DOCUMENT_COLUMNS}
        told = []
        for column in proven:
            value = None if column == "document_index" else _told(row.person[column])
            differing.pop(column, None)
            named = "document_number" if column == "document_index" else column
            if self._news(holder.id, named, value):
                told.append(named)
        return differing, told

    def _news(self, holder_id: UUID, column: str, value: Any) -> bool:
        """Note a conflict; say whether it is still to be settled."""
        if (holder_id, column, value) in self._open:
            return True
        if (holder_id, column, value) in self._unwanted:
            return False
        self.conflicts.append((holder_id, column, value))
        return True

    def absent(self, *, today: date) -> list[str]:
        """Return whom a whole list should have had, by number."""
        return sorted(
            number
            for number, row in self._known.items()
            if row.id not in self._named
            and row.category in self._may
            and row.valid_until >= today
            and row.identity is Identity.REAL_NAME
        )


def _told(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
