"""The embedded PostgreSQL is the one production runs, set for reproducible tests."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from backend.embedded import EmbeddedPostgres, EmbeddedServerError


@pytest.fixture
def postgres(state: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(state, durable=False) as server:
        yield server


def tell(url: str, statement: str) -> None:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(statement)


def ask(url: str, question: str) -> object:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        return connection.exec_driver_sql(question).scalar_one()


class TestEmbeddedPostgres:
    def test_is_version_18_in_utc_with_checksums(self, postgres: EmbeddedPostgres) -> None:
        assert str(ask(postgres.url(), "SHOW server_version")).startswith("18.")
        assert ask(postgres.url(), "SHOW timezone") == "UTC"
        assert ask(postgres.url(), "SHOW data_checksums") == "on"
        assert ask(postgres.url(), "SHOW max_connections") == "100"

    def test_sorts_by_code_point_on_every_machine(self, postgres: EmbeddedPostgres) -> None:
        question = "SELECT string_agg(w, '' ORDER BY w) FROM unnest(ARRAY['b','B','张','a','é']) w"
        assert ask(postgres.url(), question) == "Babé张"
        assert ask(postgres.url(), "SELECT upper('é')") == "É"

    def test_is_durable_unless_told_otherwise(self, state: Path) -> None:
        promises = ("fsync", "synchronous_commit", "full_page_writes")
        for durable, setting in ((True, "on"), (False, "off")):
            with EmbeddedPostgres(state, durable=durable) as server:
                assert [ask(server.url(), f"SHOW {name}") for name in promises] == [setting] * 3

    def test_gives_the_url_of_a_database_it_creates_once(self, postgres: EmbeddedPostgres) -> None:
        url = postgres.create_database("campus_card")
        tell(url, "CREATE TABLE kept (n int)")
        assert postgres.create_database("campus_card") == url == postgres.url("campus_card")
        assert ask(url, "SELECT count(*) FROM kept") == 0

    def test_copies_a_template(self, postgres: EmbeddedPostgres) -> None:
        tell(postgres.create_database("template"), "CREATE TABLE copied (n int)")
        clone = postgres.create_database("clone", template="template")
        assert ask(clone, "SELECT count(*) FROM copied") == 0

    def test_listens_on_no_network(self, postgres: EmbeddedPostgres) -> None:
        assert ask(postgres.url(), "SHOW listen_addresses") == ""
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=5432, user="postgres", connect_timeout=2)

    def test_begins_again_after_a_first_start_that_was_killed(self, state: Path) -> None:
        (state / "data.new" / "base").mkdir(parents=True)
        with EmbeddedPostgres(state, durable=False) as server:
            assert ask(server.url(), "SELECT 1") == 1
        assert not (state / "data.new").exists()

    def test_says_why_it_cannot_start_and_lets_go(self, state: Path) -> None:
        with EmbeddedPostgres(state, durable=False) as server:
            version = server.state / "data" / "PG_VERSION"
        version.write_text("9\n")
        with pytest.raises(EmbeddedServerError, match="incompatible with server"):
            EmbeddedPostgres(state, durable=False).start()
        version.write_text("18\n")
        with EmbeddedPostgres(state, durable=False) as server:
            assert ask(server.url(), "SELECT 1") == 1
