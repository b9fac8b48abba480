"""The rooms in which accounts end: departures, graduates, payouts, screenings, looked at with axe.

With `SCREENSHOTS` set to a folder, each page is kept there as a picture.
"""

import os
import secrets
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from factories import Bound, make_holder, make_operator, make_person
from playwright.sync_api import Page, expect
from sqlalchemy import update

from backend import clock
from backend.closings import emptying
from backend.closings import service as closings
from backend.closings.models import ClosingBatch, ClosingKind, ScreeningItem, ScreeningOutcome
from backend.db import transaction
from backend.holders.models import Category, Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role

from .conftest import assert_clean, follow, leave, sign_in

pytestmark = pytest.mark.browser

LANGUAGES = ["zh-CN", "en"]


def look(page: Page, name: str) -> None:
    """Look at a page with axe; keep a picture of it where somebody wants one."""
    assert_clean(page)
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def speak(page: Page, language: str) -> None:
    if language == "en" and page.locator("html").get_attribute("lang") != "en":
        follow(page, page.get_by_role("button", name="English"))
    expect(page.locator("html")).to_have_attribute("lang", language)


def day(days: int) -> str:
    return (clock.business_date(clock.now()) + timedelta(days=days)).isoformat()


def owe(parts: Parts, holder: Bound) -> None:
    """Close somebody's account as far as the payout list."""
    closing_id = new_id()
    with transaction() as session:
        closings.start(
            session,
            closing_id=closing_id,
            holder_id=holder.id,
            kind=ClosingKind.LEAVING,
            document="人事〔2026〕1号",
            actor=SYSTEM,
            now=clock.now(),
        )
    later = clock.now() + timedelta(days=4)
    while emptying.advance(closing_id=closing_id, channels=parts.channels, now=later):
        pass


@pytest.mark.parametrize("language", LANGUAGES)
def test_departures_and_retirees(page: Page, parts: Parts, language: str) -> None:
    student, staff = make_person(parts), make_holder(parts, category=Category.STAFF)
    main = page.locator("main")
    sign_in(page, parts)
    speak(page, language)
    page.goto("/console/departures")
    look(page, "departures-empty")
    follow(page, main.locator("a.primary"))
    look(page, "departure-form")
    main.locator("select[name=kind]").select_option("leaving")
    main.locator("input[name=effective_on]").fill(day(30))
    main.locator("input[name=document]").fill("教务〔2026〕8号")
    main.locator("textarea").fill(f"{student.number}\nnobody")
    follow(page, main.locator("button.primary"))
    expect(page.get_by_role("alert")).to_be_visible()
    look(page, "departure-faults")
    follow(page, main.locator("button").last)
    main.locator("textarea").fill(student.number)
    follow(page, main.locator("button.primary"))
    look(page, "departure-preview")
    follow(page, main.locator("button.primary"))
    look(page, "departure")
    follow(page, main.get_by_role("link", name=student.number))
    look(page, "holder-leaving")
    page.go_back()
    follow(page, main.locator("button.danger"))
    look(page, "departure-withdrawn")
    page.goto("/console/departures")
    look(page, "departures")
    page.goto(f"/console/holders/{staff.id}")
    follow(page, main.locator('a[href*="retirements/new"]'))
    expect(main.locator("input[name=holder_number]")).to_have_value(staff.number)
    look(page, "retirement-form")
    main.locator("input[name=document]").fill("人事〔2026〕3号")
    follow(page, main.locator("button.primary"))
    look(page, "retirement-preview")
    follow(page, main.locator("button.primary"))
    look(page, "retirement")
    page.goto("/console/departures/retirements")
    look(page, "retirements")


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_account_is_closed_once_one_has_seen_whose_it_is(
    page: Page, parts: Parts, language: str
) -> None:
    holder = make_holder(parts, balance_fen=4321, category=Category.STAFF)
    main = page.locator("main")
    sign_in(page, parts)
    speak(page, language)
    page.goto("/console/closings")
    look(page, "closings")
    main.locator("input[name=holder_number]").fill("nobody")
    follow(page, main.locator("button.primary"))
    expect(page.get_by_role("alert")).to_be_visible()
    look(page, "closing-nobody")
    main.locator("input[name=holder_number]").fill(holder.number)
    follow(page, main.locator("button.primary"))
    expect(main).to_contain_text("¥43.21")
    expect(main.locator("select[name=kind] option")).to_have_count(3)
    look(page, "closing-preview")
    with transaction() as session:
        assert closings.live_closing(session, holder_id=holder.id) is None
    main.locator("select[name=kind]").select_option("leaving")
    main.locator("input[name=document]").fill("人事〔2026〕1号")
    follow(page, main.locator("button.danger"))
    look(page, "closing-started")
    with transaction() as session:
        assert closings.live_closing(session, holder_id=holder.id) is not None


