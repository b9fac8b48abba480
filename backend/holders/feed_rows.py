"""What one row of the roster (名册) says about one person.  Pure, but for the keys of the hashes.

The plaintext document number goes no further than this file; neither does the birth date in it.
"""

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, TypeVar

from backend.holders.documents import (
    born_on,
    document_fault,
    document_index,
    every_index,
    is_male,
    kind_of,
)
from backend.holders.feeds import Misread
from backend.holders.identity import tail_index
from backend.holders.models import Category, DocumentKind, Employment, Identity
from backend.holders.rules import SURCHARGED, document_tail, retires_on
from backend.http.fields import PLAIN_TEXT, is_possible
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
FURTHER_COLUMNS = {
    "employment": "用工性质",
    "identity": "实名级别",
    "document_kind": "证件类型",
    "entered_on": "入校日期",
    "programme_ends_on": "学制届满",
}
"""A feed may do without these, or the surcharge; where it is silent, what is known stays."""
NEEDED = tuple(name for name in COLUMNS if name != "pays_surcharge")
BLANK_ALLOWED = {"pays_surcharge", "document_number", "valid_until", *FURTHER_COLUMNS}
"""Further down it says when a document or a last day may be blank."""
CATEGORY_WORDS = {
    "学生": Category.STUDENT,
    "新生": Category.NEW_STUDENT,
    "教工": Category.STAFF,
    "退休": Category.TEMPORARY_RETIRED,
    "培训": Category.TEMPORARY_TRAINEE,
    "校外": Category.TEMPORARY_OUTSIDER,
}
EMPLOYMENT_WORDS = {
    "事业编": Employment.PUBLIC_INSTITUTION,
    "院编": Employment.COLLEGE,
    "派遣制": Employment.DISPATCHED,
}
IDENTITY_WORDS = {"实名": Identity.REAL_NAME, "记名": Identity.REGISTERED}
DOCUMENT_WORDS = {
    "居民身份证": DocumentKind.RESIDENT_ID,
    "身份证": DocumentKind.RESIDENT_ID,
    "护照": DocumentKind.PASSPORT,
    "港澳居民来往内地通行证": DocumentKind.HK_MACAO_PERMIT,
    "台湾居民来往大陆通行证": DocumentKind.TAIWAN_PERMIT,
    "外国人永久居留身份证": DocumentKind.FOREIGN_PERMIT,
}
YES_WORDS = {"是": True, "yes": True, "true": True, "1": True}
NO_WORDS = {"否": False, "no": False, "false": False, "0": False}
LONGEST_CELL = 100
SHEET_BOOLEANS = ("TRUE", "FALSE")
"""What a yes-or-no cell of a spreadsheet says: of the surcharge, and of nothing else."""
DAY = re.compile(
    r"(\d{4})(?:([-/])(\d{1,2})\2(\d{1,2})|年(\d{1,2})月(\d{1,2})日|(\d\d)(\d\d))"
    r"(?: 0?0:00(?::00)?)?",
    re.ASCII,
)
"""2029-07-01, 2029/7/1 as Excel has it in China, 2029年7月1日, 20290701; midnight may follow.

The year stands first: a day that began with the day or the month would be a guess.
"""

Word = TypeVar("Word", bound=StrEnum)


class Faulty(Exception):
    """A row is at fault.  Says which column and what, never the value."""

    def __init__(self, column: str, fault: str) -> None:
        super().__init__(fault)
        self.column, self.fault = column, fault


@dataclass(frozen=True, slots=True)
class RetirementAges:
    """The policies `validity.retire_*`."""

    male_months: int
    female_months: int
    step_months: int
    later_months: int


@dataclass(slots=True)
class Row:
    """One person as a feed has them."""

    number: str
    person: dict[str, Any]
    """Columns of a holder that the feed speaks of."""
    every_index: frozenset[bytes]
    """The document's hashes under every kind of document."""
    kind_said: bool


