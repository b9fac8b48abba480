"""A walk: random operations by everybody, each compared with what the model says of it."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from walk.campus import Answer, Broken, Caller, Campus
from walk.people import Person

from backend import clock
from backend.ids import new_id

DONE = "done"
TWICE = 0.1
"""How many of the requests under an own id are sent to both servers at once."""
IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
NOT_LOGGED = ("/me/codes", "/charges/_", "/passages/_")
"""What writes no refusal into the operation log: it has rows of its own, or decides nothing."""
MOST_AN_HOUR = 25
"""Refusals of one caller in one action that are surely written."""
STANDING = """
SELECT md5(concat_ws('|',
  (SELECT string_agg(concat_ws(',', id, balance_fen, card_state), ';' ORDER BY id) FROM accounts),
  (SELECT string_agg(concat_ws(',', id, state, encode(alias, 'hex')), ';' ORDER BY id) FROM cards),
  (SELECT string_agg(md5(h::text), ';' ORDER BY id) FROM holders h),
  (SELECT string_agg(concat_ws(',', id, state), ';' ORDER BY id) FROM bindings),
  (SELECT string_agg(concat_ws(',', id, state, waived), ';' ORDER BY id) FROM closings),
  (SELECT string_agg(concat_ws(',', id, state), ';' ORDER BY id) FROM cash_shifts),
  (SELECT string_agg(concat_ws(',', id, state), ';' ORDER BY id) FROM top_ups),
  (SELECT string_agg(concat_ws(',', id, state), ';' ORDER BY id) FROM channel_refunds),
  (SELECT string_agg(concat_ws(',', id, state), ';' ORDER BY id) FROM subsidy_batches),
  (SELECT string_agg(concat_ws(',', id, state), ';' ORDER BY id) FROM payout_lines),
  (SELECT string_agg(concat_ws(',', id, state), ';' ORDER BY id) FROM applications),
  (SELECT string_agg(concat_ws(',', id, state), ';' ORDER BY id) FROM policy_proposals),
  (SELECT string_agg(concat_ws(',', id, valid_until), ';' ORDER BY id) FROM policies),
  (SELECT string_agg(concat_ws(',', id, role, state), ';' ORDER BY id) FROM operators),
  (SELECT count(*) FROM transfers), (SELECT count(*) FROM card_aliases),
  (SELECT count(*) FROM delegations), (SELECT count(*) FROM charge_reversals),
  (SELECT count(*) FROM loss_reports), (SELECT count(*) FROM restorations),
  (SELECT count(*) FROM counter_operations), (SELECT count(*) FROM replacements),
  (SELECT count(*) FROM cash_top_ups), (SELECT count(*) FROM cash_reversals),
  (SELECT count(*) FROM category_changes), (SELECT count(*) FROM permission_overrides),
  (SELECT count(*) FROM data_changes WHERE decided_at IS NULL),
  (SELECT count(*) FROM departures),
  (SELECT count(*) FROM holder_notices) - (SELECT count(*) FROM holder_notices
    WHERE kind IN ('charge-declined', 'passage-denied'))
))"""
"""What a refused operation leaves as it was: balances, cards, aliases, people, orders."""

Act = Callable[["Walk"], str | None]
ACTS: list[tuple[int, str, Act]] = []
"""Weight, name and what is done.  An act returns the verdict, or None where it had no occasion."""


def act(weight: int) -> Callable[[Act], Act]:
    """Put an act into the walk, so often among the others."""

    def add(function: Act) -> Act:
        ACTS.append((weight, function.__name__, function))
        return function

    return add


class Walk:
    """The walker: what it knows, and how it asks."""

    def __init__(self, campus: Campus) -> None:
        self.campus, self.chance = campus, campus.chance
        self.people: list[Person] = []
        self.verdicts: dict[str, Counter[str]] = defaultdict(Counter)
        self.steps = 0
        self.act = "the beginning"
        self.memory: dict[str, Any] = defaultdict(list)
        """What acts leave for one another: shifts, batches, applications, proposals."""
        self._refusals: Counter[tuple[str, str]] = Counter()

    @property
    def today(self) -> Any:
        """The accounting day by the real clock, which the servers go by."""
        return clock.business_date(clock.now())

    def step(self) -> None:
        """Do one random operation that there is occasion for."""
        weights = [weight for weight, _, _ in ACTS]
        while True:
            ((_, name, function),) = self.chance.choices(ACTS, weights)
            self.act = name
            self.campus.trace = [*self.campus.trace, f"-- {self.steps} {name}"]
            verdict = function(self)
            if verdict is not None:
                break
        self.verdicts[name][verdict] += 1
        self.steps += 1

    def wrong(self, what: str) -> Broken:
        """Return what is raised when something is not as it has to be."""
        return Broken(self.campus.told(f"step {self.steps}, {self.act}: {what}"))

    def pick(self, *conditions: Callable[[Person], Any]) -> Person | None:
        """Return somebody of whom all of this is true, or None."""
        found = [one for one in self.people if all(condition(one) for condition in conditions)]
        return self.chance.choice(found) if found else None

    def ask(
        self,
        caller: Caller,
        method: str,
        path: str,
        body: Any = None,
        *,
        want: str | set[str] = DONE,
        still: bool = True,
        alone: bool = False,
    ) -> Answer:
        """Ask for something, and see that the answer is one of those that are right.

        A refusal leaves everything as it was (`still`), and stands in the operation log.  Some
        requests are sent twice at once, unless they have to come `alone`.
        """
        wanted = {want} if isinstance(want, str) else want
        watched = wanted != {DONE}
        before = self.standing() if watched and still else ""
        logged = self._logged() if watched else 0
        if method == "PUT" and IDS.search(path) and not alone and self.chance.random() < TWICE:
            answer = self.campus.ask_twice(caller, path, body)
        else:
            answer = self.campus.ask(caller, method, path, body)
        if answer.verdict not in wanted:
            raise self.wrong(f"{answer.verdict} where {sorted(wanted)} is right")
        if not answer.ok:
            if still and self.standing() != before:
                raise self.wrong(f"{answer.verdict}, and something changed all the same (M7)")
            self._must_be_logged(caller, method, path, body, answer=answer, before=logged)
        return answer

    def standing(self) -> str:
        return str(self.campus.rows(STANDING)[0][0])

    def _logged(self) -> int:
        return int(self.campus.rows("SELECT count(*) FROM operation_log")[0][0])

    def _must_be_logged(
        self, caller: Caller, method: str, path: str, body: Any, *, answer: Answer, before: int
    ) -> None:
        shape = IDS.sub("_", path)
        if method == "GET" or shape in NOT_LOGGED or answer.status in (401, 422):
            return
        event = body.get("event", "") if isinstance(body, dict) else ""
        key = (caller.token, f"{method} {shape} {event}")
        self._refusals[key] += 1
        if self._refusals[key] < MOST_AN_HOUR // 2 and self._logged() <= before:
            raise self.wrong(f"{answer.verdict} is not in the operation log")

    def put(self, caller: Caller, path: str, body: Any, **options: Any) -> Answer:
        """Ask for something under a new id, which `{}` in the path stands for."""
        return self.ask(caller, "PUT", path.format(new_id()), body, **options)

    def agree(self, *people: Person) -> None:
        """See that cards and purses are what the model says."""
        for one in people:
            found = dict(
                self.campus.rows(
                    "SELECT kind, state FROM cards WHERE holder_id = %s"
                    " AND state NOT IN ('void', 'closed')",
                    one.id,
                )
            )
            believed = {
                kind: card.state
                for kind, card in (("physical", one.physical), ("virtual", one.virtual))
                if card and not card.gone
            }
            if found != believed:
                raise self.wrong(
                    f"{one.name}'s cards are {found}, not {believed}\n{self.life_of(one)}"
                )
            ((main, subsidy),) = self.campus.rows(
                "SELECT sum(balance_fen) FILTER (WHERE kind = 'main_purse')::bigint,"
                " sum(balance_fen) FILTER (WHERE kind = 'subsidy_purse')::bigint"
                " FROM accounts WHERE holder_id = %s",
                one.id,
            )
            if (main, subsidy) != (one.main, one.subsidy):
                raise self.wrong(
                    f"{one.name}'s purses hold {(main, subsidy)}, not {(one.main, one.subsidy)}"
                    f"\n{self.life_of(one)}"
                )

    def life_of(self, one: Person) -> str:
        """Return what was logged and posted of somebody last, to tell whose mistake it is."""
        rows = self.campus.rows(
            "(SELECT id, at, action, outcome, before::text, after::text FROM operation_log"
            "  WHERE holder_id = %(holder)s ORDER BY id DESC LIMIT 12)"
            " UNION ALL (SELECT t.id, posted_at, t.kind, a.kind, amount_fen::text,"
            "  CASE WHEN t.credit_account_id = a.id THEN 'in' ELSE 'out' END"
            "  FROM transfers t JOIN accounts a ON a.id IN (credit_account_id, debit_account_id)"
            "  WHERE a.holder_id = %(holder)s ORDER BY t.id DESC LIMIT 8) ORDER BY 1",
            {"holder": one.id},
        )
        return "\n".join([str(one), *(" ".join(map(str, row[1:])) for row in rows)])


def seconds_since(began: float) -> float:
    """Return how long something took."""
    return time.monotonic() - began
