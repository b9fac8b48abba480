"""Whatever is forged into the log, its seals or its heads: it is told, and breaks nothing."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from chains import Log
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.orm import Session

from backend.inspections import service as inspections
from backend.operation_log import heads, retention, seals, verification
from backend.operation_log.retention import LogDoesNotHold
from backend.operation_log.seals import LastSealForged, LogRestored

DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(microsecond=0)
OLD = TODAY - 400 * DAY
VALUES = (
    "NULL", "0", "1", "-1", "2147483647", "9223372036854775807", "-9223372036854775808",
    "''", "'x'", "'operator:x'", "'log.dispose'", "repeat('x', 100000)", "'\\x'::bytea",
    "decode(repeat('ab', 96), 'hex')", "'null'::jsonb", "'7'::jsonb", "'[]'::jsonb",
    "'\"x\"'::jsonb",
    "'{\"through\": null, \"head\": 5}'::jsonb", "'{\"through\": 1e9999, \"head\": \"x\"}'::jsonb",
    "'{\"through\": 3.5, \"head\": []}'::jsonb",
    "jsonb_build_object('through', 99, 'head', repeat('0', 64))",
    "'infinity'::timestamptz", "'-infinity'::timestamptz", "'0044-03-15 BC'::timestamptz",
    "'294276-01-01'::timestamptz", "'1900-01-01'::timestamptz", "now()", "uuidv7()",
)  # fmt: skip
ENTRY = "id, at, channel, actor, action, outcome, facts"
DISPOSALS = (
    "'{}'", "'null'", "'[]'", "'5'", "'{\"through\": \"x\", \"head\": 1}'",
    "jsonb_build_object('through', 1, 'head', repeat('0', 64))",
)  # fmt: skip


def filled(log: Log) -> Log:
    """Give a log three old seals, of which the entries of the first are gone, and a young entry."""
    for number in range(3):
        log.write(f"a{number}", f"b{number}", now=OLD + number * 40 * DAY)
        assert log.seal(OLD + number * 40 * DAY) == 2
    with log.session() as session:
        assert retention.dispose(session, before=OLD + DAY, policy_ids=[]) == 2
    log.write("young", now=TODAY)
    assert log.verify().holds
    return log


@pytest.fixture
def owner(log: Log) -> Iterator[Session]:
    """The owner's session in which nothing guards the two tables any more; it leaves nothing."""
    filled(log)
    with Session(log.owner) as session:
        for table in ("operation_log", "operation_log_seals"):
            session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            names = text(
                "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(:table)"
                " ORDER BY contype <> 'p'"
            )
            for name in session.scalars(names, {"table": table}).all():
                session.execute(text(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"'))
        yield session
        session.rollback()


class TestTheRoleThatServes:
    @pytest.mark.parametrize("facts", DISPOSALS)
    def test_does_not_say_that_entries_are_gone(self, log: Log, facts: str) -> None:
        with pytest.raises(ProgrammingError, match="only dispose_log"), log.session() as session:
            session.execute(
                text(
                    f"INSERT INTO operation_log ({ENTRY}) VALUES"
                    f" (uuidv7(), now(), 'batch', 'system', 'log.dispose', 'done', {facts})"
                )
            )

    @pytest.mark.parametrize(
        ("column", "value"),
        [("at", "'infinity'"), ("at", "'-infinity'"), ("at", "'0044-03-15 BC'"), ("facts", "'5'"),
         ("facts", "'null'"), ("documents", "'5'"), ("policy_ids", "'{}'"), ("channel", "'x'"),
         ("facts", "'{\"x\": 1e5000}'"), ("after", "'-1e300'")],
    )  # fmt: skip
    def test_writes_no_entry_that_cannot_be_one(self, log: Log, column: str, value: str) -> None:
        said = dict.fromkeys(ENTRY.split(", "), "'x'")
        said |= {"id": "uuidv7()", "at": "now()", "channel": "'batch'", "facts": "'{}'"}
        said[column] = value
        names, values = ", ".join(said), ", ".join(said.values())
        with pytest.raises(DBAPIError, match="CheckViolation"), log.session() as session:
            session.execute(text(f"INSERT INTO operation_log ({names}) VALUES ({values})"))

    @pytest.mark.parametrize(
        "changed",
        [{"number": "number + 2"}, {"until": "9223372036854775807"}, {"since": "0"},
         {"previous_head": "previous_head"}, {"total": "total"}, {"sealed_at": "'infinity'"},
         {"head": "'\\x00'"}],
    )  # fmt: skip
    def test_adds_no_seal_but_at_the_end_of_the_chain(
        self, log: Log, changed: dict[str, str]
    ) -> None:
        log.write("a")
        log.seal()
        log.write("b")
        log.wait_for_the_horizon()
        said = {
            "number": "number + 1", "since": "until", "until": "until + 1", "entries": "entries",
            "total": "total + entries", "contents": "contents", "previous_head": "head",
            "head": "sha256(head)", "sealed_at": "sealed_at",
        }  # fmt: skip
        insert = "INSERT INTO operation_log_seals ({}) SELECT {} FROM operation_log_seals"
        with log.session() as session:  # what is not changed is no reason to refuse it
            session.execute(text(insert.format(", ".join(said), ", ".join(said.values()))))
            session.rollback()
        said |= changed
        with pytest.raises(DBAPIError, match="CheckViolation"), log.session() as session:
            session.execute(text(insert.format(", ".join(said), ", ".join(said.values()))))


class TestWhatTheOwnerForges:
    @pytest.mark.parametrize("facts", DISPOSALS[:-1])
    def test_a_word_of_disposal_without_seal_and_head_proves_nothing(
        self, owner: Session, facts: str
    ) -> None:
        """The one that `dispose_log` wrote still holds, and excuses what went."""
        owner.execute(
            text(
                f"INSERT INTO operation_log ({ENTRY}) VALUES"
                f" (uuidv7(), now(), 'batch', 'system', 'log.dispose', 'done', {facts})"
            )
        )
        found = verification.verify(owner)
        assert (found.difference, found.disposed) == (None, 2)

    def test_an_entry_whose_time_is_none_is_backdated(self, owner: Session) -> None:
        for at in ("'infinity'", "'-infinity'", "'0044-03-15 BC'", "NULL"):
            with owner.begin_nested() as savepoint:
                (id_,) = owner.execute(
                    text(
                        f"INSERT INTO operation_log ({ENTRY}) VALUES"
                        f" (uuidv7(), {at}, 'batch', 'x', 'x', 'done', '{{}}') RETURNING id"
                    )
                ).one()
                found = verification.verify(owner).difference
                assert found is not None
                assert (found.fault.value, found.entry_id) == ("entry-backdated", id_), at
                savepoint.rollback()

    def test_an_entry_outside_every_seal_is_told(self, owner: Session) -> None:
        owner.execute(text("UPDATE operation_log SET written_by = NULL WHERE action = 'young'"))
        found = verification.verify(owner).difference
        assert found is not None
        assert found.fault.value == "entry-backdated"

    def test_breaks_nothing(self, owner: Session) -> None:
        """Any value in any column: a sealed row tells, and nobody meets an exception."""
        chance, tried = random.Random(6), 0
        columns = {
            table: owner.execute(
                text(
                    "SELECT attname FROM pg_attribute"
                    " WHERE attrelid = to_regclass(:t) AND attnum > 0"
                ),
                {"t": table},
            ).scalars().all()
            for table in ("operation_log", "operation_log_seals")
        }  # fmt: skip
        for table, names in columns.items():
            key, sealed = ("action", "'a1'") if table == "operation_log" else ("number", "2")
            for column in names:
                for value in chance.sample(VALUES, 14):
                    with owner.begin_nested() as savepoint:
                        tried += self._try(owner, table, column, value, f"{key} = {sealed}")
                        if savepoint.is_active:
                            savepoint.rollback()
        assert tried > 60

    @staticmethod
    def _try(owner: Session, table: str, column: str, value: str, where: str) -> bool:
        """Forge one value and look at the log in every way; say whether it could be stored."""
        of_column = f"{table}.{column}"
        try:
            with owner.begin_nested():
                changed = owner.execute(
                    text(
                        f"UPDATE {table} SET {column} = {value.replace(':', chr(92) + ':')}"
                        f" WHERE {where} AND {of_column} IS DISTINCT FROM"
                        f" {value.replace(':', chr(92) + ':')}"
                    )
                ).rowcount
        except DBAPIError:
            return False
        assert verification.verify(owner).holds == (changed == 0), (of_column, value)
        owner.execute(text("SELECT 1"))
        seals.head(owner)
        seals.lag(owner, now=TODAY)
        for look in (
            lambda: seals.seal(owner, now=TODAY),
            lambda: retention.dispose(owner, before=TODAY - 350 * DAY, policy_ids=[]),
        ):
            with owner.begin_nested() as savepoint:
                try:
                    look()
                except (LastSealForged, LogRestored, LogDoesNotHold):
                    savepoint.rollback()
        return changed > 0


class TestForgedHeads:
    @pytest.mark.parametrize(
        "said",
        [b"\xff\xfe\n", b"\0\n", f"2026-09-01 0 {'0' * 64} 3 x\n".encode(),
         f"2026-09-01 {'9' * 5000} {'0' * 64} 3 x\n".encode(),
         f"2026-09-01 1 {'0' * 64} {'9' * 5000} x\n".encode(),
         "２０２６-09-01 1 ".encode() + b"0" * 64 + b" 3 x\n"],
    )  # fmt: skip
    def test_are_told(self, tmp_path: Path, said: bytes) -> None:
        path = tmp_path / "heads"
        path.write_bytes(said)
        with pytest.raises(heads.HeadsUnreadable):
            heads.read(path)

    def test_a_folder_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(heads.HeadsUnreadable):
            heads.read(tmp_path)

    def test_a_number_beyond_every_seal_is_a_seal_that_is_missing(
        self, log: Log, tmp_path: Path
    ) -> None:
        path, most = tmp_path / "heads", 10**19 - 1
        path.write_text(f"2026-09-01 {most} {'0' * 64} 3 x\n")
        assert log.difference(heads=heads.read(path)) == ("seal-missing", most, None)

    def test_the_end_of_a_forged_chain_is_not_appended(self, tmp_path: Path) -> None:
        path = tmp_path / "heads"
        for head in (seals.Head(1, b"x", 3, TODAY), seals.Head(1, bytes(32), -3, None)):
            with pytest.raises(heads.HeadsUnreadable):
                heads.keep(path, head, now=TODAY)
        assert not path.exists()


def test_an_actor_that_is_nobodys_id_is_nobody(log: Log) -> None:
    log.tamper(
        f"INSERT INTO operation_log ({ENTRY}) VALUES"
        " (uuidv7(), now(), 'counter', 'operator:x', 'x', 'done', '{}')"
    )
    with log.session() as session:
        found = inspections.search(session, wanted=inspections.LogFilter(), before=None, limit=1)
        names = inspections.names_in(session, found)
    assert [names.username(entry) for entry in found] == [None]
