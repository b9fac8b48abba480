"""The way to a platform that hangs, by a clock that the test moves."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from payments import ChannelBusy, ChannelUnknown
from payments._gate import DOWN_SECONDS, FAILURES, MOST_CALLS, Gate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> Gate:
    return Gate(clock=clock)


def fail(error: Exception) -> Any:
    raise error


def time_out(gate: Gate, times: int = 1) -> None:
    """Let so many calls come to no answer."""
    for _ in range(times):
        with pytest.raises(requests.Timeout):
            gate.call(lambda: fail(requests.ReadTimeout()))


def test_is_open_while_the_platform_answers(gate: Gate) -> None:
    for _ in range(10):
        assert gate.call(lambda: "answer") == "answer"
        time_out(gate, FAILURES - 1)


def test_counts_no_answer_as_a_failure_however_bad(gate: Gate) -> None:
    for _ in range(2 * FAILURES):
        with pytest.raises(ChannelUnknown, match="http-500"):
            gate.call(lambda: fail(ChannelUnknown("http-500")))
    assert gate.call(lambda: "answer") == "answer"


@pytest.mark.parametrize("error", [requests.ConnectTimeout(), requests.ConnectionError()])
def test_closes_when_the_platform_is_down_and_opens_when_it_is_back(
    gate: Gate, clock: Clock, error: Exception
) -> None:
    for _ in range(FAILURES):
        with pytest.raises(type(error)):
            gate.call(lambda: fail(error))
    with pytest.raises(ChannelBusy):
        gate.call(lambda: "answer")
    clock.now = DOWN_SECONDS
    assert gate.call(lambda: "answer") == "answer"
    time_out(gate, FAILURES - 1)
    assert gate.call(lambda: "answer") == "answer"


def test_lets_one_caller_try_a_platform_that_was_down(gate: Gate, clock: Clock) -> None:
    time_out(gate, FAILURES)
    clock.now = DOWN_SECONDS

    def probe() -> str:
        with pytest.raises(ChannelBusy):  # another, while this one waits
            gate.call(lambda: "answer")
        return "answer"

    assert gate.call(probe) == "answer"
    time_out(gate, FAILURES)
    clock.now *= 2
    time_out(gate)
    with pytest.raises(ChannelBusy):
        gate.call(lambda: "answer")


def test_lets_few_wait_at_once(gate: Gate) -> None:
    inside, leave = threading.Barrier(MOST_CALLS + 1), threading.Event()

    def hang() -> str:
        inside.wait(10)
        leave.wait(10)
        return "answer"

    with ThreadPoolExecutor(MOST_CALLS) as threads:
        waiting = [threads.submit(gate.call, hang) for _ in range(MOST_CALLS)]
        inside.wait(10)
        with pytest.raises(ChannelBusy):
            gate.call(lambda: "answer")
        leave.set()
        assert [future.result() for future in waiting] == ["answer"] * MOST_CALLS
    assert gate.call(lambda: "answer") == "answer"
