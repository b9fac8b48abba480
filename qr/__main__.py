"""Card codes on a kitchen table: `python -m qr`, for the technician at the scanner."""

import argparse
import json
import sqlite3
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from qr import alone
from qr.arguments import add_text, moment, name_of, scope, spell, text_of
from qr.bundle import BundleError
from qr.codes import CardCode, CodeError, DeviceCode
from qr.device import is_device_text, read_device
from qr.jwks import read_jwks
from qr.keys import KeyRing, KeyRingError
from qr.short import is_short_code
from qr.signed import read_signed, rebuild_jwt
from qr.vectors import check_vectors
from qr.verifier import Verifier


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 good, 1 refused or failed, 2 called wrongly."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except CodeError as error:
        print(f"refused: {error.code}: {error}")
    except BundleError as error:
        print(f"refused: {error.code}")
    except (KeyRingError, OSError, ValueError, sqlite3.Error) as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


def _verify(options: argparse.Namespace) -> int:
    keys = read_jwks(json.loads(options.keys.read_text("utf-8")))
    verifier = Verifier(keys, issuer=options.issuer)
    code = verifier.verify(
        text_of(options), need=options.scope, now=options.at or datetime.now(UTC)
    )
    print("accepted")
    _print_fields(code)
    return 0


def _inspect(options: argparse.Namespace) -> int:
    text = text_of(options)
    if is_short_code(text):
        print("a short code, type N: only the server knows whose")
        return 0
    if is_device_text(text):
        made, _, _ = read_device(text)
        print("a device code, type D: NOT CHECKED")
        _print_fields(made)
        return 0
    code, _ = read_signed(text)
    print("a signed code, type S: NOT CHECKED")
    _print_fields(code)
    if options.issuer:
        print(f"jwt         {rebuild_jwt(text, issuer=options.issuer)}")
    return 0


def _keygen(options: argparse.Namespace) -> int:
    ring = KeyRing.create(options.ring, now=datetime.now(UTC), key_id=options.key_id)
    print(
        f"wrote {options.ring} with key q{ring.current(datetime.now(UTC)).key_id}: keep it secret"
    )
    return 0


def _jwks(options: argparse.Namespace) -> int:
    print(json.dumps(KeyRing.load(options.ring).jwks(datetime.now(UTC)), indent=2))
    return 0


def _check_vectors(options: argparse.Namespace) -> int:
    faults = list(check_vectors(json.loads(options.file.read_text("utf-8"))))
    failed = [(name, fault) for name, fault in faults if fault]
    for name, fault in failed:
        print(f"{name}: {fault}")
    print(f"{len(faults) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not faults else 0


def _print_fields(code: CardCode) -> None:
    if isinstance(code, DeviceCode):
        delegation = code.delegation
        print(f"serial      {delegation.serial}")
        print(f"public key  {delegation.public_key.hex()}")
        print(f"until       {spell(delegation.expires_at)}")
        print(f"offline     {delegation.cap_count} sales of {delegation.cap_yuan} yuan a day")
    else:
        print(f"alias       {code.alias.hex()}")
    print(f"scope       {name_of(code.scope)}")
    print(f"key         q{code.key_id}")
    print(f"issued at   {spell(code.issued_at)}")
    print(f"expires at  {spell(code.expires_at)}")
    if isinstance(code, DeviceCode):
        print(f"sequence    {code.sequence}")
    else:
        print(f"nonce       {code.nonce.hex()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m qr",
        description="Check and read card codes, make the keys that sign them, and run a phone, "
        "a gate or a till that has no network.",
        epilog="Exit code: 0 good, 1 refused or failed, 2 called wrongly.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    verify = commands.add_parser(
        "verify",
        help="say whether a code is good",
        description="Say whether a signed or device code is good, as far as the code itself can "
        "tell. Whether the card is lost or the code was used before, only the server knows.",
    )
    verify.add_argument(
        "--keys", required=True, type=Path, metavar="FILE", help="the school's published key set"
    )
    verify.add_argument(
        "--issuer", required=True, metavar="NAME", help="the school, as in ecard.example.edu.cn"
    )
    verify.add_argument(
        "--scope", required=True, type=scope, metavar="USE", help="pay, gate, door or service"
    )
    verify.add_argument(
        "--at", type=moment, metavar="TIME", help="the time of scanning; now unless given"
    )
    add_text(verify)
    verify.set_defaults(run=_verify)

    inspect = commands.add_parser(
        "inspect",
        help="show what a code says",
        description="Show what a code says, without checking that any of it is true.",
    )
    inspect.add_argument(
        "--issuer", metavar="NAME", help="also rebuild the JWT as signed by this school"
    )
    add_text(inspect)
    inspect.set_defaults(run=_inspect)

    keygen = commands.add_parser(
        "keygen",
        help="make a key ring",
        description="Make a key ring with one private key, in a file that only you may read.",
    )
    keygen.add_argument("ring", type=Path, metavar="FILE", help="where to; must not exist")
    keygen.add_argument(
        "--key-id", type=int, default=1, metavar="N", help="first key id, 0 to 255; 1 unless given"
    )
    keygen.set_defaults(run=_keygen)

    jwks = commands.add_parser(
        "jwks",
        help="print the public keys of a key ring",
        description="Print the public keys of a key ring, as the key set that scanners load.",
    )
    jwks.add_argument("ring", type=Path, metavar="FILE", help="the key ring")
    jwks.set_defaults(run=_jwks)

    vectors = commands.add_parser(
        "check-vectors",
        help="try this implementation on a file of good and bad codes",
        description="Try this implementation on a file of good and bad codes, and name each that "
        "it takes for something else.",
    )
    vectors.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=Path(__file__).with_name("vectors.json"),
        metavar="FILE",
        help="vectors.json of this package unless given",
    )
    vectors.set_defaults(run=_check_vectors)
    alone.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
