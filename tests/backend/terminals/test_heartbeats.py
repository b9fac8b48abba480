"""What terminals tell of themselves, what they are asked to do, and what is wrong with them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Device, make_gate, make_till
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from backend import clock
from backend.clock import rfc3339
from backend.db import transaction
from backend.errors import NotFound
from backend.ids import new_id
from backend.operation_log.service import SYSTEM
from backend.terminals import heartbeats, service
from backend.terminals.heartbeats import AlarmKind, Command, commands_for, list_alarms, note_gap
from backend.terminals.models import Terminal

pytestmark = pytest.mark.usefixtures("app")
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.fixture
def now() -> datetime:
    """This moment, for services that take it as an argument."""
    return clock.now()


def beat(device: Device, now: datetime, **told: Any) -> Terminal:
    """Tell something at a moment."""
    with transaction() as session:
        return heartbeats.note_heartbeat(session, caller=device.caller, now=now, **told)


def alarms(device: Device, now: datetime) -> dict[str, datetime]:
    """Return what is wrong with a terminal at a moment, and since when."""
    with transaction() as session:
        return {
            alarm.kind.value: alarm.since
            for alarm in list_alarms(session, now=now)
            if alarm.terminal.id == device.id
        }


def gap(device: Device, missing: list[int], now: datetime) -> None:
    """Note a gap."""
    with transaction() as session:
        note_gap(session, device.id, missing=missing, now=now)


def bundle(terminal_id: UUID, sequence: int, issued_at: datetime) -> None:
    """Note a new bundle."""
    with transaction() as session:
        heartbeats.note_bundle(
            session, terminal_id=terminal_id, sequence=sequence, issued_at=issued_at
        )


class TestWhatIsTold:
    def test_is_kept_until_told_otherwise(self, now: datetime) -> None:
        gate = make_gate()
        beat(
            gate, now, queue_length=3, last_sequence=2**53 - 1, clock=now + 7 * SECOND,
            bundle_sequence=41, software="gate 2",
        )  # fmt: skip
        kept = beat(gate, now + MINUTE)
        assert (kept.queue_length, kept.queue_since, kept.last_sequence) == (3, now, 2**53 - 1)
        assert (kept.clock_offset_seconds, kept.bundle_sequence) == (7, 41)
        assert (kept.bundle_confirmed_at, kept.software) == (now, "gate 2")
        assert kept.last_seen_at == now + MINUTE

    @pytest.mark.parametrize(("offset", "whole"), [(1.4, 1), (-1.6, -2), (0.0, 0), (90.0, 90)])
    def test_the_clock_is_told_in_whole_seconds(
        self, now: datetime, offset: float, whole: int
    ) -> None:
        told = beat(make_gate(), now, clock=now + timedelta(seconds=offset))
        assert told.clock_offset_seconds == whole

    @pytest.mark.parametrize(
        "text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "1970-01-01T00:00:00Z"]
    )
    def test_the_clock_may_be_anywhere(self, app: Flask, text: str) -> None:
        gate = make_gate()
        answer = app.test_client().post(
            "/api/v1/terminals/current/heartbeat", json={"clock": text}, headers=gate.headers
        )
        said = answer.get_json()
        assert (answer.status_code, said.get("commands")) == (200, ["set-clock"]), said
        offset = datetime.fromisoformat(text) - datetime.fromisoformat(said["server_time"])
        assert abs(said["clock_offset_seconds"] - offset.total_seconds()) < 2

    def test_the_queue_is_as_old_as_its_first(self, now: datetime) -> None:
        gate = make_gate()
        since = [
            beat(gate, now + minute * MINUTE, queue_length=length).queue_since
            for minute, length in enumerate([0, 2, 5, 1, 0, 4])
        ]
        first, second = now + MINUTE, now + 5 * MINUTE
        assert since == [None, first, first, first, None, second]

    def test_a_bundle_is_confirmed_when_it_is_first_told(self, now: datetime) -> None:
        gate = make_gate()
        bundle(gate.id, 7, now)
        told = [beat(gate, now + m * MINUTE, bundle_sequence=7) for m in (1, 2)]
        assert {t.bundle_confirmed_at for t in told} == {now + MINUTE}
        assert told[1].bundle_issued_at == now
        other = beat(gate, now + 3 * MINUTE, bundle_sequence=6)
        assert (other.bundle_confirmed_at, other.bundle_issued_at) == (now + 3 * MINUTE, None)

    def test_only_a_newer_bundle_is_the_newest(self, now: datetime) -> None:
        gate = make_gate()
        for sequence in (0, 5, 4):
            bundle(gate.id, sequence, now + sequence * MINUTE)
        with transaction() as session:
            kept = session.get_one(Terminal, gate.id)
        assert (kept.bundle_latest_sequence, kept.bundle_latest_issued_at) == (5, now + 5 * MINUTE)

    def test_a_silence_ends_when_it_is_heard_of(self, now: datetime) -> None:
        gate = make_gate()
        since = [beat(gate, now + m * MINUTE).online_since for m in (0, 2, 4, 7, 8)]
        back = now + 7 * MINUTE
        assert since == [now, now, now, back, back]


class TestCommands:
    @given(
        st.none() | st.integers(-20, 20),
        st.none() | st.integers(0, 2),
        st.none() | st.integers(0, 3),
        st.none() | st.integers(0, 3),
    )
    def test_follow_from_what_was_told(
        self, offset: int | None, queue: int | None, held: int | None, newest: int | None
    ) -> None:
        terminal = Terminal(
            clock_offset_seconds=offset, queue_length=queue, bundle_sequence=held,
            bundle_latest_sequence=newest,
        )  # fmt: skip
        wanted = commands_for(terminal)
        assert (Command.SET_CLOCK in wanted) == (offset is not None and not -5 <= offset <= 5)
        assert (Command.SYNC in wanted) == (queue in (1, 2))
        assert (Command.FETCH_BUNDLE in wanted) == (
            newest is not None and (held is None or held < newest)
        )
        assert wanted == sorted(wanted, key=list(Command).index)

    def test_are_answered(self, app: Flask) -> None:
        till = make_till()
        bundle(till.id, 9, clock.now())
        answer = app.test_client().post(
            "/api/v1/terminals/current/heartbeat",
            json={"queue_length": 1, "bundle_sequence": 8, "clock": rfc3339(clock.now())},
            headers=till.headers,
        )
        said = answer.get_json()
        assert said["commands"] == ["sync", "fetch-bundle"]
        assert abs(said["clock_offset_seconds"]) <= 1


class TestAlarms:
    def test_a_terminal_in_good_order_has_none(self, now: datetime) -> None:
        gate = make_gate()
        beat(gate, now, queue_length=0, clock=now + 15 * SECOND, bundle_sequence=1)
        assert alarms(gate, now + 5 * MINUTE - SECOND) == {}

    def test_silent(self, now: datetime) -> None:
        gate = make_gate()
        assert alarms(gate, now) == {}, "never heard of, never missed"
        beat(gate, now)
        assert alarms(gate, now + 5 * MINUTE) == {"silent": now}

    def test_clock_off(self, now: datetime) -> None:
        gate = make_gate()
        for minute in (0, 1):
            at = now + minute * MINUTE
            beat(gate, at, clock=at - timedelta(seconds=15, milliseconds=1))
            assert alarms(gate, at) == {"clock-off": now}
        beat(gate, now + 2 * MINUTE, clock=now + 2 * MINUTE)
        assert alarms(gate, now + 2 * MINUTE) == {}

    def test_queue_stuck(self, now: datetime) -> None:
        gate = make_gate()
        for minute in (0, 4, 8, 12):
            assert alarms(gate, now + minute * MINUTE) == {}
            beat(gate, now + minute * MINUTE, queue_length=1)
        assert alarms(gate, now + 15 * MINUTE) == {"queue-stuck": now}
        beat(gate, now + 16 * MINUTE, queue_length=0)
        assert alarms(gate, now + 16 * MINUTE) == {}

    def test_sequence_gap(self, now: datetime) -> None:
        gate = make_gate()
        gap(gate, [9, 7, 7], now)
        gap(gate, [7], now + MINUTE)
        assert alarms(gate, now + MINUTE) == {"sequence-gap": now}
        gap(gate, [], now + 2 * MINUTE)
        assert alarms(gate, now + 2 * MINUTE) == {}
        with transaction() as session:
            assert session.get_one(Terminal, gate.id).missing_sequences is None

    def test_of_who_is_out_of_service_only_gaps(self, now: datetime) -> None:
        gate = make_gate()
        beat(gate, now, queue_length=1, clock=now - MINUTE)
        gap(gate, [3], now)
        later = now + 20 * MINUTE
        assert set(alarms(gate, later)) == {kind.value for kind in AlarmKind}
        with transaction() as session:
            service.revoke(session, terminal_id=gate.id, actor=SYSTEM, now=now)
        assert alarms(gate, later) == {"sequence-gap": now}

    def test_nobodys_gap(self, now: datetime) -> None:
        with pytest.raises(NotFound), transaction() as session:
            note_gap(session, new_id(), missing=[1], now=now)
        with pytest.raises(NotFound):
            bundle(new_id(), 1, now)

    def test_come_oldest_first(self, now: datetime) -> None:
        for minutes in (7, 9, 8):
            beat(make_gate(), now - minutes * MINUTE)
        with transaction() as session:
            since = [alarm.since for alarm in list_alarms(session, now=now)]
        assert since == sorted(since)
        assert len(since) >= 3


class TestInformed:
    """Which terminals refuse a card that was reported lost."""

    @pytest.fixture
    def informed(self) -> Callable[..., dict[str, Any]]:
        """Ask about one terminal."""

        def ask(device: Device, reported_at: datetime, now: datetime) -> dict[str, Any]:
            with transaction() as session:
                answer = service.terminals_informed(session, reported_at=reported_at, now=now)
            (own,) = [item for item in answer if item["terminal_id"] == str(device.id)]
            assert own.keys() == {
                "terminal_id", "kind", "place", "has_it", "since", "offline_since",
            }  # fmt: skip
            return own

        return ask

    def test_one_without_a_bundle_decides_nothing_alone(
        self, informed: Callable[..., dict[str, Any]], now: datetime
    ) -> None:
        gate, reported = make_gate(), now + MINUTE  # enrolled before, however fast this is
        beat(gate, now - 60 * MINUTE)
        said = informed(gate, reported, reported + MINUTE)
        assert (said["has_it"], said["since"]) == (True, rfc3339(reported))
        assert said["offline_since"] is None

    def test_one_that_was_given_a_bundle_may_hold_it(
        self, informed: Callable[..., dict[str, Any]], now: datetime
    ) -> None:
        gate = make_gate()
        beat(gate, now - 60 * MINUTE)
        bundle(gate.id, 1, now - 60 * MINUTE)
        assert informed(gate, now, now)["has_it"] is False

    def test_one_that_is_online_asks(
        self, informed: Callable[..., dict[str, Any]], now: datetime
    ) -> None:
        gate = make_gate()
        beat(gate, now - MINUTE, bundle_sequence=1)
        at_the_edge = informed(gate, now, now + MINUTE)
        assert (at_the_edge["has_it"], at_the_edge["since"]) == (True, rfc3339(now))
        gone = informed(gate, now, now + MINUTE + SECOND)
        assert (gone["has_it"], gone["since"]) == (False, None)
        assert gone["offline_since"] == rfc3339(now - MINUTE)

    def test_one_that_comes_back_has_it_from_then_on(
        self, informed: Callable[..., dict[str, Any]], now: datetime
    ) -> None:
        gate = make_gate()
        beat(gate, now - 60 * MINUTE, bundle_sequence=1)
        assert informed(gate, now, now)["offline_since"] == rfc3339(now - 60 * MINUTE)
        back = now + 10 * MINUTE
        for minute in (0, 1):
            beat(gate, back + minute * MINUTE)
            said = informed(gate, now, back + minute * MINUTE)
            assert (said["has_it"], said["since"]) == (True, rfc3339(back))

    def test_one_that_took_a_newer_bundle_along_has_it(
        self, informed: Callable[..., dict[str, Any]], now: datetime
    ) -> None:
        gate, later = make_gate(), now + 60 * MINUTE
        for sequence, issued_at, has_it in (
            (1, now - MINUTE, False),
            (2, now + service.COMMITTED_WITHIN - SECOND, False),
            (3, now + service.COMMITTED_WITHIN, True),
        ):
            bundle(gate.id, sequence, issued_at)
            beat(gate, now + sequence * MINUTE, bundle_sequence=sequence)
            said = informed(gate, now, later)
            assert said["has_it"] is has_it
            assert said["since"] == (rfc3339(now + 3 * MINUTE) if has_it else None)

    def test_who_is_not_in_service_is_not_named(self, now: datetime) -> None:
        gate = make_gate()
        with transaction() as session:
            service.revoke(session, terminal_id=gate.id, actor=SYSTEM, now=now)
            answer = service.terminals_informed(session, reported_at=now, now=now)
        assert str(gate.id) not in {item["terminal_id"] for item in answer}
