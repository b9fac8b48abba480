"""What WeChat Pay says of payments and refunds, read into our words."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from payments._plain import handle, in_utc, trade_number
from payments.channel import Refund, RefundState, Trade, TradeState

STATES: Final = {
    "SUCCESS": TradeState.PAID,
    "REFUND": TradeState.REFUNDED,
    "NOTPAY": TradeState.UNPAID,
    "USERPAYING": TradeState.UNPAID,
    "PAYERROR": TradeState.UNPAID,
    "CLOSED": TradeState.CLOSED,
    "REVOKED": TradeState.CLOSED,
}
REFUND_STATES: Final = {
    "PROCESSING": RefundState.PROCESSING,
    "SUCCESS": RefundState.SUCCEEDED,
    "CLOSED": RefundState.CLOSED,
    "ABNORMAL": RefundState.ABNORMAL,
}


def read_trade(data: dict[str, Any]) -> Trade:
    """Read WeChat's transaction, out of an answer or a notice.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is not one.
    """
    state = STATES[data["trade_state"]]
    amount = data.get("amount")
    paid = state in {TradeState.PAID, TradeState.REFUNDED}
    if paid and (amount is None or not data.get("transaction_id")):
        raise ValueError("a payment without amount or number")
    return Trade(
        out_trade_no=text(data, "out_trade_no"),
        state=state,
        amount_fen=None if amount is None else fen(amount["total"]),
        currency="CNY" if amount is None else amount.get("currency", "CNY"),
        trade_no=transaction_id(data) if data.get("transaction_id") else None,
        merchant_id=text(data, "mchid"),
        app_id=text(data, "appid"),
        paid_at=moment(data.get("success_time")),
        payer=(data.get("payer") or {}).get("openid"),
    )


def read_refund(data: dict[str, Any], status: str) -> Refund:
    """Read WeChat's refund, out of an answer or a notice, which spell its status differently.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is not one.
    """
    return Refund(
        out_refund_no=text(data, "out_refund_no"),
        out_trade_no=text(data, "out_trade_no"),
        state=REFUND_STATES[data[status]],
        amount_fen=fen(data["amount"]["refund"]),
        refund_no=text(data, "refund_id"),
        refunded_at=moment(data.get("success_time")),
    )


def fen(value: object) -> int:
    """Return an amount.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("not an amount in fen")
    return value


def moment(rfc3339: str | None) -> datetime | None:
    """Return a time, in UTC; None for none.

    Raises:
        ValueError: anything else.
    """
    return in_utc(datetime.fromisoformat(rfc3339)) if rfc3339 else None


def transaction_id(data: Mapping[str, Any]) -> str:
    """Return WeChat's number of a payment.

    Raises:
        ValueError: it is missing, or none.
    """
    return trade_number(data.get("transaction_id"))


def text(data: Mapping[str, Any], name: str) -> str:
    """Return a number or handle.

    Raises:
        ValueError: it is missing, or none.
    """
    return handle(data.get(name))
