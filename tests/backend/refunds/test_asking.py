"""Sending refunds to the real platform sandbox, through lost answers, refusals and dead workers."""

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from factories import Bound, balances

from backend import clock
from backend.db import transaction
from backend.refunds import asking, service
from backend.refunds.models import ChannelRefund, RefundState
from backend.settings import Settings
from payments import Channel, Refund

from .conftest import Desk, refunds_due_of

MINUTE = timedelta(minutes=1)


def end(desk: Desk, refund: ChannelRefund, *, tries: int = 12) -> ChannelRefund:
    """Let the worker run until a refund has ended, each time as soon as it is due again."""
    for _ in range(tries):
        present = desk.reread(refund)
        if present.next_try_at is None:
            return present
        desk.work(max(present.next_try_at - clock.now(), timedelta(0)))
        time.sleep(0.05)  # the sandbox makes a refund within 33 ms
    raise AssertionError(f"{present.state} after {tries} tries: {present.answer}")


class TestSending:
    def test_goes_back_to_the_fen(self, desk: Desk, holder: Bound, channel_name: str) -> None:
        top_up = desk.paid(holder, 1990, channel_name)
        (refund,) = desk.ask_back(holder, 1230)
        assert balances(holder.id) == (760, 0)
        ended = end(desk, refund)
        assert ended.state is RefundState.SUCCEEDED
        assert ended.settled_at is not None
        assert desk.platform.refunds(top_up) == [(refund.out_refund_no, 1230, "succeeded")]
        assert refunds_due_of(refund) == [("refund_sent", "refunds_due", "channel", 1230)]
        assert balances(holder.id) == (760, 0)

    def test_goes_back_over_several_top_ups_each_through_its_channel(
        self, desk: Desk, holder: Bound
    ) -> None:
        older = desk.paid(holder, 1000, "alipay")
        newer = desk.paid(holder, 500, "wechat")
        first, second = desk.ask_back(holder, 900)
        assert (first.out_trade_no, first.amount_fen) == (newer.out_trade_no, 500)
        assert (second.out_trade_no, second.amount_fen) == (older.out_trade_no, 400)
        assert {end(desk, part).state for part in (first, second)} == {RefundState.SUCCEEDED}
        assert desk.platform.refunds(newer) == [(first.out_refund_no, 500, "succeeded")]
        assert desk.platform.refunds(older) == [(second.out_refund_no, 400, "succeeded")]

    def test_two_of_one_payment_both_go(self, desk: Desk, holder: Bound, channel_name: str) -> None:
        top_up = desk.paid(holder, 1000, channel_name)
        parts = [desk.ask_back(holder, fen)[0] for fen in (300, 700)]
        assert {end(desk, part).state for part in parts} == {RefundState.SUCCEEDED}
        assert sorted(desk.platform.refunds(top_up)) == sorted(
            (part.out_refund_no, part.amount_fen, "succeeded") for part in parts
        )

    @pytest.mark.parametrize("fault", ["lose_answer", "answer_5xx", "bad_signature"])
    def test_without_trustworthy_answers_it_is_sent_once(
        self, desk: Desk, holder: Bound, channel_name: str, fault: str
    ) -> None:
        top_up = desk.paid(holder, 1000, channel_name)
        (refund,) = desk.ask_back(holder, 1000)
        desk.platform.faults(drop=True, **{fault: True})
        for tries in range(1, 4):
            desk.work(tries * MINUTE)
        unknown = desk.reread(refund)
        assert (unknown.state, refunds_due_of(refund)) == (RefundState.SENDING, [])
        assert unknown.answer
        desk.platform.faults(drop=True)
        assert end(desk, refund).state is RefundState.SUCCEEDED
        assert desk.platform.refunds(top_up) == [(refund.out_refund_no, 1000, "succeeded")]

    def test_too_little_money_with_the_merchant_is_not_now(
        self, desk: Desk, holder: Bound, channel_name: str
    ) -> None:
        desk.paid(holder, 1000, channel_name)
        (refund,) = desk.ask_back(holder, 1000)
        desk.platform.faults(drop=True, not_enough=True)
        desk.work()
        waits = desk.reread(refund)
        assert waits.state is RefundState.SENDING
        assert waits.next_try_at is not None
        assert "NOT_ENOUGH" in (waits.answer or "")
        desk.platform.faults(drop=True)
        assert end(desk, refund).state is RefundState.SUCCEEDED

    def test_a_closed_refund_is_back_in_the_purse(
        self, desk: Desk, holder: Bound, channel_name: str
    ) -> None:
        top_up = desk.paid(holder, 1000, channel_name)
        desk.platform.faults(drop=True, refund_closed=True)
        (refund,) = desk.ask_back(holder, 1000)
        assert end(desk, refund).state is RefundState.RETURNED
        assert balances(holder.id) == (1000, 0)
        desk.platform.faults(drop=True)
        (again,) = desk.ask_back(holder, 1000)
        assert end(desk, again).state is RefundState.SUCCEEDED
        succeeded = [fen for _, fen, state in desk.platform.refunds(top_up) if state == "succeeded"]
        assert succeeded == [1000]

    def test_an_abnormal_refund_waits_for_a_person_on_wechat(
        self, desk: Desk, holder: Bound
    ) -> None:
        desk.paid(holder, 1000)
        desk.platform.faults(drop=True, refund_abnormal=True)
        (refund,) = desk.ask_back(holder, 1000)
        assert end(desk, refund).state is RefundState.ABNORMAL
        assert balances(holder.id) == (0, 0)
        assert refunds_due_of(refund) == []

    def test_what_alipay_refuses_for_good_is_back_in_the_purse(
        self, desk: Desk, holder: Bound
    ) -> None:
        desk.paid(holder, 1000, "alipay")
        desk.platform.faults(drop=True, refund_abnormal=True)
        (refund,) = desk.ask_back(holder, 1000)
        ended = end(desk, refund)
        assert (ended.state, balances(holder.id)) == (RefundState.RETURNED, (1000, 0))
        assert (ended.answer or "").startswith("ACQ.")

    def test_is_asked_about_for_days_and_never_given_up(self, desk: Desk, holder: Bound) -> None:
        desk.paid(holder, 1000)
        (refund,) = desk.ask_back(holder, 1000)
        desk.platform.faults(drop=True, answer_5xx=True)
        for _ in range(14):
            due = desk.reread(refund).next_try_at
            assert due is not None
            assert desk.work(due - clock.now()) == 1
        present = desk.reread(refund)
        assert (present.state, present.tries) == (RefundState.SENDING, 14)


