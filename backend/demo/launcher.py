"""Starts everything that the demo needs, and stops it again.

Data and secrets stay in `var/` between runs.
"""

import base64
import hashlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from flask import json

from backend import app, clock, db
from backend.demo.seed import Demo, describe, is_seeded, seed
from backend.embedded import EmbeddedPostgres, EmbeddedValkey
from backend.migrations import upgrade
from backend.settings import Settings
from payments.sandbox.keys import prepare
from qr import KeyRing

ROOT = Path(__file__).parents[2]
VAR = ROOT / "var"
HOST = "127.0.0.1"
ISSUER = "campus-card.demo"
WORKERS, THREADS = 2, 4
SHARED = (
    "DATABASE_URL",
    "REDIS_URL",
    "CAMPUS_CARD_ROOT_KEY",
    "CAMPUS_CARD_CODE_KEYS",
    "CAMPUS_CARD_ISSUER",
    "CAMPUS_CARD_BASE_URL",
    "CAMPUS_CARD_PAYMENTS",
    "CAMPUS_CARD_DEMO",
    "CAMPUS_CARD_SANDBOX_URL",
)
"""What the other commands of `campus-card` need to work on the demo while it runs."""
PATIENCE_SECONDS = 60


class Interrupted(Exception):
    """Somebody asked the demo to stop."""


