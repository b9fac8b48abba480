"""The room of applications: from the pasted list to the card, its extension and its early end."""

import html
import re
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from applicants import Case, today
from factories import make_document, make_person

from backend.applications import service
from backend.applications.models import ApplicationState
from backend.console import language
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role

from .conftest import Staff

ROOM = "/console/applications"
SEALED = re.compile(r'name="people" value="([^"]+)"')


@pytest.fixture
def case(parts: Parts) -> Case:
    """An application that nobody has recorded yet."""
    return Case(parts)


def form(case: Case, **more: Any) -> dict[str, Any]:
    """Return what the form of a new application says."""
    wanted = case.wanted
    return {
        "application_id": str(case.id),
        "oa_number": wanted.oa_number,
        "sponsor_unit": wanted.sponsor_unit,
        "sponsor_number": wanted.sponsor_number,
        "purpose": wanted.purpose,
        "category": wanted.category.value,
        "permissions": list(wanted.permissions),
        "pays_surcharge": "yes",
        "valid_from": wanted.valid_from.isoformat(),
        "valid_until": wanted.valid_until.isoformat(),
    } | more


def sealed(page: str) -> str:
    """Return the list as a page carries it."""
    found = SEALED.search(page)
    assert found is not None
    return html.unescape(found[1])


def approve(desk: Staff, case: Case) -> None:
    """Record both approvals."""
    for kind in ("unit", "leader"):
        said = {"kind": kind, "approver": "陈院长", "document": "附件1", "decided_on": str(today())}
        answer = desk.post(f"{ROOM}/{case.id}/approvals/{new_id()}", said)
        assert answer.status_code == 303


