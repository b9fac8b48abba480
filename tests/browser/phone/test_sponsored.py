"""The page of those who answer for temporary people: who they are, and that one leaves early."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

PAGE = ".wx-page:not([hidden])"
SPONSORED = "login=zhang&page=pages/sponsored/index"


def day(ahead: int) -> str:
    return f"{datetime.now(UTC) + timedelta(hours=8, days=ahead):%Y-%m-%d}"


def told(server: Any) -> list[tuple[str, Any]]:
    return [
        (path, body)
        for method, path, body in server.asked
        if method == "PUT" and path.startswith("/me/early-leavings/")
    ]


@pytest.fixture
def takes(server: Any) -> Any:
    """The server takes an early leaving: the list says so from then on."""
    ordinary = server.answer

    def answer(method: str, path: str, query: str, body: Any) -> tuple[int, Any]:
        if method == "PUT" and path.startswith("/me/early-leavings/"):
            if refused := server.refusals.get("PUT /me/early-leavings"):
                return refused[0], {"code": refused[1], "status": refused[0]}
            server.sponsored[0]["left_on"] = body["last_on"]
            return 201, {"id": path.rpartition("/")[2]} | body
        return ordinary(method, path, query, body)

    server.answer = answer
    return server


def open_sheet(page: Page) -> None:
    page.locator(f'{PAGE} [data-action="leave-early"]').first.click()
    expect(page.get_by_role("dialog")).to_contain_text("马师傅 提前离校")


class TestReaching:
    def test_is_for_staff(self, open_phone, server):
        server.category = "staff"
        page = open_phone("login=zhang&page=pages/me/index")
        page.locator(f'{PAGE} [data-action="sponsored"]').click()
        expect(page.locator(f"{PAGE} [data-person]")).to_have_count(2)

    def test_leads_no_student_there(self, open_phone):
        page = open_phone("login=zhang&page=pages/me/index")
        expect(page.locator(f'{PAGE} [data-action="closing"]')).to_be_visible()
        expect(page.locator(f'{PAGE} [data-action="sponsored"]')).to_have_count(0)

    def test_says_where_there_is_nobody(self, open_phone, server):
        server.sponsored = []
        page = open_phone(SPONSORED)
        expect(page.locator(f'{PAGE} [data-state="empty"]')).to_contain_text("没有在校的临时人员")


class TestLeavingEarly:
    def test_is_told_once_with_its_day_and_reason(self, open_phone, takes):
        page = open_phone(SPONSORED)
        expect(page.locator(f"{PAGE} [data-person]").last).to_contain_text("2099-03-01 后离校")
        expect(page.locator(f'{PAGE} [data-action="leave-early"]')).to_have_count(1)
        open_sheet(page)
        tell = page.locator('[data-action="tell-leaving"]')
        expect(tell).to_be_disabled()
        page.locator(f'[data-day="{day(1)}"]').click()
        page.locator('[data-field="reason"]').fill("合同提前结束")
        tell.click()
        expect(page.locator(f"{PAGE} [data-person]").first).to_contain_text(f"{day(1)} 后离校")
        expect(page.get_by_role("dialog")).to_have_count(0)
        [(path, said)] = told(takes)
        assert re.fullmatch("/me/early-leavings/[0-9a-f-]{36}", path)
        assert said == {
            "application_id": "a-1",
            "holder_id": "h-2",
            "last_on": day(1),
            "reason": "合同提前结束",
        }

    def test_is_asked_for_again_under_the_same_id(self, open_phone, takes):
        takes.refusals["PUT /me/early-leavings"] = (503, "service-unavailable")
        page = open_phone(SPONSORED)
        open_sheet(page)
        page.locator('[data-field="reason"]').fill("合同提前结束")
        page.locator('[data-action="tell-leaving"]').click()
        expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
        takes.refusals.clear()
        page.locator('[data-action="tell-leaving"]').click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert len({path for path, _ in told(takes)}) == 1

    def test_offers_only_days_before_the_last_one(self, open_phone, takes):
        takes.sponsored[0]["valid_until"] = day(2)
        page = open_phone(SPONSORED)
        open_sheet(page)
        expect(page.locator("[data-day]")).to_have_count(2)

    def test_is_not_needed_on_the_last_day(self, open_phone, takes):
        takes.sponsored[0]["valid_until"] = day(0)
        page = open_phone(SPONSORED)
        open_sheet(page)
        expect(page.get_by_role("dialog")).to_contain_text("不必再办理")
        expect(page.locator('[data-action="tell-leaving"]')).to_have_count(0)
