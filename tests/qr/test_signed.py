from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as jose
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet

from qr import (
    LIFETIME,
    CodeError,
    CodeExpired,
    CodeForged,
    CodeMalformed,
    CodeNotYetValid,
    CodeUnknownKey,
    CodeWrongScope,
    Issuer,
    Scope,
    SignedCode,
    Verifier,
    make_short_code,
    rebuild_jwt,
)

ALIAS = bytes.fromhex("0a1b2c3d4e5f")
NONCE = bytes.fromhex("0102030405")
SECOND = timedelta(seconds=1)
SCHOOL = "ecard.example.edu.cn"

scopes = st.integers(1, 15).map(Scope)


@pytest.fixture(scope="session")
def text(issuer, noon):
    return issuer.issue(ALIAS, scope=Scope.PAY, issued_at=noon, nonce=NONCE)


def at_epoch(second):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def unpack(text):
    return int(text[3:]).to_bytes(82, "big")


def pack(raw):
    return "961" + str(int.from_bytes(raw, "big")).zfill(198)


class TestRoundTrip:
    @given(
        alias=st.binary(min_size=6, max_size=6),
        fields=st.fixed_dictionaries(
            {
                "scope": scopes,
                "issued_at": st.integers(0, 2**32 - 1).map(at_epoch),
                "lifetime": st.integers(1, 60).map(lambda count: count * SECOND),
                "nonce": st.binary(min_size=5, max_size=5),
            }
        ),
    )
    def test_reads_back_what_was_issued(self, issuer, verifier, alias, fields):
        text = issuer.issue(alias, **fields)
        assert len(text) == 201
        assert text.isascii()
        assert text.isdigit()
        code = verifier.verify(text, need=fields["scope"], now=fields["issued_at"])
        assert code == SignedCode(
            alias=alias,
            scope=fields["scope"],
            key_id=7,
            issued_at=fields["issued_at"],
            expires_at=fields["issued_at"] + fields["lifetime"],
            nonce=fields["nonce"],
        )
        assert code.key == b"S" + alias + fields["nonce"]

    def test_draws_a_fresh_nonce_for_each_code(self, issuer, verifier, noon):
        codes = [
            verifier.verify(
                issuer.issue(ALIAS, scope=Scope.PAY, issued_at=noon), need=Scope.PAY, now=noon
            )
            for _ in range(50)
        ]
        assert len({code.key for code in codes}) == 50

    def test_lives_sixty_seconds_unless_told_otherwise(self, verifier, text, noon):
        code = verifier.verify(text, need=Scope.PAY, now=noon)
        assert code.expires_at - code.issued_at == LIFETIME == timedelta(seconds=60)

    def test_answers_in_utc_whatever_the_zone_of_the_question(self, issuer, verifier, noon):
        shanghai = noon.astimezone(ZoneInfo("Asia/Shanghai"))
        text = issuer.issue(ALIAS, scope=Scope.PAY, issued_at=shanghai)
        code = verifier.verify(text, need=Scope.PAY, now=shanghai)
        assert code.issued_at == noon
        assert code.issued_at.tzinfo is UTC


