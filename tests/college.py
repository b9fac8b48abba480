"""A college as it runs: web servers, job workers and the platform sandbox, programs of their own.

Any of them may be killed at any moment; `restart` starts it anew, with the same address and data.
"""

import base64
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import requests
from sqlalchemy import make_url

from backend.settings import Settings
from payments.sandbox.keys import SandboxKeys, prepare

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
TIMEOUT_SECONDS = (1.0, 0.8)
"""Until a channel is taken to hang: shorter than in life, for the sake of the test's length."""


class Part:
    """One program, with its log."""

    def __init__(
        self, name: str, command: list[str], environment: dict[str, str], log: Path
    ) -> None:
        self.name, self.log = name, log
        self._command, self.environment = command, environment
        self._process: subprocess.Popen[bytes] | None = None
        self.kills = 0

    def start(self) -> None:
        """Start it; its log goes on where it ended."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self.environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill it, as the machine's power fails: no goodbye, no last word (SIGKILL)."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self.kills += 1
            self._process = None

    def restart(self) -> None:
        """Kill it and start it."""
        self.kill()
        self.start()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    trials = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [trial.getsockname()[1] for trial in trials]
    for trial in trials:
        trial.close()
    return ports


class College:
    """The programs of one college on one database."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        *,
        webs: int,
        workers: int,
        time_scale: float,
        logins: bool = False,
    ) -> None:
        """Prepare the programs; `start` runs them.

        Args:
            time_scale: how many times faster than the platforms the sandbox repeats its notices.
            logins: whether phones log in through the sandbox, too.
        """
        directory.mkdir(parents=True, exist_ok=True)
        *web_ports, sandbox_port = free_ports(webs + 1)
        self.urls = [f"http://127.0.0.1:{port}" for port in web_ports]
        self.sandbox_url = f"http://127.0.0.1:{sandbox_port}"
        self.keys: SandboxKeys = prepare(directory / "sandbox")
        self.directory = directory
        self.settings = replace(
            settings,
            base_url=self.urls[0],
            payments=self._write_payments(directory / "payments.json", logins=logins),
            demo=directory / "demo.json",
            sandbox_url=self.sandbox_url,
        )
        self.sandbox = Part(
            "sandbox",
            [sys.executable, "-m", "payments.sandbox", "--port", str(sandbox_port),
             "--state", str(directory / "sandbox"), "--time-scale", str(time_scale)],
            {**os.environ, "PYTHONUNBUFFERED": "1"},
            directory / "sandbox.log",
        )  # fmt: skip
        environment = self._environment()
        self.webs = [
            Part(
                f"web-{number}",
                [str(PROGRAMS / "granian"), "--interface", "asginl", "--no-ws",
                 "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
                 "--log-level", "warning", "--factory", "backend.asgi:create"],
                environment,
                directory / f"web-{number}.log",
            )
            for number, port in enumerate(web_ports)
        ]  # fmt: skip
        self.workers = [
            Part(
                f"worker-{number}",
                [str(PROGRAMS / "campus-card"), "work"],
                environment,
                directory / f"worker-{number}.log",
            )
            for number in range(workers)
        ]

    def _write_payments(self, path: Path, *, logins: bool) -> Path:
        configs: dict[str, Any] = {
            "wechat_pay": self.keys.wechat_pay_config(
                self.sandbox_url, f"{self.urls[0]}/callbacks/wechat-pay"
            ),
            "alipay": self.keys.alipay_config(self.sandbox_url, f"{self.urls[0]}/callbacks/alipay"),
        }
        if logins:
            wechat = self.keys.wechat_mini_program_config(self.sandbox_url)
            alipay = self.keys.alipay_mini_program_config(self.sandbox_url)
            configs |= {"wechat_mini_program": wechat, "alipay_mini_program": alipay}
        path.write_text(
            json.dumps(
                {
                    name: asdict(replace(config, timeout_seconds=TIMEOUT_SECONDS))
                    for name, config in configs.items()
                }
            )
        )
        path.chmod(0o600)
        return path

    def _environment(self) -> dict[str, str]:
        settings = self.settings
        return {
            **{name: value for name, value in os.environ.items() if "PROMETHEUS" not in name},
            "PYTHONPATH": str(ROOT),
            "CAMPUS_CARD_DATABASE_URL": settings.database_url,
            "CAMPUS_CARD_REDIS_URL": settings.redis_url,
            "CAMPUS_CARD_ROOT_KEY": base64.b64encode(settings.root_key).decode(),
            "CAMPUS_CARD_CODE_KEYS": str(settings.code_keys),
            "CAMPUS_CARD_ISSUER": settings.issuer,
            "CAMPUS_CARD_BASE_URL": settings.base_url,
            "CAMPUS_CARD_PAYMENTS": str(settings.payments),
            "CAMPUS_CARD_DEMO": str(settings.demo),
        }

    @property
    def parts(self) -> list[Part]:
        """Every program."""
        return [self.sandbox, *self.webs, *self.workers]

    def start(self) -> None:
        """Start every program and wait until they answer."""
        for part in self.parts:
            part.start()
        for url in (self.sandbox_url, *self.urls):
            self.await_answer(url)

    def stop(self) -> None:
        """Kill every program."""
        for part in self.parts:
            part.kill()

    def await_answer(self, url: str) -> None:
        """Wait until a program answers."""
        for _ in range(600):
            try:
                if send("GET", f"{url}/healthz").ok:
                    return
            except requests.RequestException:
                time.sleep(0.1)
        raise AssertionError(f"{url} does not answer")

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Work the sandbox's controls, which also answer when it was just killed."""
        for _ in range(100):
            try:
                answer = send(method, f"{self.sandbox_url}/control/{path}", json=body)
            except requests.RequestException:
                time.sleep(0.1)
                continue
            return answer
        raise AssertionError("the sandbox's controls do not answer")

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Return what a list of the sandbox's controls holds, page by page."""
        before = ""
        while True:
            said = self.control("GET", f"{path}?before={before}").json()
            yield from said["items"]
            if said["next"] is None:
                return
            before = said["next"]

    def secrets(self) -> Mapping[str, str]:
        """Return what no log may hold, by what it is."""
        found = {
            "root key": base64.b64encode(self.settings.root_key).decode(),
            "database password": make_url(self.settings.database_url).password or "",
        }
        for name, config in json.loads(self.settings.payments.read_text()).items():
            for field, value in config.items():
                if "private_key" in field or field == "api_v3_key":
                    found[f"{name}.{field}"] = value.strip().splitlines()[
                        -2 if "\n" in value else 0
                    ]
        return found


class Vandal:
    """Kills programs at random moments, until it is stopped."""

    def __init__(self, college: College, *, seed: int, pauses: tuple[float, float]) -> None:
        self._college, self._chance, self._pauses = college, random.Random(seed), pauses
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vandal")
        self._once = [college.sandbox, college.webs[-1]]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        for round_ in range(1, 10**6):
            if self._stopped.wait(self._chance.uniform(*self._pauses)):
                return
            if round_ % 3 == 0 and self._once:
                self._once.pop(0).restart()
            else:
                self._chance.choice(self._college.workers).restart()


def send(method: str, url: str, **said: Any) -> requests.Response:
    """Send one request, without a proxy between programs of one machine."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, **({"timeout": 15} | said))


def leaks(logs: list[Path], secrets: Mapping[str, str]) -> dict[str, str]:
    """Return which secrets stand in which logs, each by what it is."""
    found = {}
    for log in logs:
        text = log.read_text(errors="replace")
        for name, secret in secrets.items():
            if secret and secret in text:
                found[name] = log.name
    return found


def count_lines(logs: list[Path]) -> int:
    """Count the lines of logs."""
    return sum(log.read_text(errors="replace").count("\n") for log in logs)
