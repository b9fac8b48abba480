"""Channel notices at the application's door: believed for their signature, credited once."""

import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from factories import Bound, balances, make_holder
from flask import Flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from backend.db import transaction
from backend.http.parts import Parts
from backend.topups import asking
from backend.topups.models import ChannelNotice, TopUp, TopUpState
from payments.sandbox.faults import Faults
from payments.sandbox.notices import alipay_notice, wechat_notice
from payments.sandbox.signing import Signer
from payments.sandbox.state import Order as SandboxOrder
from payments.sandbox.state import OrderState, utc_text

Order = Callable[..., TopUp]
Sent = tuple[dict[str, str], bytes]
PATHS = {"wechat": "/callbacks/wechat-pay", "alipay": "/callbacks/alipay"}
WRITERS = {"wechat": wechat_notice, "alipay": alipay_notice}


@pytest.fixture
def holder(parts: Parts) -> Bound:
    return make_holder(parts)


@pytest.fixture(params=["wechat", "alipay"])
def top_up(request: pytest.FixtureRequest, holder: Bound, order: Order) -> TopUp:
    """An order of 10.00 yuan on one of the channels."""
    return order(holder, 1000, channel=request.param)


class Door:
    """The callbacks of the application, and the platform's pen."""

    def __init__(self, app: Flask, signer: Signer) -> None:
        self.client = app.test_client()
        self.signer = signer

    def notice(self, top_up: TopUp, *, faults: Faults | None = None, **changes: Any) -> Sent:
        """Write and sign the notice that an order was paid."""
        stamp = utc_text(datetime.now(UTC))
        told = {
            "channel": top_up.channel,
            "out_trade_no": top_up.out_trade_no,
            "kind": "native",
            "fingerprint": "",
            "amount_fen": top_up.amount_fen,
            "description": "校园卡充值",
            "notify_url": "",
            "reference": "",
            "trade_no": f"42{top_up.out_trade_no}",
            "payer": "o" + "A" * 27,
            "created_at": stamp,
            "expires_at": stamp,
            "state": OrderState.PAID,
            "paid_at": stamp,
        }
        made = SandboxOrder(**(told | changes))
        return WRITERS[top_up.channel](
            f"n-{top_up.out_trade_no}", made, self.signer, faults or Faults()
        )

    def post(self, channel: str, sent: Sent) -> TestResponse:
        """Post a notice."""
        headers, body = sent
        return self.client.post(PATHS[channel], data=body, headers=headers)


@pytest.fixture
def door(app: Flask, signer: Signer) -> Door:
    return Door(app, signer)


def kept(body: bytes) -> list[ChannelNotice]:
    """Return what is kept of a notice."""
    with transaction() as session:
        return list(
            session.scalars(
                select(ChannelNotice)
                .where(ChannelNotice.digest == hashlib.sha256(body).digest())
                .order_by(ChannelNotice.received_at, ChannelNotice.id)
            )
        )


def assert_accepted(channel: str, answer: TestResponse) -> None:
    """Hold an answer to what the platform reads as success."""
    expected = (204, b"") if channel == "wechat" else (200, b"success")
    assert (answer.status_code, answer.data) == expected


def assert_refused(channel: str, answer: TestResponse) -> None:
    """Hold an answer to what the platform reads as failure."""
    if channel == "wechat":
        assert 400 <= answer.status_code < 600
        assert answer.get_json()["code"] == "FAIL"
    else:
        assert answer.data == b"fail"


class TestGenuine:
    def test_is_credited_and_kept(
        self, door: Door, holder: Bound, top_up: TopUp, reread: Any
    ) -> None:
        sent = door.notice(top_up)
        assert_accepted(top_up.channel, door.post(top_up.channel, sent))
        assert reread(top_up).state is TopUpState.PAID
        assert balances(holder.id) == (1000, 0)
        (row,) = kept(sent[1])
        assert (row.outcome, row.top_up_id, row.reason) == ("credited", top_up.id, None)

    def test_is_accepted_again_and_credited_once(
        self, door: Door, holder: Bound, top_up: TopUp
    ) -> None:
        sent = door.notice(top_up)
        for _ in range(3):
            assert_accepted(top_up.channel, door.post(top_up.channel, sent))
        assert balances(holder.id) == (1000, 0)
        assert [row.outcome for row in kept(sent[1])] == [
            "credited",
            "already_settled",
            "already_settled",
        ]

    def test_is_credited_once_though_signed_anew(
        self, door: Door, holder: Bound, top_up: TopUp
    ) -> None:
        for _ in range(2):
            assert_accepted(top_up.channel, door.post(top_up.channel, door.notice(top_up)))
        assert balances(holder.id) == (1000, 0)

    @pytest.mark.parametrize("told", [OrderState.UNPAID, OrderState.CLOSED])
    def test_that_tells_no_payment_credits_nothing(
        self, door: Door, holder: Bound, order: Order, told: OrderState
    ) -> None:
        top_up = order(holder, channel="alipay")
        sent = door.notice(top_up, state=told, paid_at=None)
        assert_accepted("alipay", door.post("alipay", sent))
        assert balances(holder.id) == (0, 0)
        assert [row.outcome for row in kept(sent[1])] == ["ignored"]


