"""A small college through a year, day by day, in a database of its own: each event on its day."""

import secrets
from collections.abc import Iterator
from datetime import date, timedelta
from uuid import UUID

import psycopg
import pytest
from factories import Bound, make_holder, make_operator, rows_used
from psycopg import sql
from sqlalchemy import make_url, text

from backend import clock, db, jobs
from backend.cards.models import CardState
from backend.cards.service import list_cards
from backend.closings import deadlines, departures, graduate_list, graduates, service
from backend.closings.models import ClosingState, DepartureKind, Exemption
from backend.closings.rules import months_after
from backend.db import transaction
from backend.holders.models import Category, Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import Account, AccountKind
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.policies.service import adopt_preset
from backend.refunds import service as refunds

ONE_DAY = timedelta(days=1)
TEMPLATE = "campus_card_template"


@pytest.fixture
def college(parts: Parts, database_url: str) -> Iterator[Parts]:
    """The same application on a fresh database: nobody but who is made here grows old."""
    name = f"year_{secrets.token_hex(4)}"
    at = database_url.replace("+psycopg", "")
    with psycopg.connect(at, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(TEMPLATE)
            )
        )
    before = db.Session.kw["bind"]
    engine = db.connect(make_url(database_url).set(database=name).render_as_string(False))
    try:
        with transaction() as session:
            adopt_preset(
                session, "standard", document_number="test", now=clock.now().replace(year=2020)
            )
            for kind, named in (
                (AccountKind.SURCHARGE, None),
                (AccountKind.SUBSIDY_FUND, None),
                (AccountKind.CHANNEL, "wechat"),
                (AccountKind.CHANNEL, "alipay"),
            ):
                session.add(Account(id=new_id(), kind=kind, name=named))
        yield parts
    finally:
        db.Session.configure(bind=before)
        engine.dispose()


def states(holder: Bound) -> set[str]:
    with transaction() as session:
        return {card.state.value for card in list_cards(session, holder_id=holder.id)}


def closing_state(holder: Bound) -> ClosingState | None:
    with transaction() as session:
        found = service.live_closing(session, holder_id=holder.id)
    return found and found.state


def log_of(holder: Bound) -> list[tuple[str, date]]:
    """Return what the operation log says of somebody, with the day by the school's clock."""
    with transaction() as session:
        rows = session.execute(
            text("SELECT action, at FROM operation_log WHERE holder_id = :id ORDER BY at, id"),
            {"id": holder.id},
        ).all()
    return [(row.action, clock.business_date(row.at)) for row in rows]


def close_graduates(
    day: date, expected: set[UUID], deferred: UUID, centre: OperatorCaller, other: OperatorCaller
) -> None:
    """Make a batch on the morning after graduation, exempt one of it, approve it and run it."""
    now, batch_id = clock.start_of_day(day + ONE_DAY) + timedelta(hours=9), new_id()
    with transaction() as session:
        graduates.make(
            session,
            batch_id=batch_id,
            graduated_on=day,
            holder_numbers=None,
            document="教务〔2027〕1号",
            operator=centre,
            now=now,
        )
    with transaction() as session:
        rows = graduates.preview(session, batch_id=batch_id, now=now)
        assert {row.holder.id for row in rows} == expected
        graduates.exempt(
            session,
            batch_id=batch_id,
            graduate_id=next(row.graduate.id for row in rows if row.holder.id == deferred),
            exemption=Exemption.DEFERRED,
            reason="延期一年",
            until=day + 365 * ONE_DAY,
            operator=centre,
            now=now,
        )
    with transaction() as session:
        graduates.approve(session, batch_id=batch_id, operator=other, now=now)
    with transaction() as session:
        _, left = graduates.run(session, batch_id=batch_id, operator=centre, now=now)
    assert left == 0


