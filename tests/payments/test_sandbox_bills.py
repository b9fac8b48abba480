"""Bills of real orders, fetched over HTTP as the platforms want it, and told wrongly on request."""

import itertools
import logging
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import uuid4

import pytest
import requests

from payments import (
    AlipayChannel,
    AlipayConfig,
    Bill,
    BillMalformed,
    BillNotReady,
    BillRowKind,
    ChannelUnknown,
    RefundOrder,
    RefundState,
    TradeState,
    WeChatPayChannel,
)
from payments._bill_download import since_midnight_after
from payments._zone import SHANGHAI
from payments.alipay import WRITTEN_BY
from payments.sandbox import bills
from payments.sandbox.app import create_app, create_world

ODD = '校园卡充值,补助 "三月" 𠮷 🎫 `,`'
_days = itertools.count(2)


def today() -> date:
    return datetime.now(UTC).astimezone(SHANGHAI).date()


@pytest.fixture
def day() -> date:
    """A day that no other test has, over for long."""
    return today() - timedelta(days=next(_days))


def at(day: date, hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=SHANGHAI)


@pytest.fixture
def pay(sandbox, make_order):
    """Order, pay, and perhaps refund, all on one day."""

    def trade(channel, day, *, amount_fen=1990, refund_fen=0, moment=None, description=ODD):
        order = make_order(channel, amount_fen=amount_fen, description=description)
        channel.create(order)
        assert sandbox.pay(order.out_trade_no).ok
        if refund_fen:
            channel.refund(
                RefundOrder(
                    out_refund_no=order.out_trade_no[::-1],
                    out_trade_no=order.out_trade_no,
                    trade_no=channel.query(order.out_trade_no).trade_no,
                    paid_fen=amount_fen,
                    amount_fen=refund_fen,
                    reason="退款",
                )
            )
        paid_at = moment or at(day, 12)
        control(
            sandbox,
            "backdate",
            channel=channel.name,
            out_trade_no=order.out_trade_no,
            paid_at=paid_at.isoformat(),
            refunded_at=(paid_at + timedelta(seconds=1)).isoformat(),
        )
        return order

    return trade


def control(sandbox, path, status=200, **body):
    answer = requests.post(f"{sandbox.url}/control/{path}", json=body, timeout=5)
    assert answer.status_code == status, answer.text
    return answer.json()


def differ(sandbox, channel, day, *differences, status=200):
    return control(
        sandbox,
        "bill-differences",
        status,
        channel=channel.name,
        day=day.isoformat(),
        differences=[
            difference if isinstance(difference, dict) else {"kind": difference}
            for difference in differences
        ],
    )


def really(sandbox, channel, day):
    return requests.get(
        f"{sandbox.url}/control/bills/{channel.name}/{day.isoformat()}", timeout=5
    ).json()


def compared(bill: Bill) -> list[dict]:
    """The rows of a bill as the sandbox tells them."""
    return [
        {
            "kind": str(row.kind),
            "out_trade_no": row.out_trade_no,
            "trade_no": row.trade_no,
            "out_refund_no": row.out_refund_no,
            "refund_no": row.refund_no,
            "amount_fen": row.amount_fen,
            "fee_fen": row.fee_fen,
            "at": row.at.isoformat(timespec="microseconds"),
            "state": row.state,
        }
        for row in bill.rows
    ]


def without_names(rows: list[dict]) -> list[dict]:
    """The sandbox's rows to the second, which is as exact as a bill is."""
    return [
        {
            **{name: value for name, value in row.items() if name != "description"},
            "at": datetime.fromisoformat(row["at"])
            .replace(microsecond=0)
            .isoformat(timespec="microseconds"),
        }
        for row in rows
    ]


def fetch(channel, day) -> Bill:
    return channel.read_bill(channel.fetch_bill(day), day)


