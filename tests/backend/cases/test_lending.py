"""Signals of lending: what is listed, once; what a person makes of it; and that nothing follows."""

import secrets
from datetime import timedelta
from typing import Any

import pytest
from factories import (
    Bound,
    Device,
    make_gate,
    make_holder,
    make_person,
    make_till,
    present,
    sign_in,
    virtual_card,
)
from flask import Flask
from sqlalchemy import select, update

from backend import clock
from backend.cards import binding
from backend.cards.models import CardState
from backend.cases import lending
from backend.cases.models import LendingSignal, SignalKind
from backend.charges import service as charges
from backend.charges.models import Charge
from backend.db import transaction
from backend.gates import service as gates
from backend.gates.models import Direction, Passage
from backend.holders import login
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operators.models import Role
from backend.terminals import service as terminals
from backend.terminals.models import Terminal
from payments import PlatformAccount, RealNameResult

PATH = "/api/v1/staff/lending-signals"


def at_place(device: Device, place: str) -> Device:
    """Let a device stand somewhere."""
    with transaction() as session:
        session.execute(update(Terminal).where(Terminal.id == device.id).values(place=place))
        terminal = session.get_one(Terminal, device.id)
        return Device(terminals.caller_of(session, terminal), device.token)


def pay(till: Device, code: Any, seconds: float = 0) -> Charge:
    """Charge a code so many seconds ago."""
    with transaction() as session:
        return charges.charge(
            session,
            charge_id=new_id(),
            terminal=till.caller,
            code=code,
            code_text=repr(code),
            amount_fen=Fen(100),
            note=None,
            now=clock.now() - timedelta(seconds=seconds),
        )[0]


def enter(gate: Device, code: Any, seconds: float = 0) -> Passage:
    """Pass a gate so many seconds ago."""
    with transaction() as session:
        return gates.decide(
            session,
            passage_id=new_id(),
            terminal=gate.caller,
            code=code,
            code_text=repr(code),
            direction=Direction.IN,
            now=clock.now() - timedelta(seconds=seconds),
        )[0]


def look() -> int:
    """Let the job look."""
    with transaction() as session:
        return lending.find_due(session, now=clock.now())


def signals(holder: Any) -> list[LendingSignal]:
    """Return what is listed about somebody."""
    with transaction() as session:
        return list(
            session.scalars(select(LendingSignal).where(LendingSignal.holder_id == holder.id))
        )


@pytest.fixture
def holder(parts: Parts) -> Bound:
    return make_holder(parts, balance_fen=1000)


@pytest.fixture
def site(app: Flask) -> str:
    """A canteen of this test's own: two terminals never share a place."""
    return f"食堂{secrets.token_hex(4)}"


@pytest.fixture
def canteen(site: str) -> Device:
    return at_place(make_till(), f"{site} 1号窗")


@pytest.fixture
def library(site: str) -> Device:
    return at_place(make_gate(), f"图书馆{site} 东门")


class TestTwoPlaces:
    def test_within_a_minute_are_listed_once(
        self, holder: Bound, site: str, canteen: Device, library: Device
    ) -> None:
        paid = pay(canteen, present(holder.id), 50)
        passed = enter(library, present(holder.id), 5)
        look()
        look()
        (signal,) = signals(holder)
        assert signal.kind is SignalKind.TWO_PLACES
        assert [use["reference"] for use in signal.uses] == [
            paid.reference,
            passed.reference,
        ]
        places = [use["place"] for use in signal.uses]
        assert places == [f"{site} 1号窗", f"图书馆{site} 东门"]

    def test_one_code_shown_again_far_away_is_listed_though_it_was_refused(
        self, holder: Bound, site: str, canteen: Device
    ) -> None:
        shop = f"超市{site} 1号柜"
        other, code = at_place(make_till(), shop), present(holder.id)
        pay(canteen, code, 40)
        again = pay(other, code, 10)
        assert again.reason == "code-spent"
        look()
        (signal,) = signals(holder)
        assert signal.uses[1]["place"] == shop

    def test_more_than_a_minute_apart_are_not(
        self, holder: Bound, canteen: Device, library: Device
    ) -> None:
        pay(canteen, present(holder.id), 75)
        enter(library, present(holder.id), 5)
        look()
        assert signals(holder) == []

    def test_two_windows_of_one_canteen_are_not(
        self, holder: Bound, site: str, canteen: Device
    ) -> None:
        pay(canteen, present(holder.id), 20)
        pay(at_place(make_till(), f"{site} 7号窗"), present(holder.id), 5)
        look()
        assert signals(holder) == []

    def test_two_people_are_not(
        self, holder: Bound, canteen: Device, library: Device, parts: Parts
    ) -> None:
        other = make_holder(parts, balance_fen=1000)
        pay(canteen, present(holder.id), 20)
        enter(library, present(other.id), 5)
        look()
        assert signals(holder) == signals(other) == []


