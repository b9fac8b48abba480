"""Batches of late uploads: each item by itself, and what is missing among them."""

import logging
import random
from typing import Any
from uuid import UUID

import pytest
from factories import Device, make_gate, make_till, sign_in
from flask import Flask
from flask.testing import FlaskClient
from phones import API
from scanners import Told, Uploads
from sqlalchemy import func, select

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.operators.models import Role
from backend.terminals.models import Terminal
from backend.uploads.models import LateUpload
from backend.uploads.service import missing_sequences

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def uploads(client: FlaskClient) -> Uploads:
    return Uploads(client)


def kept(device: Device) -> int:
    """Return how many items of a terminal are kept."""
    with transaction() as session:
        counted = select(func.count()).where(LateUpload.terminal_id == device.id)
        return session.scalar(counted) or 0


def missing(device: Device) -> list[int]:
    """Return the numbers that are missing."""
    with transaction() as session:
        return missing_sequences(session, device.id).missing


class TestBatch:
    @pytest.mark.parametrize(
        "body",
        [None, [], {}, {"items": None}, {"items": {}}, {"items": [1]}, {"items": [[]]},
         {"items": ["x"]}, {"items": [], "more": 1}, {"items": [{}] * 201}],
    )  # fmt: skip
    def test_has_to_be_a_list_of_at_most_200_objects(self, client: FlaskClient, body: Any) -> None:
        gate = make_gate()
        answer = client.post(f"{API}/passages/late", json=body, headers=gate.headers)
        assert (answer.status_code, answer.get_json()["code"]) == (422, "validation-failed")

    def test_may_be_empty_or_hold_200(self, uploads: Uploads) -> None:
        gate = make_gate()
        told = Told(gate)
        assert uploads.outcomes(gate) == []
        items = [told.passage("", decision="deny", reason="code-spent") for _ in range(200)]
        answer = uploads.send(gate, *items).get_json()["items"]
        assert [said["id"] for said in answer] == [item["id"] for item in items]
        assert kept(gate) == 200

    BAD = (
        ("id", "no-id"), ("id", 7), ("id", None), ("sequence", 0), ("sequence", "1"),
        ("sequence", True), ("sequence", 1.5), ("sequence", 2**53), ("code", None), ("code", 7),
        ("direction", "up"), ("direction", None), ("decision", "maybe"), ("reason", "Nein!"),
        ("reason", "x" * 65), ("decided_at", "noon"), ("decided_at", "2026-09-01T12:00:00"),
        ("decided_at", "0001-01-01T00:00:00+14:00"), ("decided_at", "9999-12-31T23:59:59-14:00"),
        ("decided_at", 7), ("bundle_sequence", -1), ("bundle_sequence", "x"),
    )  # fmt: skip

    @pytest.mark.parametrize(("field", "value"), BAD)
    def test_names_the_field_at_fault_and_takes_the_others(
        self, uploads: Uploads, field: str, value: Any
    ) -> None:
        gate = make_gate()
        told = Told(gate)
        good = [told.passage("", decision="deny") for _ in range(2)]
        bad = told.passage("") | {field: value}
        outcomes = uploads.outcomes(gate, good[0], bad, good[1])
        assert outcomes == [("recorded", None), ("malformed", field), ("recorded", None)]
        assert kept(gate) == 2

    def test_takes_nothing_for_granted(self, uploads: Uploads) -> None:
        gate, item = make_gate(), Told(make_gate()).passage("")
        for name in item:
            short = {key: value for key, value in item.items() if key != name}
            assert uploads.outcomes(gate, short) == [("malformed", name)]
        assert uploads.outcomes(gate, item | {"王小明": 1}) == [("malformed", "unknown-field")]
        assert kept(gate) == 0

    @pytest.mark.parametrize(
        ("field", "value"),
        [("amount_fen", 0), ("amount_fen", 1.5), ("amount_fen", "5"), ("amount_fen", 2**53),
         ("state", "paid"), ("note", 7)],
    )  # fmt: skip
    def test_reads_charges_as_carefully(self, uploads: Uploads, field: str, value: Any) -> None:
        till = make_till()
        item = Told(till).charge("") | {field: value}
        assert uploads.outcomes(till, item) == [("malformed", field)]

    def test_may_hold_any_text_for_a_code_or_a_note(self, uploads: Uploads) -> None:
        till = make_till()
        told = Told(till)
        texts = ["", "\x00", "\ud800", "码" * 999, "' OR 1=1 --", "９６１"]
        items = [told.charge(text, note=text) for text in texts]
        assert {outcome for outcome, _ in uploads.outcomes(till, *items)} == {"under-review"}

    def test_logs_what_it_refused_without_its_content(
        self, uploads: Uploads, caplog: pytest.LogCaptureFixture
    ) -> None:
        gate = make_gate()
        item = Told(gate).passage("96199999999", direction="王小明")
        with caplog.at_level(logging.WARNING, "backend.uploads"):
            [said] = uploads.send(gate, item).get_json()["items"]
        assert said["reference"] in caplog.text
        assert not [word for word in ("王小明", "96199999999") if word in caplog.text]

    def test_keeps_no_text_of_a_code(self, uploads: Uploads) -> None:
        gate, code = make_gate(), "961" + "7" * 198
        item = Told(gate).passage(code)
        uploads.send(gate, item)
        with transaction() as session:
            row = session.get_one(LateUpload, UUID(item["id"]))
            assert code not in repr({**row.__dict__})


