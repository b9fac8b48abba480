"""The roster (名册): reading a feed of people, row by row, with a report of every fault.

A feed is CSV (UTF-8 or GB 18030) or XLSX with the columns of `COLUMNS`, in any order, headed in
Chinese or English.  Importing the same feed again changes nothing.

Source: regulation 三(二); the plaintext document number never reaches a table, a log or a queue.
"""

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind
from backend.holders.identity import tail_index
from backend.holders.models import Category, Holder
from backend.holders.rules import document_tail
from backend.http.fields import PLAIN_TEXT
from backend.ids import new_id
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.sealing import Sealer, normal_document

COLUMNS = {
    "holder_number": "学工号",
    "name": "姓名",
    "category": "类别",
    "unit": "单位",
    "document_number": "证件号码",
    "valid_until": "有效期至",
    "pays_surcharge": "收搭伙费",
}
CATEGORY_WORDS = {
    "学生": Category.STUDENT,
    "新生": Category.NEW_STUDENT,
    "教工": Category.STAFF,
    "退休": Category.TEMPORARY_RETIRED,
    "培训": Category.TEMPORARY_TRAINEE,
    "校外": Category.TEMPORARY_OUTSIDER,
}
YES_WORDS = {"是": True, "yes": True, "true": True, "1": True}
NO_WORDS = {"否": False, "no": False, "false": False, "0": False, "": False}
MOST_ROWS = 100_000
MOST_COLUMNS = 50
MOST_UNPACKED_BYTES = 64 * 1024 * 1024
"""What an XLSX file may hold unpacked: a hundred thousand rows are a third of it."""
LONGEST_CELL = 100
EXACT = 10**15
RESIDENT_ID_LENGTH = 18
CHECK_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CHECK_DIGITS = "10X98765432"


class OpenAccount(Protocol):
    """Opens purses and card of a new holder (开户)."""

    def __call__(
        self, session: Session, holder_id: UUID, *, actor: Actor, now: datetime
    ) -> None: ...


class RosterUnreadable(DomainError, code="roster-unreadable", kind=Kind.INVALID):
    """The file is neither CSV nor XLSX, lacks columns, or is too long.  Fact: `fault`."""


@dataclass(slots=True)
class RowFault:
    """Why one row was left out.  Names the column and the fault, never the value."""

    row: int
    column: str
    fault: str


@dataclass(slots=True)
class RosterReport:
    """What an import did, or would do."""

    rows: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    faults: list[RowFault] = field(default_factory=list)


class _Faulty(Exception):
    def __init__(self, column: str, fault: str) -> None:
        super().__init__(fault)
        self.column, self.fault = column, fault


def import_roster(
    session: Session,
    *,
    content: bytes,
    sealer: Sealer,
    actor: Actor,
    now: datetime,
    dry_run: bool,
    open_account: OpenAccount,
) -> RosterReport:
    """Add and update the people of a feed, leaving out the rows that are at fault.

    `open_account` opens purses and card for a person who is new (开户), in the same transaction.  A
    dry run writes nothing and reports the same.

    Raises:
        RosterUnreadable: nothing can be read at all.
    """
    report = RosterReport()
    people = _People(session)
    for number, cells in _rows(content):
        report.rows += 1
        try:
            person = _person(cells, sealer)
            holder = people.match(person)
        except _Faulty as fault:
            report.faults.append(RowFault(number, fault.column, fault.fault))
            continue
        if holder is None:
            report.added += 1
            if not dry_run:
                open_account(session, _add(session, person), actor=actor, now=now)
        elif all(getattr(holder, key) == value for key, value in person.items()):
            report.unchanged += 1
        else:
            report.changed += 1
            if not dry_run:
                for key, value in person.items():
                    setattr(holder, key, value)
    if not dry_run:
        operation_log.record(
            session,
            actor=actor,
            action="roster.import",
            now=now,
            rows=report.rows,
            added=report.added,
            changed=report.changed,
            faults=len(report.faults),
        )
    return report


def _add(session: Session, person: dict[str, Any]) -> UUID:
    holder = Holder(
        id=new_id(),
        per_charge_limit_fen=None,
        per_day_limit_fen=None,
        raised_limits=None,
        payment_paused=False,
        **person,
    )
    session.add(holder)
    session.flush()
    return holder.id


class _People:
    """Who is on the roster, and who was met in this file."""

    def __init__(self, session: Session) -> None:
        self._known = {
            holder.holder_number: holder
            for holder in session.scalars(select(Holder).execution_options(yield_per=1000))
        }
        self._owners = {
            holder.document_index: holder.holder_number for holder in self._known.values()
        }
        self._met: set[str] = set()

    def match(self, person: dict[str, Any]) -> Holder | None:
        """Return the holder that a row is about, None for a new one."""
        number, document = person["holder_number"], person["document_index"]
        if number in self._met:
            raise _Faulty("holder_number", "appears twice in this file")
        if self._owners.get(document, number) != number:
            raise _Faulty("document_number", "belongs to another holder number")
        holder = self._known.get(number)
        if holder and holder.document_index != document:
            raise _Faulty("document_number", "differs from the one on record")
        self._owners[document] = number
        self._met.add(number)
        return holder


