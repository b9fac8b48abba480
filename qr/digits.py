"""Bytes as decimal digits and back: the spelling that every scanner, form and IME lets through.

Each kind of code has one prefix and one length, and each sequence of bytes has one spelling.
"""

from functools import cache

from qr.codes import CodeMalformed


def write_digits(raw: bytes, *, prefix: str) -> str:
    """Return `prefix` and the big-endian number that `raw` spells, padded with zeros."""
    return prefix + str(int.from_bytes(raw, "big")).zfill(_width(len(raw)))


def read_digits(text: str, *, prefix: str, size: int) -> bytes:
    """Return the `size` bytes that `text` spells after `prefix`.

    Raises:
        CodeMalformed: the type, the length, a character, the prefix or the range is wrong.
    """
    # In this order, so that a megabyte of input costs as little as an empty one. isascii, because
    # isdigit alone admits full-width (０-９), Arabic and other digits, which int() would then read.
    if (
        not isinstance(text, str)
        or len(text) != len(prefix) + _width(size)
        or not text.isascii()
        or not text.isdigit()
        or not text.startswith(prefix)
    ):
        raise CodeMalformed
    number = int(text[len(prefix) :])
    if number >= 256**size:
        raise CodeMalformed
    return number.to_bytes(size, "big")


@cache
def _width(size: int) -> int:
    return len(str(256**size - 1))
