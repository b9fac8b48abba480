"""Logs: one line of JSON an event, and loggers of libraries that talk too much held back."""

import json
import logging
import sys
from datetime import UTC, datetime

TALKATIVE = ("urllib3", "wechatpy", "alipay", "python-alipay-sdk", "wechatpayv3", "procrastinate")
"""At DEBUG or INFO some of these print secrets, tokens or whole requests."""


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


def configure(level: int = logging.INFO) -> None:
    """Send every log record of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
