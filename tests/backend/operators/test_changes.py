"""Operators' access: proposed by one, approved by another, set up by the person alone."""

import secrets
import string
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pyotp
import pytest
from factories import sign_in
from flask import Flask
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from werkzeug.test import TestResponse

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operators import enrolment, service
from backend.operators.enrolment import AlreadyFounded
from backend.operators.models import (
    Operator,
    OperatorChange,
    OperatorEnrolment,
    OperatorSession,
    OperatorState,
    Role,
)
from backend.operators.rules import password_fault
from backend.sealing import token_hash

STAFF = "/api/v1/staff"
PASSWORD = "紫藤 图书馆 靠窗 二楼 的 座位 九月"
Headers = dict[str, str]
Ask = Callable[..., TestResponse]


@pytest.fixture
def ask(app: Flask) -> Ask:
    """Send a request to `/staff`."""

    def send(who: Headers | None, method: str, path: str, body: Any = None) -> TestResponse:
        return app.test_client().open(f"{STAFF}{path}", method=method, json=body, headers=who or {})

    return send


@pytest.fixture
def admin(parts: Parts) -> Headers:
    return sign_in(parts, Role.SYSTEM_ADMINISTRATOR)


@pytest.fixture
def centre(parts: Parts) -> Headers:
    return sign_in(parts, Role.CARD_CENTRE)


def id_of(who: Headers) -> UUID:
    """Return whose headers these are."""
    with transaction() as session:
        token = who["Authorization"].removeprefix("Bearer ")
        return service.authenticate(session, token, clock.now()).operator_id


def code(answer: TestResponse) -> tuple[int, str]:
    """Return status and code of a refusal."""
    return answer.status_code, answer.get_json()["code"]


def appointment(role: Role = Role.FINANCE) -> dict[str, str]:
    """Return what is said of somebody new."""
    return {"username": f"n{secrets.token_hex(5)}", "name": "李娜", "role": role.value}


def appoint(ask: Ask, admin: Headers, centre: Headers, role: Role = Role.FINANCE) -> UUID:
    """Let two people appoint somebody; return their id."""
    id_ = new_id()
    assert ask(admin, "PUT", f"/operators/{id_}", appointment(role)).status_code == 201
    answer = ask(centre, "PUT", f"/operators/{id_}/changes/{id_}/decision", {"approve": True})
    assert answer.status_code == 200
    assert answer.get_json()["approved"] is True
    return id_


def token_for(ask: Ask, who: Headers, id_: UUID) -> str:
    """Give out a token."""
    answer = ask(who, "POST", f"/operators/{id_}/enrolment-token")
    assert answer.status_code == 201, answer.text
    token: str = answer.get_json()["enrolment_token"]
    return token


def enrol(ask: Ask, token: str) -> dict[str, str]:
    """Set password and second factor; return what the person then knows."""
    said = {"enrolment_token": token, "password": PASSWORD}
    begun = ask(None, "POST", "/enrolments", said)
    assert begun.status_code == 201, begun.text
    totp = pyotp.TOTP(begun.get_json()["totp_secret"]).at(clock.now())
    done = ask(None, "POST", "/enrolments/confirmation", {"enrolment_token": token, "totp": totp})
    assert done.status_code == 204
    return dict(begun.get_json())


def state_of(id_: UUID) -> OperatorState:
    with transaction() as session:
        return session.get_one(Operator, id_).state


def make_old(who: Headers, age: timedelta) -> None:
    """Let somebody's last one-time code have been shown so long ago."""
    token = who["Authorization"].removeprefix("Bearer ")
    with transaction() as session:
        session.execute(
            update(OperatorSession)
            .where(OperatorSession.token_hash == token_hash(token))
            .values(confirmed_at=clock.now() - age)
        )


