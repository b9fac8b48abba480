"""A keyboard wedge types a code: with Enter, without it, fast, slowly, and at the wrong moment."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

SIGNED = "961" + "0123456789" * 19 + "01234567"
SHORT = "960" + "7" * 17


def ask_for_code(till: Page, amount: str) -> None:
    till.keyboard.type(amount)
    till.keyboard.press("Enter")
    expect(till.locator("body")).to_have_attribute("data-state", "awaiting")


class TestWedge:
    def test_charges_a_signed_code_that_ends_with_enter(self, till, script):
        ask_for_code(till, "12.5")
        till.keyboard.type(SIGNED)
        till.keyboard.press("Enter")
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        [(_, body)] = script.sent("PUT /charges/.*")
        assert body == {"code": SIGNED, "amount_fen": 1250}

    @pytest.mark.parametrize("code", [SIGNED, SHORT], ids=["signed", "short"])
    def test_needs_no_enter_when_length_and_prefix_say_it_is_whole(self, till, script, code):
        ask_for_code(till, "6")
        till.keyboard.type(code)
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        assert [body["code"] for _, body in script.sent("PUT /charges/.*")] == [code]

    def test_loses_nothing_to_a_scanner_that_pauses(self, till, script):
        ask_for_code(till, "6")
        till.keyboard.type(SIGNED[:90], delay=4)
        till.wait_for_timeout(1500)
        till.keyboard.type(SIGNED[90:], delay=4)
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        assert [body["code"] for _, body in script.sent("PUT /charges/.*")] == [SIGNED]

    def test_finds_the_code_behind_a_stray_digit(self, till, script):
        ask_for_code(till, "6")
        till.keyboard.type("5" + SIGNED)
        till.keyboard.press("Enter")
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        assert [body["code"] for _, body in script.sent("PUT /charges/.*")] == [SIGNED]

    def test_reads_a_scan_that_starts_while_a_button_has_the_focus(self, till, script):
        ask_for_code(till, "6")
        till.locator("#camera").focus()
        till.keyboard.type(SIGNED)
        till.keyboard.press("Enter")
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        assert len(script.sent("PUT /charges/.*")) == 1

    def test_gets_the_focus_back_after_a_click(self, till):
        till.locator("[data-key='8']").click()
        expect(till.locator("#wedge")).to_be_focused()

    def test_types_again_after_a_reversal_was_confirmed(self, till, script):
        script.on(
            "PUT /charges/(?P<charge_id>[^/]+)/reversals/(?P<reversal_id>[^/]+)",
            lambda charge_id, reversal_id, body, **_: (
                201,
                {
                    "id": reversal_id,
                    "charge_id": charge_id,
                    **body,
                    "total_fen": body["amount_fen"],
                },
            ),
        )
        ask_for_code(till, "6")
        till.keyboard.type(SIGNED)
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        till.keyboard.press("F2")
        till.keyboard.press("Enter")
        expect(till.locator("#reversal")).to_be_hidden()
        till.keyboard.type("8")
        expect(till.locator("#amount")).to_have_text("¥8")

    def test_refuses_full_width_digits(self, till, script):
        ask_for_code(till, "6")
        till.keyboard.insert_text("９６１" + SIGNED[3:])
        till.keyboard.press("Enter")
        expect(till.locator("#notice")).to_contain_text("没读清")
        assert script.sent("PUT /charges/.*") == []

    def test_takes_the_same_screen_only_once(self, till, script):
        ask_for_code(till, "6")
        till.keyboard.type(SIGNED)
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        ask_for_code(till, "7")
        till.keyboard.type(SIGNED)
        expect(till.locator("#notice")).to_have_text("重复扫码，已忽略")
        assert len(script.sent("PUT /charges/.*")) == 1

    def test_charges_nothing_before_the_amount_is_confirmed(self, till, script):
        till.keyboard.type("1")
        till.keyboard.type(SIGNED)
        till.keyboard.press("Enter")
        expect(till.locator("#panel-view")).to_contain_text("已读到付款码")
        expect(till.locator("#amount")).to_have_text("¥1")
        assert script.sent("PUT /charges/.*") == []
        till.keyboard.type("2")
        till.locator("#charge").click()
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        assert [body["amount_fen"] for _, body in script.sent("PUT /charges/.*")] == [1200]

    def test_does_not_take_the_scanners_own_enter_for_a_key_press(self, till, script):
        till.locator("[data-quick='600']").click()
        till.keyboard.type(SIGNED + "\n")
        expect(till.locator("#panel-view")).to_contain_text("已读到付款码")
        assert script.sent("PUT /charges/.*") == []

    def test_takes_a_pasted_code(self, till, script):
        ask_for_code(till, "6")
        till.locator("#paste [name=code]").fill(f" {SHORT}\n")
        till.locator("#paste [type=submit]").click()
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        assert [body["code"] for _, body in script.sent("PUT /charges/.*")] == [SHORT]

    def test_opens_the_gate(self, gate, script):
        gate.keyboard.type(SIGNED)
        expect(gate.locator("body")).to_have_attribute("data-state", "allow")
        [(_, body)] = script.sent("PUT /passages/.*")
        assert body == {"code": SIGNED, "direction": "in"}
