"""A database of its own for each test that seals or tampers: the others share theirs."""

import re
import secrets
from collections.abc import Callable, Iterator

import psycopg
import pytest
from chains import Log
from psycopg import sql


@pytest.fixture
def make_log(database_url: str) -> Iterator[Callable[[], Log]]:
    """Make empty operation logs, each in a migrated database."""
    made: list[tuple[Log, str]] = []
    admin = database_url.replace("+psycopg", "")

    def make() -> Log:
        name = f"log_{secrets.token_hex(6)}"
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(
                sql.SQL(
                    "CREATE DATABASE {} TEMPLATE campus_card_template STRATEGY file_copy"
                ).format(sql.Identifier(name))
            )
        log = Log(re.sub(r"/worker_\d+\?", f"/{name}?", database_url))
        made.append((log, name))
        return log

    yield make
    with psycopg.connect(admin, autocommit=True) as connection:
        for log, name in made:
            log.close()
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture
def log(make_log: Callable[[], Log]) -> Log:
    """An empty operation log."""
    return make_log()
