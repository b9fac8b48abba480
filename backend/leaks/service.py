"""Scanning all that is kept: the database, Redis, and files such as logs (泄露扫描).

Reads everything and changes nothing.  What was found is named by its place, never shown.
"""

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis
from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.leaks.rules import Known, LeakKind, Recogniser, text_of

FETCH = 2_000
CHUNK_CHARACTERS = 1_000_000
HARMLESS = (
    "bool", "date", "float4", "float8", "int2", "int4", "interval", "oid", "time", "timestamp",
    "timestamptz", "timetz", "uuid",
)  # fmt: skip
"""Types whose values hold neither eighteen digits nor a token; all others are read."""
COLUMNS = text(
    "SELECT format('%I.%I', n.nspname, c.relname), c.relname, a.attname, t.typname"
    "  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    "  JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid"
    " WHERE c.relkind IN ('r', 'm') AND a.attnum > 0 AND NOT a.attisdropped"
    "   AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
    "   AND n.nspname !~ '^pg_(toast|temp)' AND t.typname <> ALL (:harmless)"
    " ORDER BY 1, a.attnum"
)
KNOWN = text(
    "SELECT format('SELECT %I FROM %I.%I WHERE %1$I IS NOT NULL', a.attname, n.nspname, c.relname)"
    "  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    "  JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relkind = 'r' AND a.attname ~ :name AND a.atttypid = 'bytea'::regtype"
)
TOKEN_HASHES, DOCUMENT_INDEXES, PUBLIC_KEYS = (
    "(token|enrolment)_hash$", "^document_index$", "public_key$",
)  # fmt: skip


class KeyOfUnknownType(RuntimeError):
    """Redis holds something that this does not know how to read: nothing is passed over."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Something that stands in clear."""

    kind: LeakKind
    where: str
    """Table and column, `redis` and the key, or a file."""
    place: str
    """The first of them: a row (`ctid`), or a line."""
    times: int
    """In how many rows or lines."""


@dataclass(slots=True)
class Findings:
    """What was found, and how much was read."""

    read: Counter[str] = field(default_factory=Counter)
    first: dict[tuple[LeakKind, str], str] = field(default_factory=dict)
    times: Counter[tuple[LeakKind, str]] = field(default_factory=Counter)

    def note(self, kind: LeakKind, where: str, place: str) -> None:
        """Note a place where something stands."""
        self.first.setdefault((kind, where), place)
        self.times[kind, where] += 1

    @property
    def leaks(self) -> list[Leak]:
        """What was found, in the order of finding."""
        return [
            Leak(kind, where, place, self.times[kind, where])
            for (kind, where), place in self.first.items()
        ]


def known(session: Session) -> Known:
    """Return the hashes of tokens and documents, and the public keys, that the database has."""
    return Known(
        *(_values(session, name) for name in (TOKEN_HASHES, DOCUMENT_INDEXES, PUBLIC_KEYS))
    )


def _values(session: Session, name: str) -> frozenset[bytes]:
    queries = session.scalars(KNOWN, {"name": name}).all()
    return frozenset(bytes(value) for query in queries for value in session.scalars(text(query)))


def scan_database(session: Session, recogniser: Recogniser, findings: Findings) -> None:
    """Read every value of every table, at one moment."""
    tables: dict[str, list[Any]] = {}
    for column in session.execute(COLUMNS, {"harmless": list(HARMLESS)}):
        tables.setdefault(column[0], []).append(column)
    for table, columns in tables.items():
        _scan_table(session, table, columns, recogniser, findings)
    findings.read["tables"] += len(tables)


def _scan_table(
    session: Session, table: str, columns: list[Any], recogniser: Recogniser, findings: Findings
) -> None:
    quote = session.connection().dialect.identifier_preparer.quote_identifier
    wanted = ", ".join(
        quote(name) if type_ == "bytea" else f"{quote(name)}::text" for *_, name, type_ in columns
    )
    rows = session.connection().exec_driver_sql(
        f"SELECT ctid::text, {wanted} FROM {table}",  # noqa: S608 - names that PostgreSQL quoted
        execution_options={"yield_per": FETCH},
    )
    readers = [_Reader(f"{column[1]}.{column[2]}", recogniser, findings) for column in columns]
    for place, *values in rows:
        for reader, value in zip(readers, values, strict=True):
            if value is not None:
                reader.read(place, value)
    for reader in readers:
        reader.finish()


class _Reader:
    """Reads values of one column or file, many at a time: most of them are nothing."""

    def __init__(self, where: str, recogniser: Recogniser, findings: Findings) -> None:
        self._where, self._recogniser, self._findings = where, recogniser, findings
        self._waiting: list[tuple[str, str]] = []
        self._characters = 0

    def read(self, place: str, value: str | bytes) -> None:
        """Take one value."""
        self._findings.read["values"] += 1
        if isinstance(value, bytes):
            self._note(place, self._recogniser.in_bytes(value))
            return
        self._waiting.append((place, value))
        self._characters += len(value)
        if self._characters > CHUNK_CHARACTERS:
            self.finish()

    def finish(self) -> None:
        """Look at what waits: all together, and only where something is, each by itself."""
        together = "\n".join(value for _, value in self._waiting)
        if any(True for _ in self._recogniser.in_text(together)):
            for place, value in self._waiting:
                self._note(place, self._recogniser.in_text(value))
        self._waiting, self._characters = [], 0

    def _note(self, place: str, found: Iterable[tuple[LeakKind, str]]) -> None:
        for kind in {kind for kind, _ in found}:
            self._findings.note(kind, self._where, place)


def scan_redis(redis: Redis, recogniser: Recogniser, findings: Findings) -> None:
    """Read every key and its value; a key that gives something away is named without that.

    Raises:
        KeyOfUnknownType: a value is none that is read here.
    """
    for key in redis.scan_iter(count=FETCH):
        findings.read["keys"] += 1
        said, kinds = text_of(key), set()
        for kind, piece in recogniser.in_bytes(key):
            kinds.add(kind)
            said = said.replace(piece, "…") if piece else said
        for value in _values_of(redis, key):
            kinds |= {kind for kind, _ in recogniser.in_bytes(value)}
        for kind in kinds:
            findings.note(kind, f"redis {said}", "")


def _values_of(redis: Redis, key: bytes) -> Iterator[bytes]:
    """Yield the pieces of a value; nothing where the key has just gone."""
    client: Any = redis  # its types allow for text, too
    type_ = client.type(key).decode()
    match type_:
        case "none":
            return
        case "string":
            yield client.get(key) or b""
        case "list":
            yield from client.lrange(key, 0, -1)
        case "set":
            yield from client.sscan_iter(key)
        case "zset":
            yield from (member for member, _ in client.zscan_iter(key))
        case "hash":
            for name, value in client.hscan_iter(key):
                yield from (name, value)
        case "stream":
            for _, members in client.xrange(key):
                yield from (piece for member in members.items() for piece in member)
        case _:
            raise KeyOfUnknownType(type_)


def scan_file(path: Path, recogniser: Recogniser, findings: Findings) -> None:
    """Read a file line by line; one that gzip packed is unpacked."""
    reader = _Reader(str(path), recogniser, findings)
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("rb"))
        if file.peek(2).startswith(b"\x1f\x8b"):
            file = stack.enter_context(gzip.open(file))
        for number, line in enumerate(file, 1):
            reader.read(f"line {number}", text_of(line))
    reader.finish()
    findings.read["files"] += 1
