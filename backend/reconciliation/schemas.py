"""Shapes on the wire: bills."""

import marshmallow as ma

from backend.holders.schemas import PLATFORMS
from backend.http.fields import Moment, Word
from backend.http.paging import PageQuery
from backend.reconciliation.models import BillSource, BillState, LineMatch
from payments import BillRowKind


class BillDay(ma.Schema):
    channel = Word(PLATFORMS, required=True)
    day = ma.fields.Date(required=True)


class BillsQuery(PageQuery):
    channel = Word(PLATFORMS)
    day = ma.fields.Date()


class BillLinesQuery(PageQuery):
    match = ma.fields.Enum(LineMatch, by_value=True)
    kind = ma.fields.Enum(BillRowKind, by_value=True)


class MatchCount(ma.Schema):
    match = Word(LineMatch, required=True)
    count = ma.fields.Integer(required=True)


class BillReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    channel = Word(PLATFORMS, required=True)
    day = ma.fields.Date(required=True)
    version = ma.fields.Integer(required=True)
    state = Word(BillState, required=True)
    source = Word(BillSource, required=True)
    payments = ma.fields.Integer(required=True)
    payments_fen = ma.fields.Integer(required=True)
    refunds = ma.fields.Integer(required=True)
    refunds_fen = ma.fields.Integer(required=True)
    fee_fen = ma.fields.Integer(required=True)
    matches = ma.fields.List(ma.fields.Nested(MatchCount), required=True)
    not_in_bill = ma.fields.Integer(required=True)
    fault = ma.fields.String(required=True, allow_none=True)
    fault_line = ma.fields.Integer(required=True, allow_none=True)
    imported_at = Moment(required=True)
    superseded_at = Moment(required=True, allow_none=True)


class BillList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(BillReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class BillLineReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    line = ma.fields.Integer(required=True)
    kind = Word(BillRowKind, required=True)
    out_trade_no = ma.fields.String(required=True)
    trade_no = ma.fields.String(required=True)
    out_refund_no = ma.fields.String(required=True, allow_none=True)
    refund_no = ma.fields.String(required=True, allow_none=True)
    amount_fen = ma.fields.Integer(required=True)
    fee_fen = ma.fields.Integer(required=True)
    at = Moment(required=True)
    told = ma.fields.String(required=True, attribute="state")
    match = Word(LineMatch, required=True)


class BillLineList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(BillLineReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class AbsentReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    kind = Word(BillRowKind, required=True)
    out_trade_no = ma.fields.String(required=True)
    trade_no = ma.fields.String(required=True)
    out_refund_no = ma.fields.String(required=True, allow_none=True)
    amount_fen = ma.fields.Integer(required=True)
    at = Moment(required=True)


class AbsentList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(AbsentReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class MissingBill(ma.Schema):
    channel = Word(PLATFORMS, required=True)
    day = ma.fields.Date(required=True)
    tries = ma.fields.Integer(required=True)
    answer = ma.fields.String(required=True, allow_none=True)
    next_try_at = Moment(required=True, allow_none=True)
    alarmed_at = Moment(required=True)


class MissingBillList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(MissingBill), required=True)
