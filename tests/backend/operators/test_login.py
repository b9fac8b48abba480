"""Operators: password and one-time code, each code once."""

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from backend import clock
from backend.db import transaction
from backend.http.auth import Unauthenticated
from backend.http.parts import Parts
from backend.operation_log.models import LogEntry
from backend.operators import service
from backend.operators.models import Operator, OperatorSession, Role
from backend.operators.service import OperatorNotKnown
from backend.sealing import token_hash

pytestmark = pytest.mark.usefixtures("app")
STEP = timedelta(seconds=30)
SECOND = timedelta(seconds=1)
BEGIN = datetime(2031, 9, 1, 8, 0, tzinfo=UTC)
"""The first moment of a step; steps only go forward, so it lies ahead of every real login."""
PASSWORD = "正确的马 battery staple"


@dataclass(frozen=True)
class Staff:
    """An operator, and what only they know."""

    username: str
    secret: str

    def code(self, at: datetime) -> str:
        """Return what the authenticator shows at a moment."""
        return pyotp.TOTP(self.secret).at(at)


@pytest.fixture
def staff(parts: Parts) -> Staff:
    return make_staff(parts)


def make_staff(parts: Parts, role: Role = Role.CARD_CENTRE) -> Staff:
    """Make an operator."""
    staff = Staff(f"op-{secrets.token_hex(5)}", pyotp.random_base32())
    with transaction() as session:
        service.add_operator(
            session,
            username=staff.username,
            role=role,
            password=PASSWORD,
            totp_secret=staff.secret,
            sealer=parts.sealer,
        )
    return staff


def log_in(
    parts: Parts, staff: Staff, at: datetime, *, code: str | None = None, password: str = PASSWORD
) -> str | None:
    """Log in at a moment; return the token, None when refused."""
    try:
        with transaction() as session:
            token, _, _ = service.log_in(
                session,
                username=staff.username,
                password=password,
                totp=code or staff.code(at),
                sealer=parts.sealer,
                now=at,
            )
    except OperatorNotKnown:
        return None
    return token


def lives(token: str, at: datetime) -> bool:
    """Say whether a token is taken at a moment."""
    try:
        with transaction() as session:
            service.authenticate(session, token, at)
    except Unauthenticated:
        return False
    return True


class TestOneTimeCode:
    def test_logs_in_once(self, parts: Parts, staff: Staff) -> None:
        code = staff.code(BEGIN)
        assert log_in(parts, staff, BEGIN, code=code)
        assert log_in(parts, staff, BEGIN + 10 * SECOND, code=code) is None
        assert log_in(parts, staff, BEGIN + STEP, code=code) is None

    def test_the_next_step_has_a_code_of_its_own(self, parts: Parts, staff: Staff) -> None:
        assert log_in(parts, staff, BEGIN)
        assert log_in(parts, staff, BEGIN + STEP)

    @pytest.mark.parametrize(("late", "taken"), [(0, True), (4, True), (5, False), (29, False)])
    def test_the_step_before_is_taken_for_five_seconds(
        self, parts: Parts, staff: Staff, late: int, taken: bool
    ) -> None:
        moment = BEGIN + STEP + late * SECOND
        assert (log_in(parts, staff, moment, code=staff.code(BEGIN)) is not None) == taken

    def test_no_step_ahead_is_taken(self, parts: Parts, staff: Staff) -> None:
        code = staff.code(BEGIN + STEP)
        assert log_in(parts, staff, BEGIN + STEP - SECOND, code=code) is None

    def test_an_older_step_is_dead_once_a_newer_was_used(self, parts: Parts, staff: Staff) -> None:
        assert log_in(parts, staff, BEGIN + STEP)
        assert log_in(parts, staff, BEGIN + STEP + SECOND, code=staff.code(BEGIN)) is None

    def test_logs_one_in_when_many_try_at_once(self, parts: Parts, staff: Staff) -> None:
        with ThreadPoolExecutor(4) as pool:
            tokens = list(pool.map(lambda _: log_in(parts, staff, BEGIN), range(4)))
        assert len([token for token in tokens if token]) == 1

    def test_a_wrong_password_does_not_use_it_up(self, parts: Parts, staff: Staff) -> None:
        assert log_in(parts, staff, BEGIN, password="wrong") is None
        assert log_in(parts, staff, BEGIN)

    def test_another_operators_code_is_wrong(self, parts: Parts, staff: Staff) -> None:
        other = make_staff(parts)
        assert log_in(parts, staff, BEGIN, code=other.code(BEGIN)) is None


class TestStored:
    def test_password_secret_and_token_are_not(self, parts: Parts, staff: Staff) -> None:
        token = log_in(parts, staff, BEGIN)
        assert token is not None
        with transaction() as session:
            operator = session.scalars(
                select(Operator).where(Operator.username == staff.username)
            ).one()
            opened = session.scalars(
                select(OperatorSession).where(OperatorSession.token_hash == token_hash(token))
            ).one()
            entry = session.scalars(select(LogEntry).where(LogEntry.subject_id == opened.id)).one()
        assert operator.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert staff.secret.encode() not in operator.totp_sealed
        assert PASSWORD not in operator.password_hash
        assert entry.action == "operator.log_in"
        assert entry.actor == f"operator:{operator.id}"


