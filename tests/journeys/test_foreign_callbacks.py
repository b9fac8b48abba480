"""The demo with throw-away keys out of the environment, and callbacks that npm's tools sign."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
import requests
from journeys.outsider import CHECKOUT, Demo, Phone, eventually

from payments.sandbox.keys import SandboxKeys, prepare, public_pem

FOREIGN = CHECKOUT / "tests" / "payments" / "foreign"
PATH = {"wechat": "/callbacks/wechat-pay", "alipay": "/callbacks/alipay"}
AMOUNT_FEN = 1234

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        shutil.which("node") is None or not (FOREIGN / "node_modules").is_dir(),
        reason="npm's tools are not installed in tests/payments/foreign",
    ),
]


@pytest.fixture
def keys(tmp_path: Path) -> SandboxKeys:
    """Keys and ids that the demo did not make."""
    return prepare(tmp_path)


@pytest.fixture
def foreign(demo: Demo, keys: SandboxKeys, tmp_path: Path) -> Iterator[Demo]:
    """The demo, started with those keys."""
    pem = tmp_path / "alipay.pem"
    pem.write_text(public_pem(keys.alipay_private_key))
    demo.stop()
    demo.settings = {
        "CAMPUS_CARD_WECHAT_PAY_APP_ID": keys.wechat_app_id,
        "CAMPUS_CARD_WECHAT_PAY_MERCHANT_ID": keys.wechat_merchant_id,
        "CAMPUS_CARD_WECHAT_PAY_API_V3_KEY": keys.wechat_api_v3_key,
        "CAMPUS_CARD_WECHAT_PAY_PLATFORM_PUBLIC_KEYS": json.dumps(
            {
                keys.wechat_serial: public_pem(keys.wechat_private_key),
                keys.wechat_platform_serial: keys.wechat_platform_certificate,
            }
        ),
        "CAMPUS_CARD_ALIPAY_APP_ID": keys.alipay_app_id,
        "CAMPUS_CARD_ALIPAY_SELLER_ID": keys.alipay_seller_id,
        "CAMPUS_CARD_ALIPAY_ALIPAY_PUBLIC_KEY": str(pem),
    }
    demo.start()
    yield demo
    demo.stop()
    demo.settings = {}


@dataclass
class Foreigner:
    """Signs as the platforms do, with tools that are not ours."""

    keys: SandboxKeys

    def sign(self, channel: str, out_trade_no: str, **changes: str) -> list[dict]:
        """Write the notices of a payment, one by each tool and key."""
        keys, order = self.keys, {"out_trade_no": out_trade_no, "amount_fen": AMOUNT_FEN}
        wanted = {
            "now": int(datetime.now(UTC).timestamp()),
            "wechat": {
                "app_id": keys.wechat_app_id,
                "merchant_id": keys.wechat_merchant_id,
                "api_v3_key": keys.wechat_api_v3_key,
                "keys": [
                    {
                        "serial": keys.wechat_serial,
                        "private": keys.wechat_private_key,
                        "public": public_pem(keys.wechat_private_key),
                    },
                    {
                        "serial": keys.wechat_platform_serial,
                        "private": keys.wechat_platform_private_key,
                        "public": keys.wechat_platform_certificate,
                    },
                ],
                "order": order,
            },
            "alipay": {
                "app_id": keys.alipay_app_id,
                "seller_id": keys.alipay_seller_id,
                "private": keys.alipay_private_key,
                "public": public_pem(keys.alipay_private_key),
                "order": order,
            },
        }
        wanted[channel] |= changes
        done = subprocess.run(
            ["node", "make.mjs", "sign"],
            cwd=FOREIGN,
            input=json.dumps(wanted),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return [notice for notice in json.loads(done.stdout)[channel] if notice["tells"] == "paid"]


def accepted(demo: Demo, channel: str, headers: dict[str, str], body: str | bytes) -> bool:
    """Send a callback; say whether it was accepted, as its platform would see it."""
    form = {"Content-Type": "application/x-www-form-urlencoded"} if channel == "alipay" else {}
    raw = body if isinstance(body, bytes) else body.encode()
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"{demo.said['base_url']}{PATH[channel]}",
            data=raw,
            headers={**headers, **form},
            timeout=20,
        )
    assert answer.status_code < 500, answer.text
    return answer.status_code in {200, 204} and answer.text in {"", "success"}


def forgeries(notice: dict, channel: str) -> Iterator[tuple[dict[str, str], bytes]]:
    """Give the notice with one thing changed, again and again."""
    headers, body = notice["headers"], notice["body"].encode()
    for place in range(0, len(body), 97):
        changed = bytearray(body)
        changed[place] ^= 0x01
        yield headers, bytes(changed)
    if channel == "wechat":
        later = str(int(headers["Wechatpay-Timestamp"]) + 1)
        old = str(int(headers["Wechatpay-Timestamp"]) - 3600)
        for name, value in (
            ("Wechatpay-Timestamp", later),
            ("Wechatpay-Timestamp", old),
            ("Wechatpay-Serial", "PUB_KEY_ID_0"),
            ("Wechatpay-Nonce", "x"),
            ("Wechatpay-Signature", f"WECHATPAY/SIGNTEST/{headers['Wechatpay-Signature']}"),
        ):
            yield {**headers, name: value}, body
        return
    form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    for name in ("total_amount", "app_id", "seller_id", "out_trade_no", "notify_time"):
        yield headers, urlencode(form | {name: f"{form[name]}0"}).encode()


class TestForeignCallbacks:
    def test_credit_exactly_what_is_accepted(self, foreign: Demo, keys: SandboxKeys) -> None:
        phone, signer = foreign.holder("20240101"), Foreigner(keys)
        before = phone.balance_fen
        credited = 0
        for channel, at_a_time in (("wechat", 4), ("alipay", 1)):
            for which in range(at_a_time):
                order = phone.order(channel, AMOUNT_FEN)
                notice = signer.sign(channel, order["out_trade_no"])[which]
                if which == 0:
                    self.refuse(foreign, channel, order, notice, signer)
                    assert phone.balance_fen == before + credited
                for _ in range(3):  # told again, it is accepted again, and credited once
                    assert accepted(foreign, channel, notice["headers"], notice["body"])
                assert phone.state_of(order) == "paid"
                credited += AMOUNT_FEN
                assert phone.balance_fen == before + credited
        self.pay_in_the_sandbox(foreign, phone)

    def refuse(
        self, demo: Demo, channel: str, order: dict, notice: dict, signer: Foreigner
    ) -> None:
        """Forge it in every way, and sign it rightly for somebody else."""
        for headers, body in forgeries(notice, channel):
            assert not accepted(demo, channel, headers, body)
        others = {
            "wechat": ({"merchant_id": "1900000001"}, {"app_id": "wx0000000000000001"}),
            "alipay": ({"seller_id": "2088000000000001"}, {"app_id": "2021000000000001"}),
        }
        for change in others[channel]:
            foreign = signer.sign(channel, order["out_trade_no"], **change)[0]
            assert not accepted(demo, channel, foreign["headers"], foreign["body"])

    def pay_in_the_sandbox(self, demo: Demo, phone: Phone) -> None:
        """Pay as ever: the sandbox's keys stay good, and it knows the merchant by his new ids."""
        for channel in PATH:
            order = phone.order(channel, AMOUNT_FEN)
            demo.pay(order["out_trade_no"])
            assert eventually(lambda order=order: phone.state_of(order) == "paid")

    def test_are_not_waited_for_when_a_setting_is_unknown(self, demo: Demo) -> None:
        demo.stop()
        demo.settings = {
            "CAMPUS_CARD_WECHAT_PAY_API_V3": "secret-value",
            "CAMPUS_CARD_ALIPAY_APP_PRIVATE_KEY": "secret-value",
            "CAMPUS_CARD_ALIPAY_SANDBOX": "false",
        }
        try:
            with pytest.raises(AssertionError):
                demo.start()
        finally:
            demo.settings = {}
        words = "\n".join(demo.words)
        for name in ("CAMPUS_CARD_WECHAT_PAY_API_V3", "CAMPUS_CARD_ALIPAY_APP_PRIVATE_KEY"):
            assert name in words
        assert "Traceback" not in words
        assert "secret-value" not in words
