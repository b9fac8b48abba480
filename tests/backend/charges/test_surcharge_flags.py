"""Meals of holders of whom nobody has said whether they pay the surcharge: none, and an alarm."""

import itertools
from typing import Any
from uuid import UUID

import pytest
from factories import keys_of, make_holder, make_operator, make_person, make_till, present, sign_in
from flask import Flask
from sqlalchemy import select, update

from backend import clock
from backend.charges import service as charges
from backend.charges import surcharge_flags
from backend.charges.models import Charge
from backend.db import transaction
from backend.holders.models import Category, Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operation_log.models import LogEntry
from backend.operators.models import Role

FLAGS = "/api/v1/staff/surcharge-flags"


NEXT = itertools.count()


def eat(holder: Any, *, is_canteen: bool = True) -> Charge:
    """Let somebody buy for ten yuan, each time with a code of another second."""
    second = int(clock.now().timestamp()) + next(NEXT)
    with transaction() as session:
        charged, _ = charges.charge(
            session,
            charge_id=new_id(),
            terminal=make_till(is_canteen=is_canteen).caller,
            code=present(holder.id, issued_at=second),
            code_text="",
            amount_fen=Fen(1_000),
            note=None,
            now=clock.now(),
        )
    assert charged.reason is None, charged.facts
    return charged


@pytest.fixture
def guest(parts: Parts) -> Any:
    """A temporary holder with money, of whom nobody has said it."""
    holder = make_holder(parts, category=Category.TEMPORARY_OUTSIDER, balance_fen=50_000)
    with transaction() as session:
        session.execute(update(Holder).where(Holder.id == holder.id).values(pays_surcharge=None))
    return holder


def waiting(holder_id: UUID) -> list[int]:
    """Return how many meals the alarm about a holder counts, in a list; empty: there is none."""
    with transaction() as session:
        found = surcharge_flags.list_unknown(session, limit=10_000)
        assert surcharge_flags.count_unknown(session) == len(found)
        return [one.meals for one in found if one.holder.id == holder_id]


class TestUnknown:
    def test_pays_none_and_is_an_alarm_that_names_the_page(
        self, app: Flask, parts: Parts, guest: Any
    ) -> None:
        charged = eat(guest)
        assert (charged.reason, charged.surcharge_fen) == (None, 0)
        with transaction() as session:
            assert "charge.surcharge_permille" in keys_of(session, charged.policy_ids)
        eat(guest)
        client, who = app.test_client(), sign_in(parts, Role.LOGISTICS)
        items = client.get(FLAGS, headers=who).get_json()["items"]
        [item] = [one for one in items if one["holder_id"] == str(guest.id)]
        assert (item["meals"], item["pays_surcharge"]) == (2, None)
        assert item["page"] == f"/console/surcharge-flags/{guest.id}"
        assert guest.name not in str(item)

    def test_is_no_alarm_where_nothing_was_lost_by_it(self, parts: Parts, guest: Any) -> None:
        eat(guest, is_canteen=False)
        assert waiting(guest.id) == []
        other = make_holder(parts, category=Category.TEMPORARY_OUTSIDER, balance_fen=5_000)
        eat(other)
        assert waiting(other.id) == []

    @pytest.mark.parametrize(("pays", "fen"), [(True, 100), (False, 0)])
    def test_ends_with_a_decision_from_then_on(
        self, app: Flask, parts: Parts, guest: Any, pays: bool, fen: int
    ) -> None:
        first = eat(guest)
        assert waiting(guest.id) == [1]
        client, who = app.test_client(), sign_in(parts, Role.LOGISTICS)
        said = {"pays_surcharge": pays, "document_number": "后勤〔2026〕7号"}
        for _ in range(2):
            answer = client.put(f"{FLAGS}/{guest.id}", json=said, headers=who)
            assert (answer.status_code, answer.get_json()["pays_surcharge"]) == (200, pays)
        assert waiting(guest.id) == []
        assert eat(guest).surcharge_fen == fen
        with transaction() as session:
            assert session.get_one(Charge, first.id).surcharge_fen == 0
            [entry] = session.scalars(
                select(LogEntry).where(
                    LogEntry.holder_id == guest.id, LogEntry.action == "surcharge.flag"
                )
            )
            assert (entry.before, entry.after) == (
                {"pays_surcharge": None},
                {"pays_surcharge": pays},
            )
            assert entry.facts["document_number"] == said["document_number"]

    @pytest.mark.parametrize(
        "said",
        [
            {"pays_surcharge": None, "document_number": "x"},
            {"pays_surcharge": 1, "document_number": "x"},
            {"pays_surcharge": True, "document_number": "\u2800"},
            {"pays_surcharge": True},
        ],
    )
    def test_bad_input_changes_nothing(
        self, app: Flask, parts: Parts, guest: Any, said: dict[str, Any]
    ) -> None:
        who = sign_in(parts, Role.LOGISTICS)
        answer = app.test_client().put(f"{FLAGS}/{guest.id}", json=said, headers=who)
        assert (answer.status_code, answer.get_json()["code"]) == (422, "validation-failed")
        with transaction() as session:
            assert session.get_one(Holder, guest.id).pays_surcharge is None

    def test_only_temporary_holders_ever_pay(self, app: Flask, parts: Parts) -> None:
        student, who = make_person(parts), sign_in(parts, Role.LOGISTICS)
        said = {"pays_surcharge": True, "document_number": "x"}
        client = app.test_client()
        answer = client.put(f"{FLAGS}/{student.id}", json=said, headers=who)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "never-surcharged")
        assert client.put(f"{FLAGS}/{new_id()}", json=said, headers=who).status_code == 404


class TestFind:
    def test_counts_the_meals_of_one(self, parts: Parts, guest: Any) -> None:
        make_operator(parts, Role.LOGISTICS)
        for meals in (1, 2):
            eat(guest)
            with transaction() as session:
                assert surcharge_flags.find(session, holder_id=guest.id)[1] == meals
