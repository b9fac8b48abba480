"""Shapes on the wire: top-ups."""

import marshmallow as ma

from backend.holders.schemas import PLATFORMS
from backend.http.fields import FenField, Moment, Word
from backend.topups.models import TopUpState

MOST_TOP_UP_FEN = 10_000_000


class TopUpRequest(ma.Schema):
    channel = Word(PLATFORMS, required=True)
    amount_fen = FenField(required=True, validate=ma.validate.Range(1, MOST_TOP_UP_FEN))
    replaces = ma.fields.UUID()


class TopUpReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    channel = Word(PLATFORMS, required=True)
    amount_fen = ma.fields.Integer(required=True)
    state = Word(TopUpState, required=True)
    out_trade_no = ma.fields.String(required=True)
    client_params = ma.fields.Dict(required=True, allow_none=True)
    created_at = Moment(required=True)
    expires_at = Moment(required=True)
    paid_at = Moment(required=True, allow_none=True)
    refunded_fen = ma.fields.Integer(required=True)


class TopUpList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(TopUpReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)
