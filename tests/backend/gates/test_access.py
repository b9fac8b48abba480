"""Who may pass a gate and when, on PostgreSQL: online and without network the same."""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest
from factories import Bound, Device, make_gate, make_holder, make_till, virtual_card
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phones import DevicePhone, Phone
from sqlalchemy import event, func, insert, select, update
from sqlalchemy.orm import Session

from backend import clock, db
from backend.cards.codes import PresentedCode
from backend.cards.models import Card, CardKind, CardState, Delegation
from backend.clock import SHANGHAI
from backend.db import transaction
from backend.errors import NotFound
from backend.gates import access, emergencies, offline, service, trial
from backend.gates.access import AS_SHIPPED, HolderNumbersUnknown
from backend.gates.models import AccessRule, Decision, Direction, Emergency, GateSettings, Passage
from backend.gates.rules import GateAccess, Rule, minute_of
from backend.holders.models import Category, Holder, HolderSession
from backend.http.parts import Parts
from backend.ids import new_id
from backend.jobs import end_emergencies
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM
from qr import CodeForged
from qr.codes import Delegation as Granted
from qr.codes import DeviceCode, Scope, SignedCode
from qr.rules import GateRules, OfflinePolicy

pytestmark = pytest.mark.usefixtures("app")

UNITS = ("软件2401班", "软件2402班", "图书馆")
MONDAY = datetime(2026, 9, 21, tzinfo=SHANGHAI)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def gate() -> Device:
    return make_gate()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def holder(parts: Parts) -> Bound:
    return make_holder(parts)


def put(gate: Device, wanted: GateAccess, *, now: datetime | None = None) -> GateSettings:
    """Put rules in force."""
    with transaction() as session:
        return access.change(
            session, terminal_id=gate.id, wanted=wanted, actor=SYSTEM, now=now or clock.now()
        )


def code_of(holder_id: UUID, at: datetime) -> PresentedCode:
    """Return a genuine code of a moment."""
    alias = virtual_card(holder_id).alias
    return PresentedCode(secrets.token_bytes(12), alias, int(at.timestamp()))


def scan(gate: Device, holder: Bound, at: datetime, direction: Direction = Direction.IN) -> Passage:
    """Let somebody show a fresh code at a moment."""
    with transaction() as session:
        passage, _ = service.decide(
            session, passage_id=new_id(), terminal=gate.caller, code=code_of(holder.id, at),
            code_text=secrets.token_hex(4), direction=direction, now=at,
        )  # fmt: skip
    return passage


def logged(action: str, subject_id: UUID) -> list[LogEntry]:
    """Return what the operation log says of a gate or an emergency."""
    with transaction() as session:
        return list(
            session.scalars(
                select(LogEntry)
                .where(LogEntry.action == action, LogEntry.subject_id == subject_id)
                .order_by(LogEntry.at)
            )
        )