@pytest.mark.parametrize("language", LANGUAGES)
def test_plans_are_taken_back_and_people_who_stay_are_marked(
    page: Page, parts: Parts, language: str
) -> None:
    gone, studies = make_person(parts, valid_days=-1), make_person(parts, valid_days=900)
    main = page.locator("main")
    sign_in(page, parts)
    speak(page, language)
    page.goto("/console/graduates/new")
    form = main.locator("form").filter(has=page.locator("textarea[name=holder_numbers]"))
    main.locator("details").filter(has=page.locator("textarea")).locator("summary").click()
    form.locator("textarea[name=holder_numbers]").fill(f"{gone.number} {studies.number}")
    form.locator("input[name=graduated_on]").fill(day(0))
    form.locator("input[name=document]").fill("教务〔2027〕6号")
    follow(page, form.locator("button.primary"))
    expect(page.get_by_role("alert")).to_be_visible()
    look(page, "graduates-preview-stays")
    follow(page, main.locator("button.primary"))
    look(page, "graduates-stays")
    follow(page, main.locator("form[action$=withdrawal] button"))
    look(page, "graduates-withdrawn")
    page.goto(f"/console/people/{studies.id}")
    form = main.locator("form").filter(has=page.locator("select[name=category]"))
    form.locator("select[name=category]").select_option("staff")
    form.locator("input[name=unit]").fill("图书馆")
    form.locator("input[name=from]").fill(day(5))
    form.locator("input[name=valid_until]").fill(day(5000))
    form.locator("input[name=document_number]").fill("人事〔2026〕8号")
    follow(page, form.locator("button.primary"))
    page.goto(f"/console/departures/new?holder={studies.id}")
    main.locator("select[name=kind]").select_option("graduation")
    main.locator("input[name=effective_on]").fill(day(5))
    main.locator("input[name=document]").fill("教务〔2027〕7号")
    follow(page, main.locator("button.primary"))
    look(page, "departure-preview-changes")
    follow(page, main.locator("button.primary"))
    look(page, "departure-changes")
    page.goto(f"/console/people/{studies.id}")
    look(page, "person-changes")
    follow(page, main.locator("form[action$=withdrawal] button"))
    look(page, "person-change-withdrawn")


@pytest.mark.parametrize("language", LANGUAGES)
def test_graduates_by_two_people(page: Page, parts: Parts, language: str) -> None:
    units = [f"软件{secrets.token_hex(2)}班" for _ in range(2)]
    people = [make_holder(parts, unit=unit, valid_days=60, balance_fen=4321) for unit in units * 2]
    main = page.locator("main")
    sign_in(page, parts)
    speak(page, language)
    page.goto("/console/graduates")
    follow(page, main.locator("a.primary"))
    main.locator("form.row input[name=year]").first.fill(day(61)[:4])
    follow(page, main.locator("form.row button").first)
    look(page, "graduates-due")
    form = main.locator("form").filter(has=page.locator(f'input[value="{units[0]}"]'))
    form.locator("input[name=document]").fill("教务〔2027〕5号")
    follow(page, form.locator("button.primary"))
    look(page, "graduates-preview")
    follow(page, main.locator("button.primary"))
    batch = page.url
    look(page, "graduates-batch")
    row = main.get_by_role("row").filter(has_text=people[0].number)
    row.locator("summary").click()
    look(page, "graduates-exemption")
    row.locator("input[name=reason]").fill("升本校研究生")
    row.locator("input[name=until]").fill(day(900))
    follow(page, row.locator("button.primary"))
    look(page, "graduates-exempted")
    leave(page)
    sign_in(page, parts)
    speak(page, language)
    page.goto(batch)
    look(page, "graduates-to-approve")
    follow(page, main.locator("button.primary").first)
    look(page, "graduates-approved")
    expect(main.locator("button.danger")).to_have_count(0)
    with transaction() as session:
        made = session.get_one(ClosingBatch, UUID(batch.rpartition("/")[2]))
        made.graduated_on = clock.business_date(clock.now())
        for one in people:
            session.get_one(Holder, one.id).valid_until = made.graduated_on - timedelta(days=1)
    page.goto(batch)
    look(page, "graduates-to-run")
    follow(page, main.locator("button.danger"))
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(main.locator("button.danger")).to_have_count(0)
    look(page, "graduates-run")
    page.goto("/console/graduates")
    look(page, "graduates")


