"""The sandbox itself: its controls, its memory, its manners."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import requests

from payments import ChannelRejected, ChannelUnknown, TopUpOrder, WeChatPayChannel
from payments.sandbox import prepare
from payments.sandbox.faults import NAMES

from .conftest import Sandbox, wait_for


def post(sandbox, path, body):
    return requests.post(f"{sandbox.url}{path}", json=body, timeout=5)


class TestControls:
    def test_pay_an_unknown_number_is_404(self, sandbox):
        answer = sandbox.pay("0" * 32)
        assert (answer.status_code, answer.json()["code"]) == (404, "order-unknown")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert requests.get(f"{sandbox.url}/control/orders/0", timeout=5).status_code == 404

    @pytest.mark.parametrize(
        "path",
        [
            *("pay", "faults", "accounts", "accounts/temper", "bill-differences", "backdate"),
            "../cgi-bin/stable_token",
        ],
    )
    def test_json_that_is_too_deep_is_an_answer(self, sandbox, path):
        url = f"{sandbox.url}/control/{path}".replace("/control/../", "/")
        for body in (b"[" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000):
            answer = requests.post(url, data=body, timeout=5)
            assert answer.status_code < 500, answer.text

    @pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01", "1999-12-31"])
    def test_a_day_that_nobody_pays_on_is_422(self, sandbox, day):
        answer = requests.get(f"{sandbox.url}/control/bills/wechat/{day}", timeout=5)
        assert (answer.status_code, answer.json()["code"]) == (422, "day-wrong")

    @pytest.mark.parametrize("how", ["paid", "timeout", "closed"])
    def test_pay_what_is_over_is_409(self, sandbox, channel, make_order, how):
        order = make_order(channel)
        channel.create(order)
        if how == "closed":
            channel.close(order.out_trade_no)
        else:
            assert sandbox.pay(order.out_trade_no, how).ok
        answer = sandbox.pay(order.out_trade_no)
        assert (answer.status_code, answer.json()["code"]) == (409, "order-not-payable")

    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("/control/pay", {"out_trade_no": "x"}, 422),
            ("/control/pay", {"out_trade_no": "x", "outcome": "stolen"}, 422),
            ("/control/pay", {"out_trade_no": 1, "outcome": "paid"}, 422),
            ("/control/pay", {"out_trade_no": "x", "outcome": "paid", "more": 1}, 422),
            ("/control/pay", [], 400),
            ("/control/accounts", {"platform": "visa"}, 422),
            ("/control/faults", {"no such fault": True}, 422),
            ("/control/faults", {"drop": 1.1}, 422),
            ("/control/faults", {"drop": -0.1}, 422),
            ("/control/faults", {"drop": "often"}, 422),
            ("/control/faults", {"drop": {"value": True, "share": 0.5}}, 422),
            ("/control/faults", {"hang_seconds": {"value": 1}}, 422),
            ("/control/faults", {"hang_seconds": {"value": 1, "share": 2}}, 422),
            ("/control/faults", {"seed": -1}, 422),
            ("/control/faults", {"seed": True}, 422),
            ("/control/faults", {"only": []}, 422),
            ("/control/faults", {"only": {"channel": ["wechat"]}}, 422),
            ("/control/faults", {"only": {"calls": "refund"}}, 422),
            ("/control/faults", {"only": {"calls": [{}]}}, 422),
            ("/control/faults", {"only": {"day": "monday"}}, 422),
            ("/control/faults", {"preset": ["bad-day"]}, 422),
            ("/control/faults", {"preset": "good-day"}, 422),
            ("/control/accounts/temper", {"platform": "wechat", "login_code": "x"}, 422),
            ("/control/notices/none/send", {}, 404),
            ("/control/faults", {"duplicate": 1.5}, 422),
            ("/control/faults", {"duplicate": -1}, 422),
            ("/control/faults", {"hang_seconds": True}, 422),
            ("/control/faults", {"hang_seconds": 1e9}, 422),
            ("/control/nothing", {}, 404),
            ("/healthz", {}, 405),
        ],
    )
    def test_say_clearly_what_is_wrong(self, sandbox, path, body, status):
        answer = post(sandbox, path, body)
        assert answer.status_code == status
        assert {"type", "title", "status", "detail", "code"} == set(answer.json())

    def test_show_and_clear_the_faults(self, sandbox):
        sandbox.faults(drop=True, duplicate=2)
        shown = requests.get(f"{sandbox.url}/control/faults", timeout=5).json()
        assert (shown["drop"], shown["duplicate"], shown["reorder"]) == (True, 2, False)
        sandbox.faults()
        shown = requests.get(f"{sandbox.url}/control/faults", timeout=5).json()
        assert not any(shown[name] for name in NAMES)

    def test_show_orders_with_the_answers_to_their_notices(
        self, sandbox, channel, make_order, receiver
    ):
        order = make_order(channel)
        channel.create(order)
        receiver.answers[f"/{channel.name}"] = [(500, b"not yet")]
        sandbox.pay(order.out_trade_no)
        wait_for(lambda: sandbox.order(order.out_trade_no)["notices"][0]["state"] == "accepted")
        told = sandbox.order(order.out_trade_no)
        assert (told["channel"], told["state"], told["amount_fen"]) == (channel.name, "paid", 1990)
        first, second = told["notices"][0]["attempts"]
        assert (first["status"], first["answer"]) == (500, "not yet")
        assert second["status"] in {200, 204}
        listed = requests.get(f"{sandbox.url}/control/orders", timeout=5).json()["items"]
        assert told in listed

    def test_pay_on_the_channel_that_still_can(self, sandbox, wechat, alipay, make_order):
        order = make_order(wechat)
        wechat.create(order)
        alipay.create(make_order(alipay, out_trade_no=order.out_trade_no))
        alipay.close(order.out_trade_no)
        assert sandbox.pay(order.out_trade_no).json()["channel"] == "wechat"


class TestFaults:
    def test_drop_loses_the_notice_for_good(self, sandbox, channel, make_order, receiver):
        order = make_order(channel)
        channel.create(order)
        sandbox.faults(drop=True)
        assert sandbox.pay(order.out_trade_no).json()["notice"] == "dropped"
        assert sandbox.order(order.out_trade_no)["notices"][0] == {
            **sandbox.order(order.out_trade_no)["notices"][0],
            "state": "dropped",
            "attempts": [],
        }

    def test_delay_holds_the_notice_back(self, sandbox, wechat, make_order, receiver):
        order = make_order(wechat)
        wechat.create(order)
        sandbox.faults(delay_seconds=0.5)
        paid_at = datetime.now(UTC)
        sandbox.pay(order.out_trade_no)
        receiver.next()
        assert datetime.now(UTC) - paid_at >= timedelta(seconds=0.5)

    def test_reorder_brings_the_newest_first(self, sandbox, wechat, make_order, receiver):
        orders = [make_order(wechat) for _ in range(2)]
        for order in orders:
            wechat.create(order)
        sandbox.faults(reorder=True, delay_seconds=1)
        for order in orders:
            sandbox.pay(order.out_trade_no)
        now = datetime.now(UTC)
        came = [wechat.parse_notice(*receiver.next(), now=now).trade for _ in orders]
        assert [trade.out_trade_no for trade in came] == [
            order.out_trade_no for order in reversed(orders)
        ]


class TestManners:
    def test_refuses_a_request_that_the_merchant_did_not_sign(
        self, sandbox, receiver, tmp_path, make_order, wechat
    ):
        stranger = prepare(tmp_path).wechat_merchant_private_key
        config = sandbox.keys.wechat_pay_config(sandbox.url, receiver.url)
        values = {name: getattr(config, name) for name in config.__slots__}
        forged = WeChatPayChannel(type(config)(**{**values, "merchant_private_key": stranger}))
        with pytest.raises(ChannelRejected, match="SIGN_ERROR"):
            forged.create(make_order(wechat))

    def test_calls_nobody_off_this_machine(self, sandbox, make_order, wechat):
        config = sandbox.keys.wechat_pay_config(sandbox.url, "https://192.0.2.1/notices")
        order = make_order(wechat)
        WeChatPayChannel(config).create(order)
        assert sandbox.pay(order.out_trade_no).json()["notice"] == "not-loopback"
        assert sandbox.order(order.out_trade_no)["notices"][0]["attempts"] == []

    def test_serves_a_hundred_at_a_time(self, sandbox):
        together = threading.Barrier(100)

        def ask(_):
            together.wait()
            return requests.get(f"{sandbox.url}/healthz", timeout=20).status_code

        with ThreadPoolExecutor(100) as pool:
            assert set(pool.map(ask, range(100))) == {200}

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            *(
                ("GET", path)
                for path in ("/", "/v3/pay/transactions/out-trade-no/x", "/gateway.do")
            ),
            *(("GET", path) for path in ("/sns/jscode2session", "/control/orders/%ff%00")),
            *(
                ("POST", path)
                for path in (
                    "/v3/pay/transactions/jsapi",
                    "/v3/pay/transactions/out-trade-no/x/close",
                    "/gateway.do",
                    "/cgi-bin/stable_token",
                    "/intp/realname/checkrealnameinfo",
                    "/control/pay",
                    "/control/accounts",
                    "/control/faults",
                )
            ),
        ],
    )
    @pytest.mark.parametrize(
        "body", [b"", b"\xff\x00", b"[" * 500, b'{"out_trade_no":"\\ud800","outcome":"paid"}']
    )
    def test_never_fails_itself(self, sandbox, method, path, body):
        answer = requests.request(
            method,
            f"{sandbox.url}{path}",
            data=body,
            headers={"Authorization": 'WECHATPAY2-SHA256-RSA2048 timestamp="9",x'},
            timeout=5,
        )
        assert answer.status_code < 500

    @pytest.mark.parametrize(
        "change",
        [
            {"out_trade_no": "no number"},
            {"out_trade_no": "\ud800" * 8},
            {"description": "\ud800"},
            {"amount_fen": 2**70},
            {"amount_fen": -1},
            {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
            {"payer": "o" + "-" * 99},
        ],
    )
    def test_never_fails_for_a_signed_request(self, channel, make_order, change):
        with pytest.raises((ChannelRejected, ChannelUnknown, ValueError)) as failed:
            channel.create(make_order(channel, **change))
        assert str(failed.value) not in {"http-500", "unreadable"}


class TestMemory:
    def test_survives_a_restart(self, tmp_path, receiver):
        first = Sandbox(tmp_path, "--time-scale", "1000")
        number = uuid4().hex
        config = first.keys.wechat_pay_config(first.url, f"{receiver.url}/wechat")
        account_id = first.register("wechat", "restart", "林", "1")
        now = datetime.now(UTC)
        order = TopUpOrder(number, 100, "充值", account_id, now + timedelta(hours=1), now)
        WeChatPayChannel(config).create(order)
        first.faults(delay_seconds=1)
        first.pay(number)
        first.stop()
        second = Sandbox(tmp_path, "--time-scale", "1000")
        try:
            assert second.order(number)["state"] == "paid"
            assert second.register("wechat", "restart", "林", "1") == account_id
            notice = WeChatPayChannel(config).parse_notice(*receiver.next(), now=datetime.now(UTC))
            assert notice.trade.out_trade_no == number
        finally:
            second.stop()

    def test_opens_the_directory_of_an_older_sandbox(self, tmp_path):
        """What came before refunds, held notices and login codes."""
        older = sqlite3.connect(tmp_path / "sandbox.sqlite3")
        older.executescript(
            """
            CREATE TABLE notices (
                notice_id TEXT PRIMARY KEY, channel TEXT NOT NULL, out_trade_no TEXT NOT NULL,
                state TEXT NOT NULL, created_at REAL NOT NULL, due_at REAL NOT NULL
            );
            CREATE TABLE attempts (
                notice_id TEXT NOT NULL REFERENCES notices, at TEXT NOT NULL, status INTEGER,
                answer TEXT NOT NULL
            );
            CREATE TABLE accounts (
                platform TEXT NOT NULL, account_id TEXT NOT NULL, temper TEXT NOT NULL,
                person TEXT, PRIMARY KEY (platform, account_id)
            );
            CREATE TABLE faults (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), faults TEXT);
            INSERT INTO faults VALUES (1, '{"drop": true, "delay_seconds": 0, "duplicate": 2}');
            INSERT INTO notices VALUES ('n', 'wechat', 'x', 'accepted', 1.0, 2.0);
            INSERT INTO attempts VALUES ('n', '2026-01-01T00:00:00+00:00', 204, '');
            INSERT INTO accounts VALUES ('wechat', 'o1', 'match', NULL);
            """
        )
        older.close()
        opened = Sandbox(tmp_path)
        try:
            faults, notices, accounts = (
                requests.get(f"{opened.url}/control/{path}", timeout=5).json()
                for path in ("faults", "notices", "accounts")
            )
            assert (faults["drop"], faults["duplicate"], faults["stale"]) == (True, 2, False)
            assert notices["items"][0]["attempts"][0]["status"] == 204
            assert accounts["items"][0]["login_code"] is None
            assert opened.register("wechat", "restart", "林", "1")
        finally:
            opened.stop()
