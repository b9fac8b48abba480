"""What is done with requests that were answered: again, changed, as somebody else (I1-I4)."""

import csv
import re
from datetime import timedelta
from pathlib import Path

from walk.campus import Caller, Sent, Staff
from walk.card_acts import TOO_MANY
from walk.walk import DONE, IDS, Walk, act

ROOT = Path(__file__).parents[2]
MOVING = {
    "/me/top-ups/_": ("id", "channel", "amount_fen", "out_trade_no"),
    "/me/refunds/_": ("id", "amount_fen"),
    "/me/replacements/_": ("id", "cause", "fee_fen"),
    "/staff/screenings/_": ("id", "term"),
    "/me/closings/_": ("id", "started_at"),
    "/staff/closings/_": ("id", "kind", "document", "started_at"),
    "/staff/cash-desk/shifts/_": ("id", "desk", "opening_float_fen"),
    "/staff/cash-desk/top-ups/_": ("id", "amount_fen", "receipt_number"),
    "/staff/subsidy-batches/_": ("id", "total_fen"),
    "/staff/payout-batches/_": ("id", "lines", "total_fen"),
    "/staff/applications/_": ("id", "oa_number"),
    "/staff/issue-batches/_": ("id", "unit"),
    "/staff/closing-batches/_": ("id", "graduated_on"),
    "/staff/departures/_": ("id", "kind", "effective_on"),
    "/staff/policy-proposals/_": ("id", "changes"),
    "/staff/holders/_/data-changes/_": ("id", "field"),
    "/staff/holders/_/category-changes/_": ("id", "category"),
    "/staff/subsidy-withdrawals/_": ("id",),
    "/staff/operators/_": ("id",),
    "/staff/holders/_/permission-overrides/_": ("id", "permission", "allowed"),
    "/charges/_/void": ("id", "state"),
}
"""What goes on living after its answer: of these the id and the content stay the same."""
NEVER = ("close-out", "ruling", "graduates", "approval", "decision", "binding", "payment", "bounce",
         "withdrawal", "settlement", "surcharge-flags", "/access",
         "screenings/_/items")  # fmt: skip
"""What is no operation under an id of its own: it says how something is to stand."""
PASSAGES_ARE_KEPT = timedelta(days=183 - 1)
"""After that a job forgets them, so the same again is decided anew: the code is spent."""


def shape_of(path: str) -> str:
    """Return a path with its ids taken out."""
    return IDS.sub("_", path.split("?", maxsplit=1)[0])


def an_answered_request(walk: Walk) -> Sent | None:
    """Return a request that was done, under an id of its own, and is not forgotten."""
    forgotten = walk.campus.day - walk.today > PASSAGES_ARE_KEPT
    found = [
        sent
        for sent in walk.campus.history
        if not any(word in sent.path.rsplit("/", 2)[-1] + shape_of(sent.path) for word in NEVER)
        and not (forgotten and sent.path.startswith("/passages"))
        and (isinstance(sent.caller, Staff) or is_logged_in(walk, sent.caller))
    ]
    return walk.chance.choice(found) if found else None


def is_logged_in(walk: Walk, caller: Caller) -> bool:
    """Say whether somebody's token is good: a phone's ends with a loss or an unbinding."""
    if not caller.name.startswith(("phone", "new phone")):
        return True
    return any(one.phone is caller for one in walk.people)


def is_voided(walk: Walk, path: str) -> bool:
    """Say whether a charge was voided since."""
    return any(
        made.state == "voided" and path.endswith(made.id)
        for one in walk.people
        for made in one.charges
    )


def is_known(walk: Walk, body: dict[str, str]) -> bool:
    """Say whether what was shown of a document is still somebody's: it may have been changed."""
    shown = body.get("document_last_six") or body["document_number"]
    return any(one.document.endswith(shown) for one in walk.people)


@act(10)
def repeat(walk: Walk) -> str | None:
    """Send an answered request again, whatever has happened since: the first answer comes."""
    sent = an_answered_request(walk)
    if sent is None:
        return None
    voided = shape_of(sent.path) == "/charges/_" and is_voided(walk, sent.path)
    want = {"charge-voided" if voided else DONE}
    if "restorations" in sent.path and not is_known(walk, sent.body):
        want = {"id-reused", *TOO_MANY}
    before = walk.standing()
    answer = walk.ask(sent.caller, "PUT", sent.path, sent.body, want=want, alone=True)
    if walk.standing() != before:
        raise walk.wrong("a repetition changed something (I1)")
    if answer.ok:
        if answer.status == 201:
            raise walk.wrong("a repetition is told to be the first")
        names = MOVING.get(shape_of(sent.path), tuple(sent.answer.body))
        for name in names:
            if answer.body.get(name) != sent.answer.body.get(name):
                raise walk.wrong(f"a repetition gets another {name} (I2)")
    return answer.verdict


