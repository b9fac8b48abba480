"""Every page against axe, light and dark, and with a keyboard alone; the dictionaries match."""

import pytest
from axe import violations
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

PAGES = [
    *("bills", "topup", "me", "bind", "card", "passages", "limits", "topups", "refund", "notices"),
    *("closing", "data", "sponsored"),
]
LEAST_TARGET_PX = 44


def assert_clean(page: Page) -> None:
    assert violations(page) == []


class TestAxe:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("name", PAGES)
    def test_page_is_clean(self, open_phone, name, scheme):
        page = open_phone(f"login=zhang&page=pages/{name}/index", color_scheme=scheme)
        page.wait_for_load_state("networkidle")
        assert_clean(page)

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_code_is_clean_signed_short_and_offline(self, open_phone, shown_code, scheme):
        page = open_phone(color_scheme=scheme)
        shown_code(page).wait_for()
        assert_clean(page)
        page.locator('[data-action="kind"]').click()
        page.locator('[data-bar-text]:not([data-bar-text=""])').wait_for()
        assert_clean(page)
        page.get_by_role("button", name="断网").click()
        expect(page.locator("[data-chip=offline]")).to_be_visible()
        assert_clean(page)

    def test_overlays_and_sheets_are_clean(self, open_phone, shown_code, server):
        page = open_phone()
        shown_code(page).wait_for()
        server.happened.append(
            {
                "id": "e",
                "kind": "passage-denied",
                "at": "2026-11-23T04:00:00Z",
                "passage_id": "p",
                "place": "图书馆",
                "direction": "in",
                "reason": "card-expired",
                "reference": "KCSY5CGD",
            }
        )
        page.locator("[data-result]").wait_for()
        assert_clean(page)
        page.locator('[data-result] [data-action="close"]').click()
        page.locator('[data-tab="1"]').click()
        page.locator('[data-action="month"]').click()
        page.locator("[data-sheet]").wait_for()
        assert_clean(page)

    def test_english_and_the_largest_type_are_clean(self, open_phone, shown_code):
        page = open_phone(locale="en-GB")
        expect(page.locator(".nav-title")).to_have_text("Campus code")
        page.get_by_label("系统字号").select_option("24")
        shown_code(page).wait_for()
        expect(page.locator(".page.care")).to_be_visible()
        assert_clean(page)


class TestKeyboard:
    def test_reaches_and_presses_what_fingers_tap(self, open_phone, shown_code):
        page = open_phone()
        shown_code(page).wait_for()
        gate = page.locator('[data-scope="gate"]')
        gate.focus()
        page.keyboard.press("Enter")
        expect(gate).to_have_attribute("aria-selected", "true")


class TestTargets:
    @pytest.mark.parametrize("name", ["code", *PAGES])
    def test_are_large_enough_for_a_thumb(self, open_phone, name):
        page = open_phone(f"login=zhang&page=pages/{name}/index")
        page.wait_for_load_state("networkidle")
        small = page.evaluate(
            """(least) => [...document.querySelectorAll('.wx-page button, .wx-page [tabindex="0"]')]
                .map((one) => ({ text: one.textContent, box: one.getBoundingClientRect() }))
                .filter(({ box }) => box.width && (box.width < least || box.height < least))
                .map(({ text, box }) => [text, box.width, box.height])""",
            LEAST_TARGET_PX,
        )
        assert small == []


class TestDictionaries:
    @pytest.mark.parametrize("place", ["", "pages/refund", "pages/closing"])
    def test_have_the_same_keys(self, chromium, program, place):
        page = chromium.new_page()
        read = "source => { const module = {}; new Function('module', source)(module); "
        keys = read + (
            "const walk = (one, at) => typeof one === 'object' ? "
            "Object.keys(one).flatMap((key) => walk(one[key], at + '/' + key)) : [at]; "
            "return walk(module.exports, '') }"
        )
        chinese, english = (
            page.evaluate(keys, (program / place / "i18n" / f"{name}.js").read_text())
            for name in ("zh-CN", "en")
        )
        page.close()
        assert chinese == english
