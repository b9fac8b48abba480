"""What the simulated platforms remember, in one SQLite file that survives a restart."""

import hashlib
import hmac
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from payments.sandbox.faults import FaultPlan, parse

_LISTED = 200
_BUSY_SECONDS = 10  # a killed predecessor may not have let go of the file yet

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
    signed_with TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (channel, out_trade_no)
);
CREATE INDEX IF NOT EXISTS orders_reference ON orders (reference);
CREATE INDEX IF NOT EXISTS orders_number ON orders (out_trade_no);
CREATE INDEX IF NOT EXISTS orders_paid ON orders (paid_at) WHERE paid_at IS NOT NULL;
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
    due_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS notices_due ON notices (due_at) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS notices_of_order ON notices (channel, out_trade_no);
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
# What later versions added: a directory of an earlier one gets it when it is opened.
_ADDED = {
    "orders": {"signed_with": "TEXT NOT NULL DEFAULT ''"},
    "notices": {
        "out_refund_no": "TEXT",
        "held": "INTEGER NOT NULL DEFAULT 0",
        "taken": "INTEGER NOT NULL DEFAULT 0",
        "sendings": "INTEGER NOT NULL DEFAULT 0",
    },
    "attempts": {"faults": "TEXT NOT NULL DEFAULT ''"},
    "accounts": {"login_code": "TEXT"},
}


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
        signed_with: names the key or certificate of its notices, as the merchant asked for it.
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
    signed_with: str = ""

    def expired(self, now: datetime) -> bool:
        """Tell whether nobody can pay it any more, for its age."""
        return now >= datetime.fromisoformat(self.expires_at)

    def standing(self, now: datetime) -> str:
        """Say how it stands: as its state, or `expired`."""
        if self.state is OrderState.UNPAID and self.expired(now):
            return "expired"
        return str(self.state)


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
class Account:
    """An account on a platform.

    Attributes:
        person: a digest of its real name, never the name.
        login_code: the text that logs it in; None for one made by an earlier version.
    """

    account_id: str
    temper: Temper
    person: str | None
    platform: str = ""
    login_code: str | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """A notice to be sent now, of the order or of a refund of it, which its sender has taken.

    Attributes:
        sendings: how often it was sent before, copies not counted.
    """

    notice_id: str
    order: Order
    refund: Refund | None
    sendings: int

    @property
    def notify_url(self) -> str:
        """Where it goes."""
        return self.order.notify_url if self.refund is None else self.refund.notify_url