class TestForgery:
    def test_refuses_every_flip_of_one_bit(self, verifier, text, noon):
        raw = unpack(text)
        for bit in range(len(raw) * 8):
            flipped = bytearray(raw)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises((CodeMalformed, CodeForged, CodeUnknownKey)):
                verifier.verify(pack(flipped), need=Scope.PAY, now=noon)

    @given(text=st.text(max_size=250) | st.text("0123456789", min_size=198, max_size=198))
    def test_refuses_whatever_nobody_signed(self, verifier, noon, text):
        for candidate in (text, "961" + text):
            with pytest.raises(CodeError):
                verifier.verify(candidate, need=Scope.PAY, now=noon)

    @pytest.mark.parametrize("text", [None, 961, b"961" + b"0" * 198, ["961"], object()])
    def test_refuses_what_is_no_text(self, verifier, noon, text):
        with pytest.raises(CodeMalformed):
            verifier.verify(text, need=Scope.PAY, now=noon)

    @pytest.mark.parametrize(
        "text",
        [
            "9" * 10_000_000,
            "961" + "0" * 5_000,
            "'; DROP TABLE cards; --",
            "<script>",
            "\x00" * 201,
        ],
        ids=["ten million digits", "more than int() reads", "SQL", "HTML", "control characters"],
    )
    def test_refuses_hostile_input_before_reading_it(self, verifier, noon, text):
        with pytest.raises(CodeMalformed):
            verifier.verify(text, need=Scope.PAY, now=noon)

    def test_refuses_a_second_spelling_of_the_same_bytes(self, verifier, text, noon):
        overflowing = "961" + str(int(text[3:]) + 256**82)
        assert len(overflowing) == 201
        with pytest.raises(CodeMalformed):
            verifier.verify(overflowing, need=Scope.PAY, now=noon)

    def test_is_not_a_place_for_short_codes(self, verifier, noon):
        with pytest.raises(CodeMalformed):
            verifier.verify(make_short_code(), need=Scope.PAY, now=noon)

    def test_knows_one_key_of_all_256(self, private_key, verifier, noon):
        for key_id in range(256):
            text = Issuer(private_key, key_id=key_id, issuer=SCHOOL).issue(
                ALIAS, scope=Scope.PAY, issued_at=noon
            )
            if key_id == 7:
                verifier.verify(text, need=Scope.PAY, now=noon)
            else:
                with pytest.raises(CodeUnknownKey) as refusal:
                    verifier.verify(text, need=Scope.PAY, now=noon)
                assert refusal.value.key_id == key_id

    def test_refuses_the_code_of_another_school(self, private_key, text, noon):
        other = Verifier({7: private_key.public_key()}, issuer="ecard.example.org")
        with pytest.raises(CodeForged):
            other.verify(text, need=Scope.PAY, now=noon)


class TestWindow:
    @pytest.mark.parametrize("offset", [-15, 0, 60, 70, -14.999999, 70.999999])
    def test_accepts_from_fifteen_seconds_early_to_ten_late(self, verifier, text, noon, offset):
        verifier.verify(text, need=Scope.PAY, now=noon + timedelta(seconds=offset))

    @pytest.mark.parametrize("offset", [-16, -15.000001, -3600])
    def test_refuses_what_is_not_valid_yet(self, verifier, text, noon, offset):
        with pytest.raises(CodeNotYetValid) as refusal:
            verifier.verify(text, need=Scope.PAY, now=noon + timedelta(seconds=offset))
        assert refusal.value.issued_at == noon

    @pytest.mark.parametrize("offset", [71, 71.000001, 3600])
    def test_refuses_what_has_expired(self, verifier, text, noon, offset):
        with pytest.raises(CodeExpired) as refusal:
            verifier.verify(text, need=Scope.PAY, now=noon + timedelta(seconds=offset))
        assert refusal.value.expires_at == noon + LIFETIME

    @given(micros=st.integers(0, 999_999))
    def test_gives_all_of_a_second_one_answer(self, verifier, text, noon, micros):
        fraction = timedelta(microseconds=micros)
        verifier.verify(text, need=Scope.PAY, now=noon + 70 * SECOND + fraction)
        with pytest.raises(CodeExpired):
            verifier.verify(text, need=Scope.PAY, now=noon + 71 * SECOND + fraction)
        verifier.verify(text, need=Scope.PAY, now=noon - 15 * SECOND + fraction)
        with pytest.raises(CodeNotYetValid):
            verifier.verify(text, need=Scope.PAY, now=noon - 16 * SECOND + fraction)

    def test_drops_the_fraction_of_the_second_of_issue(self, issuer, verifier, noon):
        text = issuer.issue(
            ALIAS, scope=Scope.PAY, issued_at=noon + timedelta(microseconds=999_999)
        )
        assert verifier.verify(text, need=Scope.PAY, now=noon).issued_at == noon

    def test_is_as_wide_as_the_school_says(self, private_key, text, noon):
        strict = Verifier(
            {7: private_key.public_key()}, issuer=SCHOOL, early=timedelta(0), late=2 * SECOND
        )
        strict.verify(text, need=Scope.PAY, now=noon)
        strict.verify(text, need=Scope.PAY, now=noon + 62 * SECOND)
        with pytest.raises(CodeNotYetValid):
            strict.verify(text, need=Scope.PAY, now=noon - SECOND)
        with pytest.raises(CodeExpired):
            strict.verify(text, need=Scope.PAY, now=noon + 63 * SECOND)

    def test_has_no_clock_of_its_own(self, issuer, verifier):
        for year in (1971, 2105):
            then = datetime(year, 1, 1, tzinfo=timezone(timedelta(hours=8)))
            text = issuer.issue(ALIAS, scope=Scope.DOOR, issued_at=then)
            verifier.verify(text, need=Scope.DOOR, now=then)

    def test_refuses_a_naive_clock(self, issuer, verifier, text, noon):
        with pytest.raises(TypeError):
            verifier.verify(text, need=Scope.PAY, now=noon.replace(tzinfo=None))
        with pytest.raises(TypeError):
            issuer.issue(ALIAS, scope=Scope.PAY, issued_at=noon.replace(tzinfo=None))


