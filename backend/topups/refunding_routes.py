"""HTTP for refunds by the holder."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.arrears.service import ArrearsOpen
from backend.cards.service import AccountClosed, CardFrozen
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import login
from backend.holders.login import HolderCaller, NotBound
from backend.holders.permissions import NotPermitted
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.paging import CursorUnknown, PageQuery, page, place_of
from backend.http.parts import parts
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.refunds.models import ChannelRefund, RefundState
from backend.topups import refunding
from backend.topups.refunding import Asked, RefundNotPossible, RefundsOff, TooManyRefunds
from backend.topups.refunding_schemas import (
    PartState,
    RefundableReply,
    RefundList,
    RefundReply,
    RefundRequest,
    RefundView,
)

PART_STATES = {
    RefundState.DUE: PartState.PROCESSING,
    RefundState.SENDING: PartState.PROCESSING,
    RefundState.PROCESSING: PartState.PROCESSING,
    RefundState.SUCCEEDED: PartState.SUCCEEDED,
    RefundState.RETURNED: PartState.RETURNED,
    RefundState.ABNORMAL: PartState.ABNORMAL,
    RefundState.PAID_OUT: PartState.PAID_OUT,
}

blueprint = guard(
    Blueprint("refunds", __name__, url_prefix="/me", description="Money back (原路退款)"),
    "holder",
    login.authenticate,
)


@blueprint.route("/refunds/<uuid:refund_id>", methods=["PUT"])
@blueprint.arguments(RefundRequest)
@raises(
    blueprint,
    Unauthenticated,
    NotBound,
    NotFound,
    IdReused,
    RefundsOff,
    CardFrozen,
    AccountClosed,
    NotPermitted,
    ArrearsOpen,
    TooManyRefunds,
    RefundNotPossible,
)
@blueprint.alt_response(201, schema=RefundReply, description="Asked for now.")
@blueprint.response(200, RefundReply)
@logged("refund.request", subject="refund_id")
def create_refund(body: dict[str, Any], refund_id: UUID) -> Any:
    """Send an amount back where it came from: newest top-up first, through its own channel.

    From now on the balance lacks it; what a channel cannot send comes back into it.  Every retry
    gets the first answer, all parts `processing`; how they stand by now is for `GET` to tell.
    """
    who: HolderCaller = caller()
    with transaction() as session:
        asked, first = refunding.ask(
            session,
            refund_id=refund_id,
            holder_id=who.holder_id,
            amount_fen=body["amount_fen"],
            channels=parts().channels.keys(),
            actor=who.actor,
            now=clock.now(),
        )
    return _reply(asked, as_asked=True), 201 if first else 200


@blueprint.route("/refunds", methods=["GET"])
@blueprint.arguments(PageQuery, location="query")
@raises(blueprint, Unauthenticated, NotBound, CursorUnknown)
@blueprint.response(200, RefundList)
def list_refunds(query: dict[str, Any]) -> dict[str, Any]:
    """List what the caller asked to have back, newest first."""
    with transaction() as session:
        rows = refunding.list_refunds(
            session,
            holder_id=caller().holder_id,
            before=place_of(query.get("cursor")),
            limit=query["limit"] + 1,
        )
        found = page(rows, limit=query["limit"], at="requested_at")
        asked = refunding.with_parts(session, found["items"])
    return found | {"items": [_reply(each) for each in asked]}


@blueprint.route("/refunds/<uuid:refund_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, NotBound, NotFound)
@blueprint.response(200, RefundReply)
def read_refund(refund_id: UUID) -> Any:
    """Tell how a refund stands."""
    with transaction() as session:
        asked = refunding.find(session, refund_id=refund_id, holder_id=caller().holder_id)
    return _reply(asked)


@blueprint.route("/refundable", methods=["GET"])
@raises(blueprint, Unauthenticated, NotBound)
@blueprint.response(200, RefundableReply)
def read_refundable() -> dict[str, Any]:
    """Tell how much of the balance can go back, how it would be split, and why the rest stays."""
    with transaction() as session:
        able = refunding.refundable(
            session,
            holder_id=caller().holder_id,
            channels=parts().channels.keys(),
            now=clock.now(),
        )
    return {
        "balance_fen": able.balance_fen,
        "refundable_fen": able.refundable_fen,
        "least_fen": able.least_fen,
        "parts": [
            {
                "top_up_id": part.top_up_id,
                "channel": part.channel,
                "amount_fen": part.amount_fen,
                "paid_at": able.sources[part.top_up_id].paid_at,
            }
            for part in able.parts
        ],
        "rests": able.rests,
        "reason": able.refusal and able.refusal.code,
    }


def _reply(asked: Asked, *, as_asked: bool = False) -> dict[str, Any]:
    shown = [_part(part, as_asked=as_asked) for part in asked.parts]
    return {
        "id": asked.refund.id,
        "amount_fen": asked.refund.amount_fen,
        "state": _whole({part["state"] for part in shown}),
        "parts": shown,
        "requested_at": asked.refund.requested_at,
    }


def _part(part: ChannelRefund, *, as_asked: bool) -> dict[str, Any]:
    return {
        "top_up_id": UUID(hex=part.out_trade_no),
        "channel": part.channel,
        "amount_fen": part.amount_fen,
        "state": PartState.PROCESSING if as_asked else PART_STATES[part.state],
        "settled_at": None if as_asked else part.settled_at,
    }


def _whole(states: set[PartState]) -> RefundView:
    if PartState.ABNORMAL in states:
        return RefundView.ABNORMAL
    if PartState.PROCESSING in states:
        return RefundView.PROCESSING
    if PartState.RETURNED not in states:
        return RefundView.SUCCEEDED
    return RefundView.RETURNED if len(states) == 1 else RefundView.PARTLY_RETURNED
