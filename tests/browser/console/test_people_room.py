"""The room of decisions about people: two take the roster's value over a proven one.

With `SCREENSHOTS` set to a folder, the page is kept there as a picture.
"""

import os
from pathlib import Path

import pytest
from factories import make_person
from playwright.sync_api import Page, expect

from backend import clock
from backend.db import transaction
from backend.holders.models import Holder, RosterConflict
from backend.http.parts import Parts
from backend.ids import new_id

from .conftest import assert_clean, follow, leave, sign_in

pytestmark = pytest.mark.browser


def look(page: Page, name: str) -> None:
    """Look at a page with axe; keep a picture of it where somebody wants one."""
    assert_clean(page)
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_two_take_over_what_the_roster_says(page: Page, parts: Parts) -> None:
    person = make_person(parts)
    with transaction() as session:
        session.get_one(Holder, person.id).proven = ["name", "unit"]
        for field, value in (("name", "王二"), ("unit", "软件2409班")):
            session.add(
                RosterConflict(
                    id=new_id(),
                    holder_id=person.id,
                    field=field,
                    value=value,
                    seen_at=clock.now(),
                )
            )
    row = page.get_by_role("row").filter(has_text=person.number).filter(has_text="姓名")
    sign_in(page, parts)
    page.goto("/console/people")
    follow(page, row.get_by_role("button", name="提议采用名册"))
    expect(row).to_contain_text("须由他人复核")
    expect(row.get_by_role("button")).to_have_count(1)
    look(page, "people-first")
    leave(page)
    sign_in(page, parts)
    page.goto("/console/people")
    follow(page, row.get_by_role("button", name="采用名册"))
    expect(row).to_have_count(0)
    with transaction() as session:
        assert session.get_one(Holder, person.id).name == "王二"
