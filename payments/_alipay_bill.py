"""Alipay's bill of trades (业务账单), type trade.

A zip with names in GBK and two files in GB 18030: the rows (业务明细), and their totals (汇总).
Lines that begin with `#` are remarks, of which some tell the account, the days, where the rows
begin and end, and what they add up to.  Most fields end in a tab; nothing is quoted.  Amounts in
yuan, those of a refund below zero.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from payments._billed import amount_fen, check_row, count, is_time, lines_of, moment, number
from payments._unpack import unzip
from payments.bill import Bill, BillMalformed, BillRow, BillRowKind

CHANNEL: Final = "alipay"

COLUMNS: Final = (
    *("支付宝交易号", "商户订单号", "业务类型", "商品名称", "创建时间", "完成时间", "门店编号"),
    *("门店名称", "操作员", "终端号", "对方账户", "订单金额（元）", "商家实收（元）"),
    *("支付宝红包（元）", "集分宝（元）", "支付宝优惠（元）", "商家优惠（元）", "券核销金额（元）"),
    *("券名称", "商家红包消费金额（元）", "卡消费金额（元）", "退款批次号/请求号", "服务费（元）"),
    *("分润（元）", "备注"),
)
SUMMED: Final = (
    *("订单金额（元）", "商家实收（元）", "支付宝优惠（元）", "商家优惠（元）", "卡消费金额（元）"),
    *("服务费（元）", "分润（元）"),
)
SUMMARY_COLUMNS: Final = (
    *("门店编号", "门店名称", "交易订单总笔数", "退款订单总笔数", *SUMMED, "实收净额（元）"),
)
KINDS: Final = {"交易": BillRowKind.PAYMENT, "退款": BillRowKind.REFUND}

_NAME_AT = COLUMNS.index("商品名称")
_AFTER_NAME = len(COLUMNS) - _NAME_AT - 1
_RECEIVED, _DISCOUNT = "商家实收（元）", "商家优惠（元）"
_TITLE = {"detail": "#支付宝业务明细查询", "summary": "#支付宝业务汇总查询"}
_BEGINS = re.compile(r"#-+业务(?:明细|汇总)列表-+")
_ENDS = re.compile(r"#-+业务(?:明细|汇总)列表结束-+")
_ACCOUNT = re.compile(r"#账号：\[([0-9]{16,32})\]")
_DAYS = re.compile(
    r"#起始日期：\[(\d{4})年(\d\d)月(\d\d)日 00:00:00\]\s*"
    r"终止日期：\[(\d{4})年(\d\d)月(\d\d)日 00:00:00\]",
    re.ASCII,
)
_PAID_TOTAL = re.compile(r"#交易合计：(\S+)笔，商家实收共(\S+)元，商家优惠共(\S+)元")
_BACK_TOTAL = re.compile(r"#退款合计：(\S+)笔，商家实收退款共(\S+)元，商家优惠退款共(\S+)元")

_Fields = dict[str, str]


def parse(content: bytes, *, day: date, seller_id: str) -> Bill:
    """Read a bill; nothing at all is the bill of a day without any trade.

    Raises:
        BillMalformed: it is none, not of this seller and day, or not whole.
    """
    if not content:
        return Bill(CHANNEL, day, ())
    detail, summary = _files(content)
    begins, ends = _between(detail, day=day, seller_id=seller_id, columns=COLUMNS)
    lines = [(place, _fields(detail[place - 1], place)) for place in range(begins, ends)]
    kinds = [_kind(fields, place) for place, fields in lines]
    charged = _check_summary(summary, lines, kinds, day=day, seller_id=seller_id)
    _check_remarks(detail[ends:], lines, kinds, line=ends + 1)
    rows = (
        check_row(_row(fields, kind, place, charged=charged), day)
        for (place, fields), kind in zip(lines, kinds, strict=True)
    )
    return Bill(CHANNEL, day, tuple(rows))


def _files(content: bytes) -> tuple[list[str], list[str]]:
    """Return the lines of the rows and of the totals, told apart by their first lines."""
    found: dict[str, list[str]] = {}
    for file in unzip(content).values():
        try:
            lines = lines_of(file.decode("gb18030"))
        except UnicodeDecodeError:
            raise BillMalformed("encoding") from None
        for name, title in _TITLE.items():
            if lines and lines[0] == title and name not in found:
                found[name] = lines
                break
        else:
            raise BillMalformed("archive")
    if set(found) != set(_TITLE):
        raise BillMalformed("archive")
    return found["detail"], found["summary"]


def _between(
    lines: Sequence[str], *, day: date, seller_id: str, columns: Sequence[str]
) -> tuple[int, int]:
    """Return the places of the first row and of the remark that ends the rows, from 1.

    The remarks before them have to name this seller and this one day, and the columns be known.
    """
    account = days = None
    for place, line in enumerate(lines, start=1):
        if _BEGINS.fullmatch(line):
            begins = place + 2
            break
        if not line.startswith("#"):
            raise BillMalformed("header", place)
        account = account or _ACCOUNT.fullmatch(line)
        days = days or _DAYS.fullmatch(line)
    else:
        raise BillMalformed("header")
    if account is None or not account[1].startswith(seller_id):
        raise BillMalformed("merchant")
    if days is None or not _is_day(days, day):
        raise BillMalformed("day")
    header = lines[begins - 2] if begins - 2 < len(lines) else ""
    if tuple(name.strip() for name in header.split(",")) != tuple(columns):
        raise BillMalformed("header", begins - 1)
    for place, line in enumerate(lines[begins - 1 :], start=begins):
        if _ENDS.fullmatch(line):
            return begins, place
    raise BillMalformed("summary")


def _is_day(days: re.Match[str], day: date) -> bool:
    told = tuple(int(number) for number in days.groups())
    after = day + timedelta(days=1)
    return told == (day.year, day.month, day.day, after.year, after.month, after.day)


def _fields(line: str, place: int) -> _Fields:
    """Return a line's fields by column.

    Where a name holds commas, the two times behind it say where it ends; the remark, which is the
    last, takes all commas that are left.
    """
    values = [value.strip() for value in line.split(",")]
    for first in range(_NAME_AT + 1, len(values) - _AFTER_NAME + 1):
        if is_time(values[first]) and is_time(values[first + 1]):
            name = ",".join(values[_NAME_AT:first])
            behind = values[first : first + _AFTER_NAME - 1]
            remark = ",".join(values[first + _AFTER_NAME - 1 :])
            whole = (*values[:_NAME_AT], name, *behind, remark)
            return dict(zip(COLUMNS, whole, strict=True))
    raise BillMalformed("columns", place)


def _kind(fields: _Fields, line: int) -> BillRowKind:
    try:
        return KINDS[fields["业务类型"]]
    except KeyError:
        raise BillMalformed("state", line) from None


def _row(fields: _Fields, kind: BillRowKind, line: int, *, charged: int) -> BillRow:
    refunded = kind is BillRowKind.REFUND
    amount = amount_fen(fields["订单金额（元）"], line)
    requested = fields["退款批次号/请求号"]
    return BillRow(
        kind=kind,
        out_trade_no=number(fields["商户订单号"], line),
        trade_no=number(fields["支付宝交易号"], line),
        out_refund_no=number(requested, line) if refunded and requested else None,
        refund_no=None,
        amount_fen=-amount if refunded else amount,
        fee_fen=charged * amount_fen(fields["服务费（元）"], line),
        at=moment(fields["完成时间"], line),
        state=fields["业务类型"],
        line=line,
    )


_Lines = Sequence[tuple[int, _Fields]]


def _sum(lines: _Lines, column: str) -> int:
    return sum(amount_fen(fields[column], place) for place, fields in lines)


def _check_remarks(
    remarks: Sequence[str], lines: _Lines, kinds: Sequence[BillRowKind], *, line: int
) -> None:
    """Compare the totals below the rows; without any refund theirs may be left out."""
    for kind, pattern in ((BillRowKind.PAYMENT, _PAID_TOTAL), (BillRowKind.REFUND, _BACK_TOTAL)):
        of_kind = [row for row, its_kind in zip(lines, kinds, strict=True) if its_kind is kind]
        told = [
            (place, match)
            for place, remark in enumerate(remarks, start=line)
            if (match := pattern.fullmatch(remark))
        ]
        if not told and kind is BillRowKind.REFUND and not of_kind:
            continue
        if len(told) != 1:
            raise BillMalformed("summary", line)
        place, match = told[0]
        if count(match[1], place) != len(of_kind):
            raise BillMalformed("count", place)
        for column, value in ((_RECEIVED, match[2]), (_DISCOUNT, match[3])):
            if amount_fen(value, place) != _sum(of_kind, column):
                raise BillMalformed("sum", place)


def _check_summary(
    summary: Sequence[str],
    lines: _Lines,
    kinds: Sequence[BillRowKind],
    *,
    day: date,
    seller_id: str,
) -> int:
    """Compare the file of totals; return 1 where it counts a fee as a cost, else -1.

    Alipay does not say which it is, but the net amount gives it away.
    """
    begins, ends = _between(summary, day=day, seller_id=seller_id, columns=SUMMARY_COLUMNS)
    place = ends - 1
    values = [value.strip() for value in summary[place - 1].split(",")]
    if place < begins or values[0] != "合计" or len(values) != len(SUMMARY_COLUMNS):
        raise BillMalformed("summary", place)
    told: Mapping[str, str] = dict(zip(SUMMARY_COLUMNS, values, strict=True))
    for column, kind in (
        ("交易订单总笔数", BillRowKind.PAYMENT),
        ("退款订单总笔数", BillRowKind.REFUND),
    ):
        if count(told[column], place) != list(kinds).count(kind):
            raise BillMalformed("count", place)
    sums = {column: _sum(lines, column) for column in SUMMED}
    for column, total in sums.items():
        if amount_fen(told[column], place) != total:
            raise BillMalformed("sum", place)
    net, received = amount_fen(told["实收净额（元）"], place), sums[_RECEIVED]
    costs = sums["服务费（元）"] + sums["分润（元）"]
    if net == received + costs:
        return -1
    if net == received - costs:
        return 1
    raise BillMalformed("sum", place)
