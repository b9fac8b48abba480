"""What holds on both channels when money goes back."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from payments import (
    AlipayChannel,
    ChannelRejected,
    ChannelUnknown,
    NoticeEvent,
    RefundOrder,
    RefundState,
    TradeState,
)
from payments.sandbox.faults import Faults
from payments.sandbox.signing import Signer

from .conftest import wait_for


def now():
    return datetime.now(UTC)


@pytest.fixture
def told(channel, receiver):
    """Gives the next notice of this order's refunds; others may still be on their way."""

    def read(wanted):
        while True:
            notice = channel.parse_notice(*receiver.next(), now=now())
            ours = notice.trade.out_trade_no == wanted.out_trade_no
            if ours and notice.event is NoticeEvent.REFUND:
                return notice

    return read


@pytest.fixture
def paid(channel, make_order, sandbox, receiver):
    """Pays an order of so many fen; gives its refund, of all of it unless told otherwise."""

    def pay(paid_fen=1990, **changes):
        order = make_order(channel, amount_fen=paid_fen)
        channel.create(order)
        assert sandbox.pay(order.out_trade_no).ok
        trade = channel.query(order.out_trade_no)
        wanted = RefundOrder(
            out_refund_no=uuid4().hex,
            out_trade_no=order.out_trade_no,
            trade_no=trade.trade_no,
            paid_fen=paid_fen,
            amount_fen=paid_fen,
            reason="校园卡余额退回 }{",
        )
        return replace(wanted, **changes)

    return pay


def another(wanted, **changes):
    return replace(wanted, out_refund_no=uuid4().hex, **changes)


def wait_until(channel, wanted, state):
    wait_for(lambda: channel.query_refund(wanted).state is state)
    return channel.query_refund(wanted)


def refunded_fen(sandbox, wanted):
    refunds = sandbox.order(wanted.out_trade_no)["refunds"]
    return sum(refund["amount_fen"] for refund in refunds if refund["state"] == "succeeded")


