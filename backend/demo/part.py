"""One program of the demo: started, started again when it dies, stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from backend.embedded.process import die_with_launcher

STOP_SECONDS = 5
STEADY_SECONDS = 10
"""A part that ran for so long has come up; one that ends sooner has ended at once."""
MOST_ENDS_AT_ONCE = 5
FIRST_PAUSE_SECONDS = 0.5
"""Before a part is started again; twice as long each time that it ends at once."""


class PartFailed(Exception):
    """A part ends at once, however often it is started."""


class Part:
    """A program in a session of its own, which writes its log to `log`, and ends with the demo."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        home: Path,
        log: Path,
        now: float,
    ) -> None:
        """Start it; `now` is what a monotonic clock says, in seconds."""
        self.name = name
        self._command, self._environment = list(command), dict(environment)
        self._home, self._log = home, log
        self._ends_at_once = 0
        self._again_at: float | None = None
        self._start(now)

    def keep_up(self, now: float) -> None:
        """Start it again if it has ended, after a pause, and say so on the console and in its log.

        Raises:
            PartFailed: it ended at once, several times in a row.
        """
        if self._again_at is None:
            if self.process.poll() is not None:
                self._mourn(now)
        elif now >= self._again_at:
            self._start(now)

    def stop(self) -> None:
        """Stop it and all it left behind: a killed server does not take its workers along."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self._bury()

    def _start(self, now: float) -> None:
        self._began, self._again_at = now, None
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the launcher, which stops parts in order
                preexec_fn=die_with_launcher(signal.SIGTERM),  # noqa: PLW1509 - one thread, only a prctl
            )

    def _mourn(self, now: float) -> None:
        self._bury()  # what is left of it holds its port
        lasted = now - self._began >= STEADY_SECONDS
        self._ends_at_once = 1 if lasted else self._ends_at_once + 1
        ended = f"{self.name} has ended by itself ({_how(self.process.returncode)})"
        if self._ends_at_once > MOST_ENDS_AT_ONCE:
            self._say(f"{ended}, {self._ends_at_once} times in a row")
            raise PartFailed(self.name)
        pause = FIRST_PAUSE_SECONDS * 2 ** (self._ends_at_once - 1)
        self._again_at = now + pause
        self._say(f"{ended}; it is started again in {pause:g} s")

    def _bury(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _say(self, words: str) -> None:
        print(words, file=sys.stderr, flush=True)
        with self._log.open("a") as log:
            log.write(f"demo: {words}\n")


def _how(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"