class TestAppointment:
    def test_takes_two_and_the_person(self, ask: Ask, admin: Headers, centre: Headers) -> None:
        id_, said = new_id(), appointment()
        first = ask(admin, "PUT", f"/operators/{id_}", said)
        again = ask(admin, "PUT", f"/operators/{id_}", said)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        path = f"/operators/{id_}/changes/{id_}/decision"
        assert code(ask(admin, "PUT", path, {"approve": True})) == (409, "second-person-needed")
        assert ask(centre, "PUT", path, {"approve": True}).status_code == 200
        assert ask(centre, "PUT", path, {"approve": True}).status_code == 200
        assert code(ask(centre, "PUT", path, {"approve": False})) == (
            409, "operator-change-decided",
        )  # fmt: skip
        assert state_of(id_) is OperatorState.INVITED
        known = enrol(ask, token_for(ask, centre, id_))
        assert known["username"] == said["username"]
        assert state_of(id_) is OperatorState.ACTIVE
        with transaction() as session:  # the code that finished it does not sign in as well
            session.execute(update(Operator).where(Operator.id == id_).values(last_totp_step=0))
        totp = pyotp.TOTP(known["totp_secret"]).at(clock.now())
        login = {"username": said["username"], "password": PASSWORD, "totp": totp}
        answer = ask(None, "POST", "/sessions", login)
        assert (answer.status_code, answer.get_json()["role"]) == (201, "finance")

    def test_refused_leaves_nobody(self, ask: Ask, admin: Headers, centre: Headers) -> None:
        id_ = new_id()
        ask(admin, "PUT", f"/operators/{id_}", appointment())
        ask(centre, "PUT", f"/operators/{id_}/changes/{id_}/decision", {"approve": False})
        answer = ask(centre, "POST", f"/operators/{id_}/enrolment-token")
        assert code(answer) == (404, "not-found")

    def test_needs_a_user_name_of_its_own(self, ask: Ask, admin: Headers) -> None:
        said = appointment()
        assert ask(admin, "PUT", f"/operators/{new_id()}", said).status_code == 201
        assert code(ask(admin, "PUT", f"/operators/{new_id()}", said)) == (409, "username-taken")

    def test_an_id_is_for_one_content(self, ask: Ask, admin: Headers) -> None:
        id_ = new_id()
        assert ask(admin, "PUT", f"/operators/{id_}", appointment()).status_code == 201
        assert code(ask(admin, "PUT", f"/operators/{id_}", appointment())) == (409, "id-reused")

    def test_is_for_administrators(self, ask: Ask, centre: Headers) -> None:
        answer = ask(centre, "PUT", f"/operators/{new_id()}", appointment())
        assert code(answer) == (403, "role-not-allowed")

    def test_the_database_refuses_one_person_for_both(self, ask: Ask, admin: Headers) -> None:
        id_ = new_id()
        ask(admin, "PUT", f"/operators/{id_}", appointment())
        with (
            pytest.raises(IntegrityError, match="another_person_approves"),
            transaction() as session,
        ):
            session.execute(
                update(OperatorChange)
                .where(OperatorChange.id == id_)
                .values(approved=True, approved_by=OperatorChange.made_by)
            )

    def test_is_in_the_log_without_a_name(self, ask: Ask, admin: Headers, centre: Headers) -> None:
        id_ = appoint(ask, admin, centre)
        with transaction() as session:
            entries = session.scalars(select(LogEntry).where(LogEntry.subject_id == id_)).all()
        assert {e.action for e in entries} == {"operator.change_make", "operator.change_approve"}
        assert "李娜" not in str([entry.facts for entry in entries])


