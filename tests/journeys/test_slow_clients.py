"""Clients who send slowly, or never, hold up nobody."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from journeys.outsider import Demo, ask

CLIENTS = 8
BEGUN = (
    b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100\r\n\r\n{"
)


@contextmanager
def slow_clients(demo: Demo) -> Iterator[list[socket.socket]]:
    """Connect clients who begin a request and do not go on."""
    address = urlsplit(demo.said["base_url"])
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection((address.hostname, address.port)))
            for _ in range(CLIENTS)
        ]
        for client in clients:
            client.sendall(BEGUN)
        time.sleep(0.5)  # until all of them have reached the server
        yield clients


class TestUnfinishedBodies:
    def test_hold_nobody_up_and_are_hung_up_on(self, demo: Demo):
        till, phone = demo.terminal("第一食堂 1号窗"), demo.holder("20240101")
        with slow_clients(demo) as clients:
            sent_at = time.monotonic()
            assert ask("GET", f"{demo.said['base_url']}/healthz").status == 200
            assert time.monotonic() - sent_at < 2
            code, asked_at = phone.code(), time.monotonic()
            assert till.charge(code, 100).status == 201
            assert time.monotonic() - asked_at < 2
            clients[0].settimeout(20)
            with clients[0].makefile("rb") as answer:
                said = answer.read()  # to the end: the server closes
            assert 5 < time.monotonic() - sent_at < 15
            assert said.startswith(b"HTTP/1.1 408 ")
            assert b'"code": "body-too-slow"' in said

    def test_do_not_keep_the_demo_from_stopping(self, demo: Demo):
        with slow_clients(demo):
            began = time.monotonic()
            assert demo.stop() == 0
            assert time.monotonic() - began < 5
