"""What can go wrong on purpose."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

_LIMITS = {"delay_seconds": 3600, "hang_seconds": 60, "duplicate": 20}


class FaultRefused(Exception):
    """No such fault, or no such value for it."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults in force, until replaced.  All off is the default.

    Attributes:
        delay_seconds: notices leave so much later.
        drop: notices are lost for good.
        duplicate: so many further copies of each notice at once.
        reorder: notices are held for a second; those held together leave newest first.
        bad_signature: notices and answers carry a signature that does not fit.
        signtest: notices and answers of WeChat Pay carry the signature of its probes.
        stale: notices are dated an hour ago on WeChat, three days ago on Alipay.
        wrong_amount: notices and queries tell one fen more than was ordered.
        foreign_merchant, foreign_app: notices are meant for somebody else.
        answer_5xx: calls are not carried out and answered with 500.
        lose_answer: calls are carried out and answered with 500.
        hang_seconds: calls are carried out and answered so much later.
        close_race: the payer pays just before a close arrives.
        not_enough: the merchant's balance is too small for a refund.
        refund_abnormal: the payer's account takes no refund: WeChat Pay says so in the end, Alipay
            at once.
        refund_closed: refunds do not come about: WeChat Pay closes them in the end, Alipay refuses.
        refuse_login: every login code is refused.
    """

    delay_seconds: float = 0
    drop: bool = False
    duplicate: int = 0
    reorder: bool = False
    bad_signature: bool = False
    signtest: bool = False
    stale: bool = False
    wrong_amount: bool = False
    foreign_merchant: bool = False
    foreign_app: bool = False
    answer_5xx: bool = False
    lose_answer: bool = False
    hang_seconds: float = 0
    close_race: bool = False
    not_enough: bool = False
    refund_abnormal: bool = False
    refund_closed: bool = False
    refuse_login: bool = False


def parse(given: Mapping[str, object]) -> Faults:
    """Read faults by name; what is not named is off.

    Raises:
        FaultRefused: an unknown name, or a value out of its type or range.
    """
    known = {field.name: field.default for field in fields(Faults)}
    for name, value in given.items():
        if name not in known:
            raise FaultRefused(f"unknown fault {name!r}; known are {', '.join(known)}")
        limit = _LIMITS.get(name)
        if limit is None:
            if not isinstance(value, bool):
                raise FaultRefused(f"{name} is true or false")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise FaultRefused(f"{name} is a number")
        elif not 0 <= value <= limit or (name == "duplicate" and not isinstance(value, int)):
            raise FaultRefused(f"{name} is from 0 to {limit}, a count being whole")
    return Faults(**given)  # type: ignore[arg-type] # each value was checked above
