"""Bundles (终端数据包): what a scanner must know to decide alone, signed by the school.

A bundle is a JWT of its own type, signed with a root key that the scanner was given when it was
enrolled.  It holds public keys and no secret.  Its sequence only grows, so an older one never
replaces a newer one; a delta leaves out the sections that its base has already.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from qr.codes import ALIAS_SIZE, Scope
from qr.epoch import from_epoch, to_epoch
from qr.jose import b64url, from_b64url
from qr.jwks import read_jwks, read_key_id, write_jwks
from qr.rules import Access, GateRules, Hours, OfflinePolicy, TillRules

BUNDLE_AUDIENCE = "ecard:scanner"
BUNDLE_TYPE = "ecbundle+jwt"
SECTIONS = ("keys", "revoked", "stopped", "windows", "gate", "members", "till")
"""What a delta may leave out when nothing in it has changed."""
MOST_BITS = 2**24
"""The longest revocation list that is unpacked: 16 million delegations."""
_SERIAL_SIZE = 4


class BundleError(Exception):
    """A bundle cannot be used. The scanner goes on with the one it has."""

    code: ClassVar[str] = "bundle-malformed"


class BundleForged(BundleError):
    """None of the root keys of this scanner signed it."""

    code = "bundle-forged"


class BundleForeign(BundleError):
    """It is for another terminal or from another school."""

    code = "bundle-foreign"


class BundleOutdated(BundleError):
    """Its sequence is not above the one that the scanner has: an old one, put back."""

    code = "bundle-outdated"


class BundleBaseMissing(BundleError):
    """A delta of a bundle that this scanner does not have: ask for a whole one."""

    code = "bundle-base-missing"


@dataclass(frozen=True, slots=True)
class RevocationList:
    """Which delegations are taken back (撤销列表): a bit for each serial, from `first` on."""

    first: int
    bits: bytes
    """Bit n of the list is bit n % 8, from the least, of byte n // 8."""

    def __contains__(self, serial: int) -> bool:
        place = serial - self.first
        if not 0 <= place < 8 * len(self.bits):
            return False  # older ones have expired, newer ones were granted since
        return bool(self.bits[place // 8] >> place % 8 & 1)

    @classmethod
    def of(cls, revoked: Iterable[int], *, first: int) -> "RevocationList":
        """Return the list of these serials.

        Raises:
            ValueError: one is below `first`, or too far above it for a scanner to unpack the list.
        """
        serials = sorted(revoked)
        if serials and not first <= serials[0] <= serials[-1] < first + MOST_BITS:
            raise ValueError("a revoked serial lies outside the list")
        bits = bytearray((serials[-1] - first) // 8 + 1 if serials else 0)
        for serial in serials:
            bits[(serial - first) // 8] |= 1 << (serial - first) % 8
        return cls(first, bytes(bits))


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that one scanner knows, checked."""

    terminal: str
    sequence: int
    issued_at: datetime
    expires_at: datetime
    """The hard stop: from then on the scanner decides nothing alone."""
    fresh_until: datetime
    """From then on only those pass who are named here, and no money moves."""
    keys: Mapping[int, Ed25519PublicKey]
    revoked: RevocationList
    stopped: frozenset[bytes]
    """Aliases that changed lately: their codes are stale."""
    early: timedelta
    late: timedelta
    utc_offset: timedelta
    """The school's own time, for hours and days."""
    gate: GateRules | None
    till: TillRules | None


def sign_bundle(
    content: Mapping[str, Any],
    *,
    private_key: Ed25519PrivateKey,
    key_id: int,
    issuer: str,
    terminal: str,
    sequence: int,
    issued_at: datetime,
    expires_at: datetime,
    fresh_until: datetime,
    base: int | None = None,
) -> str:
    """Return a bundle, or a delta to the bundle `base`, as a signed JWT.

    Args:
        content: the sections by name, as `bundle_content` makes them; a delta has fewer of them.
        private_key: the root key; scanners hold its public half.
        key_id: its number.
        issuer: the school.
        terminal: whom it is for; it is refused by every other scanner.
        sequence: above that of every bundle that this terminal ever got.
        issued_at: aware; scanners take it for a time that has surely passed.
        expires_at: the hard stop.
        fresh_until: when it begins to be stale.
        base: the sequence of the bundle whose other sections stay as they are.
    """
    claims = {
        "iss": issuer,
        "aud": BUNDLE_AUDIENCE,
        "sub": terminal,
        "iat": to_epoch(issued_at),
        "exp": to_epoch(expires_at),
        "fresh": to_epoch(fresh_until),
        "seq": sequence,
        **({} if base is None else {"base": base}),
        **content,
    }
    header = {"kid": f"q{key_id}", "typ": BUNDLE_TYPE}
    return jwt.encode(claims, private_key, algorithm="EdDSA", headers=header)


def bundle_content(
    *,
    keys: Mapping[int, Ed25519PublicKey],
    revoked: RevocationList,
    stopped: Iterable[bytes],
    early: timedelta,
    late: timedelta,
    utc_offset: timedelta,
    gate: GateRules | None = None,
    till: TillRules | None = None,
) -> dict[str, Any]:
    """Return the sections of a bundle, each spelled in one way, so that equal ones are equal."""
    content: dict[str, Any] = {
        "keys": write_jwks(dict(sorted(keys.items())))["keys"],
        "revoked": {"first": revoked.first, "lst": b64url(zlib.compress(revoked.bits, 9))},
        "stopped": _join(stopped),
        "windows": {
            "early": early.seconds,
            "late": late.seconds,
            "utc_offset_minutes": utc_offset // timedelta(minutes=1),
        },
    }
    if gate is not None:
        content["gate"] = {
            "scope": int(gate.scope),
            "offline": gate.offline.value,
            "passback_minutes": gate.passback // timedelta(minutes=1),
            "emergency": gate.emergency,
            "classes": [[hours.spelled for hours in access.hours] for access in gate.classes],
            "default": gate.default,
        }
        content["members"] = [
            {"aliases": _join(access.aliases), "serials": _join(map(_serial, access.serials))}
            for access in gate.classes
        ]
    if till is not None:
        content["till"] = {
            "offline": till.offline,
            "per_sale_fen": till.per_sale_fen,
            "per_card_count": till.per_card_count,
            "per_card_fen": till.per_card_fen,
            "terminal_fen": till.terminal_fen,
        }
    return content


def read_bundle(
    token: str,
    *,
    roots: Mapping[int, Ed25519PublicKey],
    issuer: str,
    terminal: str | None = None,
    after: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the checked claims of a bundle, whole: a delta is laid over the claims `after`.

    Args:
        token: the JWT as it was fetched.
        roots: the root keys that this scanner was given at its enrolment.
        issuer: the only school that it listens to.
        terminal: which terminal this is; None takes the bundle's word, as on a kitchen table.
        after: the claims of the bundle in use, or None.

    Raises:
        BundleForged: no root key signed it.
        BundleError: it is signed, but does not say what a bundle has to say.
        BundleForeign: for another terminal, or from another school.
        BundleOutdated: it is not newer than `after`.
        BundleBaseMissing: a delta of another bundle than `after`.
    """
    claims = _checked(token, roots)
    if not is_for(claims, issuer=issuer, terminal=terminal):
        raise BundleForeign
    if after is not None and claims["seq"] <= after["seq"]:
        raise BundleOutdated
    if "base" in claims:
        if after is None or after["seq"] != claims["base"]:
            raise BundleBaseMissing
        kept = {name: after[name] for name in SECTIONS if name in after}
        claims = kept | {name: said for name, said in claims.items() if name != "base"}
    as_bundle(claims)
    return claims


def is_for(claims: Mapping[str, Any], *, issuer: str, terminal: str | None) -> bool:
    """Return whether claims are of this school and, when one is named, for this terminal."""
    return claims.get("iss") == issuer and terminal in (None, claims.get("sub"))


def _checked(token: str, roots: Mapping[int, Ed25519PublicKey]) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
        key_id = read_key_id(header.get("kid"))
        root = None if key_id is None else roots.get(key_id)
        if root is None or header.get("typ") != BUNDLE_TYPE:
            raise BundleForged
        claims: dict[str, Any] = jwt.decode(
            token,
            root,
            algorithms=["EdDSA"],
            audience=BUNDLE_AUDIENCE,
            options={
                "strict_aud": True,
                "verify_exp": False,  # the scanner judges by its own clock
                "verify_iat": False,
            },
        )
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise BundleForged from error  # the latter two from a header that nobody signed
    if not all(type(claims.get(name)) is int for name in ("iat", "exp", "fresh", "seq")):
        raise BundleError
    return claims


def as_bundle(claims: Mapping[str, Any]) -> Bundle:
    """Return what checked claims say.

    Raises:
        BundleError: something is missing or misspelled.
    """
    try:
        windows = claims["windows"]
        return Bundle(
            terminal=claims["sub"],
            sequence=claims["seq"],
            issued_at=from_epoch(claims["iat"]),
            expires_at=from_epoch(claims["exp"]),
            fresh_until=from_epoch(claims["fresh"]),
            keys=read_jwks({"keys": claims["keys"]}),
            revoked=_read_revoked(claims["revoked"]),
            stopped=frozenset(_split(claims["stopped"], ALIAS_SIZE)),
            early=timedelta(seconds=_whole(windows["early"])),
            late=timedelta(seconds=_whole(windows["late"])),
            utc_offset=timedelta(minutes=windows["utc_offset_minutes"]),
            gate=_read_gate(claims) if "gate" in claims else None,
            till=_read_till(claims["till"]) if "till" in claims else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BundleError from error


def _read_revoked(said: Mapping[str, Any]) -> RevocationList:
    unpacking = zlib.decompressobj()
    try:
        bits = unpacking.decompress(from_b64url(said["lst"]), MOST_BITS // 8 + 1)
    except zlib.error as error:
        raise BundleError from error
    if not unpacking.eof or unpacking.unused_data or len(bits) > MOST_BITS // 8:
        raise BundleError  # too long, or cut off: what is missing would count as not revoked
    return RevocationList(_whole(said["first"]), bits)


def _read_gate(claims: Mapping[str, Any]) -> GateRules:
    said = claims["gate"]
    return GateRules(
        scope=Scope(said["scope"]),
        offline=OfflinePolicy(said["offline"]),
        passback=timedelta(minutes=_whole(said["passback_minutes"])),
        emergency=_flag(said["emergency"]),
        classes=tuple(
            Access(
                hours=tuple(Hours.read(spelled) for spelled in hours),
                aliases=frozenset(_split(members["aliases"], ALIAS_SIZE)),
                serials=frozenset(
                    int.from_bytes(raw, "big") for raw in _split(members["serials"], _SERIAL_SIZE)
                ),
            )
            for hours, members in zip(said["classes"], claims["members"], strict=True)
        ),
        default=said["default"],
    )


def _read_till(said: Mapping[str, Any]) -> TillRules:
    return TillRules(
        offline=_flag(said["offline"]),
        per_sale_fen=_whole(said["per_sale_fen"]),
        per_card_count=_whole(said["per_card_count"]),
        per_card_fen=_whole(said["per_card_fen"]),
        terminal_fen=_whole(said["terminal_fen"]),
    )


def _whole(said: object) -> int:
    if type(said) is not int or said < 0:
        raise BundleError
    return said


def _flag(said: object) -> bool:
    if not isinstance(said, bool):
        raise BundleError
    return said


def _serial(serial: int) -> bytes:
    return serial.to_bytes(_SERIAL_SIZE, "big")


def _join(parts: Iterable[bytes]) -> str:
    return b64url(b"".join(sorted(parts)))


def _split(text: str, size: int) -> list[bytes]:
    raw = from_b64url(text)
    if len(raw) % size:
        raise BundleError
    return [raw[start : start + size] for start in range(0, len(raw), size)]
