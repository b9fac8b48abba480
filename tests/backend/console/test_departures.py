"""The room of departures: checking a list, filing it, taking it back; the retiree's card."""

import re
from datetime import timedelta
from typing import Any

import pytest
from factories import make_holder, make_person
from sqlalchemy import select

from backend import clock
from backend.cards.models import CardKind, CardState
from backend.cards.service import find_card, list_cards
from backend.closings import departures
from backend.closings.departures import (
    DepartureNotPossible,
    DepartureScheduled,
    DepartureState,
    HoldersUnknown,
)
from backend.closings.models import DepartureKind, Leaver, LeaverState
from backend.console import language
from backend.db import transaction
from backend.holders.models import Category, Holder
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operators.models import Role

ROOM = "/console/departures"


def in_days(days: int) -> str:
    return (clock.business_date(clock.now()) + timedelta(days=days)).isoformat()


def said(*numbers: str, **changed: str) -> dict[str, str]:
    typed = {"kind": "leaving", "effective_on": in_days(5), "document": "教务〔2026〕8号"}
    return typed | {"holder_numbers": "\n".join(numbers)} | changed


def address(page: str, room: str = ROOM) -> str:
    found = re.search(rf'action="({room}/[0-9a-f-]{{36}})"', page)
    assert found is not None
    return found[1]


def file(clerk: Any, *numbers: str, **changed: str) -> str:
    """Check a list and file it; return its page."""
    checked = clerk.post(f"{ROOM}/preview", said(*numbers, **changed))
    path = address(checked.text)
    for _ in range(2):
        assert clerk.post(path, said(*numbers, **changed)).location == path
    return path


def state_of(holder_id: Any) -> LeaverState:
    with transaction() as session:
        return session.scalars(select(Leaver.state).where(Leaver.holder_id == holder_id)).one()


class TestDepartures:
    def test_is_checked_filed_and_taken_back(self, staff, parts) -> None:
        clerk, people = staff(Role.ACADEMIC), [make_person(parts) for _ in range(2)]
        numbers = [one.number for one in people]
        checked = clerk.post(f"{ROOM}/preview", said(*numbers)).text
        assert "可登记" in checked
        assert people[0].name not in checked
        with transaction() as session:
            assert session.scalar(select(Leaver).where(Leaver.holder_id == people[0].id)) is None
        page = file(clerk, f"{numbers[0]}，{numbers[1]} {numbers[0]}")
        shown = clerk.get(page).text
        assert (numbers[0] in shown, people[0].name in shown) == (True, False)
        assert page in clerk.get(f"{ROOM}?state=scheduled").text
        assert clerk.post(f"{page}/withdrawal").location == page
        assert {state_of(one.id) for one in people} == {LeaverState.WITHDRAWN}
        assert "已撤回" in clerk.get(page).text
        assert page in clerk.get(f"{ROOM}?state=withdrawn").text
        assert page not in clerk.get(f"{ROOM}?state=scheduled").text
        with transaction() as session:
            actions = session.scalars(
                select(LogEntry.action).where(LogEntry.subject_id == page.rpartition("/")[2])
            ).all()
        assert sorted(actions) == ["departure.file", "departure.withdraw"]

    def test_says_of_each_number_what_stands_against_it(self, staff, parts) -> None:
        clerk = staff(Role.ACADEMIC)
        student, other = make_person(parts), make_person(parts, category=Category.STAFF)
        waiting = make_person(parts)
        file(clerk, waiting.number)
        numbers = (student.number, other.number, waiting.number, "nobody")
        checked = clerk.post(f"{ROOM}/preview", said(*numbers)).text
        for told in (
            "可登记",
            "查无此人",
            "类别不符或不归本部门",
            "已有待生效登记",
            "有 3 个学工号",
        ):
            assert told in checked, told
        assert "教工" not in checked  # whose departure is not told by this office
        assert not re.search(rf'action="{ROOM}/[0-9a-f-]{{36}}"', checked)
        filed = clerk.post(f"{ROOM}/{new_id()}", said(*numbers))
        assert (filed.status_code, 'role="alert"' in filed.text) == (422, True)
        assert student.number in filed.text  # the form is shown again as it was
        kept = clerk.post(f"{ROOM}/change", said(*numbers)).text
        assert all(number in kept for number in numbers)

    @pytest.mark.parametrize(
        "changed",
        [
            {"holder_numbers": " \n "},
            {"holder_numbers": "\n".join(f"n{n}" for n in range(501))},
            {"kind": "vanishing"},
            {"effective_on": "2026-02-30"},
            {"effective_on": "9999-01-01"},
            {"document": ""},
            {"document": "x" * 101},
        ],
    )
    def test_what_does_not_fit_is_asked_again(self, staff, changed) -> None:
        clerk = staff()
        for path in ("preview", str(new_id())):
            answer = clerk.post(f"{ROOM}/{path}", said("1", **changed))
            assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)

    def test_on_its_day_it_takes_effect_and_stays(self, staff, parts) -> None:
        clerk, person = staff(), make_person(parts)
        page = file(clerk, person.number, effective_on=in_days(0))
        while state_of(person.id) is not LeaverState.APPLIED:
            with transaction() as session:
                assert departures.apply_due(session, now=clock.now())
        shown = clerk.get(page).text
        assert "/withdrawal" not in shown
        assert "查看销户" in shown
        late = clerk.post(f"{page}/withdrawal")
        assert (late.status_code, 'role="alert"' in late.text) == (409, True)
        assert page in clerk.get(f"{ROOM}?state=applied").text

    def test_an_office_sees_those_for_whom_it_answers(self, staff, parts) -> None:
        page = file(staff(), make_person(parts).number)
        for role, sees in (
            (Role.ACADEMIC, True), (Role.PERSONNEL, False), (Role.LOGISTICS, False),
            (Role.AUDITOR, True), (Role.CARD_CENTRE, True),
        ):  # fmt: skip
            assert (page in staff(role).get(ROOM).text) is sees, role
        assert "/withdrawal" not in staff(Role.PERSONNEL).get(page).text
        assert staff(Role.PERSONNEL).post(f"{page}/withdrawal").status_code == 404
        assert '<form method="post" action="/console/departures' not in (
            staff(Role.AUDITOR).get(page).text
        )

    def test_each_office_is_offered_its_kinds(self, staff) -> None:
        assert 'value="early"' in staff(Role.LOGISTICS).get(f"{ROOM}/new").text
        assert 'value="retirement"' not in staff(Role.ACADEMIC).get(f"{ROOM}/new").text

    @pytest.mark.parametrize("query", ["state=x", "state=%00", "state="])
    def test_any_query_is_a_page(self, staff, query) -> None:
        assert staff().get(f"{ROOM}?{query}").status_code == 200

    @pytest.mark.parametrize("holder", ["", "x", "%00", "018f6f3e-9c1a-7b2d-8a45-0c6d1e2f3a4b"])
    def test_whoever_the_form_is_for(self, staff, holder) -> None:
        for form in ("new", "retirements/new"):
            assert staff().get(f"{ROOM}/{form}?holder={holder}").status_code == 200


