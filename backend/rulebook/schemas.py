"""Shapes on the wire: policies, proposals, and the public rules."""

import marshmallow as ma

from backend.charges.rerating_schemas import MealSumsReply
from backend.http.fields import Moment, Reason, Word
from backend.http.paging import PageQuery
from backend.policies.models import ProposalState
from backend.policies.rules import CATALOGUE, PRESETS, Decision, Touches, Unit

MOST_DOCUMENT_NUMBER = 64
MOST_REASON = 200


class ProposalsQuery(PageQuery):
    pass


class ProposalRequest(ma.Schema):
    changes = ma.fields.Dict(
        keys=ma.fields.String(), values=ma.fields.Raw(allow_none=True), load_default=dict
    )
    preset = Word(PRESETS, load_default=None, allow_none=True)
    document_number = Reason(MOST_DOCUMENT_NUMBER, required=True)
    reason = Reason(MOST_REASON, required=True)
    valid_from = Moment(load_default=None, allow_none=True)
    valid_until = Moment(load_default=None, allow_none=True)


class WithdrawalRequest(ma.Schema):
    reason = Reason(MOST_REASON, required=True)


class PolicyRow(ma.Schema):
    id = ma.fields.UUID(required=True)
    key = Word(CATALOGUE, required=True)
    value = ma.fields.Raw(required=True)
    document_number = ma.fields.String(required=True)
    valid_from = Moment(required=True)
    valid_until = Moment(required=True, allow_none=True)
    proposal_id = ma.fields.UUID(required=True, allow_none=True)


class PolicyReply(PolicyRow):
    name = ma.fields.String(required=True)
    explanation = ma.fields.String(required=True)
    unit = Word(Unit, required=True)
    least = ma.fields.Integer(required=True, allow_none=True)
    most = ma.fields.Integer(required=True, allow_none=True)
    choices = ma.fields.List(ma.fields.String(), required=True)
    decisions = ma.fields.List(Word(Decision), required=True)
    clause = ma.fields.String(required=True, allow_none=True)
    proposers = ma.fields.List(ma.fields.String(), required=True)
    approvers = ma.fields.List(ma.fields.String(), required=True)
    is_public = ma.fields.Boolean(required=True)


class PolicyList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(PolicyReply), required=True)
    coming = ma.fields.List(ma.fields.Nested(PolicyRow), required=True)


class PolicyHistory(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(PolicyRow), required=True)


class PolicyDifference(ma.Schema):
    key = Word(CATALOGUE, required=True)
    value = ma.fields.Raw(required=True)
    present_value = ma.fields.Raw(required=True, allow_none=True)
    present_document_number = ma.fields.String(required=True, allow_none=True)
    next_change_at = Moment(required=True, allow_none=True)
    next_value = ma.fields.Raw(required=True, allow_none=True)
    decisions = ma.fields.List(Word(Decision), required=True)
    touches = Word(Touches, required=True, allow_none=True)
    touched = ma.fields.Integer(required=True, allow_none=True)
    meals = ma.fields.Nested(MealSumsReply, required=True, allow_none=True)


class PolicyPreview(ma.Schema):
    effective_at = Moment(required=True)
    differences = ma.fields.List(ma.fields.Nested(PolicyDifference), required=True)


class ProposalReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    preset = ma.fields.String(required=True, allow_none=True)
    changes = ma.fields.Dict(required=True)
    document_number = ma.fields.String(required=True)
    reason = ma.fields.String(required=True, allow_none=True)
    valid_from = Moment(required=True, allow_none=True)
    valid_until = Moment(required=True, allow_none=True)
    state = Word([*ProposalState, "lapsed"], required=True)
    made_by = ma.fields.String(required=True)
    made_at = Moment(required=True)
    lapses_at = Moment(required=True)
    approved_by = ma.fields.String(required=True, allow_none=True)
    approved_at = Moment(required=True, allow_none=True)
    effective_at = Moment(required=True, allow_none=True)
    withdrawn_by = ma.fields.String(required=True, allow_none=True)
    withdrawn_at = Moment(required=True, allow_none=True)
    withdrawn_reason = ma.fields.String(required=True, allow_none=True)


class ProposalList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(ProposalReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class PublicRuleReply(ma.Schema):
    key = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    explanation = ma.fields.String(required=True)
    clause = ma.fields.String(required=True, allow_none=True)
    value = ma.fields.Raw(required=True)
    value_text = ma.fields.String(required=True)
    document_number = ma.fields.String(required=True)
    valid_from = Moment(required=True)
    valid_until = Moment(required=True, allow_none=True)


class PublicRules(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(PublicRuleReply), required=True)
    coming = ma.fields.List(ma.fields.Nested(PublicRuleReply), required=True)
