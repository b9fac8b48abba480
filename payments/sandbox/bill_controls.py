"""Controls of past days: what really happened on one, and what its bill is to tell instead."""

from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

from flask import Blueprint, request

from payments.sandbox import bills
from payments.sandbox.bills import Difference, DifferenceKind
from payments.sandbox.control import require_text
from payments.sandbox.notices import host_of
from payments.sandbox.problems import Problem
from payments.sandbox.state import Order, OrderState, utc_text
from payments.sandbox.world import World

_YEARS = range(2000, 3000)
"""Others have midnights that no calendar holds in every zone."""
_CHANNELS = ("wechat", "alipay")
_KINDS = {"wechat": "jsapi", "alipay": "create"}
_TEXTS = ("out_trade_no", "trade_no", "description", "notify_url", "login_code")
_OF_A_PAYMENT = {"channel", "amount_fen", "paid_at", *_TEXTS}

_Answer = dict[str, Any]


def blueprint(world: World) -> Blueprint:
    """Serve them."""
    routes = Blueprint("bill_controls", __name__, url_prefix="/control")

    @routes.get("/bills/<channel>/<day>")
    def show(channel: str, day: str) -> _Answer:
        return tell(world, _channel(channel), read_day(day))

    @routes.post("/bill-differences")
    def set_differences() -> _Answer:
        given = _object("channel", "day", "differences")
        channel, day = _channel(given.get("channel")), read_day(given.get("day"))
        differences = _differences(channel, given.get("differences"))
        bills.set_differences(world, channel, day, differences)
        return tell(world, channel, day)

    @routes.post("/backdate")
    def backdate() -> _Answer:
        """Move a payment, and the refunds of it, to another time, so that a past day has trades."""
        given = _object("channel", "out_trade_no", "paid_at", "refunded_at")
        paid_at = _moment("paid_at", given.get("paid_at"))
        refunded_at = paid_at
        if "refunded_at" in given:
            refunded_at = _moment("refunded_at", given["refunded_at"])
        channel, number = _channel(given.get("channel")), str(given.get("out_trade_no"))
        if not world.state.backdate(
            channel, number, paid_at=utc_text(paid_at), refunded_at=utc_text(refunded_at)
        ):
            raise Problem(404, "order-unknown", "the channel has no paid order of that number")
        return {"channel": channel, "out_trade_no": number, "paid_at": utc_text(paid_at)}

    @routes.post("/history")
    def history() -> _Answer:
        """Remember payments that the merchant says were made here, all of them or none."""
        given = _object("orders").get("orders")
        if not isinstance(given, list):
            raise Problem(422, "orders-wrong", "orders is a list of objects")
        wanted = [_past_order(world, each) for each in given]
        with world.state.together():
            return {"added": sum(_remember(world, order) for order in wanted)}

    return routes


def _past_order(world: World, given: object) -> Order:
    """Read a payment as the order that it was, made and paid in one moment."""
    if not isinstance(given, dict) or set(given) != _OF_A_PAYMENT:
        raise Problem(422, "orders-wrong", f"an order has {', '.join(sorted(_OF_A_PAYMENT))}")
    for name in _TEXTS:
        require_text(name, given[name])
    channel, amount_fen = _channel(given["channel"]), given["amount_fen"]
    if not isinstance(amount_fen, int) or amount_fen is True or amount_fen < 1:
        raise Problem(422, "field-wrong", "amount_fen is a whole number of fen from 1")
    if not host_of(given["notify_url"]):
        raise Problem(422, "field-wrong", "notify_url is an address")
    at, kind = utc_text(_moment("paid_at", given["paid_at"])), _KINDS[channel]
    reference = world.state.derive(channel, kind, given["out_trade_no"])
    return Order(
        channel=channel,
        out_trade_no=given["out_trade_no"],
        kind=kind,
        fingerprint="",  # nobody ordered it here: no request is a repetition
        amount_fen=amount_fen,
        description=given["description"],
        notify_url=given["notify_url"],
        reference=given["trade_no"] if channel == "alipay" else f"wx{reference[:34]}",
        trade_no=given["trade_no"],
        payer=world.state.log_in(channel, given["login_code"]),
        created_at=at,
        expires_at=at,
        state=OrderState.PAID,
        paid_at=at,
    )


def _remember(world: World, order: Order) -> bool:
    """Store a payment unless it is known; tell whether this call did it."""
    fresh = world.state.order(order.channel, order.out_trade_no) is None
    stored = world.state.open_order(order)
    if (stored.trade_no, stored.amount_fen) != (order.trade_no, order.amount_fen):
        raise Problem(409, "order-other", "one of these numbers is another payment's")
    return fresh


def tell(world: World, channel: str, day: date) -> _Answer:
    """Tell a day as it truly was, and as its bill tells it."""
    lines = bills.true_lines(world, channel, day)
    differences = bills.differences_of(world, channel, day)
    return {
        "channel": channel,
        "day": day.isoformat(),
        "differences": [asdict(difference) for difference in differences],
        "rows": [line.told() for line in lines],
        "told": [line.told() for line in bills.told_lines(lines, differences, world)],
    }


def _differences(channel: str, given: object) -> list[Difference]:
    if not isinstance(given, list):
        raise Problem(422, "differences-wrong", "differences is a list of objects")
    return [_difference(channel, each) for each in given]


def _difference(channel: str, given: object) -> Difference:
    kinds = ", ".join(DifferenceKind)
    if not isinstance(given, dict) or not set(given) <= {"kind", "out_trade_no"}:
        raise Problem(422, "differences-wrong", "a difference has a kind and perhaps out_trade_no")
    if given.get("kind") not in list(DifferenceKind):
        raise Problem(422, "difference-unknown", f"kind is one of {kinds}")
    number = given.get("out_trade_no")
    if number is not None and not isinstance(number, str):
        raise Problem(422, "differences-wrong", "out_trade_no is a text")
    difference = Difference(DifferenceKind(given["kind"]), number)
    if difference.kind is DifferenceKind.WRONG_HASH and channel != "wechat":
        raise Problem(422, "difference-unknown", "only WeChat tells a hash")
    return difference


def _object(*names: str) -> dict[str, Any]:
    given = request.get_json(force=True, silent=True)
    if not isinstance(given, dict):
        raise Problem(400, "not-an-object", "send a JSON object")
    if unknown := sorted(set(given) - set(names)):
        raise Problem(422, "field-unknown", f"unknown: {', '.join(unknown)}")
    return given


def _channel(given: object) -> str:
    if given not in _CHANNELS:
        raise Problem(422, "channel-unknown", f"channel is one of {', '.join(_CHANNELS)}")
    return str(given)


def read_day(given: object) -> date:
    """Read a day.

    Raises:
        Problem: 422 `day-wrong`.
    """
    try:
        day = date.fromisoformat(str(given))
        if day.year not in _YEARS:
            raise ValueError(given)
        return day
    except ValueError:
        raise Problem(422, "day-wrong", "day is written YYYY-MM-DD") from None


def _moment(name: str, given: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(given))
        if moment.tzinfo is None:
            raise ValueError(given)
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise Problem(422, f"{name}-wrong", f"{name} is a time with its zone") from None