def bind(parts: Parts, account_id: str) -> Any:
    """Bind somebody new to a phone, and unbind at once."""
    person = make_person(parts)
    with transaction() as session:
        token, _ = login.log_in(
            session,
            platform="wechat",
            account=PlatformAccount(account_id),
            sealer=parts.sealer,
            now=clock.now(),
        )
        session.flush()
        caller = login.authenticate(session, token, clock.now())
        binding.verify_identity(
            session, caller=caller, holder_number=person.number, name=person.name,
            document_number=person.document, terms_version="test", sealer=parts.sealer,
            now=clock.now(),
        )  # fmt: skip
        binding.activate(
            session,
            caller=login.authenticate(session, token, clock.now()),
            result=RealNameResult.MATCH,
            now=clock.now(),
        )
    with transaction() as session:
        binding.unbind(
            session, caller=login.authenticate(session, token, clock.now()), now=clock.now()
        )
    return person


class TestSeveralPeople:
    def test_on_one_phone_in_turn_are_listed_once_and_again_with_a_third(
        self, app: Flask, parts: Parts
    ) -> None:
        phone = secrets.token_hex(8)
        first = bind(parts, phone)
        look()
        assert signals(first) == []
        second = bind(parts, phone)
        look()
        look()
        (signal,) = signals(second)
        assert signal.kind is SignalKind.SEVERAL_PEOPLE
        assert signal.holder_ids == [str(first.id), str(second.id)]
        third = bind(parts, phone)
        look()
        (signal,) = signals(third)
        assert len(signal.holder_ids) == 3

    def test_the_same_person_again_is_no_signal(self, app: Flask, parts: Parts) -> None:
        holder = make_holder(parts)
        look()
        assert signals(holder) == []


class TestLooking:
    @pytest.fixture
    def signal(self, holder: Bound, canteen: Device, library: Device) -> LendingSignal:
        pay(canteen, present(holder.id), 50)
        enter(library, present(holder.id), 5)
        look()
        (found,) = signals(holder)
        return found

    def test_stops_no_card(self, holder: Bound, signal: LendingSignal) -> None:
        assert virtual_card(holder.id).state is CardState.ACTIVE

    def test_is_listed_masked_and_decided_once(
        self, app: Flask, parts: Parts, holder: Bound, signal: LendingSignal
    ) -> None:
        client, centre = app.test_client(), sign_in(parts, Role.CARD_CENTRE)
        listed = client.get(PATH, headers=centre, query_string={"limit": 100}).get_json()
        (shown,) = [one for one in listed["items"] if one["id"] == str(signal.id)]
        assert (shown["kind"], shown["holder_number"]) == ("two_places", holder.number)
        assert holder.name not in str(shown)
        path, said = f"{PATH}/{signal.id}/decision", {"outcome": "harmless", "reason": "双胞胎"}
        answers = [client.post(path, json=said, headers=centre) for _ in range(2)]
        assert [one.status_code for one in answers] == [201, 200]
        other = client.post(path, json=said | {"outcome": "reminded"}, headers=centre)
        assert (other.status_code, other.get_json()["code"]) == (409, "signal-decided")
        listed = client.get(PATH, headers=centre, query_string={"limit": 100}).get_json()
        assert str(signal.id) not in [one["id"] for one in listed["items"]]

    def test_is_for_the_card_centre_and_the_auditor_looks_on(
        self, app: Flask, parts: Parts, signal: LendingSignal
    ) -> None:
        client, auditor = app.test_client(), sign_in(parts, Role.AUDITOR)
        assert client.get(PATH, headers=auditor).status_code == 200
        path, said = f"{PATH}/{signal.id}/decision", {"outcome": "harmless", "reason": "x"}
        assert client.post(path, json=said, headers=auditor).status_code == 403
        assert client.get(PATH, headers=sign_in(parts, Role.FINANCE)).status_code == 403
