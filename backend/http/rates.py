"""Rate limits (限流): they protect the service, and never decide about money."""

import time
from collections import defaultdict
from threading import Lock

from redis import Redis, RedisError

from backend.errors import DomainError, Kind


class TooManyRequests(DomainError, code="too-many-requests", kind=Kind.RATE_LIMITED):
    """Too many in a short time.  Fact: `retry_after`, seconds."""


class Rates:
    """Counts in fixed windows: in Redis for all processes, or in this one while Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._here: dict[str, int] = defaultdict(int)
        self._lock = Lock()

    def count(self, what: str, *, most: int, seconds: int, by: int = 1) -> int:
        """Count one more, and refuse when a window of `seconds` holds more than `most`.

        Returns how many it holds.

        `what` goes into Redis as it is: ids and hashes only, no personal data.

        Raises:
            TooManyRequests: the window is full.
        """
        moment = time.time()
        window = int(moment // seconds)
        key = f"rate:{what}:{window}"
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.incrby(key, by)
                pipe.expire(key, seconds)
                counted = int(pipe.execute()[0])
        except RedisError:
            counted = self._count_here(key, by)
        if counted > most:
            raise TooManyRequests(retry_after=max(1, int((window + 1) * seconds - moment)))
        return counted

    def _count_here(self, key: str, by: int) -> int:
        with self._lock:
            if len(self._here) > 10_000:  # noqa: PLR2004 - bounded: old windows are no longer needed
                self._here.clear()
            self._here[key] += by
            return self._here[key]
