"""The issuer's private keys on disk, and their rotation (密钥轮换).

A key is published for a day before it signs, so that every scanner knows it by then; it stays
published for three days after the next one has taken over, so that what it signed can still be
checked. A retired key's id is not given to another key for a year.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, TextIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from qr.codes import KEY_IDS
from qr.issuer import Issuer
from qr.jose import b64url, from_b64url
from qr.jwks import read_key_id, write_jwks

PUBLISHED_BEFORE_USE = timedelta(hours=24)
"""Scanners fetch the key set at least this often."""
ACCEPTED_AFTER_USE = timedelta(hours=72)
"""A signed code needs two minutes; a delegation (脱机授权) lives 72 hours."""
ID_UNUSED = timedelta(days=365)
"""How long the id of a retired key stays unused."""


_Stamp = tuple[int, int, int]


class KeyRingError(Exception):
    """The key ring cannot be read, written or used. The text names the fault, never a key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One private key and the moment from which it signs."""

    key_id: int
    private_key: Ed25519PrivateKey = field(repr=False)
    used_from: datetime


@dataclass(frozen=True, slots=True)
class _Content:
    """What the file says."""

    keys: tuple[SigningKey, ...]
    """Oldest first, never empty. Each retires when the next one comes into use."""
    retired: Mapping[int, datetime]
    """Ids of keys that were destroyed, and when they had retired."""

    def accepted(self, now: datetime) -> tuple[SigningKey, ...]:
        retiring = [
            key
            for key, successor in pairwise(self.keys)
            if now < successor.used_from + ACCEPTED_AFTER_USE
        ]
        return (*retiring, self.keys[-1])

    def rotated(self, now: datetime) -> "_Content":
        newest = self.keys[-1]
        if now < newest.used_from:
            return self
        kept = self.accepted(now)
        kept_ids = {key.key_id for key in kept}
        retired = {
            **self.retired,
            **{
                key.key_id: successor.used_from
                for key, successor in pairwise(self.keys)
                if key.key_id not in kept_ids
            },
        }
        retired = {key_id: at for key_id, at in retired.items() if now < at + ID_UNUSED}
        key_id = (newest.key_id + 1) % len(KEY_IDS)
        if key_id in retired or key_id in kept_ids:
            raise KeyRingError("all 256 key ids were used within a year")
        following = SigningKey(key_id, Ed25519PrivateKey.generate(), now + PUBLISHED_BEFORE_USE)
        return _Content(keys=(*kept, following), retired=retired)


class KeyRing:
    """The private keys of one issuer, in one file that only its owner may read.

    Many processes may hold the same ring. Every method first looks at the file's inode and time,
    a few microseconds, and reads it again when it was replaced: a rotation by one process reaches
    the others with their next call. Key objects are made once per version of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loaded = _read(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the ring in the file at `path`.

        Raises:
            KeyRingError: there is no such file, others may read it, or it is not a key ring.
        """
        return cls(Path(path))

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, now: datetime, key_id: int = 1) -> Self:
        """Return a new ring with one key, in use from `now`, written to `path`.

        Args:
            path: where no file is yet; it gets mode 0600.
            now: aware.
            key_id: the first id, 0 to 255. When a ring is lost or its keys are stolen, start the
                new one with an id that has not been used for a year.

        Raises:
            ValueError: `key_id` is out of range.
            KeyRingError: the file exists, or cannot be written.
        """
        if key_id not in KEY_IDS:
            raise ValueError("a key id is 0 to 255")
        path = Path(path)
        with _replacing(path) as draft:
            if path.exists():
                raise KeyRingError(f"{path.name} exists already")
            first = SigningKey(key_id, Ed25519PrivateKey.generate(), now)
            _write(_Content(keys=(first,), retired={}), draft)
        return cls(path)

    def current(self, now: datetime) -> SigningKey:
        """Return the key that signs at `now`.

        Raises:
            KeyRingError: the file cannot be read, or its first key is not in use yet.
        """
        in_use = [key for key in self._content().keys if key.used_from <= now]
        if not in_use:
            raise KeyRingError("no key is in use yet: is the clock right?")
        return in_use[-1]

    def issuer(self, name: str, *, now: datetime) -> Issuer:
        """Return what issues a school's codes with the key that signs at `now`.

        Raises:
            KeyRingError: as `current`.
            ValueError: the name is no `iss`.
        """
        key = self.current(now)
        return Issuer(key.private_key, key_id=key.key_id, issuer=name)

    def public_keys(self, now: datetime) -> dict[int, Ed25519PublicKey]:
        """Return every key that a `Verifier` needs at `now`: previous, current and next.

        Raises:
            KeyRingError: the file cannot be read.
        """
        return {key.key_id: key.private_key.public_key() for key in self._content().accepted(now)}

    def jwks(self, now: datetime) -> dict[str, Any]:
        """Return the same keys as the JSON Web Key Set to publish.

        Raises:
            KeyRingError: the file cannot be read.
        """
        return write_jwks(self.public_keys(now))

    def rotate(self, now: datetime) -> None:
        """Add the next key, in use from 24 hours after `now`, and destroy what is long retired.

        A retry, or a second process, changes nothing while a key is waiting for its turn. The file
        is replaced in one step; a reader sees the old ring or the new one.

        Raises:
            KeyRingError: another process is rotating, all ids were used within a year, or the file
                cannot be read or written.
        """
        with _replacing(self._path) as draft:
            content, _ = _read(self._path)
            _write(content.rotated(now), draft)

    def _content(self) -> _Content:
        content, stamp = self._loaded
        try:
            unchanged = _stamp(self._path.stat()) == stamp
        except OSError as error:
            raise KeyRingError(f"{self._path.name}: {error.strerror}") from None
        if not unchanged:
            content, _ = self._loaded = _read(self._path)
        return content


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> tuple[_Content, _Stamp]:
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read()
    except OSError as error:
        raise KeyRingError(f"{path.name}: {error.strerror}") from None
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise KeyRingError(f"{path.name}: others may read this file; run chmod 600")
    try:
        return _parse(json.loads(text)), _stamp(status)
    except (AttributeError, KeyError, TypeError, ValueError):
        # From None: a parser's error holds the text it failed on, and here that is a secret.
        raise KeyRingError(f"{path.name}: not a key ring") from None


def _parse(document: Any) -> _Content:
    keys = tuple(_parse_key(jwk) for jwk in document["keys"])
    retired = {_parse_id(kid): _parse_time(at) for kid, at in document["retired"].items()}
    ids = {key.key_id for key in keys} | retired.keys()
    in_order = all(older.used_from < newer.used_from for older, newer in pairwise(keys))
    if not keys or not in_order or len(ids) != len(keys) + len(retired):
        raise ValueError
    return _Content(keys=keys, retired=retired)


def _parse_key(jwk: Any) -> SigningKey:
    private_key = Ed25519PrivateKey.from_private_bytes(from_b64url(jwk["d"]))
    if _jwk(private_key) != {name: jwk[name] for name in ("kty", "crv", "x", "d")}:
        raise ValueError
    return SigningKey(_parse_id(jwk["kid"]), private_key, _parse_time(jwk["used_from"]))


def _parse_id(kid: object) -> int:
    key_id = read_key_id(kid)
    if key_id is None:
        raise ValueError
    return key_id


def _parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError
    return moment


def _write(content: _Content, file: TextIO) -> None:
    document = {
        "keys": [
            {
                **_jwk(key.private_key),
                "kid": f"q{key.key_id}",
                "used_from": key.used_from.isoformat(),
            }
            for key in content.keys
        ],
        "retired": {f"q{key_id}": at.isoformat() for key_id, at in content.retired.items()},
    }
    json.dump(document, file, indent=2)
    file.write("\n")


def _jwk(private_key: Ed25519PrivateKey) -> dict[str, str]:
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": b64url(private_key.public_key().public_bytes_raw()),
        "d": b64url(private_key.private_bytes_raw()),
    }


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """Yield a draft that takes the place of `path` when the block ends well, and vanishes if not.

    The draft is also the lock: only one can exist, and it is gone once it is in place.
    """
    draft = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyRingError(
            f"{draft.name} exists: another process is at work, or one was cut off; "
            "in that case remove it"
        ) from None
    except OSError as error:
        raise KeyRingError(f"{draft.name}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    except BaseException as error:
        draft.unlink()
        if isinstance(error, OSError):
            raise KeyRingError(f"{draft.name}: {error.strerror}") from None
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # so that the new name survives a power loss
    finally:
        os.close(directory)
