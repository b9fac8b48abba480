"""Bills are read exactly, or refused with the reason and the line."""

import gzip
import zipfile
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payments import (
    AlipayChannel,
    Bill,
    BillMalformed,
    BillNotReady,
    BillRow,
    BillRowKind,
    BillTotals,
    WeChatPayChannel,
)
from payments import _alipay_bill as alipay
from payments import _wechat_bill as wechat
from payments import bill as limits
from payments._bill_download import require_finished, since_midnight_after

from . import bills

DAY = date(2026, 11, 24)
MERCHANT, SELLER = "1900000109", "2088000000000001"
PAID_NO, BACK_NO, REFUND_NO = "1" * 32, "2" * 32, "3" * 32
ODD_NAMES = [
    "校园卡充值",
    "一卡通,补助,水费",
    'A "quoted" name, and more',
    "𠮷野家 𱍐 🎫",
    "tab\tand\x0bvertical\x85next\u2028line",
    "`tick` ,` looks like a new field",
    "=cmd|' /C calc'!A0",
    "",
]


def read_wechat(content: bytes, *, day: date = DAY) -> Bill:
    return wechat.parse(content, day=day, merchant_id=MERCHANT)


def read_alipay(content: bytes, *, day: date = DAY) -> Bill:
    return alipay.parse(content, day=day, seller_id=SELLER)


def refused(read, content: bytes, **options) -> tuple[str, int | None]:
    with pytest.raises(BillMalformed) as malformed:
        read(content, **options)
    assert str(malformed.value)
    return malformed.value.reason, malformed.value.line


def beijing(hour: int, minute: int, second: int) -> datetime:
    return datetime(2026, 11, 23, 16, tzinfo=UTC) + timedelta(
        hours=hour, minutes=minute, seconds=second
    )


WECHAT_ROWS = (
    BillRow(
        BillRowKind.PAYMENT, PAID_NO, "42" + "0" * 25 + "1", None, None, 1990, 12,
        beijing(7, 30, 1), "SUCCESS", 2,
    ),
    BillRow(
        BillRowKind.REFUND, BACK_NO, "42" + "0" * 25 + "2", REFUND_NO, "5" + "0" * 27 + "1",
        500, -3, beijing(23, 59, 59), "PROCESSING", 3,
    ),
)  # fmt: skip
ALIPAY_ROWS = (
    BillRow(
        BillRowKind.PAYMENT, PAID_NO, "2026112422001400000000000001", None, None, 1990, 12,
        beijing(7, 30, 1), "交易", 6,
    ),
    BillRow(
        BillRowKind.REFUND, BACK_NO, "2026112422001400000000000002", REFUND_NO, None, 500, -3,
        beijing(23, 59, 59), "退款", 7,
    ),
)  # fmt: skip
TOTALS = BillTotals(payments=1, payments_fen=1990, refunds=1, refunds_fen=500, fee_fen=9)


