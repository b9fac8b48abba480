"""Shapes on the wire: the cash desk."""

import marshmallow as ma

from backend.cards.models import CardState
from backend.cash_desk.finding import FINDS, LONGEST
from backend.cash_desk.models import CashPurpose, CloseOutRuling, ShiftState
from backend.cash_desk.rules import DENOMINATIONS_FEN
from backend.holders.models import Category
from backend.http.fields import FenField, Moment, Reason, Text, WholeField, Word
from backend.http.paging import PageQuery

MOST_CASH_FEN = 10_000_000
MOST_FLOAT_FEN = 10_000_000
MOST_DRAWER_FEN = 90_000_000
MOST_PIECES = 100_000
MOST_DESK, MOST_NOTE, MOST_REASON = 50, 200, 500


class HolderLookupRequest(ma.Schema):
    by = Word(FINDS, required=True)
    shown = Text(required=True, validate=ma.validate.Length(1, LONGEST))


class HolderLookupReply(ma.Schema):
    holder_id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    category = Word(Category, required=True)
    physical_card_state = Word(CardState, required=True, allow_none=True)
    virtual_card_state = Word(CardState, required=True, allow_none=True)
    balance_fen = ma.fields.Integer(required=True)
    arrears_fen = ma.fields.Integer(required=True)
    reason = ma.fields.String(required=True, allow_none=True)


class ShiftRequest(ma.Schema):
    desk = Reason(MOST_DESK, required=True)
    opening_float_fen = FenField(required=True, validate=ma.validate.Range(0, MOST_FLOAT_FEN))


class PieceCount(ma.Schema):
    """How many there are of one note or coin."""

    value_fen = FenField(required=True, validate=ma.validate.OneOf(DENOMINATIONS_FEN))
    count = WholeField(required=True, validate=ma.validate.Range(0, MOST_PIECES))


class CloseOutRequest(ma.Schema):
    counted_fen = FenField(required=True, validate=ma.validate.Range(0, MOST_DRAWER_FEN))
    counts = ma.fields.List(
        ma.fields.Nested(PieceCount),
        allow_none=True,
        load_default=None,
        validate=ma.validate.Length(max=len(DENOMINATIONS_FEN)),
    )
    note = Reason(MOST_REASON, allow_none=True, load_default=None)


class CloseOutRulingRequest(ma.Schema):
    decision = ma.fields.Enum(CloseOutRuling, by_value=True, required=True)
    reason = Reason(MOST_REASON, required=True)


class CloseOutRulingReply(ma.Schema):
    decision = Word(CloseOutRuling, required=True)
    reason = ma.fields.String(required=True)
    operator = ma.fields.String(required=True)
    decided_at = Moment(required=True)


class ShiftReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    cashier = ma.fields.String(required=True)
    desk = ma.fields.String(required=True)
    business_date = ma.fields.Date(required=True)
    state = Word(ShiftState, required=True)
    opening_float_fen = ma.fields.Integer(required=True)
    opened_at = Moment(required=True)
    top_up_count = ma.fields.Integer(required=True)
    top_ups_fen = ma.fields.Integer(required=True)
    reversal_count = ma.fields.Integer(required=True)
    reversals_fen = ma.fields.Integer(required=True)
    expected_fen = ma.fields.Integer(required=True)
    counted_fen = ma.fields.Integer(required=True, allow_none=True)
    difference_fen = ma.fields.Integer(required=True, allow_none=True)
    counts = ma.fields.List(ma.fields.Nested(PieceCount), required=True, allow_none=True)
    note = ma.fields.String(required=True, allow_none=True)
    counted_at = Moment(required=True, allow_none=True)
    closed_at = Moment(required=True, allow_none=True)
    resolution = ma.fields.Nested(CloseOutRulingReply, required=True, allow_none=True)


class ShiftsQuery(PageQuery):
    state = Word((*ShiftState, "all"), load_default="all")


class ShiftList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(ShiftReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class CashTopUpRequest(ma.Schema):
    shift_id = ma.fields.UUID(required=True)
    holder_id = ma.fields.UUID(required=True)
    amount_fen = FenField(required=True, validate=ma.validate.Range(1, MOST_CASH_FEN))
    note = Reason(MOST_NOTE, allow_none=True, load_default=None)


class CashReversalRequest(ma.Schema):
    reason = Reason(MOST_REASON, required=True)


class CashReversalReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    top_up_id = ma.fields.UUID(required=True)
    receipt_number = ma.fields.String(required=True)
    amount_fen = ma.fields.Integer(required=True)
    balance_fen = ma.fields.Integer(required=True)
    reason = ma.fields.String(required=True)
    supervisor = ma.fields.String(required=True)
    reversed_at = Moment(required=True)


class CashTopUpReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    shift_id = ma.fields.UUID(required=True)
    receipt_number = ma.fields.String(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    category = Word(Category, required=True)
    purpose = Word(CashPurpose, required=True)
    amount_fen = ma.fields.Integer(required=True)
    balance_fen = ma.fields.Integer(required=True)
    desk = ma.fields.String(required=True)
    cashier = ma.fields.String(required=True)
    note = ma.fields.String(required=True, allow_none=True)
    business_date = ma.fields.Date(required=True)
    taken_at = Moment(required=True)
    reversal = ma.fields.Nested(CashReversalReply, required=True, allow_none=True)


class CashTopUpsQuery(PageQuery):
    shift_id = ma.fields.UUID()


class CashTopUpList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(CashTopUpReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class CashReversalList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(CashReversalReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)
