"""Shapes on the wire: what staff decide about gates."""

from datetime import UTC, datetime
from typing import Any

import marshmallow as ma

from backend.gates.models import Decision
from backend.gates.rules import WEEK
from backend.holders.models import Category
from backend.http.fields import Flag, Moment, Reason, Text, WholeField, Word
from qr.rules import OfflinePolicy

MOST_RULES = 100
MOST_PEOPLE = 500
MOST_PASSBACK_MINUTES = 24 * 60
LONGEST_EMERGENCY_MINUTES = 7 * 24 * 60
FACE = "([01][0-9]|2[0-3]):[0-5][0-9]"
YEARS = (2000, 2100)


def is_near(moment: datetime) -> bool:
    """Return whether our calendars reach a moment."""
    return datetime(YEARS[0], 1, 1, tzinfo=UTC) <= moment < datetime(YEARS[1], 1, 1, tzinfo=UTC)


class NearMoment(Moment):
    """A moment that our calendars reach."""

    def _deserialize(self, value: Any, *said: Any, **more: Any) -> Any:
        moment = super()._deserialize(value, *said, **more)
        if not is_near(moment):
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE)
        return moment


class AccessRule(ma.Schema):
    allow = Flag(required=True)
    days = ma.fields.List(
        WholeField(validate=ma.validate.Range(1, len(WEEK))),
        load_default=sorted(WEEK),
        validate=ma.validate.Length(1, len(WEEK)),
    )
    from_ = ma.fields.String(
        data_key="from",
        attribute="from",
        load_default="00:00",
        validate=ma.validate.Regexp(rf"^{FACE}\Z"),
    )
    until = ma.fields.String(
        load_default="24:00", validate=ma.validate.Regexp(rf"^({FACE}|24:00)\Z")
    )
    category = Word(Category, allow_none=True, load_default=None)
    unit = Text(allow_none=True, load_default=None, validate=ma.validate.Length(1, 64))
    holder_numbers = ma.fields.List(
        Text(validate=ma.validate.Length(1, 64)),
        allow_none=True,
        load_default=None,
        validate=ma.validate.Length(1, MOST_PEOPLE),
    )


class AccessRequest(ma.Schema):
    """All that is decided about a gate: what is not sent is not kept."""

    offline = Word(OfflinePolicy, required=True)
    passback_minutes = WholeField(
        required=True, validate=ma.validate.Range(0, MOST_PASSBACK_MINUTES)
    )
    default = Word(Decision, required=True)
    rules = ma.fields.List(
        ma.fields.Nested(AccessRule), required=True, validate=ma.validate.Length(0, MOST_RULES)
    )


class AccessReply(AccessRequest):
    terminal_id = ma.fields.UUID(required=True)
    place = ma.fields.String(required=True)
    version = ma.fields.Integer(required=True)
    since = Moment(required=True, allow_none=True)


class TrialRequest(ma.Schema):
    at = NearMoment()
    settings = ma.fields.Nested(AccessRequest)


class RefusedCategory(ma.Schema):
    category = Word(Category, required=True)
    reason = ma.fields.String(required=True)
    count = ma.fields.Integer(required=True)


class RefusedUnit(ma.Schema):
    unit = ma.fields.String(required=True)
    reason = ma.fields.String(required=True)
    count = ma.fields.Integer(required=True)


class RefusedHolder(ma.Schema):
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    category = Word(Category, required=True)
    unit = ma.fields.String(required=True)
    reason = ma.fields.String(required=True)
    opens_at = Moment(required=True, allow_none=True)


class TrialReply(ma.Schema):
    at = Moment(required=True)
    people = ma.fields.Integer(required=True)
    refused = ma.fields.Integer(required=True)
    by_category = ma.fields.List(ma.fields.Nested(RefusedCategory), required=True)
    by_unit = ma.fields.List(ma.fields.Nested(RefusedUnit), required=True)
    items = ma.fields.List(ma.fields.Nested(RefusedHolder), required=True)


class EmergencyRequest(ma.Schema):
    terminal_id = ma.fields.UUID(allow_none=True, load_default=None)
    reason = Reason(200, required=True)
    minutes = WholeField(required=True, validate=ma.validate.Range(1, LONGEST_EMERGENCY_MINUTES))


class EmergencyReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    terminal_id = ma.fields.UUID(required=True, allow_none=True)
    place = ma.fields.String(required=True, allow_none=True)
    reason = ma.fields.String(required=True)
    declared_by = ma.fields.String(required=True, allow_none=True)
    starts_at = Moment(required=True)
    ends_at = Moment(required=True)
    ended_at = Moment(required=True, allow_none=True)
    lasts = ma.fields.Boolean(required=True)


class EmergencyList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(EmergencyReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)
