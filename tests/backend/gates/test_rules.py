"""Rules of who may pass when: what they mean, minute by minute, and that a bundle says the same."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.gates.models import Decision
from backend.gates.rules import (
    WEEK,
    GateAccess,
    Person,
    Rule,
    classes,
    clock_face,
    hours_on,
    minute_of,
    next_opening,
    opening_hours,
    timetable,
)
from backend.holders.models import Category
from qr.rules import MINUTES_A_DAY, Access, Hours

MONDAY = datetime(2026, 9, 21)  # noqa: DTZ001 - by the school's clock
UNITS = ("软件2401班", "软件2402班", "图书馆")
PEOPLE = [
    Person(UUID(int=number), category, unit)
    for number, (category, unit) in enumerate(
        (category, unit)
        for category in (Category.STUDENT, Category.STAFF, Category.TEMPORARY_OUTSIDER)
        for unit in UNITS
    )
]
MINUTES = st.integers(0, MINUTES_A_DAY - 1)
RULES = st.builds(
    Rule,
    allow=st.booleans(),
    days=st.frozensets(st.sampled_from(sorted(WEEK)), min_size=1),
    begins=MINUTES,
    ends=st.one_of(MINUTES, st.just(MINUTES_A_DAY)),
    category=st.sampled_from([None, *Category]),
    unit=st.sampled_from([None, *UNITS]),
    holder_ids=st.one_of(
        st.none(), st.frozensets(st.sampled_from([p.holder_id for p in PEOPLE]), max_size=4)
    ),
)
ACCESS = st.builds(
    GateAccess,
    default=st.sampled_from(Decision),
    rules=st.lists(RULES, max_size=6).map(tuple),
)
MOMENTS = st.integers(0, 7 * MINUTES_A_DAY - 1).map(lambda m: MONDAY + timedelta(minutes=m))


def holds(rule: Rule, local: datetime) -> bool:
    """Say whether a rule holds at a moment, as its words say: it begins on some days."""
    return any(
        opens <= local < opens + timedelta(minutes=(rule.ends - rule.begins - 1) % 1440 + 1)
        for ago in (0, 1)
        for opens in [local.replace(hour=0, minute=0) + timedelta(days=-ago, minutes=rule.begins)]
        if opens.isoweekday() in rule.days
    )


def may_pass(access: GateAccess, person: Person, local: datetime) -> bool:
    """Say whether somebody may pass, straight from the rules: no hours are made out."""
    named = [rule for rule in access.rules if rule.names(person)]
    allowing = [rule for rule in named if rule.allow]
    allowed = any(holds(rule, local) for rule in allowing) if allowing else (
        access.default is Decision.ALLOW
    )  # fmt: skip
    return allowed and not any(holds(rule, local) for rule in named if not rule.allow)


def opens(hours: Iterable[Hours], local: datetime) -> bool:
    return any(one.hold(local) for one in hours)


class TestOpeningHours:
    @given(ACCESS, st.sampled_from(PEOPLE), MOMENTS)
    def test_are_what_the_rules_say_at_every_minute(self, access, person, local) -> None:
        hours = opening_hours(access, person)
        edges = {edge for rule in access.rules for edge in (rule.begins, rule.ends)}
        around = (
            MONDAY + timedelta(days=day, minutes=edge + offset)
            for day in range(7)
            for edge in {0, *edges}
            for offset in (-1, 0)
        )
        for moment in (local, *around):
            assert opens(hours, moment) is may_pass(access, person, moment)

    @given(ACCESS, st.sampled_from(PEOPLE))
    def test_are_spelled_in_one_way(self, access, person) -> None:
        hours = opening_hours(access, person)
        twice = GateAccess(default=access.default, rules=(*reversed(access.rules), *access.rules))
        assert opening_hours(twice, person) == hours
        for day in WEEK:
            spans = sorted((one.begins, one.ends) for one in hours if day in one.days)
            assert all(ends < begins for (_, ends), (begins, _) in pairwise(spans))

    def test_are_all_hours_where_nothing_was_decided(self) -> None:
        assert opening_hours(GateAccess(), PEOPLE[0]) == (Hours(WEEK, 0, MINUTES_A_DAY),)

    def test_are_none_for_those_whom_a_refusal_without_hours_names(self) -> None:
        student, staff = Rule(False, category=Category.STUDENT), Rule(True, begins=480, ends=600)
        assert opening_hours(GateAccess(rules=(student, staff)), PEOPLE[0]) == ()
        assert opening_hours(GateAccess(rules=(student, staff)), PEOPLE[3]) == (
            Hours(WEEK, 480, 600),
        )

    def test_past_midnight_end_on_the_day_after(self) -> None:
        night = Rule(True, days=frozenset({7}), begins=minute_of("22:00"), ends=minute_of("06:00"))
        access = GateAccess(default=Decision.DENY, rules=(night,))
        assert opening_hours(access, PEOPLE[0]) == (
            Hours(frozenset({1}), 0, 360),
            Hours(frozenset({7}), 1320, 1440),
        )

    def test_everything_that_a_rule_says_must_be_so(self) -> None:
        rule = Rule(True, category=Category.STUDENT, unit=UNITS[0])
        access = GateAccess(default=Decision.DENY, rules=(rule,))
        assert [bool(opening_hours(access, person)) for person in PEOPLE] == [True] + [False] * 8


class TestTimetable:
    @given(ACCESS, st.permutations(PEOPLE))
    def test_has_everybody_once_with_their_own_hours(self, access, people) -> None:
        table = timetable(access, people)
        assert sorted(person for alike in table.values() for person in alike) == sorted(people)
        for hours, alike in table.items():
            assert {opening_hours(access, person) for person in alike} == {hours}


class TestClasses:
    @given(ACCESS)
    def test_leave_out_the_most_numerous_unless_strangers_stay_out(self, access) -> None:
        table = timetable(access, PEOPLE)
        found, default = classes(access, table)
        if access.default is Decision.DENY:
            assert (default, set(found)) == (None, {hours for hours in table if hours})
        else:
            assert set(found) == set(table)
            assert len(table[found[default]]) == max(map(len, table.values()))

    def test_of_nobody(self) -> None:
        assert classes(GateAccess(), {}) == ([(Hours(WEEK, 0, MINUTES_A_DAY),)], 0)
        assert classes(GateAccess(default=Decision.DENY), {}) == ([], None)


class TestNextOpening:
    @given(ACCESS, st.sampled_from(PEOPLE), MOMENTS)
    def test_is_the_first_minute_at_which_one_may_pass(self, access, person, local) -> None:
        hours = opening_hours(access, person)
        if not hours or opens(hours, local):
            return
        opening = next_opening(hours, local)
        assert opens(hours, opening)
        assert not opens(hours, opening - timedelta(minutes=1))
        for minute in range(1, int((opening - local) / timedelta(minutes=1)), 47):
            assert not opens(hours, local + timedelta(minutes=minute))


class TestClockFace:
    @pytest.mark.parametrize("minute", [0, 1, 59, 60, 719, 1439, 1440])
    def test_is_read_as_it_is_written(self, minute) -> None:
        assert minute_of(clock_face(minute)) == minute

    def test_of_a_day(self) -> None:
        night = [Hours(WEEK, 0, 360), Hours(WEEK, 1320, 1440)]
        assert hours_on(night, 1) == "00:00–06:00 / 22:00–24:00"


class TestAccess:
    def test_tells_never_from_not_now(self) -> None:
        assert Access(()).refusal(MONDAY) == "access-not-allowed"
        assert Access((Hours(WEEK, 60, 120),)).refusal(MONDAY) == "access-outside-hours"
        assert Access((Hours(WEEK, 0, 120),)).refusal(MONDAY) is None
