"""The page of closing (销户): what it means before, asking, how far it is, the receipt, and every
other page that says so."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

PAGE = ".wx-page:not([hidden])"
CLOSING = "login=zhang&page=pages/closing/index"


def check(name: str, *, stands: bool = False, **facts: Any) -> dict[str, Any]:
    return {"check": name, "stands": stands, "waived": False, "facts": facts}


CHECKS = [
    check("arrears", arrears_fen=0, short_fen=0),
    check("unpaid-orders", count=0),
    check("refunds-under-way", count=0),
    check("reviews", count=0),
    check("waiting", stands=True, wait_until="2026-11-28T04:00:00Z"),
]


class School:
    """What the server says where the school takes requests from phones."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.ordinary, self.ordinary_me = server.answer, server.me
        server.answer, server.me = self.answer, self.me
        self.closing: dict[str, Any] | None = None
        self.card_state = "active"
        self.preview = {
            "reason": None,
            "checks": CHECKS,
            "to_source": [{"channel": "wechat", "amount_fen": 7000}],
            "to_list_fen": 5850,
            "owed_fen": 0,
            "subsidy_fen": 3000,
        }

    @property
    def asked(self) -> list[Any]:
        return self.server.asked

    @property
    def refusals(self) -> dict[str, tuple[int, str]]:
        return self.server.refusals

    def me(self) -> dict[str, Any]:
        said = self.ordinary_me()
        for card in ("physical_card", "virtual_card"):
            said[card]["state"] = self.card_state
        return said

    def close(self, path: str, **more: Any) -> dict[str, Any]:
        """Start to close the account; `more` says how far it is."""
        self.card_state = "closing"
        self.closing = {
            "id": path.rpartition("/")[2],
            "kind": "own_request",
            "state": "started",
            "started_at": "2026-11-25T04:00:00Z",
            "wait_until": "2026-11-28T04:00:00Z",
            "closed_at": None,
            "balance_fen": 15850,
            "paid_fen": 0,
            "withdrawn_fen": 0,
            "parts": [],
            "checks": CHECKS,
            "may_withdraw": True,
            **more,
        }
        return self.closing

    def withdraw(self) -> dict[str, Any]:
        said = {**(self.closing or {}), "state": "cancelled", "may_withdraw": False}
        self.closing, self.card_state = None, "frozen"
        return said

    def claim(self, body: Any) -> dict[str, Any] | None:
        """Note how each line that may be claimed is to be got."""
        for part in (self.closing or {})["parts"]:
            if part["line_id"] == body["line_id"]:
                part["claim_way"] = body["way"]
        return self.closing

    def answer(self, method: str, path: str, query: str, body: Any) -> tuple[int, Any]:
        if path.startswith("/me/payout-claims/"):
            return 201, self.claim(body)
        if f"{method} {path}" in self.refusals or not path.startswith("/me/c"):
            return self.ordinary(method, path, query, body)
        if path == "/me/codes" and self.card_state in ("closing", "closed"):
            return 409, {"code": "account-closed", "status": 409}
        said = {
            "/me/closing/preview": lambda: self.preview,
            "/me/closing": lambda: self.closing,
        }.get(path)
        if path.startswith("/me/closings/"):
            said = self.withdraw if method == "DELETE" else lambda: self.close(path)
        if said is None:
            return self.ordinary(method, path, query, body)
        found = said()
        return (200, found) if found else (404, {"code": "not-found", "status": 404})


@pytest.fixture
def school(server) -> School:
    return School(server)


def asked(server) -> list[str]:
    return [path for method, path, _ in server.asked if method == "PUT" and "/closings/" in path]


class TestBefore:
    def test_says_what_goes_where_and_what_stands_against_it(self, open_phone, school):
        school.preview["checks"] = [
            check("arrears", stands=True, arrears_fen=1200, short_fen=380),
            check("unpaid-orders", stands=True, count=2),
            *CHECKS[2:],
        ]
        page = open_phone(CLOSING)
        expect(page.locator("[data-total]")).to_have_text("¥128.50")
        expect(page.locator("[data-goes=wechat]")).to_contain_text("原路退回微信支付")
        expect(page.locator("[data-goes=list]")).to_contain_text("¥58.50")
        expect(page.locator("[data-goes=subsidy]")).to_contain_text("不能退")
        expect(page.locator("[data-goes=owed]")).to_have_count(0)
        expect(page.locator("[data-check=arrears]")).to_contain_text("欠费 ¥12.00，余额还差 ¥3.80")
        expect(page.locator("[data-check=unpaid-orders]")).to_contain_text("2 笔充值未完成")
        expect(page.locator("[data-check=reviews]")).to_have_attribute("data-check-state", "ok")
        expect(page.locator("[data-check=waiting]")).to_contain_text("11-28 12:00")

    def test_sends_to_the_counter_where_the_school_takes_no_requests(self, open_phone, school):
        school.preview["reason"] = "own-closing-off"
        page = open_phone(CLOSING)
        expect(page.locator("[data-refused=own-closing-off]")).to_contain_text("卡务中心")
        expect(page.locator('[data-action="ask-closing"]')).to_have_count(0)

    def test_me_leads_here(self, open_phone, school):
        page = open_phone("login=zhang&page=pages/me/index")
        page.locator('[data-action="closing"]').click()
        expect(page.locator(f"{PAGE} [data-total]")).to_be_visible()


