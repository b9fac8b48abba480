"""Shapes on the wire: refunds by the holder."""

from enum import StrEnum

import marshmallow as ma

from backend.holders.schemas import PLATFORMS
from backend.http.fields import FenField, Moment, Word
from backend.topups.refund_rules import Kept

MOST_REFUND_FEN = 100_000_000


class PartState(StrEnum):
    """How a part of a refund stands, as its holder reads it."""

    PROCESSING = "processing"
    """处理中"""
    SUCCEEDED = "succeeded"
    """已退回"""
    RETURNED = "returned"
    """退回失败，已回到余额"""
    ABNORMAL = "abnormal"
    """需人工处理"""
    PAID_OUT = "paid_out"
    """已线下退款"""


class RefundView(StrEnum):
    """How a refund stands as a whole."""

    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    RETURNED = "returned"
    PARTLY_RETURNED = "partly_returned"
    ABNORMAL = "abnormal"


class RefundRequest(ma.Schema):
    amount_fen = FenField(required=True, validate=ma.validate.Range(1, MOST_REFUND_FEN))


class RefundablePart(ma.Schema):
    top_up_id = ma.fields.UUID(required=True)
    channel = Word(PLATFORMS, required=True)
    amount_fen = ma.fields.Integer(required=True)
    paid_at = Moment(required=True)


class RefundPart(ma.Schema):
    top_up_id = ma.fields.UUID(required=True)
    channel = Word(PLATFORMS, required=True)
    amount_fen = ma.fields.Integer(required=True)
    state = Word(PartState, required=True)
    settled_at = Moment(required=True, allow_none=True)


class RefundReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    amount_fen = ma.fields.Integer(required=True)
    state = Word(RefundView, required=True)
    parts = ma.fields.List(ma.fields.Nested(RefundPart), required=True)
    requested_at = Moment(required=True)


class RefundList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(RefundReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class RestReply(ma.Schema):
    reason = Word(Kept, required=True)
    amount_fen = ma.fields.Integer(required=True)


class RefundableReply(ma.Schema):
    balance_fen = ma.fields.Integer(required=True)
    refundable_fen = ma.fields.Integer(required=True)
    least_fen = ma.fields.Integer(required=True)
    parts = ma.fields.List(ma.fields.Nested(RefundablePart), required=True)
    rests = ma.fields.List(ma.fields.Nested(RestReply), required=True)
    reason = ma.fields.String(required=True, allow_none=True)
