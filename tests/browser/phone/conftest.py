"""The phone in a real Chromium: the committed bundle from a small server, the API scripted.

Whatever the phone asks of another origin, refuses by its content security policy or writes as an
error fails the test that opened it.
"""

import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Playwright, Route
from screens import launch
from screens import read_symbols as read_symbols_in

FACES = Path(__file__).parents[3] / "miniprogram-mock"
CSP = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' data: blob:; frame-src 'self'; worker-src 'self' blob:"
)
PERSON = {
    "holder_number": "2026010421",
    "name": "张晓明",
    "category": "student",
    "platform": "wechat",
    "login_code": "zhang",
    "note": "",
}
PHONE = {"width": 390, "height": 844}
# The browser notes a refusal in its console by itself; tests are about those.
EXPECTED_IN_CONSOLE = ("the server responded with a status of",)


class Pages(http.server.SimpleHTTPRequestHandler):
    """Serves /stage/… as the backend does."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, directory=str(FACES))

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix("/stage"))

    def do_GET(self) -> None:
        if self.path == "/stage/demo.json":
            body = json.dumps({"holders": [PERSON]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", CSP)
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def moment(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


class Server:
    """The API's side of the conversation, as on an ordinary day; a test changes what differs."""

    def __init__(self) -> None:
        self.binding = "active"
        self.refusals: dict[str, tuple[int, str]] = {}
        self.happened: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.bills = [self.bill(number) for number in range(8)]
        self.issued = 0
        self.refunds: list[dict[str, Any]] = []
        self.refundable: dict[str, Any] = {
            "balance_fen": 15850,
            "refundable_fen": 7000,
            "least_fen": 1,
            "parts": [
                {
                    "top_up_id": "t-2",
                    "channel": "alipay",
                    "amount_fen": 2000,
                    "paid_at": moment(-60),
                },
                {
                    "top_up_id": "t-1",
                    "channel": "wechat",
                    "amount_fen": 5000,
                    "paid_at": moment(-99),
                },
            ],
            "rests": [
                {"reason": "subsidy", "amount_fen": 3000},
                {"reason": "too-old", "amount_fen": 5850},
            ],
            "reason": None,
        }
        self.closing_preview: dict[str, Any] = {
            "reason": None,
            "checks": [
                {"check": "arrears", "stands": False, "waived": False, "facts": {}},
                {
                    "check": "waiting",
                    "stands": True,
                    "waived": False,
                    "facts": {"wait_until": moment(3 * 86400)},
                },
            ],
            "to_source": [{"channel": "wechat", "amount_fen": 7000}],
            "to_list_fen": 5850,
            "owed_fen": 0,
            "subsidy_fen": 3000,
        }
        self.own_data: dict[str, Any] = {
            "holder_id": "h-1",
            "taken_at": "2026-11-25T20:30:00Z",
            "looks": [
                {
                    "at": "2026-11-24T01:05:00Z",
                    "revealed": True,
                    "role": "card_centre",
                    "reason": "called",
                },
                {"at": "2026-11-20T02:00:00Z", "revealed": False, "role": None, "reason": None},
            ],
            "kept": {
                "holders": [{"name": "张晓明", "holder_number": "2026010421"}],
                "cards": [{"kind": "virtual"}, {"kind": "physical"}],
                "charges": [{"amount_fen": 850}],
                "top_ups": [{"amount_fen": 5000}],
                "not_known_yet": [{}],
            },
        }
        self.category = "student"
        self.sponsored: list[dict[str, Any]] = [
            {
                "application_id": "a-1",
                "holder_id": f"h-{number}",
                "name": name,
                "unit": "设备维护公司",
                "valid_until": until,
                "left_on": left,
            }
            for number, (name, until, left) in enumerate(
                [("马师傅", "2099-06-30", None), ("钱工", "2099-03-01", "2099-03-01")], start=2
            )
        ]
        self.arrears_fen = 0
        self.unread = 2
        self.topics: list[dict[str, Any]] = []

    def bill(self, number: int) -> dict[str, Any]:
        return {
            "id": f"bill-{number}",
            "kind": "top_up" if number == 3 else "charge",
            "amount_fen": 5000 if number == 3 else -1250 - number,
            "purse": "main",
            "place": None if number == 3 else "第一食堂 3 号窗",
            "channel": "wechat" if number == 3 else None,
            "at": moment(-3600 * number),
            "business_date": moment(-3600 * number)[:10],
            "reference": "KCSY5CGD",
            "amount_parts": None,
        }

    def codes(self, kind: str) -> list[dict[str, Any]]:
        self.issued += 1
        serial = f"{self.issued:06d}"
        if kind == "short":
            text = f"960{serial}31415926535"
            times = {"not_before": moment(-1), "expires_at": moment(60)}
            return [{"text": text, "kind": kind, **times}]
        return [
            {
                "text": f"961{serial}{step}" + "2718281828" * 19 + "1",
                "kind": "signed",
                "not_before": moment(30 * step - 1),
                "expires_at": moment(30 * step + 60),
            }
            for step in range(4)
        ]

    def me(self) -> dict[str, Any]:
        return {
            "binding": self.binding,
            "holder": {
                "name_masked": "张*明",
                "holder_number": "2026010421",
                "category": self.category,
            },
            "physical_card": {
                "state": "active",
                "number_masked": "****0421",
                "valid_until": "2030-07-31",
            },
            "virtual_card": {"state": "active", "valid_until": "2030-07-31"},
            "purses": [
                {"kind": "main", "balance_fen": 12850},
                {"kind": "subsidy", "balance_fen": 3000},
            ],
            "limits": {"per_charge_fen": None, "per_day_fen": None, "paused": False},
            "restore_from_phone": True,
            "arrears_fen": self.arrears_fen,
        }

    def answer(self, method: str, path: str, query: str, body: Any) -> tuple[int, Any]:
        if refused := self.refusals.get(f"{method} {path}"):
            status, code = refused
            return status, {"code": code, "status": status, "reference": "EC4F7K2"}
        kind = (body or {}).get("kind", "signed")
        nothing = {"items": [], "next_cursor": None}
        ordinary: dict[str, Callable[[], tuple[int, Any]]] = {
            "POST /sessions": lambda: (201, {"token": "t", "binding": self.binding}),
            "GET /me": lambda: (200, self.me()),
            "POST /me/codes": lambda: (200, {"codes": self.codes(kind)}),
            "DELETE /me/codes": lambda: (204, None),
            "GET /me/events": lambda: (200, {"items": self.news(), "next": "1"}),
            "GET /me/statement": lambda: (200, self.statement(query)),
            "GET /me/passages": lambda: (200, nothing),
            "GET /me/top-ups": lambda: (200, nothing),
            "GET /me/refundable": lambda: (200, self.refundable),
            "GET /me/closing/preview": lambda: (200, self.closing_preview),
            "GET /me/refunds": lambda: (200, {"items": self.refunds, "next_cursor": None}),
            "GET /me/notices": lambda: (200, self.notices()),
            "PUT /me/notices/read": lambda: (200, {"unread": self.read()}),
            "GET /me/message-topics": lambda: (200, {"items": self.topics}),
            "GET /me/data": lambda: (200, self.own_data),
            "GET /me/sponsored-people": lambda: (200, {"items": self.sponsored}),
            "GET /me/limits": lambda: (200, {**self.me()["limits"], "pending": None}),
        }
        unknown = (404, {"code": "not-found", "status": 404})
        return ordinary.get(f"{method} {path}", lambda: unknown)()

    def news(self) -> list[dict[str, Any]]:
        told, self.happened = self.happened, []
        return told

    def notices(self) -> dict[str, Any]:
        told: list[dict[str, Any]] = [
            {"kind": "top-up-paid", "amount_fen": 5000, "balance_fen": 6250, "channel": "wechat"},
            {"kind": "charge-declined", "amount_fen": 900, "reason": "payment-paused",
             "place": "第一食堂 3 号窗", "reference": "KCSY5CGD"},
            {"kind": "card-lost", "credential": "phone"},
            {"kind": "of-a-later-version"},
        ]  # fmt: skip
        items = [
            {"id": f"notice-{n}", "at": moment(-60 * n), "read": n >= self.unread, **one}
            for n, one in enumerate(told)
        ]
        return {"items": items, "next_cursor": None, "unread": self.unread, "newest": "9.9"}

    def read(self) -> int:
        self.unread = 0
        return 0

    def statement(self, query: str) -> dict[str, Any]:
        month = query.partition("month=")[2][:7]
        totals = {"month": month, "in_fen": 5000, "out_fen": 8765}
        return {"items": self.bills, "next_cursor": None, **totals}

    def serve(self, route: Route) -> None:
        request = route.request
        path, _, query = request.url.partition("/api/v1")[2].partition("?")
        body = json.loads(request.post_data) if request.post_data else None
        self.asked.append((request.method, path, body))
        status, content = self.answer(request.method, path, query, body)
        route.fulfill(
            status=status,
            headers={
                "Content-Type": "application/json",
                "Next-Poll-Ms": "500",
                "Date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
            },
            body="" if content is None else json.dumps(content),
        )


