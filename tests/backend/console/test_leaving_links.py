"""A holder's page leads to all that is under way to end the account."""

from datetime import timedelta
from typing import Any

from factories import make_operator, make_person
from sqlalchemy import select

from backend import clock
from backend.closings import departures, graduates, retirements, screenings
from backend.closings import service as closings
from backend.closings.models import ClosingKind, DepartureKind, ScreeningItem
from backend.db import transaction
from backend.holders.models import Category
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role


def page_of(person: Any, holder_id: Any) -> str:
    text: str = person.get(f"/console/holders/{holder_id}").text
    return text


class TestLinks:
    def test_of_a_graduate_who_is_closed(self, staff: Any, parts: Parts) -> None:
        holder, centre = make_person(parts), make_operator(parts, Role.CARD_CENTRE)
        assert "没有离校、销户或待付款项" in page_of(staff(), holder.id)
        now, departure_id, batch_id, closing_id = clock.now(), new_id(), new_id(), new_id()
        with transaction() as session:
            departures.file(
                session, departure_id=departure_id, holder_numbers=[holder.number],
                kind=DepartureKind.GRADUATION, document="x", operator=centre, now=now,
                effective_on=clock.business_date(now) + timedelta(days=9),
            )  # fmt: skip
            graduates.make(
                session, batch_id=batch_id, graduated_on=clock.business_date(now), document="x",
                holder_numbers=[holder.number], operator=centre, now=now,
            )  # fmt: skip
            closings.start(
                session, closing_id=closing_id, holder_id=holder.id, kind=ClosingKind.GRADUATION,
                document="x", actor=SYSTEM, now=now,
            )  # fmt: skip
        rooms = {
            "departures": departure_id, "graduates": batch_id, "closings": closing_id,
        }  # fmt: skip
        for role in (Role.CARD_CENTRE, Role.AUDITOR, Role.FINANCE):
            shown = page_of(staff(role), holder.id)
            for room, id_ in rooms.items():
                sees = room != "departures" or role is not Role.FINANCE
                assert (f"/console/{room}/{id_}" in shown) is sees, (role, room)

    def test_of_a_member_of_the_staff_who_retires(self, staff: Any, parts: Parts) -> None:
        holder = make_person(parts, category=Category.STAFF)
        ask = f"/console/departures/retirements/new?holder={holder.id}"
        assert ask in page_of(staff(), holder.id)
        assert ask not in page_of(staff(Role.AUDITOR), holder.id)
        made = new_id()
        with transaction() as session:
            retirements.switch(
                session, retirement_id=made, holder_id=holder.id, document="x",
                operator=make_operator(parts, Role.CARD_CENTRE), now=clock.now(),
            )  # fmt: skip
        shown = page_of(staff(), holder.id)
        assert (f"/console/departures/retirements/{made}" in shown, ask in shown) == (True, False)

    def test_of_what_a_screening_found(self, staff: Any, parts: Parts) -> None:
        holder, made = make_person(parts, valid_days=-1), new_id()
        with transaction() as session:
            screenings.make(
                session, screening_id=made, term="2020-2021-1", now=clock.now(),
                operator=make_operator(parts, Role.CARD_CENTRE),
            )  # fmt: skip
            found = session.scalars(
                select(ScreeningItem.finding).where(ScreeningItem.holder_id == holder.id)
            ).all()
        assert found
        assert f"/console/screenings/{made}?finding=expired" in page_of(staff(), holder.id)
