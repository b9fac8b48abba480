"""The cash desk's pages: from the number to the receipt, and back by another person."""

import re
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from factories import balances, make_holder
from sqlalchemy import select

from backend.cards.models import Card, CardKind
from backend.db import transaction
from backend.ids import new_id
from backend.operators.models import Role

ROOM = "/console/cash-desk"


def hidden(page: str) -> dict[str, str]:
    """Return what a page's forms carry unseen."""
    return {
        name: unescape(value)
        for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)
    }


def open_shift(person: Any, **said: str) -> Any:
    """Open a shift as the page's form does."""
    form = hidden(person.get(ROOM).text)
    wanted = {"desk": "行政楼 1号窗", "opening_float": "200"} | said
    return person.post(f"{ROOM}/shifts", form | wanted)


def look_up(person: Any, shown: str) -> Any:
    """Say whom cash is for."""
    return person.post(f"{ROOM}/holder", {"shown": shown})


def take(person: Any, number: str, amount: str = "50") -> str:
    """Take cash from number to receipt; return the receipt's address."""
    form = hidden(look_up(person, number).text) | {"amount": amount}
    confirmed = person.post(f"{ROOM}/confirm", form)
    assert confirmed.status_code == 200
    answer = person.post(f"{ROOM}/top-ups", hidden(confirmed.text))
    assert answer.status_code == 303, answer.text
    return str(answer.location)


@pytest.fixture
def cashier(staff):
    """A cashier of logistics with an open shift."""
    person = staff(Role.LOGISTICS)
    assert open_shift(person).status_code == 303
    return person


class TestWindow:
    def test_leads_from_the_number_to_a_receipt_in_two_languages(self, cashier, parts) -> None:
        holder = make_holder(parts, name="欧阳晓明", balance_fen=1_200)
        page = look_up(cashier, holder.number).text
        assert "欧***" in page
        assert "晓明" not in page
        assert "¥12.00" in page
        receipt = cashier.get(take(cashier, holder.number, "50.5")).text
        assert balances(holder.id) == (6_250, 0)
        assert re.search(r"\d{8}-\d{4}", receipt)
        for words in ("现金充值收据", "Cash top-up receipt", "¥50.50", "¥62.50", "行政楼 1号窗"):
            assert words in receipt
        assert receipt.index("现金充值收据") < receipt.index("Cash top-up receipt")
        assert "晓明" not in receipt

    def test_finds_by_card_number_too(self, cashier, parts) -> None:
        holder = make_holder(parts)
        with transaction() as session:
            number = session.scalar(
                select(Card.number).where(
                    Card.holder_id == holder.id, Card.kind == CardKind.PHYSICAL
                )
            )
        assert holder.number in look_up(cashier, f" {number} ").text

    def test_sent_twice_is_credited_once(self, cashier, parts) -> None:
        holder = make_holder(parts)
        form = hidden(look_up(cashier, holder.number).text) | {"amount": "50"}
        form = hidden(cashier.post(f"{ROOM}/confirm", form).text)
        first, again = (cashier.post(f"{ROOM}/top-ups", form) for _ in range(2))
        assert first.location == again.location
        assert balances(holder.id) == (5_000, 0)

    @pytest.mark.parametrize("shown", ["nobody", "\x00", "96" + "0" * 18, "96" + "1" * 199, "'"])
    def test_says_when_nobody_is_found(self, cashier, shown) -> None:
        answer = look_up(cashier, shown)
        assert 400 <= answer.status_code < 500
        assert 'role="alert"' in answer.text

    @pytest.mark.parametrize(
        "amount", ["", "x", "-1", "1.234", "1e3", "²", "0", "1" * 5000, "5,00", "\x00"]
    )
    def test_takes_no_amount_that_is_none(self, cashier, parts, amount) -> None:
        holder = make_holder(parts)
        form = hidden(look_up(cashier, holder.number).text) | {"amount": amount}
        answer = cashier.post(f"{ROOM}/confirm", form)
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text
        assert balances(holder.id) == (0, 0)

    def test_says_why_an_amount_is_refused_and_keeps_it(self, cashier, parts) -> None:
        holder = make_holder(parts)
        form = hidden(look_up(cashier, holder.number).text) | {"amount": "501"}
        form = hidden(cashier.post(f"{ROOM}/confirm", form).text)
        answer = cashier.post(f"{ROOM}/top-ups", form)
        assert answer.status_code == 409
        assert "超过限额 500.00 元" in answer.text
        assert 'value="501.00"' in answer.text

    def test_of_another_cashier_is_not_seen(self, staff, cashier, parts) -> None:
        receipt = take(cashier, make_holder(parts).number)
        stranger = staff(Role.LOGISTICS)
        assert stranger.get(receipt).status_code == 404
        assert receipt.rpartition("/")[2] not in stranger.get(ROOM).text

    @pytest.mark.parametrize("wrong", [{"desk": ""}, {"desk": "x" * 51}, {"opening_float": "-1"}])
    def test_opens_no_shift_that_does_not_fit(self, staff, wrong) -> None:
        answer = open_shift(staff(Role.LOGISTICS), **wrong)
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text

    def test_leads_nowhere_without_its_ids(self, cashier) -> None:
        for path in ("confirm", "top-ups", "shifts", f"top-ups/{new_id()}/reversal"):
            assert cashier.post(f"{ROOM}/{path}").status_code in (403, 404)


