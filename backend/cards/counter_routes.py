"""HTTP for the counter (卡中心柜台): one card's operations, replacements, found cards."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.cards import counter, found, replacement, service
from backend.cards.counter import (
    MAY_ACT,
    MAY_LOOK,
    CardNumberMismatch,
    ExtensionTooShort,
    NotByPhone,
)
from backend.cards.counter_schemas import (
    CardLookupReply,
    CardLookupRequest,
    CardOperationReply,
    CardOperationRequest,
    CounterCard,
    FoundCardList,
    FoundCardReply,
    FoundCardRequest,
    FoundCardsQuery,
    HandBackReply,
    HandBackRequest,
    OwnReplacementReply,
    QuoteReply,
    ReplacementAskReply,
    ReplacementAskRequest,
    ReplacementReply,
    ReplacementRequest,
)
from backend.cards.found import MAY_RECORD, FoundCardUnknown, HandedBack
from backend.cards.loss import ChannelNotAllowed, Replaced
from backend.cards.models import Card
from backend.cards.replacement import (
    CardNumberTaken,
    NothingToReplace,
    QuoteOutdated,
    ReplacementAsked,
    ReplacementEnded,
    ReplacementFeeShort,
    ReportLostFirst,
)
from backend.cards.rules import (
    CardEvent,
    DocumentsMissing,
    TransitionNotPossible,
    counter_events,
)
from backend.cards.service import AccountClosed, CardExpired, CardFrozen
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import login, viewing
from backend.holders.limits import holder_of
from backend.holders.login import HolderCaller, NotBound
from backend.holders.rules import masked_name, masked_number
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.paging import CursorUnknown, page, place_of
from backend.http.problems import raises
from backend.operation_log.models import LogChannel
from backend.operation_log.refusals import about, logged
from backend.operators import service as operators
from backend.operators.models import Role
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
cards = guard(
    Blueprint(
        "staff-cards",
        __name__,
        url_prefix="/staff/cards",
        description="Staff: cards at the counter (柜台卡务)",
    ),
    "operator",
    operators.authenticate,
)
found_cards = guard(
    Blueprint(
        "staff-found-cards",
        __name__,
        url_prefix="/staff/found-cards",
        description="Staff: found cards (拾卡)",
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


@cards.route("/lookups", methods=["POST"])
@cards.arguments(CardLookupRequest)
@raises(cards, Unauthenticated, RoleNotAllowed, NotFound)
@cards.response(200, CardLookupReply)
@logged("holder.view")
def look_up_cards(request: dict[str, str]) -> dict[str, Any]:
    """Find a holder's cards by holder number or by the number on a card.  The look is on record."""
    who = caller_in(*MAY_LOOK)
    with transaction() as session:
        if number := request.get("card_number"):
            holder_id = counter.find_by_card_number(session, number=number)
        else:
            holder_id = viewing.id_by_number(session, holder_number=request["holder_number"])
        if holder_id is None:
            raise NotFound
        holder = viewing.view(session, holder_id=holder_id, actor=who.actor, now=clock.now())
        held = service.list_cards(session, holder_id=holder_id)
    return {
        "holder_id": holder.id,
        "holder_number": holder.holder_number,
        "name_masked": masked_name(holder.name),
        "category": holder.category,
        "valid_until": holder.valid_until,
        "cards": [_card(card) for card in held],
    }


@cards.route("/<uuid:card_id>", methods=["GET"])
@raises(cards, Unauthenticated, RoleNotAllowed, NotFound)
@cards.response(200, CounterCard)
def read_card(card_id: UUID) -> dict[str, Any]:
    """Show how a card stands, and what the counter can do about it."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return _card(counter.find_card(session, card_id=card_id))


def _card(card: Card) -> dict[str, Any]:
    return {
        "id": card.id,
        "kind": card.kind,
        "state": card.state,
        "number_masked": masked_number(card.number) if card.number else None,
        "created_at": card.created_at,
        "possible": [event.value for event in counter_events(card.state)],
    }


@cards.route("/<uuid:card_id>/operations/<uuid:operation_id>", methods=["PUT"])
@cards.arguments(CardOperationRequest)
@raises(
    cards,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    Replaced,
    TransitionNotPossible,
    CardExpired,
    NotByPhone,
    DocumentsMissing,
    CardNumberMismatch,
    ChannelNotAllowed,
    ExtensionTooShort,
)
@cards.alt_response(201, schema=CardOperationReply, description="Done now.")
@cards.response(200, CardOperationReply)
@logged("card.operate", subject="operation_id")
def operate_on_card(request: dict[str, Any], card_id: UUID, operation_id: UUID) -> Any:
    """Activate, report lost, restore, freeze, unfreeze, extend or void one card.

    A retry gets the first answer, whatever the card has become since.
    """
    who: OperatorCaller = caller()
    event = CardEvent(request.pop("event"))
    about(action=f"card.{event}", card_id=card_id)
    who.must_be(*MAY_ACT)
    wanted = counter.Wanted(event=event, channel=LogChannel(request.pop("channel")), **request)
    with transaction() as session:
        about(holder_id=counter.find_card(session, card_id=card_id).holder_id)
        done, first = counter.operate(
            session,
            operation_id=operation_id,
            card_id=card_id,
            wanted=wanted,
            operator=who,
            now=clock.now(),
        )
    return done, 201 if first else 200


@cards.route("/<uuid:card_id>/operations/<uuid:operation_id>", methods=["GET"])
@raises(cards, Unauthenticated, RoleNotAllowed, NotFound)
@cards.response(200, CardOperationReply)
def read_card_operation(card_id: UUID, operation_id: UUID) -> Any:
    """Show what was done to a card under an id."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return counter.find_operation(session, operation_id=operation_id, card_id=card_id)


