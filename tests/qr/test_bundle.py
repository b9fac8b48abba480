import json
import zlib
from dataclasses import replace
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from qr import Scope
from qr.alone import ALWAYS, PLAIN_GATE, PLAIN_TILL
from qr.bundle import (
    MOST_BITS,
    SECTIONS,
    BundleBaseMissing,
    BundleError,
    BundleForeign,
    BundleForged,
    BundleOutdated,
    RevocationList,
    as_bundle,
    read_bundle,
)
from qr.jose import b64url, from_b64url
from qr.rules import Access, GateRules, Hours, OfflinePolicy

SCHOOL = "ecard.example.edu.cn"
HOUR = timedelta(hours=1)
ALIASES = [bytes([number] * 6) for number in range(5)]
LATE_EVENINGS = Hours(frozenset({5, 6}), 22 * 60, 24 * 60)
RICH_GATE = GateRules(
    scope=Scope.DOOR,
    offline=OfflinePolicy.OPEN,
    passback=timedelta(minutes=7),
    emergency=True,
    classes=(
        Access((ALWAYS, LATE_EVENINGS), frozenset(ALIASES[:2]), frozenset({0, 2**32 - 1})),
        Access((), frozenset(ALIASES[2:3])),
    ),
    default=None,
)


def read(school, token, *, terminal="table", after=None):
    return read_bundle(token, roots=school.roots, issuer=SCHOOL, terminal=terminal, after=after)


def refused(error, school, token, **other):
    with pytest.raises(BundleError) as refusal:
        read(school, token, **other)
    assert type(refusal.value) is error


@st.composite
def revocations(draw):
    first = draw(st.integers(0, 2**31))
    return first, {first + place for place in draw(st.sets(st.integers(0, 5_000)))}


class TestBundle:
    @pytest.mark.parametrize("rules", [PLAIN_GATE, RICH_GATE], ids=["plain", "rich"])
    def test_brings_a_gate_all_that_the_school_said(self, school, noon, rules):
        known = {
            "revoked": RevocationList.of([70, 75, 1000], first=64),
            "stopped": ALIASES[3:],
            "early": timedelta(seconds=9),
            "late": timedelta(seconds=4),
            "utc_offset": timedelta(hours=-5, minutes=-30),
        }
        token = school.gate_bundle(rules=rules, known=known, terminal="gate-1", sequence=9)
        bundle = as_bundle(read(school, token, terminal="gate-1"))
        assert (bundle.gate, bundle.till) == (rules, None)
        assert (bundle.terminal, bundle.sequence) == ("gate-1", 9)
        assert bundle.issued_at == noon
        assert (bundle.fresh_until, bundle.expires_at) == (noon + 24 * HOUR, noon + 72 * HOUR)
        assert bundle.keys == {7: school.private_key.public_key()}
        assert bundle.stopped == set(ALIASES[3:])
        assert (bundle.early, bundle.late) == (known["early"], known["late"])
        assert bundle.utc_offset == known["utc_offset"]
        assert bundle.revoked == known["revoked"]

    def test_brings_a_till_its_caps(self, school):
        bundle = as_bundle(read(school, school.till_bundle()))
        assert (bundle.gate, bundle.till) == (None, PLAIN_TILL)

    def test_is_for_any_terminal_of_a_scanner_that_has_no_name(self, school):
        assert read(school, school.gate_bundle(terminal="x"), terminal=None)["sub"] == "x"

    def test_holds_no_secret(self, school):
        token = school.gate_bundle(rules=RICH_GATE)
        said = from_b64url(token.split(".")[1]).decode()
        assert '"d"' not in said
        for key in (school.private_key, school.root):
            secret = key.private_bytes_raw()
            assert secret not in said.encode()
            assert b64url(secret) not in said
            assert secret.hex() not in said

    def test_spells_the_same_knowledge_in_the_same_way(self, school):
        def content(turn):
            classes = (Access((ALWAYS,), frozenset(ALIASES[::turn]), frozenset([9, 1, 5][::turn])),)
            return school.content(
                stopped=ALIASES[::turn],
                revoked=RevocationList.of([9, 1, 5][::turn], first=0),
                gate=replace(PLAIN_GATE, classes=classes),
            )

        assert json.dumps(content(1)) == json.dumps(content(-1))

    def test_has_its_sections_and_no_others(self, school):
        both = school.content(gate=PLAIN_GATE, till=PLAIN_TILL)
        assert set(both) == set(SECTIONS)


