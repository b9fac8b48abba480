"""Subscribe messages (订阅消息), the platform's side: who agreed to what, and what arrived."""

import hashlib
import json
import re
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from payments.sandbox.state import utc_text
from payments.sandbox.templates import TEMPLATES, Template

_SCHEMA = """
CREATE TABLE IF NOT EXISTS credits (
    account_id TEXT NOT NULL,
    template_id TEXT NOT NULL,
    credits INTEGER NOT NULL CHECK (credits >= 0),
    PRIMARY KEY (account_id, template_id)
);
CREATE TABLE IF NOT EXISTS messages (
    account TEXT NOT NULL,
    template_id TEXT NOT NULL,
    page TEXT NOT NULL,
    data TEXT NOT NULL,
    at TEXT NOT NULL
);
"""
_LISTED: Final = 1000
_TIME: Final = r"([0-9]{4}年[0-9]{1,2}月[0-9]{1,2}日 )?[0-9]{1,2}:[0-9]{2}"
_FIELDS: Final = {
    "thing": re.compile(r"[^\x00-\x1f]{1,20}"),
    "amount": re.compile(r"[¥$]?[0-9]{1,10}(\.[0-9]+)?元?"),
    "number": re.compile(r"[0-9]{1,32}(\.[0-9]+)?"),
    "time": re.compile(_TIME),
    "date": re.compile(r"[0-9]{4}年[0-9]{1,2}月[0-9]{1,2}日( [0-9]{1,2}:[0-9]{2})?"),
    "phrase": re.compile(r"[\u4e00-\u9fff]{1,5}"),
    "character_string": re.compile(r"[!-~]{1,32}"),
}
"""What WeChat takes in a field of each type."""


class Messages:
    """Consents and messages, in a SQLite file of their own that survives a restart."""

    def __init__(self, directory: Path) -> None:
        """Open or create it."""
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            directory / "messages.sqlite3", check_same_thread=False, isolation_level=None
        )
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def agree(self, account_id: str, template_id: str) -> None:
        """Let one message more through; of a long-term template, all to come."""
        self._run(
            "INSERT INTO credits VALUES (?, ?, 1)"
            " ON CONFLICT (account_id, template_id) DO UPDATE SET credits = credits + 1",
            account_id,
            template_id,
        )

    def withdraw(self, account_id: str) -> None:
        """Let no message through any more, as the mini program's settings on the phone can."""
        self._run("UPDATE credits SET credits = 0 WHERE account_id = ?", account_id)

    def knows(self, account_id: str) -> bool:
        """Tell whether the account was ever asked."""
        return bool(self._run("SELECT 1 FROM credits WHERE account_id = ?", account_id).fetchone())

    def deliver(self, account_id: str, template: Template, page: str, data: dict[str, str]) -> bool:
        """Take a credit and show the message; tell whether there was one."""
        with self._lock:
            used = self._run(
                "UPDATE credits SET credits = credits - ?"
                " WHERE account_id = ? AND template_id = ? AND credits > 0",
                0 if template.long_term else 1,
                account_id,
                template.id,
            )
            if used.rowcount == 0:
                return False
            self._run(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?)",
                account_digest(account_id),
                template.id,
                page,
                json.dumps(data, ensure_ascii=False),
                utc_text(datetime.now(UTC)),
            )
        return True

    def arrived(self) -> list[dict[str, Any]]:
        """List the messages, the newest first."""
        rows = self._run("SELECT * FROM messages ORDER BY rowid DESC LIMIT ?", _LISTED).fetchall()
        return [
            {
                **dict(row),
                "title": TEMPLATES[row["template_id"]].title,
                "data": json.loads(row["data"]),
            }
            for row in rows
        ]

    def _run(self, sql: str, *values: object) -> sqlite3.Cursor:
        with self._lock:
            return self._connection.execute(sql, values)


def account_digest(account_id: str) -> str:
    """Return what lists show of an account: the same for the same account, and not its id."""
    return hashlib.sha256(account_id.encode()).hexdigest()[:16]


def unfit_field(template: Template, data: object) -> str | None:
    """Name a field that is missing or not as its type demands, None if all are well."""
    given = data if isinstance(data, dict) else {}
    for field in template.fields:
        said = given.get(field)
        value = said.get("value") if isinstance(said, dict) else None
        pattern = _FIELDS[re.sub(r"[0-9]+\Z", "", field)]
        if not isinstance(value, str) or not pattern.fullmatch(value):
            return f"{field}.value"
    return None
