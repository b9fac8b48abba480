"""Shapes on the wire: reviews, signals of lending, arrears of closed accounts."""

import marshmallow as ma

from backend.cases import lending
from backend.cases.models import Ruling, SignalKind, SignalOutcome
from backend.cases.service import STATES
from backend.http.fields import FenField, Flag, Moment, Reason, Text, Word
from backend.http.paging import PageQuery
from backend.uploads.rules import Conflict, Outcome, UploadKind

MOST_REASON = 500
MOST_NUMBER = 32
MOST_DOCUMENT = 100
MOST_ARREARS_FEN = 100_000_000


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


class SignalsQuery(PageQuery):
    state = Word((*lending.STATES, "all"), load_default="open")


class SignalDecisionRequest(ma.Schema):
    outcome = ma.fields.Enum(SignalOutcome, by_value=True, required=True)
    reason = Reason(MOST_REASON, required=True)


class SignalUse(ma.Schema):
    """One use of a card, of two that were too near in time."""

    place = ma.fields.String(required=True)
    at = Moment(required=True)
    reference = ma.fields.String(required=True)


class SignalPerson(ma.Schema):
    """Somebody whom one phone was bound to."""

    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)


class SignalReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    kind = Word(SignalKind, required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    uses = ma.fields.List(ma.fields.Nested(SignalUse), required=True)
    people = ma.fields.List(ma.fields.Nested(SignalPerson), required=True)
    seen_at = Moment(required=True)
    found_at = Moment(required=True)
    outcome = Word(SignalOutcome, required=True, allow_none=True)
    reason = ma.fields.String(required=True, allow_none=True)
    decided_at = Moment(required=True, allow_none=True)


class SignalList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(SignalReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class DebtorReply(ma.Schema):
    holder_id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    arrears_fen = ma.fields.Integer(required=True)
    opened_at = Moment(required=True)
    write_off_id = ma.fields.UUID(required=True, allow_none=True)


class DebtorList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(DebtorReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class WriteOffRequest(ma.Schema):
    holder_number = Text(required=True, validate=ma.validate.Length(1, MOST_NUMBER))
    amount_fen = FenField(required=True, validate=ma.validate.Range(1, MOST_ARREARS_FEN))
    reason = Reason(MOST_REASON, required=True)
    document = Reason(MOST_DOCUMENT, required=True)


class WriteOffDecisionRequest(ma.Schema):
    approve = Flag(required=True)


class WriteOffReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    amount_fen = ma.fields.Integer(required=True)
    reason = ma.fields.String(required=True)
    document = ma.fields.String(required=True)
    made_by = ma.fields.String(required=True)
    made_at = Moment(required=True)
    approved = ma.fields.Boolean(required=True, allow_none=True)
    approved_by = ma.fields.String(required=True, allow_none=True)
    decided_at = Moment(required=True, allow_none=True)
