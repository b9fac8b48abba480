"""Both platforms' signatures by implementations that nobody of this project wrote.

`foreign/fixtures.json` was made once by `foreign/make.mjs` with npm's wechatpay-axios-plugin,
wechatpay-node-v3 and alipay-sdk.  The tests marked `foreign` run these tools themselves, where
`npm install --no-package-lock` was run in `foreign/`.
"""

import base64
import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

import pytest

from payments import (
    AlipayChannel,
    NoticeEvent,
    NoticeForged,
    RefundState,
    TradeState,
    WeChatPayChannel,
)
from payments._alipay_keys import cert_sn, root_cert_sn
from payments._keys import certificate
from payments._yuan import fen_from_yuan
from payments._zone import SHANGHAI
from payments.sandbox.keys import prepare, public_pem

FOREIGN = Path(__file__).with_name("foreign")
FIXTURES = json.loads((FOREIGN / "fixtures.json").read_text())
FROZEN = datetime.fromtimestamp(FIXTURES["now"], UTC)
WECHAT = FIXTURES["notices"]["wechat"]
ALIPAY = FIXTURES["notices"]["alipay"]
PATIENCE_SECONDS = 60

live = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        shutil.which("node") is None or not (FOREIGN / "node_modules").is_dir(),
        reason="npm's tools are not installed in tests/payments/foreign",
    ),
]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Our own side of the keys, which nobody of the others knows."""
    return prepare(tmp_path_factory.mktemp("own"))


def wechat_of(wanted, own, **changes):
    return WeChatPayChannel(
        replace(
            own.wechat_pay_config("http://127.0.0.1:9", "http://127.0.0.1:9/notices"),
            app_id=wanted["app_id"],
            merchant_id=wanted["merchant_id"],
            api_v3_key=wanted["api_v3_key"],
            platform_public_keys={key["serial"]: key["public"] for key in wanted["keys"]},
            **changes,
        )
    )


def alipay_of(wanted, own, **changes):
    return AlipayChannel(
        replace(
            own.alipay_config("http://127.0.0.1:9/", "http://127.0.0.1:9/notices"),
            app_id=wanted["app_id"],
            seller_id=wanted["seller_id"],
            alipay_public_key=wanted["public"],
            **changes,
        )
    )


@pytest.fixture(scope="module")
def foreign_wechat(own):
    return wechat_of(FIXTURES["wechat"], own)


@pytest.fixture(scope="module")
def foreign_alipay(own):
    return alipay_of(FIXTURES["alipay"], own)


def read(channel, notice, *, now=FROZEN):
    return channel.parse_notice(notice["headers"], notice["body"].encode(), now=now)


def refused(channel, headers, body, *, now=FROZEN):
    with pytest.raises(NoticeForged) as forged:
        channel.parse_notice(headers, body, now=now)
    return forged.value.reason


def expect(notice, signed):
    """Compare what we read with what the other implementation wrote."""
    content = signed["content"]
    assert notice.trade.out_trade_no == content["out_trade_no"]
    if notice.channel == "wechat":
        assert notice.trade.amount_fen == content["amount"]["total"]
        assert notice.trade.trade_no == content["transaction_id"]
        assert notice.trade.merchant_id == content["mchid"]
    else:
        assert notice.trade.amount_fen == fen_from_yuan(content["total_amount"])
        assert notice.trade.trade_no == content["trade_no"]
        assert notice.trade.merchant_id == content["seller_id"]
        assert notice.trade.payer == content["buyer_open_id"]
    if signed["tells"] == "paid":
        assert (notice.event, notice.trade.state) == (NoticeEvent.PAID, TradeState.PAID)
        assert notice.refund is None
        return
    assert (notice.event, notice.trade.state) == (NoticeEvent.REFUND, TradeState.REFUNDED)
    assert notice.refund.state is RefundState.SUCCEEDED
    if notice.channel == "wechat":
        assert notice.refund.out_refund_no == content["out_refund_no"]
        assert notice.refund.amount_fen == content["amount"]["refund"]
    else:
        assert notice.refund.out_refund_no == content["out_biz_no"]


def name(signed):
    return f"{signed['tool']}-{signed['tells']}"


class TestFixtures:
    def test_hold_no_private_key(self):
        assert "PRIVATE" not in (FOREIGN / "fixtures.json").read_text()

    def test_cover_every_tool_key_and_kind(self):
        assert {(n["tool"], n["headers"]["Wechatpay-Serial"], n["tells"]) for n in WECHAT} == {
            (tool, key["serial"], tells)
            for tool in ("wechatpay-axios-plugin", "wechatpay-node-v3")
            for key in FIXTURES["wechat"]["keys"]
            for tells in ("paid", "refunded")
        }
        assert [n["tells"] for n in ALIPAY] == ["paid", "refunded", "refunded whole"]


@pytest.mark.parametrize("signed", WECHAT, ids=name)
class TestWeChat:
    def test_is_accepted(self, foreign_wechat, signed):
        expect(read(foreign_wechat, signed), signed)

    def test_is_refused_with_any_byte_changed(self, foreign_wechat, signed):
        body = signed["body"].encode()
        for place in range(len(body)):
            changed = bytearray(body)
            changed[place] ^= 0x01
            assert refused(foreign_wechat, signed["headers"], bytes(changed))

    def test_is_refused_with_any_byte_of_its_signature_changed(self, foreign_wechat, signed):
        signature = base64.b64decode(signed["headers"]["Wechatpay-Signature"])
        for place in range(len(signature)):
            changed = bytearray(signature)
            changed[place] ^= 0x01
            encoded = base64.b64encode(changed).decode()
            headers = {**signed["headers"], "Wechatpay-Signature": encoded}
            assert refused(foreign_wechat, headers, signed["body"].encode()) == "signature"

    def test_is_refused_under_another_header(self, foreign_wechat, signed):
        other = {key["serial"] for key in FIXTURES["wechat"]["keys"]}
        other -= {signed["headers"]["Wechatpay-Serial"]}
        for header, value, reason in (
            ("Wechatpay-Serial", other.pop(), "signature"),
            ("Wechatpay-Serial", "PUB_KEY_ID_1", "serial"),
            ("Wechatpay-Timestamp", str(FIXTURES["now"] + 1), "signature"),
            ("Wechatpay-Timestamp", str(FIXTURES["now"] - 301), "timestamp"),
            ("Wechatpay-Nonce", "x" * 32, "signature"),
        ):
            headers = {**signed["headers"], header: value}
            assert refused(foreign_wechat, headers, signed["body"].encode()) == reason

    @pytest.mark.parametrize("minutes", [-6, 6])
    def test_is_refused_out_of_its_time(self, foreign_wechat, signed, minutes):
        now = FROZEN + timedelta(minutes=minutes)
        headers, body = signed["headers"], signed["body"].encode()
        assert refused(foreign_wechat, headers, body, now=now) == "timestamp"

    def test_is_refused_by_whom_it_is_not_for(self, own, signed):
        wanted = FIXTURES["wechat"]
        headers, body = signed["headers"], signed["body"].encode()
        other_merchant = wechat_of(wanted | {"merchant_id": "1900000001"}, own)
        assert refused(other_merchant, headers, body) == "merchant"
        other_key = wechat_of(wanted | {"api_v3_key": "0" * 32}, own)
        assert refused(other_key, headers, body) == "content"
        if signed["tells"] == "paid":  # a refund names no app
            other_app = wechat_of(wanted | {"app_id": "wx0000000000000000"}, own)
            assert refused(other_app, headers, body) == "app"


@pytest.mark.parametrize("signed", ALIPAY, ids=name)
class TestAlipay:
    def test_is_accepted(self, foreign_alipay, signed):
        expect(read(foreign_alipay, signed), signed)

    def test_is_refused_with_any_byte_changed(self, foreign_alipay, signed):
        body = signed["body"].encode()
        true = dict(parse_qsl(body.decode(), keep_blank_values=True))
        for place in range(len(body)):
            changed = bytearray(body)
            changed[place] ^= 0x01
            form = dict(parse_qsl(changed.decode("latin-1"), keep_blank_values=True))
            if form == true:  # %2B and %2b are the same text
                continue
            assert refused(foreign_alipay, {}, bytes(changed))

    def test_is_refused_with_any_field_changed_added_or_left_out(self, foreign_alipay, signed):
        form = dict(parse_qsl(signed["body"], keep_blank_values=True))
        changes = [form | {field: f"{value}0"} for field, value in form.items()]
        changes += [form | {"more": ""}, form | {"total_amount": "0.01"}]
        changes += [
            {field: value for field, value in form.items() if field != left_out}
            for left_out in form
        ]
        for changed in changes:
            assert refused(foreign_alipay, {}, urlencode(changed).encode()) in {
                "signature",
                "encoding",
            }

    @pytest.mark.parametrize("hours", [-1, 26])
    def test_is_refused_out_of_its_time(self, foreign_alipay, signed, hours):
        now = FROZEN + timedelta(hours=hours)
        assert refused(foreign_alipay, {}, signed["body"].encode(), now=now) == "timestamp"

    def test_is_refused_by_whom_it_is_not_for(self, own, signed):
        wanted, body = FIXTURES["alipay"], signed["body"].encode()
        for field, value, reason in (
            ("seller_id", "2088000000000001", "merchant"),
            ("app_id", "2021000000000001", "app"),
            ("public", public_pem(own.wechat_private_key), "signature"),
        ):
            assert refused(alipay_of(wanted | {field: value}, own), {}, body) == reason


class TestSerialNumbers:
    """alipay-sdk computed them."""

    def test_are_the_same(self):
        numbers = FIXTURES["serial_numbers"]
        assert cert_sn(certificate(numbers["certificate"])) == numbers["cert_sn"]
        for line_end in ("\n", "\r\n"):
            for between in ("\n\n", "\n"):
                chain = numbers["chain"].replace("\n\n", between).replace("\n", line_end)
                assert root_cert_sn(chain) == numbers["root_cert_sn"]


def node(script, command, told):
    """Run a script of `foreign/`."""
    done = subprocess.run(
        ["node", script, command],
        cwd=FOREIGN,
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class TestLive:
    pytestmark = live

    def test_what_they_sign_now_is_accepted(self, own, tmp_path):
        """As a sandbox's keys would sign, by two hands that are not ours."""
        platform = prepare(tmp_path)
        order = {"out_trade_no": uuid4().hex, "amount_fen": 4711}
        now = datetime.now(UTC)
        wanted = {
            "now": int(now.timestamp()),
            "wechat": {
                "app_id": "wx0123456789abcdef",
                "merchant_id": "1900000109",
                "api_v3_key": platform.wechat_api_v3_key,
                "keys": [
                    {
                        "serial": platform.wechat_serial,
                        "private": platform.wechat_private_key,
                        "public": public_pem(platform.wechat_private_key),
                    },
                    {
                        "serial": platform.wechat_platform_serial,
                        "private": platform.wechat_platform_private_key,
                        "public": platform.wechat_platform_certificate,
                    },
                ],
                "order": order,
            },
            "alipay": {
                "app_id": "2021000000000109",
                "seller_id": "2088000000000109",
                "private": platform.alipay_private_key,
                "public": public_pem(platform.alipay_private_key),
                "cert_sn": platform.alipay_cert_sn,
                "order": order,
            },
        }
        notices = node("make.mjs", "sign", wanted)
        wechat = wechat_of(wanted["wechat"], own)
        bare = alipay_of(wanted["alipay"], own)
        certified = alipay_of(
            wanted["alipay"] | {"public": None},
            own,
            app_certificate=own.alipay_app_certificate,
            alipay_certificate=platform.alipay_certificate,
            alipay_root_certificate=platform.alipay_root_certificate,
        )
        assert len(notices["wechat"]) == 8
        for signed in notices["wechat"]:
            expect(read(wechat, signed, now=now), signed)
        assert len(notices["alipay"]) == 3
        for signed in notices["alipay"]:
            for alipay in (bare, certified):
                expect(read(alipay, signed, now=now), signed)
        stranger = alipay_of(
            wanted["alipay"] | {"public": None},
            own,
            app_certificate=own.alipay_app_certificate,
            alipay_certificate=own.alipay_certificate,
            alipay_root_certificate=own.alipay_root_certificate,
        )
        body = notices["alipay"][0]["body"].encode()
        assert refused(stranger, {}, body, now=now) == "serial"

    @pytest.mark.parametrize("certified", [False, True], ids=["public key", "certificate"])
    def test_what_our_sandbox_signs_they_accept(self, sandbox, receiver, payers, certified):
        """Orders, queries, refunds and notices, all in the hands of npm's clients."""
        keys = sandbox.keys
        expires_at = datetime.now(SHANGHAI) + timedelta(hours=1)
        platform = {
            keys.wechat_serial: public_pem(keys.wechat_private_key),
            keys.wechat_platform_serial: keys.wechat_platform_certificate,
        }
        asked_for = keys.wechat_platform_serial if certified else keys.wechat_serial
        mode = {"alipayPublicKey": public_pem(keys.alipay_private_key)}
        if certified:
            mode = {
                "appCertContent": keys.alipay_app_certificate,
                "alipayPublicCertContent": keys.alipay_certificate,
                "alipayRootCertContent": keys.alipay_root_certificate,
            }
        wanted = {
            "wechat": {
                "base_url": sandbox.url,
                "app_id": keys.wechat_app_id,
                "merchant_id": keys.wechat_merchant_id,
                "merchant_serial": keys.wechat_merchant_serial,
                "private": keys.wechat_merchant_private_key,
                "platform": {asked_for: platform[asked_for]},
                "notify_url": f"{receiver.url}/wechat",
                "expires_at": expires_at.isoformat(timespec="seconds"),
                "out_trade_no": uuid4().hex,
                "out_refund_no": uuid4().hex,
                "does": "order",
            },
            "alipay": {
                "sdk": {
                    "appId": keys.alipay_app_id,
                    "privateKey": keys.alipay_app_private_key,
                    "gateway": f"{sandbox.url}/gateway.do",
                    **mode,
                },
                "buyer": payers["alipay"],
                "notify_url": f"{receiver.url}/alipay",
                "expires_at": expires_at.strftime("%Y-%m-%d %H:%M:%S"),
                "out_trade_no": uuid4().hex,
                "out_refund_no": uuid4().hex,
                "does": "order",
            },
        }
        ordered = node("ask.mjs", "trade", wanted)
        assert ordered["wechat"]["code_url"].startswith("weixin://")
        assert ordered["alipay"]["code"] == "10000"
        for part in wanted.values():
            assert sandbox.pay(part["out_trade_no"]).ok
            part["does"] = "refund"
        done = node("ask.mjs", "trade", wanted)
        assert done["wechat"]["trade"]["trade_state"] == "SUCCESS"
        assert done["wechat"]["refund"]["status"] == "PROCESSING"
        assert done["alipay"]["trade"]["trade_status"] == "TRADE_SUCCESS"
        assert done["alipay"]["refund"]["fund_change"] == "Y"

        received = {"/wechat": [], "/alipay": []}
        for _ in range(4):  # of each a payment and a refund
            path, headers, body = receiver.notices.get(timeout=PATIENCE_SECONDS)
            received[path].append({"headers": headers, "body": body.decode()})
        judged = node(
            "ask.mjs",
            "judge",
            {
                "wechat": {
                    "api_v3_key": keys.wechat_api_v3_key,
                    "platform": platform,
                    "notices": received["/wechat"],
                },
                "alipay": {
                    "sdk": wanted["alipay"]["sdk"],
                    "notices": received["/alipay"],
                },
            },
        )
        assert {told["event_type"] for told in judged["wechat"]} == {
            "TRANSACTION.SUCCESS",
            "REFUND.SUCCESS",
        }
        for told in judged["wechat"]:
            assert told["plugin"] == told["v3"]
            assert told["plugin"]["out_trade_no"] == wanted["wechat"]["out_trade_no"]
        assert {notice["headers"]["Wechatpay-Serial"] for notice in received["/wechat"]} == {
            asked_for
        }
        assert [told["genuine"] for told in judged["alipay"]] == [True, True]
        assert all(("alipay_cert_sn" in told["form"]) == certified for told in judged["alipay"])
