"""Shapes on the wire: the staff's login."""

import marshmallow as ma

from backend.http.fields import Moment, Text, Word
from backend.operators.models import Role


class OperatorSessionRequest(ma.Schema):
    username = Text(required=True, validate=ma.validate.Length(1, 64))
    password = Text(required=True, validate=ma.validate.Length(1, 128))
    totp = ma.fields.String(required=True, validate=ma.validate.Regexp(r"^[0-9]{6}\Z"))


class OperatorSessionReply(ma.Schema):
    token = ma.fields.String(required=True)
    expires_at = Moment(required=True)
    role = Word(Role, required=True)
