"""Shapes on the wire: late uploads and their gaps."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import marshmallow as ma

from backend.http.fields import Moment, WholeField
from backend.uploads.rules import Outcome, Refused

MOST_ITEMS = 200
MOST_WHOLE = 2**53 - 1
"""The largest whole number that every JSON reader keeps."""
YEARS = range(2000, 2100)
OUTCOMES = (*Outcome, *Refused)


class DeviceMoment(Moment):
    """A moment by a device's clock: whatever it shows, it is a moment that we can reckon with."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> datetime:
        moment: datetime = super()._deserialize(value, *args, **kwargs)
        if moment.year not in YEARS:
            raise self.make_error("invalid", input=value, obj_type="moment")
        return moment.astimezone(UTC)


class LateItem(ma.Schema):
    """What both kinds of items have in common.  Texts may hold anything: a scanner read them."""

    id = ma.fields.UUID(required=True)
    sequence = WholeField(required=True, validate=ma.validate.Range(1, MOST_WHOLE))
    code = ma.fields.String(required=True)
    reason = ma.fields.String(
        required=True, allow_none=True, validate=ma.validate.Regexp(r"^[a-z0-9-]{1,64}\Z")
    )
    decided_at = DeviceMoment(required=True)
    bundle_sequence = WholeField(
        required=True, allow_none=True, validate=ma.validate.Range(0, MOST_WHOLE)
    )


class Unread(ma.fields.Nested):
    """An item that is published with its schema, and read by itself later: one bad item must not
    spoil the others."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.make_error("type", input=value, type=type(value).__name__)
        return value


class OutcomeReply(ma.Schema):
    id = ma.fields.UUID(required=True, allow_none=True)
    sequence = ma.fields.Integer(required=True, allow_none=True)
    outcome = ma.fields.String(
        required=True, validate=ma.validate.OneOf([str(o) for o in OUTCOMES])
    )
    reason = ma.fields.String(required=True, allow_none=True)
    reference = ma.fields.String(required=True)


class OutcomesReply(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(OutcomeReply), required=True)


class GapsReply(ma.Schema):
    terminal_id = ma.fields.UUID(required=True)
    highest = ma.fields.Integer(required=True)
    missing_count = ma.fields.Integer(required=True)
    missing = ma.fields.List(ma.fields.Integer(), required=True)
