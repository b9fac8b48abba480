"""The room of subsidies: a list is checked, made, approved by another office, paid, taken back."""

import io
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import balances, make_holder, make_person
from openpyxl import Workbook
from sqlalchemy import update

from backend import clock
from backend.console import language
from backend.db import transaction
from backend.errors import NotFound
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import OperatorSession, Role
from backend.subsidies import paying, service
from backend.subsidies.models import BatchState, ItemState
from backend.subsidies.rules import RowFault

from .conftest import Staff

ROOM = "/console/subsidies"
CHECKED = re.compile(r'name="checked" value="([0-9a-f]{64})"')
WITHDRAWAL = re.compile(r'action="(/console/subsidies/withdrawals/[0-9a-f-]{36}/approval)"')


def sent(content: bytes | str, **more: Any) -> dict[str, Any]:
    """Return what the form of a new batch says."""
    data = content.encode() if isinstance(content, str) else content
    return {
        "batch_id": str(new_id()),
        "name": "伙食补贴",
        "document_number": "学工〔2026〕18号",
        "fund": "国家资助",
        "pay_on": "",
        "file": (io.BytesIO(data), "list.csv"),
    } | more


def checked(person: Staff, content: bytes | str) -> str:
    """Check a list that is right, and return its mark."""
    page = person.post(f"{ROOM}/check", sent(content)).text
    found = CHECKED.search(page)
    assert found is not None
    return found[1]


def make(person: Staff, *numbers: str, yuan: str = "12.5") -> str:
    """Make a batch for these holders, and return its page."""
    content = "学工号,金额\n" + "".join(f"{number},{yuan}\n" for number in numbers)
    said = sent(content, checked=checked(person, content))
    answer = person.post(ROOM, said)
    assert answer.location == f"{ROOM}/{said['batch_id']}"
    return answer.location


def state_of(page: str) -> BatchState:
    with transaction() as session:
        return service.find(session, batch_id=UUID(page.rpartition("/")[2])).state


def age(person: Staff) -> None:
    """Let the last one-time code of somebody be too old for what moves money."""
    with transaction() as session:
        session.execute(
            update(OperatorSession)
            .where(OperatorSession.operator_id == person.id)
            .values(confirmed_at=clock.now() - timedelta(minutes=6))
        )


