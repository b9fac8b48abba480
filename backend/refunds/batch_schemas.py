"""Shapes on the wire: the payout list and its batches."""

import re
from typing import Any

import marshmallow as ma

from backend.http.fields import Flag, Moment, Reason, Text, Word
from backend.refunds.models import ClaimWay, PayoutLineState
from backend.refunds.schemas import MOST_BANK_REFERENCE

MOST_REASON = 200
LONG_NUMBER = re.compile(r"\d(?:[ -]?\d){9}")
"""What is as long as a bank account's."""


class BatchDecisionRequest(ma.Schema):
    approve = Flag(required=True)


class LinePaidRequest(ma.Schema):
    bank_reference = Text(required=True, validate=ma.validate.Length(1, MOST_BANK_REFERENCE))


class LineBouncedRequest(ma.Schema):
    reason = Reason(MOST_REASON, required=True)


class ClaimAnswerRequest(ma.Schema):
    """Accepted, with the number under which finance keeps the account; or refused, with a reason.

    A number of ten digits and more is refused: account numbers stay with finance.
    """

    accept = Flag(required=True)
    account_reference = Reason(MOST_BANK_REFERENCE, allow_none=True, load_default=None)
    reason = Reason(MOST_REASON, allow_none=True, load_default=None)

    @ma.validates_schema
    def say_one(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse a reason for yes, no reason or an account for no, and what may be an account's."""
        accept, said = data["accept"], data["reason"]
        if (said is None) is not accept:
            raise ma.ValidationError("For a refusal, and for it alone.", "reason")
        if not accept and data["account_reference"] is not None:
            raise ma.ValidationError("Not for a refusal.", "account_reference")
        if LONG_NUMBER.search(data["account_reference"] or ""):
            raise ma.ValidationError("No number of an account.", "account_reference")


class PayoutLineReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    closing_id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    amount_fen = ma.fields.Integer(required=True)
    state = Word(PayoutLineState, required=True)
    batch_id = ma.fields.UUID(required=True, allow_none=True)
    bank_reference = ma.fields.String(required=True, allow_none=True)
    bounce_reason = ma.fields.String(required=True, allow_none=True)
    owed_since = Moment(required=True)
    settled_at = Moment(required=True, allow_none=True)
    claim_id = ma.fields.UUID(required=True, allow_none=True)
    claim_way = Word(ClaimWay, required=True, allow_none=True)
    claimed_at = Moment(required=True, allow_none=True)
    claim_accepted = ma.fields.Boolean(required=True, allow_none=True)
    claim_refusal = ma.fields.String(required=True, allow_none=True)
    account_reference = ma.fields.String(required=True, allow_none=True)


class PayoutLineList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(PayoutLineReply), required=True)


class PayoutBatchReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    lines = ma.fields.Integer(required=True)
    total_fen = ma.fields.Integer(required=True)
    maker = ma.fields.String(required=True)
    made_at = Moment(required=True)
    approved = ma.fields.Boolean(required=True, allow_none=True)
    checker = ma.fields.String(required=True, allow_none=True)
    decided_at = Moment(required=True, allow_none=True)


class PayoutBatchFull(PayoutBatchReply):
    items = ma.fields.List(ma.fields.Nested(PayoutLineReply), required=True)


class PayoutBatchList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(PayoutBatchReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)
