"""A card's time is over at the first instant of the day, also while no job has said so yet."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import (
    Bound,
    make_gate,
    make_holder,
    make_operator,
    make_till,
    present,
)

from backend import clock
from backend.cards.service import CardExpired, usable_until, usable_virtual_card
from backend.charges import service as charges
from backend.clock import business_date, start_of_day
from backend.closings import departures
from backend.closings.models import DepartureKind
from backend.db import transaction
from backend.gates import service as gates
from backend.gates.models import Direction
from backend.holders.models import Category
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operators.models import Role

INSTANT = timedelta(milliseconds=1)


def charge(holder: Bound, now: datetime) -> str | None:
    """Return why a till takes nothing at a moment, None if it does."""
    with transaction() as session:
        outcome, _ = charges.charge(
            session, charge_id=new_id(), terminal=make_till().caller,
            code=present(holder.id, issued_at=int(now.timestamp())), code_text="x",
            amount_fen=Fen(1), note=None, now=now,
        )  # fmt: skip
        return outcome.reason


def enter(holder: Bound, now: datetime) -> str | None:
    """Return why a gate stays shut at a moment, None if it opens."""
    with transaction() as session:
        passage, _ = gates.decide(
            session, passage_id=new_id(), terminal=make_gate().caller,
            code=present(holder.id, issued_at=int(now.timestamp())), code_text="x",
            direction=Direction.IN, now=now,
        )  # fmt: skip
        return passage.reason


def show(holder: Bound, now: datetime) -> str | None:
    """Return why the phone gets no code at a moment, None if it does."""
    with transaction() as session:
        try:
            usable_virtual_card(session, holder_id=holder.id, now=now)
        except CardExpired as refusal:
            return refusal.code
    return None


def leave(parts: Parts, holder: Bound, day: date) -> UUID:
    """Have personnel tell that somebody leaves."""
    departure_id = new_id()
    with transaction() as session:
        departures.file(
            session, departure_id=departure_id, holder_numbers=[holder.number],
            kind=DepartureKind.LEAVING, effective_on=day, document="人事〔2026〕9号",
            operator=make_operator(parts, Role.PERSONNEL), now=clock.now(),
        )  # fmt: skip
    return departure_id


EVERYWHERE = pytest.mark.parametrize("use", [charge, enter, show])


@EVERYWHERE
def test_a_card_is_over_after_its_last_day(parts: Parts, use: Any) -> None:
    holder = make_holder(parts, balance_fen=100, valid_days=1)
    midnight = start_of_day(business_date(clock.now()) + timedelta(days=2))
    assert use(holder, midnight - INSTANT) is None
    assert use(holder, midnight) == "card-expired"


@EVERYWHERE
@pytest.mark.parametrize("withdrawn", [False, True])
def test_a_card_is_over_when_its_holder_leaves(parts: Parts, use: Any, withdrawn: bool) -> None:
    holder = make_holder(parts, balance_fen=100, category=Category.STAFF, valid_days=900)
    day = business_date(clock.now()) + timedelta(days=3)
    departure_id = leave(parts, holder, day)
    if withdrawn:
        with transaction() as session:
            who = make_operator(parts, Role.PERSONNEL)
            departures.withdraw(session, departure_id=departure_id, operator=who, now=clock.now())
    assert use(holder, start_of_day(day) - INSTANT) is None
    assert use(holder, start_of_day(day)) == (None if withdrawn else "card-expired")


def test_the_earlier_end_counts(parts: Parts) -> None:
    holder = make_holder(parts, category=Category.STAFF, valid_days=2)
    today = business_date(clock.now())
    leave(parts, holder, today + timedelta(days=30))
    with transaction() as session:
        assert usable_until(session, holder_id=holder.id) == start_of_day(today + timedelta(days=3))
