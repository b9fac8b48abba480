"""Nothing secret or personal leaves by a log, an error or a repr; the SDKs stay where they are."""

import logging
import subprocess
import sys
import traceback
from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

import payments
from payments import (
    AlipayChannel,
    AlipayMiniProgram,
    ChannelMisconfigured,
    ChannelUnknown,
    LoginRefused,
    NoticeForged,
    PlatformUnavailable,
    WeChatMiniProgram,
    WeChatPayChannel,
)
from payments._sdk import QUIET_LOGGERS
from payments.sandbox import prepare
from payments.sandbox.keys import public_pem

NOTIFY_URL = "https://card.example.edu/api/v1/callbacks/channel"
LOCAL_URL = "http://127.0.0.1:9"
PERSON = {"name": "欧阳晓雨", "document_number": "11010520080229001X"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("keys"))


def configs(keys):
    return [
        keys.wechat_pay_config(LOCAL_URL, NOTIFY_URL),
        keys.alipay_config(LOCAL_URL, NOTIFY_URL),
        keys.wechat_mini_program_config(LOCAL_URL),
        keys.alipay_mini_program_config(LOCAL_URL),
    ]


def secrets_of(keys):
    """Every secret, and for a key a stretch out of its middle."""
    for field in fields(keys):
        value = getattr(keys, field.name)
        if field.name.endswith("private_key"):
            yield value.splitlines()[5]
        elif field.name in {"wechat_app_secret", "wechat_api_v3_key", "seed"}:
            yield value


@pytest.fixture
def spoken(channel, platform, make_order):
    """Everything that talks to a platform."""
    return channel, platform, make_order


class TestLogs:
    def test_hold_no_secret_and_no_person(self, caplog, sandbox, spoken, receiver):
        channel, platform, make_order = spoken
        caplog.set_level(logging.DEBUG)
        order = make_order(channel)
        params = channel.create(order).client_params
        account_id = platform.login("a secret code").account_id
        platform.check_real_name(account_id=account_id, grant="a secret grant", **PERSON)
        sandbox.pay(order.out_trade_no)
        headers, body = receiver.next()
        channel.parse_notice(headers, body, now=datetime.now(UTC))
        with pytest.raises(NoticeForged):
            channel.parse_notice(headers, body + b" ", now=datetime.now(UTC))
        sandbox.faults(bad_signature=True, refuse_login=True)
        with pytest.raises(ChannelUnknown):
            channel.query(order.out_trade_no)
        with pytest.raises((LoginRefused, PlatformUnavailable)):
            platform.login("a secret code")
        for secret in (
            *secrets_of(sandbox.keys),
            *(params.get("paySign"), account_id, order.payer, *PERSON.values()),
            *("a secret code", "a secret grant", "secret+code", "secret%20code"),
        ):
            assert not secret or secret not in caplog.text

    @pytest.mark.parametrize("name", [*QUIET_LOGGERS, "urllib3.connectionpool", "wechatpy.client"])
    def test_of_the_libraries_are_pinned(self, name):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)

    def test_of_others_survive_the_import(self):
        script = (
            "import logging, io; text = io.StringIO();"
            "logging.basicConfig(stream=text, level=logging.INFO, format='%(message)s');"
            "import payments; logging.getLogger('ours').info('still here');"
            "assert text.getvalue() == 'still here\\n', text.getvalue();"
            "assert len(logging.getLogger().handlers) == 1;"
            "assert logging._handlerList, 'handlers were forgotten';"
            "assert not logging.getLogger('python-alipay-sdk').handlers"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


class TestErrors:
    def test_hold_no_secret_of_a_failed_call(self, keys):
        wechat, alipay, wechat_program, alipay_program = configs(keys)
        calls = [
            lambda: WeChatPayChannel(wechat).query("0" * 32),
            lambda: AlipayChannel(alipay).query("0" * 32),
            lambda: WeChatMiniProgram(wechat_program, {}).login("a secret code"),
            lambda: AlipayMiniProgram(alipay_program).login("a secret code"),
        ]
        for call in calls:
            with pytest.raises((ChannelUnknown, PlatformUnavailable)) as failed:
                call()
            text = "".join(traceback.format_exception(failed.value))
            assert str(failed.value) == "unreachable"
            for secret in (*secrets_of(keys), "secret code", "secret+code"):
                assert secret not in text.replace('"a secret code"', "")


class TestConfig:
    def test_shows_no_secret(self, keys):
        for config in configs(keys):
            for secret in secrets_of(keys):
                assert secret not in repr(config)
            assert "KEY-----" not in repr(config)

    def test_takes_the_official_address_only(self, keys):
        for config in configs(keys):
            with pytest.raises(ValueError, match="outside the sandbox"):
                replace(config, sandbox=False)
            default = next(f.default for f in fields(config) if f.name == "base_url")
            assert replace(config, sandbox=False, base_url=default).base_url == default

    @pytest.mark.parametrize(
        "notify_url",
        [
            *("http://card.example.edu/x", "https://card.example.edu/x?a=b", "https:///x", "x"),
            *("https://card.example.edu/x#y", "https://user@card.example.edu/x", ""),
        ],
    )
    def test_takes_a_public_address_for_notices_only(self, keys, notify_url):
        for config in configs(keys)[:2]:
            default = next(f.default for f in fields(config) if f.name == "base_url")
            with pytest.raises(ValueError, match="notify_url"):
                replace(config, sandbox=False, base_url=default, notify_url=notify_url)


def pkcs1(pem):
    key = load_pem_private_key(pem.encode(), password=None)
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ).decode()


