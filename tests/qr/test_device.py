from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as jose
from joserfc.jwk import OKPKey

from qr import (
    CodeError,
    CodeExpired,
    CodeForged,
    CodeMalformed,
    CodeNotYetValid,
    CodeUnknownKey,
    CodeWrongScope,
    Delegation,
    DeviceCode,
    Scope,
    Verifier,
    is_weak_key,
    make_device_code,
    read_delegation,
)
from qr.delegation import delegation_input, write_delegation
from qr.device import proof_jwt, read_device
from qr.jose import b64url

SECOND = timedelta(seconds=1)
SCHOOL = "ecard.example.edu.cn"
EVERY_USE = Scope.PAY | Scope.GATE | Scope.DOOR | Scope.SERVICE
WEAK = [
    bytes.fromhex(encoding[:62] + f"{int(encoding[62:], 16) | sign:02x}")
    for encoding in (
        "00" * 32,
        "01" + "00" * 31,
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
    for sign in (0, 128)
]

scopes = st.integers(1, 15).map(Scope)


def at_epoch(second):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def unpack(text):
    return int(text[3:]).to_bytes(177, "big")


def pack(raw):
    return "962" + str(int.from_bytes(raw, "big")).zfill(427)


def splice(delegation, text):
    """Return the proof of one code behind another delegation."""
    return pack(delegation + unpack(text)[108:])


@pytest.fixture(scope="module")
def phone(school):
    return school.phone(119463)


@pytest.fixture(scope="module")
def text(phone, noon):
    return phone.shows(noon, scope=Scope.GATE, sequence=3)


class TestRoundTrip:
    @given(
        serial=st.integers(0, 2**32 - 1),
        uses=st.tuples(scopes, scopes),
        caps=st.tuples(st.integers(0, 255), st.integers(0, 255)),
        moment=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 15), st.integers(0, 100)),
    )
    def test_reads_back_what_was_granted_and_shown(
        self, issuer, verifier, *, serial, uses, caps, moment
    ):
        (delegated, shown), (second, sequence, left) = uses, moment
        key = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
        public_key = key.public_key().public_bytes_raw()
        until = at_epoch(min(second + left, 2**32 - 1))
        delegation = issuer.delegate(
            public_key,
            serial=serial,
            scope=delegated,
            expires_at=until,
            cap_yuan=caps[0],
            cap_count=caps[1],
        )
        text = make_device_code(
            key, delegation, scope=shown, issued_at=at_epoch(second), sequence=sequence
        )
        assert len(text) == 430
        assert text.isascii()
        assert text.isdigit()
        code = verifier.genuine(text)
        assert code == DeviceCode(
            delegation=Delegation(
                serial=serial,
                public_key=public_key,
                scope=delegated,
                key_id=7,
                expires_at=until,
                cap_yuan=caps[0],
                cap_count=caps[1],
            ),
            proof_scope=shown,
            issued_at=at_epoch(second),
            sequence=sequence,
        )
        assert code.scope == delegated & shown
        assert code.key == b"D" + serial.to_bytes(4, "big") + second.to_bytes(4, "big") + bytes(
            [sequence]
        )

    def test_makes_the_same_code_of_the_same_moment(self, phone, noon):
        assert phone.shows(noon) == phone.shows(noon + SECOND / 2) != phone.shows(noon + SECOND)

    @pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
    def test_is_checked_alike_by_another_library(self, text, private_key):
        """joserfc knows nothing of ours: it sees two plain tokens."""
        code, delegation_raw, proof_signature = read_device(text)
        delegation, signature = read_delegation(delegation_raw)
        granted = jose.decode(
            f"{delegation_input(delegation, SCHOOL)}.{b64url(signature)}",
            OKPKey.import_key(private_key.public_key()),
            algorithms=["EdDSA"],
        )
        device_key = OKPKey.import_key(granted.claims["cnf"]["jwk"])
        shown = jose.decode(
            proof_jwt(code, delegation_raw, proof_signature), device_key, algorithms=["EdDSA"]
        )
        assert granted.header["typ"] == "eccert+jwt"
        assert (granted.claims["sub"], granted.claims["cap"]) == ("d119463", [15, 3])
        assert shown.header == {"alg": "EdDSA", "typ": "ecproof+jwt"}
        assert (shown.claims["seq"], shown.claims["scp"]) == (3, int(Scope.GATE))


