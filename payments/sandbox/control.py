"""The sandbox's own interface: play the payer, register people, set faults, look inside."""

from typing import Any

from flask import Blueprint, Response, request

from payments.sandbox import told
from payments.sandbox.faults import CALLS, CHANNELS, LIMITS, NAMES, PRESETS, FaultRefused, parse
from payments.sandbox.notices import LADDERS
from payments.sandbox.pages import page_place
from payments.sandbox.problems import Problem
from payments.sandbox.state import NoticeState, Order, Temper
from payments.sandbox.words import LANGUAGES, say
from payments.sandbox.world import OUTCOMES, NotPayable, World

_MAX_TEXT = 512
_STATES = ("unpaid", "paid", "closed", "expired")

_Answer = dict[str, Any]


def blueprint(world: World) -> Blueprint:
    """Serve the controls."""
    routes = Blueprint("control", __name__, url_prefix="/control")
    _serve_orders(routes, world)
    _serve_notices(routes, world)
    _serve_accounts(routes, world)
    _serve_faults(routes, world)
    return routes


def _serve_orders(routes: Blueprint, world: World) -> None:
    @routes.post("/pay")
    def pay() -> _Answer:
        given = _read("out_trade_no", "outcome", optional=("channel",))
        require_one_of("outcome", given["outcome"], OUTCOMES)
        if "channel" in given:
            require_one_of("channel", given["channel"], CHANNELS)
        return _play(world, given["out_trade_no"], given.get("channel"), given["outcome"])

    @routes.get("/orders")
    def orders() -> _Answer:
        found, following = world.state.list_orders(
            channel=_choice("channel", CHANNELS),
            state=_choice("state", _STATES),
            number=request.args.get("number") or None,
            before=page_place(request.args),
        )
        return {"items": [told.order(world, order) for order in found], "next": following}

    @routes.get("/orders/<out_trade_no>")
    def order(out_trade_no: str) -> _Answer:
        return {"items": [told.order(world, order) for order in _find(world, out_trade_no)]}


def _serve_notices(routes: Blueprint, world: World) -> None:
    @routes.get("/notices")
    def notices() -> _Answer:
        found, following = world.state.list_notices(
            state=_choice("state", tuple(NoticeState)), before=page_place(request.args)
        )
        return {
            "items": found,
            "next": following,
            "counts": world.state.count_notices(),
            "ladders": LADDERS,
            "time_scale": world.courier.time_scale,
        }

    @routes.get("/refunds")
    def refunds() -> _Answer:
        found, following = world.state.list_refunds(before=page_place(request.args))
        return {"items": [told.refund(refund) for refund in found], "next": following}

    @routes.post("/notices/<notice_id>/send")
    def send(notice_id: str) -> _Answer:
        return {"notice_id": notice_id, "state": send_now(world, notice_id)}


def _serve_accounts(routes: Blueprint, world: World) -> None:
    @routes.get("/accounts")
    def accounts() -> _Answer:
        found, following = world.state.list_accounts(
            platform=_choice("platform", CHANNELS), before=page_place(request.args)
        )
        return {"items": [told.account(account) for account in found], "next": following}

    @routes.post("/accounts")
    def add() -> _Answer:
        return register(world, _read("platform", "login_code", "name", "document_number"))

    @routes.post("/accounts/temper")
    def temper() -> _Answer:
        return set_temper(world, _read("platform", "login_code", "temper"))


def _serve_faults(routes: Blueprint, world: World) -> None:
    @routes.post("/faults")
    def set_faults() -> _Answer:
        world.set_faults(parse(_object()))
        return world.dice.plan.told()

    @routes.errorhandler(FaultRefused)
    def refuse(refused: FaultRefused) -> Response:
        return Problem(422, "fault-unknown", str(refused)).response()

    @routes.get("/faults")
    def faults() -> _Answer:
        return {
            **world.dice.plan.told(),
            "described": {name: _described(name) for name in NAMES},
            "presets": PRESETS,
            "calls": CALLS,
        }


