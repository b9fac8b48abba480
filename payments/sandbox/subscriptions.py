"""Sending subscribe messages as WeChat has it, and the payer's answer to being asked."""

from typing import Any

from flask import Blueprint, request

from payments.sandbox.messages import account_digest, unfit_field
from payments.sandbox.mini_program import access_token
from payments.sandbox.problems import Problem
from payments.sandbox.templates import TEMPLATES
from payments.sandbox.world import World

_MAX_TEXT = 512

_Answer = dict[str, Any]


def blueprint(world: World) -> Blueprint:
    """Serve the sending, and the controls around it."""
    routes = Blueprint("subscriptions", __name__)

    @routes.post("/cgi-bin/message/subscribe/send")
    def send() -> _Answer:
        return _send(world)

    @routes.get("/control/templates")
    def templates() -> _Answer:
        return {
            "items": [
                {"id": known.id, "title": known.title, "long_term": known.long_term}
                for known in TEMPLATES.values()
            ]
        }

    @routes.post("/control/consents")
    def consent() -> _Answer:
        account_id, template_ids = _consent(world, _object())
        for template_id in template_ids:
            world.messages.agree(account_id, template_id)
        if not template_ids:
            world.messages.withdraw(account_id)
        return {"account": account_digest(account_id), "accepted": template_ids}

    @routes.get("/control/messages")
    def messages() -> _Answer:
        return {"items": world.messages.arrived()}

    return routes


def _send(world: World) -> _Answer:
    content = request.get_json(force=True, silent=True)
    if request.args.get("access_token") != access_token(world):
        return _error(40001, "invalid credential, access_token is invalid or not latest")
    if not isinstance(content, dict):
        return _error(47001, "data format error")
    return _deliver(world, content)


def _deliver(world: World, content: dict[str, Any]) -> _Answer:
    account_id = content.get("touser")
    if not isinstance(account_id, str) or not _is_known(world, account_id):
        return _error(40003, "invalid openid")
    template = TEMPLATES.get(str(content.get("template_id")))
    if template is None:
        return _error(40037, "invalid template_id")
    if unfit := unfit_field(template, content.get("data")):
        return _error(47003, f"argument invalid! data.{unfit}")
    data = {field: content["data"][field]["value"] for field in template.fields}
    if not world.messages.deliver(account_id, template, str(content.get("page", "")), data):
        return _error(43101, "user refuse to accept the msg")
    return _error(0, "ok")


def _is_known(world: World, account_id: str) -> bool:
    return world.state.knows("wechat", account_id) or world.messages.knows(account_id)


def _consent(world: World, given: dict[str, Any]) -> tuple[str, list[str]]:
    """Read whose answer it is, by login code or account id, and which templates they accept."""
    if unknown := sorted(set(given) - {"login_code", "account_id", "template_ids"}):
        raise Problem(422, "field-unknown", f"unknown: {', '.join(unknown)}")
    who = given.get("login_code") or given.get("account_id")
    if not isinstance(who, str) or len(who) > _MAX_TEXT:
        raise Problem(422, "field-wrong", "login_code or account_id is a text")
    template_ids = given.get("template_ids")
    if not isinstance(template_ids, list) or not all(
        isinstance(known, str) and known in TEMPLATES for known in template_ids
    ):
        raise Problem(422, "template-unknown", "template_ids lists known templates")
    account_id = world.state.log_in("wechat", who) if given.get("login_code") else who
    return account_id, template_ids


def _object() -> dict[str, Any]:
    given = request.get_json(force=True, silent=True)
    if not isinstance(given, dict):
        raise Problem(400, "not-an-object", "send a JSON object")
    return given


def _error(errcode: int, errmsg: str) -> _Answer:
    return {"errcode": errcode, "errmsg": errmsg}
