"""Shapes on the wire: binding, the card itself, codes, loss and restoration."""

import marshmallow as ma

from backend.cards.models import CardState
from backend.holders.models import Category, RosterSource
from backend.holders.roster_reports import Remark
from backend.holders.schemas import BINDINGS, LimitsReply
from backend.http.fields import Flag, Moment, Raw, Text, Word
from backend.terminals.models import TerminalKind

CREDENTIALS = ("physical_card", "phone")
CODE_KINDS = ("signed", "short")


class BindingRequest(ma.Schema):
    holder_number = Text(required=True, validate=ma.validate.Length(1, 32))
    name = Text(required=True, validate=ma.validate.Length(1, 64))
    document_number = Text(required=True, validate=ma.validate.Length(6, 32))
    terms_version = Text(required=True, validate=ma.validate.Length(1, 32))


class BindingReply(ma.Schema):
    binding = Word(BINDINGS, required=True)
    name_masked = ma.fields.String(required=True)
    holder_number = ma.fields.String(required=True)
    category = Word(Category, required=True)


class PaymentIdentityRequest(ma.Schema):
    grant = Text(required=True, validate=ma.validate.Length(1, 512))


class HolderReply(ma.Schema):
    name_masked = ma.fields.String(required=True)
    holder_number = ma.fields.String(required=True)
    category = Word(Category, required=True)
    unit = ma.fields.String(required=True)


class PhysicalCardReply(ma.Schema):
    state = Word(CardState, required=True)
    number_masked = ma.fields.String(required=True)
    valid_until = ma.fields.Date(required=True)


class VirtualCardReply(ma.Schema):
    state = Word(CardState, required=True)
    valid_until = ma.fields.Date(required=True)


class PurseReply(ma.Schema):
    kind = Word(("main", "subsidy"), required=True)
    balance_fen = ma.fields.Integer(required=True)


class MeReply(ma.Schema):
    binding = Word(BINDINGS, required=True)
    holder = ma.fields.Nested(HolderReply, required=True, allow_none=True)
    physical_card = ma.fields.Nested(PhysicalCardReply, required=True, allow_none=True)
    virtual_card = ma.fields.Nested(VirtualCardReply, required=True, allow_none=True)
    purses = ma.fields.List(ma.fields.Nested(PurseReply), required=True)
    arrears_fen = ma.fields.Integer(required=True)
    limits = ma.fields.Nested(LimitsReply, required=True, allow_none=True)
    spent_today_fen = ma.fields.Integer(required=True)
    restore_from_phone = ma.fields.Boolean(required=True)
    delegation_id = ma.fields.UUID(required=True, allow_none=True)


class CodesRequest(ma.Schema):
    scope = Word(("pay", "gate"), required=True)
    kind = Word(CODE_KINDS)


class CodeReply(ma.Schema):
    text = ma.fields.String(required=True)
    kind = Word(CODE_KINDS, required=True)
    not_before = Moment(required=True)
    expires_at = Moment(required=True)


class CodesReply(ma.Schema):
    server_time = Moment(required=True)
    refresh_after_seconds = ma.fields.Integer(required=True)
    codes = ma.fields.List(ma.fields.Nested(CodeReply), required=True)


class ImageQuery(ma.Schema):
    text = ma.fields.String(required=True, validate=ma.validate.Length(1, 500))
    format = Word(("svg", "png"), load_default="svg")


class LossRequest(ma.Schema):
    credential = Word(CREDENTIALS, required=True)
    stop_virtual_card = Flag(load_default=False)


class TerminalInformed(ma.Schema):
    terminal_id = ma.fields.UUID(required=True)
    kind = Word(TerminalKind, required=True)
    place = ma.fields.String(required=True)
    has_it = ma.fields.Boolean(required=True)
    since = ma.fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    offline_since = ma.fields.String(
        required=True, allow_none=True, metadata={"format": "date-time"}
    )


class LossReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    credential = Word(CREDENTIALS, required=True)
    reported_at = Moment(required=True)
    physical_card_state = Word(CardState, required=True, allow_none=True)
    virtual_card_state = Word(CardState, required=True, allow_none=True)
    terminals = ma.fields.List(ma.fields.Nested(TerminalInformed), required=True)


class RestorationRequest(ma.Schema):
    document_last_six = Text(required=True, validate=ma.validate.Length(6, 12))


class RestorationReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    restored = ma.fields.List(Word(("physical_card", "virtual_card")), required=True)
    restored_at = Moment(required=True)


class KioskLossRequest(ma.Schema):
    """A physical card's number, or holder number and document."""

    card_number = Text(validate=ma.validate.Length(1, 32))
    holder_number = Text(validate=ma.validate.Length(1, 32))
    document_number = Text(validate=ma.validate.Length(6, 32))

    @ma.validates_schema
    def one_way_or_the_other(self, data: dict[str, str], **_: object) -> None:
        if data.keys() not in ({"card_number"}, {"holder_number", "document_number"}):
            raise ma.ValidationError("Either card_number, or holder_number and document_number.")


class KioskRestorationRequest(ma.Schema):
    card_number = Text(required=True, validate=ma.validate.Length(1, 32))
    document_number = Text(required=True, validate=ma.validate.Length(6, 32))


class ChallengeReply(ma.Schema):
    challenge = Raw(32, required=True)
    account = Raw(32, required=True)
    expires_at = Moment(required=True)


class DelegationRequest(ma.Schema):
    public_key = Raw(32, required=True)
    proof = Raw(64, required=True)


class DelegationReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    serial = ma.fields.Integer(required=True)
    delegation = Raw(108, required=True, attribute="certificate")
    granted_at = Moment(required=True)
    expires_at = Moment(required=True)
    renew_at = Moment(required=True)
    cap_fen = ma.fields.Integer(required=True)
    cap_count = ma.fields.Integer(required=True)


class RosterQuery(ma.Schema):
    dry_run = ma.fields.Boolean(load_default=False)
    source = Word(RosterSource)
    whole = ma.fields.Boolean(load_default=False)
    batch_id = ma.fields.UUID()


class RowFaultReply(ma.Schema):
    row = ma.fields.Integer(required=True)
    column = ma.fields.String(required=True)
    fault = ma.fields.String(required=True)


class RowRemarkReply(ma.Schema):
    row = ma.fields.Integer(required=True)
    holder_number = ma.fields.String(required=True)
    remark = Word(Remark, required=True)


class RosterReply(ma.Schema):
    rows = ma.fields.Integer(required=True)
    added = ma.fields.Integer(required=True)
    changed = ma.fields.Integer(required=True)
    unchanged = ma.fields.Integer(required=True)
    faults = ma.fields.List(ma.fields.Nested(RowFaultReply), required=True)
    conflicts = ma.fields.List(ma.fields.Nested(RowFaultReply), required=True)
    remarks = ma.fields.List(ma.fields.Nested(RowRemarkReply), required=True)
    unread_sheets = ma.fields.List(ma.fields.String(), required=True)
    absent = ma.fields.List(ma.fields.String(), required=True)
