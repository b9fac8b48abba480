"""The keys of all policies and the values that the system ships with."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "standard": {
        "card.replacement_fee_fen": 2_000,
        "card.replacement_fee_temporary_fen": 2_000,
        "card.restore_channels": ["counter", "kiosk", "mini_program"],
        "cash.difference_fen": 1_000,
        "cash.least_fen": 100,
        "cash.most_fen": 50_000,
        "cash.shift_most_fen": 2_000_000,
        "charge.per_charge_cap_fen": 50_000,
        "charge.per_day_cap_fen": 100_000,
        "charge.surcharge_permille": 100,
        "code.issues_per_minute": 12,
        "code.lifetime_seconds": 60,
        "code.pay_default": "signed",
        "code.refresh_seconds": 30,
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
        "refund.alipay_days": 85,  # younger top-ups go back; Alipay's contract says 3 months
        "refund.enabled": True,  # whether holders send their balance back from the phone
        "refund.least_fen": 1,
        "refund.per_day": 5,  # how often a holder may ask on one accounting day
        "refund.wechat_days": 360,  # WeChat Pay takes back for 365 days
        "restore.step_up_minutes": 5,
        "top_up.least_fen": 100,
        "top_up.most_fen": 50_000,
        "top_up.most_balance_fen": 200_000,
        "top_up.valid_minutes": 30,
        "top_up.unpaid_orders": 10,
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
