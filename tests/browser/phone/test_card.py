"""The card page: a loss is reported, and the phone says which terminals refuse it by now."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

PLACES = ("第一食堂 1号窗", "图书馆东门", "校门2号")


def terminal(place, *, offline_since=None):
    """Return what the server says of one terminal."""
    return {
        "terminal_id": place,
        "kind": "gate",
        "place": place,
        "has_it": offline_since is None,
        "since": None if offline_since else "2026-11-23T04:05:00Z",
        "offline_since": offline_since,
    }


@pytest.fixture
def reported(server):
    """Let a report be answered while one gate is offline; later it is back."""
    away = {"校门2号": "2026-11-23T03:02:00Z"}
    ordinary = server.answer

    def answer(method, path, query, body):
        if not path.startswith("/me/loss-reports/"):
            return ordinary(method, path, query, body)
        found = [terminal(place, offline_since=away.get(place)) for place in PLACES]
        away.clear()
        report = {
            "id": path.rpartition("/")[2],
            "credential": "physical_card",
            "reported_at": "2026-11-23T04:05:00Z",
            "physical_card_state": "lost",
            "virtual_card_state": "active",
            "terminals": found,
        }
        return (201 if method == "PUT" else 200), report

    server.answer = answer


@pytest.mark.usefixtures("reported")
class TestLoss:
    def report(self, page):
        """Report the physical card lost."""
        page.locator('[data-action="report-physical"]').click()
        page.locator('[data-action="confirm-report"]').click()
        return page.locator("[data-loss-report]")

    def test_names_who_is_offline_and_looks_again(self, open_phone, server):
        page = open_phone("login=zhang&page=pages/card/index")
        card = self.report(page)
        expect(card).to_contain_text("3 台终端中 2 台已停用；校门2号 自 11:02 起离线")
        gate = card.locator('[data-terminal="校门2号"]')
        expect(gate).to_have_attribute("data-has-it", "false")
        card.locator('[data-action="refresh"]').click()
        expect(card).to_contain_text("3 台终端中 3 台已停用")
        expect(card).not_to_contain_text("离线")
        expect(gate).to_contain_text("已停用 12:05")
        asked = [(method, path) for method, path, _ in server.asked if "loss-reports" in path]
        assert [method for method, _ in asked] == ["PUT", "GET"]
        assert asked[0][1] == asked[1][1]

    def test_says_it_in_english(self, open_phone):
        page = open_phone("login=zhang&page=pages/card/index", locale="en-GB")
        card = self.report(page)
        expect(card).to_contain_text("2 of 3 terminals refuse it; 校门2号 offline since 11:02")


class TestReplacement:
    @pytest.fixture
    def lost(self, server):
        """Let the physical card be lost, and a new one cost so much."""
        ordinary = server.answer
        told = {"short_fen": 0, "request": None, "reason": None}
        quote = {"fee_fen": 2000, "balance_fen": 1999, "arrears_fen": 0, "policy_ids": []}

        def answer(method, path, query, body):
            if path == "/me":
                return 200, server.me() | {
                    "physical_card": server.me()["physical_card"] | {"state": "lost"}
                }
            if path == "/me/replacements":
                return 200, {
                    "quote": quote | {"short_fen": told["short_fen"]},
                    "reason": told["reason"],
                    "request": told["request"],
                }
            if path.startswith("/me/replacements/"):
                asked = {"id": path.rpartition("/")[2], "fee_fen": 2000, "cause": "lost"}
                told["request"] = asked if method == "PUT" else None
                return (201 if method == "PUT" else 200), asked
            return ordinary(method, path, query, body)

        server.answer = answer
        return told

    def test_is_asked_for_and_taken_back(self, open_phone, server, lost):
        page = open_phone("login=zhang&page=pages/card/index")
        card = page.locator("[data-replacement]")
        expect(card).to_contain_text("工本费 ¥20.00")
        card.locator('[data-action="replace"]').click()
        page.locator('[data-action="confirm-replace"]').click()
        expect(card).to_have_attribute("data-replacement", "requested")
        expect(card).to_contain_text("请带身份证件到卡务中心领取")
        card.locator('[data-action="cancel-replacement"]').click()
        expect(card).to_have_attribute("data-replacement", "possible")
        asked = [(method, path) for method, path, _ in server.asked if "/replacements/" in path]
        assert [method for method, _ in asked] == ["PUT", "DELETE"]
        assert asked[0][1] == asked[1][1]

    def test_names_what_is_missing_and_leads_to_topping_up(self, open_phone, lost):
        lost["short_fen"] = 1
        page = open_phone("login=zhang&page=pages/card/index", locale="en-GB")
        card = page.locator("[data-replacement]")
        expect(card).to_contain_text("A new card costs ¥20.00; your balance is ¥0.01 short.")
        card.locator('[data-action="top-up"]').click()
        expect(page.locator(".wx-page:not([hidden])")).to_have_attribute(
            "data-page", "pages/topup/index"
        )

    def test_is_not_offered_where_there_can_be_none(self, open_phone, lost):
        lost["reason"] = "account-closed"
        page = open_phone("login=zhang&page=pages/card/index")
        expect(page.locator('[data-action="restore"]')).to_be_visible()
        expect(page.locator("[data-replacement]")).to_have_count(0)
