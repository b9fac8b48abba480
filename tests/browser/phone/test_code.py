"""The code page: what is drawn can be read, what is told is true."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

import qr

pytestmark = pytest.mark.browser

CHARGED = {
    "id": "e1",
    "kind": "charge-approved",
    "at": "2026-11-23T04:00:00Z",
    "charge_id": "c1",
    "amount_fen": 1250,
    "surcharge_fen": 125,
    "total_fen": 1375,
    "balance_fen": 14475,
    "place": "第一食堂 3 号窗",
    "reference": "KCSY5CGD",
}
DECLINED = {
    "id": "e2",
    "kind": "charge-declined",
    "at": "2026-11-23T04:00:00Z",
    "charge_id": "c2",
    "amount_fen": 1250,
    "reason": "insufficient-balance",
    "short_fen": 350,
    "place": "第一食堂 3 号窗",
    "reference": "KCSY5CGE",
}


class TestSignedCode:
    def test_is_read_from_the_screen(self, open_phone, shown_code, read_symbols):
        page = open_phone()
        code = shown_code(page)
        text = code.get_attribute("data-code-text")
        assert len(text) == 201
        assert read_symbols(code) == [text]
        assert read_symbols(code, lambda found: found.ec_level) == ["Q"]

    @pytest.mark.parametrize("ratio", [1.5, 2, 3])
    def test_has_whole_pixels_at_every_density(self, open_phone, shown_code, read_symbols, ratio):
        page = open_phone(device_scale_factor=ratio)
        code = shown_code(page)
        assert read_symbols(code) == [code.get_attribute("data-code-text")]

    def test_stays_black_on_white_in_the_dark(self, open_phone, shown_code, read_symbols):
        page = open_phone(color_scheme="dark")
        code = shown_code(page)
        assert read_symbols(code) == [code.get_attribute("data-code-text")]
        assert code.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"

    def test_is_another_one_for_gates(self, open_phone, shown_code, server):
        page = open_phone()
        pay = shown_code(page).get_attribute("data-code-text")
        page.locator('[data-scope="gate"]').click()
        expect(shown_code(page)).not_to_have_attribute("data-code-text", pay)
        assert ("POST", "/me/codes", {"scope": "gate"}) in server.asked

    def test_is_renewed_on_demand_but_not_at_a_hammering_pace(self, open_phone, shown_code, server):
        page = open_phone()
        first = shown_code(page).get_attribute("data-code-text")
        page.locator('[data-action="renew"]').click()
        expect(shown_code(page)).not_to_have_attribute("data-code-text", first)
        asked = len(server.asked)
        page.locator('[data-action="renew"]').click()
        expect(page.locator(".toast")).to_have_text("刷新太快了，请稍等")
        assert [a for a in server.asked[asked:] if a[1] == "/me/codes"] == []

    def test_is_burnt_after_a_screenshot(self, open_phone, shown_code, server):
        page = open_phone()
        seen = shown_code(page).get_attribute("data-code-text")
        page.get_by_role("button", name="截屏").click()
        expect(shown_code(page)).not_to_have_attribute("data-code-text", seen)
        assert ("DELETE", "/me/codes", None) in server.asked


class TestDeviceCode:
    """430 digits in error correction M: 53 modules and four of white on each side."""

    @pytest.fixture(autouse=True)
    def text(self, server):
        vectors = json.loads(Path(qr.__file__).with_name("vectors.json").read_text("utf-8"))
        text = vectors["valid"]["device"][0]["text"]
        times = {"not_before": "2026-01-01T00:00:00Z", "expires_at": "2099-01-01T00:00:00Z"}
        server.codes = lambda kind: [{"text": text, "kind": "signed", **times}]
        return text

    @pytest.mark.parametrize(
        "screen", [(320, 1), (320, 2), (390, 1), (390, 1.5), (390, 2), (390, 3), (430, 3)]
    )
    def test_is_read_from_the_screen(self, open_phone, shown_code, read_symbols, text, screen):
        width, ratio = screen
        page = open_phone(viewport={"width": width, "height": 844}, device_scale_factor=ratio)
        code = shown_code(page)
        assert code.get_attribute("data-code-text") == text
        assert read_symbols(code) == [text]
        assert code.locator("canvas").evaluate("canvas => canvas.width % (53 + 8)") == 0

    def test_is_read_when_enlarged(self, open_phone, shown_code, read_symbols, text):
        page = open_phone()
        shown_code(page).wait_for()
        page.locator('[data-action="enlarge"]').click()
        large = page.locator(f'[data-action="shrink"] [data-code-text="{text}"]')
        assert read_symbols(large) == [text]

    def test_is_corrected_less_than_a_signed_one(self, open_phone, shown_code, read_symbols):
        code = shown_code(open_phone())
        assert read_symbols(code, lambda found: found.ec_level) == ["M"]


class TestShortCode:
    def test_is_read_as_qr_and_as_bar_code(self, open_phone, shown_code, read_symbols):
        page = open_phone()
        shown_code(page).wait_for()
        page.locator('[data-action="kind"]').click()
        bar = page.locator('[data-bar-text]:not([data-bar-text=""])')
        text = bar.get_attribute("data-bar-text")
        assert len(text) == 20
        assert read_symbols(bar) == [text]
        assert read_symbols(shown_code(page)) == [text]

    def test_keeps_its_digits_covered_until_they_are_asked_for(self, open_phone, shown_code):
        page = open_phone()
        shown_code(page).wait_for()
        page.locator('[data-action="kind"]').click()
        digits = page.locator("[data-digits]")
        expect(digits).to_contain_text("****")
        page.locator('[data-action="digits"]').click()
        expect(digits).not_to_contain_text("*")

    def test_gives_way_to_a_signed_one_when_the_server_has_none(
        self, open_phone, shown_code, server
    ):
        page = open_phone()
        shown_code(page).wait_for()
        server.refusals["POST /me/codes"] = (503, "service-unavailable")
        page.locator('[data-action="kind"]').click()
        expect(page.locator(".toast")).to_have_text("数字码需要联网，已换成二维码")
        del server.refusals["POST /me/codes"]
        assert len(shown_code(page).get_attribute("data-code-text")) == 201


class TestWithoutNetwork:
    def test_prefetched_codes_go_on_and_say_how_long(self, open_phone, shown_code, read_symbols):
        page = open_phone()
        shown_code(page).wait_for()
        page.get_by_role("button", name="断网").click()
        expect(page.locator("[data-chip=offline]")).to_be_visible()
        expect(page.locator(".renew-text")).to_contain_text("离线可用")
        assert read_symbols(shown_code(page)) == [shown_code(page).get_attribute("data-code-text")]

    def test_no_dead_code_stays_on_the_screen(self, open_phone, shown_code):
        page = open_phone()
        shown_code(page).wait_for()
        page.get_by_role("button", name="断网").click()
        page.get_by_label("手机时钟").select_option("180")  # three minutes later
        expect(page.locator("[data-state=exhausted]")).to_be_visible()
        expect(shown_code(page)).to_have_count(0)

    def test_the_network_brings_the_code_back(self, open_phone, shown_code):
        page = open_phone()
        shown_code(page).wait_for()
        button = page.get_by_role("button", name="断网")
        button.click()
        expect(page.locator("[data-chip=offline]")).to_be_visible()
        button.click()
        expect(page.locator("[data-chip=online]")).to_be_visible()
        shown_code(page).wait_for()

    def test_a_wrong_clock_is_named_instead_of_a_failing_code(self, open_phone, shown_code):
        page = open_phone()
        shown_code(page).wait_for()
        page.get_by_label("手机时钟").select_option("3600")
        expect(page.locator("[data-state=clock]")).to_contain_text("手机时间不准")


class TestStates:
    def test_an_unbound_phone_offers_binding(self, open_phone, server):
        server.binding = "none"
        page = open_phone()
        page.locator('[data-action="unbound"]').click()
        expect(page.locator("[data-step='0']")).to_be_visible()
        expect(page.locator('[data-action="next"]')).to_be_disabled()

    @pytest.mark.parametrize("code", ["card-lost", "card-frozen", "card-expired", "account-closed"])
    def test_a_card_that_may_not_pay_shows_why_and_no_code(
        self, open_phone, shown_code, server, code
    ):
        server.refusals["POST /me/codes"] = (409, code)
        page = open_phone()
        expect(page.locator(f"[data-state={code}]")).to_be_visible()
        expect(page.locator(f"[data-chip={code}]")).to_be_visible()
        expect(shown_code(page)).to_have_count(0)

    def test_paused_payments_leave_the_way_to_the_gate_code(self, open_phone, shown_code, server):
        server.refusals["POST /me/codes"] = (409, "payment-paused")
        page = open_phone()
        expect(page.locator("[data-state=payment-paused]")).to_be_visible()
        server.refusals.clear()
        page.locator('[data-scope="gate"]').click()
        shown_code(page).wait_for()

    def test_a_session_that_ended_is_renewed_without_a_word(self, open_phone, shown_code, server):
        page = open_phone()
        shown_code(page).wait_for()
        server.refusals["GET /me"] = (401, "unauthenticated")
        page.locator('[data-tab="3"]').click()
        expect(page.locator(".toast")).to_have_text("需要重新登录")
        assert [a[1] for a in server.asked].count("/sessions") == 2


class TestEvents:
    def test_a_charge_covers_the_page_and_brings_a_fresh_code(self, open_phone, shown_code, server):
        page = open_phone()
        used = shown_code(page).get_attribute("data-code-text")
        server.happened.append(CHARGED)
        result = page.locator("[data-result=charge-approved]")
        expect(result).to_contain_text("¥13.75")
        expect(result).to_contain_text("第一食堂 3 号窗")
        expect(result).to_contain_text("KCSY5CGD")
        expect(result).to_have_count(0)  # closes by itself
        expect(shown_code(page)).not_to_have_attribute("data-code-text", used)

    def test_a_refusal_says_why_what_is_short_and_what_to_do(self, open_phone, shown_code, server):
        page = open_phone()
        shown_code(page).wait_for()
        server.happened.append(DECLINED)
        result = page.locator("[data-result=charge-declined]")
        expect(result).to_contain_text("余额不足")
        expect(result).to_contain_text("还差 ¥3.50")
        result.locator('[data-action="primary"]').click()
        expect(
            page.locator('.wx-page:not([hidden])[data-page="pages/topup/index"]')
        ).to_be_visible()

    def test_the_frame_around_the_phone_hears_codes_and_events(
        self, open_phone, shown_code, server
    ):
        page = open_phone("login=zhang")
        code = shown_code(page).get_attribute("data-code-text")
        page.evaluate(
            """() => {
                window.heard = []
                addEventListener('message', (message) => heard.push(message.data))
                document.querySelector('[data-action="renew"]').click()
            }"""
        )
        expect(shown_code(page)).not_to_have_attribute("data-code-text", code)
        renewed = shown_code(page).get_attribute("data-code-text")
        server.happened.append(CHARGED)
        page.locator("[data-result]").wait_for()
        heard = page.evaluate("heard")
        assert {"type": "phone-code", "text": renewed} in heard
        assert {"type": "phone-event", "event": CHARGED} in heard