class TestScope:
    @given(scope=scopes, need=scopes)
    def test_accepts_exactly_what_shares_a_use(self, issuer, verifier, noon, scope, need):
        text = issuer.issue(ALIAS, scope=scope, issued_at=noon)
        if scope & need:
            verifier.verify(text, need=need, now=noon)
        else:
            with pytest.raises(CodeWrongScope) as refusal:
                verifier.verify(text, need=need, now=noon)
            assert refusal.value.scope == scope

    def test_must_be_asked_for_some_use(self, verifier, text, noon):
        with pytest.raises(ValueError, match="some use"):
            verifier.verify(text, need=Scope(0), now=noon)


class TestPrecedence:
    """A code with several faults is refused for the first in the list of `qr.codes`."""

    def text(self, private_key, noon, faults):
        stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
        text = Issuer(
            stranger if CodeForged in faults else private_key,
            key_id=9 if CodeUnknownKey in faults else 7,
            issuer=SCHOOL,
        ).issue(
            ALIAS,
            scope=Scope.GATE if CodeWrongScope in faults else Scope.PAY,
            issued_at=noon
            + (CodeNotYetValid in faults) * timedelta(hours=1)
            - (CodeExpired in faults) * timedelta(hours=1),
        )
        return text + "\n" if CodeMalformed in faults else text

    @pytest.mark.parametrize("signature", [CodeForged, CodeUnknownKey])
    @pytest.mark.parametrize("time", [CodeNotYetValid, CodeExpired])
    def test_names_the_first_fault(self, private_key, verifier, noon, signature, time):
        order = [CodeMalformed, signature, time, CodeWrongScope]
        for first in range(len(order)):
            with pytest.raises(order[first]):
                verifier.verify(
                    self.text(private_key, noon, order[first:]), need=Scope.PAY, now=noon
                )

    def test_says_unknown_key_where_no_signature_can_be_judged(self, private_key, verifier, noon):
        with pytest.raises(CodeUnknownKey):
            verifier.verify(
                self.text(private_key, noon, {CodeForged, CodeUnknownKey}),
                need=Scope.PAY,
                now=noon,
            )


class TestErrors:
    def test_each_has_a_code_and_a_title(self):
        family = CodeError.__subclasses__()
        assert [error.code for error in family] == [
            "code-malformed",
            "code-forged",
            "code-unknown-key",
            "code-not-yet-valid",
            "code-expired",
            "code-wrong-scope",
        ]
        assert len({error.title for error in family}) == len(family)

    def test_say_nothing_of_the_code(self, verifier, text, noon):
        for candidate, now in ((text, noon + 71 * SECOND), (text[:-1], noon)):
            with pytest.raises(CodeError) as refusal:
                verifier.verify(candidate, need=Scope.PAY, now=now)
            assert str(refusal.value) == refusal.value.title


