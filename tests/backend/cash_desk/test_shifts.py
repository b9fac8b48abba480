"""A shift: opened once, counted once, closed when the count is right or somebody answers for it."""

from datetime import timedelta
from uuid import UUID

import pytest
from factories import make_holder, rows_used
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from backend import clock
from backend.cash_desk import shifts
from backend.cash_desk.models import CashShift, CashTopUp, CloseOutRuling, ShiftState
from backend.cash_desk.shifts import (
    CashierCannotSupervise,
    CountDoesNotAddUp,
    DifferenceUnexplained,
    ShiftNotClosing,
    ShiftNotOpen,
    ShiftOver,
    ShiftUnfinished,
)
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operators.models import Role


def cash_difference_fen() -> int:
    """Return how far the account `cash` is from the drawers."""
    with transaction() as session:
        return shifts.difference(session)


def logged(subject_id: UUID) -> list[str]:
    """Return what was recorded about a shift, in order."""
    with transaction() as session:
        return list(
            session.scalars(
                select(LogEntry.action)
                .where(LogEntry.subject_id == subject_id)
                .order_by(LogEntry.at, LogEntry.id)
            )
        )


class TestOpening:
    def test_is_done_once_and_answered_again(self, desks) -> None:
        desk = desks(opened=False)
        first, again = desk.open(), desk.open()
        assert (first[1], again[1]) == (True, False)
        assert first[0].id == again[0].id == desk.shift_id
        assert first[0].state is ShiftState.OPEN
        assert logged(desk.shift_id) == ["cash_shift.open"]

    def test_of_other_content_or_by_somebody_else_is_refused(self, desks) -> None:
        desk, other = desks(), desks(opened=False)
        with pytest.raises(IdReused):
            desk.open(desk="别处")
        other.shift_id = desk.shift_id
        with pytest.raises(NotFound):
            other.open()

    def test_waits_until_the_one_before_is_closed(self, desks, parts) -> None:
        desk = desks()
        first, desk.shift_id = desk.shift_id, new_id()
        with pytest.raises(ShiftUnfinished) as refusal:
            desk.open()
        assert refusal.value.facts == {"shift_id": str(first)}
        desk.shift_id, second = first, desk.shift_id
        desk.count(99_000, note="多出")
        desk.shift_id = second
        with pytest.raises(ShiftUnfinished):  # it waits for a supervisor
            desk.open()
        desk.shift_id = first
        desk.rule(CloseOutRuling.APPROVE)
        desk.shift_id = second
        assert desk.open()[1]

    def test_of_two_is_refused_by_the_database_itself(self, desk) -> None:
        with pytest.raises(IntegrityError, match="uq_cash_shifts_unclosed"), transaction() as s:
            s.execute(
                text(
                    "INSERT INTO cash_shifts (id, cashier_id, desk, opening_float_fen,"
                    " business_date, state, opened_at) SELECT uuidv7(), cashier_id, desk, 0,"
                    " business_date, 'open', now() FROM cash_shifts WHERE id = :id"
                ),
                {"id": desk.shift_id},
            )


class TestCloseOut:
    def test_without_a_difference_hands_everything_but_the_float_in(self, desk, parts) -> None:
        for fen in (5_000, 12_345):
            desk.take(make_holder(parts).id, fen)
        shift, first = desk.count(20_000 + 17_345)
        assert first
        assert (shift.state, shift.difference_fen) == (ShiftState.CLOSED, 0)
        assert desk.posted() == {"cash": -17_345, "bank": 17_345, "cash_difference": 0}
        assert cash_difference_fen() == 0

    def test_of_an_untouched_drawer_posts_nothing(self, desk) -> None:
        assert desk.count(20_000)[0].state is ShiftState.CLOSED
        assert desk.posted() == {"cash": 0, "bank": 0, "cash_difference": 0}

    @pytest.mark.parametrize("off_fen", [1_000, -1_000, 10, -10])
    def test_with_a_small_difference_needs_a_reason_alone(self, desk, parts, off_fen) -> None:
        desk.take(make_holder(parts).id, 5_000)
        counted_fen = 25_000 + off_fen
        with pytest.raises(DifferenceUnexplained) as refusal:
            desk.count(counted_fen)
        assert refusal.value.facts == {"difference_fen": off_fen, "expected_fen": 25_000}
        assert desk.posted()["bank"] == 0
        shift, _ = desk.count(counted_fen, note="找零有误")
        assert shift.state is ShiftState.CLOSED
        assert desk.posted() == {
            "cash": -5_000,
            "bank": 5_000 + off_fen,
            "cash_difference": -off_fen,
        }
        assert cash_difference_fen() == 0

    def test_counts_what_others_took_back(self, desk, parts) -> None:
        kept, gone = (desk.take(make_holder(parts).id, fen)[0] for fen in (5_000, 3_000))
        desk.reverse(gone.id)
        shift, _ = desk.count(25_000)
        assert (shift.expected_fen, shift.difference_fen) == (25_000, 0)
        assert desk.posted()["bank"] == 5_000
        assert kept.amount_fen == 5_000

    def test_where_even_the_float_is_not_whole_the_bank_makes_it_so(self, desk, parts) -> None:
        desk.take(make_holder(parts).id, 5_000)
        shift, _ = desk.count(19_000, note="被盗")
        assert (shift.state, shift.difference_fen) == (ShiftState.CLOSING, -6_000)
        assert desk.posted() == {"cash": 0, "bank": 0, "cash_difference": 0}
        assert cash_difference_fen() == 0
        desk.rule(CloseOutRuling.APPROVE)
        assert desk.posted() == {"cash": -5_000, "bank": -1_000, "cash_difference": 6_000}
        assert cash_difference_fen() == 0

    def test_again_is_answered_and_of_other_content_refused(self, desk) -> None:
        desk.count(20_000)
        again = desk.count(20_000)
        assert again[1] is False
        for said in ({"counted_fen": 20_001}, {"note": "x"}, {"counts": []}):
            with pytest.raises(IdReused):
                desk.count(**({"counted_fen": 20_000} | said))
        assert logged(desk.shift_id) == ["cash_shift.open", "cash_shift.close_out"]
        assert rows_used(desk.shift_id, "cash_shift.close_out") == {"cash.difference_fen"}

    def test_takes_notes_and_coins_that_add_up(self, desk) -> None:
        counts = [{"value_fen": 10_000, "count": 1}, {"value_fen": 50, "count": 200}]
        with pytest.raises(CountDoesNotAddUp) as refusal:
            desk.count(20_001, counts=counts)
        assert refusal.value.facts == {"counted_fen": 20_001, "sum_fen": 20_000}
        shift, _ = desk.count(20_000, counts=counts)
        assert shift.counts == counts
        assert desk.count(20_000, counts=counts)[1] is False

    def test_is_for_the_cashier_alone(self, desks) -> None:
        desk, other = desks(), desks()
        other.shift_id = desk.shift_id
        with pytest.raises(NotFound):
            other.count(20_000)

    def test_ends_the_shift_for_good(self, desk, parts) -> None:
        holder = make_holder(parts)
        top_up, _ = desk.take(holder.id)
        desk.count(25_000)
        with pytest.raises(ShiftNotOpen) as refusal:
            desk.take(holder.id)
        assert refusal.value.facts == {"state": "closed"}
        with pytest.raises(ShiftNotOpen):
            desk.reverse(top_up.id)
        assert cash_difference_fen() == 0


