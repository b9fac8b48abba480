"""What a drawer should hold, and how a shift ends.  Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from backend.cash_desk.models import ShiftState as S
from backend.money import Fen

DENOMINATIONS_FEN = (10_000, 5_000, 2_000, 1_000, 500, 100, 50, 10)
"""Notes and coins (券别) from 100 yuan down to 1 jiao."""


class ShiftEvent(StrEnum):
    """What can happen to a shift."""

    CLOSE_OUT = "close_out"
    """The cashier counted the drawer, and it holds what it should or nearly."""
    HOLD = "hold"
    """The cashier counted the drawer, and it is off by more than a cashier answers for."""
    APPROVE = "approve"
    RECOUNT = "recount"


E = ShiftEvent

TRANSITIONS: dict[tuple[S, E], S] = {
    (S.OPEN, E.CLOSE_OUT): S.CLOSED,
    (S.OPEN, E.HOLD): S.CLOSING,
    (S.CLOSING, E.APPROVE): S.CLOSED,
    (S.CLOSING, E.RECOUNT): S.OPEN,
}
"""Every legal change of a shift."""


@dataclass(frozen=True, slots=True)
class Drawer:
    """What passed through a drawer (钱箱) in a shift."""

    opening_float_fen: Fen
    top_up_count: int
    top_ups_fen: Fen
    reversal_count: int
    reversals_fen: Fen

    @property
    def takings_fen(self) -> Fen:
        """What was taken and not given back."""
        return Fen(self.top_ups_fen - self.reversals_fen)

    @property
    def expected_fen(self) -> Fen:
        """What it should hold.

        >>> Drawer(Fen(20_000), 2, Fen(15_000), 1, Fen(5_000)).expected_fen
        30000
        """
        return Fen(self.opening_float_fen + self.takings_fen)


NOTHING = (0, Fen(0), 0, Fen(0))
"""What passed through a drawer before the first top-up."""


def handed_in(counted_fen: Fen, *, opening_float_fen: Fen) -> Fen:
    """Return what goes to the bank (交款): all but the float, which stays in the drawer.

    Negative where even the float is not whole: then the bank makes it whole.

    >>> handed_in(Fen(24_000), opening_float_fen=Fen(20_000))
    4000
    """
    return Fen(counted_fen - opening_float_fen)


def total_of(counts: Iterable[tuple[int, int]]) -> Fen:
    """Return what notes and coins are worth, from pairs of value in fen and how many there are.

    >>> total_of([(10_000, 3), (50, 5)])
    30250
    """
    return Fen(sum(value_fen * count for value_fen, count in counts))
