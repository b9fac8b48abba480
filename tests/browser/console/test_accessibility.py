"""Every page of the console against axe, on a desk and on a phone, in both languages; by keyboard.

Whatever a page asks of another origin, refuses by its content security policy or writes as an error
fails the test that opened it.
"""

import secrets
from datetime import timedelta

import pytest
from factories import make_gate, make_holder, make_till, present
from flask import Flask
from playwright.sync_api import Page, expect
from scanners import Told, Uploads

from backend import clock
from backend.cards import found
from backend.charges import service as charges
from backend.console import found_cards
from backend.db import transaction
from backend.gates import service as gates
from backend.gates.models import Direction
from backend.holders.roster import COLUMNS
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.terminals import heartbeats

from .conftest import assert_clean, follow, sign_in

pytestmark = pytest.mark.browser

SIZES = """all => all.filter(one => one.checkVisibility()).map(one => one.getBoundingClientRect())
    .map(box => Math.min(box.width, box.height))"""
"""The shorter side of everything that is seen, in pixels."""


def find_many_cards() -> None:
    """Record more found cards than a page lists, so that it and the log lead on to older ones."""
    with transaction() as session:
        for _ in range(found_cards.MOST + 1):
            found.record(
                session, found_id=new_id(), number=secrets.token_hex(5), place="食堂",
                actor=SYSTEM, now=clock.now(),
            )  # fmt: skip


def live(parts: Parts, app: Flask) -> str:
    """Let a holder pay and pass, so that every table has rows; return the holder's number."""
    find_many_cards()
    holder, till, gate = make_holder(parts, balance_fen=5000), make_till(), make_gate()
    with transaction() as session:
        now = clock.now()
        charges.charge(
            session, charge_id=new_id(), terminal=till.caller, code=present(holder.id),
            code_text="", amount_fen=Fen(1200), note=None, now=now,
        )  # fmt: skip
        gates.decide(
            session, passage_id=new_id(), terminal=gate.caller, code=present(holder.id),
            code_text="", direction=Direction.IN, now=now,
        )  # fmt: skip
        hour_ago = now - timedelta(hours=1)
        heartbeats.note_heartbeat(
            session, caller=gate.caller, now=hour_ago, queue_length=7, clock=now, bundle_sequence=1
        )
        heartbeats.note_gap(session, gate.id, missing=[3, 4], now=hour_ago)
    uploads = Uploads(app.test_client())  # one to look at, one to decide
    uploads.send(till, Told(till).charge("not a code"))
    uploads.send(gate, Told(gate).passage("not a code"))
    return holder.number


def walk_gates(page: Page) -> None:
    """Declare an emergency and try rules out."""
    main = page.locator("main")
    page.goto("/console/gates")
    declare = page.locator("form[action$=emergencies]")
    declare.locator("input[name=reason]").fill("演练")
    follow(page, declare.get_by_role("button"))
    assert_clean(page)
    follow(page, page.locator("form[action$=end]").first.get_by_role("button"))
    follow(page, main.get_by_role("table").first.get_by_role("link").first)
    assert_clean(page)
    page.locator("select[name=default]").select_option("deny")
    follow(page, page.locator("button[formaction]"))
    expect(page.locator("#tried")).to_be_visible()
    assert_clean(page)
    page.locator("select[name=rule-0-allow]").select_option("allow")
    page.locator("input[name=rule-0-holder_numbers]").fill("nobody")
    follow(page, page.locator("button.primary"))
    expect(page.get_by_role("alert")).to_be_visible()
    assert_clean(page)


def walk_cards(page: Page) -> None:
    """From a holder's page: what a card desk asks before it does anything, and found cards."""
    main = page.locator("main")
    follow(page, main.locator('a[href*="/console/cards/"]').last)
    assert_clean(page)
    card = page.url
    asked = main.locator('a[href*="operation?event"], a[href$="replacement"]')
    paths = [link.get_attribute("href") for link in asked.all()]
    assert len(paths) > 2
    for path in paths:
        page.goto(str(path))
        assert_clean(page)
    page.goto(card)
    follow(page, main.locator('a[href*="event=freeze"]'))
    main.locator("input[name=reason]").fill("演练")
    follow(page, main.locator("button.danger"))
    expect(page.get_by_role("status")).to_be_visible()
    assert_clean(page)
    page.goto("/console/found-cards")
    main.locator("input[name=number]").fill("0000000000x")
    main.locator("input[name=place]").fill("食堂")
    follow(page, main.locator("button.primary"))
    assert_clean(page)


