"""Shapes on the wire: the counter, replacements, found cards."""

from typing import Any

import marshmallow as ma

from backend.cards.models import CardKind, CardState, ReplacementState
from backend.cards.replacement import ASKED_FOR, CAUSES, QUALITY
from backend.cards.rules import COUNTER_EVENTS, DOCUMENTS, CardEvent
from backend.holders.models import Category
from backend.http.fields import Day, FenField, Flag, Moment, Reason, Text, Word
from backend.http.paging import PageQuery

MOST_REASON, MOST_NUMBER, MOST_PLACE, MOST_APPROVAL = 200, 32, 50, 64
MOST_FEE_FEN = 100_000
MISSING = "Missing data for required field."
STRANGE = "Does not belong to this event."
CHANNELS = ("counter", "hotline")
NEEDED: dict[CardEvent, tuple[str, ...]] = {
    CardEvent.FREEZE: ("reason",),
    CardEvent.UNFREEZE: ("reason",),
    CardEvent.VOID: ("reason",),
    CardEvent.EXTEND: ("valid_until", "approval_number"),
}
"""What an event cannot do without."""
BELONGS: dict[str, tuple[CardEvent, ...]] = {
    "card_number": (CardEvent.RESTORE,),
    "stop_virtual_card": (CardEvent.REPORT_LOST,),
    "valid_until": (CardEvent.EXTEND,),
    "approval_number": (CardEvent.EXTEND,),
}
"""Which events a field is for; the others are for all."""


def _reason(**options: Any) -> Reason:
    return Reason(MOST_REASON, allow_none=True, load_default=None, **options)


