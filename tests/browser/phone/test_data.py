"""The page of one's own data: what is kept, who looked, and all of it as a file."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from backend.own_data.catalogue import PARTS

pytestmark = pytest.mark.browser

PAGE = ".wx-page:not([hidden])"


@pytest.fixture
def phone(open_phone) -> Page:
    page = open_phone("login=zhang&page=pages/data/index")
    page.locator(f"{PAGE} [data-kept]").first.wait_for()
    return page


def test_is_reached_from_me(open_phone):
    page = open_phone("login=zhang&page=pages/me/index")
    page.locator(f'{PAGE} [data-action="data"]').click()
    expect(page.locator(f'{PAGE} [data-action="download"]')).to_be_enabled()


def test_tells_what_is_kept_and_who_looked(phone):
    kept = phone.locator(f"{PAGE} [data-kept]").all_inner_texts()
    assert [re.sub(r"\s+", " ", line) for line in kept] == [
        "身份与名册 1 条",
        "卡与办理 2 条",
        "钱 2 条",
        "其他 1 条",
    ]
    looks = phone.locator(f"{PAGE} [data-look]")
    expect(looks).to_have_count(2)
    expect(looks.first).to_contain_text("卡务中心")
    expect(looks.first).to_contain_text("2026-11-24 09:05 · 本人来电")
    expect(looks.first).to_contain_text("看到了完整姓名")
    expect(looks.last).to_contain_text("只看到打码信息")


def test_hands_all_of_it_over_as_a_file(phone, server):
    with phone.expect_download() as caught:
        phone.locator(f'{PAGE} [data-action="download"]').click()
    assert caught.value.suggested_filename == "campus-card-2026-11-26.json"
    assert json.loads(Path(caught.value.path()).read_text("utf-8")) == server.own_data


def test_says_when_nobody_looked(open_phone, server):
    server.own_data["looks"] = []
    page = open_phone("login=zhang&page=pages/data/index")
    expect(page.get_by_text("没有工作人员查看过")).to_be_visible()


def test_tells_why_there_is_none(open_phone, server):
    server.refusals["GET /me/data"] = (429, "too-many-requests")
    page = open_phone("login=zhang&page=pages/data/index")
    expect(page.locator(f'{PAGE} [data-problem="too-many-requests"]')).to_be_visible()
    expect(page.locator(f'{PAGE} [data-action="download"]')).to_have_count(0)


def test_knows_where_every_part_of_the_api_belongs(program):
    """A table of the catalogue that the page does not know would stand among the others."""
    page = (program / "pages" / "data" / "index.js").read_text("utf-8")
    missing = {part.table.name for part in PARTS if f"'{part.table.name}'" not in page}
    assert missing == set()
