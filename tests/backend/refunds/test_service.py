"""Refunds on PostgreSQL: never more than was paid, ended once, to the fen in the ledger."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from factories import Bound, balances, make_holder, top_up
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

from backend import clock
from backend.arrears import service as arrears
from backend.db import transaction
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices.models import HolderNotice
from backend.refunds import handling, service
from backend.refunds.handling import Wanted
from backend.refunds.models import ChannelRefund, RefundedPayment, RefundState, StrangeRefund
from backend.refunds.service import RefundOutcome
from backend.topups.models import TopUp
from payments import Refund
from payments import RefundState as Told

from .conftest import Desk, refunds_due_of

MINUTE = timedelta(minutes=1)


@pytest.fixture
def paid(holder: Bound) -> TopUp:
    """A top-up of 10.00 yuan that its channel told of."""
    top_up(holder.id, 1000)
    with transaction() as session:
        return session.scalars(select(TopUp).where(TopUp.holder_id == holder.id)).one()


def told(refund: ChannelRefund, state: Told, **changes: Any) -> Refund:
    """Return the channel's word on a refund."""
    word = Refund(
        out_refund_no=refund.out_refund_no,
        out_trade_no=refund.out_trade_no,
        state=state,
        amount_fen=refund.amount_fen,
        refund_no="5030",
        refunded_at=None,
    )
    return replace(word, **changes)


def settle(refund: ChannelRefund, word: Refund, now: datetime | None = None) -> RefundOutcome:
    with transaction() as session:
        return service.settle(
            session, channel=refund.channel, answer=word, via="test", now=now or clock.now()
        )


def send(refund: ChannelRefund, now: datetime | None = None) -> bool:
    with transaction() as session:
        return service.begin_send(session, refund_id=refund.id, now=now or clock.now())


def payment(top_up: TopUp) -> RefundedPayment:
    with transaction() as session:
        return session.get_one(RefundedPayment, (top_up.channel, top_up.trade_no))


def told_holder(holder: Bound) -> list[str]:
    with transaction() as session:
        kinds: Sequence[str] = session.scalars(
            select(HolderNotice.kind)
            .where(HolderNotice.holder_id == holder.id, HolderNotice.kind.startswith("refund"))
            .order_by(HolderNotice.id)
        ).all()
        return list(kinds)


def needs_a_person(refund: ChannelRefund, now: datetime | None = None) -> bool:
    with transaction() as session:
        listed = handling.list_refunds(
            session,
            wanted=Wanted.NEEDS_A_PERSON,
            before=None,
            limit=1000,
            now=now or clock.now(),
        )
        return refund.id in [found.id for found in listed]


class TestNeverMoreThanWasPaid:
    def test_the_database_refuses_what_is_too_much(
        self, desk: Desk, holder: Bound, paid: TopUp
    ) -> None:
        desk.owe_stray(holder, paid, 700)
        with pytest.raises(IntegrityError, match="never_more_than_paid"):
            desk.owe_stray(holder, paid, 301)
        desk.owe_stray(holder, paid, 300)
        assert (payment(paid).refunded_fen, payment(paid).refunds) == (1000, 2)

    def test_what_was_returned_makes_room_and_still_counts_as_a_refund(
        self, desk: Desk, holder: Bound, paid: TopUp
    ) -> None:
        refund = desk.owe_stray(holder, paid, 1000)
        assert send(refund)
        settle(refund, told(refund, Told.CLOSED))
        assert (payment(paid).refunded_fen, payment(paid).refunds) == (0, 1)
        desk.owe_stray(holder, paid, 1000)
        assert (payment(paid).refunded_fen, payment(paid).refunds) == (1000, 2)

    def test_one_payment_is_one_sum(self, desk: Desk, holder: Bound, paid: TopUp) -> None:
        desk.owe_stray(holder, paid, 100)
        with pytest.raises(IntegrityError, match="fk_channel_refunds_payment"):
            desk.owe_stray(holder, _as_if(paid, amount_fen=5000), 100)

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE channel_refunds SET amount_fen = 1 WHERE id = :id",
            "UPDATE channel_refunds SET trade_no = 'another' WHERE id = :id",
            "DELETE FROM channel_refunds WHERE id = :id",
        ],
    )
    def test_nothing_that_counts_is_changed(
        self, desk: Desk, holder: Bound, paid: TopUp, change: str
    ) -> None:
        refund = desk.owe_stray(holder, paid, 100)
        with pytest.raises(IntegrityError), transaction() as session:
            session.execute(text(change), {"id": refund.id})

    def test_what_was_returned_stays_returned(self, desk: Desk, holder: Bound, paid: TopUp) -> None:
        refund = desk.owe_stray(holder, paid, 100)
        send(refund)
        settle(refund, told(refund, Told.CLOSED))
        with pytest.raises(IntegrityError), transaction() as session:
            session.execute(
                update(ChannelRefund)
                .where(ChannelRefund.id == refund.id)
                .values(state=RefundState.SENDING, settled_at=None)
            )


