"""The life of a top-up, cell by cell, and when its channel is asked."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.topups.models import TopUpState as S
from backend.topups.rules import (
    LADDER,
    LAST_LOOK,
    NEXT_DAY_LOOK,
    OVERDUE,
    RETRY,
    STEP,
    TRANSITIONS,
    UNANSWERED,
    TopUpEvent,
    close_due_at,
    next_query_at,
)

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
# One row a state, one column an event; "-" is no news.
TABLE = """
            ordered  refused  paid  paid_wrong  paid_stray  close    closed  thawed
created     pending  failed   paid  exception   returned    closing  -       -
pending     -        -        paid  exception   returned    closing  -       -
paid        -        -        -     -           -           -        -       -
closing     -        -        paid  exception   returned    -        closed  -
closed      -        -        paid  exception   returned    -        -       -
failed      -        -        paid  exception   returned    -        -       -
exception   -        -        -     -           -           -        -       closed
returned    -        -        -     -           -           -        -       -
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
        assert not {S.PAID, S.RETURNED} & {state for state, _ in TRANSITIONS}

    def test_let_only_people_thaw_what_is_frozen(self) -> None:
        assert [event for state, event in TRANSITIONS if state is S.EXCEPTION] == [
            TopUpEvent.THAWED
        ]

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
        elif state in (S.CLOSED, S.FAILED):
            looks = [expires_at + LAST_LOOK, expires_at + NEXT_DAY_LOOK]
            assert when == next((look for look in looks if look > now), None)
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

    @pytest.mark.parametrize("state", [S.PENDING, S.CREATED])
    def test_climbs_the_ladder(self, state: S) -> None:
        end = NOW + timedelta(hours=3)
        asked = [
            next_query_at(state=state, queries=queries, created_at=NOW, expires_at=end, now=NOW)
            for queries in range(len(LADDER) + 2)
        ]
        ladder = [NOW + step for step in LADDER]
        if state is S.CREATED:  # a thread may still wait for the first answer
            ladder[0] = NOW + UNANSWERED
        assert asked == [*ladder, NOW + STEP, NOW + STEP]

    @given(moments())
    def test_asks_each_order_until_its_end_once_it_is_dead_twice_more(
        self, at: tuple[datetime, datetime, datetime]
    ) -> None:
        """Walk the whole life of an order that nobody pays; each question is answered at once."""
        created_at, expires_at, _ = at
        now, state, asked = created_at, S.PENDING, []
        for queries in range(100):
            when = next_query_at(
                state=state, queries=queries, created_at=created_at, expires_at=expires_at, now=now
            )
            if when is None:
                break
            now = when
            asked.append(now)
            state = S.CLOSED if now >= expires_at else state
        assert expires_at in asked
        assert asked[-2:] == [expires_at + LAST_LOOK, expires_at + NEXT_DAY_LOOK]
        pauses = [later - sooner for sooner, later in pairwise(asked)]
        assert max(pauses[:-1]) <= STEP
        assert asked[-1] < created_at + OVERDUE


class TestCloseDueAt:
    @pytest.mark.parametrize(
        ("channel", "minutes", "due"), [("wechat", 30, 5), ("wechat", 3, 3), ("alipay", 30, 0)]
    )
    def test_spares_a_young_order_of_wechat(self, channel: str, minutes: int, due: int) -> None:
        found = close_due_at(
            channel=channel, created_at=NOW, expires_at=NOW + timedelta(minutes=minutes)
        )
        assert found == NOW + timedelta(minutes=due)