@pytest.fixture(scope="session")
def origin() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = launch(playwright)
    yield browser
    browser.close()


@pytest.fixture
def server() -> Server:
    return Server()


Open = Callable[..., Page]


@pytest.fixture
def open_phone(chromium: Browser, origin: str, server: Server) -> Iterator[Open]:
    """Opens a phone; at the end nothing may have left the origin or been written as an error."""
    contexts, faults = [], []

    def watch(message: ConsoleMessage) -> None:
        expected = any(text in message.text for text in EXPECTED_IN_CONSOLE)
        if message.type in {"error", "warning"} and not expected:
            faults.append(message.text)

    def open_(query: str = "login=zhang", **context: Any) -> Page:
        settings = {
            "viewport": PHONE,
            "locale": "zh-CN",
            "reduced_motion": "reduce",
            "bypass_csp": False,
        }
        contexts.append(chromium.new_context(**{**settings, **context}))
        page = contexts[-1].new_page()
        page.on("console", watch)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if re.match(f"{origin}|data:", request.url) else faults.append(request.url)
            ),
        )
        page.route("**/api/v1/**", server.serve)
        page.goto(f"{origin}/stage/phone/?{query}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert faults == []


def _shown_code(page: Page) -> Locator:
    return page.locator('.wx-page:not([hidden]) [data-code-text]:not([data-code-text=""])').first


@pytest.fixture
def shown_code() -> Callable[[Page], Locator]:
    """The code on the visible page, once it is drawn."""
    return _shown_code


@pytest.fixture
def read_symbols() -> Callable[..., list[str]]:
    """The texts of all symbols in a screenshot, or what else is asked of them."""
    return read_symbols_in


@pytest.fixture(scope="session")
def program() -> Path:
    """The native source."""
    return FACES / "miniprogram"
