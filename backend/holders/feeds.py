"""Reading a feed of people (名册文件): CSV (UTF-8 or GB 18030) or XLSX, row by row, as text.

Nothing here knows what the columns mean.
"""

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Self

from backend.errors import DomainError, Kind

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.cell.cell import Cell, MergedCell

MOST_ROWS = 100_000
MOST_COLUMNS = 50
MOST_UNPACKED_BYTES = 64 * 1024 * 1024
"""What an XLSX file may hold unpacked: a hundred thousand rows are a third of it."""
EXACT = 10**15
ERRORS = frozenset(
    ("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!", "#SPILL!", "#CALC!")
)
"""What a spreadsheet writes where a formula failed, into CSV, too."""
PLAIN_FORMATS = frozenset(("General", "@", "#", "0_ ", "0_);(0)", "0_);\\(0\\)"))
"""Formats that show whole numbers as their digits."""


class Misread(str):
    """The text of a cell that is not, or may not be, what its sheet shows.  `fault` says why."""

    __slots__ = ("fault",)
    fault: str

    def __new__(cls, text: str, fault: str) -> Self:
        """Give a text its fault."""
        cell = super().__new__(cls, text)
        cell.fault = fault
        return cell


class RosterUnreadable(DomainError, code="roster-unreadable", kind=Kind.INVALID):
    """The file is neither CSV nor XLSX, lacks columns or has one twice, or is too long.

    Fact: `fault`.
    """


def rows(
    content: bytes, *, headings: Mapping[str, str], needed: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows of a feed by column, numbered as the file numbers them.

    `headings` gives the English name of each column its Chinese one; a feed may use either.

    Raises:
        RosterUnreadable: nothing can be read at all.
    """
    cells_of_rows = table(content)
    heading = next(cells_of_rows, None)
    if heading is None:
        raise RosterUnreadable(fault="the file is empty")
    english = {chinese: name for name, chinese in headings.items()}
    names = [english.get(cell, cell.lower()) for cell in heading]
    if missing := [name for name in needed if name not in names]:
        raise RosterUnreadable(fault=f"missing columns: {', '.join(missing)}")
    if twice := [name for name in headings if names.count(name) > 1]:
        raise RosterUnreadable(fault=f"columns given twice: {', '.join(twice)}")
    for number, cells in enumerate(cells_of_rows, start=2):
        if number > MOST_ROWS:
            raise RosterUnreadable(fault=f"more than {MOST_ROWS} rows")
        if any(cells):
            yield number, dict(zip(names, cells, strict=False))


def table(content: bytes) -> Iterator[list[str]]:
    """Return the rows of a file, the heading too, as the text of their cells.

    Raises:
        RosterUnreadable: it is neither CSV nor XLSX; perhaps not before the last row.
    """
    return _xlsx(content) if content[:2] == b"PK" else _csv(content)


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
            yield [_text(cell) for cell in row]
    except csv.Error as error:
        raise RosterUnreadable(fault="not CSV") from error


def unread_sheets(content: bytes) -> list[str]:
    """Return which sheets of a file are not read and hold something (未读工作表), by their names.

    Only the sheet that was in front when the file was saved is read; CSV has no others.

    Raises:
        RosterUnreadable: it is no XLSX file.
    """
    if content[:2] != b"PK":
        return []
    try:
        book = _book(content)
        return [
            sheet.title
            for sheet in book.worksheets
            if sheet is not book.active
            and any(
                any(value is not None for value in row)
                for row in sheet.iter_rows(values_only=True, max_col=MOST_COLUMNS)
            )
        ]
    except RosterUnreadable:
        raise
    except Exception as error:  # as below
        raise RosterUnreadable(fault="not XLSX") from error


def _book(content: bytes) -> "Workbook":
    from openpyxl import load_workbook  # noqa: PLC0415 - a second of imports, once a term

    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        if sum(part.file_size for part in packed.infolist()) > MOST_UNPACKED_BYTES:
            raise RosterUnreadable(fault="too large unpacked")
    return load_workbook(io.BytesIO(content), read_only=True, data_only=True)


def _xlsx(content: bytes) -> Iterator[list[str]]:
    try:
        sheet = _book(content).active
        if sheet is None:
            raise RosterUnreadable(fault="no sheet")
        for row in sheet.iter_rows(max_col=MOST_COLUMNS):
            yield [_cell(cell) for cell in row]
    except RosterUnreadable:
        raise
    except Exception as error:  # a broken file breaks the reader in any way it likes
        raise RosterUnreadable(fault="not XLSX") from error


def _cell(cell: "Cell | MergedCell") -> str:
    value: Any = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime | date):
        return value.strftime("%Y-%m-%d")
    if isinstance(value, int | float):
        return _number(value, cell.number_format)
    return _text(str(value))


def _number(value: float, shown_as: str) -> str:
    """Return a number as its cell shows it: 123 in the format 000000 is 000123."""
    if abs(value) >= EXACT:  # a spreadsheet keeps 15 digits and makes up the rest: 1.1e+17 tells
        return str(float(value))
    if not float(value).is_integer():
        return str(value)
    value = int(value)
    if shown_as and not shown_as.strip("0"):
        return str(value).zfill(len(shown_as))
    if shown_as in PLAIN_FORMATS:
        return str(value)
    return Misread(str(value), "a number that its format shows otherwise")


def _text(text: str) -> str:
    text = text.strip()
    return Misread(text, "an error of the spreadsheet") if text in ERRORS else text
