"""A request reaches the application when all of it is here, and not before."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from flask import Flask, json, request

from backend.asgi import Buffered
from backend.http.json_body import MOST_BODY_BYTES

SESSIONS = "/api/v1/sessions"
Message = dict[str, Any]
T = TypeVar("T")


def ask(
    server: Buffered,
    method: str,
    path: str,
    frames: Iterable[Message] = (),
    headers: Iterable[tuple[str, str]] = (),
) -> list[Message]:
    """Send one request as an ASGI server does; when no frames are left, nothing ever comes."""
    waiting, sent = list(frames), []

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    raw, _, query = path.partition("?")
    scope = {
        "type": "http", "method": method, "http_version": "1.1", "scheme": "http",
        "path": raw, "raw_path": raw.encode(), "query_string": query.encode(),
        "server": ("127.0.0.1", 8000), "client": ("127.0.0.2", 9),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }  # fmt: skip
    call: Callable[..., Awaitable[None]] = server.__call__
    run(asyncio.wait_for(call(scope, receive, send), 20))  # type: ignore[arg-type]
    return sent


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, in a thread of its own: the browsers' driver keeps a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def frame(body: bytes, *, more: bool) -> Message:
    """Return a piece of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


def status_of(sent: list[Message]) -> int:
    """Return the status of an answer, whose body has come too."""
    start, body = sent
    assert body["type"] == "http.response.body"
    return int(start["status"])


@pytest.fixture
def echo() -> Flask:
    """An application that says what reached it."""
    echo, echo.calls = Flask("echo"), 0  # type: ignore[attr-defined]

    @echo.route("/<path:path>", methods=["GET", "POST"])
    def say(path: str) -> dict[str, Any]:
        echo.calls += 1  # type: ignore[attr-defined]
        return {
            "path": path, "query": dict(request.args), "body": request.get_data().decode(),
            "cookies": request.cookies, "type": request.content_type, "from": request.remote_addr,
            "url": request.url, "twice": request.headers.get("X-Twice"),
            "spoofed": request.headers.get("X-Real"),
        }  # fmt: skip

    return echo


class TestWholeRequest:
    def test_reaches_the_application_as_it_was_sent(self, echo: Flask) -> None:
        sent = ask(
            Buffered(echo),
            "POST",
            "/%E5%9B%BE?q=%E4%B9%A6",
            [frame(b"ab", more=True), frame(b"c", more=False)],
            [("host", "card.example"), ("content-type", "text/plain"), ("content-length", "3"),
             ("cookie", "a=1"), ("cookie", "b=2"), ("x-twice", "1"), ("x-twice", "2"),
             ("x_real", "me")],
        )  # fmt: skip
        assert status_of(sent) == 200
        assert json.loads(sent[1]["body"]) == {
            "path": "图", "query": {"q": "书"}, "body": "abc", "cookies": {"a": "1", "b": "2"},
            "type": "text/plain", "from": "127.0.0.2", "twice": "1,2", "spoofed": None,
            "url": "http://card.example/图?q=书",
        }  # fmt: skip
        assert dict(sent[0]["headers"])[b"content-type"] == b"application/json"

    def test_without_a_body_is_not_waited_for(self, echo: Flask) -> None:
        assert status_of(ask(Buffered(echo), "GET", "/x")) == 200

    def test_without_a_length_ends_with_its_last_piece(self, echo: Flask) -> None:
        pieces = [frame(b"ab", more=True), frame(b"c", more=True), frame(b"", more=False)]
        sent = ask(Buffered(echo), "POST", "/x", pieces, [("transfer-encoding", "chunked")])
        assert json.loads(sent[1]["body"])["body"] == "abc"

    def test_that_broke_off_does_nothing(self, echo: Flask) -> None:
        for header in (("content-length", "9"), ("transfer-encoding", "chunked")):
            pieces = [frame(b"half", more=True), {"type": "http.disconnect"}]
            assert ask(Buffered(echo), "POST", "/x", pieces, [header]) == []
        assert echo.calls == 0  # type: ignore[attr-defined]


class TestTooLarge:
    @pytest.mark.parametrize("more", [True, False])
    def test_is_refused_whether_it_says_so_or_not(self, app: Flask, more: bool) -> None:
        json_body = ("content-type", "application/json")
        said = [("content-length", str(MOST_BODY_BYTES + 1)), json_body]
        sent = ask(Buffered(app), "POST", SESSIONS, [], said)
        assert status_of(sent) == 413
        pieces = [frame(b" " * MOST_BODY_BYTES, more=True), frame(b"{}", more=more)]
        sent = ask(
            Buffered(app), "POST", SESSIONS, pieces, [("transfer-encoding", "chunked"), json_body]
        )
        assert status_of(sent) == 413
        assert json.loads(sent[1]["body"])["code"] == "body-too-large"


class TestTooSlow:
    @pytest.mark.parametrize(
        "header", [("content-length", "100"), ("transfer-encoding", "chunked")]
    )
    def test_is_refused_and_hung_up_on(self, app: Flask, header: tuple[str, str]) -> None:
        began = time.monotonic()
        sent = ask(
            Buffered(app, seconds=0.3),
            "POST",
            SESSIONS,
            [frame(b"{", more=True)],
            [("content-type", "application/json"), header],
        )
        assert 0.3 <= time.monotonic() - began < 5
        assert status_of(sent) == 408
        assert (b"connection", b"close") in sent[0]["headers"]
        problem = json.loads(sent[1]["body"])
        assert (problem["code"], problem["title"]) == ("body-too-slow", "网络太慢")

    def test_holds_no_thread(self, app: Flask) -> None:
        """With one thread for all, a client that never sends does not keep others waiting."""
        server = Buffered(app, threads=1, seconds=3)

        async def both() -> float:
            async def never() -> Message:
                await asyncio.Event().wait()
                raise AssertionError

            async def ignore(_: Any) -> None:
                pass

            scope: dict[str, Any] = {
                "type": "http", "method": "POST", "http_version": "1.1", "scheme": "http",
                "path": SESSIONS, "query_string": b"", "headers": [(b"content-length", b"9")],
            }  # fmt: skip
            slow = [asyncio.create_task(_run(server(scope, never, ignore))) for _ in range(8)]
            await asyncio.sleep(0.1)
            began = time.monotonic()
            await server(
                {**scope, "method": "GET", "path": "/healthz", "headers": []}, never, ignore
            )
            took = time.monotonic() - began
            await asyncio.gather(*slow)
            return took

        assert run(both()) < 1


async def _run(waiting: Awaitable[None]) -> None:
    await waiting
