"""What operations asks: is it alive, is it ready, how much, and which keys check codes."""

import os
from datetime import timedelta
from time import perf_counter
from typing import Any

from flask import Flask, Response, g, jsonify, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from redis import RedisError
from sqlalchemy import text

from backend import clock
from backend.db import transaction
from backend.http.parts import parts
from backend.http.problems import REFUSALS

REQUESTS = Counter(
    "campus_card_requests", "Answers by endpoint and status.", ["endpoint", "status"]
)
SECONDS = Histogram(
    "campus_card_request_seconds",
    "Time to answer by endpoint.",
    ["endpoint"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
NOT_LOGGED = Counter(
    "campus_card_refusals_not_logged", "Refusals that the operation log does not hold.", ["why"]
)
"""Counted in `operation_log/refusals.py`."""
RETRY_AFTER_SECONDS = 2
WAITING = (
    "SELECT state, count(*), count(*) FILTER (WHERE created_at < :overdue) FROM top_ups"
    " WHERE state IN ('created', 'pending', 'closing', 'exception') GROUP BY state"
)
OVERDUE = timedelta(hours=26)
"""A top-up that is open for longer is unresolved: alert on more than none."""


LOG = (
    "SELECT (SELECT coalesce(max(number), 0) FROM operation_log_seals), count(*),"
    " coalesce(extract(epoch FROM now() - min(at)), 0)::bigint FROM operation_log WHERE written_by"
    " >= coalesce((SELECT until FROM operation_log_seals ORDER BY number DESC LIMIT 1), 0)"
)
LOG_FIGURES = (
    ("campus_card_log_seals", "Seals of the operation log."),
    ("campus_card_log_unsealed_entries", "Entries of the operation log that are not sealed yet."),
    ("campus_card_log_unsealed_seconds", "Age of the oldest of them; over 60 the sealer stands."),
)
"""Of the columns of LOG, in this order."""


def install(app: Flask) -> None:
    """Add the operations' endpoints and measure every request."""
    app.add_url_rule("/healthz", "healthz", healthz)
    app.add_url_rule("/readyz", "readyz", readyz)
    app.add_url_rule("/metrics", "metrics", metrics)
    app.add_url_rule("/.well-known/jwks.json", "jwks", jwks)

    @app.before_request
    def _begin() -> None:
        g.began = perf_counter()

    @app.after_request
    def _count(answer: Response) -> Response:
        endpoint = request.endpoint or "none"
        REQUESTS.labels(endpoint, str(answer.status_code)).inc()
        if "began" in g:
            SECONDS.labels(endpoint).observe(perf_counter() - g.began)
        return answer


def healthz() -> Response:
    """Tell that this process answers."""
    return jsonify(status="alive")


def readyz() -> Response | tuple[Response, int, dict[str, str]]:
    """Tell whether requests can be worked: the database and its revision; Redis as a warning."""
    said: dict[str, Any] = {"database": "away", "revision": None, "redis": "away"}
    try:
        with transaction() as session:
            said["revision"] = session.execute(
                text("SELECT version_num FROM alembic_version")
            ).scalar_one()
        said["database"] = "ready"
    except Exception:  # noqa: BLE001 - whatever it is, we are not ready
        return jsonify(status="away", **said), 503, {"Retry-After": str(RETRY_AFTER_SECONDS)}
    try:
        parts().redis.ping()
        said["redis"] = "ready"
    except RedisError:
        pass
    return jsonify(status="ready", **said)


def metrics() -> Response:
    """Return the figures of all worker processes, and what waits in the database."""
    registry = CollectorRegistry()
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REQUESTS)
        registry.register(SECONDS)
        registry.register(NOT_LOGGED)
    lines = [generate_latest(registry).decode()]
    with transaction() as session:
        waiting = session.execute(text(WAITING), {"overdue": clock.now() - OVERDUE}).all()
        log = session.execute(text(LOG)).one()
    lines.append("# HELP campus_card_top_ups Top-ups that are not settled.\n")
    lines.append("# TYPE campus_card_top_ups gauge\n")
    lines.extend(f'campus_card_top_ups{{state="{state}"}} {count}\n' for state, count, _ in waiting)
    overdue = sum(count for *_, count in waiting)
    lines.append("# HELP campus_card_top_ups_unresolved Top-ups open for more than 26 hours.\n")
    lines.append("# TYPE campus_card_top_ups_unresolved gauge\n")
    lines.append(f"campus_card_top_ups_unresolved {overdue}\n")
    for (name, meaning), figure in zip(LOG_FIGURES, log, strict=True):
        lines.append(f"# HELP {name} {meaning}\n# TYPE {name} gauge\n{name} {figure}\n")
    return Response("".join(lines), content_type=CONTENT_TYPE_LATEST)


def jwks() -> Response:
    """Publish the public keys of card codes (RFC 7517)."""
    answer = jsonify(parts().code_keys.jwks(clock.now()))
    answer.headers["Cache-Control"] = "max-age=60"
    return answer


def _said(description: str, example: dict[str, Any]) -> dict[str, Any]:
    members = {
        "status": {"type": "string", "enum": ["alive", "ready", "away"]},
        "database": {"type": "string", "enum": ["ready", "away"]},
        "revision": {"type": ["string", "null"]},
        "redis": {"type": "string", "enum": ["ready", "away"]},
    }
    schema = {
        "type": "object",
        "properties": {name: members[name] for name in example},
        "required": [*example],
        "additionalProperties": False,
    }
    media = {"schema": schema, "examples": {"example": {"value": example}}}
    return {"description": description, "content": {"application/json": media}}


READY = {
    "status": "ready",
    "database": "ready",
    "revision": "0004_add_device_keys",
    "redis": "ready",
}
KEY_MEMBERS = ("kty", "crv", "kid", "use", "alg", "x")
KEY = dict(
    zip(
        KEY_MEMBERS,
        ("OKP", "Ed25519", "q7", "sig", "EdDSA", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
        strict=True,
    )
)
KEY_SET: dict[str, Any] = {
    "type": "object",
    "properties": {
        "keys": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in KEY_MEMBERS},
                "required": [*KEY_MEMBERS],
            },
        }
    },
    "required": ["keys"],
}
DOCUMENTED: dict[str, Any] = {
    "/healthz": {
        "get": {
            "summary": "Tell that this process answers.",
            "responses": {
                "200": _said("Alive.", {"status": "alive"}),
            },
        }
    },
    "/readyz": {
        "get": {
            "summary": "Tell whether requests can be worked.",
            "description": "Redis away is a warning: signed codes go on working without it.",
            "responses": {
                "200": _said(
                    "Ready.",
                    {
                        "status": "ready",
                        "database": "ready",
                        "revision": "0004_add_device_keys",
                        "redis": "ready",
                    },
                ),
                "503": _said(
                    "The database is away.",
                    {"status": "away", "database": "away", "revision": None, "redis": "away"},
                ),
            },
        }
    },
    "/metrics": {
        "get": {
            "summary": "Show the figures that Prometheus collects.",
            "responses": {
                "200": {
                    "description": "Prometheus' text format.",
                    "content": {"text/plain": {"schema": {"type": "string"}}},
                },
            },
            REFUSALS: ["service-unavailable"],
        }
    },
    "/.well-known/jwks.json": {
        "get": {
            "summary": "Publish the public keys of card codes (动态码).",
            "description": "RFC 7517.  A key shows up a day before it signs its first code.",
            "responses": {
                "200": {
                    "description": "The keys.",
                    "content": {
                        "application/json": {
                            "schema": KEY_SET,
                            "examples": {"example": {"value": {"keys": [KEY]}}},
                        }
                    },
                }
            },
        }
    },
}
"""What the published document says of these endpoints."""
