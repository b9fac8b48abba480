"""What the simulated platforms remember, in one SQLite file that survives a restart."""

import hashlib
import hmac
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from payments.sandbox.faults import Faults

_LISTED = 200

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    channel TEXT NOT NULL,
    out_trade_no TEXT NOT NULL,
    kind TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    amount_fen INTEGER NOT NULL,
    description TEXT NOT NULL,
    notify_url TEXT NOT NULL,
    reference TEXT NOT NULL,
    trade_no TEXT NOT NULL,
    payer TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    state TEXT NOT NULL,
    paid_at TEXT,
    PRIMARY KEY (channel, out_trade_no)
);
CREATE INDEX IF NOT EXISTS orders_by_trade ON orders (trade_no);
CREATE TABLE IF NOT EXISTS refunds (
    channel TEXT NOT NULL,
    out_refund_no TEXT NOT NULL,
    out_trade_no TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    amount_fen INTEGER NOT NULL,
    refunded_fen INTEGER NOT NULL,
    reason TEXT NOT NULL,
    notify_url TEXT NOT NULL,
    refund_no TEXT NOT NULL,
    created_at TEXT NOT NULL,
    due_at TEXT NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (channel, out_refund_no)
);
CREATE INDEX IF NOT EXISTS refunds_of_order ON refunds (channel, out_trade_no);
CREATE TABLE IF NOT EXISTS notices (
    notice_id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    out_trade_no TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    due_at REAL NOT NULL,
    out_refund_no TEXT
);
CREATE INDEX IF NOT EXISTS notices_due ON notices (due_at) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS attempts (
    notice_id TEXT NOT NULL REFERENCES notices,
    at TEXT NOT NULL,
    status INTEGER,
    answer TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS attempts_of_notice ON attempts (notice_id);
CREATE TABLE IF NOT EXISTS accounts (
    platform TEXT NOT NULL,
    account_id TEXT NOT NULL,
    temper TEXT NOT NULL,
    person TEXT,
    PRIMARY KEY (platform, account_id)
);
CREATE TABLE IF NOT EXISTS bill_differences (
    channel TEXT NOT NULL,
    day TEXT NOT NULL,
    differences TEXT NOT NULL,
    PRIMARY KEY (channel, day)
);
CREATE TABLE IF NOT EXISTS faults (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), faults TEXT);
"""


class OrderState(StrEnum):
    """How an order stands at the platform."""

    UNPAID = "unpaid"
    PAID = "paid"
    CLOSED = "closed"


class RefundOutcome(StrEnum):
    """What a refund comes to."""

    SUCCEEDED = "succeeded"
    CLOSED = "closed"
    ABNORMAL = "abnormal"


class NoticeState(StrEnum):
    """What becomes of a notice."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DROPPED = "dropped"
    """Lost on the way, by a fault."""
    GIVEN_UP = "given-up"
    """The last repetition went unanswered."""
    NOT_LOOPBACK = "not-loopback"
    """Its address is not on this machine: the sandbox calls nobody else."""