class TestMaking:
    def test_a_list_is_told_row_by_row_and_not_stored(
        self, staff: Callable[..., Staff], parts: Parts
    ) -> None:
        maker, holder = staff(Role.STUDENT_AFFAIRS), make_person(parts)
        content = f"学工号,金额\n{holder.number},12.50\nnobody,1\n{holder.number},1\n"
        said = sent(content)
        page = maker.post(f"{ROOM}/check", said).text
        assert CHECKED.search(page) is None
        for row, word in ((3, "查无此学工号"), (4, "与前面的行重复")):
            assert re.search(rf'row">{row}</th><td>{word}', page)
        with transaction() as session, pytest.raises(NotFound):
            service.find(session, batch_id=UUID(said["batch_id"]))

    def test_what_was_checked_is_made_once(self, staff: Callable[..., Staff], parts: Parts) -> None:
        maker, holder = staff(Role.STUDENT_AFFAIRS), make_person(parts)
        content = f"学工号,金额\n{holder.number},12.50\n"
        mark, batch_id = checked(maker, content), str(new_id())
        for _ in range(2):
            answer = maker.post(ROOM, sent(content, checked=mark, batch_id=batch_id))
            assert (answer.status_code, answer.location) == (303, f"{ROOM}/{batch_id}")
        page = maker.get(f"{ROOM}/{batch_id}").text
        assert holder.number in page
        assert holder.name not in page
        assert "¥12.50" in page

    def test_another_file_is_checked_first(self, staff: Callable[..., Staff], parts: Parts) -> None:
        maker, holder = staff(Role.STUDENT_AFFAIRS), make_person(parts)
        mark = checked(maker, f"学工号,金额\n{holder.number},12.50\n")
        said = sent(f"学工号,金额\n{holder.number},99\n", checked=mark)
        page = maker.post(ROOM, said).text
        assert "不是刚才核对的文件" in page
        with transaction() as session, pytest.raises(NotFound):
            service.find(session, batch_id=UUID(said["batch_id"]))

    def test_a_spreadsheet_is_a_list_too(self, staff: Callable[..., Staff], parts: Parts) -> None:
        book, holder, file = Workbook(), make_person(parts), io.BytesIO()
        for row in (("学工号", "金额"), (holder.number, 12.5)):
            book.active.append(row)
        book.save(file)
        page = staff(Role.STUDENT_AFFAIRS).post(f"{ROOM}/check", sent(file.getvalue())).text
        assert CHECKED.search(page)
        assert "¥12.50" in page

    @pytest.mark.parametrize(
        ("content", "word"),
        [
            (b"", "没有内容"),
            (b"\xff\xfe\x00", "编码"),
            (b"PK\x03\x04x", "XLSX"),
            ("学号,金额\n1,2".encode("gb18030"), "缺少学工号"),
            ("学工号,金额\n".encode() + b"1,2\n" * 20_001, "行数过多"),
            (b'"', "不是 CSV"),
        ],
    )
    def test_any_file_is_answered(
        self, staff: Callable[..., Staff], content: bytes, word: str
    ) -> None:
        answer = staff(Role.STUDENT_AFFAIRS).post(f"{ROOM}/check", sent(content))
        assert answer.status_code == 422
        assert "名单无法读取" in answer.text
        assert word in answer.text

    def test_says_which_field_does_not_fit(self, staff: Callable[..., Staff], parts: Parts) -> None:
        content = f"学工号,金额\n{make_person(parts).number},1\n"
        said = sent(content, fund=" ", pay_on="yesterday")
        answer = staff(Role.STUDENT_AFFAIRS).post(f"{ROOM}/check", said)
        assert answer.status_code == 422
        alert = answer.text.partition('role="alert"')[2].partition("</p>")[0]
        assert "经费来源" in alert
        assert "发放日期" in alert


class TestApproval:
    def test_takes_another_person_and_a_fresh_code(
        self, staff: Callable[..., Staff], parts: Parts
    ) -> None:
        maker, checker, holder = (
            staff(Role.STUDENT_AFFAIRS),
            staff(Role.FINANCE),
            make_person(parts),
        )
        page = make(maker, holder.number)
        assert f"{page}/approval" not in maker.get(page).text
        assert maker.post(f"{page}/approval").status_code == 403
        age(checker)
        refused = checker.post(f"{page}/approval")
        assert (refused.status_code, "再次验证" in refused.text) == (403, True)
        assert state_of(page) is BatchState.WAITING
        assert checker.post("/console/confirmation", {"totp": checker.code()}).status_code == 200
        assert checker.post(f"{page}/approval").status_code == 303
        assert "发放中" in checker.get(page).text
        paying.pay_due(now=clock.now())
        assert balances(holder.id) == (0, 1_250)
        shown = checker.get(page).text
        assert "已处理 1 笔，共 1 笔" in shown
        assert {maker.username, checker.username} <= set(re.findall(r"staff-[0-9a-f]{8}", shown))
        assert f'href="{page}"' in staff().get(f"/console/holders/{holder.id}").text

    def test_is_taken_back_or_refused_before(
        self, staff: Callable[..., Staff], parts: Parts
    ) -> None:
        maker, checker = staff(Role.STUDENT_AFFAIRS), staff(Role.FINANCE)
        page = make(maker, make_person(parts).number)
        refused = checker.post(f"{page}/withdrawal", {"reason": " "})
        assert (refused.status_code, "事由" in refused.text) == (422, True)
        assert checker.post(f"{page}/withdrawal", {"reason": "文号有误"}).status_code == 303
        assert "文号有误" in maker.get(page).text
        late = checker.post(f"{page}/approval")
        assert (late.status_code, "批次已有结论" in late.text) == (409, True)


