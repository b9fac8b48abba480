"""Personal data at rest: found again by the right key, read by nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.http.parts import Parts
from backend.sealing import SealedCache, Sealer, normal_document, token_hash

SEALER, OTHER = Sealer(bytes(range(32))), Sealer(bytes(32))
words = st.text(st.characters(blacklist_categories=["Cs"]))
purposes = st.sampled_from(["document", "totp", "platform-account"])


class TestIndex:
    @given(words, purposes)
    def test_is_the_same_for_the_same_value(self, value: str, purpose: str) -> None:
        index = SEALER.index(purpose, value)
        assert index == Sealer(bytes(range(32))).index(purpose, value)
        assert len(index) == 32

    @given(words, words)
    def test_differs_by_value_purpose_and_root_key(self, one: str, other: str) -> None:
        index = SEALER.index("document", one)
        assert (index == SEALER.index("document", other)) == (one == other)
        assert index != SEALER.index("document-tail", one)
        assert index != OTHER.index("document", one)

    def test_is_what_it_always_was(self) -> None:
        """Another derivation would lose everybody on the roster."""
        assert SEALER.index("document", "11010519491231002X").hex() == (
            "59e4c88220cb7756477bff1c7c208d0cf62b09ac41a8167b86dfd51f8da2705a"
        )


class TestSeal:
    @given(words, purposes, st.binary())
    def test_opens_with_the_same_purpose_and_secret(
        self, value: str, purpose: str, also: bytes
    ) -> None:
        sealed = SEALER.seal(purpose, value, also=also)
        assert SEALER.unseal(purpose, sealed, also=also) == value

    @given(words)
    def test_opens_with_nothing_else(self, value: str) -> None:
        sealed = SEALER.seal("totp", value, also=b"token")
        assert SEALER.unseal("totp", sealed) is None
        assert SEALER.unseal("totp", sealed, also=b"other") is None
        assert SEALER.unseal("document", sealed, also=b"token") is None
        assert OTHER.unseal("totp", sealed, also=b"token") is None

    @given(st.integers(0), st.integers(1, 255))
    def test_a_changed_byte_spoils_it(self, place: int, change: int) -> None:
        sealed = bytearray(SEALER.seal("totp", "王小明"))
        sealed[place % len(sealed)] ^= change
        assert SEALER.unseal("totp", bytes(sealed)) is None

    @pytest.mark.parametrize("length", [0, 7, 11, 12, 27])
    def test_a_short_box_is_nobodys(self, length: int) -> None:
        assert SEALER.unseal("totp", bytes(length)) is None

    def test_never_looks_the_same_twice(self) -> None:
        assert len({SEALER.seal("totp", "same") for _ in range(50)}) == 50

    def test_shows_nothing_of_the_value(self) -> None:
        assert b"11010519491231002X" not in SEALER.seal("document", "11010519491231002X")


class TestNormalDocument:
    @given(words)
    def test_is_the_same_twice(self, text: str) -> None:
        once = normal_document(text)
        assert normal_document(once) == once

    @pytest.mark.parametrize(
        "typed",
        [
            "11010519491231002x",
            " 110105 1949 1231 002X",
            "１１０１０５１９４９１２３１００２Ｘ",
            "110105-19491231-002X",
        ],
    )
    def test_forgives_how_it_is_typed(self, typed: str) -> None:
        assert normal_document(typed) == "11010519491231002X"


class TestTokenHash:
    def test_is_sha256_of_the_text(self) -> None:
        assert token_hash("abc").hex() == (
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )


class TestCache:
    def test_has_values_for_this_school_alone(self, parts: Parts) -> None:
        cache, key = SealedCache(parts.redis, SEALER), "test:sealed-cache"
        assert cache.get(key) is None
        assert cache.set(key, "an access token", ex=60, nx=True)
        assert not cache.set(key, "another", ex=60, nx=True)
        assert cache.get(key) == "an access token"
        assert "access" not in str(parts.redis.get(key))
        assert 0 < int(str(parts.redis.ttl(key))) <= 60
        assert SealedCache(parts.redis, OTHER).get(key) is None
        cache.delete(key)
        assert parts.redis.get(key) is None

    def test_gives_no_value_under_another_name(self, parts: Parts) -> None:
        cache = SealedCache(parts.redis, SEALER)
        cache.set("test:one", "x", ex=60)
        parts.redis.set("test:other", str(parts.redis.get("test:one")), ex=60)
        assert cache.get("test:other") is None
