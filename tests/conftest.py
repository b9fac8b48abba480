"""Real parts for every test: PostgreSQL, Valkey, the platform sandbox, the application over HTTP.

The servers start once, in the controlling process; each worker gets a database, a Redis number and
a sandbox of its own.  Tests do not clean up after one another: each makes the people and terminals
that it needs (`factories`), and at the end the ledger of all of them has to hold.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, json
from playwright.sync_api import Playwright, sync_playwright
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session
from werkzeug.serving import make_server
from xdist.scheduler import LoadScopeScheduling

from backend import app as wiring
from backend import clock, db
from backend.arrears import service as arrears
from backend.cash_desk import shifts
from backend.embedded import EmbeddedPostgres, EmbeddedValkey
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import Account, AccountKind
from backend.migrations import APP_ROLE, create_app_role, upgrade
from backend.policies.service import adopt_preset
from backend.refunds import service as refunds
from backend.settings import Settings
from payments.sandbox.keys import prepare
from qr import KeyRing

WAITING = (
    "tests/backend/operation_log/test_chain.py",
    "tests/backend/test_jobs.py",
    "tests/browser/faces/test_alone.py",
    "tests/browser/faces/test_offline.py",
    "tests/browser/journeys/",
    "tests/browser/offline/",
    "tests/faults/",
    "tests/journeys/",
)
"""Tests that wait for programs, browsers and the clock more than they work.  One worker begins with
all of them, beside two that keep the processors busy; those of the demo share one demo, too."""
TEMPLATE = "campus_card_template"
ISSUER = "campus-card.test"
ROOT_KEY = bytes(range(32))


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers and migrate a database that the workers clone."""
    if hasattr(config, "workerinput") or "TEST_SERVERS" in os.environ:
        return
    state = Path(tempfile.mkdtemp(prefix="campus-card-"))
    state.chmod(0o755)  # as root, the database server runs as another user
    postgres = EmbeddedPostgres(state / "pg", durable=False)
    valkey = EmbeddedValkey(state / "valkey", durable=False)
    postgres.start()
    valkey.start()
    create_app_role(postgres.url())
    upgrade(postgres.create_database(TEMPLATE))
    os.environ["TEST_SERVERS"] = json.dumps([str(state / "pg"), postgres.url("{}"), valkey.url])
    config.stash[SERVERS] = (postgres, valkey, state)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the console: it lists every terminal of the school, and there are few as yet."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/browser/console/"))


class WaitingTogether(LoadScopeScheduling):
    """Gives the tests that wait to one worker, first of all, and the others one by one.

    Marks for `--dist loadgroup` would say the same, but xdist 3.8 writes them where pytest 9 no
    longer reads.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "waiting" if nodeid.startswith(WAITING) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WaitingTogether:
    """Share the tests out among the workers."""
    return WaitingTogether(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what `pytest_configure` started."""
    if SERVERS in config.stash:
        postgres, valkey, state = config.stash[SERVERS]
        valkey.stop()
        postgres.stop()
        del os.environ["TEST_SERVERS"]
        shutil.rmtree(state, ignore_errors=True)


SERVERS: pytest.StashKey[tuple[EmbeddedPostgres, EmbeddedValkey, Path]] = pytest.StashKey()


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest) -> int:
    """The number of this xdist worker; 0 without xdist."""
    name: str = getattr(request.config, "workerinput", {}).get("workerid", "gw0")
    return int(name[2:])


@pytest.fixture(scope="session")
def database_url(worker: int) -> str:
    """A migrated database of this worker's own, as its owner, a superuser."""
    import psycopg
    from psycopg import sql

    _, pattern, _ = json.loads(os.environ["TEST_SERVERS"])
    url, name = pattern.replace("%7B%7D", "{}"), f"worker_{worker}"
    with psycopg.connect(
        url.format("postgres").replace("+psycopg", ""), autocommit=True
    ) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(TEMPLATE)
            )
        )
    return str(url.format(name))


