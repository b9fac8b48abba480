"""The chain: what it covers, and that whatever is changed behind its back is found."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from chains import NOW, Log
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.ids import new_id
from backend.operation_log import heads, seals
from backend.operation_log.models import LogChannel, LogEntry, LogSeal
from backend.operation_log.rules import NO_HEAD
from backend.operation_log.service import SYSTEM, Actor, record

SECOND = timedelta(seconds=1)


def sealed(log: Log, count: int = 3) -> Log:
    """Fill a log with some seals of three entries each: `a0`, `b0`, `c0`, `a1` and so on."""
    for number in range(count):
        log.write(*(f"{letter}{number}" for letter in "abc"), now=NOW + number * SECOND)
        assert log.seal(NOW + number * SECOND) == 3
    return log


class TestEncoding:
    def test_is_what_the_docstring_says(self, log: Log) -> None:
        """Computed here by hand, from the docstring of `rules.py` alone."""
        holder_id, card_id, policy_id = new_id(), new_id(), new_id()
        with log.session() as session:
            record(
                session, actor=Actor(LogChannel.COUNTER, "operator:甲"), action="card.restore",
                now=NOW, holder_id=holder_id, card_id=card_id, before="lost", after="active",
                documents=["id_document"], receipt_number='№"1"\n', policy_ids=[policy_id],
                reference="7KQ2MXRD", b=1, a=[1.50, None, "\\"],
            )  # fmt: skip
        log.seal(NOW + SECOND)
        with log.session() as session:
            entry = session.scalars(select(LogEntry)).one()
            seal = session.scalars(select(LogSeal)).one()
        array = [
            "campus-card-log-entry/1", str(entry.id), "2026-09-01T04:00:00.000000Z", "counter",
            "operator:甲", "card.restore", "done", str(holder_id), str(card_id), None,
            '"lost"', '"active"', '["id_document"]', '№"1"\n', f'["{policy_id}"]',
            '{"a": [1.5, null, "\\\\"], "b": 1}', "7KQ2MXRD", str(entry.written_by),
        ]  # fmt: skip
        text_ = json.dumps(array, ensure_ascii=False, separators=(",", ":"))
        contents = entry.id.bytes + hashlib.sha256(text_.encode()).digest()
        assert seal.contents == contents
        array = [
            "campus-card-log-seal/1", "1", "0", str(seal.until), "1", "1",
            hashlib.sha256(contents).hexdigest(), "2026-09-01T04:00:01.000000Z", "00" * 32,
        ]  # fmt: skip
        assert (
            seal.head == hashlib.sha256(json.dumps(array, separators=(",", ":")).encode()).digest()
        )

    def test_tells_every_column(self, log: Log) -> None:
        columns = {column.key for column in LogEntry.__table__.columns}
        named = {part.partition("::")[0].strip() for part in str(seals.ENTRIES).split("FROM")[0]
                 .removeprefix("SELECT ").split(",")}  # fmt: skip
        assert named == columns


class TestSealer:
    def test_chains_what_was_written(self, log: Log) -> None:
        sealed(log, 2)
        found = log.verify()
        assert (found.holds, found.seals, found.entries, found.unsealed) == (True, 2, 6, 0)
        assert (found.head.number, found.head.total, found.head.sealed_at) == (2, 6, NOW + SECOND)

    def test_adds_nothing_where_there_is_nothing(self, log: Log) -> None:
        assert log.seal() == 0
        assert log.head() == seals.Head(0, NO_HEAD, 0, None)
        sealed(log, 1)
        assert log.seal() == 0
        assert log.head().number == 1

    def test_waits_for_a_transaction_that_is_open_and_skips_nothing(self, log: Log) -> None:
        with Session(log.app) as slow:
            record(slow, actor=SYSTEM, action="slow", now=NOW)
            slow.flush()
            log.write("quick")
            assert log.seal() == 0
            log.write("later")
            assert log.seal() == 0
            with log.session() as session:
                waiting = seals.lag(session, now=NOW + 61 * SECOND)
            assert (waiting.entries, waiting.seconds, waiting.is_alarming) == (2, 61, True)
            slow.commit()
        assert log.seal() == 3
        assert log.verify().holds

    def test_seals_below_an_open_transaction(self, log: Log) -> None:
        log.write("before")
        log.wait_for_the_horizon()
        with Session(log.app) as slow:
            record(slow, actor=SYSTEM, action="slow", now=NOW)
            slow.flush()
            log.write("after")
            assert log.seal() == 1
            slow.rollback()
        assert log.seal() == 1
        assert log.verify().entries == 2

    def test_never_divides_a_transaction(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(seals, "ENTRIES_A_SEAL", 4)
        for size in (3, 3, 6, 1):
            with log.session() as session:
                for _ in range(size):
                    record(session, actor=SYSTEM, action="x", now=NOW)
        assert [log.seal() for _ in range(4)] == [6, 6, 1, 0]
        assert log.verify().holds

    def test_leaves_nothing_when_it_is_cut_short(self, log: Log) -> None:
        log.write("a", "b")
        log.wait_for_the_horizon()
        with Session(log.app) as session:
            assert seals.seal(session, now=NOW) == 2
            session.rollback()
        assert log.head().number == 0
        assert log.seal() == 2
        assert log.verify().holds

    def test_lets_another_one_work(self, log: Log) -> None:
        log.write("a")
        log.wait_for_the_horizon()
        with Session(log.app) as one:
            assert seals.seal(one, now=NOW) == 1
            assert log.seal() == 0
            one.commit()
        log.write("b")
        assert log.seal() == 1
        assert log.head().number == 2

    def test_refuses_a_server_that_counts_from_below(self, log: Log) -> None:
        sealed(log, 1)
        log.tamper("UPDATE operation_log_seals SET until = until + 1000000000")
        with pytest.raises(seals.LogRestored):
            log.seal()

    def test_skips_nothing_with_many_writers_and_two_sealers_that_are_killed(
        self, log: Log
    ) -> None:
        over = threading.Event()
        written = [0] * 4

        def write(place: int) -> None:
            chance = random.Random(place)
            while not over.is_set():
                with log.session() as session:
                    for _ in range(chance.randint(1, 3)):
                        record(session, actor=SYSTEM, action=f"by.{place}", now=NOW)
                        written[place] += 1
                    session.flush()
                    time.sleep(chance.random() * 0.03)

        writers = [threading.Thread(target=write, args=(place,)) for place in range(len(written))]
        for writer in writers:
            writer.start()
        code = (
            "import sys\nfrom chains import Log\nlog = Log(sys.argv[1])\nprint('on', flush=True)\n"
            "while True: log.seal()"
        )
        for _ in range(3):
            sealers = [
                subprocess.Popen(
                    [sys.executable, "-c", code, log.owner_url], stdout=subprocess.PIPE,
                    cwd=Path(__file__).parents[2],
                )
                for _ in range(2)
            ]  # fmt: skip
            for sealer in sealers:
                assert sealer.stdout is not None
                sealer.stdout.readline()
            time.sleep(0.3)
            for sealer in sealers:
                sealer.send_signal(signal.SIGKILL)
                sealer.communicate()
        over.set()
        for writer in writers:
            writer.join()
        by_the_killed = log.head().number
        end = time.monotonic() + 10  # the server needs a moment to see that its client is gone
        while log.head().total < sum(written) and time.monotonic() < end:
            log.seal()
        found = log.verify()
        assert by_the_killed > 0
        assert (found.difference, found.entries, found.unsealed) == (None, sum(written), 0)


class TestTampering:
    """As a superuser, with the triggers switched off; nothing short of the head sees a cut tail."""

    @pytest.mark.parametrize(
        "column",
        ["at = at + interval '1 s'", "channel = 'kiosk'", "actor = 'x'", "outcome = 'x'",
         "holder_id = uuidv7()", "card_id = uuidv7()", "subject_id = uuidv7()", "before = '1'",
         "after = '1'", "documents = '[]'", "receipt_number = ''", "policy_ids = '[]'",
         "facts = '{\"a\": 1}'", "reference = ''"],
    )  # fmt: skip
    def test_an_edit_names_the_entry(self, log: Log, column: str) -> None:
        sealed(log)
        entry = log.entry("b1")
        log.tamper(f"UPDATE operation_log SET {column} WHERE action = 'b1'")
        assert log.difference() == ("entry-changed", 2, entry)

    def test_a_deletion_names_the_entry(self, log: Log) -> None:
        sealed(log)
        entry = log.entry("b1")
        log.tamper("DELETE FROM operation_log WHERE action = 'b1'")
        assert log.difference() == ("entry-missing", 2, entry)

    @pytest.mark.parametrize("place", ["written_by", "-written_by"])
    def test_an_entry_inserted_into_the_past_is_named(self, log: Log, place: str) -> None:
        sealed(log)
        log.tamper(
            "INSERT INTO operation_log (id, at, channel, actor, action, outcome, facts, written_by)"
            f" SELECT uuidv7(), at, channel, actor, 'new', outcome, facts, {place}"
            " FROM operation_log WHERE action = 'a0'"
        )
        assert log.difference() == ("entry-inserted", 1, log.entry("new"))

    def test_an_entry_that_claims_to_be_older_is_named(self, log: Log) -> None:
        sealed(log)
        insert = (
            "INSERT INTO operation_log (id, at, channel, actor, action, outcome, facts)"
            " VALUES (uuidv7(), :at, 'counter', 'x', 'new', 'done', '{}')"
        )
        log.tamper(insert, at=NOW - timedelta(hours=2))
        assert log.difference() == ("entry-backdated", 4, log.entry("new"))
        assert log.seal() == 1
        assert log.difference() == ("entry-backdated", 4, log.entry("new"))

    def test_an_entry_moved_to_another_place_is_named(self, log: Log) -> None:
        sealed(log)
        entry = log.entry("b1")
        log.tamper(
            "UPDATE operation_log SET written_by ="
            " (SELECT written_by FROM operation_log WHERE action = 'a2') WHERE action = 'b1'"
        )
        assert log.difference() == ("entry-missing", 2, entry)

    @pytest.mark.parametrize(
        "member",
        ["since = since - 1", "until = until + 1", "total = total + 1", "head = previous_head",
         "previous_head = head", "sealed_at = sealed_at - interval '1 day'",
         "contents = set_byte(contents, 20, 255 - get_byte(contents, 20))"],
    )  # fmt: skip
    def test_an_edited_seal_is_named(self, log: Log, member: str) -> None:
        sealed(log)
        log.tamper(f"UPDATE operation_log_seals SET {member} WHERE number = 2")
        assert log.difference() == ("seal-changed", 2, None)

    def test_an_edit_with_its_seal_made_to_fit_breaks_the_next(self, log: Log) -> None:
        sealed(log)
        log.tamper("UPDATE operation_log SET actor = 'x' WHERE action = 'b1'")
        made_to_fit(log, number=2)
        assert log.difference() == ("seal-changed", 3, None)

    def test_renumbered_seals_are_found(self, log: Log) -> None:
        sealed(log)
        log.tamper(
            "DELETE FROM operation_log_seals WHERE number = 1",
            "UPDATE operation_log_seals SET number = number - 1",
        )
        assert log.difference() == ("seal-changed", 1, None)

    def test_a_seal_taken_out_is_found(self, log: Log) -> None:
        sealed(log)
        log.tamper("DELETE FROM operation_log_seals WHERE number = 2")
        assert log.difference() == ("seal-missing", 2, None)

    def test_a_cut_tail_is_found_by_the_head_that_was_kept(self, log: Log) -> None:
        sealed(log)
        kept = log.head()
        log.tamper(
            "DELETE FROM operation_log WHERE written_by >="
            " (SELECT since FROM operation_log_seals WHERE number = 3)",
            "DELETE FROM operation_log_seals WHERE number = 3",
        )
        assert log.difference() is None  # nothing in the database tells of it
        assert log.difference(heads={kept.number: kept.head}) == ("seal-missing", 3, None)

    def test_a_chain_made_anew_is_found_by_the_head_that_was_kept(self, log: Log) -> None:
        sealed(log, 1)
        kept = log.head()
        log.tamper("UPDATE operation_log SET actor = 'x' WHERE action = 'b0'")
        made_to_fit(log, number=1)
        assert log.difference() is None
        assert log.difference(heads={kept.number: kept.head}) == ("head-differs", 1, None)

    def test_heads_of_all_ages_are_compared(self, log: Log) -> None:
        sealed(log, 1)
        first = log.head()
        log.write("more")
        log.seal()
        second = log.head()
        assert log.difference(heads={1: first.head, 2: second.head}) is None
        assert log.difference(heads={1: second.head, 2: second.head}) == ("head-differs", 1, None)

    def test_of_earlier_seals_the_rows_may_be_left_out(self, log: Log) -> None:
        sealed(log)
        log.tamper("UPDATE operation_log SET actor = 'x' WHERE action = 'b0'")
        assert log.difference(rows_from=2) is None
        assert log.verify(rows_from=2).entries == 6
        assert log.difference() == ("entry-changed", 1, log.entry("b0"))


def made_to_fit(log: Log, *, number: int) -> None:
    """Compute a seal anew over rows that were changed, as somebody who read `rules.py` would."""
    with log.session() as session:
        seal = session.get_one(LogSeal, number)
        session.expunge(seal)
        contents = seals.spell(
            (id_, hashed) for id_, _, hashed in seals.digests(
                session, since=seal.since, until=seal.until
            )
        )  # fmt: skip
    head = seals.head_of(
        number=number, since=seal.since, until=seal.until, entries=seal.entries, total=seal.total,
        contents=contents, previous_head=seal.previous_head, sealed_at=seal.sealed_at,
    )  # fmt: skip
    log.tamper(
        "UPDATE operation_log_seals SET contents = :contents, head = :head WHERE number = :number",
        contents=contents, head=head, number=number,
    )  # fmt: skip


class TestHeads:
    def test_are_kept_once_a_day_by_the_schools_calendar(self, log: Log, tmp_path: Path) -> None:
        path = tmp_path / "heads"
        assert not heads.keep(path, log.head(), now=NOW)
        assert not path.exists()
        sealed(log, 1)
        assert heads.keep(path, log.head(), now=NOW)
        log.write("more")
        log.seal()
        assert not heads.keep(path, log.head(), now=NOW + timedelta(hours=11))
        assert heads.keep(path, log.head(), now=NOW + timedelta(hours=13))  # midnight is over
        lines = path.read_text().splitlines()
        assert [line.split()[:2] for line in lines] == [["2026-09-01", "1"], ["2026-09-02", "2"]]
        assert heads.newest(path) == "2026-09-02"
        assert log.difference(heads=heads.read(path)) is None

    def test_two_of_one_number_have_to_agree_with_the_older(self, tmp_path: Path) -> None:
        path, head = tmp_path / "heads", seals.Head(1, bytes(32), 3, NOW)
        heads.keep(path, head, now=NOW)
        heads.keep(path, seals.Head(1, bytes(31) + b"x", 3, NOW), now=NOW + timedelta(days=1))
        assert heads.read(path) == {1: bytes(32)}

    @pytest.mark.parametrize(
        "said", ["x\n", "2026-09-01 1 00 3 x\n", "\n", f"2026-09-01 1 {'0' * 64} 3 x"]
    )
    def test_nothing_is_appended_to_what_somebody_else_wrote(
        self, tmp_path: Path, said: str
    ) -> None:
        path = tmp_path / "heads"
        path.write_text(said)
        with pytest.raises(heads.HeadsUnreadable, match="line 1"):
            heads.keep(path, seals.Head(1, bytes(32), 3, NOW), now=NOW)
        assert path.read_text() == said
