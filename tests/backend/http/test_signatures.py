"""Signed requests: what is signed as agreed is let in, and nothing else is."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import http_message_signatures
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from device import key_name, sign
from factories import Device, balances, make_gate, make_holder, make_till
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app
from werkzeug.wrappers import Request

from backend import clock
from backend.db import transaction
from backend.http import signatures
from backend.http.auth import GUARDS, SIGNED
from backend.http.parts import Parts
from backend.http.signatures import SignatureInvalid, SignatureStale, read_signature
from backend.ids import new_id
from backend.operation_log.service import SYSTEM
from backend.terminals import service

API = "/api/v1"
CURRENT = f"{API}/terminals/current"
HEARTBEAT = f"{CURRENT}/heartbeat"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
JSON = {"Content-Type": "application/json"}
Headers = dict[str, str]


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Whoever talks to the application."""
    return app.test_client()


@pytest.fixture
def key() -> Ed25519PrivateKey:
    """A device key that nobody has yet."""
    return Ed25519PrivateKey.generate()


def headers(
    key: Ed25519PrivateKey,
    method: str = "GET",
    address: str = CURRENT,
    body: bytes = b"",
    *,
    later: int = 0,
) -> Headers:
    """Return what signs a request now, or some seconds later."""
    created = int(clock.now().timestamp()) + later
    return sign(key, method=method, address=address, body=body, created=created) | (
        JSON if body else {}
    )


def refusal(answer: TestResponse) -> tuple[int, str]:
    """Return status and code of a problem."""
    return answer.status_code, answer.get_json()["code"]


INVALID = (401, "signature-invalid")


def beat(client: FlaskClient, signed: Headers, body: bytes = b"{}", **other: Any) -> TestResponse:
    """Send a heartbeat with these headers."""
    return client.open(HEARTBEAT, **{"method": "POST", "data": body, "headers": signed} | other)


class TestWhatIsSigned:
    def test_is_let_in(self, client: FlaskClient, key: Ed25519PrivateKey) -> None:
        gate = make_gate(key=key)
        answer = client.get(CURRENT, headers=headers(key))
        assert answer.status_code == 200
        assert answer.get_json()["terminal_id"] == str(gate.id)
        assert beat(client, headers(key, "POST", HEARTBEAT, b"{}")).status_code == 200

    def test_charges_a_purse_once(
        self, client: FlaskClient, key: Ed25519PrivateKey, parts: Parts
    ) -> None:
        make_till(key=key)
        holder = make_holder(parts, balance_fen=1_000)
        wanted = client.post(f"{API}/me/codes", json={"scope": "pay"}, headers=holder.headers)
        code = wanted.get_json()["codes"][0]["text"]
        path, body = f"{API}/charges/{new_id()}", json.dumps({"code": code, "amount_fen": 100})
        signed = headers(key, "PUT", path, body.encode())
        first, copy = (client.put(path, data=body, headers=signed) for _ in range(2))
        assert (first.status_code, copy.status_code) == (201, 200)
        assert first.data == copy.data, "a copy of the request gets the first answer"
        assert balances(holder.id) == (900, 0)

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_needs_no_digest_without_a_body(
        self, client: FlaskClient, key: Ed25519PrivateKey, method: str
    ) -> None:
        make_gate(key=key)
        signed = headers(key, method)
        assert "Content-Digest" not in signed
        assert client.open(CURRENT, method=method, headers=signed).status_code == 200
        other = "HEAD" if method == "GET" else "GET"
        assert client.open(CURRENT, method=other, headers=signed).status_code == 401

    @pytest.mark.parametrize("query", ["?x=%E4%BD%A0%20%2F", "?", "?a=1&a=2&b=%e4", "?x=a+b;c"])
    def test_may_have_any_query(
        self, client: FlaskClient, key: Ed25519PrivateKey, query: str
    ) -> None:
        make_gate(key=key)
        given = headers(key, address=CURRENT + query)
        answer = client.get(CURRENT, query_string=query[1:], headers=given)
        assert answer.status_code == 200
        if query != "?":
            assert refusal(client.get(CURRENT, headers=given)) == INVALID

    def test_percent_encoding_of_the_path_is_the_shortest(
        self, client: FlaskClient, key: Ed25519PrivateKey
    ) -> None:
        make_till(key=key)
        plain = f"{API}/charges/{new_id()}"
        encoded = plain.replace("-", "%2D")
        assert refusal(client.get(encoded, headers=headers(key, address=plain)))[0] == 404
        assert refusal(client.get(encoded, headers=headers(key, address=encoded))) == INVALID

    def test_a_path_that_is_not_ascii_leads_nowhere(
        self, client: FlaskClient, key: Ed25519PrivateKey
    ) -> None:
        make_till(key=key)
        address = f"{API}/charges/%E4%BD%A0"
        answer = client.get(address, headers=headers(key, address=address))
        assert refusal(answer) == (404, "not-found")

    def test_is_what_another_implementation_of_the_rfc_signs(
        self, client: FlaskClient, key: Ed25519PrivateKey
    ) -> None:
        """Signed by a library that knows nothing of us, in its own order of parameters."""
        make_gate(key=key)

        class Keys(http_message_signatures.HTTPSignatureKeyResolver):
            def resolve_private_key(self, key_id: str) -> Ed25519PrivateKey:
                return key

        signer = http_message_signatures.HTTPMessageSigner(
            signature_algorithm=http_message_signatures.algorithms.ED25519, key_resolver=Keys()
        )
        components = ("@method", "@path", "@query")
        for method, path, body in (("GET", CURRENT, None), ("POST", HEARTBEAT, b'{"clock": null}')):
            message = SimpleNamespace(
                method=method, url=f"https://card.example{path}?x=%20", headers=dict(JSON)
            )
            signer.sign(
                message,
                key_id=key_name(key),
                label="sig1",
                covered_component_ids=components,
                body=body,
            )
            answer = client.open(
                path, method=method, query_string="x=%20", data=body, headers=message.headers
            )
            assert answer.status_code == (200 if method == "GET" else 422)


