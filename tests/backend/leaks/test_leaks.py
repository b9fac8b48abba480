"""The scan: each kind that is planted is found, where it is and never shown; nothing else is."""

import base64
import gzip
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from chains import Log
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import sql
from redis import Redis
from sqlalchemy import text

from backend.holders.documents import document_index
from backend.holders.models import DocumentKind
from backend.leaks import rules, service
from backend.leaks.rules import Known, LeakKind, Recogniser
from backend.sealing import Sealer, token_hash
from backend.settings import Settings
from qr import Issuer, Scope

SEALER = Sealer(bytes(range(32)))
TODAY = date(2026, 9, 1)
NUMBER, FOREIGNER, OLD = "11010519491231002X", "911156199001010010", "110105491231002"
# Workers collect the same tests: nothing random in their names.
PERMIT, TOKEN = "H01234567", base64.urlsafe_b64encode(bytes(range(100, 132))).decode().rstrip("=")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(7, 39)))
SHORT_CODE = "96028896931973138786"
KNOWN = Known(
    frozenset({token_hash(TOKEN)}),
    frozenset({document_index(SEALER, kind=DocumentKind.HK_MACAO_PERMIT, document=PERMIT)}),
    frozenset({KEY.public_key().public_bytes_raw()}),
)
SEED = KEY.private_bytes_raw()


def recogniser(*given: str) -> Recogniser:
    return Recogniser(known=KNOWN, sealer=SEALER, given=given, today=TODAY)


def signed_code() -> str:
    at = datetime(2026, 9, 1, 4, tzinfo=UTC)
    return Issuer(KEY, key_id=7, issuer="x").issue(bytes(6), scope=Scope.PAY, issued_at=at)


class TestShapes:
    @pytest.mark.parametrize(
        ("said", "kind"),
        [
            (NUMBER, LeakKind.RESIDENT_ID),
            (f"证件号{NUMBER.lower()}。", LeakKind.RESIDENT_ID),
            ("110105 19491231 002X", LeakKind.RESIDENT_ID),
            ("１１０１０５１９４９１２３１００２Ｘ", LeakKind.RESIDENT_ID),
            ('{"id":11010519491231002X}', LeakKind.RESIDENT_ID),
            (FOREIGNER, LeakKind.RESIDENT_ID),
            (f"x={OLD}&y", LeakKind.OLD_RESIDENT_ID),
            (f"通行证 {PERMIT}", LeakKind.DOCUMENT),
            (PERMIT.lower(), LeakKind.DOCUMENT),
            (SHORT_CODE, LeakKind.CARD_CODE),
            (signed_code(), LeakKind.CARD_CODE),
            ("962" + "1" * 427, LeakKind.CARD_CODE),
            (f"token={TOKEN};", LeakKind.TOKEN),
            (f"session_{TOKEN}", LeakKind.TOKEN),
            ("Authorization: Bearer whatever-was-sent-here", LeakKind.TOKEN),
            (f"87_{'aB3_' * 30}", LeakKind.TOKEN),
            ("-----BEGIN EC PRIVATE KEY-----", LeakKind.PRIVATE_KEY),
            (SEED.hex(), LeakKind.PRIVATE_KEY),
            (base64.b64encode(SEED).decode(), LeakKind.PRIVATE_KEY),
            (base64.urlsafe_b64encode(SEED).decode().rstrip("="), LeakKind.PRIVATE_KEY),
            (f'{{"d": "{"x" * 43}"}}', LeakKind.PRIVATE_KEY),
        ],
    )
    def test_are_recognised(self, said: str, kind: LeakKind) -> None:
        assert {found for found, _ in recogniser().in_text(said)} == {kind}
        assert {found for found, _ in recogniser().in_bytes(said.encode())} == {kind}
        wide = {found for found, _ in recogniser().in_bytes(said.encode("utf-16-le"))}
        assert wide == {kind} or not said.isascii()

    @pytest.mark.parametrize(
        "said",
        [
            "110105194912310021",  # the check digit is wrong
            "424242202613451239",  # no such region, no such month
            "010105194912310021",
            "991105194912310021",
            "11010520491231002X",  # not yet born
            "1101051949123100250",  # a longer number
            f"4200{NUMBER[:17]}1234567",  # the number of a payment
            "0.110105491231002",
            "110105491331002",  # the thirteenth month
            "a110105491231002",  # of something longer
            "0199a2c4-7b1e-7c3d-9e4f-110105491231",
            "96012345678901234567",  # no Luhn digit
            "961" + "0" * 197,
            TOKEN[::-1],
            "H01234568",
            "bearer of news",
            KEY.public_key().public_bytes_raw().hex(),
            "",
        ],
    )
    def test_are_not_seen_where_they_are_not(self, said: str) -> None:
        assert list(recogniser().in_text(said)) == []
        assert list(recogniser().in_bytes(said.encode())) == []

    def test_are_seen_again(self) -> None:
        """What a recogniser remembers is what was nothing."""
        one = recogniser()
        for _ in range(2):
            assert {kind for kind, _ in one.in_text(f"{TOKEN} {PERMIT} {SEED.hex()}")} == {
                LeakKind.TOKEN, LeakKind.DOCUMENT, LeakKind.PRIVATE_KEY,
            }  # fmt: skip

    def test_of_values_given_are_found_however_spelled(self) -> None:
        given = recogniser("wechat-20240101", NUMBER)
        for said in ("xWECHAT-20240101y", b"wechat-20240101".hex()):
            assert [kind for kind, _ in given.in_text(said)] == [LeakKind.GIVEN]
        for name in ("md5", "sha1", "sha256"):
            plain = hashlib.new(name, NUMBER.encode())
            assert [kind for kind, _ in given.in_text(plain.hexdigest())] == [LeakKind.GIVEN]
            assert (LeakKind.GIVEN, "") in list(given.in_bytes(plain.digest()))

    def test_of_a_token_given_leaves_its_hash_alone(self) -> None:
        """That is how tokens are kept."""
        assert list(recogniser(TOKEN).in_bytes(token_hash(TOKEN))) == []

    def test_of_random_numbers_are_rare(self) -> None:
        """Order numbers have right check digits one time in eleven; that alone is no alarm."""
        numbers = [str(secrets.randbelow(9 * 10**17) + 10**17) for _ in range(100_000)]
        found = rules.resident_numbers("\n".join(numbers), today=TODAY)
        assert len(list(found)) < 10


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    """A database of one's own."""
    name, admin = f"leaks_{secrets.token_hex(6)}", database_url.replace("+psycopg", "")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE campus_card_template STRATEGY file_copy").format(
                sql.Identifier(name)
            )
        )
        mine = Log(re.sub(r"/worker_\d+\?", f"/{name}?", database_url))
        yield mine
        mine.close()
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def redis(redis_url: str, worker: int) -> Iterator[Redis]:
    """A Redis number of one's own."""
    mine = Redis.from_url(re.sub(r"db=\d+", f"db={15 - worker}", redis_url))
    mine.flushdb()
    yield mine
    mine.flushdb()
    mine.close()


