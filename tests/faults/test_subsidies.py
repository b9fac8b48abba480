"""Paying a batch of subsidies by workers that are killed at any moment: each item exactly once.

`SUBSIDY_ITEMS` says how many holders are on the list; `make subsidies` pays 10,000 and prints how
long it took.
"""

import base64
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from factories import make_operator, make_person
from sqlalchemy import text

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role
from backend.settings import Settings
from backend.subsidies import paying, service
from backend.subsidies.models import BatchState, ItemState
from backend.subsidies.rules import Row
from backend.subsidies.service import Asked

pytestmark = pytest.mark.usefixtures("app")

ITEMS = int(os.environ.get("SUBSIDY_ITEMS", "600"))
ROUNDS = max(2, ITEMS // 2000)
AT_A_TIME = 2
"""So many workers are killed in each round."""
LONGEST_SECONDS = 240
PAYER = """
import os, sys
from backend import clock, db
from backend.subsidies import paying

db.connect(os.environ["CAMPUS_CARD_DATABASE_URL"])
print("ready", flush=True)
sys.stdin.readline()
while True:
    paying.pay_due(now=clock.now())
"""
HOLDERS = """
    INSERT INTO holders (id, holder_number, name, category, unit, document_index,
                         document_tail_index, pays_surcharge, valid_until)
    SELECT uuidv7(), :letters || n, name, category, unit, decode(md5(:letters || n), 'hex'),
           document_tail_index, false, valid_until
      FROM holders, generate_series(1, :many) n WHERE id = :id
"""
PURSES = """
    INSERT INTO accounts (id, kind, holder_id, balance_fen)
    SELECT uuidv7(), kind, h.id, 0
      FROM holders h, (VALUES ('main_purse'), ('subsidy_purse')) k (kind)
     WHERE holder_number IN (SELECT :letters || n FROM generate_series(1, :many) n) AND h.id <> :id
"""
MOVED = "transfers r ON r.subject_id = i.id AND r.kind = 'subsidy'"
PURSE = "accounts r ON r.holder_id = i.holder_id AND r.kind = 'subsidy_purse'"
CARDS = """
    INSERT INTO cards (id, holder_id, kind, state, number, created_at)
    SELECT uuidv7(), id, 'physical', 'active', holder_number, now() FROM holders
     WHERE holder_number IN (SELECT :letters || n FROM generate_series(1, :many) n) AND id <> :id
"""


@pytest.fixture
def start_payers(settings: Settings) -> Iterator[Callable[[int], list[subprocess.Popen[str]]]]:
    """Start workers, each a process that pays once it is let go, until it is killed."""
    started: list[subprocess.Popen[str]] = []
    environment = {
        **os.environ,
        "CAMPUS_CARD_DATABASE_URL": settings.database_url,
        "CAMPUS_CARD_ROOT_KEY": base64.b64encode(settings.root_key).decode(),
    }

    def start(many: int) -> list[subprocess.Popen[str]]:
        started.extend(
            subprocess.Popen(
                [sys.executable, "-c", PAYER],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for _ in range(many)
        )  # fmt: skip
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        return started

    yield start
    for process in started:
        if process.returncode is None:
            kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process that was started here, with no warning."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)


def let_go(worker: subprocess.Popen[str]) -> None:
    """Let a worker begin to pay."""
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


def enrol(parts: Parts, many: int) -> list[str]:
    """Put so many holders with purses and cards on the roster at once; return their numbers."""
    made, letters = make_person(parts), secrets.token_hex(4)
    with transaction() as session:
        for statement in (HOLDERS, PURSES, CARDS):
            session.execute(text(statement), {"letters": letters, "many": many, "id": made.id})
    return [f"{letters}{n}" for n in range(1, many + 1)]


def approved(parts: Parts, numbers: list[str]) -> UUID:
    """Make a batch for these holders, and approve it."""
    maker, checker = (make_operator(parts, role) for role in (Role.STUDENT_AFFAIRS, Role.FINANCE))
    batch_id, now = new_id(), clock.now()
    asked = Asked(
        "伙食补贴", "学工〔2026〕18号", "资助", None,
        [Row(at, number, 1 + at % 7) for at, number in enumerate(numbers, start=2)],
    )  # fmt: skip
    with transaction() as session:
        service.make(session, batch_id=batch_id, asked=asked, maker=maker, now=now)
    with transaction() as session:
        service.approve(session, batch_id=batch_id, checker=checker, now=now)
    return batch_id


def due(batch_id: UUID) -> int:
    """Return how many items are not paid yet."""
    with transaction() as session:
        return service.counts_of(session, batch_id=batch_id)[ItemState.DUE]


def is_paid(batch_id: UUID) -> bool:
    """Say whether a batch is noted as paid."""
    with transaction() as session:
        return service.find(session, batch_id=batch_id).state is BatchState.PAID


def times(batch_id: UUID, rows: str) -> Counter[int]:
    """Return how many items `i` have how many of these rows `r`, as a join says it."""
    query = (
        f"SELECT count(r.id) FROM subsidy_items i LEFT JOIN {rows}"
        " WHERE i.batch_id = :id GROUP BY i.id"
    )
    with transaction() as session:
        return Counter(session.execute(text(query), {"id": batch_id}).scalars())


def test_each_item_is_paid_once_by_workers_that_are_killed(
    parts: Parts, start_payers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = enrol(parts, ITEMS)
    asked = time.monotonic()
    batch_id = approved(parts, numbers)
    making = time.monotonic() - asked
    *doomed, last = start_payers(ROUNDS * AT_A_TIME + 1)
    chance, began, unpaid = random.Random(ITEMS), time.monotonic(), [ITEMS]
    for first in range(0, len(doomed), AT_A_TIME):
        workers = doomed[first : first + AT_A_TIME]
        for worker in workers:
            let_go(worker)
        aim = unpaid[-1] - chance.randrange(1, max(2, ITEMS // ROUNDS - AT_A_TIME * paying.AT_ONCE))
        while due(batch_id) > aim:
            assert all(worker.poll() is None for worker in workers), "a worker died by itself"
        for worker in workers:
            kill(worker)
        unpaid.append(due(batch_id))
    steady = time.monotonic()
    let_go(last)
    while not is_paid(batch_id):
        assert time.monotonic() < steady + LONGEST_SECONDS, "it never came to an end"
        assert last.poll() is None, "a worker died by itself"
        time.sleep(0.05)
    ended = time.monotonic()
    once = Counter({1: ITEMS})
    for rows in (
        MOVED,
        f"{MOVED} AND r.amount_fen = i.amount_fen",
        f"{PURSE} AND r.balance_fen = i.amount_fen",
        "holder_notices r ON r.holder_id = i.holder_id AND r.kind = 'subsidy-paid'",
        "operation_log r ON r.subject_id = i.id AND r.action = 'subsidy.pay'",
    ):
        assert times(batch_id, rows) == once, rows
    with transaction() as session:
        ends = session.execute(
            text(
                "SELECT count(*) FROM operation_log"
                " WHERE subject_id = :id AND action = 'subsidy.paid'"
            ),
            {"id": batch_id},
        ).scalar_one()
    assert ends == 1
    with capsys.disabled():
        print(  # noqa: T201 - `make subsidies` shows it
            f"\n{ITEMS} items made and approved in {making:.1f} s;"
            f" {len(doomed)} workers killed, unpaid by then {unpaid};"
            f" the last worker paid {unpaid[-1]} in {ended - steady:.1f} s,"
            f" all took {ended - began:.1f} s; each exactly once"
        )
