"""Exact yuan text ↔ whole fen: Alipay writes money so, and so do the bills of both platforms."""

import re

_YUAN = re.compile(r"(0|[1-9][0-9]{0,9})(?:\.([0-9]{1,2}))?", re.ASCII)
_BILLED = re.compile(r"(-?)([0-9]+(?:\.[0-9]{1,2})?)", re.ASCII)
_PAST_FEN = re.compile(r"(?<=\.[0-9]{2})0{1,3}\Z", re.ASCII)


def fen_from_yuan(text: str) -> int:
    """Read yuan such as `12`, `12.3` or `12.34`, without rounding.

    >>> fen_from_yuan("19.9")
    1990

    Raises:
        ValueError: anything else: a sign, an exponent, a third decimal, blanks, other digits.
    """
    match = _YUAN.fullmatch(text)
    if match is None:
        raise ValueError("not an amount in yuan")
    yuan, decimals = match.groups(default="")
    return int(yuan) * 100 + int(decimals.ljust(2, "0"))


def fen_from_billed_yuan(text: str) -> int:
    """Read yuan as bills write them: below zero too, and with up to five decimals.

    >>> fen_from_billed_yuan("-7.79000")
    -779

    Raises:
        ValueError: anything else: a part of a fen, an exponent, a plus, blanks, other digits.
    """
    match = _BILLED.fullmatch(_PAST_FEN.sub("", text))
    if match is None:
        raise ValueError("not an amount of a bill")
    sign, yuan = match.groups()
    return -fen_from_yuan(yuan) if sign else fen_from_yuan(yuan)


def yuan_from_fen(amount_fen: int) -> str:
    """Write fen as yuan with two decimals.

    >>> yuan_from_fen(1990)
    '19.90'

    Raises:
        ValueError: a negative amount.
    """
    if amount_fen < 0:
        raise ValueError("an amount in yuan is never negative")
    yuan, fen = divmod(amount_fen, 100)
    return f"{yuan}.{fen:02d}"
