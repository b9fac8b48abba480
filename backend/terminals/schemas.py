"""Shapes on the wire: enrolment and the terminal's own state."""

import marshmallow as ma

from backend.http.fields import Moment, Text, WholeField, Word
from backend.terminals.models import Reader, TerminalKind


class EnrolmentRequest(ma.Schema):
    enrolment_token = Text(required=True, validate=ma.validate.Length(1, 200))
    software = Text(required=True, validate=ma.validate.Length(1, 100))


class TokenReply(ma.Schema):
    terminal_id = ma.fields.UUID(required=True)
    token = ma.fields.String(required=True)


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
    clock = Moment()
    software = Text(validate=ma.validate.Length(1, 100))


class HeartbeatReply(ma.Schema):
    server_time = Moment(required=True)
    commands = ma.fields.List(ma.fields.String(), required=True)


class TerminalItem(ma.Schema):
    id = ma.fields.UUID(required=True)
    kind = Word(TerminalKind, required=True)
    place = ma.fields.String(required=True)
    reader = Word(Reader, required=True)
    software = ma.fields.String(required=True, allow_none=True)
    enrolled_at = Moment(required=True, allow_none=True)
    last_seen_at = Moment(required=True, allow_none=True)
    revoked_at = Moment(required=True, allow_none=True)


class TerminalList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(TerminalItem), required=True)


class InvitationReply(ma.Schema):
    terminal_id = ma.fields.UUID(required=True)
    enrolment_token = ma.fields.String(required=True)
    expires_at = Moment(required=True)
