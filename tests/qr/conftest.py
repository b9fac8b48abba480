import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import qr
from qr import Issuer, Verifier

SCHOOL = "ecard.example.edu.cn"


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
