"""Delegations (脱机授权): 108 bytes with which the school lets a phone's own key stand for a card.

    version:4 | scope:4, key_id 1, serial 4, public_key 32, expires_at 4, cap_yuan 1, cap_count 1,
    signature 64

No cryptography here: `issuer` signs and `verifier` checks.
"""

import hashlib

from qr.codes import CodeMalformed, Delegation, Scope
from qr.epoch import from_epoch, to_epoch
from qr.jose import b64url, signing_input
from qr.signed import AUDIENCE, VERSION

DELEGATION_SIZE = 108
_BODY_SIZE = 44
_FINGERPRINT_SIZE = 16

_SMALL_ORDER = frozenset(
    bytes.fromhex(encoding)
    for encoding in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
"""The points of small order, in every spelling, without the sign bit (RFC 8032 §5.1.2)."""


def is_weak_key(public_key: bytes) -> bool:
    """Return whether anybody can sign for this Ed25519 key: its point has a small order.

    cryptography loads such keys, and a signature of nothing verifies under them.  Proof of
    possession does not help, so enrolment asks here.
    """
    return public_key[:-1] + bytes([public_key[-1] & 0x7F]) in _SMALL_ORDER


def write_delegation(delegation: Delegation, signature: bytes) -> bytes:
    """Return the 108 bytes that a phone keeps and every one of its codes carries."""
    return (
        bytes([VERSION << 4 | int(delegation.scope), delegation.key_id])
        + delegation.serial.to_bytes(4, "big")
        + delegation.public_key
        + to_epoch(delegation.expires_at).to_bytes(4, "big")
        + bytes([delegation.cap_yuan, delegation.cap_count])
        + signature
    )


def read_delegation(raw: bytes) -> tuple[Delegation, bytes]:
    """Return what 108 bytes claim, unchecked, and their signature.

    Raises:
        CodeMalformed: another length or another version.
    """
    if len(raw) != DELEGATION_SIZE or raw[0] >> 4 != VERSION:
        raise CodeMalformed
    delegation = Delegation(
        scope=Scope(raw[0] & 15),
        key_id=raw[1],
        serial=int.from_bytes(raw[2:6], "big"),
        public_key=raw[6:38],
        expires_at=from_epoch(int.from_bytes(raw[38:42], "big")),
        cap_yuan=raw[42],
        cap_count=raw[43],
    )
    return delegation, raw[_BODY_SIZE:]


def delegation_header(delegation: Delegation) -> dict[str, str]:
    """Return the header of the JWT that a delegation stands for."""
    return {"alg": "EdDSA", "kid": f"q{delegation.key_id}", "typ": "eccert+jwt"}


def delegation_claims(delegation: Delegation, issuer: str) -> dict[str, object]:
    """Return the claims of the JWT, in the order that the signature covers."""
    return {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": f"d{delegation.serial}",
        "exp": to_epoch(delegation.expires_at),
        "cnf": {"jwk": {"crv": "Ed25519", "kty": "OKP", "x": b64url(delegation.public_key)}},
        "cap": [delegation.cap_yuan, delegation.cap_count],
        "scp": int(delegation.scope),
    }


def delegation_input(delegation: Delegation, issuer: str) -> str:
    """Return the first two segments of the JWT: exactly the text that the school signs."""
    return signing_input(delegation_header(delegation), delegation_claims(delegation, issuer))


def fingerprint(raw: bytes) -> bytes:
    """Return what a proof says of its delegation, so that it fits no other one: 16 bytes."""
    return hashlib.sha512(raw).digest()[:_FINGERPRINT_SIZE]
