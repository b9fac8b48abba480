"""Notices again and again: on the platforms' ladders, under load, and over a kill."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import requests

from payments import TopUpOrder, WeChatPayChannel
from payments._gate import MOST_CALLS
from payments.sandbox.notices import LADDERS

from .conftest import Receiver, Sandbox, wait_for

REFUSED = [(500, b"not yet")] * 100


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A sandbox for which a day is a second."""
    started = Sandbox(tmp_path_factory.mktemp("quick"), "--time-scale", "86400")
    yield started
    started.stop()


def paid(sandbox, receiver, *, count=1):
    """Pay orders of WeChat Pay, many at a time; return their numbers."""
    channel = WeChatPayChannel(
        sandbox.keys.wechat_pay_config(sandbox.url, f"{receiver.url}/wechat")
    )
    now, numbers = datetime.now(UTC), [uuid4().hex for _ in range(count)]

    def create(number):
        channel.create(TopUpOrder(number, 100, "充值", None, now + timedelta(hours=1), now))

    with ThreadPoolExecutor(MOST_CALLS) as pool:
        list(pool.map(create, numbers))
    with ThreadPoolExecutor(16) as pool:
        assert all(answer.ok for answer in pool.map(sandbox.pay, numbers))
    return numbers


def the_notice(sandbox, number):
    (notice,) = sandbox.order(number)["notices"]
    return notice


def send(sandbox, notice_id):
    return requests.post(f"{sandbox.url}/control/notices/{notice_id}/send", timeout=5)


class TestLadder:
    def test_is_climbed_to_its_end_and_then_given_up(self, quick, receiver):
        receiver.answers["/wechat"] = list(REFUSED)
        (number,) = paid(quick, receiver)
        wait_for(lambda: the_notice(quick, number)["state"] == "given-up")
        notice = the_notice(quick, number)
        assert len(notice["attempts"]) == notice["sendings"] == 1 + len(LADDERS["wechat"])
        assert notice["due_at"] is None
        first, last = (datetime.fromisoformat(notice["attempts"][place]["at"]) for place in (0, -1))
        assert last - first >= timedelta(seconds=sum(LADDERS["wechat"]) / 86400)

    def test_one_given_up_can_be_sent_again(self, quick, receiver):
        receiver.answers["/wechat"] = REFUSED[: 1 + len(LADDERS["wechat"])]
        (number,) = paid(quick, receiver)
        wait_for(lambda: the_notice(quick, number)["state"] == "given-up")
        answer = send(quick, the_notice(quick, number)["notice_id"])
        assert answer.json()["state"] == "pending"
        wait_for(lambda: the_notice(quick, number)["state"] == "accepted")

    def test_copies_do_not_count_as_steps(self, quick, receiver):
        receiver.answers["/wechat"] = list(REFUSED)
        quick.faults(duplicate=3)
        try:
            (number,) = paid(quick, receiver)
            wait_for(lambda: the_notice(quick, number)["state"] == "given-up")
        finally:
            quick.faults()
        notice = the_notice(quick, number)
        assert notice["sendings"] == 1 + len(LADDERS["wechat"])
        assert len(notice["attempts"]) == 4 * notice["sendings"]

    def test_the_next_sending_is_told_and_can_be_had_now(self, tmp_path, receiver):
        slow = Sandbox(tmp_path)
        try:
            receiver.answers["/wechat"] = [(500, b"not yet")]
            (number,) = paid(slow, receiver)
            wait_for(lambda: the_notice(slow, number)["attempts"])
            wait_for(lambda: the_notice(slow, number)["sendings"] == 1)
            due_at = datetime.fromisoformat(the_notice(slow, number)["due_at"])
            wait = due_at - datetime.now(UTC)
            assert timedelta() < wait <= timedelta(seconds=LADDERS["wechat"][0])
            assert send(slow, the_notice(slow, number)["notice_id"]).ok
            wait_for(lambda: the_notice(slow, number)["state"] == "accepted")
        finally:
            slow.stop()

    def test_what_is_not_on_this_machine_cannot_be_sent(self, sandbox, wechat, make_order):
        config = sandbox.keys.wechat_pay_config(sandbox.url, "https://192.0.2.1/notices")
        order = make_order(wechat)
        WeChatPayChannel(config).create(order)
        sandbox.pay(order.out_trade_no)
        answer = send(sandbox, the_notice(sandbox, order.out_trade_no)["notice_id"])
        assert (answer.status_code, answer.json()["code"]) == (409, "notice-not-loopback")


class TestLoad:
    def test_many_notices_arrive_each_once(self, sandbox, receiver):
        numbers = paid(sandbox, receiver, count=300)
        wait_for(lambda: receiver.notices.qsize() >= len(numbers))
        for number in numbers:
            wait_for(lambda number=number: the_notice(sandbox, number)["state"] == "accepted")
        assert receiver.notices.qsize() == len(numbers)

    def test_one_receiver_that_hangs_holds_up_no_other(self, sandbox, receiver):
        hanging = Receiver(answers_after_seconds=3)
        try:
            slow = paid(sandbox, hanging, count=8)
            began = time.monotonic()
            (number,) = paid(sandbox, receiver)
            receiver.next()
            assert time.monotonic() - began < 2
            for held in slow:
                wait_for(lambda held=held: the_notice(sandbox, held)["state"] == "accepted")
            assert the_notice(sandbox, number)["sendings"] == 1
        finally:
            hanging.stop()


class TestKill:
    def test_no_notice_is_lost(self, tmp_path, receiver):
        first, hanging = Sandbox(tmp_path), Receiver(answers_after_seconds=3)
        try:
            first.faults(delay_seconds={"value": 1, "share": 0.5}, seed=1)
            numbers = paid(first, hanging, count=24)  # some are being sent, some wait
        finally:
            first.kill()
            hanging.stop()
        second = Sandbox(tmp_path, *("--time-scale", "1000"))
        try:
            for number in numbers:
                assert second.order(number)["state"] == "paid"
                assert the_notice(second, number)["state"] in {"pending", "accepted"}
            # Whoever was being told is told again at once, not after a step of the ladder.
            wait_for(lambda: all(the_notice(second, number)["sendings"] for number in numbers))
        finally:
            second.stop()
