"""What can go wrong, as it is published: every code with its status, its meaning, an example."""

from collections.abc import Mapping
from typing import Any

from flask import json

from backend.errors import DomainError
from backend.http import words
from backend.http.problems import HTTP_CODES, PROBLEM_JSON, STATUS
from backend.http.vocabulary import FACTS

HTTP_REASONS = {
    "malformed-request": "The body is not JSON, or the request cannot be read.",
    "not-found": "There is no such thing, or it belongs to somebody else.",
    "method-not-allowed": "The address does not take this method; `Allow` says which it takes.",
    "body-too-slow": "The body was not here within 10 seconds; nothing was done.",
    "body-too-large": "The body is larger than 2 MiB.",
    "media-type-not-supported": "The body is not of the media type that the endpoint takes.",
    "validation-failed": "The request does not fit its schema; `errors` names each field.",
    "internal-error": "A fault of ours; it was recorded under `reference`.",
}
"""Codes that no service raises: Flask, Werkzeug or a schema refused."""
UNAUTHENTICATED, WAIT = 401, (429, 503)


def status_of(code: str) -> int:
    """Return the HTTP status with which a code is answered."""
    if code in DomainError.by_code:
        return STATUS[DomainError.by_code[code].kind]
    return next((status for status, name in HTTP_CODES.items() if name == code), 500)


def reason_of(code: str) -> str:
    """Return what a code means, for programmers."""
    if code in DomainError.by_code:
        return (DomainError.by_code[code].__doc__ or "").splitlines()[0]
    return HTTP_REASONS[code]


def refusal(status: int, codes: list[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": "\n".join(f"- `{code}`: {reason_of(code)}" for code in codes),
        "content": {
            PROBLEM_JSON: {
                "schema": {
                    "allOf": [
                        {"$ref": "#/components/schemas/Problem"},
                        {"properties": {"status": {"const": status}, "code": {"enum": codes}}},
                    ]
                },
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }
    if status in WAIT:
        answer["headers"] = {
            "Retry-After": {
                "description": "Whole seconds until the same request may be sent again.",
                "schema": {"type": "integer", "minimum": 1},
                "required": True,
            }
        }
    if status == UNAUTHENTICATED:
        answer["headers"] = {
            "WWW-Authenticate": {"schema": {"const": "Bearer", "type": "string"}, "required": True}
        }
    return answer


def codes() -> list[str]:
    """Return every code that an answer can carry."""
    return sorted({*DomainError.by_code, *HTTP_REASONS})


def examples() -> dict[str, Any]:
    return {code: {"summary": reason_of(code), "value": example(code)} for code in codes()}


def example(code: str) -> dict[str, Any]:
    title, detail = words.dictionary("zh-CN")["problems"].get(code, ("", ""))
    facts = FACTS.get(code, {})
    return {
        "type": f"urn:campus-card:problem:{code}",
        "title": title,
        "status": status_of(code),
        "detail": words.fill(detail, facts),
        "code": code,
        "reference": "7KQ2MXRD",
        **facts,
    }


def page(document: Mapping[str, Any]) -> str:
    """Return the list of all problems as a page for people."""
    chinese, english = (words.dictionary(name)["problems"] for name in words.LANGUAGES)
    lines = [
        "# Problems",
        "",
        "Every refusal is `application/problem+json` (RFC 9457); `code` never changes.  Written by",
        "`make openapi`.",
        "",
        "| code | status | 中文 | English | when | operations |",
        "|---|---|---|---|---|---|",
    ]
    for code in codes():
        places = [
            operation["operationId"]
            for item in document["paths"].values()
            for operation in item.values()
            if isinstance(operation, dict) and f'/{code}"' in json.dumps(operation)
        ]
        lines.append(
            f"| `{code}` | {status_of(code)} | {chinese[code][0]} | {english[code][0]}"
            f" | {reason_of(code)} | {', '.join(places) or 'any'} |"
        )
    return "\n".join(lines) + "\n"
