"""The life of a refund, and when its channel is asked."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backend.refunds.models import RefundState as S
from backend.refunds.rules import OPEN, TRANSITIONS, UNSETTLED, RefundEvent, next_try_at

NOW = datetime(2026, 9, 1, tzinfo=UTC)
ENDED = {S.SUCCEEDED, S.RETURNED, S.PAID_OUT}


class TestLife:
    def test_has_three_ends(self) -> None:
        left = {state for state, _ in TRANSITIONS}
        assert left == set(UNSETTLED)
        assert set(S) - left == ENDED

    @given(st.lists(st.sampled_from(RefundEvent), max_size=30))
    def test_ends_once_whatever_happens_in_whatever_order(self, events: list[RefundEvent]) -> None:
        state, ends = S.DUE, 0
        for event in events:
            after = TRANSITIONS.get((state, event), state)
            ends += after is not state and after in ENDED
            state = after
        assert ends == (state in ENDED)

    def test_can_always_be_given_up(self) -> None:
        assert {TRANSITIONS[state, RefundEvent.CLOSED] for state in OPEN} == {S.RETURNED}

    def test_nothing_succeeds_that_was_never_sent(self) -> None:
        assert (S.DUE, RefundEvent.SUCCEEDED) not in TRANSITIONS
        assert (S.DUE, RefundEvent.TAKEN) not in TRANSITIONS

    def test_only_what_no_channel_sends_is_paid_by_hand(self) -> None:
        assert [state for state, event in TRANSITIONS if event is RefundEvent.PAID_OUT] == [
            S.ABNORMAL
        ]


class TestLadder:
    def test_is_the_platforms_advice_and_never_ends(self) -> None:
        pauses = [next_try_at(tries=tries, now=NOW) - NOW for tries in range(12)]
        assert pauses == [timedelta(minutes=m) for m in (1, 1, 1, 1, 1, 5, 10, 20, 30, 30, 30, 30)]