class TestWeChat:
    @pytest.mark.parametrize("name", ODD_NAMES)
    @pytest.mark.parametrize("packed", [True, False])
    def test_reads_the_exact_rows_whatever_the_name_holds(self, name, packed):
        bill = read_wechat(bills.wechat_bill(name=name, packed=packed))
        assert bill == Bill("wechat", DAY, WECHAT_ROWS)
        assert bill.totals == TOTALS

    def test_reads_a_bill_without_a_mark_and_with_bare_line_feeds(self):
        raw = bills.wechat_bill(packed=False, mark="")
        assert read_wechat(raw.replace(b"\r\n", b"\n")).rows == WECHAT_ROWS
        assert read_wechat(raw.rstrip(b"\r\n")).rows == WECHAT_ROWS

    def test_reads_the_older_layout_by_its_names(self):
        rows = read_wechat(bills.wechat_bill(old=True, name="a,b")).rows
        assert rows[0] == WECHAT_ROWS[0]
        assert (rows[1].state, rows[1].amount_fen) == ("SUCCESS", 500)

    def test_knows_the_newer_name_of_a_column_in_the_older_layout(self):
        changed = bills.wechat_bill(old=True, changes=(("子商户号", "特约商户号"),))
        assert len(read_wechat(changed).rows) == 2

    def test_reads_what_an_order_cost_before_coupons(self):
        changes = (("`CNY,`19.90,`0.00", "`CNY,`17.90,`2.00"), ("`2,`19.90", "`2,`17.90"))
        assert read_wechat(bills.wechat_bill(changes=changes)).rows == WECHAT_ROWS

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            f"\ufeff{bills.WECHAT_HEADER}\r\n{bills.WECHAT_TOTALS}\r\n"
            "`0,`0.00,`0.00,`0.00,`0.00000,`0.00,`0.00\r\n".encode(),
        ],
    )
    def test_reads_a_day_without_trades_as_a_bill_without_rows(self, content):
        assert read_wechat(content) == Bill("wechat", DAY, ())
        assert read_wechat(content).totals == BillTotals(0, 0, 0, 0, 0)

    @pytest.mark.parametrize(
        ("before", "after", "reason", "line"),
        [
            ("订单金额,申请退款金额,费率备注", "订单金额,申请退款金额", "header", 1),
            ("费率备注", "费率备注,新列", "header", 1),
            ("手续费,费率", "费率,手续费", "header", 1),
            ("交易时间", "交易 时间", "header", 1),
            ("`2026-11-24 07:30:01", "2026-11-24 07:30:01", "columns", 2),
            (",`CNY,`19.90", "", "columns", 2),
            ("1900000109", "1900000110", "merchant", 2),
            ("`CNY", "`USD", "currency", 2),
            ("2026-11-24 07:30:01", "2026-11-23 23:59:59", "day", 2),
            ("2026-11-24 07:30:01", "2026-11-25 00:00:00", "day", 2),
            ("2026-11-24 23:59:59", "2026-11-25 00:00:00", "day", 3),
            ("2026-11-24 07:30:01", "2026-11-24 24:30:01", "time", 2),
            ("2026-11-24 07:30:01", "2026-11-24T07:30:01", "time", 2),
            ("2026-11-24 07:30:01", "２026-11-24 07:30:01", "time", 2),
            ("2026-11-24 07:30:01", "9999-99-99 07:30:01", "time", 2),
            (PAID_NO, "", "number", 2),
            (PAID_NO, "1 1", "number", 2),
            (PAID_NO, "1" * 65, "number", 2),
            (PAID_NO, "中文", "number", 2),
            (",`SUCCESS,`OTHERS", ",`PAYING,`OTHERS", "state", 2),
            ("`PROCESSING", "`<b>", "state", 3),
            (",`19.90,`0.00,`\r\n", ",`19.905,`0.00,`\r\n", "amount", 2),
            (",`19.90,`0.00,`\r\n", ",`1e1,`0.00,`\r\n", "amount", 2),
            (",`19.90,`0.00,`\r\n", ",`０.10,`0.00,`\r\n", "amount", 2),
            (",`19.90,`0.00,`\r\n", ",`0.00,`0.00,`\r\n", "amount", 2),
            (",`19.90,`0.00,`\r\n", ",`-19.90,`0.00,`\r\n", "amount", 2),
            ("`0.12000", "`0.12345", "amount", 2),
            ("`0.12000", "`", "amount", 2),
            ("总交易单数,", "总交易单数", "columns", 4),
            ("`2,`19.90", "`3,`19.90", "count", 5),
            ("`2,`19.90", "`-2,`19.90", "summary", 5),
            ("`2,`19.90", "`2", "summary", 5),
            ("`2,`19.90", "`2,`19.91", "sum", 5),
            ("`0.09000,`19.90,`5.00", "`0.09000,`19.90,`5.01", "sum", 5),
            ("`0.09000,`19.90", "`0.09000,`19.89", "sum", 5),
            ("`0.09000,", "`0.10000,", "sum", 5),
            ("`2,`19.90,`5.00,", "`2,`19.90,`4.00,", "sum", 5),
            ("`2,`19.90,`5.00,`0.00", "`2,`19.90,`5.00,`1.00", "sum", 5),
            ("`2,`19.90,`5.00,`0.00,`0.09000,`19.90,`5.00\r\n", "", "summary", 5),
            (",`5.00\r\n", ",`5.00\r\n`1\r\n", "summary", 5),
            (f"{bills.WECHAT_TOTALS}\r\n{bills.WECHAT_SUMS}\r\n", "", "summary", None),
        ],
    )
    def test_says_what_is_wrong_and_in_which_line(self, before, after, reason, line):
        if before == ",`5.00\r\n":  # only behind the totals
            changed = bills.wechat_bill(packed=False) + b"`1\r\n"
        else:
            changed = bills.wechat_bill(changes=((before, after),))
        assert refused(read_wechat, changed) == (reason, line)

    def test_refuses_a_row_that_is_missing_or_there_twice(self):
        row = bills.WECHAT_PAID.replace("{name}", "校园卡充值") + "\r\n"
        assert refused(read_wechat, bills.wechat_bill(changes=((row, ""),))) == ("count", 4)
        assert refused(read_wechat, bills.wechat_bill(changes=((row, row * 2),))) == ("count", 6)

    def test_refuses_another_encoding(self):
        raw = bills.wechat_bill(packed=False).decode("utf-8-sig")
        assert refused(read_wechat, raw.encode("gb18030")) == ("encoding", None)
        assert refused(read_wechat, raw.encode("utf-16")) == ("encoding", None)
        assert refused(read_wechat, raw.replace("校", "\0").encode()) == ("encoding", None)
        assert refused(read_wechat, bills.alipay_bill())[0] in {"encoding", "header"}

    def test_refuses_a_broken_archive(self):
        packed = bills.wechat_bill()
        assert refused(read_wechat, packed[:-9]) == ("archive", None)
        assert refused(read_wechat, packed + b"more") == ("archive", None)
        assert refused(read_wechat, packed + packed) == ("archive", None)

    def test_never_unpacks_more_than_a_bill_may_hold(self, monkeypatch):
        monkeypatch.setattr("payments._unpack.MAX_BILL_BYTES", 100_000)
        bomb = gzip.compress(b"\0" * 50_000_000)
        assert len(bomb) < 100_000
        assert refused(read_wechat, bomb) == ("size", None)
        assert refused(read_wechat, b"," * 100_001) == ("size", None)


