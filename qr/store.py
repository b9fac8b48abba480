"""What a scanner remembers through a power cut (本地存储): one SQLite file.

A decision, the mark of its code, the counters and the place in the queue are one transaction, on
disk before anybody hears of it.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from qr.codes import CardCode, Scope
from qr.epoch import from_epoch, to_epoch
from qr.rules import Spent

KEPT_DAYS = 3
"""How long marks, counters and passages are kept: as long as any delegation or bundle lives."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS bundle (
    one INTEGER PRIMARY KEY CHECK (one = 1), claims TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    offset_ms INTEGER NOT NULL DEFAULT 0,  -- what to add to this device's clock
    trusted_at INTEGER  -- a second that has surely passed
) STRICT;
CREATE TABLE IF NOT EXISTS marks (  -- the newest code of each bearer that was decided on
    bearer BLOB, scope INTEGER, issued_at INTEGER NOT NULL, sequence INTEGER NOT NULL,
    PRIMARY KEY (bearer, scope)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passages (  -- which way each bearer went last
    bearer BLOB PRIMARY KEY, direction TEXT NOT NULL, at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (  -- without network, on one day of the school
    day TEXT, bearer BLOB, count INTEGER NOT NULL, fen INTEGER NOT NULL,
    PRIMARY KEY (day, bearer)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS queue (  -- AUTOINCREMENT: a sequence is never given twice
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, item TEXT NOT NULL
) STRICT;
INSERT OR IGNORE INTO clock (one) VALUES (1);
"""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """How far the codes of one bearer were used (高水位)."""

    issued_at: int
    """Seconds since 1970."""
    sequence: int

    @classmethod
    def of(cls, code: CardCode) -> Self:
        """Return the mark that this code leaves."""
        return cls(to_epoch(code.issued_at), code.sequence)


@dataclass(frozen=True, slots=True)
class LastPassage:
    """Which way somebody went last, and when."""

    direction: str
    at: datetime


class Deciding:
    """One decision on its way to the disk: made by `ScannerStore.deciding` alone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        offset_ms, trusted_at = self._row("SELECT offset_ms, trusted_at FROM clock") or (0, None)
        self.clock_offset = timedelta(milliseconds=offset_ms)
        self.trusted_at = None if trusted_at is None else from_epoch(trusted_at)

    def trust(self, moment: datetime) -> None:
        """Note a moment that has surely passed: no clock may show an earlier one again."""
        self._connection.execute(
            "UPDATE clock SET trusted_at = max(coalesce(trusted_at, 0), ?)", [to_epoch(moment)]
        )

    def claim(self, bearer: bytes, scope: Scope, mark: Mark) -> bool:
        """Use a code up; return False when it, or a newer one of its bearer, already was."""
        changed = self._connection.execute(
            "INSERT INTO marks VALUES (?, ?, ?, ?) ON CONFLICT (bearer, scope) DO UPDATE"
            " SET issued_at = excluded.issued_at, sequence = excluded.sequence"
            " WHERE (excluded.issued_at, excluded.sequence) > (issued_at, sequence)",
            [bearer, int(scope), mark.issued_at, mark.sequence],
        )
        return changed.rowcount == 1

    def last_passage(self, bearer: bytes) -> LastPassage | None:
        """Return which way a bearer went last through this gate, or None."""
        row = self._row("SELECT direction, at FROM passages WHERE bearer = ?", bearer)
        return row and LastPassage(row[0], from_epoch(row[1]))

    def note_passage(self, bearer: bytes, *, direction: str, at: datetime) -> None:
        """Note which way a bearer goes."""
        self._connection.execute(
            "INSERT OR REPLACE INTO passages VALUES (?, ?, ?)", [bearer, direction, to_epoch(at)]
        )

    def spent(self, day: date, bearer: bytes | None) -> Spent:
        """Return what was taken on a day from one bearer, or from all."""
        row = self._row(
            "SELECT coalesce(sum(count), 0), coalesce(sum(fen), 0) FROM spent"
            " WHERE day = ? AND bearer = coalesce(?, bearer)",
            day.isoformat(),
            bearer,
        )
        return Spent(*row) if row else Spent()

    def note_charge(self, day: date, bearer: bytes, amount_fen: int) -> None:
        """Count an amount that is taken."""
        self._connection.execute(
            "INSERT INTO spent VALUES (?, ?, 1, ?) ON CONFLICT (day, bearer)"
            " DO UPDATE SET count = count + 1, fen = fen + excluded.fen",
            [day.isoformat(), bearer, amount_fen],
        )

    def enqueue(self, item: Mapping[str, Any]) -> int:
        """Put what was decided in the queue; return its place, one above the last ever given."""
        (sequence,) = self._row(
            "INSERT INTO queue (item) VALUES (?) RETURNING sequence",
            json.dumps(item, ensure_ascii=False),
        )
        return int(sequence)

    def _row(self, query: str, *values: object) -> Any:
        return self._connection.execute(query, values).fetchone()


class ScannerStore:
    """The file of one scanner; what is committed survives a power cut.

    One process decides; another may fetch a bundle and tell the server meanwhile.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file at `path`, which tells who went where: for its owner only.

        Raises:
            OSError: it cannot be created.
            sqlite3.Error: it is no store, or cannot be read.
        """
        path.touch(mode=0o600)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(SCHEMA)
        self._seen = self._version

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def deciding(self) -> Iterator[Deciding]:
        """Yield one decision; it is on disk when the block has ended, or it never was."""
        with self._writing() as connection:
            yield Deciding(connection)

    def changed_elsewhere(self) -> bool:
        """Return whether another process has written since this was last asked."""
        before, self._seen = self._seen, self._version
        return before != self._seen

    @property
    def _version(self) -> int:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def claims(self) -> dict[str, Any] | None:
        """Return the claims of the bundle in use, or None."""
        row = self._connection.execute("SELECT claims FROM bundle").fetchone()
        if row is None:
            return None
        claims: dict[str, Any] = json.loads(row[0])
        return claims

    def keep_claims(self, claims: Mapping[str, Any], *, trusted_at: datetime) -> None:
        """Keep a newer bundle, and forget what no code can need any more."""
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO bundle VALUES (1, ?)", [json.dumps(dict(claims))]
            )
            Deciding(connection).trust(trusted_at)
            old = trusted_at - timedelta(days=KEPT_DAYS)
            connection.execute("DELETE FROM marks WHERE issued_at < ?", [to_epoch(old)])
            connection.execute("DELETE FROM passages WHERE at < ?", [to_epoch(old)])
            connection.execute("DELETE FROM spent WHERE day < ?", [old.date().isoformat()])

    def keep_clock(self, *, offset: timedelta, trusted_at: datetime) -> None:
        """Keep what to add to this device's clock, as the server told.

        The server is believed backwards too: a scanner that was led into the future comes back.
        """
        with self._writing() as connection:
            connection.execute(
                "UPDATE clock SET offset_ms = ?, trusted_at = ?",
                [offset // timedelta(milliseconds=1), to_epoch(trusted_at)],
            )

    def waiting(self, *, most: int) -> Sequence[dict[str, Any]]:
        """Return the oldest items of the queue, each with its `sequence`."""
        rows = self._connection.execute(
            "SELECT sequence, item FROM queue ORDER BY sequence LIMIT ?", [most]
        )
        return [{"sequence": sequence, **json.loads(item)} for sequence, item in rows]

    @property
    def queue_length(self) -> int:
        """How many items the server has not confirmed."""
        (length,) = self._connection.execute("SELECT count(*) FROM queue").fetchone()
        return int(length)

    @property
    def last_sequence(self) -> int:
        """The last sequence ever given, 0 before the first."""
        row = self._connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'queue'"
        ).fetchone()
        return int(row[0]) if row else 0

    def confirmed(self, sequences: Sequence[int]) -> None:
        """Take items out of the queue that the server has recorded."""
        with self._writing() as connection:
            connection.executemany(
                "DELETE FROM queue WHERE sequence = ?", [[sequence] for sequence in sequences]
            )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite itself rolls back when the disk is full
                connection.execute("ROLLBACK")
            raise
