"""The card desk in the browser: each operation behind a page that asks, and found cards."""

import re
from uuid import UUID

import pytest
from factories import balances, give, make_person
from sqlalchemy import select, update

from backend import clock
from backend.cards.models import Card, CardKind, CardState
from backend.cards.rules import COUNTER_EVENTS, CardEvent, counter_events
from backend.cards.service import find_card
from backend.db import transaction
from backend.ids import new_id
from backend.operators.models import Role

FEE_FEN = 2_000


def card_of(holder_id: UUID) -> Card:
    """Return a holder's physical card."""
    with transaction() as session:
        card = find_card(session, holder_id=holder_id, kind=CardKind.PHYSICAL)
    assert card is not None
    return card


def stand(card: Card, state: CardState) -> None:
    """Put a card into a state."""
    with transaction() as session:
        session.execute(update(Card).where(Card.id == card.id).values(state=state))


def state_of(card: Card) -> str:
    """Return how a card stands."""
    with transaction() as session:
        return session.scalars(select(Card.state).where(Card.id == card.id)).one().value


def hidden(page: str, name: str) -> str:
    """Return what a form carries unseen."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, name
    return found[1]


class TestCard:
    def test_page_leads_to_what_can_be_done(self, staff, parts) -> None:
        person, clerk = make_person(parts), staff()
        card = card_of(person.id)
        assert f"/console/cards/{card.id}" in clerk.get(f"/console/holders/{person.id}").text
        for state in (CardState.PENDING, CardState.ACTIVE, CardState.LOST, CardState.FROZEN):
            stand(card, state)
            page = clerk.get(f"/console/cards/{card.id}").text
            offered = set(re.findall(r"operation\?event=(\w+)", page))
            assert offered == {event.value for event in counter_events(state)}
            assert person.name not in page
            assert str(card.number) not in page

    def test_finance_sees_no_way_there(self, staff, parts) -> None:
        page = staff(Role.FINANCE).get(f"/console/holders/{make_person(parts).id}").text
        assert "/console/cards/" not in page

    @pytest.mark.parametrize("event", COUNTER_EVENTS)
    def test_each_event_is_asked_for_and_happens_once(self, staff, parts, event) -> None:
        card, clerk = card_of(make_person(parts).id), staff()
        state = next(state for state in CardState if event in counter_events(state))
        stand(card, state)
        page = clerk.get(f"/console/cards/{card.id}/operation?event={event}").text
        assert state_of(card) == state.value, "looking changes nothing"
        said = {
            "event": event.value, "operation_id": hidden(page, "operation_id"),
            "documents": ["id_document"], "reason": "本人到场",
        }  # fmt: skip
        if event is CardEvent.RESTORE:
            said["card_number"] = card.number
        if event is CardEvent.EXTEND:
            said |= {"valid_until": "2099-07-01", "approval_number": "教务〔2026〕7号"}
        for _ in range(2):
            answer = clerk.post(f"/console/cards/{card.id}/operation", said)
            assert answer.status_code == 303
        assert state_of(card) != state.value
        assert 'role="status"' in clerk.get(answer.location).text

    def test_refusals_are_pages(self, staff, parts) -> None:
        card, clerk = card_of(make_person(parts).id), staff()
        path = f"/console/cards/{card.id}/operation"
        for said, status in (
            ({"event": "expire"}, 404),
            ({"event": "freeze", "reason": "x"}, 422),
            ({"event": "freeze", "operation_id": str(new_id())}, 422),
            ({"event": "unfreeze", "reason": "x", "operation_id": str(new_id())}, 409),
        ):
            assert clerk.post(path, said).status_code == status, said
        assert state_of(card) == "active"


class TestReplacement:
    def test_shows_the_quote_and_replaces(self, staff, parts) -> None:
        person, clerk = make_person(parts), staff()
        card = card_of(person.id)
        stand(card, CardState.LOST)
        with transaction() as session:
            give(session, person.id, main_fen=FEE_FEN - 1, subsidy_fen=0, now=clock.now())
        path = f"/console/cards/{card.id}/replacement"
        page = clerk.get(path).text
        assert "¥0.01" in page
        said = {
            "replacement_id": hidden(page, "replacement_id"), "cause": "lost",
            "quoted_fee_fen": hidden(page, "quoted_fee_fen"), "documents": ["id_document"],
        }  # fmt: skip
        assert clerk.post(path, said).status_code == 409
        assert (state_of(card), balances(person.id)[0]) == ("lost", FEE_FEN - 1)
        with transaction() as session:
            give(session, person.id, main_fen=1, subsidy_fen=0, now=clock.now())
        answers = [clerk.post(path, said) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [303, 303]
        assert (state_of(card), balances(person.id)[0]) == ("void", 0)
        assert str(card_of(person.id).id) in answers[1].location
        assert 'name="replacement_id"' not in clerk.get(path).text

    @pytest.mark.parametrize("fee", ["", "x", "-1", "２０"])
    def test_any_form_is_answered(self, staff, parts, fee) -> None:
        card, clerk = card_of(make_person(parts).id), staff()
        said = {"replacement_id": str(new_id()), "cause": "lost", "quoted_fee_fen": fee}
        assert clerk.post(f"/console/cards/{card.id}/replacement", said).status_code == 422


class TestFoundCards:
    def test_are_recorded_and_handed_back(self, staff, parts) -> None:
        person, clerk, canteen = make_person(parts), staff(), staff(Role.LOGISTICS)
        card, found_id = card_of(person.id), new_id()
        said = {"number": card.number, "place": "一食堂"}
        answer = canteen.post(f"/console/found-cards/{found_id}", said)
        assert answer.status_code == 303
        page = canteen.get(answer.location).text
        assert person.number not in page
        assert str(card.number) not in page
        assert state_of(card) == "lost"
        assert person.number in clerk.get("/console/found-cards").text
        path = f"/console/found-cards/{found_id}/hand-back"
        said = {"hand_back_id": hidden(clerk.get(path).text, "hand_back_id")}
        assert clerk.post(path, said).status_code == 409
        said["documents"] = "id_document"
        assert clerk.post(path, said).status_code == 303
        assert state_of(card) == "active"
        assert "hand_back_id" not in clerk.get(path).text

    @pytest.mark.parametrize("said", [{}, {"number": "1"}, {"number": "\x00", "place": "x"}])
    def test_any_form_is_answered(self, staff, said) -> None:
        assert staff().post(f"/console/found-cards/{new_id()}", said).status_code == 422
