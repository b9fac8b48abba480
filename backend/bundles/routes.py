"""HTTP for bundles: a terminal asks for what it must know to decide alone."""

from typing import Any

import marshmallow as ma
from flask import Response, request
from flask_smorest import Blueprint

from backend import clock
from backend.bundles import service
from backend.db import transaction
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.terminals import service as terminals
from qr.jwks import write_jwks

blueprint = guard(
    Blueprint(
        "bundles",
        __name__,
        url_prefix="/terminals/current/bundle",
        description="What a terminal needs to decide alone (终端数据包)",
    ),
    "terminal",
    terminals.authenticate,
    terminals.authenticate_signed,
)


class BundleKeysReply(ma.Schema):
    issuer = ma.fields.String(required=True)
    keys = ma.fields.List(ma.fields.Dict(), required=True)


class BundleReply(ma.Schema):
    sequence = ma.fields.Integer(required=True)
    bundle = ma.fields.String(required=True)


class BundleQuery(ma.Schema):
    after = ma.fields.Integer(validate=ma.validate.Range(1, 2**31 - 1))


@blueprint.route("", methods=["GET"])
@blueprint.arguments(BundleQuery, location="query")
@raises(blueprint, Unauthenticated)
@blueprint.alt_response(304, description="The bundle named in `after` is the newest.")
@blueprint.response(200, BundleReply)
def read_bundle(query: dict[str, Any]) -> Any:
    """Get the signed bundle of this terminal, or what has changed since the one it has.

    `ETag` is its sequence; `If-None-Match` does what `after` does.
    """
    after = query.get("after") or _sequence_in(request.headers.get("If-None-Match", ""))
    own, now = parts(), clock.now()
    with transaction() as session:
        issued = service.issue(
            session,
            terminal=caller(),
            after=after,
            code_keys=own.code_keys.public_keys(now),
            issuer=own.settings.issuer,
            sealer=own.sealer,
            now=now,
        )
    if issued is None:
        answer = Response(status=304)
        answer.set_etag(str(after))
        return answer
    sequence, token = issued
    return {"sequence": sequence, "bundle": token}, 200, {"ETag": f'"{sequence}"'}


@blueprint.route("/keys", methods=["GET"])
@raises(blueprint, Unauthenticated)
@blueprint.response(200, BundleKeysReply)
def read_bundle_keys() -> dict[str, Any]:
    """Get whom to believe: asked once, right after the enrolment, and kept for good."""
    own = parts()
    return {"issuer": own.settings.issuer, **write_jwks(service.root_keys(own.sealer))}


def _sequence_in(tag: str) -> int | None:
    text = tag.strip().removeprefix("W/").strip('"')
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004
