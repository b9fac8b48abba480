"""Notices, questions and orders of one top-up at the same moment."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from factories import balances, make_holder
from sqlalchemy import select, update

from backend import clock
from backend.db import transaction
from backend.errors import DomainError
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.refunds.models import ChannelRefund
from backend.topups import asking, service, settling
from backend.topups.models import TopUp, TopUpState
from payments import Trade, TradeState
from payments.sandbox.faults import Faults
from payments.sandbox.keys import prepare
from payments.sandbox.notices import alipay_notice, wechat_notice
from payments.sandbox.signing import Signer
from payments.sandbox.state import Order, OrderState, utc_text

AtOnce = Callable[..., list[Any]]
PATHS = {"wechat": "/callbacks/wechat-pay", "alipay": "/callbacks/alipay"}
SUCCESS = {"wechat": (204, b""), "alipay": (200, b"success")}


@pytest.fixture(scope="module")
def signer(app: Any, state: Path) -> Signer:
    return Signer(prepare(state / "sandbox"))


@pytest.fixture(autouse=True)
def _nothing_else_due(app: Any) -> None:
    """Keep the query job to the orders made here."""
    with transaction() as session:
        session.execute(update(TopUp).values(next_query_at=None))


def control(platform_sandbox: str, path: str, body: dict[str, Any]) -> None:
    """Work the sandbox's controls."""
    with requests.Session() as session:
        session.trust_env = False
        session.post(f"{platform_sandbox}/control/{path}", json=body, timeout=10).raise_for_status()


def notice(signer: Signer, top_up: TopUp) -> tuple[dict[str, str], bytes]:
    """Write and sign the notice that an order was paid."""
    stamp = utc_text(datetime.now(UTC))
    told = Order(
        channel=top_up.channel,
        out_trade_no=top_up.out_trade_no,
        kind="native",
        fingerprint="",
        amount_fen=top_up.amount_fen,
        description="校园卡充值",
        notify_url="",
        reference="",
        trade_no=f"42{top_up.out_trade_no}",
        payer="o" + "A" * 27,
        created_at=stamp,
        expires_at=stamp,
        state=OrderState.PAID,
        paid_at=stamp,
    )
    write = wechat_notice if top_up.channel == "wechat" else alipay_notice
    return write("n-1", told, signer, Faults())


def order(holder_id: Any, channel: str, top_up_id: Any = None, replaces_id: Any = None) -> TopUp:
    """Store an order of 10.00 yuan."""
    with transaction() as session:
        return service.order(
            session,
            top_up_id=top_up_id or new_id(),
            holder_id=holder_id,
            channel=channel,
            amount_fen=Fen(1000),
            payer_sealed=None,
            replaces_id=replaces_id,
            actor=SYSTEM,
            now=clock.now(),
        )[0]


@pytest.mark.parametrize("channel", ["wechat", "alipay"])
class TestOneTopUp:
    def test_told_ten_times_at_once_is_credited_once(
        self, parts: Parts, at_once: AtOnce, caller: Any, signer: Signer, channel: str
    ) -> None:
        holder = make_holder(parts)
        for round_ in range(1, 6):
            headers, body = notice(signer, order(holder.id, channel))
            answers = at_once(
                *[partial(caller.send, "POST", PATHS[channel], headers, data=body)] * 10
            )
            assert {(a.status_code, a.content) for a in answers} == {SUCCESS[channel]}
            assert balances(holder.id) == (1000 * round_, 0)

    def test_told_asked_and_worked_at_once_is_credited_once(
        self, parts: Parts, at_once: AtOnce, caller: Any, signer: Signer, channel: str
    ) -> None:
        holder, own = make_holder(parts), parts.channels[channel]
        platform_sandbox = parts.settings.sandbox_url or ""
        control(platform_sandbox, "faults", {"drop": True})
        for round_ in range(1, 9):
            top_up = asking.place_order(order(holder.id, channel), channel=own, sealer=parts.sealer)
            control(
                platform_sandbox, "pay", {"out_trade_no": top_up.out_trade_no, "outcome": "paid"}
            )
            headers, body = notice(signer, top_up)
            sync = f"/api/v1/me/top-ups/{top_up.id}/sync"
            job = partial(
                asking.ask_due,
                channels=parts.channels,
                sealer=parts.sealer,
                now=clock.now() + timedelta(minutes=1),
            )
            told, asked, *_ = at_once(
                partial(caller.send, "POST", PATHS[channel], headers, data=body),
                partial(caller.send, "POST", sync, holder.headers),
                job,
                job,
            )
            assert (told.status_code, told.content) == SUCCESS[channel]
            assert (asked.status_code, asked.json()["state"]) == (200, "paid")
            assert balances(holder.id) == (1000 * round_, 0)
        control(platform_sandbox, "faults", {})

    def test_paid_while_it_is_closed_is_credited(
        self, parts: Parts, at_once: AtOnce, caller: Any, signer: Signer, channel: str
    ) -> None:
        holder = make_holder(parts)
        for round_ in range(1, 9):
            top_up = order(holder.id, channel)
            headers, body = notice(signer, top_up)
            late = clock.now() + timedelta(minutes=31)
            at_once(
                partial(caller.send, "POST", PATHS[channel], headers, data=body),
                partial(asking.ask_due, channels=parts.channels, sealer=parts.sealer, now=late),
            )
            with transaction() as session:
                assert session.get_one(TopUp, top_up.id).state is TopUpState.PAID
            assert balances(holder.id) == (1000 * round_, 0)


