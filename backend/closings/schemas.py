"""Shapes on the wire: closings."""

from typing import Any

import marshmallow as ma

from backend.closings.graduates import Stays
from backend.closings.models import (
    ClosingKind,
    ClosingState,
    DepartureKind,
    Exemption,
    Finding,
    LeaverState,
    ScreeningOutcome,
)
from backend.closings.rules import CheckName
from backend.http.fields import Day, Moment, Reason, Text, Word
from backend.http.paging import PageQuery
from backend.refunds.models import ClaimWay, PayoutLineState, RefundState

MOST_DOCUMENT = 100
MOST_REASON = 200
MOST_NUMBER = 32
MOST_PEOPLE = 500
MOST_UNIT = 100
MOST_UNITS = 200
NUMBER = ma.validate.Length(1, MOST_NUMBER)
DOCUMENT = ma.validate.Length(1, MOST_DOCUMENT)


class ClosingsQuery(PageQuery):
    state = Word(ClosingState)


class ClosingRequest(ma.Schema):
    holder_number = Text(required=True, validate=NUMBER)
    kind = Word(ClosingKind, required=True)
    document = Text(load_default=None, allow_none=True, validate=DOCUMENT)


class WaiverRequest(ma.Schema):
    check = Word(CheckName, required=True)
    reason = Reason(MOST_REASON, required=True)


class CheckReply(ma.Schema):
    check = Word(CheckName, required=True)
    stands = ma.fields.Boolean(required=True)
    waived = ma.fields.Boolean(required=True)
    facts = ma.fields.Dict(required=True)


class ClosingPartReply(ma.Schema):
    """Where a part of the money goes: a channel, or a bank."""

    channel = ma.fields.String(required=True, allow_none=True)
    amount_fen = ma.fields.Integer(required=True)
    state = Word([*RefundState, *PayoutLineState], required=True)
    line_id = ma.fields.UUID(required=True, allow_none=True)
    may_claim = ma.fields.Boolean(required=True)
    claim_way = Word(ClaimWay, required=True, allow_none=True)
    claim_accepted = ma.fields.Boolean(required=True, allow_none=True)
    claim_refusal = ma.fields.String(required=True, allow_none=True)


class ClaimRequest(ma.Schema):
    line_id = ma.fields.UUID(required=True)
    way = Word(ClaimWay, required=True)


class ToSourceReply(ma.Schema):
    """What goes back through one channel."""

    channel = ma.fields.String(required=True)
    amount_fen = ma.fields.Integer(required=True)


class OwnClosingPreview(ma.Schema):
    """What closing the own account now would mean."""

    reason = ma.fields.String(required=True, allow_none=True)
    checks = ma.fields.List(ma.fields.Nested(CheckReply), required=True)
    to_source = ma.fields.List(ma.fields.Nested(ToSourceReply), required=True)
    to_list_fen = ma.fields.Integer(required=True)
    owed_fen = ma.fields.Integer(required=True)
    subsidy_fen = ma.fields.Integer(required=True)


class OwnClosingReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    kind = Word(ClosingKind, required=True)
    state = Word(ClosingState, required=True)
    started_at = Moment(required=True)
    wait_until = Moment(required=True)
    closed_at = Moment(required=True, allow_none=True)
    balance_fen = ma.fields.Integer(required=True)
    paid_fen = ma.fields.Integer(required=True)
    withdrawn_fen = ma.fields.Integer(required=True)
    parts = ma.fields.List(ma.fields.Nested(ClosingPartReply), required=True)
    checks = ma.fields.List(ma.fields.Nested(CheckReply), required=True)
    may_withdraw = ma.fields.Boolean(required=True)


class ClosingReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    kind = Word(ClosingKind, required=True)
    document = ma.fields.String(required=True, allow_none=True)
    state = Word(ClosingState, required=True)
    started_at = Moment(required=True)
    wait_until = Moment(required=True)
    standing = ma.fields.List(Word(CheckName), required=True)
    paid_fen = ma.fields.Integer(required=True)
    withdrawn_fen = ma.fields.Integer(required=True)
    settled_at = Moment(required=True, allow_none=True)
    closed_at = Moment(required=True, allow_none=True)


class ClosingFull(ClosingReply):
    checks = ma.fields.List(ma.fields.Nested(CheckReply), required=True)
    parts = ma.fields.List(ma.fields.Nested(ClosingPartReply), required=True)
    balance_fen = ma.fields.Integer(required=True)


