"""WeChat Pay's bill of trades (交易账单), type ALL.

UTF-8 with a byte order mark, perhaps gzipped.  One line of column names; one line a trade, every
field with a backtick before it and nothing quoted, so the separator is a comma and a backtick; one
line of names of totals; one line of totals.  Amounts in yuan.

A merchant number can be bound to several app ids: rows of others are in its bill, add up to its
totals, and are read as they are.  No order of ours has their numbers, so they stand there as those
of unknown orders.

Source: WeChat Pay, bill download, format of the trade bill.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from payments._billed import amount_fen, check_row, count, lines_of, moment, number
from payments._unpack import gunzip
from payments.bill import Bill, BillMalformed, BillRow, BillRowKind

CHANNEL: Final = "wechat"

_PAID = "SUCCESS"
_WENT_BACK = {"REFUND", "REVOKED"}
_NONE = {"", "0"}
_FREE_TEXT = ("商品名称", "商户数据包")
_COUNTED = "总交易单数"
_RENAMED = {"子商户号": "特约商户号"}


@dataclass(frozen=True, slots=True)
class _Layout:
    """One known set of columns, in their order.

    Attributes:
        paid, went_back: which columns say what an order cost and what of it went back, before the
            platform's own coupons.
        totals: name of a total → the column that it adds up.
    """

    columns: tuple[str, ...]
    paid: str
    went_back: str
    totals: Mapping[str, str]


LAYOUT: Final = _Layout(
    columns=(
        *("交易时间", "公众账号ID", "商户号", "特约商户号", "设备号", "微信订单号", "商户订单号"),
        *("用户标识", "交易类型", "交易状态", "付款银行", "货币种类", "应结订单金额", "代金券金额"),
        *("微信退款单号", "商户退款单号", "退款金额", "充值券退款金额", "退款类型", "退款状态"),
        *("商品名称", "商户数据包", "手续费", "费率", "订单金额", "申请退款金额", "费率备注"),
    ),
    paid="订单金额",
    went_back="申请退款金额",
    totals={
        "应结订单总金额": "应结订单金额",
        "退款总金额": "退款金额",
        "充值券退款总金额": "充值券退款金额",
        "手续费总金额": "手续费",
        "订单总金额": "订单金额",
        "申请退款总金额": "申请退款金额",
    },
)
OLD_LAYOUT: Final = _Layout(
    columns=(
        *("交易时间", "公众账号ID", "商户号", "特约商户号", "设备号", "微信订单号", "商户订单号"),
        *("用户标识", "交易类型", "交易状态", "付款银行", "货币种类", "总金额", "企业红包金额"),
        *("微信退款单号", "商户退款单号", "退款金额", "企业红包退款金额", "退款类型", "退款状态"),
        *("商品名称", "商户数据包", "手续费", "费率"),
    ),
    paid="总金额",
    went_back="退款金额",
    totals={
        "总交易额": "总金额",
        "总退款金额": "退款金额",
        "总企业红包退款金额": "企业红包退款金额",
        "手续费总金额": "手续费",
    },
)
"""What a few merchants of long standing still get."""


def parse(content: bytes, *, day: date, merchant_id: str) -> Bill:
    """Read a bill, gzipped or not; nothing at all is the bill of a day without any trade.

    Raises:
        BillMalformed: it is none, not of this merchant and day, or not whole.
    """
    if not content:
        return Bill(CHANNEL, day, ())
    try:
        text = gunzip(content).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BillMalformed("encoding") from None
    if "\0" in text:
        raise BillMalformed("encoding")
    lines = lines_of(text)
    layout = _layout(lines[0] if lines else "")
    rows: list[BillRow] = []
    sums = dict.fromkeys(layout.totals.values(), 0)
    names = ",".join((_COUNTED, *layout.totals))
    for place, line in enumerate(lines[1:], start=2):
        if line == names:
            _check_totals(lines[place:], layout, rows=len(rows), sums=sums, line=place + 1)
            return Bill(CHANNEL, day, tuple(rows))
        fields = _fields(line, layout, place)
        if fields["商户号"] != merchant_id:
            raise BillMalformed("merchant", place)
        rows.append(check_row(_row(fields, layout, place), day))
        for column in sums:
            sums[column] += amount_fen(fields[column], place)
    raise BillMalformed("summary")


def _layout(line: str) -> _Layout:
    columns = tuple(_RENAMED.get(name, name) for name in line.split(","))
    for layout in (LAYOUT, OLD_LAYOUT):
        if columns == layout.columns:
            return layout
    raise BillMalformed("header", 1)


def _split(line: str, place: int) -> list[str]:
    if not line.startswith("`"):
        raise BillMalformed("columns", place)
    return line[1:].split(",`")


def _fields(line: str, layout: _Layout, place: int) -> dict[str, str]:
    """Return a line's fields by column.

    Should a name or an attachment hold the separator itself, the fields before them are counted
    from the left and those behind from the right; what they say themselves is of no use here.
    """
    values = _split(line, place)
    after = len(layout.columns) - layout.columns.index(_FREE_TEXT[-1]) - 1
    more = len(values) - len(layout.columns)
    if more < 0:
        raise BillMalformed("columns", place)
    if more:
        values = values[: -after - more] + values[-after:]
    return dict(zip(layout.columns, values, strict=True))


def _row(fields: Mapping[str, str], layout: _Layout, line: int) -> BillRow:
    if fields["货币种类"] != "CNY":
        raise BillMalformed("currency", line)
    state = fields["交易状态"]
    if state == _PAID:
        kind, column = BillRowKind.PAYMENT, layout.paid
    elif state in _WENT_BACK:
        kind, column = BillRowKind.REFUND, layout.went_back
        state = fields["退款状态"] or state
    else:
        raise BillMalformed("state", line)
    if not state.isascii() or not state.replace("_", "").isalpha():
        raise BillMalformed("state", line)
    refunded = kind is BillRowKind.REFUND
    return BillRow(
        kind=kind,
        out_trade_no=number(fields["商户订单号"], line),
        trade_no=number(fields["微信订单号"], line),
        out_refund_no=_number_or_none(fields["商户退款单号"], line) if refunded else None,
        refund_no=_number_or_none(fields["微信退款单号"], line) if refunded else None,
        amount_fen=amount_fen(fields[column], line),
        fee_fen=amount_fen(fields["手续费"], line),
        at=moment(fields["交易时间"], line),
        state=state,
        line=line,
    )


def _number_or_none(text: str, line: int) -> str | None:
    return None if text in _NONE else number(text, line)


def _check_totals(
    lines: Iterable[str], layout: _Layout, *, rows: int, sums: Mapping[str, int], line: int
) -> None:
    """Compare the platform's own totals, the one line that is left, with the rows."""
    told = list(lines)
    if len(told) != 1:
        raise BillMalformed("summary", line)
    values = _split(told[0], line)
    if len(values) != 1 + len(layout.totals):
        raise BillMalformed("summary", line)
    if count(values[0], line) != rows:
        raise BillMalformed("count", line)
    for column, value in zip(layout.totals.values(), values[1:], strict=True):
        if amount_fen(value, line) != sums[column]:
            raise BillMalformed("sum", line)
