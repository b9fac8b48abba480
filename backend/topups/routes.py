"""HTTP for top-ups: the phone's orders, and the channels' callbacks."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Response, request
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.cards.service import AccountClosed, CardExpired
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import login
from backend.holders.limits import BelowLeast, LimitExceeded
from backend.holders.login import HolderCaller, NotBound
from backend.holders.permissions import NotPermitted
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.paging import CursorUnknown, PageQuery, page, place_of
from backend.http.parts import parts
from backend.http.problems import raises
from backend.http.rates import TooManyRequests
from backend.operation_log.refusals import logged
from backend.topups import asking, figures, following, refunding, service, settling
from backend.topups.models import TopUp, TopUpState
from backend.topups.rules import UNPAID
from backend.topups.schemas import TopUpList, TopUpReply, TopUpRequest
from backend.topups.service import AlreadyPaid, ChannelOff, TooManyUnpaid
from payments import Channel, ChannelBusy, NoticeForged

SYNCS_A_MINUTE = 60
ORDERS_A_MINUTE = 60
SETTLED = (TopUpState.PAID, TopUpState.RETURNED, TopUpState.EXCEPTION)

log = logging.getLogger(__name__)

blueprint = guard(
    Blueprint("top-ups", __name__, url_prefix="/me/top-ups", description="Top up (充值)"),
    "holder",
    login.authenticate,
)
callbacks = guard(
    Blueprint("callbacks", __name__, url_prefix="/callbacks", description="Channel notices (回调)"),
    "nobody",  # the signature over the raw body says who sent it
    None,
)


@blueprint.route("/<uuid:top_up_id>", methods=["PUT"])
@blueprint.arguments(TopUpRequest)
@raises(
    blueprint,
    Unauthenticated,
    NotBound,
    NotFound,
    IdReused,
    ChannelOff,
    TooManyRequests,
    AlreadyPaid,
    CardExpired,
    AccountClosed,
    NotPermitted,
    BelowLeast,
    LimitExceeded,
    TooManyUnpaid,
)
@blueprint.alt_response(201, schema=TopUpReply, description="Ordered now.")
@blueprint.response(200, TopUpReply)
@logged("top_up.order", subject="top_up_id")
def create_top_up(body: dict[str, Any], top_up_id: UUID) -> Any:
    """Order a top-up and get what the platform's cashier needs.

    `client_params` is null while the channel has not answered: ask again with the same id.  From
    its answer on, every retry gets that one, `pending`, for ever; how the order stands by now,
    paid or closed, is for `GET` to tell.

    `replaces` names the unpaid order in whose place this one stands, because the holder chose
    another channel or amount.  It is closed at its channel first; if it was paid meanwhile it is
    credited, and this one is refused with `top-up-paid`.  While its channel does not say whether it
    is closed, this one goes on: of the two, whichever is paid second goes back to its payer.
    """
    who: HolderCaller = caller()
    own, name = parts(), body["channel"]
    channel = own.channels.get(name)
    if channel is None:
        raise ChannelOff(channel=name)
    content = {
        "top_up_id": top_up_id,
        "holder_id": who.holder_id,
        "channel": name,
        "amount_fen": body["amount_fen"],
        "replaces_id": body.get("replaces"),
    }
    with transaction() as session:
        earlier = service.find_earlier(session, **content)
    if earlier is None:
        own.rates.count(f"top-up:{who.bound_to}", most=ORDERS_A_MINUTE, seconds=60)
        if content["replaces_id"] is not None:
            _withdraw(content["replaces_id"], who)
    with transaction() as session:
        top_up, first = service.order(
            session,
            **content,
            payer_sealed=who.account_sealed if who.platform == name else None,
            actor=who.actor,
            now=clock.now(),
        )
    if top_up.state is TopUpState.CREATED:
        top_up = asking.place_order(top_up, channel=channel, sealer=own.sealer)
    return _as_ordered(top_up), 201 if first else 200


def _withdraw(top_up_id: UUID, who: HolderCaller) -> None:
    """Have the order that is to be replaced closed at its channel, now, however young it is.

    Raises:
        NotFound: there is none, or it is somebody else's.
        AlreadyPaid: it was paid.
    """
    now = clock.now()
    with transaction() as session:
        top_up = service.find(session, top_up_id=top_up_id, holder_id=who.holder_id)
    channel = parts().channels.get(top_up.channel)
    if channel is not None and top_up.state in (*UNPAID, TopUpState.CLOSING):
        top_up = asking.close(following.question_about(top_up, now=now), channel=channel, now=now)
    service.refuse_paid(top_up)


def _as_ordered(top_up: TopUp) -> Any:
    """Return an order as it stood when the channel took it; one that it never took, as it is."""
    if top_up.client_params is None:
        return _reply(top_up)
    return _reply(top_up) | {"state": TopUpState.PENDING, "paid_at": None}


def _reply(top_up: TopUp, refunded_fen: int = 0) -> dict[str, Any]:
    fields = {name: getattr(top_up, name, None) for name in TopUpReply().fields}
    return fields | {"refunded_fen": refunded_fen}


def _replies(session: Session, top_ups: Sequence[TopUp]) -> list[dict[str, Any]]:
    """Return top-ups with what of them has gone back or is on its way."""
    back = refunding.refunded_fen(session, top_ups)
    return [_reply(top_up, back[top_up.id]) for top_up in top_ups]


def _standing(top_up: TopUp) -> dict[str, Any]:
    with transaction() as session:
        return _replies(session, [top_up])[0]


@blueprint.route("", methods=["GET"])
@blueprint.arguments(PageQuery, location="query")
@raises(blueprint, Unauthenticated, NotBound, CursorUnknown)
@blueprint.response(200, TopUpList)
def list_top_ups(query: dict[str, Any]) -> dict[str, Any]:
    """List the caller's top-ups, newest first."""
    with transaction() as session:
        rows = figures.list_top_ups(
            session,
            holder_id=caller().holder_id,
            before=place_of(query.get("cursor")),
            limit=query["limit"] + 1,
        )
        found = page(rows, limit=query["limit"], at="created_at")
        return found | {"items": _replies(session, found["items"])}