class TestForgery:
    def test_refuses_every_flip_of_one_bit(self, verifier, text, noon):
        raw = unpack(text)
        for bit in range(len(raw) * 8):
            flipped = bytearray(raw)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises((CodeMalformed, CodeForged, CodeUnknownKey)):
                verifier.verify(pack(flipped), need=Scope.GATE, now=noon)

    @given(text=st.text(max_size=440) | st.text("0123456789", min_size=427, max_size=427))
    def test_refuses_whatever_nobody_signed(self, verifier, noon, text):
        for candidate in (text, "962" + text):
            with pytest.raises(CodeError):
                verifier.verify(candidate, need=Scope.GATE, now=noon)

    def test_refuses_a_delegation_that_the_device_gave_itself(self, school, verifier, phone, noon):
        delegation, _ = read_delegation(phone.delegation)
        own = phone.private_key.sign(delegation_input(delegation, SCHOOL).encode())
        text = make_device_code(
            phone.private_key,
            write_delegation(delegation, own),
            scope=Scope.GATE,
            issued_at=noon,
        )
        with pytest.raises(CodeForged):
            verifier.verify(text, need=Scope.GATE, now=noon)

    def test_refuses_a_proof_behind_a_delegation_with_higher_caps(self, school, verifier, noon):
        low, high = school.phone(5, cap_yuan=5), school.phone(5, cap_yuan=200)
        assert low.private_key.private_bytes_raw() == high.private_key.private_bytes_raw()
        with pytest.raises(CodeForged):
            verifier.verify(splice(high.delegation, low.shows(noon)), need=Scope.PAY, now=noon)
        verifier.verify(splice(high.delegation, high.shows(noon)), need=Scope.PAY, now=noon)

    def test_refuses_another_phones_proof(self, school, verifier, noon):
        anna, bela = school.phone(5), school.phone(6)
        with pytest.raises(CodeForged):
            verifier.verify(splice(anna.delegation, bela.shows(noon)), need=Scope.PAY, now=noon)

    def test_refuses_the_delegation_of_another_school(self, text, private_key, noon):
        other = Verifier({7: private_key.public_key()}, issuer="ecard.example.org")
        with pytest.raises(CodeForged):
            other.verify(text, need=Scope.GATE, now=noon)

    def test_says_nothing_of_a_key_that_it_does_not_hold(self, text, private_key, noon):
        other = Verifier({8: private_key.public_key()}, issuer=SCHOOL)
        with pytest.raises(CodeUnknownKey):
            other.verify(text, need=Scope.GATE, now=noon)


class TestWeakKeys:
    @pytest.mark.parametrize("key", WEAK, ids=bytes.hex)
    def test_are_no_keys_of_a_delegation(self, issuer, noon, key):
        assert is_weak_key(key)
        with pytest.raises(ValueError, match="only its owner"):
            issuer.delegate(
                key, serial=1, scope=Scope.GATE, expires_at=noon, cap_yuan=0, cap_count=0
            )

    def test_show_no_code_even_when_the_school_granted_one(self, verifier, private_key, noon):
        """With the identity as key, R = identity and S = 0 sign every message."""
        identity = b"\x01" + bytes(31)
        delegation = Delegation(
            serial=1,
            public_key=identity,
            scope=Scope.GATE,
            key_id=7,
            expires_at=noon,
            cap_yuan=0,
            cap_count=0,
        )
        signature = private_key.sign(delegation_input(delegation, SCHOOL).encode())
        raw = write_delegation(delegation, signature)
        proof = int(noon.timestamp()).to_bytes(4, "big") + bytes([int(Scope.GATE) << 4])
        nobodys = identity + bytes(32)
        text = pack(raw + proof + nobodys)
        code, _, _ = read_device(text)
        message = proof_jwt(code, raw, nobodys).rpartition(".")[0].encode()
        Ed25519PublicKey.from_public_bytes(identity).verify(nobodys, message)  # it does verify
        with pytest.raises(CodeForged):
            verifier.verify(text, need=Scope.GATE, now=noon)

    @given(seed=st.binary(min_size=32, max_size=32))
    def test_are_no_others(self, seed):
        key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
        assert not is_weak_key(key.public_bytes_raw())


