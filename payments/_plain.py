"""What platforms write: numbers, handles and times that a database can keep."""

import re
from datetime import UTC, datetime

_HANDLE = re.compile(r"[!-~]{1,1024}")
_YEARS = range(2000, 3000)


def handle(value: object) -> str:
    """Return a platform's number, id or address: printable ASCII without blanks.

    Raises:
        ValueError: anything else; a signature does not make it one.
    """
    if not isinstance(value, str) or not _HANDLE.fullmatch(value):
        raise ValueError("not a number or handle")
    return value


LONGEST_TRADE_NO = 64
"""Alipay writes up to 64 characters, WeChat up to 32.  One bound serves both: it keeps a database
whole, and no payment is turned away because its number has grown."""


def trade_number(value: object) -> str:
    """Return a platform's number of a payment.

    Raises:
        ValueError: anything else, or longer than any platform writes one.
    """
    number = handle(value)
    if len(number) > LONGEST_TRADE_NO:
        raise ValueError("not a number of a payment")
    return number


def in_utc(moment: datetime) -> datetime:
    """Return an aware time in UTC.

    Raises:
        ValueError: nobody pays at that time, and other zones cannot even say it.
    """
    if moment.tzinfo is None or moment.year not in _YEARS:
        raise ValueError("not a time of a payment")
    return moment.astimezone(UTC)