class Documents(ma.fields.List):  # type: ignore[type-arg]
    """Kinds of documents that were checked; saying one twice says it once."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            Word(DOCUMENTS), validate=ma.validate.Length(max=len(DOCUMENTS)), **options
        )


class CardLookupRequest(ma.Schema):
    """A holder number, or the number on a physical card."""

    holder_number = Text(validate=ma.validate.Length(1, 32))
    card_number = Text(validate=ma.validate.Length(1, MOST_NUMBER))

    @ma.validates_schema
    def one_of_them(self, data: dict[str, str], **_: object) -> None:
        if len(data) != 1:
            raise ma.ValidationError("Either holder_number or card_number.")


class CounterCard(ma.Schema):
    id = ma.fields.UUID(required=True)
    kind = Word(CardKind, required=True)
    state = Word(CardState, required=True)
    number_masked = ma.fields.String(required=True, allow_none=True)
    created_at = Moment(required=True)
    possible = ma.fields.List(Word(COUNTER_EVENTS), required=True)


class CardLookupReply(ma.Schema):
    holder_id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    category = Word(Category, required=True)
    valid_until = ma.fields.Date(required=True)
    cards = ma.fields.List(ma.fields.Nested(CounterCard), required=True)


class CardOperationRequest(ma.Schema):
    """What is to happen to a card; which fields belong to which event, the events say."""

    event = Word(COUNTER_EVENTS, required=True)
    channel = Word(CHANNELS, load_default="counter")
    documents = Documents(load_default=list)
    reason = _reason()
    card_number = Text(
        allow_none=True, validate=ma.validate.Length(1, MOST_NUMBER), load_default=None
    )
    stop_virtual_card = Flag(load_default=False)
    valid_until = Day(allow_none=True, load_default=None)
    approval_number = Reason(MOST_APPROVAL, allow_none=True, load_default=None)

    @ma.validates_schema
    def belong_together(self, data: dict[str, Any], **_: object) -> None:
        event = CardEvent(data["event"])
        missing = [name for name in NEEDED.get(event, ()) if data[name] is None]
        strange = [name for name, events in BELONGS.items() if data[name] and event not in events]
        faults = {name: [MISSING] for name in missing} | {name: [STRANGE] for name in strange}
        if faults:
            raise ma.ValidationError(faults)


class CardOperationReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    card_id = ma.fields.UUID(required=True)
    event = Word(COUNTER_EVENTS, required=True)
    before = Word(CardState, required=True)
    after = Word(CardState, required=True)
    made_at = Moment(required=True)


class QuoteReply(ma.Schema):
    fee_fen = ma.fields.Integer(required=True)
    balance_fen = ma.fields.Integer(required=True)
    arrears_fen = ma.fields.Integer(required=True)
    short_fen = ma.fields.Integer(required=True)
    policy_ids = ma.fields.List(ma.fields.UUID(), required=True)


class ReplacementAskRequest(ma.Schema):
    cause = Word(ASKED_FOR, required=True)


class ReplacementAskReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    state = Word(ReplacementState, required=True)
    cause = Word(ASKED_FOR, required=True)
    fee_fen = ma.fields.Integer(required=True)
    policy_ids = ma.fields.List(ma.fields.UUID(), required=True)
    requested_at = Moment(required=True)
    ended_at = Moment(required=True, allow_none=True)


class OwnReplacementReply(ma.Schema):
    quote = ma.fields.Nested(QuoteReply, required=True)
    reason = ma.fields.String(required=True, allow_none=True)
    request = ma.fields.Nested(ReplacementAskReply, required=True, allow_none=True)


class ReplacementRequest(ma.Schema):
    cause = Word(CAUSES, required=True)
    documents = Documents(load_default=list)
    quoted_fee_fen = FenField(required=True, validate=ma.validate.Range(0, MOST_FEE_FEN))
    reason = _reason()
    evidence = _reason()
    new_number = Text(
        allow_none=True, validate=ma.validate.Length(1, MOST_NUMBER), load_default=None
    )

    @ma.validates_schema
    def quality_is_shown(self, data: dict[str, Any], **_: object) -> None:
        if data["cause"] != QUALITY:
            return
        missing = [name for name in ("reason", "evidence") if data[name] is None]
        if missing:
            raise ma.ValidationError(
                {name: ["Missing data for required field."] for name in missing}
            )


class ReplacementReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    old_card_id = ma.fields.UUID(required=True)
    new_card_id = ma.fields.UUID(required=True)
    cause = Word(CAUSES, required=True)
    fee_fen = ma.fields.Integer(required=True)
    balance_fen = ma.fields.Integer(required=True)
    policy_ids = ma.fields.List(ma.fields.UUID(), required=True)
    request_id = ma.fields.UUID(required=True, allow_none=True)
    replaced_at = Moment(required=True)


class FoundCardRequest(ma.Schema):
    number = Text(required=True, validate=ma.validate.Length(1, MOST_NUMBER))
    place = Reason(MOST_PLACE, required=True)


class KioskFoundCardRequest(ma.Schema):
    number = Text(required=True, validate=ma.validate.Length(1, MOST_NUMBER))


class FoundCardReply(ma.Schema):
    """What the finder is told: that it is recorded, and nothing of whose it is."""

    id = ma.fields.UUID(required=True)
    place = ma.fields.String(required=True)
    found_at = Moment(required=True)


class FoundCardItem(FoundCardReply):
    number_masked = ma.fields.String(required=True)
    card_id = ma.fields.UUID(required=True, allow_none=True)
    holder_id = ma.fields.UUID(required=True, allow_none=True)
    card_state = Word(CardState, required=True, allow_none=True)
    handed_back_at = Moment(required=True, allow_none=True)


class FoundCardsQuery(PageQuery):
    """Which page."""


class FoundCardList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(FoundCardItem), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class HandBackRequest(ma.Schema):
    documents = Documents(required=True)


class HandBackReply(ma.Schema):
    id = ma.fields.UUID(required=True, attribute="hand_back_id")
    found_id = ma.fields.UUID(required=True, attribute="id")
    card_id = ma.fields.UUID(required=True)
    handed_back_at = Moment(required=True)
