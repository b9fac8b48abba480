"""Shapes on the wire: sessions, statements, events and notices, limits."""

from typing import Any

import marshmallow as ma

from backend.holders.models import Category
from backend.http.fields import FenField, Flag, Moment, Text, Word
from backend.http.paging import PageQuery

MOST_LIMIT_FEN = 10_000_000
PLATFORMS = ("wechat", "alipay")
BINDINGS = ("none", "identity_verified", "active")
LINE_KINDS = (
    "charge",
    "reversal",
    "top_up",
    "subsidy",
    "arrears",
    "refund",
    "refund_returned",
    "cash_top_up",
    "cash_top_up_reversal",
    "card_fee",
    "closing",
    "subsidy_withdrawn",
    "surcharge_returned",
    "correction",
)
PLACE = r"^[0-9]{1,18}\.[0-9a-f]{32}\Z"
"""A place in the inbox: who wrote a notice, and which."""
MOST_ASKED_AT_ONCE = 5
"""WeChat asks for three templates at once, for five from its version 8.0.40 on."""


class SessionRequest(ma.Schema):
    platform = Word(PLATFORMS, required=True)
    code = Text(required=True, validate=ma.validate.Length(1, 256))


class SessionReply(ma.Schema):
    token = ma.fields.String(required=True)
    expires_at = Moment(required=True)
    binding = Word(BINDINGS, required=True)


class StatementQuery(PageQuery):
    month = ma.fields.String(validate=ma.validate.Regexp(r"^20[0-9]{2}-(0[1-9]|1[0-2])\Z"))


class AmountParts(ma.Schema):
    price_fen = ma.fields.Integer(required=True)
    surcharge_fen = ma.fields.Integer(required=True)


class StatementItem(ma.Schema):
    id = ma.fields.UUID(required=True)
    kind = Word(LINE_KINDS, required=True)
    amount_fen = ma.fields.Integer(required=True)
    purse = Word(("main", "subsidy", "both"), required=True)
    place = ma.fields.String(required=True, allow_none=True)
    channel = Word(PLATFORMS, required=True, allow_none=True)
    at = Moment(required=True)
    business_date = ma.fields.Date(required=True)
    decided_at = ma.fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    reference = ma.fields.String(required=True, allow_none=True)
    receipt_number = ma.fields.String(required=True, allow_none=True)
    amount_parts = ma.fields.Nested(AmountParts, required=True, allow_none=True)


class StatementReply(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(StatementItem), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)
    month = ma.fields.String(required=True)
    in_fen = ma.fields.Integer(required=True)
    out_fen = ma.fields.Integer(required=True)


class EventsQuery(ma.Schema):
    after = ma.fields.String(validate=ma.validate.Regexp(PLACE))


class Event(ma.Schema):
    """One event: what it is and when; what it tells beside that depends on `kind`."""

    class Meta:
        unknown = ma.INCLUDE

    id = ma.fields.UUID(required=True)
    kind = ma.fields.String(required=True)
    at = Moment(required=True)


class EventsReply(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(Event), required=True)
    next = ma.fields.String(required=True)


class NoticesQuery(PageQuery):
    cursor = ma.fields.String(validate=ma.validate.Regexp(PLACE))


class Notice(Event):
    """One thing that the holder was told, and whether they have read it."""

    read = ma.fields.Boolean(required=True)


class NoticesReply(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(Notice), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)
    unread = ma.fields.Integer(required=True)
    newest = ma.fields.String(required=True, allow_none=True)


class ReadRequest(ma.Schema):
    up_to = ma.fields.String(required=True, validate=ma.validate.Regexp(PLACE))


class ReadReply(ma.Schema):
    unread = ma.fields.Integer(required=True)


class MessageTopic(ma.Schema):
    """What a message template tells of, and how often the holder still lets us use it."""

    template_id = ma.fields.String(required=True)
    kinds = ma.fields.List(ma.fields.String(), required=True)
    long_term = ma.fields.Boolean(required=True)
    credits = ma.fields.Integer(required=True)


class MessageTopicsReply(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(MessageTopic), required=True)


TemplateIds = ma.fields.List(
    Text(validate=ma.validate.Length(1, 64)),
    required=True,
    validate=ma.validate.Length(0, MOST_ASKED_AT_ONCE),
)


class ConsentRequest(ma.Schema):
    """What the holder said of each template, of which each is named once."""

    accepted = TemplateIds
    rejected = TemplateIds

    @ma.validates_schema
    def _must_name_each_once(self, said: dict[str, Any], **_: Any) -> None:
        named = [*said["accepted"], *said["rejected"]]
        if len(set(named)) < len(named):
            raise ma.ValidationError("Each template once.", "accepted")


class ConsentReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    accepted = ma.fields.List(ma.fields.String(), required=True)
    rejected = ma.fields.List(ma.fields.String(), required=True)
    at = Moment(required=True)


class LimitsRequest(ma.Schema):
    per_charge_fen = FenField(allow_none=True, validate=ma.validate.Range(0, MOST_LIMIT_FEN))
    per_day_fen = FenField(allow_none=True, validate=ma.validate.Range(0, MOST_LIMIT_FEN))
    paused = Flag()
    document_last_six = Text(validate=ma.validate.Length(6, 12))


class PendingLimits(ma.Schema):
    per_charge_fen = ma.fields.Integer(required=True, allow_none=True)
    per_day_fen = ma.fields.Integer(required=True, allow_none=True)
    from_ = ma.fields.String(
        required=True, data_key="from", attribute="from", metadata={"format": "date"}
    )


class LimitsReply(ma.Schema):
    per_charge_fen = ma.fields.Integer(required=True, allow_none=True)
    per_day_fen = ma.fields.Integer(required=True, allow_none=True)
    paused = ma.fields.Boolean(required=True)
    pending = ma.fields.Nested(PendingLimits, required=True, allow_none=True)


class HolderSeen(ma.Schema):
    """As much of a holder as a terminal may know."""

    name_masked = ma.fields.String(required=True)
    category = Word(Category, required=True)