def _rows(content: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows of a feed as text by column, numbered as the file numbers them."""
    table = _xlsx(content) if content[:2] == b"PK" else _csv(content)
    heading = next(table, None)
    if heading is None:
        raise RosterUnreadable(fault="the file is empty")
    english = {chinese: name for name, chinese in COLUMNS.items()}
    names = [english.get(cell, cell.lower()) for cell in heading]
    if missing := [name for name in COLUMNS if name not in names and name != "pays_surcharge"]:
        raise RosterUnreadable(fault=f"missing columns: {', '.join(missing)}")
    for number, cells in enumerate(table, start=2):
        if number > MOST_ROWS:
            raise RosterUnreadable(fault=f"more than {MOST_ROWS} rows")
        if any(cells):
            yield number, dict(zip(names, cells, strict=False))


def _csv(content: bytes) -> Iterator[list[str]]:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise RosterUnreadable(fault="neither UTF-8 nor GB 18030")
    try:
        for row in csv.reader(io.StringIO(text), strict=True):
            yield [cell.strip() for cell in row]
    except csv.Error as error:
        raise RosterUnreadable(fault="not CSV") from error


def _xlsx(content: bytes) -> Iterator[list[str]]:
    from openpyxl import load_workbook  # noqa: PLC0415 - a second of imports, once a term

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(part.file_size for part in packed.infolist()) > MOST_UNPACKED_BYTES:
                raise RosterUnreadable(fault="too large unpacked")
        sheet = load_workbook(io.BytesIO(content), read_only=True, data_only=True).active
        if sheet is None:
            raise RosterUnreadable(fault="no sheet")
        for row in sheet.iter_rows(values_only=True, max_col=MOST_COLUMNS):
            yield [_cell(value) for value in row]
    except RosterUnreadable:
        raise
    except Exception as error:  # a broken file breaks the reader in any way it likes
        raise RosterUnreadable(fault="not XLSX") from error


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime | date):
        return value.strftime("%Y-%m-%d")
    if isinstance(value, int | float) and abs(value) >= EXACT:
        value = float(value)  # a spreadsheet keeps 15 digits and makes up the rest: 1.1e+17 tells
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _person(cells: dict[str, str], sealer: Sealer) -> dict[str, Any]:
    for column in COLUMNS:
        value = cells.get(column, "")
        if len(value) > LONGEST_CELL:
            raise _Faulty(column, f"longer than {LONGEST_CELL} characters")
        if not PLAIN_TEXT.match(value):
            raise _Faulty(column, "not plain text: no control or direction characters")
        if not value and column != "pays_surcharge":
            raise _Faulty(column, "missing")
    category = CATEGORY_WORDS.get(cells["category"])
    if category is None:
        try:
            category = Category(cells["category"])
        except ValueError:
            raise _Faulty("category", "unknown") from None
    try:
        valid_until = date.fromisoformat(cells["valid_until"].replace("/", "-"))
    except ValueError:
        raise _Faulty("valid_until", "not a day such as 2029-07-01") from None
    surcharge = (YES_WORDS | NO_WORDS).get(cells.get("pays_surcharge", "").lower())
    if surcharge is None:
        raise _Faulty("pays_surcharge", "neither yes nor no")
    document = _document(cells["document_number"])
    if not cells["holder_number"].isascii() or not cells["holder_number"].isalnum():
        raise _Faulty("holder_number", "not letters and digits")
    return {
        "holder_number": cells["holder_number"],
        "name": cells["name"],
        "category": category,
        "unit": cells["unit"],
        "document_index": sealer.index("document", document),
        "document_tail_index": tail_index(
            sealer, holder_number=cells["holder_number"], tail=document_tail(document)
        ),
        "pays_surcharge": surcharge,
        "valid_until": valid_until,
    }


def _document(text: str) -> str:
    if "." in text or "+" in text:  # a number that a spreadsheet has rounded, as 1.1E+17
        raise _Faulty("document_number", "not a document number")
    document = normal_document(text)
    if fault := document_fault(document):
        raise _Faulty("document_number", fault)
    return document


def document_fault(document: str) -> str | None:
    """Return what is wrong with a normal document number, or None.

    Eighteen characters are a resident identity card (居民身份证, GB 11643) and must have its check
    digit; others (passport, 港澳台) only need a sensible length.

    >>> document_fault("11010519491231002X"), document_fault("110105194912310021")
    (None, 'the check digit is wrong')
    """
    if not 6 <= len(document) <= 20 or not document.isascii():  # noqa: PLR2004 - passports to permits
        return "not a document number"
    if len(document) == RESIDENT_ID_LENGTH and document[:17].isdigit():
        total = sum(
            int(digit) * weight for digit, weight in zip(document, CHECK_WEIGHTS, strict=False)
        )
        if document[17] != CHECK_DIGITS[total % 11]:
            return "the check digit is wrong"
    return None
