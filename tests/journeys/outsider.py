"""A demo and its people as an outsider has them: a directory, a command, `var/demo.json`, HTTP.

Nothing of the backend is imported here.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

CHECKOUT = Path(__file__).parents[2]
FIRST_PORT = 20_000 + os.getpid() % 1_200 * 10
"""Below the ports that the system hands out, and another one for each test process."""
START_SECONDS = 120
STOP_SECONDS = 60
PATIENCE_SECONDS = 40
POLL_SECONDS = 0.2
MADE = shutil.ignore_patterns(".*", "var", "node_modules", "__pycache__")
"""What is no part of a checkout: made by setting it up, running or testing it."""


class Demo:
    """The demo college in a checkout of its own; `said` is what its demo file says."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        self.settings: dict[str, str] = {}
        self.words: list[str] = []
        self.said: dict[str, Any] = {}
        self.process: subprocess.Popen[str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The surroundings of a stranger: nothing that tests would set, and the `settings`."""
        ours = ("CAMPUS_CARD_", "DATABASE_URL", "REDIS_URL", "TEST_SERVERS", "PYTEST_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**kept, "PORT": str(self.port), "PYTHONPATH": str(self.home), **self.settings}

    def start(self) -> float:
        """Start, wait until it says that it is up, and return the seconds that it took."""
        began, up = time.monotonic(), threading.Event()
        process = self.process = subprocess.Popen(
            [sys.executable, "-m", "backend.cli", "demo"],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        words = self.words = []

        def listen() -> None:
            assert process.stdout is not None
            with process.stdout as output:
                for line in output:
                    words.append(line.rstrip())
                    if "is up" in line or "stops it" in line:
                        up.set()
            up.set()

        self._listener = threading.Thread(target=listen)
        self._listener.start()
        if not (up.wait(START_SECONDS) and any("is up" in line for line in words)):
            self.kill()
            raise AssertionError("\n".join(["the demo did not come up:", *words, self.logs()]))
        self.said = json.loads((self.home / "var" / "demo.json").read_text())
        return time.monotonic() - began

    def stop(self) -> int:
        """Press Ctrl-C and return the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        """Return the exit status once the launcher has ended."""
        assert self.process is not None
        status = self.process.wait(STOP_SECONDS)
        self._listener.join()
        return status

    def kill(self) -> None:
        """Kill the launcher, as an outage would."""
        assert self.process is not None
        self.process.kill()
        self.wait()

    @property
    def running(self) -> bool:
        """Whether the launcher is there."""
        return self.process is not None and self.process.poll() is None

    def logs(self) -> str:
        """Return the ends of what the parts wrote."""
        return "\n".join(
            f"{log.name}: {log.read_text(errors='replace')[-1500:]}"
            for log in sorted((self.home / "var").glob("*.log"))
        )

    def campus_card(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line tool in this checkout."""
        return subprocess.run(
            [sys.executable, "-m", "backend.cli", *arguments],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def holder(self, holder_number: str) -> "Phone":
        """Return the phone of a person of the demo file, logged in."""
        return Phone(self, self.person(holder_number))

    def person(self, holder_number: str) -> dict[str, str]:
        """Return what the demo file says of a person."""
        found: dict[str, str] = next(
            one for one in self.said["holders"] if one["holder_number"] == holder_number
        )
        return found

    def terminal(self, place: str) -> "Terminal":
        """Return a terminal by its place."""
        return Terminal(
            self, next(one for one in self.said["terminals"] if one["place"] == place)["token"]
        )

    def play(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """Ask something of the sandbox's controls."""
        answer = ask("POST", f"{self.said['sandbox_url']}/control/{path}", content)
        assert answer.status == 200, answer
        assert isinstance(answer.body, dict)
        return answer.body

    def pay(self, out_trade_no: str) -> None:
        """Play the payer of an order."""
        self.play("pay", {"out_trade_no": out_trade_no, "outcome": "paid"})

    def notices(self, out_trade_no: str) -> list[dict[str, Any]]:
        """Return what the sandbox says of the notices of an order."""
        answer = ask("GET", f"{self.said['sandbox_url']}/control/orders/{out_trade_no}")
        found: list[dict[str, Any]] = answer.body["items"][0]["notices"]
        return found


def check_out(home: Path) -> None:
    """Copy the checkout: what git would keep, or all that was not made, where there is no git."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={CHECKOUT}", "ls-files", "-z",
         "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
    ) if (CHECKOUT / ".git").exists() and shutil.which("git") else None  # fmt: skip
    if listed is None or listed.returncode != 0:
        shutil.copytree(CHECKOUT, home, ignore=MADE, dirs_exist_ok=True)
        return
    for name in listed.stdout.decode().split("\0"):
        if (CHECKOUT / name).is_file():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, home / name)


DEMO: pytest.StashKey[Demo] = pytest.StashKey()


def the_demo(session: pytest.Session) -> Demo:
    """Return the demo of this worker, running: each has its own, on ports of its own."""
    if DEMO not in session.stash:
        home = Path(tempfile.mkdtemp(prefix="campus-card-demo-"))
        home.chmod(0o755)  # as root, the database server runs as another user
        check_out(home)
        demo = session.stash[DEMO] = Demo(home, FIRST_PORT)
        session.addfinalizer(lambda: _take_down(demo))
    demo = session.stash[DEMO]
    if not demo.running:
        demo.start()
    return demo


def _take_down(demo: Demo) -> None:
    status = demo.stop() if demo.running else 0
    assert status == 0, demo.words
    shutil.rmtree(demo.home)


@dataclass(frozen=True)
class Answer:
    """An answer over HTTP; `body` is its JSON, None without any."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """The code of a refusal."""
        code: str = self.body["code"]
        return code


def ask(
    method: str, url: str, content: dict[str, Any] | None = None, *, token: str | None = None
) -> Answer:
    """Send one request over a connection of its own."""
    with requests.Session() as session:
        session.trust_env = False  # loopback needs no proxy
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = session.request(method, url, json=content, headers=headers, timeout=30)
    said = answer.headers.get("Content-Type", "").partition(";")[0]
    body = answer.json() if said.endswith("json") else None
    return Answer(answer.status_code, body, answer.headers)


class Terminal:
    """A till or gate with its token."""

    def __init__(self, demo: Demo, token: str) -> None:
        self.demo, self.token = demo, token

    def ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Answer:
        """Call the published API."""
        url = f"{self.demo.said['base_url']}/api/v1{path}"
        return ask(method, url, content, token=self.token)

    def charge(self, code: str, amount_fen: int, *, charge_id: str | None = None) -> Answer:
        """Scan and pay."""
        content = {"code": code, "amount_fen": amount_fen}
        return self.ask("PUT", f"/charges/{charge_id or uuid4()}", content)

    def let_pass(self, code: str, direction: str = "in") -> Answer:
        """Scan at a gate."""
        content = {"code": code, "direction": direction}
        return self.ask("PUT", f"/passages/{uuid4()}", content)


class Phone:
    """A person of the demo file with the mini program."""

    def __init__(self, demo: Demo, person: dict[str, str]) -> None:
        self.demo, self.person = demo, person
        self.log_in()

    def log_in(self) -> None:
        """Begin a session, as opening the mini program does."""
        said = {"platform": self.person["platform"], "code": self.person["login_code"]}
        opened = ask("POST", f"{self.demo.said['base_url']}/api/v1/sessions", said)
        assert opened.status == 201, opened
        self.token, self.binding = opened.body["token"], opened.body["binding"]

    def ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Answer:
        """Call the published API."""
        url = f"{self.demo.said['base_url']}/api/v1{path}"
        return ask(method, url, content, token=self.token)

    def get(self, path: str) -> Any:
        """Read something of one's own."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def bind(self) -> Answer:
        """Bind: the identity, then the platform account's real name; return the last answer."""
        known = {name: self.person[name] for name in ("holder_number", "name", "document_number")}
        first = self.ask("PUT", "/me/binding", {**known, "terms_version": "2026-01"})
        assert (first.status, first.body["binding"]) == (200, "identity_verified"), first
        return self.ask(
            "POST", "/me/binding/payment-identity", {"grant": self.person["login_code"]}
        )

    @property
    def balance_fen(self) -> int:
        """What is in all purses."""
        return sum(purse["balance_fen"] for purse in self.get("/me")["purses"])

    def codes(self, scope: str = "pay", **kind: str) -> Answer:
        """Ask for codes."""
        return self.ask("POST", "/me/codes", {"scope": scope, **kind})

    def code(self, scope: str = "pay", **kind: str) -> str:
        """Return a code that is good now."""
        answer = self.codes(scope, **kind)
        assert answer.status == 200, answer
        text: str = answer.body["codes"][0]["text"]
        return text

    def order(self, channel: str, amount_fen: int) -> dict[str, Any]:
        """Order a top-up."""
        content = {"channel": channel, "amount_fen": amount_fen}
        answer = self.ask("PUT", f"/me/top-ups/{uuid4()}", content)
        assert (answer.status, answer.body["state"]) == (201, "pending"), answer
        ordered: dict[str, Any] = answer.body
        return ordered

    def state_of(self, order: dict[str, Any]) -> str:
        """Return how a top-up stands."""
        state: str = self.get(f"/me/top-ups/{order['id']}")["state"]
        return state

    def sync(self, order: dict[str, Any]) -> str:
        """Have the gateway asked, and return how the top-up stands."""
        answer = self.ask("POST", f"/me/top-ups/{order['id']}/sync")
        assert answer.status == 200, answer
        state: str = answer.body["state"]
        return state

    def report_lost(self, credential: str = "phone") -> Answer:
        """Report the card in the phone, or the plastic one, lost."""
        return self.ask("PUT", f"/me/loss-reports/{uuid4()}", {"credential": credential})

    def restore(self) -> Answer:
        """Restore what was reported lost."""
        last_six = self.person["document_number"][-6:]
        return self.ask("PUT", f"/me/restorations/{uuid4()}", {"document_last_six": last_six})


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait until something holds; say whether it came to that in time."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True