def test_each_event_happens_on_its_day(college: Parts) -> None:
    today = clock.business_date(clock.now())

    def on(days: int) -> date:
        return today + timedelta(days=days)

    trainee = make_holder(
        college, category=Category.TEMPORARY_TRAINEE, valid_days=30, subsidy_fen=50
    )
    teacher = make_holder(college, category=Category.STAFF, valid_days=4000)
    graduate = make_holder(college, valid_days=99)
    deferred = make_holder(college, valid_days=99)
    stays = make_holder(college, valid_days=3000)
    personnel = make_operator(college, Role.PERSONNEL)
    centre, other = (make_operator(college, Role.CARD_CENTRE) for _ in range(2))
    with transaction() as session:
        departures.file(
            session,
            departure_id=new_id(),
            holder_numbers=[teacher.number],
            kind=DepartureKind.LEAVING,
            effective_on=on(60),
            document="人事〔2026〕9号",
            operator=personnel,
            now=clock.now(),
        )
    seen: dict[str, dict[date, set[str]]] = {}
    for number in range(1, 121):
        day = on(number)
        jobs.pass_day(college, day)
        again = jobs.pass_day(college, day)
        assert sum(again.values()) == 0, (day, again)
        for name, holder in (("trainee", trainee), ("teacher", teacher), ("graduate", graduate)):
            seen.setdefault(name, {})[day] = states(holder)
        if number == 101:
            close_graduates(on(100), {graduate.id, deferred.id}, deferred.id, centre, other)

    # A temporary card: whole on its last day, dead at the next midnight, closed after the wait.
    assert seen["trainee"][on(30)] == {CardState.ACTIVE}
    assert seen["trainee"][on(31)] == {CardState.CLOSING}
    assert seen["trainee"][on(33)] == {CardState.CLOSING}
    assert seen["trainee"][on(34)] == {CardState.CLOSED}
    # Somebody who leaves: at the first instant of that day.
    assert seen["teacher"][on(59)] == {CardState.ACTIVE}
    assert seen["teacher"][on(60)] == {CardState.CLOSING}
    assert seen["teacher"][on(63)] == {CardState.CLOSED}
    # A graduate: expired by the calendar, closed by the batch.
    assert seen["graduate"][on(99)] == {CardState.ACTIVE}
    assert seen["graduate"][on(100)] == {CardState.EXPIRED}
    assert seen["graduate"][on(120)] == {CardState.CLOSED}
    assert closing_state(deferred) is None
    assert states(deferred) == {CardState.EXPIRED}
    assert states(stays) == {CardState.ACTIVE}
    assert ("closing.start", on(60)) in log_of(teacher)
    assert ("card.expire", on(31)) in log_of(trainee)
    assert ("closing.close", on(34)) in log_of(trainee)
    with transaction() as session:
        late = clock.start_of_day(on(120))
        assert deadlines.open_beyond_deadline(session, now=late) == 0
        assert ledger.prove(session).holds
        assert refunds.difference(session) == 0


def test_a_graduate_who_is_left_is_counted_after_the_deadline(college: Parts) -> None:
    centre, holder = make_operator(college, Role.CARD_CENTRE), make_holder(college, valid_days=0)
    today = clock.business_date(clock.now())
    with transaction() as session:
        batch, _ = graduates.make(
            session,
            batch_id=new_id(),
            graduated_on=today + ONE_DAY,
            holder_numbers=[holder.number],
            document="x",
            operator=centre,
            now=clock.now(),
        )
    with transaction() as session:
        last = clock.start_of_day(batch.deadline)
        assert deadlines.open_beyond_deadline(session, now=last) == 0
        assert deadlines.open_beyond_deadline(session, now=last + ONE_DAY) == 1
    with transaction() as session:
        assert deadlines.remind(session, now=last) == 1
    with transaction() as session:
        assert deadlines.remind(session, now=last) == 0
    assert rows_used(batch.id, "closing_batch.remind") == {"closing.remind_days"}
    assert rows_used(batch.id, "closing_batch.make") == {"closing.deadline_months"}


