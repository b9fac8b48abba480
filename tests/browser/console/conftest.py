"""A window before the console's sign-in page, and how its pages are looked at."""

import secrets
import shutil
from collections.abc import Iterator

import pyotp
import pytest
from axe import violations
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Playwright, Request, expect

from backend.db import transaction
from backend.http.parts import Parts
from backend.operators.models import Role
from backend.operators.service import add_operator

WIDTHS = ((1440, 900), (390, 844))
EXPECTED_IN_CONSOLE = ("the server responded with a status of",)
"""The browser notes a refusal in its console by itself."""


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """The browser."""
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine: nobody looked at the console")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"]
    browser = playwright.chromium.launch(executable_path=program, args=arguments)
    yield browser
    browser.close()


@pytest.fixture
def page(chromium: Browser, server: str) -> Iterator[Page]:
    """A window before the sign-in page; at the end, nothing went wrong in it."""
    faults: list[str] = []

    def watch(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(
            text in message.text for text in EXPECTED_IN_CONSOLE
        ):
            faults.append(message.text)

    def account(request: Request) -> None:
        if not request.url.startswith(f"{server}/console/"):
            faults.append(f"off the console: {request.url}")

    context = chromium.new_context(locale="zh-CN", base_url=server)
    opened = context.new_page()
    opened.on("console", watch)
    opened.on("request", account)
    opened.goto("/console/")
    yield opened
    context.close()
    assert faults == []


def sign_in(
    page: Page, parts: Parts, role: Role = Role.CARD_CENTRE, *, first: str = "今日概览"
) -> None:
    """Sign in a member of the card centre, or of another office, by keyboard alone.

    `first` is the heading of the room where that office begins.
    """
    username, password, secret = f"staff-{secrets.token_hex(4)}", "correct horse battery", "A" * 32
    with transaction() as session:
        add_operator(
            session,
            username=username,
            role=role,
            password=password,
            totp_secret=secret,
            sealer=parts.sealer,
        )
    page.get_by_label("用户名").focus()
    page.keyboard.type(username)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Tab")
    page.keyboard.type(pyotp.TOTP(secret).now())
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(first)


def assert_clean(page: Page) -> None:
    """Look at the page with axe, wide and narrow; nothing sticks out."""
    for width, height in WIDTHS:
        page.set_viewport_size({"width": width, "height": height})
        assert (page.url, width, violations(page)) == (page.url, width, [])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": WIDTHS[0][0], "height": WIDTHS[0][1]})


def follow(page: Page, control: Locator) -> None:
    """Press what leads to a page, and wait until it is there: axe cannot look at one that goes."""
    with page.expect_navigation():
        control.click()


def leave(page: Page) -> None:
    """Give the chair to somebody else, to whom the pages speak Chinese."""
    page.context.clear_cookies()
    page.goto("/console/sign-in")