class TestAnotherDay:
    def test_takes_no_cash_but_is_closed_out(self, desks, parts) -> None:
        desk, yesterday = desks(opened=False), clock.now() - timedelta(days=1)
        desk.open(now=yesterday)
        holder = make_holder(parts)
        desk.take(holder.id, 5_000, now=yesterday)
        with pytest.raises(ShiftOver) as refusal:
            desk.take(holder.id)
        assert refusal.value.facts == {"day": clock.business_date(yesterday).isoformat()}
        assert desk.count(25_000)[0].state is ShiftState.CLOSED
        assert cash_difference_fen() == 0


class TestRuling:
    def test_to_approve_posts_and_closes_once(self, desk) -> None:
        desk.count(21_001, note="多出")
        first, again = desk.rule(CloseOutRuling.APPROVE), desk.rule(CloseOutRuling.APPROVE)
        assert (first[1], again[1]) == (True, False)
        assert first[0].state is ShiftState.CLOSED
        assert desk.posted() == {"cash": 0, "bank": 1_001, "cash_difference": -1_001}
        with pytest.raises(ShiftNotClosing):
            desk.rule(CloseOutRuling.APPROVE, "另一个理由")
        with pytest.raises(ShiftNotClosing):
            desk.rule(CloseOutRuling.RECOUNT)
        assert logged(desk.shift_id)[-1] == "cash_shift.approve"

    def test_to_recount_posts_nothing_and_lets_the_cashier_count_again(self, desk, parts) -> None:
        desk.count(50_000, note="多出")
        shift, _ = desk.rule(CloseOutRuling.RECOUNT)
        assert (shift.state, shift.counted_fen, shift.note) == (ShiftState.OPEN, None, None)
        assert desk.rule(CloseOutRuling.RECOUNT)[1] is False
        assert desk.posted() == {"cash": 0, "bank": 0, "cash_difference": 0}
        desk.take(make_holder(parts).id, 5_000)
        assert desk.count(25_000)[0].state is ShiftState.CLOSED
        assert logged(desk.shift_id) == [
            "cash_shift.open", "cash_shift.close_out", "cash_shift.recount", "cash_shift.close_out",
        ]  # fmt: skip

    def test_is_for_another_person(self, desks) -> None:
        desk = desks(role=Role.FINANCE)
        desk.count(50_000, note="多出")
        with pytest.raises(CashierCannotSupervise):
            desk.rule(CloseOutRuling.APPROVE, by=desk.cashier)
        with pytest.raises(IntegrityError, match="another_person_rules"), transaction() as session:
            session.execute(
                update(CashShift)
                .where(CashShift.id == desk.shift_id)
                .values(ruled_by=desk.cashier.operator_id)
            )
        assert desk.rule(CloseOutRuling.APPROVE)[1]

    def test_waits_for_a_count(self, desk) -> None:
        with pytest.raises(ShiftNotClosing) as refusal:
            desk.rule(CloseOutRuling.APPROVE)
        assert refusal.value.facts == {"state": "open"}


class TestRows:
    def test_of_what_was_taken_are_never_changed(self, desk, parts, owner) -> None:
        top_up, _ = desk.take(make_holder(parts).id)
        desk.reverse(top_up.id)
        for table in ("cash_top_ups", "cash_reversals"):
            for wish in (f"UPDATE {table} SET amount_fen = 1", f"DELETE FROM {table}"):
                with pytest.raises(DBAPIError, match="append-only"), owner.begin() as connection:
                    connection.execute(text(wish))

    def test_of_receipts_have_no_gap(self, desk, parts) -> None:
        desk.take(make_holder(parts).id)
        with transaction() as session:
            days = session.execute(
                select(CashTopUp.business_date, func.max(CashTopUp.number), func.count()).group_by(
                    CashTopUp.business_date
                )
            ).all()
        assert days
        assert all(last == count for _, last, count in days)
