"""Phone, gate and till as processes of their own, with no way to a network."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import qr
from qr import read_jwks
from qr.alone import PLAIN_GATE, PLAIN_TILL
from qr.bundle import RevocationList
from qr.jwks import write_jwks
from qr.rules import OfflinePolicy

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
KILLS = 30
PATIENCE_SECONDS = 180

NO_SOCKETS = """
import sys

def refuse(event, arguments):
    if event.startswith("socket."):
        raise OSError("this process has no network")

sys.addaudithook(refuse)
"""
"""Python runs a module of this name when it starts, and no socket gets past its audit hook."""


def now():
    return datetime.now(UTC)


class Table:
    """A kitchen table: a school's files, and processes without sockets."""

    def __init__(self, school, path, prefix=()):
        self.school, self.path, self.prefix = school, path, prefix
        (path / "no-sockets").mkdir()
        (path / "no-sockets" / "sitecustomize.py").write_text(NO_SOCKETS)
        (path / "roots.json").write_text(json.dumps(write_jwks(school.roots)))
        self.environment = os.environ | {"PYTHONPATH": str(path / "no-sockets")}
        self.running = []

    def python(self, *arguments):
        return [*self.prefix, sys.executable, "-W", "error", *map(str, arguments)]

    def run(self, *arguments, stdin=""):
        return subprocess.run(
            self.python(*arguments),
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.path,
            env=self.environment,
        )

    def start(self, command, token, *options):
        if token is not None:
            self.put(token)
        scanner = Process(
            subprocess.Popen(
                self.python(
                    *("-m", "qr", command, "--store", "scanner.db", "--roots", "roots.json"),
                    *("--issuer", self.school.name, "--bundle", "bundle.jwt"),
                    *("--terminal", "table", *options),
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.path,
                env=self.environment,
            )
        )
        self.running.append(scanner)
        return scanner

    def gate(self, token=None, *options):
        return self.start("gate", token, *options)

    def till(self, token=None, *options):
        return self.start("till", token, *options)

    def give_up(self):
        """Let whoever waits for an answer read the end instead."""
        for scanner in self.running:
            scanner.process.kill()

    def put(self, token):
        (self.path / "bundle.jwt").write_text(token)

    def queue(self):
        printed = self.run("-m", "qr", "queue", "--store", "scanner.db")
        assert printed.returncode == 0, printed.stderr
        return [json.loads(line) for line in printed.stdout.splitlines()]


class Process:
    """A gate or a till that reads lines and answers each."""

    def __init__(self, process):
        self.process = process

    def send(self, *lines):
        raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
        self.process.stdin.write(b"".join(line + b"\n" for line in raw))
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read().decode()
        return json.loads(line)

    def ask(self, line):
        self.send(line)
        return self.answer()

    def verdict(self, line):
        answer = self.ask(line)
        return answer["decision"], answer["reason"]

    def kill(self):
        """End it as a power cut would; return what it had printed by then and nobody had read."""
        self.process.send_signal(signal.SIGKILL)
        left = self.process.stdout.read()
        self.end()
        return [json.loads(line) for line in left.splitlines()]

    def end(self):
        """Let it finish; return what it told on standard error."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()
        told = self.process.stderr.read().decode()
        self.process.stderr.close()
        return told


@pytest.fixture
def table(school, tmp_path):
    table = Table(school, tmp_path)
    patience = threading.Timer(PATIENCE_SECONDS, table.give_up)
    patience.start()
    yield table
    patience.cancel()
    for scanner in table.running:
        if scanner.process.returncode is None:
            scanner.process.kill()
            scanner.end()


@pytest.fixture
def phone(school):
    return school.phone(expires_at=now() + 72 * HOUR)


@pytest.fixture
def token(school):
    """The bundle of a gate, fresh."""
    return school.gate_bundle(issued_at=now())


@pytest.fixture
def till_token(school):
    return school.till_bundle(issued_at=now())


def serve_a_phone(table, phones_table, phone, token):
    """Show a phone's code, made in one process, to a gate that is another; return the verdict."""
    (table.path / "phone.key").write_bytes(phone.private_key.private_bytes_raw())
    delegation = qr.jose.b64url(phone.delegation)
    shown = phones_table.run(
        *("-m", "qr", "phone", table.path / "phone.key", delegation, "--scope", "gate")
    )
    assert shown.returncode == 0, shown.stderr
    gate = table.gate(token)
    return gate.verdict(shown.stdout.strip())


class TestWithoutNetwork:
    def test_no_process_here_opens_a_socket(self, table):
        for attempt in (
            "import socket; socket.socket()",
            "import _socket; _socket.socket()",
            "import socket; socket.create_connection(('127.0.0.1', 9))",
            "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
        ):
            tried = table.run("-c", attempt)
            assert tried.returncode == 1
            assert "this process has no network" in tried.stderr

    def test_a_device_code_opens_the_gate(self, table, phone, token):
        assert serve_a_phone(table, table, phone, token) == ("allow", None)

    def test_a_device_code_opens_the_gate_from_one_network_namespace_to_another(
        self, school, table, tmp_path, phone, token
    ):
        """Each namespace has nothing but a loopback that is down."""
        for prefix in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
            look = [*prefix, "sh", "-c", "readlink /proc/self/ns/net; cat /proc/net/dev"]
            seen = [
                subprocess.run(look, check=False, capture_output=True, text=True) for _ in range(2)
            ]
            if seen[0].returncode == 0:
                break
        else:
            pytest.skip("NOT TESTED: this machine lets nobody make a network namespace")
        names = {result.stdout.splitlines()[0] for result in seen}
        own = str(Path("/proc/self/ns/net").readlink())
        assert len({*names, own}) == 3
        assert [line.split(":")[0].strip() for line in seen[0].stdout.splitlines()[3:]] == ["lo"]
        for name in ("phone", "gate"):
            (tmp_path / name).mkdir()
        phones = Table(school, tmp_path / "phone", prefix)
        gates = Table(school, tmp_path / "gate", prefix)
        table.running = gates.running
        assert serve_a_phone(gates, phones, phone, token) == ("allow", None)

    def test_a_signed_code_opens_the_gate(self, school, table, token):
        assert table.gate(token).verdict(school.card(now())) == ("allow", None)

    def test_syncing_fails_and_loses_nothing(self, table, phone, token):
        gate = table.gate(token)
        gate.ask(phone.shows(now()))
        gate.end()
        (table.path / "token").write_text("secret")
        tried = table.run(
            *("-m", "qr", "sync", "--store", "scanner.db", "--roots", "roots.json"),
            *("--issuer", table.school.name, "--server", "http://127.0.0.1:9", "--token", "token"),
        )
        assert tried.returncode == 1
        assert "this process has no network" in tried.stderr
        assert len(table.queue()) == 1


class TestGate:
    def test_refuses_a_code_that_was_shown_before(self, table, phone, token):
        gate, text = table.gate(token), phone.shows(now())
        assert gate.verdict(text) == ("allow", None)
        assert gate.verdict(text) == ("deny", "code-spent")

    def test_refuses_the_copy_of_an_older_code(self, table, phone, token):
        gate, at = table.gate(token), now()
        copied = phone.shows(at - 5 * SECOND)
        assert gate.verdict(phone.shows(at)) == ("allow", None)
        assert gate.verdict(copied) == ("deny", "code-spent")

    def test_refuses_a_revoked_delegation(self, school, table):
        known = {"revoked": RevocationList.of([2], first=0)}
        gate = table.gate(school.gate_bundle(issued_at=now(), known=known))
        until = {"expires_at": now() + HOUR}
        assert gate.verdict(school.phone(2, **until).shows(now())) == ("deny", "code-revoked")
        assert gate.verdict(school.phone(3, **until).shows(now())) == ("allow", None)

    def test_refuses_post_dated_proofs(self, table, phone, token):
        """By some seconds more than the 16 of the scenes: time goes on while this is tried."""
        gate = table.gate(token)
        gate.ask("warm up")
        assert gate.verdict(phone.shows(now() + 30 * SECOND)) == ("deny", "code-not-yet-valid")
        assert gate.verdict(phone.shows(now() + HOUR)) == ("deny", "code-not-yet-valid")
        assert gate.verdict(phone.shows(now() + 10 * SECOND)) == ("allow", None)

    def test_refuses_every_forgery_of_the_vectors(self, school, table, vectors):
        """Among them certificates of the device's own, swapped ones, weak keys, text variants."""
        known = {"keys": read_jwks(vectors["jwks"])}
        gate = table.gate(school.gate_bundle(issued_at=now(), known=known), "--direction", "in")
        timeless = {"code-malformed", "code-forged", "code-unknown-key"}
        tried = Counter()
        for kind in ("signed", "device"):
            for vector in vectors["invalid"][kind]:
                text = vector["text"]
                if vector["code"] not in timeless or not text or set(text) & set("\r\n"):
                    continue
                expected = vector["code"]
                if qr.is_short_code(text):
                    expected = "code-online-only"
                assert gate.verdict(text) == ("deny", expected), vector["name"]
                tried[expected] += 1
        assert tried["code-forged"] > 60
        assert tried["code-malformed"] > 30
        names = " ".join(vector["name"] for vector in vectors["invalid"]["device"])
        for said in ("signed by the device itself", "lower caps", "weak device key", "full-width"):
            assert said in names

    def test_takes_no_line_break_within_a_code(self, table, phone, token):
        gate, text = table.gate(token), phone.shows(now())
        gate.send(text[:200] + "\r\n" + text[200:])
        assert [gate.answer()["reason"] for _ in range(2)] == ["code-malformed"] * 2
        assert gate.verdict(text[:200] + "\r" + text[200:]) == ("deny", "code-malformed")
        assert gate.verdict(text + "\r") == ("allow", None)

    def test_survives_whatever_a_reader_types(self, table, phone, token):
        gate = table.gate(token)
        for raw in (b"\xff\xfe", b"\x00", "学生证".encode("gb18030"), b"in " + b"9" * 600):
            assert gate.verdict(raw) == ("deny", "code-malformed")
        assert gate.ask(b"sideways 962")["error"] == "not a line that this scanner understands"
        assert gate.verdict(phone.shows(now())) == ("allow", None)

    def test_answers_an_endless_line_once(self, table, phone, token):
        gate = table.gate(token)
        smuggled = b"9" * 511 + b" " + phone.shows(now()).encode()
        gate.send(b"9" * 1_000_000, b"1" * 512 + b"out " + smuggled, phone.shows(now()))
        answers = [gate.answer() for _ in range(3)]
        assert [answer.get("decision") for answer in answers[::2]] == ["deny", "allow"]
        assert "decision" not in answers[1] or answers[1]["decision"] == "deny"

    def test_lets_no_code_choose_its_way_where_the_way_is_fixed(self, school, table, phone):
        rules = replace(PLAIN_GATE, passback=timedelta(minutes=10))
        token = school.gate_bundle(rules=rules, issued_at=now())
        gate = table.gate(token, "--direction", "in")
        assert gate.verdict(phone.shows(now(), sequence=0)) == ("allow", None)
        assert gate.verdict("out " + phone.shows(now(), sequence=1)) == ("deny", "code-malformed")
        assert gate.verdict(phone.shows(now(), sequence=2)) == ("deny", "passback")
        gate.end()
        gate = table.gate(token)
        assert gate.verdict("out " + phone.shows(now(), sequence=3)) == ("allow", None)

    def test_lets_everybody_flee_when_the_fire_signal_is_on(self, table, phone, token):
        gate = table.gate(token, "--emergency")
        for shown in (b"out hello", b"out \xff\xff", b"out " + phone.shows(now()).encode()):
            assert gate.ask(shown)["decision"] == "allow"
        assert gate.verdict("in hello") == ("deny", "code-malformed")


class TestBundleFile:
    def test_beyond_its_limit_opens_nothing(self, school, table, phone):
        gate = table.gate(school.gate_bundle(issued_at=now() - 73 * HOUR))
        assert gate.verdict(phone.shows(now())) == ("deny", "bundle-expired")
        table.put(school.gate_bundle(issued_at=now(), sequence=2))
        assert gate.verdict(phone.shows(now())) == ("allow", None)

    def test_of_yesterday_opens_for_those_alone_whom_it_names(self, school, table, phone):
        gate = table.gate(school.gate_bundle(issued_at=now() - 25 * HOUR))
        assert gate.verdict(phone.shows(now())) == ("deny", "bundle-stale")

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"sequence": 4}, "bundle-outdated"),
            ({"sequence": 6, "terminal": "gate-2"}, "bundle-foreign"),
            ({"sequence": 6, "base": 3}, "bundle-base-missing"),
            ({"sequence": 6, "private_key": "code key", "key_id": 7}, "bundle-forged"),
            ({"sequence": 6, "private_key": "code key"}, "bundle-forged"),
            ({"sequence": "6"}, "bundle-malformed"),
            (None, "bundle-forged"),
        ],
    )
    def test_that_cannot_be_used_changes_nothing(self, school, table, phone, changed, reason):
        """The gate says so and goes on with the one it has: here, with one that is closed."""
        closed = replace(PLAIN_GATE, offline=OfflinePolicy.CLOSED)
        gate = table.gate(school.gate_bundle(rules=closed, issued_at=now(), sequence=5))
        assert gate.verdict(phone.shows(now())) == ("deny", "offline-closed")
        if changed is None:
            table.put("half a bundl")
        else:
            if "private_key" in changed:
                changed = changed | {"private_key": school.private_key}
            table.put(school.gate_bundle(issued_at=now(), **changed))
        assert gate.verdict(phone.shows(now())) == ("deny", "offline-closed")
        table.put(school.gate_bundle(issued_at=now(), sequence=7))
        assert gate.verdict(phone.shows(now())) == ("allow", None)
        assert gate.end() == f"bundle refused: {reason}\n"

    def test_that_cannot_be_used_leaves_a_new_gate_shut(self, school, table, phone):
        gate = table.gate(school.gate_bundle(issued_at=now(), private_key=school.private_key))
        assert gate.verdict(phone.shows(now())) == ("deny", "bundle-missing")
        assert gate.end() == "bundle refused: bundle-forged\n"

    def test_may_be_missing_for_a_moment(self, table, phone, token):
        gate = table.gate(token)
        assert gate.verdict(phone.shows(now(), sequence=0)) == ("allow", None)
        (table.path / "bundle.jwt").unlink()
        assert gate.verdict(phone.shows(now(), sequence=1)) == ("allow", None)
        table.put(token)
        assert gate.verdict(phone.shows(now(), sequence=2)) == ("allow", None)
        assert gate.end() == "no bundle read: No such file or directory\n"

    def test_put_back_after_a_restart_is_still_too_old(self, school, table, phone):
        older = school.gate_bundle(issued_at=now(), sequence=1)
        gate = table.gate(school.gate_bundle(issued_at=now(), sequence=2))
        assert gate.verdict(phone.shows(now(), sequence=0)) == ("allow", None)
        gate.end()
        gate = table.gate(older)
        assert gate.verdict(phone.shows(now(), sequence=1)) == ("allow", None)
        assert gate.end() == "bundle refused: bundle-outdated\n"

    def test_read_again_after_a_restart_is_no_news(self, table, phone, token):
        for sequence in range(2):
            gate = table.gate(token)
            assert gate.verdict(phone.shows(now(), sequence=sequence)) == ("allow", None)
            assert gate.end() == ""