class TestChanges:
    def change(self, ask: Ask, who: Headers, id_: UUID, kind: str, **more: Any) -> TestResponse:
        body = {"kind": kind, "role": None, **more}
        return ask(who, "PUT", f"/operators/{id_}/changes/{new_id()}", body)

    def approve(self, ask: Ask, who: Headers, made: TestResponse) -> TestResponse:
        said = made.get_json()
        path = f"/operators/{said['operator_id']}/changes/{said['id']}/decision"
        return ask(who, "PUT", path, {"approve": True})

    def test_suspending_holds_at_once(self, ask: Ask, parts: Parts, admin: Headers) -> None:
        finance = sign_in(parts, Role.FINANCE)
        assert ask(finance, "GET", "/refunds").status_code == 200
        assert self.change(ask, admin, id_of(finance), "suspend").status_code == 201
        assert code(ask(finance, "GET", "/refunds")) == (401, "unauthenticated")

    def test_a_return_takes_two_and_new_secrets(
        self, ask: Ask, parts: Parts, admin: Headers, centre: Headers
    ) -> None:
        finance = sign_in(parts, Role.FINANCE)
        id_ = id_of(finance)
        self.change(ask, admin, id_, "suspend")
        made = self.change(ask, admin, id_, "resume")
        assert made.get_json()["approved"] is None
        assert state_of(id_) is OperatorState.SUSPENDED
        assert self.approve(ask, centre, made).status_code == 200
        assert state_of(id_) is OperatorState.INVITED
        enrol(ask, token_for(ask, admin, id_))
        assert code(ask(finance, "GET", "/refunds")) == (401, "unauthenticated")

    def test_another_role_holds_at_once(
        self, ask: Ask, parts: Parts, admin: Headers, centre: Headers
    ) -> None:
        finance = sign_in(parts, Role.FINANCE)
        made = self.change(ask, admin, id_of(finance), "change_role", role="academic")
        assert self.approve(ask, centre, made).get_json()["role"] == "academic"
        assert code(ask(finance, "GET", "/refunds")) == (401, "unauthenticated")

    def test_a_lost_factor_is_recovered_by_two_others(
        self, ask: Ask, parts: Parts, admin: Headers, centre: Headers
    ) -> None:
        other = sign_in(parts, Role.CARD_CENTRE)
        made = self.change(ask, centre, id_of(admin), "recover")
        assert made.status_code == 201
        assert code(self.approve(ask, centre, made)) == (409, "second-person-needed")
        assert code(self.approve(ask, admin, made)) == (409, "own-access")
        admin_id = id_of(admin)
        assert self.approve(ask, other, made).status_code == 200
        assert state_of(admin_id) is OperatorState.INVITED

    def test_nobody_changes_his_own(self, ask: Ask, admin: Headers, centre: Headers) -> None:
        assert code(self.change(ask, admin, id_of(admin), "suspend")) == (409, "own-access")
        assert code(self.change(ask, centre, id_of(centre), "recover")) == (409, "own-access")

    def test_the_card_centre_only_recovers(self, ask: Ask, parts: Parts, centre: Headers) -> None:
        answer = self.change(ask, centre, id_of(sign_in(parts, Role.FINANCE)), "suspend")
        assert code(answer) == (403, "role-not-allowed")

    def test_one_waits_at_a_time(self, ask: Ask, parts: Parts, admin: Headers) -> None:
        id_ = id_of(sign_in(parts, Role.FINANCE))
        assert self.change(ask, admin, id_, "recover").status_code == 201
        answer = self.change(ask, admin, id_, "change_role", role="academic")
        assert code(answer) == (409, "operator-change-waits")
        assert self.change(ask, admin, id_, "suspend").status_code == 201
        with transaction() as session:
            waiting = session.scalar(
                select(func.count()).where(
                    OperatorChange.operator_id == id_, OperatorChange.approved.is_(None)
                )
            )
        assert waiting == 0

    def test_is_refused_from_a_state_that_is_against_it(
        self, ask: Ask, parts: Parts, admin: Headers
    ) -> None:
        answer = self.change(ask, admin, id_of(sign_in(parts, Role.FINANCE)), "resume")
        assert code(answer) == (409, "operator-change-not-possible")

    def test_the_last_administrator_stays(
        self, ask: Ask, parts: Parts, admin: Headers, centre: Headers
    ) -> None:
        other = sign_in(parts, Role.SYSTEM_ADMINISTRATOR)
        other_id, me = id_of(other), id_of(admin)
        made = self.change(ask, admin, other_id, "change_role", role="auditor")
        with transaction() as session:
            session.execute(
                update(Operator)
                .where(Operator.role == Role.SYSTEM_ADMINISTRATOR, Operator.id != other_id)
                .values(state=OperatorState.SUSPENDED)
            )
        try:
            assert code(self.approve(ask, centre, made)) == (409, "last-administrator")
        finally:
            with transaction() as session:
                session.execute(
                    update(Operator).where(Operator.id == me).values(state=OperatorState.ACTIVE)
                )


class TestEnrolment:
    def test_a_newer_token_ends_the_older(self, ask: Ask, admin: Headers, centre: Headers) -> None:
        id_ = appoint(ask, admin, centre)
        old, new = (token_for(ask, centre, id_) for _ in range(2))
        said = {"enrolment_token": old, "password": PASSWORD}
        assert code(ask(None, "POST", "/enrolments", said)) == (422, "operator-enrolment-refused")
        enrol(ask, new)
        said = {"enrolment_token": new, "password": PASSWORD}
        assert code(ask(None, "POST", "/enrolments", said)) == (422, "operator-enrolment-refused")

    def test_a_token_lives_for_15_minutes(
        self, ask: Ask, parts: Parts, admin: Headers, centre: Headers
    ) -> None:
        id_ = appoint(ask, admin, centre)
        token = token_for(ask, centre, id_)
        with transaction() as session:
            session.execute(
                update(OperatorEnrolment)
                .where(OperatorEnrolment.operator_id == id_)
                .values(expires_at=clock.now())
            )
        said = {"enrolment_token": token, "password": PASSWORD}
        assert code(ask(None, "POST", "/enrolments", said)) == (422, "operator-enrolment-refused")

    def test_shows_no_secret_twice_and_the_last_one_counts(
        self, ask: Ask, admin: Headers, centre: Headers
    ) -> None:
        token = token_for(ask, centre, appoint(ask, admin, centre))
        said = {"enrolment_token": token, "password": PASSWORD}
        first, second = (
            ask(None, "POST", "/enrolments", said).get_json()["totp_secret"] for _ in range(2)
        )
        assert first != second
        late = {"enrolment_token": token, "totp": pyotp.TOTP(first).at(clock.now())}
        answer = ask(None, "POST", "/enrolments/confirmation", late)
        assert code(answer) == (422, "totp-wrong")
        enrol(ask, token)

    @pytest.mark.parametrize(
        ("password", "why"),
        [
            ("short", "short"),
            ("aaaaaaaaaaaaaaaaaaaa", "repeated"),
            ("seven-on-7!seven-on-7!", "repeated"),
            ("PasswordPassword", "repeated"),
            ("qwertyuiopasdfgh", "known"),
            ("xx USER.name xx 123", "about_you"),
            ("我们的校园卡系统密码是一二三四", "about_you"),
            (string.ascii_letters * 3, "long"),
            (PASSWORD, None),
            ("correct horse battery", None),
        ],
    )
    def test_weak_passwords(self, password: str, why: str | None) -> None:
        assert password_fault(password, username="user.name") == why

    def test_a_weak_password_is_told(self, ask: Ask, admin: Headers, centre: Headers) -> None:
        token = token_for(ask, centre, appoint(ask, admin, centre))
        answer = ask(
            None, "POST", "/enrolments", {"enrolment_token": token, "password": "qwertyuiopasdfgh"}
        )
        assert code(answer) == (422, "password-weak")
        assert answer.get_json()["why"] == "known"

    def test_nobody_gives_a_token_to_himself_or_to_who_has_none_due(
        self, ask: Ask, admin: Headers, parts: Parts
    ) -> None:
        path = f"/operators/{id_of(admin)}/enrolment-token"
        assert code(ask(admin, "POST", path)) == (409, "own-access")
        path = f"/operators/{id_of(sign_in(parts, Role.FINANCE))}/enrolment-token"
        assert code(ask(admin, "POST", path)) == (409, "operator-change-not-possible")

    @pytest.mark.usefixtures("admin")
    def test_the_command_line_founds_only_once(self) -> None:
        with pytest.raises(AlreadyFounded), transaction() as session:
            enrolment.found(
                session,
                username="second",
                name="二号",
                role=Role.SYSTEM_ADMINISTRATOR,
                now=clock.now(),
            )


