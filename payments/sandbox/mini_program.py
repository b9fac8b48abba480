"""WeChat's mini-program interfaces, the platform's side."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, request

from payments.sandbox.signing import Signer
from payments.sandbox.state import Account, Temper
from payments.sandbox.world import World

_MAX_CODE = 512
_TOKEN_SECONDS = 7200

_Answer = dict[str, Any]


def blueprint(world: World) -> Blueprint:
    """Serve login, access token and the check of real names.

    Errors are 200 with an `errcode`, as WeChat has it.
    """
    routes = Blueprint("mini_program", __name__)

    @routes.get("/sns/jscode2session")
    def login() -> _Answer:
        return _log_in(world)

    @routes.post("/cgi-bin/stable_token")
    def stable_token() -> _Answer:
        given = _content()
        refusal = _refuse_app(world.signer, given)
        return refusal or {"access_token": access_token(world), "expires_in": _TOKEN_SECONDS}

    @routes.post("/intp/realname/checkrealnameinfo")
    def check_real_name() -> _Answer:
        return _check_real_name(world)

    return routes


def _log_in(world: World) -> _Answer:
    code = request.args.get("js_code", "")
    if refusal := _refuse_app(world.signer, request.args):
        return refusal
    if not code:
        return _error(41008, "missing code")
    if len(code) > _MAX_CODE or world.faults().refuse_login:
        return _error(40029, "invalid code")
    openid = world.state.log_in("wechat", code)
    return {"openid": openid, "session_key": world.state.derive("session key", openid)}


def _check_real_name(world: World) -> _Answer:
    content, state = _content(), world.state
    if request.args.get("access_token") != access_token(world):
        return _error(40001, "invalid credential")
    openid, grant = str(content.get("openid", "")), str(content.get("code", ""))
    if not grant or not openid or content.get("cred_type") != "1":
        return _error(47001, "data format error")
    if state.consenting("wechat", grant, openid) != openid:
        return {**_error(0, "ok"), "verify_openid": "V_OP_NM_UM", "verify_real_name": ""}
    person = state.person(str(content.get("real_name")), str(content.get("cred_id")))
    return _verdict(state.account("wechat", openid), person)


def _verdict(account: Account, person: str) -> _Answer:
    if account.person is None and account.temper is Temper.UNAVAILABLE:
        return _error(48001, "api unauthorized")
    matches = account.person == person if account.person else account.temper is Temper.MATCH
    return {
        **_error(0, "ok"),
        "verify_openid": "V_OP_NM_MA",
        "verify_real_name": "V_NM_ID_MA" if matches else "V_NM_ID_UM",
    }


def _refuse_app(signer: Signer, given: Mapping[str, Any]) -> _Answer | None:
    if given.get("appid") not in (signer.keys.wechat_app_id, signer.made.wechat_app_id):
        return _error(40013, "invalid appid")
    if given.get("secret") not in (
        signer.keys.wechat_app_secret,
        signer.made.wechat_app_secret,
    ):
        return _error(40125, "invalid appsecret")
    return None


def access_token(world: World) -> str:
    """Return the one token that is good; it never changes."""
    return world.state.derive("wechat token", world.signer.keys.wechat_app_id)


def _content() -> dict[str, Any]:
    content = request.get_json(force=True, silent=True)
    return content if isinstance(content, dict) else {}


def _error(errcode: int, errmsg: str) -> _Answer:
    return {"errcode": errcode, "errmsg": errmsg}
