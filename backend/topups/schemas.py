"""Shapes on the wire: top-ups."""

import marshmallow as ma

from backend.http.fields import FenField, Moment

MOST_TOP_UP_FEN = 10_000_000


class TopUpRequest(ma.Schema):
    channel = ma.fields.String(required=True, validate=ma.validate.OneOf(["wechat", "alipay"]))
    amount_fen = FenField(required=True, validate=ma.validate.Range(1, MOST_TOP_UP_FEN))


class TopUpReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    channel = ma.fields.String(required=True)
    amount_fen = ma.fields.Integer(required=True)
    state = ma.fields.String(required=True)
    out_trade_no = ma.fields.String(required=True)
    client_params = ma.fields.Dict(required=True, allow_none=True)
    created_at = Moment(required=True)
    expires_at = Moment(required=True)
    paid_at = Moment(required=True, allow_none=True)


class TopUpList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(TopUpReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)
