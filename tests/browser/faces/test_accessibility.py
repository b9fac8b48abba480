"""Every face in every state, both languages, against axe: WCAG 2.2 AA and the best practices."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

CODE = "961" + "1414213562" * 19 + "37309504"


@pytest.fixture(autouse=True)
def _still(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")


def assert_clean(page: Page) -> None:
    page.wait_for_timeout(250)  # colours are measured after the change of background
    found = Axe().run(page).response["violations"]
    assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in found] == []


def scan(till: Page, state: str) -> None:
    till.keyboard.type("6")
    till.keyboard.press("Enter")
    till.keyboard.type(CODE)
    expect(till.locator("body")).to_have_attribute("data-state", state, timeout=15_000)


class TestTill:
    def test_is_clean_while_keying_and_waiting_for_a_code(self, till):
        assert_clean(till)
        till.keyboard.type("6")
        till.keyboard.press("Enter")
        assert_clean(till)
        till.locator("#language").click()
        assert_clean(till)

    def test_is_clean_when_approved_and_while_reversing(self, till):
        scan(till, "approved")
        assert_clean(till)
        till.keyboard.press("F2")
        assert_clean(till)

    def test_is_clean_when_refused(self, till, script):
        script.on(
            "PUT /charges/.*",
            lambda **_: (409, {"code": "code-expired", "title": "", "reference": "EC-1"}),
        )
        scan(till, "refused")
        assert_clean(till)

    def test_is_clean_in_doubt_and_when_voided(self, till, script):
        script.on("PUT /charges/[^/]+", lambda **_: None)
        scan(till, "doubt")
        assert_clean(till)
        script.on(
            "PUT /charges/(?P<charge_id>[^/]+)/void",
            lambda charge_id, **_: (200, {"id": charge_id, "state": "voided", "amount_fen": 600}),
        )
        expect(till.locator("body")).to_have_attribute("data-state", "voided", timeout=15_000)
        assert_clean(till)

    def test_is_clean_on_a_narrow_screen(self, till):
        till.set_viewport_size({"width": 390, "height": 844})
        assert_clean(till)
        assert till.evaluate("document.documentElement.scrollWidth") <= 390


class TestGate:
    def test_is_clean_at_rest_and_with_its_drawer_open(self, gate):
        assert_clean(gate)
        gate.locator("#drawer-open").click()
        assert_clean(gate)

    @pytest.mark.parametrize("state", ["allow", "deny", "doubt"])
    def test_is_clean_with_a_verdict(self, gate, script, state):
        ordinary = script.answer_of("PUT /passages/(?P<passage_id>[0-9a-f-]{36})")
        answers = {
            "allow": ordinary,
            "deny": lambda passage_id, body, **_: (
                201,
                {
                    **ordinary(passage_id=passage_id, body=body)[1],
                    "decision": "deny",
                    "reason": "card-lost",
                },
            ),
            "doubt": lambda **_: None,
        }
        script.on("PUT /passages/(?P<passage_id>[0-9a-f-]{36})", answers[state])
        gate.keyboard.type(CODE)
        expect(gate.locator("body")).to_have_attribute("data-state", state, timeout=15_000)
        assert_clean(gate)


class TestFirstUse:
    def test_is_clean(self, page, origin):
        page.goto(f"{origin}/stage/till/")
        page.locator("#first-use").wait_for()
        assert_clean(page)
