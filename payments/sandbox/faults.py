"""What can go wrong on purpose, how often, and where."""

import random
import secrets
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

CHANNELS: Final = ("wechat", "alipay")
CALLS: Final = (
    *("create", "query", "close", "refund", "query_refund", "bill"),
    *("login", "token", "check_real_name", "message", "other", "notice"),
)
"""What a fault can be limited to: the merchant's calls, and `notice` for all about notices."""

# A number's largest value; each other fault is on or off.
LIMITS: Final = {"delay_seconds": 7 * 86400, "hang_seconds": 60, "duplicate": 20}
_COUNTS = frozenset({"duplicate"})
_MAX_SEED = 2**53 - 1  # what JSON carries exactly

Values = Mapping[str, bool | float]


class FaultRefused(Exception):
    """No such fault, or no such value for it."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong at one event: a call, a new notice, or one sending of it.

    Attributes:
        delay_seconds: the notice leaves so much later.
        delay_past_expiry: the notice leaves a second after its order has expired.
        drop: the notice is lost for good.
        duplicate: so many further copies of the notice at once.
        reorder: the notice is held for a second; those held together leave newest first.
        bad_signature: the notice or answer carries a signature that does not fit.
        signtest: the notice or answer of WeChat Pay carries the signature of its probes.
        stale: the notice is dated an hour ago on WeChat, three days ago on Alipay.
        wrong_amount: the notice or query tells one fen more than was ordered.
        foreign_currency: WeChat Pay's notice or query tells US dollars.
        foreign_merchant, foreign_app: the notice is meant for somebody else.
        answer_5xx: the call is not carried out and answered with 500.
        lose_answer: the call is carried out and answered with 500.
        hang_seconds: the call is carried out and answered so much later.
        before_create_returns: the payer pays, and the notice arrives, before `create` answers.
        close_race: the payer pays just before a close arrives.
        pay_after_close: the payer pays just after a close was answered.
        not_enough: the merchant's balance is too small for a refund.
        refund_abnormal: the payer's account takes no refund: WeChat Pay says so in the end, Alipay
            at once.
        refund_closed: refunds do not come about: WeChat Pay closes them in the end, Alipay refuses.
        bill_differences: the bill of a day does not tell what happened.
        refuse_login: the login code is refused.
    """

    delay_seconds: float = 0
    delay_past_expiry: bool = False
    drop: bool = False
    duplicate: int = 0
    reorder: bool = False
    bad_signature: bool = False
    signtest: bool = False
    stale: bool = False
    wrong_amount: bool = False
    foreign_currency: bool = False
    foreign_merchant: bool = False
    foreign_app: bool = False
    answer_5xx: bool = False
    lose_answer: bool = False
    hang_seconds: float = 0
    before_create_returns: bool = False
    close_race: bool = False
    pay_after_close: bool = False
    not_enough: bool = False
    refund_abnormal: bool = False
    refund_closed: bool = False
    bill_differences: bool = False
    refuse_login: bool = False

    def met(self) -> list[str]:
        """Name those that are on."""
        return [name for name, value in asdict(self).items() if value]


NAMES: Final = tuple(known.name for known in fields(Faults))


