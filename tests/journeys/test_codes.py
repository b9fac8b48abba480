"""A card code is a JWT that any JOSE library can check, rebuilt from the published format."""

import base64
import json

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from journeys.outsider import Demo, ask

SCOPES = {"pay": 1, "gate": 2}


def b64u(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def rebuild(text: str, issuer: str) -> str:
    """Rebuild the JWT as the format says: 82 bytes in 201 digits, fixed header, fixed order."""
    assert (len(text), text[:3]) == (201, "961")
    raw = int(text[3:]).to_bytes(82, "big")
    issued_at = int.from_bytes(raw[8:12], "big")
    header = {"alg": "EdDSA", "kid": f"q{raw[1]}", "typ": "ecqr+jwt"}
    claims = {
        "iss": issuer,
        "aud": "ecard:scan",
        "sub": b64u(raw[2:8]),
        "iat": issued_at,
        "exp": issued_at + raw[12],
        "jti": b64u(raw[13:18]),
        "scp": raw[0] % 16,
    }
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (header, claims)]
    return ".".join(b64u(part) for part in [*parts, raw[18:]])


class TestSignedCode:
    @pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # RFC 9864
    @pytest.mark.parametrize("scope", SCOPES)
    def test_verifies_against_the_published_keys(self, demo: Demo, scope: str):
        published = ask("GET", f"{demo.said['base_url']}/.well-known/jwks.json")
        keys = KeySet.import_key_set(published.body)
        issued = demo.holder("20240201").codes(scope)
        assert [code["kind"] for code in issued.body["codes"]] == ["signed"] * 4
        for code in issued.body["codes"]:
            token = jwt.decode(
                rebuild(code["text"], demo.said["issuer"]), keys, algorithms=["EdDSA"]
            )
            assert token.claims["iss"] == demo.said["issuer"]
            assert token.claims["exp"] - token.claims["iat"] == 60
            assert token.claims["scp"] == SCOPES[scope]

    def test_has_no_personal_data(self, demo: Demo):
        phone = demo.holder("20240201")
        token = rebuild(phone.code(), demo.said["issuer"])
        claims = base64.urlsafe_b64decode(token.split(".")[1] + "==")
        for secret in ("holder_number", "name", "document_number"):
            assert phone.person[secret].encode() not in claims

    def test_is_drawn_for_its_owner_only(self, demo: Demo):
        phone, other = demo.holder("20240201"), demo.holder("R0042")
        path = f"/me/codes/image?format=svg&text={phone.code()}"
        drawn = phone.ask("GET", path)
        assert (drawn.status, drawn.headers["Content-Type"]) == (200, "image/svg+xml")
        assert other.ask("GET", path).status in {403, 404, 409}


class TestShortCode:
    def test_pays_once_and_opens_no_gate(self, demo: Demo):
        phone = demo.holder("R0042")
        code = phone.code(kind="short")
        assert (len(code), code[:3]) == (20, "960")
        denied = demo.terminal("图书馆 正门").let_pass(code)
        assert denied.body["decision"] == "deny"
        till = demo.terminal("校园超市 收银台")
        assert till.charge(code, 300).status == 201
        assert till.charge(code, 300).code == "code-spent"
