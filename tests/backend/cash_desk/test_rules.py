"""What a drawer should hold, and how a shift ends."""

from hypothesis import given
from hypothesis import strategies as st

from backend.cash_desk.models import ShiftState
from backend.cash_desk.rules import (
    DENOMINATIONS_FEN,
    TRANSITIONS,
    Drawer,
    ShiftEvent,
    handed_in,
    total_of,
)
from backend.money import Fen

FEN = st.integers(0, 10_000_000).map(Fen)


class TestDrawer:
    @given(opening_float_fen=FEN, top_ups_fen=FEN, reversals_fen=FEN, counted_fen=FEN)
    def test_what_is_handed_in_and_the_difference_leave_nothing(
        self, opening_float_fen: Fen, top_ups_fen: Fen, reversals_fen: Fen, counted_fen: Fen
    ) -> None:
        drawer = Drawer(opening_float_fen, 1, top_ups_fen, 1, reversals_fen)
        handed_in_fen = handed_in(counted_fen, opening_float_fen=opening_float_fen)
        difference_fen = counted_fen - drawer.expected_fen
        assert drawer.takings_fen - handed_in_fen + difference_fen == 0


class TestCount:
    @given(st.lists(st.integers(0, 1000), min_size=8, max_size=8))
    def test_is_the_sum_of_notes_and_coins(self, counts: list[int]) -> None:
        pairs = list(zip(DENOMINATIONS_FEN, counts, strict=True))
        assert total_of(pairs) == sum(total_of([pair]) for pair in pairs)
        assert total_of([(value, 1) for value in DENOMINATIONS_FEN]) == 18_660


class TestTransitions:
    def test_every_cell(self) -> None:
        moved = {
            (state, event): TRANSITIONS.get((state, event))
            for state in ShiftState
            for event in ShiftEvent
        }
        assert {cell: after for cell, after in moved.items() if after} == {
            ("open", "close_out"): "closed",
            ("open", "hold"): "closing",
            ("closing", "approve"): "closed",
            ("closing", "recount"): "open",
        }
