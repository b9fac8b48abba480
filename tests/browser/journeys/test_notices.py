"""A top-up is told in the inbox, and on WeChat once the holder agreed to it with a tap."""

import re
import time
from typing import Any

import requests
from playwright.sync_api import Page, expect

from payments.sandbox.messages import account_digest

PAGE = ".wx-page:not([hidden])"
HOLDER = "T0881"


def control(demo: Any, path: str, **body: Any) -> Any:
    """Work the sandbox's controls."""
    method, url = ("POST" if body else "GET"), f"{demo.said['sandbox_url']}/control/{path}"
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(method, url, json=body or None, timeout=10)
    answer.raise_for_status()
    return answer.json()


def top_up(phone: Page) -> None:
    """Top up 20 yuan through WeChat's cashier."""
    phone.locator('[data-tab="2"]').click()
    phone.locator(f'{PAGE} [data-amount-fen="2000"]').click()
    phone.locator(f'{PAGE} [data-action="pay"]').click()
    phone.locator('[data-pay="paid"]').click()
    expect(phone.locator('[data-phase="paid"]')).to_be_visible()


class TestNotices:
    def test_reach_the_inbox_and_wechat(self, open_phone, demo):
        person = demo.person(HOLDER)
        assert person["platform"] == "wechat"
        told = control(demo, "consents", login_code=person["login_code"], template_ids=[])
        mine = told["account"]

        def arrived() -> list[Any]:
            items = control(demo, "messages")["items"]
            return [item for item in items if item["account"] == mine]

        before = len(arrived())
        phone = open_phone(HOLDER)
        phone.locator("[data-code-text]").first.wait_for()
        top_up(phone)
        phone.locator('[data-action="consent"]').click()
        sheet = phone.get_by_role("dialog", name="订阅消息（模拟）")
        expect(sheet).to_contain_text("充值到账提醒")
        sheet.get_by_label("消费提醒").uncheck()
        phone.locator('[data-subscribe="accept"]').click()
        expect(phone.get_by_role("status")).to_contain_text("微信")
        phone.locator('[data-action="done"]').click()
        assert len(arrived()) == before, "what was told before the consent is not sent"

        top_up(phone)
        end = time.monotonic() + 30
        while len(arrived()) == before:
            assert time.monotonic() < end, "nothing arrived at WeChat"
            time.sleep(0.2)
        message = arrived()[0]
        assert (message["title"], message["data"]["amount1"]) == ("充值到账提醒", "20.00元")
        phone.locator('[data-action="done"]').click()

        phone.locator('[data-tab="3"]').click()
        badge = phone.locator(f"{PAGE} .badge[data-unread]")
        expect(badge).to_have_attribute("data-unread", re.compile(r"^[0-9]+\+?$"))
        phone.locator(f'{PAGE} [data-action="notices"]').click()
        newest = phone.locator(f'{PAGE} [data-kind="top-up-paid"]').first
        expect(newest).to_contain_text("¥20.00")
        newest.click()
        expect(phone.locator(f"{PAGE} [data-top-up]").first).to_be_visible()
        phone.locator('[data-tab="3"]').or_(phone.get_by_role("button", name="返回")).first.click()
        phone.get_by_role("button", name="返回").click()
        expect(badge).to_have_count(0)

    def test_digest_names_nobody(self, demo):
        for item in control(demo, "messages")["items"]:
            assert re.fullmatch("[0-9a-f]{16}", item["account"])
        assert account_digest("o" + "x" * 27) != account_digest("o" + "y" * 27)
