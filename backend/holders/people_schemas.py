"""Shapes on the wire: what staff decide about people."""

from typing import Any

import marshmallow as ma

from backend.holders.models import (
    Category,
    DataField,
    DocumentKind,
    Employment,
    Identity,
    Permission,
)
from backend.http.fields import Day, Flag, Moment, Reason, Text, Word

DOCUMENTS = ("resident_id", "household_register", "police_certificate", "passport", "unit_letter")
"""Papers that prove a change (核验材料): 身份证, 户口簿, 公安证明, 护照, 单位证明."""
Number = ma.validate.Regexp(r"^[A-Za-z0-9]{1,32}\Z")


class OverrideRequest(ma.Schema):
    permission = Word(Permission, required=True)
    allowed = Flag(required=True)
    reason = Reason(200, required=True)
    document_number = Text(required=True, validate=ma.validate.Length(1, 64))
    until = Day(allow_none=True, load_default=None)


class OverrideReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    permission = Word(Permission, required=True)
    allowed = ma.fields.Boolean(required=True)
    reason = ma.fields.String(required=True)
    document_number = ma.fields.String(required=True)
    until = ma.fields.Date(required=True, allow_none=True)
    made_at = Moment(required=True)
    ended_at = Moment(required=True, allow_none=True)


class PersonReply(ma.Schema):
    """What staff see of who a holder is."""

    holder_number = ma.fields.String(required=True)
    numbers = ma.fields.List(ma.fields.String(), required=True)
    category = Word(Category, required=True)
    employment = Word(Employment, required=True, allow_none=True)
    identity = Word(Identity, required=True)
    unit = ma.fields.String(required=True)
    entered_on = ma.fields.Date(required=True, allow_none=True)
    valid_until = ma.fields.Date(required=True)
    permissions = ma.fields.List(Word(Permission), required=True)
    overrides = ma.fields.List(ma.fields.Nested(OverrideReply), required=True)


class CategoryChangeRequest(ma.Schema):
    category = Word(Category, required=True)
    employment = Word(Employment, allow_none=True, load_default=None)
    unit = Text(required=True, validate=ma.validate.Length(1, 100))
    holder_number = ma.fields.String(allow_none=True, load_default=None, validate=Number)
    from_ = Day(required=True, data_key="from", attribute="from_day")
    valid_until = Day(allow_none=True, load_default=None)
    document_number = Text(required=True, validate=ma.validate.Length(1, 64))

    @ma.validates_schema
    def employ_staff_only(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse an employment of others than staff."""
        if data.get("employment") and data["category"] != Category.STAFF:
            raise ma.ValidationError("Staff only.", "employment")


class CategoryChangeReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    category = Word(Category, required=True)
    employment = Word(Employment, required=True, allow_none=True)
    unit = ma.fields.String(required=True)
    holder_number = ma.fields.String(required=True, allow_none=True)
    from_ = ma.fields.Date(required=True, data_key="from", attribute="from_day")
    valid_until = ma.fields.Date(required=True, allow_none=True)
    document_number = ma.fields.String(required=True)
    made_at = Moment(required=True)
    applied_at = Moment(required=True, allow_none=True)
    withdrawn_at = Moment(required=True, allow_none=True)
    departs_on = ma.fields.Date(required=True, allow_none=True)


class DataChangeRequest(ma.Schema):
    field = Word(DataField, required=True)
    value = Text(required=True, validate=ma.validate.Length(1, 100))
    document_kind = Word(DocumentKind, allow_none=True, load_default=None)
    documents = ma.fields.List(
        Word(DOCUMENTS), required=True, validate=ma.validate.Length(1, len(DOCUMENTS))
    )


class DataChangeReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    holder_id = ma.fields.UUID(required=True)
    field = Word(DataField, required=True)
    documents = ma.fields.List(Word(DOCUMENTS), required=True)
    made_at = Moment(required=True)
    decided_at = Moment(required=True, allow_none=True)
    approved = ma.fields.Boolean(required=True, allow_none=True)


class DataChangeList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(DataChangeReply), required=True)


class ApprovalRequest(ma.Schema):
    approve = Flag(required=True)


class ConflictReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    holder_id = ma.fields.UUID(required=True)
    field = ma.fields.String(required=True)
    seen_at = Moment(required=True)
    made_at = Moment(required=True, allow_none=True)
    settled_at = Moment(required=True, allow_none=True)
    accepted = ma.fields.Boolean(required=True, allow_none=True)


class ConflictList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(ConflictReply), required=True)


class SettleRequest(ma.Schema):
    accept = Flag(required=True)
