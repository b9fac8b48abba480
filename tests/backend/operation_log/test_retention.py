"""Entries that were kept for long enough go by whole seals, and the rest still verifies."""

from datetime import UTC, datetime, timedelta

import pytest
from chains import Log
from sqlalchemy import func, select, text
from sqlalchemy.exc import ProgrammingError

from backend.ids import new_id
from backend.operation_log import retention, seals
from backend.operation_log.models import LogEntry
from backend.operation_log.retention import LogDoesNotHold

DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(microsecond=0)
OLD, YOUNG = TODAY - 400 * DAY, TODAY - 10 * DAY
KEPT = 365 * DAY
POLICY = new_id()


@pytest.fixture
def filled(log: Log) -> Log:
    """Three old seals of two entries each, and a young one."""
    for number in range(3):
        log.write(f"a{number}", f"b{number}", now=OLD + number * DAY)
        assert log.seal(OLD + number * DAY) == 2
    log.write("young", now=YOUNG)
    assert log.seal(YOUNG) == 1
    return log


def dispose(log: Log, *, before: datetime = TODAY - KEPT) -> int:
    with log.session() as session:
        return retention.dispose(session, before=before, policy_ids=[POLICY])


def actions(log: Log) -> list[str]:
    with log.session() as session:
        return list(session.scalars(select(LogEntry.action).order_by(LogEntry.at, LogEntry.id)))


class TestDisposing:
    def test_takes_old_entries_and_leaves_the_chain(self, filled: Log) -> None:
        heads = {number: head for number, head in self.heads(filled).items() if number <= 4}
        assert dispose(filled) == 6
        assert actions(filled) == ["young", "log.dispose"]
        filled.seal(TODAY)
        found = filled.verify(heads=heads)
        assert found.holds, found.difference
        assert (found.seals, found.disposed, found.entries, found.unsealed) == (5, 6, 2, 0)

    def test_says_so_in_the_log(self, filled: Log) -> None:
        dispose(filled)
        with filled.session() as session:
            entry = session.scalars(select(LogEntry).where(LogEntry.action == "log.dispose")).one()
        assert (entry.actor, entry.policy_ids) == ("system", [str(POLICY)])
        assert (entry.facts["through"], entry.facts["entries"]) == (3, 6)
        assert entry.facts["head"] == self.heads(filled)[3].hex()

    def test_again_takes_nothing(self, filled: Log) -> None:
        assert [dispose(filled), dispose(filled)] == [6, 0]
        assert actions(filled) == ["young", "log.dispose"]

    def test_goes_on_where_it_stopped(self, filled: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retention, "ENTRIES_AT_ONCE", 3)
        assert [dispose(filled) for _ in range(4)] == [2, 2, 2, 0]
        filled.seal(TODAY)
        assert filled.verify().holds

    def test_never_takes_what_is_not_sealed(self, log: Log) -> None:
        log.write("a", now=OLD)
        assert dispose(log) == 0
        assert actions(log) == ["a"]

    def test_leaves_a_log_alone_that_somebody_changed(self, filled: Log) -> None:
        filled.tamper("UPDATE operation_log SET actor = 'x' WHERE action = 'b1'")
        with pytest.raises(LogDoesNotHold):
            dispose(filled)
        assert len(actions(filled)) == 7

    def test_is_not_possible_for_what_is_younger_than_the_law_allows(self, filled: Log) -> None:
        with pytest.raises(ProgrammingError, match="not for long enough"):
            dispose(filled, before=TODAY)
        assert len(actions(filled)) == 7

    @pytest.mark.parametrize("through", ["4", "5", "NULL", "0"])
    def test_is_not_possible_past_that_by_calling_the_function(
        self, filled: Log, through: str
    ) -> None:
        with pytest.raises(ProgrammingError), filled.session() as session:
            session.execute(text(f"SELECT dispose_log({through}, '[]', now())"))

    def test_cannot_be_turned_on_tables_of_the_caller(self, filled: Log) -> None:
        """A temporary table that shadows the seals would make everything old."""
        with filled.session() as session:
            session.execute(
                text("CREATE TEMP TABLE operation_log_seals (LIKE operation_log_seals)")
            )
            session.execute(
                text(
                    "INSERT INTO pg_temp.operation_log_seals SELECT number, since, until, entries,"
                    " total, contents, previous_head, head, now() - interval '9 years'"
                    " FROM public.operation_log_seals"
                )
            )
            with pytest.raises(ProgrammingError, match="not for long enough"):
                session.execute(text("SELECT dispose_log(4, '[]', now())"))
            session.rollback()

    def test_is_the_only_way(self, filled: Log) -> None:
        """The setting that the trigger looks at helps nobody who may not delete."""
        with filled.session() as session:
            session.execute(
                text("SELECT set_config('campus_card.disposes', pg_current_xact_id()::text, true)")
            )
            with pytest.raises(ProgrammingError, match="permission denied"):
                session.execute(text("DELETE FROM operation_log"))
            session.rollback()

    @staticmethod
    def heads(log: Log) -> dict[int, bytes]:
        with log.session() as session:
            rows = session.execute(select(seals.LogSeal.number, seals.LogSeal.head))
            return {row.number: row.head for row in rows}


