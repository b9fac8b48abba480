"""A browser without a window: it keeps cookies and fills in the token of the form it looks at."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pyotp
import pytest
from factories import PASSWORD, make_staff, open_session
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from backend import clock
from backend.console.access import COOKIE, PATH
from backend.db import transaction
from backend.http.parts import Parts
from backend.operators.models import OperatorSession, Role

TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


class Staff:
    """One person of the staff at their browser."""

    def __init__(self, client: FlaskClient, parts: Parts, role: Role) -> None:
        self.client, self.role = client, role
        self.totp_secret = pyotp.random_base32()
        operator = make_staff(parts, role, totp_secret=self.totp_secret)
        self.id: UUID = operator.id
        self.username = operator.username

    def code(self, at: datetime | None = None) -> str:
        """Return the one-time code of a moment."""
        return pyotp.TOTP(self.totp_secret).at(at or clock.now())

    def outdate_code(self) -> None:
        """Let the last one-time code be older than five minutes."""
        with transaction() as session:
            session.execute(
                update(OperatorSession)
                .where(OperatorSession.operator_id == self.id)
                .values(confirmed_at=clock.now() - timedelta(minutes=6))
            )

    def sign_in(self, **other: str) -> TestResponse:
        """Send the sign-in form."""
        said = {"username": self.username, "password": PASSWORD, "totp": self.code()}
        return self.post("/console/sign-in", said | other)

    def form_token(self, path: str = "/console/sign-in") -> str:
        """Return the token in the forms of a page."""
        found = TOKEN.search(self.get(path).text)
        assert found is not None
        return found[1]

    def get(self, path: str, **options: Any) -> TestResponse:
        """Open a page."""
        return self.client.get(path, **options)

    def post(self, path: str, said: dict[str, Any] | None = None) -> TestResponse:
        """Send a form as the pages make it, with its token."""
        return self.client.post(path, data={"form_token": self.form_token(), **(said or {})})


@pytest.fixture
def staff(app: Flask, parts: Parts) -> Callable[..., Staff]:
    """Make a person of a role, signed in unless told otherwise."""

    def make(role: Role = Role.CARD_CENTRE, *, signed_in: bool = True) -> Staff:
        person = Staff(app.test_client(), parts, role)
        if signed_in:
            person.client.set_cookie(COOKIE, open_session(person.id), path=PATH)
        return person

    return make