def test_graduates_whom_nobody_closes_are_closed_by_the_deadline(college: Parts) -> None:
    today = clock.business_date(clock.now())
    left, deferred = make_holder(college, valid_days=0), make_holder(college, valid_days=0)
    centre, deadline = make_operator(college, Role.CARD_CENTRE), months_after(today + ONE_DAY, 3)
    gathered_on, closing_on = deadline - 17 * ONE_DAY, deadline - 3 * ONE_DAY
    jobs.pass_day(college, gathered_on - ONE_DAY)
    with transaction() as session:
        assert (
            graduate_list.list_batches(
                session, only_left=False, before=None, limit=9, now=clock.now()
            )
            == []
        )
    jobs.pass_day(college, gathered_on)
    with transaction() as session:
        (batch,) = graduate_list.list_batches(
            session, only_left=False, before=None, limit=9, now=clock.now()
        )
        rows = graduates.preview(session, batch_id=batch.id, now=clock.now())
        assert {row.holder.id for row in rows} == {left.id, deferred.id}
        assert (batch.made_by, batch.deadline) == (None, deadline)
        graduates.exempt(
            session,
            batch_id=batch.id,
            graduate_id=next(row.graduate.id for row in rows if row.holder.id == deferred.id),
            exemption=Exemption.DEFERRED,
            reason="延期一年",
            until=deadline + 365 * ONE_DAY,
            operator=centre,
            now=clock.now(),
        )
    jobs.pass_day(college, closing_on - ONE_DAY)
    assert closing_state(left) is None
    jobs.pass_day(college, closing_on)
    assert closing_state(left) is ClosingState.STARTED
    assert sum(jobs.pass_day(college, closing_on).values()) == 0
    jobs.pass_day(college, deadline)
    assert closing_state(left) is ClosingState.CLOSED
    assert (closing_state(deferred), states(deferred)) == (None, {CardState.EXPIRED})
    assert ("closing.close", deadline) in log_of(left)
    with transaction() as session:
        late = clock.start_of_day(deadline + ONE_DAY)
        assert deadlines.open_beyond_deadline(session, now=late) == 0


def test_whose_card_goes_on_is_not_closed_by_the_deadline(college: Parts) -> None:
    today = clock.business_date(clock.now())
    back = make_holder(college, valid_days=0)
    deadline = months_after(today + ONE_DAY, 3)
    jobs.pass_day(college, deadline - 17 * ONE_DAY)
    for last, closed in ((today + 900 * ONE_DAY, False), (today, True)):
        with transaction() as session:
            session.get_one(Holder, back.id).valid_until = last
        jobs.pass_day(college, deadline)
        assert (closing_state(back) is ClosingState.STARTED) is closed


def test_nobody_is_closed_before_graduation(college: Parts) -> None:
    centre, holder = make_operator(college, Role.CARD_CENTRE), make_holder(college, valid_days=4)
    day, batch_id = clock.business_date(clock.now()) + 5 * ONE_DAY, new_id()
    with transaction() as session:
        graduates.make(
            session,
            batch_id=batch_id,
            graduated_on=day,
            holder_numbers=[holder.number],
            document="x",
            operator=centre,
            now=clock.now(),
        )
    with transaction() as session:
        other = make_operator(college, Role.CARD_CENTRE)
        graduates.approve(session, batch_id=batch_id, operator=other, now=clock.now())
    just_before = clock.start_of_day(day) - timedelta(seconds=1)
    with pytest.raises(graduates.NotGraduated), transaction() as session:
        graduates.run(session, batch_id=batch_id, operator=centre, now=just_before)
    assert closing_state(holder) is None
    with transaction() as session:
        graduates.run(session, batch_id=batch_id, operator=centre, now=clock.start_of_day(day))
    assert closing_state(holder) is ClosingState.STARTED


def test_a_departure_of_a_graduate_shortens_the_card(college: Parts) -> None:
    academic, holder = make_operator(college, Role.ACADEMIC), make_holder(college, valid_days=900)
    today = clock.business_date(clock.now())
    with transaction() as session:
        departures.file(
            session,
            departure_id=new_id(),
            holder_numbers=[holder.number],
            kind=DepartureKind.GRADUATION,
            effective_on=today + 5 * ONE_DAY,
            document="x",
            operator=academic,
            now=clock.now(),
        )
    jobs.pass_day(college, today + 4 * ONE_DAY)
    assert states(holder) == {CardState.ACTIVE}
    jobs.pass_day(college, today + 5 * ONE_DAY)
    assert states(holder) == {CardState.EXPIRED}
    with transaction() as session:
        assert session.get_one(Holder, holder.id).valid_until == today + 4 * ONE_DAY
