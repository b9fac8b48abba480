"""The published contract: one OpenAPI document and one list of problems, made from the code.

`/openapi.json` serves the very text that `openapi/openapi.json` holds; `/docs` shows it without a
foreign host and without inline scripts.
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from flask import Flask, Response, json, send_from_directory
from flask_smorest import Api

from backend import clock
from backend.http import operations, refusals
from backend.http.auth import GUARDS, SIGNED, Unauthenticated
from backend.http.problems import REFUSALS
from backend.http.signatures import SignatureInvalid, SignatureStale
from backend.http.vocabulary import EXAMPLES, FORMATS, MEANINGS, WHOLE
from backend.settings import Settings
from qr import KeyRing

CONTRACT_VERSION = "1.0.0"
STATIC = Path(__file__).parent / "static"
DOCS_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'self'; object-src 'none'"
)
INTRODUCTION = """\
校园卡 · the virtual campus card.

Money is whole fen (分) in `*_fen`; moments are RFC 3339 in UTC in `*_at`; accounting days are in
Asia/Shanghai.  What moves money or decides is `PUT` under an id that the caller makes and keeps:
201 the first time, 200 and the same answer for every retry, 409 `id-reused` for other content.
Refusals are `application/problem+json` with a `code` that never changes; all codes are listed in
`problems.md`.  Texts for people are Simplified Chinese unless `Accept-Language` prefers English.
"""
SECTIONS = {
    "/api/v1/sessions": "holder",
    "/api/v1/me": "holder",
    "/api/v1/rules": "holder",
    "/api/v1/terminals": "terminal",
    "/api/v1/charges": "terminal",
    "/api/v1/passages": "terminal",
    "/api/v1/kiosk": "terminal",
    "/api/v1/staff": "operator",
    "/api/v1/partners": "partner",
    "/callbacks": "platform",
}
"""The beginning of a path to the section in which it is documented."""
SECTION_WORDS = {
    "holder": "持卡人 · the mini program of a holder",
    "terminal": "终端 · tills, gates and kiosks",
    "operator": "操作员 · the card centre's staff",
    "partner": "第三方应用 · partners",
    "platform": "支付渠道 · what WeChat Pay and Alipay call",
    "operations": "运维 · whoever runs the server",
}
ORDER = (
    "tags",
    "operationId",
    "summary",
    "description",
    "security",
    "parameters",
    "requestBody",
    "responses",
)
CALLERS = {
    "holder": "The token of `POST /api/v1/sessions`; it dies with a loss report.",
    "terminal": "The token of `POST /api/v1/terminals/enrolments`, until it is rolled or revoked.",
    "operator": "The token of `POST /api/v1/staff/sessions`: 15 minutes idle, 8 hours at most.",
}

BY_KEY = "-key"
"""Ends the name under which callers of a kind sign instead of showing a token."""
SIGNING = {
    "terminal-key": (
        "A device key (设备密钥) that `POST /api/v1/terminals/enrolments` made known, instead of a"
        " token.  RFC 9421 with Ed25519: one signature `sig1` over exactly"
        ' `"@method" "@path" "@query" "content-digest"` (RFC 9530, sha-256; left out where there is'
        " no body), with the parameters `created` (within two minutes of the server's clock),"
        ' `keyid` (the `key_id` of the enrolment) and `alg="ed25519"`.'
        "  `openapi/examples/device.py` does it in plain Python."
    ),
}


def install(app: Flask, api: Api) -> None:
    """Complete the document of all registered endpoints and serve it, with a page that shows it."""
    document = complete(api.spec.to_dict(), app)
    text = rendered(document)
    app.extensions["openapi"] = document

    @app.get("/openapi.json", endpoint="openapi")
    def openapi() -> Response:
        return Response(text, content_type="application/json")

    @app.get("/docs", endpoint="docs")
    def docs() -> Response:
        page = send_from_directory(STATIC / "docs", "index.html")
        page.headers["Content-Security-Policy"] = DOCS_POLICY
        return page


def rendered(document: Mapping[str, Any]) -> str:
    """Return a document as text that does not change unless the document does."""
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=False) + "\n"


def complete(document: dict[str, Any], app: Flask) -> dict[str, Any]:
    """Return what flask-smorest knows of the endpoints, as the contract that we publish."""
    components = document["components"]
    schemas = components["schemas"]
    for name, schema in schemas.items():
        _explain_schema(name, schema)
    examples: dict[str, Any] = {}
    paths = {**document["paths"], **deepcopy(operations.DOCUMENTED)}
    for path, method, operation, endpoint in _operations(paths, app):
        blueprint, _, view = endpoint.rpartition(".")
        first, *rest = view.split("_")
        kind = GUARDS.get(blueprint, "nobody")
        operation["operationId"] = first + "".join(word.capitalize() for word in rest)
        operation["tags"] = [_section(path)]
        operation["security"] = [] if kind == "nobody" else [{kind: []}]
        if blueprint in SIGNED:
            operation["security"].append({kind + BY_KEY: []})
            _allow_signing(operation)
        _answer(operation, method, common=path not in operations.DOCUMENTED)
        _illustrate(operation, schemas, examples)
        paths[path][method] = {key: operation[key] for key in ORDER if key in operation}
    for item in paths.values():
        for parameter in parameters(item):
            _explain(parameter, parameter["schema"], "", parameter["name"])
    return {
        "openapi": document["openapi"],
        "info": {
            "title": "Campus Card",
            "version": CONTRACT_VERSION,
            "summary": "The open, self-hosted virtual campus card",
            "description": INTRODUCTION,
            "contact": {"name": "校园卡中心 · the card centre of the school that runs it"},
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server"}],
        "tags": [
            {"name": name, "description": SECTION_WORDS[name]}
            for name in SECTION_WORDS
            if any(operation["tags"] == [name] for *_, operation, _ in _operations(paths, app))
        ],
        "paths": dict(sorted(paths.items())),
        "components": _needed(
            paths,
            {
                "schemas": dict(sorted(schemas.items())),
                "examples": dict(sorted((examples | refusals.examples()).items())),
                "responses": {
                    code: refusals.refusal(refusals.status_of(code), [code])
                    for code in refusals.codes()
                },
                "securitySchemes": {
                    kind: {"type": "http", "scheme": "bearer", "description": text}
                    for kind, text in CALLERS.items()
                }
                | {
                    kind: {"type": "apiKey", "in": "header", "name": "Signature"}
                    | {"description": text}
                    for kind, text in SIGNING.items()
                },
            },
        ),
    }


def _operations(
    paths: Mapping[str, Any], app: Flask
) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Yield path, method, operation and endpoint of everything that is documented."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        for method in sorted(rule.methods or set()):
            operation = paths.get(path, {}).get(method.lower())
            if operation is not None:
                yield path, method.lower(), operation, rule.endpoint


def _section(path: str) -> str:
    return next(
        (section for start, section in SECTIONS.items() if f"{path}/".startswith(f"{start}/")),
        "operations",
    )


def parameters(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parameters of a path and of its operations."""
    yield from item.get("parameters", ())
    for operation in item.values():
        if isinstance(operation, dict):
            yield from operation.get("parameters", ())


