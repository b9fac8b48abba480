"""Personal data at rest: keyed indexes to compare, sealed boxes to read back.

Every key is derived from one root key by purpose (RFC 5869), so that a leak of one tells nothing
of the others, and a database dump without the root key tells nothing at all.
"""

import base64
import hashlib
import hmac
import os
import unicodedata
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES = 12


class Sealer:
    """Holds the root key.  One instance a process, made by `create_app`."""

    def __init__(self, root_key: bytes) -> None:
        self._root_key = root_key
        self._keys: dict[str, bytes] = {}

    def index(self, purpose: str, value: str) -> bytes:
        """Return the keyed hash under which a value is compared and found, 32 bytes."""
        return hmac.digest(self._key(f"index:{purpose}"), value.encode(), hashlib.sha256)

    def seal(self, purpose: str, value: str, *, also: bytes = b"") -> bytes:
        """Return a value encrypted; only the same purpose and the same `also` open it again."""
        return self.seal_bytes(purpose, value.encode(), also=also)

    def unseal(self, purpose: str, sealed: bytes, *, also: bytes = b"") -> str | None:
        """Return a sealed value, or None when another key, purpose or `also` sealed it."""
        value = self.unseal_bytes(purpose, sealed, also=also)
        return None if value is None else value.decode()

    def seal_bytes(self, purpose: str, content: bytes, *, also: bytes = b"") -> bytes:
        """Seal what is no text, such as a file."""
        nonce = os.urandom(NONCE_BYTES)
        box = AESGCM(self._key(f"seal:{purpose}", also))
        return nonce + box.encrypt(nonce, content, purpose.encode())

    def unseal_bytes(self, purpose: str, sealed: bytes, *, also: bytes = b"") -> bytes | None:
        """Return sealed bytes, or None when another key, purpose or `also` sealed them."""
        if len(sealed) < NONCE_BYTES:
            return None
        box = AESGCM(self._key(f"seal:{purpose}", also))
        try:
            return box.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], purpose.encode())
        except InvalidTag:
            return None

    def signing_key(self, purpose: str) -> Ed25519PrivateKey:
        """Return the key that signs for one purpose, the same at every start."""
        return Ed25519PrivateKey.from_private_bytes(self._key(f"sign:{purpose}"))

    def _key(self, label: str, also: bytes = b"") -> bytes:
        if also:  # one key per secret of a caller: derived each time, never kept
            return HKDF(SHA256(), 32, salt=also, info=label.encode()).derive(self._root_key)
        if label not in self._keys:
            self._keys[label] = HKDF(SHA256(), 32, salt=None, info=label.encode()).derive(
                self._root_key
            )
        return self._keys[label]


class SealedCache:
    """A cache whose values only this school reads, such as a platform's access token.

    Takes a `redis.Redis`, and is used as one.
    """

    def __init__(self, cache: Any, sealer: Sealer) -> None:
        self._cache, self._sealer = cache, sealer

    def get(self, key: str, /) -> str | None:
        """Return a value, or None: there is none, or another root key sealed it."""
        sealed = self._cache.get(key)
        if sealed is None:
            return None
        return self._sealer.unseal("cache", base64.b64decode(sealed), also=key.encode())

    def set(self, key: str, value: str, /, *, ex: int, nx: bool = False) -> Any:
        """Store for `ex` seconds; with `nx` only if absent, telling so by a false answer."""
        sealed = self._sealer.seal("cache", value, also=key.encode())
        return self._cache.set(key, base64.b64encode(sealed).decode(), ex=ex, nx=nx)

    def delete(self, key: str, /) -> Any:
        """Forget a value."""
        return self._cache.delete(key)


def normal_document(text: str) -> str:
    """Return a document number (证件号码) in its one form: NFKC, upper case, letters and digits.

    >>> normal_document(" 11010519491231002x ")
    '11010519491231002X'
    """
    folded = unicodedata.normalize("NFKC", text).upper()
    return "".join(letter for letter in folded if letter.isalnum())


def token_hash(token: str) -> bytes:
    """Return what is stored of a bearer token: the tokens are random, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).digest()