class TestReversal:
    def test_is_made_by_another_person_on_the_receipt(self, staff, cashier, parts) -> None:
        holder, supervisor = make_holder(parts), staff(Role.CARD_CENTRE)
        receipt = take(cashier, holder.number)
        assert "reversal_id" not in cashier.get(receipt).text
        assert receipt in supervisor.get(ROOM).text
        form = hidden(supervisor.get(receipt).text)
        wrong = supervisor.post(f"{receipt}/reversal", form | {"reason": " "})
        assert wrong.status_code == 422
        for _ in range(2):
            answer = supervisor.post(f"{receipt}/reversal", form | {"reason": "<b>误充</b>"})
            assert answer.location == receipt
        assert balances(holder.id) == (0, 0)
        page = cashier.get(receipt).text
        assert "Taken back" in page
        assert "&lt;b&gt;误充&lt;/b&gt;" in page
        assert supervisor.username in page

    def test_says_why_it_is_not_possible(self, staff, parts) -> None:
        cashier, supervisor = staff(Role.FINANCE), staff(Role.FINANCE)
        open_shift(cashier)
        receipt = take(cashier, make_holder(parts).number)
        form = {"reversal_id": str(new_id()), "reason": "误充"}
        own = cashier.post(f"{receipt}/reversal", form)
        assert own.status_code == 403
        assert "须由他人办理" in own.text
        assert supervisor.post(f"{receipt}/reversal", form).status_code == 303
        form["reversal_id"] = str(new_id())
        again = supervisor.post(f"{receipt}/reversal", form)
        assert again.status_code == 409
        assert "已经冲正" in again.text


class TestCloseOut:
    def shift(self, person: Any) -> str:
        """Return the address of a cashier's shift."""
        found = re.search(rf"{ROOM}/shifts/[0-9a-f-]{{36}}", person.get(ROOM).text)
        assert found is not None
        return found[0]

    def test_by_notes_and_coins_closes_the_shift(self, cashier, parts) -> None:
        take(cashier, make_holder(parts).number)
        path = self.shift(cashier)
        assert "¥250.00" in cashier.get(f"{path}/close-out").text
        said = {"count-10000": "2", "count-5000": "1"}
        assert cashier.post(f"{path}/close-out", said).location == path
        page = cashier.get(path).text
        assert "已交款" in page
        assert "相符" in page
        assert "开班" in cashier.get(ROOM).text

    def test_shows_the_difference_and_asks_why(self, cashier) -> None:
        path = self.shift(cashier)
        answer = cashier.post(f"{path}/close-out", {"counted": "199.50"})
        assert answer.status_code == 409
        for words in ("请说明差异", "短款", "−¥0.50", 'value="199.50"'):
            assert words in answer.text
        said = {"counted": "199.50", "note": "找零有误"}
        assert cashier.post(f"{path}/close-out", said).status_code == 303
        assert "已交款" in cashier.get(path).text

    def test_that_is_off_by_much_waits_for_another_person(self, staff, cashier) -> None:
        path, supervisor = self.shift(cashier), staff(Role.FINANCE)
        cashier.post(f"{path}/close-out", {"counted": "300", "note": "不明"})
        assert "待复核" in cashier.get(path).text
        assert "等待另一人复核" in cashier.get(ROOM).text
        assert path in supervisor.get(ROOM).text
        wrong = supervisor.post(f"{path}/ruling", {"decision": "x", "reason": "y"})
        assert wrong.status_code == 422
        said = {"decision": "recount", "reason": "再数一遍"}
        assert supervisor.post(f"{path}/ruling", said).location == path
        assert "当班" in cashier.get(path).text
        cashier.post(f"{path}/close-out", {"counted": "300", "note": "确实多出"})
        said = {"decision": "approve", "reason": "已核对录像"}
        assert supervisor.post(f"{path}/ruling", said).location == path
        page = supervisor.get(path).text
        for words in ("已交款", "长款", "¥100.00", "已核对录像", supervisor.username):
            assert words in page

    @pytest.mark.parametrize(
        "wrong",
        [{}, {"counted": "x"}, {"count-10000": "-1"}, {"count-10000": "1.5"},
         {"count-10000": "²"}, {"count-10000": "9" * 5000}, {"counted": "200", "note": "\x00"},
         {"counted": "201", "count-10000": "2"}],
    )  # fmt: skip
    def test_takes_no_count_that_is_none(self, cashier, wrong) -> None:
        path = self.shift(cashier)
        answer = cashier.post(f"{path}/close-out", wrong)
        assert answer.status_code in (409, 422)
        assert 'role="alert"' in answer.text
        assert "当班" in cashier.get(path).text

    def test_is_of_the_own_shift(self, staff, cashier) -> None:
        path, stranger = self.shift(cashier), staff(Role.FINANCE)
        assert stranger.get(path).status_code == 200
        assert stranger.get(f"{path}/close-out").status_code == 404
        assert stranger.post(f"{path}/close-out", {"counted": "200"}).status_code == 404
        assert "close-out" not in stranger.get(path).text
        for known in (path, f"{ROOM}/shifts/{UUID(int=0)}"):
            assert staff(Role.LOGISTICS).get(known).status_code == 404


class TestLooking:
    def test_the_auditor_sees_shifts_and_changes_nothing(self, staff, cashier, parts) -> None:
        receipt, auditor = take(cashier, make_holder(parts).number), staff(Role.AUDITOR)
        page = auditor.get(f"{ROOM}/shifts").text
        assert cashier.username in page
        assert "reversal_id" not in auditor.get(receipt).text
        assert 'name="shown"' not in auditor.get(ROOM).text
