"""How people are named and told apart.  Pure."""

import unicodedata
from calendar import monthrange
from datetime import date
from typing import Any

from backend.holders.models import Category

TAIL_LENGTH = 6
SURCHARGED = (
    Category.TEMPORARY_RETIRED,
    Category.TEMPORARY_TRAINEE,
    Category.TEMPORARY_OUTSIDER,
)
"""Who may be flagged for the meal surcharge (搭伙费) at all, regulation 三(七)."""


def normal_name(text: str) -> str:
    """Return a name in the one form that is compared: NFKC, one kind of middle dot, no gaps.

    >>> normal_name(" 买买提・艾力 ") == normal_name("买买提·艾力")
    True
    """
    folded = unicodedata.normalize("NFKC", text)
    for dot in "•・‧．.":
        folded = folded.replace(dot, "·")
    return unicodedata.normalize("NFKC", "".join(folded.split()).casefold())


def masked_name(name: str) -> str:
    """Return a name as strangers see it.  `mask_name` in the database does the same.

    >>> masked_name("王小明"), masked_name("李"), masked_name("买买提·艾力")
    ('王**', '李*', '买***')
    """
    return name[:1] + "*" * max(1, min(len(name) - 1, 3))


def masked_number(number: str) -> str:
    """Return a card number as its holder recognises it.

    >>> masked_number("1000023456")
    '******3456'
    """
    return "*" * (len(number) - 4) + number[-4:]


def document_tail(document: str) -> str:
    """Return the last six characters of a normal document number."""
    return document[-TAIL_LENGTH:]


Limits = dict[str, int | None]
LIMIT_NAMES = ("per_charge_fen", "per_day_fen")


def limits_on(day: date, *, present: Limits, raised: dict[str, Any] | None) -> Limits:
    """Return the limits that hold on a day.

    >>> limits_on(date(2026, 9, 2), present={"per_charge_fen": 100, "per_day_fen": None},
    ...           raised={"from": "2026-09-02", "per_charge_fen": 500, "per_day_fen": None})
    {'per_charge_fen': 500, 'per_day_fen': None}
    """
    if raised is not None and date.fromisoformat(raised["from"]) <= day:
        return {name: raised[name] for name in LIMIT_NAMES}
    return dict(present)


def lower_now(present: Limits, wanted: Limits) -> tuple[Limits, Limits | None]:
    """Split a wish into what holds at once and what has to wait until tomorrow.

    Lower limits hold at once, higher ones (None is the highest) from the next day on: whoever
    holds a stolen phone cannot lift them.

    >>> lower_now({"per_charge_fen": 500, "per_day_fen": 900},
    ...           {"per_charge_fen": 100, "per_day_fen": None})
    ({'per_charge_fen': 100, 'per_day_fen': 900}, {'per_charge_fen': 100, 'per_day_fen': None})
    """
    at_once: Limits = {}
    for name in LIMIT_NAMES:
        old, new = present[name], wanted[name]
        lower = new is not None and (old is None or new <= old)
        at_once[name] = new if lower else old
    return at_once, (None if at_once == wanted else dict(wanted))


def months_later(day: date, months: int) -> date:
    """Return the same day some months later, or that month's last.

    >>> months_later(date(2026, 1, 31), 1)
    datetime.date(2026, 2, 28)
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


REFORM = date(2025, 1, 1)
"""Whoever reaches the age of retirement from then on works longer (渐进式延迟法定退休年龄)."""


def retires_on(born: date, *, age_months: int, step_months: int, later_months: int) -> date:
    """Return the day on which somebody reaches the age of retirement (法定退休年龄).

    From the reform on it is a month later for every `step_months` begun, by at most `later_months`.

    >>> men = {"age_months": 720, "step_months": 4, "later_months": 36}
    >>> retires_on(date(1964, 12, 31), **men), retires_on(date(1965, 1, 1), **men)
    (datetime.date(2024, 12, 31), datetime.date(2025, 2, 1))
    >>> retires_on(date(1990, 5, 31), **men)
    datetime.date(2053, 5, 31)
    """
    of_age = months_later(born, age_months)
    months = (of_age.year - REFORM.year) * 12 + of_age.month - REFORM.month
    later = min(months // step_months + 1, later_months) if of_age >= REFORM else 0
    return months_later(born, age_months + later)
