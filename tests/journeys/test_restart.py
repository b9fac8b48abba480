"""What survives: Ctrl-C, a killed part, a killed launcher."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from journeys.outsider import Demo, ask, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

MEAL_FEN = 450
PARTS = {"web": "backend.asgi", "worker": "backend.cli work", "sandbox": "payments.sandbox"}
"""What the launcher calls its parts, and words of their command lines."""


def descendants(pid: int) -> dict[int, str]:
    """Return the children of a process, and theirs, with their command lines."""
    found: dict[int, str] = {}
    with suppress(FileNotFoundError, ProcessLookupError):  # ended in the meantime
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            found |= {int(child): command, **descendants(int(child))}
    return found


def answers(demo: Demo, url: str = "base_url") -> bool:
    """Say whether the server takes requests, or the sandbox at `sandbox_url`."""
    try:
        return ask("GET", f"{demo.said[url]}/healthz").status == 200
    except requests.ConnectionError:
        return False


def ended(pid: int) -> bool:
    """Say whether a process is gone, or only waits to be buried."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def parts(demo: Demo, words: str) -> list[int]:
    """Return the processes whose command lines have these words, parents before children."""
    assert demo.process is not None
    return [pid for pid, said in descendants(demo.process.pid).items() if words in said]


class Day:
    """Something that happened before, to be found again.

    Each test has a person of its own: a card gets a dozen codes a minute.
    """

    def __init__(self, demo: Demo, holder_number: str) -> None:
        self.demo, self.phone = demo, demo.holder(holder_number)
        self.till, self.charge_id = demo.terminal("第一食堂 1号窗"), str(uuid4())
        self.code = self.phone.code()
        self.first = self.till.charge(self.code, MEAL_FEN, charge_id=self.charge_id)
        assert self.first.status == 201
        self.balance_fen = self.phone.balance_fen

    def assert_is_found_again(self) -> None:
        """The session, the token and the money are what they were; the answer is the first one."""
        assert self.phone.balance_fen == self.balance_fen
        again = self.till.charge(self.code, MEAL_FEN, charge_id=self.charge_id)
        assert (again.status, again.body) == (200, self.first.body)
        assert self.phone.balance_fen == self.balance_fen

    def assert_goes_on(self) -> None:
        """New things can be done: pay, top up, and be credited by a notice."""
        assert self.till.charge(self.phone.code(), MEAL_FEN).status == 201
        order = self.phone.order("wechat", MEAL_FEN)
        self.demo.pay(order["out_trade_no"])
        assert eventually(lambda: self.phone.state_of(order) == "paid")
        assert self.phone.balance_fen == self.balance_fen
        assert self.demo.campus_card("prove-ledger").returncode == 0


class TestCtrlC:
    def test_ends_everything_and_keeps_the_data(self, demo: Demo):
        day = Day(demo, "20240101")
        said, processes = demo.said, descendants(demo.process.pid)
        assert demo.stop() == 0
        assert demo.words[-1] == "Campus Card has stopped."
        assert all(ended(pid) for pid in processes)
        demo.start()
        assert demo.said == said
        day.assert_is_found_again()
        day.assert_goes_on()


class TestKilledPart:
    def test_a_web_worker_comes_back(self, demo: Demo):
        day = Day(demo, "20240102")
        before = parts(demo, "backend.asgi")
        os.kill(before[-1], signal.SIGKILL)
        assert eventually(lambda: set(parts(demo, "backend.asgi")) - set(before) != set())
        assert eventually(lambda: answers(demo))
        assert demo.running
        day.assert_is_found_again()

    def test_a_server_is_started_again_and_the_launcher_says_so(self, demo: Demo):
        for name, words in PARTS.items():
            day, before = Day(demo, "20240102"), parts(demo, words)
            os.kill(before[0], signal.SIGKILL)
            assert eventually(lambda w=words, b=before: set(parts(demo, w)) - set(b) != set())
            assert eventually(lambda: answers(demo) and answers(demo, "sandbox_url")), name
            assert eventually(
                lambda n=name: any(f"{n} has ended by itself" in w for w in demo.words)
            )
            assert all(ended(pid) for pid in before), name
            assert demo.running
            day.assert_is_found_again()
        assert "started again" in (demo.home / "var" / "worker.log").read_text()
        day.assert_goes_on()

    def test_a_web_server_that_gives_up_its_workers_is_started_again(self, demo: Demo):
        for _ in range(2):  # close together: its supervisor takes it for a crash loop, and leaves
            os.kill(parts(demo, "backend.asgi")[-1], signal.SIGKILL)
            assert eventually(lambda: answers(demo))
        assert demo.running
        assert eventually(lambda: len(parts(demo, "backend.asgi")) > 1)


class TestKilledLauncher:
    def test_takes_everything_with_it_and_the_next_start_recovers(self, demo: Demo):
        day, processes = Day(demo, "T1207"), descendants(demo.process.pid)
        assert len(processes) > 4
        demo.kill()
        assert eventually(lambda: all(ended(pid) for pid in processes))
        demo.start()
        day.assert_is_found_again()
        day.assert_goes_on()


class TestWithoutRedis:
    def test_signed_codes_go_on(self, demo: Demo):
        day, other = Day(demo, "R0042"), demo.holder("T0881")
        valkey = parts(demo, "valkey")[0]
        os.kill(valkey, signal.SIGSTOP)
        try:
            assert day.till.charge(other.code(), MEAL_FEN).status == 201
            assert other.codes(kind="short").status == 503
            assert ask("GET", f"{demo.said['base_url']}/readyz").status == 200
            day.assert_is_found_again()
        finally:
            os.kill(valkey, signal.SIGCONT)
        assert eventually(lambda: other.codes(kind="short").status == 200)