def ask(page: Page) -> None:
    page.locator('[data-action="ask-closing"]').click()
    page.locator('[data-action="confirm-closing"]').click()


class TestAsking:
    def test_says_first_what_it_does(self, open_phone, school):
        page = open_phone(CLOSING)
        page.locator('[data-action="ask-closing"]').click()
        sheet = page.locator("[data-sheet=closing]")
        expect(sheet).to_contain_text("立即停用")
        expect(sheet).to_contain_text("等待期到 11-28 12:00")
        expect(sheet).to_contain_text("冻结")
        assert asked(school) == []

    def test_shows_how_far_it_is(self, open_phone, school):
        page = open_phone(CLOSING)
        ask(page)
        expect(page.locator("[data-closing=started]")).to_contain_text("销户中")
        expect(page.locator("[data-check=waiting]")).to_contain_text("11-28 12:00")
        expect(page.locator("[data-check]")).to_have_count(1)
        (path,) = asked(school)
        assert re.fullmatch(r"/me/closings/[0-9a-f-]{36}", path)

    def test_logs_in_anew_where_that_is_asked_for(self, open_phone, school):
        page = open_phone(CLOSING)
        page.locator('[data-action="ask-closing"]').wait_for()
        before, ordinary = len(school.asked), school.answer

        def answer(method, path, query, body):
            logins = sum(one[:2] == ("POST", "/sessions") for one in school.asked[before:])
            if method == "PUT" and "/closings/" in path and not logins:
                return 403, {"code": "step-up-required", "status": 403}
            return ordinary(method, path, query, body)

        school.server.answer = answer
        ask(page)
        expect(page.locator("[data-closing=started]")).to_be_visible()
        assert len(set(asked(school))) == 1

    def test_a_lost_answer_is_asked_for_again_under_the_same_id(self, open_phone, school):
        page = open_phone(CLOSING)
        tried: list[str] = []
        page.on("request", lambda one: one.method == "PUT" and tried.append(one.url))
        page.route("**/api/v1/me/closings/*", lambda route: route.fulfill(status=502))
        for _ in range(2):
            ask(page)
            expect(page.locator(f"{PAGE} [data-problem]")).to_be_visible()
            expect(page.locator("[data-sheet]")).to_have_count(0)
        assert len(tried) == 2
        assert len(set(tried)) == 1


