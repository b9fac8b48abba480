"""Phone, gate and till as processes that need no network: commands of `python -m qr`.

With them a technician sees on a kitchen table what works while the server is away: a delegation, a
bundle, a phone that shows device codes, a scanner that decides.  None of them opens a socket, but
`sync`, which brings a scanner and its server together again.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qr.arguments import moment, scope
from qr.bundle import (
    BundleError,
    BundleOutdated,
    RevocationList,
    bundle_content,
    read_bundle,
    sign_bundle,
)
from qr.codes import Scope
from qr.device import make_device_code
from qr.jose import b64url, from_b64url
from qr.jwks import read_jwks
from qr.keys import KeyRing
from qr.rules import Access, GateRules, Hours, OfflinePolicy, TillRules
from qr.scanner import Decision, Scanner
from qr.store import ScannerStore
from qr.sync import Credential, Server, bearer, signed_by, synchronise
from qr.verifier import EARLY, LATE

LONGEST_LINE = 512
LONGEST_AMOUNT = 9
ALWAYS = Hours(frozenset(range(1, 8)), 0, 24 * 60)
PLAIN_GATE = GateRules(
    scope=Scope.GATE,
    offline=OfflinePolicy.SIGNED,
    passback=timedelta(),
    emergency=False,
    classes=(Access((ALWAYS,)),),
    default=0,
)
"""Opens for every good code, day and night."""
PLAIN_TILL = TillRules(
    offline=True, per_sale_fen=1_500, per_card_count=3, per_card_fen=4_500, terminal_fen=50_000
)


def _phone_key(options: argparse.Namespace) -> int:
    key = Ed25519PrivateKey.generate()
    descriptor = os.open(options.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes_raw())
    print(key.public_key().public_bytes_raw().hex())  # in base64 it might look like an option
    return 0


def _delegate(options: argparse.Namespace) -> int:
    now = options.at or datetime.now(UTC)
    issuer = KeyRing.load(options.ring).issuer(options.issuer, now=now)
    delegation = issuer.delegate(
        options.public_key,
        serial=options.serial,
        scope=options.scope,
        expires_at=now + timedelta(hours=options.hours),
        cap_yuan=options.cap_yuan,
        cap_count=options.cap_count,
    )
    print(b64url(delegation))
    return 0


def _phone(options: argparse.Namespace) -> int:
    code = make_device_code(
        Ed25519PrivateKey.from_private_bytes(options.key.read_bytes()),
        from_b64url(options.delegation),
        scope=options.scope,
        issued_at=options.at or datetime.now(UTC),
        sequence=options.sequence,
    )
    print(code)
    return 0


def _bundle(options: argparse.Namespace) -> int:
    now = options.at or datetime.now(UTC)
    root = KeyRing.load(options.root).current(now)
    plain: dict[str, Any] = {"gate": PLAIN_GATE} if options.kind == "gate" else {"till": PLAIN_TILL}
    content = bundle_content(
        keys=KeyRing.load(options.ring).public_keys(now),
        revoked=RevocationList.of(options.revoked, first=0),
        stopped=options.stopped,
        early=EARLY,
        late=LATE,
        utc_offset=timedelta(hours=8),
        **plain,
    )
    if options.rules:
        content |= json.loads(options.rules.read_text("utf-8"))
    token = sign_bundle(
        content,
        private_key=root.private_key,
        key_id=root.key_id,
        issuer=options.issuer,
        terminal=options.terminal,
        sequence=options.sequence,
        issued_at=now,
        expires_at=now + timedelta(hours=options.hours),
        fresh_until=now + timedelta(hours=options.fresh_hours),
    )
    roots = {root.key_id: root.private_key.public_key()}
    read_bundle(token, roots=roots, issuer=options.issuer)  # the rules were written by hand
    print(token)
    return 0


def _gate(options: argparse.Namespace) -> int:
    def decide(scanner: Scanner, line: str, now: datetime) -> Decision:
        direction, text = options.direction, line
        if direction is None:  # where it is fixed, nobody's code may choose its way
            said, _, text = line.rpartition(" ")
            direction = said or "in"
        if direction not in ("in", "out"):
            raise ValueError(direction)
        return scanner.decide_passage(
            text, direction=direction, now=now, emergency=options.emergency
        )

    return _serve(options, decide, words=("deny", "allow"))


def _till(options: argparse.Namespace) -> int:
    def decide(scanner: Scanner, line: str, now: datetime) -> Decision:
        amount, _, text = line.partition(" ")
        if not (text and amount.isascii() and amount.isdigit() and len(amount) <= LONGEST_AMOUNT):
            raise ValueError(line)
        return scanner.decide_charge(text, amount_fen=int(amount), now=now)

    return _serve(options, decide, words=("declined", "approved"))


def _serve(
    options: argparse.Namespace,
    decide: Callable[[Scanner, str, datetime], Decision],
    *,
    words: tuple[str, str],
) -> int:
    """Answer each line of standard input with one line of JSON, until it ends.

    A bundle that cannot be used is told on standard error; the one in use stays.
    """
    store = ScannerStore(options.store)
    scanner = _scanner(options, store)
    ahead = timedelta(seconds=options.clock_offset)
    found = None
    for line in _lines():
        if options.bundle:
            before, found = found, _found(options.bundle)
            if found not in (before, None):
                _learn(scanner, found)
        try:
            decision = decide(scanner, line, datetime.now(UTC) + ahead)
        except ValueError:
            answer: dict[str, Any] = {"error": "not a line that this scanner understands"}
        else:
            answer = {
                "decision": words[decision.accepted],
                "reason": decision.reason,
                "facts": dict(decision.facts),
                "id": str(decision.id),
                "sequence": decision.sequence,
            }
        print(json.dumps(answer), flush=True)
    store.close()
    return 0


def _lines() -> Iterator[str]:
    """Yield what stands before each Enter, cut to a bounded length and whatever its bytes."""
    while line := sys.stdin.buffer.readline(LONGEST_LINE):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = sys.stdin.buffer.readline(LONGEST_LINE)
        if line.strip():
            yield line.decode("ascii", "replace").rstrip("\r\n")


def _found(path: Path) -> str | None:
    """Return the bundle in a file, which may be missing or half written just now."""
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError as error:
        print(f"no bundle read: {error.strerror}", file=sys.stderr, flush=True)
        return None


def _learn(scanner: Scanner, token: str) -> None:
    try:
        scanner.learn(token)
    except BundleOutdated as error:
        if scanner.bundle and _sequence(token) < scanner.bundle.sequence:
            print(f"bundle refused: {error.code}", file=sys.stderr, flush=True)
    except BundleError as error:
        print(f"bundle refused: {error.code}", file=sys.stderr, flush=True)


def _sequence(token: str) -> int:
    return int(json.loads(from_b64url(token.split(".")[1]))["seq"])


def _scanner(options: argparse.Namespace, store: ScannerStore) -> Scanner:
    return Scanner(
        store,
        roots=read_jwks(json.loads(options.roots.read_text("utf-8"))),
        issuer=options.issuer,
        terminal=options.terminal,
    )


def _sync(options: argparse.Namespace) -> int:
    store = ScannerStore(options.store)
    done = synchronise(
        _scanner(options, store), store, Server(options.server, _credential(options)), now=_now
    )
    store.close()
    print(f"bundle {done.bundle_sequence}, {done.uploaded} told, {done.waiting} waiting")
    return 0 if done.waiting == 0 else 1


def _credential(options: argparse.Namespace) -> Credential:
    if options.token:
        return bearer(options.token.read_text("ascii").strip())
    return signed_by(Ed25519PrivateKey.from_private_bytes(options.key.read_bytes()), now=_now)


def _now() -> datetime:
    return datetime.now(UTC)


def _queue(options: argparse.Namespace) -> int:
    store = ScannerStore(options.store)
    for item in store.waiting(most=store.queue_length):
        print(json.dumps(item, ensure_ascii=False))
    store.close()
    return 0


def add_commands(commands: Any) -> None:
    """Add these commands to the parser of `python -m qr`."""

    def add(name: str, run: Callable[[argparse.Namespace], int], said: str) -> Any:
        command = commands.add_parser(name, help=said, description=said[0].upper() + said[1:] + ".")
        command.set_defaults(run=run)
        return command

    _add_phone(add)
    _add_bundle(add("bundle", _bundle, "sign a bundle for a scanner, as the server does"))
    for name, run, said in (
        ("gate", _gate, "decide passages: each line a code, or a direction and a code"),
        ("till", _till, "decide charges: each line an amount in fen and a code"),
        ("sync", _sync, "tell the server what was decided and fetch its bundle"),
        ("queue", _queue, "print what the server was not told yet"),
    ):
        _add_scanner(add(name, run, said), name)


def _add_phone(add: Callable[..., Any]) -> None:
    command = add("phone-key", _phone_key, "make a phone's key and print its public half")
    command.add_argument("key", type=Path, metavar="FILE", help="where to; must not exist")

    command = add("delegate", _delegate, "let a phone's key stand for a card, as the server does")
    command.add_argument("ring", type=Path, metavar="RING", help="the school's key ring")
    command.add_argument(
        "public_key", type=bytes.fromhex, metavar="PUBLIC_KEY", help="what phone-key printed"
    )
    _add_issuer(command)
    command.add_argument("--serial", type=int, default=1)
    command.add_argument("--scope", type=scope, default=scope("pay,gate,door"), metavar="USES")
    command.add_argument("--hours", type=float, default=72)
    command.add_argument("--cap-yuan", type=int, default=15)
    command.add_argument("--cap-count", type=int, default=3)
    _add_at(command)

    command = add("phone", _phone, "show a device code, as a phone without network does")
    command.add_argument("key", type=Path, metavar="FILE", help="the phone's key")
    command.add_argument("delegation", metavar="DELEGATION", help="what delegate printed")
    command.add_argument("--scope", type=scope, required=True, metavar="USE")
    command.add_argument("--sequence", type=int, default=0)
    _add_at(command)


def _add_bundle(command: Any) -> None:
    command.add_argument("root", type=Path, metavar="ROOT", help="key ring of the root key")
    command.add_argument("ring", type=Path, metavar="RING", help="the school's key ring")
    _add_issuer(command)
    command.add_argument("--kind", choices=("gate", "till"), required=True)
    command.add_argument("--terminal", default="table", metavar="ID")
    command.add_argument("--sequence", type=int, default=1)
    command.add_argument("--revoked", type=int, nargs="*", default=[], metavar="SERIAL")
    command.add_argument("--stopped", type=bytes.fromhex, nargs="*", default=[], metavar="ALIAS")
    command.add_argument(
        "--rules",
        type=Path,
        metavar="FILE",
        help="JSON with the sections gate and members, or till",
    )
    command.add_argument("--fresh-hours", type=float, default=24)
    command.add_argument("--hours", type=float, default=72)
    _add_at(command)


def _add_scanner(command: Any, name: str) -> None:
    command.add_argument("--store", type=Path, required=True, metavar="FILE")
    if name == "queue":
        return
    command.add_argument(
        "--roots", type=Path, required=True, metavar="FILE", help="key set of the root key"
    )
    _add_issuer(command)
    command.add_argument("--terminal", metavar="ID", help="refuse bundles for any other one")
    if name == "sync":
        command.add_argument("--server", required=True, metavar="URL")
        credential = command.add_mutually_exclusive_group(required=True)
        credential.add_argument("--token", type=Path, metavar="FILE", help="the terminal's token")
        credential.add_argument("--key", type=Path, metavar="FILE", help="or its device key")
        return
    command.add_argument("--bundle", type=Path, metavar="FILE", help="read again when changed")
    command.add_argument(
        "--clock-offset",
        type=float,
        default=0,
        metavar="SECONDS",
        help="pretend that this device's clock is wrong",
    )
    if name == "gate":
        command.add_argument(
            "--direction",
            choices=("in", "out"),
            help="all go this way; unless given, a line may begin with out, and else it is in",
        )
        command.add_argument(
            "--emergency", action="store_true", help="the fire signal is on: everybody may leave"
        )


def _add_issuer(command: Any) -> None:
    command.add_argument("--issuer", required=True, metavar="NAME", help="the school")


def _add_at(command: Any) -> None:
    command.add_argument("--at", type=moment, metavar="TIME", help="now unless given")
