import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import qr
from qr import Issuer, Scope, Verifier, make_device_code
from qr.alone import PLAIN_GATE, PLAIN_TILL
from qr.bundle import RevocationList, bundle_content, sign_bundle
from qr.scanner import Scanner
from qr.store import ScannerStore

SCHOOL = "ecard.example.edu.cn"
ANYTHING = Scope.PAY | Scope.GATE | Scope.DOOR | Scope.SERVICE
HOUR = timedelta(hours=1)
ALIAS = bytes.fromhex("0a1b2c3d4e5f")


@pytest.fixture(scope="session")
def vectors():
    return json.loads(Path(qr.__file__).with_name("vectors.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def private_key():
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="session")
def issuer(private_key):
    return Issuer(private_key, key_id=7, issuer=SCHOOL)


@pytest.fixture(scope="session")
def verifier(private_key):
    return Verifier({7: private_key.public_key()}, issuer=SCHOOL)


@pytest.fixture(scope="session")
def noon():
    return datetime(2026, 9, 21, 4, 0, tzinfo=UTC)


class Phone:
    """A phone with a key and a delegation of its own."""

    def __init__(self, issuer, *, expires_at, serial=1, scope=ANYTHING, cap_yuan=15, cap_count=3):
        self.private_key = Ed25519PrivateKey.from_private_bytes(serial.to_bytes(32, "big"))
        self.delegation = issuer.delegate(
            self.private_key.public_key().public_bytes_raw(),
            serial=serial,
            scope=scope,
            expires_at=expires_at,
            cap_yuan=cap_yuan,
            cap_count=cap_count,
        )

    def shows(self, at, *, scope=ANYTHING, sequence=0):
        return make_device_code(
            self.private_key, self.delegation, scope=scope, issued_at=at, sequence=sequence
        )


class School:
    """What a server does for its scanners and phones."""

    name = SCHOOL

    def __init__(self, issuer, private_key, noon):
        self.issuer, self.private_key, self.noon = issuer, private_key, noon
        self.root = Ed25519PrivateKey.from_private_bytes(bytes(range(128, 160)))
        self.roots = {1: self.root.public_key()}

    def content(self, **changed):
        known = {
            "keys": {7: self.private_key.public_key()},
            "revoked": RevocationList.of([], first=0),
            "stopped": [],
            "early": timedelta(seconds=15),
            "late": timedelta(seconds=10),
            "utc_offset": timedelta(hours=8),
        }
        return bundle_content(**known | changed)

    def sign(self, content, **changed):
        issued_at = changed.get("issued_at", self.noon)
        known = {
            "private_key": self.root,
            "key_id": 1,
            "issuer": SCHOOL,
            "terminal": "table",
            "sequence": 1,
            "issued_at": issued_at,
            "expires_at": issued_at + 72 * HOUR,
            "fresh_until": issued_at + 24 * HOUR,
        }
        return sign_bundle(content, **known | changed)

    def gate_bundle(self, *, rules=PLAIN_GATE, known=None, **changed):
        return self.sign(self.content(gate=rules, **known or {}), **changed)

    def till_bundle(self, *, rules=PLAIN_TILL, known=None, **changed):
        return self.sign(self.content(till=rules, **known or {}), **changed)

    def scanner(self, store, *, terminal="table"):
        return Scanner(store, roots=self.roots, issuer=SCHOOL, terminal=terminal)

    def phone(self, serial=1, **changed):
        return Phone(self.issuer, serial=serial, **{"expires_at": self.noon + 72 * HOUR} | changed)

    def card(self, at, *, alias=ALIAS, scope=ANYTHING):
        return self.issuer.issue(alias, scope=scope, issued_at=at)


@pytest.fixture(scope="session")
def school(issuer, private_key, noon):
    return School(issuer, private_key, noon)


@pytest.fixture
def store(tmp_path):
    store = ScannerStore(tmp_path / "scanner.db")
    yield store
    store.close()
