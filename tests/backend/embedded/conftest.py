"""A directory that the servers' user can enter, also when the tests run as root."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="embedded-") as directory:
        Path(directory).chmod(0o755)  # pytest's own tmp_path is closed to other users
        yield Path(directory) / "server"
