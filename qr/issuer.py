"""Signs card codes. Runs only where the private key lives."""

import secrets
from datetime import datetime, timedelta

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qr.codes import ALIAS_SIZE, KEY_IDS, NONCE_SIZE, Scope, SignedCode
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
    """Issues signed codes (签名码) in the name of one school with one key."""

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
        return write_signed(code, self._sign(code))

    def _sign(self, code: SignedCode) -> bytes:
        token = jwt.encode(
            signed_claims(code, self._issuer),
            self._private_key,
            algorithm="EdDSA",
            headers=signed_header(code),
        )
        signed, _, signature = token.rpartition(".")
        # The verifier will rebuild these two segments from the fields: they must be the same text.
        if signed != signed_input(code, self._issuer):
            raise RuntimeError("PyJWT spells this token otherwise than the format does")
        return from_b64url(signature)
