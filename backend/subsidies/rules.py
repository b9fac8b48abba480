"""Reading a list of subsidies: rows, amounts, and what is wrong with them.  Pure."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

NUMBER_HEADS = ("学工号", "holder_number")
YUAN_HEADS = ("金额", "金额（元）", "金额(元)", "amount_yuan")
FEN_HEADS = ("amount_fen", "金额（分）", "金额(分)")
YUAN = re.compile(r"(\d{1,7})(?:\.(\d{1,2}))?\Z", re.ASCII)
FEN = re.compile(r"\d{1,9}\Z", re.ASCII)
MOST_ITEMS = 20_000


class RowFault(StrEnum):
    """Why a row cannot be paid."""

    UNKNOWN_HOLDER = "unknown-holder"
    """查无此人"""
    ACCOUNT_CLOSED = "account-closed"
    """账户已销户"""
    TWICE = "twice"
    """重复"""
    AMOUNT = "amount"
    """金额不对"""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a list, numbered from 1 as people count them."""

    number: int
    holder_number: str
    amount_fen: int | None
    """None: no amount can be read."""


class ListUnreadable(Exception):
    """No list at all.  `fault` says why: `encoding`, `csv`, `heads`, `empty` or `long`."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


def read_csv(content: str) -> list[Row]:
    """Return the rows of a CSV with the columns 学工号 and 金额 (yuan) or `amount_fen`.

    Rows are numbered as the file numbers its lines, the heading being the first.

    >>> read_csv("学工号,金额\\n20260001,12.5")
    [Row(number=2, holder_number='20260001', amount_fen=1250)]

    Raises:
        ListUnreadable: it is no such file.
    """
    try:
        table = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(content))]
    except csv.Error as error:
        raise ListUnreadable("csv") from error
    return read_table(table)


def read_table(table: Sequence[Sequence[str]]) -> list[Row]:
    """Return the rows of a table with the same columns, the heading first.

    Raises:
        ListUnreadable: it is no such table.
    """
    if not table:
        raise ListUnreadable("empty")
    heading = [cell.lstrip("\ufeff") for cell in table[0]]
    number_at = _place(heading, NUMBER_HEADS)
    yuan_at, fen_at = _place(heading, YUAN_HEADS), _place(heading, FEN_HEADS)
    amount_at = yuan_at if fen_at is None else fen_at
    if number_at is None or amount_at is None:
        raise ListUnreadable("heads")
    read = parse_yuan if fen_at is None else parse_fen
    rows = [
        Row(line, _cell(cells, number_at), read(_cell(cells, amount_at)))
        for line, cells in enumerate(table[1:], start=2)
        if any(cells)
    ]
    return checked_length(rows)


def checked_length(rows: list[Row]) -> list[Row]:
    """Return rows that are neither none nor too many.

    Raises:
        ListUnreadable: they are.
    """
    if not rows:
        raise ListUnreadable("empty")
    if len(rows) > MOST_ITEMS:
        raise ListUnreadable("long")
    return rows


def _place(heading: Sequence[str], names: tuple[str, ...]) -> int | None:
    return next((place for place, name in enumerate(heading) if name in names), None)


def _cell(cells: Sequence[str], place: int) -> str:
    return cells[place] if place < len(cells) else ""


def parse_yuan(text: str) -> int | None:
    """Return an amount in yuan as fen, exactly, or None.

    >>> parse_yuan("12.5"), parse_yuan("0.05"), parse_yuan("1e3"), parse_yuan("1.005")
    (1250, 5, None, None)
    """
    said = YUAN.match(text)
    return None if said is None else int(said[1]) * 100 + int((said[2] or "").ljust(2, "0"))


def parse_fen(text: str) -> int | None:
    """Return an amount in fen, or None."""
    return int(text) if FEN.match(text) else None
