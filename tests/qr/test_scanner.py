import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from qr import make_short_code
from qr.alone import PLAIN_GATE, PLAIN_TILL
from qr.bundle import BundleError, BundleForeign, BundleOutdated, RevocationList
from qr.rules import Access, Hours, OfflinePolicy, Reason
from qr.scanner import Scanner, new_id
from qr.store import ScannerStore

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
SHANGHAI = ZoneInfo("Asia/Shanghai")
MORNING = Hours(frozenset(range(1, 8)), 6 * 60, 12 * 60 + 1)


@pytest.fixture
def gate(school, store):
    scanner = school.scanner(store)
    scanner.learn(school.gate_bundle())
    return scanner


@pytest.fixture
def till(school, store):
    scanner = school.scanner(store)
    scanner.learn(school.till_bundle())
    return scanner


def passes(scanner, text, now, direction="in", **other):
    return scanner.decide_passage(text, direction=direction, now=now, **other)


def pays(scanner, text, now, amount_fen=100, **other):
    return scanner.decide_charge(text, amount_fen=amount_fen, now=now, **other)


def verdict(decision):
    return decision.accepted, decision.reason


class TestQueue:
    def test_tells_of_a_passage_what_the_server_needs(self, school, gate, store, noon):
        text = school.phone().shows(noon)
        decision = passes(gate, text, noon + SECOND / 2, "out")
        assert verdict(decision) == (True, None)
        assert store.waiting(most=9) == [
            {
                "sequence": 1,
                "id": str(decision.id),
                "code": text,
                "decided_at": "2026-09-21T04:00:00.500Z",
                "reason": None,
                "bundle_sequence": 1,
                "direction": "out",
                "decision": "allow",
            }
        ]

    def test_tells_of_a_charge_what_the_server_needs(self, school, till, store, noon):
        text = school.card(noon)
        decision = pays(till, text, noon, 1_600, note="两份")
        assert verdict(decision) == (False, "offline-cap-exceeded")
        assert store.waiting(most=9) == [
            {
                "sequence": 1,
                "id": str(decision.id),
                "code": text,
                "decided_at": "2026-09-21T04:00:00.000Z",
                "reason": "offline-cap-exceeded",
                "bundle_sequence": 1,
                "amount_fen": 1_600,
                "state": "declined",
                "note": "两份",
            }
        ]

    def test_counts_without_gaps_what_it_tells(self, school, gate, store, noon):
        phone = school.phone()
        shown = [
            *(phone.shows(noon, sequence=number) for number in range(3)),
            phone.shows(noon),
            "hello",
            phone.shows(noon + HOUR),
            make_short_code(),
            "9" * 430,
            "",
            school.card(noon),
        ]
        sequences = [passes(gate, text, noon).sequence for text in shown]
        assert sequences == [1, 2, 3, 4, None, 5, 6, None, None, 7]
        assert [item["sequence"] for item in store.waiting(most=9)] == [*range(1, 8)]

    @pytest.mark.parametrize(
        "shown", ["hello", "", "9" * 431, "９６２", "\ud800", "张三 13800000000"]
    )
    def test_holds_nothing_that_is_no_card_code(self, school, store, noon, shown):
        """Neither when it refused for another reason, nor when it opened in spite of it."""
        scanner = school.scanner(store)
        assert verdict(passes(scanner, shown, noon)) == (False, "bundle-missing")
        assert store.queue_length == 0
        fled = passes(scanner, shown, noon, "out", emergency=True)
        assert verdict(fled) == (True, "bundle-missing")
        (item,) = store.waiting(most=9)
        assert (item["code"], item["decision"]) == ("", "allow")

    def test_keeps_the_id_of_an_attempt_that_went_to_the_server_first(
        self, school, gate, store, noon
    ):
        known = uuid4()
        decision = passes(gate, school.card(noon), noon, passage_id=known)
        assert decision.id == known
        assert store.waiting(most=1)[0]["id"] == str(known)

    def test_keeps_the_id_of_a_charge_likewise(self, school, till, noon):
        known = uuid4()
        assert pays(till, school.card(noon), noon, charge_id=known).id == known


