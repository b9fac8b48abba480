"""What the operation log costs: a row per operation, sealing, verifying.

    .venv/bin/python bench/operation_log.py [operations]

Starts a PostgreSQL of its own, durable as in service.  An operation is one transaction that changes
a card's row; it is run without a log, with a row in the table as it was before seals (no
`written_by`, two indexes less, no columns of the regulation), and with a row in the present one.
The three take turns, operation by operation on one connection, so that whatever else the machine
does falls on all of them; told are medians and their ratios.
"""

import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from backend import db
from backend.embedded import EmbeddedPostgres
from backend.ids import new_id
from backend.migrations import APP_ROLE, create_app_role, upgrade
from backend.operation_log import seals, verification

CARDS = 1000
COLUMNS = "id, at, channel, actor, action, outcome, holder_id, subject_id, facts, reference"
VALUES = (
    "%(id)s, now(), 'mini_program', 'holder:0199c1f0-7f3e-7d21-a5b6-c7d8e9f00112',"
    " 'card.report_lost', 'done', %(id)s, %(id)s, '{\"card\": \"virtual\"}', '7KQ2MXRD'"
)
CHANGE = "UPDATE bench_cards SET state = 1 - state WHERE id = %(card)s"
KINDS = {
    "no log": None,
    "before": f"INSERT INTO bench_log_before ({COLUMNS}) VALUES ({VALUES})",
    "now": (
        f"INSERT INTO operation_log ({COLUMNS}, card_id, before, after, policy_ids)"
        f" VALUES ({VALUES}, %(id)s, '\"active\"', '\"lost\"', '[\"1\"]')"
    ),
}
PREPARE = f"""
CREATE TABLE bench_cards (id int PRIMARY KEY, state int NOT NULL);
INSERT INTO bench_cards SELECT n, 0 FROM generate_series(0, {CARDS - 1}) n;
CREATE TABLE bench_log_before AS SELECT {COLUMNS} FROM operation_log WHERE false;
ALTER TABLE bench_log_before ADD PRIMARY KEY (id);
CREATE INDEX ON bench_log_before (at);
CREATE INDEX ON bench_log_before (holder_id, at);
GRANT ALL ON bench_cards, bench_log_before TO {APP_ROLE};
"""


def main(operations: int) -> None:
    """Measure, and print what came of it."""
    with tempfile.TemporaryDirectory(prefix="campus-card-bench-") as place:
        Path(place).chmod(0o755)
        with EmbeddedPostgres(Path(place) / "pg") as postgres:
            create_app_role(postgres.url())
            owner_url = postgres.create_database("bench")
            upgrade(owner_url)
            with psycopg.connect(owner_url.replace("+psycopg", "")) as connection:
                connection.execute(PREPARE)
            url = postgres.url("bench", role=APP_ROLE)
            insert(url, operations)
            engine = db.connect(url)
            seal_and_verify()
            engine.dispose()


def insert(url: str, operations: int) -> None:
    """Run operations of each kind in turns and print the time of one."""
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for turn in range(operations):
            for kind, logging in KINDS.items():
                began = time.perf_counter()
                with connection.transaction():
                    connection.execute(CHANGE, {"card": turn % CARDS})
                    if logging:
                        connection.execute(logging, {"id": new_id()})
                seconds[kind].append(time.perf_counter() - began)
    medians = {kind: statistics.median(times) for kind, times in seconds.items()}
    for kind, median in medians.items():
        low, _, high = statistics.quantiles(seconds[kind], n=4)
        print(
            f"{kind:<8} {median * 1e6:7.0f} us an operation, {median / medians['no log']:.2f} of"
            f" no log  (quartiles {low * 1e6:.0f} to {high * 1e6:.0f})"
        )
    print(f"an operation with a log row, now / before: {medians['now'] / medians['before']:.2f}")


def seal_and_verify() -> None:
    """Seal what the operations wrote, many times over, and verify it."""
    for _ in range(4):
        with db.transaction() as session:
            for _ in range(5_000):
                connection = session.connection()
                connection.exec_driver_sql(KINDS["now"] or "", {"id": new_id()})
    rows, began = 0, time.perf_counter()
    while True:
        with db.transaction() as session:
            done = seals.seal(session, now=datetime.now(UTC))
        if not done:
            break
        rows += done
    took = time.perf_counter() - began
    print(f"seal     {took / rows * 1e6:7.0f} us a row  ({rows} rows, {rows / took:.0f} a second)")
    began = time.perf_counter()
    with db.transaction() as session:
        verification.read_only(session)
        found = verification.verify(session)
    took = time.perf_counter() - began
    assert found.holds, found
    print(f"verify   {found.entries / took:7.0f} rows a second  ({found.seals} seals)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
