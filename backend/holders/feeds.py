"""Reading a feed of people (名册文件): CSV (UTF-8 or GB 18030) or XLSX, row by row, as text.

Nothing here knows what the columns mean.
"""

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

from backend.errors import DomainError, Kind

MOST_ROWS = 100_000
MOST_COLUMNS = 50
MOST_UNPACKED_BYTES = 64 * 1024 * 1024
"""What an XLSX file may hold unpacked: a hundred thousand rows are a third of it."""
EXACT = 10**15


class RosterUnreadable(DomainError, code="roster-unreadable", kind=Kind.INVALID):
    """The file is neither CSV nor XLSX, lacks columns, or is too long.  Fact: `fault`."""


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
