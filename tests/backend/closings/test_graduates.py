"""Graduates' batches over HTTP: two people, exemptions that end, classes, what is left."""

import secrets
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import make_holder, make_operator, make_person, sign_in

from backend import clock
from backend.closings import graduate_list, graduates, service
from backend.closings.graduate_list import GraduateState
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role

from .conftest import Counter

GRADUATED = timedelta(days=1)
"""After the last day of cards that are valid today: the day by which a batch is named."""


def today() -> date:
    return clock.business_date(clock.now())


def make(counter: Counter, *numbers: str, **changed: Any) -> Any:
    body = {"graduated_on": today().isoformat(), "document": "教务〔2027〕1号"}
    body |= {"holder_numbers": list(numbers)} if numbers else {"holder_numbers": None}
    path = f"/closing-batches/{changed.pop('id', new_id())}"
    return path, counter.call("PUT", path, changed.pop("who", None), **(body | changed))


def rows(counter: Counter, path: str) -> dict[str, dict[str, Any]]:
    said = counter.call("GET", f"{path}/preview").get_json()
    return {row["holder_number"]: row for row in said["items"]}


def exempt(counter: Counter, path: str, number: str, **changed: Any) -> Any:
    row = rows(counter, path)[number]
    body = {"exemption": "deferred", "reason": "延期", "until": today().isoformat()} | changed
    return counter.call("PUT", f"{path}/graduates/{row['id']}", **body)


NONE = {"exemption": None, "reason": None, "until": None}


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


class TestApproval:
    def test_a_batch_is_run_once_a_second_person_has_approved_it(
        self, counter: Counter, parts: Parts
    ) -> None:
        holder, other = make_holder(parts), sign_in(parts, Role.CARD_CENTRE)
        path, made = make(counter, holder.number)
        assert (made.status_code, made.get_json()["approved_at"]) == (201, None)
        assert code_of(counter.call("POST", f"{path}/runs")) == (409, "batch-not-approved")
        assert code_of(counter.call("POST", f"{path}/approval")) == (409, "second-person-needed")
        for _ in range(2):
            approved = counter.call("POST", f"{path}/approval", other)
            assert (approved.status_code, approved.get_json()["approved_at"] is None) == (
                200,
                False,
            )
        ran = counter.call("POST", f"{path}/runs")
        assert (ran.status_code, ran.get_json()["left"]) == (200, 0)
        with transaction() as session:
            assert service.live_closing(session, holder_id=holder.id) is not None

    def test_a_changed_exemption_asks_for_another_one(self, counter: Counter, parts: Parts) -> None:
        people = [make_person(parts) for _ in range(2)]
        other = sign_in(parts, Role.CARD_CENTRE)
        path, _ = make(counter, *(one.number for one in people))
        counter.call("POST", f"{path}/approval", other)
        assert exempt(counter, path, people[0].number).status_code == 200
        assert counter.call("POST", f"{path}/runs").status_code == 200
        assert exempt(counter, path, people[0].number, **NONE).status_code == 200
        assert code_of(counter.call("POST", f"{path}/runs")) == (409, "batch-not-approved")
        counter.call("POST", f"{path}/approval", other)
        assert counter.call("POST", f"{path}/runs").get_json()["left"] == 0
        assert rows(counter, path)[people[0].number]["closing_state"] == "started"


class TestExemptions:
    @pytest.mark.parametrize(
        ("changed", "status", "code"),
        [
            ({"until": None}, 422, "validation-failed"),
            ({"reason": None}, 422, "validation-failed"),
            ({"exemption": None}, 422, "validation-failed"),
            ({"until": "2020-01-01"}, 422, "exemption-over"),
            ({"until": "2020-02-30"}, 422, "validation-failed"),
        ],
    )
    def test_have_a_reason_and_an_end_to_come(
        self, counter: Counter, parts: Parts, changed: dict[str, Any], status: int, code: str
    ) -> None:
        person = make_person(parts)
        path, _ = make(counter, person.number)
        assert code_of(exempt(counter, path, person.number, **changed)) == (status, code)
        assert rows(counter, path)[person.number]["exemption"] is None

    def test_hold_until_their_last_day(self, counter: Counter, parts: Parts) -> None:
        person, number = make_person(parts), 0
        path, _ = make(counter, person.number)
        batch_id = UUID(path.rpartition("/")[2])
        exempt(counter, path, person.number, until=(today() + timedelta(days=9)).isoformat())
        maker, checker = (make_operator(parts, Role.CARD_CENTRE) for _ in range(2))
        with transaction() as session:
            graduates.approve(session, batch_id=batch_id, operator=checker, now=clock.now())
        last = clock.start_of_day(today() + timedelta(days=9))
        for number, now in enumerate((last, last + timedelta(days=1))):
            with transaction() as session:
                counts = graduate_list.counts_of(session, [batch_id], now=now)[batch_id]
                assert counts[GraduateState.EXEMPT] == 1 - number
                assert counts[GraduateState.WAITING] == number
                graduates.run(session, batch_id=batch_id, operator=maker, now=now)
                live = service.live_closing(session, holder_id=person.id)
            assert (live is not None) is bool(number)


class TestClasses:
    def test_a_batch_holds_the_classes_that_are_named_and_nobody_twice(
        self, counter: Counter, parts: Parts
    ) -> None:
        here, there = (f"毕业班 {secrets.token_hex(4)}" for _ in range(2))
        mine = make_holder(parts, unit=here, balance_fen=700, valid_days=40)
        other = make_person(parts, unit=there, valid_days=40)
        day = today() + timedelta(days=41)
        with transaction() as session:
            found = graduate_list.classes_due(session, year=day.year)
        due = {one.unit: one for one in found}
        assert (due[here].day, due[here].people, due[here].balance_fen) == (day, 1, 700)
        path, made = make(counter, graduated_on=day.isoformat(), units=[here])
        assert (made.status_code, set(rows(counter, path))) == (201, {mine.number})
        again = make(counter, graduated_on=day.isoformat(), units=[here])[1]
        assert code_of(again) == (409, "nobody-graduates")
        rest, made = make(counter, graduated_on=day.isoformat(), units=[here, there])
        assert (made.status_code, set(rows(counter, rest))) == (201, {other.number})

    def test_a_retry_with_other_classes_is_a_fault(self, counter: Counter, parts: Parts) -> None:
        unit, id_ = f"毕业班 {secrets.token_hex(4)}", new_id()
        make_person(parts, unit=unit, valid_days=40)
        day = (today() + timedelta(days=41)).isoformat()
        said = {"graduated_on": day, "id": id_}
        assert make(counter, **said, units=[unit])[1].status_code == 201
        assert make(counter, **said, units=[unit])[1].status_code == 200
        assert code_of(make(counter, **said, units=[unit, "x"])[1]) == (409, "id-reused")


class TestReport:
    def test_names_who_is_left_masked_and_is_on_record(
        self, counter: Counter, parts: Parts
    ) -> None:
        left, kept = make_holder(parts, balance_fen=1234), make_person(parts)
        path, _ = make(counter, left.number, kept.number)
        exempt(counter, path, kept.number)
        file = counter.call("POST", f"{path}/exports").get_data(as_text=True)
        assert (left.number in file, "12.34" in file) == (True, True)
        assert (kept.number in file, left.name in file) == (False, False)