class Died(BaseException):
    """A worker is killed here: nothing after it runs."""


@dataclass
class Mortal:
    """A real channel whose worker dies at one of its calls, before or after it went out."""

    channel: Channel
    call: str
    after: bool

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.channel, name)
        return self._dying(real) if name == self.call else real

    def _dying(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if self.after:
                real(*arguments)
            raise Died

        return call


def settle_and_die(refund: ChannelRefund, told: Refund) -> None:
    """Note an answer and die before the commit."""
    with transaction() as session:
        service.settle(session, channel=refund.channel, answer=told, via="query", now=clock.now())
        raise Died


class TestADeadWorker:
    @pytest.mark.parametrize("call", ["refund", "query_refund"])
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    def test_at_a_call_leaves_it_to_the_next(
        self, desk: Desk, holder: Bound, channel_name: str, call: str, after: bool
    ) -> None:
        top_up = desk.paid(holder, 1000, channel_name)
        (refund,) = desk.ask_back(holder, 1000)
        if call == "query_refund":  # asked only of what may have been sent
            with transaction() as session:
                service.begin_send(session, refund_id=refund.id, now=clock.now() - 2 * MINUTE)
        mortal: Any = Mortal(desk.parts.channels[channel_name], call, after)
        with pytest.raises(Died):
            asking.ask_due(channels={channel_name: mortal}, now=clock.now())
        assert desk.reread(refund).state is RefundState.SENDING
        assert desk.work() == 0, "claimed for a minute"
        assert end(desk, refund).state is RefundState.SUCCEEDED
        assert desk.platform.refunds(top_up) == [(refund.out_refund_no, 1000, "succeeded")]
        assert len(refunds_due_of(refund)) == 1

    def test_between_claim_and_sending_leaves_it_to_the_next(
        self, desk: Desk, holder: Bound, channel_name: str
    ) -> None:
        desk.paid(holder, 1000, channel_name)
        (refund,) = desk.ask_back(holder, 1000)
        now = clock.now()
        with transaction() as session:
            assert service.claim_next(
                session, channels=[channel_name], now=now, lease_until=now + asking.LEASE
            )
        assert desk.work() == 0
        assert desk.work(asking.LEASE + timedelta(seconds=1)) == 1
        assert end(desk, refund).state is RefundState.SUCCEEDED

    def test_between_answer_and_noting_leaves_it_to_the_next(
        self, desk: Desk, holder: Bound, channel_name: str
    ) -> None:
        top_up = desk.paid(holder, 1000, channel_name)
        (refund,) = desk.ask_back(holder, 1000)
        own = desk.parts.channels[channel_name]
        with transaction() as session:
            assert service.begin_send(session, refund_id=refund.id, now=clock.now())
        own.refund(service.order_of(refund))  # and nobody notes what it says
        time.sleep(0.05)
        told = own.query_refund(service.order_of(refund))
        with pytest.raises(Died):
            settle_and_die(refund, told)
        assert refunds_due_of(refund) == []
        assert end(desk, refund).state is RefundState.SUCCEEDED
        assert desk.platform.refunds(top_up) == [(refund.out_refund_no, 1000, "succeeded")]

    def test_killed_while_the_platform_works_leaves_it_to_the_next(
        self, desk: Desk, holder: Bound, settings: Settings, channel_name: str
    ) -> None:
        top_up = desk.paid(holder, 1000, channel_name)
        (refund,) = desk.ask_back(holder, 1000)
        desk.platform.faults(drop=True, hang_seconds=6)
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER], env={**os.environ, **environment(settings)}
        )
        deadline = time.monotonic() + 30
        while desk.reread(refund).state is RefundState.DUE or not desk.platform.refunds(top_up):
            assert time.monotonic() < deadline, "the worker never sent it"
            time.sleep(0.05)
        worker.send_signal(signal.SIGKILL)
        assert worker.wait(10) == -signal.SIGKILL
        desk.platform.faults(drop=True)
        assert refunds_due_of(refund) == []
        assert end(desk, refund).state is RefundState.SUCCEEDED
        assert desk.platform.refunds(top_up) == [(refund.out_refund_no, 1000, "succeeded")]


WORKER = """
from backend import app, clock, db
from backend.refunds.asking import ask_due
from backend.settings import Settings
settings = Settings.from_environment()
db.connect(settings.database_url)
ask_due(channels=app.wire(settings).channels, now=clock.now())
"""


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a worker of its own."""
    return {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "CAMPUS_CARD_ROOT_KEY": base64.b64encode(settings.root_key).decode(),
        "CAMPUS_CARD_CODE_KEYS": str(settings.code_keys),
        "CAMPUS_CARD_ISSUER": settings.issuer,
        "CAMPUS_CARD_BASE_URL": settings.base_url,
        "CAMPUS_CARD_PAYMENTS": str(settings.payments),
        "CAMPUS_CARD_DEMO": str(settings.demo),
    }
