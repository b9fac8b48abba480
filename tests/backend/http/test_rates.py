"""Rate limits: in Redis for all processes, or in this one while Redis is away."""

import secrets

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backend.http.parts import Parts
from backend.http.rates import Rates, TooManyRequests

HOUR = 3600


def dead_redis() -> Redis:
    """A client of nobody."""
    return Redis(port=1, decode_responses=True, retry=Retry(NoBackoff(), 0))


class TestCount:
    @pytest.mark.parametrize("away", [False, True])
    def test_refuses_above_the_limit(self, parts: Parts, away: bool) -> None:
        rates = Rates(dead_redis() if away else parts.redis)
        what = f"test:{secrets.token_hex(8)}"
        served, waits = 0, 0
        while not waits:
            try:
                rates.count(what, most=5, seconds=HOUR)
                served += 1
            except TooManyRequests as refused:
                waits = int(str(refused.facts["retry_after"]))
        assert served in range(5, 11), "an hour may end in between"
        assert 1 <= waits <= HOUR

    def test_counts_for_all_processes(self, parts: Parts) -> None:
        one, other, what = Rates(parts.redis), Rates(parts.redis), secrets.token_hex(8)
        one.count(what, most=100, seconds=HOUR, by=99)
        other.count(what, most=100, seconds=HOUR)
        with pytest.raises(TooManyRequests):
            one.count(what, most=100, seconds=HOUR, by=100)

    def test_counts_each_thing_for_itself(self, parts: Parts) -> None:
        rates = Rates(parts.redis)
        for _ in range(3):
            rates.count(secrets.token_hex(8), most=1, seconds=HOUR)

    def test_leaves_nothing_in_redis_for_ever(self, parts: Parts) -> None:
        what = f"test:{secrets.token_hex(8)}"
        Rates(parts.redis).count(what, most=1, seconds=60)
        (key,) = parts.redis.scan_iter(f"rate:{what}:*")
        assert 0 < parts.redis.ttl(key) <= 60

    def test_memory_is_bounded_while_redis_is_away(self) -> None:
        rates = Rates(dead_redis())
        for number in range(10_050):
            rates._count_here(f"key:{number}", 1)
        assert len(rates._here) <= 10_001