class TestEachPart:
    """One byte of anything that is covered, and it is refused."""

    BODY = b'{"queue_length": 3}'

    @pytest.fixture
    def device(self, key: Ed25519PrivateKey) -> Device:
        """A gate with the key."""
        return make_gate(key=key)

    @pytest.fixture
    def signed(self, key: Ed25519PrivateKey, device: Device) -> Headers:
        """What signs a heartbeat."""
        return headers(key, "POST", HEARTBEAT, self.BODY)

    def test_holds_as_it_is(self, client: FlaskClient, signed: Headers) -> None:
        assert beat(client, signed, self.BODY).status_code == 200

    @pytest.mark.parametrize("at", range(0, 19, 3))
    def test_of_the_body(self, client: FlaskClient, signed: Headers, at: int) -> None:
        body = bytearray(self.BODY)
        body[at] ^= 1
        assert refusal(beat(client, signed, bytes(body))) == INVALID

    def test_of_the_method(self, client: FlaskClient, key: Ed25519PrivateKey) -> None:
        make_till(key=key)
        path = f"{API}/charges/{new_id()}/void"
        assert refusal(client.put(path, headers=headers(key, "POST", path))) == INVALID

    def test_of_the_path(self, client: FlaskClient, signed: Headers) -> None:
        answer = client.post(f"{CURRENT}/roll", data=self.BODY, headers=signed)
        assert refusal(answer) == INVALID

    def test_of_the_query(self, client: FlaskClient, signed: Headers) -> None:
        assert refusal(beat(client, signed, self.BODY, query_string="x")) == INVALID

    @pytest.mark.parametrize("header", ["Content-Digest", "Signature-Input", "Signature"])
    def test_of_each_header(self, client: FlaskClient, signed: Headers, header: str) -> None:
        for at in range(0, len(signed[header]), 7):
            text = signed[header]
            for other in (chr(ord(text[at]) ^ 1), text[at].swapcase(), ""):
                changed = text[:at] + other + text[at + 1 :]
                if changed != text and changed.isprintable():
                    answer = beat(client, signed | {header: changed}, self.BODY)
                    assert answer.status_code == 401, changed

    @pytest.mark.parametrize("header", ["Content-Digest", "Signature-Input", "Signature"])
    def test_without_a_header(self, client: FlaskClient, signed: Headers, header: str) -> None:
        del signed[header]
        assert refusal(beat(client, signed, self.BODY)) == INVALID

    def test_without_any(self, client: FlaskClient, signed: Headers) -> None:
        assert refusal(beat(client, JSON, self.BODY)) == (401, "unauthenticated")

    def test_a_body_that_no_digest_covers(
        self, client: FlaskClient, key: Ed25519PrivateKey, device: Device
    ) -> None:
        signed = headers(key, "POST", HEARTBEAT) | JSON
        assert refusal(beat(client, signed, self.BODY)) == INVALID
        digest = base64.b64encode(hashlib.sha256(self.BODY).digest()).decode()
        uncovered = signed | {"Content-Digest": f"sha-256=:{digest}:"}
        assert refusal(beat(client, uncovered, self.BODY)) == INVALID

    def test_a_digest_of_nothing(
        self, client: FlaskClient, key: Ed25519PrivateKey, device: Device, signed: Headers
    ) -> None:
        assert refusal(beat(client, signed, b"")) == INVALID

    @pytest.mark.parametrize("later", [-120, 120])
    def test_a_clock_that_is_just_right(
        self, client: FlaskClient, key: Ed25519PrivateKey, device: Device, later: int
    ) -> None:
        # a second may pass on the way
        later -= 1 if later > 0 else -1
        assert client.get(CURRENT, headers=headers(key, later=later)).status_code == 200

    @pytest.mark.parametrize("later", [-121, 123, -86_400, 10**9])
    def test_a_clock_that_is_off_learns_the_time(
        self, client: FlaskClient, key: Ed25519PrivateKey, device: Device, later: int
    ) -> None:
        answer = client.get(CURRENT, headers=headers(key, later=later))
        assert refusal(answer) == (401, "signature-stale")
        told = datetime.fromisoformat(answer.get_json()["server_time"])
        assert abs((told - clock.now()).total_seconds()) < 5

    def test_who_holds_no_key_learns_nothing_from_a_wrong_time(
        self, client: FlaskClient, key: Ed25519PrivateKey, device: Device
    ) -> None:
        other = Ed25519PrivateKey.generate()
        signed = headers(other, later=-1000)
        signed["Signature-Input"] = signed["Signature-Input"].replace(
            key_name(other), key_name(key)
        )
        assert refusal(client.get(CURRENT, headers=signed)) == INVALID


