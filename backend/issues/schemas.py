"""Shapes on the wire: issue batches."""

from typing import Any

import marshmallow as ma

from backend.cards.models import CardState
from backend.http.fields import Moment, Text, Word
from backend.http.paging import PageQuery
from backend.issues.models import BatchKind, DeferralReason, Outcome, Signature

MOST_UNIT, MOST_NAME, MOST_NOTE = 100, 60, 200
DOCUMENTS = ("id_document", "admission_letter", "student_card", "authorisation")
"""What may be checked when a card is handed out: 证件, 录取通知书, 新生卡, 委托书."""
ITEM_STATES = ("waiting", *(outcome.value for outcome in Outcome))


class IssueBatchesQuery(PageQuery):
    kind = Word((*BatchKind, "all"), load_default="all")
    state = Word(("open", "closed", "all"), load_default="open")


class IssueBatchRequest(ma.Schema):
    unit = Text(required=True, validate=ma.validate.Length(1, MOST_UNIT))
    note = Text(load_default=None, allow_none=True, validate=ma.validate.Length(1, MOST_NOTE))


class ItemReceiptRequest(ma.Schema):
    signed_by = Text(required=True, validate=ma.validate.Length(1, MOST_NAME))
    signature = ma.fields.Enum(Signature, by_value=True, required=True)
    documents = ma.fields.List(
        Word(DOCUMENTS), load_default=list, validate=ma.validate.Length(max=len(DOCUMENTS))
    )

    @ma.post_load
    def sort(self, said: dict[str, Any], **_: Any) -> dict[str, Any]:
        return said | {"documents": sorted(set(said["documents"]))}


class ItemDecisionRequest(ma.Schema):
    outcome = Word((Outcome.NOT_COLLECTED, Outcome.DEFERRED), required=True)
    reason = ma.fields.Enum(DeferralReason, by_value=True, load_default=None, allow_none=True)
    note = Text(load_default=None, allow_none=True, validate=ma.validate.Length(1, MOST_NOTE))

    @ma.validates_schema
    def reason_of_deferral(self, said: dict[str, Any], **_: Any) -> None:
        if (said["outcome"] == Outcome.DEFERRED) != (said["reason"] is not None):
            raise ma.ValidationError("A deferral has a reason, nothing else has.", "reason")

    @ma.post_load
    def read(self, said: dict[str, Any], **_: Any) -> dict[str, Any]:
        return said | {"outcome": Outcome(said["outcome"])}


class ItemDecisionReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    batch_id = ma.fields.UUID(required=True)
    holder_id = ma.fields.UUID(required=True)
    outcome = Word(Outcome, required=True)
    signature = Word(Signature, required=True, allow_none=True)
    signed_by = ma.fields.String(required=True, allow_none=True)
    documents = ma.fields.List(Word(DOCUMENTS), required=True)
    reason = Word(DeferralReason, required=True, allow_none=True)
    note = ma.fields.String(required=True, allow_none=True)
    card_id = ma.fields.UUID(required=True)
    replaced_card_id = ma.fields.UUID(required=True, allow_none=True)
    operator = ma.fields.String(required=True)
    decided_at = Moment(required=True)


class IssueCountsReply(ma.Schema):
    waiting = ma.fields.Integer(required=True)
    handed_out = ma.fields.Integer(required=True)
    not_collected = ma.fields.Integer(required=True)
    deferred = ma.fields.Integer(required=True)


class IssueItemReply(ma.Schema):
    holder_id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    unit = ma.fields.String(required=True)
    due_on = ma.fields.Date(required=True, allow_none=True)
    item_state = Word(ITEM_STATES, required=True)
    physical_card_state = Word(CardState, required=True, allow_none=True)
    decided_at = Moment(required=True, allow_none=True)


class IssueBatchSummary(ma.Schema):
    id = ma.fields.UUID(required=True)
    kind = Word(BatchKind, required=True)
    unit = ma.fields.String(required=True)
    note = ma.fields.String(required=True, allow_none=True)
    due_on = ma.fields.Date(required=True, allow_none=True)
    made_by = ma.fields.String(required=True, allow_none=True)
    made_at = Moment(required=True)
    closed_at = Moment(required=True, allow_none=True)
    item_counts = ma.fields.Nested(IssueCountsReply, required=True)


class IssueBatchReply(IssueBatchSummary):
    items = ma.fields.List(ma.fields.Nested(IssueItemReply), required=True)


class IssueBatchList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(IssueBatchSummary), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class OverdueExchangeReply(ma.Schema):
    batch_id = ma.fields.UUID(required=True)
    holder_id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    unit = ma.fields.String(required=True)
    due_on = ma.fields.Date(required=True)
    item_state = Word(ITEM_STATES, required=True)


class OverdueExchangeList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(OverdueExchangeReply), required=True)
