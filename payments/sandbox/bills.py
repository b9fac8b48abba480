"""Bills (账单) of the simulated platforms: made of their own trades, wrong on request."""

import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from payments._alipay_bill import COLUMNS, SUMMARY_COLUMNS, SUMMED
from payments._wechat_bill import LAYOUT
from payments._yuan import fen_from_billed_yuan, yuan_from_fen
from payments._zone import SHANGHAI
from payments.sandbox.keys import SandboxKeys
from payments.sandbox.problems import Problem
from payments.sandbox.state import Order, Refund
from payments.sandbox.world import World

WECHAT_URL_LIVES: Final = timedelta(minutes=5)
ALIPAY_URL_LIVES: Final = timedelta(seconds=30)

_FEE_PER_MILLE = 6
_TIME = "%Y-%m-%d %H:%M:%S"
_WECHAT_STATES = {"succeeded": "SUCCESS", "closed": "CHANGE", "abnormal": "CHANGE"}


class DifferenceKind(StrEnum):
    """What a bill can tell otherwise than it was."""

    MISSING_ROW = "missing_row"
    """A payment is left out."""
    EXTRA_ROW = "extra_row"
    """A payment of an order that the merchant never made."""
    AMOUNT_OFF = "amount_off"
    """A payment is one fen more."""
    DUPLICATE_PAYMENT = "duplicate_payment"
    """A payment comes twice, under a second number of the platform."""
    DESK_REFUND = "desk_refund"
    """A refund that was made at the merchant's desk of the platform, not by the program."""
    WRONG_SUMS = "wrong_sums"
    """The totals are one fen more than the rows."""
    CHANGED_HEADER = "changed_header"
    """There is a column that nobody knows."""
    WRONG_HASH = "wrong_hash"
    """The hash told is of another file; WeChat only."""
    NOT_READY = "not_ready"
    """The bill is not written yet."""
    EMPTY_DAY = "empty_day"
    """There was no trade, says the platform."""


