"""Passages over the application's HTTP."""

import json
from typing import Any

import pytest
from factories import Bound, Device, make_gate, make_holder, make_till
from flask import Flask
from flask.testing import FlaskClient

from backend.http.parts import Parts
from backend.ids import new_id

API = "/api/v1"


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def holder(parts: Parts) -> Bound:
    return make_holder(parts)


@pytest.fixture
def gate(client: FlaskClient) -> Device:
    return make_gate()


def codes(client: FlaskClient, holder: Bound, scope: str = "gate") -> list[str]:
    """Return codes as the phone gets them."""
    answer = client.post(f"{API}/me/codes", json={"scope": scope}, headers=holder.headers)
    return [code["text"] for code in answer.get_json()["codes"]]


def put(client: FlaskClient, gate: Device, body: Any, passage_id: Any = None) -> Any:
    """Put a passage."""
    path = f"{API}/passages/{passage_id or new_id()}"
    text = json.dumps(body)  # ASCII: a lone surrogate travels as an escape
    return client.put(path, data=text, content_type="application/json", headers=gate.headers)


class TestPassage:
    def test_is_allowed_once_and_answered_again(
        self, client: FlaskClient, holder: Bound, gate: Device
    ) -> None:
        body, passage_id = {"code": codes(client, holder)[0], "direction": "in"}, new_id()
        first, again = (put(client, gate, body, passage_id) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.data == again.data
        said = first.get_json()
        assert set(said) == {
            *("id", "decision", "reason", "direction", "holder", "display"),
            *("hours_today", "opens_at", "decided_at", "server_time", "reference"),
        }
        assert (said["decision"], said["reason"]) == ("allow", None)
        assert said["holder"] == {"name_masked": "王**", "category": "student"}
        assert set(said["display"]) == {"line1", "line2", "voice"}
        read = client.get(f"{API}/passages/{passage_id}", headers=gate.headers)
        assert (read.status_code, read.data) == (200, first.data)

    def test_is_denied_to_a_pay_code(
        self, client: FlaskClient, holder: Bound, gate: Device
    ) -> None:
        body = {"code": codes(client, holder, "pay")[0], "direction": "in"}
        answer = put(client, gate, body)
        said = answer.get_json()
        assert (answer.status_code, said["decision"]) == (201, "deny")
        assert (said["reason"], said["holder"]) == ("code-wrong-scope", None)

    @pytest.mark.parametrize(
        "text",
        ["", "1", "9" * 1_000_000, "９６１", "٩٦١", "🎫", "\x00", "\ud800", "' OR 1=1 --"],
        ids=str.__len__,
    )
    def test_is_denied_to_what_is_no_code(
        self, client: FlaskClient, gate: Device, text: str
    ) -> None:
        passage_id = new_id()
        answer = put(client, gate, {"code": text, "direction": "out"}, passage_id)
        assert (answer.status_code, answer.get_json()["reason"]) == (201, "code-malformed")
        again = put(client, gate, {"code": text, "direction": "out"}, passage_id)
        assert (again.status_code, again.data) == (200, answer.data)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"direction": "in"}, "code"),
            ({"code": 961, "direction": "in"}, "code"),
            ({"code": None, "direction": "in"}, "code"),
            ({"code": "1"}, "direction"),
            ({"code": "1", "direction": "up"}, "direction"),
            ({"code": "1", "direction": "in", "force": True}, "force"),
        ],
    )
    def test_is_refused_when_the_body_does_not_fit(
        self, client: FlaskClient, gate: Device, body: Any, field: str
    ) -> None:
        answer = put(client, gate, body)
        assert (answer.status_code, answer.get_json()["code"]) == (422, "validation-failed")
        assert list(answer.get_json()["errors"]) == [field]

    def test_is_refused_under_a_reused_or_foreign_id(
        self, client: FlaskClient, holder: Bound, gate: Device
    ) -> None:
        text, passage_id = codes(client, holder)[0], new_id()
        put(client, gate, {"code": text, "direction": "in"}, passage_id)
        reused = put(client, gate, {"code": text, "direction": "out"}, passage_id)
        assert (reused.status_code, reused.get_json()["code"]) == (409, "id-reused")
        stranger = make_gate()
        foreign = put(client, stranger, {"code": text, "direction": "in"}, passage_id)
        assert (foreign.status_code, foreign.get_json()["code"]) == (404, "not-found")
        read = client.get(f"{API}/passages/{passage_id}", headers=stranger.headers)
        assert read.status_code == 404

    def test_is_for_gates_only(self, client: FlaskClient, holder: Bound) -> None:
        answer = put(client, make_till(), {"code": "1", "direction": "in"})
        assert (answer.status_code, answer.get_json()["code"]) == (403, "terminal-not-allowed")
        for headers in ({}, holder.headers, {"Authorization": "Bearer x"}):
            path = f"{API}/passages/{new_id()}"
            assert client.put(path, json={}, headers=headers).status_code == 401


class TestOwnPassages:
    def test_come_in_pages(self, client: FlaskClient, holder: Bound, gate: Device) -> None:
        made = [
            put(client, gate, {"code": text, "direction": "in"}).get_json()["id"]
            for text in codes(client, holder)[:1] + codes(client, holder)[:1]
        ]
        made.append(put(client, gate, {"code": codes(client, holder)[0], "direction": "out"})
                    .get_json()["id"])  # fmt: skip
        found, cursor = [], ""
        while cursor is not None:
            answer = client.get(f"{API}/me/passages?limit=2{cursor}", headers=holder.headers)
            assert answer.status_code == 200
            page = answer.get_json()
            found += [item["id"] for item in page["items"]]
            cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
        assert found == made[::-1]
