"""What gates decided without network: recorded as it was, flagged where something is odd."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Device, make_gate, make_holder, virtual_card
from flask import Flask
from flask.testing import FlaskClient
from phones import API, DevicePhone, Phone
from scanners import Told, Uploads, sign
from sqlalchemy import select

from backend import clock
from backend.cards.models import SpentCode
from backend.db import transaction
from backend.gates.models import Decision, Passage
from backend.http.parts import Parts
from backend.ids import new_id
from backend.uploads.models import LateUpload
from qr import Scope

SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def uploads(client: FlaskClient) -> Uploads:
    return Uploads(client)


@pytest.fixture
def phone(client: FlaskClient, parts: Parts) -> DevicePhone:
    """A phone that may show codes without network."""
    known = make_holder(parts)
    made = DevicePhone(Phone(client, token=known.token), known)
    assert made.enrol().status_code == 201
    return made


def row(item: dict[str, Any]) -> LateUpload:
    """Return what is kept of an item."""
    with transaction() as session:
        return session.get_one(LateUpload, UUID(item["id"]))


def passages(gate: Device) -> list[Passage]:
    """Return the passages of a gate."""
    with transaction() as session:
        return list(session.scalars(select(Passage).where(Passage.terminal_id == gate.id)))


@pytest.fixture
def online(client: FlaskClient) -> Callable[..., Any]:
    """Ask about a passage and never hear the answer."""

    def ask(gate: Device, item: dict[str, Any]) -> Any:
        said = {"code": item["code"], "direction": item["direction"]}
        path = f"{API}/passages/{item['id']}"
        return client.put(path, json=said, headers=gate.headers).get_json()

    return ask


class TestRecording:
    def test_keeps_what_the_gate_decided_beside_when_we_heard_it(
        self, phone: DevicePhone, uploads: Uploads
    ) -> None:
        gate, at = make_gate(), clock.now() - 30 * SECOND
        item = Told(gate).passage(phone.code(Scope.GATE, now=at), at=at)
        assert uploads.outcomes(gate, item, item) == [("recorded", None)] * 2
        [passage] = passages(gate)
        assert (passage.id, passage.decision) == (UUID(item["id"]), Decision.ALLOW)
        assert passage.holder_id == phone.holder.id
        assert passage.device_at == row(item).decided_at
        assert passage.decided_at - at > 29 * SECOND
        [seen] = phone.phone.call("GET", "/me/passages").get_json()["items"]
        assert seen["device_at"] == item["decided_at"] < seen["at"]
        assert not row(item).needs_review

    @pytest.mark.parametrize("decision", ["allow", "deny"])
    def test_records_whatever_the_code_was(self, uploads: Uploads, decision: str) -> None:
        gate = make_gate()
        told = Told(gate)
        items = [told.passage(text, decision=decision, reason="code-forged") for text in ("", "x")]
        assert uploads.outcomes(gate, *items) == [("recorded", None)] * 2
        assert [passage.decision.value for passage in passages(gate)] == [decision] * 2
        conflicts = ["forged"] if decision == "allow" else []
        assert [row(item).conflicts for item in items] == [conflicts] * 2

    def test_leaves_the_code_dead_online(
        self, phone: DevicePhone, uploads: Uploads, online: Callable[..., Any]
    ) -> None:
        gate, other = make_gate(), make_gate()
        code = phone.code(Scope.GATE)
        uploads.send(gate, Told(gate).passage(code))
        assert online(other, Told(other).passage(code))["reason"] == "code-spent"

    def test_a_refusal_uses_no_code_up(self, phone: DevicePhone, uploads: Uploads) -> None:
        gate, other, code = make_gate(), make_gate(), phone.code(Scope.GATE)
        denied = Told(gate).passage(code, decision="deny", reason="access-outside-hours")
        uploads.send(gate, denied)
        allowed = Told(other).passage(code)
        uploads.send(other, allowed)
        assert row(allowed).conflicts == []


class TestConflicts:
    def test_flags_the_second_use_of_a_code(self, phone: DevicePhone, uploads: Uploads) -> None:
        gate, other, code = make_gate(), make_gate(), phone.code(Scope.GATE)
        first, second = Told(gate).passage(code), Told(other).passage(code)
        assert uploads.outcome(gate, first) == uploads.outcome(other, second) == "recorded"
        assert (row(first).conflicts, row(second).conflicts) == ([], ["double-use"])
        assert row(second).needs_review
        with transaction() as session:
            spent = session.get_one(SpentCode, row(first).code_key)
        assert spent.decision_id == UUID(first["id"])

    def test_flags_what_was_revoked_or_lost_at_the_time(
        self, phone: DevicePhone, uploads: Uploads, parts: Parts
    ) -> None:
        gate, told = make_gate(), None
        told = Told(gate)
        alias = virtual_card(phone.holder.id).alias or b""
        before = told.passage(phone.code(Scope.GATE))
        phone.phone.call("PUT", f"/me/loss-reports/{new_id()}", {"credential": "phone"})
        after = told.passage(phone.code(Scope.GATE, sequence=1))
        signed = told.passage(sign(parts, alias, scope=Scope.GATE, issued_at=clock.now()))
        assert uploads.outcomes(gate, before, after, signed) == [("recorded", None)] * 3
        assert row(before).conflicts == []
        assert row(after).conflicts == row(signed).conflicts == ["after-loss"]

    def test_flags_a_clock_that_cannot_be_right(self, phone: DevicePhone, uploads: Uploads) -> None:
        gate, ahead = make_gate(), clock.now() + 40 * SECOND
        item = Told(gate).passage(phone.code(Scope.GATE, now=ahead), at=ahead)
        denied = Told(make_gate()).passage("", decision="deny", at=clock.now() - timedelta(days=9))
        assert uploads.outcome(gate, item) == "recorded"
        assert row(item).conflicts == ["clock"]
        other = make_gate()
        assert uploads.outcome(other, denied) == "recorded"
        assert row(denied).conflicts == ["out-of-window", "clock"]


class TestOnlineBefore:
    def test_the_same_decision_is_there_already(
        self, phone: DevicePhone, uploads: Uploads, online: Callable[..., Any]
    ) -> None:
        gate = make_gate()
        item = Told(gate).passage(phone.code(Scope.GATE))
        assert online(gate, item)["decision"] == "allow"
        assert uploads.outcomes(gate, item, item) == [("already-recorded", None)] * 2
        assert len(passages(gate)) == 1
        assert row(item).conflicts == []

    def test_another_decision_is_kept_beside_it(
        self, phone: DevicePhone, uploads: Uploads, online: Callable[..., Any]
    ) -> None:
        gate, other = make_gate(), make_gate()
        code = phone.code(Scope.GATE)
        online(other, Told(other).passage(code))
        item = Told(gate).passage(code)
        assert online(gate, item)["reason"] == "code-spent"
        assert uploads.outcome(gate, item) == "recorded"
        assert sorted(passage.decision.value for passage in passages(gate)) == ["allow", "deny"]
        assert row(item).conflicts == ["double-use", "declined-online"]

    def test_another_content_under_the_id_is_refused(
        self, phone: DevicePhone, uploads: Uploads, online: Callable[..., Any]
    ) -> None:
        gate = make_gate()
        item = Told(gate).passage(phone.code(Scope.GATE))
        online(gate, item)
        assert uploads.outcome(gate, item | {"direction": "out"}) == "id-reused"
        assert uploads.outcome(make_gate(), item) == "id-reused"

    def test_an_original_that_comes_after_its_late_upload_is_a_retry(
        self, phone: DevicePhone, uploads: Uploads, online: Callable[..., Any]
    ) -> None:
        gate = make_gate()
        item = Told(gate).passage(phone.code(Scope.GATE))
        uploads.send(gate, item)
        assert online(gate, item)["decision"] == "allow"
        assert len(passages(gate)) == 1