class TestRefund:
    def test_sends_everything_back(self, channel, paid, sandbox):
        wanted = paid()
        sent = channel.refund(wanted)
        first = {"wechat": RefundState.PROCESSING, "alipay": RefundState.SUCCEEDED}
        assert sent.state is first[channel.name]
        refund = wait_until(channel, wanted, RefundState.SUCCEEDED)
        assert refund.out_refund_no == wanted.out_refund_no
        assert refund.out_trade_no == wanted.out_trade_no
        assert refund.amount_fen == 1990
        assert abs(refund.refunded_at - now()) < timedelta(minutes=1)
        assert (refund.refund_no is None) == (channel.name == "alipay")
        assert refunded_fen(sandbox, wanted) == 1990
        trade = channel.query(wanted.out_trade_no)
        assert (trade.state, trade.amount_fen) == (TradeState.REFUNDED, 1990)

    def test_sends_a_part_back_then_the_rest_and_no_more(self, channel, paid, sandbox):
        wanted = paid(amount_fen=990)
        rest = another(wanted, amount_fen=1000)
        for part in (wanted, rest):
            channel.refund(part)
            wait_until(channel, part, RefundState.SUCCEEDED)
            assert channel.query(wanted.out_trade_no).state is TradeState.REFUNDED
        with pytest.raises(ChannelRejected) as refused:
            channel.refund(another(wanted, amount_fen=1))
        assert not refused.value.for_now
        assert refunded_fen(sandbox, wanted) == 1990

    def test_of_more_than_was_paid_is_refused_for_good(self, channel, paid, sandbox):
        wanted = paid(amount_fen=1991)
        with pytest.raises(ChannelRejected) as refused:
            channel.refund(wanted)
        assert not refused.value.for_now
        assert channel.query_refund(wanted).state is RefundState.UNKNOWN
        assert channel.query(wanted.out_trade_no).state is TradeState.PAID

    def test_is_done_once_however_often_it_is_asked_for(self, channel, paid, sandbox):
        wanted = paid(amount_fen=500)
        together = threading.Barrier(8)

        def ask(_):
            process = type(channel)(channel._config)  # one alone lets few wait at a time
            together.wait()
            return process.refund(wanted).state

        with ThreadPoolExecutor(8) as pool:
            states = set(pool.map(ask, range(8)))
        assert states <= {RefundState.PROCESSING, RefundState.SUCCEEDED}
        wait_until(channel, wanted, RefundState.SUCCEEDED)
        assert channel.refund(wanted).state is RefundState.SUCCEEDED
        assert refunded_fen(sandbox, wanted) == 500

    def test_never_exceeds_the_payment_however_many_ask(self, channel, paid, sandbox):
        wanted = paid(amount_fen=700)
        parts = [another(wanted) for _ in range(6)]

        def ask(part):
            try:
                type(channel)(channel._config).refund(part)
            except ChannelRejected:
                return 0
            return part.amount_fen

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(ask, parts)) == 1400
        wait_for(lambda: refunded_fen(sandbox, wanted) == 1400)

    def test_under_a_number_with_another_amount_is_neither_yes_nor_no(self, channel, paid, sandbox):
        wanted = paid(amount_fen=500)
        channel.refund(wanted)
        with pytest.raises(ChannelUnknown):
            channel.refund(replace(wanted, amount_fen=600))
        with pytest.raises(ChannelUnknown):
            channel.query_refund(replace(wanted, amount_fen=600))
        wait_for(lambda: refunded_fen(sandbox, wanted) == 500)

    def test_of_what_was_never_paid_is_refused(self, channel, make_order, paid):
        order = make_order(channel)
        channel.create(order)
        unpaid = RefundOrder(uuid4().hex, order.out_trade_no, "42", 1990, 1990, "退款")
        with pytest.raises(ChannelRejected):
            channel.refund(unpaid)
        assert channel.query_refund(unpaid).state is RefundState.UNKNOWN

    def test_is_refused_after_fifty_parts(self, wechat, make_order, sandbox):
        order = make_order(wechat)
        wechat.create(order)
        sandbox.pay(order.out_trade_no)
        trade = wechat.query(order.out_trade_no)
        part = RefundOrder(uuid4().hex, order.out_trade_no, trade.trade_no, 1990, 1, "退款")
        for _ in range(50):
            wechat.refund(another(part))
        with pytest.raises(ChannelRejected):
            wechat.refund(part)

    def test_cuts_a_reason_that_is_too_long(self, channel, paid):
        wanted = paid(reason="退" * 300)
        channel.refund(wanted)
        wait_until(channel, wanted, RefundState.SUCCEEDED)


class TestRefusalForNow:
    def test_passes_when_the_merchant_has_money_again(self, channel, paid, sandbox):
        wanted = paid()
        sandbox.faults(not_enough=True)
        with pytest.raises(ChannelRejected) as refused:
            channel.refund(wanted)
        assert refused.value.for_now
        assert channel.query_refund(wanted).state is RefundState.UNKNOWN
        sandbox.faults()
        channel.refund(wanted)
        wait_until(channel, wanted, RefundState.SUCCEEDED)

    def test_of_a_repetition_hides_no_refund_that_was_taken(self, channel, paid, sandbox):
        wanted = paid()
        channel.refund(wanted)
        sandbox.faults(not_enough=True, refund_closed=True)
        assert channel.refund(wanted).state is not RefundState.UNKNOWN


class TestBadEnds:
    @pytest.mark.parametrize("end", [RefundState.ABNORMAL, RefundState.CLOSED])
    def test_come_at_once_on_alipay_and_later_on_wechat(self, channel, paid, told, sandbox, end):
        wanted = paid()
        sandbox.faults(**{f"refund_{end}": True})
        if channel.name == "alipay":
            with pytest.raises(ChannelRejected) as refused:
                channel.refund(wanted)
            assert not refused.value.for_now
            assert channel.query_refund(wanted).state is RefundState.UNKNOWN
            return
        assert channel.refund(wanted).state is RefundState.PROCESSING
        assert told(wanted).refund.state is end
        assert channel.query_refund(wanted).state is end
        sandbox.faults()
        if end is RefundState.CLOSED:  # the money is with the merchant again
            channel.refund(another(wanted))
        else:
            with pytest.raises(ChannelRejected):
                channel.refund(another(wanted))