@act(6)
def say_something_else(walk: Walk) -> str | None:
    """Send other content under an id that was used."""
    sent = an_answered_request(walk)
    if sent is None or not isinstance(sent.body, dict):
        return None
    body = dict(sent.body)
    if "amount_fen" in body:
        body["amount_fen"] = body["amount_fen"] + 1
    elif "place" in body:
        body["place"] = "第二食堂"
    elif "direction" in body:
        body["direction"] = "in" if body["direction"] == "out" else "out"
    elif body.get("reason") and "event" in body:
        body["reason"] = "另一个理由"
    elif "document_number" in body and shape_of(sent.path).startswith("/staff/holders"):
        body["document_number"] = "另一个文号"
    else:
        return None
    voided = shape_of(sent.path) == "/charges/_" and is_voided(walk, sent.path)
    want = "charge-voided" if voided else "id-reused"
    return walk.ask(sent.caller, "PUT", sent.path, body, want=want).verdict


@act(4)
def take_somebody_elses_id(walk: Walk) -> str | None:
    """Send what another caller of the same kind sent: it is theirs."""
    sent = an_answered_request(walk)
    if sent is None or not sent.path.startswith(("/charges", "/passages", "/me/")):
        return None
    if sent.path.startswith("/charges"):
        other: Caller | None = walk.chance.choice(walk.campus.tills)
    elif sent.path.startswith("/passages"):
        other = walk.chance.choice(walk.campus.gates)
    else:
        one = walk.pick(lambda p: p.bound and p.phone)
        other = one.phone if one else None
    if other is None or other.name == sent.caller.name:
        return None
    # Where the holder has no such card, or nothing goes back now, that is told first.
    want = {"not-found"}
    if "restorations" in sent.path:
        want |= {"identity-not-matched", "step-up-required", "too-many-tries"}
    return walk.ask(other, "PUT", sent.path, sent.body, want=want).verdict


def who_may() -> list[tuple[str, re.Pattern[str], set[str]]]:
    """Read the one table of who may call what."""
    with (ROOT / "openapi/authorization.csv").open(encoding="utf-8") as table:
        return [
            (row["method"], re.compile(re.escape(row["rule"]).replace(r"\{\}", "[^/]+") + "$"),
             set(row["lets_in"].split()))
            for row in csv.DictReader(table)
            if row["rule"].startswith("/api/v1/staff/")
        ]  # fmt: skip


TABLE = who_may()


@act(6)
def overstep(walk: Walk) -> str | None:
    """Do as somebody of the staff what is for another role."""
    found = [sent for sent in walk.campus.history if isinstance(sent.caller, Staff)]
    if not found:
        return None
    sent, who = walk.chance.choice(found), walk.campus.one(walk.chance.choice([*walk.campus.staff]))
    may = next(
        (roles for method, rule, roles in TABLE
         if method == "PUT" and rule.match("/api/v1" + sent.path)), None
    )  # fmt: skip
    if may is None:
        raise walk.wrong("a route that stands in no table")
    if who.role.value in may or "staff" in may:
        return None
    return walk.ask(who, "PUT", sent.path, sent.body, want="role-not-allowed").verdict


@act(3)
def look_around(walk: Walk) -> str | None:
    """Read what phones and staff read: it is what the model says."""
    one = walk.pick(lambda p: p.bound and p.phone)
    if one is None or one.phone is None:
        return None
    said = walk.ask(one.phone, "GET", "/me").body
    purses = {purse["kind"]: purse["balance_fen"] for purse in said["purses"]}
    if purses != {"main": one.main, "subsidy": one.subsidy}:
        raise walk.wrong(f"the phone shows {purses}")
    for path in ("/me/statement", "/me/notices", "/me/events", "/me/passages", "/me/top-ups",
                 "/me/limits", "/me/refunds", "/me/replacements"):  # fmt: skip
        walk.ask(one.phone, "GET", path)
    return DONE
