"""Device codes (设备码, type D): 177 bytes in 430 digits, made by a phone that has no network.

    delegation 108, issued_at 4, proof_scope:4 | sequence:4, signature 64

The school signed the delegation days ago, the phone signs the moment.  Neither can do without the
other, and the proof names its delegation, so it fits no other one.
"""

from datetime import datetime

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qr.codes import SEQUENCES, DeviceCode, Scope
from qr.delegation import DELEGATION_SIZE, fingerprint, read_delegation
from qr.digits import read_digits, write_digits
from qr.epoch import from_epoch, to_epoch
from qr.jose import b64url, from_b64url, signing_input
from qr.signed import AUDIENCE

_PREFIX = "962"
_PROOF_SIZE = 5
_SIGNATURE_SIZE = 64
_SIZE = DELEGATION_SIZE + _PROOF_SIZE + _SIGNATURE_SIZE


def make_device_code(
    private_key: Ed25519PrivateKey,
    delegation: bytes,
    *,
    scope: Scope,
    issued_at: datetime,
    sequence: int = 0,
) -> str:
    """Return the 430 digits that a phone shows.  This is all that a phone does.

    Args:
        private_key: the phone's own key, that the delegation names.
        delegation: the 108 bytes from the school.
        scope: what the code is shown for, at least one use.
        issued_at: now by the school's clock, aware; the fraction of a second is dropped.
        sequence: 0 to 15, another one for each code of a second.

    Raises:
        ValueError: an argument does not fit the format.
        CodeMalformed: `delegation` is none.
    """
    read_delegation(delegation)
    second = to_epoch(issued_at)
    if not scope or sequence not in SEQUENCES or not 0 <= second < 2**32:
        raise ValueError("a device code has a use, a sequence of 0 to 15 and a time until 2106")
    token = jwt.encode(
        _proof_claims(delegation, second, sequence, scope),
        private_key,
        algorithm="EdDSA",
        headers=_PROOF_HEADER,
    )
    proof = second.to_bytes(4, "big") + bytes([int(scope) << 4 | sequence])
    signature = from_b64url(token.rpartition(".")[2])
    return write_digits(delegation + proof + signature, prefix=_PREFIX)


def is_device_text(text: str) -> bool:
    """Return whether `text` begins as device codes do and no other code; no more is said."""
    return isinstance(text, str) and text.startswith(_PREFIX)


def read_device(text: str) -> tuple[DeviceCode, bytes, bytes]:
    """Return what `text` claims, unchecked, the delegation's bytes and the proof's signature.

    Raises:
        CodeMalformed: `text` is not a device code of version 1.
    """
    raw = read_digits(text, prefix=_PREFIX, size=_SIZE)
    delegation_raw, rest = raw[:DELEGATION_SIZE], raw[DELEGATION_SIZE:]
    delegation, _ = read_delegation(delegation_raw)
    scope, sequence = divmod(rest[4], 16)
    code = DeviceCode(
        delegation=delegation,
        proof_scope=Scope(scope),
        issued_at=from_epoch(int.from_bytes(rest[:4], "big")),
        sequence=sequence,
    )
    return code, delegation_raw, rest[_PROOF_SIZE:]


def proof_jwt(code: DeviceCode, delegation_raw: bytes, signature: bytes) -> str:
    """Return the JWT that the phone signed."""
    claims = _proof_claims(
        delegation_raw, to_epoch(code.issued_at), code.sequence, code.proof_scope
    )
    return f"{signing_input(_PROOF_HEADER, claims)}.{b64url(signature)}"


_PROOF_HEADER = {"alg": "EdDSA", "typ": "ecproof+jwt"}


def _proof_claims(
    delegation: bytes, second: int, sequence: int, scope: Scope
) -> dict[str, str | int]:
    return {
        "aud": AUDIENCE,
        "cth": b64url(fingerprint(delegation)),
        "iat": second,
        "seq": sequence,
        "scp": int(scope),
    }
