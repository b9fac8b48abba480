"""Shapes on the wire: top-ups, as staff see them."""

import marshmallow as ma

from backend.holders.schemas import PLATFORMS
from backend.http.fields import Flag, Moment, Reason, Word
from backend.http.paging import PageQuery
from backend.topups.models import ResolutionWay, TopUpState
from payments import TradeState

MOST_REASON = 200


class StaffTopUpsQuery(PageQuery):
    state = Word(TopUpState)


class TopUpResolutionRequest(ma.Schema):
    reason = Reason(MOST_REASON, required=True)


class TopUpResolutionDecisionRequest(ma.Schema):
    approve = Flag(required=True)


class TopUpResolutionReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    way = Word(ResolutionWay, required=True)
    told_state = Word(TradeState, required=True)
    told_fen = ma.fields.Integer(required=True, allow_none=True)
    told_currency = ma.fields.String(required=True)
    trade_no = ma.fields.String(required=True, allow_none=True)
    reason = ma.fields.String(required=True)
    made_by = ma.fields.String(required=True)
    made_at = Moment(required=True)
    approved = ma.fields.Boolean(required=True, allow_none=True)
    approved_by = ma.fields.String(required=True, allow_none=True)
    decided_at = Moment(required=True, allow_none=True)


class StaffTopUpReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    channel = Word(PLATFORMS, required=True)
    amount_fen = ma.fields.Integer(required=True)
    state = Word(TopUpState, required=True)
    out_trade_no = ma.fields.String(required=True)
    trade_no = ma.fields.String(required=True, allow_none=True)
    created_at = Moment(required=True)
    expires_at = Moment(required=True)
    paid_at = Moment(required=True, allow_none=True)


class StaffTopUpList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(StaffTopUpReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class StaffTopUpFull(StaffTopUpReply):
    resolutions = ma.fields.List(ma.fields.Nested(TopUpResolutionReply), required=True)
