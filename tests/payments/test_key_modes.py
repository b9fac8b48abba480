"""Public keys and certificates, side by side, and what start-up says of them."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from payments import (
    AlipayChannel,
    AlipayMiniProgram,
    ChannelMisconfigured,
    ChannelRejected,
    ChannelUnknown,
    NoticeEvent,
    NoticeForged,
    RefundOrder,
    RefundState,
    WeChatPayChannel,
)
from payments._alipay_keys import root_cert_sn
from payments.sandbox.faults import Faults
from payments.sandbox.keys import prepare, public_pem
from payments.sandbox.signing import Signer

DAY = timedelta(days=1)


def now():
    return datetime.now(UTC)


def certify(key, *, serial=None, starts=-DAY, ends=DAY, name="Test"):
    """Make a self-signed certificate, valid from and to so long from now."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now() + starts)
        .not_valid_after(now() + ends)
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode(), f"{made.serial_number:040X}"


@pytest.fixture(scope="module")
def other_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("made"))


def wechat_config(keys, **changes):
    config = keys.wechat_pay_config("http://127.0.0.1:9", "https://card.example.edu/notices")
    return replace(config, **changes)


def alipay_config(keys, *, certified=False, **changes):
    config = keys.alipay_config(
        "http://127.0.0.1:9", "https://card.example.edu/notices", certified=certified
    )
    return replace(config, **changes)


def faults_of(make, config):
    with pytest.raises(ChannelMisconfigured) as wrong:
        make(config)
    return wrong.value.faults


class TestEitherMode:
    """Everything goes both ways with the sandbox, which signs by the key it is asked for."""

    @pytest.fixture
    def certified(self, channel, sandbox, receiver):
        make = {
            "wechat": sandbox.keys.wechat_pay_config,
            "alipay": sandbox.keys.alipay_config,
        }[channel.name]
        config = make(sandbox.url, f"{receiver.url}/{channel.name}", certified=True)
        return type(channel)(config)

    def test_pays_tells_and_refunds_with_certificates(
        self, certified, make_order, sandbox, receiver
    ):
        certified.self_test()
        order = make_order(certified)
        certified.create(order)
        sandbox.pay(order.out_trade_no)
        notice = certified.parse_notice(*receiver.next(), now=now())
        assert notice.event is NoticeEvent.PAID
        wanted = RefundOrder("f" * 32, order.out_trade_no, notice.trade.trade_no, 1990, 990, "退款")
        wanted = replace(wanted, out_refund_no=order.out_trade_no)
        certified.refund(wanted)
        told = certified.parse_notice(*receiver.next(), now=now())
        assert told.refund.out_refund_no == wanted.out_refund_no
        assert certified.query_refund(wanted).state is RefundState.SUCCEEDED

    def test_names_the_certificate_in_notices(self, certified, make_order, sandbox, receiver):
        order = make_order(certified)
        certified.create(order)
        sandbox.pay(order.out_trade_no)
        headers, body = receiver.next()
        if certified.name == "wechat":
            assert headers["Wechatpay-Serial"] == sandbox.keys.wechat_platform_serial
        else:
            assert f"alipay_cert_sn={sandbox.keys.alipay_cert_sn}".encode() in body

    def test_of_one_mode_is_no_answer_in_the_other(
        self, channel, certified, make_order, sandbox, receiver
    ):
        order = make_order(channel)
        channel.create(order)
        sandbox.pay(order.out_trade_no)
        headers, body = receiver.next()
        if channel.name == "wechat":  # another key, of an unknown serial
            with pytest.raises(NoticeForged, match="serial"):
                certified.parse_notice(headers, body, now=now())
        else:  # the same key, which the certificate holds
            assert certified.parse_notice(headers, body, now=now()).event is NoticeEvent.PAID

    def test_takes_both_side_by_side(self, sandbox, receiver, make_order):
        keys, address = sandbox.keys, f"{receiver.url}/wechat"
        bare = keys.wechat_pay_config(sandbox.url, address)
        with_certificate = keys.wechat_pay_config(sandbox.url, address, certified=True)
        both = {**with_certificate.platform_public_keys, **bare.platform_public_keys}
        changing = WeChatPayChannel(replace(bare, platform_public_keys=both))
        changing.self_test()
        for config in (bare, with_certificate):
            orderer = WeChatPayChannel(config)
            order = make_order(orderer)
            orderer.create(order)
            sandbox.pay(order.out_trade_no)
            headers, body = receiver.next()
            assert headers["Wechatpay-Serial"] == next(iter(config.platform_public_keys))
            assert changing.parse_notice(headers, body, now=now()).event is NoticeEvent.PAID

    def test_logs_in_with_certificates(self, sandbox):
        config = sandbox.keys.alipay_mini_program_config(sandbox.url)
        mode = sandbox.keys.alipay_config(sandbox.url, "https://a.example", certified=True)
        program = AlipayMiniProgram(
            replace(
                config,
                alipay_public_key=None,
                app_certificate=mode.app_certificate,
                alipay_certificate=mode.alipay_certificate,
                alipay_root_certificate=mode.alipay_root_certificate,
            )
        )
        assert program.login("certified").account_id


