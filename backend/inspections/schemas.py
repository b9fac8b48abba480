"""Shapes on the wire: the operation log for inspections."""

import marshmallow as ma

from backend.http.fields import Moment, Text, WholeField, Word
from backend.http.paging import MOST
from backend.operation_log.models import LogChannel
from backend.operation_log.rules import Fault

OUTCOMES = ("all", "done", "refused")
LONGEST_TEXT = 64
MOST_NUMBER = 2**63 - 1


class LogFilterRequest(ma.Schema):
    action = ma.fields.String(validate=ma.validate.Regexp(r"^[a-z_]{1,32}\.[a-z_]{1,32}\Z"))
    outcome = Word(OUTCOMES, load_default="all")
    holder_number = Text(validate=ma.validate.Length(1, LONGEST_TEXT))
    operator = Text(validate=ma.validate.Length(1, LONGEST_TEXT))
    reference = ma.fields.String(validate=ma.validate.Regexp(r"^[2-9A-Z]{8}\Z"))


class LogSearchRequest(LogFilterRequest):
    from_at = Moment()
    until_at = Moment()
    limit = WholeField(load_default=20, validate=ma.validate.Range(1, MOST))
    cursor = ma.fields.String(validate=ma.validate.Length(1, 200))


class LogExportRequest(LogFilterRequest):
    from_at = Moment(required=True)
    until_at = Moment(required=True)


class LogEntryReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    at = Moment(required=True)
    action = ma.fields.String(required=True)
    outcome = ma.fields.String(required=True)
    channel = Word(LogChannel, required=True)
    actor = ma.fields.String(required=True)
    operator = ma.fields.String(required=True, allow_none=True)
    holder_number = ma.fields.String(required=True, allow_none=True)
    card_id = ma.fields.UUID(required=True, allow_none=True)
    subject_id = ma.fields.UUID(required=True, allow_none=True)
    before = ma.fields.Raw(required=True, allow_none=True)
    after = ma.fields.Raw(required=True, allow_none=True)
    documents = ma.fields.List(ma.fields.String(), required=True, allow_none=True)
    receipt_number = ma.fields.String(required=True, allow_none=True)
    policy_ids = ma.fields.List(ma.fields.UUID(), required=True, allow_none=True)
    facts = ma.fields.Dict(required=True)
    reference = ma.fields.String(required=True, allow_none=True)
    sealed = ma.fields.Boolean(required=True)


class LogEntryList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(LogEntryReply), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class HeadReply(ma.Schema):
    number = ma.fields.Integer(required=True)
    head = ma.fields.String(required=True)
    total = ma.fields.Integer(required=True)
    sealed_at = Moment(required=True, allow_none=True)


class LagReply(ma.Schema):
    entries = ma.fields.Integer(required=True)
    seconds = ma.fields.Integer(required=True)


class SealsReply(ma.Schema):
    head = ma.fields.Nested(HeadReply, required=True)
    unsealed = ma.fields.Nested(LagReply, required=True)
    alarm = ma.fields.Boolean(required=True)


class VerificationRequest(ma.Schema):
    number = WholeField(validate=ma.validate.Range(1, MOST_NUMBER))
    head = ma.fields.String(validate=ma.validate.Regexp(r"^[0-9a-f]{64}\Z"))

    @ma.validates_schema
    def _both_or_none(self, said: dict[str, object], **_: object) -> None:
        if ("number" in said) != ("head" in said):
            missing = "head" if "number" in said else "number"
            raise ma.ValidationError("Missing data for required field.", missing)


class DifferenceReply(ma.Schema):
    fault = Word(Fault, required=True)
    seal = ma.fields.Integer(required=True)
    entry_id = ma.fields.UUID(required=True, allow_none=True)


class VerificationReply(ma.Schema):
    holds = ma.fields.Boolean(required=True)
    head = ma.fields.Nested(HeadReply, required=True)
    seals = ma.fields.Integer(required=True)
    entries = ma.fields.Integer(required=True)
    unsealed_entries = ma.fields.Integer(required=True)
    difference = ma.fields.Nested(DifferenceReply, required=True, allow_none=True)
