"""Applications over HTTP."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from applicants import Case, today
from factories import Bound, make_document, make_holder, sign_in
from flask import Flask
from sqlalchemy import select, update

from backend import clock
from backend.cards.service import expire_cards
from backend.closings.models import Closing, ClosingKind
from backend.closings.service import close_expired
from backend.db import transaction
from backend.holders.models import Category, HolderSession
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operators.models import Role
from backend.sealing import token_hash

ROOT = "/api/v1/staff/applications"


class Desk:
    """Somebody of the staff, and an application on paper."""

    def __init__(self, app: Flask, parts: Parts, case: Case) -> None:
        self.client, self.case = app.test_client(), case
        self.headers = sign_in(parts, Role.CARD_CENTRE)
        self.path = f"{ROOT}/{case.id}"
        wanted = asdict(case.wanted)
        self.content: dict[str, Any] = wanted | {
            "valid_from": wanted["valid_from"].isoformat(),
            "valid_until": wanted["valid_until"].isoformat(),
        }

    def put(self, path: str, content: Any = None, headers: Any = None) -> Any:
        return self.client.put(f"{self.path}{path}", json=content, headers=headers or self.headers)

    def approve(self) -> None:
        for kind in ("unit", "leader"):
            answer = self.put(f"/approvals/{new_id()}", approval(kind))
            assert answer.status_code == 201, answer.json


def approval(kind: str) -> dict[str, str]:
    """Return an approval of today."""
    return {
        "kind": kind, "approver": "陈院长", "document": "附件1", "decided_on": today().isoformat()
    }  # fmt: skip


@pytest.fixture
def desk(app: Flask, parts: Parts, case: Case) -> Desk:
    """A desk."""
    return Desk(app, parts, case)


def age_login(holder: Bound, *, minutes: int = 60) -> None:
    """Let a phone have logged in that long ago."""
    with transaction() as session:
        session.execute(
            update(HolderSession)
            .where(HolderSession.token_hash == token_hash(holder.token))
            .values(created_at=clock.now() - timedelta(minutes=minutes))
        )


class TestLife:
    def test_from_the_application_to_the_early_end(self, desk: Desk, parts: Parts) -> None:
        made = desk.put("", desk.content)
        assert made.status_code == 201, made.json
        assert (made.json["state"], made.json["people"][0]["name_masked"]) == ("waiting", "马**")
        early = desk.put(f"/openings/{new_id()}", {"receipt_number": desk.case.receipt})
        assert (early.status_code, early.json["code"], early.json["missing"]) == (
            409, "application-not-approved", ["unit", "leader"]
        )  # fmt: skip
        desk.approve()
        opening = f"/openings/{new_id()}"
        unpaid = desk.put(opening, {})
        assert unpaid.json["code"] == "receipt-needed"
        opened = desk.put(opening, {"receipt_number": desk.case.receipt})
        assert (opened.status_code, opened.json["opened_count"]) == (201, 1), opened.json
        again = desk.put(opening, {"receipt_number": desk.case.receipt})
        assert (again.status_code, again.json) == (200, opened.json)
        until = (desk.case.wanted.valid_until + timedelta(days=30)).isoformat()
        extension = {
            "oa_number": f"{desk.content['oa_number']}-2",
            "valid_until": until,
            "approvals": [approval("unit"), approval("leader")],
        }
        extended = desk.put(f"/extensions/{new_id()}", extension)
        assert (extended.status_code, extended.json["valid_until"]) == (201, until), extended.json
        person = opened.json["people"][0]
        leaving = {
            "holder_id": person["holder_id"], "last_on": today().isoformat(), "reason": "合同终止"
        }  # fmt: skip
        left = desk.put(f"/early-leavings/{new_id()}", leaving, sign_in(parts, Role.LOGISTICS))
        assert left.status_code == 201, left.json
        stands = desk.client.get(desk.path, headers=desk.headers).json
        assert (stands["state"], stands["valid_until"]) == ("opened", until)
        assert stands["people"][0]["left_on"] == today().isoformat()
        assert len(stands["approvals"]) == 2
        retried = desk.put("", desk.content)
        assert (retried.status_code, retried.json) == (200, made.json)

    def test_its_sponsor_tells_of_an_early_end(self, app: Flask, desk: Desk, parts: Parts) -> None:
        phone, stranger = make_holder(parts, category=Category.STAFF), make_holder(parts)
        desk.content["sponsor_number"] = phone.number
        desk.put("", desk.content)
        desk.approve()
        opened = desk.put(f"/openings/{new_id()}", {"receipt_number": desk.case.receipt})
        gone = opened.json["people"][0]["holder_id"]
        own, client = "/api/v1/me/sponsored-people", app.test_client()
        assert client.get(own, headers=stranger.headers).json == {"items": []}
        [listed] = client.get(own, headers=phone.headers).json["items"]
        assert (listed["holder_id"], listed["left_on"]) == (gone, None)
        path = f"/api/v1/me/early-leavings/{new_id()}"
        body = {
            "application_id": listed["application_id"], "holder_id": gone,
            "last_on": today().isoformat(), "reason": "合同终止",
        }  # fmt: skip
        strange = client.put(path, json=body, headers=stranger.headers)
        assert (strange.status_code, strange.json["code"]) == (404, "not-found")
        age_login(phone)
        stale = client.put(path, json=body, headers=phone.headers)
        assert stale.json["code"] == "step-up-required"
        age_login(phone, minutes=0)
        told = client.put(path, json=body, headers=phone.headers)
        assert told.status_code == 201, told.json
        age_login(phone)
        assert client.put(path, json=body, headers=phone.headers).status_code == 200
        assert client.get(own, headers=phone.headers).json["items"][0]["left_on"] == body["last_on"]
        with transaction() as session:
            entry = session.scalars(
                select(LogEntry).where(
                    LogEntry.action == "application.leave_early",
                    LogEntry.holder_id == UUID(gone),
                    LogEntry.outcome == "done",
                )
            ).one()
            tomorrow = clock.now() + timedelta(days=1)
            expire_cards(session, now=tomorrow)
            close_expired(session, now=tomorrow)
            closing = session.scalars(select(Closing).where(Closing.holder_id == UUID(gone))).one()
        assert entry.actor == f"holder:{phone.id}"
        assert closing.kind is ClosingKind.EARLY

    def test_ends_with_the_withdrawal(self, desk: Desk) -> None:
        desk.put("", desk.content)
        assert [desk.put("/withdrawal").status_code for _ in range(2)] == [201, 200]
        refused = desk.put(f"/openings/{new_id()}", {"receipt_number": desk.case.receipt})
        assert refused.json["code"] == "application-withdrawn"
        listed = desk.client.get(f"{ROOT}?state=withdrawn&limit=1", headers=desk.headers).json
        assert listed["items"][0]["id"] == str(desk.case.id)


def spellings(number: str) -> list[str]:
    """Return what a person may type for a number: the same to whoever reads it."""
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in number)
    return [
        number,
        f" {number} ",
        number.lower(),
        wide,
        number.replace("-", "\u2013"),
        f"{number}\u200b",
    ]


class TestNumbersOfPapers:
    def test_open_one_application_however_they_are_spelled(
        self, desk: Desk, app: Flask, parts: Parts
    ) -> None:
        desk.put("", desk.content)
        desk.approve()
        opening = f"/openings/{new_id()}"
        first, *others = spellings(desk.case.receipt)
        opened = desk.put(opening, {"receipt_number": f" {first.lower()}"})
        assert (opened.status_code, opened.json["receipt_number"]) == (201, first)
        for spelled in others:
            assert desk.put(opening, {"receipt_number": spelled}).status_code == 200, spelled
        second = Desk(app, parts, Case(parts))
        second.put("", second.content)
        second.approve()
        for spelled in (first, *others):
            refused = second.put(f"/openings/{new_id()}", {"receipt_number": spelled})
            assert refused.json["code"] == "receipt-number-used", spelled

    def test_bring_one_application_or_one_extension(
        self, desk: Desk, app: Flask, parts: Parts
    ) -> None:
        assert desk.put("", desk.content).json["oa_number"] == desk.content["oa_number"]
        for spelled in spellings(desk.content["oa_number"]):
            other = Desk(app, parts, Case(parts))
            refused = other.put("", other.content | {"oa_number": spelled})
            assert refused.json["code"] == "oa-number-used", spelled

    @pytest.mark.parametrize("blank", [" ", "\u200b", "\u3000"])
    def test_are_more_than_blanks(self, desk: Desk, blank: str) -> None:
        assert desk.put("", desk.content | {"oa_number": blank}).status_code == 422


class TestRefusals:
    @pytest.mark.parametrize("role", [role for role in Role if role is not Role.CARD_CENTRE])
    def test_are_what_other_roles_get(self, desk: Desk, parts: Parts, role: Role) -> None:
        other = sign_in(parts, role)
        for path, content in (
            ("", desk.content),
            (f"/approvals/{new_id()}", approval("unit")),
            ("/withdrawal", None),
            (f"/openings/{new_id()}", {}),
        ):
            assert desk.put(path, content, other).json["code"] == "role-not-allowed"

    def test_name_the_row_and_never_the_number(self, desk: Desk) -> None:
        wrong = "110105194912310021"
        person = desk.content["people"][0] | {"document_number": wrong}
        refused = desk.put("", desk.content | {"people": [person]})
        assert (refused.status_code, refused.json["code"]) == (422, "documents-not-valid")
        assert refused.json["positions"] == [1]
        assert wrong not in refused.text

    def test_are_on_record(self, desk: Desk) -> None:
        desk.put("", desk.content)
        desk.put(f"/openings/{new_id()}", {})
        with transaction() as session:
            outcomes = session.scalars(
                select(LogEntry.outcome)
                .where(LogEntry.subject_id == desk.case.id)
                .order_by(LogEntry.at)
            ).all()
        assert outcomes == ["done", "application-not-approved"]

    @pytest.mark.parametrize(
        "change",
        [
            {"category": "student"},
            {"permissions": []},
            {"permissions": ["fly"]},
            {"people": []},
            {"people": [{"name": "马", "unit": "x", "document_number": make_document()}]},
            {"people": [{"name": "马\u202e", "unit": "x"}]},
            {"valid_until": "2026-13-01"},
        ],
    )
    def test_are_for_what_does_not_fit(self, desk: Desk, change: dict[str, Any]) -> None:
        answer = desk.put("", desk.content | change)
        assert (answer.status_code, answer.json["code"]) == (422, "validation-failed")

    @pytest.mark.parametrize(
        ("given", "missing"),
        [
            ({"document_number": "E12345678"}, "document_kind"),
            ({"document_kind": "passport"}, "document_number"),
        ],
    )
    def test_are_for_half_a_document_and_name_the_missing_half(
        self, desk: Desk, given: dict[str, str], missing: str
    ) -> None:
        person = {"name": "马", "unit": "x"} | given
        answer = desk.put("", desk.content | {"people": [person]})
        errors = answer.json["errors"]["people"]["0"]
        assert errors == {missing: ["必填。"]}

    def test_are_for_an_extension_with_half_the_approvals(self, desk: Desk) -> None:
        answer = desk.put(
            f"/extensions/{new_id()}",
            {
                "oa_number": "x",
                "valid_until": today().isoformat(),
                "approvals": [approval("unit"), approval("unit")],
            },
        )
        assert (answer.status_code, answer.json["code"]) == (422, "validation-failed")
