"""The life of a top-up, cell by cell, and when its channel is asked."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.topups.models import TopUpState as S
from backend.topups.rules import LADDER, RETRY, TRANSITIONS, TopUpEvent, next_query_at

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
# One row a state, one column an event; "-" is no news.
TABLE = """
            ordered  refused  paid  paid_wrong  close    closed
created     pending  failed   paid  exception   closing  -
pending     -        -        paid  exception   closing  -
paid        -        -        -     -           -        -
closing     -        -        paid  exception   -        closed
closed      -        -        paid  exception   -        -
failed      -        -        paid  exception   -        -
exception   -        -        -     -           -        -
"""
EVENTS, *ROWS = [line.split() for line in TABLE.strip().splitlines()]
CELLS = [
    (row[0], event, after) for row in ROWS for event, after in zip(EVENTS, row[1:], strict=True)
]


class TestTransitions:
    @pytest.mark.parametrize(("state", "event", "after"), CELLS)
    def test_are_these(self, state: str, event: str, after: str) -> None:
        expected = None if after == "-" else S(after)
        assert TRANSITIONS.get((S(state), TopUpEvent(event))) is expected

    def test_are_stated_for_every_state_and_event(self) -> None:
        assert {row[0] for row in ROWS} == set(S)
        assert set(EVENTS) == set(TopUpEvent)

    def test_never_leave_what_is_settled(self) -> None:
        assert not {S.PAID, S.EXCEPTION} & {state for state, _ in TRANSITIONS}

    def test_lead_to_paid_by_the_channels_word_alone(self) -> None:
        assert {event for (_, event), after in TRANSITIONS.items() if after is S.PAID} == {
            TopUpEvent.PAID
        }


@st.composite
def moments(draw: st.DrawFn) -> tuple[datetime, datetime, datetime]:
    """Return when an order was made, when it ends, and some moment after its creation."""
    minutes = draw(st.integers(1, 120))
    later = draw(st.integers(0, 3 * 24 * 3600))
    return NOW, NOW + timedelta(minutes=minutes), NOW + timedelta(seconds=later)


class TestNextQueryAt:
    @given(st.sampled_from(list(S)), st.integers(0, 1000), moments())
    def test_is_bounded(
        self, state: S, queries: int, at: tuple[datetime, datetime, datetime]
    ) -> None:
        created_at, expires_at, now = at
        when = next_query_at(
            state=state, queries=queries, created_at=created_at, expires_at=expires_at, now=now
        )
        if state in (S.CREATED, S.PENDING, S.CLOSING):
            assert when is not None
            assert now <= when <= max(expires_at, now + RETRY)
        else:
            assert when is None

    @given(st.sampled_from([S.CREATED, S.PENDING]), st.integers(0, 100), moments())
    def test_does_not_wait_beyond_the_end_of_the_order(
        self, state: S, queries: int, at: tuple[datetime, datetime, datetime]
    ) -> None:
        created_at, expires_at, now = at
        when = next_query_at(
            state=state, queries=queries, created_at=created_at, expires_at=expires_at, now=now
        )
        assert when is not None
        assert when <= max(expires_at, now)

    def test_climbs_the_ladder(self) -> None:
        asked = [
            next_query_at(
                state=S.PENDING,
                queries=queries,
                created_at=NOW,
                expires_at=NOW + timedelta(hours=1),
                now=NOW,
            )
            for queries in range(len(LADDER) + 2)
        ]
        end = NOW + timedelta(hours=1)
        assert asked == [*(NOW + step for step in LADDER), end, end]
