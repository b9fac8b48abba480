"""Shapes on the wire: applications for temporary cards."""

from typing import Any

import marshmallow as ma

from backend.applications.models import ApplicationState, ApprovalKind, Fault
from backend.applications.rules import MOST_PEOPLE, PERMISSIONS, TEMPORARY
from backend.applications.service import Paper, Person, Wanted
from backend.holders.models import Category, DocumentKind
from backend.http.fields import Flag, Moment, PaperNumber, Text, Word
from backend.http.paging import PageQuery

MOST_NUMBER, MOST_UNIT, MOST_NAME, MOST_PURPOSE, MOST_DOCUMENT = 40, 100, 60, 200, 100
MOST_REASON = 200
NUMBER = ma.validate.Length(1, MOST_NUMBER)


class ApplicationsQuery(PageQuery):
    state = Word((*ApplicationState, "all"), load_default="all")


class ApplicantRequest(ma.Schema):
    name = Text(required=True, validate=ma.validate.Length(1, MOST_NAME))
    unit = Text(required=True, validate=ma.validate.Length(1, MOST_UNIT))
    document_kind = ma.fields.Enum(DocumentKind, by_value=True, load_default=None, allow_none=True)
    document_number = Text(
        load_default=None, allow_none=True, validate=ma.validate.Length(1, MOST_NUMBER)
    )

    @ma.validates_schema
    def kind_and_number(self, said: dict[str, Any], **_: Any) -> None:
        for missing, given in (
            ("document_kind", "document_number"), ("document_number", "document_kind"),
        ):  # fmt: skip
            if said[missing] is None and said[given] is not None:
                raise ma.ValidationError(
                    ma.fields.Field.default_error_messages["required"], missing
                )

    @ma.post_load
    def read(self, said: dict[str, Any], **_: Any) -> Person:
        return Person(**said)


class ApplicationRequest(ma.Schema):
    oa_number = PaperNumber(MOST_NUMBER, required=True)
    sponsor_unit = Text(required=True, validate=ma.validate.Length(1, MOST_UNIT))
    sponsor_number = Text(required=True, validate=NUMBER)
    purpose = Text(required=True, validate=ma.validate.Length(1, MOST_PURPOSE))
    category = Word(TEMPORARY, required=True)
    permissions = ma.fields.List(
        Word(PERMISSIONS), required=True, validate=ma.validate.Length(1, len(PERMISSIONS))
    )
    pays_surcharge = Flag(load_default=None, allow_none=True)
    valid_from = ma.fields.Date(required=True)
    valid_until = ma.fields.Date(required=True)
    people = ma.fields.List(
        ma.fields.Nested(ApplicantRequest),
        required=True,
        validate=ma.validate.Length(1, MOST_PEOPLE),
    )

    @ma.post_load
    def read(self, said: dict[str, Any], **_: Any) -> Wanted:
        return Wanted(
            **said
            | {
                "category": Category(said["category"]),
                "permissions": sorted(set(said["permissions"])),
            }
        )


class OaApprovalRequest(ma.Schema):
    kind = ma.fields.Enum(ApprovalKind, by_value=True, required=True)
    approver = Text(required=True, validate=ma.validate.Length(1, MOST_NAME))
    document = Text(required=True, validate=ma.validate.Length(1, MOST_DOCUMENT))
    decided_on = ma.fields.Date(required=True)

    @ma.post_load
    def read(self, said: dict[str, Any], **_: Any) -> Paper:
        return Paper(**said)


class OaApprovalReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    application_id = ma.fields.UUID(required=True)
    kind = Word(ApprovalKind, required=True)
    approver = ma.fields.String(required=True)
    document = ma.fields.String(required=True)
    decided_on = ma.fields.Date(required=True)
    recorded_at = Moment(required=True)


class ApplicantReply(ma.Schema):
    position = ma.fields.Integer(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    unit = ma.fields.String(required=True)
    document_kind = Word(DocumentKind, required=True, allow_none=True)
    holder_id = ma.fields.UUID(required=True, allow_none=True)
    opening_fault = Word(Fault, required=True, allow_none=True)
    left_on = ma.fields.Date(required=True, allow_none=True)


class ApplicationSummary(ma.Schema):
    id = ma.fields.UUID(required=True)
    state = Word(ApplicationState, required=True)
    oa_number = ma.fields.String(required=True)
    sponsor_unit = ma.fields.String(required=True)
    sponsor_id = ma.fields.UUID(required=True)
    purpose = ma.fields.String(required=True)
    category = Word(Category, required=True)
    permissions = ma.fields.List(Word(PERMISSIONS), required=True)
    pays_surcharge = Flag(required=True, allow_none=True)
    valid_from = ma.fields.Date(required=True)
    valid_until = ma.fields.Date(required=True)
    receipt_number = ma.fields.String(required=True, allow_none=True)
    made_at = Moment(required=True)
    opened_at = Moment(required=True, allow_none=True)
    withdrawn_at = Moment(required=True, allow_none=True)


class ApplicationReply(ApplicationSummary):
    people = ma.fields.List(ma.fields.Nested(ApplicantReply), required=True)
    approvals = ma.fields.List(ma.fields.Nested(OaApprovalReply), required=True)


class ApplicationList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(ApplicationSummary), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class OpeningRequest(ma.Schema):
    receipt_number = PaperNumber(MOST_NUMBER, load_default=None, allow_none=True)


class OpeningReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    application_id = ma.fields.UUID(required=True)
    receipt_number = ma.fields.String(required=True, allow_none=True)
    opened_at = Moment(required=True)
    opened_count = ma.fields.Integer(required=True)
    people = ma.fields.List(ma.fields.Nested(ApplicantReply), required=True)


class ExtensionRequest(ma.Schema):
    oa_number = PaperNumber(MOST_NUMBER, required=True)
    valid_until = ma.fields.Date(required=True)
    approvals = ma.fields.List(ma.fields.Nested(OaApprovalRequest), required=True)

    @ma.validates_schema
    def both_approvals(self, said: dict[str, Any], **_: Any) -> None:
        if sorted(paper.kind for paper in said["approvals"]) != sorted(ApprovalKind):
            raise ma.ValidationError("One of the unit and one of the leader.", "approvals")


class ExtensionReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    application_id = ma.fields.UUID(required=True)
    oa_number = ma.fields.String(required=True)
    valid_before = ma.fields.Date(required=True)
    valid_until = ma.fields.Date(required=True)
    made_at = Moment(required=True)


class EarlyLeavingRequest(ma.Schema):
    holder_id = ma.fields.UUID(required=True)
    last_on = ma.fields.Date(required=True)
    reason = Text(required=True, validate=ma.validate.Length(1, MOST_REASON))


class OwnEarlyLeavingRequest(EarlyLeavingRequest):
    application_id = ma.fields.UUID(required=True)


class SponsoredReply(ma.Schema):
    application_id = ma.fields.UUID(required=True)
    holder_id = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True)
    unit = ma.fields.String(required=True)
    valid_until = ma.fields.Date(required=True)
    left_on = ma.fields.Date(required=True, allow_none=True)


class SponsoredList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(SponsoredReply), required=True)


class EarlyLeavingReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    application_id = ma.fields.UUID(required=True)
    holder_id = ma.fields.UUID(required=True)
    last_on = ma.fields.Date(required=True)
    reason = ma.fields.String(required=True)
    told_at = Moment(required=True)
