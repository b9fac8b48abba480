import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from qr import Issuer, KeyRing, Scope, make_short_code

SCHOOL = "ecard.example.edu.cn"


def run(*arguments, stdin=""):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "qr", *map(str, arguments)],
        input=stdin,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONUTF8": "1"},
    )


@pytest.fixture
def keys(vectors, tmp_path):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(vectors["jwks"]))
    return path


@pytest.fixture(scope="session")
def first(vectors):
    return vectors["valid"]["signed"][0]


def verify(keys, *arguments, scope="pay", at="2026-09-21T14:13:30Z", stdin=""):
    return run(
        *("verify", "--keys", keys, "--issuer", SCHOOL, "--scope", scope, "--at", at, *arguments),
        stdin=stdin,
    )


class TestVerify:
    def test_says_accepted_and_shows_the_fields(self, keys, first):
        result = verify(keys, first["text"])
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines() == [
            "accepted",
            "alias       0a1b2c3d4e5f",
            "scope       pay gate",
            "key         q7",
            "issued at   2026-09-21T14:13:20Z",
            "expires at  2026-09-21T14:14:20Z",
            "nonce       0102030405",
        ]

    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_reads_what_a_scanner_types(self, keys, first, end):
        assert verify(keys, stdin=first["text"] + end).returncode == 0

    def test_reads_one_line_of_bounded_length(self, keys, first):
        assert verify(keys, stdin=first["text"] + "\nmore\n").returncode == 0
        assert "code-malformed" in verify(keys, stdin="9" * 1_000_000).stdout

    def test_says_why_not(self, keys, first):
        for arguments, reason in (
            ({"at": "2026-09-21T14:13:04Z"}, "code-not-yet-valid"),
            ({"at": "2026-09-21T22:14:31+08:00"}, "code-expired"),
            ({"scope": "door"}, "code-wrong-scope"),
        ):
            result = verify(keys, first["text"], **arguments)
            assert result.returncode == 1
            assert result.stdout.startswith(f"refused: {reason}: ")
            assert result.stderr == ""

    def test_judges_by_the_present_unless_told_otherwise(self, tmp_path):
        now = datetime.now(UTC)
        ring = KeyRing.create(tmp_path / "ring.json", now=now)
        published = tmp_path / "published.json"
        published.write_text(run("jwks", tmp_path / "ring.json").stdout)
        issuer = Issuer(ring.current(now).private_key, key_id=1, issuer=SCHOOL)
        for age, code in ((timedelta(0), 0), (timedelta(hours=1), 1)):
            text = issuer.issue(bytes(6), scope=Scope.GATE, issued_at=now - age)
            result = run(
                *("verify", "--keys", published, "--issuer", SCHOOL, "--scope", "gate", text)
            )
            assert result.returncode == code, result.stdout + result.stderr

    def test_says_what_is_wrong_with_the_key_set(self, keys, first):
        keys.write_text("{}")
        result = verify(keys, first["text"])
        assert result.returncode == 1
        assert result.stderr == "error: not a JSON Web Key Set\n"
        keys.unlink()
        assert "No such file" in verify(keys, first["text"]).stderr

    @pytest.mark.parametrize(
        ("wrong", "hint"),
        [
            ({"scope": "lunch"}, "choose from pay, gate, door, service"),
            ({"at": "noon"}, "2026-09-01T12:00:00Z"),
            ({"at": "2026-09-01T12:00:00"}, "2026-09-01T12:00:00Z"),
        ],
    )
    def test_explains_a_wrong_call(self, keys, first, wrong, hint):
        result = verify(keys, first["text"], **wrong)
        assert result.returncode == 2
        assert hint in result.stderr


class TestInspect:
    def test_shows_the_fields_without_checking(self, first):
        result = run("inspect", first["text"][:-1] + "6")
        assert result.returncode == 0
        assert result.stdout.startswith("a signed code, type S: NOT CHECKED\nalias ")
        assert "jwt" not in result.stdout

    def test_rebuilds_the_jwt_for_a_school(self, first):
        result = run("inspect", "--issuer", SCHOOL, stdin=first["text"])
        assert result.stdout.splitlines()[-1].split() == ["jwt", first["jwt"]]

    def test_names_a_code_for_nothing(self, vectors):
        (nothing,) = (v for v in vectors["invalid"]["signed"] if v["name"] == "for nothing")
        assert "scope       (none)" in run("inspect", nothing["text"]).stdout

    def test_knows_a_short_code(self):
        result = run("inspect", make_short_code())
        assert result.returncode == 0
        assert result.stdout.startswith("a short code, type N")

    def test_refuses_anything_else(self):
        result = run("inspect", "13579")
        assert result.returncode == 1
        assert result.stdout == "refused: code-malformed: This is not a card code\n"