class TestSpelling:
    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text[:-1],
            lambda text: text + "0",
            lambda text: "0" + text,
            lambda text: text[:3] + "0" + text[3:],
            lambda text: " " + text,
            lambda text: text + "\n",
            lambda text: text[:200] + "\r\n" + text[202:],
            lambda text: text[:200] + "\r\n" + text[200:],
            lambda text: "".join(chr(ord("０") + int(digit)) for digit in text),
            lambda text: text[:-1] + "٣",
            lambda text: "+" + text[1:],
            lambda text: text[:5] + "_" + text[6:],
            lambda text: "962" + str(int(text[3:]) + 256**177),
            lambda text: "961" + text[3:],
            lambda text: "963" + text[3:],
            lambda text: "962" + "9" * 427,
            lambda text: "962" + "0" * 427,
            lambda text: text * 100_000,
            lambda text: text.encode(),
        ],
    )
    def test_has_one_text_for_one_code(self, verifier, text, noon, change):
        with pytest.raises(CodeMalformed):
            verifier.verify(change(text), need=Scope.GATE, now=noon)

    def test_knows_versions_to_come_from_its_own(self, verifier, text, noon):
        raw = unpack(text)
        with pytest.raises(CodeMalformed):
            verifier.verify(pack(bytes([0x2F]) + raw[1:]), need=Scope.GATE, now=noon)


class TestTime:
    @pytest.mark.parametrize(
        ("seconds", "error"),
        [(-16, CodeNotYetValid), (-15, None), (0, None), (60, None), (61, CodeExpired)],
    )
    def test_is_two_sided(self, verifier, text, noon, seconds, error):
        now = noon + seconds * SECOND
        if error is None:
            verifier.verify(text, need=Scope.GATE, now=now)
            verifier.verify(text, need=Scope.GATE, now=now + SECOND - timedelta(microseconds=1))
        else:
            with pytest.raises(error):
                verifier.verify(text, need=Scope.GATE, now=now)

    def test_ends_with_the_delegation(self, school, verifier, noon):
        phone = school.phone(expires_at=noon + 30 * SECOND)
        verifier.verify(phone.shows(noon), need=Scope.GATE, now=noon + 30 * SECOND)
        with pytest.raises(CodeExpired):
            verifier.verify(phone.shows(noon), need=Scope.GATE, now=noon + 31 * SECOND)

    def test_knows_the_grace_for_signed_codes_but_has_none(self, private_key, text, noon):
        patient = Verifier({7: private_key.public_key()}, issuer=SCHOOL, late=timedelta(minutes=10))
        with pytest.raises(CodeExpired):
            patient.verify(text, need=Scope.GATE, now=noon + 61 * SECOND)


class TestScope:
    @given(delegated=scopes, shown=scopes, need=scopes)
    def test_is_what_school_and_phone_both_allow(
        self, school, verifier, noon, *, delegated, shown, need
    ):
        text = school.phone(scope=delegated).shows(noon, scope=shown)
        if delegated & shown & need:
            verifier.verify(text, need=need, now=noon)
        else:
            with pytest.raises(CodeWrongScope):
                verifier.verify(text, need=need, now=noon)


class TestMaking:
    def test_signs_with_the_phones_key_only(self, school, phone, noon):
        code, delegation_raw, signature = read_device(phone.shows(noon))
        message = proof_jwt(code, delegation_raw, signature).rpartition(".")[0].encode()
        phone.private_key.public_key().verify(signature, message)
        with pytest.raises(InvalidSignature):
            school.private_key.public_key().verify(signature, message)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"scope": Scope(0)},
            {"sequence": 16},
            {"sequence": -1},
            {"at": datetime(1969, 12, 31, tzinfo=UTC)},
            {"at": datetime(2106, 2, 7, 6, 28, 16, tzinfo=UTC)},
        ],
    )
    def test_refuses_what_the_format_cannot_say(self, phone, noon, wrong):
        with pytest.raises(ValueError, match="device code"):
            phone.shows(wrong.pop("at", noon), **wrong)

    @pytest.mark.parametrize("delegation", [b"", bytes(107), bytes(108), b"\x1f" + bytes(108)])
    def test_refuses_what_is_no_delegation(self, phone, noon, delegation):
        with pytest.raises(CodeMalformed):
            make_device_code(phone.private_key, delegation, scope=EVERY_USE, issued_at=noon)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"public_key": bytes(31)},
            {"public_key": b"\x09" * 33},
            {"scope": Scope(0)},
            {"serial": -1},
            {"serial": 2**32},
            {"expires_at": datetime(1969, 12, 31, tzinfo=UTC)},
            {"expires_at": datetime(2107, 1, 1, tzinfo=UTC)},
            {"cap_yuan": 256},
            {"cap_count": -1},
        ],
    )
    def test_grants_nothing_that_the_format_cannot_say(self, issuer, phone, noon, wrong):
        right = {
            "public_key": phone.private_key.public_key().public_bytes_raw(),
            "serial": 1,
            "scope": EVERY_USE,
            "expires_at": noon,
            "cap_yuan": 15,
            "cap_count": 3,
        }
        arguments = right | wrong
        with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
            issuer.delegate(arguments.pop("public_key"), **arguments)
        issuer.delegate(right.pop("public_key"), **right)
