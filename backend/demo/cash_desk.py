"""The demo's cash desk: two shifts of the past month, for those who pay in notes."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.cash_desk import finding, service, shifts
from backend.demo.people import CASH_SHIFTS, CASH_SUPERVISOR, CASHIER, CashDay
from backend.ids import new_id
from backend.money import Fen
from backend.operators.models import Operator
from backend.operators.service import OperatorCaller

DESK = "行政楼 1号窗"
FLOAT_FEN = Fen(20_000)
OPENS, CLOSES = 1, 9
"""Hours in UTC: from 9 to 17 in Shanghai."""

Happening = tuple[datetime, Callable[[Session, datetime], Any]]


def plan(first_midnight: datetime) -> list[Happening]:
    """Plan the shifts of a month that begins at a midnight in UTC."""
    return [
        happening
        for cash_day in CASH_SHIFTS
        for happening in _shift(cash_day, first_midnight + timedelta(days=cash_day.day))
    ]


def _shift(cash_day: CashDay, midnight: datetime) -> list[Happening]:
    shift_id = new_id()
    opens = midnight + timedelta(hours=OPENS)
    taken = [
        (opens + timedelta(minutes=35 * turn), _taking(shift_id, new_id(), holder_number, Fen(fen)))
        for turn, (holder_number, fen) in enumerate(cash_day.payers, 1)
    ]
    return [
        (opens, _opening(shift_id)),
        *taken,
        *_mistake(shift_id, cash_day, opens + timedelta(hours=5)),
        (midnight + timedelta(hours=CLOSES), _counting(shift_id, cash_day)),
    ]


def _mistake(shift_id: UUID, cash_day: CashDay, at: datetime) -> list[Happening]:
    if cash_day.mistaken is None:
        return []
    top_up_id, (holder_number, fen) = new_id(), cash_day.mistaken
    return [
        (at, _taking(shift_id, top_up_id, holder_number, Fen(fen))),
        (at + timedelta(minutes=6), _reversing(top_up_id)),
    ]


def _operator(session: Session, username: str, now: datetime) -> OperatorCaller:
    found = session.scalars(select(Operator).where(Operator.username == username)).one()
    return OperatorCaller(found.id, new_id(), found.username, found.role, now)


def _opening(shift_id: UUID) -> Callable[[Session, datetime], Any]:
    def open_it(session: Session, moment: datetime) -> None:
        shifts.open_shift(
            session,
            shift_id=shift_id,
            desk=DESK,
            opening_float_fen=FLOAT_FEN,
            cashier=_operator(session, CASHIER, moment),
            now=moment,
        )

    return open_it


def _taking(
    shift_id: UUID, top_up_id: UUID, holder_number: str, amount_fen: Fen
) -> Callable[[Session, datetime], Any]:
    def take(session: Session, moment: datetime) -> None:
        service.take(
            session,
            top_up_id=top_up_id,
            shift_id=shift_id,
            holder_id=finding.find_by_number(session, holder_number=holder_number),
            amount_fen=amount_fen,
            note=None,
            cashier=_operator(session, CASHIER, moment),
            now=moment,
        )

    return take


def _reversing(top_up_id: UUID) -> Callable[[Session, datetime], Any]:
    def reverse(session: Session, moment: datetime) -> None:
        service.reverse(
            session,
            reversal_id=new_id(),
            top_up_id=top_up_id,
            reason="学工号看错一位",
            supervisor=_operator(session, CASH_SUPERVISOR, moment),
            now=moment,
        )

    return reverse


def _counting(shift_id: UUID, cash_day: CashDay) -> Callable[[Session, datetime], Any]:
    def count(session: Session, moment: datetime) -> None:
        cashier = _operator(session, CASHIER, moment)
        shift = shifts.find(session, shift_id=shift_id, operator=cashier)
        expected_fen = shifts.drawer_of(session, shift).expected_fen
        shifts.close_out(
            session,
            shift_id=shift_id,
            counted_fen=Fen(expected_fen + cash_day.off_fen),
            counts=None,
            note=cash_day.note,
            cashier=cashier,
            now=moment,
        )

    return count
