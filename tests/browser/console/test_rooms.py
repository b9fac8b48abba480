"""Rooms where one office begins and another ends, walked in the browser and looked at with axe."""

import secrets
from datetime import date, timedelta
from urllib.parse import urlsplit

import pytest
from applicants import today
from factories import (
    Bound,
    Person,
    balances,
    make_document,
    make_holder,
    make_person,
    make_till,
    present,
)
from playwright.sync_api import Page, expect
from sqlalchemy import update

from backend import clock
from backend.charges import paying_back
from backend.charges import service as charges
from backend.charges.models import Charge
from backend.db import transaction
from backend.holders.models import Category
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operators.models import Role
from backend.subsidies import paying

from .conftest import assert_clean, follow, leave, sign_in

pytestmark = pytest.mark.browser

LANGUAGES = ["zh-CN", "en"]


def speak(page: Page, language: str) -> None:
    """Choose the language of the pages, unless it is the browser's."""
    if language == "en" and page.locator("html").get_attribute("lang") != "en":
        follow(page, page.get_by_role("button", name="English"))
    expect(page.locator("html")).to_have_attribute("lang", language)


def fill(page: Page, **said: object) -> None:
    """Fill in a form by the names of its fields."""
    for name, value in said.items():
        page.locator(f"main [name={name}]").fill(str(value))


def record(page: Page, sponsor: Person) -> str:
    """Record an application for three people, past what is wrong with it; return where it is."""
    main, document = page.locator("main"), make_document()
    page.goto("/console/applications")
    assert_clean(page)
    follow(page, main.locator('a[href$="/new"]'))
    assert_clean(page)
    main.locator("select[name=category]").select_option("temporary_outsider")
    main.locator("[name=pays_surcharge][value=open]").check()
    fill(
        page,
        oa_number=f"OA-{secrets.token_hex(5)}",
        sponsor_unit="后勤保卫处",
        sponsor_number="nobody",
        purpose="设备维护",
        valid_until=today() + timedelta(days=60),
        list=f"马师傅,设备维护公司,,{document}\n,,护照,E1234567",
    )
    follow(page, main.locator("button.primary"))
    expect(page.get_by_role("alert")).to_be_visible()
    assert_clean(page)
    fill(page, list=f"马师傅,设备维护公司,,{document}\n钱工\n王小明,,,{sponsor.document}")
    follow(page, main.locator("button.primary"))
    expect(page.get_by_role("alert")).to_be_visible()
    fill(page, sponsor_number=sponsor.number)
    follow(page, main.locator("button.primary"))
    assert document not in page.content()
    assert_clean(page)
    follow(page, main.locator("button.primary"))
    assert_clean(page)
    return page.url


class TestApplications:
    @pytest.mark.parametrize("language", LANGUAGES)
    def test_from_the_pasted_list_to_the_early_end(
        self, page: Page, parts: Parts, language: str
    ) -> None:
        sponsor = make_person(parts, category=Category.STAFF, unit="后勤保卫处")
        main = page.locator("main")
        sign_in(page, parts)
        speak(page, language)
        application = record(page, sponsor)
        for _ in range(2):
            fill(page, approver="陈院长", document="附件1")
            follow(page, main.locator("form[action*=approvals] button"))
        assert_clean(page)
        follow(page, main.locator('a[href$="/opening"]'))
        assert_clean(page)
        fill(page, receipt_number=f"R{secrets.token_hex(5)}")
        follow(page, main.locator("button.primary"))
        assert_clean(page)
        follow(page, main.locator('a[href$="/extension"]'))
        assert_clean(page)
        fill(page, oa_number=f"OA-{secrets.token_hex(5)}", valid_until=today() + timedelta(days=90))
        for kind in ("unit", "leader"):
            fill(page, **{f"{kind}_approver": "陈院长", f"{kind}_document": "附件2"})
        follow(page, main.locator("button.primary"))
        assert_clean(page)
        follow(page, main.locator('a[href*="/console/holders/"]').last)
        follow(page, main.locator('a[href*="/console/applications/"]'))
        assert page.url == application

        leave(page)
        sign_in(page, parts, Role.LOGISTICS)
        page.goto(application)
        speak(page, language)
        assert main.locator('a[href$="/extension"]').count() == 0
        follow(page, main.locator('a[href$="/early-leaving"]').first)
        assert_clean(page)
        fill(page, last_on=today() + timedelta(days=3), reason="合同提前结束")
        follow(page, main.locator("button.danger"))
        assert_clean(page)


def choose(page: Page, content: str) -> None:
    """Choose a file with these lines."""
    file = {"name": "list.csv", "mimeType": "text/csv", "buffer": content.encode()}
    page.locator("main input[type=file]").set_input_files(file)


