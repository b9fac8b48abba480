"""Asking the real platform sandbox, whose answers get lost, come late, or are wrong."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from factories import Bound, balances, make_holder
from sqlalchemy import update

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.operation_log.service import SYSTEM
from backend.topups import asking, following, service
from backend.topups.following import Question
from backend.topups.models import TopUp, TopUpState
from payments import Channel, ChannelBusy, WeChatPayChannel
from payments.sandbox.keys import prepare

pytestmark = pytest.mark.usefixtures("app")

Order = Callable[..., TopUp]
SOON, LATE = timedelta(minutes=1), timedelta(minutes=31)


@pytest.fixture(params=["wechat", "alipay"])
def channel(request: pytest.FixtureRequest, parts: Parts) -> Channel:
    return parts.channels[request.param]


@pytest.fixture
def holder(parts: Parts) -> Bound:
    return make_holder(parts)


@dataclass
class Desk:
    """What asks the channels: the route that places an order, and the query job."""

    parts: Parts
    platform: Any
    reread: Callable[[TopUp], TopUp]

    def faults(self, **faults: object) -> None:
        """Put faults in force.  No notice arrives: what happens here, asking brings about."""
        self.platform.faults(drop=True, **faults)

    def place(self, top_up: TopUp) -> TopUp:
        """Ask the channel to take an order."""
        found = self.parts.channels[top_up.channel]
        return asking.place_order(top_up, channel=found, sealer=self.parts.sealer)

    def ask_due(self, top_up: TopUp, later: timedelta) -> TopUp:
        """Work the query job, as it runs so much later, until nothing is due."""
        now = clock.now() + later
        while asking.ask_due(channels=self.parts.channels, sealer=self.parts.sealer, now=now):
            pass
        return self.reread(top_up)


@pytest.fixture
def desk(parts: Parts, platform: Any, reread: Any) -> Desk:
    made = Desk(parts, platform, reread)
    made.faults()
    with transaction() as session:  # the job is kept to the orders made here
        session.execute(update(TopUp).values(next_query_at=None))
    return made


class TestPlaceOrder:
    def test_brings_what_the_phone_needs(
        self, desk: Desk, holder: Bound, order: Order, channel: Channel
    ) -> None:
        top_up = desk.place(order(holder, channel=channel.name))
        assert (top_up.state, top_up.client_params["kind"]) == (TopUpState.PENDING, "qr")
        assert desk.platform.order(top_up)["amount_fen"] == 1000

    def test_is_asked_about_seconds_after_the_platform_took_it(
        self, desk: Desk, holder: Bound, order: Order, channel: Channel
    ) -> None:
        top_up = desk.place(order(holder, channel=channel.name))
        assert top_up.next_query_at == top_up.created_at + timedelta(seconds=5)

    def test_tells_the_platform_who_pays(
        self, desk: Desk, parts: Parts, holder: Bound, order: Order
    ) -> None:
        payer = parts.sealer.seal("platform-account", "o" + "A" * 27)
        top_up = desk.place(order(holder, payer_sealed=payer))
        assert top_up.client_params["kind"] == "wechat-jsapi"

    def test_fails_an_order_that_the_platform_surely_refuses(
        self, desk: Desk, parts: Parts, holder: Bound, order: Order
    ) -> None:
        payer = parts.sealer.seal("platform-account", "nobody")
        top_up = desk.place(order(holder, payer_sealed=payer))
        assert top_up.state is TopUpState.FAILED
        assert top_up.next_query_at == top_up.expires_at + timedelta(hours=1)


class TestLostAnswers:
    @pytest.mark.parametrize("fault", ["answer_5xx", "lose_answer", "bad_signature"])
    def test_leave_the_order_as_it_was_until_the_job_repairs_it(
        self, desk: Desk, holder: Bound, order: Order, channel: Channel, fault: str
    ) -> None:
        desk.faults(**{fault: True})
        top_up = desk.place(order(holder, channel=channel.name))
        assert (top_up.state, top_up.client_params) == (TopUpState.CREATED, None)
        desk.faults()
        repaired = desk.ask_due(top_up, SOON)
        # An order that arrived is known by its question; it is ordered again only if it did not.
        assert repaired.state in {TopUpState.CREATED, TopUpState.PENDING}
        placed = desk.place(repaired)
        assert (placed.state, placed.client_params["kind"]) == (TopUpState.PENDING, "qr")
        desk.platform.pay(top_up)
        assert desk.ask_due(top_up, 10 * SOON).state is TopUpState.PAID
        assert balances(holder.id) == (1000, 0)

    def test_that_come_too_late_are_lost(
        self, desk: Desk, holder: Bound, order: Order, state: Any, settings: Any
    ) -> None:
        keys = prepare(state / "sandbox")
        config = keys.wechat_pay_config(
            settings.sandbox_url, f"{settings.base_url}/callbacks/wechat-pay"
        )
        hasty = WeChatPayChannel(replace(config, timeout_seconds=(1, 0.2)))
        desk.faults(hang_seconds=0.7)
        top_up = asking.place_order(order(holder), channel=hasty, sealer=desk.parts.sealer)
        assert top_up.state is TopUpState.CREATED

    def test_do_not_lose_a_payment_made_meanwhile(
        self, desk: Desk, holder: Bound, order: Order
    ) -> None:
        desk.faults(lose_answer=True)
        top_up = desk.place(order(holder))
        desk.faults()
        desk.platform.pay(top_up)
        paid = desk.ask_due(top_up, SOON)
        assert (paid.state, balances(holder.id)) == (TopUpState.PAID, (1000, 0))

    def test_to_a_question_change_nothing_but_its_date(
        self, desk: Desk, holder: Bound, order: Order
    ) -> None:
        top_up = desk.place(order(holder))
        desk.faults(answer_5xx=True)
        before = clock.now()
        asked = desk.ask_due(top_up, SOON)
        assert (asked.state, asked.queries) == (TopUpState.PENDING, 0)
        assert asked.next_query_at >= before + SOON + timedelta(seconds=30)

    def test_to_the_last_look_do_not_end_the_looking(
        self, desk: Desk, holder: Bound, order: Order
    ) -> None:
        top_up = desk.place(order(holder))
        assert desk.ask_due(top_up, LATE).state is TopUpState.CLOSED
        desk.faults(answer_5xx=True)
        assert desk.ask_due(top_up, LATE + timedelta(minutes=61)).next_query_at is not None
        desk.faults()
        looked = desk.ask_due(top_up, LATE + timedelta(minutes=63))
        assert looked.next_query_at == looked.expires_at + timedelta(hours=22)


class TestPaid:
    def test_without_a_notice_is_found_by_asking(
        self, desk: Desk, holder: Bound, order: Order, channel: Channel
    ) -> None:
        top_up = desk.place(order(holder, channel=channel.name))
        desk.platform.pay(top_up)
        assert desk.ask_due(top_up, SOON).state is TopUpState.PAID
        assert balances(holder.id) == (1000, 0)

    def test_a_wrong_amount_is_frozen(
        self, desk: Desk, holder: Bound, order: Order, channel: Channel
    ) -> None:
        top_up = desk.place(order(holder, channel=channel.name))
        desk.platform.pay(top_up)
        desk.faults(wrong_amount=True)
        assert desk.ask_due(top_up, SOON).state is TopUpState.EXCEPTION
        assert balances(holder.id) == (0, 0)


class TestExpired:
    def test_unpaid_is_closed_at_the_platform_too(
        self, desk: Desk, parts: Parts, holder: Bound, order: Order
    ) -> None:
        top_up = desk.place(order(holder))
        assert desk.ask_due(top_up, LATE).state is TopUpState.CLOSED
        assert desk.platform.order(top_up)["state"] == "closed"
        assert desk.platform.pay(top_up).status_code == 409

    def test_never_placed_is_closed(self, desk: Desk, holder: Bound, order: Order) -> None:
        assert desk.ask_due(order(holder), LATE).state is TopUpState.CLOSED

    def test_is_not_closed_while_the_platform_does_not_say_so(
        self, desk: Desk, holder: Bound, order: Order
    ) -> None:
        top_up = desk.place(order(holder))
        desk.faults(answer_5xx=True)
        assert desk.ask_due(top_up, LATE).state is TopUpState.PENDING
        desk.faults()
        assert desk.ask_due(top_up, LATE + SOON).state is TopUpState.CLOSED

    def test_and_paid_while_it_is_closed_is_credited(
        self, desk: Desk, holder: Bound, order: Order, channel: Channel
    ) -> None:
        payer = desk.parts.sealer.seal("platform-account", "o" + "A" * 27)
        top_up = desk.place(order(holder, channel=channel.name, payer_sealed=payer))
        desk.faults(close_race=True)
        assert desk.ask_due(top_up, LATE).state is TopUpState.PAID
        assert balances(holder.id) == (1000, 0)

    def test_and_paid_after_its_closing_is_credited_by_the_last_look(
        self, desk: Desk, holder: Bound, order: Order
    ) -> None:
        # Alipay does not know a QR code that nobody scanned, and so cannot close it.
        top_up = desk.place(order(holder, channel="alipay"))
        assert desk.ask_due(top_up, LATE).state is TopUpState.CLOSED
        assert desk.platform.pay(top_up).ok
        assert desk.ask_due(top_up, LATE + timedelta(minutes=61)).state is TopUpState.PAID
        assert balances(holder.id) == (1000, 0)

    def test_is_looked_at_an_hour_later_and_on_the_next_day_and_then_forgotten(
        self, desk: Desk, holder: Bound, order: Order
    ) -> None:
        top_up = desk.place(order(holder))
        assert desk.ask_due(top_up, LATE).next_query_at is not None
        looked = desk.ask_due(top_up, LATE + timedelta(minutes=61))
        assert looked.next_query_at == looked.expires_at + timedelta(hours=22)
        looked = desk.ask_due(top_up, LATE + timedelta(hours=22))
        assert (looked.state, looked.next_query_at) == (TopUpState.CLOSED, None)

    def test_by_an_outage_that_lasts_is_closed_and_still_looked_at_again(
        self, desk: Desk, holder: Bound, order: Order
    ) -> None:
        top_up, outage = desk.place(order(holder)), timedelta(hours=30)
        looked = desk.ask_due(top_up, outage)
        assert looked.state is TopUpState.CLOSED
        desk.faults(answer_5xx=True)
        desk.ask_due(top_up, outage + timedelta(minutes=61))
        desk.faults()
        assert desk.ask_due(top_up, outage + timedelta(minutes=63)).next_query_at is None


class TestUnwanted:
    def test_is_closed_when_it_is_old_enough(self, desk: Desk, holder: Bound, order: Order) -> None:
        top_up = desk.place(order(holder))
        with transaction() as session:
            service.cancel(
                session, top_up_id=top_up.id, holder_id=holder.id, actor=SYSTEM, now=clock.now()
            )
        assert desk.ask_due(top_up, SOON).state is TopUpState.CLOSING
        assert desk.platform.order(top_up)["state"] == "unpaid"
        assert desk.ask_due(top_up, 6 * SOON).state is TopUpState.CLOSED
        assert desk.platform.order(top_up)["state"] == "closed"

    def test_is_closed_at_once_to_make_room_for_another(
        self, desk: Desk, holder: Bound, order: Order, channel: Channel
    ) -> None:
        payer = desk.parts.sealer.seal("platform-account", "o" + "A" * 27)
        top_up = desk.place(order(holder, channel=channel.name, payer_sealed=payer))
        question = following.question_about(top_up, now=clock.now())
        assert question.wanted
        closed = asking.close(question, channel=channel, now=clock.now())
        assert closed.state is TopUpState.CLOSED

    def test_by_a_worker_that_died_is_closed_by_the_next(
        self, desk: Desk, holder: Bound, order: Order
    ) -> None:
        top_up = desk.place(order(holder))
        with transaction() as session:
            assert following.begin_close(session, top_up_id=top_up.id, now=clock.now())
        assert desk.ask_due(top_up, 2 * SOON).state is TopUpState.CLOSED

    def test_and_paid_meanwhile_is_credited_at_once(
        self, desk: Desk, holder: Bound, order: Order, channel: Channel
    ) -> None:
        top_up = desk.place(order(holder, channel=channel.name))
        desk.platform.pay(top_up)
        question = following.question_about(top_up, now=clock.now())
        assert asking.close(question, channel=channel, now=clock.now()).state is TopUpState.PAID
        assert balances(holder.id) == (1000, 0)


class TestAChannelThatHangs:
    """WeChat Pay does not answer; Alipay does."""

    @pytest.fixture
    def channels(self, parts: Parts, state: Any, settings: Any) -> Iterator[dict[str, Channel]]:
        """WeChat Pay behind an address that takes connections and says nothing."""
        with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
            keys = prepare(state / "sandbox")
            config = keys.wechat_pay_config(address, f"{settings.base_url}/callbacks/wechat-pay")
            hung = WeChatPayChannel(replace(config, timeout_seconds=(1, 0.3)))
            yield {"wechat": hung, "alipay": parts.channels["alipay"]}

    def test_keeps_nobody_of_the_other_waiting(
        self, desk: Desk, parts: Parts, holder: Bound, order: Order, channels: dict[str, Channel]
    ) -> None:
        hung = [order(make_holder(parts)) for _ in range(8)]
        paid = desk.place(order(holder, channel="alipay"))
        desk.platform.pay(paid)
        asking.ask_due(channels=channels, sealer=parts.sealer, now=clock.now() + SOON)
        assert desk.reread(paid).state is TopUpState.PAID
        assert {desk.reread(top_up).state for top_up in hung} == {TopUpState.CREATED}

    def test_is_left_alone_after_three_questions_and_its_orders_are_due_again(
        self, desk: Desk, parts: Parts, order: Order, channels: dict[str, Channel]
    ) -> None:
        now = clock.now() + SOON
        hung = [order(make_holder(parts)) for _ in range(8)]
        asking.ask_due(channels=channels, sealer=parts.sealer, now=now)
        due = [desk.reread(top_up).next_query_at for top_up in hung]
        assert [when - now for when in due] == [timedelta(seconds=30)] * 3 + [following.LEASE] * 5
        with pytest.raises(ChannelBusy):
            channels["wechat"].query(hung[0].out_trade_no)

    def test_leaves_an_order_as_it_is_without_waiting(
        self, desk: Desk, parts: Parts, order: Order, channels: dict[str, Channel]
    ) -> None:
        top_up, wechat = order(make_holder(parts)), channels["wechat"]
        for _ in range(4):  # the fourth is not even asked
            placed = asking.place_order(top_up, channel=wechat, sealer=parts.sealer)
            assert (placed.state, placed.client_params) == (TopUpState.CREATED, None)
        closing = asking.close(
            following.question_about(placed, now=clock.now()), channel=wechat, now=clock.now()
        )
        assert closing.state is TopUpState.CLOSING


class TestJob:
    def test_goes_on_when_a_channel_was_switched_off(
        self, desk: Desk, parts: Parts, holder: Bound, order: Order
    ) -> None:
        off, paid = desk.place(order(holder, channel="alipay")), desk.place(order(holder))
        desk.platform.pay(paid)
        now = clock.now() + SOON
        only = {"wechat": parts.channels["wechat"]}
        while asking.ask_due(channels=only, sealer=parts.sealer, now=now):
            pass
        assert desk.reread(paid).state is TopUpState.PAID
        assert desk.reread(off).state is TopUpState.PENDING

    def test_asks_the_phones_question_at_once(
        self, desk: Desk, parts: Parts, holder: Bound, order: Order
    ) -> None:
        top_up = desk.place(order(holder))
        desk.platform.pay(top_up)
        question = Question(top_up.id, "wechat", top_up.out_trade_no, wanted=True)
        asked = asking.ask(
            question, channel=parts.channels["wechat"], sealer=parts.sealer, now=clock.now()
        )
        assert asked.state is TopUpState.PAID
        with transaction() as session:
            assert service.find(session, top_up_id=top_up.id, holder_id=holder.id).paid_at