def walk(page: Page, number: str) -> None:
    """Open every page and look at it."""
    main = page.locator("main")
    for path in (
        "", "search", "found-cards", "top-ups", "cash-desk", "cash-desk/shifts", "reviews",
        "lending", "terminals", "gates", "offline-money", "surcharge-flags", "roster", "log",
        "arrears", "nowhere",
    ):  # fmt: skip
        page.goto(f"/console/{path}")
        assert_clean(page)
    for path in ("found-cards", "log"):
        page.goto(f"/console/{path}")
        expect(main.locator("a[href*='cursor='], input[name=cursor] ~ button")).to_be_visible()
    page.goto("/console/")
    for summary in page.locator("summary").all():
        summary.click()
    assert_clean(page)
    page.goto("/console/search")
    main.get_by_role("textbox").fill(number)
    follow(page, main.get_by_role("button"))
    assert_clean(page)
    follow(page, main.get_by_role("link", name=number))
    assert_clean(page)
    main.get_by_role("combobox").select_option("present")
    follow(page, main.locator("form").first.get_by_role("button"))
    assert_clean(page)
    walk_cards(page)
    page.goto("/console/reviews")
    follow(page, main.locator("tbody a").first)
    assert_clean(page)
    main.get_by_role("combobox").select_option(index=1)
    main.get_by_role("textbox").fill("checked")
    follow(page, main.locator("form").get_by_role("button"))
    assert_clean(page)
    page.goto("/console/terminals")
    follow(page, main.get_by_role("link").first)
    assert_clean(page)
    page.goto("/console/terminals")
    follow(page, main.get_by_role("button").first)
    assert_clean(page)
    walk_gates(page)
    page.goto("/console/roster")
    file = ",".join(COLUMNS.values()) + "\nX1,赵一,学生,班,110105194912310021,2029-07-01,否\n"
    main.locator("input[type=file]").set_input_files(
        {"name": "roster.csv", "mimeType": "text/csv", "buffer": file.encode()}
    )
    follow(page, main.locator("form button"))
    assert_clean(page)


def walk_cash_desk(page: Page, number: str) -> tuple[str, str]:
    """Open a shift, take cash, count the drawer; return where the receipt and the shift are."""
    main = page.locator("main")
    page.goto("/console/cash-desk")
    assert_clean(page)
    main.locator("input[name=desk]").fill("行政楼 1号窗")
    main.locator("input[name=opening_float]").fill("200")
    follow(page, main.locator("button.primary"))
    main.locator("input[name=shown]").fill("nobody")
    follow(page, main.locator("button.primary"))
    expect(page.get_by_role("alert")).to_be_visible()
    assert_clean(page)
    # As at the window: nothing but the keyboard, from the number to the receipt.
    expect(main.locator("input[name=shown]")).to_be_focused()
    page.keyboard.type(number)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert_clean(page)
    expect(main.locator("input[name=amount]")).to_be_focused()
    page.keyboard.type("50")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert_clean(page)
    expect(main.locator("button.primary")).to_be_focused()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(main.locator(".receipt .money")).to_contain_text("¥50.00")
    assert_clean(page)
    receipt = page.url
    page.emulate_media(media="print")
    assert main.locator(".screen, .bar").first.is_hidden()
    expect(main.locator(".receipt")).to_be_visible()
    page.emulate_media(media="screen")
    follow(page, main.locator(".actions a").last)
    assert_clean(page)
    shift = page.url
    follow(page, main.get_by_role("link").filter(has_text="清点").or_(
        main.get_by_role("link", name="Count and close out")
    ).first)  # fmt: skip
    assert_clean(page)
    main.locator("input[name=count-10000]").fill("3")
    follow(page, main.locator("button.primary"))
    expect(page.get_by_role("alert")).to_be_visible()
    assert_clean(page)
    main.locator("input[name=note]").fill("不明")
    follow(page, main.locator("button.primary"))
    assert_clean(page)
    page.goto("/console/cash-desk")
    assert_clean(page)
    return receipt, shift


def change_language(page: Page, language: str) -> None:
    """Choose the language of the pages, which begin in Chinese."""
    if language == "en":
        follow(page, page.get_by_role("button", name="English"))


