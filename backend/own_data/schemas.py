"""Shapes on the wire: what is kept about the caller."""

import marshmallow as ma

from backend.http.fields import Moment, Word
from backend.operators.models import Role


class LookReply(ma.Schema):
    """One look that a member of the staff took."""

    at = Moment(required=True)
    revealed = ma.fields.Boolean(required=True)
    role = Word(Role, required=True, allow_none=True)
    reason = ma.fields.String(required=True, allow_none=True)


class OwnDataReply(ma.Schema):
    holder_id = ma.fields.UUID(required=True)
    taken_at = Moment(required=True)
    looks = ma.fields.List(ma.fields.Nested(LookReply), required=True)
    kept = ma.fields.Dict(
        keys=ma.fields.String(), values=ma.fields.List(ma.fields.Dict()), required=True
    )
