"""What an application has to hold."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.applications.models import ApprovalKind
from backend.applications.rules import (
    PeriodNotPossible,
    check_end,
    is_near,
    missing_approvals,
)

days = st.dates(date(2000, 1, 1), date(2100, 1, 1))


@given(st.sets(st.sampled_from(ApprovalKind)))
def test_both_approvals_are_needed(given_: set[ApprovalKind]) -> None:
    assert set(missing_approvals(given_)) | given_ == set(ApprovalKind)
    assert not set(missing_approvals(given_)) & given_


@given(days, days)
def test_an_end_lies_within_five_years(first: date, valid_until: date) -> None:
    if first <= valid_until <= first + timedelta(days=5 * 366):
        check_end(valid_until, first=first)
    else:
        with pytest.raises(PeriodNotPossible):
            check_end(valid_until, first=first)


@given(days, days, st.integers(0, 60))
def test_is_near_from_some_days_before_to_the_end(end: date, today: date, days_: int) -> None:
    assert is_near(end, today=today, days=days_) == (
        today in {end - timedelta(days=n) for n in range(days_ + 1)}
    )
