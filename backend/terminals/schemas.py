"""Shapes on the wire: enrolment and the terminal's own state."""

import marshmallow as ma

from backend.http.fields import Moment, PublicKey, Text, WholeField, Word
from backend.terminals.heartbeats import AlarmKind, Command
from backend.terminals.models import Reader, TerminalKind

MOST_SEQUENCE = 2**53 - 1
"""The largest number that every JSON reader keeps exact."""


class EnrolmentRequest(ma.Schema):
    enrolment_token = Text(required=True, validate=ma.validate.Length(1, 200))
    public_key = PublicKey()
    software = Text(required=True, validate=ma.validate.Length(1, 100))


class RollRequest(ma.Schema):
    public_key = PublicKey()


class CredentialReply(ma.Schema):
    """A token or the name of a key: one of them is null."""

    terminal_id = ma.fields.UUID(required=True)
    token = ma.fields.String(required=True, allow_none=True)
    key_id = ma.fields.String(required=True, allow_none=True)


class TerminalReply(ma.Schema):
    terminal_id = ma.fields.UUID(required=True)
    kind = Word(TerminalKind, required=True)
    place = ma.fields.String(required=True)
    merchant = ma.fields.String(required=True, allow_none=True)
    stall = ma.fields.String(required=True, allow_none=True)
    reader = Word(Reader, required=True)
    server_time = Moment(required=True)


class HeartbeatRequest(ma.Schema):
    queue_length = WholeField(validate=ma.validate.Range(0, 1_000_000))
    last_sequence = WholeField(validate=ma.validate.Range(0, MOST_SEQUENCE))
    clock = ma.fields.AwareDateTime()  # of any year: it is what is wrong
    bundle_sequence = WholeField(validate=ma.validate.Range(0, MOST_SEQUENCE))
    software = Text(validate=ma.validate.Length(1, 100))


class HeartbeatReply(ma.Schema):
    server_time = Moment(required=True)
    clock_offset_seconds = ma.fields.Integer(required=True, allow_none=True)
    commands = ma.fields.List(Word(Command), required=True)


class TerminalItem(ma.Schema):
    id = ma.fields.UUID(required=True)
    kind = Word(TerminalKind, required=True)
    place = ma.fields.String(required=True)
    reader = Word(Reader, required=True)
    software = ma.fields.String(required=True, allow_none=True)
    known_by = Word(("token", "key"), required=True, allow_none=True)
    key_id = ma.fields.String(required=True, allow_none=True)
    enrolled_at = Moment(required=True, allow_none=True)
    last_seen_at = Moment(required=True, allow_none=True)
    revoked_at = Moment(required=True, allow_none=True)
    queue_length = ma.fields.Integer(required=True, allow_none=True)
    queue_since = Moment(required=True, allow_none=True)
    last_sequence = ma.fields.Integer(required=True, allow_none=True)
    clock_offset_seconds = ma.fields.Integer(required=True, allow_none=True)
    bundle_sequence = ma.fields.Integer(required=True, allow_none=True)
    bundle_confirmed_at = Moment(required=True, allow_none=True)
    bundle_latest_sequence = ma.fields.Integer(required=True, allow_none=True)
    missing_sequences = ma.fields.List(ma.fields.Integer(), required=True, allow_none=True)
    gap_since = Moment(required=True, allow_none=True)


class TerminalList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(TerminalItem), required=True)


class AlarmItem(ma.Schema):
    alarm = Word(AlarmKind, required=True)
    since = Moment(required=True)
    terminal = ma.fields.Nested(TerminalItem, required=True)


class AlarmList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(AlarmItem), required=True)


class InvitationReply(ma.Schema):
    terminal_id = ma.fields.UUID(required=True)
    enrolment_token = ma.fields.String(required=True)
    expires_at = Moment(required=True)
