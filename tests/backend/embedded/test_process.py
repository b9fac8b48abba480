"""What holds for every embedded server: kept data, one launcher, no server left behind."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from backend.embedded import EmbeddedPostgres, EmbeddedServerError, EmbeddedValkey

SECONDS = 30  # bound of every wait; all are over in a fraction of it

LAUNCHER = """
import signal, sys
from pathlib import Path
from backend import embedded
with getattr(embedded, sys.argv[1])(Path(sys.argv[2])) as server:
    print(server._process.pid, flush=True)
    signal.pause()
"""


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return held


def gone(pid: int) -> bool:
    """Tell whether the process has ended; a zombie nobody waits for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def remember(server: EmbeddedPostgres | EmbeddedValkey) -> None:
    if isinstance(server, EmbeddedPostgres):
        url = server.create_database("campus_card").replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    else:
        with redis.Redis.from_url(server.url) as client:
            client.set("kept", 7)


def recall(server: EmbeddedPostgres | EmbeddedValkey) -> int:
    if isinstance(server, EmbeddedPostgres):
        with psycopg.connect(server.url("campus_card").replace("+psycopg", "")) as connection:
            row = connection.execute("SELECT n FROM kept").fetchone()
            assert row is not None
            return int(row[0])
    with redis.Redis.from_url(server.url) as client:
        return int(client.get("kept") or 0)


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
class TestEmbeddedServer:
    def test_keeps_data_across_a_restart(
        self, kind: type[EmbeddedPostgres | EmbeddedValkey], state: Path
    ) -> None:
        with kind(state) as server:
            remember(server)
        with kind(state) as server:
            assert recall(server) == 7

    def test_stops_in_order_and_only_once(
        self, kind: type[EmbeddedPostgres | EmbeddedValkey], state: Path
    ) -> None:
        server = kind(state, durable=False).start()
        process = server._process
        server.stop()
        server.stop()
        assert process is not None
        assert process.returncode == 0
        assert not server.sockets.exists()

    def test_refuses_a_second_launcher_and_names_the_first(
        self, kind: type[EmbeddedPostgres | EmbeddedValkey], state: Path
    ) -> None:
        with (
            kind(state, durable=False),
            pytest.raises(EmbeddedServerError, match=f"process {os.getpid()}:"),
        ):
            kind(state, durable=False).start()

    @pytest.mark.parametrize("name", ["校园 卡, v1+50%", "long" * 25], ids=["odd", "long"])
    def test_lives_in_any_directory(
        self, kind: type[EmbeddedPostgres | EmbeddedValkey], state: Path, name: str
    ) -> None:
        with kind(state.with_name(name), durable=False) as server:
            remember(server)
            assert recall(server) == 7

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
    def test_ends_with_a_killed_launcher_and_starts_again(
        self, kind: type[EmbeddedPostgres | EmbeddedValkey], state: Path
    ) -> None:
        command = [sys.executable, "-c", LAUNCHER, kind.__name__, str(state)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
            assert launcher.stdout is not None
            server_pid = int(launcher.stdout.readline())
            assert not gone(server_pid)
            launcher.kill()
        with kind(state) as server:  # at once: it waits for the old server's end
            assert until(lambda: gone(server_pid))
            remember(server)
            assert recall(server) == 7

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root steps down")
    def test_never_runs_as_root(
        self, kind: type[EmbeddedPostgres | EmbeddedValkey], state: Path
    ) -> None:
        with kind(state, durable=False) as server:
            assert server._process is not None
            assert Path(f"/proc/{server._process.pid}").stat().st_uid == server.user.uid != 0
