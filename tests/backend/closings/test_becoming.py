"""Who becomes another kind of holder: the last day of the old kind ends nothing of the new one."""

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import (
    Person,
    make_operator,
    make_person,
    sign_in,
)
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from backend import clock, db
from backend.cards import categories
from backend.cards.models import CardState
from backend.cards.service import expire_cards, list_cards, usable_until
from backend.closings import deadlines, departures, service
from backend.closings.models import DepartureKind, Graduate, Leaver, LeaverState
from backend.db import transaction
from backend.errors import DomainError
from backend.holders.models import Category, Employment, Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role

from .conftest import Counter

TODAY = clock.business_date(clock.now())
LATER = date(2060, 1, 1)


def day(days: int) -> date:
    return TODAY + timedelta(days=days)


def midnight(on: date) -> datetime:
    return clock.start_of_day(on) + timedelta(seconds=1)


@pytest.fixture
def session() -> Iterator[Session]:
    """A session that is rolled back: those whom other tests left stay as they are."""
    with db.Session() as session:
        yield session
        session.rollback()


def change(
    session: Session,
    person: Person | Any,
    *,
    on: date,
    category: Category = Category.STAFF,
    until: date | None = LATER,
    now: datetime | None = None,
) -> UUID:
    """Note that somebody is of another kind from a day on."""
    id_ = new_id()
    categories.schedule(
        session,
        change_id=id_,
        holder_id=person.id,
        category=category,
        employment=Employment.COLLEGE if category is Category.STAFF else None,
        unit="图书馆",
        holder_number=None,
        from_day=on,
        valid_until=until,
        document_number="人事〔2026〕8号",
        actor=SYSTEM,
        now=now or clock.now(),
    )
    session.flush()
    return id_


def leave(session: Session, parts: Parts, person: Any, kind: DepartureKind, on: date) -> UUID:
    """File a departure of somebody."""
    id_ = new_id()
    departures.file(
        session,
        departure_id=id_,
        holder_numbers=[person.number],
        kind=kind,
        effective_on=on,
        document="教务1号",
        operator=make_operator(parts, Role.CARD_CENTRE),
        now=clock.now(),
    )
    return id_


def states(session: Session, holder_id: UUID) -> set[CardState]:
    return {card.state for card in list_cards(session, holder_id=holder_id)}


def leaver(session: Session, departure_id: UUID) -> Leaver:
    return session.scalars(select(Leaver).where(Leaver.departure_id == departure_id)).one()


def actions(session: Session, holder_id: UUID) -> list[str]:
    of_them = LogEntry.holder_id == holder_id
    return list(session.scalars(select(LogEntry.action).where(of_them).order_by(LogEntry.id)))


WORKS: dict[str, Callable[..., int]] = {
    "expire": expire_cards,
    "change": categories.apply_due,
    "depart": departures.apply_due,
    "close": service.close_expired,
    "gather": deadlines.gather,
}
AT_MIDNIGHT = [
    ("expire", "depart", "close", "change"),
    ("change", "depart", "expire", "close"),
    ("depart", "expire", "change", "close"),
]


class TestTheOrderOfJobs:
    @pytest.mark.parametrize("order", AT_MIDNIGHT, ids="-".join)
    @pytest.mark.parametrize("before", [Category.STUDENT, Category.TEMPORARY_TRAINEE])
    def test_does_not_matter_to_whoever_becomes_staff_after_the_last_day(
        self, session: Session, parts: Parts, order: tuple[str, ...], before: Category
    ) -> None:
        person = make_person(parts, category=before, valid_days=20)
        change(session, person, on=day(21))
        for _ in range(2):
            for name in order:
                WORKS[name](session, now=midnight(day(21)))
        holder = session.get_one(Holder, person.id)
        assert (holder.category, holder.valid_until) == (Category.STAFF, LATER)
        assert states(session, person.id) == {CardState.ACTIVE}
        assert service.live_closing(session, holder_id=person.id) is None

    @pytest.mark.parametrize("order", AT_MIDNIGHT, ids="-".join)
    @pytest.mark.parametrize(
        "case",
        [
            (Category.STUDENT, DepartureKind.GRADUATION, Category.STAFF),
            (Category.STUDENT, DepartureKind.LEAVING, Category.STAFF),
            (Category.STAFF, DepartureKind.LEAVING, Category.TEMPORARY_OUTSIDER),
            (Category.TEMPORARY_TRAINEE, DepartureKind.EARLY, Category.TEMPORARY_OUTSIDER),
        ],
    )
    def test_a_departure_of_the_same_day_is_of_the_old_kind(
        self,
        session: Session,
        parts: Parts,
        order: tuple[str, ...],
        case: tuple[Category, DepartureKind, Category],
    ) -> None:
        before, kind, after = case
        person = make_person(parts, category=before, valid_days=90)
        filed = leave(session, parts, person, kind, day(21))
        change(session, person, on=day(21), category=after)
        for _ in range(2):
            for name in order:
                WORKS[name](session, now=midnight(day(21)))
        assert session.get_one(Holder, person.id).valid_until == LATER
        assert states(session, person.id) == {CardState.ACTIVE}
        assert service.live_closing(session, holder_id=person.id) is None
        assert leaver(session, filed).state is LeaverState.SUPERSEDED
        assert actions(session, person.id).count("departure.supersede") == 1

    def test_graduates_are_not_gathered_who_are_something_else_by_now(
        self, session: Session, parts: Parts
    ) -> None:
        person = make_person(parts, valid_days=-200)
        change(session, person, on=day(1), now=clock.now())
        for name in ("gather", "change", "gather"):
            WORKS[name](session, now=midnight(day(1)))
            of_them = Graduate.holder_id == person.id
            assert not session.scalars(select(Graduate).where(of_them)).all()