class TestRecording:
    def test_what_was_checked_is_recorded_once(
        self, staff: Callable[..., Staff], case: Case
    ) -> None:
        desk, document = staff(), make_document()
        passport = f"E{secrets.randbelow(10**8):08d}"
        pasted = f"马师傅\t设备维护公司\t居民身份证\t{document}\n钱工，，护照，{passport}\n\n周宁"
        shown = desk.post(f"{ROOM}/check", form(case, list=pasted)).text
        assert document not in shown
        assert "马师傅" not in shown
        assert "名单（3 人）" in shown
        assert "记名（未出示证件）" in shown
        said = form(case, people=sealed(shown))
        assert [desk.post(ROOM, said).status_code for _ in range(2)] == [303, 303]
        people = case.people()
        assert [one.name for one in people] == ["马师傅", "钱工", "周宁"]
        assert [one.unit for one in people] == ["设备维护公司", "后勤保卫处", "后勤保卫处"]
        assert [one.document_kind for one in people] == ["resident_id", "passport", None]
        page = desk.get(f"{ROOM}/{case.id}").text
        assert "待审批" in page
        assert document not in page

    @pytest.mark.parametrize(
        ("choice", "stored", "shown"),
        [("yes", True, "收"), ("no", False, "不收"), ("open", None, "未定")],
    )
    def test_says_of_the_surcharge_one_of_three(
        self,
        staff: Callable[..., Staff],
        case: Case,
        choice: str,
        stored: bool | None,
        shown: str,
    ) -> None:
        desk = staff()
        page = desk.get(f"{ROOM}/new").text
        assert re.findall(r'name="pays_surcharge" value="(\w+)" required', page) == [
            "yes", "no", "open"
        ]  # fmt: skip
        assert not re.search(r'name="pays_surcharge"[^>]* checked', page)
        said = form(case, list=f"马师傅,甲,,{make_document()}", pays_surcharge=choice)
        checked = desk.post(f"{ROOM}/check", said).text
        assert re.search(rf'<dd><span class="chip[^"]*">\s*{shown}\s*</span></dd>', checked)
        assert f'name="pays_surcharge" value="{choice}"' in checked
        desk.post(ROOM, form(case, people=sealed(checked), pays_surcharge=choice))
        with transaction() as session:
            assert service.find(session, application_id=case.id).pays_surcharge is stored
        assert ("搭伙费未定" in desk.get(f"{ROOM}/{case.id}").text) is (stored is None)

    @pytest.mark.parametrize("choice", ["", "maybe"])
    def test_says_something_of_the_surcharge(
        self, staff: Callable[..., Staff], case: Case, choice: str
    ) -> None:
        said = form(case, list=f"马师傅,甲,,{make_document()}", pays_surcharge=choice)
        answer = staff().post(f"{ROOM}/check", said)
        assert answer.status_code == 422
        assert "搭伙费" in answer.text

    def test_names_line_and_column_never_the_value(
        self, staff: Callable[..., Staff], case: Case
    ) -> None:
        wrong = make_document()[:-1] + "?"
        pasted = f"马师傅,甲,居民身份证,{make_document()}\n,乙\n钱工,乙,学生证,1234567"
        answer = staff().post(f"{ROOM}/check", form(case, list=pasted))
        assert answer.status_code == 422
        assert re.search(r'row">2</th><td>\s*姓名', answer.text)
        assert re.search(r'row">3</th><td>\s*证件类型', answer.text)
        answer = staff().post(f"{ROOM}/check", form(case, list=f"马师傅,甲,,{wrong}"))
        assert re.search(r'row">1</th><td>\s*证件号码', answer.text)
        assert wrong not in answer.text
        assert not case.people()

    def test_keeps_the_list_while_other_things_are_put_right(
        self, staff: Callable[..., Staff], case: Case
    ) -> None:
        desk = staff()
        pasted = f"马师傅,甲,,{make_document()}"
        answer = desk.post(f"{ROOM}/check", form(case, list=pasted, sponsor_number="nobody"))
        assert answer.status_code == 409
        assert "申办人不是教职工" in answer.text
        again = desk.post(f"{ROOM}/check", form(case, people=sealed(answer.text)))
        assert "请核对申请" in again.text
        changed = desk.post(f"{ROOM}/new", form(case, people=sealed(again.text))).text
        assert "名单已核对，共 1 人" in changed

    def test_says_which_field_does_not_fit(self, staff: Callable[..., Staff], case: Case) -> None:
        answer = staff().post(f"{ROOM}/check", form(case, list="周宁", oa_number="", category="x"))
        assert answer.status_code == 422
        alert = answer.text.partition('role="alert"')[2].partition("</p>")[0]
        assert "OA 流程编号" in alert
        assert "类别" in alert

    @pytest.mark.parametrize("people", ["", "x", "é", "A" * 40])
    def test_a_list_that_this_session_did_not_check_is_none(
        self, staff: Callable[..., Staff], case: Case, people: str
    ) -> None:
        assert staff().post(ROOM, form(case, people=people)).status_code == 422
        assert not case.people()

    def test_the_list_of_another_session_is_none(
        self, staff: Callable[..., Staff], case: Case
    ) -> None:
        shown = staff().post(f"{ROOM}/check", form(case, list="周宁")).text
        assert staff().post(ROOM, form(case, people=sealed(shown))).status_code == 422
        assert not case.people()

    def test_tells_who_has_an_account_already(
        self, staff: Callable[..., Staff], parts: Parts, case: Case
    ) -> None:
        known = make_person(parts)
        page = staff().post(f"{ROOM}/check", form(case, list=f"王小明,甲,,{known.document}")).text
        assert "已有账户，不再开卡" in page


