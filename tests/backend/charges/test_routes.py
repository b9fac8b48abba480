"""Charges over the application's HTTP: shapes, statuses, and whatever a till may send."""

import json
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, Device, balances, make_gate, make_holder, make_terminal, make_till
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from backend.cards.models import SpentCode
from backend.charges.models import Charge
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.terminals.models import TerminalKind

API = "/api/v1"
REPLY = {
    *("id", "state", "reason", "amount_fen", "surcharge_fen", "total_fen", "reversed_fen"),
    *("balance_fen", "holder", "display", "charged_at", "server_time", "reference"),
}


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def holder(parts: Parts) -> Bound:
    return make_holder(parts, balance_fen=5000)


@pytest.fixture
def till(client: FlaskClient) -> Device:
    return make_till()


def code(client: FlaskClient, holder: Bound, scope: str = "pay", kind: str = "signed") -> str:
    """Return a code as the phone gets it."""
    wanted = {"scope": scope, "kind": kind}
    answer = client.post(f"{API}/me/codes", json=wanted, headers=holder.headers)
    text: str = answer.get_json()["codes"][0]["text"]
    return text


def put(client: FlaskClient, caller: Any, path: str, body: Any = None) -> Any:
    """Put something; a lone surrogate travels as an escape."""
    text = json.dumps(body)
    return client.put(
        f"{API}/charges/{path}",
        data=None if body is None else text,
        content_type="application/json",
        headers=caller.headers,
    )


def code_of(answer: Any) -> tuple[int, str]:
    """Return status and code of a refusal."""
    assert answer.content_type == "application/problem+json"
    return answer.status_code, answer.get_json()["code"]


