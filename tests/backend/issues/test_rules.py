"""Months, classes that are due, and batches that end."""

import calendar
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backend.ids import new_id
from backend.issues.models import Outcome
from backend.issues.rules import NewStudent, counts, due_classes, is_closed, months_later

days = st.dates(date(2000, 1, 1), date(2100, 1, 1))


class TestMonthsLater:
    @given(days, st.integers(0, 120))
    def test_is_so_many_months_on(self, day: date, months: int) -> None:
        later = months_later(day, months)
        assert (later.year - day.year) * 12 + later.month - day.month == months

    @given(days, st.integers(0, 120))
    def test_keeps_the_day_or_takes_the_last_of_the_month(self, day: date, months: int) -> None:
        later = months_later(day, months)
        last = calendar.monthrange(later.year, later.month)[1]
        assert later.day == min(day.day, last)

    @given(days, days, st.integers(0, 24))
    def test_never_turns_an_order_round(self, a: date, b: date, months: int) -> None:
        earlier, later = sorted((a, b))
        assert months_later(earlier, months) <= months_later(later, months)


class TestDueClasses:
    @given(st.lists(st.tuples(st.sampled_from("ABC"), days), max_size=12), days, st.integers(1, 6))
    def test_are_whole_and_due(
        self, students: list[tuple[str, date]], today: date, months: int
    ) -> None:
        known = [NewStudent(new_id(), unit, issued) for unit, issued in students]
        due = due_classes(known, today=today, months=months)
        for unit in {student.unit for student in known}:
            of_it = [student for student in known if student.unit == unit]
            if any(months_later(one.issued_on, months) <= today for one in of_it):
                assert [student for student, _ in due[unit]] == of_it
            else:
                assert unit not in due

    def test_the_day_before_is_too_early(self) -> None:
        known = [NewStudent(new_id(), "A", date(2026, 11, 30))]
        due = date(2027, 2, 28)
        assert due_classes(known, today=due - timedelta(days=1), months=3) == {}
        assert list(due_classes(known, today=due, months=3)) == ["A"]


class TestEnd:
    @given(st.lists(st.sampled_from([None, *Outcome])))
    def test_comes_when_nobody_waits(self, outcomes: list[Outcome | None]) -> None:
        counted = counts(outcomes)
        assert sum(counted.values()) == len(outcomes)
        assert is_closed(outcomes) == (counted["waiting"] == 0)
