"""A phone, a till and a gate before the real server, and then without it."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

CODE = '.wx-page:not([hidden]) [data-code-text]:not([data-code-text=""])'


def mend(phone: Page, terminal: Page) -> None:
    """Give it back, and wait until the terminal has told everything."""
    phone.context.set_offline(False)
    terminal.context.set_offline(False)
    expect(terminal.locator("#queue")).to_be_hidden()


def cut(phone: Page, terminal: Page) -> None:
    """Take the network away from both, once the terminal knows what it needs."""
    expect(terminal.locator("#facts [data-fact=keys]")).to_have_count(1)
    phone.context.set_offline(True)
    terminal.context.set_offline(True)
    expect(phone.locator("[data-chip=offline]")).to_be_visible()
    expect(terminal.locator("#reach")).to_have_attribute("data-reach", "offline")


class TestPay:
    def test_without_network(self, open_phone, open_terminal, read_screen, demo):
        before = demo.holder("20240201").balance_fen
        phone, till = open_phone("20240201"), open_terminal("第一食堂 2号窗")
        phone.locator(CODE).first.wait_for()
        cut(phone, till)
        [text] = read_screen(phone)
        till.keyboard.type("12.50")
        till.keyboard.press("Enter")
        till.keyboard.type(text)
        expect(till.locator("body")).to_have_attribute("data-state", "recorded")
        expect(till.locator("#panel-view")).to_contain_text("已记账，联网后入账")
        expect(till.locator("#queue")).to_have_text("待上送 1 笔")
        mend(phone, till)
        expect(till.locator("#recent [data-alone]").first).to_have_attribute(
            "data-alone", "charged"
        )
        assert demo.holder("20240201").balance_fen == before - 1_250


class TestPass:
    def test_without_network(self, open_phone, open_terminal, read_screen):
        phone, gate = open_phone("T1207"), open_terminal("图书馆 正门")
        pay = phone.locator(CODE).first
        pay.wait_for()
        shown = pay.get_attribute("data-code-text")
        phone.locator('[data-scope="gate"]').click()
        expect(phone.locator(CODE).first).not_to_have_attribute("data-code-text", shown)
        cut(phone, gate)
        [text] = read_screen(phone)
        gate.keyboard.type(text)
        expect(gate.locator("body")).to_have_attribute("data-state", "allow")
        expect(gate.locator("[data-field=next]")).to_have_text("已放行 · 脱机")
        expect(gate.locator("#queue")).to_have_text("待上送 1 笔")
        mend(phone, gate)