class State:
    """The file.  Safe to share among threads; one statement or block at a time."""

    def __init__(self, directory: Path, seed: str) -> None:
        """Open or create it."""
        self._seed = seed.encode()
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            directory / "sandbox.sqlite3",
            check_same_thread=False,
            isolation_level=None,
            timeout=_BUSY_SECONDS,
        )
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        for table, columns in _ADDED.items():
            there = {row["name"] for row in self._rows(f"PRAGMA table_info({table})")}
            for name in columns.keys() - there:
                self._rows(f"ALTER TABLE {table} ADD COLUMN {name} {columns[name]}")

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

    def orders(self, out_trade_no: str) -> list[Order]:
        """List the orders of one number, on either channel, newest first."""
        rows = self._rows(
            "SELECT * FROM orders WHERE out_trade_no = ? ORDER BY created_at DESC, rowid DESC",
            out_trade_no,
        )
        return [_order(row) for row in rows]

    def order_of(self, reference: str) -> Order | None:
        """Find the order of a QR code, a prepay_id or an Alipay trade number."""
        rows = self._rows("SELECT * FROM orders WHERE reference = ?", reference)
        return _order(rows[0]) if rows else None

    def waiting_codes(self) -> list[Order]:
        """List the newest orders whose QR code can still be scanned and paid."""
        rows = self._rows(
            "SELECT * FROM orders WHERE kind IN ('native', 'precreate') AND state = 'unpaid'"
            " AND expires_at > ? ORDER BY rowid DESC LIMIT 20",
            utc_text(datetime.now(UTC)),
        )
        return [_order(row) for row in rows]

    def list_orders(
        self,
        *,
        channel: str | None,
        state: str | None,
        number: str | None,
        before: int | None,
        limit: int = _LISTED,
    ) -> tuple[list[Order], int | None]:
        """List orders as they came, newest first; with where the next page begins.

        Args:
            state: an `OrderState` or `expired`.
            number: the beginning of `out_trade_no`.
        """
        now = utc_text(datetime.now(UTC))
        rows = self._rows(
            "SELECT rowid AS place, * FROM orders WHERE (?1 IS NULL OR rowid < ?1)"
            " AND (?2 IS NULL OR channel = ?2)"
            " AND (?3 IS NULL OR substr(out_trade_no, 1, length(?3)) = ?3)"
            " AND (?4 IS NULL OR ?4 ="
            " CASE WHEN state = 'unpaid' AND expires_at <= ?5 THEN 'expired' ELSE state END)"
            " ORDER BY rowid DESC LIMIT ?6",
            before,
            channel,
            number,
            state,
            now,
            limit + 1,
        )
        return [_order(row) for row in rows[:limit]], _next(rows, limit)

    def list_refunds(
        self, *, before: int | None, limit: int = _LISTED
    ) -> tuple[list[Refund], int | None]:
        """List refunds as they came, newest first; with where the next page begins."""
        rows = self._rows(
            "SELECT rowid AS place, * FROM refunds WHERE (?1 IS NULL OR rowid < ?1)"
            " ORDER BY rowid DESC LIMIT ?2",
            before,
            limit + 1,
        )
        return [_refund(row) for row in rows[:limit]], _next(rows, limit)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make the changes in this block all or none, whenever the process is killed."""
        with self._transaction():
            yield

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

    def pay(self, order: Order, *, now: datetime, closed: bool = False) -> bool:
        """Pay the order if it can be paid now; tell whether this call did it.

        Args:
            closed: pay it only if it is closed, as the fault `pay_after_close` wants it.
        """
        return self._change(
            "UPDATE orders SET state = 'paid', paid_at = ?1"
            " WHERE channel = ?2 AND out_trade_no = ?3 AND state = ?4"
            " AND (state = 'closed' OR expires_at > ?1)",
            utc_text(now),
            order.channel,
            order.out_trade_no,
            OrderState.CLOSED if closed else OrderState.UNPAID,
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
        held: bool,
    ) -> None:
        """Remember to send a notice of the order as it will stand, or of a refund of it.

        Args:
            held: for the fault `reorder`: it leaves with others that are held.
        """
        if refund is None:
            notice_id = self.derive("notice", order.channel, order.out_trade_no, order.state)
        else:
            notice_id = self.derive("refund notice", order.channel, refund.out_refund_no)
        self._change(
            "INSERT OR IGNORE INTO notices"
            " (notice_id, channel, out_trade_no, out_refund_no, state, created_at, due_at, held)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            notice_id[:32],
            order.channel,
            order.out_trade_no,
            None if refund is None else refund.out_refund_no,
            state,
            now,
            due_at,
            held,
        )

    def next_due(self) -> float | None:
        """Tell when the next notice that nobody has taken is due."""
        rows = self._rows(
            "SELECT due_at FROM notices WHERE state = 'pending' AND NOT taken"
            " ORDER BY due_at LIMIT 1"
        )
        return float(rows[0]["due_at"]) if rows else None

    def take_due(self, *, now: float, held_by: float, most: int) -> list[Due]:
        """Take the notice that is longest due, for its sender, who settles it.

        One that is held takes along up to `most` of those held until `held_by`, newest first.
        """
        with self._transaction():
            rows = self._rows(
                "SELECT rowid, * FROM notices WHERE state = 'pending' AND NOT taken"
                " AND due_at <= ? ORDER BY due_at LIMIT 1",
                now,
            )
            if rows and rows[0]["held"]:
                rows = self._rows(
                    "SELECT rowid, * FROM notices WHERE state = 'pending' AND NOT taken AND held"
                    " AND due_at <= ? ORDER BY created_at DESC, rowid DESC LIMIT ?",
                    held_by,
                    most,
                )
            for row in rows:
                self._rows("UPDATE notices SET taken = 1 WHERE rowid = ?", row["rowid"])
            return [due for due in map(self._due, rows) if due is not None]

    def _due(self, row: sqlite3.Row) -> Due | None:
        order = self.order(row["channel"], row["out_trade_no"])
        number = row["out_refund_no"]
        refund = None if number is None else self.refund(row["channel"], number)
        if order is None:
            return None
        return Due(str(row["notice_id"]), order, refund, int(row["sendings"]))

    def release_taken(self, now: float) -> None:
        """Make due what a killed process had taken and not settled."""
        self._rows("UPDATE notices SET taken = 0, due_at = ? WHERE taken", now)

    def send_now(self, notice_id: str, now: float) -> NoticeState | None:
        """Make a notice due now, also one that is over; None if there is none.

        Returns how it stands: only a pending one will be sent.
        """
        with self._transaction():
            self._rows(
                "UPDATE notices SET state = 'pending', due_at = ?, held = 0"
                " WHERE notice_id = ? AND state <> 'not-loopback'",
                now,
                notice_id,
            )
            rows = self._rows("SELECT state FROM notices WHERE notice_id = ?", notice_id)
        return NoticeState(rows[0]["state"]) if rows else None

    def record_attempt(
        self, notice_id: str, status: int | None, answer: str, faults: Iterable[str]
    ) -> None:
        """Write down one sending, its answer, and the faults that it met."""
        self._rows(
            "INSERT INTO attempts (notice_id, at, status, answer, faults) VALUES (?, ?, ?, ?, ?)",
            notice_id,
            utc_text(datetime.now(UTC)),
            status,
            answer,
            " ".join(faults),
        )

    def settle_notice(self, notice_id: str, state: NoticeState, due_at: float) -> None:
        """Say what becomes of the notice after a sending."""
        self._change(
            "UPDATE notices SET state = ?, due_at = ?, taken = 0, held = 0,"
            " sendings = sendings + 1 WHERE notice_id = ?",
            state,
            due_at,
            notice_id,
        )

    def list_notices(
        self, *, state: str | None, before: int | None, limit: int = _LISTED
    ) -> tuple[list[dict[str, Any]], int | None]:
        """List notices, newest first, with their sendings; with where the next page begins."""
        rows = self._rows(
            "SELECT rowid AS place, * FROM notices WHERE (?1 IS NULL OR rowid < ?1)"
            " AND (?2 IS NULL OR state = ?2) ORDER BY rowid DESC LIMIT ?3",
            before,
            state,
            limit + 1,
        )
        return [self._notice(row) for row in rows[:limit]], _next(rows, limit)

    def count_notices(self) -> dict[str, int]:
        """Count the notices of each state."""
        rows = self._rows("SELECT state, count(*) AS number FROM notices GROUP BY state")
        return {str(row["state"]): int(row["number"]) for row in rows}

    def notices(self, order: Order) -> list[dict[str, Any]]:
        """List the order's notices with every sending and its answer."""
        rows = self._rows(
            "SELECT * FROM notices WHERE channel = ? AND out_trade_no = ? ORDER BY created_at",
            order.channel,
            order.out_trade_no,
        )
        return [self._notice(row) for row in rows]

    def _notice(self, row: sqlite3.Row) -> dict[str, Any]:
        attempts = self._rows(
            "SELECT at, status, answer, faults FROM attempts WHERE notice_id = ? ORDER BY rowid",
            row["notice_id"],
        )
        due_at = datetime.fromtimestamp(row["due_at"], UTC)
        return {
            "notice_id": row["notice_id"],
            "channel": row["channel"],
            "out_trade_no": row["out_trade_no"],
            "out_refund_no": row["out_refund_no"],
            "state": row["state"],
            "sendings": row["sendings"],
            "due_at": utc_text(due_at) if row["state"] == NoticeState.PENDING else None,
            "attempts": [
                {**dict(attempt), "faults": attempt["faults"].split()} for attempt in attempts
            ],
        }

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
        self._rows(
            "INSERT INTO accounts (platform, account_id, temper, login_code) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET login_code = excluded.login_code"
            " WHERE login_code IS NULL",
            platform,
            account_id,
            temper,
            login_code,
        )
        return account_id

    def set_temper(self, platform: str, login_code: str, temper: Temper) -> str:
        """Say how the account answers to checks, and forget its real name; return its id."""
        account_id = self.log_in(platform, login_code)
        self._change(
            "UPDATE accounts SET temper = ?, person = NULL WHERE platform = ? AND account_id = ?",
            temper,
            platform,
            account_id,
        )
        return account_id

    def list_accounts(
        self, *, platform: str | None, before: int | None, limit: int = _LISTED
    ) -> tuple[list[Account], int | None]:
        """List accounts, newest first; with where the next page begins."""
        rows = self._rows(
            "SELECT rowid AS place, * FROM accounts WHERE (?1 IS NULL OR rowid < ?1)"
            " AND (?2 IS NULL OR platform = ?2) ORDER BY rowid DESC LIMIT ?3",
            before,
            platform,
            limit + 1,
        )
        return [_account(row) for row in rows[:limit]], _next(rows, limit)

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
        return _account(rows[0])

    def knows(self, platform: str, account_id: str) -> bool:
        """Tell whether the account ever logged in."""
        return bool(
            self._rows(
                "SELECT 1 FROM accounts WHERE platform = ? AND account_id = ?", platform, account_id
            )
        )

    def consenting(self, platform: str, grant: str, logged_in: str) -> str:
        """Tell whose a consent is: a registered login code's, else the logged-in account's."""
        account_id = self.account_id(platform, grant)
        registered = self.account(platform, account_id).person is not None
        return account_id if registered else logged_in

    def person(self, name: str, document_number: str) -> str:
        """Digest a real name."""
        return self.derive("person", name.strip(), document_number.strip().upper())

    def faults(self) -> FaultPlan:
        """Read the faults in force."""
        rows = self._rows("SELECT faults FROM faults")
        return parse(json.loads(rows[0]["faults"])) if rows else FaultPlan()

    def set_faults(self, plan: FaultPlan) -> None:
        """Keep faults over a restart, in place of the former."""
        self._change("INSERT OR REPLACE INTO faults VALUES (1, ?)", json.dumps(plan.told()))

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _change(self, sql: str, *values: object) -> bool:
        with self._lock:
            return self._connection.execute(sql, values).rowcount == 1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            if self._connection.in_transaction:  # the outer one ends it
                yield
                return
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
    stored = {known.name: row[known.name] for known in fields(Order)}
    return Order(**{**stored, "state": OrderState(row["state"])})


def _refund(row: sqlite3.Row) -> Refund:
    stored = {known.name: row[known.name] for known in fields(Refund)}
    return Refund(**{**stored, "outcome": RefundOutcome(row["outcome"])})


def _account(row: sqlite3.Row) -> Account:
    stored = {known.name: row[known.name] for known in fields(Account)}
    return Account(**{**stored, "temper": Temper(row["temper"])})


def _next(rows: list[sqlite3.Row], limit: int) -> int | None:
    """Tell where the next page begins, if a row more than fits was found."""
    return int(rows[limit - 1]["place"]) if len(rows) > limit else None
