"""Logs: one line of JSON an event, and loggers of libraries that talk too much held back."""

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from psycopg import Error as DatabaseError

TALKATIVE = ("urllib3", "wechatpy", "alipay", "python-alipay-sdk", "wechatpayv3", "procrastinate")
"""At DEBUG or INFO some of these print secrets, tokens or whole requests."""

WITHHELD = "(withheld: it may quote a row)"
"""Stands for the detail of a database error, such as `Failing row contains (…, 王小明, …)`."""


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        said = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        """Return the traceback without the rows that the database quotes in its errors' details."""
        told = super().formatException(ei)
        for error in _chain(ei[1]):
            if isinstance(error, DatabaseError) and error.diag.message_detail:
                told = told.replace(error.diag.message_detail, WITHHELD)
        return told


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    if error is not None:
        yield error
        yield from _chain(error.__cause__)
        yield from _chain(error.__context__)


def configure(level: int = logging.INFO) -> None:
    """Send every log record of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
