"""Device keys: enrolled by their public half, rolled by the old one, dead at once."""

import base64
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from device import Device, key_name, public_text, sign
from factories import make_gate, make_till
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from werkzeug.test import TestResponse

from backend import clock
from backend.db import transaction
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM
from backend.terminals import service
from backend.terminals.models import Terminal

pytestmark = pytest.mark.usefixtures("app")
API = "/api/v1"
CURRENT = f"{API}/terminals/current"
ROLL = f"{CURRENT}/roll"
JSON = "application/json"
P = 2**255 - 19
Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826  # of order 8
SMALL = (0, 1, P - 1, P, P + 1, Y, P - Y)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Whoever talks to the application."""
    return app.test_client()


@pytest.fixture
def key() -> Ed25519PrivateKey:
    """A device key that nobody has yet."""
    return Ed25519PrivateKey.generate()


def refusal(answer: TestResponse) -> tuple[int, str]:
    """Return status and code of a problem."""
    return answer.status_code, answer.get_json()["code"]


def invite(terminal_id: UUID) -> str:
    """Make an enrolment token."""
    with transaction() as session:
        return service.invite(session, terminal_id=terminal_id, actor=SYSTEM, now=clock.now())


def enrol(client: FlaskClient, token: str, key: object, software: str = "gate 1") -> TestResponse:
    """Enrol with a public key."""
    text = public_text(key) if isinstance(key, Ed25519PrivateKey) else key
    said = {"enrolment_token": token, "public_key": text, "software": software}
    return client.post(f"{API}/terminals/enrolments", json=said)


def look(client: FlaskClient, key: Ed25519PrivateKey) -> TestResponse:
    """Ask which terminal a key is."""
    created = int(clock.now().timestamp())
    signed = sign(key, method="GET", address=CURRENT, body=b"", created=created)
    return client.get(CURRENT, headers=signed)


def roll(client: FlaskClient, key: Ed25519PrivateKey, body: bytes) -> TestResponse:
    """Send a roll signed by a key."""
    created = int(clock.now().timestamp())
    signed = sign(key, method="POST", address=ROLL, body=body, created=created)
    return client.post(ROLL, data=body, headers=signed, content_type="application/json")


def naming(key: Ed25519PrivateKey) -> bytes:
    """Return the body that names the next key."""
    return b'{"public_key": "%s"}' % public_text(key).encode()


def stored(terminal_id: UUID) -> Terminal:
    """Return a terminal as it is stored."""
    with transaction() as session:
        return session.get_one(Terminal, terminal_id)


def entries(terminal_id: UUID, action: str) -> list[dict[str, Any]]:
    """Return the facts that the operation log holds on a terminal."""
    with transaction() as session:
        return list(
            session.scalars(
                select(LogEntry.facts)
                .where(LogEntry.subject_id == terminal_id, LogEntry.action == action)
                .order_by(LogEntry.id)
            )
        )


class TestEnrolment:
    def test_with_a_key_gives_no_token(self, client: FlaskClient, key: Ed25519PrivateKey) -> None:
        gate = make_gate()
        answer = enrol(client, invite(gate.id), key)
        assert answer.status_code == 201
        assert answer.get_json() == {
            "terminal_id": str(gate.id), "token": None, "key_id": key_name(key),
        }  # fmt: skip
        assert look(client, key).get_json()["terminal_id"] == str(gate.id)
        assert refusal(client.get(CURRENT, headers=gate.headers)) == (401, "unauthenticated")
        kept = stored(gate.id)
        assert (kept.token_hash, kept.public_key) == (None, key.public_key().public_bytes_raw())

    def test_is_logged_with_what_ran_before(
        self, client: FlaskClient, key: Ed25519PrivateKey
    ) -> None:
        gate, other = make_gate(), Ed25519PrivateKey.generate()
        for one, software in ((key, "gate 1"), (other, "gate 2")):
            assert enrol(client, invite(gate.id), one, software).status_code == 201
        assert entries(gate.id, "terminal.enrol") == [
            {"software": "gate 1", "software_before": None, "key_id": key_name(key)},
            {"software": "gate 2", "software_before": "gate 1", "key_id": key_name(other)},
        ]
        assert look(client, key).status_code == 401
        assert look(client, other).status_code == 200

    def test_with_a_token_again_kills_the_key(
        self, client: FlaskClient, key: Ed25519PrivateKey
    ) -> None:
        gate = make_gate(key=key)
        said = {"enrolment_token": invite(gate.id), "software": "x"}
        answer = client.post(f"{API}/terminals/enrolments", json=said).get_json()
        assert (answer["key_id"], bool(answer["token"])) == (None, True)
        assert look(client, key).status_code == 401
        assert stored(gate.id).public_key is None

    @pytest.mark.parametrize("sign_bit", [0, 1])
    @pytest.mark.parametrize("point", SMALL)
    def test_refuses_keys_for_which_anybody_can_sign(
        self, client: FlaskClient, point: int, sign_bit: int
    ) -> None:
        gate = make_gate()
        weak = (point | sign_bit << 255).to_bytes(32, "little")
        text = base64.urlsafe_b64encode(weak).rstrip(b"=").decode()
        token = invite(gate.id)
        answer = enrol(client, token, text)
        assert refusal(answer) == (422, "validation-failed")
        assert list(answer.get_json()["errors"]) == ["public_key"]
        assert enrol(client, token, Ed25519PrivateKey.generate()).status_code == 201, "not used up"

    @pytest.mark.parametrize(
        "text",
        ["", "A" * 42, "A" * 44, "A" * 43 + "=", "A" * 42 + "B", "A" * 43 + "\n", "A" * 42 + "é",
         "A" * 42 + "+", 7, ["A" * 43], None, "A" * 1_000_000],
    )  # fmt: skip
    def test_refuses_what_is_no_key(self, client: FlaskClient, text: object) -> None:
        answer = enrol(client, "x", text)
        assert refusal(answer) == (422, "validation-failed")
        assert list(answer.get_json()["errors"]) == ["public_key"]

    def test_refuses_the_key_of_another_terminal(
        self, client: FlaskClient, key: Ed25519PrivateKey
    ) -> None:
        one, other = make_gate(key=key), make_gate()
        token = invite(other.id)
        assert refusal(enrol(client, token, key)) == (409, "device-key-in-use")
        assert look(client, key).get_json()["terminal_id"] == str(one.id)
        assert client.get(CURRENT, headers=other.headers).status_code == 200, "nothing changed"
        assert enrol(client, token, Ed25519PrivateKey.generate()).status_code == 201
        assert enrol(client, invite(one.id), key).status_code == 201, "its own it may keep"

    def test_forgets_what_the_device_before_told(
        self, client: FlaskClient, key: Ed25519PrivateKey
    ) -> None:
        gate = make_gate(key=key)
        with transaction() as session:
            terminal = session.get_one(Terminal, gate.id)
            terminal.queue_length, terminal.queue_since = 3, clock.now()
            terminal.bundle_latest_sequence, terminal.clock_offset_seconds = 7, 90
            terminal.missing_sequences, terminal.gap_since = [4], clock.now()
        enrol(client, invite(gate.id), Ed25519PrivateKey.generate())
        kept = stored(gate.id)
        assert [getattr(kept, name) for name in service.OF_THE_DEVICE] == [None] * 10
        assert kept.missing_sequences == [4], "what it failed to upload is still missing"


class TestRoll:
    def test_kills_the_old_key_at_once(self, client: FlaskClient, key: Ed25519PrivateKey) -> None:
        gate, new = make_gate(key=key), Ed25519PrivateKey.generate()
        answer = roll(client, key, naming(new))
        assert answer.get_json() == {
            "terminal_id": str(gate.id), "token": None, "key_id": key_name(new),
        }  # fmt: skip
        assert refusal(look(client, key)) == (401, "signature-invalid")
        assert look(client, new).status_code == 200
        assert entries(gate.id, "terminal.roll") == [{"key_id": key_name(new)}]

    def test_a_copy_of_it_is_refused_and_changes_nothing(
        self, client: FlaskClient, key: Ed25519PrivateKey
    ) -> None:
        make_gate(key=key)
        new, newest = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        assert roll(client, key, naming(new)).status_code == 200
        assert roll(client, new, naming(newest)).status_code == 200
        assert refusal(roll(client, key, naming(new))) == (401, "signature-invalid")
        assert look(client, newest).status_code == 200

    def test_without_an_answer_is_asked_again_by_the_new_key(
        self, client: FlaskClient, key: Ed25519PrivateKey
    ) -> None:
        gate, new = make_gate(key=key), Ed25519PrivateKey.generate()
        body = naming(new)
        assert refusal(roll(client, new, body)) == (401, "signature-invalid"), "not done yet"
        first = roll(client, key, body)
        again = roll(client, new, body)
        assert (again.status_code, again.data) == (200, first.data)
        assert len(entries(gate.id, "terminal.roll")) == 1

    def test_needs_the_next_key(self, client: FlaskClient, key: Ed25519PrivateKey) -> None:
        make_gate(key=key)
        for body in (b"", b"{}"):
            assert refusal(roll(client, key, body)) == (422, "device-key-needed")
        assert look(client, key).status_code == 200

    def test_refuses_the_key_of_another(self, client: FlaskClient, key: Ed25519PrivateKey) -> None:
        other = Ed25519PrivateKey.generate()
        make_gate(key=key)
        make_gate(key=other)
        assert refusal(roll(client, key, naming(other))) == (409, "device-key-in-use")
        assert look(client, key).status_code == 200

    def test_lets_a_token_change_over_to_a_key(
        self, client: FlaskClient, key: Ed25519PrivateKey
    ) -> None:
        till = make_till()
        answer = client.post(ROLL, data=naming(key), headers=till.headers | {"Content-Type": JSON})
        assert answer.get_json() == {
            "terminal_id": str(till.id), "token": None, "key_id": key_name(key),
        }  # fmt: skip
        assert refusal(client.get(CURRENT, headers=till.headers)) == (401, "unauthenticated")
        assert look(client, key).status_code == 200

    def test_gives_nothing_to_who_was_overtaken(self, key: Ed25519PrivateKey) -> None:
        """A request that was let in before another device enrolled gets no token of the new one."""
        till = make_till()
        with transaction() as session:
            service.enrol(
                session, enrolment_token=service.invite(
                    session, terminal_id=till.id, actor=SYSTEM, now=clock.now()
                ), software="new", now=clock.now(),
            )  # fmt: skip
        for public_key in (None, key.public_key().public_bytes_raw()):
            with pytest.raises(service.Unauthenticated), transaction() as session:
                service.roll(session, caller=till.caller, public_key=public_key, now=clock.now())
        with transaction() as session:
            service.revoke(session, terminal_id=till.id, actor=SYSTEM, now=clock.now())
        with pytest.raises(service.Unauthenticated), transaction() as session:
            service.roll(session, caller=till.caller, public_key=None, now=clock.now())


class TestStorage:
    """What no fault of ours can store."""

    def test_holds_a_token_or_a_key(self, key: Ed25519PrivateKey) -> None:
        gate = make_gate(key=key)
        with pytest.raises(IntegrityError, match="token_or_key"), transaction() as session:
            session.get_one(Terminal, gate.id).token_hash = b"x"

    def test_holds_nothing_of_who_is_revoked(self, key: Ed25519PrivateKey) -> None:
        gate = make_gate(key=key)
        with pytest.raises(IntegrityError, match="revoked_hold_nothing"), transaction() as session:
            session.get_one(Terminal, gate.id).revoked_at = clock.now()

    def test_holds_a_key_once(self, key: Ed25519PrivateKey) -> None:
        make_gate(key=key)
        with pytest.raises(IntegrityError, match="uq_terminals_key_id"):
            make_gate(key=key)

    def test_does_not_show_what_let_a_caller_in(self, key: Ed25519PrivateKey) -> None:
        assert "credential" not in repr(make_gate(key=key).caller)


class TestExample:
    """The program for vendors, over real HTTP."""

    def test_enrols_corrects_its_clock_and_rolls(self, server: str) -> None:
        gate, device = make_gate(), Device(server)
        assert device.enrol(invite(gate.id))["key_id"] == key_name(device.key)
        assert device.heartbeat()["commands"] == []
        device.ahead = -3600.0
        assert device.ask("GET", "/terminals/current")[0] == 200, "refused, corrected, let in"
        assert abs(device.ahead) < 5
        device.ahead = -60.0
        told = [device.heartbeat(queue_length=2)["commands"] for _ in range(2)]
        assert told == [["set-clock", "sync"], ["sync"]]
        assert abs(device.ahead) < 5
        old = device.key
        device.roll()
        assert device.key is not old
        assert device.ask("GET", "/terminals/current?x=%E4%BD%A0")[0] == 200
        device.key = old
        assert device.ask("GET", "/terminals/current")[1]["code"] == "signature-invalid"

    def test_survives_a_lost_answer_of_the_roll(self, server: str) -> None:
        gate, device = make_gate(), Forgetful(server)
        device.enrol(invite(gate.id))
        device.roll()
        assert device.lost == 1
        assert device.ask("GET", "/terminals/current")[0] == 200
        assert len(entries(gate.id, "terminal.roll")) == 1


class Forgetful(Device):
    """A device that loses the first answer to a roll."""

    lost = 0

    def ask(
        self, method: str, path: str, said: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Send, and lose what comes back once."""
        answer = super().ask(method, path, said)
        if path.endswith("/roll") and not self.lost:
            self.lost += 1
            raise TimeoutError
        return answer
