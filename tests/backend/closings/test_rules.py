"""The life of a closing, walked through every state and event."""

from datetime import date

import pytest

from backend.closings.models import ClosingState, DepartureKind
from backend.closings.rules import (
    KINDS,
    MAY_FILE,
    TRANSITIONS,
    Check,
    CheckName,
    ClosingEvent,
    ClosingNotPossible,
    months_after,
    next_state,
    standing,
)
from backend.holders.models import Category


@pytest.mark.parametrize("event", ClosingEvent)
@pytest.mark.parametrize("state", ClosingState)
def test_what_the_table_does_not_have_is_refused(state: ClosingState, event: ClosingEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
        return
    with pytest.raises(ClosingNotPossible) as refused:
        next_state(state, event)
    assert refused.value.facts == {"state": state.value, "event": event.value}


def test_every_state_is_reached_and_only_a_cancelled_one_ends_for_ever() -> None:
    reached = {ClosingState.STARTED, *TRANSITIONS.values()}
    assert reached == set(ClosingState)
    left = {state for state, _ in TRANSITIONS}
    assert set(ClosingState) - left == {ClosingState.CANCELLED}


def test_no_money_has_moved_where_a_closing_can_be_cancelled() -> None:
    cancelled = {state for state, event in TRANSITIONS if event is ClosingEvent.CANCEL}
    assert cancelled == {ClosingState.STARTED, ClosingState.SETTLING}


def test_only_what_was_waived_stands_no_more() -> None:
    checks = [Check(name, stands=True) for name in CheckName]
    assert standing(checks, waived=()) == [name.value for name in CheckName]
    assert "arrears" not in standing(checks, waived=["arrears"])
    assert standing([Check(CheckName.ARREARS, stands=False)], waived=()) == []


def test_somebody_answers_for_every_departure() -> None:
    for kind in DepartureKind:
        for category in KINDS[kind]:
            assert any(category in categories for categories in MAY_FILE.values())
    assert {category for kind in KINDS.values() for category in kind} == set(Category)


@pytest.mark.parametrize(
    ("day", "months", "then"),
    [
        (date(2026, 6, 30), 3, date(2026, 9, 30)),
        (date(2026, 11, 30), 3, date(2027, 2, 28)),
        (date(2027, 11, 29), 3, date(2028, 2, 29)),
        (date(2026, 1, 31), 12, date(2027, 1, 31)),
    ],
)
def test_months_are_calendar_months(day: date, months: int, then: date) -> None:
    assert months_after(day, months) == then
