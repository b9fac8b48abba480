"""The inbox on the phone: what is new shows on 我的, is read when opened, and leads on."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

PAGE = ".wx-page:not([hidden])"


class TestInbox:
    def test_is_read_when_it_is_opened(self, open_phone, server):
        page = open_phone("login=zhang&page=pages/me/index")
        expect(page.locator(f"{PAGE} .badge[data-unread]")).to_have_attribute("data-unread", "2")
        page.locator(f'{PAGE} [data-action="notices"]').click()
        expect(page.locator(f'{PAGE} [data-notice][data-unread="true"]')).to_have_count(2)
        page.wait_for_timeout(100)
        assert ("PUT", "/me/notices/read", {"up_to": "9.9"}) in server.asked
        page.get_by_role("button", name="返回").click()
        expect(page.locator(f'{PAGE} [data-action="notices"]')).to_be_visible()
        expect(page.locator(f"{PAGE} .badge[data-unread]")).to_have_count(0)

    def test_says_what_happened_in_both_languages(self, open_phone):
        page = open_phone("login=zhang&page=pages/notices/index")
        rows = page.locator(f"{PAGE} [data-notice]")
        expect(rows.nth(0)).to_contain_text("充值到账")
        expect(rows.nth(0)).to_contain_text("余额 ¥62.50")
        expect(rows.nth(1)).to_contain_text("第一食堂 3 号窗 · 付款已暂停")
        expect(rows.nth(3)).to_contain_text("通知")
        page = open_phone("login=zhang&page=pages/notices/index", locale="en-GB")
        expect(page.locator(f"{PAGE} [data-notice]").nth(3)).to_contain_text("Notice")

    @pytest.mark.parametrize(
        ("kind", "where"),
        [
            ("top-up-paid", "pages/topups/index"),
            ("charge-declined", "pages/bills/index"),
            ("card-lost", "pages/card/index"),
        ],
    )
    def test_leads_to_what_it_tells_of(self, open_phone, kind, where):
        page = open_phone("login=zhang&page=pages/notices/index")
        page.locator(f'{PAGE} [data-kind="{kind}"]').click()
        expect(page.locator(PAGE)).to_have_attribute("data-page", where)

    def test_reads_nothing_that_could_not_be_shown(self, open_phone, server):
        server.refusals["GET /me/notices"] = (503, "service-unavailable")
        page = open_phone("login=zhang&page=pages/notices/index")
        expect(page.locator(f"{PAGE} [data-problem]")).to_be_visible()
        assert not [path for _, path, _ in server.asked if path == "/me/notices/read"]
