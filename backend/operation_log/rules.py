"""What is hashed into the chain, byte for byte.  Version 1; another one gets another name.

The digest of an entry is the SHA-256 of a JSON array (RFC 8785, UTF-8) of its name and its columns,
each a string or null, in this order:

    ["campus-card-log-entry/1", id, at, channel, actor, action, outcome, holder_id, card_id,
     subject_id, before, after, documents, receipt_number, policy_ids, facts, reference, written_by]

Ids are lower-case text with hyphens, `at` is UTC with microseconds and `Z`, the columns of JSON are
what PostgreSQL writes for the jsonb, `written_by` is decimal.  The head of a seal is the SHA-256 of
such an array too:

    ["campus-card-log-seal/1", number, since, until, entries, total, digest, sealed_at,
     previous_head]

with numbers in decimal and, in hexadecimal, the SHA-256 of `contents` and the head before, which
for the first seal is 32 zero bytes.  `contents` is the id (16 bytes) and the digest (32 bytes) of
each entry with `since` <= `written_by` < `until`, by `written_by`, then `id`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

ENTRY, SEAL = "campus-card-log-entry/1", "campus-card-log-seal/1"
NO_HEAD = bytes(32)
ID_BYTES, DIGEST_BYTES = 16, 32
WIDTH = ID_BYTES + DIGEST_BYTES
LATE = timedelta(hours=1)
"""An entry is written when it happens: one that is dated so long before the last seal was not."""
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
"""Between them lies every moment that anything happened; a column can hold infinity, too."""
LEAST_KEPT = timedelta(days=183)
"""By law (网络安全法) nobody deletes anything younger; the function `dispose_log` says the same."""
DISPOSE = "log.dispose"
"""The action that says which entries were kept for long enough and are gone (期满销毁)."""


class Fault(StrEnum):
    """How the log differs from what was sealed."""

    ENTRY_CHANGED = "entry-changed"
    """被改"""
    ENTRY_MISSING = "entry-missing"
    """被删"""
    ENTRY_INSERTED = "entry-inserted"
    """插入已封存的区段"""
    ENTRY_BACKDATED = "entry-backdated"
    """时间早于前一封存"""
    SEAL_CHANGED = "seal-changed"
    """封存被改"""
    SEAL_MISSING = "seal-missing"
    """封存缺失"""
    HEAD_DIFFERS = "head-differs"
    """与外部留存的链头不符"""
    DISPOSED_EARLY = "disposed-early"
    """未到期销毁"""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference: in which seal, and in which entry where there is one."""

    fault: Fault
    seal: int
    entry_id: UUID | None = None


def moment_text(at: datetime) -> str:
    """Return a moment as it is hashed.

    >>> moment_text(datetime(2026, 9, 1, 4, 0, tzinfo=UTC))
    '2026-09-01T04:00:00.000000Z'
    """
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_moment(stored: str | None) -> datetime | None:
    """Return a moment from what PostgreSQL writes for it; None for what cannot be one.

    >>> read_moment("2026-09-01 04:00:00+00") == datetime(2026, 9, 1, 4, 0, tzinfo=UTC)
    True
    >>> [read_moment(text) for text in ("infinity", "10001-01-01 00:00:00+00", None)]
    [None, None, None]
    """
    try:
        at = datetime.fromisoformat(stored or "")
    except ValueError:
        return None
    return at if at.tzinfo and EARLIEST <= at < LATEST else None


def digest(name: str, members: Iterable[str | None]) -> bytes:
    r"""Return the SHA-256 of an array of texts in its one spelling.

    >>> digest("a", [None, "中\n"]) == hashlib.sha256('["a",null,"中\\n"]'.encode()).digest()
    True
    """
    text = json.dumps([name, *members], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def head_of(
    *,
    number: int,
    since: int,
    until: int,
    entries: int,
    total: int,
    contents: bytes,
    previous_head: bytes,
    sealed_at: datetime,
) -> bytes:
    """Return the head (链头) that a seal has to have."""
    numbers = (str(value) for value in (number, since, until, entries, total))
    contained = hashlib.sha256(contents).hexdigest()
    return digest(SEAL, [*numbers, contained, moment_text(sealed_at), previous_head.hex()])


def spell(entries: Iterable[tuple[UUID, bytes]]) -> bytes:
    """Return the contents of a seal."""
    return b"".join(id_.bytes + digest_ for id_, digest_ in entries)


def read(contents: bytes) -> Iterator[tuple[UUID, bytes]]:
    """Yield the ids and digests of a seal's contents."""
    for start in range(0, len(contents) - WIDTH + 1, WIDTH):
        middle = start + ID_BYTES
        yield UUID(bytes=contents[start:middle]), contents[middle : start + WIDTH]


def compare(
    sealed: Sequence[tuple[UUID, bytes]], found: Iterable[tuple[UUID, bytes]]
) -> tuple[Fault, UUID] | None:
    """Return how what is found differs from what was sealed, at the first place, or None.

    >>> a, b, c = ((UUID(int=n), bytes([n])) for n in (1, 2, 3))
    >>> compare([a, b], [a, b]), compare([a, b], [b])
    (None, (<Fault.ENTRY_MISSING: 'entry-missing'>, UUID('00000000-0000-0000-0000-000000000001')))
    """
    known = {id_ for id_, _ in sealed}
    ahead = iter(sealed)
    for id_, digest_ in found:
        if id_ not in known:
            return Fault.ENTRY_INSERTED, id_
        expected, expected_digest = next(ahead)
        if id_ != expected:
            return Fault.ENTRY_MISSING, expected
        if digest_ != expected_digest:
            return Fault.ENTRY_CHANGED, id_
    left = next(ahead, None)
    return None if left is None else (Fault.ENTRY_MISSING, left[0])