class TestChange:
    def test_a_gate_as_shipped_lets_everybody_pass(self, gate: Device, holder: Bound) -> None:
        passage = scan(gate, holder, MONDAY)
        assert (passage.decision, passage.settings_id) == (Decision.ALLOW, None)
        with transaction() as session:
            assert access.access_of(session, terminal_id=gate.id) == (None, AS_SHIPPED)

    def test_adds_a_version_and_says_so(self, gate: Device, holder: Bound) -> None:
        rules = (
            Rule(True, frozenset({1, 5}), 480, 60, Category.STUDENT, UNITS[0]),
            Rule(False, holder_ids=frozenset({holder.id})),
        )
        first = GateAccess(OfflinePolicy.CLOSED, 5, Decision.DENY, rules)
        assert put(gate, first).version == 1
        with transaction() as session:
            settings, found = access.access_of(session, terminal_id=gate.id)
        assert settings is not None
        assert found == first
        assert put(gate, GateAccess()).version == 2
        with transaction() as session:
            assert access.access_of(session, terminal_id=gate.id)[1] == AS_SHIPPED
            kept = session.get_one(GateSettings, settings.id)
            assert kept.valid_until is not None
            assert session.scalar(
                select(func.count()).where(AccessRule.settings_id == settings.id)
            ) == len(rules)
        one, two = logged("gate.change_access", gate.id)
        assert (one.before, one.after["version"]) == (None, 1)
        assert two.before == {
            "version": 1, "offline": "closed", "passback_minutes": 5, "default": "deny", "rules": 2
        }  # fmt: skip
        assert holder.number not in str(one.after)

    def test_the_same_again_changes_nothing(self, gate: Device) -> None:
        wanted = GateAccess(default=Decision.DENY, rules=(Rule(True, unit=UNITS[1]),))
        assert [put(gate, wanted).version for _ in range(3)] == [1, 1, 1]
        assert len(logged("gate.change_access", gate.id)) == 1

    def test_a_decision_names_the_version_it_was_made_by(self, gate: Device, holder: Bound) -> None:
        first = put(gate, GateAccess(default=Decision.DENY))
        denied = scan(gate, holder, MONDAY)
        second = put(gate, GateAccess(passback_minutes=1))
        allowed = scan(gate, holder, MONDAY + MINUTE)
        assert (denied.settings_id, allowed.settings_id) == (first.id, second.id)

    def test_is_of_gates_only(self) -> None:
        till = make_till()
        for stranger in (till.id, new_id()):
            with transaction() as session, pytest.raises(NotFound):
                access.change(
                    session, terminal_id=stranger, wanted=AS_SHIPPED, actor=SYSTEM, now=MONDAY
                )

    def test_reads_a_list_only_as_far_as_it_names_the_one_who_asks(
        self, gate: Device, holder: Bound, parts: Parts
    ) -> None:
        other = make_holder(parts)
        put(gate, GateAccess(rules=(Rule(True, holder_ids=frozenset({holder.id, other.id})),)))
        with transaction() as session:
            for who, named in ((holder.id, {holder.id}), (new_id(), set())):
                _, found = access.access_of(session, terminal_id=gate.id, holder_id=who)
                assert found.rules[0].holder_ids == named


class TestUnderstand:
    SAID: ClassVar[dict[str, Any]] = {"offline": "open", "passback_minutes": 3, "default": "deny"}
    RULE: ClassVar[dict[str, Any]] = {
        "allow": True, "days": [1, 7], "from": "22:00", "until": "06:00",
        "category": "student", "unit": None, "holder_numbers": None,
    }  # fmt: skip

    def test_reads_what_it_spells(self, holder: Bound) -> None:
        said = self.SAID | {"rules": [self.RULE, self.RULE | {"holder_numbers": [holder.number]}]}
        with transaction() as session:
            understood = access.understand(session, said)
            assert access.spell(session, understood) == said
        assert understood.rules[1].holder_ids == {holder.id}
        assert understood.rules[0].begins == minute_of("22:00")

    def test_says_which_numbers_are_unknown_by_their_places(self, holder: Bound) -> None:
        rule = self.RULE | {"holder_numbers": [holder.number, "nobody"]}
        with transaction() as session, pytest.raises(HolderNumbersUnknown) as refused:
            access.understand(session, self.SAID | {"rules": [self.RULE, rule]})
        assert refused.value.facts == {"unknown": ["rules.1.holder_numbers.1"]}


class TestDecide:
    def test_denies_those_who_are_not_let_in(self, gate: Device, holder: Bound) -> None:
        put(gate, GateAccess(default=Decision.DENY, rules=(Rule(True, unit="别的班"),)))
        passage = scan(gate, holder, MONDAY)
        assert (passage.decision, passage.reason) == (Decision.DENY, "access-not-allowed")
        assert passage.facts == {}

    def test_outside_the_hours_says_when_it_opens(self, gate: Device, holder: Bound) -> None:
        day = Rule(True, begins=minute_of("06:00"), ends=minute_of("23:00"))
        put(gate, GateAccess(rules=(day,)))
        passage = scan(gate, holder, MONDAY.replace(hour=23))
        assert (passage.decision, passage.reason) == (Decision.DENY, "access-outside-hours")
        assert passage.facts == {
            "hours_today": "06:00–23:00",
            "opens_at": "2026-09-21T22:00:00.000Z",
        }
        assert scan(gate, holder, MONDAY.replace(hour=22, minute=59)).reason == "code-spent"
        assert scan(gate, holder, MONDAY + timedelta(days=1, hours=6)).reason is None

    def test_asks_about_the_card_first(self, gate: Device, holder: Bound) -> None:
        put(gate, GateAccess(default=Decision.DENY))
        with transaction() as session:
            session.execute(
                update(Card).where(Card.holder_id == holder.id).values(state=CardState.FROZEN)
            )
        assert scan(gate, holder, MONDAY).reason == "card-frozen"


