"""The stage before the real server: phone, till and gate side by side."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("demo")]


@pytest.fixture
def stage(open_page) -> Page:
    """The stage, once the phone on it shows a code."""
    page = open_page("", viewport={"width": 1600, "height": 1000})
    expect(page.locator("#to-till")).to_be_enabled()
    return page


class TestStage:
    def test_a_code_is_carried_to_the_till(self, stage):
        till = stage.frame_locator("#till")
        till.locator("[data-quick='600']").click()
        till.locator("#charge").click()
        stage.locator("#to-till").click()
        expect(till.locator("body")).to_have_attribute("data-state", "approved")
        feed = stage.locator("#feed")
        expect(feed.locator('[data-kind="charge-approved"]')).to_contain_text("6.00")
        expect(feed.locator('[data-kind="phone-charge-approved"]')).to_contain_text("6.00")

    def test_tells_its_story_to_the_end(self, stage):
        stage.locator("#story").click()
        feed = stage.locator("#feed")
        expect(feed.locator('[data-kind="charge-approved"]')).to_be_visible()
        expect(feed.locator('[data-kind="passage-allow"]')).to_be_visible(timeout=20_000)
        expect(stage.locator("#story")).to_have_attribute("data-word", "story", timeout=20_000)

    def test_changes_who_holds_the_phone(self, stage):
        stage.locator("#holder").select_option(label="林晓彤 · 学生 · 已挂失")
        phone = stage.frame_locator("#phone")
        expect(phone.locator('[data-view="card-lost"]')).to_be_visible()
        expect(stage.locator("#to-till")).to_be_disabled()
