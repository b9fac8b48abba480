"""Failures of the sandbox's own interface, as RFC 9457 tells them."""

import json
from http import HTTPStatus

from flask import Response


class Problem(Exception):
    """A request that cannot be served."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail

    def response(self) -> Response:
        """Write it down."""
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        return Response(json.dumps(body), self.status, content_type="application/problem+json")
