"""Bills for staff: over the API, on the console's pages, and on the command line."""

import io
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from factories import sign_in
from flask import Flask
from flask.testing import FlaskClient

from backend.operators.models import Role
from backend.settings import Settings

from .conftest import Past

BILLS = "/api/v1/staff/bills"
MEDIA = {"wechat": "text/csv", "alipay": "application/zip"}
LOOK = (Role.FINANCE, Role.CARD_CENTRE, Role.AUDITOR)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


class Desk:
    """One of the staff, and what they ask about one day."""

    def __init__(self, client: FlaskClient, past: Past, role: Role = Role.FINANCE) -> None:
        self.client, self.past = client, past
        self.headers = sign_in(past.parts, role)

    @property
    def day(self) -> dict[str, str]:
        return {"channel": self.past.channel.name, "day": self.past.day.isoformat()}

    def get(self, path: str = "", status: int = 200, **query: Any) -> Any:
        answer = self.client.get(BILLS + path, query_string=query, headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.get_json()

    def fetch(self, **other: str) -> tuple[int, Any]:
        answer = self.client.post(f"{BILLS}/fetch", json=self.day | other, headers=self.headers)
        return answer.status_code, answer.get_json()

    def upload(self, content: bytes, media: str | None = None) -> tuple[int, Any]:
        answer = self.client.post(
            BILLS,
            query_string=self.day,
            data=content,
            content_type=media or MEDIA[self.past.channel.name],
            headers=self.headers,
        )
        return answer.status_code, answer.get_json()


@pytest.fixture
def desk(client: FlaskClient, past: Past) -> Desk:
    return Desk(client, past)


class TestApi:
    def test_fetches_and_shows(self, desk: Desk, past: Past) -> None:
        order = past.settled()
        past.differ("extra_row")
        status, bill = desk.fetch()
        assert status == 201
        assert desk.fetch() == (200, bill)
        assert (bill["payments"], bill["payments_fen"], bill["state"]) == (2, 5321, "imported")
        assert {each["match"]: each["count"] for each in bill["matches"]} == {
            "matched": 1,
            "unknown_order": 1,
        }
        assert desk.get(f"/{bill['id']}") == bill
        assert desk.get(**desk.day)["items"] == [bill]
        lines = desk.get(f"/{bill['id']}/lines")["items"]
        assert len(lines) == 2
        (matched,) = desk.get(f"/{bill['id']}/lines", match="matched", kind="payment")["items"]
        assert (matched["out_trade_no"], matched["amount_fen"]) == (order.out_trade_no, 1000)
        assert desk.get(f"/{bill['id']}/lines", kind="refund")["items"] == []
        first = desk.get(f"/{bill['id']}/lines", limit=1)
        rest = desk.get(f"/{bill['id']}/lines", limit=1, cursor=first["next_cursor"])
        assert first["items"] + rest["items"] == lines
        assert rest["next_cursor"] is None

    def test_lists_what_the_bill_lacks(self, desk: Desk, past: Past) -> None:
        orders = [past.settled() for _ in range(3)]
        past.differ(*({"kind": "missing_row", "out_trade_no": o.out_trade_no} for o in orders[:2]))
        bill = desk.fetch()[1]
        assert (bill["payments"], bill["not_in_bill"]) == (1, 2)
        path = f"/{bill['id']}/not-in-bill"
        rows = desk.get(path)["items"]
        assert {row["out_trade_no"] for row in rows} == {o.out_trade_no for o in orders[:2]}
        first = desk.get(path, limit=1)
        rest = desk.get(path, limit=1, cursor=first["next_cursor"])
        assert first["items"] + rest["items"] == rows

    def test_takes_a_file_and_says_when_it_counts_in_place_of_another(
        self, desk: Desk, past: Past
    ) -> None:
        past.settled()
        content = past.channel.fetch_bill(past.day)
        status, first = desk.upload(content)
        assert (status, first["source"]) == (201, "uploaded")
        assert desk.upload(content) == (200, first)
        past.differ("amount_off")
        status, second = desk.upload(past.channel.fetch_bill(past.day))
        assert (status, second["version"]) == (201, 2)
        assert desk.get(f"/{first['id']}")["state"] == "superseded"
        assert desk.get(f"/{first['id']}")["superseded_at"] is not None

    def test_refuses_a_file_that_is_none_and_keeps_it(self, desk: Desk, past: Past) -> None:
        status, problem = desk.upload(b"\xff\x00 no bill")
        assert (status, problem["code"]) == (422, "bill-refused")
        assert problem["fault"]
        kept = desk.get(f"/{problem['bill_id']}")
        assert (kept["state"], kept["fault"]) == ("refused", problem["fault"])
        assert desk.get(f"/{problem['bill_id']}/lines")["items"] == []

    @pytest.mark.parametrize("media", ["application/json", "text/plain", "", "image/png"])
    def test_takes_no_other_media_type(self, desk: Desk, media: str) -> None:
        assert desk.upload(b"{}", media or "application/octet-stream")[0] == 415

    def test_says_why_there_is_none(self, desk: Desk, past: Past) -> None:
        status, problem = desk.fetch(day="2999-01-01")
        assert (status, problem["code"]) == (422, "bill-day-not-over")
        for old in ("0001-01-01", "2000-01-01"):
            status, problem = desk.fetch(day=old)
            assert (status, problem["code"]) == (422, "bill-day-too-old")
        status, problem = desk.upload(b"")
        assert (status, problem["code"], problem["answer"]) == (409, "bill-empty", "no-content")
        past.settled()
        if past.channel.name == "wechat":
            past.differ("wrong_hash")
            status, problem = desk.fetch()
            assert (status, problem["code"], problem["answer"]) == (503, "bill-damaged", "hash")
        past.differ("empty_day")
        status, problem = desk.fetch()
        assert (status, problem["code"]) == (409, "bill-empty")
        assert problem["answer"] == "empty-though-paid"
        past.post("faults", {"answer_5xx": True, "drop": True})
        status, problem = desk.fetch()
        assert (status, problem["code"]) == (503, "channel-silent")
        past.post("faults", {"drop": True})
        for wrong in ({"channel": "visa"}, {"day": "soon"}, {"more": "x"}):
            assert desk.fetch(**wrong)[0] == 422

    @pytest.mark.parametrize("query", ["limit=1&limit=2", "limit=١", "limit=+1", "limit=1.0"])
    def test_takes_a_limit_once_and_in_plain_digits(self, desk: Desk, query: str) -> None:
        answer = desk.client.get(f"{BILLS}?{query}", headers=desk.headers)
        assert (answer.status_code, answer.get_json()["code"]) == (422, "validation-failed")
        assert "limit" in answer.get_json()["errors"]

    def test_is_for_those_who_may(self, client: FlaskClient, past: Past) -> None:
        finance = Desk(client, past)
        bill = finance.fetch()[1]
        for role in Role:
            other = Desk(client, past, role)
            status = 200 if role in LOOK else 403
            for path in ("", "/missing", f"/{bill['id']}", f"/{bill['id']}/lines"):
                other.get(path, status=status)
            allowed = role is Role.FINANCE
            assert (other.fetch()[0] == 200) is allowed
            assert (other.upload(b"x")[0] == 422) is allowed

    def test_knows_no_other_bill(self, desk: Desk) -> None:
        nobody = "/00000000-0000-4000-8000-000000000000"
        desk.get(nobody, status=404)
        desk.get(f"{nobody}/lines", status=404)
        desk.get("", status=422, cursor="x")
        desk.get("", status=422, channel="visa")


class TestConsole:
    @pytest.fixture
    def browser(self, client: FlaskClient, past: Past) -> FlaskClient:
        """Somebody of finance, signed in."""
        token = sign_in(past.parts, Role.FINANCE)["Authorization"].removeprefix("Bearer ")
        client.set_cookie("campus_card_console", token, path="/console")
        return client

    def post(self, browser: FlaskClient, path: str, **said: Any) -> Any:
        page = browser.get("/console/bills").text
        found = re.search(r'name="form_token" value="([0-9a-f]{64})"', page)
        assert found is not None
        return browser.post(f"/console/bills/{path}", data={"form_token": found[1], **said})

    def test_fetches_and_shows_a_bill(self, browser: FlaskClient, past: Past) -> None:
        order = past.settled()
        past.differ({"kind": "duplicate_payment", "out_trade_no": order.out_trade_no})
        answer = self.post(browser, "fetch", channel=past.channel.name, day=past.day.isoformat())
        assert answer.status_code == 303
        page = browser.get(answer.location).text
        for said in (order.out_trade_no, "另一笔支付", "相符", "¥10.00", "已导入。"):
            assert said in page
        only = browser.get(f"{answer.location}&match=other_payment").text
        assert only.count(order.out_trade_no) == 1
        assert browser.get(f"{answer.location}&match=nonsense&kind=x").status_code == 200
        listed = browser.get("/console/bills").text
        assert past.day.isoformat() in listed
        again = self.post(browser, "fetch", channel=past.channel.name, day=past.day.isoformat())
        assert "没有变化" in browser.get(again.location).text

    def test_takes_a_file_and_says_what_is_wrong_with_another(
        self, browser: FlaskClient, past: Past
    ) -> None:
        past.settled()
        past.differ("wrong_sums")
        content = past.channel.fetch_bill(past.day)
        said = {"channel": past.channel.name, "day": past.day.isoformat()}
        answer = self.post(browser, "upload", **said, file=(io.BytesIO(content), "bill"))
        page = browser.get(answer.location).text
        assert "金额与平台汇总不符" in page
        assert re.search(r"第 \d+ 行", page)
        english = browser.get(answer.location, headers={"Accept-Language": "en"}).text
        assert "Refused" in english
        for wrong in ({}, said, {**said, "day": "x"}, {**said, "channel": "visa"}):
            assert self.post(browser, "upload", **wrong).status_code == 422

    def test_says_why_there_is_none(self, browser: FlaskClient, past: Past) -> None:
        past.settled()
        past.differ("empty_day")
        said = {"channel": past.channel.name, "day": past.day.isoformat()}
        answer = self.post(browser, "fetch", **said)
        assert answer.status_code == 409
        assert "账单是空的" in answer.text
        answer = self.post(browser, "upload", **said, file=(io.BytesIO(b""), "bill"))
        assert (answer.status_code, "账单是空的" in answer.text) == (409, True)
        assert self.post(browser, "fetch", **(said | {"day": "2999-01-01"})).status_code == 422


class TestCommand:
    def run(self, settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "backend.cli", *arguments],
            env={**os.environ, **_environment(settings)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_fetches_a_day(self, past: Past, settings: Settings) -> None:
        past.settled()
        wanted = ("fetch-bills", "--day", past.day.isoformat(), "--channel", past.channel.name)
        done = self.run(settings, *wanted)
        assert done.returncode == 0, done.stderr
        assert f"{past.day}: imported, version 1, 1 payments, 0 refunds" in done.stdout
        past.differ("wrong_sums")
        done = self.run(settings, *wanted)
        assert done.returncode == 1
        assert "refused, version 2" in done.stdout
        assert "sum in line" in done.stdout

    def test_reads_a_file_or_says_what_is_wrong(
        self, past: Past, settings: Settings, tmp_path: Path
    ) -> None:
        order = past.settled()
        file = tmp_path / "bill"
        file.write_bytes(past.channel.fetch_bill(past.day))
        wanted = ("read-bill", str(file), "--channel", past.channel.name)
        done = self.run(settings, *wanted, "--day", past.day.isoformat())
        assert done.returncode == 0, done.stderr
        assert order.out_trade_no in done.stdout
        assert "1 payments 10.00, 0 refunds 0.00, fees 0.06" in done.stdout
        done = self.run(settings, *wanted, "--day", "2026-01-01")
        assert done.returncode == 1
        assert "day" in done.stderr
        file.write_bytes(b"")
        done = self.run(settings, *wanted, "--day", past.day.isoformat())
        assert (done.returncode, done.stdout) == (1, "")
        assert "empty" in done.stderr
        assert past.bills() == []


def _environment(settings: Settings) -> dict[str, str]:
    import base64

    values = asdict(settings)
    return {
        "CAMPUS_CARD_DATABASE_URL": values["database_url"],
        "CAMPUS_CARD_REDIS_URL": values["redis_url"],
        "CAMPUS_CARD_ROOT_KEY": base64.b64encode(values["root_key"]).decode(),
        "CAMPUS_CARD_CODE_KEYS": str(values["code_keys"]),
        "CAMPUS_CARD_ISSUER": values["issuer"],
        "CAMPUS_CARD_BASE_URL": values["base_url"],
        "CAMPUS_CARD_PAYMENTS": str(values["payments"]),
        "CAMPUS_CARD_DEMO": str(values["demo"]),
    }
