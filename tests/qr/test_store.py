import sqlite3
import stat
import threading
from datetime import timedelta

import pytest

from qr import Scope
from qr.rules import Spent
from qr.store import Mark, ScannerStore

ANNA, BELA = b"Sanna..", b"D\0\0\0\1"
DAY = timedelta(days=1)


def claim(store, second, sequence=0, *, bearer=ANNA, scope=Scope.GATE):
    with store.deciding() as deciding:
        return deciding.claim(bearer, scope, Mark(second, sequence))


def enqueue(store, item=None):
    with store.deciding() as deciding:
        return deciding.enqueue(item or {"id": "1"})


class TestStore:
    def test_is_for_its_owner_only(self, store, tmp_path):
        enqueue(store)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert set(modes) >= {"scanner.db", "scanner.db-wal"}
        assert set(modes.values()) == {0o600}

    def test_is_on_disk_before_anybody_hears_of_a_decision(self, store):
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)

    def test_says_what_is_no_store(self, tmp_path):
        (tmp_path / "other").write_text("hello, this is no database at all" * 100)
        with pytest.raises(sqlite3.DatabaseError, match="not a database"):
            ScannerStore(tmp_path / "other")
        with pytest.raises(FileNotFoundError):
            ScannerStore(tmp_path / "missing" / "store")

    def test_is_found_again_after_a_restart(self, tmp_path, noon):
        first = ScannerStore(tmp_path / "store")
        first.keep_claims({"seq": 4}, trusted_at=noon)
        with first.deciding() as deciding:
            deciding.trust(noon)
            deciding.claim(ANNA, Scope.GATE, Mark(5, 1))
            deciding.note_passage(ANNA, direction="in", at=noon)
            deciding.note_charge(noon.date(), ANNA, 700)
            deciding.enqueue({"id": "甲"})
        first.keep_clock(offset=timedelta(seconds=-3), trusted_at=noon)
        first.close()
        second = ScannerStore(tmp_path / "store")
        with second.deciding() as deciding:
            assert deciding.trusted_at == noon
            assert deciding.clock_offset == timedelta(seconds=-3)
            assert not deciding.claim(ANNA, Scope.GATE, Mark(5, 1))
            last = deciding.last_passage(ANNA)
            assert (last.direction, last.at) == ("in", noon)
            assert deciding.spent(noon.date(), ANNA) == Spent(1, 700)
        assert second.claims() == {"seq": 4}
        assert second.waiting(most=9) == [{"sequence": 1, "id": "甲"}]
        second.close()


class TestMarks:
    def test_only_grow(self, store):
        steps = [
            ((10, 3), True),
            ((10, 3), False),
            ((10, 2), False),
            ((9, 15), False),
            ((10, 4), True),
            ((11, 0), True),
            ((10, 15), False),
            ((11, 0), False),
        ]
        for (second, sequence), fresh in steps:
            assert claim(store, second, sequence) == fresh, (second, sequence)

    def test_are_of_one_bearer_and_one_use(self, store):
        for other in ({}, {"bearer": BELA}, {"scope": Scope.PAY}):
            assert claim(store, 10, **other)
            assert not claim(store, 10, **other)


class TestCounters:
    def test_add_up_by_day_and_bearer(self, store, noon):
        today, tomorrow = noon.date(), (noon + DAY).date()
        with store.deciding() as deciding:
            for day, bearer, fen in (
                (today, ANNA, 100),
                (today, ANNA, 30),
                (today, BELA, 7),
                (tomorrow, ANNA, 1),
            ):
                deciding.note_charge(day, bearer, fen)
        with store.deciding() as deciding:
            assert deciding.spent(today, ANNA) == Spent(2, 130)
            assert deciding.spent(today, BELA) == Spent(1, 7)
            assert deciding.spent(today, None) == Spent(3, 137)
            assert deciding.spent(tomorrow, None) == Spent(1, 1)
            assert deciding.spent((noon + 2 * DAY).date(), ANNA) == Spent(0, 0)


