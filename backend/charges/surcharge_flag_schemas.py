"""Shapes on the wire: who pays the meal surcharge."""

import marshmallow as ma

from backend.holders.models import Category
from backend.http.fields import Flag, Moment, Reason, Word

MOST_DOCUMENT_NUMBER = 64


class SurchargeFlagRequest(ma.Schema):
    pays_surcharge = Flag(required=True)
    document_number = Reason(MOST_DOCUMENT_NUMBER, required=True)


class SurchargeFlagReply(ma.Schema):
    holder_id = ma.fields.UUID(required=True)
    holder_number = ma.fields.String(required=True)
    name_masked = ma.fields.String(required=True)
    category = Word(Category, required=True)
    unit = ma.fields.String(required=True)
    pays_surcharge = Flag(required=True, allow_none=True)


class UnknownSurchargeReply(SurchargeFlagReply):
    meals = ma.fields.Integer(required=True)
    since = Moment(required=True)
    last_at = Moment(required=True)
    page = ma.fields.String(required=True)


class UnknownSurchargeList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(UnknownSurchargeReply), required=True)
