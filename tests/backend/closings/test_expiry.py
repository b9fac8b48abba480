"""What the last day ends: a temporary account, whatever its card, and the right to be given one."""

import pytest
from factories import make_person
from sqlalchemy import update

from backend import clock, db
from backend.cards.models import Card, CardState
from backend.cards.service import list_cards
from backend.closings import service
from backend.closings.models import ClosingKind
from backend.db import transaction
from backend.holders.models import Category
from backend.http.parts import Parts
from backend.ids import new_id

from .conftest import Counter


@pytest.mark.parametrize("stood", [CardState.PENDING, CardState.VOID, CardState.EXPIRED])
def test_a_temporary_account_closes_whatever_became_of_its_card(
    parts: Parts, stood: CardState
) -> None:
    holder = make_person(parts, category=Category.TEMPORARY_OUTSIDER, valid_days=-1)
    with db.Session() as session:  # rolled back: those whom other tests left stay as they are
        session.execute(update(Card).where(Card.holder_id == holder.id).values(state=stood))
        service.close_expired(session, now=clock.now())
        closing = service.live_closing(session, holder_id=holder.id)
        kind = closing and closing.kind
        states = [card.state for card in list_cards(session, holder_id=holder.id)]
        session.rollback()
    assert kind is ClosingKind.EXPIRY
    assert states == [CardState.VOID if stood is CardState.VOID else CardState.CLOSING]


def test_a_card_that_is_in_use_expires_first(parts: Parts) -> None:
    holder = make_person(parts, category=Category.TEMPORARY_OUTSIDER, valid_days=-1)
    with db.Session() as session:
        service.close_expired(session, now=clock.now())
        found = service.live_closing(session, holder_id=holder.id)
        session.rollback()
    assert found is None


def test_a_card_that_waits_is_not_handed_out_after_the_last_day(
    counter: Counter, parts: Parts
) -> None:
    holder = make_person(parts, issued=False, valid_days=-1)
    with transaction() as session:
        card = list_cards(session, holder_id=holder.id)[0]
    path = f"/cards/{card.id}/operations/{new_id()}"
    refused = counter.call("PUT", path, event="activate", documents=["id_document"])
    assert (refused.status_code, refused.get_json()["code"]) == (409, "card-expired")
    with transaction() as session:
        assert list_cards(session, holder_id=holder.id)[0].state is CardState.PENDING
