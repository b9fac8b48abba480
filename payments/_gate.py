"""What keeps a platform that hangs from holding everybody who waits for it."""

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

import requests

from payments.channel import ChannelBusy

Answer = TypeVar("Answer")

MOST_CALLS: Final = 5
"""Under way at once to one platform, in one process: less than a third of a server's threads."""
FAILURES: Final = 3
"""So many calls in a row that came to no answer, and the platform is taken to be down."""
DOWN_SECONDS: Final = 15
"""Until it is tried again, by one caller."""


class Gate:
    """The way to one platform (熔断): few wait for it at once; when it is down, nobody does.

    Counts timeouts and connections that fail, not answers, however bad: an answer holds nobody.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way = 0
        self._failures = 0
        self._closed_until = 0.0

    def call(self, ask: Callable[[], Answer]) -> Answer:
        """Ask the platform.

        Raises:
            ChannelBusy: too many wait for it, or it is down; it was not asked.
        """
        self._enter()
        answered = True
        try:
            return ask()
        except (requests.Timeout, requests.ConnectionError):
            answered = False
            raise
        finally:
            self._leave(answered=answered)

    def _enter(self) -> None:
        with self._lock:
            if self._under_way >= MOST_CALLS:
                raise ChannelBusy
            if self._failures >= FAILURES:
                now = self._clock()
                if now < self._closed_until:
                    raise ChannelBusy
                self._closed_until = now + DOWN_SECONDS  # this caller tries; the others wait
            self._under_way += 1

    def _leave(self, *, answered: bool) -> None:
        with self._lock:
            self._under_way -= 1
            self._failures = 0 if answered else self._failures + 1
            if self._failures >= FAILURES:
                self._closed_until = self._clock() + DOWN_SECONDS
