"""When bills are fetched, and how rows stand beside our books: every case of both."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.clock import SHANGHAI, business_date
from backend.money import Fen
from backend.reconciliation import rules
from backend.reconciliation.models import LineMatch
from backend.reconciliation.rules import OurOrder, OurRefund
from backend.refunds.models import RefundState
from backend.topups.models import TopUpState

DAY = date(2026, 11, 24)
moments = st.integers(0, 2 * 365 * 24 * 60).map(
    lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=SHANGHAI)


class TestTimetable:
    def test_begins_after_ten_on_the_next_morning(self) -> None:
        assert rules.first_try_at(DAY) == at(25, 10, 10)

    @pytest.mark.parametrize(
        ("now", "then"),
        [
            (at(25, 10, 10), at(25, 10, 40)),
            (at(25, 19, 30), at(25, 20, 0)),
            (at(25, 19, 31), at(26, 10, 10)),
            (at(25, 23, 50), at(26, 10, 10)),
            (at(25, 3), at(25, 10, 10)),
        ],
    )
    def test_goes_on_every_half_hour_until_eight(self, now: datetime, then: datetime) -> None:
        assert rules.next_try_at(now) == then

    @pytest.mark.parametrize(
        ("now", "overdue"),
        [
            (at(25, 10, 10), False),
            (at(25, 19, 30), False),
            (at(25, 19, 31), True),
            (at(27, 9), True),
        ],
    )
    def test_is_overdue_when_the_evening_has_come(self, now: datetime, overdue: bool) -> None:
        assert rules.is_overdue(DAY, now) is overdue

    @given(moments)
    def test_never_rests_longer_than_a_night_nor_works_at_night(self, now: datetime) -> None:
        then = rules.next_try_at(now)
        assert then - now >= rules.PAUSE or then.astimezone(SHANGHAI).time() == rules.FIRST_TRY
        assert timedelta(0) < then - now < timedelta(hours=15)
        assert rules.FIRST_TRY <= then.astimezone(SHANGHAI).time() <= rules.LAST_TRY

    @given(moments, st.none() | st.dates(date(2025, 1, 1), date(2028, 1, 1)))
    def test_asks_for_finished_days_without_a_gap(self, now: datetime, first: date | None) -> None:
        days = rules.days_to_fetch(first, now)
        yesterday = business_date(now) - timedelta(days=1)
        assert days[-1] == yesterday
        assert all(rules.is_over(day, now) for day in days)
        assert all(b - a == timedelta(days=1) for a, b in pairwise(days))
        assert len(days) <= rules.CAUGHT_UP_DAYS
        if first and yesterday - timedelta(days=29) <= first <= yesterday:
            assert days[0] == first

    def test_no_other_day_is_over(self) -> None:
        assert not rules.is_over(DAY, at(24, 23, 59))
        assert rules.is_over(DAY, at(25, 0))


def order(state: TopUpState, trade_no: str | None = None, *strays: str) -> OurOrder:
    return OurOrder(Fen(1000), state, trade_no, frozenset(strays))


class TestPayment:
    @pytest.mark.parametrize(
        ("ours", "match"),
        [
            (None, LineMatch.UNKNOWN_ORDER),
            (order(TopUpState.PAID, "a"), LineMatch.MATCHED),
            (order(TopUpState.RETURNED, "a"), LineMatch.MATCHED),
            (order(TopUpState.PAID, "b"), LineMatch.OTHER_PAYMENT),
            (order(TopUpState.PAID, "b", "a"), LineMatch.MATCHED),
            *(
                (order(state), LineMatch.NOT_PAID_HERE)
                for state in TopUpState
                if state not in (TopUpState.PAID, TopUpState.RETURNED)
            ),
        ],
    )
    def test_of_the_right_amount(self, ours: OurOrder | None, match: LineMatch) -> None:
        assert rules.match_payment(trade_no="a", amount_fen=1000, ours=ours) is match

    @pytest.mark.parametrize("state", TopUpState)
    @pytest.mark.parametrize("amount_fen", [999, 1001])
    def test_of_another_amount_always_differs(self, state: TopUpState, amount_fen: int) -> None:
        found = rules.match_payment(trade_no="a", amount_fen=amount_fen, ours=order(state, "a"))
        assert found is LineMatch.AMOUNT_DIFFERS


class TestRefund:
    @pytest.mark.parametrize("state", RefundState)
    @pytest.mark.parametrize("told", ["SUCCESS", "退款", "PROCESSING", "CHANGE", "FAIL"])
    def test_differs_where_the_money_left_and_is_here(self, state: RefundState, told: str) -> None:
        found = rules.match_refund(
            trade_no="a", amount_fen=500, state=told, ours=OurRefund("a", Fen(500), state)
        )
        here = state in (RefundState.DUE, RefundState.RETURNED, RefundState.PAID_OUT)
        differs = here and told in ("SUCCESS", "退款")
        assert found is (LineMatch.STATE_DIFFERS if differs else LineMatch.MATCHED)

    def test_that_nobody_here_asked_for_is_unknown(self) -> None:
        ours = OurRefund("b", Fen(500), RefundState.SUCCEEDED)
        for known in (None, ours):
            found = rules.match_refund(trade_no="a", amount_fen=500, state="SUCCESS", ours=known)
            assert found is LineMatch.UNKNOWN_REFUND

    def test_of_another_amount_differs(self) -> None:
        ours = OurRefund("a", Fen(500), RefundState.SUCCEEDED)
        found = rules.match_refund(trade_no="a", amount_fen=501, state="SUCCESS", ours=ours)
        assert found is LineMatch.AMOUNT_DIFFERS