class TestGoingOn:
    def test_can_be_taken_back(self, open_phone, school):
        school.close("/x")
        page = open_phone(CLOSING)
        page.locator('[data-action="withdraw-closing"]').click()
        expect(page.locator(".modal")).to_contain_text("卡务中心解冻")
        page.get_by_role("button", name="撤回申请", exact=True).last.click()
        expect(
            page.locator(f'{PAGE}[data-page="pages/closing/index"] [data-total]')
        ).to_be_visible()

    def test_not_once_money_moves(self, open_phone, school):
        parts = [
            {"channel": "wechat", "amount_fen": 7000, "state": "succeeded"},
            {"channel": None, "amount_fen": 5850, "state": "batched"},
        ]
        school.close("/x", state="paying", checks=[], parts=parts, may_withdraw=False)
        page = open_phone(CLOSING)
        expect(page.locator("[data-part-state=succeeded]")).to_contain_text("微信支付 ¥70.00")
        expect(page.locator("[data-part-state=batched]")).to_contain_text("财务打款 ¥58.50")
        expect(page.locator('[data-action="withdraw-closing"]')).to_have_count(0)

    def test_what_the_bank_sent_back_is_claimed(self, open_phone, school):
        line = {"channel": None, "amount_fen": 5850, "line_id": "l-2"}
        parts = [
            {**line, "line_id": "l-1", "state": "bounced", "may_claim": False, "claim_way": None},
            {**line, "state": "listed", "may_claim": True, "claim_way": None},
        ]
        school.close("/x", state="paying", checks=[], parts=parts, may_withdraw=False)
        page = open_phone(CLOSING)
        page.locator('[data-action="claim"]').click()
        page.get_by_role("button", name="到财务领取", exact=True).click()
        expect(page.locator("[data-part-state=listed]")).to_contain_text("请带证件到财务领取")
        (body,) = [body for _, path, body in school.asked if "payout-claims" in path]
        assert body == {"line_id": "l-2", "way": "in_person"}

    @pytest.mark.parametrize("state", ["closing", "closed"])
    def test_no_page_offers_what_the_account_no_longer_does(self, open_phone, school, state):
        school.card_state = state
        page = open_phone("login=zhang&page=pages/topup/index")
        expect(page.locator(f'{PAGE} [data-state="ended"]')).to_contain_text("账户不再收款")
        expect(page.locator(f'{PAGE} [data-action="pay"]')).to_have_count(0)
        page = open_phone("login=zhang&page=pages/me/index")
        expect(page.locator(f'{PAGE} [data-offline-codes="ended"]')).to_contain_text("已停用")

    def test_says_what_finance_answered(self, open_phone, school):
        line = {"channel": None, "state": "listed", "claim_way": "new_account"}
        parts = [
            {**line, "amount_fen": 100, "line_id": "l-1", "may_claim": True,
             "claim_accepted": True, "claim_refusal": None},
            {**line, "amount_fen": 200, "line_id": "l-2", "may_claim": True,
             "claim_accepted": False, "claim_refusal": "户名不符"},
        ]  # fmt: skip
        school.close("/x", state="paying", checks=[], parts=parts, may_withdraw=False)
        page = open_phone(CLOSING)
        expect(page.locator("[data-part-state=listed]").first).to_contain_text("将打款到新账户")
        expect(page.locator("[data-part-state=listed]").last).to_contain_text("未受理：户名不符")

    def test_what_is_owed_by_then_is_paid_at_the_desk(self, open_phone, school):
        facts = {"arrears_fen": 380, "short_fen": 380}
        owes = {"check": "arrears", "stands": True, "waived": False, "facts": facts}
        school.close("/x", state="settling", checks=[owes], may_withdraw=False)
        page = open_phone(CLOSING)
        expect(page.locator("[data-check=arrears]")).to_contain_text("请到现金窗口补缴")

    @pytest.mark.parametrize("state", ["closing", "closed"])
    def test_the_code_page_offers_no_top_up(self, open_phone, school, state):
        school.card_state = state
        page = open_phone("login=zhang&page=pages/code/index")
        expect(page.locator(f"{PAGE} [data-balance]")).to_be_visible()
        expect(page.locator(f'{PAGE} [data-action="top-up"]')).to_have_count(0)

    def test_the_code_page_offers_it_otherwise(self, open_phone, school):
        page = open_phone("login=zhang&page=pages/code/index")
        expect(page.locator(f'{PAGE} [data-action="top-up"]')).to_be_visible()

    def test_what_the_card_centre_does_says_so(self, open_phone, school):
        school.close("/x", kind="graduation", may_withdraw=False)
        page = open_phone(CLOSING)
        expect(page.locator(f"{PAGE} .end")).to_contain_text("卡务中心")

    def test_a_refused_withdrawal_says_why(self, open_phone, school):
        school.close("/x")
        school.refusals["DELETE /me/closings/x"] = (409, "closing-not-possible")
        page = open_phone(CLOSING)
        page.locator('[data-action="withdraw-closing"]').click()
        page.get_by_role("button", name="撤回申请", exact=True).last.click()
        expect(page.locator("[data-problem=closing-not-possible]")).to_be_visible()


class TestEnd:
    def test_is_a_receipt(self, open_phone, school):
        school.close(
            "/me/closings/0193a1b2-0000-7000-8000-00c0ffee1234",
            state="closed",
            checks=[],
            closed_at="2026-11-29T01:02:03Z",
            paid_fen=12850,
            withdrawn_fen=3000,
            may_withdraw=False,
        )
        school.card_state = "closed"
        page = open_phone(CLOSING)
        receipt = page.locator("[data-receipt]")
        expect(receipt).to_have_attribute("data-receipt", "00C0-FFEE-1234")
        for said in ("2026-11-29 09:02:03", "¥128.50", "¥30.00", "本人申请"):
            expect(receipt).to_contain_text(said)


class TestEveryOtherPage:
    @pytest.mark.parametrize(("state", "word"), [("closing", "销户中"), ("closed", "已销户")])
    @pytest.mark.parametrize("name", ["me", "card", "bills", "topup", "limits", "refund"])
    def test_says_it_in_its_title(self, open_phone, school, name, state, word):
        school.close("/x")
        school.card_state = state
        page = open_phone("login=zhang&page=pages/me/index")
        expect(page.locator('[data-action="ending"]')).to_be_visible()
        page.evaluate("name => { location.search = `login=zhang&page=pages/${name}/index` }", name)
        expect(page.locator(".nav-title")).to_contain_text(f" · {word}")

    @pytest.mark.parametrize(
        ("state", "view", "word"),
        [("closing", "account-closing", "销户中"), ("closed", "account-closed", "已销户")],
    )
    def test_the_code_page_says_why_there_is_none(self, open_phone, school, state, view, word):
        school.close("/x")
        school.card_state = state
        page = open_phone()
        block = page.locator(f"{PAGE} [data-state={view}]")
        expect(block).to_contain_text(word)
        expect(page.locator("[data-code-text]")).to_have_count(0)
        page.locator(f'[data-action="{view}"]').click()
        expect(page.locator("[data-closing]")).to_be_visible()

    def test_the_card_page_leads_to_it(self, open_phone, school):
        school.close("/x")
        page = open_phone("login=zhang&page=pages/card/index")
        page.locator('[data-action="ending"]').click()
        expect(page.locator("[data-closing=started]")).to_be_visible()