class TestCharge:
    def test_is_made_once_and_answered_again(
        self, client: FlaskClient, holder: Bound, till: Device
    ) -> None:
        charge_id, body = new_id(), {"code": code(client, holder), "amount_fen": 850}
        first, again = (put(client, till, charge_id, body) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.data == again.data
        said = first.get_json()
        assert set(said) == REPLY
        assert (said["id"], said["state"], said["reason"]) == (str(charge_id), "approved", None)
        assert (said["amount_fen"], said["total_fen"], said["balance_fen"]) == (850, 850, 4150)
        assert said["holder"] == {"name_masked": "王**", "category": "student"}
        assert set(said["display"]) == {"line1", "line2", "voice"}
        assert said["charged_at"].endswith("Z")
        read = client.get(f"{API}/charges/{charge_id}", headers=till.headers)
        assert (read.status_code, read.data) == (200, first.data)
        assert balances(holder.id) == (4150, 0)

    def test_by_a_short_code_is_answered_again_when_the_code_is_gone(
        self, client: FlaskClient, holder: Bound, till: Device, parts: Parts
    ) -> None:
        charge_id = new_id()
        body = {"code": code(client, holder, kind="short"), "amount_fen": 850}
        first = put(client, till, charge_id, body)
        assert first.status_code == 201
        for name in parts.redis.scan_iter("code:short:*"):
            parts.redis.delete(name)
        for _ in range(8):  # more often than a terminal may guess
            again = put(client, till, charge_id, body)
            assert (again.status_code, again.data) == (200, first.data)

    def test_is_answered_again_as_at_first_after_a_reversal(
        self, client: FlaskClient, holder: Bound, till: Device
    ) -> None:
        charge_id, body = new_id(), {"code": code(client, holder), "amount_fen": 850}
        first = put(client, till, charge_id, body)
        put(client, till, f"{charge_id}/reversals/{new_id()}", {"amount_fen": 300})
        assert put(client, till, charge_id, body).data == first.data

    def test_refused_is_answered_again(
        self, client: FlaskClient, holder: Bound, till: Device
    ) -> None:
        charge_id, body = new_id(), {"code": code(client, holder), "amount_fen": 5001}
        first, again = (put(client, till, charge_id, body) for _ in range(2))
        assert code_of(first) == (409, "insufficient-balance")
        assert first.data == again.data
        said = first.get_json()
        assert (said["balance_fen"], said["short_fen"]) == (5000, 1)
        assert set(said["display"]) == {"line1", "line2", "voice"}
        read = client.get(f"{API}/charges/{charge_id}", headers=till.headers).get_json()
        assert (read["state"], read["reason"]) == ("declined", "insufficient-balance")
        assert read["reference"] == said["reference"]

    def test_is_refused_to_a_gate_code(
        self, client: FlaskClient, holder: Bound, till: Device
    ) -> None:
        body = {"code": code(client, holder, "gate"), "amount_fen": 850}
        assert code_of(put(client, till, new_id(), body)) == (409, "code-wrong-scope")

    def test_is_refused_under_a_reused_id(
        self, client: FlaskClient, holder: Bound, till: Device
    ) -> None:
        charge_id, text = new_id(), code(client, holder)
        put(client, till, charge_id, {"code": text, "amount_fen": 850})
        for other in (
            {"code": text, "amount_fen": 851},
            {"code": text[:-1], "amount_fen": 850},
            {"code": text, "amount_fen": 850, "note": "x"},
        ):
            assert code_of(put(client, till, charge_id, other)) == (409, "id-reused")
        assert balances(holder.id) == (4150, 0)

    def test_shows_another_till_nothing(
        self, client: FlaskClient, holder: Bound, till: Device
    ) -> None:
        charge_id, body = new_id(), {"code": code(client, holder), "amount_fen": 5001}
        known = {put(client, till, charge_id, body).get_json()["reference"]}
        other = make_till()
        path = f"{API}/charges/{charge_id}"
        for answer in (
            put(client, other, charge_id, body),
            client.get(path, headers=other.headers),
            put(client, other, f"{charge_id}/void"),
            put(client, other, f"{charge_id}/reversals/{new_id()}", {"amount_fen": 1}),
        ):
            assert code_of(answer) == (404, "not-found")
            assert not {"balance_fen", "short_fen", "reason"} & set(answer.get_json())
            assert answer.get_json()["reference"] not in known

    def test_shows_another_till_no_reference_of_a_tombstone(
        self, client: FlaskClient, till: Device
    ) -> None:
        charge_id = new_id()
        tombstone = put(client, till, f"{charge_id}/void").get_json()
        answer = put(client, make_till(), charge_id, {"code": "x", "amount_fen": 1})
        assert code_of(answer) == (404, "not-found")
        assert answer.get_json()["reference"] != tombstone["reference"]

    @pytest.mark.parametrize("kind", [TerminalKind.GATE, TerminalKind.KIOSK])
    def test_is_for_tills_only(
        self, client: FlaskClient, holder: Bound, kind: TerminalKind
    ) -> None:
        other, charge_id = make_terminal(kind), new_id()
        refused = (403, "terminal-not-allowed")
        body = {"code": code(client, holder), "amount_fen": 1}
        assert code_of(put(client, other, charge_id, body)) == refused
        assert code_of(put(client, other, f"{charge_id}/void")) == refused
        path = f"{charge_id}/reversals/{new_id()}"
        assert code_of(put(client, other, path, {"amount_fen": 1})) == refused

    def test_is_refused_to_whoever_is_no_terminal(self, client: FlaskClient, holder: Bound) -> None:
        assert code_of(put(client, holder, new_id(), {})) == (401, "unauthenticated")

    @pytest.mark.parametrize(
        "text",
        [
            *("", "1", "961", "9" * 1_000_000, "９６１" * 67, "٩٦١" * 67, "🎫", "9" * 200 + "\n"),
            *("\x00", "9" * 200 + "\x00", "\ud800", "\udfff" * 201, "' OR 1=1 --", "<svg>"),
        ],
        ids=str.__len__,
    )
    def test_by_what_is_no_code_changes_nothing(
        self, client: FlaskClient, till: Device, text: str
    ) -> None:
        charge_id, before = new_id(), rows()
        body = {"code": text, "amount_fen": 850}
        assert code_of(put(client, till, charge_id, body)) == (409, "code-malformed")
        assert rows() == before
        read = client.get(f"{API}/charges/{charge_id}", headers=till.headers)
        assert code_of(read) == (404, "not-found")

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"amount_fen": 0}, "amount_fen"),
            ({"amount_fen": -1}, "amount_fen"),
            ({"amount_fen": 1.5}, "amount_fen"),
            ({"amount_fen": "5"}, "amount_fen"),
            ({"amount_fen": True}, "amount_fen"),
            ({"amount_fen": None}, "amount_fen"),
            ({"amount_fen": [850]}, "amount_fen"),
            ({"amount_fen": 10**30}, "amount_fen"),
            ({"amount_fen": 1e300}, "amount_fen"),
            ({"amount_fen": float("inf")}, "amount_fen"),
            ({"amount_fen": float("nan")}, "amount_fen"),
            ({"amount_fen": ...}, "amount_fen"),
            ({"code": 961}, "code"),
            ({"code": None}, "code"),
            ({"code": ["9"]}, "code"),
            ({"code": {}}, "code"),
            ({"code": True}, "code"),
            ({"code": ...}, "code"),
            ({"note": "x" * 101}, "note"),
            ({"note": "\x00"}, "note"),
            ({"note": "\ud800"}, "note"),
            ({"note": 5}, "note"),
            ({"tip_fen": 5}, "tip_fen"),
        ],
    )
    def test_is_refused_when_the_body_does_not_fit(
        self, client: FlaskClient, till: Device, changes: dict[str, Any], field: str
    ) -> None:
        before = rows()
        body = {"code": "1", "amount_fen": 850} | changes
        body = {name: value for name, value in body.items() if value is not ...}
        answer = put(client, till, new_id(), body)
        assert code_of(answer) in {(422, "validation-failed"), (400, "malformed-request")}
        if answer.status_code == 422:
            assert list(answer.get_json()["errors"]) == [field]
        assert rows() == before

    @pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"{", b"\xff", b"[" * 100_000])
    def test_is_refused_when_the_body_is_no_object(
        self, client: FlaskClient, till: Device, body: bytes
    ) -> None:
        answer = client.put(
            f"{API}/charges/{new_id()}",
            data=body,
            content_type="application/json",
            headers=till.headers,
        )
        assert answer.status_code in {400, 422}

    def test_takes_whole_numbers_however_they_are_written(
        self, client: FlaskClient, holder: Bound, till: Device
    ) -> None:
        body = {"code": code(client, holder), "amount_fen": 850.0, "note": "两荤一素"}
        assert put(client, till, new_id(), body).get_json()["amount_fen"] == 850


