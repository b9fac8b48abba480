"""Shapes on the wire: the staff's login."""

from typing import Any

import marshmallow as ma

from backend.http.fields import Flag, Moment, Text, Word
from backend.operators.models import ChangeKind, OperatorState, Role


class OperatorSessionRequest(ma.Schema):
    username = Text(required=True, validate=ma.validate.Length(1, 64))
    password = Text(required=True, validate=ma.validate.Length(1, 128))
    totp = ma.fields.String(required=True, validate=ma.validate.Regexp(r"^[0-9]{6}\Z"))


class OperatorSessionReply(ma.Schema):
    token = ma.fields.String(required=True)
    expires_at = Moment(required=True)
    role = Word(Role, required=True)


TOTP = ma.validate.Regexp(r"^[0-9]{6}\Z")


class ConfirmationRequest(ma.Schema):
    totp = ma.fields.String(required=True, validate=TOTP)


class ConfirmationReply(ma.Schema):
    confirmed_until = Moment(required=True)


class AppointmentRequest(ma.Schema):
    username = ma.fields.String(
        required=True, validate=ma.validate.Regexp(r"^[a-z][a-z0-9._-]{1,31}\Z")
    )
    name = Text(required=True, validate=ma.validate.Length(1, 64))
    role = Word(Role, required=True)

    @ma.post_load
    def _understand(self, said: dict[str, Any], **_: Any) -> dict[str, Any]:
        return said | {"role": Role(said["role"])}


class OperatorChangeRequest(ma.Schema):
    kind = Word([kind for kind in ChangeKind if kind is not ChangeKind.APPOINT], required=True)
    role = Word(Role, load_default=None, allow_none=True)

    @ma.post_load
    def _understand(self, said: dict[str, Any], **_: Any) -> dict[str, Any]:
        if (said["kind"] == ChangeKind.CHANGE_ROLE) != (said["role"] is not None):
            raise ma.ValidationError({"role": ["Missing data for required field."]})
        return said | {"role": said["role"] and Role(said["role"])}


class OperatorDecisionRequest(ma.Schema):
    approve = Flag(required=True)


class OperatorChangeReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    operator_id = ma.fields.UUID(required=True)
    kind = Word(ChangeKind, required=True)
    role = Word(Role, required=True, allow_none=True)
    maker = ma.fields.String(required=True)
    made_at = Moment(required=True)
    approved = ma.fields.Boolean(required=True, allow_none=True)
    checker = ma.fields.String(required=True, allow_none=True)
    decided_at = Moment(required=True, allow_none=True)


class OperatorReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    username = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    role = Word(Role, required=True)
    state = Word(OperatorState, required=True)


class OperatorList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(OperatorReply), required=True)
    changes = ma.fields.List(ma.fields.Nested(OperatorChangeReply), required=True)


class OperatorTokenReply(ma.Schema):
    enrolment_token = ma.fields.String(required=True)
    expires_at = Moment(required=True)


class EnrolmentBeginRequest(ma.Schema):
    enrolment_token = Text(required=True, validate=ma.validate.Length(1, 128))
    password = Text(required=True, validate=ma.validate.Length(1, 128))


class EnrolmentBegunReply(ma.Schema):
    username = ma.fields.String(required=True)
    totp_secret = ma.fields.String(required=True)
    totp_uri = ma.fields.String(required=True)


class EnrolmentFinishRequest(ma.Schema):
    enrolment_token = Text(required=True, validate=ma.validate.Length(1, 128))
    totp = ma.fields.String(required=True, validate=TOTP)
