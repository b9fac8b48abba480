"""Workers that are killed in a job, or taken for dead: their jobs are done, and they go on."""

import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest

PROGRAM = """
import asyncio, sys, time
from pathlib import Path
import procrastinate
from backend import jobs

url, ran, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])

def slow(_, now):
    with ran.open("a") as file:
        file.write("x")
    time.sleep(seconds)
    return 1

connector = procrastinate.PsycopgConnector(conninfo=url)
asyncio.run(jobs.work(jobs.build(connector, None, (("slow", "* * * * * *", slow),))))
"""
PATIENCE_SECONDS = 40


def eventually(holds):
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def queue(owner) -> Iterator[psycopg.Connection]:
    url = owner.url.render_as_string(hide_password=False).replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        clear = "TRUNCATE procrastinate_jobs, procrastinate_workers, procrastinate_periodic_defers"
        connection.execute(f"{clear}, procrastinate_events")
        yield connection
        connection.execute(f"{clear}, procrastinate_events")


@pytest.fixture
def start(app_database_url, tmp_path) -> Iterator:
    started = []

    def begin(name, seconds=0.0):
        ran = tmp_path / name
        ran.touch()
        command = [sys.executable, "-c", PROGRAM, app_database_url.replace("+psycopg", "")]
        process = subprocess.Popen([*command, str(ran), str(seconds)])
        started.append(process)
        return process, lambda: len(ran.read_text())

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_a_job_of_a_killed_worker_is_done_again(queue, start):
    doing = "SELECT id FROM procrastinate_jobs WHERE task_name = 'slow' AND status = 'doing'"
    killed, runs = start("killed", seconds=600)
    eventually(lambda: runs() == 2)  # as many as it does at a time
    jobs = [row[0] for row in queue.execute(doing)]
    assert len(jobs) == 2
    killed.kill()
    killed.wait()
    queue.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute'")
    _, runs_after = start("after")
    eventually(lambda: runs_after() >= 1)
    left = "SELECT count(*) FROM procrastinate_jobs WHERE id = ANY(%s)"
    eventually(lambda: queue.execute(left, [jobs]).fetchone() == (0,))


def test_a_worker_taken_for_dead_goes_on(queue, start):
    process, runs = start("frozen")
    eventually(lambda: runs() >= 2)
    queue.execute("DELETE FROM procrastinate_workers")  # as another one does that starts meanwhile
    before = runs()
    eventually(lambda: runs() >= before + 3)
    assert process.poll() is None
    assert queue.execute("SELECT count(*) FROM procrastinate_workers").fetchone() == (1,)


def test_a_worker_stops_when_it_is_asked(queue, start):
    process, runs = start("asked")
    eventually(lambda: runs() >= 1)
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 0
    assert queue.execute("SELECT count(*) FROM procrastinate_workers").fetchone() == (0,)
