"""People who come back after their account was closed: one person, one holder, one live card."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from applicants import Case, person, today
from factories import Bound, Person, balances, give, make_holder, make_person, sign_in, top_up
from sqlalchemy import select

from backend import clock
from backend.applications.models import Fault
from backend.cards.models import CardState
from backend.cards.service import list_cards
from backend.closings import service
from backend.closings.models import Closing, ClosingState
from backend.db import transaction
from backend.holders.models import Category, Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role

from .conftest import Counter


def states(holder_id: Any) -> list[CardState]:
    with transaction() as session:
        return sorted(card.state for card in list_cards(session, holder_id=holder_id))


def holder_as_stored(holder_id: Any) -> Holder:
    with transaction() as session:
        return session.get_one(Holder, holder_id)


@pytest.fixture
def closed(counter: Counter, parts: Parts) -> Bound:
    """Somebody whose account is closed."""
    holder = make_holder(parts, category=Category.STUDENT)
    counter.start(holder)
    assert counter.work(holder).state is ClosingState.CLOSED
    return holder


class TestAnApplication:
    def test_gives_a_returning_outsider_a_new_card_on_the_same_account(
        self, parts: Parts, counter: Counter, closed: Bound
    ) -> None:
        case = Case(parts)
        case.opened(replace(case.wanted, people=[person(document=closed.document)]))
        assert case.holder_id == closed.id
        assert states(closed.id) == [CardState.ACTIVE, CardState.CLOSED, CardState.CLOSED]
        found = holder_as_stored(closed.id)
        assert (found.category, found.unit) == (Category.TEMPORARY_OUTSIDER, "设备维护公司")
        assert found.holder_number != closed.number
        with transaction() as session:
            give(session, closed.id, main_fen=1000, subsidy_fen=0, now=clock.now())
        assert balances(closed.id) == (1000, 0)

    def test_leaves_out_whose_account_is_still_closing(
        self, parts: Parts, counter: Counter
    ) -> None:
        holder = make_holder(parts, balance_fen=100)
        counter.start(holder)
        case = Case(parts)
        case.opened(replace(case.wanted, people=[person(document=holder.document)]))
        (one,) = case.people()
        assert (one.holder_id, one.fault) == (None, Fault.HOLDER_KNOWN)
        assert CardState.ACTIVE not in states(holder.id)


class Desk:
    """The card centre, taking people back."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter

    def take_back(self, holder: Person, return_id: Any = None, **said: Any) -> Any:
        wanted = {
            "known_as": holder.number,
            "holder_number": holder.number,
            "category": "student",
            "unit": "研2601班",
            "valid_until": (today() + timedelta(days=900)).isoformat(),
            "document": "教务〔2026〕9号",
        }
        path = f"/account-returns/{return_id or new_id()}"
        return self.counter.call("PUT", path, **(wanted | said))


@pytest.fixture
def desk(counter: Counter) -> Desk:
    return Desk(counter)


class TestTheCounter:
    def test_takes_back_who_is_admitted_anew_under_another_number(
        self, desk: Desk, closed: Bound, parts: Parts
    ) -> None:
        return_id, number = new_id(), f"n{new_id().hex[-9:]}"
        first = desk.take_back(closed, return_id, holder_number=number)
        again = desk.take_back(closed, return_id, holder_number=number)
        assert (first.status_code, again.status_code) == (201, 200), first.get_json()
        assert first.get_json() == again.get_json()
        found = holder_as_stored(closed.id)
        assert (found.holder_number, found.unit) == (number, "研2601班")
        assert states(closed.id).count(CardState.ACTIVE) == 1
        other = desk.take_back(closed, return_id, holder_number=number, unit="研2602班")
        assert (other.status_code, other.get_json()["code"]) == (409, "id-reused")

    def test_asks_the_phone_to_bind_anew(self, desk: Desk, counter: Counter, closed: Bound) -> None:
        desk.take_back(closed)
        said = counter.client.get("/api/v1/me", headers=closed.headers)
        assert said.status_code == 401  # the old login ended with the old binding

    def test_refuses_whose_account_is_in_use_or_still_closing(
        self, desk: Desk, counter: Counter, parts: Parts
    ) -> None:
        holder = make_holder(parts, balance_fen=100)
        said = desk.take_back(holder)
        assert (said.status_code, said.get_json()["code"]) == (409, "account-not-closed")
        counter.start(holder)
        counter.work(holder)
        assert desk.take_back(holder).get_json()["code"] == "account-not-closed"

    def test_refuses_a_number_of_somebody_else(
        self, desk: Desk, closed: Bound, parts: Parts
    ) -> None:
        said = desk.take_back(closed, holder_number=make_person(parts).number)
        assert (said.status_code, said.get_json()["code"]) == (409, "holder-number-taken")
        assert CardState.ACTIVE not in states(closed.id)

    def test_is_for_the_card_centre(self, counter: Counter, closed: Bound, parts: Parts) -> None:
        for role in (Role.FINANCE, Role.ACADEMIC, Role.LOGISTICS):
            path, who = f"/account-returns/{new_id()}", sign_in(parts, role)
            said = counter.call("PUT", path, who, known_as=closed.number)
            assert said.status_code in (403, 422)
        assert CardState.ACTIVE not in states(closed.id)


class TestAfterwards:
    def test_the_account_can_be_closed_again_and_both_closings_stay(
        self, desk: Desk, counter: Counter, closed: Bound
    ) -> None:
        desk.take_back(closed)
        top_up(closed.id, 500)
        with transaction() as session:
            (old,) = session.scalars(select(Closing).where(Closing.holder_id == closed.id))
        # The job leaves the money alone: the old closing is history.
        assert not service.advance(closing_id=old.id, channels=[], now=clock.now())
        service.advance_due(channels=[], now=clock.now())
        assert balances(closed.id) == (500, 0)
        assert counter.start(closed).status_code == 201
        assert counter.work(closed).paid_fen == 500
        with transaction() as session:
            found = session.scalars(select(Closing).where(Closing.holder_id == closed.id)).all()
        assert sorted(one.state for one in found) == [ClosingState.CLOSED, ClosingState.PAYING]
