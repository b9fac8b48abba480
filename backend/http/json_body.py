"""Reading what is sent: whatever is in it, the worst answer is a refusal."""

import json
from typing import Any

import marshmallow as ma
from flask import Flask, abort, request
from webargs.core import is_json, missing
from webargs.flaskparser import FlaskParser

MOST_BODY_BYTES = 2 * 1024 * 1024
JSON_PREFIX = "/api/"


class BodyParser(FlaskParser):  # type: ignore[misc, unused-ignore]
    """Webargs' parser, with a stricter idea of JSON and of queries.

    Bad JSON too are a member named twice or by half a surrogate pair, numbers of 5,000 digits and
    100,000 brackets.  A query holds nothing but what the schema names, and that once.
    """

    DEFAULT_UNKNOWN_BY_LOCATION = {  # noqa: RUF012 - read by webargs as a plain class attribute
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": ma.RAISE,
    }

    def load_querystring(self, req: Any, schema: Any) -> Any:
        """Return the query, of which every field is said once: nobody knows which of two counts."""
        twice = [name for name, said in req.args.lists() if len(said) > 1]
        if twice:
            raise ma.ValidationError({name: ["Named twice."] for name in twice})
        return super().load_querystring(req, schema)

    def _raw_load_json(self, req: Any) -> Any:
        if not is_json(req.mimetype):
            return missing
        body = req.get_data(cache=True)
        if not body:
            return missing
        try:
            return json.loads(body.decode(), object_pairs_hook=_members)
        except (ValueError, RecursionError) as error:
            # Webargs takes an empty document for no body at all, and would fill in nothing.
            raise json.JSONDecodeError("not JSON that we read", "…", 0) from error


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    "".join(members).encode()  # half a surrogate pair is no name: an answer could not repeat it
    return members


BODY_PARSER = BodyParser()


def install(app: Flask) -> None:
    """Bound every body, and refuse those of the API that do not say they are JSON.

    A view that `takes_files` asks for their media types itself.
    """
    app.config["MAX_CONTENT_LENGTH"] = MOST_BODY_BYTES

    @app.before_request
    def _only_json() -> None:
        view = app.view_functions.get(request.endpoint or "")
        if (
            request.path.startswith(JSON_PREFIX)
            and view is not None
            and not getattr(view, "takes_files", False)
            and request.content_length
            and not request.is_json
        ):
            abort(415)
