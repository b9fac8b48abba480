"""Terminals: enrolled once, known by a token that can be rolled and revoked."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from device import key_name
from factories import Device, make_gate, make_holder, make_terminal, make_till
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from backend import clock
from backend.clock import rfc3339
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM
from backend.operators.models import Operator, OperatorSession, OperatorState, Role
from backend.sealing import token_hash
from backend.terminals import heartbeats, service
from backend.terminals.models import Reader, Terminal, TerminalKind

pytestmark = pytest.mark.usefixtures("app")
API = "/api/v1"
STAFF = f"{API}/staff/terminals"
ALARMS = f"{API}/staff/terminal-alarms"
ROSTER = f"{API}/staff/roster-imports"
TOLD = ("known_by", "key_id", "queue_length", "last_sequence", "clock_offset_seconds",
        "bundle_sequence", "missing_sequences")  # fmt: skip
Headers = dict[str, str]


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def staff(parts: Parts) -> Callable[[Role], Headers]:
    """Make an operator of a role who is logged in; how they log in is tested elsewhere."""

    def make(role: Role) -> Headers:
        token, now = secrets.token_urlsafe(32), clock.now()
        operator = Operator(
            id=new_id(), username=secrets.token_hex(6), name="测试", role=role,
            state=OperatorState.ACTIVE, password_hash="", totp_sealed=b"", last_totp_step=0,
        )  # fmt: skip
        with transaction() as session:
            session.add(operator)
            session.flush()
            session.add(
                OperatorSession(
                    id=new_id(), token_hash=token_hash(token), operator_id=operator.id,
                    created_at=now, confirmed_at=now, used_at=now, ended_at=None,
                )
            )  # fmt: skip
        return {"Authorization": f"Bearer {token}"}

    return make


@pytest.fixture
def place() -> UUID:
    """A gate that nobody has enrolled."""
    with transaction() as session:
        return service.register(
            session,
            kind=TerminalKind.GATE,
            place=f"图书馆 {secrets.token_hex(4)}",
            reader=Reader.CAMERA,
            stall=None,
            actor=SYSTEM,
            now=clock.now(),
        ).id


def refusal(answer: TestResponse) -> tuple[int, str]:
    """Return status and code of a problem."""
    return answer.status_code, answer.get_json()["code"]


def bearer(token: str) -> Headers:
    """Return what the bearer of a token sends."""
    return {"Authorization": f"Bearer {token}"}


def current(client: FlaskClient, token: str) -> TestResponse:
    """Ask which terminal a token is."""
    return client.get(f"{API}/terminals/current", headers=bearer(token))


def invite(client: FlaskClient, headers: Headers, terminal_id: UUID) -> str:
    """Make an enrolment token."""
    answer = client.post(f"{STAFF}/{terminal_id}/enrolment-token", headers=headers)
    assert answer.status_code == 201
    life = datetime.fromisoformat(answer.get_json()["expires_at"]) - clock.now()
    assert timedelta(minutes=14) < life <= timedelta(minutes=15)
    token: str = answer.get_json()["enrolment_token"]
    return token


def enrol(client: FlaskClient, token: str) -> TestResponse:
    """Enrol as the terminal that a token names."""
    said = {"enrolment_token": token, "software": "gate 1.0"}
    return client.post(f"{API}/terminals/enrolments", json=said)


class TestEnrolment:
    def test_works_once(
        self, client: FlaskClient, staff: Callable[[Role], Headers], place: UUID
    ) -> None:
        invitation = invite(client, staff(Role.CARD_CENTRE), place)
        answer = enrol(client, invitation)
        assert answer.status_code == 201
        assert answer.get_json()["terminal_id"] == str(place)
        said = current(client, answer.get_json()["token"]).get_json()
        assert (said["terminal_id"], said["kind"], said["merchant"], said["stall"]) == (
            str(place), "gate", None, None,
        )  # fmt: skip
        assert refusal(enrol(client, invitation)) == (403, "enrolment-refused")

    def test_is_written_down_without_the_tokens(
        self, client: FlaskClient, staff: Callable[[Role], Headers], place: UUID
    ) -> None:
        invitation = invite(client, staff(Role.CARD_CENTRE), place)
        token = enrol(client, invitation).get_json()["token"]
        with transaction() as session:
            entries = session.scalars(
                select(LogEntry).where(LogEntry.subject_id == place).order_by(LogEntry.id)
            ).all()
            stored = session.get_one(Terminal, place)
        actions = ["terminal.register", "terminal.invite", "terminal.enrol"]
        assert [entry.action for entry in entries] == actions
        assert entries[1].actor.startswith("operator:")
        shown = repr([entry.facts for entry in entries])
        assert invitation not in shown
        assert token not in shown
        assert (stored.token_hash, stored.enrolment_hash) == (token_hash(token), None)

    def test_is_over_after_fifteen_minutes(
        self, client: FlaskClient, staff: Callable[[Role], Headers], place: UUID
    ) -> None:
        invitation = invite(client, staff(Role.CARD_CENTRE), place)
        with transaction() as session:
            session.execute(
                update(Terminal)
                .where(Terminal.id == place)
                .values(enrolment_expires_at=Terminal.enrolment_expires_at - service.ENROLMENT_LIFE)
            )
        assert refusal(enrol(client, invitation)) == (403, "enrolment-refused")

    def test_a_newer_invitation_kills_the_older(
        self, client: FlaskClient, staff: Callable[[Role], Headers], place: UUID
    ) -> None:
        centre = staff(Role.CARD_CENTRE)
        old, new = invite(client, centre, place), invite(client, centre, place)
        assert refusal(enrol(client, old)) == (403, "enrolment-refused")
        assert enrol(client, new).status_code == 201

    def test_a_new_device_shuts_the_old_one_out(
        self, client: FlaskClient, staff: Callable[[Role], Headers]
    ) -> None:
        gate, centre = make_gate(), staff(Role.CARD_CENTRE)
        invitation = invite(client, centre, gate.id)
        assert current(client, gate.token).status_code == 200, "an invitation alone changes nothing"
        assert enrol(client, invitation).status_code == 201
        assert refusal(current(client, gate.token)) == (401, "unauthenticated")

    @pytest.mark.parametrize("token", ["x", "' OR 1=1", "é" * 200])
    def test_nothing_else_enrols(self, client: FlaskClient, token: str) -> None:
        assert refusal(enrol(client, token)) == (403, "enrolment-refused")


class TestToken:
    def test_says_what_a_till_needs_to_show(self, client: FlaskClient) -> None:
        till = make_till()
        said = current(client, till.token).get_json()
        assert (said["merchant"], said["stall"]) == (till.caller.merchant, "1号窗")
        assert (said["reader"], said["place"]) == ("camera", till.caller.place)

    def test_rolling_kills_the_old_one_at_once(self, client: FlaskClient) -> None:
        till = make_till()
        answer = client.post(f"{API}/terminals/current/roll", headers=till.headers)
        assert answer.status_code == 200
        assert refusal(current(client, till.token)) == (401, "unauthenticated")
        assert current(client, answer.get_json()["token"]).status_code == 200

    def test_revoking_is_for_ever(
        self, client: FlaskClient, staff: Callable[[Role], Headers]
    ) -> None:
        gate, centre = make_gate(), staff(Role.CARD_CENTRE)
        invitation = invite(client, centre, gate.id)
        for _ in range(2):
            assert client.delete(f"{STAFF}/{gate.id}", headers=centre).status_code == 204
        assert refusal(current(client, gate.token)) == (401, "unauthenticated")
        assert refusal(enrol(client, invitation)) == (403, "enrolment-refused")
        again = client.post(f"{STAFF}/{gate.id}/enrolment-token", headers=centre)
        assert refusal(again) == (404, "not-found")

    def test_no_other_kind_of_token_is_a_terminals(
        self, client: FlaskClient, parts: Parts, staff: Callable[[Role], Headers]
    ) -> None:
        for headers in (make_holder(parts).headers, staff(Role.CARD_CENTRE)):
            answer = client.get(f"{API}/terminals/current", headers=headers)
            assert refusal(answer) == (401, "unauthenticated")

    @pytest.mark.parametrize(
        "header", ["", "Bearer", "Bearer ", "Basic eDp4", "Bearer " + "x" * 201, "Bearer \x80", "x"]
    )
    def test_a_header_without_a_token_is_refused(self, client: FlaskClient, header: str) -> None:
        answer = client.get(f"{API}/terminals/current", headers={"Authorization": header})
        assert refusal(answer) == (401, "unauthenticated")


class TestHeartbeat:
    def beat(self, client: FlaskClient, device: Device, **said: object) -> TestResponse:
        """Tell that a terminal is alive."""
        path = f"{API}/terminals/current/heartbeat"
        return client.post(path, json=said, headers=device.headers)

    def test_tells_the_time_and_is_noted(self, client: FlaskClient) -> None:
        till, before = make_till(), clock.now()
        said = {"queue_length": 3, "software": "till 2.0", "clock": "2026-09-01T00:00:00Z"}
        answer = self.beat(client, till, **said)
        assert (answer.status_code, answer.get_json()["commands"]) == (200, ["set-clock", "sync"])
        with transaction() as session:
            stored = session.get_one(Terminal, till.id)
        assert stored.software == "till 2.0"
        assert stored.last_seen_at is not None
        assert stored.last_seen_at >= before
        self.beat(client, till)
        with transaction() as session:
            assert session.get_one(Terminal, till.id).software == "till 2.0"

    @pytest.mark.parametrize(
        ("field", "value"),
        [("queue_length", -1), ("queue_length", "x"), ("queue_length", 10**30), ("clock", "now"),
         ("clock", "2026-09-01T00:00:00"), ("software", ""), ("battery", 1),
         ("last_sequence", 2**53), ("last_sequence", 1.5), ("bundle_sequence", -1),
         ("bundle_sequence", True)],
    )  # fmt: skip
    def test_names_the_field_that_does_not_fit(
        self, client: FlaskClient, field: str, value: object
    ) -> None:
        answer = self.beat(client, make_till(), **{field: value})
        assert (answer.status_code, list(answer.get_json()["errors"])) == (422, [field])


MAY = {
    ("GET", ALARMS): {Role.CARD_CENTRE, Role.LOGISTICS, Role.AUDITOR},
    ("GET", STAFF): {Role.CARD_CENTRE, Role.LOGISTICS, Role.AUDITOR},
    ("POST", f"{STAFF}/{{gate}}/enrolment-token"): {Role.CARD_CENTRE},
    ("DELETE", f"{STAFF}/{{gate}}"): {Role.CARD_CENTRE},
    ("POST", ROSTER): {Role.CARD_CENTRE, Role.ACADEMIC, Role.PERSONNEL},
}


class TestStaff:
    @pytest.mark.parametrize("role", list(Role))
    @pytest.mark.parametrize(("method", "path"), MAY)
    def test_may_do_what_their_role_covers(
        self,
        client: FlaskClient,
        staff: Callable[[Role], Headers],
        role: Role,
        method: str,
        path: str,
    ) -> None:
        answer = client.open(
            path.format(gate=make_gate().id),
            method=method,
            headers=staff(role),
            data=b"\xff" if path == ROSTER else None,
            content_type="text/csv" if path == ROSTER else None,
        )
        allowed = MAY[method, path]
        if role in allowed:
            assert answer.status_code in ({422} if path == ROSTER else {200, 201, 204})
        else:
            assert refusal(answer) == (403, "role-not-allowed")
            assert set(answer.get_json()["roles"]) == {role.value for role in allowed}

    def test_see_every_terminal_without_its_secrets(
        self, client: FlaskClient, staff: Callable[[Role], Headers]
    ) -> None:
        kiosk = make_terminal(TerminalKind.KIOSK)
        answer = client.get(STAFF, headers=staff(Role.AUDITOR))
        (item,) = [i for i in answer.get_json()["items"] if i["id"] == str(kiosk.id)]
        assert (item["kind"], item["place"], item["revoked_at"]) == (
            "kiosk", kiosk.caller.place, None,
        )  # fmt: skip
        assert not [key for key in item if "token" in key or "hash" in key or "public" in key]

    def test_see_what_is_wrong_and_by_what_a_terminal_is_known(
        self, client: FlaskClient, staff: Callable[[Role], Headers]
    ) -> None:
        key = Ed25519PrivateKey.generate()
        gate, auditor = make_gate(key=key), staff(Role.AUDITOR)
        long_ago = clock.now() - timedelta(hours=1)
        with transaction() as session:
            heartbeats.note_heartbeat(
                session, caller=gate.caller, now=long_ago, queue_length=2, last_sequence=8,
                clock=long_ago - timedelta(seconds=40), bundle_sequence=3,
            )  # fmt: skip
            heartbeats.note_gap(session, gate.id, missing=[5, 6], now=long_ago)
        (item,) = [
            item
            for item in client.get(STAFF, headers=auditor).get_json()["items"]
            if item["id"] == str(gate.id)
        ]
        assert {name: item[name] for name in TOLD} == {
            "known_by": "key", "key_id": key_name(key), "queue_length": 2, "last_sequence": 8,
            "clock_offset_seconds": -40, "bundle_sequence": 3, "missing_sequences": [5, 6],
        }  # fmt: skip
        alarms = client.get(ALARMS, headers=auditor).get_json()["items"]
        own = [alarm for alarm in alarms if alarm["terminal"]["id"] == str(gate.id)]
        assert {alarm["alarm"] for alarm in own} == set(heartbeats.AlarmKind)
        assert all(alarm["terminal"] == item for alarm in own)
        assert {alarm["since"] for alarm in own} == {rfc3339(long_ago)}

    def test_a_terminal_that_is_not_there(
        self, client: FlaskClient, staff: Callable[[Role], Headers]
    ) -> None:
        centre = staff(Role.CARD_CENTRE)
        assert refusal(client.delete(f"{STAFF}/{new_id()}", headers=centre)) == (404, "not-found")
        assert refusal(client.delete(f"{STAFF}/not-an-id", headers=centre)) == (404, "not-found")

    def test_holders_and_terminals_are_no_staff(self, client: FlaskClient, parts: Parts) -> None:
        for headers in ({}, make_holder(parts).headers, make_till().headers):
            assert refusal(client.get(STAFF, headers=headers)) == (401, "unauthenticated")

    def test_import_a_roster(
        self, client: FlaskClient, staff: Callable[[Role], Headers], parts: Parts
    ) -> None:
        person = secrets.token_hex(5)
        feed = (
            "学工号,姓名,类别,单位,证件号码,有效期至\n"
            f"{person},王小明,学生,软件2401班,E{person},2029-07-01\n"
            "x,王小明,老师,软件2401班,E12345678,2029-07-01\n"
        ).encode("gb18030")
        faults = [{"row": 3, "column": "category", "fault": "unknown"}]
        for query, counts in (
            ("?dry_run=true", (1, 0)), ("", (1, 0)), ("?dry_run=false", (0, 1)),
        ):  # fmt: skip
            answer = client.post(
                ROSTER + query, data=feed, content_type="text/csv", headers=staff(Role.ACADEMIC)
            )
            said = answer.get_json()
            assert answer.status_code == 200
            assert (said["rows"], said["added"], said["unchanged"]) == (2, *counts)
            assert said["faults"] == faults

    def test_a_roster_that_cannot_be_read(
        self, client: FlaskClient, staff: Callable[[Role], Headers]
    ) -> None:
        headers = staff(Role.PERSONNEL)
        for body in (b"", b"PK\x03\x04garbage", b"\xff\xff", b"<html>"):
            answer = client.post(ROSTER, data=body, content_type="text/csv", headers=headers)
            assert refusal(answer) == (422, "roster-unreadable")
            assert answer.get_json()["fault"]
        answer = client.post(
            ROSTER, data=bytes(2 * 1024 * 1024 + 1), content_type="text/csv", headers=headers
        )
        assert refusal(answer) == (413, "body-too-large")

    @pytest.mark.parametrize("media_type", [None, "application/json", "text/plain"])
    def test_a_roster_that_does_not_say_what_it_is(
        self, client: FlaskClient, staff: Callable[[Role], Headers], media_type: str | None
    ) -> None:
        answer = client.post(
            ROSTER, data="学工号".encode(), content_type=media_type, headers=staff(Role.PERSONNEL)
        )
        assert refusal(answer) == (415, "media-type-not-supported")