class TestWaking:
    @pytest.mark.parametrize("stopped", [None, CardState.LOST, CardState.FROZEN])
    def test_who_is_hired_after_the_summer_has_cards_that_work(
        self, session: Session, parts: Parts, stopped: CardState | None
    ) -> None:
        person = make_person(parts, valid_days=10)
        if stopped is not None:
            for card in list_cards(session, holder_id=person.id):
                card.state = stopped
            session.flush()
        expire_cards(session, now=midnight(day(11)))
        assert states(session, person.id) == {CardState.EXPIRED}
        change(session, person, on=day(60), now=midnight(day(59)))
        categories.apply_due(session, now=midnight(day(60)))
        assert states(session, person.id) == {stopped or CardState.ACTIVE}

    def test_at_once_where_the_day_has_come(self, session: Session, parts: Parts) -> None:
        person = make_person(parts, valid_days=-1)
        expire_cards(session, now=clock.now())
        change(session, person, on=TODAY)
        assert states(session, person.id) == {CardState.ACTIVE}

    def test_nobody_without_a_later_last_day(self, session: Session, parts: Parts) -> None:
        person = make_person(parts, valid_days=-1)
        expire_cards(session, now=clock.now())
        change(session, person, on=TODAY, until=None)
        assert states(session, person.id) == {CardState.EXPIRED}


class TestMidnight:
    def test_a_change_counts_before_it_is_applied(self, session: Session, parts: Parts) -> None:
        person = make_person(parts, valid_days=10)
        change(session, person, on=day(11))
        assert usable_until(session, holder_id=person.id) == clock.start_of_day(LATER) + timedelta(
            days=1
        )

    def test_one_with_a_gap_before_it_does_not(self, session: Session, parts: Parts) -> None:
        person = make_person(parts, valid_days=10)
        change(session, person, on=day(12))
        assert usable_until(session, holder_id=person.id) == clock.start_of_day(day(11))

    @pytest.mark.parametrize(("on", "counts"), [(19, True), (20, False), (25, False)])
    def test_a_departure_counts_for_the_kind_of_its_day(
        self, session: Session, parts: Parts, on: int, *, counts: bool
    ) -> None:
        person = make_person(parts, valid_days=90)
        leave(session, parts, person, DepartureKind.GRADUATION, day(on))
        change(session, person, on=day(20))
        until = day(on) if counts else LATER + timedelta(days=1)
        assert usable_until(session, holder_id=person.id) == clock.start_of_day(until)
        categories.apply_due(session, now=midnight(day(20)))
        until = LATER + timedelta(days=1)  # what was not applied by then is of nobody
        assert usable_until(session, holder_id=person.id) == clock.start_of_day(until)

    def test_a_card_is_used_that_would_be_over_by_its_old_last_day(
        self, session: Session, parts: Parts
    ) -> None:
        person = make_person(parts, valid_days=10)
        refusal = text("SELECT usage_refusal(h, 'active', :now) FROM holders h WHERE h.id = :id")
        said = {"id": person.id, "now": midnight(day(11))}
        assert session.scalar(refusal, said) == "card-expired"
        change(session, person, on=day(11))
        assert session.scalar(refusal, said) is None


