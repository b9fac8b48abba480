"""Shapes on the wire: reviews."""

import marshmallow as ma

from backend.cases.models import Ruling
from backend.cases.service import STATES
from backend.http.fields import Moment, Reason, Word
from backend.http.paging import PageQuery
from backend.uploads.rules import Conflict, Outcome, UploadKind

MOST_REASON = 500


class ReviewsQuery(PageQuery):
    state = Word((*STATES, "all"), load_default="open")


class ResolutionRequest(ma.Schema):
    decision = ma.fields.Enum(Ruling, by_value=True, required=True)
    reason = Reason(MOST_REASON, required=True)


class ResolutionReply(ma.Schema):
    decision = Word(Ruling, required=True)
    reason = ma.fields.String(required=True)
    operator = ma.fields.String(required=True)
    resolved_at = Moment(required=True)


class ReviewReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    kind = Word(UploadKind, required=True)
    state = Word(STATES, required=True)
    terminal_id = ma.fields.UUID(required=True)
    place = ma.fields.String(required=True)
    holder_number = ma.fields.String(required=True, allow_none=True)
    name_masked = ma.fields.String(required=True, allow_none=True)
    amount_fen = ma.fields.Integer(required=True, allow_none=True)
    outcome = Word(Outcome, required=True)
    conflicts = ma.fields.List(Word(Conflict), required=True)
    code_fault = ma.fields.String(required=True, allow_none=True)
    device_at = Moment(required=True)
    received_at = Moment(required=True)
    record_id = ma.fields.UUID(required=True, allow_none=True)
    reference = ma.fields.String(required=True)
    decisions = ma.fields.List(Word(Ruling), required=True)
    resolution = ma.fields.Nested(ResolutionReply, required=True, allow_none=True)


class ReviewList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(ReviewReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)