class TestPassback:
    def test_refuses_the_same_way_twice_within_its_minutes(
        self, gate: Device, holder: Bound
    ) -> None:
        put(gate, GateAccess(passback_minutes=5))
        told = [
            scan(gate, holder, MONDAY + minutes * MINUTE, direction).reason
            for minutes, direction in [
                (0, Direction.IN), (4, Direction.IN), (5, Direction.IN),
                (6, Direction.OUT), (7, Direction.IN), (8, Direction.OUT), (9, Direction.OUT),
            ]
        ]  # fmt: skip
        assert told == [None, "passback", None, None, None, None, "passback"]

    def test_is_of_one_gate_and_one_person(self, gate: Device, holder: Bound, parts: Parts) -> None:
        other = make_gate()
        for device in (gate, other):
            put(device, GateAccess(passback_minutes=60))
        assert scan(gate, holder, MONDAY).reason is None
        assert scan(other, holder, MONDAY + MINUTE).reason is None
        assert scan(gate, make_holder(parts), MONDAY + MINUTE).reason is None
        assert scan(gate, holder, MONDAY + 2 * MINUTE).reason == "passback"

    def test_counts_what_was_uploaded_later(self, gate: Device, holder: Bound) -> None:
        put(gate, GateAccess(passback_minutes=60))
        with transaction() as session:
            session.add(
                Passage(
                    id=new_id(), terminal_id=gate.id, place="", direction=Direction.IN,
                    content_hash=b"", decision=Decision.ALLOW, holder_id=holder.id,
                    decided_at=MONDAY, reference="OFFLINE2",
                )
            )  # fmt: skip
        assert scan(gate, holder, MONDAY + MINUTE).reason == "passback"

    def test_does_not_count_what_was_denied(self, gate: Device, holder: Bound) -> None:
        put(gate, GateAccess(default=Decision.DENY, passback_minutes=60))
        scan(gate, holder, MONDAY)
        put(gate, GateAccess(passback_minutes=60))
        assert scan(gate, holder, MONDAY + MINUTE).reason is None