class TestConfirmation:
    def test_is_asked_for_after_five_minutes(self, ask: Ask, admin: Headers, parts: Parts) -> None:
        make_old(admin, timedelta(minutes=4, seconds=50))
        assert ask(admin, "PUT", f"/operators/{new_id()}", appointment()).status_code == 201
        make_old(admin, timedelta(minutes=5))
        answer = ask(admin, "PUT", f"/operators/{new_id()}", appointment())
        assert code(answer) == (403, "confirmation-needed")
        secret = pyotp.random_base32()
        with transaction() as session:
            operator = session.get_one(Operator, id_of(admin))
            operator.totp_sealed, operator.last_totp_step = parts.sealer.seal("totp", secret), 0
        said = {"totp": pyotp.TOTP(secret).at(clock.now())}
        path = "/sessions/current/confirmations"
        assert ask(admin, "POST", path, said).status_code == 201
        assert code(ask(admin, "POST", path, said)) == (422, "totp-wrong")
        assert ask(admin, "PUT", f"/operators/{new_id()}", appointment()).status_code == 201

    def test_is_locked_after_five_wrong_codes(self, ask: Ask, admin: Headers) -> None:
        path = "/sessions/current/confirmations"
        answers = [ask(admin, "POST", path, {"totp": "000000"}).status_code for _ in range(6)]
        assert answers == [422] * 5 + [429]

    @pytest.mark.parametrize("path", ["/operation-log/exports"])
    def test_guards_copies(self, ask: Ask, centre: Headers, path: str) -> None:
        make_old(centre, timedelta(minutes=6))
        body = {"from_at": "2026-09-01T00:00:00Z", "until_at": "2026-09-02T00:00:00Z"}
        assert code(ask(centre, "POST", path, body)) == (403, "confirmation-needed")


class TestPassword:
    def test_is_hashed_anew_when_its_price_changes(
        self, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secret, username = pyotp.random_base32(), f"u{secrets.token_hex(4)}"
        cheap = service.PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1)
        with transaction() as session:
            operator = service.add_operator(
                session,
                username=username,
                role=Role.FINANCE,
                password=PASSWORD,
                totp_secret=secret,
                sealer=parts.sealer,
            )
            operator.password_hash = cheap.hash(PASSWORD)
        now = clock.now()
        with transaction() as session:
            service.log_in(
                session,
                username=username,
                password=PASSWORD,
                totp=pyotp.TOTP(secret).at(now),
                sealer=parts.sealer,
                now=now,
            )
        with transaction() as session:
            kept = session.scalars(
                select(Operator.password_hash).where(Operator.username == username)
            ).one()
        assert kept is not None
        assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")

    def test_four_are_hashed_at_once_and_the_fifth_is_told_to_wait(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "HASHING_SECONDS", 0.01)
        held = [service.hashing() for _ in range(service.HASHED_AT_ONCE)]
        for place in held:
            place.__enter__()
        try:
            with pytest.raises(service.ServiceUnavailable), service.hashing():
                pass
        finally:
            for place in held:
                place.__exit__(None, None, None)
        with service.hashing():
            pass