def read_row(cells: dict[str, str], *, sealer: Sealer, ages: RetirementAges, today: date) -> Row:
    """Return what a row says.

    Of staff without a last day, the day on which they retire is worked out from a resident identity
    number, regulation 三(九).

    Raises:
        Faulty: the first thing that is wrong with it.
    """
    _check_text(cells)
    number = cells["holder_number"]
    category = _word(cells, "category", CATEGORY_WORDS, Category)
    if category is None:
        raise Faulty("category", "missing")
    employment = _word(cells, "employment", EMPLOYMENT_WORDS, Employment)
    if employment is not None and category is not Category.STAFF:
        raise Faulty("employment", "is for staff only")
    identity = _word(cells, "identity", IDENTITY_WORDS, Identity) or Identity.REAL_NAME
    said = _word(cells, "document_kind", DOCUMENT_WORDS, DocumentKind)
    programme_ends_on = _day(cells, "programme_ends_on")
    entered_on = _day(cells, "entered_on")
    valid_until = _day(cells, "valid_until") or programme_ends_on
    surcharge = _surcharge(cells.get("pays_surcharge", ""), category)
    document = _document(cells.get("document_number", ""), identity, today=today)
    if not number.isascii() or not number.isalnum():
        raise Faulty("holder_number", "not letters and digits")
    if valid_until is None and category is Category.STAFF:
        valid_until = _retirement(document, ages)
    if valid_until is None:
        raise Faulty("valid_until", "missing")
    person: dict[str, Any] = {
        "holder_number": number,
        "name": cells["name"],
        "category": category,
        "unit": cells["unit"],
        "identity": identity,
        "valid_until": valid_until,
    }
    if surcharge is not None:
        person["pays_surcharge"] = surcharge
    if category is not Category.STAFF or employment is not None:
        person["employment"] = employment
    if entered_on is not None:
        person["entered_on"] = entered_on
    if programme_ends_on is not None:
        person["programme_ends_on"] = programme_ends_on
    kind = said or (kind_of(document) if document else DocumentKind.UNSPECIFIED)
    return Row(
        number,
        person | _hashes(sealer, number=number, document=document, kind=kind),
        every_index(sealer, document=document) if document else frozenset(),
        kind_said=said is not None,
    )


def _surcharge(said: str, category: Category) -> bool | None:
    """Return what a row says of the meal surcharge; None: it leaves open what has to be said."""
    if not said:
        return None if category in SURCHARGED else False
    known = (YES_WORDS | NO_WORDS).get(said.lower())
    if known is None:
        raise Faulty("pays_surcharge", "neither yes nor no")
    return known


def _check_text(cells: dict[str, str]) -> None:
    for column in (*COLUMNS, *FURTHER_COLUMNS):
        value = cells.get(column, "")
        if isinstance(value, Misread):
            raise Faulty(column, value.fault)
        if value in SHEET_BOOLEANS and column != "pays_surcharge":
            raise Faulty(column, "a yes or no of the spreadsheet")
        if len(value) > LONGEST_CELL:
            raise Faulty(column, f"longer than {LONGEST_CELL} characters")
        if not PLAIN_TEXT.match(value):
            raise Faulty(column, "not plain text: no control or direction characters")
        if not value and column not in BLANK_ALLOWED:
            raise Faulty(column, "missing")


def _hashes(
    sealer: Sealer, *, number: str, document: str | None, kind: DocumentKind
) -> dict[str, Any]:
    if document is None:
        return {"document_index": None, "document_tail_index": None, "document_kind": kind}
    return {
        "document_index": document_index(sealer, kind=kind, document=document),
        "document_tail_index": tail_index(
            sealer, holder_number=number, tail=document_tail(document)
        ),
        "document_tail_number": None,
        "document_kind": kind,
    }


def _word(
    cells: dict[str, str], column: str, words: dict[str, Word], kind: type[Word]
) -> Word | None:
    cell = cells.get(column, "")
    if not cell:
        return None
    if cell in words:
        return words[cell]
    try:
        return kind(cell)
    except ValueError:
        raise Faulty(column, "unknown") from None


def _day(cells: dict[str, str], column: str) -> date | None:
    cell = cells.get(column, "")
    if not cell:
        return None
    day = read_day(cell)
    if day is None or not is_possible(day):
        raise Faulty(column, "not a day such as 2029-07-01")
    return day


def read_day(text: str) -> date | None:
    """Return the day that a cell says, or None where it says none for certain.

    >>> read_day("2028/2/29"), read_day("2028年2月29日"), read_day("29/2/2028")
    (datetime.date(2028, 2, 29), datetime.date(2028, 2, 29), None)
    """
    said = DAY.fullmatch(text)
    if said is None:
        return None
    year, month, day = (int(part) for part in said.groups() if part and part.isdigit())
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _document(text: str, identity: Identity, *, today: date) -> str | None:
    if identity is Identity.REGISTERED:
        if text:
            raise Faulty("document_number", "is for people with a real name only")
        return None
    if not text:
        raise Faulty("document_number", "missing")
    if "." in text or "+" in text:  # a number that a spreadsheet has rounded, as 1.1E+17
        raise Faulty("document_number", "not a document number")
    document = normal_document(text)
    if fault := document_fault(document):
        raise Faulty("document_number", fault)
    if (born := born_on(document)) and born > today:
        raise Faulty("document_number", "a day of birth in the future")
    return document


def _retirement(document: str | None, ages: RetirementAges) -> date | None:
    born = born_on(document) if document else None
    if born is None or document is None:
        return None
    return retires_on(
        born,
        age_months=ages.male_months if is_male(document) else ages.female_months,
        step_months=ages.step_months,
        later_months=ages.later_months,
    )
