"""A gate before the real server, and then without it."""

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("demo")]

CODE = '.wx-page:not([hidden]) [data-code-text]:not([data-code-text=""])'


class TestPass:
    def test_by_a_phone_and_through_a_gate_without_network(
        self, open_phone, open_terminal, read_screen
    ):
        phone, gate = open_phone("T1207"), open_terminal("图书馆 正门")
        expect(gate.locator("#facts [data-fact=keys]")).to_have_count(1)
        pay = phone.locator(CODE).first
        pay.wait_for()
        shown = pay.get_attribute("data-code-text")
        phone.locator('[data-scope="gate"]').click()
        expect(phone.locator(CODE).first).not_to_have_attribute("data-code-text", shown)
        phone.context.set_offline(True)
        gate.context.set_offline(True)
        expect(phone.locator("[data-chip=offline]")).to_be_visible()
        expect(gate.locator("#reach")).to_have_attribute("data-reach", "offline")
        [text] = read_screen(phone)
        gate.keyboard.type(text)
        expect(gate.locator("body")).to_have_attribute("data-state", "allow")
        expect(gate.locator("[data-field=next]")).to_have_text("已放行 · 脱机")
        gate.locator("#drawer-open").click()
        expect(gate.locator("[data-fact=waiting]")).to_have_text("1")
        gate.context.set_offline(False)
        expect(gate.locator("#reach")).to_have_attribute("data-reach", "online")
