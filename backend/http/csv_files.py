"""Files that a spreadsheet opens: CSV in UTF-8 with a mark, and no cell that is a formula."""

import csv
import io
from collections.abc import Iterable

from flask import Response

BOM = "\ufeff"
"""Before the first line, so that Excel reads UTF-8."""
IN_UTF8 = "text/csv; charset=utf-8"
FORMULA = frozenset("=+-@\t\r＝＋－＠")
"""What makes a spreadsheet compute a cell instead of showing it."""


def line(*cells: object) -> str:
    """Return one line; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text).writerow(["" if cell is None else harmless(str(cell)) for cell in cells])
    return text.getvalue()


def whole(rows: Iterable[Iterable[object]]) -> str:
    """Return a small file."""
    return BOM + "".join(line(*row) for row in rows)


def attached(content: str | Iterable[bytes], name: str, *, type_: str = "text/csv") -> Response:
    """Return an answer that a browser keeps as the file `name`.csv."""
    headers = {"Content-Disposition": f"attachment; filename={name}.csv"}
    return Response(content, content_type=type_, headers=headers)


def harmless(text: str) -> str:
    """Return a cell's text so that no spreadsheet takes it for a formula.

    >>> harmless("=1+1"), harmless("2026"), harmless("＝A1")
    ("'=1+1", '2026', "'＝A1")
    """
    return f"'{text}" if text and (text[0] in FORMULA or text.lstrip()[:1] in FORMULA) else text
