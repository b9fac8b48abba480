"""Reading JSON bodies: whatever is in them, the worst answer is a 400."""

import json
from typing import Any

from flask import Flask, abort, request
from webargs.flaskparser import FlaskParser

MOST_BODY_BYTES = 2 * 1024 * 1024
JSON_PREFIX = "/api/"


class BodyParser(FlaskParser):  # type: ignore[misc, unused-ignore]
    """Webargs' parser, for which numbers of 5,000 digits and 100,000 brackets are bad JSON too."""

    def _raw_load_json(self, req: Any) -> Any:
        try:
            return super()._raw_load_json(req)
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError) as error:
            # Webargs takes an empty document for no body at all, and would fill in nothing.
            raise json.JSONDecodeError("not JSON that we read", "…", 0) from error


BODY_PARSER = BodyParser()


def install(app: Flask) -> None:
    """Bound every body, and refuse those of the API that do not say they are JSON."""
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
