"""The faces in a real Chromium: the static pages from a small server, the API answered by a script.

Whatever a page asks of another origin, refuses by its content security policy or writes as an error
fails the test that opened it.
"""

import http.server
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import segno
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Route

FACES = Path(__file__).parents[3] / "miniprogram-mock"
CSP = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' data: blob:; frame-src 'self'; worker-src 'self' blob:"
)
TILL = {
    "terminal_id": "11111111-1111-4111-8111-111111111111",
    "kind": "till",
    "place": "第一食堂 3 号窗",
}
GATE = {
    "terminal_id": "22222222-2222-4222-8222-222222222222",
    "kind": "gate",
    "place": "图书馆东门",
}
DEMO = {
    "terminals": [{**TILL, "token": "till-token"}, {**GATE, "token": "gate-token"}],
    "holders": [
        {
            "holder_number": "2026010421",
            "name": "张晓明",
            "category": "student",
            "platform": "wechat",
            "login_code": "zhang",
            "note": "",
        },
        {
            "holder_number": "2026010422",
            "name": "李雷",
            "category": "staff",
            "platform": "alipay",
            "login_code": "li",
            "note": "",
        },
    ],
}


Answer = Callable[..., tuple[int, Any] | None]

# The browser notes a dropped answer and a refusal in its console by itself, and a page whose
# network is cut while it still fetches the files for a reload says so; tests are about those.
EXPECTED_IN_CONSOLE = (
    "net::ERR_FAILED",
    "the server responded with a status of",
    "a reload will need the network",
)


class StaticPages(http.server.SimpleHTTPRequestHandler):
    """Serves /stage/… as the backend does: the folder's files, and /stage/ is the stage itself."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, directory=str(FACES))

    def translate_path(self, path: str) -> str:
        path = path.removeprefix("/stage")
        return super().translate_path("/stage/" if path.partition("?")[0] == "/" else path)

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", CSP)
        self.send_header("Permissions-Policy", "camera=(self)")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        pass


class Script:
    """The API's side of the conversation: what was asked, and what to answer.

    Routes are tried newest first, so a test adds only what differs from an ordinary day. A route
    answers ``(status, body)``, or ``None`` to drop the connection without an answer.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any] | None]] = []
        self.routes: list[tuple[str, Answer]] = []
        self.on(
            "POST /terminals/current/heartbeat",
            lambda **_: (200, {"commands": [], "server_time": datetime.now(UTC).isoformat()}),
        )

    def on(self, pattern: str, answer: Answer) -> None:
        self.routes.insert(0, (pattern, answer))

    def answer_of(self, pattern: str) -> Answer:
        """This function will return what the pattern is answered by at present."""
        return next(answer for known, answer in self.routes if known == pattern)

    def answer(self, route: Route) -> None:
        request = route.request
        path = request.url.partition("/api/v1")[2]
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        body = request.post_data_json if request.post_data else None
        self.asked.append((request.method, path, body))
        for pattern, answer in self.routes:
            found = re.fullmatch(pattern, f"{request.method} {path}")
            if found:
                answered = answer(body=body, token=token, **found.groupdict())
                break
        else:
            answered = (404, {"code": "not-found", "title": "not found", "status": 404})
        if answered is None:
            route.abort()
        else:
            status, content = answered
            kind = "application/json" if status < 400 else "application/problem+json"
            route.fulfill(status=status, content_type=kind, body=json.dumps(content))

    def sent(self, pattern: str) -> list[tuple[str, dict[str, Any] | None]]:
        """This function will list the paths and bodies of the requests that fit the pattern."""
        return [(p, b) for m, p, b in self.asked if re.fullmatch(pattern, f"{m} {p}")]


def approved(*, charge_id: str, body: dict[str, Any], **_: Any) -> tuple[int, Any]:
    """This function will answer a charge as an ordinary day does: approved, 15 % meal surcharge."""
    surcharge_fen = body["amount_fen"] * 15 // 100
    return 201, {
        "id": charge_id,
        "state": "approved",
        "amount_fen": body["amount_fen"],
        "surcharge_fen": surcharge_fen,
        "total_fen": body["amount_fen"] + surcharge_fen,
        "balance_fen": 12850,
        "holder": {"name_masked": "张*明", "category": "temporary_outsider"},
        "display": {"line1": "收款成功", "line2": "", "voice": "收款成功"},
        "charged_at": "2026-11-23T04:00:00Z",
        "server_time": "2026-11-23T04:00:00Z",
        "reference": "EC-4F7K2",
    }