class TestForged:
    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            ("bad_signature", "signature"),
            ("stale", "timestamp"),
            ("foreign_merchant", "merchant"),
            ("foreign_app", "app"),
        ],
    )
    def test_is_refused_kept_and_credits_nothing(
        self, door: Door, holder: Bound, top_up: TopUp, fault: str, reason: str
    ) -> None:
        sent = door.notice(top_up, faults=Faults(**{fault: True}))
        assert_refused(top_up.channel, door.post(top_up.channel, sent))
        assert balances(holder.id) == (0, 0)
        (row,) = kept(sent[1])
        assert (row.outcome, row.reason, row.top_up_id) == ("forged", reason, None)

    def test_by_one_changed_byte_anywhere_is_refused(
        self, door: Door, holder: Bound, top_up: TopUp, reread: Any
    ) -> None:
        headers, body = door.notice(top_up)
        for place in range(0, len(body), max(1, len(body) // 25)):
            changed = bytearray(body)
            changed[place] ^= 0x01
            assert_refused(top_up.channel, door.post(top_up.channel, (headers, bytes(changed))))
            (row,) = kept(bytes(changed))
            assert row.outcome == "forged"
        assert reread(top_up).state is TopUpState.CREATED
        assert balances(holder.id) == (0, 0)

    def test_of_the_other_channel_is_refused(
        self, door: Door, holder: Bound, top_up: TopUp
    ) -> None:
        other = "alipay" if top_up.channel == "wechat" else "wechat"
        assert_refused(other, door.post(other, door.notice(top_up)))
        assert balances(holder.id) == (0, 0)

    @pytest.mark.parametrize("body", [b"", b"{}", b"a=b", b"\xff" * 50, b"\x00", b"x" * 70_000])
    @pytest.mark.parametrize("channel", ["wechat", "alipay"])
    def test_as_rubbish_is_refused(self, door: Door, channel: str, body: bytes) -> None:
        assert_refused(channel, door.post(channel, ({}, body)))

    def test_replayed_days_later_is_refused(self, door: Door, holder: Bound, order: Order) -> None:
        # Good once, and dated: what was recorded then is worth nothing now.
        top_up = order(holder)
        headers, body = door.notice(top_up, faults=Faults(stale=True))
        fresh, _ = door.notice(top_up)
        mixed = {**headers, "Wechatpay-Timestamp": fresh["Wechatpay-Timestamp"]}
        assert_refused("wechat", door.post("wechat", (headers, body)))
        assert_refused("wechat", door.post("wechat", (mixed, body)))
        assert balances(holder.id) == (0, 0)


class TestWellSignedButWrong:
    @pytest.mark.parametrize("amount_fen", [1, 999, 1001, 100_000])
    def test_amount_freezes_the_order(
        self, door: Door, holder: Bound, top_up: TopUp, reread: Any, amount_fen: int
    ) -> None:
        sent = door.notice(top_up, amount_fen=amount_fen)
        assert_refused(top_up.channel, door.post(top_up.channel, sent))
        assert reread(top_up).state is TopUpState.EXCEPTION
        assert balances(holder.id) == (0, 0)
        (row,) = kept(sent[1])
        assert (row.outcome, row.top_up_id) == ("mismatch", top_up.id)

    @pytest.mark.parametrize("number", ["0" * 32, "not-ours", "7"])
    def test_order_is_nobodys(self, door: Door, holder: Bound, top_up: TopUp, number: str) -> None:
        sent = door.notice(top_up, out_trade_no=number)
        assert_refused(top_up.channel, door.post(top_up.channel, sent))
        (row,) = kept(sent[1])
        assert (row.outcome, row.top_up_id) == ("unknown_order", None)
        assert balances(holder.id) == (0, 0)

    def test_channel_is_accepted_and_goes_back(
        self, door: Door, holder: Bound, order: Order
    ) -> None:
        # The order of one channel, told as paid by the other.
        top_up = order(holder, channel="alipay")
        top_up.channel = "wechat"
        sent = door.notice(top_up)
        for outcome in ("returned", "already_settled"):
            assert_accepted("wechat", door.post("wechat", sent))
            assert kept(sent[1])[-1].outcome == outcome
        assert balances(holder.id) == (0, 0)

    def test_currency_freezes_the_order(
        self, door: Door, holder: Bound, order: Order, signer: Signer, reread: Any
    ) -> None:
        top_up = order(holder)
        _, body = door.notice(top_up)
        content = {
            "appid": signer.keys.wechat_app_id,
            "mchid": signer.keys.wechat_merchant_id,
            "out_trade_no": top_up.out_trade_no,
            "trade_state": "SUCCESS",
            "transaction_id": "42",
            "success_time": "2026-09-01T12:00:00+08:00",
            "amount": {"total": 1000, "currency": "USD"},
        }
        envelope = json.loads(body) | {"resource": signer.wechat_resource("transaction", content)}
        told = json.dumps(envelope).encode()
        answer = door.post("wechat", (signer.wechat_headers(told, Faults()), told))
        assert_refused("wechat", answer)
        assert reread(top_up).state is TopUpState.EXCEPTION
        assert balances(holder.id) == (0, 0)

    @pytest.mark.parametrize("trade_no", ["x\x00", "四二", "4 2"])
    def test_number_that_cannot_be_kept_is_refused(
        self, door: Door, holder: Bound, top_up: TopUp, reread: Any, trade_no: str
    ) -> None:
        sent = door.notice(top_up, trade_no=trade_no)
        assert_refused(top_up.channel, door.post(top_up.channel, sent))
        assert [row.reason for row in kept(sent[1])] == ["content"]
        assert reread(top_up).state is TopUpState.CREATED
        assert balances(holder.id) == (0, 0)

    def test_payment_that_was_refunded_before_we_heard_of_it_is_frozen(
        self, door: Door, holder: Bound, order: Order, parts: Parts, platform: Any
    ) -> None:
        top_up = order(holder, channel="alipay")
        _, body = door.notice(top_up)
        form = dict(parse_qsl(body.decode())) | {"refund_fee": "10.00"}
        signed = "&".join(f"{k}={form[k]}" for k in sorted(form) if k not in {"sign", "sign_type"})
        form["sign"] = door.signer.alipay_signature(signed, Faults())
        answer = door.post("alipay", ({"Content-Type": "application/x-www-form-urlencoded"},
                                      urlencode(form).encode()))  # fmt: skip
        assert_accepted("alipay", answer)  # a refund's notice is news of a refund, no payment
        assert balances(holder.id) == (0, 0)


class TestOverHTTP:
    """The platform's own program sends, and the application really answers."""

    @pytest.fixture(params=["wechat", "alipay"])
    def placed(
        self,
        request: pytest.FixtureRequest,
        server: str,
        parts: Parts,
        holder: Bound,
        order: Order,
    ) -> TopUp:
        top_up = order(holder, channel=request.param)
        return asking.place_order(
            top_up, channel=parts.channels[request.param], sealer=parts.sealer
        )

    def until(self, tell: Callable[[], bool]) -> None:
        """Return as soon as it holds."""
        give_up = time.monotonic() + 20
        while not tell():
            assert time.monotonic() < give_up, "it never came to hold"
            time.sleep(0.02)

    def test_a_payment_is_credited(
        self, holder: Bound, placed: TopUp, platform: Any, reread: Any
    ) -> None:
        assert platform.pay(placed).json()["notice"] == "sent"
        self.until(lambda: reread(placed).state is TopUpState.PAID)
        self.until(lambda: platform.order(placed)["notices"][0]["state"] == "accepted")
        assert balances(holder.id) == (1000, 0)

    @pytest.mark.parametrize("faults", [{"duplicate": 5}, {"delay_seconds": 0.2, "duplicate": 2}])
    def test_a_payment_told_many_times_is_credited_once(
        self, holder: Bound, placed: TopUp, platform: Any, faults: dict[str, Any]
    ) -> None:
        platform.faults(**faults)
        platform.pay(placed)
        self.until(lambda: platform.order(placed)["notices"][0]["state"] == "accepted")
        assert len(platform.order(placed)["notices"][0]["attempts"]) > 1
        assert balances(holder.id) == (1000, 0)

    def test_a_bad_notice_is_repeated_until_a_good_one_comes(
        self, holder: Bound, placed: TopUp, platform: Any, reread: Any
    ) -> None:
        platform.faults(bad_signature=True)
        platform.pay(placed)
        self.until(lambda: len(platform.order(placed)["notices"][0]["attempts"]) > 0)
        assert reread(placed).state is TopUpState.PENDING
        platform.faults()
        self.until(lambda: reread(placed).state is TopUpState.PAID)
        assert balances(holder.id) == (1000, 0)
        assert reread(placed).paid_at > datetime.now(UTC) - timedelta(minutes=5)
