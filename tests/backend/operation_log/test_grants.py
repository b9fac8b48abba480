"""What the role that serves can and cannot do, and what not even the owner can."""

from collections.abc import Iterator

import pytest
from chains import Log
from psycopg import Error
from sqlalchemy import Engine, text

CHANGES = (
    "UPDATE {} SET {} = {}",
    "UPDATE {} SET {} = {} WHERE false",
    "DELETE FROM {}",
    "TRUNCATE {} CASCADE",
)
EVIDENCE = (
    ("operation_log", "action"),
    ("operation_log_seals", "number"),
    ("transfers", "kind"),
    ("resolutions", "ruling"),
    ("cash_top_ups", "amount_fen"),
    ("cash_reversals", "amount_fen"),
    ("counter_operations", "event"),
    ("replacements", "fee_fen"),
    ("issue_decisions", "note"),
    ("application_extensions", "oa_number"),
    ("application_approvals", "kind"),
    ("early_leavings", "reason"),
    ("reopenings", "document"),
    ("charge_reversals", "amount_fen"),
    ("bill_files", "content_sealed"),
    ("holder_numbers", "number"),
)


@pytest.fixture(scope="module")
def log(database_url: str) -> Iterator[Log]:
    """The database that all tests share: nothing here leaves anything."""
    shared = Log(database_url)
    yield shared
    shared.close()


def refused(engine: Engine, *statements: str) -> str | None:
    """Run statements in one transaction that leaves nothing; return what the last is told."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        for statement in statements[:-1]:
            cursor.execute(statement)
        try:
            cursor.execute(statements[-1])
        except Error as error:
            return str(error.diag.message_primary)
        return None
    finally:
        connection.rollback()
        connection.close()


class TestTheRoleThatServes:
    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize(("table", "column"), EVIDENCE)
    def test_changes_no_evidence(self, log: Log, change: str, table: str, column: str) -> None:
        said = refused(log.app, change.format(table, column, column))
        assert said == f"permission denied for table {table}"

    def test_appends_to_the_log_but_chooses_no_place_in_it(self, log: Log) -> None:
        columns = "id, at, channel, actor, action, outcome, facts"
        values = "uuidv7(), now(), 'counter', 'x', 'x', 'done', '{}'"
        assert refused(log.app, f"INSERT INTO operation_log ({columns}) VALUES ({values})") is None
        said = refused(
            log.app, f"INSERT INTO operation_log ({columns}, written_by) VALUES ({values}, 1)"
        )
        assert said == "permission denied for table operation_log"

    @pytest.mark.parametrize(
        "statement",
        [
            "ALTER TABLE operation_log DISABLE TRIGGER append_only",
            "DROP TABLE operation_log_seals",
            "ALTER FUNCTION refuse_change() RENAME TO refuse_nothing",
            "CREATE TABLE mine (id int)",
            "SET session_replication_role = replica",
            "UPDATE alembic_version SET version_num = 'x'",
            "SET ROLE postgres",
        ],
    )
    def test_owns_nothing(self, log: Log, statement: str) -> None:
        said = refused(log.app, statement)
        assert said is not None
        assert "must be owner" in said or "permission denied" in said

    @pytest.mark.parametrize(
        ("statement", "table"),
        [
            ("UPDATE accounts SET balance_fen = balance_fen + 1", "accounts"),
            ("UPDATE accounts SET kind = kind WHERE false", "accounts"),
            ("DELETE FROM accounts WHERE false", "accounts"),
            ("INSERT INTO transfers SELECT * FROM transfers LIMIT 1", "transfers"),
            ("UPDATE policies SET value = value WHERE false", "policies"),
            ("UPDATE policies SET valid_from = valid_from WHERE false", "policies"),
            ("UPDATE policy_proposals SET changes = changes WHERE false", "policy_proposals"),
            ("UPDATE policy_proposals SET made_by = made_by WHERE false", "policy_proposals"),
            ("DELETE FROM policy_proposals WHERE false", "policy_proposals"),
        ],
    )
    def test_moves_no_money_past_the_door_and_changes_no_rule(
        self, log: Log, statement: str, table: str
    ) -> None:
        assert refused(log.app, statement) == f"permission denied for table {table}"

    def test_opens_purses_empty(self, log: Log) -> None:
        columns = "(id, kind, holder_id, balance_fen)"
        holder = "(SELECT id FROM holders LIMIT 1)"
        for engine in (log.app, log.owner):
            said = refused(
                engine,
                f"INSERT INTO accounts {columns} VALUES (uuidv7(), 'main_purse', {holder}, 1)",
            )
            assert said == "a purse is opened empty"

    def test_may_use_every_table_and_empty_none(self, log: Log) -> None:
        with log.owner.connect() as connection:
            found = connection.execute(
                text(
                    "SELECT tablename, has_table_privilege(:role, tablename, 'SELECT'),"
                    " has_table_privilege(:role, tablename, 'UPDATE'),"
                    " has_table_privilege(:role, tablename, 'TRUNCATE')"
                    " FROM pg_tables WHERE schemaname = current_schema()"
                ),
                {"role": "campus_card_app"},
            ).all()
        assert {name for name, reads, _, _ in found if not reads} == set()
        assert {name for name, *_, empties in found if empties} == set()
        closed = {table for table, _ in EVIDENCE}
        closed |= {"alembic_version", "accounts", "policies", "policy_proposals"}
        assert {name for name, _, changes, _ in found if not changes} == closed


class TestTheOwner:
    @pytest.mark.parametrize("role", ["origin", "replica"])
    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize(("table", "column"), EVIDENCE)
    def test_changes_no_evidence(
        self, log: Log, change: str, table: str, column: str, role: str
    ) -> None:
        """As a replica, a superuser passes every trigger that is not ENABLE ALWAYS."""
        statement = change.format(table, column, column)
        said = refused(log.owner, f"SET LOCAL session_replication_role = {role}", statement)
        assert said is not None
        assert said.endswith(" is append-only")
