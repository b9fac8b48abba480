"""Every failure is a problem with a code and a reference, whatever was sent; never a 500."""

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, make_holder, make_till
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from backend.app import create_app
from backend.db import Session
from backend.http.json_body import MOST_BODY_BYTES
from backend.http.parts import Parts
from backend.ids import REFERENCE_LETTERS, new_id
from backend.settings import Settings

pytestmark = pytest.mark.usefixtures("app")
API = "/api/v1"
SESSIONS = f"{API}/sessions"


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def holder(parts: Parts) -> Bound:
    return make_holder(parts)


@pytest.fixture(scope="class")
def away(settings: Settings, app: Flask) -> Iterator[FlaskClient]:
    """The same application, with nobody where the database should be."""
    bound = Session.kw["bind"]
    nowhere = "postgresql+psycopg://x@127.0.0.1:1/x"
    yield create_app(replace(settings, database_url=nowhere)).test_client()
    Session.configure(bind=bound)


def check(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is this problem, and return its body."""
    body: dict[str, Any] = answer.get_json()
    assert (answer.status_code, body["code"]) == (status, code)
    assert answer.content_type == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "reference"} <= body.keys()
    assert body["type"] == f"urn:campus-card:problem:{code}"
    assert body["status"] == status
    assert re.fullmatch(f"[{REFERENCE_LETTERS}]{{8}}", body["reference"])
    assert body["title"]
    assert body["detail"]
    assert ("Retry-After" in answer.headers) == (status in (429, 503))
    return body


LOG_INS = ("sessions", "enrolments", "operator-logins", "operator-enrolments")
"""Blueprints whose callers say in the body who they are: it is read before the database."""


class TestShape:
    def test_members_and_headers(self, client: FlaskClient) -> None:
        answer = client.get(f"{API}/me")
        check(answer, 401, "unauthenticated")
        assert answer.headers["Content-Language"] == "zh-CN"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Vary"] == "Accept-Language"

    def test_each_has_a_reference_of_its_own(self, client: FlaskClient) -> None:
        references = {client.get(f"{API}/me").get_json()["reference"] for _ in range(20)}
        assert len(references) == 20

    def test_the_log_names_the_reference_and_nothing_of_the_request(
        self, client: FlaskClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level("DEBUG"):
            answer = client.post(
                f"{SESSIONS}?secret=query-secret",
                json={"platform": "wechat", "code": "", "secret": "body-secret"},
                headers={"Authorization": "Bearer token-secret"},
            )
        assert answer.get_json()["reference"] in caplog.text
        for secret in ("query-secret", "body-secret", "token-secret"):
            assert secret not in caplog.text

    @pytest.mark.parametrize(
        ("accept", "language", "title"),
        [
            (None, "zh-CN", "请先登录"),
            ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN", "请先登录"),
            ("zh", "zh-CN", "请先登录"),
            ("en", "en", "Please log in"),
            ("en-GB,en;q=0.9", "en", "Please log in"),
            ("fr-FR,fr", "zh-CN", "请先登录"),
            ("fr,en;q=0.5", "en", "Please log in"),
            ("en;q=0.1,zh-CN;q=0.2", "zh-CN", "请先登录"),
            ("zh,en;q=0.5", "zh-CN", "请先登录"),
            ("en;q=0.1,zh;q=0.9", "zh-CN", "请先登录"),
            ("zh-TW,zh;q=0.9,en;q=0.8", "zh-CN", "请先登录"),
            ("zh-HK,en;q=0.5", "zh-CN", "请先登录"),
            ("zh-SG,en;q=0.9", "zh-CN", "请先登录"),
            ("zh-Hans-CN,en;q=0.9", "zh-CN", "请先登录"),
            ("EN-us,ZH;q=0.5", "en", "Please log in"),
            ("zh;q=0,en;q=0.1", "en", "Please log in"),
            ("en,*;q=0.5", "en", "Please log in"),
            ("en;q=0.1,*", "zh-CN", "请先登录"),
            ("*", "zh-CN", "请先登录"),
            ("", "zh-CN", "请先登录"),
            ("en;q=x,,;;=", "zh-CN", "请先登录"),
        ],
    )
    def test_speaks_the_callers_language(
        self, client: FlaskClient, accept: str | None, language: str, title: str
    ) -> None:
        headers = {} if accept is None else {"Accept-Language": accept}
        answer = client.get(f"{API}/me", headers=headers)
        if accept == "en;q=x,,;;=":
            assert answer.headers["Content-Language"] in ("zh-CN", "en")
            return
        assert (answer.headers["Content-Language"], answer.get_json()["title"]) == (language, title)


class TestAddress:
    @pytest.mark.parametrize(
        "path",
        ["/nowhere", API, f"{API}/", f"{API}/me/", f"{API}/ME", "/%00", "/..%2fetc/passwd",
         f"{API}/charges/not-an-id", f"{API}/charges/{'0' * 36}", f"{API}/charges/1"],
    )  # fmt: skip
    def test_that_is_nothing(self, client: FlaskClient, path: str) -> None:
        check(client.get(path), 404, "not-found")

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", SESSIONS, {"POST", "OPTIONS"}),
            ("DELETE", f"{API}/me", {"GET", "HEAD", "OPTIONS"}),
            ("POST", f"{API}/charges/{UUID(int=7)}", {"GET", "HEAD", "PUT", "OPTIONS"}),
            ("TRACE", f"{API}/me", {"GET", "HEAD", "OPTIONS"}),
            ("BREW", f"{API}/me", {"GET", "HEAD", "OPTIONS"}),
            ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ],
    )
    def test_that_takes_other_methods(
        self, client: FlaskClient, method: str, path: str, allowed: set[str]
    ) -> None:
        answer = client.open(path, method=method)
        check(answer, 405, "method-not-allowed")
        assert {word.strip() for word in answer.headers["Allow"].split(",")} == allowed

    def test_head_is_get_without_a_body(self, client: FlaskClient, holder: Bound) -> None:
        answer = client.head(f"{API}/me", headers=holder.headers)
        assert (answer.status_code, answer.data) == (200, b"")
        assert client.head(f"{API}/me").status_code == 401

    def test_options_says_what_is_allowed(self, client: FlaskClient, holder: Bound) -> None:
        answer = client.options(SESSIONS)
        assert answer.status_code == 200
        assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


class TestBody:
    def send(
        self, client: FlaskClient, body: bytes, media_type: str | None = "application/json"
    ) -> TestResponse:
        """Send bytes to where anybody may send."""
        return client.post(SESSIONS, data=body, content_type=media_type)

    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"{'platform': 'wechat'}",
            b'{"platform": "wechat",}',
            b'{"platform": "wechat"} {}',
            b"\xff\xfe",
            b'{"platform": "\xff"}',
            b"[" * 100_000,
            b"[" * 100_000 + b"]" * 100_000,
            b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            b'{"code": ' + b"9" * 5000 + b"}",
            b'{"code": -' + b"9" * 500_000 + b"}",
            b'{"platform": "wechat", "code": "x", "code": 5}',
            b'{"platform": "wechat", "code": "x", "code": "x"}',
            b'{"platform": "wechat", "code": {"a": 1, "a": 2}}',
            b'{"platform": "wechat", "code": "x", "\\ud800": 1}',
            b'{"platform": "wechat", "code": {"x": [{"\\udfff": 1}]}}',
            b'{"platform": "wechat", "code": "x", "\\uDc00\\ud800": 1}',
        ],
        ids=range(17),
    )
    def test_that_is_not_json(self, client: FlaskClient, body: bytes) -> None:
        check(self.send(client, body), 400, "malformed-request")

    @pytest.mark.parametrize(
        "body",
        [
            b"[]",
            b"null",
            b"5",
            b'"wechat"',
            b"{}",
            b'{"platform": NaN, "code": Infinity}',
            b'{"platform": "wechat", "code": NaN}',
            b'{"platform": "wechat", "code": 1e999}',
            b'{"platform": "wechat", "code": {"$ne": null}}',
            b'{"platform": "wechat", "code": "\\u0000"}',
            b'{"platform": "wechat", "code": "\\ud800"}',
            b'{"platform": "wechat", "code": "x", "__proto__": {}}',
            b'{"platform": "wechat", "code": "x", "\\ud83d\\ude00": {}}',
            b"",
        ],
    )
    def test_that_does_not_fit(self, client: FlaskClient, body: bytes) -> None:
        said = check(self.send(client, body), 422, "validation-failed")
        assert said["errors"]
        assert all(isinstance(faults, list) for faults in said["errors"].values())

    @pytest.mark.parametrize(
        "amount",
        ["NaN", "Infinity", "1e999", "106.5", "true", '"106"', "null", "[]", "0", "-1", "9" * 4000],
    )
    def test_whose_money_is_not_whole_fen(
        self, client: FlaskClient, holder: Bound, amount: str
    ) -> None:
        body = f'{{"per_charge_fen": {amount}}}'
        answer = client.patch(
            f"{API}/me/limits", data=body, content_type="application/json", headers=holder.headers
        )
        if amount in ("null", "0"):
            assert answer.status_code == 200
        else:
            assert list(check(answer, 422, "validation-failed")["errors"]) == ["per_charge_fen"]

    def test_that_cannot_be_read_changes_nothing(self, client: FlaskClient, holder: Bound) -> None:
        for body in (b'{"paused": ' + b"[" * 100_000, b'{"per_day_fen": ' + b"9" * 5000 + b"}"):
            answer = client.patch(
                f"{API}/me/limits",
                data=body,
                content_type="application/json",
                headers=holder.headers,
            )
            check(answer, 400, "malformed-request")

    @pytest.mark.parametrize(
        "media_type",
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
         "text/html", "application/xml", "nonsense", None],
    )  # fmt: skip
    def test_that_does_not_say_it_is_json(
        self, client: FlaskClient, media_type: str | None
    ) -> None:
        answer = self.send(client, b'{"platform": "wechat", "code": "x"}', media_type)
        check(answer, 415, "media-type-not-supported")

    @pytest.mark.parametrize(
        "media_type", ["application/json; charset=utf-8", "application/vnd.x+json"]
    )
    def test_that_says_it_is_json(self, client: FlaskClient, media_type: str) -> None:
        check(self.send(client, b"{}", media_type), 422, "validation-failed")

    def test_that_is_too_large(self, client: FlaskClient) -> None:
        most = b'{"platform": "' + b"x" * (MOST_BODY_BYTES - 16) + b'"}'
        assert len(most) == MOST_BODY_BYTES
        check(self.send(client, most), 422, "validation-failed")
        check(self.send(client, most + b" "), 413, "body-too-large")

    def test_whose_charge_has_no_text_for_a_name(self, client: FlaskClient) -> None:
        till = make_till()
        answer = client.put(
            f"{API}/charges/{new_id()}",
            data=b'{"code": "x", "amount_fen": 5, "\\ud800": 1}',
            content_type="application/json",
            headers=till.headers,
        )
        check(answer, 400, "malformed-request")

    @pytest.mark.parametrize(
        "name", ["王𱍐", "王𮯱", "王\ue82d", "买买提·艾力", "O’Brien", "王　明", "é"]
    )
    def test_takes_every_name_that_people_have(
        self, client: FlaskClient, holder: Bound, name: str
    ) -> None:
        answer = self.bind(client, holder, name)
        check(answer, 409, "identity-not-matched")

    @pytest.mark.parametrize(
        "name", ["王\x00明", "王\n明", "\x9f明", "王\u202e明", "\u2066明", "\u200f"]
    )
    def test_refuses_what_controls_or_reorders_text(
        self, client: FlaskClient, holder: Bound, name: str
    ) -> None:
        said = check(self.bind(client, holder, name), 422, "validation-failed")
        assert said["errors"] == {"name": ["不能含控制字符或改变书写方向的字符。"]}

    def bind(self, client: FlaskClient, holder: Bound, name: str) -> TestResponse:
        """Say that one has this name."""
        return client.put(
            f"{API}/me/binding",
            json={
                "holder_number": new_id().hex, "name": name,
                "document_number": "110101200501010015", "terms_version": "1",
            },
            headers=holder.headers,
        )  # fmt: skip

    def test_errors_are_in_the_callers_language(self, client: FlaskClient) -> None:
        said: dict[str, Any] = {"platform": "qq", "code": 5, "more": 1}
        errors = check(client.post(SESSIONS, json=said), 422, "validation-failed")["errors"]
        assert errors == {
            "platform": ["只能是：wechat, alipay。"],
            "code": ["应为文本。"],
            "more": ["没有这个字段。"],
        }
        answer = client.post(SESSIONS, json=said, headers={"Accept-Language": "en"})
        assert answer.get_json()["errors"]["more"] == ["Unknown field."]

    def test_errors_never_repeat_what_was_sent(self, client: FlaskClient) -> None:
        said = {"platform": "secret-platform", "code": {"secret": "secret-code"}}
        answer = client.post(SESSIONS, json=said)
        assert "secret" not in answer.text


class TestQuery:
    @pytest.mark.parametrize(
        "query",
        ["x=1", "limit=5&x=1", "limit=0", "limit=101", "limit=x", "limit=1e2", "limit=",
         "month=2026-13", "month=26-01",
         "month=2026-1", "month=２０２６-01", "cursor=", "limit=" + "9" * 5000],
    )  # fmt: skip
    def test_that_does_not_fit(self, client: FlaskClient, holder: Bound, query: str) -> None:
        answer = client.get(f"{API}/me/statement?{query}", headers=holder.headers)
        assert check(answer, 422, "validation-failed")["errors"]

    @pytest.mark.parametrize(
        "cursor", ["x", "!!!!", "MjAyNg", "é", "%00", "A" * 200, "MjAyNi0wMS0wMSAx"]
    )
    def test_whose_cursor_no_list_made(
        self, client: FlaskClient, holder: Bound, cursor: str
    ) -> None:
        for path in ("statement", "passages"):
            answer = client.get(f"{API}/me/{path}?cursor={cursor}", headers=holder.headers)
            check(answer, 422, "cursor-unknown")

    def test_whose_cursor_another_list_made(self, client: FlaskClient, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=500), make_till()
        for _ in range(2):
            said = {"scope": "pay"}
            codes = client.post(f"{API}/me/codes", json=said, headers=holder.headers).get_json()
            body = {"code": codes["codes"][0]["text"], "amount_fen": 1}
            path = f"{API}/charges/{new_id()}"
            assert client.put(path, json=body, headers=till.headers).status_code == 201
        page = client.get(f"{API}/me/statement?limit=1", headers=holder.headers).get_json()
        cursor = page["next_cursor"]
        for path, status in (("statement", 200), ("passages", 422), ("top-ups", 422)):
            answer = client.get(f"{API}/me/{path}?cursor={cursor}", headers=holder.headers)
            assert answer.status_code == status

    @pytest.mark.parametrize(
        "moment",
        ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
         "2026-09-01T00:00:00+00:00:30.123456", "2026-W01-1T00:00:00+00:00"],
    )  # fmt: skip
    def test_whose_cursor_is_a_strange_moment(
        self, client: FlaskClient, holder: Bound, moment: str
    ) -> None:
        for path, list_ in (
            ("statement", "me.read_statement"), ("passages", "own-passages.list_own_passages"),
        ):  # fmt: skip
            place = f"{list_} {moment} {new_id()}"
            cursor = urlsafe_b64encode(place.encode()).decode().rstrip("=")
            answer = client.get(f"{API}/me/{path}?cursor={cursor}", headers=holder.headers)
            assert answer.status_code in (200, 422)


class TestFault:
    def test_of_ours_tells_a_reference_and_nothing_else(
        self, app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.delitem(app.extensions, "campus_card")
        answer = client.post(SESSIONS, json={"platform": "wechat", "code": "code-secret"})
        body = check(answer, 500, "internal-error")
        assert body.keys() == {"type", "title", "status", "detail", "code", "reference"}
        assert body["reference"] in caplog.text
        assert "code-secret" not in caplog.text


class TestDatabaseAway:
    def test_every_endpoint_says_so(self, away: FlaskClient, app: Flask) -> None:
        asked = 0
        for rule in app.url_map.iter_rules():
            if not rule.rule.startswith(API):
                continue
            path = re.sub(r"<[^>]+>", str(new_id()), rule.rule)
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                answer = away.open(
                    path, method=method, headers={"Authorization": "Bearer token"},
                    json={} if method in ("POST", "PUT", "PATCH") else None,
                )  # fmt: skip
                if rule.endpoint.split(".")[0] in LOG_INS:
                    check(answer, 422, "validation-failed")
                else:
                    check(answer, 503, "service-unavailable")
                asked += 1
        assert asked > 30

    @pytest.mark.parametrize(
        ("path", "said"),
        [
            ("sessions", {"platform": "wechat", "code": "x"}),
            ("terminals/enrolments", {"enrolment_token": "x", "software": "x"}),
            ("staff/sessions", {"username": "x", "password": "x", "totp": "123456"}),
        ],
    )
    def test_so_does_logging_in(self, away: FlaskClient, path: str, said: dict[str, str]) -> None:
        check(away.post(f"{API}/{path}", json=said), 503, "service-unavailable")

    def test_operations_can_tell(self, away: FlaskClient) -> None:
        assert away.get("/healthz").get_json() == {"status": "alive"}
        ready = away.get("/readyz")
        assert (ready.status_code, ready.get_json()["database"]) == (503, "away")
        assert "Retry-After" in ready.headers
        check(away.get("/metrics"), 503, "service-unavailable")
        assert away.get("/.well-known/jwks.json").status_code == 200

    def test_callbacks_are_to_come_again(self, away: FlaskClient) -> None:
        said = {"data": b"{}", "content_type": "application/json"}
        wechat = away.post("/callbacks/wechat-pay", **said)
        assert (wechat.status_code, wechat.get_json()["code"]) == (400, "FAIL")
        alipay = away.post("/callbacks/alipay", **said)
        assert (alipay.status_code, alipay.data) == (200, b"fail")


class TestOperations:
    def test_alive_and_ready(self, client: FlaskClient) -> None:
        assert client.get("/healthz").get_json() == {"status": "alive"}
        said = client.get("/readyz").get_json()
        assert (said["status"], said["database"], said["redis"]) == ("ready", "ready", "ready")
        assert said["revision"]

    def test_publishes_the_keys_that_check_codes(self, client: FlaskClient) -> None:
        answer = client.get("/.well-known/jwks.json")
        assert answer.headers["Cache-Control"] == "max-age=60"
        keys = answer.get_json()["keys"]
        assert keys
        for key in keys:
            assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
            assert "d" not in key

    def test_counts_answers_without_naming_anybody(
        self, client: FlaskClient, holder: Bound
    ) -> None:
        client.get(f"{API}/me", headers=holder.headers)
        answer = client.get("/metrics")
        assert answer.status_code == 200
        assert 'campus_card_requests_total{endpoint="card.read_me",status="200"}' in answer.text
        assert "campus_card_request_seconds_bucket" in answer.text
        for secret in (holder.token, holder.number, holder.account_id, str(holder.id)):
            assert secret not in answer.text
