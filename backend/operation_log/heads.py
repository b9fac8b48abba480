"""Heads of the operation log kept outside the database (链头留存), one line a day.

A line is the day in Asia/Shanghai, the number of the seal, its head, how many entries it ends, and
when it was sealed:

    2026-09-01 4711 9f86d0… 120934 2026-09-01T04:00:07.123Z

The file is only ever appended to.  It is worth something where the owner of the database cannot
write: on another machine, or printed on the monthly sheet.
"""

import os
import re
from datetime import datetime
from pathlib import Path

from backend.clock import business_date, rfc3339
from backend.operation_log.seals import Head

LINE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}) ([1-9][0-9]{0,18}) ([0-9a-f]{64}) ([1-9][0-9]{0,18}) (\S+)\n"
)


class HeadsUnreadable(ValueError):
    """The file, or a line of it, is not one that `keep` wrote; the text says which."""


def line_of(head: Head, *, now: datetime) -> str:
    """Return the line for a head.

    >>> from datetime import UTC
    >>> at = datetime(2026, 9, 1, tzinfo=UTC)
    >>> line_of(Head(7, bytes(32), 12, at), now=at).split()[0::3]
    ['2026-09-01', '12']
    """
    sealed_at = rfc3339(head.sealed_at or now)
    return f"{business_date(now)} {head.number} {head.head.hex()} {head.total} {sealed_at}\n"


def keep(path: Path, head: Head, *, now: datetime) -> bool:
    """Append today's line; say whether it was missing.  Before the first seal there is none.

    Raises:
        HeadsUnreadable: nothing is appended to a file that somebody else wrote into, nor what
            would not read as a line, from a seal that was forged.
    """
    if head.number == 0:
        return False
    line = line_of(head, now=now)
    if not LINE.fullmatch(line):
        raise HeadsUnreadable("the end of the chain is no head")
    days = [day for day, *_ in _lines(path)]
    if str(business_date(now)) in days:
        return False
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def read(path: Path) -> dict[int, bytes]:
    """Return the heads that a file kept, by number; of two of one number, the older.

    Raises:
        HeadsUnreadable: a line does not read as one of ours.
    """
    heads: dict[int, bytes] = {}
    for _, number, head in _lines(path):
        heads.setdefault(number, head)
    return heads


def newest(path: Path) -> str | None:
    """Return the day of the last line, or None."""
    lines = _lines(path)
    return lines[-1][0] if lines else None


def _lines(path: Path) -> list[tuple[str, int, bytes]]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise HeadsUnreadable(str(path)) from error
    found = []
    for place, line in enumerate(text.splitlines(keepends=True), 1):
        parts = LINE.fullmatch(line)
        if parts is None:
            raise HeadsUnreadable(f"{path}, line {place}")
        found.append((parts[1], int(parts[2]), bytes.fromhex(parts[3])))
    return found
