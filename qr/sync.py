"""Brings a scanner and its server together again (联网同步): clock, bundle, late uploads.

May be cut at any point and run again: the server knows each decision by its id.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

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


class Server:
    """The published API as a terminal with a token calls it."""

    def __init__(self, base_url: str, *, token: str) -> None:
        """Hold an address such as https://card.example.edu.cn and a terminal's token."""
        self._base = f"{base_url.rstrip('/')}/api/v1"
        self._token = token

    def post(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Send JSON and return the JSON that answers.

        Raises:
            OSError: no answer, or one that is no success.
        """
        url, body = self._base + path, json.dumps(content).encode()
        answer = self._send(Request(url, body, method="POST"))  # noqa: S310 - as configured
        said: dict[str, Any] = json.loads(answer)
        return said

    def bundle(self, *, after: int | None) -> str | None:
        """Return a newer bundle than the one with this sequence, or None when there is none.

        Raises:
            OSError: no answer, or one that is no success.
        """
        request = Request(f"{self._base}/terminals/current/bundle")  # noqa: S310 - as configured
        if after is not None:
            request.full_url += f"?after={after}"
            request.add_header("If-None-Match", f'"{after}"')
        try:
            token: str = json.loads(self._send(request))["bundle"]
        except HTTPError as answer:
            if answer.code == NOT_MODIFIED:
                return None
            raise
        return token

    def _send(self, request: Request) -> bytes:
        request.add_header("Authorization", f"Bearer {self._token}")
        request.add_header("Content-Type", "application/json")
        with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - as configured
            said: bytes = answer.read()
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
        "clock": sent_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "queue_length": store.queue_length,
        "last_sequence": store.last_sequence,
        **({"bundle_sequence": scanner.bundle.sequence} if scanner.bundle else {}),
    }
    answer = server.post("/terminals/current/heartbeat", heartbeat)
    heard_at = now()
    halfway = sent_at + (heard_at - sent_at) / 2
    scanner.learn_time(datetime.fromisoformat(answer["server_time"]), now=halfway)