def allowed(*, passage_id: str, body: dict[str, Any], **_: Any) -> tuple[int, Any]:
    """This function will answer a passage as an ordinary day does: allowed."""
    return 201, {
        "id": passage_id,
        "decision": "allow",
        "reason": None,
        "direction": body["direction"],
        "holder": {"name_masked": "张*明", "category": "student"},
        "display": {"line1": "请进", "line2": "", "voice": "请进"},
        "decided_at": "2026-11-23T04:00:00Z",
        "server_time": "2026-11-23T04:00:00Z",
        "reference": "EC-9K2QD",
    }


def write_film(text: str, path: Path, *, width: int = 640, height: int = 480) -> None:
    """This function will write a film of one still code, as a camera over a counter would see it.

    Uncompressed Y4M, 4:2:0, black on white on a grey desk, quiet zone of four modules.
    """
    modules = [
        list(row) for row in segno.make(text, micro=False, boost_error=False).matrix_iter(border=4)
    ]
    scale = min(width, height) // len(modules)
    left, top = (width - scale * len(modules)) // 2, (height - scale * len(modules)) // 2
    picture = bytearray(b"\xb4" * (width * height))
    for row, dots in enumerate(modules):
        line = b"".join((b"\x10" if dark else b"\xeb") * scale for dark in dots)
        for y in range(top + row * scale, top + (row + 1) * scale):
            picture[y * width + left : y * width + left + len(line)] = line
    colourless = b"\x80" * (width * height // 2)
    frame = b"FRAME\n" + bytes(picture) + colourless
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode() + frame * 5)


@pytest.fixture(scope="session")
def origin() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StaticPages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("camera") / "film.y4m"
    write_film("0", path)
    return path


@pytest.fixture
def film(camera: Path) -> Callable[[str], None]:
    """What stands before the camera from its next opening on."""
    return lambda text: write_film(text, camera)


@pytest.fixture
def faces() -> Path:
    return FACES


@pytest.fixture
def terminals() -> dict[str, dict[str, Any]]:
    return {"till": TILL, "gate": GATE}


@pytest.fixture(scope="session")
def chromium(camera: Path, playwright: Playwright) -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: the faces were not looked at")
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ]
    browser = playwright.chromium.launch(executable_path=program, args=arguments)
    yield browser
    browser.close()


@pytest.fixture
def script() -> Script:
    script = Script()
    script.on("PUT /charges/(?P<charge_id>[0-9a-f-]{36})", approved)
    script.on("PUT /passages/(?P<passage_id>[0-9a-f-]{36})", allowed)
    return script


@pytest.fixture
def page(chromium: Browser, origin: str, script: Script) -> Iterator[Page]:
    # A service worker's requests are out of the script's reach: its tests have a real server.
    context = chromium.new_context(
        permissions=["camera"], viewport={"width": 1280, "height": 800}, service_workers="block"
    )
    page = context.new_page()
    troubles: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(
            known in message.text for known in EXPECTED_IN_CONSOLE
        ):
            troubles.append(message.text)

    def refuse(route: Route) -> None:
        troubles.append(f"off origin: {route.request.url}")
        route.abort()

    page.on("console", note)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.add_init_script(
        "addEventListener('securitypolicyviolation',"
        " (event) => console.error(`csp: ${event.violatedDirective} ${event.blockedURI}`))"
    )
    page.route(lambda url: not url.startswith((origin, "blob:", "data:")), refuse)
    page.route("**/api/v1/**", script.answer)
    page.route("**/stage/demo.json", lambda route: route.fulfill(json=DEMO))
    yield page
    context.close()
    assert troubles == []


def open_face(page: Page, script: Script, address: str, terminal: dict[str, Any]) -> Page:
    """This function will open a face signed in as the terminal and wait until it is ready."""
    script.on(
        "GET /terminals/current", lambda **_: (200, {**terminal, "merchant": None, "stall": None})
    )
    page.goto(address)
    page.wait_for_selector("body:not([data-state=loading])")
    return page


@pytest.fixture
def open_alone(page: Page, origin: str, script: Script) -> Callable[[dict[str, Any]], Page]:
    """Opens the face of a terminal and waits until it could do without the server."""

    def open_(terminal: dict[str, Any]) -> Page:
        open_face(page, script, f"{origin}/stage/{terminal['kind']}/?terminal=1", terminal)
        page.wait_for_selector("#facts [data-fact=try]", state="attached")
        return page

    return open_


@pytest.fixture
def till(page: Page, origin: str, script: Script) -> Page:
    return open_face(page, script, f"{origin}/stage/till/?terminal=1", TILL)


@pytest.fixture
def gate(page: Page, origin: str, script: Script) -> Page:
    return open_face(page, script, f"{origin}/stage/gate/?terminal=1", GATE)
