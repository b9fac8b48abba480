"""What axe finds wrong with a page: WCAG 2.2 AA and the best practices."""

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

LOOK = """async () => (await axe.run({ resultTypes: ['violations'] })).violations
    .map(one => [one.id, one.nodes.map(node => node.target)])"""
"""Only what is wrong crosses over to us: of all that axe has to say, it is the smallest part."""


def violations(page: Page) -> list[Any]:
    """Return each broken rule with where it is broken; axe stays in the page for the next look."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found: list[Any] = page.evaluate(LOOK)
    return found
