"""Shapes on the wire: refunds, as staff see them."""

import marshmallow as ma

from backend.holders.schemas import PLATFORMS
from backend.http.fields import Flag, Moment, Reason, Word
from backend.http.paging import PageQuery
from backend.operation_log.models import LogChannel
from backend.refunds.handling import LISTS, Wanted
from backend.refunds.models import RefundState
from payments import RefundState as ToldState

MOST_BANK_REFERENCE = 64


class StaffRefundsQuery(PageQuery):
    state = Word(LISTS, load_default=Wanted.NEEDS_A_PERSON.value)


class PayoutRequest(ma.Schema):
    bank_reference = Reason(MOST_BANK_REFERENCE, required=True)


class PayoutDecisionRequest(ma.Schema):
    approve = Flag(required=True)


class PayoutReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    bank_reference = ma.fields.String(required=True)
    maker = ma.fields.String(required=True)
    made_at = Moment(required=True)
    approved = ma.fields.Boolean(required=True, allow_none=True)
    checker = ma.fields.String(required=True, allow_none=True)
    decided_at = Moment(required=True, allow_none=True)


class StaffRefundReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    refund_id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    channel = Word(PLATFORMS, required=True)
    out_refund_no = ma.fields.String(required=True)
    out_trade_no = ma.fields.String(required=True)
    trade_no = ma.fields.String(required=True)
    refund_no = ma.fields.String(required=True, allow_none=True)
    paid_fen = ma.fields.Integer(required=True)
    amount_fen = ma.fields.Integer(required=True)
    state = Word(RefundState, required=True)
    answer = ma.fields.String(required=True, allow_none=True)
    tries = ma.fields.Integer(required=True)
    created_at = Moment(required=True)
    sent_at = Moment(required=True, allow_none=True)
    next_try_at = Moment(required=True, allow_none=True)
    settled_at = Moment(required=True, allow_none=True)


class StaffRefundList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(StaffRefundReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class RefundHistoryItem(ma.Schema):
    at = Moment(required=True)
    action = ma.fields.String(required=True)
    channel = Word(LogChannel, required=True)
    operator = ma.fields.String(required=True, allow_none=True)


class StaffRefundFull(StaffRefundReply):
    payouts = ma.fields.List(ma.fields.Nested(PayoutReply), required=True)
    history = ma.fields.List(ma.fields.Nested(RefundHistoryItem), required=True)


class StrangeRefundReply(ma.Schema):
    channel = Word(PLATFORMS, required=True)
    out_refund_no = ma.fields.String(required=True)
    out_trade_no = ma.fields.String(required=True)
    refund_no = ma.fields.String(required=True, allow_none=True)
    amount_fen = ma.fields.Integer(required=True, allow_none=True)
    state = Word(ToldState, required=True)
    told_at = Moment(required=True)


class StrangeRefundList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(StrangeRefundReply), required=True)
