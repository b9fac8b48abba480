"""Graduates' batches over HTTP: two people, exemptions that end, classes, what is left."""

import secrets
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import make_holder, make_operator, make_person, sign_in
from sqlalchemy import select

from backend import clock, db
from backend.closings import deadlines, graduate_list, graduates, service
from backend.closings.graduate_list import GraduateState
from backend.closings.rules import months_after
from backend.db import transaction
from backend.holders.models import Category, Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
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


def end(holder_id: UUID) -> None:
    """Let somebody's last day be yesterday."""
    with transaction() as session:
        session.get_one(Holder, holder_id).valid_until = today() - timedelta(days=1)


NONE = {"exemption": None, "reason": None, "until": None}


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


class TestApproval:
    def test_a_batch_is_run_once_a_second_person_has_approved_it(
        self, counter: Counter, parts: Parts
    ) -> None:
        holder, other = make_person(parts, valid_days=-1), sign_in(parts, Role.CARD_CENTRE)
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
        people = [make_person(parts, valid_days=-1) for _ in range(2)]
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
        person, number = make_person(parts, valid_days=-1), 0
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
        end(left.id)
        path, _ = make(counter, left.number, kept.number)
        exempt(counter, path, kept.number)
        file = counter.call("POST", f"{path}/exports").get_data(as_text=True)
        assert (left.number in file, "12.34" in file) == (True, True)
        assert (kept.number in file, left.name in file) == (False, False)


class TestWhoStays:
    def test_is_neither_closed_nor_left_and_the_approver_sees_why(
        self, counter: Counter, parts: Parts
    ) -> None:
        gone, studies, hired = (make_person(parts, valid_days=days) for days in (-1, 900, -1))
        people = {"gone": gone, "studies": studies, "hired": hired}
        path, _ = make(counter, *(one.number for one in people.values()))
        with transaction() as session:
            session.get_one(Holder, hired.id).category = Category.STAFF
        why = {name: rows(counter, path)[one.number]["stays"] for name, one in people.items()}
        assert why == {"gone": None, "studies": "card_goes_on", "hired": "other_category"}
        assert counter.call("GET", f"{path}/preview").get_json()["open"] == 1
        counter.call("POST", f"{path}/approval", sign_in(parts, Role.CARD_CENTRE))
        for _ in range(2):
            assert counter.call("POST", f"{path}/runs").get_json()["left"] == 0
        closing = {
            name: rows(counter, path)[one.number]["closing_state"] for name, one in people.items()
        }
        assert closing == {"gone": "started", "studies": None, "hired": None}
        batch_id = UUID(path.rpartition("/")[2])
        with transaction() as session:
            counts = graduate_list.counts_of(session, [batch_id], now=clock.now())[batch_id]
            skipped = session.scalars(
                select(LogEntry).where(
                    LogEntry.subject_id == batch_id, LogEntry.action == "closing_batch.skip"
                )
            ).all()
        assert (counts[GraduateState.CLOSING], counts[GraduateState.STAYS]) == (1, 2)
        assert {entry.holder_id: entry.facts["why"] for entry in skipped} == {
            studies.id: "card_goes_on", hired.id: "other_category",
        }  # fmt: skip

    def test_is_closed_once_their_graduation_is_told(self, counter: Counter, parts: Parts) -> None:
        person = make_person(parts, valid_days=900)
        path, _ = make(counter, person.number)
        counter.call("POST", f"{path}/approval", sign_in(parts, Role.CARD_CENTRE))
        counter.call("POST", f"{path}/runs")
        assert rows(counter, path)[person.number]["closing_state"] is None
        end(person.id)
        counter.call("POST", f"{path}/runs")
        assert rows(counter, path)[person.number]["closing_state"] == "started"


class TestMistypedDays:
    def test_a_graduation_is_a_year_ahead_at_most(self, counter: Counter, parts: Parts) -> None:
        person = make_person(parts, valid_days=-1)
        _, far = make(counter, person.number, graduated_on="2099-07-01")
        latest = months_after(today(), 12).isoformat()
        assert (code_of(far), far.get_json()["latest"]) == ((422, "graduation-too-far"), latest)
        assert make(counter, person.number, graduated_on=latest)[1].status_code == 201

    def test_a_batch_that_nobody_approved_is_taken_back(
        self, counter: Counter, parts: Parts
    ) -> None:
        unit, colleague = f"毕业班 {secrets.token_hex(4)}", sign_in(parts, Role.CARD_CENTRE)
        make_person(parts, unit=unit, valid_days=40)
        day = (today() + timedelta(days=41)).isoformat()
        path, _ = make(counter, graduated_on=day, units=[unit])
        assert code_of(make(counter, graduated_on=day, units=[unit])[1])[1] == "nobody-graduates"
        for _ in range(2):
            said = counter.call("POST", f"{path}/withdrawal", colleague)
            assert (said.status_code, said.get_json()["withdrawn_at"] is None) == (200, False)
        for late in ("approval", "runs"):
            said = counter.call("POST", f"{path}/{late}", colleague)
            assert code_of(said) == (409, "closing-batch-withdrawn")
        again, made = make(counter, graduated_on=day, units=[unit])
        assert made.status_code == 201
        counter.call("POST", f"{again}/approval", colleague)
        assert code_of(counter.call("POST", f"{again}/withdrawal")) == (409, "closing-batch-stands")

    @pytest.mark.parametrize("ahead", [300, -800])
    def test_move_nobodys_deadline(self, counter: Counter, parts: Parts, ahead: int) -> None:
        person = make_person(parts, valid_days=-1)
        day = today() + timedelta(days=ahead)
        assert make(counter, person.number, graduated_on=day.isoformat())[1].status_code == 201
        own = months_after(today(), 3)
        early = clock.start_of_day(own - timedelta(days=40))
        with db.Session() as session:
            deadlines.gather(session, now=early)
            while deadlines.run_due(session, now=early):
                pass
            assert service.live_closing(session, holder_id=person.id) is None
            session.rollback()
        with db.Session() as session:
            for left in range(39, -1, -1):
                now = clock.start_of_day(own - timedelta(days=left))
                deadlines.gather(session, now=now)
                while deadlines.run_due(session, now=now):
                    pass
            assert service.live_closing(session, holder_id=person.id) is not None
            session.rollback()