def scan(log: Log, redis: Redis, *given: str, files: tuple[Path, ...] = ()) -> service.Findings:
    findings = service.Findings()
    with log.session() as session:
        known = service.known(session)
        own = Recogniser(known=known, sealer=SEALER, given=given, today=TODAY)
        service.scan_database(session, own, findings)
    service.scan_redis(redis, own, findings)
    for path in files:
        service.scan_file(path, own, findings)
    return findings


class TestDatabase:
    def test_is_read_whole(self, log: Log, redis: Redis) -> None:
        """Planted in text, JSON, bytes, an array and a number, each in a table of its kind."""
        with log.owner.begin() as connection:
            connection.execute(
                text(
                    "CREATE TABLE planted (a varchar, b jsonb, c bytea, d text[], e bigint,"
                    " f numeric, g char(18), h uuid)"
                )
            )
            connection.execute(text("INSERT INTO planted (h) VALUES (uuidv7())"))
            for column, value in (
                ("a", "'身份证 11010519491231002X'"),
                ("b", """'{"x": [{"11010519491231002X": 1}]}'"""),
                ("c", "'11010519491231002X'::bytea"),
                ("d", "ARRAY['x', '11010519491231002X']"),
                ("e", "911156199001010010"),
                ("f", "911156199001010010"),
                ("g", "'11010519491231002X'"),
            ):
                connection.execute(text(f"INSERT INTO planted ({column}) VALUES ({value})"))
            connection.execute(text("GRANT SELECT ON planted TO campus_card_app"))
            place = connection.execute(
                text("SELECT ctid::text FROM planted WHERE b IS NOT NULL")
            ).scalar_one()
        leaks = scan(log, redis).leaks
        assert {leak.where for leak in leaks} == {f"planted.{column}" for column in "abcdefg"}
        assert {(leak.kind, leak.times) for leak in leaks} == {(LeakKind.RESIDENT_ID, 1)}
        assert next(leak.place for leak in leaks if leak.where == "planted.b") == place

    def test_tells_its_tokens_and_documents(self, log: Log, redis: Redis) -> None:
        log.write("x", note=TOKEN, reference=PERMIT)
        assert scan(log, redis).leaks == []
        index = document_index(SEALER, kind=DocumentKind.HK_MACAO_PERMIT, document=PERMIT)
        with log.owner.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO holder_sessions (id, token_hash, platform, account_index,"
                    " account_sealed, created_at, used_at)"
                    " VALUES (uuidv7(), :hash, 'wechat', '', '', now(), now())"
                ),
                {"hash": token_hash(TOKEN)},
            )
            connection.execute(
                text(
                    "INSERT INTO holders (id, holder_number, name, category, unit, document_index,"
                    " document_tail_index, pays_surcharge, valid_until)"
                    " VALUES (uuidv7(), '1', '甲', 'student', '', :index, '', false, now())"
                ),
                {"index": index},
            )
        assert {(leak.kind, leak.where) for leak in scan(log, redis).leaks} == {
            (LeakKind.TOKEN, "operation_log.facts"),
            (LeakKind.DOCUMENT, "operation_log.reference"),
        }

    def test_counts_rows(self, log: Log, redis: Redis) -> None:
        log.write(*["x"] * 3, note=NUMBER)
        (leak,) = scan(log, redis).leaks
        assert (leak.kind, leak.where, leak.times) == (
            LeakKind.RESIDENT_ID, "operation_log.facts", 3,
        )  # fmt: skip

    def test_has_nothing_when_it_is_new(self, log: Log, redis: Redis) -> None:
        findings = scan(log, redis)
        assert findings.leaks == []
        assert findings.read["tables"] > 50
        assert findings.read["values"] > 0


