"""Names for things: time-ordered ids, and short references that people can read out."""

import hashlib
import re
import secrets
import time
from uuid import UUID

REFERENCE_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # read aloud, typed by hand: no 0 O 1 I L U


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, 12 of a fraction, 62 random.

    The fraction (§6.2, method 3) makes the ids of one transaction sort as they were made: its
    quarter of a microsecond is less than one call takes.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = (nanoseconds << 12) // 1_000_000
    return UUID(
        int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | secrets.randbits(62)
    )


_OWN_NUMBER = re.compile(r"[0-9a-f]{32}", re.ASCII)


def is_own_number(text: str) -> bool:
    """Say whether a number is written as we write an id to a channel: 32 lower-case hex digits.

    `UUID` would read capitals, dashes and `{urn:uuid:…}` too.
    """
    return _OWN_NUMBER.fullmatch(text) is not None


def new_reference() -> str:
    """Return eight random letters that name one answer on the screen and in the log."""
    return "".join(secrets.choice(REFERENCE_LETTERS) for _ in range(8))


def content_hash(*content: object) -> bytes:
    """Return what tells a retry from a reused id, without keeping the content."""
    return hashlib.sha256(repr(content).encode()).digest()
