"""The page that shows the contract works from this server alone."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Playwright

STATIC = Path(__file__).parents[2] / "backend/http/static"


class TestVendored:
    def test_files_are_those_of_the_package(self) -> None:
        listed = dict(
            re.findall(
                r"\| `(\S+)` \| `([0-9a-f]{64})` \|", (STATIC / "swagger-ui/VENDOR.md").read_text()
            )
        )
        files = {path.name: path for path in (STATIC / "swagger-ui").iterdir()}
        assert set(listed) == set(files) - {"VENDOR.md"}
        for name, digest in listed.items():
            assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digest, name


@pytest.mark.browser
class TestPage:
    def test_shows_every_section_and_asks_nobody_else(
        self, server: str, playwright: Playwright
    ) -> None:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("no Chromium on this machine: the page was not looked at")
        asked: list[str] = []
        said: list[str] = []
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"],
        )
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        answer = page.goto(f"{server}/docs")
        page.wait_for_selector("#operations-tag-terminal")
        sections = page.locator(".opblock-tag").count()
        page.click("#operations-tag-terminal")
        page.wait_for_selector("#operations-terminal-createCharge")
        page.click("#operations-terminal-createCharge .opblock-summary-control")
        page.wait_for_selector("#operations-terminal-createCharge .responses-table")
        shown = page.locator(".opblock").count()
        browser.close()
        assert (sections, shown > 15) == (5, True)
        assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {
            server.split("/")[2]
        }
        assert said == []
        assert answer is not None
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