class TestClock:
    def test_is_set_right_by_the_server(self, school, gate, noon):
        behind = noon - HOUR
        phone = school.phone()
        assert passes(gate, phone.shows(noon), behind).reason == "clock-behind"
        gate.learn_time(noon, now=behind)
        assert verdict(passes(gate, phone.shows(noon), behind)) == (True, None)
        assert passes(gate, phone.shows(noon + HOUR), behind + HOUR).accepted

    def test_stays_right_through_a_restart(self, school, gate, store, noon):
        gate.learn_time(noon, now=noon + HOUR)
        again = school.scanner(store)
        assert passes(again, school.card(noon), noon + HOUR).accepted

    def test_is_not_led_into_the_future_by_a_phone(self, school, gate, noon):
        """A gate a day ahead, and a phone that says what the gate wants to hear."""
        phone = school.phone()
        ahead = noon + 20 * HOUR
        assert passes(gate, phone.shows(ahead), ahead).accepted
        assert passes(gate, school.card(noon), noon).accepted

    def test_comes_back_when_the_server_says_so(self, school, gate, noon):
        ahead = noon + 20 * HOUR
        assert passes(gate, school.card(ahead), ahead).accepted
        assert passes(gate, school.card(noon), noon).reason == "clock-behind"
        gate.learn_time(noon, now=noon)
        assert passes(gate, school.phone().shows(noon), noon).accepted

    def test_may_show_the_time_of_any_zone(self, school, store, noon):
        """Hours and days are the school's, whatever the zone of the question."""
        scanner = school.scanner(store)
        scanner.learn(school.gate_bundle(rules=replace(PLAIN_GATE, classes=(Access((MORNING,)),))))
        phone = school.phone()
        for number, zone in enumerate((UTC, SHANGHAI, ZoneInfo("America/New_York"))):
            text = phone.shows(noon, sequence=number)
            decision = passes(scanner, text, noon.astimezone(zone))
            assert verdict(decision) == (True, None), zone

    def test_counts_the_days_of_the_school_in_any_zone(self, school, store, noon):
        scanner = school.scanner(store)
        scanner.learn(school.till_bundle(rules=replace(PLAIN_TILL, per_card_count=1)))
        evening = noon + 11 * HOUR + timedelta(minutes=59)
        for at, accepted in ((evening, True), (evening + 2 * SECOND, False)):
            assert pays(scanner, school.card(at), at.astimezone(SHANGHAI)).accepted == accepted
        midnight = (noon + 12 * HOUR).astimezone(SHANGHAI)
        assert midnight.day == 22
        assert pays(scanner, school.card(midnight), midnight).accepted

    @pytest.mark.parametrize("seconds", [0, 5])
    def test_lets_people_flee_when_its_battery_is_empty(self, school, gate, noon, seconds):
        gate.learn_time(noon, now=noon + 10 * SECOND)
        empty = datetime(1970, 1, 1, tzinfo=UTC) + seconds * SECOND
        decision = passes(gate, "hello", empty, "out", emergency=True)
        assert verdict(decision) == (True, "clock-behind")

    def test_is_believed_backwards_by_the_window_of_a_code_at_most(self, school, gate, noon):
        shown = school.card(noon + HOUR)
        assert passes(gate, shown, noon + HOUR).accepted
        for back in (15, 16):
            moment = noon + HOUR - back * SECOND
            expected = "code-spent" if back == 15 else "clock-behind"
            assert passes(gate, shown, moment).reason == expected