class TestRedis:
    def test_is_read_whole(self, log: Log, redis: Redis) -> None:
        redis.set(f"who:{NUMBER}", "1")
        redis.set("string", NUMBER)
        redis.rpush("list", "x", NUMBER)
        redis.sadd("set", NUMBER)
        redis.zadd("zset", {NUMBER: 1})
        redis.hset("hash", "field", NUMBER)
        redis.hset("field", NUMBER, "1")
        redis.xadd("stream", {"field": NUMBER})
        redis.set("harmless", "96012345678901234567")
        findings = scan(log, redis)
        assert {leak.where for leak in findings.leaks} == {
            f"redis {key}"
            for key in ("who:…", "string", "list", "set", "zset", "hash", "field", "stream")
        }
        assert findings.read["keys"] == 9


class TestFiles:
    def test_are_read_line_by_line(self, log: Log, redis: Redis, tmp_path: Path) -> None:
        plain, packed = tmp_path / "web.log", tmp_path / "web.log.1.gz"
        plain.write_bytes(f"one\n\xff\n{NUMBER}\n{NUMBER}\n".encode("latin-1"))
        packed.write_bytes(gzip.compress(b"one\nwechat-20240101\n"))
        leaks = scan(log, redis, "wechat-20240101", files=(plain, packed)).leaks
        assert leaks == [
            service.Leak(LeakKind.RESIDENT_ID, str(plain), "line 3", 2),
            service.Leak(LeakKind.GIVEN, str(packed), "line 2", 1),
        ]


class TestCommand:
    @pytest.fixture
    def run(self, settings: Settings, log: Log, redis: Redis, tmp_path: Path) -> Any:
        """Run the command on a database of its own."""
        place = redis.connection_pool.connection_kwargs
        url = f"unix://{place['path']}?db={place['db']}" if "path" in place else (
            f"redis://{place['host']}:{place['port']}/{place['db']}"
        )  # fmt: skip
        environment = os.environ | {
            "CAMPUS_CARD_DATABASE_URL": log.app_url,
            "CAMPUS_CARD_REDIS_URL": url,
            "CAMPUS_CARD_ROOT_KEY": base64.b64encode(bytes(range(32))).decode(),
            "CAMPUS_CARD_CODE_KEYS": str(settings.code_keys),
            "CAMPUS_CARD_ISSUER": settings.issuer,
            "CAMPUS_CARD_BASE_URL": "https://card.example",
            "CAMPUS_CARD_PAYMENTS": str(settings.payments),
        }

        def run(*arguments: str, said: str = "") -> tuple[int, str]:
            done = subprocess.run(
                [Path(sys.executable).with_name("campus-card"), "scan-leaks", *arguments],
                env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
                input=said,
            )  # fmt: skip
            return done.returncode, done.stdout + done.stderr

        return run

    def test_tells_where_and_never_what(self, run: Any, log: Log, tmp_path: Path) -> None:
        own = tmp_path / "own.log"
        own.write_text("nothing\n")
        status, said = run(str(own))
        assert status == 0, said
        assert "nothing stands in clear" in said
        own.write_text(f"{NUMBER}\n")
        log.write("x", note=json.dumps({"openid": "oAbc-123456"}))
        status, said = run(str(own), "--find-from", "-", said="\n  oAbc-123456\n")
        assert status == 1, said
        assert f"resident-id  {own}  line 1\n" in said
        assert re.search(r"given  operation_log\.facts  \(\d+,\d+\)\n", said)
        assert NUMBER not in said
        assert "oAbc" not in said

    def test_refuses_values_that_stand_everywhere(self, run: Any) -> None:
        status, said = run("--find-from", "-", said="abc\n")
        assert status == 2
        assert "at least 6 characters" in said