class TestAlipay:
    @pytest.mark.parametrize("name", ODD_NAMES)
    @pytest.mark.parametrize("remark", ["", "挂号,2017-09-01 10:30-11:00,编号：7"])
    def test_reads_the_exact_rows_whatever_the_name_holds(self, name, remark):
        bill = read_alipay(bills.alipay_bill(name=name, remark=remark))
        assert bill == Bill("alipay", DAY, ALIPAY_ROWS)
        assert bill.totals == TOTALS

    def test_reads_gbk(self):
        assert read_alipay(bills.alipay_bill(coding="gbk")).rows == ALIPAY_ROWS

    def test_reads_fees_whichever_way_they_are_signed(self):
        changes = ((",-0.12,", ",0.12,"), (",0.03,", ",-0.03,"), ("-0.09\t", "0.09\t"))
        assert read_alipay(bills.alipay_bill(changes=changes)).rows == ALIPAY_ROWS

    def test_reads_a_day_without_trades_as_a_bill_without_rows(self):
        rows = (f"{bills.ALIPAY_PAID}\r\n", f"{bills.ALIPAY_BACK}\r\n")
        changes = (
            *((row.replace("{name}", "校园卡充值").replace("{remark}", ""), "") for row in rows),
            ("1笔，商家实收共19.90", "0笔，商家实收共0.00"),
            ("#退款合计：1笔，商家实收退款共-5.00元，商家优惠退款共0.00元\r\n", ""),
            ("1\t,1\t,14.90\t,14.90", "0\t,0\t,0.00\t,0.00"),
            ("-0.09\t,0.00\t,14.81", "0.00\t,0.00\t,0.00"),
        )
        empty = Bill("alipay", DAY, ())
        assert read_alipay(bills.alipay_bill(changes=changes)) == read_alipay(b"") == empty

    def test_reads_a_refund_that_names_no_request(self):
        changed = bills.alipay_bill(changes=((REFUND_NO, ""),))
        assert read_alipay(changed).rows[1].out_refund_no is None

    @pytest.mark.parametrize(
        ("before", "after", "reason", "line"),
        [
            ("支付宝业务明细查询", "支付宝账务明细查询", "archive", None),
            ("支付宝业务汇总查询", "支付宝业务明细查询", "archive", None),
            ("2088000000000001", "2088000000000002", "merchant", None),
            ("2026年11月24日", "2026年11月23日", "day", None),
            ("2026年11月25日", "2026年11月26日", "day", None),
            ("2026年11月24日", "2026年13月44日", "day", None),
            ("业务类型", "类型", "header", 5),
            (",备注", ",备注,新列", "header", 5),
            (",服务费（元）,分润（元）,备注", ",分润（元）,服务费（元）,备注", "header", 5),
            (",服务费（元）,分润（元）,实收", ",分润（元）,服务费（元）,实收", "header", 5),
            ("2026-11-24 07:30:01,", "", "columns", 6),
            (",0.00\t,0.00,\t,-0.12,0.00,", ",0.00\t,0.00,\t,-0.12", "columns", 6),
            ("交易\t", "转账\t", "state", 6),
            ("07:30:01", "07:61:01", "time", 6),
            ("2026-11-24 07:30:01", "2026-11-23 07:30:01", "day", 6),
            ("2026-11-24 23:59:59", "2026-11-25 00:00:00", "day", 7),
            (f"{PAID_NO}\t", "\t", "number", 6),
            (f"{REFUND_NO}\t", "一二三\t", "number", 7),
            ("19.90,19.90", "19.9O,19.90", "amount", 6),
            ("-5.00,-5.00", "5.00,-5.00", "sum", 6),
            ("业务明细列表结束", "业务明细列表完", "summary", None),
            ("#交易合计：1笔", "#交易合计：2笔", "count", 9),
            ("商家实收共19.90", "商家实收共19.91", "sum", 9),
            ("商家优惠共0.00", "商家优惠共0.01", "sum", 9),
            ("#退款合计：1笔", "#退款合计：0笔", "count", 10),
            ("商家实收退款共-5.00", "商家实收退款共5.00", "sum", 10),
            ("#退款合计：1笔，商家实收退款共-5.00元，商家优惠退款共0.00元", "#", "summary", 9),
            ("#交易合计", "#合计", "summary", 9),
            ("合计\t,", "小计\t,", "summary", 6),
            ("1\t,1\t,14.90", "2\t,1\t,14.90", "count", 6),
            ("1\t,1\t,14.90", "1\t,0\t,14.90", "count", 6),
            ("1\t,14.90\t,14.90", "1\t,14.91\t,14.90", "sum", 6),
            ("1\t,14.90\t,14.90", "1\t,14.90\t,14.91", "sum", 6),
            ("-0.09\t", "-0.10\t", "sum", 6),
            ("14.81\t", "14.80\t", "sum", 6),
        ],
    )
    def test_says_what_is_wrong_and_in_which_line(self, before, after, reason, line):
        changed = bills.alipay_bill(changes=((before, after),))
        assert refused(read_alipay, changed) == (reason, line)

    def test_refuses_a_row_that_is_missing_or_there_twice(self):
        row = bills.ALIPAY_PAID.replace("{name}", "校园卡充值").replace("{remark}", "") + "\r\n"
        for times in (0, 2):
            changed = bills.alipay_bill(changes=((row, row * times),))
            assert refused(read_alipay, changed) == ("count", 6)

    @pytest.mark.parametrize(
        "files",
        [
            {"明细.csv": b""},
            {"a.csv": b"", "b.csv": b""},
            {},
            {"../明细.csv": b"x"},
            {"C:\\x.csv": b"x"},
            {"文件夹/": b""},
            {str(place): b"" for place in range(10, 40)},
        ],
    )
    def test_refuses_an_archive_of_other_files(self, files):
        assert refused(read_alipay, bills.zipped(files)) == ("archive", None)

    def test_refuses_what_is_no_archive(self):
        packed = bills.alipay_bill()
        for content in (b"x", bills.wechat_bill(), packed[:-30], packed[60:]):
            assert refused(read_alipay, content) == ("archive", None)
        assert refused(read_alipay, bills.zipped({"a": b"a"}, method=zipfile.ZIP_BZIP2)) == (
            "archive",
            None,
        )

    def test_refuses_a_text_in_another_encoding(self):
        assert refused(read_alipay, bills.alipay_bill(coding="utf-16"))[0] in {
            "archive",
            "encoding",
        }

    def test_never_unpacks_more_than_a_bill_may_hold(self, monkeypatch):
        monkeypatch.setattr("payments._unpack.MAX_BILL_BYTES", 100_000)
        bomb = bills.zipped({"a": b"\0" * 50_000_000})
        assert len(bomb) < 100_000
        assert refused(read_alipay, bomb) == ("size", None)
        halves = bills.zipped({"first": b"\0" * 60_000, "second": b"\0" * 60_000})
        assert refused(read_alipay, halves) == ("size", None)
        assert refused(read_alipay, b"P" * 100_001) == ("size", None)


