"""The merchant's page: orders, notices, accounts, the day's bills, and the panel of faults."""

from collections.abc import Mapping
from datetime import UTC, datetime

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from payments._zone import SHANGHAI
from payments.sandbox import bill_controls, bills, control, pages, told
from payments.sandbox.faults import CALLS, CHANNELS, LIMITS, NAMES, PRESETS, FaultRefused, parse
from payments.sandbox.notices import LADDERS
from payments.sandbox.payer import find
from payments.sandbox.problems import Problem
from payments.sandbox.state import NoticeState, Temper
from payments.sandbox.world import OUTCOMES, NotPayable, World

_LISTED = 30
_STATES = ("unpaid", "paid", "closed", "expired")


def blueprint(world: World) -> Blueprint:
    """Serve the pages; what they show and do, the controls show and do, too."""
    routes = Blueprint("merchant", __name__)
    pages.guard(routes, world)

    @routes.get("/")
    def root() -> Response:
        return redirect(url_for("merchant.orders"), 302)

    _serve_orders(routes, world)
    _serve_notices(routes, world)
    _serve_refunds(routes, world)
    _serve_accounts(routes, world)
    _serve_days(routes, world)
    _serve_faults(routes, world)
    return routes


def _serve_orders(routes: Blueprint, world: World) -> None:
    @routes.get("/merchant")
    def orders() -> str:
        wanted = {name: request.args.get(name) or None for name in ("channel", "state", "number")}
        found, following = world.state.list_orders(
            **wanted, before=pages.page_place(request.args), limit=_LISTED
        )
        return render_template(
            "orders.html",
            room="orders",
            orders=[told.order(world, order) for order in found],
            following=following,
            wanted=wanted,
            channels=CHANNELS,
            states=_STATES,
        )

    @routes.get("/merchant/orders/<channel>/<out_trade_no>")
    def order(channel: str, out_trade_no: str) -> str:
        found = find(world, channel, out_trade_no)
        done = request.args.get("done")
        return render_template(
            "order.html",
            room="orders",
            order=told.order(world, found),
            payer=found.payer,
            reference=found.reference,
            done=done if done in {*OUTCOMES, "over", "sent"} else None,
        )

    @routes.post("/merchant/orders/<channel>/<out_trade_no>")
    def play(channel: str, out_trade_no: str) -> Response:
        found, outcome = find(world, channel, out_trade_no), request.form.get("outcome", "")
        control.require_one_of("outcome", outcome, OUTCOMES)
        try:
            world.play(found, outcome)
        except NotPayable:
            outcome = "over"
        return redirect(
            url_for("merchant.order", channel=channel, out_trade_no=out_trade_no, done=outcome), 303
        )


def _serve_notices(routes: Blueprint, world: World) -> None:
    @routes.get("/merchant/notices")
    def notices() -> str:
        state = request.args.get("state") or None
        found, following = world.state.list_notices(
            state=state, before=pages.page_place(request.args), limit=_LISTED
        )
        return render_template(
            "notices.html",
            room="notices",
            notices=found,
            following=following,
            state=state,
            states=[known.value for known in NoticeState],
            counts=world.state.count_notices(),
            ladders=LADDERS,
            time_scale=f"{world.courier.time_scale:g}",
            done="done" in request.args,
        )

    @routes.post("/merchant/notices/<notice_id>")
    def send(notice_id: str) -> Response:
        control.send_now(world, notice_id)
        channel, number = request.form.get("channel"), request.form.get("out_trade_no")
        if channel and number:
            find(world, channel, number)
            address = url_for("merchant.order", channel=channel, out_trade_no=number, done="sent")
            return redirect(address, 303)
        return redirect(url_for("merchant.notices", done=1), 303)


def _serve_refunds(routes: Blueprint, world: World) -> None:
    @routes.get("/merchant/refunds")
    def refunds() -> str:
        found, following = world.state.list_refunds(
            before=pages.page_place(request.args), limit=_LISTED
        )
        return render_template(
            "refunds.html",
            room="refunds",
            refunds=[told.refund(refund) for refund in found],
            following=following,
        )