class TestTakingBack:
    def test_what_is_left_comes_back_by_two_people(
        self, staff: Callable[..., Staff], parts: Parts
    ) -> None:
        maker, checker = staff(Role.STUDENT_AFFAIRS), staff(Role.FINANCE)
        holder = make_holder(parts)
        page = make(maker, holder.number)
        checker.post(f"{page}/approval")
        paying.pay_due(now=clock.now())
        found = re.search(
            rf'href="({ROOM}/items/[0-9a-f-]{{36}}/withdrawal)"', maker.get(page).text
        )
        assert found is not None
        asked = maker.get(found[1]).text
        assert holder.name not in asked
        assert asked.count("¥12.50") == 2
        said = {"withdrawal_id": str(new_id()), "reason": "重复发放"}
        assert maker.post(found[1], said | {"reason": ""}).status_code == 422
        assert [maker.post(found[1], said).status_code for _ in range(2)] == [303, 303]
        again = maker.post(found[1], said | {"withdrawal_id": str(new_id())})
        assert (again.status_code, "已在收回" in again.text) == (409, True)
        assert "重复发放" in staff().get(ROOM).text
        assert WITHDRAWAL.search(maker.get(page).text) is None
        approval = WITHDRAWAL.search(checker.get(page).text)
        assert approval is not None
        age(checker)
        assert checker.post(approval[1]).status_code == 403
        checker.post("/console/confirmation", {"totp": checker.code()})
        assert [checker.post(approval[1]).status_code for _ in range(2)] == [303, 303]
        assert balances(holder.id) == (0, 0)
        assert "已收回" in checker.get(page).text

    def test_whoever_asked_does_not_approve(
        self, staff: Callable[..., Staff], parts: Parts
    ) -> None:
        maker, checker = staff(Role.STUDENT_AFFAIRS), staff(Role.FINANCE)
        page = make(maker, make_person(parts).number)
        checker.post(f"{page}/approval")
        paying.pay_due(now=clock.now())
        with transaction() as session:
            ((item, *_),) = service.items_of(
                session, batch_id=UUID(page.rpartition("/")[2]), after=None, limit=9
            )
        withdrawal_id = new_id()
        said = {"withdrawal_id": str(withdrawal_id), "reason": "重复"}
        checker.post(f"{ROOM}/items/{item.id}/withdrawal", said)
        assert WITHDRAWAL.search(checker.get(page).text) is None
        refused = checker.post(f"{ROOM}/withdrawals/{withdrawal_id}/approval")
        assert (refused.status_code, refused.text.count('role="alert"')) == (409, 1)


class TestLooking:
    def test_items_by_state_and_by_number(self, staff: Callable[..., Staff], parts: Parts) -> None:
        one, other = make_person(parts), make_person(parts)
        page = make(staff(Role.STUDENT_AFFAIRS), one.number, other.number)
        desk = staff(Role.AUDITOR)
        shown = desk.post(f"{page}/search", {"holder_number": one.number}).text
        assert (one.number in shown, other.number in shown) == (True, False)
        assert "没有符合条件的笔次" in desk.get(f"{page}?state=paid").text
        assert other.number in desk.get(f"{page}?state=due&after=x").text
        for number in ("\x00", "x" * 200, "é"):
            assert desk.post(f"{page}/search", {"holder_number": number}).status_code == 200

    @pytest.mark.parametrize("query", ["state=x", "state=%00", "cursor=x"])
    def test_any_query_is_a_page(self, staff: Callable[..., Staff], query: str) -> None:
        assert staff().get(f"{ROOM}?{query}").status_code in (200, 422)

    def test_who_only_looks_finds_no_form(self, staff: Callable[..., Staff], parts: Parts) -> None:
        page = make(staff(Role.STUDENT_AFFAIRS), make_person(parts).number)
        for role in (Role.CARD_CENTRE, Role.AUDITOR):
            shown = staff(role).get(page).text
            assert f"{page}/approval" not in shown
            assert f"{page}/withdrawal" not in shown


class TestWords:
    @pytest.mark.parametrize("name", language.LANGUAGES)
    def test_every_state_and_fault_has_a_word(self, name: str) -> None:
        words = language.dictionary(name)
        assert set(words["subsidy_batch_states"]) == set(BatchState)
        assert set(words["subsidy_item_states"]) == set(ItemState)
        assert set(words["subsidy_faults"]) == set(RowFault)
