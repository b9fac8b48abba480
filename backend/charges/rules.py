"""What a charge costs, and what comes back of it.  Pure."""

from typing import NamedTuple

from backend.money import Fen, share_half_up


def meal_surcharge(price_fen: Fen, *, permille: int) -> Fen:
    """Return the meal surcharge (搭伙费) on a price, rounded half up to a whole fen.

    >>> meal_surcharge(Fen(850), permille=50)
    43
    >>> meal_surcharge(Fen(1), permille=100)
    0

    Source: regulation 三(七): a share of what is spent, on top of it.
    """
    return share_half_up(price_fen, part=permille, whole=1000)


class Shares(NamedTuple):
    """Who pays how much of one amount."""

    main_fen: Fen
    subsidy_fen: Fen
    owed_fen: Fen
    """What both purses lack (欠费)."""


def split_charge(
    *, price_fen: Fen, surcharge_fen: Fen, subsidy_fen: Fen, main_fen: Fen
) -> tuple[Shares, Shares]:
    """Return who pays the price and the surcharge: the subsidy first, on the price before all.

    What the two purses hold is all that they pay; the rest is owed.

    >>> price, surcharge = split_charge(
    ...     price_fen=Fen(1000), surcharge_fen=Fen(100), subsidy_fen=Fen(1050), main_fen=Fen(20)
    ... )
    >>> tuple(price), tuple(surcharge)
    ((0, 1000, 0), (20, 50, 30))
    """
    shares = []
    for due_fen in (price_fen, surcharge_fen):
        from_subsidy = Fen(min(subsidy_fen, due_fen))
        from_main = Fen(min(main_fen, due_fen - from_subsidy))
        subsidy_fen, main_fen = Fen(subsidy_fen - from_subsidy), Fen(main_fen - from_main)
        shares.append(Shares(from_main, from_subsidy, Fen(due_fen - from_subsidy - from_main)))
    price, surcharge = shares
    return price, surcharge


def surcharge_to_return(
    *, amount_fen: Fen, surcharge_fen: Fen, reversed_fen: Fen, surcharge_reversed_fen: Fen
) -> Fen:
    """Return the surcharge still to give back, once `reversed_fen` of the price were reversed.

    It follows the price in proportion, so that a whole reversal returns all of it, in however many
    parts, and never more.

    >>> surcharge_to_return(amount_fen=Fen(1000), surcharge_fen=Fen(101), reversed_fen=Fen(500),
    ...                     surcharge_reversed_fen=Fen(0))
    51
    >>> surcharge_to_return(amount_fen=Fen(1000), surcharge_fen=Fen(101), reversed_fen=Fen(1000),
    ...                     surcharge_reversed_fen=Fen(51))
    50
    """
    due = share_half_up(surcharge_fen, part=reversed_fen, whole=amount_fen)
    return Fen(due - surcharge_reversed_fen)


def surcharge_excess(
    *,
    amount_fen: Fen,
    surcharge_fen: Fen,
    reversed_fen: Fen,
    surcharge_reversed_fen: Fen,
    due_fen: Fen,
) -> int:
    """Return how much more surcharge a charge still bears than it should; negative: less.

    `due_fen` is what should have been taken on the whole price.  The part of the price that was
    reversed bears none.

    >>> surcharge_excess(amount_fen=Fen(1000), surcharge_fen=Fen(100), reversed_fen=Fen(500),
    ...                  surcharge_reversed_fen=Fen(50), due_fen=Fen(40))
    30
    """
    due_now = due_fen - share_half_up(due_fen, part=reversed_fen, whole=amount_fen)
    return surcharge_fen - surcharge_reversed_fen - due_now


def rerated_to_return(
    *, amount_fen: Fen, due_fen: Fen, reversed_before_fen: Fen, reversed_fen: Fen
) -> Fen:
    """Return the surcharge to give back with a reversal, once the excess of it went back before.

    >>> rerated_to_return(amount_fen=Fen(1000), due_fen=Fen(40), reversed_before_fen=Fen(500),
    ...                   reversed_fen=Fen(1000))
    20
    """
    before = share_half_up(due_fen, part=reversed_before_fen, whole=amount_fen)
    return Fen(share_half_up(due_fen, part=reversed_fen, whole=amount_fen) - before)


def split_return(
    *, total_fen: Fen, from_subsidy_fen: Fen, returned_before_fen: Fen, return_fen: Fen
) -> tuple[Fen, Fen]:
    """Return how much goes back to the main and to the subsidy purse.

    The subsidy was spent first, so the holder's own money comes back first.

    >>> split_return(total_fen=Fen(1000), from_subsidy_fen=Fen(400), returned_before_fen=Fen(500),
    ...              return_fen=Fen(300))
    (100, 200)
    """
    from_main_fen = total_fen - from_subsidy_fen
    to_main = min(return_fen, max(0, from_main_fen - returned_before_fen))
    return Fen(to_main), Fen(return_fen - to_main)