class TestLearning:
    def test_keeps_the_old_bundle_when_the_new_one_is_refused(self, school, gate, noon):
        before = gate.bundle
        for token in ("", school.gate_bundle(), school.gate_bundle(terminal="x", sequence=9)):
            with pytest.raises(BundleError):
                gate.learn(token)
        assert gate.bundle is before
        assert passes(gate, school.card(noon), noon).accepted

    def test_outlives_a_restart(self, school, gate, store, noon):
        again = school.scanner(store)
        assert again.bundle == gate.bundle
        with pytest.raises(BundleOutdated):
            again.learn(school.gate_bundle())

    def test_lays_a_delta_over_what_was_learnt_before_a_restart(self, school, gate, store, noon):
        again = school.scanner(store)
        bundle = again.learn(school.sign({}, sequence=2, base=1))
        assert (bundle.sequence, bundle.gate) == (2, PLAIN_GATE)

    def test_uses_no_bundle_that_did_not_reach_the_disk(self, school, gate, store, noon):
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        aliases = [number.to_bytes(6, "big") for number in range(10_000)]
        token = school.gate_bundle(known={"stopped": aliases}, sequence=2)
        with pytest.raises(sqlite3.OperationalError, match="full"):
            gate.learn(token)
        assert gate.bundle.sequence == 1
        assert passes(gate, school.card(noon), noon).accepted
        store._connection.execute("PRAGMA max_page_count = 100000")
        assert gate.learn(token).sequence == 2

    @pytest.mark.parametrize("other", [{"terminal": "gate-2"}, {"issuer": "ecard.example.org"}])
    def test_refuses_the_store_of_another(self, school, gate, store, other):
        known = {"roots": school.roots, "issuer": school.name, "terminal": "table"}
        with pytest.raises(BundleForeign):
            Scanner(store, **known | other)
        Scanner(store, **known)