class TestOneOrder:
    def test_said_ten_times_at_once_is_one(self, parts: Parts, at_once: AtOnce) -> None:
        holder, top_up_id = make_holder(parts), new_id()
        made = at_once(*[partial(order, holder.id, "wechat", top_up_id)] * 10)
        assert len({top_up.created_at for top_up in made}) == 1

    def test_said_by_two_holders_at_once_is_the_first_ones(
        self, parts: Parts, at_once: AtOnce
    ) -> None:
        holders = [make_holder(parts) for _ in range(2)]

        def try_order(holder_id: Any, top_up_id: Any) -> str:
            try:
                order(holder_id, "wechat", top_up_id)
            except DomainError as refusal:
                return refusal.code
            return "ordered"

        for _ in range(10):
            top_up_id = new_id()
            said = at_once(*(partial(try_order, holder.id, top_up_id) for holder in holders))
            assert sorted(said) == ["not-found", "ordered"]
            with transaction() as session:  # room for the next
                session.get_one(TopUp, top_up_id).state = TopUpState.FAILED

    def test_counts_against_the_limit_however_many_come_at_once(
        self, parts: Parts, at_once: AtOnce
    ) -> None:
        holder = make_holder(parts)

        def try_order() -> str:
            try:
                order(holder.id, "wechat")
            except DomainError as refusal:
                return refusal.code
            return "ordered"

        assert Counter(at_once(*[try_order] * 14)) == {"ordered": 10, "too-many-unpaid": 4}


def settle(top_up: TopUp, *, channel: str, trade_no: str) -> str:
    """Bring the channel's word that an order was paid; say what became of it."""
    trade = Trade(
        out_trade_no=top_up.out_trade_no,
        state=TradeState.PAID,
        amount_fen=top_up.amount_fen,
        currency="CNY",
        trade_no=trade_no,
        merchant_id="",
        app_id="",
        paid_at=clock.now(),
        payer=None,
    )
    with transaction() as session:
        return settling.settle(
            session, channel=channel, trade=trade, via="test", now=clock.now()
        ).value


class TestOneWish:
    def test_paid_through_two_orders_at_once_is_credited_once(
        self, parts: Parts, at_once: AtOnce
    ) -> None:
        holder = make_holder(parts)
        for round_ in range(1, 13):
            old = order(holder.id, "wechat")
            new = order(holder.id, "alipay", replaces_id=old.id)
            last = order(holder.id, "wechat", replaces_id=new.id)
            said = at_once(
                *[
                    partial(settle, one, channel=one.channel, trade_no=f"42{one.out_trade_no}")
                    for one in (old, new, last, old, new, last)
                ]
            )
            assert Counter(said) == {"credited": 1, "returned": 2, "already_settled": 3}
            assert balances(holder.id) == (1000 * round_, 0)

    def test_is_not_replaced_once_it_is_paid(self, parts: Parts, at_once: AtOnce) -> None:
        holder = make_holder(parts)

        def replace(old: TopUp) -> str:
            try:
                order(holder.id, "alipay", replaces_id=old.id)
            except DomainError as refusal:
                return refusal.code
            return "ordered"

        seen = Counter[str]()
        for _ in range(12):
            old = order(holder.id, "wechat")
            said, replaced = at_once(
                partial(settle, old, channel="wechat", trade_no=f"42{old.out_trade_no}"),
                partial(replace, old),
            )
            assert said == "credited"
            seen[replaced] += 1
            with transaction() as session:  # room for the next
                for one in session.scalars(select(TopUp).where(TopUp.replaces_id == old.id)):
                    one.state = TopUpState.FAILED
        assert {*seen} <= {"ordered", "top-up-paid"}


class TestSecondPayment:
    def test_goes_back_once_whoever_brings_it(self, parts: Parts, at_once: AtOnce) -> None:
        holder = make_holder(parts)
        for round_ in range(1, 9):
            top_up = order(holder.id, "wechat")
            said = at_once(
                *[
                    partial(settle, top_up, channel="wechat", trade_no=f"4{n % 2}{top_up.id.hex}")
                    for n in range(6)
                ]
            )
            assert Counter(said) == {"credited": 1, "returned": 1, "already_settled": 4}
            assert balances(holder.id) == (1000 * round_, 0)
        with transaction() as session:
            owed = session.scalars(
                select(ChannelRefund).where(ChannelRefund.holder_id == holder.id)
            ).all()
        assert [refund.amount_fen for refund in owed] == [1000] * 8
