"""Departures, retirees and screenings over HTTP."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import (
    make_holder,
    make_person,
    other_policies,
    rows_used,
    sign_in,
    virtual_card,
)
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from backend import clock
from backend.cards.models import CardKind, CardState
from backend.cards.service import expire_cards, find_card, list_cards
from backend.closings.rules import months_after
from backend.db import transaction
from backend.holders import permissions
from backend.holders.models import Category, Employment, Holder, Permission
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role

from .conftest import Counter


def day(days: int) -> str:
    return (clock.business_date(clock.now()) + timedelta(days=days)).isoformat()


def leave(counter: Counter, who: dict[str, str], number: str, **changed: Any) -> Any:
    body = {"holder_numbers": [number], "kind": "leaving", "effective_on": day(5), "document": "x"}
    path = f"/departures/{changed.pop('id', new_id())}"
    return counter.call("PUT", path, who, **(body | changed))


class TestDepartures:
    def test_each_office_tells_of_its_own(self, counter: Counter, parts: Parts) -> None:
        academic, personnel = (sign_in(parts, role) for role in (Role.ACADEMIC, Role.PERSONNEL))
        student = make_person(parts)
        refused = leave(counter, personnel, student.number)
        assert (refused.status_code, refused.get_json()["code"]) == (409, "departure-not-possible")
        wrong = leave(counter, academic, student.number, kind="retirement")
        assert wrong.get_json()["code"] == "departure-not-possible"
        assert leave(counter, sign_in(parts, Role.FINANCE), student.number).status_code == 403
        assert leave(counter, academic, student.number).status_code == 201

    def test_a_retry_gets_the_same_and_all_or_nobody_is_filed(
        self, counter: Counter, parts: Parts
    ) -> None:
        who, student, id_ = sign_in(parts, Role.ACADEMIC), make_person(parts), new_id()
        unknown = leave(
            counter, who, student.number, id=id_, holder_numbers=[student.number, "nobody"]
        )
        assert (unknown.status_code, unknown.get_json()["code"]) == (422, "holders-unknown")
        first = leave(counter, who, student.number, id=id_)
        again = leave(counter, who, student.number, id=id_)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        other = leave(counter, who, student.number, id=id_, document="y")
        assert other.get_json()["code"] == "id-reused"
        assert leave(counter, who, student.number).get_json()["code"] == "departure-scheduled"
        said = counter.call("POST", f"/departures/{id_}/withdrawal", who)
        assert said.get_json()["items"][0]["state"] == "withdrawn"
        assert leave(counter, who, student.number).status_code == 201


class TestRetirees:
    def test_keep_account_phone_and_balance_and_get_another_card(
        self, counter: Counter, parts: Parts
    ) -> None:
        holder = make_holder(parts, category=Category.STAFF, balance_fen=500)
        with transaction() as session:
            old = find_card(session, holder_id=holder.id, kind=CardKind.PHYSICAL)
            session.get_one(Holder, holder.id).employment = Employment.COLLEGE
        path = f"/retirements/{new_id()}"
        body = {"holder_number": holder.number, "document": "人事〔2026〕3号"}
        first, again = counter.call("PUT", path, **body), counter.call("PUT", path, **body)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        with transaction() as session:
            now = session.get_one(Holder, holder.id)
            cards = list_cards(session, holder_id=holder.id)
        assert (now.category, now.employment) == (Category.TEMPORARY_RETIRED, None)
        assert now.pays_surcharge is None
        assert rows_used(UUID(path.rpartition("/")[2]), "retirement.switch") == {
            "retired.valid_months",
            "permissions.temporary_retired",
        }
        assert old is not None
        assert sorted((card.kind.value, card.state.value) for card in cards) == [
            ("physical", "active"),
            ("physical", "void"),
            ("virtual", "active"),
        ]
        said = counter.client.get("/api/v1/me", headers=holder.headers).get_json()
        assert said["purses"][0]["balance_fen"] == 500
        student = counter.call(
            "PUT",
            f"/retirements/{new_id()}",
            holder_number=make_person(parts).number,
            document="x",
        )
        assert student.get_json()["code"] == "not-staff"

    def test_are_of_age_by_what_is_known_or_by_what_personnel_files(
        self, counter: Counter, parts: Parts
    ) -> None:
        person = make_person(parts, category=Category.STAFF, valid_days=365 * 24)
        path, body = f"/retirements/{new_id()}", {"holder_number": person.number, "document": "x"}
        young = counter.call("PUT", path, **body)
        assert (young.status_code, young.get_json()["code"]) == (409, "retirement-too-early")
        with transaction() as session:
            last = session.get_one(Holder, person.id).valid_until
        assert young.get_json()["day"] == months_after(last, -36).isoformat()
        personnel = sign_in(parts, Role.PERSONNEL)
        filed = {"kind": "retirement", "effective_on": day(40)}
        id_ = new_id()
        assert leave(counter, personnel, person.number, id=id_, **filed).status_code == 201
        assert counter.call("PUT", path, **body).get_json()["day"] == day(9)
        counter.call("POST", f"/departures/{id_}/withdrawal", personnel)
        filed["effective_on"] = day(31)
        assert leave(counter, personnel, person.number, **filed).status_code == 201
        assert counter.call("PUT", path, **body).status_code == 201

    @pytest.mark.parametrize(("valid_days", "status"), [(365 * 3, 201), (365 * 3 + 3, 409)])
    def test_may_be_three_years_early(
        self, counter: Counter, parts: Parts, valid_days: int, status: int
    ) -> None:
        person = make_person(parts, category=Category.STAFF, valid_days=valid_days)
        body = {"holder_number": person.number, "document": "x"}
        assert counter.call("PUT", f"/retirements/{new_id()}", **body).status_code == status

    def test_who_is_employed_again_retires_again(self, counter: Counter, parts: Parts) -> None:
        person = make_person(parts, category=Category.STAFF)
        for _ in range(2):
            with transaction() as session:
                again = session.get_one(Holder, person.id)
                again.category, again.employment = Category.STAFF, Employment.COLLEGE
            said = counter.call(
                "PUT", f"/retirements/{new_id()}", holder_number=person.number, document="x"
            )
            assert said.status_code == 201, said.text
        with transaction() as session:
            retired = session.get_one(Holder, person.id)
        assert (retired.category, retired.employment) == (Category.TEMPORARY_RETIRED, None)

    def test_a_phone_that_was_lost_before_its_card_expired_stays_lost(
        self, counter: Counter, parts: Parts
    ) -> None:
        holder = make_holder(parts, category=Category.STAFF)
        path = f"/api/v1/me/loss-reports/{new_id()}"
        said = counter.client.put(path, json={"credential": "phone"}, headers=holder.headers)
        assert said.status_code == 201
        with transaction() as session:
            session.get_one(Holder, holder.id).valid_until = clock.business_date(
                clock.now()
            ) - timedelta(days=1)
        with transaction() as session:
            expire_cards(session, now=clock.now())
        assert virtual_card(holder.id).state is CardState.EXPIRED
        path, body = f"/retirements/{new_id()}", {"holder_number": holder.number, "document": "x"}
        assert counter.call("PUT", path, **body).status_code == 201
        assert virtual_card(holder.id).state is CardState.LOST

    def test_may_do_at_once_what_the_new_category_may_and_no_more(
        self, counter: Counter, parts: Parts
    ) -> None:
        holder = make_person(parts, category=Category.STAFF)
        body = {"holder_number": holder.number, "document": "人事〔2026〕4号"}
        with other_policies(permissions__temporary_retired=["identify"]):
            assert counter.call("PUT", f"/retirements/{new_id()}", **body).status_code == 201
        with transaction() as session:
            left = permissions.permissions_of(session.get_one(Holder, holder.id))
        assert left == [Permission.IDENTIFY]


@pytest.fixture
def term() -> str:
    """A term that is long over."""
    return "2020-2021-1"


class TestScreenings:
    def test_list_decide_file_and_never_change_again(
        self, counter: Counter, parts: Parts, term: str
    ) -> None:
        gone = make_person(parts, name="清查甲", valid_days=-1)
        early = counter.call("PUT", f"/screenings/{new_id()}", term="2098-2099-2")
        assert (early.status_code, early.get_json()["code"]) == (422, "term-unknown")
        path = f"/screenings/{new_id()}"
        made = counter.call("PUT", path, term=term)
        assert (made.status_code, counter.call("PUT", path, term=term).status_code) == (201, 200)
        mine = [i for i in made.get_json()["items"] if i["holder_number"] == gone.number]
        assert [item["finding"] for item in mine] == ["expired"]
        unfinished = counter.call("POST", f"{path}/filing")
        assert unfinished.get_json()["code"] == "screening-open"
        item = f"{path}/items/{mine[0]['id']}"
        said = counter.call("PUT", item, outcome="close", reason="已离校")
        assert (said.status_code, said.get_json()["outcome"]) == (200, "close")
        with transaction() as session:
            session.execute(
                text(
                    "UPDATE screening_items SET outcome = 'keep', reason = 'x', decided_at = now(),"
                    " decided_by = (SELECT made_by FROM screenings WHERE id = screening_id)"
                    " WHERE screening_id = :id AND outcome IS NULL"
                ),
                {"id": path.rpartition("/")[2]},
            )
        for _ in range(2):
            filed = counter.call("POST", f"{path}/filing")
            assert filed.status_code == 200
            assert filed.get_json()["filed_at"]
        late = counter.call("PUT", item, outcome="keep", reason="x")
        assert late.get_json()["code"] == "screening-filed"
        for delete in (
            "DELETE FROM screenings WHERE id = :id",
            "DELETE FROM screening_items WHERE screening_id = :id",
        ):
            with pytest.raises(ProgrammingError), transaction() as session:
                session.execute(text(delete), {"id": path.rpartition("/")[2]})
        file = counter.call("POST", f"{path}/exports").get_data(as_text=True)
        assert gone.number in file
        assert "已离校" in file
        assert gone.name not in file