@pytest.fixture(scope="session")
def owner(database_url: str) -> Iterator[Engine]:
    """The database as its owner sees it, who may change tables."""
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def app_database_url(database_url: str) -> str:
    """The same as the role that serves, which may do what `functions.sql` grants."""
    return database_url.replace("//postgres@", f"//{APP_ROLE}@")


@pytest.fixture(scope="session")
def redis_url(worker: int) -> str:
    """A Redis number of this worker's own."""
    url: str = json.loads(os.environ["TEST_SERVERS"])[2]
    return url.replace("db=0", f"db={worker + 1}")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for keys and files of this worker."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def platform_sandbox(state: Path) -> Iterator[str]:
    """The platform sandbox as a program of its own; its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "payments.sandbox", "--port", "0", "--state", str(state / "sandbox"),
         "--time-scale", "600"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    yield line.split()[-1]
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture(scope="session")
def settings(app_database_url: str, redis_url: str, state: Path, platform_sandbox: str) -> Settings:
    """The settings of the application under test."""
    base_url = f"http://127.0.0.1:{free_port()}"
    keys = prepare(state / "sandbox")
    configs = {
        "wechat_pay": keys.wechat_pay_config(platform_sandbox, f"{base_url}/callbacks/wechat-pay"),
        "alipay": keys.alipay_config(platform_sandbox, f"{base_url}/callbacks/alipay"),
        "wechat_mini_program": keys.wechat_mini_program_config(platform_sandbox),
        "alipay_mini_program": keys.alipay_mini_program_config(platform_sandbox),
    }
    (state / "payments.json").write_text(
        json.dumps({name: asdict(config) for name, config in configs.items()})
    )
    KeyRing.create(state / "code-keys.json", now=clock.now())
    return Settings(
        database_url=app_database_url,
        redis_url=redis_url,
        root_key=ROOT_KEY,
        code_keys=state / "code-keys.json",
        issuer=ISSUER,
        base_url=base_url,
        payments=state / "payments.json",
        demo=state / "demo.json",
        sandbox_url=platform_sandbox,
    )


@pytest.fixture(scope="session")
def app(settings: Settings, owner: Engine) -> Iterator[Flask]:
    """The application, with the school's accounts and policies; at the end, the proof."""
    application = wiring.create_app(settings)
    with Session(owner) as session, session.begin():
        long_ago = clock.now().replace(year=2020)
        adopt_preset(session, "standard", document_number="test", now=long_ago)
    with db.transaction() as session:
        for kind, name in (
            (AccountKind.SURCHARGE, None),
            (AccountKind.SUBSIDY_FUND, None),
            (AccountKind.CHANNEL, "wechat"),
            (AccountKind.CHANNEL, "alipay"),
        ):
            session.add(Account(id=new_id(), kind=kind, name=name))
    yield application
    with db.transaction() as session:
        proof = ledger.prove(session)
        arrears_fen = arrears.difference(session)
        refunds_fen = refunds.difference(session)
        cash_fen = shifts.difference(session)
    assert proof.holds, proof
    assert arrears_fen == 0, "what holders owe is not what the school laid out"
    assert refunds_fen == 0, "what is to go back is not what was put aside for it"
    assert cash_fen == 0, "the account cash is not what lies in the drawers"


@pytest.fixture(scope="session")
def parts(app: Flask) -> Parts:
    """The parts that `create_app` wired together."""
    found: Parts = app.extensions["campus_card"]
    return found


@pytest.fixture(scope="session")
def server(app: Flask, settings: Settings) -> Iterator[str]:
    """The application over real HTTP, where the sandbox's notices reach it; its address."""
    port = int(settings.base_url.rsplit(":", 1)[1])
    served = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield settings.base_url
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """The driver of browsers: one for all folders, as a process can hold only one."""
    with sync_playwright() as driver:
        yield driver
