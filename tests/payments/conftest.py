"""A real sandbox process, a real receiver of notices, and the channels between them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from uuid import uuid4

import pytest
import requests

from payments import (
    AlipayChannel,
    AlipayMiniProgram,
    TopUpOrder,
    WeChatMiniProgram,
    WeChatPayChannel,
)
from payments.sandbox import SandboxKeys, prepare

PATIENCE_SECONDS = 20


class Cache:
    """As much of redis-py as a `TokenCache` needs."""

    def __init__(self):
        self.values = {}
        self.lock = threading.Lock()

    def get(self, key):
        return self.values.get(key)

    def set(self, key, value, *, ex, nx=False):
        with self.lock:
            if nx and key in self.values:
                return None
            self.values[key] = value.encode()
            return True

    def delete(self, key):
        self.values.pop(key, None)


class Sandbox:
    """The sandbox as a process of its own."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "payments.sandbox", "--port", "0"),
                *("--state", str(directory), *arguments),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.url = line.split()[-1]

    @property
    def keys(self) -> SandboxKeys:
        return prepare(self.directory)

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it as an outage would."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_SECONDS)

    def faults(self, **faults: object) -> None:
        assert requests.post(f"{self.url}/control/faults", json=faults, timeout=5).ok

    def pay(self, out_trade_no: str, outcome: str = "paid") -> requests.Response:
        return requests.post(
            f"{self.url}/control/pay",
            json={"out_trade_no": out_trade_no, "outcome": outcome},
            timeout=5,
        )

    def order(self, out_trade_no: str) -> dict:
        answer = requests.get(f"{self.url}/control/orders/{out_trade_no}", timeout=5).json()
        return answer["items"][0]

    def register(self, platform: str, login_code: str, name: str, document_number: str) -> str:
        answer = requests.post(
            f"{self.url}/control/accounts",
            json={
                "platform": platform,
                "login_code": login_code,
                "name": name,
                "document_number": document_number,
            },
            timeout=5,
        )
        return answer.json()["account_id"]


class Receiver:
    """A small HTTP server that keeps the notices it gets, and answers them as told."""

    def __init__(self, *, answers_after_seconds: float = 0) -> None:
        self.notices: Queue[tuple[str, dict[str, str], bytes]] = Queue()
        self.answers: dict[str, list[tuple[int, bytes]]] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.notices.put((self.path, dict(self.headers), body))
                time.sleep(answers_after_seconds)
                accepting = (204, b"") if self.path == "/wechat" else (200, b"success")
                queued = receiver.answers.get(self.path)
                status, answer = queued.pop(0) if queued else accepting
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def next(self) -> tuple[dict[str, str], bytes]:
        _, headers, body = self.notices.get(timeout=PATIENCE_SECONDS)
        return headers, body


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory) -> Iterator[Sandbox]:
    started = Sandbox(tmp_path_factory.mktemp("sandbox"), "--time-scale", "1000")
    yield started
    started.stop()


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def _calm(request) -> Iterator[None]:
    """Leave no fault and no notice to the next test."""
    yield
    if "sandbox" in request.fixturenames:
        request.getfixturevalue("sandbox").faults()
    if "receiver" in request.fixturenames:
        receiver = request.getfixturevalue("receiver")
        receiver.answers.clear()
        while not receiver.notices.empty():
            receiver.notices.get()


@pytest.fixture(scope="session")
def wechat(sandbox, receiver) -> WeChatPayChannel:
    return WeChatPayChannel(sandbox.keys.wechat_pay_config(sandbox.url, f"{receiver.url}/wechat"))


@pytest.fixture(scope="session")
def alipay(sandbox, receiver) -> AlipayChannel:
    return AlipayChannel(sandbox.keys.alipay_config(sandbox.url, f"{receiver.url}/alipay"))


@pytest.fixture(params=["wechat", "alipay"])
def channel(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def wechat_program(sandbox) -> WeChatMiniProgram:
    return WeChatMiniProgram(sandbox.keys.wechat_mini_program_config(sandbox.url), Cache())


@pytest.fixture(scope="session")
def alipay_program(sandbox) -> AlipayMiniProgram:
    return AlipayMiniProgram(sandbox.keys.alipay_mini_program_config(sandbox.url))


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture(params=["wechat", "alipay"])
def platform(request):
    return request.getfixturevalue(f"{request.param}_program")


@pytest.fixture(scope="session")
def payers(wechat_program, alipay_program) -> dict[str, str]:
    """An account on each platform."""
    return {
        "wechat": wechat_program.login("payer").account_id,
        "alipay": alipay_program.login("payer").account_id,
    }


@pytest.fixture
def make_order(payers) -> Callable[..., TopUpOrder]:
    def make(channel, *, amount_fen: int = 1990, known_payer: bool = True, **changes) -> TopUpOrder:
        now = datetime.now(UTC)
        return TopUpOrder(
            **{
                "out_trade_no": uuid4().hex,
                "amount_fen": amount_fen,
                "description": "校园卡充值 }{",
                "payer": payers[channel.name] if known_payer else None,
                "expires_at": now + timedelta(minutes=30),
                "created_at": now,
                **changes,
            }
        )

    return make


def wait_for(tell: Callable[[], object]) -> None:
    """Return as soon as it holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not tell():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)