class TestWeChatCertificates:
    def test_are_known_by_their_own_serial_number(self, made, other_key):
        pem, serial = certify(other_key)
        WeChatPayChannel(wechat_config(made, platform_public_keys={serial: pem})).self_test()
        config = wechat_config(made, platform_public_keys={"7132D72A03E93CDDF8C03BBD1F37EEDF": pem})
        assert "another serial number" in faults_of(WeChatPayChannel, config)[0]

    @pytest.mark.parametrize(("starts", "ends"), [(-2 * DAY, -DAY), (DAY, 2 * DAY)])
    def test_out_of_date_are_refused_and_named(self, made, other_key, starts, ends):
        pem, serial = certify(other_key, starts=starts, ends=ends)
        keys = {made.wechat_serial: public_pem(made.wechat_private_key), serial: pem}
        channel = WeChatPayChannel(wechat_config(made, platform_public_keys=keys))
        with pytest.raises(ChannelMisconfigured, match=rf"\[{serial}\] is valid from"):
            channel.self_test()
        signer = Signer(
            replace(
                made,
                wechat_platform_certificate=pem,
                wechat_platform_private_key=other_key.private_bytes(
                    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
                ).decode(),
            )
        )
        body = b"{}"
        headers = signer.wechat_headers(body, Faults(), serial)
        assert headers["Wechatpay-Serial"] == serial
        with pytest.raises(NoticeForged, match="expired"):
            channel.parse_notice(headers, body, now=now())

    def test_of_the_merchant_must_fit_key_and_serial(self, made, other_key):
        own = load_pem_private_key(made.wechat_merchant_private_key.encode(), None)
        pem, serial = certify(own)
        good = wechat_config(made, merchant_certificate=pem, merchant_serial=serial)
        WeChatPayChannel(good).self_test()
        faults = faults_of(WeChatPayChannel, replace(good, merchant_serial="5157F09EFDC096DE"))
        assert faults == ["merchant_serial is not that of merchant_certificate"]
        foreign, serial = certify(other_key)
        faults = faults_of(
            WeChatPayChannel,
            replace(good, merchant_certificate=foreign, merchant_serial=serial),
        )
        assert faults == ["merchant_certificate is not of our private key"]
        old, serial = certify(own, starts=-2 * DAY, ends=-DAY)
        outdated = WeChatPayChannel(replace(good, merchant_certificate=old, merchant_serial=serial))
        with pytest.raises(ChannelMisconfigured, match="merchant_certificate is valid from"):
            outdated.self_test()

    @pytest.mark.parametrize("serial", ["", "a b", "\n", "x" * 65])
    def test_need_a_name(self, made, serial):
        keys = {serial: public_pem(made.wechat_private_key)}
        faults = faults_of(WeChatPayChannel, wechat_config(made, platform_public_keys=keys))
        assert "platform_public_keys has a name that is no serial" in faults

    def test_are_all_read_and_every_fault_is_named(self, made):
        broken = wechat_config(
            made,
            platform_public_keys={"PUB_KEY_ID_1": "x", "AB": "-----BEGIN CERTIFICATE-----"},
            api_v3_key="short",
            merchant_certificate="y",
            merchant_serial="?",
        )
        faults = faults_of(WeChatPayChannel, broken)
        assert len(faults) == 5