@blueprint.route("/<uuid:top_up_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, NotBound, NotFound)
@blueprint.response(200, TopUpReply)
def read_top_up(top_up_id: UUID) -> Any:
    """Tell how a top-up stands."""
    with transaction() as session:
        top_up = service.find(session, top_up_id=top_up_id, holder_id=caller().holder_id)
        return _replies(session, [top_up])[0]


@blueprint.route("/<uuid:top_up_id>/sync", methods=["POST"])
@raises(blueprint, Unauthenticated, NotBound, NotFound, TooManyRequests)
@blueprint.response(200, TopUpReply)
def sync_top_up(top_up_id: UUID) -> Any:
    """Ask the channel now how a top-up stands, as the phone does when it comes back from paying."""
    who: HolderCaller = caller()
    own, now = parts(), clock.now()
    own.rates.count(f"sync:{who.bound_to}", most=SYNCS_A_MINUTE, seconds=60)
    with transaction() as session:
        top_up = service.find(session, top_up_id=top_up_id, holder_id=who.holder_id)
    return _standing(_ask(top_up, now=now))


def _ask(top_up: TopUp, *, now: datetime) -> TopUp:
    """Ask the channel about an order that is not settled; one that is busy, the job asks later."""
    own = parts()
    channel = own.channels.get(top_up.channel)
    if channel is not None and top_up.state not in SETTLED:
        with suppress(ChannelBusy):
            question = following.question_about(top_up, now=now)
            return asking.ask(question, channel=channel, sealer=own.sealer, now=now)
    return top_up


@blueprint.route("/<uuid:top_up_id>/cancel", methods=["POST"])
@raises(blueprint, Unauthenticated, NotBound, NotFound, TooManyRequests)
@blueprint.response(200, TopUpReply)
@logged("top_up.cancel", subject="top_up_id")
def cancel_top_up(top_up_id: UUID) -> Any:
    """Give up an unpaid top-up; the answer says how it stands.

    `closed` only when its channel says that nobody can pay it any more; `closing` until then;
    `paid` when the payer was faster.  WeChat Pay closes no order younger than five minutes at a
    mere wish: until then it is `closing`, and a payment of it is credited.
    """
    who: HolderCaller = caller()
    own, now = parts(), clock.now()
    own.rates.count(f"sync:{who.bound_to}", most=SYNCS_A_MINUTE, seconds=60)
    with transaction() as session:
        top_up = service.cancel(
            session, top_up_id=top_up_id, holder_id=who.holder_id, actor=who.actor, now=now
        )
    if top_up.state is TopUpState.CLOSING:
        top_up = _ask(top_up, now=now)
    return _standing(top_up)


def _notice(media_type: str) -> dict[str, Any]:
    return {
        "description": "As the channel signed it; the signature over the raw body is the proof.",
        "content": {media_type: {"schema": {"type": "object"}}},
    }


WECHAT_REFUSAL = {
    "type": "object",
    "properties": {"code": {"const": "FAIL"}, "message": {"type": "string"}},
    "required": ["code", "message"],
}


@callbacks.route("/wechat-pay", methods=["POST"])
@callbacks.doc(requestBody=_notice("application/json"))
@raises(callbacks, NotFound)
@callbacks.alt_response(400, schema=WECHAT_REFUSAL, description="Not believed or not stored.")
@callbacks.response(204)
def receive_wechat_notice() -> Response:
    """Receive a WeChat Pay v3 notice: 204 once its effect is stored, 4xx or 5xx otherwise."""
    return _receive("wechat")


@callbacks.route("/alipay", methods=["POST"])
@callbacks.doc(requestBody=_notice("application/x-www-form-urlencoded"))
@raises(callbacks, NotFound)
@callbacks.response(200, {"type": "string"}, content_type="text/plain")
def receive_alipay_notice() -> Response:
    """Receive an Alipay notice: exactly `success` once its effect is stored, `fail` otherwise."""
    return _receive("alipay")


def _receive(name: str) -> Response:
    channel = parts().channels.get(name)
    if channel is None:
        raise NotFound
    body = request.get_data(cache=False)
    try:
        accepted = _work(channel, body, now=clock.now())
    except Exception:
        # Nothing is stored, and the platform understands its own words only: it sends it again.
        log.exception("a notice of %s could not be worked", name)
        accepted = False
    answer = channel.acknowledge(accepted=accepted)
    return Response(answer.body, answer.status, content_type=answer.content_type)


def _work(channel: Channel, body: bytes, *, now: datetime) -> bool:
    """Keep a notice and do what it says; say whether the platform may forget it."""
    try:
        notice = channel.parse_notice(dict(request.headers), body, now=now)
    except NoticeForged as error:
        with transaction() as session:
            settling.keep_forged(
                session, channel=channel.name, reason=error.reason, body=body, now=now
            )
        return False
    with transaction() as session:
        outcome = settling.receive_notice(session, notice=notice, body=body, now=now)
    return outcome in settling.ACKNOWLEDGED