class TestBill:
    def test_tells_exactly_what_happened_on_that_day(self, sandbox, channel, day, pay):
        pay(channel, day, moment=at(day, 0))
        pay(channel, day, amount_fen=5000, refund_fen=1250)
        pay(channel, day, moment=at(day, 23, 59, 59))
        pay(channel, day, moment=at(day, 0) - timedelta(seconds=1), description="the day before")
        bill = fetch(channel, day)
        told = really(sandbox, channel, day)
        assert compared(bill) == without_names(told["rows"]) == without_names(told["told"])
        assert [row["description"] for row in told["rows"]] == [ODD] * 4
        assert (bill.totals.payments, bill.totals.refunds) == (3, 1)
        assert (bill.totals.payments_fen, bill.totals.refunds_fen) == (8980, 1250)
        assert bill.totals.fee_fen == 12 + 30 - 8 + 12

    def test_is_the_same_each_time(self, channel, day, pay):
        pay(channel, day)
        assert channel.fetch_bill(day) == channel.fetch_bill(day)

    def test_of_a_day_without_trades_has_no_rows(self, channel, day):
        assert channel.fetch_bill(day) == b""
        assert fetch(channel, day) == Bill(channel.name, day, ())

    def test_of_today_or_later_is_not_ready(self, channel):
        for ahead in (0, 1, 400):
            with pytest.raises(BillNotReady):
                channel.fetch_bill(today() + timedelta(days=ahead))

    def test_of_a_former_day_dates_a_refund_by_its_acceptance(self, sandbox, channel, day, pay):
        order = pay(channel, day, refund_fen=1990)
        control(
            sandbox,
            "backdate",
            channel=channel.name,
            out_trade_no=order.out_trade_no,
            paid_at=at(day - timedelta(days=20), 8).isoformat(),
            refunded_at=at(day, 8).isoformat(),
        )
        (row,) = fetch(channel, day).rows
        assert (row.kind, row.amount_fen, row.fee_fen) == (BillRowKind.REFUND, 1990, -12)
        assert row.at == at(day, 8)


class TestDifference:
    @pytest.fixture
    def paid(self, channel, day, pay):
        return [pay(channel, day, amount_fen=1000 + n, moment=at(day, 8 + n)) for n in range(3)]

    @pytest.mark.parametrize(
        "difference",
        [
            ("missing_row", (-1, -1001, 0)),
            ("extra_row", (1, 4321, 0)),
            ("amount_off", (0, 1, 0)),
            ("duplicate_payment", (1, 1001, 0)),
            ("desk_refund", (0, 0, 1001)),
        ],
    )
    def test_of_rows_is_read_as_it_is_told(self, sandbox, channel, day, paid, difference):
        kind, (more, more_fen, back_fen) = difference
        wanted = {"kind": kind, "out_trade_no": paid[1].out_trade_no}
        if kind == "extra_row":
            del wanted["out_trade_no"]
        differ(sandbox, channel, day, wanted)
        told = really(sandbox, channel, day)
        bill = fetch(channel, day)
        assert compared(bill) == without_names(told["told"]) != without_names(told["rows"])
        assert bill.totals.payments == 3 + more
        assert bill.totals.payments_fen == 3003 + more_fen
        assert bill.totals.refunds_fen == back_fen
        numbers = [row.trade_no for row in bill.rows if row.kind is BillRowKind.PAYMENT]
        assert len(set(numbers)) == len(numbers)

    def test_of_several_kinds_are_told_together(self, sandbox, channel, day, paid):
        differ(sandbox, channel, day, "missing_row", "extra_row", "desk_refund")
        told = really(sandbox, channel, day)
        assert [row["out_trade_no"] for row in told["told"]][:2] == [paid[1].out_trade_no] * 2
        assert compared(fetch(channel, day)) == without_names(told["told"])

    @pytest.mark.parametrize("difference", [("wrong_sums", "sum"), ("changed_header", "header")])
    @pytest.mark.usefixtures("paid")
    def test_of_the_file_is_refused(self, sandbox, channel, day, difference):
        kind, reason = difference
        differ(sandbox, channel, day, kind)
        content = channel.fetch_bill(day)
        with pytest.raises(BillMalformed) as malformed:
            channel.read_bill(content, day)
        assert malformed.value.reason == reason
        assert malformed.value.line is not None

    def test_of_the_hash_is_not_trusted(self, sandbox, wechat, day, pay):
        pay(wechat, day)
        differ(sandbox, wechat, day, "wrong_hash")
        with pytest.raises(ChannelUnknown, match="hash"):
            wechat.fetch_bill(day)

    def test_not_ready_is_said_until_it_is(self, sandbox, wechat, day, pay):
        pay(wechat, day)
        differ(sandbox, wechat, day, "not_ready")
        with pytest.raises(BillNotReady):
            wechat.fetch_bill(day)
        differ(sandbox, wechat, day)
        assert len(fetch(wechat, day).rows) == 1

    def test_no_bill_at_alipay_means_no_trade_once_it_had_to_be_written(
        self, sandbox, alipay, day, pay
    ):
        pay(alipay, day)
        differ(sandbox, alipay, day, "not_ready")
        assert alipay.fetch_bill(day) == b""
        yesterday = today() - timedelta(days=1)
        differ(sandbox, alipay, yesterday, "not_ready")
        if since_midnight_after(yesterday, now=datetime.now(UTC)) < WRITTEN_BY:
            with pytest.raises(BillNotReady):
                alipay.fetch_bill(yesterday)
        else:
            assert alipay.fetch_bill(yesterday) == b""

    def test_empty_day_hides_what_happened(self, sandbox, channel, day, paid):
        differ(sandbox, channel, day, "empty_day")
        assert channel.fetch_bill(day) == b""
        assert len(really(sandbox, channel, day)["rows"]) >= 3  # other tests backdate, too


