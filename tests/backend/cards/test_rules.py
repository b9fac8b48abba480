"""The life of a card: every state and every event, and what the database says of states."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from backend.cards.models import CardState
from backend.cards.rules import TRANSITIONS, CardEvent, TransitionNotPossible, next_state
from backend.cards.service import STANDS_AGAINST
from backend.db import transaction
from backend.holders.rules import masked_name

EVENTS = (
    "activate", "report_lost", "restore", "freeze", "unfreeze", "expire", "extend", "void",
    "start_closing", "cancel_closing", "close",
)  # fmt: skip
NO = None
TABLE: dict[str, tuple[str | None, ...]] = {
    # from        activate  report   restore   freeze    unfreeze  expire     extend    void
    #             start_closing, cancel_closing, close
    "pending": ("active", NO, NO, NO, NO, NO, NO, "void", "closing", NO, NO),
    "active": ("active", "lost", NO, "frozen", NO, "expired", NO, "void", "closing", NO, NO),
    "lost": (NO, "lost", "active", NO, NO, "expired", NO, "void", "closing", NO, NO),
    "frozen": (NO, NO, NO, "frozen", "active", "expired", NO, NO, "closing", NO, NO),
    "expired": (NO, NO, NO, NO, NO, "expired", "active", "void", "closing", NO, NO),
    "closing": (NO, NO, NO, NO, NO, NO, NO, NO, "closing", "frozen", "closed"),
    "closed": (NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, "closed"),
    "void": (NO, NO, NO, NO, NO, NO, NO, "void", NO, NO, NO),
}
CELLS = [
    (state, event, after)
    for state, row in TABLE.items()
    for event, after in zip(EVENTS, row, strict=True)
]


class TestNextState:
    def test_the_table_names_every_state_and_every_event(self) -> None:
        assert set(TABLE) == {state.value for state in CardState}
        assert set(EVENTS) == {event.value for event in CardEvent}
        assert len(CELLS) == len(CardState) * len(CardEvent)

    @pytest.mark.parametrize(("state", "event", "after"), CELLS)
    def test_is_what_the_table_says(self, state: str, event: str, after: str | None) -> None:
        if after is None:
            with pytest.raises(TransitionNotPossible) as refused:
                next_state(CardState(state), CardEvent(event))
            assert refused.value.facts == {"state": state, "event": event}
        else:
            assert next_state(CardState(state), CardEvent(event)) == after

    def test_every_transition_changes_something(self) -> None:
        assert all(before is not after for (before, _), after in TRANSITIONS.items())

    def test_nothing_leads_out_of_the_end(self) -> None:
        assert not {CardState.VOID, CardState.CLOSED} & {before for before, _ in TRANSITIONS}


@pytest.mark.usefixtures("app")
class TestDatabase:
    @pytest.mark.parametrize("card_state", list(CardState))
    def test_refuses_the_same_states(self, card_state: CardState) -> None:
        with transaction() as session:
            said = session.execute(text("SELECT card_refusal(:s)"), {"s": card_state}).scalar_one()
        refusal = STANDS_AGAINST.get(card_state)
        if refusal is not None:
            assert said == refusal.code
        else:  # no purse follows a pending or void card, so its codes are of nobody
            assert said == (None if card_state is CardState.ACTIVE else "code-stale")

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00")),
            min_size=1,
        )
    )
    def test_masks_names_the_same(self, names: list[str]) -> None:
        with transaction() as session:
            said = session.scalars(
                text("SELECT mask_name(n) FROM unnest(cast(:names AS text[]))"
                     " WITH ORDINALITY AS t(n, i) ORDER BY i"),
                {"names": names},
            ).all()  # fmt: skip
        assert said == [masked_name(name) for name in names]