def _described(name: str) -> _Answer:
    return {
        "takes": "number" if name in LIMITS else "share",
        "largest": LIMITS.get(name, 1),
        **{language: say(language, "about", name) for language in LANGUAGES},
    }


def send_now(world: World, notice_id: str) -> NoticeState:
    """Send a notice now, also one that is over.

    Raises:
        Problem: 404 `notice-unknown`, 409 `notice-not-loopback`.
    """
    state = world.courier.send_now(notice_id)
    if state is None:
        raise Problem(404, "notice-unknown", "no notice has that number")
    if state is NoticeState.NOT_LOOPBACK:
        raise Problem(409, "notice-not-loopback", "its address is not on this machine")
    return state


def register(world: World, given: dict[str, str]) -> _Answer:
    """Give the account of a login code a real name."""
    require_one_of("platform", given["platform"], CHANNELS)
    person = world.state.person(given["name"], given["document_number"])
    account_id = world.state.register(given["platform"], given["login_code"], person)
    return {"platform": given["platform"], "account_id": account_id}


def set_temper(world: World, given: dict[str, str]) -> _Answer:
    """Say how an account answers to checks of its real name, and forget the name."""
    require_one_of("platform", given["platform"], CHANNELS)
    require_one_of("temper", given["temper"], tuple(Temper))
    platform, temper = given["platform"], Temper(given["temper"])
    account_id = world.state.set_temper(platform, given["login_code"], temper)
    return {"platform": platform, "account_id": account_id, "temper": temper}


def _find(world: World, out_trade_no: str) -> list[Order]:
    found = world.state.orders(out_trade_no)
    if not found:
        raise Problem(404, "order-unknown", "no channel has an order of that number")
    return found


def _play(world: World, out_trade_no: str, channel: str | None, outcome: str) -> _Answer:
    """Play the payer of the order that can be paid, on whichever channel it is."""
    found = [order for order in _find(world, out_trade_no) if channel in {None, order.channel}]
    if not found:
        raise Problem(404, "order-unknown", "that channel has no order of that number")
    for order in found:
        try:
            notice = world.play(order, outcome)
        except NotPayable:
            continue
        standing = told.order(world, world.state.order(order.channel, out_trade_no) or order)
        return {
            "out_trade_no": order.out_trade_no,
            "channel": order.channel,
            "state": standing["state"],
            "notice": "none" if notice is None else _SAID[notice],
        }
    standing = told.order(world, world.state.order(found[0].channel, out_trade_no) or found[0])
    raise Problem(409, "order-not-payable", f"the order is {standing['state']}")


_SAID = {
    NoticeState.PENDING: "sent",
    NoticeState.DROPPED: "dropped",
    NoticeState.NOT_LOOPBACK: "not-loopback",
}


def require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse what is no choice.

    Raises:
        Problem: 422 `…-unknown`.
    """
    if value not in choices:
        raise Problem(422, f"{name}-unknown", f"{name} is one of {', '.join(choices)}")


def _choice(name: str, choices: tuple[str, ...]) -> str | None:
    value = request.args.get(name)
    if not value:
        return None
    require_one_of(name, value, choices)
    return value


def _object() -> dict[str, Any]:
    given = request.get_json(force=True, silent=True)
    if not isinstance(given, dict):
        raise Problem(400, "not-an-object", "send a JSON object")
    return given


def _read(*names: str, optional: tuple[str, ...] = ()) -> dict[str, str]:
    """Read exactly these texts out of the body."""
    given = _object()
    if unknown := sorted(set(given) - {*names, *optional}):
        raise Problem(422, "field-unknown", f"unknown: {', '.join(unknown)}")
    for name in (*names, *(name for name in optional if name in given)):
        require_text(name, given.get(name))
    return given


def require_text(name: str, value: object) -> None:
    """Refuse what is no text of a bearable length.

    Raises:
        Problem: 422 `field-wrong`.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT:
        raise Problem(422, "field-wrong", f"{name} is a text of 1 to {_MAX_TEXT} characters")
