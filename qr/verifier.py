"""Checks card codes with public keys only: no network, no database, no clock of its own."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from qr.codes import (
    CodeExpired,
    CodeForged,
    CodeNotYetValid,
    CodeUnknownKey,
    CodeWrongScope,
    Scope,
    SignedCode,
)
from qr.epoch import from_epoch, to_epoch
from qr.signed import AUDIENCE, check_issuer, read_signed, signed_jwt

EARLY = timedelta(seconds=15)
"""How far a scanner's clock may lag behind the issuer's, unless a verifier is told otherwise."""
LATE = timedelta(seconds=10)
"""How long an expired code may take from the screen to the verifier, unless told otherwise."""


class Verifier:
    """Judges what a code proves by itself: who signed it, when, and for what.

    Whether its card is lost, and whether it was used before, only the server knows.
    Cheap to make: make a new one when the keys change.
    """

    def __init__(
        self,
        keys: Mapping[int, Ed25519PublicKey],
        *,
        issuer: str,
        early: timedelta = EARLY,
        late: timedelta = LATE,
    ) -> None:
        """Hold a table of keys.

        Args:
            keys: key id to key object; the algorithm belongs to the key, not to the code.
            issuer: the only school whose codes are accepted.
            early: how long before `issued_at` a code is good; a policy (规定) of the school.
            late: how long after `expires_at` a code is good; likewise.

        Raises:
            TypeError: a key is not an Ed25519 public key; PyJWT would take others as EdDSA.
            ValueError: `issuer` cannot be an issuer.
        """
        for key in keys.values():
            if not isinstance(key, Ed25519PublicKey):
                raise TypeError("only Ed25519 public keys check card codes")
        self._keys = dict(keys)
        self._issuer = check_issuer(issuer)
        self._early = early
        self._late = late

    def verify(self, text: str, *, need: Scope, now: datetime) -> SignedCode:
        """Return the content of a signed code that a scanner has read.

        Changes nothing: whoever acts on the answer must also see that its `key` is used once.

        Args:
            text: what the scanner read, and nothing around it.
            need: the use at hand; when several are named, one of them is enough.
            now: the moment of scanning, aware. Whole seconds count, rounded down: unless the
                verifier was told otherwise, a code is good from 15 s before `issued_at` through
                the tenth second after `expires_at`.

        Raises:
            ValueError: `need` names no use.
            CodeMalformed: `text` is not a signed code, or claims to live longer than 60 s.
            CodeForged: the key that it names did not sign it for this issuer.
            CodeUnknownKey: it names a key outside the table, so nothing can be said of its
                signature; never raised together with `CodeForged`.
            CodeNotYetValid: `now` is too long before `issued_at`.
            CodeExpired: `now` is too long after `expires_at`.
            CodeWrongScope: it is not for any use in `need`.
        """
        if not need:
            raise ValueError("a verifier needs some use")
        code, signature = read_signed(text)
        self._check_signature(code, signature)
        second = from_epoch(to_epoch(now))
        if second < code.issued_at - self._early:
            raise CodeNotYetValid(code.issued_at)
        if second > code.expires_at + self._late:
            raise CodeExpired(code.expires_at)
        if not code.scope & need:
            raise CodeWrongScope(code.scope)
        return code

    def _check_signature(self, code: SignedCode, signature: bytes) -> None:
        key = self._keys.get(code.key_id)
        if key is None:
            raise CodeUnknownKey(code.key_id)
        try:
            jwt.decode(
                signed_jwt(code, signature, self._issuer),
                key,
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                issuer=self._issuer,
                options={
                    "require": ["iss", "aud", "sub", "iat", "exp", "jti"],
                    "strict_aud": True,
                    # PyJWT reads the system's clock; `verify` judges the times by `now`.
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidTokenError as error:
            raise CodeForged from error
