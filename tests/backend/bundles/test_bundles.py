"""Bundles over HTTP: signed, only growing, small when little has changed, and enough to decide."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from device import sign
from factories import Device, make_gate, make_holder, make_terminal, make_till
from flask import Flask
from flask.testing import FlaskClient
from phones import DevicePhone, Phone
from scanners import money_without_network, policies
from sqlalchemy import update
from werkzeug.test import TestResponse

from backend import clock
from backend.bundles.models import TerminalBundle
from backend.charges.offline import exposure
from backend.db import transaction
from backend.gates import access, emergencies
from backend.gates.models import Decision
from backend.gates.rules import GateAccess, Rule
from backend.http.parts import Parts
from backend.operation_log.service import SYSTEM
from backend.settings import Settings
from backend.terminals.models import Terminal, TerminalKind
from qr import Scope
from qr.bundle import BundleForeign, BundleOutdated
from qr.jwks import read_jwks
from qr.rules import OfflinePolicy
from qr.scanner import Scanner
from qr.store import ScannerStore

PATH = "/api/v1/terminals/current/bundle"


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Whoever talks to the application."""
    return app.test_client()


class Alone:
    """A terminal of the school with the scanner of `qr` on it."""

    def __init__(self, client: FlaskClient, device: Device, store: Path) -> None:
        self.client, self.device = client, device
        keys = client.get(f"{PATH}/keys", headers=device.headers).get_json()
        self.scanner = Scanner(
            ScannerStore(store),
            roots=read_jwks(keys),
            issuer=keys["issuer"],
            terminal=str(device.id),
        )

    def ask(self, **said: Any) -> TestResponse:
        """Ask for the bundle."""
        return self.client.get(PATH, headers=self.device.headers, query_string=said)

    def learn(self) -> int:
        """Fetch what is new, take it into use, and return the length of the answer."""
        known = self.scanner.bundle
        answer = self.ask(**({"after": known.sequence} if known else {}))
        assert answer.status_code == 200, answer.get_json()
        assert answer.headers["ETag"] == f'"{answer.get_json()["sequence"]}"'
        self.scanner.learn(token_of(answer))
        return len(token_of(answer))


def token_of(answer: TestResponse) -> str:
    """Return the signed bundle in an answer."""
    token: str = answer.get_json()["bundle"]
    return token


@pytest.fixture
def alone(client: FlaskClient, tmp_path: Path) -> Callable[[Device], Alone]:
    """Put a scanner on a terminal."""
    return lambda device: Alone(client, device, tmp_path / f"{device.id}.sqlite")


@pytest.fixture
def phone(client: FlaskClient, parts: Parts) -> DevicePhone:
    """A phone that may show codes without network."""
    known = make_holder(parts, balance_fen=1000)
    made = DevicePhone(Phone(client, token=known.token), known)
    assert made.enrol().status_code == 201
    return made


@pytest.fixture
def money_offline(app: Flask) -> Iterator[None]:
    """Let tills take money without network."""
    with money_without_network():
        yield


def passed(gate: Alone, text: str, *, later: int = 0) -> str | None:
    """Return why a gate alone refuses a code, or None."""
    decision = gate.scanner.decide_passage(
        text, direction="in", now=clock.now() + timedelta(seconds=later)
    )
    return decision.reason