class TestControls:
    def test_refuse_what_cannot_be_told(self, sandbox, wechat, alipay, day):
        for differences in (["lie"], [{"kind": "missing_row", "more": 1}], [7], [{"kind": []}]):
            differ(sandbox, wechat, day, *differences, status=422)
        differ(sandbox, alipay, day, "wrong_hash", status=422)
        differ(sandbox, wechat, day, "missing_row", status=409)
        differ(sandbox, wechat, day, "extra_row", status=409)
        control(sandbox, "bill-differences", 422, channel="visa", day="2026-01-01", differences=[])
        control(sandbox, "bill-differences", 422, channel="wechat", day="soon", differences=[])
        control(sandbox, "bill-differences", 422, channel="wechat", day="2026-01-01")
        control(sandbox, "bill-differences", 422, nothing=1)
        control(
            sandbox,
            "backdate",
            404,
            channel="wechat",
            out_trade_no="x",
            paid_at="2026-01-01T00:00Z",
        )
        control(
            sandbox, "backdate", 422, channel="wechat", out_trade_no="x", paid_at="2026-01-01T00:00"
        )


class TestAddress:
    """Where a bill lies is the platform's word, and even so only its own hosts are asked."""

    def test_lives_for_a_short_time_only(self, tmp_path):
        world = create_world(tmp_path, time_scale=1)
        try:
            now, day = datetime.now(UTC), date(2026, 1, 2)
            token = bills.token(world, "wechat", day, until=now + bills.WECHAT_URL_LIVES)
            assert bills.day_of_token(world, "wechat", token, now=now) == day
            late = now + bills.WECHAT_URL_LIVES + timedelta(seconds=1)
            assert bills.day_of_token(world, "wechat", token, now=late) is None
            assert bills.day_of_token(world, "alipay", token, now=now) is None
            assert bills.day_of_token(world, "wechat", token[:-1] + "x", now=now) is None
            assert bills.ALIPAY_URL_LIVES < bills.WECHAT_URL_LIVES
            client = create_app(world).test_client()
            stale = bills.token(world, "alipay", day, until=now - timedelta(seconds=1))
            assert client.get(f"/downloadBillFile.resource?token={stale}").status_code == 403
            unsigned = client.get(f"/v3/billdownload/file?token={token}")
            assert unsigned.status_code == 401
        finally:
            world.state.close()

    @pytest.mark.parametrize(
        "url",
        [
            "https://evil.example/v3/billdownload/file?token=x",
            "http://127.0.0.1:1/v3/billdownload/file?token=x",
            "@evil.example/v3/billdownload/file",
            "{base}@evil.example/v3/billdownload/file",
            "{base}/v3/pay/transactions",
            "{base}/v3/billdownload/file?token=x#y",
            "http://[/v3/bill",
            "file:///etc/passwd",
            "",
        ],
    )
    def test_elsewhere_is_not_asked_by_wechat(self, wechat, url):
        base = wechat._config.base_url
        with pytest.raises((ChannelUnknown, ValueError)) as refused:
            wechat._download(url.replace("{base}", base))
        assert "evil" not in str(refused.value)

    @pytest.mark.parametrize(
        "url",
        [
            "https://evil.example/x",
            "https://dwbillcenter.alipay.com.evil.example/x",
            "https://dwbillcenter.alipay.com@evil.example/x",
            "https://evil@dwbillcenter.alipay.com/x",
            "https://dwbillcenter.alipay.com:8443/x",
            "https://dwbillcenter.alipay.com:x/x",
            "http://[/x",
            "file:///etc/passwd",
        ],
    )
    def test_elsewhere_is_not_asked_by_alipay(self, sandbox, url):
        config = sandbox.keys.alipay_config(sandbox.url, "https://school.example/n")
        live = AlipayChannel(_live(config))
        with pytest.raises(ChannelUnknown, match="download-host"):
            live._checked(url)
        with pytest.raises(ChannelUnknown, match="download-host"):
            AlipayChannel(config)._checked(url)

    def test_in_the_clear_is_never_asked(self, sandbox):
        config = sandbox.keys.alipay_config(sandbox.url, "https://school.example/n")
        asked = AlipayChannel(_live(config))._checked("http://dwbillcenter.alipay.com/x?a=b%2F")
        assert asked == "https://dwbillcenter.alipay.com/x?a=b%2F"