class TestIssuer:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"alias": b""},
            {"alias": bytes(5)},
            {"alias": bytes(7)},
            {"nonce": b""},
            {"nonce": bytes(4)},
            {"nonce": bytes(6)},
            {"scope": Scope(0)},
            {"scope": 16},
            {"lifetime": timedelta(0)},
            {"lifetime": -SECOND},
            {"lifetime": 61 * SECOND},
            {"lifetime": timedelta(seconds=1.5)},
            {"issued_at": datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)},
            {"issued_at": datetime(2106, 2, 7, 6, 28, 16, tzinfo=UTC)},
        ],
        ids=str,
    )
    def test_refuses_what_does_not_fit_the_format(self, issuer, noon, wrong):
        arguments = {"alias": ALIAS, "scope": Scope.PAY, "issued_at": noon} | wrong
        with pytest.raises(ValueError, match=r".+"):
            issuer.issue(arguments.pop("alias"), **arguments)

    @pytest.mark.parametrize("key_id", [-1, 256])
    def test_refuses_a_key_id_that_is_no_byte(self, private_key, key_id):
        with pytest.raises(ValueError, match="key id"):
            Issuer(private_key, key_id=key_id, issuer=SCHOOL)

    @pytest.mark.parametrize("name", ["", "学校", 'a"b', "a b", "a\\b", "a/b", "a\n"])
    def test_refuses_a_name_that_two_libraries_may_spell_otherwise(self, private_key, text, name):
        with pytest.raises(ValueError, match="issuer"):
            Issuer(private_key, key_id=7, issuer=name)
        with pytest.raises(ValueError, match="issuer"):
            Verifier({}, issuer=name)
        with pytest.raises(ValueError, match="issuer"):
            rebuild_jwt(text, issuer=name)

    def test_signs_with_nothing_but_ed25519(self, private_key):
        for key in (Ed448PrivateKey.generate(), private_key.private_bytes_raw(), "secret"):
            with pytest.raises(TypeError):
                Issuer(key, key_id=7, issuer=SCHOOL)

    def test_refuses_to_sign_when_the_library_spells_otherwise(self, issuer, noon, monkeypatch):
        encode = jwt.encode

        def unsorted(claims, *arguments, **options):
            return encode(dict(reversed(claims.items())), *arguments, **options)

        monkeypatch.setattr(jwt, "encode", unsorted)
        with pytest.raises(RuntimeError, match="spells"):
            issuer.issue(ALIAS, scope=Scope.PAY, issued_at=noon)


class TestVerifier:
    def test_checks_with_nothing_but_ed25519(self, private_key):
        public_key = private_key.public_key()
        for key in (
            Ed448PrivateKey.generate().public_key(),
            private_key,
            public_key.public_bytes_raw(),
        ):
            with pytest.raises(TypeError):
                Verifier({7: public_key, 8: key}, issuer=SCHOOL)

    def test_keeps_the_keys_that_it_was_given(self, private_key, text, noon):
        keys = {7: private_key.public_key()}
        verifier = Verifier(keys, issuer=SCHOOL)
        keys.clear()
        verifier.verify(text, need=Scope.PAY, now=noon)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # RFC 9864; PyJWT knows no other name yet
class TestForeignLibrary:
    """joserfc shares no code with PyJWT. It picks the key by `kid` out of the published set."""

    def test_verifies_the_rebuilt_jwt(self, vectors, text, noon):
        keys = KeySet.import_key_set(vectors["jwks"])
        token = jose.decode(rebuild_jwt(text, issuer=SCHOOL), keys, algorithms=["EdDSA"])
        assert token.header == {"alg": "EdDSA", "kid": "q7", "typ": "ecqr+jwt"}
        iat = int(noon.timestamp())
        assert token.claims == {
            "iss": SCHOOL,
            "aud": "ecard:scan",
            "sub": "ChssPU5f",
            "iat": iat,
            "exp": iat + 60,
            "jti": "AQIDBAU",
            "scp": 1,
        }

    def test_agrees_on_every_vector(self, vectors):
        keys = KeySet.import_key_set(vectors["jwks"])
        for vector in vectors["valid"]["signed"]:
            jose.decode(rebuild_jwt(vector["text"], issuer=SCHOOL), keys, algorithms=["EdDSA"])
        forged = [v for v in vectors["invalid"]["signed"] if v["code"] == "code-forged"]
        assert forged
        for vector in forged:
            with pytest.raises(BadSignatureError):
                jose.decode(rebuild_jwt(vector["text"], issuer=SCHOOL), keys, algorithms=["EdDSA"])