class TestBundle:
    def test_lets_a_gate_decide_alone(
        self, alone: Callable[[Device], Alone], phone: DevicePhone
    ) -> None:
        gate = alone(make_gate())
        gate.learn()
        code = phone.code(Scope.GATE)
        assert passed(gate, code) is None
        assert passed(gate, code) == "code-spent"
        signed = phone.phone.call("POST", "/me/codes", {"scope": "gate"}).get_json()["codes"][0]
        assert passed(gate, signed["text"]) is None

    def test_tells_of_a_loss(self, alone: Callable[[Device], Alone], phone: DevicePhone) -> None:
        gate = alone(make_gate())
        gate.learn()
        shown = phone.phone.call("POST", "/me/codes", {"scope": "gate"}).get_json()["codes"][0]
        report = {"credential": "phone"}
        path = f"/me/loss-reports/{phone.path[-36:]}"
        assert phone.phone.call("PUT", path, report).status_code == 201
        assert passed(gate, phone.code(Scope.GATE)) is None, "it has not heard"
        gate.learn()
        assert passed(gate, phone.code(Scope.GATE, later=2), later=2) == "code-revoked"
        assert passed(gate, shown["text"]) == "code-stale"

    def test_comes_as_a_delta_when_little_has_changed(
        self, alone: Callable[[Device], Alone], phone: DevicePhone
    ) -> None:
        gate = alone(make_gate())
        whole = gate.learn()
        phone.phone.call("DELETE", phone.path)
        assert gate.learn() < whole
        assert passed(gate, phone.code(Scope.GATE)) == "code-revoked"

    def test_is_not_sent_again_when_nothing_has_changed(
        self, client: FlaskClient, alone: Callable[[Device], Alone]
    ) -> None:
        gate = alone(make_gate())
        gate.learn()
        sequence = gate.scanner.bundle.sequence if gate.scanner.bundle else 0
        answer = gate.ask(after=sequence)
        assert (answer.status_code, answer.headers["ETag"]) == (304, f'"{sequence}"')
        for tag in (f'"{sequence}"', f'W/"{sequence}"'):
            headers = gate.device.headers | {"If-None-Match": tag}
            assert client.get(PATH, headers=headers).status_code == 304

    def test_is_signed_anew_after_a_while(self, alone: Callable[[Device], Alone]) -> None:
        gate = alone(make_gate())
        gate.learn()
        with transaction() as session:
            session.execute(
                update(TerminalBundle)
                .where(TerminalBundle.terminal_id == gate.device.id)
                .values(issued_at=clock.now() - timedelta(minutes=11))
            )
        gate.learn()
        assert gate.scanner.bundle is not None
        assert gate.scanner.bundle.sequence == 2

    def test_is_whole_for_a_scanner_that_lost_its_own(
        self, client: FlaskClient, tmp_path: Path, alone: Callable[[Device], Alone]
    ) -> None:
        device = make_gate()
        alone(device).learn()
        fresh = Alone(client, device, tmp_path / "fresh.sqlite")
        fresh.learn()
        assert fresh.scanner.bundle is not None
        assert fresh.scanner.bundle.sequence == 2
        for strange in (77, 2**31 - 1):
            assert fresh.ask(after=strange).status_code == 200

    def test_is_for_one_terminal(self, alone: Callable[[Device], Alone]) -> None:
        first, second = alone(make_gate()), alone(make_gate())
        with pytest.raises(BundleForeign):
            first.scanner.learn(token_of(second.ask()))

    def test_put_back_is_refused(self, alone: Callable[[Device], Alone]) -> None:
        gate = alone(make_gate())
        old = token_of(gate.ask())
        gate.learn()
        with pytest.raises(BundleOutdated):
            gate.scanner.learn(old)

    def test_holds_no_secret_and_no_name(
        self, alone: Callable[[Device], Alone], settings: Settings, parts: Parts
    ) -> None:
        import jwt

        for device in (make_gate(), make_till(), make_terminal(TerminalKind.KIOSK)):
            said = jwt.decode(token_of(alone(device).ask()), options={"verify_signature": False})
            assert said.keys() <= {
                *("iss", "aud", "sub", "iat", "exp", "fresh", "seq"),
                *("keys", "revoked", "stopped", "windows", "gate", "members", "till"),
            }
            assert all("d" not in key for key in said["keys"])
            for key in parts.code_keys.jwks(clock.now())["keys"]:
                assert key in said["keys"]

    def test_is_for_terminals_only(self, client: FlaskClient, phone: DevicePhone) -> None:
        for headers in ({}, {"Authorization": f"Bearer {phone.phone.token}"}):
            for path in (PATH, f"{PATH}/keys"):
                assert client.get(path, headers=headers).status_code == 401

    @pytest.mark.parametrize("after", ["0", "-1", "x", "1.5", "2147483648", "9" * 40, ""])
    def test_names_what_does_not_fit(self, alone: Callable[[Device], Alone], after: str) -> None:
        assert alone(make_gate()).ask(after=after).status_code == 422

    @pytest.mark.parametrize("tag", ["x", '"', "*", "é", "9" * 400, '"-1"', '"١"'])
    def test_passes_over_strange_tags(
        self, client: FlaskClient, alone: Callable[[Device], Alone], tag: str
    ) -> None:
        device = alone(make_gate()).device
        headers = device.headers | {"If-None-Match": tag.encode().decode("latin-1")}
        assert client.get(PATH, headers=headers).status_code == 200