class TestVerifying:
    def test_finds_entries_that_went_without_a_word(self, filled: Log) -> None:
        entry = filled.entry("a0")
        filled.tamper("DELETE FROM operation_log WHERE action IN ('a0', 'b0')")
        assert filled.difference() == ("entry-missing", 1, entry)

    def test_finds_an_entry_slipped_in_where_all_went(self, filled: Log) -> None:
        dispose(filled)
        slipped = new_id()
        filled.tamper(
            "INSERT INTO operation_log (id, at, channel, actor, action, outcome, facts, written_by)"
            " SELECT :id, :at, 'batch', 'system', 'forged', 'done', '{}', since"
            " FROM operation_log_seals WHERE number = 2",
            id=slipped,
            at=OLD,
        )
        assert filled.difference() == ("entry-inserted", 2, slipped)

    def test_excuses_nothing_younger_than_the_law_allows(self, filled: Log) -> None:
        """Somebody deletes young entries, and writes that they were old."""
        dispose(filled)
        filled.tamper("DELETE FROM operation_log WHERE action = 'young'")
        filled.tamper(
            "UPDATE operation_log SET facts = facts || jsonb_build_object('through', 4, 'head',"
            " (SELECT encode(head, 'hex') FROM operation_log_seals WHERE number = 4))"
        )
        assert filled.difference() == ("disposed-early", 4, None)

    def test_believes_no_word_from_the_future(self, filled: Log) -> None:
        entry = filled.entry("young")
        dispose(filled)
        filled.tamper("DELETE FROM operation_log WHERE action = 'young'")
        filled.tamper(
            "UPDATE operation_log SET at = at + interval '9 years', facts = facts ||"
            " jsonb_build_object('through', 4, 'head',"
            " (SELECT encode(head, 'hex') FROM operation_log_seals WHERE number = 4))"
        )
        found = filled.difference()
        assert found is not None
        assert found[0] == "entry-missing"
        assert found[1] == 1 or found[2] == entry

    def test_compares_the_head_that_was_told(self, filled: Log) -> None:
        dispose(filled)
        filled.tamper(
            "UPDATE operation_log SET facts = facts || jsonb_build_object('head', repeat('0', 64))"
            " WHERE action = 'log.dispose'"
        )
        assert filled.difference() == ("head-differs", 3, None)

    def test_counts_the_rows_that_are_left(self, filled: Log) -> None:
        dispose(filled)
        with filled.session() as session:
            assert session.scalar(select(func.count()).select_from(LogEntry)) == 2
