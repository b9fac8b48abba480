"""The catalogue of all policies: shipped values, possible ones, and who decides.  Pure."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from backend.operators.models import Role

PERMISSIONS = ("pay", "identify", "finance", "information")
PRESETS: dict[str, dict[str, Any]] = {
    "standard": {
        "card.replacement_fee_fen": 2_000,
        "card.replacement_fee_temporary_fen": 2_000,
        "application.paid_categories": ["temporary_outsider"],  # whose card costs the card fee
        "application.remind_days": 14,
        "card.restore_channels": ["counter", "kiosk", "mini_program"],
        "cash.difference_fen": 1_000,
        "cash.least_fen": 100,
        "cash.most_fen": 50_000,
        "cash.shift_most_fen": 2_000_000,
        "charge.per_charge_cap_fen": 50_000,
        "charge.per_day_cap_fen": 100_000,
        "charge.surcharge_permille": 100,
        "closing.deadline_months": 3,  # after graduation
        "closing.own_request": False,  # whether holders close their account from the phone
        "closing.remind_days": 14,  # before the deadline
        "closing.wait_days": 3,  # for tills without network to tell what they took
        "code.issues_per_minute": 12,
        "code.lifetime_seconds": 60,
        "code.pay_default": "signed",
        "code.refresh_seconds": 30,
        "exchange.grace_days": 14,
        "exchange.months": 3,
        "log.keep_days": 1_095,
        "notice.charge_from_fen": 3_000,
        "notice.keep_days": 180,
        "notice.low_balance_fen": 2_000,
        "notice.stale_minutes": 30,
        "offline.bundle_fresh_hours": 24,
        "offline.bundle_hours": 72,
        "offline.delegation_hours": 72,
        "offline.money": False,
        "offline.new_keys_a_day": 3,
        "offline.per_card_count": 3,
        "offline.per_card_fen": 4_500,
        "offline.per_sale_fen": 1_500,
        "offline.per_terminal_fen": 50_000,
        "offline.renew_hours": 48,
        "offline.total_fen": 200_000,
        "passage.keep_days": 183,
        "permissions.new_student": list(PERMISSIONS),
        "permissions.staff": list(PERMISSIONS),
        "permissions.student": list(PERMISSIONS),
        "permissions.temporary_outsider": list(PERMISSIONS),
        "permissions.temporary_retired": list(PERMISSIONS),
        "permissions.temporary_trainee": list(PERMISSIONS),
        "operator.auditor.daily_reveals": 30,
        "operator.card_centre.daily_reveals": 30,
        "operator.cash_day_fen": 5_000_000,
        "operator.daily_exports": 10,
        "operator.payout_day_fen": 2_000_000,
        "refund.alipay_days": 85,  # younger top-ups go back; Alipay's contract says 3 months
        "refund.enabled": True,  # whether holders send their balance back from the phone
        "refund.least_fen": 1,
        "refund.per_day": 5,  # how often a holder may ask on one accounting day
        "refund.wechat_days": 360,  # WeChat Pay takes back for 365 days
        "restore.step_up_minutes": 5,
        "retired.valid_months": 120,
        "screening.unused_months": 12,
        "term.autumn_ends_day": 31,  # day of the year in which it ends: 31 January
        "term.spring_ends_day": 196,  # 15 July
        "subsidy.most_fen": 500_000,  # of one item of a batch
        "top_up.least_fen": 100,
        "top_up.most_fen": 50_000,
        "top_up.most_balance_fen": 200_000,
        "top_up.valid_minutes": 30,
        "top_up.unpaid_orders": 10,
        "validity.retire_female_months": 660,
        "validity.retire_later_months": 36,  # the most that anybody works longer
        "validity.retire_male_months": 720,
        "validity.retire_step_months": 4,  # a month longer for each, since 2025
    },
    "regulation": {"card.restore_channels": ["counter", "kiosk"]},
    "offline_money": {"offline.money": True},
    "no_offline_money": {"offline.money": False},
}
"""`standard` names every key; the others change some of it.  Money in fen, rates in permille.

At the cash desk: `cash.least_fen` and `cash.most_fen` bound one top-up, `top_up.most_balance_fen`
the balance after it as for every top-up, `cash.shift_most_fen` what may have come into one drawer
before it is counted, `cash.difference_fen` what a count may be off by before another person has to
approve it.