class TestLife:
    def test_from_approval_to_the_early_end(self, staff: Callable[..., Staff], case: Case) -> None:
        case.make()
        desk, page = staff(), f"{ROOM}/{case.id}"
        assert desk.post(f"{page}/opening", {"opening_id": str(new_id())}).status_code == 409
        approve(desk, case)
        assert "将为 1 人开卡" in desk.get(f"{page}/opening").text
        opening = {"opening_id": str(new_id())}
        refused = desk.post(f"{page}/opening", opening)
        assert (refused.status_code, "缺收据号" in refused.text) == (409, True)
        assert opening["opening_id"] in refused.text
        opening["receipt_number"] = case.receipt
        assert [desk.post(f"{page}/opening", opening).status_code for _ in range(2)] == [303, 303]
        assert case.stands().state is ApplicationState.OPENED
        shown = desk.get(page).text
        assert "已开卡 1 人，共 1 人" in shown
        assert case.receipt in shown
        assert f'href="{page}"' in desk.get(f"/console/holders/{case.holder_id}").text

        until = today() + timedelta(days=90)
        assert "将为 1 人延期" in desk.get(f"{page}/extension").text
        extension: dict[str, Any] = {
            "extension_id": str(new_id()),
            "oa_number": f"{case.id.hex[:20]}",
        }
        extension["valid_until"] = str(until)
        refused = desk.post(f"{page}/extension", extension)
        assert (refused.status_code, "审批" in refused.text) == (422, True)
        for kind in ("unit", "leader"):
            extension |= {f"{kind}_approver": "陈院长", f"{kind}_document": "附件2"}
            extension |= {f"{kind}_decided_on": str(today())}
        assert [desk.post(f"{page}/extension", extension).status_code for _ in range(2)] == [
            303,
            303,
        ]
        assert case.stands().valid_until == until

        guard, last_on = staff(Role.LOGISTICS), today() + timedelta(days=5)
        leaving = f"{page}/people/{case.holder_id}/early-leaving"
        assert str(until) in guard.get(leaving).text
        said = {"leaving_id": str(new_id()), "last_on": str(last_on), "reason": "合同提前结束"}
        assert guard.post(leaving, said | {"last_on": str(until)}).status_code == 409
        assert [guard.post(leaving, said).status_code for _ in range(2)] == [303, 303]
        assert f"提前离校，至 {last_on}" in guard.get(page).text
        assert case.people()[0].left_on == last_on

    def test_goes_on_with_those_who_have_no_card(
        self, staff: Callable[..., Staff], parts: Parts, case: Case
    ) -> None:
        known = make_person(parts)
        desk, page = staff(), f"{ROOM}/{case.id}"
        shown = desk.post(
            f"{ROOM}/check", form(case, list=f"王小明,甲,,{known.document}\n周宁")
        ).text
        desk.post(ROOM, form(case, people=sealed(shown)))
        approve(desk, case)
        assert "将为 1 人开卡" in desk.get(f"{page}/opening").text
        said = {"opening_id": str(new_id()), "receipt_number": case.receipt}
        desk.post(f"{page}/opening", said)
        assert "已开卡 1 人，共 2 人" in desk.get(page).text
        again = desk.get(f"{page}/opening").text
        assert said["opening_id"] in again
        assert f'value="{case.receipt}"' in again
        assert desk.post(f"{page}/opening", said).status_code == 303

    def test_is_withdrawn_before_cards_are_opened(
        self, staff: Callable[..., Staff], case: Case
    ) -> None:
        case.make()
        desk = staff()
        assert desk.post(f"{ROOM}/{case.id}/withdrawal").status_code == 303
        assert "已撤回" in desk.get(f"{ROOM}/{case.id}").text
        said = {"kind": "unit", "approver": "甲", "document": "1", "decided_on": str(today())}
        refused = desk.post(f"{ROOM}/{case.id}/approvals/{new_id()}", said)
        assert (refused.status_code, "申请已撤回" in refused.text) == (409, True)

    def test_an_approval_that_does_not_fit_keeps_what_was_typed(
        self, staff: Callable[..., Staff], case: Case
    ) -> None:
        case.make()
        said = {"kind": "leader", "approver": "陈院长", "document": "", "decided_on": str(today())}
        answer = staff().post(f"{ROOM}/{case.id}/approvals/{new_id()}", said)
        assert answer.status_code == 422
        assert 'value="陈院长"' in answer.text


class TestList:
    def test_by_state_and_by_number(self, staff: Callable[..., Staff], case: Case) -> None:
        case.make()
        desk = staff(Role.AUDITOR)
        assert case.wanted.oa_number in desk.get(f"{ROOM}?state=waiting").text
        listed = desk.get(f"{ROOM}?state=withdrawn").text
        assert case.wanted.oa_number not in listed
        assert case.wanted.oa_number in desk.get(f"{ROOM}?oa_number={case.wanted.oa_number}").text

    @pytest.mark.parametrize(
        "query", ["state=x", "oa_number=%00", "oa_number=" + "九" * 90, "cursor=x"]
    )
    def test_any_query_is_a_page(self, staff: Callable[..., Staff], query: str) -> None:
        assert staff().get(f"{ROOM}?{query}").status_code in (200, 422)

    def test_who_only_looks_finds_no_form(self, staff: Callable[..., Staff], case: Case) -> None:
        case.opened()
        for role in (Role.FINANCE, Role.AUDITOR):
            page = staff(role).get(f"{ROOM}/{case.id}").text
            assert f'<form method="post" action="{ROOM}' not in page
            assert "/opening" not in page
            assert "early-leaving" not in page


class TestWords:
    @pytest.mark.parametrize("name", language.LANGUAGES)
    def test_every_state_has_a_word(self, name: str) -> None:
        assert set(language.dictionary(name)["application_states"]) == set(ApplicationState)
