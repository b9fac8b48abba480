"""The payer's page: what WeChat and Alipay show when a mini program asks for money (收银台)."""

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from payments.sandbox import pages, told
from payments.sandbox.control import require_one_of
from payments.sandbox.problems import Problem
from payments.sandbox.state import Order
from payments.sandbox.world import OUTCOMES, NotPayable, World


def blueprint(world: World) -> Blueprint:
    """Serve the cashier of each platform, and the scanner that leads there from a QR code."""
    routes = Blueprint("payer", __name__, url_prefix="/pay")
    pages.guard(routes, world)

    @routes.get("")
    def scan() -> Response | str:
        code = request.args.get("code", "").strip()
        order = world.state.order_of(code) if code else None
        if order is not None:
            return redirect(_address(order), 303)
        return render_template(
            "scan.html", code=code, waiting=world.state.waiting_codes(), room="scan"
        )

    @routes.get("/<channel>/<out_trade_no>")
    def show(channel: str, out_trade_no: str) -> str:
        order = find(world, channel, out_trade_no)
        merchants = {
            "wechat": world.signer.keys.wechat_merchant_id,
            "alipay": world.signer.keys.alipay_seller_id,
        }
        return render_template(
            "payer.html",
            order=told.order(world, order),
            merchant=merchants[order.channel],
            cancelled="cancelled" in request.args,
        )

    @routes.post("/<channel>/<out_trade_no>")
    def choose(channel: str, out_trade_no: str) -> Response:
        order, outcome = find(world, channel, out_trade_no), request.form.get("outcome", "")
        require_one_of("outcome", outcome, OUTCOMES)
        try:
            world.play(order, outcome)
        except NotPayable:
            return redirect(_address(order), 303)  # the page says how it stands
        return redirect(_address(order, cancelled=outcome == "cancelled"), 303)

    return routes


def find(world: World, channel: str, out_trade_no: str) -> Order:
    """Find an order of a channel.

    Raises:
        Problem: 404 `order-unknown`.
    """
    order = world.state.order(channel, out_trade_no)
    if order is None:
        raise Problem(404, "order-unknown", "that channel has no order of that number")
    return order


def _address(order: Order, *, cancelled: bool = False) -> str:
    address = url_for("payer.show", channel=order.channel, out_trade_no=order.out_trade_no)
    return f"{address}?cancelled" if cancelled else address