A new physical card for a lost or damaged one costs `card.replacement_fee_fen`, that of a temporary
holder `card.replacement_fee_temporary_fen`; one that was badly made costs nothing.
"""


class Unit(StrEnum):
    """What a value counts, or that it is a choice."""

    FEN = "fen"
    PERMILLE = "permille"
    TIMES = "times"
    SECONDS = "seconds"
    MINUTES = "minutes"
    HOURS = "hours"
    DAYS = "days"
    MONTHS = "months"
    SWITCH = "switch"
    """true or false"""
    ONE_OF = "one_of"
    SOME_OF = "some_of"
    """A list of different choices; none at all is possible."""


class Touches(StrEnum):
    """Whom a policy concerns, as far as that is cheap to count."""

    HOLDERS = "holders"
    PAYING_SURCHARGE = "paying_surcharge"
    """Holders whose meals cost the surcharge (搭伙费)."""
    TILLS = "tills"
    TERMINALS = "terminals"


class Decision(StrEnum):
    """What is decided by a policy.  The words are the console's, under `policy_decisions`."""

    BUNDLE = "bundle"
    """What terminals get for when they have no network (脱机数据包)."""
    CASH = "cash"
    CHARGE = "charge"
    CLOSE_OUT = "close_out"
    """A drawer counted (交款)."""
    CLOSING = "closing"
    CODE = "code"
    DELEGATION = "delegation"
    """A phone that may show codes without network (脱机授权)."""
    EXCHANGE = "exchange"
    EXPORT = "export"
    GRADUATES = "graduates"
    LATE_UPLOAD = "late_upload"
    """What a terminal decided without network, looked at when it comes in (脱机上送)."""
    NOTICE = "notice"
    OPENING = "opening"
    """An account opened: by application, by a roster (开户)."""
    PAYOUT = "payout"
    PERMISSIONS = "permissions"
    REFUND = "refund"
    REPLACEMENT = "replacement"
    RERATING = "rerating"
    """The surcharge of a period worked out anew."""
    RESTORE = "restore"
    RETENTION = "retention"
    """What was kept for long enough is deleted (到期清理)."""
    RETIREMENT = "retirement"
    REVEAL = "reveal"
    """Names and numbers of cards shown in full."""
    SCREENING = "screening"
    SUBSIDY = "subsidy"
    TOP_UP = "top_up"


CENTRE = frozenset({Role.CARD_CENTRE})
MONEY = frozenset({Role.CARD_CENTRE, Role.FINANCE})
MEALS = frozenset({Role.CARD_CENTRE, Role.LOGISTICS})
MEALS_CHECK = frozenset({Role.CARD_CENTRE, Role.LOGISTICS, Role.FINANCE})


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """What one key may say and who says it.  Its names are in `http/words`, under `policies`."""

    unit: Unit
    decisions: tuple[Decision, ...]
    """Which decisions read it."""
    least: int = 0
    most: int = 0
    choices: tuple[str, ...] = ()
    clause: str | None = None
    """The clause of the regulation that it carries out; None: the school's own."""
    proposers: frozenset[Role] = CENTRE
    approvers: frozenset[Role] = CENTRE
    touches: Touches | None = None
    categories: tuple[str, ...] = ()
    """Of which categories of holders alone; none: of all."""
    public: bool = False
    """Whether holders read it among the rules and fees (七 附则)."""


def _fen(decisions: tuple[Decision, ...], most: int, *, least: int = 0, **more: Any) -> PolicyRule:
    return PolicyRule(Unit.FEN, decisions, least, most, proposers=MONEY, approvers=MONEY, **more)


def _count(
    decisions: tuple[Decision, ...], unit: Unit, least: int, most: int, **more: Any
) -> PolicyRule:
    return PolicyRule(unit, decisions, least, most, **more)


