"""What the commands of `python -m qr` are called with, and how they spell times and uses."""

import argparse
import sys
from datetime import datetime
from functools import reduce

from qr.codes import Scope

LONGEST_LINE = 512


def scope(text: str) -> Scope:
    """Return the uses in a text such as `pay` or `pay,gate`."""
    try:
        return reduce(Scope.__or__, (Scope[name.upper()] for name in text.split(",")))
    except KeyError:
        raise argparse.ArgumentTypeError(
            f"choose from {', '.join(name_of(use) for use in Scope)}"
        ) from None


def name_of(uses: Scope) -> str:
    """Return the names of uses, as people write them."""
    return " ".join(str(use.name).lower() for use in uses) or "(none)"


def moment(text: str) -> datetime:
    """Return the time that a text such as 2026-09-01T12:00:00Z says."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise argparse.ArgumentTypeError("write a time as in 2026-09-01T12:00:00Z")
    return at


def spell(at: datetime) -> str:
    """Return a time as people and programs write it."""
    return at.isoformat().replace("+00:00", "Z")


def add_text(command: argparse.ArgumentParser) -> None:
    """Let a command take one code."""
    command.add_argument(
        "text",
        nargs="?",
        metavar="CODE",
        help="the digits; one line of standard input unless given",
    )


def text_of(options: argparse.Namespace) -> str:
    """Return the code that a command was called with, or that a scanner types.

    One code and the Enter that a keyboard-wedge scanner types after it; no more is ever read.
    """
    if options.text is not None:
        return str(options.text)
    return sys.stdin.readline(LONGEST_LINE).rstrip("\r\n")
