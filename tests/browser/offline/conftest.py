"""A phone that loses its network: the committed bundle in Chromium before the real application.

Whatever the phone asks of another origin, refuses by its content security policy or writes as an
error fails the test that opened it.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from factories import Person, give, make_person
from flask import Flask
from phones import Phone
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Playwright, Request
from screens import launch
from sqlalchemy import select

from backend import clock
from backend.cards.models import Card, Delegation
from backend.db import transaction
from backend.http.parts import Parts
from backend.settings import Settings

WINDOW = {"width": 390, "height": 844}
EXPECTED_IN_CONSOLE = ("the server responded with a status of", "net::ERR_")
"""The browser notes a refusal or a cut line in its console by itself; tests are about those."""
PATIENCE_MS = 10_000
POLL_MS = 50


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """The browser."""
    browser = launch(playwright)
    yield browser
    browser.close()


@dataclass
class Holder:
    """A person with a bound platform account; phones log in with its login code."""

    person: Person
    api: Phone
    """Another login of the same account."""

    @property
    def login_code(self) -> str:
        """What the platform gives the account's phones."""
        return self.api.login_code

    def delegations(self) -> list[Delegation]:
        """Return what was granted for the card, oldest first."""
        with transaction() as session:
            return list(
                session.scalars(
                    select(Delegation)
                    .join(Card, Card.id == Delegation.card_id)
                    .where(Card.holder_id == self.person.id)
                    .order_by(Delegation.serial)
                )
            )


@pytest.fixture
def holder(app: Flask, parts: Parts) -> Holder:
    """Somebody bound, with 100 yuan."""
    person = make_person(parts)
    api = Phone(app.test_client(), login_code=f"offline {secrets.token_hex(8)}")
    assert api.log_in().status_code == 201
    api.bind(person)
    with transaction() as session:
        give(session, person.id, main_fen=10_000, subsidy_fen=0, now=clock.now())
    return Holder(person, api)


@dataclass
class Screen:
    """A phone in the browser, and what left it."""

    page: Page
    login_code: str
    urls: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    on_their_way: set[Request] = field(default_factory=set)

    @property
    def shown(self) -> Locator:
        """The code on the visible page, once it is drawn."""
        return self.page.locator(
            '.wx-page:not([hidden]) .qr [data-code-text]:not([data-code-text=""])'
        )

    @property
    def own(self) -> Locator:
        """The same, if the phone made it itself."""
        return self.page.locator(
            '.wx-page:not([hidden]) [data-code-kind="device"] [data-code-text^="962"]'
        )

    @property
    def kind(self) -> Locator:
        """What says which kind of code is shown."""
        return self.page.locator(".wx-page:not([hidden]) [data-code-kind]")

    def stored(self, name: str) -> Any:
        """Return what the phone keeps under a name, or None."""
        key = f"phone/wechat/{self.login_code}/{name}"
        return json.loads(self.page.evaluate("key => localStorage.getItem(key)", key) or "null")

    def store(self, name: str, value: Any) -> None:
        """Put something in the phone's storage."""
        key = f"phone/wechat/{self.login_code}/{name}"
        self.page.evaluate(
            "([key, text]) => localStorage.setItem(key, text)", [key, json.dumps(value)]
        )

    def wait_for(self, reached: Callable[[], bool]) -> None:
        """Wait until something is so."""
        for _ in range(PATIENCE_MS // POLL_MS):
            if reached():
                return
            self.page.wait_for_timeout(POLL_MS)
        raise AssertionError("it never came to that")

    def wait_until_enrolled(self) -> dict[str, Any]:
        """Wait until the phone holds a delegation, and return what it keeps."""
        self.shown.wait_for()
        self.wait_for(lambda: bool((self.stored("encrypted/delegation") or {}).get("delegation")))
        kept: dict[str, Any] = self.stored("encrypted/delegation")
        return kept

    def cut(self) -> None:
        """Take the network away; the prefetched codes stay.

        An answer that is still on its way would tell the phone the time once more, after the test
        has moved it: then the phone holds its own clock to be wrong.
        """
        self.page.context.set_offline(True)
        self.page.locator("[data-chip=offline]").wait_for()
        self.wait_for(lambda: not self.on_their_way)

    def reconnect(self) -> None:
        """Give it back."""
        self.page.context.set_offline(False)
        self.page.locator("[data-chip=online]").wait_for()

    def open_tab(self, number: int) -> None:
        """Tap a tab of the mini program."""
        self.page.locator(f'[data-tab="{number}"]').click()

    def set_clock(self, seconds: int) -> None:
        """Choose how far the phone's clock is off, on the strip beside it."""
        self.page.locator(".strip select").nth(0).select_option(str(seconds))


Open = Callable[..., Screen]


@pytest.fixture(scope="session")
def stage(server: str, settings: Settings) -> str:
    """The application's address, with a stage that nobody is on."""
    assert settings.demo is not None
    settings.demo.write_text('{"holders": []}')
    return server


@pytest.fixture
def open_phone(chromium: Browser, stage: str, holder: Holder) -> Iterator[Open]:
    """Opens a phone of the holder; `clock=True` lets the test move its time."""
    screens: list[Screen] = []

    def open_(*, clock: bool = False, page: str = "pages/code/index", **said: Any) -> Screen:
        settings = {"viewport": WINDOW, "locale": "zh-CN", "reduced_motion": "reduce"}
        context = chromium.new_context(**{**settings, **said})
        screen = Screen(context.new_page(), holder.login_code)
        screens.append(screen)

        def watch(message: ConsoleMessage) -> None:
            screen.console.append(message.text)
            expected = any(text in message.text for text in EXPECTED_IN_CONSOLE)
            if message.type in {"error", "warning"} and not expected:
                screen.faults.append(message.text)

        def account(request: Request) -> None:
            screen.urls.append(request.url)
            screen.on_their_way.add(request)
            if not request.url.startswith((f"{stage}/", "data:")):
                screen.faults.append(f"off origin: {request.url}")

        def arrived(request: Request) -> None:
            screen.on_their_way.discard(request)

        screen.page.on("console", watch)
        screen.page.on("pageerror", lambda error: screen.faults.append(str(error)))
        screen.page.on("request", account)
        screen.page.on("requestfinished", arrived)
        screen.page.on("requestfailed", arrived)
        if clock:
            screen.page.clock.install()
        screen.page.goto(f"{stage}/stage/phone/?login={holder.login_code}&page={page}")
        return screen

    yield open_
    for screen in screens:
        screen.page.context.close()
    assert [screen.faults for screen in screens if screen.faults] == []
