"""Shapes on the wire: re-rating the meal surcharge."""

import marshmallow as ma

from backend.http.fields import Flag, Moment, Reason, WholeField

MOST_PERMILLE = 500
MOST_DOCUMENT_NUMBER = 64
MOST_REASON = 200


class ReratingPreviewRequest(ma.Schema):
    first_day = ma.fields.Date(required=True)
    last_day = ma.fields.Date(required=True)
    permille = WholeField(
        load_default=None, allow_none=True, validate=ma.validate.Range(0, MOST_PERMILLE)
    )
    flags = Flag(load_default=False)


class ReratingRequest(ReratingPreviewRequest):
    document_number = Reason(MOST_DOCUMENT_NUMBER, required=True)
    reason = Reason(MOST_REASON, required=True)


class MealSumsReply(ma.Schema):
    charges = ma.fields.Integer(required=True)
    taken_fen = ma.fields.Integer(required=True)
    return_charges = ma.fields.Integer(required=True)
    return_fen = ma.fields.Integer(required=True)
    short_charges = ma.fields.Integer(required=True)
    short_fen = ma.fields.Integer(required=True)
    closed_charges = ma.fields.Integer(required=True)
    closed_fen = ma.fields.Integer(required=True)


class ReratingReply(ma.Schema):
    id = ma.fields.UUID(required=True)
    first_day = ma.fields.Date(required=True)
    last_day = ma.fields.Date(required=True)
    permille = ma.fields.Integer(required=True, allow_none=True)
    flags = ma.fields.Boolean(required=True)
    document_number = ma.fields.String(required=True)
    reason = ma.fields.String(required=True)
    return_charges = ma.fields.Integer(required=True)
    return_fen = ma.fields.Integer(required=True)
    made_by = ma.fields.String(required=True)
    made_at = Moment(required=True)
    approved_by = ma.fields.String(required=True, allow_none=True)
    approved_at = Moment(required=True, allow_none=True)
    finished_at = Moment(required=True, allow_none=True)


class ReratingFull(ReratingReply):
    returned_fen = ma.fields.Integer(required=True)


class ReratingList(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(ReratingReply), required=True)
