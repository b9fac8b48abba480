"""The relay of messages, killed at any moment, with answers lost: nobody is written to twice."""

import base64
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from factories import Bound
from post import Post

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.notices import messages
from backend.notices import service as notices
from backend.settings import Settings

pytestmark = pytest.mark.usefixtures("app")

RELAY = """
import logging, sys, time
from datetime import timedelta
from backend import app, clock, db
from backend.notices import relay
from backend.settings import Settings

logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
settings = Settings.from_environment()
db.connect(settings.database_url)
parts = app.wire(settings)
print("ready", flush=True)
while True:
    relay.send_due(
        messengers=parts.messengers, sealer=parts.sealer,
        stale_after=timedelta(minutes=30), now=clock.now(), limit=3,
    )
    time.sleep(0.1)
"""
MESSAGES = 300


@pytest.fixture
def post(parts: Parts, platform_sandbox: str) -> Iterator[Post]:
    ends = Post(parts, platform_sandbox)
    yield ends
    ends.faults()


@pytest.fixture
def start_relay(settings: Settings, tmp_path: Any) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a relay as a process of its own, which sends until it is killed."""
    started: list[subprocess.Popen[str]] = []
    environment = {
        **os.environ,
        "CAMPUS_CARD_DATABASE_URL": settings.database_url,
        "CAMPUS_CARD_REDIS_URL": settings.redis_url,
        "CAMPUS_CARD_ROOT_KEY": base64.b64encode(settings.root_key).decode(),
        "CAMPUS_CARD_CODE_KEYS": str(settings.code_keys),
        "CAMPUS_CARD_ISSUER": settings.issuer,
        "CAMPUS_CARD_BASE_URL": settings.base_url,
        "CAMPUS_CARD_PAYMENTS": str(settings.payments),
        "CAMPUS_CARD_DEMO": str(settings.demo),
    }

    def start() -> subprocess.Popen[str]:
        with (tmp_path / "relay.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", RELAY],
                env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process that was started here, with no warning."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(10)
    if process.stdout:
        process.stdout.close()


def tell(holder: Bound, number: int) -> None:
    """Tell a holder of a top-up of so many fen."""
    with transaction() as session:
        notices.tell(
            session, holder_id=holder.id, kind="top-up-paid", now=clock.now(),
            amount_fen=number, balance_fen=0,
        )  # fmt: skip


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.02)


class TestKilled:
    def test_while_the_platform_is_at_it_is_unknown_and_not_repeated(
        self, post: Post, start_relay: Any
    ) -> None:
        holder = post.holder()
        post.waiting(holder.id)
        post.agree(holder, "top-up-paid")
        post.parts.messengers["wechat"]._token()  # the relay finds it in the shared cache
        post.faults(hang_seconds=2)
        tell(holder, 1)
        relay = start_relay()
        until(lambda: bool(post.arrived(holder)))
        kill(relay)
        assert post.states(holder) == [("sending", None)]
        post.faults()
        for later in (timedelta(minutes=1), messages.LEASE + timedelta(minutes=1)):
            post.send(later)
        assert post.states(holder) == [("unknown", "interrupted")]
        assert len(post.arrived(holder)) == 1

    def test_before_the_platform_was_asked_is_unknown_and_not_sent(
        self, post: Post, start_relay: Any
    ) -> None:
        holder = post.holder()
        post.waiting(holder.id)
        post.agree(holder, "top-up-paid")
        wechat = post.parts.messengers["wechat"]
        post.parts.redis.delete(wechat._token_key)
        post.faults(hang_seconds=3)  # it hangs at the token
        tell(holder, 1)
        relay = start_relay()
        until(lambda: post.states(holder) == [("sending", None)])
        kill(relay)
        post.faults()
        post.send(messages.LEASE + timedelta(minutes=1))
        assert post.states(holder) == [("unknown", "interrupted")]
        assert post.arrived(holder) == []


class TestStorm:
    def test_of_kills_and_lost_answers_doubles_nothing(
        self, post: Post, start_relay: Any, settings: Settings, tmp_path: Any
    ) -> None:
        chance = random.Random(20261125)
        holder = post.holder()
        post.waiting(holder.id)
        post.consent(holder, [post.template("top-up-paid")] * MESSAGES)
        for number in range(MESSAGES):
            post.agree(holder, "top-up-paid", at_wechat=False)
            tell(holder, number)
        relays = [start_relay(), start_relay()]
        faults = ({}, {}, {}, {"lose_answer": True}, {"answer_5xx": True}, {"hang_seconds": 0.2})

        def waiting() -> bool:
            return any(message.state.value == "due" for message in post.messages(holder))

        end = time.monotonic() + 120
        while waiting():
            assert time.monotonic() < end, "the outbox never emptied"
            post.faults(**chance.choice(faults))
            time.sleep(chance.uniform(0.05, 0.3))
            if chance.random() < 0.3:
                victim = chance.randrange(2)
                kill(relays[victim])
                relays[victim] = start_relay()
        post.faults()
        for relay in relays:
            kill(relay)
        post.send(messages.LEASE + timedelta(minutes=1))
        arrived = Counter(one["data"]["amount1"] for one in post.arrived(holder))
        ended = {m.facts["amount_fen"]: m.state.value for m in post.messages(holder)}
        said = {number: f"{number // 100}.{number % 100:02d}元" for number in ended}
        assert len(ended) == MESSAGES
        assert set(arrived.values()) == {1}, "somebody was written to twice"
        assert set(ended.values()) <= {"sent", "unknown", "dropped"}
        assert all(said[n] in arrived for n, state in ended.items() if state == "sent")
        assert arrived.keys() <= {
            said[n] for n, state in ended.items() if state in ("sent", "unknown")
        }
        counts = Counter(ended.values())
        assert counts["sent"] > MESSAGES / 4
        assert counts["unknown"] > 0
        log = (tmp_path / "relay.log").read_text()
        secret = post.parts.messengers["wechat"]._config.app_secret
        token = post.parts.messengers["wechat"]._token()
        for hidden in (holder.account_id, holder.name, secret, token, holder.token):
            assert hidden not in log
        assert "not answered" in log, "the log says nothing at all"