class TestTill:
    def test_takes_what_the_caps_allow(self, table, phone, till_token):
        till = table.till(till_token)
        answers = [
            till.ask(f"{fen} {phone.shows(now(), sequence=number)}")
            for number, fen in enumerate((1_501, 1_500, 1_500, 1_500, 1))
        ]
        said = [(answer["decision"], answer["facts"].get("cap")) for answer in answers]
        assert said == [
            ("declined", "per_sale"),
            *[("approved", None)] * 3,
            ("declined", "per_card_count"),
        ]
        till.end()
        assert [item["state"] for item in table.queue()] == [answer[0] for answer in said]

    def test_honours_the_lower_caps_of_a_phone(self, school, table, till_token):
        low = school.phone(5, cap_yuan=2, cap_count=1, expires_at=now() + HOUR)
        none = school.phone(6, cap_yuan=0, cap_count=0, expires_at=now() + HOUR)
        till = table.till(till_token)
        assert till.ask(f"201 {low.shows(now(), sequence=0)}")["facts"]["limit_fen"] == 200
        assert till.verdict(f"200 {low.shows(now(), sequence=1)}") == ("approved", None)
        assert till.ask(f"1 {low.shows(now(), sequence=2)}")["facts"]["limit"] == 1
        assert till.verdict(f"1 {none.shows(now())}") == ("declined", "offline-cap-exceeded")

    def test_remembers_its_caps_through_a_power_cut(self, school, table, phone):
        token = school.till_bundle(rules=replace(PLAIN_TILL, terminal_fen=1_500), issued_at=now())
        till = table.till(token)
        assert till.verdict(f"1500 {phone.shows(now(), sequence=0)}") == ("approved", None)
        till.kill()
        again = table.till(token)
        assert again.ask(f"1 {phone.shows(now(), sequence=1)}")["facts"]["cap"] == "terminal"

    @pytest.mark.parametrize(
        "line", ["100", "0 {}", "-5 {}", "1_0 {}", "１００ {}", "1.5 {}", "{}", "{} 100"]
    )
    def test_understands_an_amount_and_a_code_only(self, table, phone, till_token, line):
        till = table.till(till_token)
        good = f"100 {phone.shows(now())}"
        assert "error" in till.ask(line.format(phone.shows(now())))
        assert till.verdict(good) == ("approved", None)

    def test_takes_no_money_on_yesterdays_word(self, school, table, phone):
        till = table.till(school.till_bundle(issued_at=now() - 25 * HOUR))
        assert till.verdict(f"1 {phone.shows(now())}") == ("declined", "bundle-stale")