def _as_if(top_up: TopUp, **other: Any) -> Any:
    """Return the facts of a top-up, some of them changed."""
    names = ("channel", "out_trade_no", "trade_no", "amount_fen")
    return type("Facts", (), {name: getattr(top_up, name) for name in names} | other)


class TestOwe:
    def test_the_same_payment_for_the_same_subject_again_gets_the_first(
        self, desk: Desk, holder: Bound, paid: TopUp
    ) -> None:
        first = desk.owe_stray(holder, paid, 400)
        with transaction() as session:
            again = service.owe(
                session,
                channel=paid.channel,
                out_trade_no=paid.out_trade_no,
                trade_no=paid.trade_no or "",
                paid_fen=paid.amount_fen,
                amount_fen=Fen(400),
                reason="",
                holder_id=holder.id,
                subject_id=first.subject_id,
                now=clock.now(),
            )
        assert again.id == first.id
        assert payment(paid).refunded_fen == 400


class TestSettle:
    def test_succeeded_leaves_to_the_channel_once(
        self, desk: Desk, holder: Bound, paid: TopUp
    ) -> None:
        (refund,) = desk.ask_back(holder, 600)
        assert send(refund)
        word = told(refund, Told.SUCCEEDED, refunded_at=clock.now() - MINUTE)
        assert [settle(refund, word) for _ in range(3)] == [
            RefundOutcome.SETTLED,
            RefundOutcome.ALREADY_SETTLED,
            RefundOutcome.ALREADY_SETTLED,
        ]
        assert refunds_due_of(refund) == [("refund_sent", "refunds_due", "channel", 600)]
        after = desk.reread(refund)
        assert (after.state, after.settled_at) == (RefundState.SUCCEEDED, word.refunded_at)
        assert (after.refund_no, after.next_try_at) == ("5030", None)
        assert balances(holder.id) == (400, 0)
        assert told_holder(holder) == ["refund-requested", "refund-succeeded"]

    def test_closed_returns_to_the_purse_once(self, desk: Desk, holder: Bound, paid: TopUp) -> None:
        (refund,) = desk.ask_back(holder, 600)
        send(refund)
        settle(refund, told(refund, Told.CLOSED))
        settle(refund, told(refund, Told.CLOSED))
        assert refunds_due_of(refund) == [("refund_returned", "refunds_due", "main_purse", 600)]
        assert balances(holder.id) == (1000, 0)
        assert told_holder(holder) == ["refund-requested", "refund-returned"]

    def test_what_returns_pays_arrears_first(self, desk: Desk, holder: Bound, paid: TopUp) -> None:
        (refund,) = desk.ask_back(holder, 600)
        send(refund)
        with transaction() as session:
            charge_id, now = new_id(), clock.now()
            ledger.lock_purse(session, holder_id=holder.id)
            arrears.open_arrears(
                session,
                holder_id=holder.id,
                charge_id=charge_id,
                amount_fen=Fen(450),
                facts={},
                now=now,
            )
            movement = Movement(
                TransferKind.CHARGE,
                charge_id,
                ledger.school_account(session, AccountKind.ARREARS),
                ledger.school_account(session, AccountKind.SURCHARGE),
                Fen(450),
            )
            ledger.post(session, [movement], now=now)
        settle(refund, told(refund, Told.CLOSED))
        assert balances(holder.id) == (400 + 600 - 450, 0)

    def test_closed_waits_for_staff_where_no_purse_takes_it(
        self, desk: Desk, holder: Bound, paid: TopUp
    ) -> None:
        refund = desk.owe_stray(holder, paid, 600, to_purse=False)
        send(refund)
        settle(refund, told(refund, Told.CLOSED))
        assert desk.reread(refund).state is RefundState.ABNORMAL
        assert refunds_due_of(refund) == []
        assert needs_a_person(refund)

    def test_abnormal_waits_for_staff_and_may_still_succeed(
        self, desk: Desk, holder: Bound, paid: TopUp
    ) -> None:
        (refund,) = desk.ask_back(holder, 600)
        send(refund)
        settle(refund, told(refund, Told.ABNORMAL))
        assert desk.reread(refund).next_try_at is None
        assert needs_a_person(refund)
        settle(refund, told(refund, Told.SUCCEEDED))
        assert desk.reread(refund).state is RefundState.SUCCEEDED
        assert not needs_a_person(refund)

    @pytest.mark.parametrize("wrong", [{"amount_fen": 601}, {"out_trade_no": "0" * 32}])
    def test_another_amount_or_order_moves_nothing_and_needs_a_person(
        self, desk: Desk, holder: Bound, paid: TopUp, wrong: dict[str, Any]
    ) -> None:
        (refund,) = desk.ask_back(holder, 600)
        send(refund)
        assert settle(refund, told(refund, Told.SUCCEEDED, **wrong)) is RefundOutcome.MISMATCH
        assert desk.reread(refund).state is RefundState.SENDING
        assert refunds_due_of(refund) == []
        assert needs_a_person(refund)
        assert settle(refund, told(refund, Told.SUCCEEDED)) is RefundOutcome.SETTLED

    def test_an_amount_that_is_not_told_is_none_to_compare(
        self, desk: Desk, holder: Bound, paid: TopUp
    ) -> None:
        (refund,) = desk.ask_back(holder, 600)
        send(refund)
        word = told(refund, Told.SUCCEEDED, amount_fen=None, refund_no=None)
        assert settle(refund, word) is RefundOutcome.SETTLED

    def test_sent_although_it_was_returned_moves_nothing_and_needs_a_person(
        self, desk: Desk, holder: Bound, paid: TopUp
    ) -> None:
        (refund,) = desk.ask_back(holder, 600)
        send(refund)
        settle(refund, told(refund, Told.CLOSED))
        assert settle(refund, told(refund, Told.SUCCEEDED)) is RefundOutcome.CONFLICT
        assert desk.reread(refund).state is RefundState.RETURNED
        assert len(refunds_due_of(refund)) == 1
        assert needs_a_person(refund)

    def test_a_number_of_the_merchant_console_is_kept_for_staff(self, app: object) -> None:
        number = new_id().hex
        word = Refund(number, "elsewhere", Told.PROCESSING, Fen(5), "5031", None)
        for state in (Told.PROCESSING, Told.SUCCEEDED):
            with transaction() as session:
                outcome = service.settle(
                    session,
                    channel="wechat",
                    answer=replace(word, state=state),
                    via="notice",
                    now=clock.now(),
                )
            assert outcome is RefundOutcome.UNKNOWN
        with transaction() as session:
            kept = session.get_one(StrangeRefund, ("wechat", number))
            assert (kept.state, kept.amount_fen) == ("succeeded", 5)
            assert kept in handling.list_strange(session, limit=1000)

    def test_a_number_of_the_other_channel_is_not_ours(
        self, desk: Desk, holder: Bound, paid: TopUp
    ) -> None:
        (refund,) = desk.ask_back(holder, 600)
        with transaction() as session:
            outcome = service.settle(
                session,
                channel="alipay",
                answer=told(refund, Told.SUCCEEDED),
                via="notice",
                now=clock.now(),
            )
        assert outcome is RefundOutcome.UNKNOWN
        assert desk.reread(refund).state is RefundState.DUE