class Temper(StrEnum):
    """How an account without a registered real name answers to a check of it."""

    MATCH = "match"
    MISMATCH = "mismatch"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Order:
    """An order at a platform.

    Attributes:
        kind: `jsapi`, `native`, `create` or `precreate`.
        fingerprint: of the request that made it; a repetition must be the same.
        reference: what the merchant got: prepay_id, code_url, trade_no or qr_code.
        payer: who pays it; for a QR code, somebody made up.
        created_at, expires_at, paid_at: as `utc_text` writes them.
    """

    channel: str
    out_trade_no: str
    kind: str
    fingerprint: str
    amount_fen: int
    description: str
    notify_url: str
    reference: str
    trade_no: str
    payer: str
    created_at: str
    expires_at: str
    state: OrderState = OrderState.UNPAID
    paid_at: str | None = None

    def expired(self, now: datetime) -> bool:
        """Tell whether nobody can pay it any more, for its age."""
        return now >= datetime.fromisoformat(self.expires_at)


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund at a platform.

    Attributes:
        fingerprint: of the request that made it; a repetition must be the same.
        refunded_fen: what went back of the order by then, this refund included.
        due_at: until then it is processing, from then on it is its `outcome`.
    """

    channel: str
    out_refund_no: str
    out_trade_no: str
    fingerprint: str
    amount_fen: int
    refunded_fen: int
    reason: str
    notify_url: str
    refund_no: str
    created_at: str
    due_at: str
    outcome: RefundOutcome

    def standing(self, now: datetime) -> str:
        """Tell how it stands: `processing`, or its outcome."""
        return "processing" if now < datetime.fromisoformat(self.due_at) else str(self.outcome)

    def holds_money(self, now: datetime) -> bool:
        """Tell whether its amount has gone back, or may yet."""
        return self.standing(now) != RefundOutcome.CLOSED


class RefundImpossible(Exception):
    """More than was paid, or too many refunds of one order."""


@dataclass(frozen=True, slots=True)
class Due:
    """A notice to be sent now, of the order or of a refund of it."""

    notice_id: str
    order: Order
    refund: Refund | None

    @property
    def notify_url(self) -> str:
        """Where it goes."""
        return self.order.notify_url if self.refund is None else self.refund.notify_url


@dataclass(frozen=True, slots=True)
class Account:
    """An account on a platform; `person` is a digest of its real name, never the name."""

    account_id: str
    temper: Temper
    person: str | None


class State:
    """The file.  Safe to share among threads; one statement or block at a time."""

    def __init__(self, directory: Path, seed: str) -> None:
        """Open or create it."""
        self._seed = seed.encode()
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            directory / "sandbox.sqlite3", check_same_thread=False, isolation_level=None
        )
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        columns = self._rows("SELECT name FROM pragma_table_info('notices')")
        if "out_refund_no" not in {column["name"] for column in columns}:  # of an older sandbox
            self._connection.execute("ALTER TABLE notices ADD COLUMN out_refund_no TEXT")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def derive(self, *words: str) -> str:
        """Make 64 hexadecimal digits out of the words, the same for ever, guessable by nobody."""
        message = json.dumps(words).encode()
        return hmac.new(self._seed, message, hashlib.sha256).hexdigest()

    def order(self, channel: str, out_trade_no: str) -> Order | None:
        """Find an order."""
        rows = self._rows(
            "SELECT * FROM orders WHERE channel = ? AND out_trade_no = ?", channel, out_trade_no
        )
        return _order(rows[0]) if rows else None

    def order_of_trade(self, channel: str, trade_no: str) -> Order | None:
        """Find an order by the platform's own number of its payment."""
        rows = self._rows(
            "SELECT * FROM orders WHERE channel = ? AND trade_no = ?", channel, trade_no
        )
        return _order(rows[0]) if rows else None

    def orders(self, out_trade_no: str | None = None) -> list[Order]:
        """List the newest orders first: of all, or of one number on either channel."""
        rows = self._rows(
            "SELECT * FROM orders WHERE ?1 IS NULL OR out_trade_no = ?1"
            " ORDER BY created_at DESC, rowid DESC LIMIT ?2",
            out_trade_no,
            _LISTED,
        )
        return [_order(row) for row in rows]

    def open_order(self, order: Order) -> Order:
        """Store the order unless its number is taken; return what stands under the number."""
        values = asdict(order)
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        with self._transaction():
            self._rows(
                f"INSERT OR IGNORE INTO orders ({names}) VALUES ({marks})",  # noqa: S608 - our own names
                *values.values(),
            )
            stored = self.order(order.channel, order.out_trade_no)
        assert stored is not None  # noqa: S101 - just inserted, under the lock
        return stored

    def pay(self, order: Order, *, now: datetime) -> bool:
        """Pay the order if it can be paid now; tell whether this call did it."""
        return self._change(
            "UPDATE orders SET state = 'paid', paid_at = ?"
            " WHERE channel = ? AND out_trade_no = ? AND state = 'unpaid' AND expires_at > ?",
            utc_text(now),
            order.channel,
            order.out_trade_no,
            utc_text(now),
        )

    def close_order(self, order: Order) -> bool:
        """Close the order if it is unpaid; tell whether this call did it."""
        return self._change(
            "UPDATE orders SET state = 'closed'"
            " WHERE channel = ? AND out_trade_no = ? AND state = 'unpaid'",
            order.channel,
            order.out_trade_no,
        )

    def expire_order(self, order: Order, *, now: datetime) -> bool:
        """End the order's payability now; tell whether this call did it."""
        return self._change(
            "UPDATE orders SET expires_at = ?"
            " WHERE channel = ? AND out_trade_no = ? AND state = 'unpaid' AND expires_at > ?",
            utc_text(now),
            order.channel,
            order.out_trade_no,
            utc_text(now),
        )

    def refund(self, channel: str, out_refund_no: str) -> Refund | None:
        """Find a refund."""
        rows = self._rows(
            "SELECT * FROM refunds WHERE channel = ? AND out_refund_no = ?", channel, out_refund_no
        )
        return _refund(rows[0]) if rows else None

    def refunds(self, order: Order) -> list[Refund]:
        """List the order's refunds, oldest first."""
        rows = self._rows(
            "SELECT * FROM refunds WHERE channel = ? AND out_trade_no = ? ORDER BY rowid",
            order.channel,
            order.out_trade_no,
        )
        return [_refund(row) for row in rows]

    def refunded_fen(self, order: Order, *, now: datetime) -> int:
        """Tell how much of the order has gone back, or may yet."""
        return sum(refund.amount_fen for refund in self.refunds(order) if refund.holds_money(now))

    def open_refund(
        self, order: Order, wanted: Refund, *, most: int, now: datetime
    ) -> tuple[Refund, bool]:
        """Store the refund unless its number is taken.

        Returns what stands under the number, and whether this call stored it.

        Raises:
            RefundImpossible: it is more than is left of the order, or there are `most` already.
        """
        with self._transaction():
            stored = self.refund(wanted.channel, wanted.out_refund_no)
            if stored is not None:
                return stored, False
            held = [refund for refund in self.refunds(order) if refund.holds_money(now)]
            total = sum(refund.amount_fen for refund in held) + wanted.amount_fen
            if total > order.amount_fen or len(held) >= most:
                raise RefundImpossible
            opened = replace(wanted, refunded_fen=total)
            values = asdict(opened)
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            self._rows(
                f"INSERT INTO refunds ({names}) VALUES ({marks})",  # noqa: S608 - our own names
                *values.values(),
            )
        return opened, True

    def paid_between(self, channel: str, since: datetime, until: datetime) -> list[Order]:
        """List the orders paid from one moment until before another."""
        rows = self._rows(
            "SELECT * FROM orders WHERE channel = ? AND state = 'paid'"
            " AND paid_at >= ? AND paid_at < ?",
            channel,
            utc_text(since),
            utc_text(until),
        )
        return [_order(row) for row in rows]

    def refunds_between(
        self, channel: str, since: datetime, until: datetime
    ) -> list[tuple[Order, Refund]]:
        """List the refunds accepted from one moment until before another, with their orders."""
        rows = self._rows(
            "SELECT * FROM refunds WHERE channel = ? AND created_at >= ? AND created_at < ?",
            channel,
            utc_text(since),
            utc_text(until),
        )
        found = [(self.order(channel, row["out_trade_no"]), _refund(row)) for row in rows]
        return [(order, refund) for order, refund in found if order is not None]

    def backdate(self, channel: str, out_trade_no: str, *, paid_at: str, refunded_at: str) -> bool:
        """Move a payment and its refunds in time; tell whether there is such a payment."""
        with self._transaction():
            moved = self._change(
                "UPDATE orders SET created_at = ?1, paid_at = ?1"
                " WHERE channel = ?2 AND out_trade_no = ?3 AND state = 'paid'",
                paid_at,
                channel,
                out_trade_no,
            )
            self._rows(
                "UPDATE refunds SET created_at = ?1, due_at = ?1"
                " WHERE channel = ?2 AND out_trade_no = ?3",
                refunded_at,
                channel,
                out_trade_no,
            )
        return moved

    def bill_differences(self, channel: str, day: str) -> str | None:
        """Read what a day's bill is to tell wrongly."""
        rows = self._rows(
            "SELECT differences FROM bill_differences WHERE channel = ? AND day = ?", channel, day
        )
        return rows[0]["differences"] if rows else None

    def set_bill_differences(self, channel: str, day: str, differences: str) -> None:
        """Say what a day's bill is to tell wrongly, in place of the former."""
        self._change(
            "INSERT OR REPLACE INTO bill_differences VALUES (?, ?, ?)", channel, day, differences
        )

    def add_notice(
        self,
        order: Order,
        refund: Refund | None,
        *,
        state: NoticeState,
        now: float,
        due_at: float,
    ) -> None:
        """Remember to send a notice of the order as it will stand, or of a refund of it."""
        if refund is None:
            notice_id = self.derive("notice", order.channel, order.out_trade_no, order.state)
        else:
            notice_id = self.derive("refund notice", order.channel, refund.out_refund_no)
        self._change(
            "INSERT OR IGNORE INTO notices VALUES (?, ?, ?, ?, ?, ?, ?)",
            notice_id[:32],
            order.channel,
            order.out_trade_no,
            state,
            now,
            due_at,
            None if refund is None else refund.out_refund_no,
        )

    def next_due(self) -> float | None:
        """Tell when the next pending notice is due."""
        rows = self._rows("SELECT min(due_at) AS due_at FROM notices WHERE state = 'pending'")
        due_at: float | None = rows[0]["due_at"]
        return due_at

    def take_due(self, *, due_by: float, until: float) -> list[Due]:
        """Take the due notices, newest first, for their sender, who has until `until`."""
        with self._transaction():
            rows = self._rows(
                "SELECT * FROM notices WHERE state = 'pending' AND due_at <= ?"
                " ORDER BY created_at DESC",
                due_by,
            )
            self._rows(
                "UPDATE notices SET due_at = ? WHERE state = 'pending' AND due_at <= ?",
                until,
                due_by,
            )
            return [due for due in map(self._due, rows) if due is not None]

    def _due(self, row: sqlite3.Row) -> Due | None:
        order = self.order(row["channel"], row["out_trade_no"])
        number = row["out_refund_no"]
        refund = None if number is None else self.refund(row["channel"], number)
        return None if order is None else Due(str(row["notice_id"]), order, refund)

    def record_attempt(self, notice_id: str, status: int | None, answer: str) -> int:
        """Write down one sending and its answer; return how many there have been."""
        with self._transaction():
            self._rows(
                "INSERT INTO attempts VALUES (?, ?, ?, ?)",
                notice_id,
                utc_text(datetime.now(UTC)),
                status,
                answer,
            )
            rows = self._rows(
                "SELECT count(*) AS attempts FROM attempts WHERE notice_id = ?", notice_id
            )
        return int(rows[0]["attempts"])

    def settle_notice(self, notice_id: str, state: NoticeState, due_at: float) -> None:
        """Say what becomes of the notice after a sending."""
        self._change(
            "UPDATE notices SET state = ?, due_at = ? WHERE notice_id = ?",
            state,
            due_at,
            notice_id,
        )

    def notices(self, order: Order) -> list[dict[str, Any]]:
        """List the order's notices with every sending and its answer."""
        rows = self._rows(
            "SELECT notice_id, out_refund_no, state FROM notices"
            " WHERE channel = ? AND out_trade_no = ? ORDER BY created_at",
            order.channel,
            order.out_trade_no,
        )
        return [
            {
                **dict(row),
                "attempts": [
                    dict(attempt)
                    for attempt in self._rows(
                        "SELECT at, status, answer FROM attempts WHERE notice_id = ?"
                        " ORDER BY rowid",
                        row["notice_id"],
                    )
                ],
            }
            for row in rows
        ]

    def account_id(self, platform: str, login_code: str) -> str:
        """Name the account of a login code: the same text, the same account."""
        digest = self.derive("account", platform, login_code)
        return f"o{digest[:27]}" if platform == "wechat" else f"0{digest[:31]}"

    def log_in(self, platform: str, login_code: str) -> str:
        """Open the account of the login code if there is none; return its id."""
        account_id = self.account_id(platform, login_code)
        temper = Temper.MATCH
        for other in (Temper.MISMATCH, Temper.UNAVAILABLE):
            if other in login_code:
                temper = other
        self._change(
            "INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, NULL)", platform, account_id, temper
        )
        return account_id

    def register(self, platform: str, login_code: str, person: str) -> str:
        """Give the account of the login code a real name; return its id."""
        account_id = self.log_in(platform, login_code)
        self._change(
            "UPDATE accounts SET person = ? WHERE platform = ? AND account_id = ?",
            person,
            platform,
            account_id,
        )
        return account_id

    def account(self, platform: str, account_id: str) -> Account:
        """Find an account; one that never logged in matches whatever is asked."""
        rows = self._rows(
            "SELECT * FROM accounts WHERE platform = ? AND account_id = ?", platform, account_id
        )
        if not rows:
            return Account(account_id, Temper.MATCH, None)
        return Account(account_id, Temper(rows[0]["temper"]), rows[0]["person"])

    def consenting(self, platform: str, grant: str, logged_in: str) -> str:
        """Tell whose a consent is: a registered login code's, else the logged-in account's."""
        account_id = self.account_id(platform, grant)
        registered = self.account(platform, account_id).person is not None
        return account_id if registered else logged_in

    def person(self, name: str, document_number: str) -> str:
        """Digest a real name."""
        return self.derive("person", name.strip(), document_number.strip().upper())

    def faults(self) -> Faults:
        """Read the faults in force."""
        rows = self._rows("SELECT faults FROM faults")
        return Faults(**json.loads(rows[0]["faults"])) if rows else Faults()

    def set_faults(self, faults: Faults) -> None:
        """Put faults in force, in place of the former."""
        self._change("INSERT OR REPLACE INTO faults VALUES (1, ?)", json.dumps(asdict(faults)))

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _change(self, sql: str, *values: object) -> bool:
        with self._lock:
            return self._connection.execute(sql, values).rowcount == 1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def utc_text(moment: datetime) -> str:
    """Write a time so that texts sort as times do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _order(row: sqlite3.Row) -> Order:
    return Order(**{**dict(row), "state": OrderState(row["state"])})


def _refund(row: sqlite3.Row) -> Refund:
    return Refund(**{**dict(row), "outcome": RefundOutcome(row["outcome"])})
