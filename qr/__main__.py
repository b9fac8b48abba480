"""Card codes on a kitchen table: `python -m qr`, for the technician at the scanner."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from qr.codes import CodeError, Scope, SignedCode
from qr.jwks import read_jwks
from qr.keys import KeyRing, KeyRingError
from qr.short import is_short_code
from qr.signed import read_signed, rebuild_jwt
from qr.verifier import Verifier


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 good, 1 refused or failed, 2 called wrongly."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except CodeError as error:
        print(f"refused: {error.code}: {error}")
    except (KeyRingError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


def _verify(options: argparse.Namespace) -> int:
    keys = read_jwks(json.loads(options.keys.read_text("utf-8")))
    verifier = Verifier(keys, issuer=options.issuer)
    code = verifier.verify(_text(options), need=options.scope, now=options.at or datetime.now(UTC))
    print("accepted")
    _print_fields(code)
    return 0


def _inspect(options: argparse.Namespace) -> int:
    text = _text(options)
    if is_short_code(text):
        print("a short code, type N: only the server knows whose")
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


def _print_fields(code: SignedCode) -> None:
    print(f"alias       {code.alias.hex()}")
    print(f"scope       {' '.join(_name(use) for use in code.scope) or '(none)'}")
    print(f"key         q{code.key_id}")
    print(f"issued at   {_spell(code.issued_at)}")
    print(f"expires at  {_spell(code.expires_at)}")
    print(f"nonce       {code.nonce.hex()}")


def _name(use: Scope) -> str:
    return str(use.name).lower()


def _spell(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _text(options: argparse.Namespace) -> str:
    if options.text is not None:
        return str(options.text)
    # One code and the Enter that a keyboard-wedge scanner types after it; no more is ever read.
    return sys.stdin.readline(512).rstrip("\r\n")


def _scope(text: str) -> Scope:
    try:
        return Scope[text.upper()]
    except KeyError:
        raise argparse.ArgumentTypeError(
            f"choose from {', '.join(_name(use) for use in Scope)}"
        ) from None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise argparse.ArgumentTypeError("write a time as in 2026-09-01T12:00:00Z")
    return moment


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m qr",
        description="Check and read card codes, and make the keys that sign them.",
        epilog="Exit code: 0 good, 1 refused or failed, 2 called wrongly.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    verify = commands.add_parser(
        "verify",
        help="say whether a signed code is good",
        description="Say whether a signed code is good, as far as the code itself can tell. "
        "Whether the card is lost or the code was used before, only the server knows.",
    )
    verify.add_argument(
        "--keys", required=True, type=Path, metavar="FILE", help="the school's published key set"
    )
    verify.add_argument(
        "--issuer", required=True, metavar="NAME", help="the school, as in ecard.example.edu.cn"
    )
    verify.add_argument(
        "--scope", required=True, type=_scope, metavar="USE", help="pay, gate, door or service"
    )
    verify.add_argument(
        "--at", type=_moment, metavar="TIME", help="the time of scanning; now unless given"
    )
    _add_text(verify)
    verify.set_defaults(run=_verify)

    inspect = commands.add_parser(
        "inspect",
        help="show what a code says",
        description="Show what a code says, without checking that any of it is true.",
    )
    inspect.add_argument(
        "--issuer", metavar="NAME", help="also rebuild the JWT as signed by this school"
    )
    _add_text(inspect)
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
    return parser


def _add_text(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "text",
        nargs="?",
        metavar="CODE",
        help="the digits; one line of standard input unless given",
    )


if __name__ == "__main__":
    sys.exit(main())