class TestDecision:
    def test_leaves_nothing_when_it_fails(self, store, noon):
        def fail():
            with store.deciding() as deciding:
                deciding.claim(ANNA, Scope.GATE, Mark(10, 0))
                deciding.note_charge(noon.date(), ANNA, 100)
                deciding.note_passage(ANNA, direction="in", at=noon)
                deciding.trust(noon)
                assert deciding.enqueue({"id": "2"}) == 2
                raise RuntimeError

        enqueue(store)
        with pytest.raises(RuntimeError):
            fail()
        with store.deciding() as deciding:
            assert deciding.trusted_at is None
            assert deciding.spent(noon.date(), None) == Spent()
            assert deciding.last_passage(ANNA) is None
        assert store.last_sequence == store.queue_length == 1
        assert claim(store, 10)
        assert enqueue(store) == 2

    def test_leaves_nothing_when_the_disk_is_full(self, store):
        for _ in range(3):
            enqueue(store, {"id": "x" * 3_000})
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        for _ in range(2):  # not only the first: the store is in no half-finished transaction
            with pytest.raises(sqlite3.OperationalError, match="full"):
                enqueue(store, {"id": "x" * 50_000})
        store._connection.execute("PRAGMA max_page_count = 100000")
        assert enqueue(store, {"id": "x" * 50_000}) == 4

    def test_waits_for_another_process(self, store, tmp_path):
        other = sqlite3.connect(
            tmp_path / "scanner.db", isolation_level=None, check_same_thread=False
        )
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.execute, ["COMMIT"])
        release.start()
        assert enqueue(store) == 1
        release.join()
        other.close()


class TestQueue:
    def test_gives_no_sequence_twice_even_when_it_is_empty(self, store):
        assert store.last_sequence == 0
        assert [enqueue(store) for _ in range(3)] == [1, 2, 3]
        store.confirmed([1, 2, 3])
        assert (store.queue_length, store.last_sequence) == (0, 3)
        assert enqueue(store) == 4

    def test_hands_out_the_oldest_first_until_they_are_confirmed(self, store):
        for number in range(5):
            enqueue(store, {"id": str(number)})
        assert [item["id"] for item in store.waiting(most=2)] == ["0", "1"]
        store.confirmed([2])
        assert [item["sequence"] for item in store.waiting(most=9)] == [1, 3, 4, 5]


class TestForgetting:
    def test_spares_what_a_code_of_these_days_could_need(self, store, noon):
        for age, bearer in ((4, b"old"), (2, b"new")):
            at = noon - age * DAY
            with store.deciding() as deciding:
                deciding.claim(bearer, Scope.GATE, Mark(int(at.timestamp()), 0))
                deciding.note_passage(bearer, direction="in", at=at)
                deciding.note_charge(at.date(), bearer, 5)
        store.keep_claims({"seq": 1}, trusted_at=noon)
        for table in ("marks", "passages", "spent"):
            rows = store._connection.execute(f"SELECT bearer FROM {table}").fetchall()
            assert rows == [(b"new",)], table

    def test_never_touches_the_queue(self, store, noon):
        enqueue(store)
        store.keep_claims({"seq": 1}, trusted_at=noon + 1_000 * DAY)
        assert store.queue_length == 1


class TestTrustedTime:
    def test_grows_by_bundles_and_codes(self, store, noon):
        for at, trusted in ((noon, noon), (noon - DAY, noon), (noon + DAY, noon + DAY)):
            with store.deciding() as deciding:
                deciding.trust(at)
            with store.deciding() as deciding:
                assert deciding.trusted_at == trusted
        store.keep_claims({"seq": 1}, trusted_at=noon)
        with store.deciding() as deciding:
            assert deciding.trusted_at == noon + DAY

    def test_is_taken_back_by_the_server(self, store, noon):
        store.keep_claims({"seq": 1}, trusted_at=noon + DAY)
        store.keep_clock(offset=timedelta(), trusted_at=noon)
        with store.deciding() as deciding:
            assert deciding.trusted_at == noon