@dataclass(frozen=True, slots=True)
class Chance:
    """A fault in force: its value, and the share of events that it meets, over 0 up to 1."""

    value: bool | float
    share: float = 1.0

    def told(self) -> bool | float | dict[str, float]:
        """Write it as it can be given: a flag or its share, a number or number and share."""
        if isinstance(self.value, bool):
            return True if self.share == 1 else self.share
        return self.value if self.share == 1 else {"value": self.value, "share": self.share}


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The faults in force until replaced.

    Attributes:
        chances: by name; what is not named is off.
        seed: of all draws: the n-th event of a kind on a channel meets the same again.
        channel, calls: what the faults are limited to; None and empty: nothing.
    """

    chances: Mapping[str, Chance] = field(default_factory=dict)
    seed: int = 0
    channel: str | None = None
    calls: frozenset[str] = frozenset()

    def meets(self, channel: str, call: str) -> bool:
        """Tell whether the faults can meet such an event."""
        return self.channel in {None, channel} and (not self.calls or call in self.calls)

    def told(self) -> dict[str, Any]:
        """Write the plan, in the shape that `parse` reads, with what is off."""
        off = asdict(Faults())
        on = {name: chance.told() for name, chance in self.chances.items()}
        only = {"channel": self.channel, "calls": sorted(self.calls)}
        limits = {name: value for name, value in only.items() if value}
        return {**off, **on, "seed": self.seed, "only": limits}


class Dice:
    """Draws what goes wrong at each event.  Safe to share among threads."""

    def __init__(self, plan: FaultPlan) -> None:
        """Put faults in force."""
        self._lock = threading.Lock()
        self.load(plan)

    def load(self, plan: FaultPlan) -> None:
        """Put faults in force, in place of the former, and begin their draws anew."""
        with self._lock:
            self.plan = plan
            self._sources: dict[tuple[str, str], random.Random] = {}

    def draw(self, channel: str, call: str, *, event: str = "") -> Faults:
        """Draw for the next event of a kind.

        Args:
            event: tells apart the kinds of event of one call, each with draws of its own.
        """
        with self._lock:
            plan = self.plan
            if not plan.chances or not plan.meets(channel, call):
                return Faults()
            kind = (channel, event or call)
            if kind not in self._sources:
                # Not for secrets: a run has to be repeatable.
                self._sources[kind] = random.Random(f"{plan.seed}:{kind}")  # noqa: S311
            source = self._sources[kind]
            # One roll for each fault there is, so that one more in force changes no other's draws.
            rolls = {name: source.random() for name in NAMES}
        met = {
            name: chance.value
            for name, chance in plan.chances.items()
            if rolls[name] < chance.share
        }
        return Faults(**met)  # type: ignore[arg-type] # `parse` has checked each value


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "bad-day": {
        "delay_seconds": {"value": 5, "share": 0.2},
        "delay_past_expiry": 0.05,
        "drop": 0.3,
        "duplicate": {"value": 3, "share": 0.2},
        "reorder": 0.3,
        "bad_signature": 0.05,
        "signtest": 0.05,
        "stale": 0.05,
        "wrong_amount": 0.02,
        "foreign_currency": 0.02,
        "foreign_merchant": 0.02,
        "foreign_app": 0.02,
        "answer_5xx": 0.1,
        "lose_answer": 0.1,
        "hang_seconds": {"value": 3, "share": 0.1},
        "before_create_returns": 0.05,
        "close_race": 0.3,
        "pay_after_close": 0.1,
        "not_enough": 0.1,
        "refund_abnormal": 0.1,
        "refund_closed": 0.05,
        "bill_differences": True,
        "refuse_login": 0.05,
    },
    "bad-line": {
        "delay_seconds": {"value": 5, "share": 0.3},
        "drop": 0.3,
        "duplicate": {"value": 3, "share": 0.3},
        "reorder": 0.5,
        "answer_5xx": 0.1,
        "lose_answer": 0.2,
        "hang_seconds": {"value": 3, "share": 0.2},
    },
    "forgeries": {
        "bad_signature": 0.2,
        "signtest": 0.2,
        "stale": 0.2,
        "wrong_amount": 0.2,
        "foreign_currency": 0.2,
        "foreign_merchant": 0.2,
        "foreign_app": 0.2,
    },
}
"""Days to rehearse.  `bad-day` is everything at once."""


def parse(given: Mapping[str, object]) -> FaultPlan:
    """Read faults by name, with `seed`, `only` and `preset`; what is not named is off.

    Raises:
        FaultRefused: an unknown name, or a value out of its type or range.
    """
    wanted = {**_preset(given.get("preset")), **given}
    wanted.pop("preset", None)
    seed, only = wanted.pop("seed", None), wanted.pop("only", {})
    if seed is None:
        seed = secrets.randbelow(2**32)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _MAX_SEED:
        raise FaultRefused(f"seed is a whole number from 0 to {_MAX_SEED}")
    channel, calls = _limits(only)
    chances = {name: _chance(name, value) for name, value in wanted.items()}
    return FaultPlan(
        {name: chance for name, chance in chances.items() if chance.value and chance.share},
        seed,
        channel,
        calls,
    )


def _preset(name: object) -> Mapping[str, object]:
    if name is None:
        return {}
    if not isinstance(name, str) or name not in PRESETS:
        raise FaultRefused(f"preset is one of {', '.join(PRESETS)}")
    return PRESETS[name]


def _limits(only: object) -> tuple[str | None, frozenset[str]]:
    if not isinstance(only, dict) or not set(only) <= {"channel", "calls"}:
        raise FaultRefused("only is an object of channel and calls")
    channel, calls = only.get("channel"), only.get("calls", [])
    if channel is not None and channel not in CHANNELS:
        raise FaultRefused(f"channel is one of {', '.join(CHANNELS)}")
    if not isinstance(calls, list) or not all(call in CALLS for call in calls):
        raise FaultRefused(f"calls are some of {', '.join(CALLS)}")
    return channel, frozenset(calls)


def _chance(name: str, given: object) -> Chance:
    if name not in NAMES:
        raise FaultRefused(f"unknown fault {name!r}; known are {', '.join(NAMES)}")
    if name not in LIMITS:
        if isinstance(given, bool):
            return Chance(given)
        return Chance(value=True, share=_share(name, given))
    if isinstance(given, dict) and set(given) == {"value", "share"}:
        return Chance(_number(name, given["value"]), _share(name, given["share"]))
    return Chance(_number(name, given))


def _share(name: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise FaultRefused(f"{name} is true, false or a share from 0 to 1")
    return float(given)


def _number(name: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise FaultRefused(f'{name} is a number, or {{"value": number, "share": 0…1}}')
    limit = LIMITS[name]
    if not 0 <= given <= limit or (name in _COUNTS and not isinstance(given, int)):
        raise FaultRefused(f"{name} is from 0 to {limit}, a count being whole")
    return given
