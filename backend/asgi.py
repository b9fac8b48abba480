"""What the server starts: the application, reached by a thread only when a request is whole.

A thread of a WSGI server that reads a body waits for its client, and a handful of clients who send
slowly, or never, hold all threads.  Here the server's event loop collects each body, for 10 seconds
at most; the threads work at the database and wait for nobody's network.
"""

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import RequestTimeout

from backend import wsgi
from backend.http.json_body import MOST_BODY_BYTES

BODY_SECONDS = 10
"""In which a request's body has to be here, all of it."""
THREADS = 16
"""Twice the database's connections: one may wait for a payment channel while another works."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Application = Callable[[dict[str, Any], Callable[..., Any]], Any]
"""A WSGI application."""


class ClientGone(Exception):
    """The client left before its request was whole: nothing of it is done."""


class NeverCame(io.RawIOBase):
    """A body that was not here in time: whoever reads it answers 408."""

    def readable(self) -> bool:
        """Return True: it is reading that fails."""
        return True

    def readinto(self, _: Any) -> NoReturn:
        """Refuse.

        Raises:
            RequestTimeout: always.
        """
        raise RequestTimeout


class Buffered:
    """A WSGI application, served to whole requests by threads of its own."""

    def __init__(
        self, application: Application, *, threads: int = THREADS, seconds: float = BODY_SECONDS
    ) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(threads, "request")
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3, `http` only)."""
        environ = _environ(scope)
        closing: Headers = []
        try:
            async with asyncio.timeout(self._seconds):
                body = await _body(receive, environ)
            length, environ["wsgi.input"] = len(body), io.BytesIO(body)
        except ClientGone:
            return
        except TimeoutError:
            length, environ["wsgi.input"] = 1, NeverCame()
            closing = [(b"connection", b"close")]
        environ.setdefault("CONTENT_LENGTH", str(length))
        environ.pop("HTTP_TRANSFER_ENCODING", None)  # in one piece now
        loop = asyncio.get_running_loop()
        status, headers, answer = await loop.run_in_executor(self._threads, self._work, environ)
        start = {"type": "http.response.start", "status": status, "headers": headers + closing}
        await send(start)
        await send({"type": "http.response.body", "body": answer})

    def _work(self, environ: dict[str, Any]) -> tuple[int, Headers, bytes]:
        said: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            said[:] = (
                int(status[:3]),
                [
                    (name.lower().encode("latin-1"), value.encode("latin-1"))
                    for name, value in headers
                ],
            )

        pieces = self._application(environ, start)
        try:
            answer = b"".join(pieces)
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
        return said[0], said[1], answer


async def _body(receive: Receive, environ: Mapping[str, Any]) -> bytes:
    """Return a request's body.

    Of one that is too large nothing more is read than shows it: the application refuses it.

    Raises:
        ClientGone: the client closed the connection.
    """
    length = environ.get("CONTENT_LENGTH", "")
    if not length and "HTTP_TRANSFER_ENCODING" not in environ:
        return b""
    if length and int(length) > MOST_BODY_BYTES:
        return b""
    body, more = bytearray(), True
    while more and len(body) <= MOST_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        more = message.get("more_body", False) and (not length or len(body) < int(length))
    return bytes(body)


def _environ(scope: Scope) -> dict[str, Any]:
    """Return a request as WSGI has it (PEP 3333), without its body."""
    path = unquote_to_bytes(scope.get("raw_path") or scope["path"].encode())
    server, client = scope.get("server") or ("", 0), scope.get("client") or ("", 0)
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": str(client[0]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in _headers(scope["headers"]):
        key = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
        joint = ";" if name == "COOKIE" else ","
        environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
    return environ


def _headers(headers: Headers) -> Iterator[tuple[str, str]]:
    for name, value in headers:
        if b"_" not in name:  # would pass for another header
            yield name.decode("latin-1").replace("-", "_").upper(), value.decode("latin-1")


def create() -> Buffered:
    """Return the application of one worker process."""
    return Buffered(wsgi.create())
