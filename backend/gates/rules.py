"""Who may pass a gate, and when (通行规则).  Pure.

`opening_hours` is the one place that knows what the rules mean.  The server decides by its answer,
and a gate that may be without network gets the same answer in its bundle.

A week is a number with one bit a minute, from Monday 0:00 on, by the school's clock: unions and
differences of hours are then single operations that cannot be got wrong at midnight.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from backend.gates.models import Decision
from backend.holders.models import Category
from qr.rules import MINUTES_A_DAY, Hours, OfflinePolicy

WEEK = frozenset(range(1, 8))
MINUTES_A_WEEK = len(WEEK) * MINUTES_A_DAY
ALWAYS = (1 << MINUTES_A_WEEK) - 1
"""Every minute of the week."""
DAY = (1 << MINUTES_A_DAY) - 1


class Person(NamedTuple):
    """As much of a holder as rules speak of."""

    holder_id: UUID
    category: Category
    unit: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one gate.  What is None says nothing; what is said must all be so."""

    allow: bool
    days: frozenset[int] = WEEK
    """The days on which it begins: 1 Monday to 7 Sunday."""
    begins: int = 0
    """Minutes after midnight."""
    ends: int = MINUTES_A_DAY
    """Minutes after midnight, not included.  Not above `begins`: on the day after."""
    category: Category | None = None
    unit: str | None = None
    holder_ids: frozenset[UUID] | None = None

    def names(self, person: Person) -> bool:
        """Return whether the rule is about somebody."""
        return (
            self.category in (None, person.category)
            and self.unit in (None, person.unit)
            and (self.holder_ids is None or person.holder_id in self.holder_ids)
        )

    @property
    def minutes(self) -> int:
        """Return the minutes of the week at which it holds.

        >>> sunday_night = Rule(True, frozenset({7}), begins=1380, ends=60)
        >>> [hours.spelled for hours in _spelled(sunday_night.minutes)]
        [[[1], 0, 60], [[7], 1380, 1440]]
        """
        length = self.ends - self.begins + (MINUTES_A_DAY if self.ends <= self.begins else 0)
        found = 0
        for day in self.days:
            found |= ((1 << length) - 1) << (day - 1) * MINUTES_A_DAY + self.begins
        return found & ALWAYS | found >> MINUTES_A_WEEK  # Sunday night ends on Monday


@dataclass(frozen=True, slots=True)
class GateAccess:
    """All that the school decided about one gate (门禁设置).  Without a word: as shipped."""

    offline: OfflinePolicy = OfflinePolicy.SIGNED
    passback_minutes: int = 0
    """How long somebody cannot go the same way twice in a row; 0: no such rule."""
    default: Decision = Decision.ALLOW
    """What holds for people whom no allowing rule names."""
    rules: tuple[Rule, ...] = ()

    @property
    def passback(self) -> timedelta:
        """`passback_minutes` as a length of time."""
        return timedelta(minutes=self.passback_minutes)


def opening_hours(access: GateAccess, person: Person) -> tuple[Hours, ...]:
    """Return when somebody may pass; nothing: never.

    They may pass during the hours of every allowing rule that names them; if none does, the
    gate's default holds.  During the hours of a refusing rule that names them they may not: one
    without hours shuts them out.  Equal hours are spelled equally.
    """
    named = [rule for rule in access.rules if rule.names(person)]
    allowing = [rule.minutes for rule in named if rule.allow]
    if not allowing and access.default is Decision.ALLOW:
        allowing = [ALWAYS]
    minutes = 0
    for allowed in allowing:
        minutes |= allowed
    for rule in named:
        if not rule.allow:
            minutes &= ~rule.minutes
    return _spelled(minutes)


def _spelled(minutes: int) -> tuple[Hours, ...]:
    """Return minutes of the week as hours, days with equal ones together, in their order."""
    days_of: dict[tuple[int, int], set[int]] = {}
    for day in sorted(WEEK):
        for span in _spans(minutes >> (day - 1) * MINUTES_A_DAY & DAY):
            days_of.setdefault(span, set()).add(day)
    found = (Hours(frozenset(days), *span) for span, days in days_of.items())
    return tuple(sorted(found, key=lambda hours: hours.spelled))