def one(request_headers: Headers, method: str = "GET", address: str = "/x") -> Request:
    """Return a request as the server sees it."""
    path, _, query = address.partition("?")
    return Request(
        EnvironBuilder(
            path=path, query_string=query, method=method, headers=request_headers
        ).get_environ()
    )


def rewritten(change: Callable[[str], str], *, label: str = "sig1") -> Headers:
    """Return headers whose parameters are changed, and then signed for, truly."""
    parameters = change(f'("@method" "@path" "@query");created=1;keyid="{"k" * 43}";alg="ed25519"')
    base = f'"@method": GET\n"@path": /x\n"@query": ?\n"@signature-params": {parameters}'
    value = base64.b64encode(KEY.sign(base.encode())).decode()
    return {
        "Signature-Input": f"{label}={parameters}",
        "Signature": f"{label}=:{value}:",
    }


class TestForms:
    def test_the_agreed_one(self) -> None:
        signature = read_signature(one(rewritten(lambda text: text)))
        assert (signature.key_id, signature.created, signature.digest) == ("k" * 43, 1, None)
        now = datetime.fromtimestamp(121, UTC)
        signature.check(KEY.public_key().public_bytes_raw(), now=now)
        with pytest.raises(SignatureStale):
            signature.check(
                KEY.public_key().public_bytes_raw(), now=datetime.fromtimestamp(122, UTC)
            )

    def test_parameters_may_come_in_any_order(self) -> None:
        def turn(text: str) -> str:
            covered, created, key_id, algorithm = text.split(";")
            return f"{covered};{algorithm};{key_id};{created}"

        signature = read_signature(one(rewritten(turn)))
        signature.check(KEY.public_key().public_bytes_raw(), now=datetime.fromtimestamp(1, UTC))

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text.replace('"@method"', '"@METHOD"'),
            lambda text: text.replace(' "@query"', ""),
            lambda text: text.replace(' "@query"', ' "@query" "@authority"'),
            lambda text: text.replace(' "@query"', ' "@query" "content-type"'),
            lambda text: text.replace(' "@query"', ' "@query" "@query"'),
            lambda text: text.replace('"@path" "@query"', '"@query" "@path"'),
            lambda text: text.replace('"@path"', '"@target-uri"'),
            lambda text: text.replace('"@path"', '"@path";req'),
            lambda text: text.replace('" "', '"  "'),
            lambda text: text.replace(";", "; "),
            lambda text: text.replace("ed25519", "ED25519"),
            lambda text: text.replace("ed25519", "hmac-sha256"),
            lambda text: text.replace("ed25519", "none"),
            lambda text: text.replace(';alg="ed25519"', ""),
            lambda text: text.replace("alg", "ALG"),
            lambda text: text.replace(";created=1", ""),
            lambda text: text.replace("=1", "=-1"),
            lambda text: text.replace("=1", '="1"'),
            lambda text: text.replace("=1", "=1.0"),
            lambda text: text.replace("=1", "=" + "1" * 13),
            lambda text: text.replace("=1", "=１"),
            lambda text: text + ";created=1",
            lambda text: text + ";expires=9",
            lambda text: text + ';nonce="x"',
            lambda text: text + ';tag="x"',
            lambda text: text.replace('keyid="' + "k" * 43, 'keyid="' + "k" * 42),
            lambda text: text.replace('"' + "k" * 43 + '"', "k" * 43),
            lambda text: text.replace("k" * 43, "k" * 42 + ";"),
            lambda text: "",
            lambda text: "()",
        ],
    )
    def test_no_other(self, change: Callable[[str], str]) -> None:
        given = rewritten(change)
        with pytest.raises(SignatureInvalid):
            read_signature(one(given))

    @pytest.mark.parametrize("label", ["sig2", "SIG1", "sig", "sig1 ", ""])
    def test_no_other_label(self, label: str) -> None:
        with pytest.raises(SignatureInvalid):
            read_signature(one(rewritten(lambda text: text, label=label)))

    def test_not_two_signatures(self) -> None:
        first, second = (rewritten(lambda text: text, label=label) for label in ("sig1", "sig2"))
        both = {name: f"{first[name]}, {second[name]}" for name in first}
        for sent in (both, first | {"Signature": both["Signature"]}):
            with pytest.raises(SignatureInvalid):
                read_signature(one(sent))

    @pytest.mark.parametrize("header", ["Signature-Input", "Signature", "Content-Digest"])
    def test_not_a_megabyte(self, header: str) -> None:
        body = {"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}
        given = rewritten(lambda text: text.replace('y")', 'y" "content-digest")')) | body
        assert read_signature(one(given)).digest == bytes(32)
        for huge in (given[header] * 9_000, "sig1=" + "(" * 1_000_000, " " * 1_000_000):
            with pytest.raises(SignatureInvalid):
                read_signature(one(given | {header: huge}))

    @pytest.mark.parametrize(
        "digest",
        [
            "sha-512=:" + "A" * 43 + "=:",
            "sha-256=:" + "A" * 43 + "=:, sha-512=:AAAA:",
            "SHA-256=:" + "A" * 43 + "=:",
            "sha-256=" + "A" * 43 + "=",
            "sha-256=:" + "A" * 42 + "==:",
            "sha-256=:" + "-" * 43 + "=:",
            "",
        ],
    )
    def test_no_other_digest(self, digest: str) -> None:
        given = rewritten(lambda text: text.replace('y")', 'y" "content-digest")'))
        with pytest.raises(SignatureInvalid):
            read_signature(one(given | {"Content-Digest": digest}))

    @given(st.binary(), st.binary(), st.binary())
    def test_whatever_comes_is_refused_and_no_fault(
        self, parameters: bytes, value: bytes, digest: bytes
    ) -> None:
        said = {
            "HTTP_SIGNATURE_INPUT": parameters.decode("latin-1"),
            "HTTP_SIGNATURE": value.decode("latin-1"),
            "HTTP_CONTENT_DIGEST": digest.decode("latin-1"),
        }
        with pytest.raises(SignatureInvalid):
            read_signature(Request(EnvironBuilder("/x").get_environ() | said))

    def test_a_query_that_is_not_ascii(self) -> None:
        request = one(rewritten(lambda text: text))
        request.environ["QUERY_STRING"] = "x=\xe4"
        with pytest.raises(SignatureInvalid):
            read_signature(request)

    def test_the_names_of_keys_are_their_thumbprints(self) -> None:
        for _ in range(3):
            key = Ed25519PrivateKey.generate()
            assert signatures.key_name(key.public_key().public_bytes_raw()) == key_name(key)


class TestWhoMay:
    @pytest.mark.parametrize("change", [lambda name: "A" * 43, lambda name: name[::-1]])
    def test_not_an_unknown_key(
        self, client: FlaskClient, key: Ed25519PrivateKey, change: Callable[[str], str]
    ) -> None:
        make_gate(key=key)
        signed = headers(key)
        signed["Signature-Input"] = signed["Signature-Input"].replace(
            key_name(key), change(key_name(key))
        )
        assert refusal(client.get(CURRENT, headers=signed)) == INVALID

    def test_not_in_the_name_of_another(self, client: FlaskClient, key: Ed25519PrivateKey) -> None:
        other = Ed25519PrivateKey.generate()
        make_gate(key=key)
        make_gate(key=other)
        signed = headers(key)
        signed["Signature-Input"] = signed["Signature-Input"].replace(
            key_name(key), key_name(other)
        )
        assert refusal(client.get(CURRENT, headers=signed)) == INVALID

    def test_not_when_it_is_revoked(self, client: FlaskClient, key: Ed25519PrivateKey) -> None:
        gate = make_gate(key=key)
        signed = headers(key)
        with transaction() as session:
            service.revoke(session, terminal_id=gate.id, actor=SYSTEM, now=clock.now())
        assert refusal(client.get(CURRENT, headers=signed)) == INVALID

    def test_a_key_is_no_token_and_a_token_no_key(
        self, client: FlaskClient, key: Ed25519PrivateKey
    ) -> None:
        make_gate(key=key)
        public = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).decode()
        for token in (key_name(key), public, public.rstrip("=")):
            answer = client.get(CURRENT, headers={"Authorization": f"Bearer {token}"})
            assert refusal(answer) == (401, "unauthenticated")
        till = make_till()
        signed = headers(Ed25519PrivateKey.generate())
        assert refusal(client.get(CURRENT, headers=signed)) == INVALID
        answer = client.get(CURRENT, headers=signed | till.headers)
        assert answer.get_json()["terminal_id"] == str(till.id), "the token decides alone"
        mixed = headers(key) | {"Authorization": "Bearer nobody"}
        assert refusal(client.get(CURRENT, headers=mixed)) == (401, "unauthenticated")

    def test_holders_and_staff_cannot_sign(
        self, client: FlaskClient, key: Ed25519PrivateKey, parts: Parts
    ) -> None:
        make_gate(key=key)
        for address in (f"{API}/me", f"{API}/staff/terminals"):
            answer = client.get(address, headers=headers(key, address=address))
            assert refusal(answer) == (401, "unauthenticated")

    def test_whatever_terminals_may_call_takes_signatures(self) -> None:
        assert {name for name, kind in GUARDS.items() if kind == "terminal"} == SIGNED

    def test_a_stranger_makes_nobody_read_a_body(self, app: Flask, key: Ed25519PrivateKey) -> None:
        """The body is read for those only whose signature holds."""
        body = secrets.token_bytes(1024 * 1024)
        signed = headers(key, "POST", HEARTBEAT, body)
        environ = EnvironBuilder(HEARTBEAT, method="POST", headers=signed).get_environ()
        environ |= {"wsgi.input": Untouched(), "CONTENT_LENGTH": str(len(body))}
        content, status, _ = run_wsgi_app(app, environ)
        assert (status[:3], json.loads(b"".join(content))["code"]) == ("401", "signature-invalid")

    def test_a_body_larger_than_any_is_refused_as_such(
        self, client: FlaskClient, key: Ed25519PrivateKey
    ) -> None:
        make_gate(key=key)
        body = bytes(2 * 1024 * 1024 + 1)
        answer = beat(client, headers(key, "POST", HEARTBEAT, body), body)
        assert refusal(answer) == (413, "body-too-large")


class Untouched:
    """A body that nobody may read."""

    def read(self, *_: Any) -> bytes:
        raise AssertionError("read")

    readline = readinto = read


def test_nothing_secret_is_shown() -> None:
    signature = read_signature(one(rewritten(lambda text: text)))
    assert not re.search("base|value|digest", repr(signature))
