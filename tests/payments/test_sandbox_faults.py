"""What goes wrong on purpose: how often, where, and the same again for the same seed."""

from datetime import UTC, date, datetime, timedelta

import pytest
import requests

from payments import ChannelUnknown, CloseOutcome, NoticeForged, TradeState
from payments.sandbox.faults import NAMES, PRESETS, Dice, Faults, parse

from .conftest import wait_for


def get(sandbox, path):
    return requests.get(f"{sandbox.url}{path}", timeout=5).json()


class TestShape:
    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"drop": True, "duplicate": 2, "delay_seconds": 0.5},
            {"drop": 0.3, "seed": 5},
            {"drop": 1, "stale": 0, "reorder": False},
            {"hang_seconds": {"value": 2.5, "share": 0.1}},
            {"only": {"channel": "wechat", "calls": ["refund", "notice"]}},
            {"preset": "bad-day", "drop": False},
        ],
    )
    def test_what_is_told_can_be_given_again(self, given):
        plan = parse(given)
        assert parse(plan.told()) == plan

    def test_a_share_of_one_is_told_as_on_and_none_as_off(self):
        told = parse({"drop": 1, "stale": 0, "reorder": 0.5, "seed": 4}).told()
        assert (told["drop"], told["stale"], told["reorder"]) == (True, False, 0.5)
        assert (told["signtest"], told["seed"], told["only"]) == (False, 4, {})

    def test_a_preset_yields_to_what_stands_beside_it(self):
        told = parse({"preset": "bad-line", "drop": 0.9, "seed": 1}).told()
        assert (told["drop"], told["lose_answer"]) == (0.9, PRESETS["bad-line"]["lose_answer"])

    def test_a_bad_day_is_everything(self):
        assert set(parse({"preset": "bad-day"}).chances) == set(NAMES)

    def test_a_seed_is_chosen_where_none_is_given(self):
        assert len({parse({}).seed for _ in range(5)}) > 1


class TestDraws:
    def test_the_same_seed_meets_the_same_events(self):
        def run(seed):
            dice = Dice(parse({"preset": "bad-day", "seed": seed}))
            return [dice.draw("wechat", "query") for _ in range(200)]

        assert run(3) == run(3)
        assert run(3) != run(4)

    def test_kinds_of_event_do_not_disturb_each_other(self):
        alone, among = (Dice(parse({"drop": 0.5, "seed": 3})) for _ in range(2))
        for _ in range(50):
            among.draw("alipay", "query")
            among.draw("wechat", "notice", event="sending")
            assert among.draw("wechat", "notice") == alone.draw("wechat", "notice")

    def test_one_more_fault_changes_no_draw_of_another(self):
        few = Dice(parse({"drop": 0.5, "seed": 3}))
        more = Dice(parse({"drop": 0.5, "stale": 0.5, "delay_seconds": 5, "seed": 3}))
        assert [few.draw("wechat", "notice").drop for _ in range(100)] == [
            more.draw("wechat", "notice").drop for _ in range(100)
        ]

    @pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
    def test_a_share_is_about_that_many(self, share):
        dice = Dice(parse({"drop": share, "seed": 1}))
        met = sum(dice.draw("wechat", "notice").drop for _ in range(2000))
        assert abs(met / 2000 - share) < 0.04

    def test_limits_hold(self):
        dice = Dice(parse({"drop": True, "only": {"channel": "wechat", "calls": ["notice"]}}))
        assert dice.draw("wechat", "notice").drop
        assert dice.draw("alipay", "notice") == dice.draw("wechat", "query") == Faults()


class TestPanel:
    def test_describes_every_fault_in_both_languages(self, sandbox):
        described = get(sandbox, "/control/faults")["described"]
        assert set(described) == set(NAMES)
        for told in described.values():
            assert told["zh-CN"] != told["en"]
            assert told["takes"] in {"share", "number"}

    def test_a_run_can_be_repeated(self, sandbox, wechat, make_order, receiver):
        """The notices that get lost are those that the seed says."""
        dice = Dice(parse({"drop": 0.5, "seed": 11}))
        foretold = [dice.draw("wechat", "notice", event="new notice").drop for _ in range(12)]
        assert len(set(foretold)) == 2
        for _ in range(2):
            sandbox.faults(drop=0.5, seed=11)
            lost = []
            for _ in range(12):
                order = make_order(wechat)
                wechat.create(order)
                lost.append(sandbox.pay(order.out_trade_no).json()["notice"] == "dropped")
            assert lost == foretold


