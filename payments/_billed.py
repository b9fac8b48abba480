"""What both platforms' bills have in common: lines, times, numbers and amounts, read exactly."""

import re
from datetime import date, datetime
from typing import Final

from payments._plain import in_utc
from payments._yuan import fen_from_billed_yuan
from payments._zone import SHANGHAI
from payments.bill import BillMalformed, BillRow, BillRowKind

_TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
_NUMBER = re.compile(r"[!-~]{1,64}")
_COUNT = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


def lines_of(text: str) -> list[str]:
    """Split a text at line feeds only: a name may hold what `str.splitlines` takes for more."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def is_time(text: str) -> bool:
    """Tell whether it looks like a time of a bill."""
    return _TIME.fullmatch(text) is not None


def moment(text: str, line: int) -> datetime:
    """Read a time, which bills write as it is in Beijing."""
    try:
        if not is_time(text):
            raise ValueError(text)
        naive = datetime.strptime(text, _TIME_FORMAT)  # noqa: DTZ007 - the next line gives the zone
        return in_utc(naive.replace(tzinfo=SHANGHAI))
    except (OverflowError, ValueError):
        raise BillMalformed("time", line) from None


def number(text: str, line: int) -> str:
    """Read the number of an order, a payment or a refund."""
    if not _NUMBER.fullmatch(text):
        raise BillMalformed("number", line)
    return text


def amount_fen(text: str, line: int) -> int:
    """Read an amount, which may be below zero."""
    try:
        return fen_from_billed_yuan(text)
    except ValueError:
        raise BillMalformed("amount", line) from None


def count(text: str, line: int) -> int:
    """Read how many, of the platform's own totals."""
    if not _COUNT.fullmatch(text):
        raise BillMalformed("summary", line)
    return int(text)


def check_row(row: BillRow, day: date) -> BillRow:
    """Return the row if it can be true of that day.

    A payment is of the day.  A refund is of the day or, where a layout dates it by its payment, of
    a former one.
    """
    if row.amount_fen < 1:
        raise BillMalformed("amount", row.line)
    its_day = row.at.astimezone(SHANGHAI).date()
    if its_day > day or (its_day != day and row.kind is BillRowKind.PAYMENT):
        raise BillMalformed("day", row.line)
    return row