def rows() -> tuple[int, int]:
    """Count charges and spent codes."""
    with transaction() as session:
        return (
            session.scalar(select(func.count()).select_from(Charge)) or 0,
            session.scalar(select(func.count()).select_from(SpentCode)) or 0,
        )


@pytest.fixture
def charged(client: FlaskClient, holder: Bound, till: Device) -> UUID:
    """A charge of 8.50 yuan."""
    charge_id = new_id()
    body = {"code": code(client, holder), "amount_fen": 850}
    assert put(client, till, charge_id, body).status_code == 201
    return charge_id


class TestVoid:
    def test_is_done_once_and_answered_again(
        self, client: FlaskClient, holder: Bound, till: Device, charged: UUID
    ) -> None:
        first, again = (put(client, till, f"{charged}/void") for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.data == again.data
        assert (set(first.get_json()), first.get_json()["state"]) == (REPLY, "voided")
        assert balances(holder.id) == (5000, 0)

    def test_of_what_was_declined_says_voided_and_nothing_else(
        self, client: FlaskClient, holder: Bound, till: Device
    ) -> None:
        charge_id, body = new_id(), {"code": code(client, holder), "amount_fen": 5001}
        assert code_of(put(client, till, charge_id, body)) == (409, "insufficient-balance")
        read = client.get(f"{API}/charges/{charge_id}", headers=till.headers).get_json()
        assert (read["state"], read["reason"]) == ("declined", "insufficient-balance")
        first, again = (put(client, till, f"{charge_id}/void") for _ in range(2))
        assert (first.status_code, again.status_code, first.data) == (201, 200, again.data)
        said = first.get_json()
        assert (said["state"], said["reason"]) == ("voided", None)
        assert said["display"]["line1"] == "交易已撤销"

    def test_of_what_never_came_declines_it_when_it_comes(
        self, client: FlaskClient, holder: Bound, till: Device
    ) -> None:
        charge_id = new_id()
        tombstone = put(client, till, f"{charge_id}/void")
        assert (tombstone.status_code, tombstone.get_json()["amount_fen"]) == (201, None)
        body = {"code": code(client, holder), "amount_fen": 850}
        for _ in range(2):
            assert code_of(put(client, till, charge_id, body)) == (409, "charge-voided")
        assert balances(holder.id) == (5000, 0)


class TestReversal:
    def test_is_made_once_and_answered_again(
        self, client: FlaskClient, holder: Bound, till: Device, charged: UUID
    ) -> None:
        path = f"{charged}/reversals/{new_id()}"
        first, again = (put(client, till, path, {"amount_fen": 300}) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.data == again.data
        assert set(first.get_json()) == {
            *("id", "charge_id", "amount_fen", "surcharge_fen", "total_fen"),
            *("reversed_at", "reference"),
        }
        read = client.get(f"{API}/charges/{charged}", headers=till.headers).get_json()
        assert (read["state"], read["reversed_fen"]) == ("approved", 300)
        assert balances(holder.id) == (4450, 0)

    def test_is_refused_beyond_what_is_left(
        self, client: FlaskClient, till: Device, charged: UUID
    ) -> None:
        answer = put(client, till, f"{charged}/reversals/{new_id()}", {"amount_fen": 851})
        assert code_of(answer) == (409, "reversal-too-large")
        assert answer.get_json()["reversible_fen"] == 850

    def test_is_refused_under_a_reused_id(
        self, client: FlaskClient, till: Device, charged: UUID
    ) -> None:
        path = f"{charged}/reversals/{new_id()}"
        put(client, till, path, {"amount_fen": 1})
        assert code_of(put(client, till, path, {"amount_fen": 2})) == (409, "id-reused")

    def test_is_refused_of_what_was_voided(
        self, client: FlaskClient, till: Device, charged: UUID
    ) -> None:
        put(client, till, f"{charged}/void")
        answer = put(client, till, f"{charged}/reversals/{new_id()}", {"amount_fen": 1})
        assert code_of(answer) == (409, "not-charged")

    @pytest.mark.parametrize("amount_fen", [0, -1, 1.5, "5", True, 10**30, None])
    def test_is_refused_when_the_amount_does_not_fit(
        self, client: FlaskClient, till: Device, charged: UUID, amount_fen: Any
    ) -> None:
        answer = put(client, till, f"{charged}/reversals/{new_id()}", {"amount_fen": amount_fen})
        assert code_of(answer) == (422, "validation-failed")

    def test_is_no_gates_business(self, client: FlaskClient, charged: UUID) -> None:
        path = f"{charged}/reversals/{new_id()}"
        answer = put(client, make_gate(), path, {"amount_fen": 1})
        assert code_of(answer) == (403, "terminal-not-allowed")