class TestAlipayCertificates:
    def test_are_told_apart_from_others(self, made):
        config = alipay_config(made, certified=True)
        channel = AlipayChannel(config)
        channel.self_test()
        assert channel._gateway._keys.certified == {
            "app_cert_sn": made.alipay_app_cert_sn,
            "alipay_root_cert_sn": made.alipay_root_cert_sn,
        }

    def test_of_roots_count_however_lines_break(self, made):
        windows = made.alipay_root_certificate
        assert "\r\n" in windows
        number = root_cert_sn(windows)
        unix = windows.replace("\r\n", "\n")
        assert root_cert_sn(unix) == number
        assert root_cert_sn(unix.replace("-----\n-----", "-----\n\n-----")) == number
        assert root_cert_sn(f"# Alipay\r\n{windows}") == number
        assert re.fullmatch(r"[0-9a-f]{32}", number)  # of the root signed with RSA only
        assert root_cert_sn(unix + made.alipay_certificate).count("_") == 1

    @pytest.mark.parametrize(
        "name", ["app_certificate", "alipay_certificate", "alipay_root_certificate"]
    )
    def test_are_needed_all_three(self, made, name):
        config = alipay_config(made, certified=True, **{name: None})
        assert f"{name} is missing" in faults_of(AlipayChannel, config)

    def test_or_a_public_key_is_needed(self, made):
        config = alipay_config(made, alipay_public_key=None)
        assert faults_of(AlipayChannel, config) == ["alipay_public_key is missing"]

    def test_of_the_app_must_be_of_our_key(self, made, other_key):
        pem, _ = certify(other_key)
        config = alipay_config(made, certified=True, app_certificate=pem)
        assert faults_of(AlipayChannel, config) == ["app_certificate is not of our private key"]

    def test_out_of_date_are_refused_and_named(self, made, receiver):
        key = load_pem_private_key(made.alipay_private_key.encode(), None)
        pem, _ = certify(key, starts=-2 * DAY, ends=-DAY)
        channel = AlipayChannel(alipay_config(made, certified=True, alipay_certificate=pem))
        with pytest.raises(ChannelMisconfigured, match="alipay_certificate is valid from"):
            channel.self_test()
        form = {"a": "b", "sign_type": "RSA2"}
        form["sign"] = Signer(made).alipay_signature("a=b", Faults())
        with pytest.raises(NoticeForged, match="expired"):
            channel._gateway.verify(form, now())

    def test_that_we_do_not_know_sign_nothing(self, made):
        channel = AlipayChannel(alipay_config(made, certified=True))
        signed = f"a=b&alipay_cert_sn={'0' * 32}"
        form = {"a": "b", "alipay_cert_sn": "0" * 32, "sign_type": "RSA2"}
        form["sign"] = Signer(made).alipay_signature(signed, Faults())
        with pytest.raises(NoticeForged, match="serial"):
            channel._gateway.verify(form, now())

    def test_on_another_root_get_no_answer_that_counts(self, sandbox, made, make_order):
        mode = sandbox.keys.alipay_config(sandbox.url, "https://a.example", certified=True)
        wrong = replace(mode, alipay_root_certificate=made.alipay_root_certificate)
        channel = AlipayChannel(wrong)
        with pytest.raises(ChannelRejected, match=r"isv\.invalid-root-cert-sn"):
            channel.query("0" * 32)


class TestAlipayPublicKeys:
    def test_may_be_two_while_they_change(self, sandbox, receiver, made, make_order):
        config = sandbox.keys.alipay_config(sandbox.url, f"{receiver.url}/alipay")
        new = public_pem(made.alipay_private_key)
        for both in (f"{new}{config.alipay_public_key}", f"{config.alipay_public_key}\n{new}"):
            channel = AlipayChannel(replace(config, alipay_public_key=both))
            order = make_order(channel)
            channel.create(order)
            sandbox.pay(order.out_trade_no)
            assert channel.parse_notice(*receiver.next(), now=now()).event is NoticeEvent.PAID
        with pytest.raises(ChannelUnknown, match="answer-signature"):
            AlipayChannel(replace(config, alipay_public_key=new)).query("0" * 32)

    def test_come_without_frame_as_alipay_shows_them(self, made):
        key = load_pem_private_key(made.alipay_app_private_key.encode(), None)
        pkcs1 = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        for pem in (made.alipay_app_private_key, pkcs1.decode()):
            bare = "".join(pem.splitlines()[1:-1])
            public = "".join(public_pem(made.alipay_private_key).splitlines()[1:-1])
            config = alipay_config(made, app_private_key=bare, alipay_public_key=public)
            AlipayChannel(config).self_test()

    def test_of_the_app_itself_are_the_usual_mistake(self, made):
        own = load_pem_private_key(made.alipay_app_private_key.encode(), None).public_key()
        pem = own.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        faults = faults_of(AlipayChannel, alipay_config(made, alipay_public_key=pem))
        assert faults == ["alipay_public_key is the app's own key, not Alipay's"]
