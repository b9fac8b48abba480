"""A real Chromium before the real demo: what a visitor of the stage sees.

Whatever a page asks of another origin, refuses by its content security policy or writes as an error
fails the test that opened it.  Each page leaves a picture of its end in the test's directory.
"""

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import zxingcpp
from journeys.outsider import Demo, the_demo
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Playwright,
    Request,
)

PHONE = {"width": 430, "height": 932}
DESK = {"width": 1440, "height": 900}
EXPECTED_IN_CONSOLE = ("the server responded with a status of", "net::ERR_INTERNET_DISCONNECTED")
"""The browser notes a refusal or a cut line in its console by itself; tests are about those."""
DEVELOP = """async (png) => {
  const bytes = Uint8Array.from(atob(png), (c) => c.charCodeAt(0))
  const picture = await createImageBitmap(new Blob([bytes]))
  const canvas = new OffscreenCanvas(picture.width, picture.height)
  const brush = canvas.getContext('2d')
  brush.drawImage(picture, 0, 0)
  const { data } = brush.getImageData(0, 0, picture.width, picture.height)
  let grey = ''
  for (let i = 1; i < data.length; i += 4) grey += String.fromCharCode(data[i])
  return [picture.width, picture.height, btoa(grey)]
}"""


@pytest.fixture
def demo(request: pytest.FixtureRequest) -> Demo:
    """The demo college, running: the one that the journeys over HTTP use, too."""
    return the_demo(request.session)


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """The browser, without a network beyond this machine's."""
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine: nobody looked at the demo")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"]
    browser = playwright.chromium.launch(executable_path=program, args=arguments)
    yield browser
    browser.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(chromium: Browser, demo: Demo, tmp_path: Path) -> Iterator[Open]:
    """Opens a page below the stage, each in a window of its own."""
    origin = demo.said["base_url"]
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def watch(message: ConsoleMessage) -> None:
        expected = any(text in message.text for text in EXPECTED_IN_CONSOLE)
        if message.type in {"error", "warning"} and not expected:
            faults.append(message.text)

    def account(request: Request) -> None:
        if not request.url.startswith((f"{origin}/", "data:", f"blob:{origin}/")):
            faults.append(f"off origin: {request.url}")

    def open_(path: str, *, viewport: dict[str, int], **query: str) -> Page:
        context = chromium.new_context(
            viewport=viewport, locale="zh-CN", reduced_motion="reduce", timezone_id="Asia/Shanghai"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", watch)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", account)
        page.goto(f"{origin}/stage/{path}?{urlencode(query)}")
        return page

    yield open_
    for number, context in enumerate(contexts):
        context.pages[0].screenshot(path=tmp_path / f"page-{number}.png")
        context.close()
    assert faults == []


@pytest.fixture
def open_phone(open_page: Open, demo: Demo) -> Callable[[str], Page]:
    """Opens the phone of a person of the demo file."""

    def open_(holder_number: str, **query: str) -> Page:
        person = demo.person(holder_number)
        who = {"login": person["login_code"], "platform": person["platform"]}
        return open_page("phone/", viewport=PHONE, **who, **query)

    return open_


@pytest.fixture
def open_terminal(open_page: Open, demo: Demo) -> Callable[[str], Page]:
    """Opens the face of a terminal by its place, ready for its first scan."""

    def open_(place: str) -> Page:
        said = next(one for one in demo.said["terminals"] if one["place"] == place)
        page = open_page(f"{said['kind']}/", viewport=DESK, terminal=said["terminal_id"])
        page.wait_for_selector("body:not([data-state=loading])")
        return page

    return open_


@pytest.fixture
def read_screen(chromium: Browser) -> Iterator[Callable[[Page | Locator], list[str]]]:
    """Reads every symbol in a screenshot, from nothing but its pixels."""
    darkroom = chromium.new_page()

    def read(shown: Page | Locator) -> list[str]:
        png = base64.b64encode(shown.screenshot()).decode()
        width, height, grey = darkroom.evaluate(DEVELOP, png)
        image = memoryview(base64.b64decode(grey)).cast("B", shape=[height, width])
        return [found.text for found in zxingcpp.read_barcodes(image)]

    yield read
    darkroom.close()
