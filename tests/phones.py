"""A phone for tests: it talks to the application as the mini program does."""

from dataclasses import dataclass
from typing import Any

from factories import Person
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

API = "/api/v1"


@dataclass
class Phone:
    """One phone: a platform account, and the token of its newest login."""

    client: FlaskClient
    platform: str = "wechat"
    login_code: str = ""
    token: str = ""

    def log_in(self) -> TestResponse:
        """Log in with the phone's own login code; the newest token is the one that is sent."""
        answer = self.client.post(
            f"{API}/sessions", json={"platform": self.platform, "code": self.login_code}
        )
        if answer.status_code == 201:
            self.token = answer.get_json()["token"]
        return answer

    def call(self, method: str, path: str, json: Any = None, **said: Any) -> TestResponse:
        """Send one request with the phone's token."""
        headers = {"Authorization": f"Bearer {self.token}", **said.pop("headers", {})}
        return self.client.open(f"{API}{path}", method=method, json=json, headers=headers, **said)

    def verify_identity(self, person: Person, **changed: str) -> TestResponse:
        """Take the first step of binding."""
        said = {
            "holder_number": person.number,
            "name": person.name,
            "document_number": person.document,
            "terms_version": "2026-09",
        }
        return self.call("PUT", "/me/binding", said | changed)

    def verify_payment_identity(self) -> TestResponse:
        """Take the second step of binding."""
        return self.call("POST", "/me/binding/payment-identity", {"grant": self.login_code})

    def bind(self, person: Person) -> None:
        """Take both steps."""
        assert self.verify_identity(person).status_code == 200
        assert self.verify_payment_identity().status_code == 200
