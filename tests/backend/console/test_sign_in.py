"""Signing in, staying in, and leaving; the cookie and the form token."""

import re
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from backend import clock
from backend.db import transaction
from backend.operators import service
from backend.operators.models import OperatorSession, Role

HOME = {
    Role.CARD_CENTRE: "/console/",
    Role.FINANCE: "/console/",
    Role.LOGISTICS: "/console/",
    Role.AUDITOR: "/console/",
    Role.ACADEMIC: "/console/roster",
    Role.PERSONNEL: "/console/roster",
}


class TestSignIn:
    @pytest.mark.parametrize("role", HOME)
    def test_leads_to_the_first_page_of_the_role(self, staff, role) -> None:
        person = staff(role, signed_in=False)
        answer = person.sign_in()
        assert (answer.status_code, answer.location) == (303, HOME[role])
        assert person.get(answer.location).status_code == 200

    def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(self, staff) -> None:
        cookie = staff(signed_in=False).sign_in().headers["Set-Cookie"]
        for attribute in ("HttpOnly", "SameSite=Strict", "Path=/console"):
            assert attribute in cookie
        assert "Secure" not in cookie  # the tests speak plain http

    @pytest.mark.parametrize(
        "wrong",
        [{"totp": "000000"}, {"password": "x"}, {"username": "nobody"}, {"totp": "abc"},
         {"username": "\x00"}, {"totp": ""}],
    )  # fmt: skip
    def test_says_nothing_of_what_is_wrong(self, staff, wrong) -> None:
        person = staff(signed_in=False)
        answer = person.sign_in(**wrong)
        assert answer.status_code == 401
        assert "用户名、密码或动态口令不正确" in answer.text
        assert person.get("/console/").status_code == 303

    def test_a_code_signs_in_once(self, staff) -> None:
        person = staff(signed_in=False)
        code = person.code()
        assert person.sign_in(totp=code).status_code == 303
        person.post("/console/sign-out")
        assert person.sign_in(totp=code).status_code == 401

    def test_five_failures_lock_the_name(self, staff) -> None:
        person = staff(signed_in=False)
        for _ in range(service.TRIES):
            assert person.sign_in(password="wrong").status_code == 401
        answer = person.sign_in()
        assert answer.status_code == 429
        assert "登录已锁定" in answer.text


class TestSession:
    def test_ends_when_idle(self, staff) -> None:
        person = staff()
        with transaction() as session:
            session.execute(
                update(OperatorSession)
                .where(OperatorSession.operator_id == person.id)
                .values(used_at=clock.now() - service.IDLE - timedelta(seconds=1))
            )
        answer = person.get("/console/")
        assert (answer.status_code, answer.location) == (303, "/console/sign-in")

    def test_is_dead_after_signing_out(self, staff) -> None:
        person = staff()
        cookie = person.client.get_cookie("campus_card_console", path="/console")
        assert person.post("/console/sign-out").status_code == 303
        person.client.set_cookie("campus_card_console", cookie.value, path="/console")
        assert person.get("/console/").location == "/console/sign-in"

    @pytest.mark.parametrize("token", ["", "x", "x" * 3000, "é", "a b", '"'])
    def test_no_other_token_opens_anything(self, app, token) -> None:
        client: FlaskClient = app.test_client()
        client.set_cookie("campus_card_console", token, path="/console")
        assert client.get("/console/").location == "/console/sign-in"


class TestFormToken:
    @pytest.mark.parametrize("token", [None, "", "0" * 64, "é", "x" * 10_000])
    def test_is_needed_by_every_form(self, app, staff, token) -> None:
        person = staff()
        forms = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/console")]
        forms = [rule for rule in forms if "POST" in (rule.methods or ())]
        assert len(forms) >= 9
        for rule in forms:
            path = rule.rule.replace("<path:_>", "x")
            path = re.sub(r"<uuid:\w+>", "0" * 8 + "-0000-4000-8000-" + "0" * 12, path)
            said = {} if token is None else {"form_token": token}
            answer = person.client.post(path, data=said)
            assert (path, answer.status_code) == (path, 403)
            assert "表单已失效" in answer.text

    def test_of_another_session_is_not_taken(self, staff) -> None:
        one, other = staff(), staff()
        token = other.form_token()
        assert one.client.post("/console/sign-out", data={"form_token": token}).status_code == 403
        assert one.get("/console/").status_code == 200

    def test_of_before_signing_in_is_dead_after_it(self, staff) -> None:
        person = staff(signed_in=False)
        token = person.form_token()
        person.sign_in()
        assert person.form_token() != token

    def test_tells_nothing_of_the_session(self, staff) -> None:
        person = staff()
        cookie = person.client.get_cookie("campus_card_console", path="/console")
        assert cookie.value not in person.get("/console/").text
