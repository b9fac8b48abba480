"""A notice that is not the platform's word to us is refused, whatever is wrong with it."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payments import NoticeEvent, NoticeForged, TradeState, WeChatPayChannel
from payments.sandbox.faults import Faults
from payments.sandbox.keys import prepare
from payments.sandbox.notices import alipay_notice
from payments.sandbox.signing import Signer
from payments.sandbox.state import Order, OrderState, utc_text

NOW = datetime.now(UTC)


@pytest.fixture
def signer(sandbox):
    return Signer(sandbox.keys)


@pytest.fixture
def ordered(channel, make_order, sandbox, receiver):
    """Pays an order that stands at the platform; returns headers and body of its notice."""
    order = make_order(channel)
    channel.create(order)

    def pay():
        sandbox.pay(order.out_trade_no)
        return receiver.next()

    return pay


@pytest.fixture
def genuine(channel, ordered):
    """Headers and body of a notice the channel accepts."""
    headers, body = ordered()
    channel.parse_notice(headers, body, now=datetime.now(UTC))
    return headers, body


@pytest.fixture
def wechat_genuine(wechat, make_order, sandbox, receiver):
    order = make_order(wechat)
    wechat.create(order)
    sandbox.pay(order.out_trade_no)
    return receiver.next()


@pytest.fixture
def alipay_form(alipay, make_order, sandbox, receiver):
    order = make_order(alipay)
    alipay.create(order)
    sandbox.pay(order.out_trade_no)
    return dict(parse_qsl(receiver.next()[1].decode(), keep_blank_values=True))


def refusal(channel, headers, body, *, now=None):
    with pytest.raises(NoticeForged) as forged:
        channel.parse_notice(headers, body, now=now or datetime.now(UTC))
    return forged.value.reason


class TestEveryNotice:
    def test_is_refused_with_any_byte_changed(self, channel, genuine):
        headers, body = genuine
        for place in range(0, len(body), max(1, len(body) // 60)):
            changed = bytearray(body)
            changed[place] ^= 0x01
            with pytest.raises(NoticeForged):
                channel.parse_notice(headers, bytes(changed), now=datetime.now(UTC))

    def test_is_refused_cut_or_lengthened(self, channel, genuine):
        headers, body = genuine
        for changed in (b"", body[:-1], body[1:], body + b" ", body + b"&a=b"):
            with pytest.raises(NoticeForged):
                channel.parse_notice(headers, changed, now=datetime.now(UTC))

    def test_is_refused_when_too_large(self, channel, genuine):
        headers, _ = genuine
        assert refusal(channel, headers, b"a" * 65537) == "size"

    @pytest.mark.parametrize("body", [b"\xff\xfe", b"null", b"[]", b"a=b", b"{", b"\x00" * 100])
    def test_is_refused_when_it_is_rubbish(self, channel, genuine, body):
        headers, _ = genuine
        assert refusal(channel, headers, body)

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            ("bad_signature", "signature"),
            ("stale", "timestamp"),
            ("foreign_merchant", "merchant"),
            ("foreign_app", "app"),
        ],
    )
    def test_is_refused_when_the_platform_errs(self, channel, ordered, sandbox, fault, reason):
        sandbox.faults(**{fault: True})
        headers, body = ordered()
        assert refusal(channel, headers, body) == reason

    def test_is_the_same_when_repeated(self, channel, make_order, sandbox, receiver):
        order = make_order(channel)
        channel.create(order)
        sandbox.faults(duplicate=1)
        sandbox.pay(order.out_trade_no)
        now = datetime.now(UTC)
        first = channel.parse_notice(*receiver.next(), now=now)
        assert channel.parse_notice(*receiver.next(), now=now) == first


class TestAnyRequest:
    """Whatever a stranger sends is refused, and never breaks."""

    @settings(deadline=None)
    @given(
        timestamp=st.text(max_size=20) | st.just(str(int(NOW.timestamp()))),
        signature=st.text(max_size=20) | st.just("AAAA"),
        body=st.binary(max_size=200),
        known=st.booleans(),
    )
    def test_is_refused_by_wechat(self, wechat, timestamp, signature, body, known):
        headers = {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": "n",
            "Wechatpay-Serial": next(iter(wechat._public_keys)) if known else "1",
            "Wechatpay-Signature": signature,
        }
        assert refusal(wechat, headers, body, now=NOW)

    @settings(deadline=None)
    @given(
        st.binary(max_size=200)
        | st.dictionaries(
            st.sampled_from(["sign", "sign_type", "charset", "app_id", "notify_id"]) | st.text(),
            st.sampled_from(["RSA2", "AAAA", "utf-8", "gbk"]) | st.text(),
        ).map(lambda form: urlencode(form, errors="replace").encode())
    )
    def test_is_refused_by_alipay(self, alipay, body):
        assert refusal(alipay, {}, body, now=NOW)


class TestWeChatNotice:
    @pytest.mark.parametrize("name", ["Timestamp", "Nonce", "Serial", "Signature"])
    def test_needs_every_header(self, wechat, wechat_genuine, name):
        headers, body = wechat_genuine
        without = {key: value for key, value in headers.items() if key != f"Wechatpay-{name}"}
        assert refusal(wechat, without, body) == "headers"
        assert refusal(wechat, {**headers, f"Wechatpay-{name}": " "}, body) == "headers"
        assert refusal(wechat, {}, body) == "headers"

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("Timestamp", "x", "timestamp"),
            ("Timestamp", "-5", "timestamp"),
            ("Timestamp", "１７０００００００００", "timestamp"),
            ("Timestamp", "9" * 30, "timestamp"),
            ("Nonce", "another", "signature"),
            ("Serial", "PUB_KEY_ID_0", "serial"),
            ("Serial", "5157F09EFDC096DE15EBE81A47057A7200000000", "serial"),
            ("Signature", "WECHATPAY/SIGNTEST/abcd", "signtest"),
            ("Signature", "@@", "encoding"),
            ("Signature", "AAAA", "signature"),
            ("Signature", base64.b64encode(b"\x01" * 256).decode(), "signature"),
            ("Signature-Type", "WECHATPAY2-SM2-WITH-SM3", "headers"),
        ],
    )
    def test_needs_every_header_untouched(self, wechat, wechat_genuine, name, value, reason):
        headers, body = wechat_genuine
        assert refusal(wechat, {**headers, f"Wechatpay-{name}": value}, body) == reason

    def test_needs_its_own_timestamp(self, wechat, wechat_genuine):
        headers, body = wechat_genuine
        later = str(int(headers["Wechatpay-Timestamp"]) + 1)
        assert refusal(wechat, {**headers, "Wechatpay-Timestamp": later}, body) == "signature"

    def test_takes_headers_in_any_case_of_letters(self, wechat, wechat_genuine):
        headers, body = wechat_genuine
        lowered = {name.lower(): value for name, value in headers.items()}
        assert wechat.parse_notice(lowered, body, now=datetime.now(UTC)).event == "paid"

    def test_finds_no_bypass_in_other_headers(self, wechat, wechat_genuine):
        headers, body = wechat_genuine
        forged = {**headers, "Host": "localhost", "Wechatpay-Signature": "AAAA"}
        assert refusal(wechat, forged, body) == "signature"

    @pytest.mark.parametrize("minutes", [-6, 6, 60 * 24 * 3])
    def test_is_refused_out_of_its_five_minutes(self, wechat, wechat_genuine, minutes):
        now = datetime.now(UTC) + timedelta(minutes=minutes)
        assert refusal(wechat, *wechat_genuine, now=now) == "timestamp"

    def test_that_probes_us_is_told_apart(self, wechat, make_order, sandbox, receiver):
        order = make_order(wechat)
        wechat.create(order)
        sandbox.faults(signtest=True)
        sandbox.pay(order.out_trade_no)
        headers, body = receiver.next()
        assert refusal(wechat, headers, body) == "signtest"

    def test_of_another_kind_is_ignored(self, wechat, signer):
        assert self.notice(wechat, signer, "PAYSCORE.USER_OPEN_SERVICE", {}) == "ignored"

    def test_of_a_refund_is_no_payment(self, wechat, signer):
        refund = {
            "mchid": signer.keys.wechat_merchant_id,
            "out_trade_no": "0" * 32,
            "transaction_id": "42",
            "out_refund_no": "1" * 32,
            "refund_id": "50",
            "refund_status": "SUCCESS",
            "success_time": "2026-09-01T12:00:00+08:00",
            "amount": {"total": 1990, "refund": 990},
        }
        assert self.notice(wechat, signer, "REFUND.SUCCESS", refund) == "refund"
        for change in (
            {"refund_status": "LOST"},
            {"out_refund_no": "1\x00"},
            {"refund_id": 5},
            {"amount": {"total": 1990, "refund": "990"}},
            {"success_time": "9999-12-31T23:59:59+00:00"},
        ):
            with pytest.raises(NoticeForged, match="content"):
                self.notice(wechat, signer, "REFUND.SUCCESS", refund | change)

    @pytest.mark.parametrize(
        "resource", [{}, {"trade_state": "SUCCESS"}, {"trade_state": "?"}, [], "text"]
    )
    def test_that_is_genuine_but_unreadable_is_refused(self, wechat, signer, resource):
        with pytest.raises(NoticeForged, match="content"):
            self.notice(wechat, signer, "TRANSACTION.SUCCESS", resource)

    @pytest.mark.parametrize(
        "change",
        [
            {"transaction_id": "x\x00"},
            {"transaction_id": 5},
            {"transaction_id": "4" * 65},
            {"out_trade_no": "0\x00"},
            {"success_time": "9999-12-31T23:59:59-14:00"},
            {"success_time": "0001-01-01T00:00:00+14:00"},
            {"success_time": "9999-12-31T23:59:59+00:00"},
            {"success_time": "2026-09-01T12:00:00"},
        ],
    )
    def test_that_no_database_could_keep_is_refused(self, wechat, signer, change):
        paid = {
            "mchid": signer.keys.wechat_merchant_id,
            "appid": signer.keys.wechat_app_id,
            "out_trade_no": "0" * 32,
            "transaction_id": "42",
            "trade_state": "SUCCESS",
            "success_time": "2026-09-01T12:00:00+08:00",
            "amount": {"total": 1990, "currency": "CNY"},
        }
        assert self.notice(wechat, signer, "TRANSACTION.SUCCESS", paid) == "paid"
        with pytest.raises(NoticeForged, match="content"):
            self.notice(wechat, signer, "TRANSACTION.SUCCESS", paid | change)

    @pytest.mark.parametrize("notice_id", ["n\x00", 5, "\ud800", "", None])
    def test_whose_id_no_database_could_keep_is_refused(self, wechat, signer, notice_id):
        with pytest.raises(NoticeForged, match="content"):
            self.notice(wechat, signer, "PAYSCORE.USER_OPEN_SERVICE", {}, notice_id=notice_id)

    def test_that_is_too_deep_is_refused(self, wechat, signer):
        body = b'{"a":' * 5000 + b"1" + b"}" * 5000
        headers = signer.wechat_headers(body, Faults())
        assert refusal(wechat, headers, body) == "content"

    def test_that_another_key_encrypted_is_refused(self, sandbox, receiver, wechat_genuine):
        config = sandbox.keys.wechat_pay_config(sandbox.url, f"{receiver.url}/wechat")
        other = WeChatPayChannel(
            type(config)(
                **{
                    **{name: getattr(config, name) for name in config.__slots__},
                    "api_v3_key": "0" * 32,
                }
            )
        )
        assert refusal(other, *wechat_genuine) == "content"

    def notice(self, wechat, signer, event_type, resource, *, notice_id="n-1"):
        envelope = {
            "id": notice_id,
            "event_type": event_type,
            "resource_type": "encrypt-resource",
            "resource": signer.wechat_resource("any", resource),
        }
        body = json.dumps(envelope).encode()
        headers = signer.wechat_headers(body, Faults())
        return wechat.parse_notice(headers, body, now=datetime.now(UTC)).event


class TestAlipayNotice:
    @pytest.mark.parametrize(
        "change",
        [
            {"total_amount": "0.01"},
            {"trade_status": "TRADE_FINISHED"},
            {"out_trade_no": "1" * 32},
            {"app_id": "2021"},
            {"notify_time": "2026-01-01 00:00:00"},
            {"extra": ""},
            {"sign": ""},
            {"sign": "AAAA"},
            {"sign": "not base64!"},
            {"sign_type": "RSA"},
            {"sign_type": ""},
        ],
    )
    def test_needs_every_field_untouched(self, alipay, alipay_form, change):
        assert refusal(alipay, {}, urlencode(alipay_form | change).encode()) == "signature"

    @pytest.mark.parametrize("name", ["sign", "sign_type", "seller_id", "notify_id"])
    def test_needs_every_field(self, alipay, alipay_form, name):
        del alipay_form[name]
        assert refusal(alipay, {}, urlencode(alipay_form).encode()) == "signature"

    def test_with_a_field_twice_is_refused(self, alipay, alipay_form):
        body = urlencode(alipay_form).encode() + b"&total_amount=0.01"
        assert refusal(alipay, {}, body) == "encoding"

    def test_stays_good_as_long_as_alipay_repeats_it(self, alipay, alipay_form):
        body = urlencode(alipay_form).encode()
        late = datetime.now(UTC) + timedelta(hours=24, minutes=22)
        assert alipay.parse_notice({}, body, now=late).event is NoticeEvent.PAID
        later = datetime.now(UTC) + timedelta(hours=26)
        assert refusal(alipay, {}, body, now=later) == "timestamp"

    @pytest.mark.parametrize(
        ("changes", "event", "state"),
        [
            ({"trade_status": "TRADE_FINISHED"}, NoticeEvent.PAID, TradeState.PAID),
            ({"refund_fee": "0.01"}, NoticeEvent.REFUND, TradeState.REFUNDED),
            (
                {"refund_fee": "0.01", "gmt_refund": "2026-11-23 10:00:00.123"},
                NoticeEvent.REFUND,
                TradeState.REFUNDED,
            ),
            (
                {"trade_status": "TRADE_CLOSED", "refund_fee": "19.90"},
                NoticeEvent.REFUND,
                TradeState.REFUNDED,
            ),
            ({"trade_status": "WAIT_BUYER_PAY"}, NoticeEvent.IGNORED, TradeState.UNPAID),
            ({"notify_type": "servicemarket"}, NoticeEvent.IGNORED, TradeState.UNKNOWN),
        ],
    )
    def test_tells_a_payment_from_a_refund(self, alipay, signer, changes, event, state):
        notice = alipay.parse_notice({}, self.sign(signer, changes), now=datetime.now(UTC))
        assert (notice.event, notice.trade.state) == (event, state)

    @pytest.mark.parametrize(
        "changes",
        [
            {"total_amount": "1e2"},
            {"total_amount": "19.901"},
            {"total_amount": "-1"},
            {"total_amount": "１９.９０"},
            {"trade_status": "TRADE_LOST"},
            {"gmt_payment": "yesterday"},
            {"gmt_payment": "0001-01-01 00:00:00"},
            {"gmt_payment": "9999-12-31 23:59:59"},
            {"trade_no": "2026\x00"},
            {"trade_no": "2" * 65},
            {"notify_id": "n\x00"},
            {"notify_id": ""},
            {"refund_fee": "0.01", "out_biz_no": "1\x00"},
            {"refund_fee": "0.01", "out_biz_no": "1", "gmt_refund": "yesterday"},
            {"notify_time": "2026-13-01 00:00:00"},
            {"out_trade_no": ""},
        ],
    )
    def test_that_is_genuine_but_unreadable_is_refused(self, alipay, signer, changes):
        assert refusal(alipay, {}, self.sign(signer, changes)) == "content"

    def sign(self, signer, changes):
        stamp = utc_text(datetime.now(UTC))
        order = Order(
            *(
                "alipay",
                "0" * 32,
                "create",
                "",
                1990,
                "校园卡充值 a}{&=%",
                "",
                "",
                "2026",
                "0" * 32,
            ),
            *(stamp, stamp, OrderState.PAID, stamp),
        )
        _, body = alipay_notice("n-1", order, signer, Faults())
        form = dict(parse_qsl(body.decode())) | changes
        signed = "&".join(f"{k}={form[k]}" for k in sorted(form) if k not in {"sign", "sign_type"})
        form["sign"] = signer.alipay_signature(signed, Faults())
        return urlencode(form).encode()


class TestRepetition:
    @pytest.mark.parametrize("refusing", [(500, b""), (400, b'{"code":"FAIL"}')])
    def test_goes_on_until_it_is_accepted(self, wechat, make_order, sandbox, receiver, refusing):
        receiver.answers["/wechat"] = [refusing, refusing]
        self.expect_three(wechat, make_order, sandbox, receiver)

    @pytest.mark.parametrize("wanting", [(200, b"fail"), (200, b"success\n"), (500, b"success")])
    def test_goes_on_until_alipay_reads_success(
        self, alipay, make_order, sandbox, receiver, wanting
    ):
        # Alipay's first wait of four minutes is a quarter of a second here.
        receiver.answers["/alipay"] = [wanting]
        order = make_order(alipay)
        alipay.create(order)
        sandbox.pay(order.out_trade_no)
        first, second = receiver.next(), receiver.next()
        assert parse(alipay, first) == parse(alipay, second)

    def expect_three(self, channel, make_order, sandbox, receiver):
        order = make_order(channel)
        channel.create(order)
        sandbox.pay(order.out_trade_no)
        first, second, third = (parse(channel, receiver.next()) for _ in range(3))
        assert first == second == third


def parse(channel, received):
    return channel.parse_notice(*received, now=datetime.now(UTC))


class TestKeys:
    def test_are_made_once_and_for_their_owner_only(self, tmp_path):
        first = prepare(tmp_path)
        assert prepare(tmp_path) == first
        left = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert left == {"keys.json": 0o600, "certificates.json": 0o600}
        assert re.fullmatch(r".*SandboxKeys object at .*", repr(first))
