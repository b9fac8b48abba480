"""The page of limits: pausing is one tap, resuming asks who it is."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


@pytest.fixture
def paused(server):
    """A holder whose payments are paused; 031234 ends the document."""
    ordinary = server.answer
    server.paused = True

    def answer(method, path, query, body):
        if path != "/me/limits":
            return ordinary(method, path, query, body)
        if method == "PATCH" and body.get("paused") is False:
            if body.get("document_last_six") != "031234":
                return 403, {"code": "identity-not-matched", "status": 403}
            server.paused = False
        elif method == "PATCH":
            server.paused = body["paused"]
        return 200, {
            "per_charge_fen": None,
            "per_day_fen": None,
            "paused": server.paused,
            "pending": None,
        }

    server.answer = answer


@pytest.mark.usefixtures("paused")
class TestPause:
    def test_is_ended_with_the_documents_last_six(self, open_phone, server):
        page = open_phone("login=zhang&page=pages/limits/index")
        page.locator('[data-paused="true"]').wait_for()
        page.locator('[data-action="pause"]').click()
        page.locator('[data-field="document_last_six"]').fill("031235")
        page.locator('[data-action="resume"]').click()
        expect(page.locator("[data-sheet=resume] .field-error")).to_be_visible()
        page.locator('[data-field="document_last_six"]').fill("031234")
        page.locator('[data-action="resume"]').click()
        page.locator('[data-paused="false"]').wait_for()
        expect(page.locator("[data-sheet]")).to_have_count(0)

    def test_begins_with_one_tap(self, open_phone, server):
        server.paused = False
        page = open_phone("login=zhang&page=pages/limits/index")
        page.locator('[data-paused="false"]').wait_for()
        page.locator('[data-action="pause"]').click()
        page.locator('[data-paused="true"]').wait_for()