HOLDERS, TILLS = Touches.HOLDERS, Touches.TILLS
TEMPORARY = ("temporary_outsider", "temporary_retired", "temporary_trainee")
CATALOGUE: dict[str, PolicyRule] = {
    "application.paid_categories": PolicyRule(
        Unit.SOME_OF,
        (Decision.OPENING,),
        choices=TEMPORARY,
        clause="三(三)",
        public=True,
    ),
    "application.remind_days": _count((Decision.NOTICE,), Unit.DAYS, 1, 90, clause="三(三)"),
    "card.replacement_fee_fen": _fen(
        (Decision.REPLACEMENT,),
        100_000,
        categories=("new_student", "staff", "student"),
        clause="三(四)",
        touches=HOLDERS,
        public=True,
    ),
    "card.replacement_fee_temporary_fen": _fen(
        (Decision.REPLACEMENT,),
        100_000,
        categories=TEMPORARY,
        clause="三(四)",
        touches=HOLDERS,
        public=True,
    ),
    "card.restore_channels": PolicyRule(
        Unit.SOME_OF,
        (Decision.RESTORE,),
        choices=("counter", "kiosk", "mini_program"),
        clause="三(四)",
        touches=HOLDERS,
        public=True,
    ),
    "cash.difference_fen": _fen((Decision.CLOSE_OUT,), 100_000, clause="三(五)"),
    "cash.least_fen": _fen(
        (Decision.CASH,), 100_000, least=1, clause="三(五)", touches=HOLDERS, public=True
    ),
    "cash.most_fen": _fen(
        (Decision.CASH,), 1_000_000, least=100, clause="三(五)", touches=HOLDERS, public=True
    ),
    "cash.shift_most_fen": _fen((Decision.CASH,), 100_000_000, least=10_000, clause="三(五)"),
    "charge.per_charge_cap_fen": _fen(
        (Decision.CHARGE,), 1_000_000, least=100, touches=HOLDERS, public=True
    ),
    "charge.per_day_cap_fen": _fen(
        (Decision.CHARGE,), 10_000_000, least=100, touches=HOLDERS, public=True
    ),
    "charge.surcharge_permille": PolicyRule(
        Unit.PERMILLE,
        (Decision.CHARGE, Decision.LATE_UPLOAD, Decision.RERATING),
        0,
        500,
        clause="三(七)",
        proposers=MEALS,
        approvers=MEALS_CHECK,
        touches=Touches.PAYING_SURCHARGE,
        public=True,
    ),
    "code.issues_per_minute": _count((Decision.CODE,), Unit.TIMES, 2, 120, touches=HOLDERS),
    "code.lifetime_seconds": _count((Decision.CODE,), Unit.SECONDS, 20, 300, touches=HOLDERS),
    "code.pay_default": PolicyRule(
        Unit.ONE_OF, (Decision.CODE,), choices=("short", "signed"), clause="五(三)", touches=HOLDERS
    ),
    "code.refresh_seconds": _count((Decision.CODE,), Unit.SECONDS, 5, 300, touches=HOLDERS),
    "exchange.grace_days": _count((Decision.EXCHANGE,), Unit.DAYS, 0, 180, clause="三(二)"),
    "exchange.months": _count(
        (Decision.EXCHANGE,), Unit.MONTHS, 1, 12, clause="三(二)", public=True
    ),
    "log.keep_days": _count((Decision.RETENTION,), Unit.DAYS, 183, 3_650, clause="三(一)"),
    "notice.charge_from_fen": _fen((Decision.NOTICE,), 1_000_000, touches=HOLDERS, public=True),
    "notice.keep_days": _count(
        (Decision.NOTICE,), Unit.DAYS, 30, 3_650, touches=HOLDERS, public=True
    ),
    "notice.low_balance_fen": _fen((Decision.NOTICE,), 100_000, touches=HOLDERS, public=True),
    "notice.stale_minutes": _count((Decision.NOTICE,), Unit.MINUTES, 1, 1_440, touches=HOLDERS),
    "offline.bundle_fresh_hours": _count(
        (Decision.BUNDLE,), Unit.HOURS, 1, 168, touches=Touches.TERMINALS
    ),
    "offline.bundle_hours": _count(
        (Decision.BUNDLE, Decision.LATE_UPLOAD), Unit.HOURS, 1, 336, touches=Touches.TERMINALS
    ),
    "offline.delegation_hours": _count((Decision.DELEGATION,), Unit.HOURS, 1, 168, touches=HOLDERS),
    "offline.money": PolicyRule(
        Unit.SWITCH,
        (Decision.BUNDLE, Decision.LATE_UPLOAD),
        clause="六",
        proposers=MONEY,
        approvers=MONEY,
        touches=TILLS,
        public=True,
    ),
    "offline.new_keys_a_day": _count((Decision.DELEGATION,), Unit.TIMES, 1, 20, touches=HOLDERS),
    "offline.per_card_count": _count(
        (Decision.BUNDLE, Decision.DELEGATION, Decision.LATE_UPLOAD),
        Unit.TIMES,
        1,
        100,
        clause="六",
        touches=TILLS,
        public=True,
    ),
    "offline.per_card_fen": _fen(
        (Decision.BUNDLE, Decision.LATE_UPLOAD), 100_000, clause="六", touches=TILLS, public=True
    ),
    "offline.per_sale_fen": _fen(
        (Decision.BUNDLE, Decision.DELEGATION, Decision.LATE_UPLOAD),
        100_000,
        clause="六",
        touches=TILLS,
        public=True,
    ),
    "offline.per_terminal_fen": _fen(
        (Decision.BUNDLE, Decision.LATE_UPLOAD), 10_000_000, clause="六", touches=TILLS
    ),
    "offline.renew_hours": _count((Decision.DELEGATION,), Unit.HOURS, 1, 168, touches=HOLDERS),
    "offline.total_fen": _fen((Decision.BUNDLE,), 100_000_000, clause="六", touches=TILLS),
    "passage.keep_days": _count(
        (Decision.RETENTION,), Unit.DAYS, 30, 1_095, touches=HOLDERS, public=True
    ),
    **{
        f"permissions.{category}": PolicyRule(
            Unit.SOME_OF,
            (Decision.PERMISSIONS,),
            choices=PERMISSIONS,
            clause="二(二)",
            touches=HOLDERS,
            categories=(category,),
            public=True,
        )
        for category in (
            "new_student",
            "staff",
            "student",
            "temporary_outsider",
            "temporary_retired",
            "temporary_trainee",
        )
    },
    "operator.auditor.daily_reveals": _count((Decision.REVEAL,), Unit.TIMES, 0, 1_000),
    "operator.card_centre.daily_reveals": _count((Decision.REVEAL,), Unit.TIMES, 0, 1_000),
    "operator.cash_day_fen": _fen((Decision.CASH,), 100_000_000, clause="三(五)"),
    "operator.daily_exports": _count((Decision.EXPORT,), Unit.TIMES, 0, 1_000),
    "operator.payout_day_fen": _fen((Decision.PAYOUT,), 100_000_000, clause="三(十四)"),
    "refund.alipay_days": _count(
        (Decision.REFUND,), Unit.DAYS, 0, 90, clause="三(十四)", public=True
    ),
    "refund.enabled": PolicyRule(
        Unit.SWITCH,
        (Decision.REFUND,),
        clause="三(十四)",
        proposers=MONEY,
        approvers=MONEY,
        touches=HOLDERS,
        public=True,
    ),
    "refund.least_fen": _fen((Decision.REFUND,), 100_000, least=1, touches=HOLDERS, public=True),
    "refund.per_day": _count((Decision.REFUND,), Unit.TIMES, 1, 100, touches=HOLDERS, public=True),
    "closing.deadline_months": _count(
        (Decision.GRADUATES,), Unit.MONTHS, 1, 3, clause="三(十)", touches=HOLDERS, public=True
    ),
    "closing.own_request": PolicyRule(
        Unit.SWITCH, (Decision.CLOSING,), clause="三(十四)", touches=HOLDERS, public=True
    ),
    "closing.remind_days": _count((Decision.NOTICE,), Unit.DAYS, 0, 90, clause="三(十)"),
    "closing.wait_days": _count(
        (Decision.CLOSING,), Unit.DAYS, 0, 90, clause="三(十四)", public=True
    ),
    "retired.valid_months": _count((Decision.RETIREMENT,), Unit.MONTHS, 1, 600, clause="二(六)"),
    "screening.unused_months": _count(
        (Decision.SCREENING,), Unit.MONTHS, 1, 120, clause="三(十三)"
    ),
    "term.autumn_ends_day": _count((Decision.SCREENING,), Unit.DAYS, 1, 365, clause="三(十三)"),
    "term.spring_ends_day": _count((Decision.SCREENING,), Unit.DAYS, 1, 365, clause="三(十三)"),
    "refund.wechat_days": _count(
        (Decision.REFUND,), Unit.DAYS, 0, 365, clause="三(十四)", public=True
    ),
    "restore.step_up_minutes": _count(
        (Decision.RESTORE,), Unit.MINUTES, 1, 60, clause="三(四)", touches=HOLDERS
    ),
    "subsidy.most_fen": _fen((Decision.SUBSIDY,), 10_000_000, least=100),
    "top_up.least_fen": _fen(
        (Decision.TOP_UP,), 100_000, least=1, clause="三(五)", touches=HOLDERS, public=True
    ),
    "top_up.most_fen": _fen(
        (Decision.TOP_UP,), 1_000_000, least=100, clause="三(五)", touches=HOLDERS, public=True
    ),
    "top_up.most_balance_fen": _fen(
        (Decision.TOP_UP, Decision.CASH),
        10_000_000,
        least=100,
        clause="三(五)",
        touches=HOLDERS,
        public=True,
    ),
    "top_up.valid_minutes": _count((Decision.TOP_UP,), Unit.MINUTES, 2, 1_440, touches=HOLDERS),
    "top_up.unpaid_orders": _count((Decision.TOP_UP,), Unit.TIMES, 1, 100, touches=HOLDERS),
    "validity.retire_female_months": _count(
        (Decision.OPENING,), Unit.MONTHS, 480, 900, clause="三(九)"
    ),
    "validity.retire_later_months": _count(
        (Decision.OPENING,), Unit.MONTHS, 0, 120, clause="三(九)"
    ),
    "validity.retire_male_months": _count(
        (Decision.OPENING,), Unit.MONTHS, 480, 900, clause="三(九)"
    ),
    "validity.retire_step_months": _count(
        (Decision.OPENING,), Unit.MONTHS, 1, 120, clause="三(九)"
    ),
}
"""Every key.  Money in fen, rates in permille."""