class TestCalls:
    def test_a_fault_meets_only_the_calls_it_is_limited_to(
        self, sandbox, wechat, alipay, make_order
    ):
        sandbox.faults(answer_5xx=True, only={"channel": "wechat", "calls": ["query"]})
        orders = {channel: make_order(channel) for channel in (wechat, alipay)}
        for channel, order in orders.items():
            channel.create(order)
        with pytest.raises(ChannelUnknown):
            wechat.query(orders[wechat].out_trade_no)
        assert alipay.query(orders[alipay].out_trade_no).state is TradeState.UNPAID
        assert wechat.close(orders[wechat].out_trade_no) is CloseOutcome.CLOSED

    def test_a_share_of_calls_fails(self, sandbox, wechat, make_order):
        order = make_order(wechat)
        wechat.create(order)
        sandbox.faults(lose_answer=0.5, seed=2)
        failed = 0
        for _ in range(20):
            try:
                wechat.query(order.out_trade_no)
            except ChannelUnknown:
                failed += 1
        assert 4 <= failed <= 16

    def test_another_currency_is_told_as_it_is(self, sandbox, wechat, make_order, receiver):
        order = make_order(wechat)
        wechat.create(order)
        sandbox.faults(foreign_currency=True)
        sandbox.pay(order.out_trade_no)
        notice = wechat.parse_notice(*receiver.next(), now=datetime.now(UTC))
        assert (notice.trade.currency, wechat.query(order.out_trade_no).currency) == ("USD", "USD")

    def test_the_notice_comes_before_create_answers(self, sandbox, channel, make_order, receiver):
        sandbox.faults(before_create_returns=True)
        order = make_order(channel)
        channel.create(order)
        assert receiver.notices.qsize() == 1
        headers, body = receiver.next()
        notice = channel.parse_notice(headers, body, now=datetime.now(UTC))
        assert notice.trade.out_trade_no == order.out_trade_no
        assert channel.query(order.out_trade_no).state is TradeState.PAID

    def test_the_payer_pays_after_the_close_was_answered(
        self, sandbox, channel, make_order, receiver
    ):
        order = make_order(channel)
        channel.create(order)
        sandbox.faults(pay_after_close=True)
        assert channel.close(order.out_trade_no) is CloseOutcome.CLOSED
        wait_for(lambda: channel.query(order.out_trade_no).state is TradeState.PAID)
        notice = channel.parse_notice(*receiver.next(), now=datetime.now(UTC))
        assert notice.trade.state is TradeState.PAID

    def test_the_payer_pays_before_the_close_arrives(self, sandbox, channel, make_order):
        order = make_order(channel)
        channel.create(order)
        sandbox.faults(close_race=True)
        assert channel.close(order.out_trade_no) is CloseOutcome.ALREADY_PAID


class TestNotices:
    def test_one_comes_after_its_order_has_expired(self, sandbox, channel, make_order, receiver):
        now = datetime.now(UTC)
        expires_at = (now + timedelta(seconds=3)).replace(microsecond=0)
        order = make_order(channel, expires_at=expires_at)
        channel.create(order)
        sandbox.faults(delay_past_expiry=True)
        assert sandbox.pay(order.out_trade_no).json()["notice"] == "sent"
        headers, body = receiver.next()
        came_at = datetime.now(UTC)
        assert came_at > expires_at
        notice = channel.parse_notice(headers, body, now=came_at)
        assert notice.trade.state is TradeState.PAID

    def test_each_sending_says_which_faults_it_met(self, sandbox, wechat, make_order, receiver):
        order = make_order(wechat)
        wechat.create(order)
        sandbox.faults(stale=True, hang_seconds=0.01)
        sandbox.pay(order.out_trade_no)
        with pytest.raises(NoticeForged, match="timestamp"):
            wechat.parse_notice(*receiver.next(), now=datetime.now(UTC))
        wait_for(lambda: sandbox.order(order.out_trade_no)["notices"][0]["attempts"])
        (attempt,) = sandbox.order(order.out_trade_no)["notices"][0]["attempts"]
        assert attempt["faults"] == ["stale"]

    def test_a_bad_day_stops_no_sandbox(self, sandbox, channel, make_order):
        sandbox.faults(preset="bad-day", seed=1, hang_seconds=0)
        for _ in range(10):
            order = make_order(channel)
            try:
                channel.create(order)
                channel.query(order.out_trade_no)
                channel.close(order.out_trade_no)
            except ChannelUnknown:
                continue
        assert requests.get(f"{sandbox.url}/healthz", timeout=5).ok


class TestBills:
    def test_a_bill_tells_its_payments_wrongly_and_keeps_to_it(
        self, sandbox, channel, make_order, receiver
    ):
        day, orders = date(2022, 5, 6), [make_order(channel) for _ in range(5)]
        for place, order in enumerate(orders):
            channel.create(order)
            sandbox.pay(order.out_trade_no)
            moved = {
                "channel": channel.name,
                "out_trade_no": order.out_trade_no,
                "paid_at": f"2022-05-06T12:00:0{place}+08:00",
            }
            assert requests.post(f"{sandbox.url}/control/backdate", json=moved, timeout=5).ok
        right = channel.read_bill(channel.fetch_bill(day), day)
        assert [row.amount_fen for row in right.rows] == [1990] * 5
        sandbox.faults(bill_differences=True)
        wrong = channel.read_bill(channel.fetch_bill(day), day)
        numbers = [row.out_trade_no for row in wrong.rows]
        off, missing, twice, desk, untouched = (order.out_trade_no for order in orders)
        assert missing not in numbers
        assert [numbers.count(each) for each in (off, twice, desk, untouched)] == [1, 2, 2, 1]
        assert len(set(numbers) - {order.out_trade_no for order in orders}) == 1
        sandbox.faults()
        assert channel.read_bill(channel.fetch_bill(day), day).rows == wrong.rows