def _live(config: AlipayConfig) -> AlipayConfig:
    return replace(
        config,
        base_url="https://openapi.alipay.com/gateway.do",
        sandbox=False,
    )


class Host:
    """A host of bills that answers as it is told."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class TestDownload:
    @pytest.mark.parametrize(
        "answer",
        [
            (302, {"Location": "http://127.0.0.1:1/"}, b"", "http-302"),
            (403, {}, b"", "http-403"),
            (500, {}, b"", "http-500"),
            (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b", "content-encoding"),
            (200, {"Content-Length": "9"}, b"short", "unreachable"),
            (200, {}, b"x" * 5000, "size"),
        ],
    )
    def test_refuses_what_is_not_one_whole_file(self, monkeypatch, sandbox, caplog, answer):
        status, headers, body, reason = answer
        monkeypatch.setattr("payments._bill_download.MAX_BILL_BYTES", 4000)
        caplog.set_level(logging.DEBUG)
        with Host(status, headers, body) as host:
            config = replace(
                sandbox.keys.wechat_pay_config(host.url, "https://school.example/n"),
                timeout_seconds=(1, 1),
            )
            with pytest.raises(ChannelUnknown) as unknown:
                WeChatPayChannel(config)._download(f"{host.url}/v3/billdownload/file?token=secret")
        assert unknown.value.reason == reason
        assert "secret" not in caplog.text + str(unknown.value)

    def test_lost_on_the_way_is_unknown(self, sandbox, channel, day, pay):
        pay(channel, day)
        for fault in ("answer_5xx", "lose_answer"):
            sandbox.faults(**{fault: True})
            with pytest.raises(ChannelUnknown):
                channel.fetch_bill(day)

    def test_an_unsigned_or_probing_answer_is_unknown(self, sandbox, channel, day, pay):
        pay(channel, day)
        sandbox.faults(bad_signature=True)
        with pytest.raises(ChannelUnknown):
            channel.fetch_bill(day)


class TestHistory:
    """Payments that the merchant says were made here long ago."""

    @pytest.fixture
    def past(self, channel, day):
        number = uuid4().hex
        return {
            "channel": channel.name,
            "out_trade_no": number,
            "trade_no": f"42{int(number, 16) % 10**26:026d}",
            "amount_fen": 1990,
            "description": "校园卡充值",
            "notify_url": "http://127.0.0.1:9/callbacks",
            "login_code": "of-the-past",
            "paid_at": at(day, 12).isoformat(),
        }

    def test_are_queried_billed_and_refunded_like_any_other(self, sandbox, channel, day, past):
        assert control(sandbox, "history", orders=[past])["added"] == 1
        trade = channel.query(past["out_trade_no"])
        assert (trade.state, trade.amount_fen) == (TradeState.PAID, 1990)
        assert trade.trade_no == past["trade_no"]
        assert trade.paid_at == at(day, 12)
        (row,) = fetch(channel, day).rows
        assert (row.out_trade_no, row.trade_no) == (past["out_trade_no"], past["trade_no"])
        assert row.amount_fen == 1990
        refund = channel.refund(
            RefundOrder(
                out_refund_no=past["out_trade_no"][::-1],
                out_trade_no=past["out_trade_no"],
                trade_no=past["trade_no"],
                paid_fen=1990,
                amount_fen=500,
                reason="退款",
            )
        )
        assert refund.state in (RefundState.PROCESSING, RefundState.SUCCEEDED)

    def test_are_remembered_once(self, sandbox, channel, day, past):
        assert control(sandbox, "history", orders=[past, past])["added"] == 1
        assert control(sandbox, "history", orders=[past])["added"] == 0
        assert len(fetch(channel, day).rows) == 1

    def test_are_taken_all_or_none(self, sandbox, channel, past):
        control(sandbox, "history", orders=[past])
        other = {**past, "out_trade_no": uuid4().hex, "trade_no": "other"}
        control(sandbox, "history", 409, orders=[other, {**past, "amount_fen": 1991}])
        assert channel.query(other["out_trade_no"]).state is TradeState.UNKNOWN

    @pytest.mark.parametrize(
        "wrong",
        [
            {"channel": "visa"},
            {"amount_fen": 0},
            {"amount_fen": True},
            {"amount_fen": "1990"},
            {"paid_at": "2026-01-01T00:00"},
            {"notify_url": "nowhere"},
            {"trade_no": ""},
            {"more": 1},
        ],
    )
    def test_are_refused_when_they_could_not_be(self, sandbox, channel, past, wrong):
        control(sandbox, "history", 422, orders=[{**past, **wrong}])
        control(sandbox, "history", 422, orders=past)
        assert channel.query(past["out_trade_no"]).state is TradeState.UNKNOWN