WHOLE = {
    "wechat": bills.wechat_bill(packed=False),
    "wechat-packed": bills.wechat_bill(),
    "wechat-old": bills.wechat_bill(old=True, packed=False),
    "alipay": bills.alipay_bill(),
    "alipay-stored": bills.alipay_bill(method=zipfile.ZIP_STORED),
}


def read(which: str, content: bytes) -> Bill:
    return (read_wechat if which.startswith("wechat") else read_alipay)(content)


class TestAnythingElse:
    """Whatever bytes come, the answer is a bill or `BillMalformed`."""

    @pytest.mark.parametrize("which", sorted(WHOLE))
    def test_unchanged_bytes_are_read(self, which):
        assert read(which, WHOLE[which]).totals == TOTALS

    @settings(deadline=None, max_examples=1500)
    @given(st.data())
    def test_changed_bytes_are_read_or_refused_and_never_change_the_sum(self, data):
        which = data.draw(st.sampled_from(sorted(WHOLE)))
        raw = bytearray(WHOLE[which])
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(raw) - 1))
            match data.draw(st.sampled_from(("put", "cut", "add"))):
                case "put":
                    raw[at] = data.draw(st.integers(0, 255))
                case "cut":
                    del raw[at : at + data.draw(st.integers(1, 40))]
                case "add":
                    raw[at:at] = data.draw(st.binary(min_size=1, max_size=8))
            if not raw:
                return
        try:
            bill = read(which, bytes(raw))
        except BillMalformed:
            return
        # Numbers and times may have changed; what was paid and how often can not.
        assert (bill.totals.payments_fen, bill.totals.refunds_fen) == (1990, 500)

    @settings(deadline=None, max_examples=300)
    @given(st.sampled_from(["wechat", "alipay"]), st.binary(max_size=400))
    def test_any_bytes_are_refused(self, which, content):
        if not content:
            return
        with pytest.raises(BillMalformed):
            read(which, content)

    @settings(deadline=None, max_examples=300)
    @given(st.text(max_size=200))
    def test_any_text_may_stand_in_a_row(self, text):
        line = "`" + text
        content = f"{bills.WECHAT_HEADER}\n{line}\n{bills.WECHAT_TOTALS}\n`1\n"
        with pytest.raises(BillMalformed):
            read_wechat(content.encode("utf-8", "surrogatepass"))


class TestDays:
    def test_a_day_is_over_at_midnight_in_shanghai(self):
        midnight = datetime(2026, 11, 24, 16, tzinfo=UTC)
        with pytest.raises(BillNotReady):
            require_finished(DAY, now=midnight - timedelta(seconds=1))
        require_finished(DAY, now=midnight)
        assert since_midnight_after(DAY, now=midnight + timedelta(hours=12)) == timedelta(hours=12)

    def test_the_limit_lets_a_large_school_through(self):
        row = len(bills.WECHAT_PAID.encode())
        assert limits.MAX_BILL_BYTES / row > 150_000
        assert {WeChatPayChannel.name, AlipayChannel.name} == {wechat.CHANNEL, alipay.CHANNEL}