class TestEmergency:
    def declare(self, gate: Device | None, minutes: int = 10, now: datetime = MONDAY) -> Emergency:
        with transaction() as session:
            return emergencies.declare(
                session, terminal_id=gate.id if gate else None, reason="演练", minutes=minutes,
                actor=SYSTEM, now=now,
            )  # fmt: skip

    def lasts(self, gate: Device, at: datetime) -> tuple[bool, bool]:
        """Return whether one may leave by what the server says, and by the bundle."""
        with transaction() as session:
            rules = offline.scanner_rules(session, terminal_id=gate.id, now=at)
            return emergencies.may_leave(session, terminal_id=gate.id, now=at), rules.emergency

    def test_lets_everybody_out_and_writes_down_what_stood_against_it(
        self, gate: Device, holder: Bound
    ) -> None:
        put(gate, GateAccess(default=Decision.DENY))
        made = self.declare(gate)
        leaving = scan(gate, holder, MONDAY + MINUTE, Direction.OUT)
        coming = scan(gate, holder, MONDAY + 2 * MINUTE)
        assert (leaving.decision, leaving.reason) == (Decision.ALLOW, "access-not-allowed")
        assert (coming.decision, coming.reason) == (Decision.DENY, "access-not-allowed")
        with transaction() as session:
            forged, _ = service.decide(
                session, passage_id=new_id(), terminal=gate.caller, code=CodeForged(),
                code_text="x", direction=Direction.OUT, now=MONDAY + 3 * MINUTE,
            )  # fmt: skip
        assert (forged.decision, forged.reason) == (Decision.ALLOW, "code-forged")
        assert scan(gate, holder, MONDAY + 10 * MINUTE, Direction.OUT).decision is Decision.DENY
        [entry] = logged("emergency.declare", made.id)
        assert entry.facts == {"terminal_id": str(gate.id), "minutes": 10}

    def test_is_at_its_gate_from_its_beginning_to_its_end(self, gate: Device) -> None:
        other, begins = make_gate(), MONDAY + timedelta(days=1)
        self.declare(gate, now=begins)
        found = [
            self.lasts(device, begins + offset)
            for device, offset in [
                (gate, -MINUTE), (gate, timedelta()), (gate, 10 * MINUTE - timedelta(seconds=1)),
                (gate, 10 * MINUTE), (other, MINUTE),
            ]
        ]  # fmt: skip
        assert found == [(False,) * 2, (True,) * 2, (True,) * 2, (False,) * 2, (False,) * 2]

    def test_at_all_gates_ends_by_hand_once(self, gate: Device) -> None:
        begins = MONDAY + timedelta(days=2)
        made = self.declare(None, now=begins)
        assert self.lasts(gate, begins + MINUTE) == (True, True)
        for _ in range(2):
            with transaction() as session:
                emergencies.end(
                    session, emergency_id=made.id, actor=SYSTEM, now=begins + 2 * MINUTE
                )
        assert self.lasts(gate, begins + 2 * MINUTE) == (False, False)
        assert len(logged("emergency.end", made.id)) == 1

    def test_that_ended_by_itself_is_written_down_once(self, gate: Device, parts: Parts) -> None:
        begins = MONDAY - timedelta(days=30)
        over, lasting = (
            self.declare(gate, now=at) for at in (begins, begins + timedelta(minutes=5))
        )
        at = begins + 10 * MINUTE
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: end_emergencies(parts, at), range(2)))
        end_emergencies(parts, at + MINUTE)
        [entry] = logged("emergency.end", over.id)
        assert (entry.actor, entry.facts["by_itself"]) == ("system", True)
        with transaction() as session:
            assert session.get_one(Emergency, over.id).ended_at == at
            assert session.get_one(Emergency, lasting.id).ended_at is None
        assert logged("emergency.end", lasting.id) == []
        with transaction() as session:
            emergencies.end(session, emergency_id=over.id, actor=SYSTEM, now=at + MINUTE)
        assert len(logged("emergency.end", over.id)) == 1

    def test_that_is_over_is_not_ended_again(self, gate: Device) -> None:
        made = self.declare(gate, now=MONDAY - timedelta(days=9))
        with transaction() as session:
            emergencies.end(session, emergency_id=made.id, actor=SYSTEM, now=MONDAY)
            assert session.get_one(Emergency, made.id).ended_at is None
        assert logged("emergency.end", made.id) == []


class TestTrial:
    def test_names_those_who_would_be_refused_and_writes_nothing(
        self, gate: Device, parts: Parts
    ) -> None:
        unit = secrets.token_hex(4)
        inside = make_holder(parts, unit=unit)
        outside = [make_holder(parts, unit=f"{unit}-2") for _ in range(3)]
        wanted = GateAccess(
            rules=(
                Rule(True, unit=unit, begins=480, ends=1320),
                Rule(False, unit=f"{unit}-2"),
            )
        )
        noon, night = MONDAY.replace(hour=12), MONDAY.replace(hour=23)
        with transaction() as session:
            at_noon = trial.try_out(session, terminal_id=gate.id, wanted=wanted, at=noon)
            at_night = trial.try_out(session, terminal_id=gate.id, wanted=wanted, at=night)
            as_it_is = trial.try_out(session, terminal_id=gate.id, wanted=None, at=night)
        assert (as_it_is.refused, as_it_is.items) == (0, [])
        assert at_noon.by_unit == [
            {"unit": f"{unit}-2", "reason": "access-not-allowed", "count": 3}
        ]
        assert at_noon.by_category == [
            {"category": "student", "reason": "access-not-allowed", "count": 3}
        ]
        numbers = [item["holder_number"] for item in at_noon.items]
        assert numbers == sorted(one.number for one in outside)
        assert {item["name_masked"] for item in at_noon.items} == {"王**"}
        assert (at_noon.refused, at_night.refused) == (3, 4)
        [late] = [item for item in at_night.items if item["holder_number"] == inside.number]
        assert (late["reason"], late["opens_at"]) == (
            "access-outside-hours",
            datetime(2026, 9, 22, 8, tzinfo=SHANGHAI),
        )
        with transaction() as session:
            assert access.access_of(session, terminal_id=gate.id)[0] is None


CAST = 6
MINUTES = st.integers(0, 1439)