class TestRefusal:
    def test_is_for_whatever_no_root_key_signed(self, school):
        stranger = Ed25519PrivateKey.generate()
        token = school.gate_bundle()
        header, claims, signature = token.split(".")
        for forged in (
            school.gate_bundle(private_key=stranger),
            school.gate_bundle(private_key=school.private_key),
            school.gate_bundle(private_key=school.private_key, key_id=7),
            school.gate_bundle(key_id=2),
            f"{header}.{claims}.{signature[:-4]}AAAA",
            f"{header}.{claims[:-4]}.{signature}",
            f"{header}.{claims}",
            token + "=",
            token + "\n",
            "",
            "..",
            "hello",
            "\ud800",
            "数据包",
            b64url(b"[" * 100_000) + ".e30.",
            b64url(b'{"alg":"none","kid":"q1","typ":"ecbundle+jwt"}') + f".{claims}.",
        ):
            refused(BundleForged, school, forged)

    def test_is_for_other_tokens_of_the_root_key(self, school):
        claims = jwt.decode(school.gate_bundle(), options={"verify_signature": False})
        for header, changed in (
            ({"kid": "q1", "typ": "JWT"}, {}),
            ({"kid": "q1"}, {}),
            ({"typ": "ecbundle+jwt"}, {}),
            ({"kid": "root", "typ": "ecbundle+jwt"}, {}),
            ({"kid": "q1", "typ": "ecbundle+jwt"}, {"aud": "ecard:scan"}),
            ({"kid": "q1", "typ": "ecbundle+jwt"}, {"aud": ["ecard:scanner"]}),
        ):
            token = jwt.encode(claims | changed, school.root, "EdDSA", headers=header)
            refused(BundleForged, school, token)

    def test_takes_no_key_zero_for_a_key_that_is_not_named(self, school):
        claims = jwt.decode(school.gate_bundle(), options={"verify_signature": False})
        token = jwt.encode(claims, school.root, "EdDSA", headers={"typ": "ecbundle+jwt"})
        with pytest.raises(BundleForged):
            read_bundle(token, roots={0: school.root.public_key()}, issuer=SCHOOL)

    def test_does_not_mix_keys_of_other_kinds(self, school):
        """A token that HMAC made with the root's public bytes."""
        claims = jwt.decode(school.gate_bundle(), options={"verify_signature": False})
        public = school.root.public_key().public_bytes_raw()
        token = jwt.encode(claims, public, "HS256", headers={"kid": "q1", "typ": "ecbundle+jwt"})
        refused(BundleForged, school, token)

    def test_is_for_bundles_of_others(self, school):
        refused(BundleForeign, school, school.gate_bundle(terminal="gate-2"))
        refused(BundleForeign, school, school.gate_bundle(issuer="ecard.example.org"))

    def test_is_for_bundles_that_are_not_newer(self, school):
        after = read(school, school.gate_bundle(sequence=5))
        for sequence in (-1, 0, 4, 5):
            token = school.gate_bundle(sequence=sequence)
            refused(BundleOutdated, school, token, after=after)
        assert read(school, school.gate_bundle(sequence=6), after=after)["seq"] == 6

    @pytest.mark.parametrize("name", ["keys", "revoked", "stopped", "windows", "members"])
    def test_is_for_bundles_that_leave_something_out(self, school, name):
        content = school.content(gate=PLAIN_GATE)
        del content[name]
        refused(BundleError, school, school.sign(content))

    @pytest.mark.parametrize(
        ("section", "changed"),
        [
            ("keys", "q7"),
            ("keys", [{"kty": "OKP", "crv": "Ed25519", "kid": "q7", "x": "short"}]),
            ("revoked", {"first": 0}),
            ("revoked", {"first": "0", "lst": b64url(zlib.compress(b""))}),
            ("revoked", {"first": -8, "lst": b64url(zlib.compress(b"\1"))}),
            ("revoked", {"first": 0, "lst": b64url(b"hello")}),
            ("revoked", {"first": 0, "lst": b64url(zlib.compress(b"\1")[:-4])}),
            ("revoked", {"first": 0, "lst": b64url(zlib.compress(bytes(99), 0)[:-50])}),
            ("revoked", {"first": 0, "lst": b64url(zlib.compress(b"\1") + b"\0")}),
            ("revoked", {"first": 0, "lst": b64url(zlib.compress(bytes(MOST_BITS // 8 + 1)))}),
            ("revoked", {"first": 0, "lst": "a"}),
            ("stopped", b64url(bytes(5))),
            ("stopped", "AAAA===="),
            ("stopped", None),
            ("windows", {"early": 15, "late": 10}),
            ("windows", {"early": -1, "late": 10, "utc_offset_minutes": 0}),
            ("windows", {"early": "15", "late": 10, "utc_offset_minutes": 0}),
            ("windows", {"early": 15, "late": 1e300, "utc_offset_minutes": 0}),
            ("windows", {"early": 15, "late": 10, "utc_offset_minutes": 10**30}),
            ("gate", {}),
            ("gate", None),
            ("members", []),
            ("members", [{"aliases": ""}]),
            ("members", [{"aliases": "", "serials": b64url(bytes(3))}]),
            ("members", [{"aliases": b64url(bytes(4)), "serials": ""}]),
        ],
    )
    def test_is_for_bundles_that_say_nonsense(self, school, section, changed):
        content = school.content(gate=PLAIN_GATE) | {section: changed}
        refused(BundleError, school, school.sign(content))

    @pytest.mark.parametrize(
        "changed",
        [
            {"default": 1},
            {"default": -1},
            {"default": "0"},
            {"scope": 0},
            {"scope": 1},
            {"scope": 3},
            {"scope": 16},
            {"offline": "ajar"},
            {"emergency": "no"},
            {"passback_minutes": -1},
            {"passback_minutes": 1.5},
            {"classes": []},
            {"classes": [[[[1], 0]]]},
            {"classes": [[[[0], 0, 60]]]},
            {"classes": [[[[1], 60, 60]]]},
            {"classes": [[[[1], 0, 1441]]]},
            {"classes": [[[[1], "0", "60"]]]},
        ],
    )
    def test_is_for_rules_that_no_gate_can_follow(self, school, changed):
        content = school.content(gate=PLAIN_GATE)
        content["gate"] |= changed
        refused(BundleError, school, school.sign(content))

    @pytest.mark.parametrize(
        "changed",
        [
            *(
                {name: wrong}
                for name in ("per_sale_fen", "per_card_count", "per_card_fen", "terminal_fen")
                for wrong in (None, "1500", 15.0, True, -1)
            ),
            {"offline": 1},
            {"offline": "false"},
        ],
    )
    def test_is_for_caps_that_no_till_can_follow(self, school, changed):
        content = school.content(till=PLAIN_TILL)
        content["till"] |= changed
        refused(BundleError, school, school.sign(content))

    @pytest.mark.parametrize("name", ["iat", "exp", "fresh", "seq"])
    @pytest.mark.parametrize("wrong", [None, "1", 1.5, True, 10**20])
    def test_is_for_times_and_sequences_that_are_none(self, school, name, wrong):
        if name == "seq" and wrong == 10**20:
            return  # a large number, but one
        content = school.content(gate=PLAIN_GATE) | {name: wrong}
        refused(BundleError, school, school.sign(content))


class TestDelta:
    def test_leaves_out_what_its_base_has(self, school):
        base = read(school, school.gate_bundle(rules=RICH_GATE, sequence=3))
        token = school.sign({"stopped": b64url(ALIASES[4])}, sequence=8, base=3)
        claims = read(school, token, after=base)
        bundle = as_bundle(claims)
        assert bundle.stopped == {ALIASES[4]}
        assert (bundle.sequence, bundle.gate) == (8, RICH_GATE)
        assert "base" not in claims

    def test_takes_its_own_times(self, school, noon):
        base = read(school, school.gate_bundle())
        token = school.sign({}, sequence=2, base=1, issued_at=noon + HOUR)
        assert as_bundle(read(school, token, after=base)).expires_at == noon + 73 * HOUR

    def test_is_the_base_of_the_next(self, school):
        claims = read(school, school.gate_bundle())
        for sequence in (2, 3):
            token = school.sign({}, sequence=sequence, base=sequence - 1)
            claims = read(school, token, after=claims)
        assert as_bundle(claims).gate == PLAIN_GATE

    @pytest.mark.parametrize("base", [None, 2, 4, "3", 0])
    def test_needs_its_base(self, school, base):
        after = read(school, school.gate_bundle(sequence=3)) if base is not None else None
        token = school.sign({}, sequence=5, base=3 if base is None else base)
        refused(BundleBaseMissing, school, token, after=after)

    def test_is_judged_as_a_whole(self, school):
        """Two classes of members for the one class of hours that the base has."""
        base = read(school, school.gate_bundle())
        nobody = {"aliases": "", "serials": ""}
        token = school.sign({"members": [nobody, nobody]}, sequence=2, base=1)
        refused(BundleError, school, token, after=base)


class TestRevocationList:
    @given(said=revocations(), asked=st.integers(0, 2**32 - 1))
    def test_names_the_revoked_and_nobody_else(self, said, asked):
        first, revoked = said
        listed = RevocationList.of(revoked, first=first)
        for serial in {*revoked, *range(first, first + 300), first - 1, asked}:
            assert (serial in listed) == (serial in revoked)

    @given(said=revocations())
    def test_survives_the_way_in_a_bundle(self, school, said):
        listed = RevocationList.of(said[1], first=said[0])
        claims = read(school, school.gate_bundle(known={"revoked": listed}))
        assert as_bundle(claims).revoked == listed

    def test_takes_two_kilobytes_for_65536_delegations_of_which_one_in_a_hundred_is_revoked(self):
        listed = RevocationList.of(range(0, 65_536, 100), first=0)
        assert len(zlib.compress(listed.bits, 9)) < 2_000

    def test_may_be_as_long_as_scanners_unpack(self, school):
        listed = RevocationList.of([MOST_BITS - 1], first=0)
        claims = read(school, school.gate_bundle(known={"revoked": listed}))
        assert MOST_BITS - 1 in as_bundle(claims).revoked

    @pytest.mark.parametrize("serial", [9, 10 + MOST_BITS])
    def test_refuses_serials_that_it_cannot_name(self, serial):
        with pytest.raises(ValueError, match="outside the list"):
            RevocationList.of([10, serial], first=10)
