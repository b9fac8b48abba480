"""The life of a closing as a table, what may stand against it, and its dates.  Pure."""

import calendar
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from backend.closings.models import ClosingKind, DepartureKind
from backend.closings.models import ClosingState as S
from backend.errors import DomainError, Kind
from backend.holders.models import Category
from backend.operators.models import Role


class ClosingEvent(StrEnum):
    """What can happen to a closing."""

    WAIT_OVER = "wait_over"
    """Tills have had their time to tell."""
    PAY_OUT = "pay_out"
    """Nothing stands against it: the purses are emptied."""
    DONE = "done"
    """Both purses are empty and everything has reached its holder."""
    REOPEN = "reopen"
    """Money came back: a payout bounced, or a charge was reversed."""
    CANCEL = "cancel"
    """撤销: it was a mistake, and no money has moved yet."""


E = ClosingEvent

TRANSITIONS: dict[tuple[S, E], S] = {
    (S.STARTED, E.WAIT_OVER): S.SETTLING,
    (S.SETTLING, E.PAY_OUT): S.PAYING,
    (S.PAYING, E.DONE): S.CLOSED,
    (S.CLOSED, E.REOPEN): S.PAYING,
    (S.STARTED, E.CANCEL): S.CANCELLED,
    (S.SETTLING, E.CANCEL): S.CANCELLED,
}
"""Every legal change.  What is not here is refused."""


class ClosingNotPossible(DomainError, code="closing-not-possible", kind=Kind.CONFLICT):
    """The closing's state does not allow this now.  Facts: `state`, `event`."""


def next_state(state: S, event: E) -> S:
    """Return the state after an event.

    Raises:
        ClosingNotPossible: the table has no such change.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ClosingNotPossible(state=state.value, event=event.value) from None


class CheckName(StrEnum):
    """What may stand against emptying the purses (销户前检查), in the order in which it is told."""

    ARREARS = "arrears"
    """欠费: more is owed than the main purse can pay"""
    UNPAID_ORDERS = "unpaid-orders"
    """充值未了: an order that somebody might still pay, or that nobody has settled"""
    REFUNDS_UNDER_WAY = "refunds-under-way"
    """退款未了: what a channel does not send would come back into the purse"""
    REVIEWS = "reviews"
    """复核未了: a charge without network that nobody has decided on"""
    WAITING = "waiting"
    """等待期: tills without network may still tell of charges"""


WAIVABLE = (CheckName.ARREARS, CheckName.WAITING)
"""What the card centre may let pass, with a reason: the debt stays on record."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check of an account.  `facts` say by what it stands against the closing."""

    name: CheckName
    stands: bool
    facts: dict[str, Any] = field(default_factory=dict)


def standing(checks: Collection[Check], *, waived: Collection[str]) -> list[str]:
    """Return the names of what stands against a closing and was not waived."""
    return [check.name.value for check in checks if check.stands and check.name not in waived]


TEMPORARY = (
    Category.TEMPORARY_RETIRED,
    Category.TEMPORARY_TRAINEE,
    Category.TEMPORARY_OUTSIDER,
)
STUDENTS = (Category.STUDENT, Category.NEW_STUDENT)
MAY_FILE: dict[Role, tuple[Category, ...]] = {
    Role.ACADEMIC: STUDENTS,
    Role.PERSONNEL: (Category.STAFF, Category.TEMPORARY_RETIRED),
    Role.CARD_CENTRE: tuple(Category),
    Role.LOGISTICS: TEMPORARY,
}
"""Of whose departure each role tells, 三(九)–(十一)."""
KINDS: dict[DepartureKind, tuple[Category, ...]] = {
    DepartureKind.GRADUATION: STUDENTS,
    DepartureKind.LEAVING: (*STUDENTS, Category.STAFF),
    DepartureKind.RETIREMENT: (Category.STAFF,),
    DepartureKind.EARLY: TEMPORARY,
}
"""Who can leave how."""

CLOSED_AS: dict[ClosingKind, tuple[Category, ...]] = {
    ClosingKind.OWN_REQUEST: tuple(Category),
    ClosingKind.GRADUATION: STUDENTS,
    ClosingKind.LEAVING: (*STUDENTS, Category.STAFF),
    ClosingKind.RETIREMENT: (Category.STAFF,),
    ClosingKind.EARLY: TEMPORARY,
    ClosingKind.EXPIRY: TEMPORARY,
}
"""Who is closed how at the counter; an expiry once the last day is over."""
CLOSES_AS: dict[DepartureKind, ClosingKind] = {
    DepartureKind.LEAVING: ClosingKind.LEAVING,
    DepartureKind.RETIREMENT: ClosingKind.RETIREMENT,
    DepartureKind.EARLY: ClosingKind.EARLY,
}
"""What a departure starts on its day; graduates wait for their batch."""


RETIRES_EARLY_MONTHS = 36
"""By how much earlier than their age says people may retire of their own will (弹性提前退休)."""
SWITCH_AHEAD_DAYS = 31
"""How long before the day of a filed retirement the cards may be exchanged."""


def leaves_as(category: Category) -> Category:
    """Return as what kind of holder somebody leaves: new students as students.

    `leaves_as` in the database says the same.

    >>> leaves_as(Category.NEW_STUDENT).value, leaves_as(Category.STAFF).value
    ('student', 'staff')
    """
    return Category.STUDENT if category is Category.NEW_STUDENT else category


def months_after(day: date, months: int) -> date:
    """Return the same day so many calendar months later, or the last of a shorter month.

    >>> months_after(date(2026, 11, 30), 3), months_after(date(2026, 6, 30), 3)
    (datetime.date(2027, 2, 28), datetime.date(2026, 9, 30))
    """
    years, month = divmod(day.month - 1 + months, 12)
    year = day.year + years
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def may_switch_from(*, last_day: date, leaves_on: date | None) -> date:
    """Return from which day on a staff card may give way to a retiree's (退休换卡).

    Personnel's word decides: a retirement that is filed, with a month for the way to the counter.
    Without one it is the staff card's last day, which goes by the age of retirement where that is
    known, 三(九), and the years by which people may retire early.

    >>> may_switch_from(last_day=date(2053, 5, 31), leaves_on=None)
    datetime.date(2050, 5, 31)
    >>> may_switch_from(last_day=date(2053, 5, 31), leaves_on=date(2026, 12, 1))
    datetime.date(2026, 10, 31)
    """
    if leaves_on is not None:
        return leaves_on - timedelta(days=SWITCH_AHEAD_DAYS)
    return months_after(last_day, -RETIRES_EARLY_MONTHS)
