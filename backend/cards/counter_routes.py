"""HTTP for the counter (卡中心柜台): find a card, and do something to it."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.cards import counter, service
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
)
from backend.cards.loss import ChannelNotAllowed, Replaced
from backend.cards.models import Card
from backend.cards.rules import CardEvent, DocumentsMissing, TransitionNotPossible, counter_events
from backend.cards.service import CardExpired
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import viewing
from backend.holders.rules import masked_name, masked_number
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.problems import raises
from backend.operation_log.models import LogChannel
from backend.operation_log.refusals import about, logged
from backend.operators import service as operators
from backend.operators.service import OperatorCaller, RoleNotAllowed, caller_in

staff = guard(
    Blueprint(
        "staff-cards",
        __name__,
        url_prefix="/staff/cards",
        description="Staff: cards at the counter (柜台卡务)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("/lookups", methods=["POST"])
@staff.arguments(CardLookupRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, CardLookupReply)
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


@staff.route("/<uuid:card_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, CounterCard)
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


@staff.route("/<uuid:card_id>/operations/<uuid:operation_id>", methods=["PUT"])
@staff.arguments(CardOperationRequest)
@raises(
    staff,
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
@staff.alt_response(201, schema=CardOperationReply, description="Done now.")
@staff.response(200, CardOperationReply)
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


@staff.route("/<uuid:card_id>/operations/<uuid:operation_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, CardOperationReply)
def read_card_operation(card_id: UUID, operation_id: UUID) -> Any:
    """Show what was done to a card under an id."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return counter.find_operation(session, operation_id=operation_id, card_id=card_id)
