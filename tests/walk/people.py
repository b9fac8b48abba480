"""What a walk believes of each holder: its own model, written from the regulation.

Nothing here asks the services' code.  A verdict is predicted before the question is put.
"""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from walk.campus import Caller, Till

LIFE: dict[tuple[str, str], str] = {
    ("pending", "activate"): "active",
    ("pending", "void"): "void",
    ("active", "report_lost"): "lost",
    ("active", "freeze"): "frozen",
    ("active", "expire"): "expired",
    ("active", "void"): "void",
    ("lost", "restore"): "active",
    ("lost", "expire"): "expired",
    ("lost", "void"): "void",
    ("frozen", "unfreeze"): "active",
    ("frozen", "expire"): "expired",
    ("expired", "extend"): "active",
    ("expired", "void"): "void",
    **{
        (state, "start_closing"): "closing"
        for state in ("pending", "active", "lost", "frozen", "expired")
    },
    ("closing", "cancel_closing"): "frozen",
    ("closing", "close"): "closed",
}
"""三(一): what is not here is refused."""
ALREADY = {
    "activate": "active", "report_lost": "lost", "freeze": "frozen", "void": "void",
}  # fmt: skip
"""A wish that is fulfilled is no news, and no fault."""
GONE = ("void", "closed")
TEMPORARY = ("temporary_retired", "temporary_trainee", "temporary_outsider")
PER_CHARGE_CAP, PER_DAY_CAP = 50_000, 100_000
MOST_BALANCE = 200_000
PERMILLE = 100


def half_up(value: int, part: int, whole: int) -> int:
    """Return a share, rounded half up to a whole fen."""
    return (2 * value * part + whole) // (2 * whole)


def first_of(*reasons: tuple[object, str]) -> str:
    """Return the first reason that holds, `done` where none does."""
    return next((code for holds, code in reasons if holds), "done")


@dataclass
class Card:
    """A card as the walk knows it."""

    id: str
    state: str
    number: str = ""
    before_expiry: str = ""
    replaced: bool = False

    @property
    def gone(self) -> bool:
        """Whether it is void or closed, for ever."""
        return self.state in GONE


@dataclass
class Code:
    """A code that a phone was given."""

    text: str
    scope: str
    epoch: int
    turn: int
    """Which of the holder's codes of this scope it is: a newer one that was used kills it."""
    expires: float
    """In epoch seconds, as the phone was told."""
    used: bool = False


@dataclass
class Charge:
    """A charge that a till asked for."""

    id: str
    till: Till
    code: str
    amount: int
    state: str
    day: date
    surcharge: int = 0
    from_subsidy: int = 0
    reversed: int = 0
    surcharge_reversed: int = 0


@dataclass
class TopUp:
    """A top-up that a phone ordered.  `waiting`, `paid`, `returned` or `over`."""

    id: str
    channel: str
    amount: int
    state: str
    back: int = 0


