"""Issue batches over HTTP."""

import secrets
from typing import Any

import pytest
from factories import make_person, sign_in
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from backend.db import transaction
from backend.holders.models import Category
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operators.models import Role

ROOT = "/api/v1/staff/issue-batches"


class Centre:
    """Somebody of the card centre, and a class whose cards wait."""

    def __init__(self, app: Flask, parts: Parts, people: int = 2) -> None:
        self.client: FlaskClient = app.test_client()
        self.headers = sign_in(parts, Role.CARD_CENTRE)
        self.unit = f"新班 {secrets.token_hex(4)}"
        self.people = [
            make_person(parts, unit=self.unit, category=Category.NEW_STUDENT, issued=False)
            for _ in range(people)
        ]
        self.path = f"{ROOT}/{new_id()}"

    def put(self, path: str, content: Any, headers: dict[str, str] | None = None) -> Any:
        return self.client.put(path, json=content, headers=headers or self.headers)

    def make(self) -> Any:
        return self.put(self.path, {"unit": self.unit})

    def item(self, place: int = 0) -> str:
        return f"{self.path}/items/{self.people[place].id}"


@pytest.fixture
def centre(app: Flask, parts: Parts) -> Centre:
    """A class of two."""
    return Centre(app, parts)


SIGNED = {"signed_by": "王小明", "signature": "self", "documents": ["id_document"]}


class TestBatches:
    def test_run_from_the_list_to_the_end(self, centre: Centre) -> None:
        made = centre.make()
        assert made.status_code == 201, made.json
        assert made.json["item_counts"]["waiting"] == 2
        assert {item["item_state"] for item in made.json["items"]} == {"waiting"}
        assert made.json["items"][0]["name_masked"] == "王**"
        signed = centre.put(f"{centre.item()}/receipts/{new_id()}", SIGNED)
        assert (signed.status_code, signed.json["outcome"]) == (201, "handed_out")
        absent = centre.put(f"{centre.item(1)}/decisions/{new_id()}", {"outcome": "not_collected"})
        assert absent.status_code == 201, absent.json
        stands = centre.client.get(centre.path, headers=centre.headers).json
        assert stands["closed_at"] is not None
        assert stands["item_counts"] == {
            "waiting": 0, "handed_out": 1, "not_collected": 1, "deferred": 0
        }  # fmt: skip
        again = centre.make()
        assert (again.status_code, again.json) == (200, made.json)

    def test_are_listed(self, centre: Centre) -> None:
        centre.make()
        listed = centre.client.get(f"{ROOT}?limit=1", headers=centre.headers).json
        assert [item["unit"] for item in listed["items"]] == [centre.unit]
        closed = centre.client.get(f"{ROOT}?limit=1&state=closed", headers=centre.headers).json
        assert centre.unit not in [item["unit"] for item in closed["items"]]
        overdue = centre.client.get(f"{ROOT}/overdue", headers=centre.headers)
        assert overdue.status_code == 200

    @pytest.mark.parametrize("role", [role for role in Role if role is not Role.CARD_CENTRE])
    def test_are_made_by_the_card_centre_alone(
        self, centre: Centre, parts: Parts, role: Role
    ) -> None:
        other = sign_in(parts, role)
        centre.make()
        for path, content in (
            (f"{ROOT}/{new_id()}", {"unit": centre.unit}),
            (f"{centre.item()}/receipts/{new_id()}", SIGNED),
            (f"{centre.item()}/decisions/{new_id()}", {"outcome": "not_collected"}),
        ):
            assert centre.put(path, content, other).json["code"] == "role-not-allowed"

    @pytest.mark.parametrize(
        "content",
        [
            {"outcome": "deferred"},
            {"outcome": "not_collected", "reason": "on_leave"},
            {"outcome": "handed_out"},
            {"outcome": "deferred", "reason": "bored"},
            {},
        ],
    )
    def test_take_no_decision_that_does_not_fit(self, centre: Centre, content: Any) -> None:
        centre.make()
        answer = centre.put(f"{centre.item()}/decisions/{new_id()}", content)
        assert (answer.status_code, answer.json["code"]) == (422, "validation-failed")

    def test_refusals_are_on_record(self, centre: Centre) -> None:
        centre.make()
        centre.put(f"{centre.item()}/receipts/{new_id()}", SIGNED)
        receipt = new_id()
        refused = centre.put(f"{centre.item()}/receipts/{receipt}", SIGNED)
        assert (refused.status_code, refused.json["code"]) == (409, "item-decided")
        with transaction() as session:
            entry = session.scalars(select(LogEntry).where(LogEntry.subject_id == receipt)).one()
        assert (entry.outcome, entry.holder_id) == ("item-decided", centre.people[0].id)
