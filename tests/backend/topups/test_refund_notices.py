"""Refund notices at the application's door: the sandbox really sends them."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from factories import balances, make_holder
from sqlalchemy import select

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.refunds import asking as refund_asking
from backend.refunds import service as refunds
from backend.refunds.models import ChannelRefund, RefundState, StrangeRefund
from backend.topups import asking, refunding
from backend.topups.models import ChannelNotice, NoticeOutcome, TopUp, TopUpState
from payments import RefundOrder

Order = Callable[..., TopUp]
Found = TypeVar("Found")


@pytest.fixture(params=["wechat", "alipay"])
def ordered(request: pytest.FixtureRequest, parts: Parts, order: Order, server: str) -> TopUp:
    """An order of 10.00 yuan, whose notices reach the application over HTTP."""
    return order(make_holder(parts), 1000, channel=request.param)


@pytest.fixture
def paid(parts: Parts, ordered: TopUp, platform: Any, reread: Callable[[TopUp], TopUp]) -> TopUp:
    """A top-up that the sandbox told of."""
    top_up = ordered
    own = parts.channels[top_up.channel]
    asking.place_order(top_up, channel=own, sealer=parts.sealer)
    platform.pay(top_up)
    return wait_for(lambda: reread(top_up), lambda found: found.state is TopUpState.PAID)


def wait_for(look: Callable[[], Found], good: Callable[[Found], bool]) -> Found:
    """Look until what is found is good; at most ten seconds."""
    deadline = time.monotonic() + 10
    while not good(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def outcomes(top_up: TopUp) -> list[NoticeOutcome]:
    with transaction() as session:
        return list(
            session.scalars(
                select(ChannelNotice.outcome).where(ChannelNotice.top_up_id == top_up.id)
            )
        )


def ask_back(parts: Parts, top_up: TopUp, amount_fen: int) -> ChannelRefund:
    """Ask for a part back, and let the worker send it; nobody asks again."""
    with transaction() as session:
        asked, _ = refunding.ask(
            session,
            refund_id=new_id(),
            holder_id=top_up.holder_id,
            amount_fen=Fen(amount_fen),
            channels=parts.channels.keys(),
            actor=SYSTEM,
            now=clock.now(),
        )
    (refund,) = asked.parts
    refund_asking.ask(refund, channel=parts.channels[top_up.channel], now=clock.now())
    return refund


def state_of(refund: ChannelRefund) -> RefundState:
    with transaction() as session:
        return session.get_one(ChannelRefund, refund.id).state


class TestARefundNotice:
    def test_ends_the_refund_and_is_no_payment(self, parts: Parts, paid: TopUp) -> None:
        refund = ask_back(parts, paid, 400)
        wait_for(lambda: state_of(refund), lambda found: found is RefundState.SUCCEEDED)
        wait_for(lambda: len(outcomes(paid)), lambda count: count == 2)
        assert NoticeOutcome.UNKNOWN_ORDER not in outcomes(paid)
        assert balances(paid.holder_id) == (600, 0)

    def test_of_the_merchant_console_is_kept_and_acknowledged(
        self, parts: Parts, paid: TopUp, platform: Any
    ) -> None:
        number = new_id().hex
        order = RefundOrder(number, paid.out_trade_no, paid.trade_no or "", 1000, 300, "退款")
        parts.channels[paid.channel].refund(order)

        def kept() -> StrangeRefund | None:
            with transaction() as session:
                return session.get(StrangeRefund, (paid.channel, number))

        found = wait_for(kept, lambda row: row is not None)
        assert found is not None
        assert (found.state, found.out_trade_no) == ("succeeded", paid.out_trade_no)
        assert NoticeOutcome.UNKNOWN_REFUND in outcomes(paid)
        told = wait_for(
            lambda: platform.order(paid)["notices"],
            lambda notices: all(notice["state"] == "accepted" for notice in notices),
        )
        assert len(told) == 2
        assert balances(paid.holder_id) == (1000, 0)

    def test_of_another_amount_moves_nothing(self, parts: Parts, paid: TopUp) -> None:
        if paid.channel == "alipay":
            pytest.skip("its notice does not tell the amount of one refund")
        refund = ask_back_unsent(parts, paid)
        order = refunds.order_of(refund)
        wrong = RefundOrder(
            order.out_refund_no, order.out_trade_no, order.trade_no, 1000, 399, order.reason
        )
        parts.channels[paid.channel].refund(wrong)
        wait_for(lambda: outcomes(paid), lambda found: NoticeOutcome.MISMATCH in found)
        assert state_of(refund) is RefundState.SENDING


def ask_back_unsent(parts: Parts, top_up: TopUp) -> ChannelRefund:
    """Ask for 4.00 yuan back, and only mark it as being sent."""
    with transaction() as session:
        asked, _ = refunding.ask(
            session,
            refund_id=new_id(),
            holder_id=top_up.holder_id,
            amount_fen=Fen(400),
            channels=parts.channels.keys(),
            actor=SYSTEM,
            now=clock.now(),
        )
        (refund,) = asked.parts
        refunds.begin_send(session, refund_id=refund.id, now=clock.now())
        return refund
