"""Refunds of one purse, of one payment, and notices of one refund at the same moment."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, balances, make_holder, make_till, present, top_up
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

from backend import clock
from backend.db import transaction
from backend.errors import DomainError
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, Transfer, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.refunds import asking, service
from backend.refunds.models import ChannelRefund, RefundState
from backend.topups import refunding
from backend.topups.models import TopUp
from payments import Refund as Word
from payments import RefundState as Told
from payments.sandbox.faults import Faults
from payments.sandbox.keys import prepare
from payments.sandbox.notices import alipay_notice, wechat_notice
from payments.sandbox.signing import Signer
from payments.sandbox.state import Order, OrderState, Refund, RefundOutcome, utc_text

pytestmark = pytest.mark.usefixtures("app")

AtOnce = Callable[..., list[Any]]
Pay = Callable[..., str]
PATHS = {"wechat": "/callbacks/wechat-pay", "alipay": "/callbacks/alipay"}
SUCCESS = {"wechat": (204, b""), "alipay": (200, b"success")}


@pytest.fixture(scope="module")
def signer(app: Any, state: Path) -> Signer:
    return Signer(prepare(state / "sandbox"))


@pytest.fixture(autouse=True)
def _nothing_else_due(app: Any) -> None:
    """Keep the worker to the refunds made here."""
    with transaction() as session:
        session.execute(update(ChannelRefund).values(next_try_at=None))


def ask_back(parts: Parts, holder: Bound, amount_fen: int, refund_id: UUID | None = None) -> str:
    """Ask for a refund; return `asked`, `again` or the code of the refusal."""
    try:
        with transaction() as session:
            _, first = refunding.ask(
                session,
                refund_id=refund_id or new_id(),
                holder_id=holder.id,
                amount_fen=Fen(amount_fen),
                channels=parts.channels.keys(),
                actor=SYSTEM,
                now=clock.now(),
            )
    except DomainError as refusal:
        return refusal.code
    return "asked" if first else "again"


def refunds_of(holder: Bound) -> list[ChannelRefund]:
    with transaction() as session:
        return list(
            session.scalars(
                select(ChannelRefund)
                .where(ChannelRefund.holder_id == holder.id)
                .order_by(ChannelRefund.id)
            )
        )


def top_up_of(holder: Bound) -> TopUp:
    with transaction() as session:
        return session.scalars(select(TopUp).where(TopUp.holder_id == holder.id)).one()


class TestOnePurse:
    def test_eight_refunds_at_once_take_no_more_than_there_is(
        self, parts: Parts, at_once: AtOnce
    ) -> None:
        for _ in range(5):
            holder = make_holder(parts)
            for fen in (600, 400):
                top_up(holder.id, fen)
            said = at_once(*[partial(ask_back, parts, holder, 300)] * 8)
            assert Counter(said) == {"asked": 3, "refund-not-possible": 5}
            assert balances(holder.id) == (100, 0)
            assert sum(refund.amount_fen for refund in refunds_of(holder)) == 900

    def test_one_refund_said_eight_times_at_once_is_one(
        self, parts: Parts, at_once: AtOnce
    ) -> None:
        for _ in range(5):
            holder, refund_id = make_holder(parts), new_id()
            top_up(holder.id, 1000)
            said = at_once(*[partial(ask_back, parts, holder, 300, refund_id)] * 8)
            assert Counter(said) == {"asked": 1, "again": 7}
            assert balances(holder.id) == (700, 0)

    def test_a_refund_and_a_charge_never_take_the_same_fen(
        self, parts: Parts, at_once: AtOnce, pay: Pay
    ) -> None:
        till, won = make_till(), Counter[str]()
        for _ in range(20):
            holder = make_holder(parts)
            top_up(holder.id, 1000)
            refunded, charged = at_once(
                partial(ask_back, parts, holder, 700), partial(pay, till, present(holder.id), 600)
            )
            assert (refunded, charged) in {
                ("asked", "insufficient-balance"),
                ("refund-not-possible", "approved"),
            }
            assert balances(holder.id) == ((300, 0) if refunded == "asked" else (400, 0))
            won[charged] += 1
        assert sum(won.values()) == 20


class TestOnePayment:
    def test_the_database_refuses_too_much_however_it_is_asked(
        self, parts: Parts, at_once: AtOnce
    ) -> None:
        holder = make_holder(parts)
        top_up(holder.id, 1000)
        paid = top_up_of(holder)

        def owe() -> str:
            try:
                with transaction() as session:
                    subject_id, now = new_id(), clock.now()
                    movement = Movement(
                        TransferKind.STRAY_PAYMENT,
                        subject_id,
                        ledger.school_account(session, AccountKind.CHANNEL, "wechat"),
                        ledger.school_account(session, AccountKind.REFUNDS_DUE),
                        Fen(300),
                    )
                    ledger.post(session, [movement], now=now)
                    service.owe(
                        session,
                        channel="wechat",
                        out_trade_no=paid.out_trade_no,
                        trade_no=paid.trade_no or "",
                        paid_fen=paid.amount_fen,
                        amount_fen=Fen(300),
                        reason="",
                        holder_id=holder.id,
                        subject_id=subject_id,
                        now=now,
                    )
            except IntegrityError:
                return "refused"
            return "owed"

        assert Counter(at_once(*[owe] * 8)) == {"owed": 3, "refused": 5}

    def test_only_one_of_its_refunds_is_sent_a_minute(self, parts: Parts, at_once: AtOnce) -> None:
        holder = make_holder(parts)
        top_up(holder.id, 1000)
        for _ in range(4):
            assert ask_back(parts, holder, 100) == "asked"
        now = clock.now()

        def send(refund: ChannelRefund) -> bool:
            with transaction() as session:
                return service.begin_send(session, refund_id=refund.id, now=now)

        sent = at_once(*(partial(send, refund) for refund in refunds_of(holder)))
        assert Counter(sent) == {True: 1, False: 3}


class TestWorkers:
    def test_four_at_once_claim_each_refund_once(self, parts: Parts, at_once: AtOnce) -> None:
        holders = [make_holder(parts) for _ in range(6)]
        for holder in holders:
            top_up(holder.id, 100)
            assert ask_back(parts, holder, 100) == "asked"
        now = clock.now()

        def claim() -> list[UUID]:
            claimed = []
            while True:
                with transaction() as session:
                    refund = service.claim_next(
                        session, channels=["wechat"], now=now, lease_until=now + asking.LEASE
                    )
                if refund is None:
                    return claimed
                claimed.append(refund.id)

        claimed = [id_ for worker in at_once(*[claim] * 4) for id_ in worker]
        due = {refund.id for holder in holders for refund in refunds_of(holder)}
        assert sorted(claimed) == sorted(due)


def notice(signer: Signer, paid: TopUp, refund: ChannelRefund) -> tuple[dict[str, str], bytes]:
    """Write and sign the notice that a refund succeeded."""
    stamp = utc_text(datetime.now(UTC))
    told = Order(
        channel=paid.channel,
        out_trade_no=paid.out_trade_no,
        kind="native",
        fingerprint="",
        amount_fen=paid.amount_fen,
        description="校园卡充值",
        notify_url="",
        reference="",
        trade_no=paid.trade_no,
        payer="o" + "A" * 27,
        created_at=stamp,
        expires_at=stamp,
        state=OrderState.PAID,
        paid_at=stamp,
    )
    back = Refund(
        channel=paid.channel,
        out_refund_no=refund.out_refund_no,
        out_trade_no=paid.out_trade_no,
        fingerprint="",
        amount_fen=refund.amount_fen,
        refunded_fen=refund.amount_fen,
        reason=refund.reason,
        notify_url="",
        refund_no="50300",
        created_at=stamp,
        due_at=stamp,
        outcome=RefundOutcome.SUCCEEDED,
    )
    write = wechat_notice if paid.channel == "wechat" else alipay_notice
    return write("r-1", told, signer, Faults(), back)


class TestOneRefund:
    @pytest.mark.parametrize("channel", ["wechat", "alipay"])
    def test_told_ten_times_at_once_leaves_once(
        self, parts: Parts, at_once: AtOnce, caller: Any, signer: Signer, channel: str
    ) -> None:
        for _ in range(3):
            holder = make_holder(parts)
            top_up(holder.id, 1000)
            with transaction() as session:
                session.execute(
                    text("UPDATE top_ups SET channel = :channel WHERE holder_id = :id"),
                    {"channel": channel, "id": holder.id},
                )
            assert ask_back(parts, holder, 400) == "asked"
            (refund,) = refunds_of(holder)
            with transaction() as session:
                service.begin_send(session, refund_id=refund.id, now=clock.now())
            headers, body = notice(signer, top_up_of(holder), refund)
            answers = at_once(
                *[partial(caller.send, "POST", PATHS[channel], headers, data=body)] * 10
            )
            assert {(a.status_code, a.content) for a in answers} == {SUCCESS[channel]}
            with transaction() as session:
                assert session.get_one(ChannelRefund, refund.id).state is RefundState.SUCCEEDED
                moved = session.scalars(
                    select(Transfer).where(Transfer.subject_id == refund.id)
                ).all()
            assert [(t.kind, t.amount_fen) for t in moved] == [(TransferKind.REFUND_SENT, 400)]
            assert balances(holder.id) == (600, 0)

    def test_closed_while_it_is_asked_for_again_returns_once(
        self, parts: Parts, at_once: AtOnce
    ) -> None:
        """A settling refund locks purse and payment in the order in which asking does."""
        for _ in range(10):
            holder = make_holder(parts)
            top_up(holder.id, 1000)
            assert ask_back(parts, holder, 400) == "asked"
            (refund,) = refunds_of(holder)
            with transaction() as session:
                service.begin_send(session, refund_id=refund.id, now=clock.now())
            word = Word(refund.out_refund_no, refund.out_trade_no, Told.CLOSED, 400, None, None)

            def settle(word: Word = word) -> str:
                with transaction() as session:
                    return service.settle(
                        session, channel="wechat", answer=word, via="test", now=clock.now()
                    ).value

            said = at_once(settle, settle, *[partial(ask_back, parts, holder, 100)] * 4)
            assert Counter(said) == {"settled": 1, "already_settled": 1, "asked": 4}
            assert balances(holder.id) == (600, 0)
