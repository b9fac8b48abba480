"""What closed accounts owe, and who comes back by a roster: the pages, looked at with axe.

With `SCREENSHOTS` set to a folder, each page is kept there as a picture.
"""

import pytest
from factories import Bound, make_holder
from playwright.sync_api import Page, expect
from sqlalchemy import update

from backend import clock
from backend.arrears import service as arrears
from backend.cards.models import Card, CardState
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.operators.models import Role

from .conftest import follow, leave, sign_in
from .test_leaving_rooms import look, owe

pytestmark = pytest.mark.browser


def owing(parts: Parts) -> Bound:
    """Return somebody whose account is closed and who owes 3.80."""
    holder, charge_id, now = make_holder(parts, name="欧阳晓明"), new_id(), clock.now()
    with transaction() as session:
        accounts = [
            ledger.school_account(session, kind)
            for kind in (AccountKind.ARREARS, AccountKind.SURCHARGE)
        ]
        charge = Movement(TransferKind.CHARGE, charge_id, *accounts, Fen(380))
        ledger.post(session, [charge], now=now)
        arrears.open_arrears(
            session, holder_id=holder.id, charge_id=charge_id, amount_fen=Fen(380),
            facts={"place": "第一食堂 3 号窗"}, now=now,
        )  # fmt: skip
        session.execute(
            update(Card).where(Card.holder_id == holder.id).values(state=CardState.CLOSED)
        )
    return holder


def test_arrears_are_written_off_by_two(page: Page, parts: Parts) -> None:
    holder, main = owing(parts), page.locator("main")
    sign_in(page, parts, Role.FINANCE)
    page.goto("/console/arrears")
    look(page, "arrears")
    follow(page, main.get_by_role("link", name=holder.number))
    main.get_by_label("原因").fill("失联，无法收回")
    main.get_by_label("依据文号").fill("财〔2026〕9号")
    look(page, "debtor-form")
    follow(page, main.get_by_role("button", name="提出核销 ¥3.80"))
    expect(main).to_contain_text("须由另一位财务人员复核")
    look(page, "debtor-waits")
    path = page.url
    leave(page)
    sign_in(page, parts, Role.FINANCE)
    page.goto(path)
    follow(page, main.get_by_role("button", name="复核通过"))
    expect(main).to_contain_text("¥0.00")
    look(page, "debtor-done")


def test_the_desk_takes_cash_for_arrears(page: Page, parts: Parts) -> None:
    holder, main = owing(parts), page.locator("main")
    sign_in(page, parts, Role.FINANCE)
    page.goto("/console/cash-desk")
    main.get_by_label("窗口").fill("行政楼 1号窗")
    main.get_by_label("备用金（元）").fill("200")
    follow(page, main.get_by_role("button", name="开班"))
    main.locator("input[name=shown]").fill(holder.number)
    follow(page, main.get_by_role("button", name="下一步"))
    main.locator("input[name=amount]").fill("3.8")
    look(page, "desk-arrears")
    follow(page, main.get_by_role("button", name="下一步"))
    follow(page, main.get_by_role("button", name="现金已收，入账"))
    expect(main).to_contain_text("现金补缴欠费收据")
    look(page, "receipt-arrears")


def test_a_roster_says_who_has_no_card(page: Page, parts: Parts) -> None:
    holder, main = make_holder(parts, name="欧阳晓明"), page.locator("main")
    owe(parts, holder)
    sign_in(page, parts)
    page.goto("/console/roster")
    row = f"{holder.number},{holder.name},学生,软件2401班,{holder.document},2099-07-01"
    feed = f"学工号,姓名,类别,单位,证件号码,有效期至\n{row}\n".encode()
    file = {"name": "a.csv", "mimeType": "text/csv", "buffer": feed}
    main.locator("input[type=file]").set_input_files(files=[file])  # type: ignore[list-item]
    follow(page, main.get_by_role("button", name="核对"))
    expect(main).to_contain_text("已销户")
    look(page, "roster-remarks")
    follow(page, main.get_by_role("link", name=holder.number))
    expect(main.get_by_role("button", name="按名册复户")).to_have_count(0)  # only checked so far


def test_an_application_leaves_the_surcharge_open(page: Page, parts: Parts) -> None:
    sign_in(page, parts)
    page.goto("/console/applications/new")
    page.get_by_label("未定").check()
    look(page, "application-form")