class TestGaps:
    def test_close_when_what_was_missing_comes(self, uploads: Uploads) -> None:
        gate = make_gate()
        told = Told(gate)
        items = [told.passage("", decision="deny") for _ in range(7)]
        order = list(range(7))
        random.Random(4).shuffle(order)
        seen: set[int] = set()
        for place in order:
            uploads.send(gate, items[place])
            seen.add(place + 1)
            assert missing(gate) == sorted({*range(1, max(seen))} - seen)
            with transaction() as session:
                terminal = session.get_one(Terminal, gate.id)
            assert (terminal.missing_sequences or []) == missing(gate)
            assert (terminal.gap_since is None) == (missing(gate) == [])
        assert missing(gate) == []

    def test_are_none_before_the_first(self) -> None:
        assert missing(make_gate()) == []

    def test_of_a_new_device_are_its_own(self, uploads: Uploads) -> None:
        gate = make_gate()
        told = Told(gate)
        uploads.send(gate, *(told.passage("", decision="deny") for _ in range(3)))
        for begins, expected in ((2, [1]), (9, [])):
            with transaction() as session:  # another device enrols as this terminal
                session.get_one(Terminal, gate.id).enrolled_at = clock.now()
            told.sequence = begins - 1
            item = told.passage("", decision="deny")
            assert uploads.outcome(gate, item) == "recorded", "its numbers are its own"
            assert missing(gate) == (expected if begins == 2 else list(range(4, 9)))

    def test_however_wide_are_counted_and_told_in_part(
        self, uploads: Uploads, client: FlaskClient, operator: dict[str, str]
    ) -> None:
        gate = make_gate()
        item = Told(gate).passage("", decision="deny") | {"sequence": 2**53 - 1}
        assert uploads.outcome(gate, item) == "recorded"
        path = f"{API}/staff/terminals/{gate.id}/gaps"
        said = client.get(path, headers=operator).get_json()
        assert (said["highest"], said["missing_count"]) == (2**53 - 1, 2**53 - 2)
        assert said["missing"] == list(range(1, 1001))


@pytest.fixture
def operator(parts: Parts) -> dict[str, str]:
    """The headers of somebody of the card centre."""
    return sign_in(parts, Role.CARD_CENTRE)


class TestRoles:
    def test_gaps_are_for_those_who_look_after_terminals(
        self, client: FlaskClient, parts: Parts
    ) -> None:
        path = f"{API}/staff/terminals/{make_gate().id}/gaps"
        looked = {
            role
            for role in Role
            if client.get(path, headers=sign_in(parts, role)).status_code == 200
        }
        assert looked == {Role.CARD_CENTRE, Role.LOGISTICS, Role.AUDITOR}

    def test_of_no_terminal_there_are_none(
        self, client: FlaskClient, operator: dict[str, str]
    ) -> None:
        path = f"{API}/staff/terminals/{UUID(int=7)}/gaps"
        assert client.get(path, headers=operator).status_code == 404
