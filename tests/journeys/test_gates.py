"""Who may pass where in the demo, at any hour of the day; and money without network, on or off."""

from datetime import UTC, datetime, timedelta

import pytest
from journeys.outsider import Demo

SCHOOL_TIME = timedelta(hours=8)
OPENS, CLOSES = 8, 22


class TestGates:
    @pytest.mark.parametrize("holder_number", ["20240102", "T1207", "L0301", "R0042"])
    def test_the_library_is_open_to_everybody(self, demo: Demo, holder_number: str):
        phone = demo.holder(holder_number)
        passed = demo.terminal("图书馆 正门").let_pass(phone.code("gate"))
        assert passed.body["decision"] == "allow", passed

    @pytest.mark.parametrize(
        ("holder_number", "reason"),
        [("20240201", None), ("T0881", None), ("L0301", "access-not-allowed")],
    )
    def test_the_dormitory_is_for_its_residents_and_staff(
        self, demo: Demo, holder_number: str, reason: str | None
    ):
        phone = demo.holder(holder_number)
        passed = demo.terminal("3号宿舍楼 大门").let_pass(phone.code("gate"))
        assert passed.body["reason"] == reason, passed

    def test_the_laboratory_keeps_hours_for_one_class(self, demo: Demo):
        gate = demo.terminal("实验楼 B座")
        other = gate.let_pass(demo.holder("20240201").code("gate"))
        assert other.body["reason"] == "access-not-allowed"
        before = (datetime.now(UTC) + SCHOOL_TIME).hour
        one = gate.let_pass(demo.holder("20240102").code("gate"))
        after = (datetime.now(UTC) + SCHOOL_TIME).hour
        allowed = {"allow" if OPENS <= hour < CLOSES else "deny" for hour in (before, after)}
        assert one.body["decision"] in allowed
        if one.body["decision"] == "deny":
            assert one.body["reason"] == "access-outside-hours"
            assert one.body["hours_today"] == "08:00–22:00"


class TestAdoptPreset:
    def test_needs_a_preset_and_a_paper(self, demo: Demo):
        for arguments in (
            ("nonsense", "--document", "图文〔2026〕8号"),
            ("offline_money",),
            ("offline_money", "--document", " "),
        ):
            refused = demo.campus_card("adopt-preset", *arguments)
            assert refused.returncode == 2, refused
            assert "Error" in refused.stderr

    def test_again_says_so_and_changes_nothing(self, demo: Demo):
        done = demo.campus_card("adopt-preset", "offline_money", "--document", "图文〔2026〕8号")
        assert done.returncode == 0, done
        assert done.stdout == "offline_money holds from now on, by 图文〔2026〕8号\n"
