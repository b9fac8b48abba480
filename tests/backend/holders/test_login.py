"""Sessions: opaque, and dead at once."""

import json
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.request import Request, urlopen

import pytest
from factories import make_holder
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from backend import clock
from backend.db import transaction
from backend.holders import login
from backend.holders.models import HolderSession
from backend.http.auth import Unauthenticated
from backend.http.parts import Parts
from backend.sealing import token_hash
from payments import PlatformAccount

pytestmark = pytest.mark.usefixtures("app")
NOW = clock.now()
SECOND = timedelta(seconds=1)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def refusing_sandbox(platform_sandbox: str) -> Iterator[None]:
    """Let the platforms refuse every login code."""

    def set_faults(**faults: bool) -> None:
        asked = Request(
            f"{platform_sandbox}/control/faults",
            json.dumps(faults).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(asked, timeout=10) as answer:
            assert answer.status == 200

    set_faults(refuse_login=True)
    yield
    set_faults()


def open_session(parts: Parts, *, at: datetime = NOW, account: str = "") -> str:
    """Log some account in and return its token."""
    with transaction() as session:
        token, _ = login.log_in(
            session,
            platform="wechat",
            account=PlatformAccount(account or secrets.token_hex(8)),
            sealer=parts.sealer,
            now=at,
        )
    return token


def lives(token: str, at: datetime) -> bool:
    """Say whether a token is taken at a moment."""
    try:
        with transaction() as session:
            login.authenticate(session, token, at)
    except Unauthenticated:
        return False
    return True


class TestToken:
    def test_is_random_and_only_its_hash_is_stored(self, parts: Parts) -> None:
        account = secrets.token_hex(8)
        one, other = open_session(parts, account=account), open_session(parts, account=account)
        assert len({one, other}) == 2
        assert min(len(one), len(other)) >= 43  # 32 bytes
        with transaction() as session:
            stored = session.scalars(
                select(HolderSession).where(HolderSession.token_hash == token_hash(one))
            ).one()
            columns = {name: getattr(stored, name) for name in HolderSession.__table__.c.keys()}  # noqa: SIM118
        assert one not in repr(columns)
        assert account not in repr(columns)
        assert one.encode() not in b"".join(v for v in columns.values() if isinstance(v, bytes))

    def test_the_account_opens_with_the_root_key_alone(self, parts: Parts) -> None:
        token = open_session(parts, account="somebody")
        with transaction() as session:
            caller = login.authenticate(session, token, NOW)
        assert parts.sealer.unseal("platform-account", caller.account_sealed) == "somebody"
        assert parts.sealer.unseal("totp", caller.account_sealed) is None

    @pytest.mark.parametrize("token", ["", "x", "' OR 1=1 --", "\x00", "é" * 100])
    def test_nothing_else_is_taken(self, token: str) -> None:
        assert not lives(token, NOW)


class TestEnd:
    def test_idle_for_seven_days(self, parts: Parts) -> None:
        assert lives(open_session(parts), NOW + login.IDLE - SECOND)
        assert not lives(open_session(parts), NOW + login.IDLE)

    def test_use_starts_the_idle_time_anew(self, parts: Parts) -> None:
        token = open_session(parts)
        assert lives(token, NOW + login.IDLE - SECOND)
        assert lives(token, NOW + 2 * login.IDLE - 2 * SECOND)

    def test_after_thirty_days_whatever_happens(self, parts: Parts) -> None:
        token, moment = open_session(parts), NOW
        while moment < NOW + login.LONGEST:
            assert lives(token, moment)
            moment += timedelta(days=5)
        assert not lives(token, NOW + login.LONGEST)

    def test_logging_out(self, parts: Parts, client: FlaskClient) -> None:
        holder = make_holder(parts)
        assert client.get("/api/v1/me", headers=holder.headers).status_code == 200
        assert client.delete("/api/v1/sessions/current", headers=holder.headers).status_code == 204
        answer = client.get("/api/v1/me", headers=holder.headers)
        assert (answer.status_code, answer.get_json()["code"]) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_logging_out_leaves_other_sessions_alone(self, parts: Parts) -> None:
        account = secrets.token_hex(8)
        one, other = open_session(parts, account=account), open_session(parts, account=account)
        with transaction() as session:
            login.log_out(
                session, session_id=login.authenticate(session, one, NOW).session_id, now=NOW
            )
        assert not lives(one, NOW)
        assert lives(other, NOW)

    def test_ending_all_sessions_of_an_account(self, parts: Parts) -> None:
        account = secrets.token_hex(8)
        tokens = [open_session(parts, account=account) for _ in range(3)]
        stranger = open_session(parts)
        with transaction() as session:
            caller = login.authenticate(session, tokens[0], NOW)
            login.end_sessions(session, account_index=caller.account_index, now=NOW)
        assert [lives(token, NOW) for token in (*tokens, stranger)] == [False, False, False, True]


class TestPlatformLogin:
    @pytest.mark.parametrize("platform", ["wechat", "alipay"])
    def test_opens_a_session(self, client: FlaskClient, platform: str) -> None:
        said = {"platform": platform, "code": f"login {secrets.token_hex(8)}"}
        answer = client.post("/api/v1/sessions", json=said)
        assert answer.status_code == 201
        body = answer.get_json()
        assert body.keys() == {"token", "expires_at", "binding"}
        assert body["binding"] == "none"
        ends = datetime.fromisoformat(body["expires_at"]) - clock.now()
        assert timedelta(days=29, hours=23) < ends <= login.LONGEST
        me = client.get("/api/v1/me", headers={"Authorization": f"Bearer {body['token']}"})
        assert me.get_json()["binding"] == "none"
        assert me.get_json()["holder"] is None

    @pytest.mark.parametrize("platform", ["wechat", "alipay"])
    def test_says_that_the_platform_refuses_the_code(
        self, client: FlaskClient, platform: str, refusing_sandbox: None
    ) -> None:
        answer = client.post("/api/v1/sessions", json={"platform": platform, "code": "refused"})
        assert (answer.status_code, answer.get_json()["code"]) == (409, "login-code-refused")

    @pytest.mark.parametrize(
        ("said", "field"),
        [
            ({"platform": "qq", "code": "x"}, "platform"),
            ({"platform": "wechat", "code": ""}, "code"),
            ({"platform": "wechat", "code": "x" * 257}, "code"),
            ({"platform": "wechat", "code": 5}, "code"),
            ({"platform": "wechat"}, "code"),
            ({"platform": "wechat", "code": "x", "role": "operator"}, "role"),
        ],
    )
    def test_says_which_field_is_wrong(
        self, client: FlaskClient, said: dict[str, str], field: str
    ) -> None:
        answer = client.post("/api/v1/sessions", json=said)
        assert (answer.status_code, list(answer.get_json()["errors"])) == (422, [field])

    def test_one_code_cannot_be_hammered(self, client: FlaskClient) -> None:
        said = {"platform": "wechat", "code": f"hammer {secrets.token_hex(8)}"}
        statuses = []
        for _ in range(130):
            answer = client.post("/api/v1/sessions", json=said)
            statuses.append(answer.status_code)
            if answer.status_code != 201:
                break
        assert answer.status_code == 429
        assert 60 <= len(statuses) - 1 <= 120, "sixty a window; a window may end in between"
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
