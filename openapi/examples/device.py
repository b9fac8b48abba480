"""A terminal with a device key (设备密钥), in plain Python: what a vendor's device does.

Needs Python and `cryptography`; takes nothing from the server's code.

    python device.py http://127.0.0.1:8000 ENROLMENT_TOKEN

makes a key, enrols with the token that the console shows, and then tells every 30 seconds that it
is alive.  A real device keeps the private key where nobody reads it, and across restarts.
"""

import base64
import hashlib
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HEARTBEAT_SECONDS = 30
OK, CREATED = 200, 201
SOFTWARE = "device.py 1.0"


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public half as it is enrolled: base64url without padding."""
    return base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()


def key_name(key: Ed25519PrivateKey) -> str:
    """Return the name of a key (RFC 7638), the same that the server gives it."""
    said = f'{{"crv":"Ed25519","kty":"OKP","x":"{public_text(key)}"}}'
    return base64.urlsafe_b64encode(hashlib.sha256(said.encode()).digest()).rstrip(b"=").decode()


def sign(
    key: Ed25519PrivateKey, *, method: str, address: str, body: bytes, created: int
) -> dict[str, str]:
    """Return the headers that sign a request (RFC 9421; the digest is of RFC 9530).

    `address` is path and query, percent-encoded as it is sent; `created` is in epoch seconds.
    """
    path, _, query = address.partition("?")
    covered = {"@method": method, "@path": path, "@query": f"?{query}"}
    headers = {}
    if body:
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        covered["content-digest"] = headers["Content-Digest"] = f"sha-256=:{digest}:"
    names = " ".join(f'"{name}"' for name in covered)
    parameters = f'({names});created={created};keyid="{key_name(key)}";alg="ed25519"'
    lines = [f'"{name}": {value}' for name, value in covered.items()]
    base = "\n".join([*lines, f'"@signature-params": {parameters}'])
    signature = base64.b64encode(key.sign(base.encode("ascii"))).decode()
    return {
        **headers,
        "Signature-Input": f"sig1={parameters}",
        "Signature": f"sig1=:{signature}:",
    }


class Device:
    """One device: its key, the server, and by how much its clock is off."""

    def __init__(self, server: str, key: Ed25519PrivateKey | None = None) -> None:
        self.server = f"{server}/api/v1"
        self.key = key or Ed25519PrivateKey.generate()
        self.ahead = 0.0
        """Seconds by which the server is ahead of the device's own clock."""

    def enrol(self, enrolment_token: str) -> dict[str, Any]:
        """Become the terminal that the token names."""
        said = {
            "enrolment_token": enrolment_token,
            "public_key": public_text(self.key),
            "software": SOFTWARE,
        }
        status, answer = self._send("POST", "/terminals/enrolments", said, signed=False)
        if status != CREATED:
            raise SystemExit(f"{answer['title']}: {answer['detail']}")
        return answer

    def ask(
        self, method: str, path: str, said: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Send a signed request; if the clock turns out to be off, correct it and try once more."""
        status, answer = self._send(method, path, said)
        if answer.get("code") == "signature-stale":
            self._set_clock(answer)
            status, answer = self._send(method, path, said)
        return status, answer

    def roll(self) -> None:
        """Change over to a new key.

        The new key is made, and in a real device stored beside the old one, before it is sent.  If
        the answer gets lost, nobody knows which of the two holds: the same signed by the new key is
        refused where the old one still does, and answered where the new one does already.
        """
        old, new = self.key, Ed25519PrivateKey.generate()
        for key in (old, new) * 3:
            self.key = key
            try:
                status, _ = self.ask(
                    "POST", "/terminals/current/roll", {"public_key": public_text(new)}
                )
            except OSError:
                continue
            if status == OK:
                self.key = new
                return
        self.key = old
        raise SystemExit("The key could not be changed.")

    def heartbeat(self, queue_length: int = 0) -> dict[str, Any]:
        """Tell that the device is alive, and do as far as the clock goes what it is asked to."""
        told = datetime.fromtimestamp(time.time() + self.ahead, UTC)
        said = {"queue_length": queue_length, "clock": told.isoformat(), "software": SOFTWARE}
        _, answer = self.ask("POST", "/terminals/current/heartbeat", said)
        if "set-clock" in answer["commands"]:
            self._set_clock(answer)
        return answer

    def _set_clock(self, answer: dict[str, Any]) -> None:
        self.ahead = datetime.fromisoformat(answer["server_time"]).timestamp() - time.time()

    def _send(
        self, method: str, path: str, said: dict[str, Any] | None, *, signed: bool = True
    ) -> tuple[int, dict[str, Any]]:
        body = b"" if said is None else json.dumps(said).encode()
        headers = {"Content-Type": "application/json"} if body else {}
        if signed:
            parts = urllib.parse.urlsplit(self.server + path)
            address = parts.path + (f"?{parts.query}" if parts.query else "")
            created = int(time.time() + self.ahead)
            headers |= sign(self.key, method=method, address=address, body=body, created=created)
        request = urllib.request.Request(
            self.server + path, data=body or None, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)


def main(server: str, enrolment_token: str) -> None:
    """Enrol, and stay alive."""
    device = Device(server)
    print(device.enrol(enrolment_token))
    while True:
        print(device.heartbeat())
        time.sleep(HEARTBEAT_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