def _spans(minutes: int) -> Iterable[tuple[int, int]]:
    """Yield the runs of minutes of a day: the first, and the one after the last."""
    begins = 0
    while minutes:
        closed = (minutes & -minutes).bit_length() - 1
        minutes >>= closed
        begins += closed
        length = (~minutes & minutes + 1).bit_length() - 1
        minutes >>= length
        yield begins, begins + length
        begins += length


def timetable(
    access: GateAccess, people: Iterable[Person]
) -> dict[tuple[Hours, ...], list[Person]]:
    """Return people by their opening hours: those who share them form a class.

    People of one category and unit, named in the same lists, have the same hours, which are made
    out once.
    """
    lists: dict[UUID, tuple[int, ...]] = {}
    for number, rule in enumerate(access.rules):
        for holder_id in rule.holder_ids or ():
            lists[holder_id] = (*lists.get(holder_id, ()), number)
    known: dict[tuple[Category, str, tuple[int, ...]], tuple[Hours, ...]] = {}
    found: dict[tuple[Hours, ...], list[Person]] = {}
    for person in people:
        kind = (person.category, person.unit, lists.get(person.holder_id, ()))
        if kind not in known:
            known[kind] = opening_hours(access, person)
        found.setdefault(known[kind], []).append(person)
    return found


def hours_on(hours: Iterable[Hours], day: int) -> str:
    """Return the opening hours of a day of the week as people read them.

    >>> hours_on([Hours(WEEK, 360, 1380)], 3), hours_on([Hours(frozenset({1}), 0, 60)], 3)
    ('06:00–23:00', '—')
    """
    spans = sorted((one.begins, one.ends) for one in hours if day in one.days)
    return " / ".join(f"{clock_face(a)}–{clock_face(b)}" for a, b in spans) or "—"


def next_opening(hours: Iterable[Hours], local: datetime) -> datetime:
    """Return when the gate opens next for somebody for whom it is shut now, by the same clock.

    `hours` are some; `local` is by the school's clock.

    >>> next_opening([Hours(frozenset({1}), 480, 1320)], datetime(2026, 9, 21, 23, 30))
    datetime.datetime(2026, 9, 28, 8, 0)
    """
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return min(
        opens
        for ahead in range(len(WEEK) + 1)
        for one in hours
        if (midnight + timedelta(days=ahead)).isoweekday() in one.days
        and (opens := midnight + timedelta(days=ahead, minutes=one.begins)) > local
    )


def clock_face(minute: int) -> str:
    """Return a minute of the day as it is written.

    >>> clock_face(0), clock_face(1380), clock_face(MINUTES_A_DAY)
    ('00:00', '23:00', '24:00')
    """
    return f"{minute // 60:02d}:{minute % 60:02d}"


def minute_of(face: str) -> int:
    """Return the minute that is written so.

    >>> minute_of("24:00")
    1440
    """
    hour, _, minute = face.partition(":")
    return int(hour) * 60 + int(minute)


def classes(
    access: GateAccess, table: dict[tuple[Hours, ...], list[Person]]
) -> tuple[list[tuple[Hours, ...]], int | None]:
    """Return which hours a bundle lists, and which of them are those of people it does not name.

    Where the default is to refuse, those are named who may pass, so that a newcomer stays out
    until a rule lets them in, and residents go on passing by a stale bundle.  Elsewhere the most
    numerous class is not named.
    """
    if access.default is Decision.DENY:
        return sorted((hours for hours in table if hours), key=_spelling), None
    most = max(sorted(table, key=_spelling), key=lambda hours: len(table[hours]), default=None)
    if most is None:
        return [_spelled(ALWAYS)], 0
    found = sorted(table, key=_spelling)
    return found, found.index(most)


def _spelling(hours: tuple[Hours, ...]) -> list[list[object]]:
    return [one.spelled for one in hours]