class TestSelfTest:
    def test_passes_with_good_keys(self, keys):
        wechat, alipay, *_ = configs(keys)
        WeChatPayChannel(wechat).self_test()
        AlipayChannel(alipay).self_test()

    def test_passes_with_keys_in_the_older_form(self, keys):
        wechat, alipay, *_ = configs(keys)
        WeChatPayChannel(
            replace(wechat, merchant_private_key=pkcs1(keys.wechat_merchant_private_key))
        ).self_test()
        AlipayChannel(
            replace(alipay, app_private_key=pkcs1(keys.alipay_app_private_key))
        ).self_test()

    def test_names_every_fault_of_wechat(self, keys):
        config = replace(
            keys.wechat_pay_config(LOCAL_URL, NOTIFY_URL),
            merchant_private_key="no key",
            merchant_serial="no serial",
            platform_public_keys={"PUB_KEY_ID_1": "no key"},
            api_v3_key="short",
        )
        with pytest.raises(ChannelMisconfigured) as misconfigured:
            WeChatPayChannel(config)
        assert [fault.split()[0] for fault in misconfigured.value.faults] == [
            "merchant_private_key",
            "platform_public_keys[PUB_KEY_ID_1]",
            "api_v3_key",
            "merchant_serial",
        ]

    def test_knows_the_usual_mistakes_with_public_keys(self, keys):
        wechat, alipay, *_ = configs(keys)
        ours = public_pem(keys.wechat_merchant_private_key)
        with pytest.raises(ChannelMisconfigured, match="the merchant's own key"):
            WeChatPayChannel(replace(wechat, platform_public_keys={"PUB_KEY_ID_1": ours}))
        with pytest.raises(ChannelMisconfigured, match="is empty"):
            WeChatPayChannel(replace(wechat, platform_public_keys={}))
        ours = public_pem(keys.alipay_app_private_key)
        with pytest.raises(ChannelMisconfigured, match="the app's own key"):
            AlipayChannel(replace(alipay, alipay_public_key=ours))
        with pytest.raises(ChannelMisconfigured, match="app_private_key is not"):
            AlipayChannel(replace(alipay, app_private_key="no key"))


class TestSdks:
    """We lean on these private names; the versions are pinned."""

    def test_still_have_the_private_names(self, keys):
        wechat, alipay, *_ = configs(keys)
        core = WeChatPayChannel(wechat)._sdk._core
        assert (
            type(core)(
                wechat.merchant_id,
                wechat.merchant_serial,
                wechat.merchant_private_key,
                wechat.api_v3_key,
                public_key=public_pem(keys.wechat_private_key),
                public_key_id="PUB_KEY_ID_1",
            )._gate_way
            == payments.config.WECHAT_PAY_URL
        )
        assert callable(type(core)._verify_signature)
        sdk = AlipayChannel(alipay)._gateway._sdk
        plain = type(sdk).__mro__[1](
            alipay.app_id,
            app_private_key_string=alipay.app_private_key,
            alipay_public_key_string=alipay.alipay_public_key,
        )
        assert plain._gateway == payments.config.ALIPAY_URL
        assert callable(plain._sign)
        assert callable(plain._verify)

    def test_call_nobody_for_an_unknown_serial(self, keys):
        wechat = WeChatPayChannel(configs(keys)[0])
        headers = {
            f"Wechatpay-{name}": value
            for name, value in {
                "Timestamp": str(int(datetime.now(UTC).timestamp())),
                "Nonce": "n",
                "Signature": "AAAA",
                "Serial": "ABCDEF",
            }.items()
        }
        # The address is dead: a call would be `unreachable`, not `serial`.
        with pytest.raises(NoticeForged, match="serial"):
            wechat.parse_notice(headers, b"{}", now=datetime.now(UTC))


class TestTimeouts:
    def test_leave_the_outcome_unknown(self, channel, make_order, sandbox, receiver):
        order = make_order(channel)
        channel.create(order)
        config = replace(channel._config, timeout_seconds=[1, 0.1])
        sandbox.faults(hang_seconds=1)
        with pytest.raises(ChannelUnknown, match="timeout"):
            type(channel)(config).query(order.out_trade_no)


class TestPublicNames:
    def test_are_all_there(self):
        assert all(hasattr(payments, name) for name in payments.__all__)