class TestPace:
    def test_two_refunds_of_one_payment_are_a_minute_apart(
        self, desk: Desk, holder: Bound, paid: TopUp
    ) -> None:
        first, second = (desk.ask_back(holder, fen)[0] for fen in (300, 200))
        now = clock.now()
        assert send(first, now)
        assert not send(second, now + timedelta(seconds=59))
        waits = desk.reread(second)
        assert (waits.state, waits.next_try_at) == (RefundState.DUE, now + MINUTE)
        assert send(second, now + MINUTE)

    def test_other_payments_do_not_wait(self, desk: Desk, holder: Bound, paid: TopUp) -> None:
        top_up(holder.id, 500)
        parts = desk.ask_back(holder, 1500)
        assert [send(part) for part in parts] == [True, True]


class TestClaim:
    def test_takes_what_is_due_the_longest_and_each_once(
        self, desk: Desk, holder: Bound, paid: TopUp
    ) -> None:
        now = clock.now()
        older = desk.ask_back(holder, 1, now=now - MINUTE)[0]
        newer = desk.ask_back(holder, 2, now=now)[0]
        desk.ask_back(holder, 3, now=now + MINUTE)
        with transaction() as session:
            claims = [
                service.claim_next(session, channels=["wechat"], now=now, lease_until=now + MINUTE)
                for _ in range(3)
            ]
        assert [claim and claim.id for claim in claims] == [older.id, newer.id, None]

    def test_a_channel_that_is_off_waits(self, desk: Desk, holder: Bound, paid: TopUp) -> None:
        desk.ask_back(holder, 1)
        now = clock.now() + MINUTE
        with transaction() as session:
            assert (
                service.claim_next(session, channels=["alipay"], now=now, lease_until=now) is None
            )

    def test_is_listed_for_staff_after_a_day(self, desk: Desk, parts: Any) -> None:
        holder = make_holder(parts)
        top_up(holder.id, 1000)
        (refund,) = desk.ask_back(holder, 1)
        now = clock.now()
        assert not needs_a_person(refund, now + timedelta(hours=23))
        assert needs_a_person(refund, now + timedelta(hours=25))
