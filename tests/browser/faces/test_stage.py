"""The stage: the phone's code is carried to till or gate, and the feed tells what happened."""

import pytest
from axe import violations
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

CODE = "961" + "5772156649" * 19 + "01532860"
PHONE = "<!doctype html><html lang='zh-CN'><title>手机</title><main><h1>手机</h1></main></html>"


@pytest.fixture
def stage(page: Page, origin: str, script, terminals) -> Page:
    script.on(
        "GET /terminals/current",
        lambda token, **_: (
            200,
            {
                **terminals[token.removesuffix("-token")],
                "merchant": None,
                "stall": None,
                "reader": "hid",
            },
        ),
    )
    page.set_viewport_size({"width": 1440, "height": 900})
    page.route(
        "**/stage/phone/**", lambda route: route.fulfill(content_type="text/html", body=PHONE)
    )
    page.goto(f"{origin}/stage/")
    expect(page.frame_locator("#till").locator("body")).to_have_attribute("data-state", "amount")
    expect(page.frame_locator("#gate").locator("body")).to_have_attribute("data-state", "idle")
    return page


def show_on_phone(stage: Page, code: str) -> None:
    phone = next(frame for frame in stage.frames if "/stage/phone/" in frame.url)
    phone.evaluate(
        "text => parent.postMessage({ type: 'phone-code', text }, location.origin)", code
    )


class TestStage:
    def test_carries_the_phones_code_to_the_till(self, stage, script):
        expect(stage.locator("#to-till")).to_be_disabled()
        show_on_phone(stage, CODE)
        till = stage.frame_locator("#till")
        till.locator("[data-quick='1200']").click()
        till.locator("#charge").click()
        stage.locator("#to-till").click()
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        expect(stage.locator("#feed [data-kind=charge-approved]")).to_contain_text("¥13.80")
        assert [body for _, body in script.sent("PUT /charges/.*")] == [
            {"code": CODE, "amount_fen": 1200}
        ]

    def test_carries_the_phones_code_to_the_gate(self, stage, script):
        show_on_phone(stage, CODE)
        stage.locator("#to-gate").click()
        expect(stage.frame_locator("#gate").locator("body")).to_have_attribute(
            "data-state", "allow"
        )
        expect(stage.locator("#feed [data-kind=passage-allow]")).to_contain_text("张*明")

    def test_opens_the_phone_of_the_chosen_holder(self, stage):
        stage.locator("#holder").select_option(index=1)
        expect(stage.locator("#phone")).to_have_attribute(
            "src", "/stage/phone/?login=li&platform=alipay"
        )

    def test_listens_to_nobody_but_its_own_frames(self, stage):
        stage.evaluate("postMessage({ type: 'phone-code', text: '1' }, location.origin)")
        stage.evaluate("till.contentWindow.postMessage({ type: 'x' }, location.origin)")
        show_on_phone(stage, CODE)
        expect(stage.locator("#feed li")).to_have_count(1)

    def test_leaves_the_focus_where_the_person_works(self, stage):
        stage.locator("#holder").focus()
        show_on_phone(stage, CODE)
        stage.locator("#to-till").focus()
        stage.keyboard.press("Enter")
        expect(stage.locator("#feed [data-kind=carried]")).to_have_count(1)
        expect(stage.locator("#to-till")).to_be_focused()

    @pytest.mark.parametrize("width", [1440, 1024, 390])
    def test_fits_the_screen_and_is_accessible(self, stage, width):
        stage.set_viewport_size({"width": width, "height": 900})
        stage.emulate_media(reduced_motion="reduce")
        stage.wait_for_timeout(250)
        assert stage.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(stage) == []

    def test_says_what_the_phone_was_told(self, stage):
        phone = next(frame for frame in stage.frames if "/stage/phone/" in frame.url)
        event = {"kind": "charge-declined", "reason": "insufficient-balance", "short_fen": 350}
        phone.evaluate(
            "event => parent.postMessage({ type: 'phone-event', event }, location.origin)", event
        )
        told = stage.locator("#feed [data-kind=phone-charge-declined]")
        expect(told).to_contain_text("余额不足，还差 ¥3.50")
        stage.locator("#language").click()
        expect(told).to_contain_text("Balance too low by ¥3.50")

    def test_plays_its_story_with_one_code_for_each_use(self, stage, script):
        show_on_phone(stage, CODE)
        stage.locator("#story").click()
        till = stage.frame_locator("#till")
        expect(till.locator("body")).to_have_attribute("data-state", "approved", timeout=15_000)
        show_on_phone(stage, CODE.replace("5772", "5773", 1))
        expect(stage.locator("#feed [data-kind=passage-allow]")).to_be_visible(timeout=15_000)
        [(_, charge)] = script.sent("PUT /charges/.*")
        [(_, passage)] = script.sent("PUT /passages/.*")
        assert charge == {"code": CODE, "amount_fen": 1250}
        assert passage["code"] != CODE
        expect(stage.locator("#story")).to_have_text("演示故事", timeout=15_000)
