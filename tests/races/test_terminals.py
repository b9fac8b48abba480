"""Several devices, or several requests of one, at the same moment."""

import threading
from collections import Counter
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from device import public_text, sign
from factories import make_gate, make_till

from backend import clock
from backend.db import transaction
from backend.operation_log.service import SYSTEM
from backend.terminals import service
from backend.terminals.models import Terminal

ENROL = "/api/v1/terminals/enrolments"
CURRENT = "/api/v1/terminals/current"
ROLL = f"{CURRENT}/roll"


def signed(key: Ed25519PrivateKey, method: str, path: str, body: bytes = b"") -> dict[str, str]:
    """Return what signs a request now."""
    created = int(clock.now().timestamp())
    headers = sign(key, method=method, address=path, body=body, created=created)
    return headers | ({"Content-Type": "application/json"} if body else {})


def naming(key: Ed25519PrivateKey) -> bytes:
    """Return the body that names the next key."""
    return b'{"public_key": "%s"}' % public_text(key).encode()


def answered(answers: list[Any]) -> Counter[str | int]:
    """Count answers by code, or status where all was well."""
    return Counter(answer.json().get("code", answer.status_code) for answer in answers)


class TestEnrolment:
    @pytest.mark.parametrize("with_key", [True, False])
    def test_by_many_at_once_is_one(self, at_once: Any, caller: Any, with_key: bool) -> None:
        gate = make_gate()
        with transaction() as session:
            token = service.invite(session, terminal_id=gate.id, actor=SYSTEM, now=clock.now())
        keys = [Ed25519PrivateKey.generate() for _ in range(6)]
        bodies = [
            {"enrolment_token": token, "software": "x"}
            | ({"public_key": public_text(key)} if with_key else {})
            for key in keys
        ]
        answers = at_once(*(partial(caller.send, "POST", ENROL, {}, json=body) for body in bodies))
        assert answered(answers) == {201: 1, "enrolment-refused": 5}
        winner = next(n for n, answer in enumerate(answers) if answer.status_code == 201)
        for number, key in enumerate(keys if with_key else []):
            answer = caller.send("GET", CURRENT, signed(key, "GET", CURRENT))
            assert answer.status_code == (200 if number == winner else 401)

    def test_of_one_key_as_two_terminals_is_one(self, at_once: Any, caller: Any) -> None:
        key, bodies = Ed25519PrivateKey.generate(), []
        for gate in (make_gate(), make_gate()):
            with transaction() as session:
                token = service.invite(session, terminal_id=gate.id, actor=SYSTEM, now=clock.now())
            bodies.append(
                {"enrolment_token": token, "software": "x", "public_key": public_text(key)}
            )
        answers = at_once(*(partial(caller.send, "POST", ENROL, {}, json=body) for body in bodies))
        assert answered(answers) == {201: 1, "device-key-in-use": 1}


class TestRoll:
    def test_to_many_keys_at_once_is_to_one(self, at_once: Any, caller: Any) -> None:
        old = Ed25519PrivateKey.generate()
        make_gate(key=old)
        keys = [Ed25519PrivateKey.generate() for _ in range(5)]
        answers = at_once(
            *(
                partial(caller.send, "POST", ROLL, signed(old, "POST", ROLL, body), data=body)
                for body in map(naming, keys)
            )
        )
        counted = answered(answers)
        assert counted[200] == 1
        assert counted["unauthenticated"] + counted["signature-invalid"] == 4
        alive = [
            caller.send("GET", CURRENT, signed(key, "GET", CURRENT)).status_code for key in keys
        ]
        assert alive == [answer.status_code for answer in answers]
        assert caller.send("GET", CURRENT, signed(old, "GET", CURRENT)).status_code == 401

    def test_to_one_key_many_times_at_once_is_once(self, at_once: Any, caller: Any) -> None:
        old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        make_gate(key=old)
        body = naming(new)
        headers = signed(old, "POST", ROLL, body)
        answers = at_once(
            *(partial(caller.send, "POST", ROLL, headers, data=body) for _ in range(5))
        )
        counted = answered(answers)
        assert counted[200] >= 1
        assert counted[200] + counted["signature-invalid"] == 5
        assert caller.send("GET", CURRENT, signed(new, "GET", CURRENT)).status_code == 200

    def test_of_a_token_many_times_at_once_is_once(self, at_once: Any, caller: Any) -> None:
        till = make_till()
        answers = at_once(*(partial(caller.send, "POST", ROLL, till.headers) for _ in range(5)))
        assert answered(answers) == {200: 1, "unauthenticated": 4}
        token = next(a.json()["token"] for a in answers if a.status_code == 200)
        answer = caller.send("GET", CURRENT, {"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200

    def test_lets_what_was_let_in_finish_and_nothing_after(self, caller: Any) -> None:
        """The roll is not committed while a request signed by the old key comes; then it is."""
        old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        gate = make_gate(key=old)
        rolled, go_on = threading.Event(), threading.Event()

        def roll_slowly() -> None:
            with transaction() as session:
                service.roll(
                    session,
                    caller=gate.caller,
                    public_key=new.public_key().public_bytes_raw(),
                    now=clock.now(),
                )
                session.flush()
                rolled.set()
                go_on.wait(10)

        with transaction() as session:  # heard of just now: nobody writes it down again
            session.get_one(Terminal, gate.id).last_seen_at = clock.now()
        roller = threading.Thread(target=roll_slowly)
        roller.start()
        assert rolled.wait(10)
        headers = signed(old, "GET", CURRENT)
        assert caller.send("GET", CURRENT, headers).status_code == 200
        assert caller.send("GET", CURRENT, signed(new, "GET", CURRENT)).status_code == 401
        go_on.set()
        roller.join()
        assert caller.send("GET", CURRENT, headers).json()["code"] == "signature-invalid"
        assert caller.send("GET", CURRENT, signed(new, "GET", CURRENT)).status_code == 200
