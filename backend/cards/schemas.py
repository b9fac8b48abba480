"""Shapes on the wire: binding, the card itself, codes, loss and restoration."""

import marshmallow as ma

from backend.holders.schemas import LimitsReply
from backend.http.fields import Moment, Text


class BindingRequest(ma.Schema):
    holder_number = Text(required=True, validate=ma.validate.Length(1, 32))
    name = Text(required=True, validate=ma.validate.Length(1, 64))
    document_number = Text(required=True, validate=ma.validate.Length(6, 32))
    terms_version = Text(required=True, validate=ma.validate.Length(1, 32))


class BindingReply(ma.Schema):
    binding = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    holder_number = ma.fields.String(required=True)
    category = ma.fields.String(required=True)


class PaymentIdentityRequest(ma.Schema):
    grant = Text(required=True, validate=ma.validate.Length(1, 512))


class HolderReply(ma.Schema):
    name_masked = ma.fields.String(required=True)
    holder_number = ma.fields.String(required=True)
    category = ma.fields.String(required=True)
    unit = ma.fields.String(required=True)


class PhysicalCardReply(ma.Schema):
    state = ma.fields.String(required=True)
    number_masked = ma.fields.String(required=True)
    valid_until = ma.fields.Date(required=True)


class VirtualCardReply(ma.Schema):
    state = ma.fields.String(required=True)
    valid_until = ma.fields.Date(required=True)


class PurseReply(ma.Schema):
    kind = ma.fields.String(required=True, metadata={"enum": ["main", "subsidy"]})
    balance_fen = ma.fields.Integer(required=True)


class MeReply(ma.Schema):
    binding = ma.fields.String(required=True)
    holder = ma.fields.Nested(HolderReply, required=True, allow_none=True)
    physical_card = ma.fields.Nested(PhysicalCardReply, required=True, allow_none=True)
    virtual_card = ma.fields.Nested(VirtualCardReply, required=True, allow_none=True)
    purses = ma.fields.List(ma.fields.Nested(PurseReply), required=True)
    limits = ma.fields.Nested(LimitsReply, required=True, allow_none=True)
    restore_from_phone = ma.fields.Boolean(required=True)


class CodesRequest(ma.Schema):
    scope = ma.fields.String(required=True, validate=ma.validate.OneOf(["pay", "gate"]))
    kind = ma.fields.String(validate=ma.validate.OneOf(["signed", "short"]))


class CodeReply(ma.Schema):
    text = ma.fields.String(required=True)
    kind = ma.fields.String(required=True)
    not_before = Moment(required=True)
    expires_at = Moment(required=True)


class CodesReply(ma.Schema):
    server_time = Moment(required=True)
    refresh_after_seconds = ma.fields.Integer(required=True)
    codes = ma.fields.List(ma.fields.Nested(CodeReply), required=True)


class ImageQuery(ma.Schema):
    text = ma.fields.String(required=True, validate=ma.validate.Length(1, 500))
    format = ma.fields.String(load_default="svg", validate=ma.validate.OneOf(["svg", "png"]))


class LossRequest(ma.Schema):
    credential = ma.fields.String(
        required=True, validate=ma.validate.OneOf(["physical_card", "phone"])
    )
    stop_virtual_card = ma.fields.Boolean(load_default=False, truthy={True}, falsy={False})


class TerminalInformed(ma.Schema):
    terminal_id = ma.fields.UUID(required=True)
    kind = ma.fields.String(required=True)
    place = ma.fields.String(required=True)
    has_it = ma.fields.Boolean(required=True)
    since = ma.fields.String(required=True, allow_none=True, metadata={"format": "date-time"})


class LossReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    credential = ma.fields.String(required=True)
    reported_at = Moment(required=True)
    physical_card_state = ma.fields.String(required=True, allow_none=True)
    virtual_card_state = ma.fields.String(required=True, allow_none=True)
    terminals = ma.fields.List(ma.fields.Nested(TerminalInformed), required=True)


class RestorationRequest(ma.Schema):
    document_last_six = Text(required=True, validate=ma.validate.Length(6, 12))


class RestorationReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    restored = ma.fields.List(ma.fields.String(), required=True)
    restored_at = Moment(required=True)


class KioskLossRequest(ma.Schema):
    """A physical card's number, or holder number and document."""

    card_number = Text(validate=ma.validate.Length(1, 32))
    holder_number = Text(validate=ma.validate.Length(1, 32))
    document_number = Text(validate=ma.validate.Length(6, 32))

    @ma.validates_schema
    def one_way_or_the_other(self, data: dict[str, str], **_: object) -> None:
        by_person = {"holder_number", "document_number"} <= data.keys()
        if ("card_number" in data) == by_person:
            raise ma.ValidationError("card_number, or holder_number and document_number")


class KioskRestorationRequest(ma.Schema):
    card_number = Text(required=True, validate=ma.validate.Length(1, 32))
    document_number = Text(required=True, validate=ma.validate.Length(6, 32))


class RosterQuery(ma.Schema):
    dry_run = ma.fields.Boolean(load_default=False)


class RowFaultReply(ma.Schema):
    row = ma.fields.Integer(required=True)
    column = ma.fields.String(required=True)
    fault = ma.fields.String(required=True)


class RosterReply(ma.Schema):
    rows = ma.fields.Integer(required=True)
    added = ma.fields.Integer(required=True)
    changed = ma.fields.Integer(required=True)
    unchanged = ma.fields.Integer(required=True)
    faults = ma.fields.List(ma.fields.Nested(RowFaultReply), required=True)