class TestPowerCut:
    @pytest.mark.parametrize(
        ("seconds_back", "reason"), [(3_600, "clock-behind"), (10, "code-spent"), (0, "code-spent")]
    )
    def test_right_after_a_decision_does_not_give_the_code_back(
        self, table, phone, token, seconds_back, reason
    ):
        text = phone.shows(now())
        gate = table.gate(token)
        gate.send(text)
        assert gate.answer()["decision"] == "allow"
        assert gate.kill() == []
        again = table.gate(token, f"--clock-offset=-{seconds_back}")
        assert again.verdict(text) == ("deny", reason)

    def test_at_any_moment_loses_nothing_and_gives_nothing_twice(self, school, table, token):
        """Thirty times killed while it works, each time shown what it may have seen before."""
        chance = random.Random(20260921)
        told, shown, sent = [], [], 0
        table.put(token)
        for _ in range(KILLS):
            at = now()
            fresh = [school.card(at, alias=chance.randbytes(6)) for _ in range(25)]
            again = shown[-40:]
            gate = table.gate()
            lines = chance.sample(again + fresh, k=len(again + fresh))
            gate.send(*lines)
            shown += fresh
            sent += len(lines)
            told += [gate.answer() for _ in range(chance.randrange(1, len(lines) // 2))]
            time.sleep(chance.uniform(0, 0.01))
            told += gate.kill()
        queue = table.queue()
        by_sequence = {item["sequence"]: item for item in queue}
        assert [item["sequence"] for item in queue] == [*range(1, len(queue) + 1)]
        assert len({item["id"] for item in queue}) == len(queue)
        assert 3 * KILLS < len(told) < sent
        for answer in told:
            item = by_sequence[answer["sequence"]]
            assert (item["id"], item["decision"]) == (answer["id"], answer["decision"])
        allowed = Counter(item["code"] for item in queue if item["decision"] == "allow")
        assert set(allowed.values()) == {1}
        assert {item["reason"] for item in queue} == {None, "code-spent"}


class TestPhone:
    def test_makes_its_key_once(self, table):
        made = table.run("-m", "qr", "phone-key", "phone.key")
        assert made.returncode == 0, made.stderr
        public = bytes.fromhex(made.stdout.strip())
        seed = (table.path / "phone.key").read_bytes()
        assert Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() == public
        assert (table.path / "phone.key").stat().st_mode & 0o777 == 0o600
        again = table.run("-m", "qr", "phone-key", "phone.key")
        assert (again.returncode, again.stdout) == (1, "")
        assert (table.path / "phone.key").read_bytes() == seed

    def test_says_which_code_it_shows(self, table, phone):
        (table.path / "phone.key").write_bytes(phone.private_key.private_bytes_raw())
        shown = table.run(
            *("-m", "qr", "phone", "phone.key", qr.jose.b64url(phone.delegation)),
            *("--scope", "pay,gate", "--sequence", "7", "--at", "2026-09-21T12:00:00+08:00"),
        )
        seen = table.run("-m", "qr", "inspect", shown.stdout.strip()).stdout
        assert "type D: NOT CHECKED" in seen
        for line in (
            "serial      1",
            "scope       pay gate",
            "issued at   2026-09-21T04:00:00Z",
            "sequence    7",
            "offline     3 sales of 15 yuan a day",
        ):
            assert line in seen.splitlines()

    def test_gets_no_delegation_for_a_weak_key(self, table, tmp_path):
        table.run("-m", "qr", "keygen", "ring.json")
        for key in ("00" * 32, "hello", "01" + "00" * 31, "ab"):
            refused = table.run(
                *("-m", "qr", "delegate", "ring.json", key, "--issuer", table.school.name)
            )
            assert refused.returncode in (1, 2)
            assert refused.stdout == ""


class TestBundleCommand:
    @pytest.fixture
    def rings(self, table):
        for name in ("root.json", "ring.json"):
            assert table.run("-m", "qr", "keygen", name).returncode == 0
        return ("root.json", "ring.json", "--issuer", table.school.name)

    def test_refuses_rules_that_no_scanner_can_follow(self, table, rings):
        rules = {"gate": {"scope": 2}, "members": []}
        (table.path / "rules.json").write_text(json.dumps(rules))
        made = table.run("-m", "qr", "bundle", *rings, "--kind=gate", "--rules", "rules.json")
        assert (made.returncode, made.stdout) == (1, "refused: bundle-malformed\n")

    def test_signs_rules_written_by_hand(self, table, rings):
        rules = {"till": PLAIN_TILL_SPELLED | {"per_sale_fen": 200}}
        (table.path / "rules.json").write_text(json.dumps(rules))
        made = table.run("-m", "qr", "bundle", *rings, "--kind=till", "--rules", "rules.json")
        assert made.returncode == 0, made.stdout + made.stderr
        assert made.stdout.count(".") == 2


PLAIN_TILL_SPELLED = {
    "offline": True,
    "per_sale_fen": 1_500,
    "per_card_count": 3,
    "per_card_fen": 4_500,
    "terminal_fen": 50_000,
}


class TestStoreFile:
    def test_of_another_terminal_is_refused(self, table, phone, token):
        gate = table.gate(token)
        gate.ask(phone.shows(now()))
        gate.end()
        other = table.run(
            *("-m", "qr", "gate", "--store", "scanner.db", "--roots", "roots.json"),
            *("--issuer", table.school.name, "--terminal", "gate-2"),
            stdin=phone.shows(now()),
        )
        assert (other.returncode, other.stdout) == (1, "refused: bundle-foreign\n")

    def test_that_is_none_is_named(self, table):
        (table.path / "scanner.db").write_text("no database " * 1_000)
        tried = table.run("-m", "qr", "queue", "--store", "scanner.db")
        assert tried.returncode == 1
        assert tried.stderr == "error: file is not a database\n"
