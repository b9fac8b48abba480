"""Signs card codes. Runs only where the private key lives."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qr.codes import (
    ALIAS_SIZE,
    KEY_IDS,
    NONCE_SIZE,
    PUBLIC_KEY_SIZE,
    SERIALS,
    Delegation,
    Scope,
    SignedCode,
)
from qr.delegation import (
    delegation_claims,
    delegation_header,
    delegation_input,
    is_weak_key,
    write_delegation,
)
from qr.epoch import from_epoch, to_epoch
from qr.jose import from_b64url
from qr.signed import (
    LIFETIME,
    check_issuer,
    signed_claims,
    signed_header,
    signed_input,
    write_signed,
)

_SECOND = timedelta(seconds=1)


class Issuer:
    """Issues signed codes (签名码) and delegations (脱机授权) for one school, with one key."""

    def __init__(self, private_key: Ed25519PrivateKey, *, key_id: int, issuer: str) -> None:
        """Hold a key.

        Args:
            private_key: a key object, so that nothing is parsed at each issue.
            key_id: 0 to 255, the number under which verifiers know the key.
            issuer: the school's name in `iss`, usually its host name.

        Raises:
            TypeError: `private_key` is not an Ed25519 key.
            ValueError: `key_id` or `issuer` is out of range.
        """
        if not isinstance(private_key, Ed25519PrivateKey):
            raise TypeError("only an Ed25519 key signs card codes")
        if key_id not in KEY_IDS:
            raise ValueError("a key id is 0 to 255")
        self._private_key = private_key
        self._key_id = key_id
        self._issuer = check_issuer(issuer)

    def issue(
        self,
        alias: bytes,
        *,
        scope: Scope,
        issued_at: datetime,
        lifetime: timedelta = LIFETIME,
        nonce: bytes | None = None,
    ) -> str:
        """Return the 201 digits of a fresh code for the card behind `alias`.

        Args:
            alias: the card's 6 random bytes.
            scope: every use that the code is for, at least one.
            issued_at: aware; the fraction of a second is dropped. May lie ahead, for codes that a
                phone fetches in advance.
            lifetime: 1 to 60 whole seconds.
            nonce: 5 random bytes; drawn here unless a test gives them.

        Raises:
            ValueError: an argument does not fit the format.
        """
        if nonce is None:
            nonce = secrets.token_bytes(NONCE_SIZE)
        if len(alias) != ALIAS_SIZE or len(nonce) != NONCE_SIZE:
            raise ValueError(f"an alias has {ALIAS_SIZE} bytes and a nonce {NONCE_SIZE}")
        if not scope:
            raise ValueError("a code is for something")
        if not _SECOND <= lifetime <= LIFETIME or lifetime % _SECOND:
            raise ValueError("a code lives 1 to 60 whole seconds")
        second = to_epoch(issued_at)
        if not 0 <= second < 2**32:
            raise ValueError("a code is issued between 1970 and 2106")
        code = SignedCode(
            alias=alias,
            scope=Scope(scope),
            key_id=self._key_id,
            issued_at=from_epoch(second),
            expires_at=from_epoch(second) + lifetime,
            nonce=nonce,
        )
        signature = self._sign(
            signed_claims(code, self._issuer),
            signed_header(code),
            signed_input(code, self._issuer),
        )
        return write_signed(code, signature)

    def delegate(
        self,
        public_key: bytes,
        *,
        serial: int,
        scope: Scope,
        expires_at: datetime,
        cap_yuan: int,
        cap_count: int,
    ) -> bytes:
        """Return the 108 bytes that let a phone's key stand for a card (脱机授权).

        Args:
            public_key: the phone's 32 bytes; that it holds the private half is for the caller to
                have proved.
            serial: 0 to 2^32 - 1, of no other delegation that has not expired.
            scope: every use that the phone may make codes for, at least one.
            expires_at: aware; the fraction of a second is dropped.
            cap_yuan: what a till without network may take in one sale, 0 to 255.
            cap_count: how many sales it may take in a day, 0 to 255.

        Raises:
            ValueError: an argument does not fit the format, or anybody could sign for the key.
        """
        if len(public_key) != PUBLIC_KEY_SIZE or is_weak_key(public_key):
            raise ValueError("not a public key that only its owner can sign for")
        if not scope:
            raise ValueError("a delegation is for something")
        second = to_epoch(expires_at)
        if serial not in SERIALS or second not in SERIALS:
            raise ValueError("a serial and a second have 32 bits")
        if cap_yuan not in KEY_IDS or cap_count not in KEY_IDS:
            raise ValueError("a cap is 0 to 255")
        delegation = Delegation(
            serial=serial,
            public_key=public_key,
            scope=Scope(scope),
            key_id=self._key_id,
            expires_at=from_epoch(second),
            cap_yuan=cap_yuan,
            cap_count=cap_count,
        )
        signature = self._sign(
            delegation_claims(delegation, self._issuer),
            delegation_header(delegation),
            delegation_input(delegation, self._issuer),
        )
        return write_delegation(delegation, signature)

    def _sign(self, claims: Mapping[str, object], header: Mapping[str, str], rebuilt: str) -> bytes:
        token = jwt.encode(dict(claims), self._private_key, algorithm="EdDSA", headers=dict(header))
        signed, _, signature = token.rpartition(".")
        # The verifier will rebuild these two segments from the fields: they must be the same text.
        if signed != rebuilt:
            raise RuntimeError("PyJWT spells this token otherwise than the format does")
        return from_b64url(signature)
