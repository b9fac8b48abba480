"""Starts everything that the demo needs, and stops it again.

Data and secrets stay in `var/` between runs.  What only the first run needs is loaded only then:
the second one starts within seconds.
"""

import base64
import hashlib
import json
import os
import secrets
import signal
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from urllib.error import URLError
from urllib.request import urlopen

from backend import clock
from backend.demo.part import Part, PartFailed
from backend.embedded import EmbeddedPostgres, EmbeddedServerError, EmbeddedValkey
from backend.settings import OF_PAYMENTS

ROOT = Path(__file__).parents[2]
VAR = ROOT / "var"
HOST = "127.0.0.1"
ISSUER = "campus-card.demo"
WORKERS = 1
FINISH_SECONDS = 1
"""For requests in flight when the demo stops; a client that is still sending is not waited for."""
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
    "CAMPUS_CARD_LOG_HEADS",
)
"""What the other commands of `campus-card` need to work on the demo while it runs."""
OWNER = "CAMPUS_CARD_OWNER_DATABASE_URL"
"""Whose the tables are: for the founding and for `campus-card migrate`, never for what serves."""
PATIENCE_SECONDS = 60
LAST_PORT = 65_535


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
    except EmbeddedServerError as error:
        print(error, file=sys.stderr)
    except PartFailed as failed:
        print(f"The demo stops: see var/{failed}.log.", file=sys.stderr)
    return 1


def _interrupt(_: int, __: FrameType | None) -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    raise Interrupted


def _serve(stack: ExitStack) -> None:
    VAR.mkdir(exist_ok=True)  # open: as root, the database server runs as another user
    web_port, sandbox_port = (stack.enter_context(port) for port in _reserve_ports())
    environment = _environment(stack, web_port, sandbox_port)
    base_url = environment["CAMPUS_CARD_BASE_URL"]
    sandbox_url = environment["CAMPUS_CARD_SANDBOX_URL"]
    addresses = {
        "base_url": base_url,
        "issuer": ISSUER,
        "sandbox_url": sandbox_url,
        "stage_url": f"{base_url}/stage/",
        "console_url": f"{base_url}/console",
    }
    if _fingerprint(environment) == _read(VAR / "founded"):
        said = json.loads((VAR / "demo.json").read_text()) | addresses
        web_port.close()
        web = _start(stack, "web", _web(base_url), environment)
        sandbox_port.close()
        sandbox = _start(stack, "sandbox", _sandbox(sandbox_url), environment)
    else:
        from backend.demo.founding import found

        sandbox_port.close()
        sandbox = _start(stack, "sandbox", _sandbox(sandbox_url), environment)
        _await(f"{sandbox_url}/healthz", sandbox)
        said = found(environment, addresses, clock.now())
        web_port.close()
        web = _start(stack, "web", _web(base_url), environment)
    write_private(VAR / "demo.json", json.dumps(said, ensure_ascii=False, indent=2))
    write_private(VAR / "founded", _fingerprint(environment))
    _await(f"{base_url}/readyz", web)
    _await(f"{sandbox_url}/healthz", sandbox)
    worker = _start(stack, "worker", [sys.executable, "-m", "backend.cli", "work"], environment)
    print(
        f"Campus Card is up.\n"
        f"  stage    {addresses['stage_url']}   phone, till and gate side by side\n"
        f"  console  {addresses['console_url']}   for the staff in the demo file\n"
        f"  API      {base_url}/docs\n"
        f"  sandbox  {sandbox_url}/   WeChat and Alipay: orders, notices, faults\n"
        f"  people, terminals, staff: {VAR / 'demo.json'}\n"
        f"Ctrl-C stops it; the data stays.",
        flush=True,
    )
    while True:
        for part in (sandbox, web, worker):
            part.keep_up(time.monotonic())
        time.sleep(0.2)


