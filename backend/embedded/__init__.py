"""A real PostgreSQL and a real Valkey out of Python wheels, for the demo and the tests only.

Production runs the distribution's servers: set `DATABASE_URL` and `REDIS_URL` and nothing here is
started. Why it is built this way stands in `backend/decisions/0001-embedded-servers.md`.

    with EmbeddedPostgres(var / "postgres") as postgres, EmbeddedValkey(var / "valkey") as valkey:
        database_url, redis_url = postgres.create_database("campus_card"), valkey.url

Both listen on a Unix socket only that the starting user alone can open, keep their data below the
directory they were given, and end when the process that started them ends, however it ends.
POSIX only; on Windows use WSL.
"""

from backend.embedded.placement import EmbeddedServerError
from backend.embedded.postgres import EmbeddedPostgres
from backend.embedded.valkey import EmbeddedValkey

__all__ = ["EmbeddedPostgres", "EmbeddedServerError", "EmbeddedValkey"]
