"""What the offices decide beside the cards: flags, gates, findings, and who comes back."""

import csv
import io
from datetime import timedelta

from walk.campus import Campus
from walk.card_acts import new_card
from walk.people import TEMPORARY, Person, first_of
from walk.school_acts import HEADING, STUDENTS, WORDS, day_text, soon
from walk.walk import DONE, Walk, act

from backend.ids import new_id
from backend.operators.models import Role


@act(3)
def flag_for_the_surcharge(walk: Walk) -> str | None:
    """Say whether somebody's meals cost the surcharge (搭伙费对象): temporary holders alone."""
    one = walk.pick(lambda p: p.category in TEMPORARY or walk.chance.random() < 0.05)
    if one is None:
        return None
    who = walk.campus.one(walk.chance.choice([Role.LOGISTICS, Role.CARD_CENTRE]))
    pays = walk.chance.random() < 0.5
    body = {"pays_surcharge": pays, "document_number": "后勤12号"}
    want = DONE if one.category in TEMPORARY else "never-surcharged"
    answer = walk.ask(who, "PUT", f"/staff/surcharge-flags/{one.id}", body, want=want)
    if answer.ok:
        one.pays_surcharge = pays
    return answer.verdict


@act(2)
def decide_who_may_pass(walk: Walk) -> str | None:
    """Put other rules in force at a gate, or those that it came with (通行规则)."""
    gate = walk.chance.choice(walk.campus.gates)
    rules = [
        (walk.chance.random() < 0.6, walk.chance.choice([*STUDENTS, "staff", *TEMPORARY]))
        for _ in range(walk.chance.randrange(3))
    ]
    open_ = walk.chance.random() < 0.8
    body = {
        "offline": "signed", "passback_minutes": 0, "default": "allow" if open_ else "deny",
        "rules": [{"allow": allow, "category": category} for allow, category in rules],
    }  # fmt: skip
    who = walk.campus.one(walk.chance.choice([Role.LOGISTICS, Role.CARD_CENTRE]))
    answer = walk.ask(who, "PUT", f"/staff/gates/{gate.id}/access", body)
    gate.default, gate.rules = open_, rules
    return answer.verdict


@act(3)
def reopen_an_account(walk: Walk) -> str | None:
    """Open the account of somebody who comes back (复户), once all that it held is paid."""
    one = walk.pick(lambda p: p.closing_state == "closed" or walk.chance.random() < 0.03,
                    lambda p: p.category not in TEMPORARY)  # fmt: skip
    if one is None:
        return None
    over = walk.chance.random() < 0.1
    until = walk.today - timedelta(days=1) if over else soon(walk, 10, 60)
    want = first_of(
        (_is_owed(walk.campus, one), "payout-open"),
        (one.closed and one.closing_state != "closed", "account-closed"),
        (not one.closed, "account-open"),
        (over, "card-expired"),
    )
    body = {"holder_number": one.number, "document": "人事14号", "valid_until": day_text(until)}
    answer = walk.put(walk.campus.one(Role.CARD_CENTRE), "/staff/reopenings/{}", body, want=want)
    if answer.ok:
        assert one.closing is not None
        one.past_closings.append(one.closing)
        one.closing = one.closing_state = one.request = None
        one.bound, one.phone, one.valid_until = False, None, until
        new_card(walk, one)
    walk.agree(one)
    return answer.verdict


def _is_owed(campus: Campus, one: Person) -> bool:
    return bool(
        campus.rows(
            "SELECT 1 FROM payout_lines WHERE holder_id = %s AND state IN ('listed', 'batched')",
            one.id,
        )
    )