class TestDepartures:
    def test_say_that_a_change_waits_and_the_other_way_round(
        self, counter: Counter, parts: Parts
    ) -> None:
        person, id_, filed = make_person(parts), new_id(), new_id()
        body = {
            "category": "staff", "unit": "图书馆", "from": day(5).isoformat(),
            "valid_until": "2060-01-01", "document_number": "人事8号",
        }  # fmt: skip
        path = f"/holders/{person.id}/category-changes/{id_}"
        assert counter.call("PUT", path, **body).get_json()["departs_on"] is None
        said = counter.call(
            "PUT", f"/departures/{filed}", holder_numbers=[person.number], kind="graduation",
            effective_on=day(5).isoformat(), document="教务1号",
        )  # fmt: skip
        assert said.get_json()["items"][0]["changes_on"] == day(5).isoformat()
        assert counter.call("PUT", path, **body).get_json()["departs_on"] == day(5).isoformat()

    def test_stay_with_the_office_that_filed_them(self, counter: Counter, parts: Parts) -> None:
        person, academic = make_person(parts), sign_in(parts, Role.ACADEMIC)
        personnel, filed = sign_in(parts, Role.PERSONNEL), new_id()
        said = {"holder_numbers": [person.number], "document": "x"}
        path = f"/departures/{filed}"
        on = day(5).isoformat()
        counter.call("PUT", path, academic, kind="graduation", effective_on=on, **said)
        with transaction() as session:
            change(session, person, on=TODAY)
        late = counter.call("POST", f"{path}/withdrawal", personnel)
        assert late.status_code == 404
        other = counter.call(
            "PUT", f"/departures/{new_id()}", personnel, kind="leaving", effective_on=on, **said
        )
        assert other.status_code == 201, other.text
        seen = counter.call("GET", path, academic).get_json()["items"][0]
        assert (seen["state"], seen["applied_at"]) == ("superseded", None)
        over = counter.call("POST", f"{path}/withdrawal", academic)
        assert (over.status_code, over.get_json()["code"]) == (409, "departure-applied")

    def test_of_who_retired_with_a_new_card_are_done(self, session: Session, parts: Parts) -> None:
        person = make_person(parts, category=Category.STAFF)
        filed = leave(session, parts, person, DepartureKind.RETIREMENT, day(3))
        session.get_one(Holder, person.id).category = Category.TEMPORARY_RETIRED
        session.flush()
        departures.apply_due(session, now=midnight(day(3)))
        assert leaver(session, filed).state is LeaverState.APPLIED
        assert service.live_closing(session, holder_id=person.id) is None


class TestTakingAChangeBack:
    def test_lets_the_right_one_be_noted_with_the_same_number(
        self, counter: Counter, parts: Parts
    ) -> None:
        person, number = make_person(parts), f"T{new_id().hex[-8:]}"
        body = {
            "category": "staff", "unit": "图书馆", "from": day(5).isoformat(),
            "valid_until": "2060-01-01", "document_number": "人事8号", "holder_number": number,
        }  # fmt: skip
        root, wrong = f"/holders/{person.id}/category-changes", new_id()
        assert counter.call("PUT", f"{root}/{wrong}", **body).status_code == 201
        for _ in range(2):
            said = counter.call("POST", f"{root}/{wrong}/withdrawal")
            assert (said.status_code, said.get_json()["withdrawn_at"] is None) == (200, False)
        right = body | {"from": day(6).isoformat()}
        assert counter.call("PUT", f"{root}/{new_id()}", **right).status_code == 201
        with db.Session() as session:
            categories.apply_due(session, now=midnight(day(5)))
            assert session.get_one(Holder, person.id).category is Category.STUDENT
            categories.apply_due(session, now=midnight(day(6)))
            assert session.get_one(Holder, person.id).category is Category.STAFF
            assert actions(session, person.id).count("holder.withdraw_category") == 1
            session.rollback()

    def test_is_refused_once_it_is_applied_and_to_others(
        self, counter: Counter, parts: Parts
    ) -> None:
        person, other = make_person(parts), make_person(parts)
        with transaction() as session:
            id_ = change(session, person, on=TODAY)
        path = f"/category-changes/{id_}/withdrawal"
        late = counter.call("POST", f"/holders/{person.id}{path}")
        assert (late.status_code, late.get_json()["code"]) == (409, "change-applied")
        assert counter.call("POST", f"/holders/{other.id}{path}").status_code == 404
        auditor = sign_in(parts, Role.AUDITOR)
        assert counter.call("POST", f"/holders/{person.id}{path}", auditor).status_code == 403

    def test_a_change_does_not_end_before_it_begins(self, session: Session, parts: Parts) -> None:
        person = make_person(parts)
        with pytest.raises(DomainError) as refused:
            change(session, person, on=day(30), until=day(29))
        assert (refused.value.code, refused.value.facts) == (
            "change-ends-early",
            {"day": day(30).isoformat()},
        )
        change(session, person, on=day(30), until=day(30))