@pytest.fixture(scope="module")
def cast(app: Flask, parts: Parts) -> list[tuple[UUID, bytes, int]]:
    """People of several categories and units: id, alias, and the serial of their phone."""
    client, found = app.test_client(), []
    for number in range(CAST):
        holder = make_holder(
            parts,
            category=(Category.STUDENT, Category.STAFF, Category.TEMPORARY_OUTSIDER)[number % 3],
            unit=UNITS[number % 2],
        )
        phone = DevicePhone(Phone(client, token=holder.token), holder)
        assert phone.enrol().status_code == 201
        with transaction() as session:
            serial = session.scalars(
                select(Delegation.serial).join(Card).where(Card.holder_id == holder.id)
            ).one()
        found.append((holder.id, virtual_card(holder.id).alias or b"", serial))
    return found


def said_offline(rules: GateRules, code: SignedCode | DeviceCode, at: datetime) -> str | None:
    """Return what a scanner says of somebody's right to pass."""
    reason = rules.refusal(code, local=at.astimezone(UTC) + timedelta(hours=8), stale=False)
    return None if reason is None else str(reason)


class TestOfflineAsOnline:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_the_same_person_at_the_same_time_is_told_the_same(
        self, data: st.DataObject, cast: list[tuple[UUID, bytes, int]]
    ) -> None:
        ids = [holder_id for holder_id, _, _ in cast]
        rule = st.builds(
            Rule,
            allow=st.booleans(),
            days=st.frozensets(st.integers(1, 7), min_size=1),
            begins=MINUTES,
            ends=MINUTES,
            category=st.sampled_from([None, Category.STUDENT, Category.STAFF]),
            unit=st.sampled_from([None, *UNITS]),
            holder_ids=st.none() | st.frozensets(st.sampled_from(ids), min_size=1, max_size=3),
        )
        wanted = data.draw(
            st.builds(
                GateAccess,
                default=st.sampled_from(Decision),
                rules=st.lists(rule, max_size=5).map(tuple),
            )
        )
        at = MONDAY + timedelta(minutes=data.draw(st.integers(0, 7 * 1440 - 1)))
        gate = self.gate
        with db.Session() as session:
            access.change(session, terminal_id=gate.id, wanted=wanted, actor=SYSTEM, now=at)
            session.flush()
            rules = offline.scanner_rules(session, terminal_id=gate.id, now=clock.now())
            for _, alias, serial in cast:
                shown = PresentedCode(secrets.token_bytes(12), alias, int(at.timestamp()))
                online, _ = service.decide(
                    session, passage_id=new_id(), terminal=gate.caller, code=shown, code_text="",
                    direction=Direction.IN, now=at,
                )  # fmt: skip
                signed = SignedCode(alias, Scope.GATE, 0, at, at + MINUTE, b"nonce")
                granted = Granted(serial, bytes(32), Scope.GATE, 0, at + MINUTE, 15, 3)
                for code in (signed, DeviceCode(granted, Scope.GATE, at, 0)):
                    assert said_offline(rules, code, at) == online.reason
            session.rollback()

    @pytest.fixture(autouse=True)
    def _gate(self, gate: Device) -> None:
        self.gate = gate

    def test_a_newcomer_stays_out_where_strangers_do(
        self, gate: Device, holder: Bound, parts: Parts
    ) -> None:
        put(gate, GateAccess(default=Decision.DENY, rules=(Rule(True, unit=UNITS[0]),)))
        with transaction() as session:
            rules = offline.scanner_rules(session, terminal_id=gate.id, now=clock.now())
        newcomer = make_holder(parts)
        now = clock.now()

        def told(who: Bound, *, stale: bool = False) -> str | None:
            alias = virtual_card(who.id).alias or b""
            code = SignedCode(alias, Scope.GATE, 0, now, now + MINUTE, b"nonce")
            return rules.refusal(code, local=now, stale=stale)

        assert told(holder) is None
        assert told(holder, stale=True) is None
        assert told(newcomer) == "access-not-allowed"

    def test_revoked_and_ended_phones_are_not_listed(
        self, gate: Device, holder: Bound, client: FlaskClient
    ) -> None:
        phone = DevicePhone(Phone(client, token=holder.token), holder)
        phone.enrol()
        put(gate, GateAccess(default=Decision.DENY, rules=(Rule(True, unit=UNITS[0]),)))
        with transaction() as session:
            serial = session.scalars(
                select(Delegation.serial).join(Card).where(Card.holder_id == holder.id)
            ).one()

        def listed(at: datetime) -> bool:
            with transaction() as session:
                rules = offline.scanner_rules(session, terminal_id=gate.id, now=at)
            return any(serial in known.serials for known in rules.classes)

        assert listed(clock.now())
        assert not listed(clock.now() + timedelta(days=4))
        phone.phone.call("DELETE", phone.path)
        assert not listed(clock.now())


