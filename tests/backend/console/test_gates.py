"""The pages of gates, emergencies and offline money: what they show, and that nothing slips in."""

import re
import secrets
from html import unescape
from uuid import UUID

import pytest
from factories import Device, make_gate, make_holder, make_till, owners_transaction
from sqlalchemy import func, select

from backend import clock
from backend.charges.offline import exposure
from backend.db import transaction
from backend.gates import access, emergencies
from backend.gates.models import Decision, Emergency, GateSettings
from backend.gates.rules import WEEK, GateAccess, Rule
from backend.holders.models import Category
from backend.ids import new_id
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.policies.service import adopt_preset
from qr.rules import OfflinePolicy

SETTINGS = {"offline": "closed", "passback_minutes": "5", "default": "deny"}
NIGHT = {"from": "22:00", "until": "06:00"}
AT = {"at": "2026-09-21T23:30"}


def rule(number: int, **said: object) -> dict[str, object]:
    """Return the fields of one rule as the page sends them."""
    whole = {
        "allow": "allow", "category": "", "unit": "", "holder_numbers": "",
        "from": "00:00", "until": "24:00", "days": list("1234567"),
    }  # fmt: skip
    return {f"rule-{number}-{name}": value for name, value in (whole | said).items()}


def alert(page: str) -> str:
    """Return what a page says is wrong."""
    found = re.search(r'role="alert".*?</p>', page, re.DOTALL)
    assert found is not None
    return found[0]


def in_force(gate: Device) -> GateAccess:
    with transaction() as session:
        return access.access_of(session, terminal_id=gate.id)[1]


def versions() -> int:
    with transaction() as session:
        return session.scalar(select(func.count(GateSettings.id))) or 0


class TestGate:
    def test_is_decided_in_a_form(self, staff, parts) -> None:
        gate, person, holder = make_gate(), staff(Role.LOGISTICS), make_holder(parts)
        path = f"/console/gates/{gate.id}"
        assert gate.caller.place in person.get("/console/gates").text
        said = SETTINGS | AT | {
            **rule(0, category="student", unit=" 软件2401班 ", **NIGHT),
            **rule(1, allow=""),
            **rule(2, allow="deny", holder_numbers=f"{holder.number}，{holder.number}", days=["6"]),
        }  # fmt: skip
        answer = person.post(path, said)
        assert (answer.status_code, answer.location) == (303, f"{path}?saved=1")
        assert in_force(gate) == GateAccess(
            OfflinePolicy.CLOSED,
            5,
            Decision.DENY,
            (
                Rule(True, WEEK, 1320, 360, Category.STUDENT, "软件2401班"),
                Rule(False, frozenset({6}), holder_ids=frozenset({holder.id})),
            ),
        )
        page = person.get(answer.location).text
        assert "已保存" in page
        assert "第 1 版" in page
        assert f'value="{holder.number}"' in page
        assert 'value="22:00"' in page

    def test_sent_as_it_stands_changes_nothing(self, staff, parts) -> None:
        gate, person = make_gate(), staff()
        holder = make_holder(parts)
        wanted = GateAccess(
            OfflinePolicy.OPEN,
            0,
            Decision.ALLOW,
            (
                Rule(False, frozenset({7}), 60, 60, unit='"<x>&'),
                Rule(True, holder_ids=frozenset({holder.id})),
            ),
        )  # fmt: skip
        with transaction() as session:
            access.change(
                session, terminal_id=gate.id, wanted=wanted, actor=SYSTEM, now=clock.now()
            )
        page = person.get(f"/console/gates/{gate.id}").text
        form: dict[str, object] = {}
        for name, value in re.findall(r'<input name="([\w-]+)"[^>]* value="([^"]*)"', page):
            form[name] = unescape(value)
        for name, options in re.findall(
            r'<select name="([\w-]+)"[^>]*>(.*?)</select>', page, re.DOTALL
        ):
            chosen = re.search(r'value="([^"]*)" selected', options)
            form[name] = chosen[1] if chosen else ""
        for number in range(5):
            name = f"rule-{number}-days"
            form[name] = re.findall(rf'name="{name}" value="(\d)" checked', page)
        form |= {"passback_minutes": "0"} | AT
        assert person.post(f"/console/gates/{gate.id}", form).status_code == 303
        assert in_force(gate) == wanted
        with transaction() as session:
            settings, _ = access.access_of(session, terminal_id=gate.id)
        assert settings is not None
        assert settings.version == 1

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"passback_minutes": "x"}, "反潜回"),
            ({"passback_minutes": "²"}, "反潜回"),
            ({"passback_minutes": "9" * 5000}, "反潜回"),
            ({"offline": "x"}, "脱机策略"),
            ({"default": ""}, "缺省"),
            (rule(3, **{"from": "25:00"}), "规则 1 开始"),
            (rule(0, allow="") | rule(1, until=""), "规则 2 结束"),
            (rule(0, category="cat"), "规则 1 类别"),
            (rule(0, unit="x" * 65), "规则 1 班级"),
            (rule(0, unit="\x00"), "规则 1 班级"),
            (rule(0, days=[]), "规则 1 星期"),
            (rule(0, days=["8", "x"]), "规则 1 星期"),
            (rule(0, holder_numbers="ghost"), "规则 1 名单"),
            (rule(0, holder_numbers=" ".join(map(str, range(501)))), "规则 1 名单"),
        ],
    )
    @pytest.mark.parametrize("below", ["", "/dry-run"])
    def test_names_what_is_wrong_and_keeps_what_was_typed(self, staff, wrong, named, below) -> None:
        gate, before = make_gate(), versions()
        answer = staff().post(f"/console/gates/{gate.id}{below}", SETTINGS | AT | wrong)
        assert answer.status_code == 422
        assert named.rpartition(" ")[0] in alert(answer.text)
        assert named.rpartition(" ")[2] in alert(answer.text)
        assert "aria-invalid" in answer.text
        assert versions() == before

    @pytest.mark.parametrize("at", ["", "x", "0001-01-01T00:00", "9999-12-31T23:59", "\x00"])
    def test_a_moment_that_is_none_is_named(self, staff, at) -> None:
        answer = staff().post(f"/console/gates/{make_gate().id}/dry-run", SETTINGS | {"at": at})
        assert answer.status_code == 422
        assert "时刻" in alert(answer.text)

    def test_says_who_would_be_refused_and_writes_nothing(self, staff, parts) -> None:
        gate, unit, before = make_gate(), secrets.token_hex(4), versions()
        holder = make_holder(parts, unit=unit, name="欧阳晓明")
        shut = {"from": "23:00", "until": "06:00"}
        said = SETTINGS | AT | {"default": "allow"} | rule(0, allow="deny", unit=unit, **shut)
        page = staff(Role.AUDITOR).post(f"/console/gates/{gate.id}/dry-run", said).text
        assert holder.number in page
        assert "欧***" in page
        assert "晓明" not in page
        assert "不在开放时间" in page
        assert "2026-09-22 06:00:00" in page
        assert f'value="{unit}"' in page, "what was typed stays"
        assert versions() == before

    def test_is_of_gates_that_exist(self, staff) -> None:
        person = staff()
        for stranger in (make_till().id, new_id()):
            path = f"/console/gates/{stranger}"
            assert person.get(path).status_code == 404
            assert person.post(path, SETTINGS).status_code == 404
            assert person.post(f"{path}/dry-run", SETTINGS | AT).status_code == 404

    def test_the_auditor_looks_and_does_not_save(self, staff) -> None:
        gate = make_gate()
        page = staff(Role.AUDITOR).get(f"/console/gates/{gate.id}").text
        assert "试算" in page
        assert 'class="primary"' not in page


