"""Controls of bills: what really happened on a day, and what its bill is to tell instead."""

from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

from flask import Blueprint, request

from payments.sandbox import bills
from payments.sandbox.bills import Difference, DifferenceKind
from payments.sandbox.problems import Problem
from payments.sandbox.state import utc_text
from payments.sandbox.world import World

_YEARS = range(2000, 3000)
"""Others have midnights that no calendar holds in every zone."""
_CHANNELS = ("wechat", "alipay")

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

    return routes


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
