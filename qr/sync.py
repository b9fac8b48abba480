"""Brings a scanner and its server together again (联网同步): clock, bundle, late uploads.

May be cut at any point and run again: the server knows each decision by its id.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qr.epoch import rfc3339, to_epoch
from qr.jose import b64url
from qr.scanner import Scanner
from qr.store import ScannerStore

ITEMS_AT_ONCE = 200
TIMEOUT_SECONDS = 20
NOT_MODIFIED = 304
MALFORMED = "malformed"
"""The server could not read an item, and keeps nothing of it: so it stays here."""


@dataclass(frozen=True, slots=True)
class Synchronised:
    """What came of it."""

    bundle_sequence: int | None
    uploaded: int
    waiting: int


Credential = Callable[[str, str, bytes], Mapping[str, str]]
"""From method, path with query, and body to the headers that say who calls."""


def bearer(token: str) -> Credential:
    """Return how a terminal with a token calls."""
    return lambda *_: {"Authorization": f"Bearer {token}"}


def signed_by(key: Ed25519PrivateKey, *, now: Callable[[], datetime]) -> Credential:
    """Return how a terminal with a device key (设备密钥) calls: each request is signed.

    Source: RFC 9421, the digest RFC 9530, the key's name RFC 7638.
    """
    public = b64url(key.public_key().public_bytes_raw())
    named = f'{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}'
    key_name = b64url(hashlib.sha256(named.encode()).digest())

    def sign(method: str, address: str, body: bytes) -> Mapping[str, str]:
        path, _, query = address.partition("?")
        covered = {"@method": method, "@path": path, "@query": f"?{query}"}
        headers = {}
        if body:
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            covered["content-digest"] = headers["Content-Digest"] = f"sha-256=:{digest}:"
        names = " ".join(f'"{name}"' for name in covered)
        parameters = f'({names});created={to_epoch(now())};keyid="{key_name}";alg="ed25519"'
        lines = [f'"{name}": {value}' for name, value in covered.items()]
        text = "\n".join([*lines, f'"@signature-params": {parameters}'])
        signature = base64.b64encode(key.sign(text.encode("ascii"))).decode()
        return headers | {
            "Signature-Input": f"sig1={parameters}",
            "Signature": f"sig1=:{signature}:",
        }

    return sign


class Server:
    """The published API as a terminal calls it."""

    def __init__(self, base_url: str, credential: Credential) -> None:
        """Hold an address such as https://card.example.edu.cn, and how a terminal calls."""
        self._base = base_url.rstrip("/")
        self._credential = credential

    def post(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Send JSON and return the JSON that answers.

        Raises:
            OSError: no answer, or one that is no success.
        """
        return self._send("POST", path, json.dumps(content).encode())

    def bundle(self, *, after: int | None) -> str | None:
        """Return a newer bundle than the one with this sequence, or None when there is none.

        Raises:
            OSError: no answer, or one that is no success.
        """
        query = "" if after is None else f"?after={after}"
        try:
            token: str = self._send("GET", f"/terminals/current/bundle{query}")["bundle"]
        except HTTPError as answer:
            if answer.code == NOT_MODIFIED:
                return None
            raise
        return token

    def _send(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        address = f"/api/v1{path}"
        headers = {"Content-Type": "application/json"} if body else {}
        request = Request(  # noqa: S310 - as configured
            self._base + address,
            body or None,
            {**headers, **self._credential(method, address, body)},
            method=method,
        )
        with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - as configured
            said: dict[str, Any] = json.load(answer)
            return said


def synchronise(
    scanner: Scanner, store: ScannerStore, server: Server, *, now: Callable[[], datetime]
) -> Synchronised:
    """Set the clock, tell everything that waits, fetch the newest bundle, and say so.

    Raises:
        OSError: the network failed; what was confirmed by then is out of the queue.
        BundleError: the server's bundle is not to be believed; the old one stays in use.
    """
    _beat(scanner, store, server, now=now)
    uploaded = 0
    while items := store.waiting(most=ITEMS_AT_ONCE):
        kind = "charges" if "amount_fen" in items[0] else "passages"
        answer = server.post(f"/{kind}/late", {"items": items})
        told = {said["id"] for said in answer["items"] if said.get("outcome") != MALFORMED}
        done = [item["sequence"] for item in items if item["id"] in told]
        store.confirmed(done)
        uploaded += len(done)
        if not done:
            break
    token = server.bundle(after=scanner.bundle.sequence if scanner.bundle else None)
    if token is not None:
        scanner.learn(token)
        _beat(scanner, store, server, now=now)
    return Synchronised(
        scanner.bundle.sequence if scanner.bundle else None, uploaded, store.queue_length
    )


def _beat(
    scanner: Scanner, store: ScannerStore, server: Server, *, now: Callable[[], datetime]
) -> None:
    sent_at = now()
    heartbeat = {
        "clock": rfc3339(sent_at),
        "queue_length": store.queue_length,
        "last_sequence": store.last_sequence,
        **({"bundle_sequence": scanner.bundle.sequence} if scanner.bundle else {}),
    }
    answer = server.post("/terminals/current/heartbeat", heartbeat)
    heard_at = now()
    halfway = sent_at + (heard_at - sent_at) / 2
    scanner.learn_time(datetime.fromisoformat(answer["server_time"]), now=halfway)
