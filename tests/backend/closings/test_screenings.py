"""What a screening finds, in a college of thousands too."""

import secrets
from typing import Any

from factories import make_operator, make_person
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from backend import clock, db
from backend.closings import screenings
from backend.closings.models import Finding, ScreeningItem
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role

TERM = "2020-2021-1"


def screen(session: Session, parts: Parts) -> list[ScreeningItem]:
    """Screen all accounts, and return what was found."""
    screening, _ = screenings.make(
        session,
        screening_id=new_id(),
        term=TERM,
        operator=make_operator(parts, Role.CARD_CENTRE),
        now=clock.now(),
    )
    query = select(ScreeningItem).where(ScreeningItem.screening_id == screening.id)
    return list(session.scalars(query))


class TestTwins:
    def test_namesakes_of_one_class_are_found(self, parts: Parts) -> None:
        unit = f"清查{secrets.token_hex(4)}班"
        twins = {make_person(parts, name="同名", unit=unit).id for _ in range(2)}
        make_person(parts, name="他名", unit=unit)
        make_person(parts, name="同名", unit=f"{unit}二")
        make_person(parts, name="同名", unit=unit, valid_days=-1)
        with transaction() as session:
            found = screen(session, parts)
            alike = {item.holder_id for item in found if item.finding is Finding.DUPLICATE}
        assert alike >= twins
        with transaction() as session:
            units: Any = text("SELECT count(*) FROM holders WHERE unit LIKE :u AND id = ANY(:ids)")
            assert session.scalar(units, {"u": f"{unit}%", "ids": list(alike)}) == 2

    def test_a_college_of_thousands_is_looked_through_in_time(self, parts: Parts) -> None:
        with db.Session() as session:  # never committed: nobody else meets these people
            session.execute(text("SET LOCAL statement_timeout = '60s'"))
            session.execute(
                text(
                    "INSERT INTO holders (id, holder_number, name, category, unit, document_index,"
                    " document_tail_index, pays_surcharge, valid_until)"
                    " SELECT uuidv7(), 'TW' || n, '众' || n, 'student', '大班',"
                    " sha256(('TW' || n)::bytea), 'x', false, current_date + 400"
                    " FROM generate_series(1, 12000) AS n"
                )
            )
            session.execute(
                text(
                    "INSERT INTO cards (id, holder_id, kind, state, number, created_at)"
                    " SELECT uuidv7(), id, 'physical', 'active', holder_number, now()"
                    " FROM holders WHERE unit = '大班'"
                )
            )
            session.execute(text("SET LOCAL statement_timeout = '15s'"))
            many = set(session.scalars(text("SELECT id FROM holders WHERE unit = '大班'")))
            found = {item.holder_id for item in screen(session, parts)}
            session.rollback()
        assert len(many) == 12_000
        assert not found & many
