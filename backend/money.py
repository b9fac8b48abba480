"""Money: whole fen, and the few ways in which it may be divided."""

from typing import NewType

Fen = NewType("Fen", int)
"""An amount in fen (分), a hundredth of a yuan.  Never a float, never yuan."""


def yuan_text(amount_fen: int) -> str:
    """Return an amount as people read it, for screens and messages only.

    >>> yuan_text(1250)
    '12.50'
    >>> yuan_text(-5)
    '-0.05'
    """
    sign, whole = ("-" if amount_fen < 0 else ""), abs(amount_fen)
    return f"{sign}{whole // 100}.{whole % 100:02d}"


def share_half_up(amount_fen: Fen, *, part: int, whole: int) -> Fen:
    """Return `part/whole` of an amount, rounded half up to a whole fen.

    >>> share_half_up(Fen(850), part=50, whole=1000)
    43
    """
    return Fen((2 * amount_fen * part + whole) // (2 * whole))