class TestEmergencies:
    def last(self) -> Emergency:
        with transaction() as session:
            return emergencies.list_all(session, before=None, limit=1)[0]

    def test_are_declared_shown_and_ended(self, staff) -> None:
        gate, person = make_gate(), staff(Role.LOGISTICS)
        said = {"terminal_id": str(gate.id), "reason": "<b>演练</b>", "minutes": "30"}
        assert person.post("/console/gates/emergencies", said).location == "/console/gates"
        made = self.last()
        assert (made.terminal_id, made.reason) == (gate.id, "<b>演练</b>")
        page = person.get("/console/gates").text
        assert "&lt;b&gt;演练&lt;/b&gt;" in page
        assert person.username in page
        end = f"/console/gates/emergencies/{made.id}/end"
        assert end in page
        assert end not in staff(Role.AUDITOR).get("/console/gates").text
        for _ in range(2):
            assert person.post(end).status_code == 303
        assert self.last().ended_at is not None
        assert end not in person.get("/console/gates").text

    @pytest.mark.parametrize(
        "wrong",
        [{"reason": ""}, {"reason": "x" * 201}, {"reason": "\x00"}, {"minutes": ""},
         {"minutes": "0"}, {"minutes": "1.5"}, {"minutes": "99999"}, {"minutes": "9" * 5000},
         {"terminal_id": "x"}],
    )  # fmt: skip
    def test_that_do_not_fit_are_not_declared(self, staff, wrong) -> None:
        person, before = staff(), self.count()
        said = {"terminal_id": "", "reason": "演练", "minutes": "5"} | wrong
        answer = person.post("/console/gates/emergencies", said)
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text
        assert self.count() == before

    def count(self) -> int:
        with transaction() as session:
            return session.scalar(select(func.count(Emergency.id))) or 0

    def test_are_of_gates_and_emergencies_that_exist(self, staff) -> None:
        person = staff()
        said = {"terminal_id": str(make_till().id), "reason": "演练", "minutes": "5"}
        assert person.post("/console/gates/emergencies", said).status_code == 404
        nobody = UUID(int=0)
        assert person.post(f"/console/gates/emergencies/{nobody}/end").status_code == 404


class TestOfflineMoney:
    def test_shows_the_worst_loss_the_caps_and_how_to_switch(self, staff) -> None:
        make_till()
        person = staff(Role.FINANCE)
        off = person.get("/console/offline-money").text
        assert 'class="loss">¥0.00<' in off
        assert "/console/policies/changes?preset=offline_money" in off
        with owners_transaction() as session:
            adopt_preset(session, "offline_money", document_number="图文7号", now=clock.now())
        try:
            with transaction() as session:
                stands = exposure(session, now=clock.now())
            on = person.get("/console/offline-money").text
        finally:
            with owners_transaction() as session:
                adopt_preset(session, "no_offline_money", document_number="test", now=clock.now())
        assert stands.worst_loss_fen > 0
        yuan = f"¥{stands.worst_loss_fen / 100:.2f}"
        assert f'class="loss alarm">{yuan}<' in on
        assert f"{stands.worst_loss_fen / 100:.2f} 元" in off
        assert "图文7号" in on
        assert "/console/policies/changes?preset=no_offline_money" in on
