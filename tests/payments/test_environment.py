"""Configurations out of a file and the environment: one place says what, and what is wrong."""

import json
import re
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import get_type_hints

import pytest

import payments
from backend.settings import OF_PAYMENTS
from payments import (
    AlipayChannel,
    AlipayMiniProgram,
    ChannelMisconfigured,
    ChannelRejected,
    TradeState,
    WeChatMiniProgram,
    WeChatPayChannel,
    read_configs,
)
from payments.environment import _OBJECTS, FAMILIES, SECTIONS, variable
from payments.sandbox.app import create_world
from payments.sandbox.keys import prepare, public_pem

from .conftest import Cache, Sandbox

SANDBOX_URL = "http://127.0.0.1:9"
NOTIFY_URL = "http://127.0.0.1:9/notices"
WECHAT = "CAMPUS_CARD_WECHAT_PAY_"
ALIPAY = "CAMPUS_CARD_ALIPAY_"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Throw-away keys of somebody else."""
    return prepare(tmp_path_factory.mktemp("own"))


@pytest.fixture
def said(made):
    """What the file of a sandbox says."""
    return said_of(made, SANDBOX_URL, NOTIFY_URL)


def said_of(keys, sandbox_url, notify_url):
    configs = {
        "wechat_pay": keys.wechat_pay_config(sandbox_url, notify_url),
        "alipay": keys.alipay_config(sandbox_url, notify_url),
        "wechat_mini_program": keys.wechat_mini_program_config(sandbox_url),
        "alipay_mini_program": keys.alipay_mini_program_config(sandbox_url),
    }
    return json.loads(json.dumps({name: asdict(config) for name, config in configs.items()}))


def faults_of(said, environment):
    with pytest.raises(ChannelMisconfigured) as wrong:
        read_configs(said, environment)
    return wrong.value.faults


@pytest.fixture(scope="module")
def environment(own):
    return {
        f"{WECHAT}APP_ID": own.wechat_app_id,
        f"{WECHAT}MERCHANT_ID": own.wechat_merchant_id,
        f"{WECHAT}MERCHANT_SERIAL": own.wechat_merchant_serial,
        f"{WECHAT}MERCHANT_PRIVATE_KEY": own.wechat_merchant_private_key,
        f"{WECHAT}API_V3_KEY": own.wechat_api_v3_key,
        f"{WECHAT}PLATFORM_PUBLIC_KEYS": json.dumps(
            {own.wechat_serial: public_pem(own.wechat_private_key)}
        ),
        f"{ALIPAY}APP_ID": own.alipay_app_id,
        f"{ALIPAY}SELLER_ID": own.alipay_seller_id,
        f"{ALIPAY}APP_PRIVATE_KEY": own.alipay_app_private_key,
        f"{ALIPAY}ALIPAY_PUBLIC_KEY": public_pem(own.alipay_private_key),
    }


@pytest.fixture(scope="module")
def foreign(environment, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        started = Sandbox(tmp_path_factory.mktemp("foreign"), "--time-scale", "1000")
    yield started
    started.stop()


class TestNames:
    def test_are_in_the_families_that_the_settings_pass_on(self):
        assert FAMILIES == OF_PAYMENTS
        for section, config in SECTIONS.items():
            for field in fields(config):
                assert variable(section, field.name).startswith(FAMILIES)

    def test_are_unique(self):
        names = [variable(s, f.name) for s, config in SECTIONS.items() for f in fields(config)]
        assert len(set(names)) == len(names)

    def test_that_are_unknown_are_all_told_and_no_value(self, said):
        environment = {
            f"{WECHAT}API_KEY": "secret-value",
            "CAMPUS_CARD_ALIPAY_": "secret-value",
            "CAMPUS_CARD_WECHAT_APP_ID": "secret-value",
            f"{WECHAT}SANDBOX": "secret-value",
            f"{WECHAT}TIMEOUT_SECONDS": "secret-value",
            f"{WECHAT}PLATFORM_PUBLIC_KEYS": '{"PUB_KEY_ID_1": "secret-value"}',
            f"{WECHAT}MERCHANT_PRIVATE_KEY": "/secret-value",
            f"{ALIPAY}BASE_URL": "https://secret-value.example",
            f"{ALIPAY}SANDBOX": "false",
            "CAMPUS_CARD_ROOT_KEY": "secret-value",
            "OTHER": "secret-value",
        }
        faults = faults_of(said, environment)
        assert faults == [
            "CAMPUS_CARD_ALIPAY_ is not a setting",
            "CAMPUS_CARD_WECHAT_APP_ID is not a setting",
            f"{WECHAT}API_KEY is not a setting",
            f"{WECHAT}MERCHANT_PRIVATE_KEY is neither a key nor a file that can be read",
            f"{WECHAT}PLATFORM_PUBLIC_KEYS is neither a key nor a file that can be read",
            f"{WECHAT}SANDBOX is neither true nor false",
            f"{WECHAT}TIMEOUT_SECONDS is not JSON",
            "alipay: base_url must be https://openapi.alipay.com/gateway.do outside the sandbox",
        ]

    def test_that_are_empty_are_not_set(self, said):
        environment = {f"{WECHAT}API_V3_KEY": "", f"{ALIPAY}APP_ID": "  "}
        assert read_configs(said, environment) == read_configs(said, {})

    def test_of_every_field_can_be_read(self):
        """A field that is no text needs a reader: nobody may forget it."""
        for config in SECTIONS.values():
            for name, kind in get_type_hints(config).items():
                is_text = kind in {str, str | None} and name not in _OBJECTS
                assert is_text or kind is bool or name in _OBJECTS, name

    def test_are_all_in_the_readme(self):
        readme = Path(payments.__file__).with_name("README.md").read_text()
        told = readme.partition("## Keys and settings")[2].partition("## The sandbox")[0]
        words = set(re.findall(r"[a-z0-9_]+", told))
        assert {f.name for config in SECTIONS.values() for f in fields(config)} <= words


class TestValues:
    def test_win_over_the_file(self, said, own):
        environment = {
            f"{WECHAT}API_V3_KEY": own.wechat_api_v3_key,
            f"{WECHAT}MERCHANT_ID": "1900000109",
            f"{WECHAT}TIMEOUT_SECONDS": "[1, 2.5]",
            f"{ALIPAY}SELLER_ID": "2088000000000009",
            "CAMPUS_CARD_WECHAT_MINI_PROGRAM_APP_SECRET": "another",
            "CAMPUS_CARD_ALIPAY_MINI_PROGRAM_APP_ID": "2021000000000009",
        }
        configs = read_configs(said, environment)
        assert configs.wechat_pay.api_v3_key == own.wechat_api_v3_key
        assert configs.wechat_pay.merchant_id == "1900000109"
        assert configs.wechat_pay.timeout_seconds == (1, 2.5)
        assert configs.alipay.seller_id == "2088000000000009"
        assert configs.alipay.app_id == said["alipay"]["app_id"]
        assert configs.wechat_mini_program.app_secret == "another"
        assert configs.alipay_mini_program.app_id == "2021000000000009"

    @pytest.mark.parametrize("how", ["text", "one line", "path"])
    def test_hold_a_key_or_name_its_file(self, said, own, tmp_path, how):
        pem = own.wechat_merchant_private_key
        path = tmp_path / "key.pem"
        path.write_text(pem)
        value = {"text": pem, "one line": pem.replace("\n", "\\n"), "path": str(path)}[how]
        configs = read_configs(said, {f"{WECHAT}MERCHANT_PRIVATE_KEY": value})
        assert configs.wechat_pay.merchant_private_key.strip() == pem.strip()
        WeChatPayChannel(configs.wechat_pay).self_test()

    def test_of_platform_keys_are_added_to_the_files(self, said, made, own, tmp_path):
        path = tmp_path / "certificate.pem"
        path.write_text(own.wechat_platform_certificate)
        given = {
            own.wechat_serial: public_pem(own.wechat_private_key),
            own.wechat_platform_serial: str(path),
        }
        environment = {f"{WECHAT}PLATFORM_PUBLIC_KEYS": json.dumps(given)}
        config = read_configs(said, environment).wechat_pay
        assert list(config.platform_public_keys) == [made.wechat_serial, *given]
        WeChatPayChannel(config).self_test()

    def test_of_alipays_key_stand_beside_the_sandboxs_and_alone_in_truth(self, said, made, own):
        theirs = public_pem(own.alipay_private_key)
        config = read_configs(said, {f"{ALIPAY}ALIPAY_PUBLIC_KEY": theirs}).alipay
        assert config.alipay_public_key.count("BEGIN") == 2
        assert len(AlipayChannel(config)._gateway._keys.platform) == 2
        said["alipay"] |= {
            "sandbox": False,
            "base_url": "https://openapi.alipay.com/gateway.do",
            "notify_url": "https://card.example.edu/notices",
        }
        config = read_configs(said, {f"{ALIPAY}ALIPAY_PUBLIC_KEY": theirs}).alipay
        assert config.alipay_public_key == theirs.strip()

    def test_of_templates_are_json(self, said):
        template = {"id": "t1", "fields": {"thing1": "text"}, "long_term": True}
        name = "CAMPUS_CARD_WECHAT_MINI_PROGRAM_TEMPLATES"
        given = {name: json.dumps({"top-up-paid": template})}
        of_file = read_configs(said, {}).wechat_mini_program.templates
        assert (
            asdict(of_file["top-up-paid"])
            == said["wechat_mini_program"]["templates"]["top-up-paid"]
        )
        templates = read_configs(said, given).wechat_mini_program.templates
        assert {kind: asdict(read) for kind, read in templates.items()} == {"top-up-paid": template}
        for wrong in (
            "[]",
            '{"a": 1}',
            '{"a": {"id": 1, "fields": {}}}',
            '{"a": {"id": "x"}}',
            "{",
        ):
            assert len(faults_of(said, {name: wrong})) == 1

    def test_can_be_all_there_is(self, own):
        environment = {
            f"{ALIPAY}APP_ID": own.alipay_app_id,
            f"{ALIPAY}SELLER_ID": own.alipay_seller_id,
            f"{ALIPAY}APP_PRIVATE_KEY": own.alipay_app_private_key,
            f"{ALIPAY}APP_CERTIFICATE": own.alipay_app_certificate,
            f"{ALIPAY}ALIPAY_CERTIFICATE": own.alipay_certificate,
            f"{ALIPAY}ALIPAY_ROOT_CERTIFICATE": own.alipay_root_certificate,
            f"{ALIPAY}NOTIFY_URL": "https://card.example.edu/notices",
        }
        configs = read_configs({}, environment)
        AlipayChannel(configs.alipay).self_test()
        assert configs.wechat_pay is None
        del environment[f"{ALIPAY}SELLER_ID"]
        assert faults_of({}, environment) == [f"{ALIPAY}SELLER_ID is not set"]

    @pytest.mark.parametrize("said", [[], None, "x", {"paypal": {}}, {"alipay": []}])
    def test_need_a_file_of_sections(self, said):
        assert len(faults_of(said, {})) == 1

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("app_id", 5),
            ("colour", "red"),
            ("sandbox", "yes"),
            ("timeout_seconds", [1]),
            ("timeout_seconds", [0, 1]),
            ("platform_public_keys", ["x"]),
            ("merchant_private_key", "none"),
            ("notify_url", "ftp://x"),
        ],
    )
    def test_of_the_file_are_checked_too(self, said, field, value):
        said["wechat_pay"][field] = value
        assert len(faults_of(said, {})) == 1


class TestSandbox:
    """The sandbox knows the merchant by what the environment gives him."""

    def test_takes_orders_and_logins_and_tells_payments(
        self, foreign, environment, receiver, make_order
    ):
        for name, make in (("wechat_pay", WeChatPayChannel), ("alipay", AlipayChannel)):
            path = {"wechat_pay": "wechat", "alipay": "alipay"}[name]
            said = said_of(foreign.keys, foreign.url, f"{receiver.url}/{path}")
            channel = make(getattr(read_configs(said, environment), name))
            order = make_order(channel)
            channel.create(order)
            foreign.pay(order.out_trade_no)
            notice = channel.parse_notice(*receiver.next(), now=datetime.now(UTC))
            assert notice.trade.state is TradeState.PAID
            with pytest.raises(ChannelRejected):  # as another merchant
                make(getattr(read_configs(said, {}), name)).create(make_order(channel))
        configs = read_configs(said, environment)
        assert WeChatMiniProgram(configs.wechat_mini_program, Cache()).login("x").account_id
        assert AlipayMiniProgram(configs.alipay_mini_program).login("x").account_id

    def test_refuses_to_start_with_what_it_cannot_read(self, tmp_path):
        with pytest.raises(ChannelMisconfigured, match="FOO is not a setting"):
            create_world(tmp_path, time_scale=1, environment={f"{WECHAT}FOO": "1"})