class TestUntrustworthyAnswers:
    @pytest.mark.parametrize("fault", [{"bad_signature": True}, {"lose_answer": True}])
    def test_leave_a_refund_open_which_a_repetition_does_not_double(
        self, channel, paid, sandbox, fault
    ):
        wanted = paid(amount_fen=600)
        sandbox.faults(**fault)
        with pytest.raises(ChannelUnknown):
            channel.refund(wanted)
        with pytest.raises(ChannelUnknown):
            channel.query_refund(wanted)
        sandbox.faults()
        assert channel.query_refund(wanted).state is not RefundState.UNKNOWN
        channel.refund(wanted)
        wait_for(lambda: refunded_fen(sandbox, wanted) == 600)
        assert len(sandbox.order(wanted.out_trade_no)["refunds"]) == 1

    def test_may_mean_that_nothing_was_done(self, channel, paid, sandbox):
        wanted = paid()
        sandbox.faults(answer_5xx=True)
        with pytest.raises(ChannelUnknown):
            channel.refund(wanted)
        sandbox.faults()
        assert channel.query_refund(wanted).state is RefundState.UNKNOWN

    def test_come_too_late(self, channel, paid, sandbox):
        impatient = type(channel)(replace(channel._config, timeout_seconds=(1, 0.2)))
        wanted = paid()
        sandbox.faults(hang_seconds=1)
        with pytest.raises(ChannelUnknown, match="timeout"):
            impatient.refund(wanted)
        sandbox.faults()
        wait_until(channel, wanted, RefundState.SUCCEEDED)

    def test_make_no_refusal_out_of_a_refusal_to_tell(self, channel, paid, sandbox, tmp_path):
        """With keys that the platform does not know, nothing is known of earlier attempts."""
        from payments.sandbox import prepare

        stranger = prepare(tmp_path)
        names = {"wechat": "merchant_private_key", "alipay": "app_private_key"}
        key = {
            "wechat": stranger.wechat_merchant_private_key,
            "alipay": stranger.alipay_app_private_key,
        }[channel.name]
        forged = type(channel)(replace(channel._config, **{names[channel.name]: key}))
        with pytest.raises(ChannelUnknown):
            forged.refund(paid())


class TestNotice:
    def test_tells_a_refund_of_a_part(self, channel, paid, told):
        wanted = paid(amount_fen=990)
        channel.refund(wanted)
        notice = told(wanted)
        assert (notice.event, notice.trade.state) == (NoticeEvent.REFUND, TradeState.REFUNDED)
        assert notice.trade.amount_fen == 1990
        refund = notice.refund
        assert refund.out_refund_no == wanted.out_refund_no
        assert refund.out_trade_no == wanted.out_trade_no
        assert refund.state is RefundState.SUCCEEDED
        assert refund.amount_fen == (990 if channel.name == "wechat" else None)
        assert abs(refund.refunded_at - now()) < timedelta(minutes=1)

    def test_tells_a_refund_of_everything(self, channel, paid, told):
        wanted = paid()
        channel.refund(wanted)
        notice = told(wanted)
        assert (notice.event, notice.trade.state) == (NoticeEvent.REFUND, TradeState.REFUNDED)
        assert notice.refund.out_refund_no == wanted.out_refund_no

    def test_of_each_refund_is_one_of_its_own(self, channel, paid, told):
        wanted = paid(amount_fen=990)
        parts = [wanted, another(wanted)]
        for part in parts:
            channel.refund(part)
        notices = [told(wanted) for _ in parts]
        assert len({notice.notice_id for notice in notices}) == 2
        assert {notice.refund.out_refund_no for notice in notices} == {
            part.out_refund_no for part in parts
        }

    def test_of_a_payment_tells_no_refund(self, channel, make_order, sandbox, receiver):
        order = make_order(channel)
        channel.create(order)
        sandbox.pay(order.out_trade_no)
        assert channel.parse_notice(*receiver.next(), now=now()).refund is None


