"""The sandbox as one Flask application."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from payments.sandbox import (
    alipay,
    bill_controls,
    control,
    merchant,
    mini_program,
    pages,
    payer,
    subscriptions,
    wechat_pay,
)
from payments.sandbox.calls import call_of
from payments.sandbox.faults import Dice
from payments.sandbox.keys import prepare
from payments.sandbox.messages import Messages
from payments.sandbox.notices import Courier
from payments.sandbox.problems import Problem
from payments.sandbox.signing import Signer
from payments.sandbox.state import State
from payments.sandbox.world import World

_MAX_BODY_BYTES = 256 * 1024


def create_world(
    directory: Path, *, time_scale: float, environment: Mapping[str, str] | None = None
) -> World:
    """Open the memory in the directory, made at the first start, with a courier yet to start.

    Args:
        environment: may give the merchant other ids and keys than those made here.

    Raises:
        ChannelMisconfigured: the environment's values cannot be read.
    """
    keys = prepare(directory)
    signer = Signer(keys.of_merchant(environment or {}), keys)
    state = State(directory, keys.seed)
    dice = Dice(state.faults())
    courier = Courier(state, signer, dice, time_scale=time_scale)
    return World(state, signer, dice, courier, Messages(directory))


def create_app(world: World) -> Flask:
    """Serve both platforms, the controls, and the pages of payer and merchant."""
    app = Flask(__name__)
    app.json.ensure_ascii = False  # type: ignore[attr-defined] # the default provider has it
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES
    platforms = (wechat_pay, alipay, mini_program, subscriptions)
    for part in (*platforms, control, bill_controls, payer, merchant):
        app.register_blueprint(part.blueprint(world))
    pages.install(app, world)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.before_request
    def fail_before() -> Response | None:
        gateway = request.path == "/gateway.do"
        method = request.values.get("method", "") if gateway else ""
        called = call_of(request.method, request.path, method)
        if called is None:
            pages.require_this_machine()
            return None
        return _system_error() if world.meet(*called).answer_5xx else None

    @app.after_request
    def fail_after(response: Response) -> Response:
        faults = world.faults()
        time.sleep(faults.hang_seconds)
        return _system_error() if faults.lose_answer else response

    @app.errorhandler(Problem)
    def refuse(problem: Problem) -> Response:
        return problem.response()

    _refuse_malformed(app)

    @app.errorhandler(HTTPException)
    def refuse_http(error: HTTPException) -> Response:
        status = error.code or 400
        if status == HTTPStatus.NOT_FOUND and request.path.startswith(("/merchant/", "/pay/")):
            return pages.no_page()
        code = (error.name or "refused").lower().replace(" ", "-")
        return Problem(status, code, error.description or "").response()

    return app


def _refuse_malformed(app: Flask) -> None:
    @app.errorhandler(UnicodeError)
    def refuse_text(_: UnicodeError) -> Response:
        return Problem(400, "text-malformed", "a text holds half a surrogate pair").response()

    @app.errorhandler(RecursionError)
    def refuse_depth(_: RecursionError) -> Response:
        return Problem(400, "body-too-deep", "the JSON is nested too deeply").response()


def _system_error() -> Response:
    body = '{"code":"SYSTEM_ERROR","message":"系统错误"}'
    return Response(body, 500, content_type="application/json; charset=utf-8")
