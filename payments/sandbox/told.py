"""How orders, refunds and accounts are told: to the controls, and on the merchant's page."""

from datetime import UTC, datetime
from typing import Any

from payments.sandbox.state import Account, Order, Refund
from payments.sandbox.world import World

Told = dict[str, Any]


def order(world: World, known: Order) -> Told:
    """Tell an order with its notices and their sendings."""
    return {
        "channel": known.channel,
        "out_trade_no": known.out_trade_no,
        "state": known.standing(datetime.now(UTC)),
        "kind": known.kind,
        "amount_fen": known.amount_fen,
        "description": known.description,
        "trade_no": known.trade_no,
        "notify_url": known.notify_url,
        "created_at": known.created_at,
        "expires_at": known.expires_at,
        "paid_at": known.paid_at,
        "refunds": [refund(one) for one in world.state.refunds(known)],
        "notices": world.state.notices(known),
    }


def refund(known: Refund) -> Told:
    """Tell a refund."""
    return {
        "channel": known.channel,
        "out_trade_no": known.out_trade_no,
        "out_refund_no": known.out_refund_no,
        "refund_no": known.refund_no,
        "state": known.standing(datetime.now(UTC)),
        "amount_fen": known.amount_fen,
        "reason": known.reason,
        "created_at": known.created_at,
        "due_at": known.due_at,
    }


def account(known: Account) -> Told:
    """Tell an account; of its real name, the beginning of the digest."""
    return {
        "platform": known.platform,
        "login_code": known.login_code,
        "account_id": known.account_id,
        "temper": known.temper,
        "person": known.person[:12] if known.person else None,
    }
