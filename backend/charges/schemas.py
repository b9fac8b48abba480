"""Shapes on the wire: charges and reversals."""

import marshmallow as ma

from backend.charges.models import ChargeState
from backend.holders.schemas import HolderSeen
from backend.http.fields import FenField, Moment, Text, Word
from backend.http.problems import DisplaySchema
from backend.uploads.schemas import MOST_ITEMS, MOST_WHOLE, LateItem, Unread

MOST_CHARGE_FEN = 10_000_000


class ChargeRequest(ma.Schema):
    code = ma.fields.String(required=True)
    """As it was scanned: whatever is wrong with it is a refusal of the code, not of the schema."""
    amount_fen = FenField(required=True, validate=ma.validate.Range(1, MOST_CHARGE_FEN))
    note = Text(validate=ma.validate.Length(max=100), allow_none=True)


class ChargeReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    state = Word(ChargeState, required=True)
    reason = ma.fields.String(allow_none=True)
    amount_fen = ma.fields.Integer(required=True, allow_none=True)
    surcharge_fen = ma.fields.Integer(required=True)
    total_fen = ma.fields.Integer(required=True, allow_none=True)
    reversed_fen = ma.fields.Integer(required=True)
    balance_fen = ma.fields.Integer(allow_none=True)
    holder = ma.fields.Nested(HolderSeen, required=True, allow_none=True)
    display = ma.fields.Nested(DisplaySchema, required=True)
    charged_at = Moment(required=True)
    server_time = Moment(required=True)
    reference = ma.fields.String(required=True)


class LateCharge(LateItem):
    """A charge that a till decided alone.  Whatever its amount, it is heard."""

    amount_fen = FenField(required=True, validate=ma.validate.Range(1, MOST_WHOLE))
    note = ma.fields.String(allow_none=True)
    state = Word(("approved", "declined"), required=True)


class LateChargesRequest(ma.Schema):
    items = ma.fields.List(
        Unread(LateCharge), required=True, validate=ma.validate.Length(max=MOST_ITEMS)
    )


class ReversalRequest(ma.Schema):
    amount_fen = FenField(required=True, validate=ma.validate.Range(1, MOST_CHARGE_FEN))


class ReversalReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    charge_id = ma.fields.UUID(required=True)
    amount_fen = ma.fields.Integer(required=True)
    surcharge_fen = ma.fields.Integer(required=True)
    total_fen = ma.fields.Integer(required=True)
    reversed_at = Moment(required=True)
    reference = ma.fields.String(required=True)