PEOPLE = 20_000


def crowd(session: Session) -> None:
    """Fill a school of its size, at once and without services: people with card and phone."""
    now = clock.now()
    visit = HolderSession(
        id=new_id(), token_hash=secrets.token_bytes(32), platform="wechat", account_index=b"",
        account_sealed=b"", created_at=now, used_at=now, ended_at=now,
    )  # fmt: skip
    session.add(visit)
    session.flush()
    made = [(new_id(), new_id()) for _ in range(PEOPLE)]
    categories = (Category.STUDENT, Category.STUDENT, Category.STUDENT, Category.STAFF)
    session.execute(
        insert(Holder),
        [
            {
                "id": id_, "holder_number": f"M{number:05d}", "name": "某某某",
                "category": categories[number % 4], "unit": f"单位{number % 400}",
                "document_index": id_.bytes, "document_tail_index": b"",
                "pays_surcharge": False, "valid_until": now.date() + timedelta(days=900),
            }
            for number, (id_, _) in enumerate(made)
        ],
    )  # fmt: skip
    session.execute(
        insert(Card),
        [
            {
                "id": card_id, "holder_id": id_, "kind": CardKind.VIRTUAL,
                "state": CardState.ACTIVE, "alias": secrets.token_bytes(6), "created_at": now,
            }
            for id_, card_id in made
        ],
    )  # fmt: skip
    session.execute(
        insert(Delegation),
        [
            {
                "id": new_id(), "card_id": card_id, "session_id": visit.id, "public_key": b"",
                "content_hash": b"", "certificate": b"", "policy_ids": [], "granted_at": now,
                "expires_at": now + timedelta(days=3), "renew_at": now, "codes_from": now,
            }
            for _, card_id in made
        ],
    )  # fmt: skip


class TestSize:
    def test_a_large_school_is_made_out_in_a_few_queries(self, gate: Device) -> None:
        rules = (
            *(
                Rule(True, unit=f"单位{number}", begins=360, ends=1380 - number % 7)
                for number in range(100)
            ),
            Rule(True, category=Category.STAFF),
        )
        queries: list[str] = []

        def count(*said: Any) -> None:
            queries.append(said[2])

        with db.Session() as session:
            staff = session.scalars(
                select(func.count(Card.id))
                .join(Holder, Holder.id == Card.holder_id)
                .where(Holder.category == Category.STAFF, Card.kind == CardKind.VIRTUAL)
            ).one()
            crowd(session)
            for default in Decision:
                access.change(
                    session, terminal_id=gate.id, wanted=GateAccess(default=default, rules=rules),
                    actor=SYSTEM, now=clock.now(),
                )  # fmt: skip
                session.flush()
                event.listen(session.get_bind(), "before_cursor_execute", count)
                seconds = []
                for _ in range(3):
                    began = time.process_time()
                    found = offline.scanner_rules(session, terminal_id=gate.id, now=clock.now())
                    seconds.append(time.process_time() - began)
                event.remove(session.get_bind(), "before_cursor_execute", count)
                tried = trial.try_out(session, terminal_id=gate.id, wanted=None, at=MONDAY)
                assert len(tried.items) == trial.MOST_NAMED
                assert tried.people >= PEOPLE
                assert sum(row["count"] for row in tried.by_category) == tried.refused
                named = sum(len(known.aliases) for known in found.classes)
                strangers = 0 if default is Decision.ALLOW else staff
                assert named == (3_750 if default is Decision.ALLOW else 8_750) + strangers
                assert min(seconds) < 1, "of this process; PostgreSQL works beside it"
            assert len(queries) == len(Decision) * 3 * 5
            session.rollback()
