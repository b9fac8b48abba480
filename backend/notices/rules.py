"""From a notice to the fields of a platform's template, within what the platform takes.  Pure.

Source: WeChat, mini programs, subscribeMessage.send, "订阅消息参数值内容限制说明".
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from backend.clock import SHANGHAI
from backend.http.fields import NOT_PLAIN
from backend.money import yuan_text

MOST_THING: Final = 20
MOST_PHRASE: Final = 5
MOST_NAME: Final = 10
MOST_STRING: Final = 32
MOST_DIGITS: Final = 10


@dataclass(frozen=True, slots=True)
class Wording:
    """How a message says what a kind of notice tells.

    Messages are Chinese, as the platform's own templates are; the inbox speaks both languages.
    """

    state: str
    """At most five Chinese characters: WeChat's `phrase`."""
    text: str
    """At most twenty characters: WeChat's `thing`."""
    page: str = "pages/notices/index"
    """The page of the mini program that a tap opens."""


WORDINGS: Final[dict[str, Wording]] = {
    "top-up-paid": Wording("已到账", "充值已存入主钱包", "pages/topups/index"),
    "top-up-returned": Wording("已退回", "充值已原路退回", "pages/topups/index"),
    "cash-top-up": Wording("已到账", "现金充值已存入主钱包"),
    "cash-top-up-reversed": Wording("已撤销", "现金充值已撤销，请核对余额"),
    "charge-approved": Wording("已付款", "校园卡消费"),
    "charge-late": Wording("已入账", "脱机消费已入账"),
    "charge-reversed": Wording("已退回", "消费已冲正，款项已退回"),
    "refund-requested": Wording("退款中", "退款已受理，将原路退回"),
    "refund-succeeded": Wording("已退款", "退款已原路退回"),
    "refund-returned": Wording("未成功", "退款未成功，已退回主钱包"),
    "refund-paid-out": Wording("已退款", "退款已由学校线下支付"),
    "card-lost": Wording("已挂失", "挂失已生效", "pages/card/index"),
    "card-restored": Wording("已解挂", "已解除挂失", "pages/card/index"),
    "card-issued": Wording("已发卡", "实体卡已领取并启用", "pages/card/index"),
    "card-exchange-due": Wording("待换卡", "新生卡到期，请到班级换领学生卡", "pages/card/index"),
    "card-exchanged": Wording("已换卡", "已换发学生卡，余额不变", "pages/card/index"),
    "card-found": Wording("已拾到", "有人拾到您的卡，请带证件领取", "pages/card/index"),
    "card-replaced": Wording("已补卡", "新卡已发放，旧卡作废", "pages/card/index"),
    "card-frozen": Wording("已冻结", "校园卡已冻结，请到卡务中心", "pages/card/index"),
    "card-unfrozen": Wording("已解冻", "校园卡已恢复使用", "pages/card/index"),
    "card-extended": Wording("已延期", "校园卡有效期已延长", "pages/card/index"),
    "replacement-requested": Wording("待领取", "补卡已申请，请带证件领卡", "pages/card/index"),
    "closing-announced": Wording("将销户", "毕业销户将至，请核对余额", "pages/closing/index"),
    "closing-started": Wording("销户中", "账户开始销户，卡已停用", "pages/closing/index"),
    "closing-cancelled": Wording("已撤销", "销户已撤销，卡请到卡务中心解冻", "pages/closing/index"),
    "closing-paying": Wording("退款中", "销户余额正在退回", "pages/closing/index"),
    "closing-closed": Wording("已销户", "销户已完成，可查看凭据", "pages/closing/index"),
    "payout-paid": Wording("已打款", "销户余额已由学校打款", "pages/closing/index"),
    "payout-bounced": Wording("被退回", "打款被银行退回，请登记新账户", "pages/closing/index"),
    "card-ends-soon": Wording("将到期", "临时卡即将到期，续期请找申办单位", "pages/card/index"),
    "sponsored-cards-end": Wording("将到期", "您申办的临时卡即将到期", "pages/card/index"),
    "arrears-opened": Wording("待补缴", "脱机消费欠费，充值后自动补缴", "pages/topup/index"),
    "surcharge-returned": Wording("已退回", "多收的搭伙费已退回"),
    "subsidy-paid": Wording("已发放", "补贴已到账"),
    "subsidy-withdrawn": Wording("已收回", "一笔误发的补贴已收回"),
    "balance-low": Wording("余额不足", "余额不多了，请及时充值", "pages/topup/index"),
}
"""Every kind of notice that may be sent as a message."""


