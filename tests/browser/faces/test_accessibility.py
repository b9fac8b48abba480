"""Every face in every state, both languages, against axe: WCAG 2.2 AA and the best practices."""

import pytest
from axe import violations
from playwright.sync_api import Page, expect
from schools import TILL_RULES, School, gate_rules

from qr import Scope

pytestmark = pytest.mark.browser

CODE = "961" + "1414213562" * 19 + "37309504"


@pytest.fixture(autouse=True)
def _still(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")


def assert_clean(page: Page) -> None:
    page.wait_for_timeout(250)  # colours are measured after the change of background
    assert violations(page) == []


def under_review(*, body, **_):
    return 200, {"items": [{**item, "outcome": "under-review"} for item in body["items"]]}


def scan(till: Page, state: str) -> None:
    scan_code(till, CODE, state)


def scan_code(till: Page, code: str, state: str) -> None:
    till.keyboard.type("6")
    till.keyboard.press("Enter")
    till.keyboard.type(code)
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


@pytest.fixture
def offline(script, terminals, open_alone):
    """Opens a face that goes on by itself, while nobody answers its questions about codes."""

    def open_(kind, **rules):
        school = School(script, terminals[kind], **rules)
        script.on("PUT /(charges|passages)/[^/]+", lambda **_: None)
        script.on("POST /(charges|passages)/late", lambda **_: None)
        return open_alone(terminals[kind]), school

    return open_


@pytest.mark.parametrize("language", ["zh-CN", "en"])
class TestAlone:
    def test_is_clean_at_a_till(self, offline, script, language):
        till, school = offline("till", till=TILL_RULES)
        if language == "en":
            till.locator("#language").click()
        for amount, state in (("6", "recorded"), ("60", "refused")):
            till.keyboard.press("Escape")
            till.keyboard.type(amount)
            till.keyboard.press("Enter")
            till.keyboard.type(school.device_code(Scope.PAY))
            expect(till.locator("body")).to_have_attribute("data-state", state, timeout=15_000)
            assert_clean(till)
        script.on("POST /charges/late", under_review)
        till.evaluate("dispatchEvent(new Event('online'))")
        expect(till.locator("#device-open[data-attention]")).to_be_visible(timeout=15_000)
        till.locator("#device-open").click()
        assert_clean(till)

    def test_is_clean_at_a_gate(self, offline, script, language):
        gate, school = offline("gate", gate=gate_rules())
        gate.locator("#drawer-open").click()
        if language == "en":
            gate.locator("#language").click()
        assert_clean(gate)
        gate.locator("#drawer-close").click()
        gate.keyboard.type(school.device_code(Scope.GATE))
        expect(gate.locator("body")).to_have_attribute("data-state", "allow", timeout=15_000)
        assert_clean(gate)
        gate.locator("#drawer-open").click()
        gate.locator("#emergency").click()
        gate.locator("#drawer-close").click()
        gate.locator("#direction label").nth(1).click()
        expect(gate.locator("body")).to_have_attribute("data-state", "idle", timeout=15_000)
        assert_clean(gate)

    def test_fits_a_narrow_screen(self, offline, script, language):
        till, school = offline("till", till=TILL_RULES)
        if language == "en":
            till.locator("#language").click()
        till.set_viewport_size({"width": 390, "height": 844})
        scan_code(till, school.device_code(Scope.PAY), "recorded")
        assert_clean(till)
        assert till.evaluate("document.documentElement.scrollWidth") <= 390
        till.locator("#device-open").click()
        assert_clean(till)


class TestFirstUse:
    def test_is_clean(self, page, origin):
        page.goto(f"{origin}/stage/till/")
        page.locator("#first-use").wait_for()
        assert_clean(page)