class TestSession:
    def test_ends_after_fifteen_idle_minutes(self, parts: Parts, staff: Staff) -> None:
        token = log_in(parts, staff, BEGIN) or ""
        assert lives(token, BEGIN + service.IDLE - SECOND)
        assert lives(token, BEGIN + 2 * service.IDLE - 2 * SECOND)
        assert not lives(token, BEGIN + 3 * service.IDLE - 2 * SECOND)

    def test_ends_after_eight_hours_of_work(self, parts: Parts, staff: Staff) -> None:
        token, moment = log_in(parts, staff, BEGIN) or "", BEGIN
        while moment < BEGIN + service.LONGEST:
            assert lives(token, moment)
            moment += timedelta(minutes=14)
        assert not lives(token, BEGIN + service.LONGEST)


class TestOverHttp:
    @pytest.fixture
    def client(self, app: Flask) -> FlaskClient:
        return app.test_client()

    @pytest.fixture
    def send(self, client: FlaskClient, staff: Staff) -> Callable[..., TestResponse]:
        def send(**changed: str) -> TestResponse:
            said = {
                "username": staff.username,
                "password": PASSWORD,
                "totp": staff.code(clock.now()),
            }
            return client.post("/api/v1/staff/sessions", json=said | changed)

        return send

    def test_gives_a_token_that_logging_out_kills(
        self, client: FlaskClient, send: Callable[..., TestResponse]
    ) -> None:
        answer = send()
        assert answer.status_code == 201
        assert answer.get_json()["role"] == "card_centre"
        headers = {"Authorization": f"Bearer {answer.get_json()['token']}"}
        assert client.get("/api/v1/staff/terminals", headers=headers).status_code == 200
        assert client.delete("/api/v1/staff/sessions/current", headers=headers).status_code == 204
        assert client.get("/api/v1/staff/terminals", headers=headers).status_code == 401

    def test_an_idle_token_is_dead(
        self, client: FlaskClient, send: Callable[..., TestResponse]
    ) -> None:
        token = send().get_json()["token"]
        with transaction() as session:
            session.execute(
                update(OperatorSession)
                .where(OperatorSession.token_hash == token_hash(token))
                .values(used_at=OperatorSession.used_at - service.IDLE)
            )
        answer = client.get("/api/v1/staff/terminals", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401

    def test_says_the_same_whatever_is_wrong(self, send: Callable[..., TestResponse]) -> None:
        said = []
        for changed in ({"username": "nobody"}, {"password": "wrong"}, {"totp": "000000"}):
            answer = send(**changed)
            body = answer.get_json()
            del body["reference"]
            said.append((answer.status_code, body))
        assert said[0] == said[1] == said[2]
        assert (said[0][0], said[0][1]["code"]) == (401, "operator-not-known")

    def test_locks_after_five_failures(self, send: Callable[..., TestResponse]) -> None:
        for _ in range(5):
            assert send(password="wrong").status_code == 401
        answer = send()
        assert (answer.status_code, answer.get_json()["code"]) == (429, "operator-locked")
        assert 14 * 60 < int(answer.headers["Retry-After"]) <= 15 * 60

    def test_locks_names_that_nobody_has_the_same(self, send: Callable[..., TestResponse]) -> None:
        name = f"nobody-{secrets.token_hex(4)}"
        statuses = [send(username=name).status_code for _ in range(6)]
        assert statuses == [401] * 5 + [429]

    def test_is_open_again_after_fifteen_minutes(self, parts: Parts) -> None:
        name, now = secrets.token_hex(8), clock.now()
        with transaction() as session:
            for number in range(service.TRIES):
                service.count_failure(
                    session, username=name, sealer=parts.sealer, now=now + number * SECOND
                )
        with transaction() as session:
            with pytest.raises(service.OperatorLocked):
                service.check_tries(
                    session, username=name, sealer=parts.sealer, now=now + 10 * SECOND
                )
            service.check_tries(
                session, username=name, sealer=parts.sealer, now=now + service.TRIES_WITHIN
            )

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("username", ""),
            ("username", "\x00"),
            ("password", ""),
            ("password", "x" * 129),
            ("totp", "12345"),
            ("totp", "1234567"),
            ("totp", "١٢٣٤٥٦"),
            ("totp", "123456\n"),
        ],
    )
    def test_names_the_field_that_does_not_fit(
        self, send: Callable[..., TestResponse], field: str, value: str
    ) -> None:
        answer = send(**{field: value})
        assert (answer.status_code, list(answer.get_json()["errors"])) == (422, [field])

    def test_half_a_surrogate_pair_is_no_password(self, client: FlaskClient) -> None:
        answer = client.post(
            "/api/v1/staff/sessions",
            data=rb'{"username": "a", "password": "\ud800", "totp": "123456"}',
            content_type="application/json",
        )
        assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["password"])
