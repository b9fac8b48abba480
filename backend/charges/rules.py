"""What a charge costs, and what comes back of it.  Pure."""

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
