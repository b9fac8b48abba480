"""Whatever is sent to it, the server answers as the published document says.

Schemathesis makes up requests for every operation, good ones and bad ones.  They come with the
token of somebody who may call, and the good ones name codes and ids that exist, so they get beyond
the first refusal.  The choices are derived from the document: every run sends the same.
"""

import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
import schemathesis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from device import sign
from factories import (
    Bound,
    make_gate,
    make_holder,
    make_staff,
    make_terminal,
    make_till,
    open_session,
    virtual_card,
)
from flask import Flask
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, GenerationMode, SerializationContext
from schemathesis.config import (
    GenerationConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.transport.serialization import Binary
from werkzeug.wrappers import Request

from backend import clock
from backend.http.parts import Parts
from backend.operators.models import Role
from backend.terminals.models import TerminalKind
from qr import Issuer, Scope

DOCUMENT = Path(__file__).parents[2] / "openapi/openapi.json"
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
ANSWERS_EACH_ITEM = {"uploadCharges", "uploadPassages"}
"""A bad item among good ones is answered as `malformed`, in a 200."""
ENDS_THE_TOKEN = {"deleteSession", "unbind", "reportLost", "roll", "deleteOperatorSession"}
SCOPES = {"/charges/": Scope.PAY, "/passages/": Scope.GATE}
SECOND = timedelta(seconds=1)
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

contract = schemathesis.openapi.from_path(
    DOCUMENT,
    config=SchemathesisConfig(
        seed=1,
        projects=ProjectsConfig(
            default=ProjectConfig(
                generation=GenerationConfig(deterministic=True, with_security_parameters=False)
            )
        ),
    ),
)


@schemathesis.serializer(XLSX, "application/zip", "application/gzip")
def as_it_is(context: SerializationContext, value: Any) -> Any:
    """Send a made-up file as it is."""
    return value.data if isinstance(value, Binary) else str(value).encode()


class Callers:
    """Somebody of each kind who may call, made anew when their token has ended."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tokens: dict[str, str] = {}
        self._ids: dict[str, Any] = {}
        self._issued_at = datetime.min.replace(tzinfo=UTC)
        self._turn = 0
        self._gate = ""
        self.holder: Bound = make_holder(parts, balance_fen=10_000)

    def headers_for(self, case: Case[Any]) -> dict[str, str]:
        """Return what somebody sends who may call an operation."""
        for need in case.operation.definition.raw["security"]:
            (kind,) = need
            if kind == "terminal":
                kind = next((k for k in ("passages", "kiosk") if k in case.path), "till")
            if "cash-desk" in case.path:
                kind = "cashier"
            if kind not in self._tokens:
                self._tokens[kind] = getattr(self, f"_{kind}")()
            return {"Authorization": f"Bearer {self._tokens[kind]}"}
        return {}

    def tokens_of_others(self, kind: str) -> list[str]:
        """Return genuine tokens of the kinds that may not call."""
        for other, make in (
            ("holder", self._holder),
            ("till", self._till),
            ("operator", self._operator),
        ):
            if other not in self._tokens:
                self._tokens[other] = make()
        own = "till" if kind == "terminal" else kind
        return [self._tokens[other] for other in ("holder", "till", "operator") if other != own]

    def steer(self, case: Case[Any]) -> None:
        """Let every second good request name what exists: a genuine code, an id that was used."""
        if case.operation.definition.raw["operationId"] == "declareEmergency":
            self._keep_small(case)
        self._turn += 1
        negative = case.meta is not None and case.meta.generation.mode is GenerationMode.NEGATIVE
        if negative or self._turn % 2:
            return
        known = {name: id_ for name, id_ in self._ids.items() if name in case.path_parameters}
        if known:
            case.path_parameters = {**case.path_parameters, **known}
        scope = next((s for path, s in SCOPES.items() if path in case.path), None)
        if scope and isinstance(case.body, dict) and "code" in case.body:
            case.body = {**case.body, "code": self._code(scope)}
        if "cash-desk" in case.path and isinstance(case.body, dict):
            real = {
                "holder_id": str(self.holder.id),
                "shift_id": str(self._ids.get("shift_id", "")),
                "shown": self.holder.number,
            }
            case.body = case.body | {name: real[name] for name in real if name in case.body}

    def _keep_small(self, case: Case[Any]) -> None:
        """Let an emergency be at a gate that no other test uses: it would open all of theirs."""
        if isinstance(case.body, dict) and case.body.get("terminal_id") is None:
            self._gate = self._gate or str(make_gate().id)
            case.body = {**case.body, "terminal_id": self._gate}

    def remember(self, case: Case[Any], status: int) -> None:
        """Remember the ids of what was made, and who is no longer logged in."""
        if status in (200, 201) and case.method == "PUT":
            self._ids |= case.path_parameters
        if case.operation.definition.raw["operationId"] in ENDS_THE_TOKEN:
            self._tokens.clear()

    def _code(self, scope: Scope) -> str:
        now, alias = clock.now(), virtual_card(self.holder.id).alias
        self._issued_at = max(self._issued_at + SECOND, now - 50 * SECOND)
        signing = self._parts.code_keys.current(now)
        issuer = Issuer(
            signing.private_key, key_id=signing.key_id, issuer=self._parts.settings.issuer
        )
        return issuer.issue(
            alias or b"", scope=scope, issued_at=self._issued_at, lifetime=60 * SECOND
        )

    def _holder(self) -> str:
        self.holder = make_holder(self._parts, balance_fen=10_000)
        return self.holder.token

    def _till(self) -> str:
        return make_till(is_canteen=True).token

    def _passages(self) -> str:
        return make_gate().token

    def _kiosk(self) -> str:
        return make_terminal(TerminalKind.KIOSK).token

    def _operator(self) -> str:
        return self._staff(Role.CARD_CENTRE)

    def _cashier(self) -> str:
        return self._staff(Role.FINANCE)

    def _staff(self, role: Role) -> str:
        return open_session(make_staff(self._parts, role).id)


@pytest.fixture(scope="module")
def callers(parts: Parts) -> Callers:
    """Those who may call."""
    return Callers(parts)


@contract.parametrize()
@settings(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_as_published(case: Case[Any], app: Flask, callers: Callers) -> None:
    callers.steer(case)
    answer = case.call(app=app, base_url="http://localhost", headers=callers.headers_for(case))
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    each = case.operation.definition.raw["operationId"] in ANSWERS_EACH_ITEM
    checks = [check for check in CHECKS if not each or check is not negative_data_rejection]
    case.validate_response(answer, checks=checks)
    callers.remember(case, answer.status_code)


NONSENSE = ("", "x", "sig1=", "sig1=()", "sig1=:AAAA:", '("', "é", "sig1=" + "(" * 10_000)

GUARDED = [
    (method, re.sub(r"{\w+}", str(UUID(int=7)), path), operation["security"][0])
    for path, item in json.loads(DOCUMENT.read_text("utf-8"))["paths"].items()
    for method, operation in item.items()
    if method != "parameters" and operation["security"]
]


class TestStrangers:
    @pytest.mark.parametrize(("method", "path", "needs"), GUARDED)
    def test_are_refused_before_anything_is_read(
        self, method: str, path: str, needs: dict[str, Any], app: Flask, callers: Callers
    ) -> None:
        tokens = callers.tokens_of_others(*needs)
        for header in (None, "Bearer ", "Bearer nobody", *(f"Bearer {token}" for token in tokens)):
            headers = {"Authorization": header} if header else {}
            answer = app.test_client().open(path, method=method.upper(), headers=headers, json={})
            assert answer.status_code == 401
            assert answer.get_json(force=True)["code"] == "unauthenticated"

    @pytest.mark.parametrize(("method", "path", "needs"), GUARDED)
    def test_do_not_get_in_by_signing(
        self, method: str, path: str, needs: dict[str, Any], app: Flask
    ) -> None:
        signs = "terminal" in needs
        for said in NONSENSE:
            for names in (("Signature",), ("Signature-Input",), ("Signature", "Signature-Input")):
                headers = dict.fromkeys(names, said)
                answer = app.test_client().open(
                    path, method=method.upper(), headers=headers, json={}
                )
                assert answer.status_code == 401
                code = answer.get_json(force=True)["code"]
                assert code == ("signature-invalid" if signs else "unauthenticated")


DEVICE = Ed25519PrivateKey.generate()


class SigningClient:
    """The application as a terminal with a device key reaches it: each request is signed."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        body = request.get_data()
        environ["wsgi.input"] = io.BytesIO(body)
        query = environ.get("QUERY_STRING", "")
        signed = sign(
            DEVICE,
            method=request.method,
            address=quote(environ["PATH_INFO"].encode("latin-1")) + (query and f"?{query}"),
            body=body,
            created=int(clock.now().timestamp()),
        )
        for name, value in signed.items():
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        return self._app(environ, start_response)


@pytest.fixture(scope="module")
def signing(app: Flask) -> SigningClient:
    """A till that signs."""
    make_till(is_canteen=True, key=DEVICE)
    return SigningClient(app)


@contract.include(path_regex="^/api/v1/(charges|terminals/current)").parametrize()
@settings(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_devices_that_sign_as_published(
    case: Case[Any], signing: SigningClient, callers: Callers
) -> None:
    """As above; what is made up for `roll` is a key that nobody holds, so it is left as it is."""
    callers.steer(case)
    if case.operation.definition.raw["operationId"] == "roll":
        case.body = {}
    answer = case.call(app=signing, base_url="http://localhost")
    assert answer.status_code not in (401, 500), answer.text
    case.validate_response(answer, checks=CHECKS[:-1])
