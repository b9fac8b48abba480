"""The stage before the real server: phone, till and gate side by side."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


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
        """A pay code pays and opens no door; what the last caption proposes opens it."""
        feed, caption = stage.locator("#feed"), stage.locator("#caption")
        stage.locator("#story").click()
        expect(caption).to_contain_text("切到「通行」", timeout=30_000)
        expect(feed.locator('[data-kind="charge-approved"]')).to_contain_text("12.50")
        expect(feed.locator('[data-kind="passage-deny"]')).to_be_visible()
        phone = stage.frame_locator("#phone")
        if phone.locator("[data-result] [data-action=close]").is_visible():
            phone.locator("[data-result] [data-action=close]").click()
        carried = feed.locator('[data-kind="phone-code"]')
        seen = carried.count()
        phone.locator('[data-scope="gate"]').click()
        expect(carried).to_have_count(seen + 1)
        stage.locator("#to-gate").click()
        expect(feed.locator('[data-kind="passage-allow"]')).to_be_visible()

    def test_changes_who_holds_the_phone(self, stage):
        stage.locator("#holder").select_option(label="林晓彤 · 学生 · 已挂失")
        phone = stage.frame_locator("#phone")
        expect(phone.locator('[data-view="card-lost"]')).to_be_visible()
        expect(stage.locator("#to-till")).to_be_disabled()
