import runpy
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import qr
from qr import (
    CodeError,
    CodeMalformed,
    Issuer,
    Scope,
    Verifier,
    is_short_code,
    read_jwks,
    rebuild_jwt,
    short_code_key,
)

# The code that the format was measured with.
FIRST_CODE = (
    "96102222382836047255237407173175057406980746273046715191398851573192055911950171261985733294186"
    "91006510205214959730314423593438504064137851907034493147389258796625897020051945956064843854013"
    "39687027215"
)


def moment(second):
    return datetime.fromtimestamp(int(second), UTC)


@pytest.fixture(scope="module")
def published(vectors):
    return Verifier(read_jwks(vectors["jwks"]), issuer=vectors["issuer"])


class TestFile:
    def test_is_what_the_second_implementation_writes(self):
        writer = runpy.run_path(str(Path(__file__).with_name("write_vectors.py")))
        assert Path(qr.__file__).with_name("vectors.json").read_text("utf-8") == writer["spelled"]()

    def test_begins_with_the_code_that_the_format_was_measured_with(self, vectors):
        assert vectors["valid"]["signed"][0]["text"] == FIRST_CODE

    def test_warns_of_its_keys(self, vectors):
        assert vectors["note"].startswith("TEST KEYS ONLY")


class TestValidSignedCodes:
    def test_are_issued_alike(self, vectors):
        for vector in vectors["valid"]["signed"]:
            fields = vector["fields"]
            seed = bytes.fromhex(vectors["seeds"][f"q{fields['key_id']}"])
            issuer = Issuer(
                Ed25519PrivateKey.from_private_bytes(seed),
                key_id=fields["key_id"],
                issuer=vectors["issuer"],
            )
            text = issuer.issue(
                bytes.fromhex(fields["alias"]),
                scope=Scope(fields["scope"]),
                issued_at=moment(fields["issued_at"]),
                lifetime=moment(fields["expires_at"]) - moment(fields["issued_at"]),
                nonce=bytes.fromhex(fields["nonce"]),
            )
            assert text == vector["text"], vector["name"]

    def test_are_read_alike(self, vectors, published):
        for vector in vectors["valid"]["signed"]:
            fields = vector["fields"]
            need = Scope(fields["scope"])
            for second in vector["accept_at"]:
                code = published.verify(vector["text"], need=need, now=moment(second))
                assert {
                    "alias": code.alias.hex(),
                    "scope": int(code.scope),
                    "key_id": code.key_id,
                    "issued_at": int(code.issued_at.timestamp()),
                    "expires_at": int(code.expires_at.timestamp()),
                    "nonce": code.nonce.hex(),
                } == fields, vector["name"]
                assert code.key.hex() == vector["key"]

    def test_are_refused_outside_their_time(self, vectors, published):
        for vector in vectors["valid"]["signed"]:
            need = Scope(vector["fields"]["scope"])
            for second, reason in vector["reject_at"].items():
                if int(second) < 0:
                    continue
                with pytest.raises(CodeError) as refusal:
                    published.verify(vector["text"], need=need, now=moment(second))
                assert refusal.value.code == reason, vector["name"]

    def test_are_accepted_for_their_own_uses_only(self, vectors, published):
        for vector in vectors["valid"]["signed"]:
            now = moment(vector["fields"]["issued_at"])
            for use in vector["accept_for"]:
                published.verify(vector["text"], need=Scope[use.upper()], now=now)
            for use, reason in vector["refuse_for"].items():
                with pytest.raises(CodeError) as refusal:
                    published.verify(vector["text"], need=Scope[use.upper()], now=now)
                assert refusal.value.code == reason

    def test_stand_for_their_jwt(self, vectors):
        for vector in vectors["valid"]["signed"]:
            assert rebuild_jwt(vector["text"], issuer=vectors["issuer"]) == vector["jwt"]
            assert vector["hex"] == f"{int(vector['text'][3:]):0164x}"


class TestInvalidSignedCodes:
    def test_are_refused_for_the_reason_given(self, vectors, published):
        seen = set()
        for vector in vectors["invalid"]["signed"]:
            with pytest.raises(CodeError) as refusal:
                published.verify(
                    vector["text"], need=Scope[vector["need"].upper()], now=moment(vector["at"])
                )
            assert refusal.value.code == vector["code"], vector["name"]
            seen.add(vector["code"])
        assert seen == {error.code for error in CodeError.__subclasses__()}

    def test_have_a_jwt_only_when_well_formed(self, vectors):
        for vector in vectors["invalid"]["signed"]:
            if vector["code"] == "code-malformed":
                with pytest.raises(CodeMalformed):
                    rebuild_jwt(vector["text"], issuer=vectors["issuer"])
            else:
                assert rebuild_jwt(vector["text"], issuer=vectors["issuer"]).count(".") == 2


class TestShortCodes:
    def test_valid_ones_are_known_by_their_key(self, vectors):
        for vector in vectors["valid"]["short"]:
            assert is_short_code(vector["text"])
            assert short_code_key(vector["text"]).hex() == vector["key"]

    def test_invalid_ones_are_refused(self, vectors):
        for vector in vectors["invalid"]["short"]:
            assert not is_short_code(vector["text"]), vector["name"]
            with pytest.raises(CodeMalformed) as refusal:
                short_code_key(vector["text"])
            assert refusal.value.code == vector["code"]