class FieldUnfit(Exception):
    """A template's field cannot say what it is told to.  `field` names it."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


def fill_template(
    fields: Mapping[str, str], *, kind: str, facts: Mapping[str, Any], at: datetime
) -> dict[str, str]:
    """Return a template's fields for one notice.

    Args:
        fields: the template's fields → the words of `SAYINGS`.
        facts: of the notice, as the inbox has them.

    Raises:
        FieldUnfit: the notice does not have that fact, or it cannot be said in that field.
    """
    filled = {}
    for field, word in fields.items():
        fit, say = FITS.get(field_type(field)), SAYINGS.get(word)
        if fit is None or say is None:
            raise FieldUnfit(field)
        value = fit(say(WORDINGS[kind], facts, at))
        if not value:  # WeChat refuses the whole message for one empty field
            raise FieldUnfit(field)
        filled[field] = value
    return filled


def faults_of(fields: Mapping[str, str]) -> list[str]:
    """Return what is wrong with a configured template: fields of no known type, unknown words.

    >>> faults_of({"thing1": "text", "picture2": "text", "amount3": "price"})
    ['picture2', 'amount3: price']
    """
    faults = []
    for field, word in fields.items():
        if field_type(field) not in FITS:
            faults.append(field)
        elif word not in SAYINGS:
            faults.append(f"{field}: {word}")
    return faults


def field_type(field: str) -> str:
    """Return the type of a field, which is its name without the number.

    >>> field_type("character_string12")
    'character_string'
    """
    return re.sub(r"[0-9]+\Z", "", field)


def _money(name: str) -> Callable[[Wording, Mapping[str, Any], datetime], Any]:
    return lambda _, facts, __: facts.get(name)


SAYINGS: Final[dict[str, Callable[[Wording, Mapping[str, Any], datetime], Any]]] = {
    "amount": lambda _, facts, __: facts.get("total_fen", facts.get("amount_fen")),
    "balance": _money("balance_fen"),
    "arrears": _money("arrears_fen"),
    "at": lambda _, __, at: at,
    "place": lambda wording, facts, _: _plain(facts.get("place")) or wording.text,
    "text": lambda wording, _, __: wording.text,
    "state": lambda wording, _, __: wording.state,
    "reference": lambda _, facts, __: facts.get("reference"),
}
"""What a field may be told to say of a notice: whole fen, a moment, or a text."""


def _amount(value: Any) -> str:
    """Write yuan, as `amount` takes it: digits, perhaps a point, and 元."""
    digits = _number(value)
    return f"{digits}元" if digits else ""


def _number(value: Any) -> str:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return ""
    text = yuan_text(value)
    return text if len(text.replace(".", "")) <= MOST_DIGITS else ""


def _time(value: Any) -> str:
    if not isinstance(value, datetime):
        return ""
    at = value.astimezone(SHANGHAI)
    return f"{at.year}年{at.month}月{at.day}日 {at:%H:%M}"


def _thing(value: Any) -> str:
    return _cut(_plain(value), MOST_THING)


def _phrase(value: Any) -> str:
    return re.sub(r"[^\u4e00-\u9fff]", "", _plain(value))[:MOST_PHRASE]


def _name(value: Any) -> str:
    return re.sub(r"[^\u4e00-\u9fff]", "", _plain(value))[:MOST_NAME]


def _character_string(value: Any) -> str:
    return re.sub(r"[^!-~]", "", _plain(value))[:MOST_STRING]


FITS: Final[dict[str, Callable[[Any], str]]] = {
    "amount": _amount,
    "number": _number,
    "time": _time,
    "date": _time,
    "thing": _thing,
    "phrase": _phrase,
    "name": _name,
    "character_string": _character_string,
}
"""How a value is written in a field of each type; empty when it cannot be."""


def _plain(value: Any) -> str:
    """Return a text on one line, without control characters; empty when it is none."""
    if not isinstance(value, str):
        return ""
    return " ".join(re.sub(f"[{NOT_PLAIN}]", " ", value).split())


def _cut(text: str, most: int) -> str:
    """Cut a text to so many characters as JavaScript counts them: some of ours are two there."""
    if _length(text) <= most:
        return text
    kept = text
    while _length(kept) > most - 1:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
