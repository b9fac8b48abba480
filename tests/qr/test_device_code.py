"""What a phone signs by itself, with BigInt and without, run by Node."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DELEGATION_DIGITS = 2 * 108
CHALLENGE = bytes(range(128, 160))
ACCOUNT = b"\x00\xff" * 16


@pytest.fixture(scope="module", params=["bigint", "none"])
def phone(request, vectors):
    """Asks the phone's own code to make codes; `none` is a phone without BigInt."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node on this machine: the phone's codes were not checked")

    def ask(*showings):
        order = {
            "seed": vectors["seeds"]["device"],
            "challenge": CHALLENGE.hex(),
            "account": ACCOUNT.hex(),
            "showings": showings,
        }
        done = subprocess.run(
            [node, Path(__file__).with_name("device_code.mjs"), request.param],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    ask.bigint = request.param == "bigint"
    return ask


def showing(vector, **other):
    return {
        "delegation": vector["hex"][:DELEGATION_DIGITS],
        "scope": vector["fields"]["proof_scope"],
        "issuedAt": vector["fields"]["issued_at"],
        "sequence": vector["fields"]["sequence"],
        **other,
    }


class TestDeviceCode:
    def test_is_the_vectors_to_the_byte(self, phone, vectors):
        valid = vectors["valid"]["device"]
        made = phone(*map(showing, valid))
        assert made["codes"] == [vector["text"] for vector in valid]

    def test_uses_the_library_that_the_phone_can_run(self, phone):
        made = phone()
        used, other = "lib/ed25519.js", "lib/nacl.js"
        if not phone.bigint:
            used, other = other, used
        assert made["bigint"] == ("function" if phone.bigint else "undefined")
        assert used in made["loaded"]
        assert other not in made["loaded"]

    def test_pads_small_numbers(self, phone, vectors):
        # No school signs such a delegation; its digits begin with zeros.
        first = vectors["valid"]["device"][0]
        (code,) = phone(showing(first, delegation="00" * 107 + "01"))["codes"]
        assert len(code) == 430
        assert code.startswith("962" + "0" * 200)
        raw = int(code[3:]).to_bytes(177, "big")
        assert raw[:108] == bytes(107) + b"\x01"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"scope": 0},
            {"scope": 16},
            {"sequence": 16},
            {"sequence": -1},
            {"issuedAt": 2**32},
            {"issuedAt": 1.5},
            {"delegation": "00" * 107},
        ],
    )
    def test_is_not_made_of_what_does_not_fit(self, phone, vectors, wrong):
        made = phone(showing(vectors["valid"]["device"][0], **wrong))
        assert made["codes"] == ["RangeError"]


class TestEnrolment:
    def test_shows_that_the_phone_holds_its_seed(self, phone, vectors):
        made = phone()
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vectors["seeds"]["device"]))
        assert made["publicKey"] == key.public_key().public_bytes_raw().hex()
        assert made["enrolmentProof"] == key.sign(b"ecenrol1" + CHALLENGE + ACCOUNT).hex()

    def test_draws_its_seed_from_the_platform(self, phone):
        assert phone()["fresh"] == "07" * 32
