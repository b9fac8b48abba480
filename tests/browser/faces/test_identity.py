"""Who a face is: a terminal of the demo, or the token that this device was given once."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture
def registered(script, terminals) -> None:
    """A server that knows one till, by the token ``kept-token``, and one enrolment code."""
    till = {**terminals["till"], "merchant": None, "stall": None, "reader": "hid"}
    script.on(
        "GET /terminals/current",
        lambda token, **_: (
            (200, till)
            if token in {"kept-token", "till-token"}
            else (401, {"code": "not-authenticated", "title": "no"})
        ),
    )
    script.on(
        "POST /terminals/enrolments",
        lambda body, **_: (
            (201, {"terminal_id": till["terminal_id"], "token": "kept-token"})
            if body["enrolment_token"] == "enrol-me"
            else (403, {"code": "enrolment-refused", "title": "no", "detail": "登记码无效"})
        ),
    )


def expect_ready(page: Page) -> None:
    expect(page.locator("body")).to_have_attribute("data-state", "amount")


@pytest.mark.usefixtures("registered")
class TestIdentity:
    def test_is_a_demo_terminal_by_number_or_by_id(self, page, origin, terminals):
        for name in ("1", terminals["till"]["terminal_id"]):
            page.goto(f"{origin}/stage/till/?terminal={name}")
            expect_ready(page)
            expect(page.locator("#place")).to_have_text(terminals["till"]["place"])

    def test_is_asked_for_at_first_and_kept_when_enrolled(self, page, origin, script):
        page.goto(f"{origin}/stage/till/")
        page.locator("#first-use [name=enrolment_token]").fill("wrong")
        page.locator("#first-use [type=submit]").click()
        expect(page.locator("#first-use [role=alert]")).to_have_text("登记码无效")
        page.locator("#first-use [name=enrolment_token]").fill("enrol-me")
        page.keyboard.press("Enter")
        expect_ready(page)
        page.reload()
        expect_ready(page)
        assert len(script.sent("POST /terminals/enrolments")) == 2

    def test_is_asked_for_at_first_and_kept_when_a_token_is_pasted(self, page, origin):
        page.goto(f"{origin}/stage/till/")
        page.locator("#first-use [name=token]").fill("kept-token")
        page.locator("#first-use [type=submit]").click()
        expect_ready(page)
        page.reload()
        expect_ready(page)

    def test_is_asked_for_again_when_the_token_is_refused(self, page, origin):
        page.goto(f"{origin}/stage/till/")
        page.locator("#first-use [name=token]").fill("dead-token")
        page.locator("#first-use [type=submit]").click()
        expect(page.locator("#first-use [role=alert]")).to_contain_text("令牌无效")

    def test_never_shows_the_token_in_the_address(self, page, origin, script):
        page.goto(f"{origin}/stage/till/?terminal=1")
        expect_ready(page)
        assert all("token" not in path for _, path, _ in script.asked)

    def test_refuses_to_be_another_kind_of_device(self, page, origin):
        page.goto(f"{origin}/stage/gate/")
        page.locator("#first-use [name=token]").fill("kept-token")
        page.locator("#first-use [type=submit]").click()
        expect(page.locator("#first-use [role=alert]")).to_contain_text("另一种设备")


@pytest.mark.usefixtures("registered")
class TestHeartbeat:
    def test_tells_queue_and_clock_every_half_minute(self, page, origin, script):
        page.clock.install(time=datetime(2026, 11, 23, 4, tzinfo=UTC))
        page.goto(f"{origin}/stage/till/?terminal=1")
        expect_ready(page)
        for _ in range(2):
            with page.expect_response("**/terminals/current/heartbeat"):
                page.clock.run_for(30_000)
        told = [body for _, body in script.sent("POST /terminals/current/heartbeat")]
        assert [body["queue_length"] for body in told] == [0, 0]
        first, second = (datetime.fromisoformat(body["clock"]) for body in told)
        assert second - first == timedelta(seconds=30)
        assert first.date().isoformat() == "2026-11-23"
