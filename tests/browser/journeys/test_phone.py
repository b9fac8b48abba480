"""The phone before the real server: bind, show, pay, pass, top up, lose and find again."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

CODE = '.wx-page:not([hidden]) [data-code-text]:not([data-code-text=""])'
PAGE = ".wx-page:not([hidden])"


def balance_fen(page: Page) -> int:
    """Read the balance on the visible page."""
    shown = page.locator(f"{PAGE} [data-balance]").first.get_attribute("data-balance")
    return int(shown.replace("¥", "").replace(",", "").replace(".", ""))


def open_tab(page: Page, number: int) -> None:
    """Tap a tab of the mini program."""
    page.locator(f'[data-tab="{number}"]').click()


class TestPay:
    def test_by_a_screenshot_of_the_code(self, open_phone, open_terminal, read_screen):
        phone, till = open_phone("20240201"), open_terminal("第一食堂 2号窗")
        phone.locator(CODE).first.wait_for()
        before = balance_fen(phone)
        [text] = read_screen(phone)
        assert (len(text), text[:3]) == (201, "961")
        till.keyboard.type("12.50")
        till.keyboard.press("Enter")
        till.keyboard.type(text)
        till.keyboard.press("Enter")
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        result = phone.locator('[data-result="charge-approved"]')
        expect(result).to_contain_text("12.50")
        result.locator('[data-action="close"]').click()
        expect(phone.locator(CODE).first).not_to_have_attribute("data-code-text", text)
        assert balance_fen(phone) == before - 1_250
        assert read_screen(phone) != [text]

    def test_by_twenty_digits(self, open_phone, open_terminal, read_screen):
        phone, till = open_phone("T0881"), open_terminal("第一食堂 2号窗")
        phone.locator(CODE).first.wait_for()
        phone.locator('[data-action="kind"]').click()
        phone.locator('[data-bar-text]:not([data-bar-text=""])').wait_for()
        texts = read_screen(phone)
        assert len(texts) == 2
        assert len(set(texts)) == 1
        till.keyboard.type("6")
        till.keyboard.press("Enter")
        till.keyboard.type(texts[0])
        till.keyboard.press("Enter")
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        expect(phone.locator('[data-result="charge-approved"]')).to_contain_text("6.00")

    def test_that_fails_says_by_how_much(self, open_phone, open_terminal, read_screen):
        phone, till = open_phone("20240204"), open_terminal("第一食堂 2号窗")
        phone.locator(CODE).first.wait_for()
        [text] = read_screen(phone)
        till.keyboard.type("12.50")
        till.keyboard.press("Enter")
        till.keyboard.type(text)
        till.keyboard.press("Enter")
        expect(till.locator("body")).to_have_attribute("data-state", "refused")
        declined = phone.locator('[data-result="charge-declined"]')
        expect(declined).to_have_attribute("data-reason", "insufficient-balance")
        expect(declined).to_contain_text("11.00")


class TestPass:
    def test_the_gate_opens(self, open_phone, open_terminal, read_screen):
        phone, gate = open_phone("T1207"), open_terminal("图书馆 正门")
        pay = phone.locator(CODE).first
        pay.wait_for()
        shown = pay.get_attribute("data-code-text")
        phone.locator('[data-scope="gate"]').click()
        expect(phone.locator(CODE).first).not_to_have_attribute("data-code-text", shown)
        [text] = read_screen(phone)
        gate.keyboard.type(text)
        gate.keyboard.press("Enter")
        expect(gate.locator("body")).to_have_attribute("data-state", "allow")
        expect(phone.locator('[data-result="passage-allowed"]')).to_contain_text("图书馆")


class TestBind:
    def test_a_new_student_gets_a_code(self, open_phone, demo, read_screen):
        person = demo.person("20260101")
        phone = open_phone("20260101")
        phone.locator(f"{PAGE} [data-action]").first.wait_for()
        phone.get_by_role("button", name="绑定").first.click()
        phone.locator('[data-action="agree"]').click()
        phone.locator('[data-action="next"]').click()
        for field in ("holder_number", "name", "document_number"):
            phone.locator(f'[data-field="{field}"]').fill(person[field])
        phone.locator('[data-action="check"]').click()
        expect(phone.locator(".found-name")).to_be_visible()
        phone.locator('[data-action="confirm"]').click()
        phone.locator('[data-action="open"]').click()
        phone.locator(CODE).first.wait_for()
        [text] = read_screen(phone)
        assert len(text) == 201


class TestTopUp:
    @pytest.mark.parametrize("holder_number", ["R0042", "20240102"])
    def test_through_the_cashier(self, open_phone, holder_number):
        phone = open_phone(holder_number)
        phone.locator(CODE).first.wait_for()
        before = balance_fen(phone)
        open_tab(phone, 2)
        phone.locator('[data-amount-fen="5000"]').click()
        phone.locator('[data-action="pay"]').click()
        phone.locator('[data-pay="paid"]').click()
        expect(phone.locator('[data-phase="paid"]')).to_contain_text("50.00")
        phone.locator('[data-action="done"]').click()
        expect(phone.locator(f"{PAGE} [data-balance]").first).to_have_attribute(
            "data-balance", f"¥{(before + 5_000) / 100:.2f}"
        )

    def test_given_up_leaves_the_money(self, open_phone):
        phone = open_phone("R0042", page="pages/topup/index")
        phone.locator('[data-amount-fen="5000"]').click()
        before = balance_fen(phone)
        phone.locator('[data-action="pay"]').click()
        phone.locator('[data-pay="cancelled"]').click()
        expect(phone.locator('[data-phase="cancelled"]')).to_be_visible()
        assert balance_fen(phone) == before

    def test_given_up_can_be_cancelled(self, open_phone):
        phone = open_phone("20240102", page="pages/topup/index")
        phone.locator('[data-amount-fen="2000"]').click()
        phone.locator('[data-action="pay"]').click()
        phone.locator('[data-pay="cancelled"]').click()
        phone.locator('[data-phase="cancelled"] [data-action="cancel"]').click()
        expect(
            phone.locator('[data-phase="closed"], [data-phase="closing"]')  # WeChat's five minutes
        ).to_be_visible()

    def test_of_another_amount_replaces_the_unpaid_order(self, open_phone):
        phone = open_phone("20240102", page="pages/topup/index")
        before = balance_fen(phone)
        phone.locator('[data-amount-fen="20000"]').click()
        phone.locator('[data-action="pay"]').click()
        phone.locator('[data-pay="cancelled"]').click()
        phone.locator('[data-sheet="topup"]').get_by_label("关闭").click()
        phone.locator('[data-amount-fen="10000"]').click()
        phone.locator('[data-action="pay"]').click()
        phone.locator('[data-pay="paid"]').click()
        expect(phone.locator('[data-phase="paid"]')).to_contain_text("100.00")
        phone.locator('[data-action="done"]').click()
        expect(phone.locator(f"{PAGE} [data-balance]").first).to_have_attribute(
            "data-balance", f"¥{(before + 10_000) / 100:.2f}"
        )
        phone.locator('[data-action="history"]').click()
        rows = phone.locator(f"{PAGE} [data-state]")
        expect(rows.first).to_have_attribute("data-state", "paid")
        expect(rows.nth(1)).to_have_attribute("data-state", "closed")


class TestRefund:
    def test_goes_back_to_where_it_came_from(self, open_phone):
        phone = open_phone("R0042")
        phone.locator(CODE).first.wait_for()
        open_tab(phone, 2)
        phone.locator('[data-amount-fen="5000"]').click()
        phone.locator('[data-action="pay"]').click()
        phone.locator('[data-pay="paid"]').click()
        phone.locator('[data-phase="paid"]').wait_for()
        phone.locator('[data-action="done"]').click()
        before = balance_fen(phone)
        open_tab(phone, 3)
        phone.locator('[data-action="refund"]').click()
        phone.locator(f'{PAGE} [data-field="amount"]').fill("50")
        expect(phone.locator(f"{PAGE} [data-part]")).to_have_count(1)
        phone.locator(f'{PAGE} [data-action="refund"]').click()
        phone.get_by_role("button", name="退回", exact=True).click()
        row = phone.locator(f"{PAGE} [data-refund]").first
        expect(row).to_contain_text("50.00")
        expect(row.locator("[data-part-state=succeeded]")).to_be_visible(timeout=60_000)
        phone.get_by_role("button", name="返回").click()
        expect(phone.locator(f"{PAGE} [data-balance]").first).to_have_attribute(
            "data-balance", f"¥{(before - 5_000) / 100:.2f}"
        )
        open_tab(phone, 1)
        expect(phone.locator(f'{PAGE} [data-kind="refund"]').first).to_contain_text("50.00")


class TestLoss:
    def test_is_reported_and_restored(self, open_phone, demo):
        person = demo.person("20240101")
        phone = open_phone("20240101")
        phone.locator(CODE).first.wait_for()
        open_tab(phone, 3)
        phone.locator('[data-action="card"]').click()
        phone.locator('[data-action="report-physical"]').click()
        phone.locator('[data-action="confirm-report"]').click()
        expect(phone.locator(f'{PAGE} [data-physical-card="lost"]')).to_be_visible()
        expect(phone.locator(f"{PAGE} [data-terminal]").first).to_be_visible()
        phone.locator('[data-action="restore"]').click()
        phone.locator('[data-field="document_last_six"]').fill(person["document_number"][-6:])
        phone.locator('[data-action="confirm-restore"]').click()
        expect(phone.locator(f'{PAGE} [data-physical-card="active"]')).to_be_visible()

    def test_a_lost_phone_shows_no_code(self, open_phone):
        phone = open_phone("20240104")
        expect(phone.locator('[data-view="card-lost"]')).to_be_visible()
        assert phone.locator(CODE).count() == 0


class TestBills:
    def test_show_the_month(self, open_phone):
        phone = open_phone("20240201", page="pages/bills/index")
        expect(phone.get_by_text("第一食堂").first).to_be_visible()
