"""The payer's and the merchant's pages, without a browser: what they show, do and refuse."""

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from payments import RefundOrder
from payments import sandbox as package
from payments._zone import SHANGHAI
from payments.sandbox.bills import DifferenceKind
from payments.sandbox.faults import CALLS, CHANNELS, NAMES, PRESETS
from payments.sandbox.state import NoticeState, RefundOutcome, Temper

from .conftest import wait_for

PAGES = (
    *("/merchant", "/merchant/notices", "/merchant/refunds", "/merchant/days"),
    *("/merchant/accounts", "/merchant/faults", "/pay"),
)


class Browser:
    """As much of a browser as pages without scripts need."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def open(self, path: str) -> str:
        answer = self.session.get(f"{self.url}{path}", timeout=5)
        assert answer.status_code == 200, answer.text
        return answer.text

    def send(self, path: str, headers=None, **fields: str) -> requests.Response:
        """Send a form with the token of our pages."""
        (token,) = set(re.findall(r'name="form_token" value="(\w+)"', self.open("/merchant")))
        return self.session.post(
            f"{self.url}{path}",
            data={"form_token": token, **fields},
            headers={"Origin": self.url, **(headers or {})},
            timeout=5,
        )


@pytest.fixture
def browser(sandbox) -> Browser:
    return Browser(sandbox.url)


@pytest.fixture
def order(channel, make_order, receiver):
    made = make_order(channel)
    channel.create(made)
    return made


def page_of(channel, order) -> str:
    return f"/pay/{channel.name}/{order.out_trade_no}"


class TestPayer:
    def test_sees_what_is_asked_for(self, browser, channel, order):
        page = browser.open(page_of(channel, order))
        assert "模拟 · Simulated" in page
        assert "¥19.90" in page
        assert "校园卡充值 }{" in page
        assert {"wechat": "微信支付", "alipay": "支付宝"}[channel.name] in page
        for outcome in ("paid", "cancelled", "timeout"):
            assert f'name="outcome" value="{outcome}"' in page

    def test_pays(self, browser, sandbox, channel, order, receiver):
        answer = browser.send(page_of(channel, order), outcome="paid")
        assert answer.history[0].status_code == 303
        assert "支付成功" in answer.text
        assert 'value="paid"' not in answer.text
        receiver.next()
        assert sandbox.order(order.out_trade_no)["state"] == "paid"
        assert "支付成功" in browser.send(page_of(channel, order), outcome="cancelled").text

    def test_cancels_and_can_still_pay(self, browser, sandbox, channel, order):
        answer = browser.send(page_of(channel, order), outcome="cancelled")
        assert "仍可继续" in answer.text
        assert 'value="paid"' in answer.text
        assert sandbox.order(order.out_trade_no)["state"] == "unpaid"

    def test_lets_it_time_out(self, browser, channel, order):
        answer = browser.send(page_of(channel, order), outcome="timeout")
        assert {"wechat": "订单已超时", "alipay": "订单已关闭"}[channel.name] in answer.text

    def test_of_no_order_is_told_so(self, browser, sandbox):
        for path in ("/pay/wechat/none", "/pay/visa/none", "/merchant/orders/wechat/none"):
            answer = browser.session.get(f"{sandbox.url}{path}", timeout=5)
            assert answer.status_code == 404
            assert "没有这个订单" in answer.text

    def test_reads_a_description_as_text(self, browser, wechat, make_order, receiver):
        order = make_order(wechat, description="<script>alert(1)</script>\"'&")
        wechat.create(order)
        for path in (page_of(wechat, order), f"/merchant/orders/wechat/{order.out_trade_no}"):
            page = browser.open(path)
            assert "<script" not in page
            assert "&lt;script&gt;alert(1)" in page

    def test_scans_a_code(self, browser, channel, make_order, receiver):
        order = make_order(channel, known_payer=False)
        code = channel.create(order).client_params["code_url"]
        answer = browser.session.get(f"{browser.url}/pay", params={"code": f" {code} "}, timeout=5)
        assert answer.url == f"{browser.url}{page_of(channel, order)}"
        assert code in browser.open("/pay")
        browser.send(page_of(channel, order), outcome="paid")
        assert code not in browser.open("/pay")

    def test_scans_a_stranger_to_no_order(self, browser):
        assert "没有这个二维码的订单" in browser.open("/pay?code=weixin://wxpay/bizpayurl?pr=x")

    def test_reads_english_if_wanted(self, browser, channel, order):
        browser.session.headers["Accept-Language"] = "en-GB,en;q=0.9"
        page = browser.open(page_of(channel, order))
        assert '<html lang="en">' in page
        assert "Pay ¥19.90" in page
        answer = browser.send("/language", language="zh-CN", to=page_of(channel, order))
        assert answer.url.endswith(page_of(channel, order))
        assert '<html lang="zh-CN">' in answer.text
        for outside in ("//evil.example/", "https://evil.example/", "/\\evil.example"):
            answer = browser.send("/language", language="en", to=outside)
            assert answer.url.startswith(f"{browser.url}/")


class TestMerchant:
    def test_lists_and_filters_orders(self, browser, sandbox, channel, order):
        number, other = order.out_trade_no, {"wechat": "alipay"}.get(channel.name, "wechat")
        assert number in browser.open("/merchant")
        assert number in browser.open(f"/merchant?channel={channel.name}&state=unpaid")
        assert number in browser.open(f"/merchant?number={number[:9]}")
        for query in (f"channel={other}", "state=paid", "number=zz", "number=%25"):
            assert number not in browser.open(f"/merchant?{query}")
        sandbox.pay(number)
        assert number in browser.open("/merchant?state=paid")

    def test_pages_through_orders(self, browser, wechat, make_order):
        made = [make_order(wechat) for _ in range(33)]
        for order in made:
            wechat.create(order)
        first = browser.open("/merchant")
        assert made[-1].out_trade_no in first
        assert made[0].out_trade_no not in first
        (following,) = re.findall(r'href="(/merchant\?before=\d+)"', first)
        second = browser.open(following)
        assert made[0].out_trade_no in second
        assert made[-1].out_trade_no not in second

    def test_plays_the_payer(self, browser, sandbox, channel, order):
        path = f"/merchant/orders/{channel.name}/{order.out_trade_no}"
        assert "仍可支付" in browser.send(path, outcome="cancelled").text
        assert "已支付" in browser.send(path, outcome="paid").text
        assert "没有改变" in browser.send(path, outcome="timeout").text
        assert sandbox.order(order.out_trade_no)["state"] == "paid"

    def test_shows_notices_and_sends_them_again(self, browser, sandbox, channel, order, receiver):
        sandbox.pay(order.out_trade_no)
        receiver.next()
        wait_for(lambda: sandbox.order(order.out_trade_no)["notices"][0]["state"] == "accepted")
        (notice,) = sandbox.order(order.out_trade_no)["notices"]
        assert order.out_trade_no in browser.open("/merchant/notices?state=accepted")
        assert order.out_trade_no not in browser.open("/merchant/notices?state=given-up")
        answer = browser.send(f"/merchant/notices/{notice['notice_id']}")
        assert "已排入发送" in answer.text
        headers, body = receiver.next()
        again = channel.parse_notice(headers, body, now=datetime.now(UTC))
        assert again.notice_id == notice["notice_id"]
        assert browser.send("/merchant/notices/none").status_code == 404

    def test_shows_refunds_and_the_day(self, browser, sandbox, channel, order):
        sandbox.pay(order.out_trade_no)
        trade = channel.query(order.out_trade_no)
        number = uuid4().hex
        channel.refund(
            RefundOrder(number, order.out_trade_no, trade.trade_no, 1990, 90, "退回余额")
        )
        for path in (
            "/merchant/refunds",
            "/merchant/days",
            f"/merchant/orders/{channel.name}/{order.out_trade_no}",
        ):
            page = browser.open(path)
            assert number in page
            assert "¥0.90" in page
        told = browser.session.get(f"{sandbox.url}/control/refunds", timeout=5).json()["items"]
        assert told[0]["out_refund_no"] == number
        paid_at = datetime.fromisoformat(sandbox.order(order.out_trade_no)["paid_at"])
        day = paid_at.astimezone(SHANGHAI).date()
        assert number in browser.open(f"/merchant/days?day={day}")
        assert browser.open("/merchant/days?day=2020-02-29").count("没有交易") == 2

    def test_has_a_bill_tell_it_wrongly(self, browser, sandbox, channel, order):
        sandbox.pay(order.out_trade_no)
        day, at = "2021-03-04", "2021-03-04T12:00:00+08:00"
        moved = {"channel": channel.name, "out_trade_no": order.out_trade_no, "paid_at": at}
        assert requests.post(f"{sandbox.url}/control/backdate", json=moved, timeout=5).ok
        path = f"/merchant/days/{channel.name}/{day}"
        wrong = browser.send(path, kinds="amount_off")
        assert "账单所说" in wrong.text
        assert "¥19.91" in wrong.text
        rows = channel.read_bill(channel.fetch_bill(date(2021, 3, 4)), date(2021, 3, 4)).rows
        assert [row.amount_fen for row in rows] == [1991]
        answer = browser.session.get(f"{browser.url}{path}", timeout=5)
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert channel.read_bill(answer.content, date(2021, 3, 4)).rows == rows
        assert "账单所说" not in browser.send(path).text
        moved["paid_at"] = "2021-01-01T12:00:00+08:00"  # away from the other tests
        assert requests.post(f"{sandbox.url}/control/backdate", json=moved, timeout=5).ok
        assert browser.send(path, kinds="amount_off").status_code == 409

    def test_registers_a_real_name_and_keeps_only_a_digest(
        self, browser, sandbox, platform, wechat_program
    ):
        code, number = f"student-{uuid4().hex}", "110105199001011234"
        name = "wechat" if platform is wechat_program else "alipay"
        answer = browser.send(
            "/merchant/accounts", platform=name, login_code=code, name="林小雨",
            document_number=number,
        )  # fmt: skip
        assert "已保存" in answer.text
        assert code in answer.text
        told = browser.session.get(
            f"{sandbox.url}/control/accounts?platform={name}", timeout=5
        ).json()
        (account,) = [one for one in told["items"] if one["login_code"] == code]
        assert account["account_id"] == platform.login(code).account_id
        assert account["person"] in answer.text
        for text in (answer.text, json.dumps(told, ensure_ascii=False)):
            assert "林小雨" not in text
            assert number not in text
        kept = b"".join(path.read_bytes() for path in sandbox.directory.glob("sandbox.sqlite3*"))
        assert number.encode() not in kept

    def test_sets_how_checks_end(self, browser, sandbox, wechat_program):
        code = uuid4().hex
        sandbox.register("wechat", code, "林", "1")
        answer = browser.send(
            "/merchant/accounts/temper", platform="wechat", login_code=code, temper="mismatch"
        )
        assert "已保存" in answer.text
        items = browser.session.get(f"{sandbox.url}/control/accounts", timeout=5).json()["items"]
        (account,) = [one for one in items if one["login_code"] == code]
        assert (account["temper"], account["person"]) == ("mismatch", None)
        wrong = browser.send(
            "/merchant/accounts/temper", platform="wechat", login_code=code, temper="angry"
        )
        assert wrong.status_code == 422

    def test_puts_faults_in_force(self, browser, sandbox):
        answer = browser.send(
            "/merchant/faults",
            **{"on-drop": "1", "share-drop": "30", "share-stale": "50", "seed": "7"},
            **{"on-duplicate": "1", "value-duplicate": "2", "channel": "alipay"},
            calls="notice",
        )
        assert "正在生效：2 项" in answer.text
        told = browser.session.get(f"{sandbox.url}/control/faults", timeout=5).json()
        assert (told["drop"], told["duplicate"], told["stale"]) == (0.3, 2, False)
        assert (told["seed"], told["only"]) == (7, {"channel": "alipay", "calls": ["notice"]})
        assert "正在生效" in browser.send("/merchant/faults", preset="bad-day").text
        assert "没有故障" in browser.send("/merchant/faults", clear="1").text

    @pytest.mark.parametrize(
        "fields",
        [
            {"on-drop": "1", "share-drop": "101"},
            {"on-drop": "1", "share-drop": "nan"},
            {"on-drop": "1", "share-drop": "often"},
            {"on-duplicate": "1", "value-duplicate": "1.5"},
            {"on-hang_seconds": "1", "value-hang_seconds": "1e9"},
            {"seed": "x"},
            {"channel": "visa"},
            {"calls": "everything"},
            {"preset": "good-day"},
        ],
    )
    def test_says_which_fault_is_none(self, browser, sandbox, fields):
        sandbox.faults(stale=True, seed=3)
        answer = browser.send("/merchant/faults", **fields)
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text
        told = browser.session.get(f"{sandbox.url}/control/faults", timeout=5).json()
        assert (told["stale"], told["seed"]) == (True, 3)


class TestProtection:
    @pytest.mark.parametrize("path", PAGES)
    def test_no_page_runs_scripts_or_asks_others(self, browser, path):
        answer = browser.session.get(f"{browser.url}{path}", timeout=5)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"<script|<style|\son\w+=|\sstyle=|(src|href)=.https?:", answer.text)

    @pytest.mark.parametrize(
        "path",
        [
            "/pay/wechat/{number}",
            "/merchant/orders/wechat/{number}",
            "/merchant/notices/x",
            "/merchant/accounts",
            "/merchant/accounts/temper",
            "/merchant/faults",
            "/language",
        ],
    )
    def test_a_form_of_nobody_counts_for_nothing(self, sandbox, wechat, make_order, path):
        order = make_order(wechat)
        wechat.create(order)
        address = f"{sandbox.url}{path.format(number=order.out_trade_no)}"
        form = {"outcome": "paid", "preset": "bad-day"}
        for token in ({}, {"form_token": ""}, {"form_token": "é" * 32}):
            answer = requests.post(address, data=form | token, timeout=5)
            assert answer.status_code == 403
        assert sandbox.order(order.out_trade_no)["state"] == "unpaid"
        assert requests.get(f"{sandbox.url}/control/faults", timeout=5).json()["drop"] is False

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Host": "evil.example"},
        ],
    )
    def test_another_sites_page_can_do_nothing(self, browser, sandbox, wechat, make_order, headers):
        order = make_order(wechat)
        wechat.create(order)
        answer = browser.send(page_of(wechat, order), headers=headers, outcome="paid")
        assert answer.status_code == 403
        answer = requests.post(
            f"{sandbox.url}/control/pay",
            data=json.dumps({"out_trade_no": order.out_trade_no, "outcome": "paid"}),
            headers={"Content-Type": "text/plain", **headers},
            timeout=5,
        )
        assert (answer.status_code, answer.json()["status"]) == (403, 403)
        assert sandbox.order(order.out_trade_no)["state"] == "unpaid"

    def test_another_name_of_this_machine_reads_nothing(self, sandbox):
        for path in (*PAGES, "/control/orders", "/control/accounts"):
            answer = requests.get(
                f"{sandbox.url}{path}", headers={"Host": "rebound.example"}, timeout=5
            )
            assert answer.status_code == 403

    @pytest.mark.parametrize(
        "path",
        [
            *("/merchant?before=x", "/merchant?before=-1", f"/merchant?before={9**30}"),
            *("/merchant/days?day=x", "/merchant/notices?before=%ff", "/pay?code=%00"),
            *("/control/orders?before=x", "/control/orders?state=x", "/control/bills/wechat/x"),
            *("/control/accounts?platform=visa", "/control/notices?state=x"),
            *("/merchant/orders/%ff/%00", "/pay/%f0/x", "/merchant?number=%00%ff"),
            *(
                "/merchant/nothing",
                "/merchant/days/visa/2020-01-01",
                "/merchant/days/wechat/x",
                "/control/notices/%ff/send",
            ),
        ],
    )
    def test_nothing_odd_makes_it_fail(self, sandbox, path):
        assert requests.get(f"{sandbox.url}{path}", timeout=5).status_code < 500
        assert requests.post(f"{sandbox.url}{path}", data=b"\xff=%ff", timeout=5).status_code < 500


class TestWords:
    WORDS = json.loads(Path(package.__file__).with_name("words.json").read_text("utf-8"))

    def test_both_languages_say_the_same_things(self):
        chinese, english = self.WORDS["zh-CN"], self.WORDS["en"]
        assert {name: set(words) for name, words in chinese.items()} == {
            name: set(words) for name, words in english.items()
        }
        for name, words in chinese.items():
            for key, text in words.items():
                facts = [set(re.findall(r"{\w+}", each)) for each in (text, english[name][key])]
                assert facts[0] == facts[1]

    def test_every_value_has_a_word(self):
        words = self.WORDS["en"]
        for section, values in {
            "faults": NAMES,
            "about": NAMES,
            "calls": CALLS,
            "presets": PRESETS,
            "channels": CHANNELS,
            "platforms": CHANNELS,
            "tempers": list(Temper),
            "differences": list(DifferenceKind),
            "notice_states": list(NoticeState),
            "refund_states": ["processing", *RefundOutcome],
        }.items():
            assert set(words[section]) == set(values)
