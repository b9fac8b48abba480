"""A phone for tests: it talks to the application as the mini program does."""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from factories import Bound, Person
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from backend import clock
from backend.ids import new_id
from qr import Scope, make_device_code

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


def spell(raw: bytes) -> str:
    """Return bytes as JSON carries them."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unspell(text: str) -> bytes:
    """Return the bytes that a text of JSON carries."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class DevicePhone:
    """A bound phone with a key of its own, as it needs one while it has no network."""

    def __init__(self, phone: Phone, holder: Bound) -> None:
        self.phone, self.holder = phone, holder
        self.key = Ed25519PrivateKey.generate()
        self.public_key = self.key.public_key().public_bytes_raw()
        self.asked: dict[str, Any] = {}
        self.sent: dict[str, str] = {}
        self.path = ""
        self.delegation = b""

    def ask_challenge(self) -> None:
        """Get what has to be signed."""
        answer = self.phone.call("POST", "/me/delegations/challenges")
        assert answer.status_code == 201, answer.get_json()
        self.asked = answer.get_json()
        self.path = f"/me/delegations/{new_id()}"

    def put(
        self,
        *,
        public_key: bytes | None = None,
        proof: bytes | None = None,
        account: bytes | None = None,
        purpose: bytes = b"ecenrol1",
    ) -> TestResponse:
        """Send the key and the proof; what is given stands for what would be right."""
        signed = purpose + unspell(self.asked["challenge"])
        signed += account or unspell(self.asked["account"])
        self.sent = {
            "public_key": spell(public_key or self.public_key),
            "proof": spell(proof or self.key.sign(signed)),
        }
        answer = self.phone.call("PUT", self.path, self.sent)
        if answer.status_code == 201:
            self.delegation = unspell(answer.get_json()["delegation"])
        return answer

    def enrol(self, **wrong: Any) -> TestResponse:
        """Ask for a delegation."""
        self.ask_challenge()
        return self.put(**wrong)

    def send_again(self, **changed: bytes) -> TestResponse:
        """Send the last request once more, or with something changed."""
        said = self.sent | {name: spell(raw) for name, raw in changed.items()}
        return self.phone.call("PUT", self.path, said)

    def code(
        self,
        scope: Scope = Scope.PAY,
        *,
        sequence: int = 0,
        later: int = 0,
        now: datetime | None = None,
        delegation: bytes | None = None,
    ) -> str:
        """Make a device code, `later` seconds from now."""
        return make_device_code(
            self.key,
            delegation or self.delegation,
            scope=scope,
            issued_at=(now or clock.now()) + timedelta(seconds=later),
            sequence=sequence,
        )