# What names mean


def _explain_schema(name: str, schema: dict[str, Any]) -> None:
    for member, property_ in schema.get("properties", {}).items():
        _explain(property_, property_, name, member)
    if name in WHOLE:
        schema["examples"] = [WHOLE[name]]


def _explain(about: dict[str, Any], schema: dict[str, Any], owner: str, name: str) -> None:
    """Say on a property or parameter what its name means, and show a value."""
    own = f"{owner}.{name}"
    about.setdefault("description", MEANINGS.get(own) or MEANINGS.get(name, ""))
    if "pattern" in schema:  # Python's end of text; JSON Schema has the other
        schema["pattern"] = schema["pattern"].replace(r"\Z", "$")
    if name.endswith("_fen"):
        schema["format"] = "int64"
    for value in (EXAMPLES[key] for key in (own, name) if key in EXAMPLES):
        if "enum" not in schema or value in schema["enum"]:
            schema.setdefault("examples", [value])


def _referred(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]]
    return found


def shown(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    """Return the example of a schema: its own, or put together from its members'."""
    while "anyOf" in schema or "$ref" in schema:  # of what may be null, the other
        schema = schema["anyOf"][0] if "anyOf" in schema else _referred(schema, schemas)
    if "examples" in schema:
        return schema["examples"][0]
    if "enum" in schema:
        return schema["enum"][0]
    if "items" in schema:
        return [shown(schema["items"], schemas)]
    if "properties" in schema:
        return {name: shown(member, schemas) for name, member in schema["properties"].items()}
    return FORMATS.get(schema.get("format", ""))


def _illustrate(
    operation: dict[str, Any], schemas: Mapping[str, Any], examples: dict[str, Any]
) -> None:
    """Give every JSON body an example; those of one schema share it."""
    bodies = [operation.get("requestBody", {})]
    bodies += [answer for status, answer in operation["responses"].items() if status[0] == "2"]
    for body in bodies:
        media = body.get("content", {}).get("application/json")
        if media is not None and "$ref" in media["schema"]:
            name = media["schema"]["$ref"].rpartition("/")[2]
            if "required" in body:  # no body is an empty one, where nothing has to be in it
                body["required"] = bool({"required", "examples"} & {*schemas[name]})
            examples[name] = {"value": shown(media["schema"], schemas)}
            media["examples"] = {"example": {"$ref": f"#/components/examples/{name}"}}


# What can go wrong


def _allow_signing(operation: dict[str, Any]) -> None:
    """Add what is refused of signatures to what is refused of tokens."""
    codes = operation[REFUSALS]
    after = codes.index(Unauthenticated.code) + 1
    codes[after:after] = [SignatureInvalid.code, SignatureStale.code]


def _answer(operation: dict[str, Any], method: str, *, common: bool) -> None:
    """Write down every answer of an endpoint: what it returns, what it refuses.

    With `common` also what every endpoint refuses that has a body or asks the database.
    """
    codes = [*operation.pop(REFUSALS, [])]
    responses = {
        status: answer
        for status, answer in operation["responses"].items()
        if status != "default" and "$ref" not in answer
    }
    if "requestBody" in operation:
        codes += ["body-too-slow", "body-too-large"]
        media = operation["requestBody"]["content"].get("application/json", {"schema": {}})
        if "$ref" in media["schema"]:
            codes += ["malformed-request", "media-type-not-supported", "validation-failed"]
        elif operation["tags"] != ["platform"]:
            codes.append("media-type-not-supported")
    if "parameters" in operation:
        codes.append("validation-failed")
    if common:
        codes.append("service-unavailable")
    if "201" in responses and method == "put":
        responses["200"]["description"] = "The same came before: the first answer again."
    for status in sorted({refusals.status_of(code) for code in codes}):
        here = list(dict.fromkeys(code for code in codes if refusals.status_of(code) == status))
        responses[str(status)] = (
            {"$ref": f"#/components/responses/{here[0]}"}
            if len(here) == 1
            else refusals.refusal(status, here)
        )
    operation["responses"] = dict(sorted(responses.items()))


def _needed(paths: Mapping[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """Return the components that the paths lead to; nothing else is published."""
    found: set[str] = set()
    ahead = [json.dumps(paths)]
    while ahead:
        for kind, name in re.findall(r'"#/components/(\w+)/([\w.-]+)"', ahead.pop()):
            if f"{kind}/{name}" not in found:
                found.add(f"{kind}/{name}")
                ahead.append(json.dumps(components[kind][name]))
    return {
        kind: {
            name: part
            for name, part in parts.items()
            if kind == "securitySchemes" or f"{kind}/{name}" in found
        }
        for kind, parts in components.items()
    }


# The files


def files(document: Mapping[str, Any]) -> dict[str, str]:
    """Return what `openapi/` holds, by file name."""
    return {"openapi.json": rendered(document), "problems.md": refusals.page(document)}


def write(directory: Path, create_app: Callable[[Settings], Flask], *, check: bool) -> list[str]:
    """Write the contract's files and return the names of those that were stale.

    No server is needed: nothing connects before the first request.  With `check` nothing is
    written.
    """
    with tempfile.TemporaryDirectory() as place:
        document = create_app(_unconnected(Path(place))).extensions["openapi"]
    stale = []
    for name, text in files(document).items():
        path = directory / name
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, "utf-8")
    return stale


def _unconnected(place: Path) -> Settings:
    (place / "payments.json").write_text("{}")
    KeyRing.create(place / "code-keys.json", now=clock.now())
    return Settings(
        database_url="postgresql+psycopg://",
        redis_url="redis://",
        root_key=bytes(32),
        code_keys=place / "code-keys.json",
        issuer="",
        base_url="",
        payments=place / "payments.json",
    )
