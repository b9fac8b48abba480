import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qr import Issuer, KeyRing, KeyRingError, Scope, Verifier, read_jwks
from qr.jose import b64url

SCHOOL = "ecard.example.edu.cn"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MONTH = timedelta(days=30)
TICK = timedelta(microseconds=1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ring.json"


@pytest.fixture
def ring(path, noon):
    return KeyRing.create(path, now=noon)


def ids(ring, now):
    return list(ring.public_keys(now))


class TestCreate:
    def test_makes_one_key_in_use_at_once(self, ring, noon):
        assert ring.current(noon).key_id == 1
        assert ring.current(noon).used_from == noon
        assert ids(ring, noon) == [1]

    def test_writes_a_file_for_its_owner_only(self, ring, path, tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [path]

    def test_never_overwrites(self, ring, path, noon):
        before = path.read_text()
        with pytest.raises(KeyRingError, match="exists already"):
            KeyRing.create(path, now=noon)
        assert path.read_text() == before
        assert list(path.parent.iterdir()) == [path]

    def test_begins_at_the_id_asked_for(self, path, noon):
        assert KeyRing.create(str(path), now=noon, key_id=255).current(noon).key_id == 255

    @pytest.mark.parametrize("key_id", [-1, 256])
    def test_refuses_an_id_that_is_no_byte(self, path, noon, key_id):
        with pytest.raises(ValueError, match="key id"):
            KeyRing.create(path, now=noon, key_id=key_id)

    def test_says_where_it_cannot_write(self, tmp_path, noon):
        with pytest.raises(KeyRingError, match=r"ring.json.new: No such file"):
            KeyRing.create(tmp_path / "missing" / "ring.json", now=noon)


class TestRotate:
    def test_publishes_a_key_for_a_day_before_it_signs(self, ring, noon):
        ring.rotate(noon + MONTH)
        taken_over = noon + MONTH + DAY
        assert ids(ring, noon + MONTH) == [1, 2]
        assert ring.current(taken_over - TICK).key_id == 1
        assert ring.current(taken_over).key_id == 2

    def test_accepts_the_previous_key_for_three_days_more(self, ring, noon):
        ring.rotate(noon + MONTH)
        taken_over = noon + MONTH + DAY
        assert ids(ring, taken_over + 72 * HOUR - TICK) == [1, 2]
        assert ids(ring, taken_over + 72 * HOUR) == [2]

    def test_changes_nothing_while_a_key_waits(self, ring, path, noon):
        ring.rotate(noon + MONTH)
        before = path.read_text()
        ring.rotate(noon + MONTH)
        ring.rotate(noon + MONTH + DAY - TICK)
        assert path.read_text() == before
        ring.rotate(noon + MONTH + DAY)
        assert ids(ring, noon + MONTH + DAY) == [1, 2, 3]

    def test_destroys_a_key_that_nobody_needs(self, ring, path, noon):
        secret = b64url(ring.current(noon).private_key.private_bytes_raw())
        ring.rotate(noon + MONTH)
        assert secret in path.read_text()
        ring.rotate(noon + 2 * MONTH)
        assert secret not in path.read_text()
        assert "q1" in json.loads(path.read_text())["retired"]

    def test_keeps_the_file_for_its_owner_only(self, ring, path, tmp_path, noon):
        ring.rotate(noon)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [path]

    def test_a_code_outlives_every_step(self, ring, noon):
        now = noon
        for month in range(1, 15):
            ring.rotate(noon + month * MONTH)
            for wait in (timedelta(0), DAY - TICK, DAY, DAY + 71 * HOUR):
                now = noon + month * MONTH + wait
                key = ring.current(now)
                text = Issuer(key.private_key, key_id=key.key_id, issuer=SCHOOL).issue(
                    bytes(6), scope=Scope.PAY, issued_at=now
                )
                for later in (now, now + timedelta(seconds=70)):
                    Verifier(ring.public_keys(later), issuer=SCHOOL).verify(
                        text, need=Scope.PAY, now=later
                    )

    def test_gives_no_id_again_within_a_year(self, ring, noon):
        last_used, now = {1: noon}, noon
        for week in range(1, 320):
            now = noon + week * timedelta(days=7)
            ring.rotate(now)
            newest = ids(ring, now)[-1]
            assert newest == (week + 1) % 256
            assert now - last_used.get(newest, noon - 366 * DAY) > 365 * DAY
            last_used |= dict.fromkeys(ids(ring, now), now)

    def test_refuses_when_a_year_has_used_all_ids(self, ring, path, noon):
        for day in range(255):
            ring.rotate(noon + day * DAY)
        with pytest.raises(KeyRingError, match="256"):
            ring.rotate(noon + 255 * DAY)
        assert list(path.parent.iterdir()) == [path]

    def test_is_seen_by_a_ring_that_is_already_open(self, ring, path, noon):
        other = KeyRing.load(path)
        key = other.current(noon)
        assert other.current(noon) is key, "nothing is parsed while the file stays the same"
        ring.rotate(noon)
        assert ids(other, noon) == [1, 2]
        assert other.current(noon + DAY).key_id == 2

    def test_by_many_at_once_adds_one_key(self, ring, path, noon):
        def rotate(_):
            try:
                KeyRing.load(path).rotate(noon)
            except KeyRingError as error:
                return str(error)
            return "done"

        with ThreadPoolExecutor(8) as threads:
            outcomes = set(threads.map(rotate, range(32)))
        assert "done" in outcomes
        assert all("another process" in outcome for outcome in outcomes - {"done"})
        assert ids(ring, noon) == [1, 2]

    def test_waits_for_nobody(self, ring, path, noon):
        lock = path.with_name("ring.json.new")
        lock.touch()
        with pytest.raises(KeyRingError, match=r"ring.json.new exists"):
            ring.rotate(noon)
        assert lock.exists(), "it belongs to another"
        assert ids(ring, noon) == [1]

    def test_leaves_the_old_ring_when_cut_off(self, ring, path, noon, monkeypatch):
        before = path.read_text()

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(KeyRingError, match=r"ring.json.new: No space"):
            ring.rotate(noon)
        assert path.read_text() == before
        assert list(path.parent.iterdir()) == [path]


class TestLoad:
    def damaged(self, path, change):
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
    def test_refuses_a_file_that_others_may_read(self, ring, path, noon, mode):
        path.chmod(mode)
        with pytest.raises(KeyRingError, match="chmod 600"):
            KeyRing.load(path)

    def test_refuses_a_missing_file(self, ring, path, noon):
        path.unlink()
        with pytest.raises(KeyRingError, match="No such file"):
            KeyRing.load(path)
        with pytest.raises(KeyRingError, match="No such file"):
            ring.current(noon)

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"keys": []}', "\\u00e9"])
    def test_refuses_what_is_no_ring(self, ring, path, text):
        path.write_text(text)
        with pytest.raises(KeyRingError, match="not a key ring"):
            KeyRing.load(path)

    @pytest.mark.parametrize(
        "change",
        [
            lambda ring: ring.update(keys=[]),
            lambda ring: ring.update(keys=None),
            lambda ring: ring.update(retired=[]),
            lambda ring: ring["retired"].update(q1="2026-01-01T00:00:00Z"),
            lambda ring: ring["retired"].update(q2="yesterday"),
            lambda ring: ring["retired"].update(q2="2026-01-01T00:00:00"),
            lambda ring: ring["retired"].update(x2="2026-01-01T00:00:00Z"),
            lambda ring: ring["keys"].append(ring["keys"][0]),
            lambda ring: ring["keys"].append(ring["keys"][0] | {"kid": "q2"}),
            lambda ring: ring["keys"][0].update(kid="q256"),
            lambda ring: ring["keys"][0].update(kid="1"),
            lambda ring: ring["keys"][0].update(crv="Ed448"),
            lambda ring: ring["keys"][0].update(x=b64url(bytes(32))),
            lambda ring: ring["keys"][0].update(d=b64url(bytes(31))),
            lambda ring: ring["keys"][0].update(d=ring["keys"][0]["d"] + "="),
            lambda ring: ring["keys"][0].update(used_from=0),
            lambda ring: ring["keys"][0].pop("used_from"),
        ],
    )
    def test_refuses_a_damaged_ring(self, ring, path, change):
        self.damaged(path, change)
        with pytest.raises(KeyRingError, match="not a key ring"):
            KeyRing.load(path)

    def test_shows_no_secret_in_its_errors(self, ring, path):
        secret = json.loads(path.read_text())["keys"][0]["d"]
        path.write_text(path.read_text()[:-10])
        with pytest.raises(KeyRingError) as failure:
            KeyRing.load(path)
        assert failure.value.__cause__ is None
        assert failure.value.__suppress_context__
        assert secret not in repr(failure.value)

    def test_shows_no_secret_in_a_key(self, ring, noon):
        assert "private" not in repr(ring.current(noon))

    def test_has_no_current_key_before_the_first(self, ring, noon):
        with pytest.raises(KeyRingError, match="clock"):
            ring.current(noon - TICK)


class TestKeySet:
    def test_is_public(self, ring, noon):
        ring.rotate(noon)
        keys = ring.jwks(noon)["keys"]
        assert [key["kid"] for key in keys] == ["q1", "q2"]
        for key in keys:
            assert set(key) == {"kty", "crv", "kid", "use", "alg", "x"}
            assert (key["kty"], key["crv"], key["use"], key["alg"]) == (
                "OKP",
                "Ed25519",
                "sig",
                "EdDSA",
            )

    def test_reads_back_as_the_same_keys(self, ring, noon):
        ring.rotate(noon)
        keys = read_jwks(json.loads(json.dumps(ring.jwks(noon))))
        assert keys == ring.public_keys(noon)

    def test_passes_over_keys_that_are_not_ours(self, ring, noon):
        own = ring.jwks(noon)["keys"][0]
        ed448 = b64url(Ed448PrivateKey.generate().public_key().public_bytes_raw())
        foreign = [
            {"kty": "RSA", "kid": "q2"},
            {"kty": "OKP", "crv": "Ed448", "kid": "q3", "x": ed448},
            *(own | {"kid": kid} for kid in (None, 4, "", "q", "q256", "q01", "Q4", "q4 ", "q４")),
        ]
        assert list(read_jwks({"keys": [*foreign, own]})) == [1]

    @pytest.mark.parametrize(
        "change",
        [{"x": b64url(bytes(31))}, {"x": "not base64url"}, {"x": None}, {"x": "A" * 42 + "B"}],
    )
    def test_refuses_a_damaged_key(self, ring, noon, change):
        own = ring.jwks(noon)["keys"][0]
        with pytest.raises(ValueError, match=r".+"):
            read_jwks({"keys": [own | change]})

    def test_refuses_two_keys_with_one_id(self, ring, noon):
        own = ring.jwks(noon)["keys"][0]
        other = b64url(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
        with pytest.raises(ValueError, match="same id"):
            read_jwks({"keys": [own, own | {"x": other}]})

    @pytest.mark.parametrize("document", [{}, [], None, {"keys": None}, {"keys": ["q1"]}])
    def test_refuses_what_is_no_key_set(self, document):
        with pytest.raises(ValueError, match="Key Set"):
            read_jwks(document)