@pytest.mark.parametrize("language", LANGUAGES)
def test_payouts_by_two_people(page: Page, parts: Parts, language: str) -> None:
    first, second = (make_holder(parts, balance_fen=fen) for fen in (12345, 600))
    for holder in (first, second):
        owe(parts, holder)
    main = page.locator("main")
    sign_in(page, parts, Role.FINANCE)
    speak(page, language)
    page.goto("/console/payouts")
    look(page, "payouts-before")
    page.goto("/console/payouts/lines")
    look(page, "payout-lines")
    page.goto("/console/payouts/draft")
    look(page, "payout-draft")
    follow(page, main.locator("button.primary"))
    batch = page.url
    look(page, "payout-batch-own")
    leave(page)
    sign_in(page, parts, Role.FINANCE)
    speak(page, language)
    page.goto(batch)
    look(page, "payout-batch-to-approve")
    follow(page, main.locator("button.primary").first)
    look(page, "payout-batch-approved")
    with page.expect_download() as taken:
        main.locator('form[action$="export"] button').click()
    assert first.number in taken.value.path().read_text("utf-8")
    row = main.get_by_role("row").filter(has_text=second.number)
    row.get_by_role("checkbox").uncheck()
    main.locator("input[name=bank_reference]").fill("B20261126-1")
    follow(page, main.locator("button.primary"))
    look(page, "payout-batch-paid")
    follow(page, row.get_by_role("link"))
    look(page, "payout-line")
    main.locator("input[name=reason]").fill("账号已注销")
    follow(page, main.locator("button.danger"))
    look(page, "payout-line-bounced")
    page.goto("/console/payouts")
    look(page, "payouts")


def decide_the_rest(parts: Parts, screening_id: UUID) -> None:
    """Decide on what the other tests' people are found for: thousands, and each page is like it."""
    who = make_operator(parts, Role.CARD_CENTRE)
    with transaction() as session:
        session.execute(
            update(ScreeningItem)
            .where(ScreeningItem.screening_id == screening_id, ScreeningItem.outcome.is_(None))
            .values(
                outcome=ScreeningOutcome.CONTACT,
                reason="已电话联系",
                decided_by=who.operator_id,
                decided_at=clock.now(),
            )
        )


@pytest.mark.parametrize("language", LANGUAGES)
def test_screenings(page: Page, parts: Parts, language: str) -> None:
    for _ in range(3):
        make_person(parts, valid_days=-1)
    main = page.locator("main")
    sign_in(page, parts)
    speak(page, language)
    page.goto("/console/screenings")
    look(page, "screenings-empty")
    follow(page, main.locator("button.primary"))
    look(page, "screening-preview")
    follow(page, main.locator("button.primary"))
    look(page, "screening")
    main.locator("input[name=reason]").fill("已电话联系")
    main.locator("select[name=outcome]").select_option("contact")
    follow(page, main.locator('button[value="page"]'))
    decide_the_rest(parts, UUID(urlsplit(page.url).path.rsplit("/", 1)[-1]))
    page.reload()
    look(page, "screening-decided")
    follow(page, main.locator('form[action$="filing"] button'))
    look(page, "screening-filed")
    page.goto("/console/screenings")
    look(page, "screenings")
