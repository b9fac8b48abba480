"""HTTP for a new card (补卡): asked for on the phone, handed out at the counter."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.cards import counter, replacement
from backend.cards.counter import MAY_ACT, MAY_LOOK
from backend.cards.counter_schemas import (
    OwnReplacementReply,
    QuoteReply,
    ReplacementAskReply,
    ReplacementAskRequest,
    ReplacementReply,
    ReplacementRequest,
)
from backend.cards.loss import Replaced
from backend.cards.replacement import (
    CardNumberTaken,
    NothingToReplace,
    QuoteOutdated,
    ReplacementAsked,
    ReplacementEnded,
    ReplacementFeeShort,
    ReportLostFirst,
)
from backend.cards.rules import DocumentsMissing, TransitionNotPossible
from backend.cards.service import AccountClosed, CardExpired, CardFrozen
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import login
from backend.holders.limits import holder_of
from backend.holders.login import HolderCaller, NotBound
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.problems import raises
from backend.operation_log.refusals import about, logged
from backend.operators import service as operators
from backend.operators.service import OperatorCaller, RoleNotAllowed, caller_in

own = guard(
    Blueprint(
        "own-replacements",
        __name__,
        url_prefix="/me/replacements",
        description="The holder's new card (补卡)",
    ),
    "holder",
    login.authenticate,
)
staff = guard(
    Blueprint(
        "staff-replacements",
        __name__,
        url_prefix="/staff/cards/<uuid:card_id>",
        description="Staff: new cards at the counter (补卡)",
    ),
    "operator",
    operators.authenticate,
)

REPLACEABLE = (
    NothingToReplace,
    Replaced,
    AccountClosed,
    CardFrozen,
    CardExpired,
    ReportLostFirst,
    TransitionNotPossible,
)


@own.route("", methods=["GET"])
@raises(own, Unauthenticated, NotBound)
@own.response(200, OwnReplacementReply)
def read_own_replacement() -> dict[str, Any]:
    """Say what a new card costs the caller now, and what they have asked for.

    `reason` says why there can be none for a lost card.
    """
    who: HolderCaller = caller()
    now = clock.now()
    with transaction() as session:
        holder = holder_of(session, holder_id=who.holder_id)
        card = replacement.card_to_replace(session, holder_id=holder.id)
        refusal = (
            replacement.refusal_for(session, card=card, cause="lost", now=now)
            if card
            else NothingToReplace()
        )
        return {
            "quote": replacement.quote(session, holder=holder, now=now),
            "reason": refusal and refusal.code,
            "request": replacement.open_request(session, holder_id=holder.id),
        }


@own.route("/<uuid:request_id>", methods=["PUT"])
@own.arguments(ReplacementAskRequest)
@raises(
    own,
    Unauthenticated,
    NotBound,
    NotFound,
    IdReused,
    *REPLACEABLE,
    ReplacementAsked,
    ReplacementFeeShort,
)
@own.alt_response(201, schema=ReplacementAskReply, description="Asked for now.")
@own.response(200, ReplacementAskReply)
@logged("replacement.request", subject="request_id")
def request_replacement(request: dict[str, Any], request_id: UUID) -> Any:
    """Ask for a new physical card (补卡) and be told the fee.

    It is picked up at the counter with the ID document; only then the fee leaves the purse.
    """
    who: HolderCaller = caller()
    with transaction() as session:
        asked, first = replacement.ask(
            session,
            request_id=request_id,
            holder_id=who.holder_id,
            cause=request["cause"],
            actor=who.actor,
            now=clock.now(),
        )
    return asked, 201 if first else 200


@own.route("/<uuid:request_id>", methods=["GET"])
@raises(own, Unauthenticated, NotBound, NotFound)
@own.response(200, ReplacementAskReply)
def read_replacement_request(request_id: UUID) -> Any:
    """Show how far a request for a new card has come."""
    who: HolderCaller = caller()
    with transaction() as session:
        return replacement.find_request(session, request_id=request_id, holder_id=who.holder_id)


@own.route("/<uuid:request_id>", methods=["DELETE"])
@raises(own, Unauthenticated, NotBound, NotFound, ReplacementEnded)
@own.response(200, ReplacementAskReply)
@logged("replacement.cancel", subject="request_id")
def cancel_replacement_request(request_id: UUID) -> Any:
    """Take a request for a new card back; nothing was paid for it."""
    who: HolderCaller = caller()
    with transaction() as session:
        return replacement.cancel(
            session,
            request_id=request_id,
            holder_id=who.holder_id,
            actor=who.actor,
            now=clock.now(),
        )


@staff.route("/replacement-quote", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, QuoteReply)
def quote_replacement(card_id: UUID) -> Any:
    """Say what a new card costs this card's holder now, and what the purse is short of."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        card = counter.find_card(session, card_id=card_id)
        holder = holder_of(session, holder_id=card.holder_id)
        return replacement.quote(session, holder=holder, now=clock.now())


@staff.route("/replacements/<uuid:replacement_id>", methods=["PUT"])
@staff.arguments(ReplacementRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    *REPLACEABLE,
    DocumentsMissing,
    QuoteOutdated,
    ReplacementFeeShort,
    CardNumberTaken,
)
@staff.alt_response(201, schema=ReplacementReply, description="Replaced now.")
@staff.response(200, ReplacementReply)
@logged("card.replace", subject="replacement_id")
def replace_card(request: dict[str, Any], card_id: UUID, replacement_id: UUID) -> Any:
    """Hand out a new physical card (补卡): the fee leaves the purse, the old card is void for ever.

    Fee and card are one step.  A card that was badly made (`quality`) costs nothing, against a
    reason and a note of the evidence.
    """
    who: OperatorCaller = caller()
    about(card_id=card_id)
    who.must_be(*MAY_ACT)
    with transaction() as session:
        about(holder_id=counter.find_card(session, card_id=card_id).holder_id)
        made, first = replacement.replace(
            session,
            replacement_id=replacement_id,
            card_id=card_id,
            wanted=replacement.Wanted(**request),
            operator=who,
            now=clock.now(),
        )
    return made, 201 if first else 200


@staff.route("/replacements/<uuid:replacement_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, ReplacementReply)
def read_replacement(card_id: UUID, replacement_id: UUID) -> Any:
    """Show how a card was replaced."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return replacement.find_replacement(session, replacement_id=replacement_id, card_id=card_id)