class ClosingList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(ClosingReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class DepartureRequest(ma.Schema):
    holder_numbers = ma.fields.List(
        Text(validate=NUMBER), required=True, validate=ma.validate.Length(1, MOST_PEOPLE)
    )
    kind = Word(DepartureKind, required=True)
    effective_on = Day(required=True)
    document = Text(required=True, validate=DOCUMENT)


class LeaverReply(ma.Schema):
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    state = Word(LeaverState, required=True)
    applied_at = Moment(required=True, allow_none=True)
    closing_id = ma.fields.UUID(required=True, allow_none=True)
    changes_on = ma.fields.Date(required=True, allow_none=True)


class DepartureReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    kind = Word(DepartureKind, required=True)
    effective_on = ma.fields.Date(required=True)
    document = ma.fields.String(required=True)
    filed_at = Moment(required=True)
    items = ma.fields.List(ma.fields.Nested(LeaverReply), required=True)


class RetirementRequest(ma.Schema):
    holder_number = Text(required=True, validate=NUMBER)
    document = Text(required=True, validate=DOCUMENT)


class RetirementReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    valid_until = ma.fields.Date(required=True)
    document = ma.fields.String(required=True)
    made_at = Moment(required=True)


class ReopeningRequest(ma.Schema):
    """By a document and until a day; or by a roster, until the day that it gave them."""

    holder_number = Text(required=True, validate=NUMBER)
    document = Text(validate=DOCUMENT)
    valid_until = Day()
    roster_batch_id = ma.fields.UUID()

    @ma.validates_schema
    def go_by_one(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse both grounds at once, and half of one."""
        if "roster_batch_id" in data:
            wrong = [name for name in ("document", "valid_until") if name in data]
            problem = "Not with a roster."
        else:
            wrong = [name for name in ("document", "valid_until") if name not in data]
            problem = "Missing data for required field."
        if wrong:
            raise ma.ValidationError({name: [problem] for name in wrong})


class ReopeningReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    document = ma.fields.String(required=True, allow_none=True)
    roster_batch_id = ma.fields.UUID(required=True, allow_none=True)
    valid_until = ma.fields.Date(required=True)
    card_id = ma.fields.UUID(required=True)
    made_at = Moment(required=True)


class ClosingBatchRequest(ma.Schema):
    graduated_on = Day(required=True)
    holder_numbers = ma.fields.List(
        Text(validate=NUMBER),
        load_default=None,
        allow_none=True,
        validate=ma.validate.Length(1, MOST_PEOPLE),
    )
    units = ma.fields.List(
        Text(validate=ma.validate.Length(1, MOST_UNIT)),
        load_default=None,
        allow_none=True,
        validate=ma.validate.Length(1, MOST_UNITS),
    )
    document = Text(required=True, validate=DOCUMENT)


class ClosingBatchReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    graduated_on = ma.fields.Date(required=True)
    deadline = ma.fields.Date(required=True)
    document = ma.fields.String(required=True)
    made_at = Moment(required=True)
    approved_at = Moment(required=True, allow_none=True)
    run_at = Moment(required=True, allow_none=True)
    withdrawn_at = Moment(required=True, allow_none=True)


class ClosingBatchRun(ClosingBatchReply):
    left = ma.fields.Integer(required=True)


class GraduateReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    exemption = Word(Exemption, required=True, allow_none=True)
    reason = ma.fields.String(required=True, allow_none=True)
    until = ma.fields.Date(required=True, allow_none=True)
    closing_id = ma.fields.UUID(required=True, allow_none=True)
    closing_state = Word(ClosingState, required=True, allow_none=True)
    balance_fen = ma.fields.Integer(required=True)
    standing = ma.fields.List(Word(CheckName), required=True)
    stays = Word(Stays, required=True, allow_none=True)


class ClosingBatchPreview(ClosingBatchReply):
    items = ma.fields.List(ma.fields.Nested(GraduateReply), required=True)
    open = ma.fields.Integer(required=True)


class ExemptionRequest(ma.Schema):
    exemption = Word(Exemption, required=True, allow_none=True)
    reason = Reason(MOST_REASON, required=True, allow_none=True)
    until = Day(required=True, allow_none=True)

    @ma.validates_schema
    def whole_or_none(self, data: dict[str, Any], **_: Any) -> None:
        """An exemption has a reason and a last day; none has neither."""
        for name in ("reason", "until"):
            if (data["exemption"] is None) != (data[name] is None):
                raise ma.ValidationError("It belongs to an exemption.", name)


class ScreeningRequest(ma.Schema):
    term = Text(required=True, validate=ma.validate.Length(1, MOST_NUMBER))


class ScreeningItemReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    finding = Word(Finding, required=True)
    facts = ma.fields.Dict(required=True)
    outcome = Word(ScreeningOutcome, required=True, allow_none=True)
    reason = ma.fields.String(required=True, allow_none=True)
    decided_at = Moment(required=True, allow_none=True)


class ScreeningReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    term = ma.fields.String(required=True)
    made_at = Moment(required=True)
    filed_at = Moment(required=True, allow_none=True)
    items = ma.fields.List(ma.fields.Nested(ScreeningItemReply), required=True)


class OutcomeRequest(ma.Schema):
    outcome = Word(ScreeningOutcome, required=True)
    reason = Reason(MOST_REASON, required=True)
