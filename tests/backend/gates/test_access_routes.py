"""What staff decide about gates, over the application's HTTP."""

import secrets
from collections.abc import Callable
from typing import Any

import pyotp
import pytest
from factories import Bound, Device, make_gate, make_holder, make_till
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from backend import clock
from backend.db import transaction
from backend.gates.models import GateSettings
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operators import service as operators
from backend.operators.models import Role

API = "/api/v1"
RULE = {"allow": True, "category": "staff", "from": "22:00", "until": "06:00", "days": [5, 6]}
WHOLE = {
    "allow": True, "category": None, "unit": None, "holder_numbers": None,
    "days": [1, 2, 3, 4, 5, 6, 7], "from": "00:00", "until": "24:00",
}  # fmt: skip
SETTINGS = {"offline": "closed", "passback_minutes": 5, "default": "deny", "rules": [RULE]}


class Desk:
    """One person of the staff, logged in."""

    def __init__(self, client: FlaskClient, parts: Parts, role: Role) -> None:
        self.client, self.username = client, f"staff-{secrets.token_hex(4)}"
        secret, password = pyotp.random_base32(), secrets.token_urlsafe()
        with transaction() as session:
            operators.add_operator(
                session, username=self.username, role=role, password=password,
                totp_secret=secret, sealer=parts.sealer,
            )  # fmt: skip
            session.flush()
            self.token, _, _ = operators.log_in(
                session, username=self.username, password=password,
                totp=pyotp.TOTP(secret).at(clock.now()), sealer=parts.sealer, now=clock.now(),
            )  # fmt: skip

    def ask(self, method: str, path: str, said: Any = None) -> tuple[int, Any]:
        """Send one request; return status and JSON."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = self.client.open(f"{API}/staff{path}", method=method, json=said, headers=headers)
        return answer.status_code, answer.get_json(silent=True)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def desk(client: FlaskClient, parts: Parts) -> Callable[..., Desk]:
    return lambda role=Role.LOGISTICS: Desk(client, parts, role)


@pytest.fixture
def gate(app: Flask) -> Device:
    return make_gate()


@pytest.fixture
def holder(parts: Parts) -> Bound:
    return make_holder(parts)


def path(gate: Device) -> str:
    return f"/gates/{gate.id}/access"


def versions(gate: Device) -> int:
    with transaction() as session:
        return session.scalar(
            select(func.count()).where(GateSettings.terminal_id == gate.id)
        ) or 0  # fmt: skip


def written() -> int:
    """Return how much stands in the operation log and in the settings of all gates."""
    with transaction() as session:
        counts = (session.scalar(select(func.count(of.id))) or 0 for of in (LogEntry, GateSettings))
        return sum(counts)


class TestAccess:
    def test_is_as_shipped_until_something_is_decided(self, desk, gate: Device) -> None:
        status, said = desk().ask("GET", path(gate))
        assert status == 200
        assert said == {
            "terminal_id": str(gate.id), "place": gate.caller.place, "version": 0, "since": None,
            "offline": "signed", "passback_minutes": 0, "default": "allow", "rules": [],
        }  # fmt: skip

    def test_is_put_in_force_whole_and_read_again(self, desk, gate: Device, holder: Bound) -> None:
        staff = desk()
        rules = [RULE, {"allow": False, "holder_numbers": [holder.number]}]
        first = staff.ask("PUT", path(gate), SETTINGS | {"rules": rules})
        assert first[0] == 200
        assert first[1]["version"] == 1
        assert first[1]["rules"] == [
            WHOLE | RULE, WHOLE | {"allow": False, "holder_numbers": [holder.number]}
        ]  # fmt: skip
        assert staff.ask("GET", path(gate)) == first
        kept = ("offline", "passback_minutes", "default", "rules")
        again = {name: first[1][name] for name in kept}
        assert staff.ask("PUT", path(gate), again) == first
        assert versions(gate) == 1
        changed = staff.ask("PUT", path(gate), SETTINGS | {"rules": []})
        assert (changed[1]["version"], changed[1]["rules"]) == (2, [])

    def test_decides_at_the_gate(
        self, client: FlaskClient, desk, gate: Device, holder: Bound
    ) -> None:
        desk().ask("PUT", path(gate), SETTINGS)

        def put() -> Any:
            code = client.post(
                f"{API}/me/codes", json={"scope": "gate"}, headers=holder.headers
            ).get_json()["codes"][0]["text"]
            said = {"code": code, "direction": "in"}
            return client.put(f"{API}/passages/{new_id()}", json=said, headers=gate.headers)

        said = put().get_json()
        assert (said["decision"], said["reason"]) == ("deny", "access-not-allowed")
        assert (said["opens_at"], said["hours_today"]) == (None, None)
        assert said["display"]["line1"] == "没有通行权限"
        tomorrow = clock.now().astimezone(clock.SHANGHAI).isoweekday() % 7 + 1
        other_day = [{"allow": True, "days": [tomorrow], "from": "08:00", "until": "22:00"}]
        desk().ask("PUT", path(gate), SETTINGS | {"rules": other_day})
        said = put().get_json()
        assert said["reason"] == "access-outside-hours"
        assert said["hours_today"] == "—"
        assert said["opens_at"].endswith("T00:00:00.000Z")
        assert "08:00" in said["display"]["line2"]

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"offline": "shut"}, "offline"),
            ({"default": None}, "default"),
            ({"passback_minutes": -1}, "passback_minutes"),
            ({"passback_minutes": 1441}, "passback_minutes"),
            ({"passback_minutes": 1.5}, "passback_minutes"),
            ({"rules": None}, "rules"),
            ({"rules": [RULE] * 101}, "rules"),
            ({"rules": [RULE | {"days": []}]}, "rules"),
            ({"rules": [RULE | {"days": [0]}]}, "rules"),
            ({"rules": [RULE | {"days": ["1"]}]}, "rules"),
            ({"rules": [RULE | {"from": "24:00"}]}, "rules"),
            ({"rules": [RULE | {"from": "8:00"}]}, "rules"),
            ({"rules": [RULE | {"until": "24:01"}]}, "rules"),
            ({"rules": [RULE | {"until": "12:00\n"}]}, "rules"),
            ({"rules": [RULE | {"category": "cat"}]}, "rules"),
            ({"rules": [RULE | {"unit": ""}]}, "rules"),
            ({"rules": [RULE | {"unit": "\x00"}]}, "rules"),
            ({"rules": [RULE | {"holder_numbers": []}]}, "rules"),
            ({"rules": [RULE | {"holder_numbers": ["x"] * 501}]}, "rules"),
            ({"rules": [{"category": "staff"}]}, "rules"),
            ({"rules": [RULE | {"id": "1"}]}, "rules"),
            ({"fee_fen": 1}, "fee_fen"),
        ],
    )
    def test_is_refused_where_it_does_not_fit(
        self, desk, gate: Device, wrong: dict[str, Any], field: str
    ) -> None:
        status, said = desk().ask("PUT", path(gate), SETTINGS | wrong)
        assert (status, said["code"], list(said["errors"])) == (422, "validation-failed", [field])
        assert versions(gate) == 0

    def test_is_refused_for_people_whom_nobody_knows(
        self, desk, gate: Device, holder: Bound
    ) -> None:
        rules = [RULE | {"holder_numbers": [holder.number, "ghost"]}]
        for method, where, said in (
            ("PUT", path(gate), SETTINGS | {"rules": rules}),
            ("POST", f"{path(gate)}/dry-run", {"settings": SETTINGS | {"rules": rules}}),
        ):
            status, refused = desk().ask(method, where, said)
            assert (status, refused["code"]) == (422, "holder-numbers-unknown")
            assert refused["unknown"] == ["rules.0.holder_numbers.1"]
            assert "ghost" not in str(refused)
        assert versions(gate) == 0

    def test_is_for_those_who_answer_for_gates(self, desk, gate: Device) -> None:
        trial = f"{path(gate)}/dry-run"
        for role in Role:
            staff = desk(role)
            got = [
                staff.ask("GET", path(gate))[0],
                staff.ask("POST", trial, {})[0],
                staff.ask("PUT", path(gate), SETTINGS)[0],
            ]
            if role in (Role.CARD_CENTRE, Role.LOGISTICS):
                assert got == [200, 200, 200]
            else:
                assert got == ([200, 200, 403] if role is Role.AUDITOR else [403] * 3)

    def test_is_of_gates_that_exist(self, desk) -> None:
        staff = desk()
        for stranger in (make_till().id, new_id()):
            where = f"/gates/{stranger}/access"
            for method, below, said in (
                ("GET", "", None), ("PUT", "", SETTINGS), ("POST", "/dry-run", {}),
            ):  # fmt: skip
                assert staff.ask(method, where + below, said)[0] == 404


class TestDryRun:
    def test_tells_who_would_be_refused_and_writes_nothing(
        self, desk, gate: Device, parts: Parts
    ) -> None:
        unit, staff = secrets.token_hex(4), desk()
        people = [make_holder(parts, unit=unit, name="欧阳晓明") for _ in range(2)]
        before = written()
        rules = [{"allow": False, "unit": unit, "from": "23:00", "until": "06:00"}]
        body = {
            "at": "2026-09-21T23:30:00+08:00",
            "settings": SETTINGS | {"default": "allow", "rules": rules},
        }
        status, said = staff.ask("POST", f"{path(gate)}/dry-run", body)
        assert status == 200
        assert (said["at"], said["refused"]) == ("2026-09-21T15:30:00.000Z", 2)
        assert said["people"] >= 2
        why = "access-outside-hours"
        assert said["by_unit"] == [{"unit": unit, "reason": why, "count": 2}]
        assert said["by_category"] == [{"category": "student", "reason": why, "count": 2}]
        assert [item["holder_number"] for item in said["items"]] == sorted(
            person.number for person in people
        )
        assert {item["opens_at"] for item in said["items"]} == {"2026-09-21T22:00:00.000Z"}
        assert "晓明" not in str(said)
        assert written() == before

    def test_tries_the_present_rules_now_unless_told_otherwise(
        self, desk, gate: Device, holder: Bound
    ) -> None:
        staff = desk()
        assert staff.ask("POST", f"{path(gate)}/dry-run", {})[1]["refused"] == 0
        staff.ask("PUT", path(gate), SETTINGS | {"rules": []})
        said = staff.ask("POST", f"{path(gate)}/dry-run", {})[1]
        assert said["refused"] == said["people"] > 0

    @pytest.mark.parametrize(
        "at",
        ["", "now", "2026-09-21", "2026-09-21T23:30:00", "0001-01-01T00:00:00Z",
         "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", 0, None],
    )  # fmt: skip
    def test_names_a_moment_that_is_none(self, desk, gate: Device, at: Any) -> None:
        status, said = desk().ask("POST", f"{path(gate)}/dry-run", {"at": at})
        assert (status, list(said["errors"])) == (422, ["at"])


class TestEmergencies:
    def test_is_declared_listed_and_ended(self, desk, gate: Device) -> None:
        staff = desk()
        said = {"terminal_id": str(gate.id), "reason": "消防演练", "minutes": 30}
        status, made = staff.ask("POST", "/emergencies", said)
        assert (status, made["place"], made["lasts"]) == (201, gate.caller.place, True)
        assert (made["declared_by"], made["ended_at"]) == (staff.username, None)
        listed = staff.ask("GET", "/emergencies?limit=1")[1]
        assert listed["items"] == [made]
        for _ in range(2):
            assert staff.ask("DELETE", f"/emergencies/{made['id']}") == (204, None)
        ended = staff.ask("GET", "/emergencies?limit=1")[1]["items"][0]
        assert ended["lasts"] is False
        assert ended["ended_at"] is not None

    def test_at_all_gates_opens_the_way_out_and_no_way_in(
        self, client: FlaskClient, desk, gate: Device
    ) -> None:
        staff = desk(Role.CARD_CENTRE)
        made = staff.ask("POST", "/emergencies", {"reason": "停电", "minutes": 1})[1]
        assert (made["terminal_id"], made["place"]) == (None, None)

        def decided(direction: str) -> Any:
            said = {"code": "nonsense", "direction": direction}
            where = f"{API}/passages/{new_id()}"
            return client.put(where, json=said, headers=gate.headers).get_json()

        out, into = decided("out"), decided("in")
        staff.ask("DELETE", f"/emergencies/{made['id']}")
        assert (out["decision"], out["reason"]) == ("allow", "code-malformed")
        assert out["display"]["line1"] == "请尽快离开"
        assert (into["decision"], into["reason"]) == ("deny", "code-malformed")
        assert decided("out")["decision"] == "deny"

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [({"minutes": 0}, "minutes"), ({"minutes": 10081}, "minutes"),
         ({"minutes": "5"}, "minutes"),
         ({"reason": ""}, "reason"), ({"reason": "x" * 201}, "reason"),
         ({"reason": "\x00"}, "reason"), ({"terminal_id": "x"}, "terminal_id")],
    )  # fmt: skip
    def test_names_what_does_not_fit(self, desk, wrong: dict[str, Any], field: str) -> None:
        status, said = desk().ask("POST", "/emergencies", {"reason": "x", "minutes": 5} | wrong)
        assert (status, list(said["errors"])) == (422, [field])

    def test_is_of_gates_and_emergencies_that_exist(self, desk) -> None:
        staff = desk()
        for stranger in (make_till().id, new_id()):
            said = {"terminal_id": str(stranger), "reason": "x", "minutes": 5}
            assert staff.ask("POST", "/emergencies", said)[0] == 404
        assert staff.ask("DELETE", f"/emergencies/{new_id()}")[0] == 404

    def test_is_declared_by_those_who_answer_for_gates(self, desk, gate: Device) -> None:
        said = {"terminal_id": str(gate.id), "reason": "x", "minutes": 1}
        for role in Role:
            staff, may = desk(role), role in (Role.CARD_CENTRE, Role.LOGISTICS)
            looks = may or role is Role.AUDITOR
            assert staff.ask("POST", "/emergencies", said)[0] == (201 if may else 403)
            assert staff.ask("GET", "/emergencies")[0] == (200 if looks else 403)
            ended = staff.ask("DELETE", f"/emergencies/{new_id()}")[0]
            assert ended == (404 if may else 403)
