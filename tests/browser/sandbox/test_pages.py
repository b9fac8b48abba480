"""The sandbox's pages against axe, by day and by night, on a desk and on a phone; and no script.

Whatever a page asks of another origin, refuses by its content security policy or writes as an error
fails the test that opened it.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import requests
from axe import violations
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, expect

from payments import RefundOrder, TopUpOrder, WeChatPayChannel
from payments.sandbox import prepare

pytestmark = pytest.mark.browser

WIDTHS = ((1280, 860), (390, 844))
SIZES = """all => all.map(one => one.getBoundingClientRect())
    .map(box => Math.min(box.width, box.height))"""
"""The shorter side of each, in pixels."""
EXPECTED_IN_CONSOLE = ("the server responded with a status of",)
"""The browser notes a refusal in its console by itself."""


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """The browser."""
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine: nobody looked at the sandbox's pages")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"]
    browser = playwright.chromium.launch(executable_path=program, args=arguments)
    yield browser
    browser.close()


def open_page(chromium: Browser, url: str, wrong: list[str], **context: object) -> Page:
    """Open a window in which nothing may go wrong: what does is added to `wrong`."""

    def watch(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(
            text in message.text for text in EXPECTED_IN_CONSOLE
        ):
            wrong.append(message.text)

    def account(request: Request) -> None:
        if not request.url.startswith(f"{url}/"):
            wrong.append(f"off the sandbox: {request.url}")

    page = chromium.new_context(base_url=url, **context).new_page()  # type: ignore[arg-type]
    page.on("console", watch)
    page.on("request", account)
    return page


class Orders:
    """Orders of WeChat Pay that go every way there is."""

    def __init__(self, sandbox_url: str, state) -> None:
        self.url = sandbox_url
        keys = prepare(state / "sandbox")
        # Nobody listens there: notices stay on their ladder.
        config = keys.wechat_pay_config(sandbox_url, "http://127.0.0.1:9/wechat")
        self.channel = WeChatPayChannel(config)
        self.unpaid, self.paid, self.expired = (self.open_order() for _ in range(3))
        self._play(self.paid, "paid")
        self._play(self.expired, "timeout")
        trade = self.channel.query(self.paid)
        refund = RefundOrder(uuid4().hex, self.paid, trade.trade_no or "", 5000, 500, "退回余额")
        self.channel.refund(refund)
        self.control("accounts", platform="wechat", login_code=f"l{uuid4().hex}", name="林小雨",
                     document_number="1")  # fmt: skip

    def control(self, path: str, **content: object) -> None:
        """Work the sandbox's controls."""
        assert requests.post(f"{self.url}/control/{path}", json=content, timeout=10).ok

    def open_order(self) -> str:
        now, number = datetime.now(UTC), uuid4().hex
        expires_at = now + timedelta(hours=1)
        self.channel.create(TopUpOrder(number, 5000, "校园卡充值", None, expires_at, now))
        return number

    def _play(self, number: str, outcome: str) -> None:
        self.control("pay", out_trade_no=number, outcome=outcome)

    def pages(self) -> list[str]:
        """List every page, with rows in it."""
        return [
            *(f"/pay/wechat/{number}" for number in (self.unpaid, self.paid, self.expired)),
            *(f"/merchant/orders/wechat/{number}" for number in (self.unpaid, self.paid)),
            *("/merchant", "/merchant/notices", "/merchant/refunds", "/merchant/days"),
            *("/merchant/accounts", "/merchant/faults", "/pay", "/pay?code=x", "/merchant/none"),
            "/merchant/orders/wechat/none",
        ]


@pytest.fixture(scope="module")
def orders(platform_sandbox, state) -> Iterator[Orders]:
    """The orders; afterwards nothing goes wrong any more."""
    made = Orders(platform_sandbox, state)
    yield made
    made.control("faults")


def assert_clean(page: Page) -> None:
    """Look at the page with axe, wide and narrow; nothing sticks out."""
    for width, height in WIDTHS:
        page.set_viewport_size({"width": width, "height": height})
        assert (page.url, width, violations(page)) == (page.url, width, [])
        assert page.evaluate("document.documentElement.scrollWidth") <= width


class TestAccessibility:
    @pytest.mark.parametrize(("locale", "scheme"), [("zh-CN", "light"), ("en-GB", "dark")])
    def test_every_page_is_clean(self, chromium, orders, locale, scheme) -> None:
        wrong: list[str] = []
        page = open_page(chromium, orders.url, wrong, locale=locale, color_scheme=scheme)
        orders.control("faults", preset="bad-day", seed=1, only={"channel": "alipay"})
        for path in orders.pages():
            page.goto(path)
            assert_clean(page)
        expect(page.locator("html")).to_have_attribute("lang", locale.removesuffix("-GB"))
        page.goto(f"/pay/wechat/{orders.unpaid}?cancelled")
        assert_clean(page)
        page.goto("/merchant/notices")
        page.locator("summary").click()
        assert_clean(page)
        page.context.close()
        assert wrong == []

    def test_what_is_pressed_is_large_enough(self, chromium, orders) -> None:
        page = open_page(
            chromium, orders.url, [], locale="zh-CN", viewport={"width": 390, "height": 844}
        )
        for path in orders.pages():
            page.goto(path)
            pressed = page.locator("button, nav a, .filters a, a.button, select, input")
            sizes = pressed.locator("visible=true").evaluate_all(SIZES)
            assert sizes
            assert min(sizes) >= 24, path
        page.context.close()

    def test_the_first_tab_leads_past_the_navigation(self, chromium, orders) -> None:
        page = open_page(chromium, orders.url, [], locale="zh-CN")
        page.goto("/merchant")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="跳到正文")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.context.close()


class TestWithoutScripts:
    def test_pays_cancels_and_rehearses(self, chromium, orders) -> None:
        wrong: list[str] = []
        page = open_page(chromium, orders.url, wrong, locale="zh-CN", java_script_enabled=False)
        orders.control("faults")
        number = orders.open_order()
        page.goto(f"/pay/wechat/{number}")
        page.get_by_role("button", name="取消").click()
        expect(page.get_by_role("status")).to_contain_text("仍可继续")
        page.get_by_role("button", name="支付").click()
        expect(page.get_by_role("status")).to_contain_text("支付成功")
        page.goto("/merchant")
        page.get_by_role("link", name=number).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("¥50.00")
        page.get_by_role("button", name="立即发送").click()
        expect(page.get_by_role("status")).to_contain_text("已排入发送")
        page.get_by_role("link", name="故障").click()
        page.get_by_role("checkbox", name="通知丢失").check()
        page.get_by_role("button", name="生效").first.click()
        expect(page.get_by_role("status")).to_contain_text("正在生效：1 项")
        page.get_by_role("button", name="全部清除").click()
        expect(page.get_by_role("status")).to_contain_text("没有故障")
        page.get_by_role("button", name="English").click()
        expect(page.get_by_role("status")).to_contain_text("No faults")
        page.context.close()
        assert wrong == []
