"""HTTP for staff: found cards (拾卡)."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.cards import found
from backend.cards.counter import MAY_ACT
from backend.cards.counter_schemas import (
    FoundCardList,
    FoundCardReply,
    FoundCardRequest,
    FoundCardsQuery,
    HandBackReply,
    HandBackRequest,
)
from backend.cards.found import MAY_RECORD, FoundCardUnknown, HandedBack
from backend.cards.loss import ChannelNotAllowed
from backend.cards.models import Card
from backend.cards.rules import DocumentsMissing
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders.rules import masked_number
from backend.http.auth import Unauthenticated, guard
from backend.http.paging import CursorUnknown, page, place_of
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.service import RoleNotAllowed, caller_in

staff = guard(
    Blueprint(
        "staff-found-cards",
        __name__,
        url_prefix="/staff/found-cards",
        description="Staff: found cards (拾卡)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("/<uuid:found_id>", methods=["PUT"])
@staff.arguments(FoundCardRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, IdReused)
@staff.alt_response(201, schema=FoundCardReply, description="Recorded now.")
@staff.response(200, FoundCardReply)
@logged("card.found", subject="found_id")
def record_found_card(request: dict[str, Any], found_id: UUID) -> Any:
    """Record a card that was found (拾卡).  The answer tells nothing of whose it is."""
    who = caller_in(*MAY_RECORD)
    with transaction() as session:
        recorded, first = found.record(
            session, found_id=found_id, actor=who.actor, now=clock.now(), **request
        )
    return recorded, 201 if first else 200


@staff.route("", methods=["GET"])
@staff.arguments(FoundCardsQuery, location="query")
@raises(staff, Unauthenticated, RoleNotAllowed, CursorUnknown)
@staff.response(200, FoundCardList)
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


@staff.route("/<uuid:found_id>/hand-backs/<uuid:hand_back_id>", methods=["PUT"])
@staff.arguments(HandBackRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    HandedBack,
    FoundCardUnknown,
    DocumentsMissing,
    ChannelNotAllowed,
)
@staff.alt_response(201, schema=HandBackReply, description="Handed back now.")
@staff.response(200, HandBackReply)
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