NOT_ABOVE = (
    ("cash.least_fen", "cash.most_fen"),
    ("charge.per_charge_cap_fen", "charge.per_day_cap_fen"),
    ("code.refresh_seconds", "code.lifetime_seconds"),
    ("offline.bundle_fresh_hours", "offline.bundle_hours"),
    ("offline.per_sale_fen", "offline.per_card_fen"),
    ("offline.renew_hours", "offline.delegation_hours"),
    ("top_up.least_fen", "top_up.most_fen"),
    ("top_up.most_fen", "top_up.most_balance_fen"),
)
"""The first of each pair is never above the second."""


def fault_of(key: str, value: Any) -> str | None:
    """Return what is wrong with a value: `key`, `type`, `range` or `choice`; None: nothing.

    >>> fault_of("charge.surcharge_permille", 100), fault_of("charge.surcharge_permille", 501)
    (None, 'range')
    >>> fault_of("offline.money", 1), fault_of("card.restore_channels", ["kiosk", "kiosk"])
    ('type', 'choice')
    """
    rule = CATALOGUE.get(key)
    if rule is None:
        return "key"
    if rule.unit is Unit.SWITCH:
        return None if isinstance(value, bool) else "type"
    if rule.unit is Unit.ONE_OF:
        return _choice(rule, [value] if isinstance(value, str) else None)
    if rule.unit is Unit.SOME_OF:
        return _choice(rule, value if isinstance(value, list) else None)
    if not isinstance(value, int) or isinstance(value, bool):
        return "type"
    return None if rule.least <= value <= rule.most else "range"


def _choice(rule: PolicyRule, said: list[Any] | None) -> str | None:
    if said is None or not all(isinstance(one, str) for one in said):
        return "type"
    return None if len({*said} & {*rule.choices}) == len(said) else "choice"


def disordered(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the first pair of keys of which the lower bound is above the upper one, or None.

    >>> disordered({"top_up.least_fen": 200, "top_up.most_fen": 100})
    ('top_up.least_fen', 'top_up.most_fen')
    """
    for low, high in NOT_ABOVE:
        if low in values and high in values and values[low] > values[high]:
            return low, high
    return None


def proposers(keys: Collection[str]) -> frozenset[Role]:
    """Return the roles that may propose changes to all of some known keys."""
    return frozenset.intersection(*(CATALOGUE[key].proposers for key in keys))


def approvers(keys: Collection[str]) -> frozenset[Role]:
    """Return the roles that may approve changes to all of some known keys."""
    return frozenset.intersection(*(CATALOGUE[key].approvers for key in keys))


def payload_hash(content: Mapping[str, Any]) -> bytes:
    """Return what tells whether a proposal still says what it said when it was made."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()
