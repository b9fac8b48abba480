"""What holds on both channels: order, pay, notice, query, close."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from payments import (
    ChannelRejected,
    ChannelUnknown,
    CloseOutcome,
    NoticeEvent,
    Prepayment,
    TradeState,
)


def now():
    return datetime.now(UTC)


class TestCreate:
    def test_hands_wechat_parameters_to_a_known_payer(self, wechat, make_order):
        prepayment = wechat.create(make_order(wechat))
        assert prepayment.reference
        params = prepayment.client_params
        assert set(params) == {"kind", "timeStamp", "nonceStr", "package", "signType", "paySign"}
        assert params["kind"] == "wechat-jsapi"
        assert params["package"] == f"prepay_id={prepayment.reference}"

    def test_hands_a_trade_number_to_a_known_payer_on_alipay(self, alipay, make_order):
        prepayment = alipay.create(make_order(alipay))
        assert prepayment == Prepayment(
            prepayment.reference, {"kind": "alipay-trade", "tradeNO": prepayment.reference}
        )

    def test_hands_a_qr_code_to_an_unknown_payer(self, channel, make_order):
        prepayment = channel.create(make_order(channel, known_payer=False))
        assert prepayment.reference == ""
        assert prepayment.client_params["kind"] == "qr"
        assert "://" in prepayment.client_params["code_url"]

    def test_gives_the_same_order_again(self, channel, make_order):
        order = make_order(channel)
        assert channel.create(order).reference == channel.create(order).reference

    def test_never_calls_an_order_refused_while_its_number_can_be_paid(self, channel, make_order):
        order = make_order(channel)
        channel.create(order)
        with pytest.raises(ChannelUnknown):
            channel.create(make_order(channel, out_trade_no=order.out_trade_no, amount_fen=1))

    def test_never_calls_a_paid_order_refused(self, channel, make_order, sandbox):
        order = make_order(channel)
        channel.create(order)
        sandbox.pay(order.out_trade_no)
        with pytest.raises(ChannelUnknown):
            channel.create(order)
        with pytest.raises(ChannelUnknown):  # nor when the retry comes too late
            channel.create(replace(order, expires_at=now()))

    @pytest.mark.parametrize(
        "change", [{"amount_fen": 0}, {"payer": "?"}, {"description": "x" * 300}]
    )
    def test_is_refused_for_good_when_the_platform_says_no(self, channel, make_order, change):
        with pytest.raises(ChannelRejected) as refused:
            channel.create(make_order(channel, **change))
        assert refused.value.code


class TestPaying:
    def test_brings_a_notice_that_is_accepted(self, channel, make_order, sandbox, receiver, payers):
        order = make_order(channel, amount_fen=1990)
        channel.create(order)
        assert sandbox.pay(order.out_trade_no).json() == {
            "out_trade_no": order.out_trade_no,
            "channel": channel.name,
            "state": "paid",
            "notice": "sent",
        }
        notice = channel.parse_notice(*receiver.next(), now=now())
        assert (notice.channel, notice.event) == (channel.name, NoticeEvent.PAID)
        assert notice.notice_id
        trade = notice.trade
        assert (trade.out_trade_no, trade.state) == (order.out_trade_no, TradeState.PAID)
        assert (trade.amount_fen, trade.currency) == (1990, "CNY")
        assert trade.payer == payers[channel.name]
        assert trade.trade_no
        assert abs(trade.paid_at - now()) < timedelta(minutes=1)
        assert trade == channel.query(order.out_trade_no)

    def test_works_through_a_qr_code(self, channel, make_order, sandbox, receiver):
        order = make_order(channel, known_payer=False)
        channel.create(order)
        assert sandbox.pay(order.out_trade_no).json()["state"] == "paid"
        notice = channel.parse_notice(*receiver.next(), now=now())
        assert notice.trade.out_trade_no == order.out_trade_no

    def test_shows_a_wrong_amount(self, channel, make_order, sandbox, receiver):
        order = make_order(channel, amount_fen=1990)
        channel.create(order)
        sandbox.faults(wrong_amount=True)
        sandbox.pay(order.out_trade_no)
        assert channel.parse_notice(*receiver.next(), now=now()).trade.amount_fen == 1991
        assert channel.query(order.out_trade_no).amount_fen == 1991

    def test_that_the_payer_breaks_off_changes_nothing(self, channel, make_order, sandbox):
        order = make_order(channel)
        channel.create(order)
        answer = sandbox.pay(order.out_trade_no, "cancelled").json()
        assert (answer["state"], answer["notice"]) == ("unpaid", "none")
        assert channel.query(order.out_trade_no).state is TradeState.UNPAID


class TestQuery:
    def test_does_not_know_what_was_never_ordered(self, channel):
        trade = channel.query("0" * 32)
        assert (trade.state, trade.amount_fen) == (TradeState.UNKNOWN, None)

    def test_tells_unpaid_then_closed(self, channel, make_order):
        order = make_order(channel)
        channel.create(order)
        assert channel.query(order.out_trade_no).state is TradeState.UNPAID
        channel.close(order.out_trade_no)
        assert channel.query(order.out_trade_no).state is TradeState.CLOSED

    def test_wechat_leaves_an_expired_order_open(self, wechat, make_order, sandbox):
        order = make_order(wechat)
        wechat.create(order)
        assert sandbox.pay(order.out_trade_no, "timeout").json()["state"] == "expired"
        assert wechat.query(order.out_trade_no).state is TradeState.UNPAID
        assert wechat.close(order.out_trade_no) is CloseOutcome.CLOSED

    def test_alipay_closes_an_expired_order_and_says_so(
        self, alipay, make_order, sandbox, receiver
    ):
        order = make_order(alipay)
        alipay.create(order)
        assert sandbox.pay(order.out_trade_no, "timeout").json()["state"] == "closed"
        assert alipay.query(order.out_trade_no).state is TradeState.CLOSED
        notice = alipay.parse_notice(*receiver.next(), now=now())
        assert (notice.event, notice.trade.state) == (NoticeEvent.CLOSED, TradeState.CLOSED)

    def test_alipay_does_not_know_a_qr_code_that_nobody_scanned(self, alipay, make_order):
        order = make_order(alipay, known_payer=False)
        alipay.create(order)
        assert alipay.query(order.out_trade_no).state is TradeState.UNKNOWN
        assert alipay.close(order.out_trade_no) is CloseOutcome.NOT_FOUND


class TestClose:
    def test_closes_once_and_for_all(self, channel, make_order, sandbox):
        order = make_order(channel)
        channel.create(order)
        assert channel.close(order.out_trade_no) is CloseOutcome.CLOSED
        assert channel.close(order.out_trade_no) is CloseOutcome.CLOSED
        assert sandbox.pay(order.out_trade_no).status_code == 409

    def test_does_not_find_what_was_never_ordered(self, channel):
        assert channel.close("0" * 32) is CloseOutcome.NOT_FOUND

    def test_loses_to_a_payer_who_was_faster(self, channel, make_order, sandbox, receiver):
        order = make_order(channel)
        channel.create(order)
        sandbox.faults(close_race=True)
        assert channel.close(order.out_trade_no) is CloseOutcome.ALREADY_PAID
        assert channel.parse_notice(*receiver.next(), now=now()).event is NoticeEvent.PAID


class TestUntrustworthyAnswers:
    @pytest.mark.parametrize(
        "fault", [{"bad_signature": True}, {"answer_5xx": True}, {"lose_answer": True}]
    )
    def test_say_nothing(self, channel, make_order, sandbox, fault):
        order = make_order(channel)
        channel.create(order)
        sandbox.faults(**fault)
        for call in (
            lambda: channel.create(order),
            lambda: channel.query(order.out_trade_no),
            lambda: channel.close(order.out_trade_no),
        ):
            with pytest.raises(ChannelUnknown):
                call()

    def test_say_nothing_when_wechat_probes_us(self, wechat, make_order, sandbox):
        order = make_order(wechat)
        sandbox.faults(signtest=True)
        with pytest.raises(ChannelUnknown, match="answer-signtest"):
            wechat.create(order)
        sandbox.faults()
        assert wechat.query(order.out_trade_no).state is TradeState.UNPAID

    def test_may_hide_that_the_order_exists(self, channel, make_order, sandbox):
        order = make_order(channel)
        sandbox.faults(lose_answer=True)
        with pytest.raises(ChannelUnknown):
            channel.create(order)
        sandbox.faults()
        assert channel.query(order.out_trade_no).state is TradeState.UNPAID
        assert channel.create(order).reference


class TestAcknowledge:
    def test_is_what_wechat_reads(self, wechat):
        yes, no = wechat.acknowledge(accepted=True), wechat.acknowledge(accepted=False)
        assert (yes.status, yes.body, yes.content_type) == (204, b"", None)
        assert 400 <= no.status < 600
        assert b'"code": "FAIL"' in no.body

    def test_is_what_alipay_reads(self, alipay):
        yes, no = alipay.acknowledge(accepted=True), alipay.acknowledge(accepted=False)
        assert (yes.status, yes.body, yes.content_type) == (200, b"success", "text/plain")
        assert (no.status, no.body) == (200, b"fail")
