"""Rows by their ids, and the first answer to a request that comes again."""

import pytest
from factories import make_person
from sqlalchemy import select, update

from backend import clock
from backend.db import Session, transaction
from backend.errors import IdReused, NotFound
from backend.holders.models import Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM, record
from backend.rows import find_row, first_answer, lock_row, newest_first


class TestFirstAnswer:
    def test_is_the_row_for_the_same_request_and_nothing_for_a_new_id(self, parts: Parts) -> None:
        person = make_person(parts)
        with transaction() as session:
            owner = {"holder_number": person.number}
            same = first_answer(session, Holder, person.id, owner=owner, name=person.name)
            assert same is not None
            assert same.id == person.id
            assert first_answer(session, Holder, new_id(), owner=owner, name="别人") is None

    def test_tells_nobody_else_that_the_id_is_used(self, parts: Parts) -> None:
        person = make_person(parts)
        with transaction() as session, pytest.raises(NotFound):
            first_answer(session, Holder, person.id, owner={"holder_number": "x"}, name="别人")

    def test_refuses_other_content(self, parts: Parts) -> None:
        person = make_person(parts)
        with transaction() as session, pytest.raises(IdReused):
            first_answer(
                session, Holder, person.id, owner={"holder_number": person.number}, name="别人"
            )


class TestFinding:
    def test_what_belongs_to_something_else_is_not_there(self, parts: Parts) -> None:
        person = make_person(parts)
        with transaction() as session:
            assert find_row(session, Holder, person.id, name=person.name).id == person.id
            for find in (find_row, lock_row):
                with pytest.raises(NotFound):
                    find(session, Holder, person.id, name="别人")
                with pytest.raises(NotFound):
                    find(session, Holder, new_id())

    def test_a_locked_row_is_as_it_stands_now(self, parts: Parts) -> None:
        person = make_person(parts)
        with Session() as early:
            seen = find_row(early, Holder, person.id)
            with transaction() as session:
                session.execute(update(Holder).where(Holder.id == person.id).values(unit="新班"))
            assert seen.unit != "新班"
            assert lock_row(early, Holder, person.id).unit == "新班"


class TestPages:
    def test_rows_of_one_moment_stand_on_one_page_each(self) -> None:
        subject_id, now = new_id(), clock.now()
        with transaction() as session:
            for _ in range(5):
                record(session, actor=SYSTEM, action="card.extend", subject_id=subject_id, now=now)
        met, before = [], None
        with transaction() as session:
            query = select(LogEntry).where(LogEntry.subject_id == subject_id)
            while rows := session.scalars(
                newest_first(query, LogEntry.at, before=before, limit=2)
            ).all():
                met += [row.id for row in rows]
                before = rows[-1].at, rows[-1].id
        assert len(met) == 5
        assert met == sorted(set(met), reverse=True)
