"""Importing bills, on a real PostgreSQL and with the bills of the platform sandbox."""

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from factories import balances
from sqlalchemy import func, select

from backend import clock
from backend.clock import business_date, start_of_day
from backend.db import transaction
from backend.errors import NotFound
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.operation_log.models import LogEntry
from backend.reconciliation import fetching, matching, service
from backend.reconciliation.absent import count_absent, list_absent
from backend.reconciliation.importing import BillEmpty, DayNotOver, Imported
from backend.reconciliation.models import BillFile, BillLine, BillState, ChannelBill, LineMatch
from backend.refunds import service as refunds
from backend.refunds.models import ChannelRefund, RefundState
from backend.sealing import Sealer
from backend.topups import asking, following
from backend.topups.models import TopUp, TopUpState

from .conftest import Past, lines_of

pytestmark = pytest.mark.usefixtures("app")


def absent_of(bill: ChannelBill) -> Sequence[Any]:
    """Return what a bill lacks; the count says the same."""
    with transaction() as session:
        stored = session.get_one(ChannelBill, bill.id)
        rows = list_absent(session, bill=stored, limit=99)
        assert count_absent(session, bills=[stored]) == {bill.id: len(rows)}
    return rows


class TestImport:
    def test_keeps_counts_sums_and_rows(self, past: Past) -> None:
        orders = [past.settled(amount_fen=fen) for fen in (1000, 2345)]
        imported = past.take()
        bill = imported.bill
        assert (imported.first, imported.superseded, imported.unpaid) == (True, None, [])
        assert (bill.state, bill.version, bill.fault) == (BillState.IMPORTED, 1, None)
        assert (bill.payments, bill.payments_fen, bill.refunds) == (2, 3345, 0)
        assert bill.fee_fen == 6 + 14
        assert lines_of(bill.id) == {o.out_trade_no: [LineMatch.MATCHED] for o in orders}
        with transaction() as session:
            rows = service.list_lines(session, bill_id=bill.id, before=None, limit=9)
            told = {(row.out_trade_no, row.trade_no, row.amount_fen, row.fee_fen) for row in rows}
        assert told == {
            (row["out_trade_no"], row["trade_no"], row["amount_fen"], row["fee_fen"])
            for row in past.rows()
        }

    def test_of_the_same_content_again_is_the_first(self, past: Past) -> None:
        past.settled()
        content = past.channel.fetch_bill(past.day)
        first, again = past.take(content), past.take(content)
        assert (again.first, again.bill.id) == (False, first.bill.id)
        assert again.bill.imported_at == first.bill.imported_at
        assert len(lines_of(first.bill.id)) == 1

    def test_of_other_content_supersedes_and_keeps_the_former(self, past: Past) -> None:
        order = past.settled()
        content = past.channel.fetch_bill(past.day)
        first = past.take(content)
        past.differ("amount_off")
        superseded = past.take().superseded
        assert superseded is not None
        assert superseded.id == first.bill.id
        former, newest = past.bills()
        assert (former.state, newest.state) == (BillState.SUPERSEDED, BillState.IMPORTED)
        assert former.superseded_at == newest.imported_at
        assert (former.payments_fen, newest.payments_fen) == (1000, 1001)
        assert lines_of(former.id) == {order.out_trade_no: [LineMatch.MATCHED]}
        assert lines_of(newest.id) == {order.out_trade_no: [LineMatch.AMOUNT_DIFFERS]}

    def test_of_a_superseded_content_lets_it_count_again(self, past: Past) -> None:
        order = past.settled()
        content = past.channel.fetch_bill(past.day)
        true = past.take(content).bill
        past.differ("amount_off")
        wrong = past.take().bill
        again = past.take(content)
        assert (again.first, again.bill.id) == (False, true.id)
        assert again.superseded is not None
        assert again.superseded.id == wrong.id
        former, newest = past.bills()
        assert (former.state, former.superseded_at) == (BillState.IMPORTED, None)
        assert (newest.state, newest.superseded_at is None) == (BillState.SUPERSEDED, False)
        assert lines_of(true.id) == {order.out_trade_no: [LineMatch.MATCHED]}
        with transaction() as session:
            entries = session.scalars(
                select(LogEntry).where(LogEntry.subject_id == true.id).order_by(LogEntry.at)
            ).all()
        assert [entry.facts["supersedes"] for entry in entries] == [None, 2]
        assert past.take(content).superseded is None

    def test_of_nothing_is_refused_where_we_know_better(self, past: Past) -> None:
        past.settled()
        with pytest.raises(BillEmpty) as refused:
            past.take(b"")
        assert refused.value.facts == {"answer": "empty-though-paid"}
        assert past.bills() == []

    def test_of_nothing_is_refused_where_an_earlier_bill_has_rows(self, past: Past) -> None:
        past.order()  # paid, and we do not know it
        told = past.take().bill
        with pytest.raises(BillEmpty) as refused:
            past.take(b"")
        assert refused.value.facts == {"answer": "empty-though-told"}
        assert [bill.id for bill in past.bills()] == [told.id]
        assert past.bills()[0].state is BillState.IMPORTED

    def test_counts_and_lists_what_the_bill_lacks(self, past: Past) -> None:
        told, left_out = past.settled(), past.settled(amount_fen=2345)
        past.differ({"kind": "missing_row", "out_trade_no": left_out.out_trade_no})
        bill = past.take().bill
        assert bill.payments == 1
        (row,) = absent_of(bill)
        assert (row.kind, row.out_trade_no, row.amount_fen) == (
            "payment",
            left_out.out_trade_no,
            2345,
        )
        assert row.out_trade_no != told.out_trade_no
        past.differ()
        assert absent_of(past.take().bill) == []

    def test_counts_a_refund_that_the_bill_lacks(self, past: Past) -> None:
        order = past.settled()
        bill = past.take().bill
        noon = start_of_day(past.day) + timedelta(hours=12)
        with transaction() as session:
            refund = refunds.owe(
                session,
                channel=order.channel,
                out_trade_no=order.out_trade_no,
                trade_no=past.rows()[0]["trade_no"],
                paid_fen=order.amount_fen,
                amount_fen=Fen(300),
                reason="x",
                holder_id=order.holder_id,
                subject_id=new_id(),
                now=clock.now(),
            )
        assert absent_of(bill) == []
        with transaction() as session:
            stored = session.get_one(ChannelRefund, refund.id)
            stored.state, stored.sent_at, stored.settled_at = (
                RefundState.SUCCEEDED,
                noon,
                clock.now(),
            )
            stored.next_try_at = None
        (row,) = absent_of(bill)
        assert (row.kind, row.out_refund_no, row.amount_fen) == ("refund", refund.id.hex, 300)

    @pytest.mark.parametrize(
        ("difference", "fault"), [("wrong_sums", "sum"), ("changed_header", "header")]
    )
    def test_of_what_cannot_be_read_keeps_the_file_and_the_reason(
        self, past: Past, difference: str, fault: str
    ) -> None:
        past.settled()
        good = past.take().bill
        past.differ(difference)
        content = past.channel.fetch_bill(past.day)
        bad = past.take(content).bill
        assert (bad.state, bad.fault, bad.version) == (BillState.REFUSED, fault, 2)
        assert bad.fault_line
        assert (bad.payments, lines_of(bad.id)) == (0, {})
        assert past.take(content).bill.id == bad.id
        assert past.bills()[0].state is BillState.IMPORTED
        sealer = past.parts.sealer
        with transaction() as session:
            assert service.content_of(session, bill_id=bad.id, sealer=sealer) == content
            assert service.content_of(session, bill_id=good.id, sealer=sealer)
            sealed = session.get_one(BillFile, bad.id).content_sealed
            with pytest.raises(NotFound):
                service.content_of(session, bill_id=bad.id, sealer=Sealer(b"x" * 32))
        assert content[:20] not in sealed

    @pytest.mark.parametrize("content", [b"\0", b"PK", b"\x1f\x8b", "交易时间".encode(), b"x" * 9])
    def test_of_any_bytes_is_an_answer(self, past: Past, content: bytes) -> None:
        assert past.take(content).bill.state is BillState.REFUSED

    def test_of_a_day_without_trades_has_no_rows(self, past: Past) -> None:
        bill = past.take().bill
        assert bill.state is BillState.IMPORTED
        assert (bill.payments, bill.refunds, bill.fee_fen) == (0, 0, 0)

    def test_is_for_days_that_are_over(self, past: Past) -> None:
        today = business_date(clock.now())
        for ahead in (0, 1):
            with pytest.raises(DayNotOver):
                past.take(b"x", day=today + timedelta(days=ahead))

    def test_of_another_days_file_is_refused(self, past: Past) -> None:
        past.settled()
        content = past.channel.fetch_bill(past.day)
        other = past.take(content, day=past.day - timedelta(days=300)).bill
        assert (other.state, other.fault) == (BillState.REFUSED, "day")

    def test_is_in_the_operation_log_once(self, past: Past) -> None:
        bill = past.take().bill
        past.take()
        with transaction() as session:
            (entry,) = session.scalars(select(LogEntry).where(LogEntry.subject_id == bill.id))
            assert (entry.action, entry.facts["rows"]) == ("bill.import", 0)

    def test_at_the_same_moment_is_one(self, past: Past) -> None:
        past.settled()
        content = past.channel.fetch_bill(past.day)
        done: list[Imported] = []
        threads = [
            threading.Thread(target=lambda: done.append(past.take(content))) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(imported.first for imported in done) == [False] * 5 + [True]
        assert len({imported.bill.id for imported in done}) == 1
        with transaction() as session:
            rows = select(func.count()).where(BillLine.bill_id == done[0].bill.id)
            assert session.scalar(rows) == 1


class TestMatch:
    def test_of_each_difference(self, past: Past) -> None:
        orders = [past.settled(amount_fen=1000 + n) for n in range(5)]
        missing, off, twice, desk, plain = (order.out_trade_no for order in orders)
        past.differ(
            {"kind": "missing_row", "out_trade_no": missing},
            {"kind": "amount_off", "out_trade_no": off},
            {"kind": "duplicate_payment", "out_trade_no": twice},
            {"kind": "desk_refund", "out_trade_no": desk},
            "extra_row",
        )
        told = lines_of(past.take().bill.id)
        (stranger,) = set(told) - {order.out_trade_no for order in orders}
        assert told == {
            off: [LineMatch.AMOUNT_DIFFERS],
            twice: [LineMatch.MATCHED, LineMatch.OTHER_PAYMENT],
            desk: [LineMatch.MATCHED, LineMatch.UNKNOWN_REFUND],
            plain: [LineMatch.MATCHED],
            stranger: [LineMatch.UNKNOWN_ORDER],
        }

    def test_of_our_own_refund(self, past: Past) -> None:
        order, channel = past.settled(), past.channel
        refund = owe(order, 400)
        channel.refund(refunds.order_of(refund))
        past.backdate(order, past.day - timedelta(days=200), past.day)
        bill = past.take().bill
        assert (bill.payments, bill.refunds, bill.refunds_fen) == (0, 1, 400)
        # Nobody here has noted that it was sent: the money left, and is still due.
        assert lines_of(bill.id) == {order.out_trade_no: [LineMatch.STATE_DIFFERS]}
        with transaction() as session:
            refunds.begin_send(session, refund_id=refund.id, now=clock.now())
        with transaction() as session:
            assert matching.match_again(session, bill_id=bill.id) == 1
        assert lines_of(bill.id) == {order.out_trade_no: [LineMatch.MATCHED]}


def owe(order: TopUp, amount_fen: int) -> ChannelRefund:
    """Owe a part of a top-up to its holder."""
    now, subject_id = clock.now(), new_id()
    with transaction() as session:
        paid = session.get_one(TopUp, order.id)
        purse = ledger.lock_purse(session, holder_id=paid.holder_id)
        due = ledger.school_account(session, AccountKind.REFUNDS_DUE)
        ledger.post(
            session,
            [Movement(TransferKind.REFUND, subject_id, purse.id, due, Fen(amount_fen))],
            now=now,
        )
        return refunds.owe(
            session,
            channel=paid.channel,
            out_trade_no=paid.out_trade_no,
            trade_no=paid.trade_no or "",
            paid_fen=paid.amount_fen,
            amount_fen=Fen(amount_fen),
            reason="test",
            holder_id=paid.holder_id,
            subject_id=subject_id,
            to_purse=True,
            now=now,
        )


class TestPaidThereAndNotHere:
    def reread(self, order: TopUp) -> TopUp:
        with transaction() as session:
            return session.get_one(TopUp, order.id)

    def put(self, order: TopUp, state: TopUpState) -> None:
        """Leave an order in a state in which nobody would ask about it."""
        with transaction() as session:
            stored = session.get_one(TopUp, order.id)
            stored.state, stored.next_query_at = state, None

    @pytest.mark.parametrize("standing", ["pending", "closed", "failed", "closing", "created"])
    def test_is_asked_about_and_credited(self, past: Past, standing: str) -> None:
        order = past.order()
        self.put(order, TopUpState(standing))
        imported = past.take_and_ask()
        assert self.reread(order).state is TopUpState.PAID
        assert balances(past.holder.id) == (1000, 0)
        assert lines_of(imported.bill.id) == {order.out_trade_no: [LineMatch.MATCHED]}
        with transaction() as session:
            entries = session.scalars(select(LogEntry).where(LogEntry.subject_id == order.id))
            log = {entry.action: entry.facts for entry in entries}
        assert log["top_up.doubt"]["bill_id"] == str(imported.bill.id)
        assert log["top_up.settle"]["via"] == "bill"
        past.take_and_ask()
        assert balances(past.holder.id) == (1000, 0)

    def test_is_due_at_once_if_nobody_could_ask(self, past: Past) -> None:
        order = past.order()
        self.put(order, TopUpState.CLOSED)
        bill = past.take().bill  # and the process dies here
        assert lines_of(bill.id) == {order.out_trade_no: [LineMatch.NOT_PAID_HERE]}
        due = self.reread(order).next_query_at
        assert due is not None
        assert due <= clock.now() + following.LEASE
        later, parts = clock.now() + timedelta(minutes=2), past.parts
        asking.ask_due(channels=parts.channels, sealer=parts.sealer, now=later, limit=500)
        assert self.reread(order).state is TopUpState.PAID
        assert bill.id in self.waiting()
        fetching._look_again(now=clock.now())
        assert lines_of(bill.id) == {order.out_trade_no: [LineMatch.MATCHED]}
        assert bill.id not in self.waiting()

    def waiting(self) -> set[object]:
        with transaction() as session:
            return set(matching.waiting_bills(session, now=clock.now()))

    def test_is_not_believed_without_the_channel(self, past: Past) -> None:
        order = past.order()
        content = past.channel.fetch_bill(past.day)
        past.post("faults", {"answer_5xx": True, "drop": True})
        imported = past.take_and_ask(content)
        assert self.reread(order).state is not TopUpState.PAID
        assert balances(past.holder.id) == (0, 0)
        assert lines_of(imported.bill.id) == {order.out_trade_no: [LineMatch.NOT_PAID_HERE]}
        past.post("faults", {"drop": True})
        past.settle(self.reread(order))
        assert balances(past.holder.id) == (1000, 0)

    def test_leaves_a_frozen_order_to_a_person(self, past: Past) -> None:
        order = past.order()
        self.put(order, TopUpState.EXCEPTION)
        imported = past.take_and_ask()
        assert imported.unpaid == []
        assert self.reread(order).state is TopUpState.EXCEPTION
        assert lines_of(imported.bill.id) == {order.out_trade_no: [LineMatch.NOT_PAID_HERE]}
