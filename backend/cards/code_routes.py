"""HTTP for card codes (动态码): show them, draw them, burn them."""

from typing import Any

from flask import Response
from flask_smorest import Blueprint

from backend import clock
from backend.cards import codes, service
from backend.cards.rules import NEEDED_FOR
from backend.cards.schemas import CodesReply, CodesRequest, ImageQuery
from backend.cards.service import CARD_REFUSALS
from backend.db import transaction
from backend.errors import NotFound, ServiceUnavailable
from backend.holders import login, permissions
from backend.holders.limits import PaymentPaused, holder_of
from backend.holders.login import HolderCaller, NotBound
from backend.holders.permissions import NotPermitted
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.http.rates import TooManyRequests
from backend.operation_log.refusals import logged
from backend.policies.service import policies_at
from qr import Scope
from qr.image import draw_png, draw_svg

SCOPES = {"pay": Scope.PAY, "gate": Scope.GATE}


blueprint = guard(
    Blueprint("codes", __name__, url_prefix="/me/codes", description="Card codes (动态码)"),
    "holder",
    login.authenticate,
)


@blueprint.route("", methods=["POST"])
@blueprint.arguments(CodesRequest)
@raises(
    blueprint,
    Unauthenticated,
    NotBound,
    *CARD_REFUSALS,
    NotPermitted,
    PaymentPaused,
    TooManyRequests,
    ServiceUnavailable,
)
@blueprint.response(200, CodesReply)
def issue_codes(request: dict[str, Any]) -> dict[str, Any]:
    """Make codes to show (动态码): four signed ones for two minutes, or one short one.

    A short code is for paying only; a gate gets signed codes whatever was asked.
    """
    who: HolderCaller = caller()
    now, own = clock.now(), parts()
    scope = SCOPES[request["scope"]]
    with transaction() as session:
        card = service.usable_virtual_card(session, holder_id=who.holder_id, now=clock.now())
        holder = holder_of(session, holder_id=who.holder_id)
        permissions.require(holder, NEEDED_FOR[scope])
        if scope is Scope.PAY and holder.payment_paused:
            raise PaymentPaused
        policies = policies_at(session, now)
        after = codes.newest_spent(session, card=card, scope=scope)
    own.rates.count(f"codes:{card.id}", most=policies["code.issues_per_minute"], seconds=60)
    kind = request.get("kind") or policies["code.pay_default"]
    lifetime = policies["code.lifetime_seconds"]
    refresh = policies["code.refresh_seconds"]
    if kind == "short" and scope is Scope.PAY:
        made = codes.issue_short(
            card=card, after=after, redis=own.redis, lifetime_seconds=lifetime, now=now
        )
    else:
        made = codes.issue_signed(
            card=card,
            scope=scope,
            after=after,
            key_ring=own.code_keys,
            issuer=own.settings.issuer,
            redis=own.redis,
            refresh_seconds=refresh,
            lifetime_seconds=lifetime,
            now=now,
        )
    return {"server_time": now, "refresh_after_seconds": refresh, "codes": made}


@blueprint.route("", methods=["DELETE"])
@raises(blueprint, Unauthenticated, NotBound, *CARD_REFUSALS)
@blueprint.response(204)
@logged("card.burn_codes")
def burn_codes() -> None:
    """Make every code shown so far worthless, as after a screenshot."""
    who: HolderCaller = caller()
    with transaction() as session:
        card = service.usable_virtual_card(session, holder_id=who.holder_id, now=clock.now())
        codes.burn_codes(session, card=card, caller=who, now=clock.now())


@blueprint.route("/image", methods=["GET"])
@blueprint.arguments(ImageQuery, location="query")
@raises(blueprint, Unauthenticated, NotBound, NotFound, *CARD_REFUSALS, ServiceUnavailable)
@blueprint.response(200, {"type": "string", "format": "binary"}, content_type="image/svg+xml")
def draw_code(query: dict[str, Any]) -> Response:
    """Draw one of the caller's own codes as a QR picture."""
    who: HolderCaller = caller()
    own = parts()
    with transaction() as session:
        card = service.usable_virtual_card(session, holder_id=who.holder_id, now=clock.now())
    codes.check_own(
        query["text"],
        card=card,
        key_ring=own.code_keys,
        issuer=own.settings.issuer,
        redis=own.redis,
        now=clock.now(),
    )
    if query["format"] == "png":
        picture = Response(draw_png(query["text"]), content_type="image/png")
    else:
        picture = Response(draw_svg(query["text"]), content_type="image/svg+xml")
    picture.headers["Cache-Control"] = "no-store"
    return picture
