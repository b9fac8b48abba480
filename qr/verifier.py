"""Checks card codes with public keys only: no network, no database, no clock of its own."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from qr.codes import (
    CardCode,
    CodeExpired,
    CodeForged,
    CodeNotYetValid,
    CodeUnknownKey,
    CodeWrongScope,
    DeviceCode,
    Scope,
    SignedCode,
)
from qr.delegation import delegation_input, is_weak_key, read_delegation
from qr.device import is_device_text, proof_jwt, read_device
from qr.epoch import from_epoch, to_epoch
from qr.jose import b64url
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

    def verify(self, text: str, *, need: Scope, now: datetime) -> CardCode:
        """Return the content of a signed or device code that a scanner has read.

        Changes nothing: whoever acts on the answer must also see that its `key` is used once, and
        that a device code's delegation is not revoked.

        Args:
            text: what the scanner read, and nothing around it.
            need: the use at hand; when several are named, one of them is enough.
            now: the moment of scanning, aware. Whole seconds count, rounded down: unless the
                verifier was told otherwise, a signed code is good from 15 s before `issued_at`
                through the tenth second after `expires_at`; a device code from 15 s before
                `issued_at` through `expires_at`, a minute later at most.

        Raises:
            ValueError: `need` names no use.
            CodeMalformed: `text` is neither, or a signed code that claims to live over 60 s.
            CodeForged: the key that it names did not sign it for this issuer, the phone's key did
                not sign the rest, or that key is one that anybody can sign for.
            CodeUnknownKey: it names a key outside the table, so nothing can be said of its
                signature; never raised together with `CodeForged`.
            CodeNotYetValid: `now` is too long before `issued_at`.
            CodeExpired: `now` is too long after `issued_at`, or the delegation's time is over.
            CodeWrongScope: it is not for any use in `need`.
        """
        if not need:
            raise ValueError("a verifier needs some use")
        code = self.genuine(text)
        second = from_epoch(to_epoch(now))
        if second < code.issued_at - self._early:
            raise CodeNotYetValid(code.issued_at)
        late = self._late if isinstance(code, SignedCode) else timedelta()
        if second > code.expires_at + late:
            raise CodeExpired(code.expires_at)
        if not code.scope & need:
            raise CodeWrongScope(code.scope)
        return code

    def genuine(self, text: str) -> CardCode:
        """Return the content of a code whose signatures are good, whatever its time and use.

        Raises:
            CodeMalformed, CodeForged, CodeUnknownKey: as `verify` does.
        """
        if is_device_text(text):
            return self._genuine_device(text)
        code, signature = read_signed(text)
        self._check(
            signed_jwt(code, signature, self._issuer),
            self._key(code.key_id),
            require=["iss", "aud", "sub", "iat", "exp", "jti"],
            issuer=self._issuer,
        )
        return code

    def _genuine_device(self, text: str) -> DeviceCode:
        code, delegation_raw, proof_signature = read_device(text)
        delegation, signature = read_delegation(delegation_raw)
        # The school's signature first, under a key of the table and no other: a delegation that
        # was checked with the key it carries would let every phone delegate to itself.
        self._check(
            f"{delegation_input(delegation, self._issuer)}.{b64url(signature)}",
            self._key(delegation.key_id),
            require=["iss", "aud", "sub", "exp", "cnf"],
            issuer=self._issuer,
        )
        if is_weak_key(delegation.public_key):
            raise CodeForged
        self._check(
            proof_jwt(code, delegation_raw, proof_signature),
            Ed25519PublicKey.from_public_bytes(delegation.public_key),
            require=["aud", "iat", "cth"],
            issuer=None,
        )
        return code

    def _key(self, key_id: int) -> Ed25519PublicKey:
        key = self._keys.get(key_id)
        if key is None:
            raise CodeUnknownKey(key_id)
        return key

    @staticmethod
    def _check(
        token: str, key: Ed25519PublicKey, *, require: list[str], issuer: str | None
    ) -> None:
        try:
            jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                issuer=issuer,
                options={
                    "require": require,
                    "strict_aud": True,
                    # PyJWT reads the system's clock; `verify` judges the times by `now`.
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidTokenError as error:
            raise CodeForged from error
