"""The sandbox's own interface: play the payer, register people, set faults, look inside."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request

from payments.sandbox.faults import FaultRefused, parse
from payments.sandbox.problems import Problem
from payments.sandbox.state import NoticeState, Order, OrderState, Refund
from payments.sandbox.world import World

_PLATFORMS = ("wechat", "alipay")
_OUTCOMES = ("paid", "cancelled", "timeout")
_MAX_TEXT = 512

_Answer = dict[str, Any]


def blueprint(world: World) -> Blueprint:
    """Serve the controls."""
    routes = Blueprint("control", __name__, url_prefix="/control")
    state = world.state

    @routes.post("/pay")
    def pay() -> _Answer:
        given = _read("out_trade_no", "outcome")
        _require_one_of("outcome", given["outcome"], _OUTCOMES)
        return _play(world, _payable(world, given["out_trade_no"]), given["outcome"])

    @routes.post("/accounts")
    def register() -> _Answer:
        given = _read("platform", "login_code", "name", "document_number")
        _require_one_of("platform", given["platform"], _PLATFORMS)
        person = state.person(given["name"], given["document_number"])
        account_id = state.register(given["platform"], given["login_code"], person)
        return {"platform": given["platform"], "account_id": account_id}

    @routes.post("/faults")
    def set_faults() -> _Answer:
        state.set_faults(parse(_object()))
        return asdict(state.faults())

    @routes.errorhandler(FaultRefused)
    def refuse(refused: FaultRefused) -> Response:
        return Problem(422, "fault-unknown", str(refused)).response()

    @routes.get("/faults")
    def faults() -> _Answer:
        return asdict(state.faults())

    @routes.get("/orders")
    def orders() -> _Answer:
        return {"items": [_told(world, order) for order in state.orders()]}

    @routes.get("/orders/<out_trade_no>")
    def order(out_trade_no: str) -> _Answer:
        return {"items": [_told(world, order) for order in _find(world, out_trade_no)]}

    return routes


def _find(world: World, out_trade_no: str) -> list[Order]:
    found = world.state.orders(out_trade_no)
    if not found:
        raise Problem(404, "order-unknown", "no channel has an order of that number")
    return found


def _payable(world: World, out_trade_no: str) -> Order:
    """Find the order that a payer can pay now, on whichever channel it is."""
    found = _find(world, out_trade_no)
    now = datetime.now(UTC)
    for order in found:
        if order.state is OrderState.UNPAID and not order.expired(now):
            return order
    raise _not_payable(found[0])


def _play(world: World, order: Order, outcome: str) -> _Answer:
    notice: NoticeState | None = None
    if outcome == "paid":
        notice = world.pay(order)
        if notice is None:
            raise _not_payable(world.state.order(order.channel, order.out_trade_no) or order)
    elif outcome == "timeout":
        world.state.expire_order(order, now=datetime.now(UTC))
        # Alipay closes an expired trade and says so; WeChat does neither.
        if order.channel == "alipay" and world.state.close_order(order):
            notice = world.courier.announce(order)
    standing = world.state.order(order.channel, order.out_trade_no) or order
    return {
        "out_trade_no": order.out_trade_no,
        "channel": order.channel,
        "state": _state(standing),
        "notice": "none" if notice is None else _SAID[notice],
    }


_SAID = {
    NoticeState.PENDING: "sent",
    NoticeState.DROPPED: "dropped",
    NoticeState.NOT_LOOPBACK: "not-loopback",
}


def _told(world: World, order: Order) -> _Answer:
    return {
        "channel": order.channel,
        "out_trade_no": order.out_trade_no,
        "state": _state(order),
        "kind": order.kind,
        "amount_fen": order.amount_fen,
        "description": order.description,
        "trade_no": order.trade_no,
        "notify_url": order.notify_url,
        "created_at": order.created_at,
        "expires_at": order.expires_at,
        "paid_at": order.paid_at,
        "refunds": [_told_refund(refund) for refund in world.state.refunds(order)],
        "notices": world.state.notices(order),
    }


def _told_refund(refund: Refund) -> _Answer:
    return {
        "out_refund_no": refund.out_refund_no,
        "refund_no": refund.refund_no,
        "state": refund.standing(datetime.now(UTC)),
        "amount_fen": refund.amount_fen,
        "reason": refund.reason,
        "created_at": refund.created_at,
        "due_at": refund.due_at,
    }


def _state(order: Order) -> str:
    if order.state is OrderState.UNPAID and order.expired(datetime.now(UTC)):
        return "expired"
    return str(order.state)


def _not_payable(order: Order) -> Problem:
    return Problem(409, "order-not-payable", f"the order is {_state(order)}")


def _require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise Problem(422, f"{name}-unknown", f"{name} is one of {', '.join(choices)}")


def _object() -> dict[str, Any]:
    given = request.get_json(force=True, silent=True)
    if not isinstance(given, dict):
        raise Problem(400, "not-an-object", "send a JSON object")
    return given


def _read(*names: str) -> dict[str, str]:
    """Read exactly these texts out of the body."""
    given = _object()
    if unknown := sorted(set(given) - set(names)):
        raise Problem(422, "field-unknown", f"unknown: {', '.join(unknown)}")
    for name in names:
        value = given.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT:
            raise Problem(422, "field-wrong", f"{name} is a text of 1 to {_MAX_TEXT} characters")
    return given