OF_A_PAYMENT = {
    DifferenceKind.MISSING_ROW,
    DifferenceKind.AMOUNT_OFF,
    DifferenceKind.DUPLICATE_PAYMENT,
    DifferenceKind.DESK_REFUND,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing to be told wrongly; `out_trade_no` names the payment, else it is the first."""

    kind: DifferenceKind
    out_trade_no: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One payment or refund of a day; a refund is dated by its acceptance."""

    kind: str
    out_trade_no: str
    trade_no: str
    out_refund_no: str | None
    refund_no: str | None
    amount_fen: int
    fee_fen: int
    at: str
    state: str
    description: str
    payer: str
    trade_type: str
    created_at: str

    @property
    def refunded(self) -> bool:
        """Tell whether it is a refund."""
        return self.kind == "refund"

    def told(self) -> dict[str, Any]:
        """Tell it to whoever compares."""
        hidden = {"payer", "trade_type", "created_at"}
        return {name: value for name, value in asdict(self).items() if name not in hidden}


def true_lines(world: World, channel: str, day: date) -> list[Line]:
    """List what really happened on that day in Shanghai, in the order in which it did."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=SHANGHAI)
    since, until = midnight.astimezone(UTC), (midnight + timedelta(days=1)).astimezone(UTC)
    lines = [_paid(order) for order in world.state.paid_between(channel, since, until)]
    lines += [
        _went_back(order, refund)
        for order, refund in world.state.refunds_between(channel, since, until)
    ]
    return sorted(lines, key=lambda line: (line.at, line.trade_no, line.kind))


def told_lines(lines: list[Line], differences: Iterable[Difference], world: World) -> list[Line]:
    """List what the bill says instead."""
    told = list(lines)
    for difference in differences:
        if difference.kind is DifferenceKind.EXTRA_ROW:
            told.append(_stranger(lines, world))
        elif difference.kind in OF_A_PAYMENT:
            at = _place(told, difference)
            told[at : at + 1] = _CHANGES[difference.kind](told[at], world)
    return told


def _paid(order: Order) -> Line:
    return Line(
        kind="payment",
        out_trade_no=order.out_trade_no,
        trade_no=order.trade_no,
        out_refund_no=None,
        refund_no=None,
        amount_fen=order.amount_fen,
        fee_fen=_fee_fen(order.amount_fen),
        at=order.paid_at or order.created_at,
        state="SUCCESS" if order.channel == "wechat" else "交易",
        description=order.description,
        payer=order.payer,
        trade_type="JSAPI" if order.kind == "jsapi" else "NATIVE",
        created_at=order.created_at,
    )


def _went_back(order: Order, refund: Refund) -> Line:
    state = "退款"
    if order.channel == "wechat":
        standing = refund.standing(datetime.now(UTC))
        state = _WECHAT_STATES.get(standing, "PROCESSING")
    return replace(
        _paid(order),
        kind="refund",
        out_refund_no=refund.out_refund_no,
        refund_no=refund.refund_no if order.channel == "wechat" else None,
        amount_fen=refund.amount_fen,
        fee_fen=-_fee_fen(refund.amount_fen),
        at=refund.created_at,
        state=state,
    )


def _fee_fen(amount_fen: int) -> int:
    """Round half up, as the platforms do."""
    return (amount_fen * _FEE_PER_MILLE + 500) // 1000


def _place(lines: list[Line], difference: Difference) -> int:
    for place, line in enumerate(lines):
        if not line.refunded and difference.out_trade_no in {None, line.out_trade_no}:
            return place
    raise Problem(409, "payment-unknown", f"{difference.kind} needs a payment of that day")


def _number(world: World, line: Line, purpose: str) -> str:
    """Make up another number of the platform, in the shape of the payment's own."""
    digits = int(world.state.derive(purpose, line.trade_no), 16) % 10**20
    return f"{line.trade_no[:-20]}{digits:020d}"


def _stranger(lines: list[Line], world: World) -> Line:
    if not lines:
        raise Problem(409, "payment-unknown", "extra_row needs a day with a payment")
    like = lines[0]
    return replace(
        like,
        kind="payment",
        out_trade_no=world.state.derive("stranger", like.trade_no)[:32],
        trade_no=_number(world, like, "stranger"),
        out_refund_no=None,
        refund_no=None,
        amount_fen=4321,
        fee_fen=_fee_fen(4321),
        state="SUCCESS" if like.state.isascii() else "交易",
    )


def _twice(line: Line, world: World) -> list[Line]:
    return [line, replace(line, trade_no=_number(world, line, "twice"))]


def _at_the_desk(line: Line, world: World) -> list[Line]:
    digits = int(world.state.derive("desk", line.trade_no), 16) % 10**26
    ascii_state = line.state.isascii()
    refund = replace(
        line,
        kind="refund",
        out_refund_no=f"{digits:026d}",
        refund_no=f"50{digits:026d}" if ascii_state else None,
        fee_fen=-line.fee_fen,
        state="SUCCESS" if ascii_state else "退款",
    )
    return [line, refund]


_CHANGES: dict[DifferenceKind, Callable[[Line, World], list[Line]]] = {
    DifferenceKind.MISSING_ROW: lambda _line, _world: [],
    DifferenceKind.AMOUNT_OFF: lambda line, _world: [replace(line, amount_fen=line.amount_fen + 1)],
    DifferenceKind.DUPLICATE_PAYMENT: _twice,
    DifferenceKind.DESK_REFUND: _at_the_desk,
}


def differences_of(world: World, channel: str, day: date) -> list[Difference]:
    """Return what is to be told wrongly of that day."""
    return [
        Difference(DifferenceKind(told["kind"]), told["out_trade_no"])
        for told in json.loads(world.state.bill_differences(channel, day.isoformat()) or "[]")
    ]


def set_differences(
    world: World, channel: str, day: date, differences: Iterable[Difference]
) -> None:
    """Have the bill of that day tell these things wrongly, in place of the former.

    Raises:
        Problem: 409 `payment-unknown`: one of them needs a payment that there was not.
    """
    wanted = list(differences)
    told_lines(true_lines(world, channel, day), wanted, world)
    kept = json.dumps([asdict(difference) for difference in wanted])
    world.state.set_bill_differences(channel, day.isoformat(), kept)


def plant(world: World, channel: str, day: date) -> None:
    """Do what the fault `bill_differences` wants: each payment in turn is told wrongly.

    A day that tells something wrongly already stays as it is, and so does one without a payment.
    """
    if differences_of(world, channel, day):
        return
    lines = true_lines(world, channel, day)
    payments = dict.fromkeys(line.out_trade_no for line in lines if not line.refunded)
    if payments:
        planted = [
            Difference(kind, number) for kind, number in zip(_PLANTED, payments, strict=False)
        ]
        set_differences(world, channel, day, [*planted, Difference(DifferenceKind.EXTRA_ROW)])


_PLANTED = (
    DifferenceKind.AMOUNT_OFF,
    DifferenceKind.MISSING_ROW,
    DifferenceKind.DUPLICATE_PAYMENT,
    DifferenceKind.DESK_REFUND,
)


@dataclass(frozen=True, slots=True)
class WrittenBill:
    """A bill as a platform hands it out; `content` None: there is none."""

    content: bytes | None
    differences: frozenset[DifferenceKind]


def write(world: World, channel: str, day: date) -> WrittenBill:
    """Write the bill of a day as it is to be told: WeChat's text, or Alipay's zip."""
    differences = differences_of(world, channel, day)
    kinds = frozenset(difference.kind for difference in differences)
    lines = told_lines(true_lines(world, channel, day), differences, world)
    if not lines or DifferenceKind.EMPTY_DAY in kinds:
        return WrittenBill(None, kinds)
    if channel == "wechat":
        return WrittenBill(_wechat_text(lines, world.signer.keys, kinds), kinds)
    return WrittenBill(_alipay_zip(lines, day, world.signer.keys, kinds), kinds)


def wechat_hash(bill: WrittenBill) -> str:
    """Return the hash that WeChat tells of the unpacked file."""
    content = bill.content or b""
    if DifferenceKind.WRONG_HASH in bill.differences:
        content += b"\n"
    return hashlib.sha1(content).hexdigest()  # noqa: S324 - the platform's own choice


def pack(content: bytes) -> bytes:
    """Gzip it, the same bytes each time."""
    return gzip.compress(content, mtime=0)


def token(world: World, channel: str, day: date, *, until: datetime) -> str:
    """Make what lets somebody fetch a bill until then."""
    claim = f"{channel}.{day.isoformat()}.{int(until.timestamp())}"
    return f"{claim}.{world.state.derive('bill', claim)[:32]}"


def day_of_token(world: World, channel: str, given: str, *, now: datetime) -> date | None:
    """Return whose bill a token lets fetch; None once it is too old, or for a made-up one."""
    claim, _, proof = given.rpartition(".")
    if proof != world.state.derive("bill", claim)[:32]:
        return None
    its_channel, day, until = claim.split(".")
    if its_channel != channel or now.timestamp() > int(until):
        return None
    return date.fromisoformat(day)


def finished_day(text: object) -> date | None:
    """Read a day that is over in Shanghai."""
    try:
        day = date.fromisoformat(str(text))
    except ValueError:
        return None
    return day if date.min < day < datetime.now(UTC).astimezone(SHANGHAI).date() else None


def _yuan(amount_fen: int) -> str:
    return f"-{yuan_from_fen(-amount_fen)}" if amount_fen < 0 else yuan_from_fen(amount_fen)


def _fee_yuan(fee_fen: int) -> str:
    return f"{_yuan(fee_fen)}000"  # WeChat writes fees with five decimals


def _beijing(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(SHANGHAI).strftime(_TIME)


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ").replace("\t", " ")


def _wechat_text(
    lines: list[Line], keys: SandboxKeys, differences: frozenset[DifferenceKind]
) -> bytes:
    columns = list(LAYOUT.columns)
    rows = [_wechat_row(line, keys) for line in lines]
    sums = {
        total: sum(fen_from_billed_yuan(row[column]) for row in rows)
        for total, column in LAYOUT.totals.items()
    }
    if DifferenceKind.WRONG_SUMS in differences:
        sums["订单总金额"] += 1
    totals = [
        _fee_yuan(sum_fen) if total == "手续费总金额" else _yuan(sum_fen)
        for total, sum_fen in sums.items()
    ]
    head = [*columns, "新列"] if DifferenceKind.CHANGED_HEADER in differences else columns
    written = [
        ",".join(head),
        *(",".join(f"`{row[column]}" for column in columns) for row in rows),
        ",".join(("总交易单数", *sums)),
        ",".join(f"`{value}" for value in (len(rows), *totals)),
    ]
    return ("\ufeff" + "".join(f"{line}\r\n" for line in written)).encode()


def _wechat_row(line: Line, keys: SandboxKeys) -> Mapping[str, str]:
    amount = _yuan(line.amount_fen)
    paid, back = ("0.00", amount) if line.refunded else (amount, "0.00")
    return {
        "交易时间": _beijing(line.at),
        "公众账号ID": keys.wechat_app_id,
        "商户号": keys.wechat_merchant_id,
        "特约商户号": "0",
        "设备号": "",
        "微信订单号": line.trade_no,
        "商户订单号": line.out_trade_no,
        "用户标识": line.payer,
        "交易类型": line.trade_type,
        "交易状态": "REFUND" if line.refunded else "SUCCESS",
        "付款银行": "OTHERS",
        "货币种类": "CNY",
        "应结订单金额": paid,
        "代金券金额": "0.00",
        "微信退款单号": line.refund_no or "0",
        "商户退款单号": line.out_refund_no or "0",
        "退款金额": back,
        "充值券退款金额": "0.00",
        "退款类型": "ORIGINAL" if line.refunded else "",
        "退款状态": line.state if line.refunded else "",
        "商品名称": _one_line(line.description),
        "商户数据包": "",
        "手续费": _fee_yuan(line.fee_fen),
        "费率": "0.60%",
        "订单金额": paid,
        "申请退款金额": back,
        "费率备注": "",
    }


def _alipay_zip(
    lines: list[Line], day: date, keys: SandboxKeys, differences: frozenset[DifferenceKind]
) -> bytes:
    account = f"{keys.alipay_seller_id}0156"
    columns = list(COLUMNS)
    if DifferenceKind.CHANGED_HEADER in differences:
        columns.append("新列")
    extra = 1 if DifferenceKind.WRONG_SUMS in differences else 0
    detail = [
        *_remarks("明细", account, day),
        ",".join(columns),
        *(_alipay_row(line) for line in lines),
        f"#{'-' * 41}业务明细列表结束{'-' * 36}",
        *_alipay_totals(lines, extra_fen=extra),
        _exported(day),
    ]
    summary = [
        *_remarks("汇总", account, day),
        ",".join(SUMMARY_COLUMNS),
        _alipay_summary(lines, extra_fen=extra),
        f"#{'-' * 40}业务汇总列表结束{'-' * 37}",
        _exported(day),
    ]
    name = f"{account}_{day:%Y%m%d}_业务明细"
    return _zip({f"{name}.csv": detail, f"{name}(汇总).csv": summary})


def _remarks(what: str, account: str, day: date) -> tuple[str, ...]:
    after = day + timedelta(days=1)
    return (
        f"#支付宝业务{what}查询",
        f"#账号：[{account}]",
        f"#起始日期：[{day:%Y年%m月%d日} 00:00:00]   终止日期：[{after:%Y年%m月%d日} 00:00:00]",
        f"#{'-' * 41}业务{what}列表{'-' * 40}",
    )


def _exported(day: date) -> str:
    return f"#导出时间：[{day + timedelta(days=1):%Y年%m月%d日} 06:27:10]"


def _alipay_row(line: Line) -> str:
    """Write one row; which fields end in a tab is as it is in the platform's own files."""
    amount = _yuan(-line.amount_fen if line.refunded else line.amount_fen)
    return ",".join(
        (
            *(f"{line.trade_no}\t", f"{line.out_trade_no}\t", f"{line.state}\t"),
            *(_one_line(line.description), _beijing(line.created_at), _beijing(line.at)),
            *("\t", "\t", "\t", "\t", "*明(137****2600)\t", amount, amount),
            *("0.00", "0.00", "0.00", "0.00", "0.00", "", "0.00\t", "0.00"),
            *(f"{line.out_refund_no or ''}\t", _yuan(-line.fee_fen), "0.00", ""),
        )
    )


def _alipay_totals(lines: list[Line], *, extra_fen: int) -> tuple[str, str]:
    paid = [line.amount_fen for line in lines if not line.refunded]
    back = [line.amount_fen for line in lines if line.refunded]
    return (
        f"#交易合计：{len(paid)}笔，商家实收共{_yuan(sum(paid) + extra_fen)}元，商家优惠共0.00元",
        f"#退款合计：{len(back)}笔，商家实收退款共{_yuan(-sum(back))}元，商家优惠退款共0.00元",
    )


def _alipay_summary(lines: list[Line], *, extra_fen: int) -> str:
    received = extra_fen + sum(
        -line.amount_fen if line.refunded else line.amount_fen for line in lines
    )
    fees = -sum(line.fee_fen for line in lines)
    sums = dict.fromkeys(SUMMED, 0) | {
        "订单金额（元）": received,
        "商家实收（元）": received,
        "服务费（元）": fees,
    }
    counts = (
        sum(not line.refunded for line in lines),
        sum(line.refunded for line in lines),
    )
    values = ("合计", "", *counts, *map(_yuan, sums.values()), _yuan(received + fees))
    return ",".join(f"{value}\t" for value in values)


class _GbkNamed(zipfile.ZipInfo):
    """A member whose name is written in GBK and not flagged as UTF-8, as Alipay does."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802 - zipfile's own name
        return self.filename.encode("gb18030"), self.flag_bits


def _zip(files: Mapping[str, list[str]]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, lines in files.items():
            member = _GbkNamed(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            content = "".join(f"{line}\r\n" for line in lines).encode("gb18030")
            archive.writestr(member, content)
    return packed.getvalue()
