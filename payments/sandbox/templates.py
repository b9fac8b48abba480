"""The templates (订阅消息模板) that the sandbox's mini program has chosen, and who fills them.

On WeChat each is picked out of a public library: its fields come with it.
"""

from dataclasses import dataclass

from payments.config import MessageTemplate


@dataclass(frozen=True, slots=True)
class Template:
    """A template as the platform knows it."""

    id: str
    title: str
    fields: tuple[str, ...]
    long_term: bool = False


TOP_UP = Template(
    "tSbxTopUp0000000000000000000000000000000001",
    "充值到账提醒",
    ("amount1", "amount2", "time3", "thing4"),
)
CHARGE = Template(
    "tSbxCharge000000000000000000000000000000002",
    "消费提醒",
    ("amount1", "thing2", "time3", "amount4"),
)
REFUND = Template(
    "tSbxRefund000000000000000000000000000000003",
    "退款进度提醒",
    ("amount1", "phrase2", "time3", "thing4"),
)
CARD = Template(
    "tSbxCard00000000000000000000000000000000004",
    "校园卡状态提醒",
    ("phrase1", "time2", "thing3"),
)
ARREARS = Template(
    "tSbxArrears0000000000000000000000000000005",
    "欠费提醒",
    ("amount1", "time2", "thing3"),
    long_term=True,
)
BALANCE = Template(
    "tSbxBalance0000000000000000000000000000006",
    "余额不足提醒",
    ("amount1", "time2", "thing3"),
)
TEMPLATES = {known.id: known for known in (TOP_UP, CHARGE, REFUND, CARD, ARREARS, BALANCE)}

_FILLED = {
    TOP_UP: (
        ("top-up-paid", "cash-top-up"),
        {"amount1": "amount", "amount2": "balance", "time3": "at", "thing4": "text"},
    ),
    CHARGE: (
        ("charge-approved", "charge-late"),
        {"amount1": "amount", "thing2": "place", "time3": "at", "amount4": "balance"},
    ),
    REFUND: (
        (
            "charge-reversed",
            "top-up-returned",
            "cash-top-up-reversed",
            "refund-requested",
            "refund-succeeded",
            "refund-returned",
            "refund-paid-out",
        ),
        {"amount1": "amount", "phrase2": "state", "time3": "at", "thing4": "text"},
    ),
    CARD: (
        ("card-lost", "card-restored"),
        {"phrase1": "state", "time2": "at", "thing3": "text"},
    ),
    ARREARS: (("arrears-opened",), {"amount1": "arrears", "time2": "at", "thing3": "text"}),
    BALANCE: (("balance-low",), {"amount1": "balance", "time2": "at", "thing3": "text"}),
}


def configured() -> dict[str, MessageTemplate]:
    """Give the mini program's side: kind of notice → template, and what stands in its fields."""
    return {
        kind: MessageTemplate(id=template.id, fields=fields, long_term=template.long_term)
        for template, (kinds, fields) in _FILLED.items()
        for kind in kinds
    }