def propose_policies(page: Page) -> str:
    """Preview a preset and single keys by keyboard, and propose them; return where that stands."""
    main = page.locator("main")
    page.goto("/console/policies")
    assert_clean(page)
    follow(page, main.locator('a[href$="preset=regulation"]'))
    assert_clean(page)
    main.locator("input[name=document_number]").focus()
    page.keyboard.type("图文〔2026〕9号")
    page.keyboard.press("Tab")
    page.keyboard.type("与管理办法一致")
    main.locator("input[name=valid_from]").fill("2029-09-01T00:00")
    main.locator("input[name=valid_until]").fill("2029-12-01T00:00")
    main.locator("summary").first.focus()
    page.keyboard.press("Enter")
    main.locator('input[name="set-card.replacement_fee_fen"]').focus()
    for typed in ("15.555", "15.5"):
        page.keyboard.press("Control+A")
        page.keyboard.type(typed)
        with page.expect_navigation():
            page.keyboard.press("Enter")
        if typed == "15.555":
            expect(page.get_by_role("alert")).to_be_visible()
            assert_clean(page)
            main.locator("input[aria-invalid]").focus()
    expect(main.locator("#preview del")).to_have_count(1)
    expect(main.locator("#preview")).to_contain_text("15.50")
    expect(main.locator("#preview button")).to_be_focused()
    assert_clean(page)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert_clean(page)
    return page.url


class TestAccessibility:
    def test_signing_in_is_clean_also_when_refused(self, page) -> None:
        assert_clean(page)
        page.get_by_label("用户名").fill("nobody")
        page.get_by_label("密码").fill("wrong")
        page.get_by_label("动态口令").fill("000000")
        follow(page, page.locator("main").get_by_role("button"))
        expect(page.get_by_role("alert")).to_contain_text("登录失败")
        assert_clean(page)

    @pytest.mark.parametrize("language", ["zh-CN", "en"])
    def test_every_page_is_clean(self, page, parts, app, language) -> None:
        number = live(parts, app)
        sign_in(page, parts)
        if language == "en":
            follow(page, page.get_by_role("button", name="English"))
        expect(page.locator("html")).to_have_attribute("lang", language)
        walk(page, number)

    @pytest.mark.parametrize("language", ["zh-CN", "en"])
    def test_the_cash_desk_is_clean_on_both_sides(self, page, parts, language) -> None:
        holder = make_holder(parts)
        sign_in(page, parts, Role.FINANCE)
        if language == "en":
            follow(page, page.get_by_role("button", name="English"))
        receipt, shift = walk_cash_desk(page, holder.number)
        page.context.clear_cookies(name="campus_card_console")
        page.goto("/console/sign-in")
        if language == "en":
            follow(page, page.get_by_role("button", name="中文"))
        sign_in(page, parts)
        main = page.locator("main")
        page.goto(shift)
        main.get_by_role("combobox").select_option("recount")
        main.locator("input[name=reason]").fill("再数一遍")
        assert_clean(page)
        follow(page, main.locator("button.primary"))
        assert_clean(page)
        page.goto("/console/cash-desk")
        assert_clean(page)
        page.goto(receipt)
        assert_clean(page)
        main.locator("input[name=reason]").fill("误充")
        follow(page, main.locator("button.danger"))
        expect(main.locator(".void")).to_be_visible()
        assert_clean(page)

    def test_the_first_tab_leads_past_the_navigation(self, page, parts) -> None:
        sign_in(page, parts)
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="跳到正文")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()

    def test_what_is_pressed_is_large_enough(self, page, parts) -> None:
        find_many_cards()
        sign_in(page, parts)
        page.set_viewport_size({"width": 390, "height": 844})
        for path in (
            "",
            "search",
            "cash-desk",
            "terminals",
            "gates",
            "offline-money",
            "roster",
            "log",
        ):
            page.goto(f"/console/{path}")
            sizes = page.locator("button, nav a, a.button, select, input").evaluate_all(SIZES)
            assert sizes
            assert min(sizes) >= 24, path

    @pytest.mark.parametrize("language", ["zh-CN", "en"])
    def test_policies_are_clean_from_the_preview_to_the_end(self, page, parts, language) -> None:
        main = page.locator("main")
        sign_in(page, parts)
        change_language(page, language)
        proposal = propose_policies(page)
        page.goto("/console/policies")
        assert_clean(page)
        page.context.clear_cookies(name="campus_card_console")
        page.goto("/console/sign-in")
        if language == "en":
            follow(page, page.get_by_role("button", name="中文"))
        sign_in(page, parts)
        change_language(page, language)
        page.goto(proposal)
        assert_clean(page)
        follow(page, main.locator("button.primary"))
        assert_clean(page)
        for path in ("policies", "policies/proposals", "policies/card.restore_channels"):
            page.goto(f"/console/{path}")
            assert_clean(page)
        expect(main.locator(".timeline .planned")).to_have_count(2)
        page.goto(proposal)
        main.locator("input[name=reason]").fill("演练")
        follow(page, main.locator("form[action$=withdrawal] button"))
        assert_clean(page)
