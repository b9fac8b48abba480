"""Shapes on the wire: subsidy batches."""

from typing import Any

import marshmallow as ma

from backend.http.fields import FenField, Line, Moment, Text, Word
from backend.http.paging import PageQuery
from backend.subsidies.models import BatchState, ItemState
from backend.subsidies.rules import MOST_ITEMS, RowFault

MOST_NAME = 64
MOST_REASON = 200
MOST_ITEM_FEN = 100_000_000


class SubsidyItemRequest(ma.Schema):
    holder_number = Text(required=True, validate=ma.validate.Length(1, 32))
    amount_fen = FenField(required=True, validate=ma.validate.Range(1, MOST_ITEM_FEN))


class SubsidyPreviewRequest(ma.Schema):
    items = ma.fields.List(
        ma.fields.Nested(SubsidyItemRequest),
        load_default=None,
        allow_none=True,
        validate=ma.validate.Length(1, MOST_ITEMS),
    )
    csv = ma.fields.String(load_default=None, allow_none=True)

    @ma.validates_schema
    def one_list(self, said: dict[str, Any], **_: Any) -> None:
        """Refuse two lists, and none."""
        if (said["items"] is None) == (said["csv"] is None):
            raise ma.ValidationError("Either items or csv.", "items")


class SubsidyBatchHead(ma.Schema):
    name = Line(required=True, validate=ma.validate.Length(1, MOST_NAME))
    document_number = Line(required=True, validate=ma.validate.Length(1, MOST_NAME))
    fund = Line(required=True, validate=ma.validate.Length(1, MOST_NAME))
    pay_on = ma.fields.Date(load_default=None, allow_none=True)


class SubsidyBatchRequest(SubsidyPreviewRequest, SubsidyBatchHead):
    pass


class SubsidyFault(ma.Schema):
    row = ma.fields.Integer(required=True)
    fault = Word(RowFault, required=True)


class SubsidyReport(ma.Schema):
    rows = ma.fields.Integer(required=True)
    total_fen = ma.fields.Integer(required=True)
    faults = ma.fields.List(ma.fields.Nested(SubsidyFault), required=True)


class SubsidyReasonRequest(ma.Schema):
    reason = Line(required=True, validate=ma.validate.Length(1, MOST_REASON))


class SubsidyBatchReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True)
    document_number = ma.fields.String(required=True)
    fund = ma.fields.String(required=True)
    pay_on = ma.fields.Date(required=True, allow_none=True)
    state = Word(BatchState, required=True)
    item_count = ma.fields.Integer(required=True)
    total_fen = ma.fields.Integer(required=True)
    made_by = ma.fields.String(required=True)
    made_at = Moment(required=True)
    approved_by = ma.fields.String(required=True, allow_none=True)
    approved_at = Moment(required=True, allow_none=True)
    withdrawn_by = ma.fields.String(required=True, allow_none=True)
    withdrawn_at = Moment(required=True, allow_none=True)
    withdrawn_reason = ma.fields.String(required=True, allow_none=True)
    paid_at = Moment(required=True, allow_none=True)


class SubsidyBatchFull(SubsidyBatchReply):
    paid_count = ma.fields.Integer(required=True)
    due_count = ma.fields.Integer(required=True)
    left_out_count = ma.fields.Integer(required=True)
    withdrawn_count = ma.fields.Integer(required=True)


class SubsidyBatchesQuery(PageQuery):
    pass


class SubsidyBatchList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(SubsidyBatchReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class SubsidyItemsQuery(ma.Schema):
    limit = ma.fields.Integer(load_default=100, validate=ma.validate.Range(1, 100))
    after = ma.fields.UUID(load_default=None)


class SubsidyWithdrawalReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    item_id = ma.fields.UUID(required=True)
    reason = ma.fields.String(required=True)
    made_by = ma.fields.String(required=True)
    made_at = Moment(required=True)
    approved_by = ma.fields.String(required=True, allow_none=True)
    approved_at = Moment(required=True, allow_none=True)
    amount_fen = ma.fields.Integer(required=True, allow_none=True)


class SubsidyItemReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    amount_fen = ma.fields.Integer(required=True)
    state = Word(ItemState, required=True)
    settled_at = Moment(required=True, allow_none=True)
    withdrawal = ma.fields.Nested(SubsidyWithdrawalReply, required=True, allow_none=True)


class SubsidyItemList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(SubsidyItemReply), required=True)


class SubsidyWithdrawalRequest(SubsidyReasonRequest):
    item_id = ma.fields.UUID(required=True)