@cards.route("/<uuid:card_id>/replacement-quote", methods=["GET"])
@raises(cards, Unauthenticated, RoleNotAllowed, NotFound)
@cards.response(200, QuoteReply)
def quote_replacement(card_id: UUID) -> Any:
    """Say what a new card costs this card's holder now, and what the purse is short of."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        card = counter.find_card(session, card_id=card_id)
        holder = holder_of(session, holder_id=card.holder_id)
        return replacement.quote(session, holder=holder, now=clock.now())


@cards.route("/<uuid:card_id>/replacements/<uuid:replacement_id>", methods=["PUT"])
@cards.arguments(ReplacementRequest)
@raises(
    cards,
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
@cards.alt_response(201, schema=ReplacementReply, description="Replaced now.")
@cards.response(200, ReplacementReply)
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


@cards.route("/<uuid:card_id>/replacements/<uuid:replacement_id>", methods=["GET"])
@raises(cards, Unauthenticated, RoleNotAllowed, NotFound)
@cards.response(200, ReplacementReply)
def read_replacement(card_id: UUID, replacement_id: UUID) -> Any:
    """Show how a card was replaced."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return replacement.find_replacement(session, replacement_id=replacement_id, card_id=card_id)


@found_cards.route("/<uuid:found_id>", methods=["PUT"])
@found_cards.arguments(FoundCardRequest)
@raises(found_cards, Unauthenticated, RoleNotAllowed, NotFound, IdReused)
@found_cards.alt_response(201, schema=FoundCardReply, description="Recorded now.")
@found_cards.response(200, FoundCardReply)
@logged("card.found", subject="found_id")
def record_found_card(request: dict[str, Any], found_id: UUID) -> Any:
    """Record a card that was found (拾卡).  The answer tells nothing of whose it is."""
    who = caller_in(*MAY_RECORD)
    with transaction() as session:
        recorded, first = found.record(
            session, found_id=found_id, actor=who.actor, now=clock.now(), **request
        )
    return recorded, 201 if first else 200


@found_cards.route("", methods=["GET"])
@found_cards.arguments(FoundCardsQuery, location="query")
@raises(found_cards, Unauthenticated, RoleNotAllowed, CursorUnknown)
@found_cards.response(200, FoundCardList)
def list_found_cards(query: dict[str, Any]) -> dict[str, Any]:
    """List found cards, newest first, with the card that each is."""
    caller_in(Role.CARD_CENTRE, Role.AUDITOR)
    with transaction() as session:
        rows = found.list_found(
            session, before=place_of(query.get("cursor")), limit=query["limit"] + 1
        )
    listed = page([one for one, _ in rows], limit=query["limit"], at="found_at")
    return listed | {"items": _items(rows[: len(listed["items"])])}


def _items(rows: Sequence[tuple[Any, Card | None]]) -> list[dict[str, Any]]:
    return [
        {
            "id": one.id,
            "place": one.place,
            "found_at": one.found_at,
            "number_masked": masked_number(one.number),
            "card_id": one.card_id,
            "holder_id": card.holder_id if card else None,
            "card_state": card.state if card else None,
            "handed_back_at": one.handed_back_at,
        }
        for one, card in rows
    ]


@found_cards.route("/<uuid:found_id>/hand-backs/<uuid:hand_back_id>", methods=["PUT"])
@found_cards.arguments(HandBackRequest)
@raises(
    found_cards,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    HandedBack,
    FoundCardUnknown,
    DocumentsMissing,
    ChannelNotAllowed,
)
@found_cards.alt_response(201, schema=HandBackReply, description="Handed back now.")
@found_cards.response(200, HandBackReply)
@logged("card.hand_back", subject="found_id")
def hand_card_back(request: dict[str, Any], found_id: UUID, hand_back_id: UUID) -> Any:
    """Hand a found card to its holder against the ID document; a lost one is in use again."""
    who = caller_in(*MAY_ACT)
    with transaction() as session:
        done, first = found.hand_back(
            session,
            hand_back_id=hand_back_id,
            found_id=found_id,
            operator=who,
            now=clock.now(),
            **request,
        )
    return done, 201 if first else 200