def make_batch(page: Page, numbers: list[str]) -> str:
    """Check a list, put it right, and make a batch of it; return where it is."""
    main = page.locator("main")
    follow(page, main.locator('a[href$="/new"]'))
    assert_clean(page)
    fill(page, name="伙食补贴", document_number="学工〔2026〕18号", fund="国家资助")
    choose(page, f"学工号,金额\n{numbers[0]},12.5\nnobody,1\n")
    follow(page, main.locator("button.primary"))
    expect(page.get_by_role("alert")).to_be_visible()
    assert_clean(page)
    right = "学工号,金额\n" + "".join(f"{number},12.5\n" for number in numbers)
    choose(page, right)
    follow(page, main.locator("button.primary"))
    assert_clean(page)
    choose(page, right)
    follow(page, main.locator("button.primary"))
    return page.url


class TestSubsidies:
    @pytest.mark.parametrize("language", LANGUAGES)
    def test_from_the_list_to_the_purse_and_back(
        self, page: Page, parts: Parts, language: str
    ) -> None:
        holders = [make_person(parts) for _ in range(3)]
        main = page.locator("main")
        sign_in(page, parts, Role.STUDENT_AFFAIRS, first="补贴发放")
        speak(page, language)
        assert_clean(page)
        batch = make_batch(page, [holder.number for holder in holders])
        assert_clean(page)

        leave(page)
        sign_in(page, parts, Role.FINANCE)
        page.goto("/console/subsidies")
        speak(page, language)
        follow(page, main.locator(f'a[href="{urlsplit(batch).path}"]'))
        main.locator("summary").click()
        assert_clean(page)
        follow(page, main.locator("form[action$=approval] button"))
        assert_clean(page)
        paying.pay_due(now=clock.now())
        page.reload()
        assert_clean(page)
        fill(page, holder_number=holders[1].number)
        follow(page, main.locator("form[action$=search] button"))
        assert_clean(page)
        follow(page, main.locator('a[href$="/withdrawal"]'))
        assert_clean(page)
        fill(page, reason="重复发放")
        follow(page, main.locator("button.danger"))
        assert_clean(page)

        leave(page)
        sign_in(page, parts, Role.FINANCE)
        page.goto("/console/subsidies")
        speak(page, language)
        assert_clean(page)
        page.goto(batch)
        follow(page, main.locator('form[action*="/withdrawals/"] button'))
        assert_clean(page)
        assert balances(holders[1].id) == (0, 0)
        assert balances(holders[2].id) == (0, 1_250)
        follow(page, main.locator('a[href*="/console/holders/"]').nth(2))
        assert_clean(page)


def eat(parts: Parts, day: date) -> Bound:
    """Let somebody pay 10.00 yuan and 1.00 of surcharge in a canteen, noted for a day."""
    holder = make_holder(parts, balance_fen=5_000, pays_surcharge=True)
    till = make_till(is_canteen=True)
    with transaction() as session:
        charged, _ = charges.charge(
            session, charge_id=new_id(), terminal=till.caller, code=present(holder.id),
            code_text="", amount_fen=Fen(1000), note=None, now=clock.now(),
        )  # fmt: skip
        assert charged.reason is None
    with transaction() as session:
        session.execute(update(Charge).where(Charge.id == charged.id).values(business_date=day))
    return holder


class TestReratings:
    @pytest.mark.parametrize(("language", "day"), [("zh-CN", "2018-03-01"), ("en", "2018-03-02")])
    def test_from_the_sums_to_the_purses(
        self, page: Page, parts: Parts, language: str, day: str
    ) -> None:
        holder, main = eat(parts, date.fromisoformat(day)), page.locator("main")
        sign_in(page, parts)
        page.goto("/console/reratings")
        speak(page, language)
        assert_clean(page)
        fill(page, first_day=day, last_day="2018-01-01", permille=40)
        follow(page, main.locator("button.primary"))
        expect(page.get_by_role("alert")).to_be_visible()
        assert_clean(page)
        fill(page, last_day=day)
        follow(page, main.locator("button.primary"))
        expect(main).to_contain_text("¥0.60")
        assert_clean(page)
        fill(page, document_number="后勤〔2026〕7号", reason="比例有误")
        follow(page, main.locator("button.primary"))
        assert_clean(page)
        rerated = page.url

        leave(page)
        sign_in(page, parts, Role.FINANCE)
        page.goto(rerated)
        speak(page, language)
        assert_clean(page)
        follow(page, main.locator("form[action$=approval] button"))
        assert_clean(page)
        paying_back.pay_due(now=clock.now())
        assert balances(holder.id) == (5_000 - 1_040, 0)
        page.reload()
        assert_clean(page)
        follow(page, main.locator('a[href$="/reratings"]'))
        assert_clean(page)
