"""Who may call what (权限矩阵): one table of every address, and what each caller finds there.

The table is `openapi/authorization.csv`, written by hand and judged against the duties of
regulation 一(二)–(五); a test sends every caller to every address and compares.  An address without
a row fails it.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.operators.models import Role

TABLE = Path(__file__).parents[1] / "openapi" / "authorization.csv"
CONSOLE = "/console"
NOBODY = "nobody"
SUSPENDED = "suspended"
"""An operator whose access was withdrawn (停用) while a session was open."""
KINDS: Mapping[str, str] = {
    "unbound": "holder",
    "bound": "holder",
    "till": "terminal",
    "gate": "terminal",
    "kiosk": "terminal",
    "signing_till": "terminal",
} | {role.value: "operator" for role in Role}
"""Every caller with a name to the kind of its token."""
CALLERS = (NOBODY, *KINDS, SUSPENDED)
GROUPS: Mapping[str, tuple[str, ...]] = {
    "anyone": CALLERS,
    "holders": ("unbound", "bound"),
    "terminals": ("till", "gate", "kiosk", "signing_till"),
    "staff": tuple(role.value for role in Role),
    "till": ("till", "signing_till"),
}
"""Words of the table that stand for several callers."""
IN = "in"
"""Let in: what becomes of the request is decided by its content."""
SIGN_IN = "sign in"
"""Led to where one signs in: the console's answer to strangers."""


@dataclass(frozen=True, slots=True)
class Row:
    """One address of the table."""

    method: str
    rule: str
    """As in the URL map, each variable part as `{}`."""
    lets_in: frozenset[str]
    owned: bool
    """Whether it names an object that belongs to one caller: others of its kind get 404."""
    note: str

    @property
    def address(self) -> str:
        """How the row is called in messages."""
        return f"{self.method} {self.rule}"

    def expected(self, caller: str) -> str:
        """Return what a caller finds here: `in`, a status, or the way to the sign-in page."""
        if caller in self.lets_in:
            return IN
        kinds = {KINDS[name] for name in self.lets_in if name in KINDS}
        if self.rule.startswith(CONSOLE):
            return "403" if KINDS.get(caller) == "operator" else SIGN_IN
        return "403" if KINDS.get(caller) in kinds else "401"


def read(path: Path = TABLE) -> Sequence[Row]:
    """Return the rows of the table.

    Raises:
        KeyError: a row names a caller that there is not.
    """
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(
                said["method"],
                said["rule"],
                frozenset(name for word in said["lets_in"].split() for name in callers(word)),
                said["owned"] == "owned",
                said["note"],
            )
            for said in csv.DictReader(file)
        ]


def callers(word: str) -> tuple[str, ...]:
    """Return the callers that a word of the table stands for.

    >>> callers("till"), callers("finance")
    (('till', 'signing_till'), ('finance',))
    """
    if word in GROUPS:
        return GROUPS[word]
    if word not in CALLERS:
        raise KeyError(word)
    return (word,)


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the whole matrix as CSV: an address a line, a caller a column."""
    yield ",".join(["address", *CALLERS, "object of another"])
    for row in rows:
        cells = [row.expected(caller) for caller in CALLERS]
        yield ",".join([row.address, *cells, "404" if row.owned else "-"])