class TestPassage:
    def test_is_refused_for_the_first_reason_of_many(self, school, store, noon):
        """Everything stands against each of these; one reason after the other is taken away."""
        phone, rules = school.phone(), replace(PLAIN_GATE, passback=timedelta(minutes=10))
        never, evening = Access(()), Access((Hours(frozenset({1}), 20 * 60, 21 * 60),))
        revoked = {"revoked": RevocationList.of([1], first=0)}
        scanner = school.scanner(store)
        used = phone.shows(noon)

        def learn(sequence, rules, *, known=None, issued_at=noon - 80 * HOUR, **times):
            token = school.gate_bundle(
                rules=rules, known=known, sequence=sequence, issued_at=issued_at, **times
            )
            scanner.learn(token)

        def reason(text, now=noon):
            decision = passes(scanner, text, now)
            assert not decision.accepted
            return decision.reason

        assert reason(used, noon - 99 * HOUR) == "bundle-missing"
        scanner.learn(school.gate_bundle(rules=rules))
        assert passes(scanner, used, noon).accepted
        closed = replace(rules, offline=OfflinePolicy.CLOSED, classes=(never,))
        times = {"fresh_until": noon - 60 * HOUR, "expires_at": noon}
        learn(2, closed, known=revoked, **times)
        assert reason(used, noon - HOUR) == "clock-behind"
        assert reason(used) == "bundle-expired"
        stale = {"fresh_until": noon - 60 * HOUR, "expires_at": noon + HOUR}
        learn(3, closed, known=revoked, **stale)
        assert reason(used) == "offline-closed"
        learn(4, replace(rules, classes=(never,)), known=revoked, **stale)
        assert reason(make_short_code()) == "code-online-only"
        assert reason(used) == "code-revoked"
        learn(5, replace(rules, classes=(never,)), **stale)
        assert reason(used) == "code-spent"
        assert reason(phone.shows(noon, sequence=1)) == "bundle-stale"
        learn(6, replace(rules, classes=(never,)), expires_at=noon + HOUR, fresh_until=noon + HOUR)
        assert reason(phone.shows(noon, sequence=2)) == "access-not-allowed"
        learn(
            7, replace(rules, classes=(evening,)), expires_at=noon + HOUR, fresh_until=noon + HOUR
        )
        assert reason(phone.shows(noon, sequence=3)) == "access-outside-hours"
        learn(8, rules, expires_at=noon + HOUR, fresh_until=noon + HOUR)
        assert reason(phone.shows(noon, sequence=4)) == "passback"

    def test_uses_up_a_code_that_it_refuses_for_its_bearer(self, school, store, noon):
        scanner = school.scanner(store)
        scanner.learn(school.gate_bundle(rules=replace(PLAIN_GATE, default=None)))
        text = school.card(noon)
        assert passes(scanner, text, noon).reason == "access-not-allowed"
        assert passes(scanner, text, noon).reason == "code-spent"

    def test_uses_up_no_code_that_is_not_good(self, school, gate, noon):
        text = school.card(noon + 20 * SECOND)
        assert passes(gate, text, noon).reason == "code-not-yet-valid"
        assert passes(gate, text, noon + 20 * SECOND).accepted

    @pytest.mark.parametrize("policy", OfflinePolicy)
    def test_follows_the_policy(self, school, store, noon, policy):
        scanner = school.scanner(store)
        scanner.learn(school.gate_bundle(rules=replace(PLAIN_GATE, offline=policy)))
        good, bad = school.card(noon), "hello"
        closed = Reason.OFFLINE_CLOSED
        expected = {
            OfflinePolicy.OPEN: [(True, None), (True, "code-malformed")],
            OfflinePolicy.SIGNED: [(True, None), (False, "code-malformed")],
            OfflinePolicy.CLOSED: [(False, closed), (False, closed)],
        }[policy]
        assert [verdict(passes(scanner, text, noon)) for text in (good, bad)] == expected

    @pytest.mark.parametrize("policy", OfflinePolicy)
    @pytest.mark.parametrize("declared", [True, False], ids=["by the school", "by the building"])
    def test_lets_everybody_out_in_an_emergency(self, school, store, noon, policy, declared):
        scanner = school.scanner(store)
        rules = replace(PLAIN_GATE, offline=policy, emergency=declared)
        scanner.learn(school.gate_bundle(rules=rules))
        for text in (school.card(noon), "hello", make_short_code(), school.card(noon + HOUR)):
            assert passes(scanner, text, noon, "out", emergency=not declared).accepted
            if policy is not OfflinePolicy.OPEN:
                assert not passes(scanner, text, noon, "in", emergency=not declared).accepted

    def test_is_remembered_for_the_next_also_in_an_emergency(self, school, store, noon):
        scanner = school.scanner(store)
        rules = replace(PLAIN_GATE, passback=timedelta(minutes=10))
        scanner.learn(school.gate_bundle(rules=rules))
        phone = school.phone()
        for number, (direction, fire, accepted) in enumerate(
            [
                ("in", False, True),
                ("in", False, False),
                ("out", True, True),
                ("out", False, False),
                ("in", False, True),
            ]
        ):
            at = noon + number * SECOND
            decision = passes(scanner, phone.shows(at), at, direction, emergency=fire)
            assert decision.accepted == accepted, number


class TestCharge:
    @pytest.mark.parametrize("amount_fen", [0, -1])
    def test_is_for_something(self, school, till, store, noon, amount_fen):
        text = school.card(noon)
        with pytest.raises(ValueError, match="at least one fen"):
            pays(till, text, noon, amount_fen)
        assert store.queue_length == 0
        assert pays(till, text, noon, 1).accepted

    def test_counts_only_what_was_taken(self, school, till, noon):
        for number in range(4):
            at = noon + number * SECOND
            assert pays(till, school.card(at), at, 1_501).reason == "offline-cap-exceeded"
        for number in range(4, 8):
            at = noon + number * SECOND
            assert pays(till, school.card(at), at, 1_500).accepted == (number < 7)