def _serve_accounts(routes: Blueprint, world: World) -> None:
    @routes.get("/merchant/accounts")
    def accounts() -> str:
        platform = request.args.get("platform") or None
        found, following = world.state.list_accounts(
            platform=platform, before=pages.page_place(request.args), limit=_LISTED
        )
        return render_template(
            "accounts.html",
            room="accounts",
            accounts=[told.account(account) for account in found],
            following=following,
            platform=platform,
            platforms=CHANNELS,
            tempers=[known.value for known in Temper],
            done="done" in request.args,
        )

    @routes.post("/merchant/accounts")
    def register() -> Response:
        given = _read("platform", "login_code", "name", "document_number")
        control.register(world, given)
        return redirect(url_for("merchant.accounts", done=1), 303)

    @routes.post("/merchant/accounts/temper")
    def temper() -> Response:
        control.set_temper(world, _read("platform", "login_code", "temper"))
        return redirect(url_for("merchant.accounts", done=1), 303)


def _serve_days(routes: Blueprint, world: World) -> None:
    @routes.get("/merchant/days")
    def days() -> str:
        today = datetime.now(UTC).astimezone(SHANGHAI).date()
        given = request.args.get("day")
        day = bill_controls.read_day(given) if given else today
        return render_template(
            "days.html",
            room="days",
            day=day,
            finished=day < today,
            told=[bill_controls.tell(world, channel, day) for channel in CHANNELS],
            kinds=_kinds,
            done="done" in request.args,
        )

    @routes.post("/merchant/days/<channel>/<day>")
    def tell_wrongly(channel: str, day: str) -> Response:
        control.require_one_of("channel", channel, CHANNELS)
        kinds = [known for known in _kinds(channel) if known in request.form.getlist("kinds")]
        wanted = [bills.Difference(bills.DifferenceKind(kind)) for kind in kinds]
        bills.set_differences(world, channel, bill_controls.read_day(day), wanted)
        return redirect(url_for("merchant.days", day=day, done=1), 303)

    @routes.get("/merchant/days/<channel>/<day>")
    def bill(channel: str, day: str) -> Response:
        control.require_one_of("channel", channel, CHANNELS)
        content = bills.write(world, channel, bill_controls.read_day(day)).content
        if content is None:
            raise Problem(404, "bill-none", "there was no trade on that day")
        name = f"{channel}-{day}.{'csv' if channel == 'wechat' else 'zip'}"
        return Response(
            content,
            content_type="application/octet-stream",
            headers={"Content-Disposition": f"attachment; filename={name}"},
        )


def _kinds(channel: str) -> list[str]:
    """List what a channel's bill can tell wrongly: only WeChat tells a hash."""
    kinds = [known.value for known in bills.DifferenceKind]
    return kinds if channel == "wechat" else [kind for kind in kinds if kind != "wrong_hash"]


def _serve_faults(routes: Blueprint, world: World) -> None:
    def show(refused: str | None = None) -> str:
        plan = world.dice.plan
        return render_template(
            "faults.html",
            room="faults",
            plan=plan,
            names=NAMES,
            limits=LIMITS,
            presets=PRESETS,
            channels=CHANNELS,
            calls=CALLS,
            refused=refused,
            done="done" in request.args,
        )

    @routes.get("/merchant/faults")
    def faults() -> str:
        return show()

    @routes.post("/merchant/faults")
    def set_faults() -> Response | tuple[str, int]:
        try:
            world.set_faults(parse(_wanted_faults(request.form)))
        except FaultRefused as refused:
            return show(str(refused)), 422
        return redirect(url_for("merchant.faults", done=1), 303)


def _wanted_faults(form: Mapping[str, str]) -> dict[str, object]:
    """Read the panel: a preset, nothing, or its switches with their shares and numbers.

    Raises:
        FaultRefused: a field is no number.
    """
    if form.get("clear"):
        return {}
    wanted: dict[str, object] = {}
    if seed := form.get("seed", "").strip():
        wanted["seed"] = _number(seed, whole=True)
    if preset := form.get("preset"):
        return wanted | {"preset": preset}
    only: dict[str, object] = {"calls": request.form.getlist("calls")}
    if channel := form.get("channel"):
        only["channel"] = channel
    wanted["only"] = only
    for name in NAMES:
        if not form.get(f"on-{name}"):
            continue
        share = _number(form.get(f"share-{name}") or "100", whole=False) / 100
        if name in LIMITS:
            value = _number(form.get(f"value-{name}") or "1", whole=name == "duplicate")
            wanted[name] = {"value": value, "share": share}
        else:
            wanted[name] = share
    return wanted


def _number(text: str, *, whole: bool) -> float:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        raise FaultRefused(f"{text[:20]!r} is no number") from None


def _read(*names: str) -> dict[str, str]:
    """Read exactly these texts out of a form.

    Raises:
        Problem: 422 `field-wrong`.
    """
    given = {name: request.form.get(name, "").strip() for name in names}
    for name, value in given.items():
        control.require_text(name, value)
    return given
