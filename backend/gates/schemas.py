"""Shapes on the wire: passages."""

import marshmallow as ma

from backend.gates.models import Decision, Direction
from backend.holders.schemas import HolderSeen
from backend.http.fields import Moment, Word
from backend.http.problems import DisplaySchema
from backend.uploads.schemas import MOST_ITEMS, LateItem, Unread


class PassageRequest(ma.Schema):
    code = ma.fields.String(required=True)
    """As it was scanned: whatever is wrong with it is a denial, not a fault of the schema."""
    direction = ma.fields.Enum(Direction, by_value=True, required=True)


class PassageReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    decision = Word(Decision, required=True)
    reason = ma.fields.String(required=True, allow_none=True)
    direction = Word(Direction, required=True)
    hours_today = ma.fields.String(required=True, allow_none=True)
    opens_at = Moment(required=True, allow_none=True)
    holder = ma.fields.Nested(HolderSeen, required=True, allow_none=True)
    display = ma.fields.Nested(DisplaySchema, required=True)
    decided_at = Moment(required=True)
    server_time = Moment(required=True)
    reference = ma.fields.String(required=True)


class LatePassage(LateItem):
    """A passage that a gate decided alone."""

    direction = ma.fields.Enum(Direction, by_value=True, required=True)
    decision = Word(Decision, required=True)


class LatePassagesRequest(ma.Schema):
    items = ma.fields.List(
        Unread(LatePassage), required=True, validate=ma.validate.Length(max=MOST_ITEMS)
    )


class PassageItem(ma.Schema):
    id = ma.fields.UUID(required=True)
    place = ma.fields.String(required=True)
    direction = Word(Direction, required=True)
    decision = Word(Decision, required=True)
    reason = ma.fields.String(required=True, allow_none=True)
    at = Moment(required=True, attribute="decided_at")
    device_at = Moment(required=True, allow_none=True)


class PassageList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(PassageItem), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)
