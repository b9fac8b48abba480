"""The rules over HTTP: for staff with proposals, for everybody as JSON and as a page."""

from datetime import timedelta
from typing import Any

import pytest
from factories import sign_in
from flask import Flask

from backend import clock
from backend.clock import rfc3339
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role
from backend.policies.rules import CATALOGUE, PRESETS

API = "/api/v1"
KEY = "notice.low_balance_fen"
"""What no other test looks at: from a day far ahead on, and taken back again."""


@pytest.fixture(scope="module")
def maker(parts: Parts) -> dict[str, str]:
    return sign_in(parts, Role.FINANCE)


@pytest.fixture(scope="module")
def checker(parts: Parts) -> dict[str, str]:
    return sign_in(parts, Role.CARD_CENTRE)


def said(**more: Any) -> dict[str, Any]:
    """Return a proposal for a day far ahead."""
    later = rfc3339(clock.now() + timedelta(days=900))
    return {
        "changes": {KEY: 1_500},
        "document_number": "财务〔2029〕4号",
        "reason": "食堂小额消费增多",
        "valid_from": later,
    } | more


class TestPublic:
    def test_tells_what_concerns_holders_with_its_paper(self, app: Flask) -> None:
        answer = app.test_client().get(f"{API}/rules", headers={"Accept-Language": "en"})
        rules = {rule["key"]: rule for rule in answer.get_json()["items"]}
        assert rules.keys() == {key for key, rule in CATALOGUE.items() if rule.public}
        rate = rules["charge.surcharge_permille"]
        assert (rate["value"], rate["value_text"], rate["clause"]) == (100, "10%", "三(七)")
        assert rate["name"] == "Meal surcharge"
        assert rate["document_number"] == "test"

    @pytest.mark.parametrize(("language", "word"), [("zh-CN", "搭伙费比例"), ("en", "Meal surch")])
    def test_as_a_page_in_the_readers_language(self, app: Flask, language: str, word: str) -> None:
        page = app.test_client().get("/rules", headers={"Accept-Language": language})
        assert page.status_code == 200
        assert f'<html lang="{language}">' in page.text
        assert word in page.text
        assert "三(七)" in page.text
        assert "script-src 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["Vary"] == "Accept-Language"

    def test_what_is_the_schools_own_business_is_not_told(self, app: Flask) -> None:
        text = app.test_client().get(f"{API}/rules").text + app.test_client().get("/rules").text
        for key in ("cash.difference_fen", "code.issues_per_minute", "offline.total_fen"):
            assert key not in text


class TestStaff:
    def test_every_policy_with_its_rule(self, app: Flask, maker: Any) -> None:
        items = app.test_client().get(f"{API}/staff/policies", headers=maker).get_json()["items"]
        assert [item["key"] for item in items] == sorted(PRESETS["standard"])
        rate = next(item for item in items if item["key"] == "charge.surcharge_permille")
        assert (rate["least"], rate["most"], rate["unit"]) == (0, 500, "permille")
        assert rate["proposers"] == ["card_centre", "logistics"]

    def test_from_preview_to_withdrawal(self, app: Flask, maker: Any, checker: Any) -> None:
        client, body = app.test_client(), said()
        preview = client.post(f"{API}/staff/policy-previews", json=body, headers=maker).get_json()
        (difference,) = preview["differences"]
        assert (difference["present_value"], difference["value"]) == (2_000, 1_500)
        assert difference["touched"] >= 0
        path = f"{API}/staff/policy-proposals/{new_id()}"
        for status in (201, 200):
            assert client.put(path, json=body, headers=maker).status_code == status
        assert client.post(f"{path}/approval", headers=maker).get_json()["code"] == (
            "second-person-needed"
        )
        first, again = (client.post(f"{path}/approval", headers=checker) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        coming = client.get(f"{API}/rules").get_json()["coming"]
        assert [rule["value"] for rule in coming if rule["key"] == KEY] == [1_500]
        assert "财务〔2029〕4号" in client.get("/rules").text
        rows = client.get(f"{API}/staff/policies/{KEY}/history", headers=maker).get_json()["items"]
        assert [row["value"] for row in rows] == [1_500, 2_000]
        answer = client.post(f"{path}/withdrawal", json={"reason": "写错"}, headers=maker)
        assert (answer.status_code, answer.get_json()["state"]) == (201, "withdrawn")
        rows = client.get(f"{API}/staff/policies/{KEY}/history", headers=maker).get_json()["items"]
        assert [(row["value"], row["valid_until"]) for row in rows] == [(2_000, None)]
        listed = client.get(f"{API}/staff/policy-proposals", headers=maker).get_json()["items"]
        assert path.rpartition("/")[2] in {item["id"] for item in listed}

    @pytest.mark.parametrize(
        ("more", "status", "code"),
        [
            ({"changes": {KEY: 100_001}}, 422, "policy-invalid"),
            ({"changes": {KEY: "1500"}}, 422, "policy-invalid"),
            ({"changes": {KEY: None}}, 422, "policy-invalid"),
            ({"changes": {KEY: 10**30}}, 422, "policy-invalid"),
            ({"changes": {"a\x00b": 1}}, 422, "policy-invalid"),
            ({"changes": {"card.restore_channels": [{}]}}, 422, "policy-invalid"),
            ({"changes": [KEY]}, 422, "validation-failed"),
            ({"changes": {}}, 409, "nothing-to-change"),
            ({"document_number": " "}, 422, "validation-failed"),
            ({"reason": "\u2800"}, 422, "validation-failed"),
            ({"valid_until": "2020-01-01T00:00:00Z"}, 409, "policy-moment-refused"),
            ({"valid_until": "9999-12-31T00:00:00Z"}, 409, "policy-moment-refused"),
            ({"valid_from": "2020-01-01T00:00:00Z"}, 409, "policy-moment-refused"),
            ({"valid_from": "9999-12-31T23:59:59-12:00"}, 422, "validation-failed"),
            ({"valid_from": "0001-01-01T00:00:00+12:00"}, 422, "validation-failed"),
            ({"preset": "nothing"}, 422, "validation-failed"),
        ],
    )
    def test_bad_input_changes_nothing(
        self, app: Flask, checker: Any, more: Any, status: int, code: str
    ) -> None:
        path = f"{API}/staff/policy-proposals/{new_id()}"
        answer = app.test_client().put(path, json=said(**more), headers=checker)
        assert (answer.status_code, answer.get_json()["code"]) == (status, code)
        assert app.test_client().get(path, headers=checker).status_code == 404

    @pytest.mark.parametrize("role", [Role.ACADEMIC, Role.PERSONNEL, Role.STUDENT_AFFAIRS])
    def test_is_not_for_everybody(self, app: Flask, parts: Parts, role: Role) -> None:
        client, who = app.test_client(), sign_in(parts, role)
        assert client.get(f"{API}/staff/policies", headers=who).status_code == 403
        path = f"{API}/staff/policy-proposals/{new_id()}"
        assert client.put(path, json=said(), headers=who).status_code == 403

    def test_auditors_look_only(self, app: Flask, parts: Parts) -> None:
        client, who = app.test_client(), sign_in(parts, Role.AUDITOR)
        assert client.get(f"{API}/staff/policies", headers=who).status_code == 200
        assert client.get(f"{API}/staff/policies/no.such/history", headers=who).status_code == 404
        path = f"{API}/staff/policy-proposals/{new_id()}"
        assert client.put(path, json=said(), headers=who).status_code == 403