class TestKeygen:
    def test_makes_a_ring_and_shows_its_public_half_only(self, tmp_path):
        path = tmp_path / "ring.json"
        made = run("keygen", path, "--key-id", "9")
        assert made.returncode == 0, made.stderr
        assert "q9" in made.stdout
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        shown = run("jwks", path)
        assert [key["kid"] for key in json.loads(shown.stdout)["keys"]] == ["q9"]
        assert json.loads(path.read_text())["keys"][0]["d"] not in made.stdout + shown.stdout

    def test_overwrites_nothing(self, tmp_path):
        path = tmp_path / "ring.json"
        run("keygen", path)
        again = run("keygen", path)
        assert again.returncode == 1
        assert again.stderr == "error: ring.json exists already\n"

    def test_refuses_a_wrong_id(self, tmp_path):
        assert "key id" in run("keygen", tmp_path / "ring.json", "--key-id", "256").stderr


class TestVerifyDevice:
    def test_says_accepted_and_shows_the_fields(self, vectors, keys):
        text = vectors["valid"]["device"][0]["text"]
        result = verify(keys, text, at="2026-09-21T14:14:20Z")
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines() == [
            "accepted",
            "serial      119463",
            f"public key  {vectors['valid']['device'][0]['fields']['public_key']}",
            "until       2026-09-24T14:13:20Z",
            "offline     3 sales of 15 yuan a day",
            "scope       pay",
            "key         q7",
            "issued at   2026-09-21T14:13:20Z",
            "expires at  2026-09-21T14:14:20Z",
            "sequence    0",
        ]
        late = verify(keys, text, at="2026-09-21T14:14:21Z")
        assert late.stdout == "refused: code-expired: This code has expired\n"


class TestCheckVectors:
    def test_tries_the_file_of_the_package(self, vectors):
        result = run("check-vectors")
        lists = [*vectors["valid"].values(), *vectors["invalid"].values(), vectors["weak_keys"]]
        assert result.returncode == 0
        assert result.stdout == f"{sum(map(len, lists))} passed, 0 failed\n"

    def test_names_each_that_fails(self, vectors, tmp_path):
        vector = vectors["valid"]["short"][0]
        changed = {**vectors, "valid": {"short": [vector | {"key": "00"}]}, "invalid": {}}
        (tmp_path / "changed.json").write_text(json.dumps(changed))
        result = run("check-vectors", tmp_path / "changed.json")
        assert result.returncode == 1
        assert result.stdout.splitlines() == [
            f"valid short {vector['text']}: the key is {vector['key']}, not 00",
            "14 passed, 1 failed",
        ]

    def test_passes_no_empty_file(self, vectors, tmp_path):
        empty = {"jwks": vectors["jwks"], "issuer": SCHOOL, "valid": {}, "invalid": {}}
        (tmp_path / "empty.json").write_text(json.dumps(empty))
        result = run("check-vectors", tmp_path / "empty.json")
        assert (result.returncode, result.stdout) == (1, "0 passed, 0 failed\n")

    def test_says_what_is_no_file_of_vectors(self, tmp_path):
        (tmp_path / "other.json").write_text("{}")
        result = run("check-vectors", tmp_path / "other.json")
        assert (result.returncode, result.stderr) == (1, "error: not a file of vectors\n")


class TestHelp:
    def test_names_every_command(self):
        result = run("--help")
        assert result.returncode == 0
        for command in (
            *("verify", "inspect", "keygen", "jwks", "check-vectors", "phone-key", "delegate"),
            *("phone", "bundle", "gate", "till", "sync", "queue"),
        ):
            assert command in result.stdout
            assert run(command, "--help").returncode == 0

    def test_is_pointed_at_when_called_with_nothing(self):
        assert run().returncode == 2