class TestRetirees:
    def test_get_their_card_after_a_look_at_what_happens(self, staff, parts) -> None:
        clerk = staff()
        person = make_holder(parts, category=Category.STAFF, balance_fen=4321)
        with transaction() as session:
            old = find_card(session, holder_id=person.id, kind=CardKind.PHYSICAL)
        assert person.number in clerk.get(f"{ROOM}/retirements/new?holder={person.id}").text
        typed = {"holder_number": person.number, "document": "人事〔2026〕9号"}
        preview = clerk.post(f"{ROOM}/retirements/preview", typed).text
        assert ("¥43.21" in preview, person.name in preview) == (True, False)
        path = address(preview, f"{ROOM}/retirements")
        for _ in range(2):
            assert clerk.post(path, typed).location == path
        assert "已换为退休教职工临时卡" in clerk.get(path).text
        assert person.number in staff(Role.AUDITOR).get(f"{ROOM}/retirements").text
        assert old is not None
        with transaction() as session:
            assert session.get_one(Holder, person.id).category is Category.TEMPORARY_RETIRED
            states = {card.id: card.state for card in list_cards(session, holder_id=person.id)}
        assert states[old.id] is CardState.VOID

    def test_is_refused_in_words(self, staff, parts) -> None:
        clerk, student = staff(), make_person(parts)
        typed = {"holder_number": student.number, "document": "x"}
        for path in ("preview", str(new_id())):
            answer = clerk.post(f"{ROOM}/retirements/{path}", typed)
            assert (answer.status_code, "退休换卡只用于教工" in answer.text) == (409, True)
            unknown = clerk.post(f"{ROOM}/retirements/{path}", typed | {"holder_number": "nobody"})
            assert (unknown.status_code, 'role="alert"' in unknown.text) == (404, True)
            blank = clerk.post(f"{ROOM}/retirements/{path}", typed | {"document": " "})
            assert blank.status_code == 422

    def test_is_for_the_card_centre(self, staff) -> None:
        clerk = staff(Role.PERSONNEL)
        assert clerk.get(f"{ROOM}/retirements/new").status_code == 403
        assert clerk.post(f"{ROOM}/retirements/{new_id()}").status_code == 403


class TestWords:
    @pytest.mark.parametrize("name", language.LANGUAGES)
    def test_there_is_a_word_for_everything_that_can_be(self, name: str) -> None:
        words = language.dictionary(name)
        assert set(words["departure_kinds"]) == set(DepartureKind)
        assert set(words["departure_effects"]) == set(DepartureKind)
        assert set(words["departure_states"]) == set(DepartureState) == set(LeaverState)
        faults = (HoldersUnknown, DepartureNotPossible, DepartureScheduled)
        assert set(words["departure_faults"]) == {fault.code for fault in faults}