class TestAccess:
    def test_lets_in_whom_the_rules_of_the_gate_let_in(
        self,
        client: FlaskClient,
        parts: Parts,
        alone: Callable[[Device], Alone],
        phone: DevicePhone,
    ) -> None:
        gate, resident = alone(make_gate()), make_holder(parts, unit="3号楼")
        home = DevicePhone(Phone(client, token=resident.token), resident)
        home.enrol()
        decide(gate, GateAccess(default=Decision.DENY, rules=(Rule(True, unit="3号楼"),)))
        gate.learn()
        asked = [(home, None), (phone, "access-not-allowed")]
        for who, reason in asked:
            assert passed(gate, who.code(Scope.GATE)) == reason
            signed = who.phone.call("POST", "/me/codes", {"scope": "gate"}).get_json()["codes"][0]
            assert passed(gate, signed["text"]) == reason

    def test_brings_settings_and_emergencies(
        self, alone: Callable[[Device], Alone], phone: DevicePhone
    ) -> None:
        gate = alone(make_gate())
        decide(gate, GateAccess(OfflinePolicy.CLOSED))
        gate.learn()
        assert passed(gate, phone.code(Scope.GATE)) == "offline-closed"
        with transaction() as session:
            made = emergencies.declare(
                session, terminal_id=gate.device.id, reason="test", minutes=5, actor=SYSTEM,
                now=clock.now(),
            )  # fmt: skip
        gate.learn()
        left = gate.scanner.decide_passage("nonsense", direction="out", now=clock.now())
        assert (left.accepted, left.reason) == (True, "offline-closed")
        with transaction() as session:
            emergencies.end(session, emergency_id=made.id, actor=SYSTEM, now=clock.now())
        decide(gate, GateAccess(passback_minutes=5))
        gate.learn()
        again = (passed(gate, phone.code(Scope.GATE, later=n), later=n) for n in (1, 2))
        assert list(again) == [None, "passback"]


def decide(gate: Alone, wanted: GateAccess) -> None:
    """Put a gate's settings and rules in force."""
    with transaction() as session:
        access.change(
            session, terminal_id=gate.device.id, wanted=wanted, actor=SYSTEM, now=clock.now()
        )


class TestMoney:
    def test_is_off_by_default(self, alone: Callable[[Device], Alone], phone: DevicePhone) -> None:
        till = alone(make_till())
        till.learn()
        decision = till.scanner.decide_charge(phone.code(), amount_fen=100, now=clock.now())
        assert decision.reason == "offline-not-allowed"

    @pytest.mark.usefixtures("money_offline")
    def test_is_taken_within_the_caps(
        self, alone: Callable[[Device], Alone], phone: DevicePhone
    ) -> None:
        till = alone(make_till())
        till.learn()
        now = clock.now()
        over = till.scanner.decide_charge(phone.code(), amount_fen=1501, now=now)
        assert (over.reason, over.facts["limit_fen"]) == ("offline-cap-exceeded", 1500)
        taken = till.scanner.decide_charge(phone.code(sequence=1), amount_fen=1500, now=now)
        assert taken.accepted

    @pytest.mark.usefixtures("money_offline")
    def test_the_worst_loss_is_bounded_by_the_cap_over_all(self, parts: Parts) -> None:
        make_till()
        with policies(total_fen=200_000), transaction() as session:
            stands = exposure(session, now=clock.now())
        assert 0 < stands.worst_loss_fen <= 200_000
        assert stands.worst_loss_fen == stands.tills * stands.rules.terminal_fen

    def test_no_loss_is_possible_while_it_is_off(self, app: Flask) -> None:
        with transaction() as session:
            assert exposure(session, now=clock.now()).worst_loss_fen == 0


class TestWhatIsKnownOfIt:
    def test_a_terminal_is_asked_to_fetch_until_it_holds_what_it_was_given(
        self, client: FlaskClient
    ) -> None:
        gate = make_gate()

        def told(**said: int) -> list[str]:
            answer = client.post(
                "/api/v1/terminals/current/heartbeat", json=said, headers=gate.headers
            )
            commands: list[str] = answer.get_json()["commands"]
            return commands

        assert told() == []
        sequence = client.get(PATH, headers=gate.headers).get_json()["sequence"]
        assert told() == ["fetch-bundle"]
        assert told(bundle_sequence=sequence) == []
        with transaction() as session:
            kept = session.get_one(Terminal, gate.id)
            issued = session.get_one(TerminalBundle, (gate.id, sequence))
        assert kept.bundle_issued_at == kept.bundle_latest_issued_at == issued.issued_at

    def test_a_terminal_with_a_device_key_signs_for_it(self, client: FlaskClient) -> None:
        key = Ed25519PrivateKey.generate()
        make_gate(key=key)
        for query in ("", "?after=7"):
            signed = sign(
                key, method="GET", address=PATH + query, body=b"",
                created=int(clock.now().timestamp()),
            )  # fmt: skip
            answer = client.get(PATH, query_string=query[1:], headers=signed)
            assert answer.status_code == 200
