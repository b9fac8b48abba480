"""A part of the demo that dies is started again, unless it will not live."""

import os
import signal
import sys

import pytest

from backend.demo.part import MOST_ENDS_AT_ONCE, STEADY_SECONDS, Part, PartFailed

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
ENDS = [sys.executable, "-c", "raise SystemExit(3)"]


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(command):
        part = Part(
            "worker",
            command,
            environment=dict(os.environ),
            home=tmp_path,
            log=tmp_path / "worker.log",
            now=0.0,
        )
        started.append(part)
        return part

    yield begin
    for part in started:
        part.stop()


def test_a_killed_part_is_started_again_after_a_pause(start, tmp_path, capfd):
    part = start(SLEEPS)
    first = part.process
    part.keep_up(1.0)
    assert part.process is first
    first.send_signal(signal.SIGKILL)
    first.wait()
    part.keep_up(100.0)
    part.keep_up(100.1)
    assert part.process is first
    part.keep_up(100.6)
    assert part.process is not first
    assert part.process.poll() is None
    told = "worker has ended by itself (signal 9); it is started again in 0.5 s"
    assert told in capfd.readouterr().err
    assert told in (tmp_path / "worker.log").read_text()


def test_pauses_grow_until_it_is_given_up(start, capfd):
    part, now = start(ENDS), 0.0
    for _ in range(MOST_ENDS_AT_ONCE):
        part.process.wait()
        part.keep_up(now)
        now += 9.0
        part.keep_up(now)
    part.process.wait()
    with pytest.raises(PartFailed):
        part.keep_up(now)
    told = capfd.readouterr().err
    assert [f"again in {pause} s" in told for pause in ("0.5", "1", "2", "4", "8")] == [True] * 5
    assert "exit status 3), 6 times in a row" in told


def test_one_that_lives_for_a_while_is_never_given_up(start):
    part, now = start(ENDS), 0.0
    for _ in range(3 * MOST_ENDS_AT_ONCE):
        part.process.wait()
        now += STEADY_SECONDS
        part.keep_up(now)
        now += 1.0
        part.keep_up(now)
