"""Terminals that decide alone, with the scanner of `qr` and a store on disk."""

import json
import random
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from factories import Device, other_policies
from phones import DevicePhone
from sqlalchemy import update

from backend import clock
from backend.bundles import service as bundles
from backend.cards.models import CardAlias
from backend.clock import rfc3339
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from qr import Scope
from qr.scanner import Scanner
from qr.store import ScannerStore


def scanner_on(device: Device, parts: Parts, store: Path, *, now: datetime) -> Scanner:
    """Return a terminal's scanner that fetched its bundle at a moment and lost its network."""
    scanner = Scanner(
        ScannerStore(store),
        roots=bundles.root_keys(parts.sealer),
        issuer=parts.settings.issuer,
        terminal=str(device.id),
    )
    with transaction() as session:
        issued = bundles.issue(
            session,
            terminal=device.caller,
            after=None,
            code_keys=parts.code_keys.public_keys(now),
            issuer=parts.settings.issuer,
            sealer=parts.sealer,
            now=now,
        )
    assert issued is not None
    scanner.learn(issued[1])
    return scanner


def sign(parts: Parts, alias: bytes, *, scope: Scope, issued_at: datetime) -> str:
    """Return the signed code that a phone with this alias showed at a moment."""
    issuer = parts.code_keys.issuer(parts.settings.issuer, now=clock.now())
    return issuer.issue(alias, scope=scope, issued_at=issued_at, lifetime=timedelta(seconds=60))


def known_since(alias: bytes, moment: datetime) -> None:
    """Let a card have had its alias since a moment."""
    with transaction() as session:
        session.execute(update(CardAlias).where(CardAlias.alias == alias).values(given_at=moment))


def policies(**values: Any) -> AbstractContextManager[None]:
    """Let the policies `offline.*` have had other values for ever, and put them back."""
    return other_policies(**{f"offline__{name}": value for name, value in values.items()})


@contextmanager
def money_without_network() -> Iterator[None]:
    """Let tills take money without network, however many tills other tests have made."""
    with policies(money=True, total_fen=10**8):
        yield


class Told:
    """What one terminal will tell: items as its scanner queues them, made by hand."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.sequence = 0

    def _item(self, code: str, at: datetime | None, said: Mapping[str, Any]) -> dict[str, Any]:
        self.sequence += 1
        return {
            "id": str(new_id()),
            "sequence": self.sequence,
            "code": code,
            "reason": None,
            "decided_at": rfc3339(at or clock.now()),
            "bundle_sequence": 1,
            **said,
        }

    def charge(
        self, code: str, amount_fen: int = 500, *, at: datetime | None = None, **other: Any
    ) -> dict[str, Any]:
        """Return a charge that the till took, unless told otherwise."""
        return self._item(code, at, {"amount_fen": amount_fen, "state": "approved", **other})

    def passage(self, code: str, *, at: datetime | None = None, **other: Any) -> dict[str, Any]:
        """Return a passage that the gate allowed, unless told otherwise."""
        return self._item(code, at, {"direction": "in", "decision": "allow", **other})


class Uploads:
    """Sends late uploads to the application as a terminal does."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def send(self, device: Device, *items: Mapping[str, Any]) -> Any:
        """Send items and return the whole answer."""
        kind = "charges" if device.caller.kind == "till" else "passages"
        return self._client.post(
            f"/api/v1/{kind}/late",
            data=json.dumps({"items": [*items]}),  # in ASCII, as scanners may read anything
            headers=device.headers | {"Content-Type": "application/json"},
        )

    def outcomes(self, device: Device, *items: Mapping[str, Any]) -> list[tuple[str, str | None]]:
        """Send items and return outcome and reason of each."""
        answer = self.send(device, *items)
        assert answer.status_code == 200, answer.get_json()
        return [(item["outcome"], item["reason"]) for item in answer.get_json()["items"]]

    def outcome(self, device: Device, item: Mapping[str, Any]) -> str:
        """Send one item and return what became of it."""
        return self.outcomes(device, item)[0][0]


def pay_code(phone: DevicePhone, *, sequence: int = 0, now: datetime | None = None) -> str:
    """Return a pay code that a phone makes without network."""
    return phone.code(Scope.PAY, sequence=sequence, now=now)


class CutLine:
    """A line to the server that breaks by chance: before the request, or before the answer.

    Every connection carries one request.  The chances come from a seed, so that a run can be had
    again; the totals say how often each happened.
    """

    def __init__(self, port: int, *, seed: int, cut_before: float, cut_after: float) -> None:
        self._port, self._chance = port, random.Random(seed)
        self._limits = (cut_before, cut_before + cut_after)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.carried = self.cut_before = self.cut_after = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=[connection], daemon=True).start()

    def _carry(self, connection: socket.socket) -> None:
        with self._lock:
            drawn = self._chance.random()
            before, after = drawn < self._limits[0], drawn < self._limits[1]
            self.cut_before += before
            self.cut_after += after and not before
            self.carried += not after
        with connection:
            if before:
                return
            with socket.create_connection(("127.0.0.1", self._port)) as server:
                server.sendall(_request(connection))
                answer = b""
                while chunk := server.recv(65536):
                    answer += chunk
            if not after:
                connection.sendall(answer)


def _request(connection: socket.socket) -> bytes:
    """Return one whole HTTP request, so that the server closes after its answer."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += connection.recv(65536)
    head, _, body = said.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    length = next(
        int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += connection.recv(65536)
    return b"\r\n".join([*lines, b"Connection: close", b"", body])


def row_ids(items: list[dict[str, Any]]) -> set[UUID]:
    """Return the ids of items."""
    return {UUID(item["id"]) for item in items}
