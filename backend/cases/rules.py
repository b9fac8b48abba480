"""Which rulings a review allows.  Pure."""

from collections.abc import Collection

from backend.cases.models import Ruling
from backend.uploads.rules import NOT_THE_HOLDERS, Conflict


def possible_rulings(
    *, recorded: bool, holder_known: bool, conflicts: Collection[str]
) -> tuple[Ruling, ...]:
    """Return what a person may decide.

    What is recorded or posted is only taken note of: a till or a case can give money back.  What
    was lost or revoked by then is never the holder's to bear (L4).

    >>> [r.value for r in possible_rulings(recorded=False, holder_known=True, conflicts=["clock"])]
    ['charge_holder', 'charge_risk', 'reject']
    """
    if recorded:
        return (Ruling.ACCEPT,)
    if Conflict.AMOUNT_OUT_OF_BOUNDS in conflicts:
        return (Ruling.REJECT,)
    if not holder_known or NOT_THE_HOLDERS & {*conflicts}:
        return (Ruling.CHARGE_RISK, Ruling.REJECT)
    return (Ruling.CHARGE_HOLDER, Ruling.CHARGE_RISK, Ruling.REJECT)