def run() -> int:
    """Serve the demo until Ctrl-C or SIGTERM; return the exit status."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, _interrupt)
    try:
        with ExitStack() as stack:
            _serve(stack)
    except Interrupted:
        print("\nCampus Card has stopped.")
        return 0
    return 1


def _interrupt(_: int, __: FrameType | None) -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    raise Interrupted


def _serve(stack: ExitStack) -> None:
    VAR.mkdir(exist_ok=True)  # open: as root, the database server runs as another user
    environment = _environment(stack)
    settings = Settings.from_environment(environment)
    _write_private(
        VAR / "environment.json", json.dumps({name: environment[name] for name in SHARED})
    )
    sandbox_url = environment["CAMPUS_CARD_SANDBOX_URL"]
    upgrade(settings.database_url)
    sandbox = _start(
        stack,
        [
            sys.executable,
            "-m",
            "payments.sandbox",
            "--port",
            sandbox_url.rsplit(":", 1)[1],
            "--state",
            str(VAR / "sandbox"),
        ],
        environment,
    )
    _await(f"{sandbox_url}/healthz", sandbox)
    demo = Demo(base64.b64decode(environment["CAMPUS_CARD_ROOT_KEY"]))
    addresses = {
        "base_url": settings.base_url,
        "issuer": settings.issuer,
        "sandbox_url": sandbox_url,
        "stage_url": f"{settings.base_url}/stage/",
        "console_url": f"{settings.base_url}/console",
    }
    engine = db.connect(settings.database_url)
    with db.transaction() as session:
        seeded = is_seeded(session)
    if not seeded:
        seed(app.wire(settings), demo, sandbox_url=sandbox_url, now=clock.now())
    with db.transaction() as session:
        said = describe(session, demo, addresses=addresses)
    engine.dispose()
    _write_private(VAR / "demo.json", json.dumps(said, ensure_ascii=False, indent=2))
    children = [sandbox, _start(stack, _web(settings), environment)]
    children.append(_start(stack, [sys.executable, "-m", "backend.cli", "work"], environment))
    _await(f"{settings.base_url}/readyz", children[1])
    print(
        f"Campus Card is up.\n"
        f"  stage    {addresses['stage_url']}   phone, till and gate side by side\n"
        f"  API      {settings.base_url}/docs\n"
        f"  sandbox  {sandbox_url}\n"
        f"  people, terminals, staff: {VAR / 'demo.json'}\n"
        f"Ctrl-C stops it; the data stays.",
        flush=True,
    )
    while all(child.poll() is None for child in children):
        time.sleep(0.2)
    print("A part of the demo has ended by itself; its log is in var/.", file=sys.stderr)


def _environment(stack: ExitStack) -> dict[str, str]:
    """Return the environment of all parts, starting the servers that nobody named."""
    environment = dict(os.environ)
    if not environment.get("DATABASE_URL"):
        postgres = stack.enter_context(EmbeddedPostgres(VAR / "postgres"))
        # A new root key cannot read old data: whoever removes `var/` starts with a new college.
        college = hashlib.sha256(_root_key().encode()).hexdigest()[:8]
        environment["DATABASE_URL"] = postgres.create_database(f"campus_card_{college}")
    if not environment.get("REDIS_URL"):
        environment["REDIS_URL"] = stack.enter_context(EmbeddedValkey(VAR / "valkey")).url
    first = int(environment.get("PORT", "8000"))
    web_port = _free_port(first)
    base_url = f"http://{HOST}:{web_port}"
    sandbox_url = f"http://{HOST}:{_free_port(web_port + 1)}"
    code_keys = VAR / "code-keys.json"
    if not code_keys.exists():
        KeyRing.create(code_keys, now=clock.now())
    metrics = VAR / "metrics"
    metrics.mkdir(exist_ok=True)
    for old in metrics.glob("*.db"):
        old.unlink()
    return environment | {
        "CAMPUS_CARD_ROOT_KEY": _root_key(),
        "CAMPUS_CARD_CODE_KEYS": str(code_keys),
        "CAMPUS_CARD_ISSUER": ISSUER,
        "CAMPUS_CARD_BASE_URL": base_url,
        "CAMPUS_CARD_PAYMENTS": str(_payments(base_url, sandbox_url)),
        "CAMPUS_CARD_DEMO": str(VAR / "demo.json"),
        "CAMPUS_CARD_SANDBOX_URL": sandbox_url,
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
    }


def _root_key() -> str:
    path = VAR / "root-key"
    if not path.exists():
        _write_private(path, base64.b64encode(secrets.token_bytes(32)).decode())
    return path.read_text().strip()


def _payments(base_url: str, sandbox_url: str) -> Path:
    keys = prepare(VAR / "sandbox")
    path = VAR / "payments.json"
    configs: dict[str, Any] = {
        "wechat_pay": keys.wechat_pay_config(sandbox_url, f"{base_url}/callbacks/wechat-pay"),
        "alipay": keys.alipay_config(sandbox_url, f"{base_url}/callbacks/alipay"),
        "wechat_mini_program": keys.wechat_mini_program_config(sandbox_url),
        "alipay_mini_program": keys.alipay_mini_program_config(sandbox_url),
    }
    _write_private(path, json.dumps({name: asdict(config) for name, config in configs.items()}))
    return path


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _free_port(first: int) -> int:
    for port in range(first, first + 100):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((HOST, port))
            except OSError:
                continue
            return port
    raise SystemExit(f"no free port from {first} on; set PORT")


def _web(settings: Settings) -> list[str]:
    return [
        str(Path(sys.executable).with_name("granian")),
        "--interface", "wsgi",
        "--host", HOST,
        "--port", settings.base_url.rsplit(":", 1)[1],
        "--workers", str(WORKERS),
        "--blocking-threads", str(THREADS),
        "--log-level", "warning",
        "backend.wsgi:app",
    ]  # fmt: skip


def _start(
    stack: ExitStack, command: list[str], environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Start a part of its own; its log goes to `var/`, and it ends when the demo does."""
    name = "sandbox" if "payments.sandbox" in command else Path(command[0]).name
    name = "worker" if command[-1] == "work" else name
    log = stack.enter_context((VAR / f"{name}.log").open("ab"))
    child = subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C reaches the launcher, which stops the parts in order
    )
    stack.callback(_stop, child)
    return child


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _await(url: str, child: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and child.poll() is None:
        try:
            with urlopen(url, timeout=2):  # noqa: S310 - loopback
                return
        except (URLError, OSError):
            time.sleep(0.05)
    raise SystemExit(f"{url} does not answer; the log is in var/")
