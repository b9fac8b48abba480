"""The page of refunds: how much, of which top-ups, why not the rest, and one id for one refund."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser

PAGE = ".wx-page:not([hidden])"


@pytest.fixture
def phone(open_phone) -> Page:
    page = open_phone("login=zhang&page=pages/refund/index")
    page.locator(f"{PAGE} [data-refundable]").wait_for()
    return page


@pytest.fixture
def tried(phone) -> list[str]:
    """Where the phone has put something since it was opened."""
    found: list[str] = []
    phone.on("request", lambda request: request.method == "PUT" and found.append(request.url))
    return found


def refund(state: str, *parts: tuple[str, str, int, str]) -> dict:
    return {
        "id": "r-1",
        "amount_fen": sum(part[2] for part in parts),
        "state": state,
        "requested_at": "2026-11-25T04:00:00Z",
        "parts": [
            {
                "top_up_id": id_,
                "channel": channel,
                "amount_fen": fen,
                "state": part,
                "settled_at": None,
            }
            for id_, channel, fen, part in parts
        ],
    }


def amount(phone: Page) -> Locator:
    return phone.locator(f'{PAGE} [data-field="amount"]')


def give(phone: Page, *, sure: bool = True) -> None:
    phone.locator(f'{PAGE} [data-action="refund"]').click()
    phone.get_by_role("button", name="退回" if sure else "取消", exact=True).click()


def asked(server) -> list[tuple[str, dict]]:
    return [(path, body) for method, path, body in server.asked if method == "PUT"]


class TestAmount:
    def test_is_all_that_can_go_back_and_says_where_to(self, phone):
        expect(phone.locator(f"{PAGE} [data-refundable]")).to_have_text("¥70.00")
        expect(amount(phone)).to_have_value("70.00")
        expect(phone.locator('[data-part="t-2"]')).to_contain_text("支付宝")
        expect(phone.locator('[data-part="t-2"]')).to_contain_text("¥20.00")
        expect(phone.locator('[data-part="t-1"]')).to_contain_text("¥50.00")

    def test_less_takes_the_newest_first(self, phone):
        amount(phone).fill("25.5")
        expect(phone.locator('[data-part="t-2"]')).to_contain_text("¥20.00")
        expect(phone.locator('[data-part="t-1"]')).to_contain_text("¥5.50")
        amount(phone).fill("3")
        expect(phone.locator('[data-part="t-2"]')).to_contain_text("¥3.00")
        expect(phone.locator('[data-part="t-1"]')).to_have_count(0)

    @pytest.mark.parametrize("text", ["70.01", "0", "1.234", "abc"])
    def test_what_is_none_cannot_be_sent(self, phone, text):
        amount(phone).fill(text)
        expect(phone.locator(f"{PAGE} .field-error")).to_contain_text("¥70.00")
        expect(phone.locator('[data-action="refund"]')).to_be_disabled()

    def test_what_stays_says_why(self, phone):
        expect(phone.locator("[data-rest=subsidy]")).to_contain_text("补贴不是充值")
        expect(phone.locator("[data-rest=too-old]")).to_contain_text("¥58.50")

    def test_a_refusal_says_why_and_asks_for_nothing(self, open_phone, server):
        server.refundable["reason"], server.arrears_fen = "arrears-open", 380
        page = open_phone("login=zhang&page=pages/refund/index")
        expect(page.locator('[data-stopped="arrears-open"]')).to_contain_text("¥3.80")
        expect(page.locator('[data-action="refund"]')).to_have_count(0)


class TestAsking:
    def test_is_confirmed_first(self, phone, server):
        give(phone, sure=False)
        assert asked(server) == []

    def test_a_lost_answer_is_asked_for_again_under_the_same_id(self, phone, tried):
        phone.route("**/api/v1/me/refunds/*", lambda route: route.fulfill(status=502))
        for _ in range(2):
            amount(phone).fill("12")
            give(phone)
            expect(phone.locator("[data-problem]")).to_be_visible()
            expect(phone.locator('[data-action="refund"]')).to_be_enabled()
        assert len(tried) == 2
        assert len(set(tried)) == 1
        assert re.search(r"/me/refunds/[0-9a-f-]{36}$", tried[0])

    def test_a_no_frees_the_id(self, phone, server, tried):
        for _ in range(2):
            amount(phone).fill("12")
            give(phone)
            expect(phone.locator('[data-problem="not-found"]')).to_be_visible()
        assert len(set(tried)) == len(tried) == 2
        assert asked(server)[0][1] == {"amount_fen": 1200}


class TestStates:
    @pytest.mark.parametrize(
        ("state", "word"),
        [
            ("processing", "处理中"),
            ("succeeded", "已退回"),
            ("returned", "退回失败，已回到余额"),
            ("abnormal", "渠道退不了，财务处理中"),
            ("paid_out", "已线下退款"),
        ],
    )
    def test_each_part_says_how_it_stands(self, open_phone, server, state, word):
        server.refunds = [refund("processing", ("t-1", "wechat", 1200, state))]
        page = open_phone("login=zhang&page=pages/refund/index")
        row = page.locator('[data-refund="r-1"]')
        expect(row.locator(f"[data-part-state={state}]")).to_have_text(word)
        expect(row).to_contain_text("¥12.00")

    def test_what_is_under_way_is_asked_about(self, open_phone, server):
        server.refunds = [refund("processing", ("t-1", "wechat", 1200, "processing"))]
        page = open_phone("login=zhang&page=pages/refund/index")
        page.locator("[data-part-state=processing]").wait_for()
        server.refunds = [refund("succeeded", ("t-1", "wechat", 1200, "succeeded"))]
        page.locator("[data-part-state=succeeded]").wait_for(timeout=10_000)


class TestElsewhere:
    def test_me_leads_here_and_tells_what_is_owed(self, open_phone, server):
        server.arrears_fen = 380
        page = open_phone("login=zhang&page=pages/me/index")
        expect(page.locator("[data-arrears]")).to_contain_text("¥3.80")
        page.locator('[data-action="refund"]').click()
        page.locator(f"{PAGE} [data-refundable]").wait_for()

    def test_nothing_owed_is_not_mentioned(self, open_phone):
        page = open_phone("login=zhang&page=pages/me/index")
        page.locator('[data-action="refund"]').wait_for()
        expect(page.locator("[data-arrears]")).to_have_count(0)
