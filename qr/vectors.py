"""Tries this implementation on a file of good and bad codes, such as `vectors.json`.

For whoever has changed it, packs it for another machine, or made vectors elsewhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from qr.codes import CardCode, CodeError, DeviceCode, Scope
from qr.delegation import delegation_input, is_weak_key, read_delegation
from qr.device import proof_jwt, read_device
from qr.epoch import from_epoch, to_epoch
from qr.jose import b64url
from qr.jwks import read_jwks
from qr.short import short_code_key
from qr.signed import rebuild_jwt
from qr.verifier import Verifier

ACCEPTED = "accepted"


def check_vectors(document: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield the name of each vector, and how this implementation fails it or None.

    Kinds of codes that the file has no vectors for are passed over.

    Raises:
        ValueError: `document` is not a file of vectors.
    """
    try:
        verifier = Verifier(read_jwks(document["jwks"]), issuer=document["issuer"])
        for kind in ("signed", "device"):
            for vector in document["valid"].get(kind, []):
                fault = _valid(vector, verifier, document["issuer"])
                yield f"valid {kind} {vector['name']}", fault
            for vector in document["invalid"].get(kind, []):
                at, need = from_epoch(vector["at"]), Scope[vector["need"].upper()]
                verdict = _verdict(verifier, vector["text"], need, at)
                fault = _difference("the verdict", verdict, vector["code"])
                yield f"invalid {kind} {vector['name']}", fault
        for vector in document["valid"].get("short", []):
            fault = _difference("the key", _short(vector["text"]), vector["key"])
            yield f"valid short {vector['text']}", fault
        for vector in document["invalid"].get("short", []):
            fault = _difference("the verdict", _short(vector["text"]), vector["code"])
            yield f"invalid short {vector['name']}", fault
        for key in document.get("weak_keys", []):
            fault = None if is_weak_key(bytes.fromhex(key)) else "taken for a strong one"
            yield f"weak key {key}", fault
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("not a file of vectors") from error


def _valid(vector: Mapping[str, Any], verifier: Verifier, issuer: str) -> str | None:
    """Return the first way in which a good code is not taken as its vector says."""
    text, said = vector["text"], vector["fields"]
    issued_at, own = from_epoch(said["issued_at"]), Scope(said["scope"])
    if (verdict := _verdict(verifier, text, own, issued_at)) != ACCEPTED:
        return _difference("the verdict", verdict, ACCEPTED)
    code = verifier.genuine(text)
    expected = [
        ("the fields", _fields(code), said),
        ("the key", code.key.hex(), vector["key"]),
        ("the number", int(text[3:]), int(vector["hex"], 16)),
    ]
    expected += [
        (f"the {name}", found, vector[name])
        for name, found in _jwts(code, text, issuer).items()
        if name in vector
    ]
    for use, verdict in _verdicts(vector["accept_for"], vector["refuse_for"]):
        found = _verdict(verifier, text, Scope[use.upper()], issued_at)
        expected.append((f"the verdict for {use}", found, verdict))
    for second, verdict in _verdicts(vector["accept_at"], vector["reject_at"]):
        if int(second) >= 0:
            found = _verdict(verifier, text, own, from_epoch(int(second)))
            expected.append((f"the verdict at {second}", found, verdict))
    faults = (_difference(*each) for each in expected)
    return next((fault for fault in faults if fault), None)


def _verdicts(accepted: Iterable[Any], refused: Mapping[str, str]) -> Iterator[tuple[Any, str]]:
    yield from ((each, ACCEPTED) for each in accepted)
    yield from refused.items()


def _difference(what: str, found: object, expected: object) -> str | None:
    return None if found == expected else f"{what} is {found}, not {expected}"


def _verdict(verifier: Verifier, text: str, need: Scope, at: datetime) -> str:
    try:
        verifier.verify(text, need=need, now=at)
    except CodeError as error:
        return error.code
    return ACCEPTED


def _fields(code: CardCode) -> dict[str, str | int]:
    """Return what a code says, spelled as the vectors spell it."""
    shared: dict[str, str | int] = {
        "scope": int(code.scope),
        "key_id": code.key_id,
        "issued_at": to_epoch(code.issued_at),
        "expires_at": to_epoch(code.expires_at),
    }
    if not isinstance(code, DeviceCode):
        return shared | {"alias": code.alias.hex(), "nonce": code.nonce.hex()}
    delegation = code.delegation
    return shared | {
        "serial": delegation.serial,
        "public_key": delegation.public_key.hex(),
        "delegation_scope": int(delegation.scope),
        "delegation_expires_at": to_epoch(delegation.expires_at),
        "cap_yuan": delegation.cap_yuan,
        "cap_count": delegation.cap_count,
        "proof_scope": int(code.proof_scope),
        "sequence": code.sequence,
    }


def _jwts(code: CardCode, text: str, issuer: str) -> dict[str, str]:
    """Return the tokens that a code stands for, by the vectors' names for them."""
    if not isinstance(code, DeviceCode):
        return {"jwt": rebuild_jwt(text, issuer=issuer)}
    _, raw, proof_signature = read_device(text)
    _, signature = read_delegation(raw)
    return {
        "delegation_jwt": f"{delegation_input(code.delegation, issuer)}.{b64url(signature)}",
        "proof_jwt": proof_jwt(code, raw, proof_signature),
    }


def _short(text: str) -> str:
    """Return the key of a short code, or why it is none."""
    try:
        return short_code_key(text).hex()
    except CodeError as error:
        return error.code