class TillMachine(RuleBasedStateMachine):
    """Phones and cards that pay at one till, with the power failing in between."""

    def __init__(self, school, path):
        super().__init__()
        self.school, self.path = school, path / str(uuid4())
        self.rules = replace(PLAIN_TILL, per_card_fen=2_000, terminal_fen=5_000)
        self.store = ScannerStore(self.path)
        self.scanner = school.scanner(self.store)
        self.scanner.learn(school.till_bundle(rules=self.rules))
        self.now = school.noon + 11 * HOUR
        self.phones = [school.phone(serial, cap_yuan=serial * 5) for serial in (1, 2, 3)]
        self.shown, self.accepted = [], []

    @rule(who=st.integers(0, 2), amount_fen=st.integers(1, 1_600), sequence=st.integers(0, 15))
    def pay_by_phone(self, who, amount_fen, sequence):
        text = self.phones[who].shows(self.now, sequence=sequence)
        self._show(text, who, amount_fen)

    @rule(who=st.integers(0, 2), amount_fen=st.integers(1, 1_600))
    def pay_by_card(self, who, amount_fen):
        self._show(self.school.card(self.now, alias=bytes([who] * 6)), 3 + who, amount_fen)

    @rule(data=st.data(), amount_fen=st.integers(1, 1_600))
    def show_an_old_code(self, data, amount_fen):
        if self.shown:
            self._show(*data.draw(st.sampled_from(self.shown)), amount_fen)

    @rule(seconds=st.integers(1, 1_800))
    def wait(self, seconds):
        self.now += seconds * SECOND

    @rule()
    def restart(self):
        self.store.close()
        self.store = ScannerStore(self.path)
        self.scanner = self.school.scanner(self.store)

    def _show(self, text, who, amount_fen):
        decision = pays(self.scanner, text, self.now, amount_fen)
        self.shown.append((text, who))
        if decision.accepted:
            day = (self.now + 8 * HOUR).date()
            self.accepted.append((text, who, day, amount_fen))

    @invariant()
    def each_code_paid_once(self):
        texts = [text for text, *_ in self.accepted]
        assert len(texts) == len(set(texts))

    @invariant()
    def every_day_stays_within_the_caps(self):
        for day in {day for _, _, day, _ in self.accepted}:
            sales = [(who, fen) for _, who, when, fen in self.accepted if when == day]
            assert sum(fen for _, fen in sales) <= 5_000
            for bearer in range(6):
                own = [fen for who, fen in sales if who == bearer]
                assert len(own) <= 3
                assert sum(own) <= 2_000
                assert all(fen <= (500, 1_000, 1_500)[bearer % 3] for fen in own if bearer < 3)

    @invariant()
    def the_queue_tells_it_all(self):
        items = self.store.waiting(most=1_000)
        assert [item["sequence"] for item in items] == [*range(1, len(items) + 1)]
        told = [item["code"] for item in items if item["state"] == "approved"]
        assert told == [text for text, *_ in self.accepted]

    def teardown(self):
        self.store.close()


class TestTill:
    def test_never_takes_more_than_its_caps_nor_a_code_twice(self, school, tmp_path):
        run_state_machine_as_test(
            lambda: TillMachine(school, tmp_path),
            settings=settings(max_examples=40, stateful_step_count=30, deadline=None),
        )


class TestNewId:
    def test_is_a_version_7_uuid_of_its_moment(self, noon):
        moment = noon + timedelta(milliseconds=123)
        made = new_id(moment)
        assert (made.version, made.variant) == (7, UUID(int=0x8 << 60).variant)
        assert made.int >> 80 == int(noon.timestamp()) * 1000 + 123
        assert len({new_id(moment) for _ in range(100)}) == 100

    def test_is_made_by_a_clock_before_1970_too(self):
        assert new_id(datetime(1969, 12, 31, tzinfo=UTC)).int >> 80 == 0