@act(2)
def screen_the_accounts(walk: Walk) -> str | None:
    """Look through all accounts after a term, decide on what was found, file it (清查)."""
    centre, under_way = walk.campus.one(Role.CARD_CENTRE), walk.memory["screenings"]
    if not under_way:
        term = walk.chance.choice(["2024-2025-1", "2024-2025-2", "2025-2026-2", "2098-2099-1", "X"])
        known = term not in ("2098-2099-1", "X")
        id_ = new_id()
        answer = walk.ask(
            centre, "PUT", f"/staff/screenings/{id_}", {"term": term},
            want=DONE if known else "term-unknown",
        )  # fmt: skip
        if answer.ok:
            found = {(item["holder_number"], item["finding"]) for item in answer.body["items"]}
            over = {
                (one.number, "expired")
                for one in walk.people
                if one.valid_until < walk.today and not one.closed and one.cards
            }
            if {item for item in found if item[1] == "expired"} != over:
                raise walk.wrong(f"a screening finds {found}, where {over} have expired")
            under_way.append((str(id_), [item["id"] for item in answer.body["items"]]))
        return f"made: {answer.verdict}"
    id_, open_ = under_way[0]
    path = f"/staff/screenings/{id_}"
    if walk.chance.random() < 0.3:
        answer = walk.ask(
            centre, "POST", f"{path}/filing", want="screening-open" if open_ else DONE
        )
        if answer.ok:
            under_way.clear()
        return f"filed: {answer.verdict}"
    for item in [open_.pop() for _ in range(min(len(open_), 20))]:
        outcome = walk.chance.choice(["close", "extend", "contact", "keep"])
        body = {"outcome": outcome, "reason": "已核实"}
        walk.ask(centre, "PUT", f"{path}/items/{item}", body)
    return "decided"


@act(3)
def write_a_name_anew(walk: Walk) -> str | None:
    """Import somebody of the roster with another name: a proven one stays (名册差异)."""
    one = walk.pick(lambda p: p.category in WORDS, lambda p: not p.change)
    if one is None:
        return None
    role = Role.PERSONNEL if one.category == "staff" else Role.ACADEMIC
    name = f"{walk.chance.choice('冯陈褚卫')}同学"
    proven = "name" in one.proven
    row = (one.number, name, WORDS[one.category], one.unit, one.document,
           day_text(one.valid_until), "", "")  # fmt: skip
    sheet = io.StringIO()
    csv.writer(sheet).writerows([HEADING, row])
    said = walk.ask(
        walk.campus.one(role), "POST", f"/staff/roster-imports?batch_id={new_id()}",
        sheet.getvalue().encode(),
    ).body  # fmt: skip
    told = [conflict["column"] for conflict in said["conflicts"]]
    ((stands,),) = walk.campus.rows("SELECT name FROM holders WHERE id = %s", one.id)
    if stands != (one.name if proven else name) or said["faults"]:
        raise walk.wrong(f"the roster made {stands} of {one.name}: {said}")
    if not proven:
        one.name = name
        return "changed"
    return _settle(walk, one, name) if "name" in told else "kept"


def _settle(walk: Walk, one: Person, name: str) -> str:
    """Settle what the roster says against a proven name: one keeps it, two take the new one."""
    ((conflict,),) = walk.campus.rows(
        "SELECT id FROM roster_conflicts WHERE holder_id = %s AND field = 'name'"
        " AND settled_at IS NULL",
        one.id,
    )
    accept, proposed = walk.chance.random() < 0.5, walk.chance.random() < 0.5
    first, second = walk.campus.two(Role.CARD_CENTRE)
    path = f"/staff/roster-conflicts/{conflict}/settlement"
    if accept or proposed:
        for _ in range(2):
            said = walk.ask(first, "PUT", path, {"accept": True}).body
            if said["settled_at"] is not None:
                raise walk.wrong("one person alone took the roster's name over a proven one")
    one_of_them = second if accept else walk.chance.choice([first, second])
    walk.ask(one_of_them, "PUT", path, {"accept": accept})
    walk.ask(one_of_them, "PUT", path, {"accept": not accept}, want="conflict-settled")
    if accept:
        one.name = name
        one.proven.discard("name")
    return "taken over" if accept else "proven one kept"
