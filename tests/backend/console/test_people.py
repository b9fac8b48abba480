"""The pages about who a holder is: the same decisions as over the API."""

import re
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from factories import make_document, make_person
from sqlalchemy import select

from backend import clock
from backend.clock import business_date
from backend.db import transaction
from backend.holders.models import DataChange, Holder, PermissionOverride, RosterConflict
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role

Staff = Callable[..., Any]


def action(page: str, what: str) -> str:
    """Return where a form of a page is sent."""
    found = re.search(rf'action="([^"]*/{what}/[^"]*)"', page)
    assert found is not None, page
    return found[1]


def test_an_exception_is_made_and_ended(staff: Staff, parts: Parts) -> None:
    person, holder = staff(), make_person(parts)
    path = f"/console/people/{holder.id}"
    said = {"permission": "pay", "allowed": "no", "reason": "仅限门禁", "document_number": "1号"}
    made = action(person.get(path).text, "exceptions")
    for _ in range(2):
        assert person.post(made, said | {"until": ""}).status_code == 303
    page = person.get(path).text
    assert "仅限门禁" in page
    assert "无消费" in person.get(f"/console/holders/{holder.id}").text
    with transaction() as session:
        [override] = session.scalars(
            select(PermissionOverride).where(PermissionOverride.holder_id == holder.id)
        )
    assert person.post(f"{path}/exceptions/{override.id}/end").status_code == 303
    assert "无消费" not in person.get(f"/console/holders/{holder.id}").text
    assert person.post(made, {"permission": "fly"}).status_code == 422


def test_a_category_changes(staff: Staff, parts: Parts) -> None:
    person, holder = staff(), make_person(parts)
    path = f"/console/people/{holder.id}"
    made = action(person.get(path).text, "category-changes")
    said = {
        "category": "staff",
        "employment": "dispatched",
        "unit": "图书馆",
        "holder_number": "",
        "from": business_date(clock.now()).isoformat(),
        "valid_until": "",
        "document_number": "人事〔2026〕8号",
    }
    assert person.post(made, said).status_code == 303
    page = person.get(path).text
    assert "学生 → 教工 · 派遣制" in page
    assert person.post(made, said | {"from": "soon"}).status_code == 422
    with transaction() as session:
        assert session.get_one(Holder, holder.id).valid_until > date(2026, 1, 1)


def test_a_second_person_approves(staff: Staff, parts: Parts) -> None:
    maker, checker, holder, document = staff(), staff(), make_person(parts), make_document()
    path = f"/console/people/{holder.id}"
    made = action(maker.get(path).text, "data-changes")
    said = {"field": "document", "value": document, "document_kind": "resident_id",
            "documents": ["resident_id", "police_certificate"]}  # fmt: skip
    assert maker.post(made, said).status_code == 303
    assert document not in maker.get(path).text
    with transaction() as session:
        [change] = session.scalars(select(DataChange).where(DataChange.holder_id == holder.id))
    decision = f"/console/people/data-changes/{change.id}/decision"
    assert decision not in maker.get("/console/people").text
    assert maker.post(decision, {"decision": "approve"}).status_code == 409
    assert "<td>—</td><td>—</td>" in checker.get(path).text  # neither document is told
    assert decision in checker.get("/console/people").text
    assert checker.post(decision, {"decision": "perhaps"}).status_code == 422
    assert checker.post(decision, {"decision": "approve"}).status_code == 303
    assert "已同意" in checker.get(path).text


def test_a_difference_is_settled(staff: Staff, parts: Parts) -> None:
    person, holder = staff(), make_person(parts)
    conflict_id = new_id()
    with transaction() as session:
        session.get_one(Holder, holder.id).proven = ["name"]
        session.add(
            RosterConflict(
                id=conflict_id,
                holder_id=holder.id,
                field="name",
                value="王二",
                batch_id=None,
                seen_at=clock.now(),
                made_by=None,
                made_at=None,
                settled_at=None,
                settled_by=None,
                accepted=None,
            )
        )
    decision = f"/console/people/conflicts/{conflict_id}/decision"

    def form(who: Any) -> str:
        page = who.get("/console/people").text
        return str(page[page.index(decision) :].partition("</form>")[0])

    assert "提议采用名册" in form(person)
    looked_at = person.get(f"/console/people/{holder.id}").text
    shown = looked_at[looked_at.index("名册内容") :].partition("</section>")[0]
    assert re.findall("<td>(王[^<]*)</td>", shown) == ["王小明", "王二"]
    assert person.post(decision, {"decision": "accept"}).status_code == 303
    with transaction() as session:
        assert session.get_one(Holder, holder.id).name == "王小明"
    assert 'value="accept"' not in form(person)
    assert "须由他人复核" in form(person)
    another = staff()
    assert "采用名册" in form(another)
    assert another.post(decision, {"decision": "accept"}).status_code == 303
    with transaction() as session:
        assert session.get_one(Holder, holder.id).name == "王二"


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.CARD_CENTRE])
def test_others_decide_nothing(staff: Staff, parts: Parts, role: Role) -> None:
    person, holder = staff(role), make_person(parts)
    path = f"/console/people/{holder.id}"
    assert person.get(path).status_code == (200 if role is Role.AUDITOR else 403)
    for what in (f"exceptions/{new_id()}", f"category-changes/{new_id()}",
                 f"data-changes/{new_id()}"):  # fmt: skip
        assert person.post(f"{path}/{what}").status_code == 403