def _fingerprint(environment: dict[str, str]) -> str:
    """Return what the database was made of: another one has to be migrated and founded first."""
    made_of = hashlib.sha256(environment["DATABASE_URL"].encode())
    for path in sorted((ROOT / "backend" / "migrations").rglob("*.[ps][yq]*")):
        if path.suffix in (".py", ".sql"):
            made_of.update(path.read_bytes())
    return made_of.hexdigest()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _environment(
    stack: ExitStack, web_port: socket.socket, sandbox_port: socket.socket
) -> dict[str, str]:
    """Return the environment of all parts, starting the servers that nobody named."""
    environment, root_key = dict(os.environ), _root_key()
    if not environment.get("DATABASE_URL"):
        postgres = stack.enter_context(EmbeddedPostgres(VAR / "postgres"))
        # A new root key cannot read old data: whoever removes `var/` starts with a new college.
        college = hashlib.sha256(root_key.encode()).hexdigest()[:8]
        database = f"campus_card_{college}"
        founded = (VAR / "founded").exists()
        environment[OWNER] = (
            postgres.url(database) if founded else postgres.create_database(database)
        )
        environment["DATABASE_URL"] = postgres.url(database, role="campus_card_app")
    if not environment.get("REDIS_URL"):
        environment["REDIS_URL"] = stack.enter_context(EmbeddedValkey(VAR / "valkey")).url
    base_url, sandbox_url = (
        f"http://{HOST}:{port.getsockname()[1]}" for port in (web_port, sandbox_port)
    )
    code_keys = VAR / "code-keys.json"
    if not code_keys.exists():
        from qr import KeyRing

        KeyRing.create(code_keys, now=clock.now())
    metrics = VAR / "metrics"
    metrics.mkdir(exist_ok=True)
    for old in metrics.glob("*.db"):
        old.unlink()
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled modules make quick starts
    environment |= {
        "CAMPUS_CARD_ROOT_KEY": root_key,
        "CAMPUS_CARD_CODE_KEYS": str(code_keys),
        "CAMPUS_CARD_ISSUER": ISSUER,
        "CAMPUS_CARD_BASE_URL": base_url,
        "CAMPUS_CARD_PAYMENTS": str(VAR / "payments.json"),
        "CAMPUS_CARD_DEMO": str(VAR / "demo.json"),
        "CAMPUS_CARD_SANDBOX_URL": sandbox_url,
        "CAMPUS_CARD_LOG_HEADS": str(VAR / "log-heads"),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
    }
    of_payments = sorted(name for name in environment if name.startswith(OF_PAYMENTS))
    told = [name for name in (*SHARED, OWNER, *of_payments) if name in environment]
    shared = json.dumps({name: environment[name] for name in told})
    if shared != _read(VAR / "environment.json"):
        from backend.demo.founding import payments_file

        write_private(VAR / "payments.json", payments_file(VAR / "sandbox", base_url, sandbox_url))
        write_private(VAR / "environment.json", shared)
    if of_payments:
        _check_payments(environment)
    return environment


def _check_payments(environment: dict[str, str]) -> None:
    """Read what the environment says of payments before a part fails for it, far from here.

    Raises:
        SystemExit: naming every fault.
    """
    from redis import Redis

    from backend.app import read_payments
    from backend.settings import Settings
    from payments import ChannelMisconfigured

    try:
        read_payments(
            Settings.from_environment(environment), Redis.from_url(environment["REDIS_URL"])
        )
    except ChannelMisconfigured as wrong:
        raise SystemExit(str(wrong)) from None


def _root_key() -> str:
    """Return the key of this college; one whose founding was cut short is founded anew."""
    path = VAR / "root-key"
    if not path.exists() or not (VAR / "founded").exists():
        write_private(path, base64.b64encode(secrets.token_bytes(32)).decode())
    return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _reserve_ports() -> tuple[socket.socket, socket.socket]:
    """Return two sockets that hold PORT, or the next free ones, until their parts start.

    They listen, so that another demo that starts meanwhile goes on to other ports.
    """
    wanted = os.environ.get("PORT", "8000")
    if not (wanted.isdecimal() and int(wanted) <= LAST_PORT):
        raise SystemExit("PORT is not the number of a port")
    first = int(wanted)
    held: list[socket.socket] = []
    for port in range(first, min(first + 100, LAST_PORT)):
        trial = socket.socket()
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
            trial.listen()
        except OSError:
            trial.close()
            continue
        held.append(trial)
        if len(held) == 2:  # noqa: PLR2004 - web and sandbox
            return held[0], held[1]
    raise SystemExit(f"no free ports from {first} on; set PORT")


def _web(base_url: str) -> list[str]:
    return [
        str(Path(sys.executable).with_name("granian")),
        "--interface", "asginl",
        "--no-ws",
        "--host", HOST,
        "--port", base_url.rsplit(":", 1)[1],
        "--workers", str(WORKERS),
        "--workers-kill-timeout", str(FINISH_SECONDS),
        "--log-level", "warning",
        "--respawn-failed-workers",
        "--factory", "backend.asgi:create",
    ]  # fmt: skip


def _sandbox(sandbox_url: str) -> list[str]:
    return [
        sys.executable, "-m", "payments.sandbox",
        "--port", sandbox_url.rsplit(":", 1)[1],
        "--state", str(VAR / "sandbox"),
    ]  # fmt: skip


def _start(stack: ExitStack, name: str, command: list[str], environment: dict[str, str]) -> Part:
    """Start a part; it is stopped when the demo ends."""
    part = Part(
        name,
        command,
        environment={key: value for key, value in environment.items() if key != OWNER},
        home=ROOT,
        log=VAR / f"{name}.log",
        now=time.monotonic(),
    )
    stack.callback(part.stop)
    return part


def _await(url: str, part: Part) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and part.process.poll() is None:
        try:
            with urlopen(url, timeout=2):  # noqa: S310 - loopback
                return
        except (URLError, OSError):
            time.sleep(0.05)
    raise SystemExit(f"{url} does not answer; the log is in var/")
