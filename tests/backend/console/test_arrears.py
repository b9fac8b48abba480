"""The room of arrears: what closed accounts owe is paid at the desk, or written off by two."""

import re

import pytest
from factories import Bound, make_holder, other_policies
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

from .test_cash_desk import ROOM as DESK
from .test_cash_desk import hidden, look_up, open_shift


@pytest.fixture
def debtor(parts: Parts) -> Bound:
    """Somebody whose account is closed and who owes 3.80."""
    holder, charge_id, now = make_holder(parts), new_id(), clock.now()
    with transaction() as session:
        accounts = [
            ledger.school_account(session, kind)
            for kind in (AccountKind.ARREARS, AccountKind.SURCHARGE)
        ]
        charge = Movement(TransferKind.CHARGE, charge_id, *accounts, Fen(380))
        ledger.post(session, [charge], now=now)
        arrears.open_arrears(
            session, holder_id=holder.id, charge_id=charge_id, amount_fen=Fen(380),
            facts={"place": "第一食堂"}, now=now,
        )  # fmt: skip
        session.execute(
            update(Card).where(Card.holder_id == holder.id).values(state=CardState.CLOSED)
        )
    return holder


def form_of(page: str, ending: str) -> str:
    found = re.search(rf'action="([^"]+{ending})"', page)
    assert found is not None
    return found[1]


class TestRoom:
    def test_leads_two_people_to_a_write_off(self, staff, debtor) -> None:
        one, other = staff(Role.FINANCE), staff(Role.FINANCE)
        assert debtor.number in one.get("/console/arrears").text
        path = f"/console/arrears/{debtor.id}"
        page = one.get(path).text
        assert "第一食堂" in page
        assert "¥3.80" in page
        form = form_of(page, "write-offs/[0-9a-f-]{36}")
        said = hidden(page) | {"reason": "失联", "document": "财〔2026〕9号"}
        assert one.post(form, said | {"document": ""}).status_code == 422
        assert one.post(form, said | {"amount_fen": "379"}).status_code == 409
        assert one.post(form, said | {"amount_fen": "x"}).status_code == 422
        for _ in range(2):
            assert one.post(form, said).status_code == 303
        page = one.get(path).text
        assert "须由另一位财务人员复核" in page
        assert "/decision" not in page
        assert staff(Role.AUDITOR).get(path).status_code == 200
        decision = form_of(other.get(path).text, "/decision")
        assert one.post(decision, {"decision": "approve"}).status_code == 409
        assert other.post(decision, {"decision": "maybe"}).status_code == 422
        for _ in range(2):
            assert other.post(decision, {"decision": "approve"}).status_code == 303
        with transaction() as session:
            assert arrears.open_fen(session, holder_id=debtor.id) == 0
        assert debtor.number not in one.get("/console/arrears").text
        assert "¥3.80" in one.get(path).text

    def test_nobody_who_owes_nothing_is_a_page(self, staff, parts) -> None:
        person = staff(Role.FINANCE)
        assert person.get(f"/console/arrears/{make_holder(parts).id}").status_code == 404
        assert person.get(f"/console/arrears/{new_id()}").status_code == 404


class TestDesk:
    def test_takes_cash_for_the_arrears_of_a_closed_account(self, staff, debtor) -> None:
        cashier = staff(Role.LOGISTICS)
        assert open_shift(cashier).status_code == 303
        page = look_up(cashier, debtor.number).text
        assert "补缴欠费" in page
        confirmed = cashier.post(f"{DESK}/confirm", hidden(page) | {"amount": "3.80"}).text
        path = form_of(confirmed, "/arrears-payments")
        with other_policies(**{"cash.least_fen": 1000}):
            answers = [cashier.post(path, hidden(confirmed)) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [303, 303]
        receipt = cashier.get(answers[0].location).text
        assert "现金补缴欠费收据" in receipt
        assert "充值后余额" not in receipt
        with transaction() as session:
            assert arrears.open_fen(session, holder_id=debtor.id) == 0
