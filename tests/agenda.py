"""What many people do at moments of their own."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

Act = Callable[[], None]


class Agenda:
    """Acts, each at its time; an act may put down others.  An act that raises ends all of it."""

    def __init__(self) -> None:
        self._acts: list[tuple[float, int, Act]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._under_way = 0
        self._failed = False

    def add(self, delay_seconds: float, act: Act) -> None:
        """Put an act down for so many seconds from now."""
        with self._changed:
            heapq.heappush(self._acts, (time.monotonic() + delay_seconds, next(self._numbers), act))
            self._changed.notify()

    def work(self, threads: int) -> None:
        """Do all of it, with so many people at once."""
        with ThreadPoolExecutor(threads) as people:
            for done in [people.submit(self._work) for _ in range(threads)]:
                done.result()

    def _work(self) -> None:
        while (act := self._next()) is not None:
            try:
                act()
            except BaseException:
                self._failed = True
                raise
            finally:
                with self._changed:
                    self._under_way -= 1
                    self._changed.notify_all()

    def _next(self) -> Act | None:
        with self._changed:
            while not self._failed:
                if not self._acts and not self._under_way:
                    return None
                wait = self._acts[0][0] - time.monotonic() if self._acts else 1.0
                if self._acts and wait <= 0:
                    self._under_way += 1
                    return heapq.heappop(self._acts)[2]
                self._changed.wait(wait)
        return None