class TestAlipaysWords:
    """A yes of Alipay is no refund: what it says without saying it, over signatures that hold."""

    ORDER = RefundOrder("a" * 32, "b" * 32, "2026", 1990, 990, "退款")
    SAID = {"trade_no": "2026", "out_trade_no": "b" * 32}  # noqa: RUF012
    GOOD = {  # noqa: RUF012
        **SAID,
        "out_request_no": "a" * 32,
        "refund_amount": "9.90",
        "refund_status": "REFUND_SUCCESS",
    }

    @pytest.fixture
    def answering(self, sandbox, receiver):
        """A gateway that answers a refund and a query of it as told."""
        signer = Signer(sandbox.keys)
        config = sandbox.keys.alipay_config(receiver.url, f"{receiver.url}/alipay")

        def prepare(*answers):
            receiver.answers["/gateway.do?charset=utf-8"] = queue = []
            names = ["alipay_trade_refund", "alipay_trade_fastpay_refund_query"]
            for name, content in zip(names[-len(answers) :], answers, strict=True):
                text = json.dumps({"code": "10000", "msg": "Success", **content})
                signature = signer.alipay_signature(text, Faults())
                answer = f'{{"{name}_response":{text},"sign":"{signature}"}}'
                queue.append((200, answer.encode()))
            return AlipayChannel(config)

        return prepare

    def test_taken_and_not_known_yet_is_processing(self, answering):
        for taken in ({}, {"fund_change": "N"}, {"fund_change": None}, {"fund_change": "y"}):
            alipay = answering({**self.SAID, "refund_fee": "9.90", **taken}, {})
            assert alipay.refund(self.ORDER).state is RefundState.PROCESSING

    def test_taken_before_is_what_the_query_tells(self, answering):
        alipay = answering({**self.SAID, "fund_change": "N"}, self.GOOD)
        refund = alipay.refund(self.ORDER)
        assert (refund.state, refund.amount_fen) == (RefundState.SUCCEEDED, 990)

    def test_taken_and_then_refused_to_tell_is_unknown(self, answering):
        alipay = answering(
            {**self.SAID, "fund_change": "N"}, {"code": "40004", "sub_code": "ACQ.FORBIDDEN"}
        )
        with pytest.raises(ChannelUnknown, match=r"ACQ\.FORBIDDEN"):
            alipay.refund(self.ORDER)

    @pytest.mark.parametrize(
        "change",
        [
            {"trade_no": "2027"},
            {"out_trade_no": "c" * 32},
            {"refund_fee": "9.89"},
            {"refund_fee": None},
            {"trade_no": None},
            {"gmt_refund_pay": "yesterday"},
        ],
    )
    def test_of_another_refund_is_unknown(self, answering, change):
        said = {**self.SAID, "refund_fee": "9.90", "fund_change": "Y"}
        good = answering(said, {})
        assert good.refund(self.ORDER).state is RefundState.SUCCEEDED
        with pytest.raises(ChannelUnknown, match="content"):
            answering(said | change, {}).refund(self.ORDER)

    @pytest.mark.parametrize(
        ("change", "state"),
        [
            ({}, RefundState.SUCCEEDED),
            ({"refund_status": "REFUND_PROCESSING"}, RefundState.PROCESSING),
            ({"refund_status": ""}, RefundState.UNKNOWN),
            ({"refund_status": None}, RefundState.UNKNOWN),
        ],
    )
    def test_of_a_query_say_how_it_stands(self, answering, change, state):
        assert answering(self.GOOD | change).query_refund(self.ORDER).state is state

    @pytest.mark.parametrize(
        "change",
        [
            {"refund_status": "REFUND_LOST"},
            {"refund_status": 1},
            {"refund_amount": "9.91"},
            {"refund_amount": "9.9e0"},
            {"refund_amount": 9.9},
            {"out_request_no": "b" * 32},
            {"trade_no": "2027"},
        ],
    )
    def test_of_a_query_about_something_else_are_unknown(self, answering, change):
        with pytest.raises(ChannelUnknown, match="content"):
            answering(self.GOOD | change).query_refund(self.ORDER)

    @pytest.mark.parametrize(
        ("sub_code", "for_now"),
        [
            ("ACQ.SELLER_BALANCE_NOT_ENOUGH", True),
            ("ACQ.REASON_TRADE_BEEN_FREEZEN", True),
            ("ACQ.TRADE_HAS_FINISHED", False),
        ],
    )
    def test_of_refusal_are_for_now_or_for_good(self, answering, sub_code, for_now):
        alipay = answering({"code": "40004", "sub_code": sub_code}, {})
        with pytest.raises(ChannelRejected) as refused:
            alipay.refund(self.ORDER)
        assert (refused.value.code, refused.value.for_now) == (sub_code, for_now)
