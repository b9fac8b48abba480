"""The camera: a film of a code is read on the till; its decoder is ours and loaded only then."""

import hashlib
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

SIGNED = "961" + "3141592653" * 19 + "58979323"


class TestCamera:
    def test_reads_a_signed_code_and_loads_its_decoder_only_when_opened(
        self, till, script, film: Callable[[str], None]
    ):
        loaded: list[str] = []
        till.on("request", lambda request: loaded.append(request.url))
        film(SIGNED)
        till.keyboard.type("6")
        till.keyboard.press("Enter")
        assert not any("zxing" in url for url in loaded)
        till.locator("#camera").click()
        expect(till.locator("body")).to_have_attribute("data-state", "approved", timeout=30_000)
        assert [body["code"] for _, body in script.sent("PUT /charges/.*")] == [SIGNED]
        assert any(url.endswith("/stage/faces/vendor/zxing/zxing_reader.wasm") for url in loaded)

    def test_stops_when_closed(self, till):
        till.locator("#camera").click()
        expect(till.locator("#camera")).to_have_attribute("aria-pressed", "true", timeout=30_000)
        till.locator("#camera").click()
        expect(till.locator("#camera-view")).to_be_hidden()
        assert till.evaluate("document.querySelector('#camera-view').srcObject") is None


class TestVendoredDecoder:
    def test_is_what_its_note_says(self, faces):
        folder = faces / "faces" / "vendor" / "zxing"
        rows = re.findall(
            r"^\| `([^`]+)` \| `[^`]+` \| `([0-9a-f]{64})` \|$",
            (folder / "VENDOR.md").read_text(),
            re.MULTILINE,
        )
        assert len(rows) == 4
        for name, digest in rows:
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
