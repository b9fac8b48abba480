"""An operation log of one's own, in a migrated database that no other test writes into."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from backend.migrations import APP_ROLE
from backend.operation_log import seals, verification
from backend.operation_log.service import SYSTEM, record
from backend.operation_log.verification import Verification

NOW = datetime(2026, 9, 1, 4, 0, tzinfo=UTC)
PATIENCE_TENTHS = 30
LONG_PATIENCE_TENTHS = 600


class Log:
    """An operation log that nobody else writes into, as the role that serves and as the owner."""

    def __init__(self, owner_url: str) -> None:
        self.owner_url = owner_url
        self.app_url = owner_url.replace("//postgres@", f"//{APP_ROLE}@")
        self._app, self._owner = create_engine(self.app_url), create_engine(self.owner_url)

    def close(self) -> None:
        """Let go of the database."""
        self._app.dispose()
        self._owner.dispose()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a transaction of the role that serves."""
        with Session(self._app, expire_on_commit=False) as session, session.begin():
            yield session

    def write(self, *actions: str, now: datetime = NOW, **said: Any) -> None:
        """Write some operations, each in a transaction of its own."""
        for action in actions:
            with self.session() as session:
                record(session, actor=SYSTEM, action=action, now=now, **said)

    def seal(self, now: datetime = NOW) -> int:
        """Run the sealer once, when nobody else in the server holds its horizon back.

        The horizon is the whole server's: the other worker's tests have transactions, too.
        """
        self.wait_for_the_horizon(PATIENCE_TENTHS)
        with self.session() as session:
            return seals.seal(session, now=now)

    def wait_for_the_horizon(self, tenths: int = LONG_PATIENCE_TENTHS) -> None:
        """Wait until everything that is written lies below the sealer's horizon."""
        newest = text("SELECT coalesce(max(written_by), 0) FROM operation_log")
        horizon = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        for _ in range(tenths):
            with self.session() as session:
                written, reached = (session.execute(q).scalar_one() for q in (newest, horizon))
            if written < reached:
                return
            time.sleep(0.1)

    def verify(self, **options: Any) -> Verification:
        """Compute the chain again."""
        with self.session() as session:
            verification.read_only(session)
            return verification.verify(session, **options)

    def difference(self, **options: Any) -> tuple[str, int, UUID | None] | None:
        """Return fault, seal and entry of the first difference."""
        found = self.verify(**options).difference
        return found and (found.fault.value, found.seal, found.entry_id)

    def head(self) -> seals.Head:
        """Return the end of the chain."""
        with self.session() as session:
            return seals.head(session)

    def entry(self, action: str) -> UUID:
        """Return the id of an entry."""
        with self.session() as session:
            found: UUID = session.execute(
                text("SELECT id FROM operation_log WHERE action = :action"), {"action": action}
            ).scalar_one()
            return found

    def tamper(self, *statements: str, **values: Any) -> None:
        """Change what is there as a superuser who has switched the triggers off."""
        with self._owner.begin() as connection:
            for table in ("operation_log", "operation_log_seals"):
                connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            for statement in statements:
                assert connection.execute(text(statement), values).rowcount > 0, statement
            for table in ("operation_log", "operation_log_seals"):
                connection.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))
                connection.execute(text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only"))

    @property
    def owner(self) -> Engine:
        """The owner's connections."""
        return self._owner

    @property
    def app(self) -> Engine:
        """The connections of the role that serves."""
        return self._app
