"""Top-ups while the channels misbehave: credited exactly as they should be, once or not at all."""

import pytest
from journeys.outsider import Demo, Phone, eventually

AMOUNT_FEN = 700
CHANNELS = ("wechat", "alipay")


@pytest.fixture
def phone(sandbox: Demo) -> Phone:
    """Somebody with money and time."""
    return sandbox.holder("20240101")


def attempts(phone: Phone, order) -> list:
    """List how the application answered each sending of the notices of an order."""
    return [
        attempt["status"]
        for notice in phone.demo.notices(order["out_trade_no"])
        for attempt in notice["attempts"]
    ]


@pytest.mark.parametrize("channel", CHANNELS)
class TestNotices:
    def test_ten_equal_ones_credit_once(self, phone, channel):
        phone.demo.play("faults", {"duplicate": 9})
        before, order = phone.balance_fen, phone.order(channel, AMOUNT_FEN)
        phone.demo.pay(order["out_trade_no"])
        assert eventually(lambda: len(attempts(phone, order)) == 10)
        assert set(attempts(phone, order)) <= {200, 204}
        assert phone.state_of(order) == "paid"
        assert phone.balance_fen == before + AMOUNT_FEN

    def test_a_lost_one_is_made_good_by_asking(self, phone, channel):
        phone.demo.play("faults", {"drop": True})
        before, order = phone.balance_fen, phone.order(channel, AMOUNT_FEN)
        phone.demo.pay(order["out_trade_no"])
        assert phone.sync(order) == "paid"
        assert phone.balance_fen == before + AMOUNT_FEN

    def test_a_lost_one_is_made_good_by_itself(self, phone, channel):
        phone.demo.play("faults", {"drop": True})
        before, order = phone.balance_fen, phone.order(channel, AMOUNT_FEN)
        phone.demo.pay(order["out_trade_no"])
        assert eventually(lambda: phone.state_of(order) == "paid")
        assert phone.balance_fen == before + AMOUNT_FEN

    @pytest.mark.parametrize("fault", ["bad_signature", "foreign_merchant", "stale"])
    def test_one_that_is_not_the_platforms_word_to_us_credits_nothing(self, phone, channel, fault):
        before, order = phone.balance_fen, phone.order(channel, AMOUNT_FEN)
        phone.demo.play("faults", {fault: True})
        phone.demo.pay(order["out_trade_no"])
        assert eventually(lambda: attempts(phone, order) != [])
        if fault == "bad_signature":  # the gateway's own answers are forged, too
            assert phone.sync(order) == "pending"
            assert phone.balance_fen == before
        phone.demo.play("faults", {})
        assert phone.sync(order) == "paid"
        assert phone.balance_fen == before + AMOUNT_FEN

    def test_one_of_another_amount_waits_for_a_person(self, phone, channel):
        before, order = phone.balance_fen, phone.order(channel, AMOUNT_FEN)
        phone.demo.play("faults", {"wrong_amount": True})
        phone.demo.pay(order["out_trade_no"])
        assert eventually(lambda: phone.state_of(order) == "exception")
        phone.demo.play("faults", {})
        assert phone.sync(order) == "exception"
        assert phone.balance_fen == before

    def test_an_unpaid_order_is_not_credited(self, phone, channel):
        before, order = phone.balance_fen, phone.order(channel, AMOUNT_FEN)
        assert phone.sync(order) == "pending"
        assert phone.balance_fen == before


class TestLedger:
    def test_holds_after_all_of_it(self, demo: Demo):
        proof = demo.campus_card("prove-ledger")
        assert proof.returncode == 0, proof