@dataclass
class Person:
    """One holder."""

    id: str
    number: str
    name: str
    document: str
    category: str
    unit: str
    valid_until: date
    pays_surcharge: bool = False
    physical: Card | None = None
    virtual: Card | None = None
    old_cards: list[Card] = field(default_factory=list)
    main: int = 0
    subsidy: int = 0
    platform: str = "wechat"
    login_code: str = ""
    phone: Caller | None = None
    """None while no phone is logged in."""
    logged_in: float = 0.0
    """When the phone logged in, by this program's clock."""
    bound: bool = False
    paused: bool = False
    limits: dict[str, int | None] = field(
        default_factory=lambda: {"per_charge_fen": None, "per_day_fen": None}
    )
    denied: set[str] = field(default_factory=set)
    closing: str | None = None
    closing_state: str | None = None
    closing_paid: int = 0
    closing_withdrawn: int = 0
    past_closings: list[str] = field(default_factory=list)
    """Those that were undone when they came back (复户)."""
    proven: set[str] = field(default_factory=set)
    """What two people of the card centre have seen the document of: no roster overwrites it."""
    epoch: int = 0
    codes: list[Code] = field(default_factory=list)
    turns: int = 0
    drawn: list[float] = field(default_factory=list)
    """When the phone drew codes last, by this program's clock: it may so often in a minute."""
    newest: dict[str, int] = field(default_factory=lambda: {"pay": -1, "gate": -1})
    """The newest code of each scope that was decided on since the last new alias."""
    charges: list[Charge] = field(default_factory=list)
    top_ups: list[TopUp] = field(default_factory=list)
    refunds_today: int = 0
    request: str | None = None
    """The new card that was asked for and not yet got."""
    change: dict[str, Any] | None = None
    """A change of category that waits for its day."""
    leaving: tuple[str, date, str, str] | None = None
    """A departure that waits for its day: id, day, kind, and the category it was filed for."""
    steps: list[str] = field(default_factory=list)

    @property
    def cards(self) -> list[Card]:
        """Return the cards that are not gone."""
        return [card for card in (self.physical, self.virtual) if card and not card.gone]

    @property
    def closed(self) -> bool:
        """Whether the account is closing or closed."""
        return self.closing_state not in (None, "cancelled")

    def happen(self, card: Card, event: str) -> bool:
        """Let an event happen to a card; say whether it was news."""
        before = card.state
        if ALREADY.get(event) == before:
            return False
        if event == "expire":
            card.before_expiry = before
        card.state = LIFE[before, event]
        if card is self.virtual:
            self.new_alias()
        return True

    def wake(self) -> None:
        """Let expired cards live on as they were stopped, or were not, before."""
        for card in self.cards:
            if card.state == "expired":
                self.happen(card, "extend")
                again = {"lost": "report_lost", "frozen": "freeze"}.get(card.before_expiry)
                if again:
                    self.happen(card, again)

    def new_alias(self) -> None:
        """Let every code shown so far be stale."""
        self.epoch += 1
        self.newest = {"pay": -1, "gate": -1}

    def spent(self, day: date) -> int:
        """Return what was spent on a day, less what was given back."""
        return sum(
            charge.amount + charge.surcharge - charge.reversed - charge.surcharge_reversed
            for charge in self.charges
            if charge.state == "approved" and charge.day == day
        )

    def surcharge_on(self, amount: int, till: Till) -> int:
        """Return the meal surcharge (搭伙费) on a price at a till."""
        if not (till.is_canteen and self.pays_surcharge):
            return 0
        return half_up(amount, PERMILLE, 1000)

    def code_verdict(self, code: Code) -> str:
        """Return what is wrong with a genuine code of the right scope, or `done`."""
        return first_of(
            (code.epoch != self.epoch, "code-stale"),
            (code.used or code.turn <= self.newest[code.scope], "code-spent"),
        )

    def pay_verdict(self, code: Code, amount: int, till: Till, day: date) -> str:
        """Return what a charge is answered with."""
        verdict = self.code_verdict(code)
        total = amount + self.surcharge_on(amount, till)
        today = self.spent(day) + total
        return first_of(
            (verdict != "done", verdict),
            ("pay" in self.denied, "not-permitted"),
            (self.paused, "payment-paused"),
            (total > self._least(PER_CHARGE_CAP, "per_charge_fen"), "limit-exceeded"),
            (today > self._least(PER_DAY_CAP, "per_day_fen"), "limit-exceeded"),
            (self.main + self.subsidy < total, "insufficient-balance"),
        )

    def _least(self, cap: int, name: str) -> int:
        own = self.limits[name]
        return cap if own is None else min(cap, own)

    def use(self, code: Code) -> None:
        """Note that a code was decided on: it, and every older one, is dead."""
        code.used = True
        self.newest[code.scope] = max(self.newest[code.scope], code.turn)

    def pay(self, charge: Charge) -> None:
        """Take a charge out of the purses: the subsidy first, on the price before the surcharge."""
        total = charge.amount + charge.surcharge
        charge.from_subsidy = min(self.subsidy, total)
        self.subsidy -= charge.from_subsidy
        self.main -= total - charge.from_subsidy

    def give_back(self, charge: Charge, amount: int) -> int:
        """Put a charge back, or part of it: own money first; return the surcharge that came."""
        before = charge.reversed + charge.surcharge_reversed
        charge.reversed += amount
        due = half_up(charge.surcharge, charge.reversed, charge.amount)
        surcharge = due - charge.surcharge_reversed
        charge.surcharge_reversed = due
        back = amount + surcharge
        own = charge.amount + charge.surcharge - charge.from_subsidy
        to_main = min(back, max(0, own - before))
        self.main += to_main
        self.subsidy += back - to_main
        return surcharge
