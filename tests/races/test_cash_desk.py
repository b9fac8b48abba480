"""The cash desk when everything happens at once: one count, one reversal, no gap, no lost money."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from factories import balances, make_holder, make_operator, make_till, present
from sqlalchemy import func, select

from backend import clock
from backend.cash_desk import service, shifts
from backend.cash_desk.models import CashTopUp, CloseOutRuling, ShiftState
from backend.db import transaction
from backend.errors import DomainError
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.money import Fen
from backend.operators.models import Role
from backend.operators.service import OperatorCaller

AtOnce = Callable[..., list[Any]]


def tried(do: Callable[[Any], Any]) -> str:
    """Do something in a transaction of its own; return `done` or the code of the refusal."""
    try:
        with transaction() as session:
            do(session)
    except DomainError as refusal:
        return refusal.code
    return "done"


class Desk:
    """A cashier with an open shift."""

    def __init__(self, parts: Parts) -> None:
        self.cashier = make_operator(parts, Role.LOGISTICS)
        self.supervisors = [make_operator(parts, Role.FINANCE) for _ in range(2)]
        self.shift_id = new_id()
        assert self.open(self.shift_id) == "done"

    def open(self, shift_id: UUID) -> str:
        return tried(
            lambda session: shifts.open_shift(
                session, shift_id=shift_id, desk="1号窗", opening_float_fen=Fen(0),
                cashier=self.cashier, now=clock.now(),
            )
        )  # fmt: skip

    def take(self, holder_id: UUID, top_up_id: UUID | None = None) -> str:
        return tried(
            lambda session: service.take(
                session, top_up_id=top_up_id or new_id(), shift_id=self.shift_id,
                holder_id=holder_id, amount_fen=Fen(1_000), note=None, cashier=self.cashier,
                now=clock.now(),
            )
        )  # fmt: skip

    def reverse(self, top_up_id: UUID, by: OperatorCaller) -> str:
        return tried(
            lambda session: service.reverse(
                session, reversal_id=new_id(), top_up_id=top_up_id, reason="误充",
                supervisor=by, now=clock.now(),
            )
        )  # fmt: skip

    def count(self, counted_fen: int, note: str | None = None) -> str:
        return tried(
            lambda session: shifts.close_out(
                session, shift_id=self.shift_id, counted_fen=Fen(counted_fen), counts=None,
                note=note, cashier=self.cashier, now=clock.now(),
            )
        )  # fmt: skip

    def rule(self, by: OperatorCaller, ruling: CloseOutRuling) -> str:
        return tried(
            lambda session: shifts.rule(
                session, shift_id=self.shift_id, ruling=ruling, reason="已核对", supervisor=by,
                now=clock.now(),
            )
        )  # fmt: skip


@pytest.fixture
def desk(app: Any, parts: Parts) -> Desk:
    return Desk(parts)


@pytest.fixture(autouse=True)
def holds(app: Any) -> Any:
    """Whatever happened, the ledger holds and the account cash is what lies in the drawers."""
    yield
    with transaction() as session:
        assert ledger.prove(session).holds
        assert shifts.difference(session) == 0


class TestShift:
    def test_of_many_at_once_is_one(self, desk: Desk, at_once: AtOnce) -> None:
        assert desk.count(0) == "done"
        said = at_once(*(partial(desk.open, new_id()) for _ in range(8)))
        assert Counter(said) == {"done": 1, "shift-unfinished": 7}

    def test_is_counted_once(self, parts: Parts, at_once: AtOnce) -> None:
        for _ in range(5):
            desk = Desk(parts)
            desk.take(make_holder(parts).id)
            counts = (1_000, 1_010, 1_020)
            said = at_once(*(partial(desk.count, fen, "差异") for fen in counts))
            assert Counter(said) == {"done": 1, "id-reused": 2}

    def test_that_waits_is_ruled_on_once(self, parts: Parts, at_once: AtOnce) -> None:
        for _ in range(5):
            desk = Desk(parts)
            desk.count(9_000, "多出")
            said = at_once(
                partial(desk.rule, desk.supervisors[0], CloseOutRuling.APPROVE),
                partial(desk.rule, desk.supervisors[1], CloseOutRuling.RECOUNT),
            )
            assert sorted(said) == ["done", "shift-not-closing"]


class TestCash:
    def test_is_in_the_count_or_refused(self, parts: Parts, at_once: AtOnce) -> None:
        for _ in range(10):
            desk, holder = Desk(parts), make_holder(parts)
            taken, counted = at_once(
                partial(desk.take, holder.id), partial(desk.count, 1_000, "少数了或多数了")
            )
            assert counted == "done"
            with transaction() as session:
                shift = shifts.find(session, shift_id=desk.shift_id, operator=desk.cashier)
            assert shift.state is ShiftState.CLOSED
            assert taken in ("done", "shift-not-open")
            assert shift.expected_fen == balances(holder.id)[0]
            assert balances(holder.id) == ((1_000, 0) if taken == "done" else (0, 0))

    def test_is_numbered_without_a_gap_by_many_desks(self, parts: Parts, at_once: AtOnce) -> None:
        desks, holder = [Desk(parts) for _ in range(6)], make_holder(parts)
        for _ in range(4):
            others = [make_holder(parts) for _ in desks]
            said = at_once(
                *(partial(d.take, h.id) for d, h in zip(desks, others, strict=True)),
                *(partial(d.take, holder.id) for d in desks),
            )
            assert set(said) == {"done"}
        with transaction() as session:
            days = session.execute(
                select(func.max(CashTopUp.number), func.count()).group_by(CashTopUp.business_date)
            ).all()
        assert all(last == count for last, count in days)
        assert balances(holder.id) == (24_000, 0)

    def test_said_many_times_at_once_is_credited_once(
        self, desk: Desk, parts: Parts, at_once: AtOnce
    ) -> None:
        holder, top_up_id = make_holder(parts), new_id()
        said = at_once(*[partial(desk.take, holder.id, top_up_id)] * 8)
        assert set(said) == {"done"}
        assert balances(holder.id) == (1_000, 0)


class TestReversal:
    def test_by_two_at_once_is_made_once(self, desk: Desk, parts: Parts, at_once: AtOnce) -> None:
        for _ in range(8):
            holder, top_up_id = make_holder(parts, balance_fen=5_000), new_id()
            desk.take(holder.id, top_up_id)
            said = at_once(*(partial(desk.reverse, top_up_id, by) for by in desk.supervisors))
            assert sorted(said) == ["cash-reversed", "done"]
            assert balances(holder.id) == (5_000, 0)

    def test_and_a_charge_spend_the_money_once(
        self, desk: Desk, parts: Parts, at_once: AtOnce, pay: Callable[..., str]
    ) -> None:
        till = make_till()
        for _ in range(10):
            holder, top_up_id = make_holder(parts), new_id()
            desk.take(holder.id, top_up_id)
            said = at_once(
                partial(desk.reverse, top_up_id, desk.supervisors[0]),
                partial(pay, till, present(holder.id), 600),
            )
            assert said in (["done", "insufficient-balance"], ["cash-spent", "approved"])
            assert balances(holder.id) == ((0, 0) if said[0] == "done" else (400, 0))

    def test_is_in_the_count_or_refused(self, parts: Parts, at_once: AtOnce) -> None:
        for _ in range(10):
            desk, holder, top_up_id = Desk(parts), make_holder(parts), new_id()
            desk.take(holder.id, top_up_id)
            reversed_, counted = at_once(
                partial(desk.reverse, top_up_id, desk.supervisors[0]),
                partial(desk.count, 1_000, "可能已冲正"),
            )
            assert counted == "done"
            with transaction() as session:
                shift = shifts.find(session, shift_id=desk.shift_id, operator=desk.cashier)
            assert shift.expected_fen == balances(holder.id)[0]
            assert reversed_ in ("done", "shift-not-open")
