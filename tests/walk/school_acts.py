"""What the school does: who comes, leaves and is closed, which rules hold, which day it is."""

import csv
import io
from datetime import date, timedelta
from typing import Any

from factories import make_document
from walk.campus import Staff
from walk.card_acts import PHONE_MINUTES, log_in, new_card
from walk.money_acts import CODES_A_MINUTE, follow_refunds, learn_what_came_back, pay_subsidies
from walk.people import TEMPORARY, Card, Person, first_of
from walk.walk import DONE, Walk, act, seconds_since

from backend import clock, jobs
from backend.closings.rules import months_after
from backend.ids import new_id
from backend.operators.models import Role

MOST_PEOPLE = 60
STUDENTS = ("student", "new_student")
WORDS = {"student": "学生", "new_student": "新生", "staff": "教工"}
HEADING = ("学工号", "姓名", "类别", "单位", "证件号码", "有效期至", "收搭伙费", "用工性质")
MAY_FILE = {
    Role.ACADEMIC: STUDENTS,
    Role.PERSONNEL: ("staff", "temporary_retired"),
    Role.CARD_CENTRE: (*STUDENTS, "staff", *TEMPORARY),
    Role.LOGISTICS: TEMPORARY,
}
LEAVE = {
    "graduation": STUDENTS, "leaving": (*STUDENTS, "staff"), "retirement": ("staff",),
    "early": TEMPORARY,
}  # fmt: skip
GOING_ON = ("started", "settling", "paying")
FEES = ("card.replacement_fee_fen", "card.replacement_fee_temporary_fen")
OWN_CLOSINGS = "closing.own_request"


def day_text(day: date) -> str:
    """Return a day as JSON carries it."""
    return day.isoformat()


def soon(walk: Walk, least: int = 3, most: int = 40) -> date:
    """Return a day that the walk may come to."""
    return walk.campus.day + timedelta(days=walk.chance.randrange(least, most))


@act(3)
def enrol(walk: Walk) -> str | None:
    """Import a list of people (名册): new ones, one that is faulty, all of it twice."""
    if sum(not one.closed for one in walk.people) >= MOST_PEOPLE:
        return None
    role = walk.chance.choice([Role.ACADEMIC, Role.ACADEMIC, Role.PERSONNEL])
    category = "staff" if role is Role.PERSONNEL else walk.chance.choice(STUDENTS)
    people = [_stranger(walk, category) for _ in range(walk.chance.randrange(1, 4))]
    walk.campus.documents += [one.document for one in people]
    employment = walk.chance.choice(["院编", "派遣制", ""]) if category == "staff" else ""
    word, faulty = WORDS[category], walk.chance.random() < 0.3
    rows = [
        (p.number, p.name, word, p.unit, p.document, day_text(p.valid_until), "否", employment)
        for p in people
    ]
    if faulty:
        rows.append((f"X{new_id().hex[:8]}", "某人", word, "某班", "1", "2029-01-01", "否", ""))
    sheet = io.StringIO()
    csv.writer(sheet).writerows([HEADING, *rows])
    batch = f"/staff/roster-imports?batch_id={new_id()}"
    who = walk.campus.one(role)
    for _ in range(2):
        said = walk.ask(who, "POST", batch, sheet.getvalue().encode()).body
        if (said["added"], len(said["faults"])) != (len(people), int(faulty)):
            raise walk.wrong(f"the roster says {said}")
    for one in people:
        meet(walk, one, "pending")
    return DONE


def _stranger(walk: Walk, category: str) -> Person:
    number = f"{category[:2].upper()}{new_id().hex[-10:]}"
    name = f"{walk.chance.choice('张王李赵')}同学"
    unit = f"{category}-{walk.chance.randrange(4)}班"
    return Person("", number, name, make_document(), category, unit, soon(walk))


def meet(walk: Walk, one: Person, state: str) -> None:
    """Get to know somebody who is new, by what the counter sees and the card says."""
    said = walk.ask(
        walk.campus.one(Role.CARD_CENTRE), "POST", "/staff/cards/lookups",
        {"holder_number": one.number},
    ).body  # fmt: skip
    (card,) = said["cards"]
    if card["state"] != state:
        raise walk.wrong(f"a new card is {card['state']}, not {state}")
    one.id = said["holder_id"]
    ((number,),) = walk.campus.rows("SELECT number FROM cards WHERE id = %s", card["id"])
    one.physical = Card(card["id"], state, str(number))
    walk.people.append(one)
    walk.agree(one)


@act(4)
def hand_cards_out(walk: Walk) -> str | None:
    """Make the list of a class whose cards wait, and hand each out, or not (发卡)."""
    one = walk.pick(lambda p: p.physical and p.physical.state == "pending" and not p.closed)
    if one is None or one.physical is None:
        return None
    centre = walk.campus.one(Role.CARD_CENTRE)
    lists = walk.memory["issue batches"]
    batch = next((id_ for id_, members in lists if one.id in members), None)
    if batch is None:
        batch = str(new_id())
        made = walk.ask(centre, "PUT", f"/staff/issue-batches/{batch}", {"unit": one.unit})
        lists.append((batch, {item["holder_id"] for item in made.body["items"]}))
        if one.id not in lists[-1][1]:
            raise walk.wrong("somebody whose card waits is on no list")
        return "listed"
    item = f"/staff/issue-batches/{batch}/items/{one.id}"
    if walk.chance.random() < 0.1:
        body: dict[str, Any] = {"outcome": "deferred", "reason": "on_leave", "note": "休学"}
        return walk.put(centre, f"{item}/decisions/{{}}", body, want={DONE, "item-decided"}).verdict
    body = {"signed_by": one.name, "signature": "self", "documents": ["id_document"]}
    answer = walk.put(centre, f"{item}/receipts/{{}}", body)
    one.happen(one.physical, "activate")
    for _, members in lists:
        members.discard(one.id)  # a card that comes later is on another list
    walk.agree(one)
    return answer.verdict


@act(3)
def exchange_cards(walk: Walk) -> str | None:
    """Exchange a new-student card of a class that is due (换卡)."""
    waiting = walk.campus.rows(
        "SELECT batch_id, holder_id FROM issue_items WHERE kind = 'exchange'"
        " AND (outcome IS NULL OR outcome = 'deferred')"
    )
    if not waiting:
        return None
    batch, holder_id = walk.chance.choice(waiting)
    one = by_id(walk, str(holder_id))
    card = one.physical
    assert card is not None
    refusals = {
        "lost": "card-lost", "frozen": "card-frozen", "expired": "card-expired",
        "closing": "account-closed", "closed": "transition-not-possible",
        "void": "transition-not-possible",
    }  # fmt: skip
    body = {"signed_by": one.name, "signature": "self", "documents": ["id_document"]}
    answer = walk.put(
        walk.campus.one(Role.CARD_CENTRE),
        f"/staff/issue-batches/{batch}/items/{holder_id}/receipts/{{}}",
        body,
        want=refusals.get(card.state, DONE),
    )
    if answer.ok:
        one.happen(card, "void")
        one.category = "student"
        new_card(walk, one)
    walk.agree(one)
    return answer.verdict


def by_id(walk: Walk, id_: str) -> Person:
    """Return who has an id."""
    return next(one for one in walk.people if one.id == id_)


@act(5)
def apply_for_temporary_cards(walk: Walk) -> str | None:
    """Take an application for temporary cards a step further (临时卡申请)."""
    cases = walk.memory["applications"]
    centre = walk.campus.one(Role.CARD_CENTRE)
    if not cases or walk.chance.random() < 0.25:
        return _apply(walk, centre)
    case = walk.chance.choice(cases)
    path = f"/staff/applications/{case['id']}"
    if case["state"] == "opened":
        return _after_opening(walk, case, path, centre)
    if walk.chance.random() < 0.08:
        walk.ask(centre, "PUT", f"{path}/withdrawal", None)
        cases.remove(case)
        return "withdrawn"
    if len(case["papers"]) < 2:
        kind = walk.chance.choice(["unit", "leader"])
        body = _paper(walk, kind)
        want = "approval-recorded" if kind in case["papers"] else DONE
        answer = walk.put(centre, f"{path}/approvals/{{}}", body, want=want)
        case["papers"].add(kind)
        return f"approval: {answer.verdict}"
    receipt = walk.chance.random() < 0.8
    want = DONE if receipt or case["category"] != "temporary_outsider" else "receipt-needed"
    if case["until"] < walk.today:
        return None
    body = {"receipt_number": f"R{new_id().hex[-12:]}" if receipt else None}
    answer = walk.put(centre, f"{path}/openings/{{}}", body, want=want)
    if answer.ok:
        case["state"] = "opened"
        _meet_all(walk, case, path, centre)
    return f"opening: {answer.verdict}"


def _apply(walk: Walk, centre: Staff) -> str | None:
    if sum(not one.closed for one in walk.people) >= MOST_PEOPLE:
        return None
    sponsor = walk.pick(lambda p: p.category == "staff") if walk.chance.random() < 0.9 else None
    category = walk.chance.choice(TEMPORARY[1:])
    documents = [make_document() for _ in range(walk.chance.randrange(1, 3))]
    walk.campus.documents += documents
    until = walk.today + (soon(walk) - walk.today)
    surcharge = walk.chance.random() < 0.7
    allowed = walk.chance.choice(
        [["pay", "identify", "finance", "information"], ["identify"], ["pay", "identify"]]
    )
    case = {
        "id": str(new_id()), "papers": set(), "state": "waiting", "until": until,
        "category": category, "surcharge": surcharge, "documents": documents, "allowed": allowed,
        "people": [],
    }  # fmt: skip
    body = {
        "oa_number": f"OA-{new_id().hex[-10:]}", "sponsor_unit": "后勤保卫处",
        "sponsor_number": sponsor.number if sponsor else "0", "purpose": "设备维护",
        "category": category, "permissions": allowed, "pays_surcharge": surcharge,
        "valid_from": day_text(walk.today), "valid_until": day_text(until),
        "people": [
            {"name": "马师傅", "unit": f"公司{number}", "document_kind": "resident_id",
             "document_number": document}
            for number, document in enumerate(documents)
        ],
    }  # fmt: skip
    want = DONE if sponsor else "sponsor-not-staff"
    answer = walk.ask(centre, "PUT", f"/staff/applications/{case['id']}", body, want=want)
    if answer.ok:
        walk.memory["applications"].append(case)
    return f"application: {answer.verdict}"


def _paper(walk: Walk, kind: str) -> dict[str, Any]:
    return {
        "kind": kind, "approver": "陈院长", "document": "附件1", "decided_on": day_text(walk.today),
    }  # fmt: skip


def _meet_all(walk: Walk, case: dict[str, Any], path: str, centre: Staff) -> None:
    told = walk.ask(centre, "GET", path).body["people"]
    numbers = dict(
        walk.campus.rows(
            "SELECT position, holder_number FROM applicants WHERE application_id = %s", case["id"]
        )
    )
    if len(told) != len(case["documents"]):
        raise walk.wrong("not everybody of an application has a card")
    every = {"pay", "identify", "finance", "information"}
    for place, document in enumerate(case["documents"], start=1):
        one = Person(
            "", str(numbers[place]), "马师傅", document, case["category"], f"公司{place - 1}",
            case["until"], pays_surcharge=case["surcharge"], denied=every - {*case["allowed"]},
        )  # fmt: skip
        meet(walk, one, "active")
        case["people"].append(one)


def _after_opening(walk: Walk, case: dict[str, Any], path: str, centre: Staff) -> str | None:
    if walk.chance.random() < 0.5:
        until = max(soon(walk), case["until"] + timedelta(days=1))
        body: dict[str, Any] = {
            "oa_number": f"OA-{new_id().hex[-10:]}", "valid_until": day_text(until),
            "approvals": [_paper(walk, kind) for kind in ("unit", "leader")],
        }  # fmt: skip
        answer = walk.put(centre, f"{path}/extensions/{{}}", body)
        case["until"] = until
        for one in case["people"]:
            if not one.closed and one.id not in walk.memory["left early"]:
                one.valid_until = until
                one.wake()
        walk.agree(*case["people"])
        return f"extension: {answer.verdict}"
    one = walk.chance.choice(case["people"])
    last = walk.campus.day + timedelta(days=walk.chance.randrange(3))
    if one.id in walk.memory["left early"]:
        want = "left-early"
    else:
        want = DONE if last < one.valid_until else "leaving-not-early"
    who = walk.campus.one(walk.chance.choice([Role.CARD_CENTRE, Role.LOGISTICS]))
    body = {"holder_id": one.id, "last_on": day_text(last), "reason": "合同提前结束"}
    answer = walk.put(who, f"{path}/early-leavings/{{}}", body, want=want)
    if answer.ok:
        one.valid_until = last
        walk.memory["left early"].append(one.id)
    return f"early leaving: {answer.verdict}"


@act(4)
def file_a_departure(walk: Walk) -> str | None:
    """Tell who leaves on a day, or take that back (离校, 离职)."""
    waiting = [one for one in walk.people if one.leaving]
    if waiting and walk.chance.random() < 0.25:
        one = walk.chance.choice(waiting)
        assert one.leaving is not None
        centre = walk.campus.one(Role.CARD_CENTRE)
        walk.ask(centre, "POST", f"/staff/departures/{one.leaving[0]}/withdrawal")
        one.leaving = None
        return "withdrawn"
    one = walk.pick(lambda p: walk.chance.random() < 0.3)
    if one is None:
        return None
    role = walk.chance.choice([*MAY_FILE])
    kind = walk.chance.choice([*LEAVE])
    if walk.chance.random() < 0.6:  # mostly as it has to be
        kind = next(
            kind for kind in ("graduation", "leaving", "early") if one.category in LEAVE[kind]
        )
        role = Role.CARD_CENTRE
    on = walk.campus.day + timedelta(days=walk.chance.randrange(1, 5))
    stale = one.leaving and not _leaves_as_filed(one)
    if one.category not in LEAVE[kind] or one.category not in MAY_FILE[role]:
        want = "departure-not-possible"
    else:
        want = "departure-scheduled" if one.leaving and not stale else DONE
    id_ = new_id()
    body = {
        "holder_numbers": [one.number], "kind": kind, "effective_on": day_text(on),
        "document": "人事9号",
    }  # fmt: skip
    answer = walk.ask(walk.campus.one(role), "PUT", f"/staff/departures/{id_}", body, want=want)
    if answer.ok:
        one.leaving = (str(id_), on, kind, one.category)
    return f"{kind}: {answer.verdict}"


def _leaves_as_filed(one: Person) -> bool:
    """Say whether somebody is of the category that their departure was filed for."""
    assert one.leaving is not None
    kinds = {
        "student" if kind == "new_student" else kind for kind in (one.leaving[3], one.category)
    }
    return len(kinds) == 1


@act(3)
def retire(walk: Walk) -> str | None:
    """Give a retiree the temporary card in place of the staff card (退休换卡)."""
    one = walk.pick(lambda p: p.category == "staff" or walk.chance.random() < 0.05,
                    lambda p: walk.chance.random() < 0.2)  # fmt: skip
    if one is None:
        return None
    if one.closed:
        want = "account-closed"
    elif one.category != "staff":
        want = "not-staff"
    elif (
        one.valid_until > months_after(walk.today, 36)
        and (one.leaving is None or one.leaving[2] != "retirement")
        and not walk.campus.rows("SELECT FROM retirements WHERE holder_id = %s", one.id)
    ):
        want = "retirement-too-early"
    else:
        live = one.physical and not one.physical.gone
        frozen = live and one.physical and one.physical.state == "frozen"
        want = "transition-not-possible" if frozen else DONE
    body = {"holder_number": one.number, "document": "人事10号"}
    answer = walk.put(walk.campus.one(Role.CARD_CENTRE), "/staff/retirements/{}", body, want=want)
    if answer.ok:
        if one.physical and not one.physical.gone:
            one.happen(one.physical, "void")
        one.category = "temporary_retired"
        ((one.valid_until,),) = walk.campus.rows(
            "SELECT valid_until FROM holders WHERE id = %s", one.id
        )
        new_card(walk, one)
        one.wake()
    walk.agree(one)
    return answer.verdict


@act(3)
def change_category(walk: Walk) -> str | None:
    """Note that somebody is another kind of holder from a day on (类别变更)."""
    one = walk.pick(lambda p: not p.closed)
    if one is None:
        return None
    if one.change and walk.chance.random() < 0.4:
        path = f"/staff/holders/{one.id}/category-changes/{one.change['id']}/withdrawal"
        walk.ask(walk.campus.one(Role.CARD_CENTRE), "POST", path)
        one.change = None
        return "taken back"
    category = walk.chance.choice(["student", "staff", "temporary_trainee"])
    on = walk.chance.choice([walk.today, walk.campus.day + timedelta(days=2)])
    until = walk.chance.choice([None, soon(walk, 10, 60)])
    body = {
        "category": category, "unit": "新单位", "from": day_text(on), "document_number": "人事11号",
        "valid_until": until and day_text(until),
    }  # fmt: skip
    want = "change-waiting" if one.change else DONE
    path = f"/staff/holders/{one.id}/category-changes/{{}}"
    answer = walk.put(walk.campus.one(Role.CARD_CENTRE), path, body, want=want)
    if answer.ok:
        one.change = {"id": answer.body["id"], "category": category, "from": on, "until": until}
        if on <= walk.today:
            apply_change(one, walk.today)
            walk.agree(one)
    return answer.verdict


def apply_change(one: Person, today: date) -> None:
    """Make somebody who they are from today on; where their last day is to come, cards wake."""
    assert one.change is not None
    one.category, one.unit = one.change["category"], "新单位"
    if one.category not in TEMPORARY:
        one.pays_surcharge = False
    one.valid_until = one.change["until"] or one.valid_until
    one.change = None
    if one.valid_until >= today:
        one.wake()


@act(3)
def change_data(walk: Walk) -> str | None:
    """Change a name or a document, by two people (信息变更)."""
    one = walk.pick()
    if one is None:
        return None
    first, second = walk.campus.two(Role.CARD_CENTRE)
    field = walk.chance.choice(["name", "document"])
    value = make_document() if field == "document" else f"{walk.chance.choice('钱孙周吴')}同学"
    in_use = field == "document" and walk.chance.random() < 0.2
    other = walk.pick(lambda p: p is not one)
    if in_use and other:
        value = other.document
    elif field == "document":
        in_use = False
        walk.campus.documents.append(value)
    id_ = new_id()
    body = {"field": field, "value": value, "documents": ["police_certificate"]}
    if field == "document":
        body["document_kind"] = "resident_id"
    path = f"/staff/holders/{one.id}/data-changes/{id_}"
    answer = walk.ask(first, "PUT", path, body, want="document-in-use" if in_use else DONE)
    if not answer.ok:
        return answer.verdict
    path = f"/staff/data-changes/{id_}/approval"
    walk.ask(first, "PUT", path, {"approve": True}, want="second-person-needed")
    approve = walk.chance.random() < 0.8
    walk.ask(second, "PUT", path, {"approve": approve})
    if approve:
        one.proven.add(field)
    if approve and field == "name":
        one.name = value
    elif approve:
        one.document = value
    return "approved" if approve else "refused"


@act(3)
def make_exceptions(walk: Walk) -> str | None:
    """Deny or allow one use of one card, or end that (权限例外)."""
    one = walk.pick()
    if one is None:
        return None
    centre, known = walk.campus.one(Role.CARD_CENTRE), walk.memory["exceptions"]
    own = [found for found in known if found[0] is one]
    if own and walk.chance.random() < 0.5:
        found = walk.chance.choice(own)
        walk.ask(centre, "DELETE", f"/staff/holders/{one.id}/permission-overrides/{found[1]}")
        one.denied.discard(found[2])
        known.remove(found)
        return "ended"
    permission = walk.chance.choice(["pay", "identify", "finance"])
    allowed, id_ = walk.chance.random() < 0.6, new_id()
    body = {
        "permission": permission, "allowed": allowed, "reason": "违规",
        "document_number": "学工5号",
    }  # fmt: skip
    walk.ask(centre, "PUT", f"/staff/holders/{one.id}/permission-overrides/{id_}", body)
    for found in [found for found in own if found[2] == permission]:
        known.remove(found)
    known.append((one, str(id_), permission))
    (one.denied.discard if allowed else one.denied.add)(permission)
    return DONE


@act(5)
def close_an_account(walk: Walk) -> str | None:
    """Start to close an account, call it a mistake, or let a check pass (销户)."""
    one = walk.pick(lambda p: p.closing_state in GOING_ON or walk.chance.random() < 0.1)
    if one is None:
        return None
    centre = walk.campus.one(Role.CARD_CENTRE)
    way = walk.chance.choice(["start", "cancel", "waive", "own"])
    if one.closing is None:
        way = walk.chance.choice(["start", "own"])
    if way == "own":
        return _close_by_phone(walk, one)
    if way == "start":
        id_ = new_id()
        kind = walk.chance.choice(["leaving", "leaving", "early", "own_request", "expiry"])
        body = {"holder_number": one.number, "kind": kind, "document": "人事1号"}
        want = first_of(
            (one.closed, "already-closing"),
            (not _is_closed_as(walk, one, kind), "closing-kind-not-possible"),
        )
        answer = walk.ask(centre, "PUT", f"/staff/closings/{id_}", body, want=want)
        if answer.ok:
            start_closing(one, str(id_))
    elif way == "cancel":
        path = f"/staff/closings/{one.closing}/cancellation"
        late = one.closing_state in ("paying", "closed")
        answer = walk.ask(centre, "POST", path, want="closing-not-possible" if late else DONE)
        if answer.ok and one.closing_state != "cancelled":
            one.closing_state = "cancelled"
            for card in one.cards:
                one.happen(card, "cancel_closing")
    else:
        path = f"/staff/closings/{one.closing}/waivers"
        body = {"check": "reviews", "reason": "无"}
        answer = walk.ask(centre, "POST", path, body, want="check-not-waivable")
    walk.agree(one)
    return f"{way}: {answer.verdict}"


def _is_closed_as(walk: Walk, one: Person, kind: str) -> bool:
    """Say whether somebody is closed so at the counter today."""
    over = one.valid_until < walk.today
    return {
        "leaving": one.category not in TEMPORARY,
        "early": one.category in TEMPORARY,
        "expiry": one.category in TEMPORARY and over,
        "own_request": True,
    }[kind]


def _close_by_phone(walk: Walk, one: Person) -> str | None:
    """Ask from the phone that the account be closed, or take that back (本人销户)."""
    if one.phone is None:
        return None
    if one.closing and one.closing_state != "cancelled" and walk.chance.random() < 0.6:
        own = one.closing in walk.memory["own"]
        late = one.closing_state in ("paying", "closed")
        want = first_of((not own, "not-found"), (late, "closing-not-possible"))
        answer = walk.ask(one.phone, "DELETE", f"/me/closings/{one.closing}", want=want)
        if answer.ok:
            one.closing_state = "cancelled"
            for card in one.cards:
                one.happen(card, "cancel_closing")
        walk.agree(one)
        return f"taken back: {answer.verdict}"
    if seconds_since(one.logged_in) > PHONE_MINUTES * 60:
        one.phone = log_in(walk, one)
    want = first_of(
        (not walk.memory["own closings"], "own-closing-off"), (one.closed, "already-closing")
    )
    id_ = new_id()
    answer = walk.ask(one.phone, "PUT", f"/me/closings/{id_}", want=want)
    if answer.ok:
        start_closing(one, str(id_))
        walk.memory["own"].append(str(id_))
    walk.agree(one)
    return f"own: {answer.verdict}"


def start_closing(one: Person, id_: str) -> None:
    """Believe that an account closes: no card works any more."""
    one.closing, one.closing_state = id_, "started"
    one.closing_paid = one.closing_withdrawn = 0
    for card in one.cards:
        one.happen(card, "start_closing")


@act(3)
def close_graduates(walk: Walk) -> str | None:
    """Put students into a batch, exempt one, run it (毕业生集中销户)."""
    chosen = [one for one in walk.people if walk.chance.random() < 0.03][:4]
    if not chosen:
        return None
    batch, (centre, second) = new_id(), walk.campus.two(Role.CARD_CENTRE)
    strangers = any(one.category not in STUDENTS for one in chosen)
    body = {
        "graduated_on": day_text(walk.today), "document": "教务1号",
        "holder_numbers": [one.number for one in chosen],
    }  # fmt: skip
    path = f"/staff/closing-batches/{batch}"
    want = "not-a-student" if strangers else DONE
    answer = walk.ask(centre, "PUT", path, body, want=want)
    if not answer.ok:
        return answer.verdict
    rows = walk.ask(centre, "GET", f"{path}/preview").body["items"]
    exempted = walk.chance.choice(rows)
    one = next(one for one in chosen if one.number == exempted["holder_number"])
    answer = walk.ask(
        centre, "PUT", f"{path}/graduates/{exempted['id']}",
        {"exemption": "deferred", "reason": "延期一年",
         "until": day_text(walk.today + timedelta(days=365))},
        want="closing-started" if one.closed else DONE,
    )  # fmt: skip
    kept = one if answer.ok else None
    walk.ask(centre, "POST", f"{path}/runs", want="batch-not-approved")
    walk.ask(centre, "POST", f"{path}/approval", want="second-person-needed")
    walk.ask(second, "POST", f"{path}/approval")
    walk.ask(centre, "POST", f"{path}/runs")
    for one in chosen:
        goes_on = one.valid_until >= walk.today  # no graduate: skipped, by its last day
        if one is not kept and not one.closed and not goes_on:
            start_closing(one, live_closing(walk, one))
    walk.agree(*chosen)
    return DONE


@act(5)
def let_days_pass(walk: Walk) -> str | None:
    """Let a day or more go by, with all that its jobs do."""
    days = walk.chance.choice([1, 1, 1, 2, 4])
    for _ in range(days):
        pass_one_day(walk)
    return DONE


def pass_one_day(walk: Walk) -> None:
    """Let one day go by, and believe what it brings, in the order in which it comes."""
    walk.campus.pass_day()
    day = walk.campus.day
    for one in walk.people:
        if one.change and one.change["from"] <= day:
            apply_change(one, day)
        if one.leaving and one.leaving[1] <= day:
            _leave(walk, one)
        if one.valid_until < day:
            for card in one.cards:
                if card.state in ("active", "lost", "frozen"):
                    one.happen(card, "expire")
        if one.category in TEMPORARY and one.valid_until < day and not one.closed:
            _closed_by_a_job(walk, one)
    learn_what_came_back(walk)
    _learn_who_was_gathered(walk)
    follow_closings(walk)
    pay_subsidies(walk)
    walk.agree(*walk.people)


def _learn_who_was_gathered(walk: Walk) -> None:
    """Learn which graduates' accounts the job closes, so that all are closed in three months."""
    for id_, holder_id in walk.campus.rows(
        "SELECT id, holder_id FROM closings WHERE kind = 'graduation' AND state <> 'cancelled'"
    ):
        one = by_id(walk, str(holder_id))
        if not one.closed and str(id_) not in one.past_closings:
            if one.category not in STUDENTS or one.valid_until >= walk.campus.day:
                raise walk.wrong(f"{one.name}'s account is closed as a graduate's")
            start_closing(one, str(id_))


def _leave(walk: Walk, one: Person) -> None:
    assert one.leaving is not None
    _, on, kind, _ = one.leaving
    retired = kind == "retirement" and one.category in TEMPORARY
    stays = not _leaves_as_filed(one) and not retired
    one.leaving = None
    if stays:
        return
    if kind == "graduation":
        one.valid_until = min(one.valid_until, on - timedelta(days=1))
    elif not (one.closed or (kind == "retirement" and one.category in TEMPORARY)):
        _closed_by_a_job(walk, one)


def _closed_by_a_job(walk: Walk, one: Person) -> None:
    start_closing(one, live_closing(walk, one))


def live_closing(walk: Walk, one: Person) -> str:
    """Return the closing of somebody that the school began and nobody has undone."""
    found = [
        str(id_)
        for (id_,) in walk.campus.rows(
            "SELECT id FROM closings WHERE holder_id = %s AND state <> 'cancelled'", one.id
        )
        if str(id_) not in one.past_closings
    ]
    if not found:
        raise walk.wrong(f"nobody closes the account of {one.name}")
    return found[0]


@act(3)
def take_closings_on(walk: Walk) -> str | None:
    """Run the job that takes closings on, and pay what is on the list (打款)."""
    jobs.advance_closings(walk.campus.parts, walk.campus.later)
    follow_closings(walk)
    maker, checker = walk.campus.two(Role.FINANCE)
    path = f"/staff/payout-batches/{new_id()}"
    listed = walk.campus.rows("SELECT count(*) FROM payout_lines WHERE state = 'listed'")[0][0]
    answer = walk.ask(maker, "PUT", path, want=DONE if listed else "nothing-to-pay")
    if not answer.ok:
        return answer.verdict
    walk.ask(maker, "POST", f"{path}/decision", {"approve": True}, want="second-person-needed")
    if walk.chance.random() < 0.2:
        walk.ask(checker, "POST", f"{path}/decision", {"approve": False})
        return "refused"
    walk.ask(checker, "POST", f"{path}/decision", {"approve": True})
    for line in walk.ask(maker, "GET", path).body["items"]:
        paid = {"bank_reference": f"B-{line['id'][-6:]}"}
        walk.ask(maker, "PUT", f"/staff/payout-lines/{line['id']}/payment", paid)
        if walk.chance.random() < 0.15:
            bounced = f"/staff/payout-lines/{line['id']}/bounce"
            walk.ask(maker, "PUT", bounced, {"reason": "账号已注销"})
    jobs.advance_closings(walk.campus.parts, walk.campus.later)
    follow_closings(walk)
    return "paid"


def follow_closings(walk: Walk) -> None:
    """Learn how far closings are, and see that each is as it has to be."""
    for one in walk.people:
        if one.closing is None or one.closing_state == "cancelled":
            continue
        ((state, paid, withdrawn, standing),) = walk.campus.rows(
            "SELECT state, paid_fen, withdrawn_fen, standing FROM closings WHERE id = %s",
            one.closing,
        )
        if state in ("paying", "closed"):
            moved = (paid - one.closing_paid, withdrawn - one.closing_withdrawn)
            if moved != (one.main, one.subsidy):
                raise walk.wrong(f"{moved} left the purses, not {(one.main, one.subsidy)}")
            one.main = one.subsidy = 0
            one.closing_paid, one.closing_withdrawn = paid, withdrawn
            follow_refunds(walk, one)
        elif state == "settling" and not standing:
            raise walk.wrong("a closing waits for nothing")
        elif state == "settling":
            open_ = any(order.state == "waiting" for order in one.top_ups)
            if "unpaid-orders" in standing and not open_:
                raise walk.wrong("a closing waits for orders that nobody has")
        if state == "closed":
            for card in one.cards:
                one.happen(card, "close")
        one.closing_state = str(state)
        walk.agree(one)


@act(3)
def change_policies(walk: Walk) -> str | None:
    """Propose another fee, or that holders close their accounts by themselves or do not (政策).

    Another person approves it, or it is taken back.
    """
    waiting = walk.memory["proposals"]
    if waiting and walk.chance.random() < 0.6:
        id_, maker, changes = waiting.pop()
        path = f"/staff/policy-proposals/{id_}"
        walk.ask(maker, "POST", f"{path}/approval", want="second-person-needed")
        may = _decides_on(changes)
        others = [one for role in may for one in walk.campus.staff[role] if one is not maker]
        checker = walk.chance.choice(others)
        if walk.chance.random() < 0.2:
            walk.ask(checker, "POST", f"{path}/withdrawal", {"reason": "不妥"})
            return "withdrawn"
        walk.ask(checker, "POST", f"{path}/approval")
        walk.memory["fee_fen"] = changes.get(FEES[0], walk.memory["fee_fen"])
        walk.memory["own closings"] = changes.get(OWN_CLOSINGS, walk.memory["own closings"])
        return "approved"
    role = walk.chance.choice([Role.FINANCE, Role.CARD_CENTRE, Role.LOGISTICS])
    maker, id_ = walk.campus.one(role), new_id()
    changes: dict[str, Any] = walk.chance.choice(
        [dict.fromkeys(FEES, walk.chance.randrange(100, 4_000)),
         {OWN_CLOSINGS: not walk.memory["own closings"]}]
    )  # fmt: skip
    body = {"changes": changes, "document_number": "财务8号", "reason": "情况变化"}
    want = DONE if role in _decides_on(changes) else "role-not-allowed"
    answer = walk.ask(maker, "PUT", f"/staff/policy-proposals/{id_}", body, want=want)
    if answer.ok:
        waiting.append((str(id_), maker, changes))
    return answer.verdict


def _decides_on(changes: dict[str, Any]) -> tuple[Role, ...]:
    """Return who proposes and who approves: what is no money is the card centre's alone."""
    return (Role.CARD_CENTRE,) if OWN_CLOSINGS in changes else (Role.FINANCE, Role.CARD_CENTRE)


@act(1)
def declare_an_emergency(walk: Walk) -> str | None:
    """Open all gates to the outside, or end that (应急)."""
    who, going_on = walk.campus.one(Role.LOGISTICS), walk.memory["emergencies"]
    if going_on:
        walk.ask(who, "DELETE", f"/staff/emergencies/{going_on.pop()}")
        return "ended"
    body = {"reason": "火警演练", "minutes": 600}
    going_on.append(walk.ask(who, "POST", "/staff/emergencies", body).body["id"])
    return "declared"


@act(1)
def appoint(walk: Walk) -> str | None:
    """Appoint somebody to the staff, by two administrators, and suspend them again."""
    first, second = walk.campus.two(Role.SYSTEM_ADMINISTRATOR)
    known = walk.memory["appointed"]
    change = new_id()
    if known and walk.chance.random() < 0.5:
        id_ = known.pop()
        body: dict[str, Any] = {"kind": "suspend"}
        path = f"/staff/operators/{id_}/changes/{change}"
        return f"suspension: {walk.ask(first, 'PUT', path, body).verdict}"
    id_ = new_id()
    body = {"username": f"n{id_.hex[-12:]}", "name": "新同事", "role": "finance"}
    answer = walk.ask(first, "PUT", f"/staff/operators/{id_}", body)
    path = f"/staff/operators/{id_}/changes/{answer.body['id']}/decision"
    walk.ask(first, "PUT", path, {"approve": True}, want="second-person-needed")
    walk.ask(second, "PUT", path, {"approve": True})
    known.append(str(id_))
    return "appointed"


@act(2)
def look_into_the_log(walk: Walk) -> str | None:
    """Seal the log and have it verified; look for somebody's operations (台账)."""
    one = walk.pick()
    if one is None:
        return None
    jobs.seal_log(walk.campus.parts, clock.now())
    auditor = walk.campus.one(Role.AUDITOR)
    said = walk.ask(auditor, "POST", "/staff/operation-log/verifications", {}).body
    if not said["holds"]:
        raise walk.wrong(f"the operation log does not hold: {said}")
    found = walk.ask(
        auditor, "POST", "/staff/operation-log/searches", {"holder_number": one.number}
    ).body
    if not found["items"]:
        raise walk.wrong("nothing is on record of somebody")
    return DONE


def begin(walk: Walk) -> None:
    """Fill the college with some people of every kind, and let phones draw many codes."""
    walk.memory["fee_fen"], walk.memory["own closings"] = 2_000, False
    maker, checker = walk.campus.two(Role.CARD_CENTRE)
    id_ = new_id()
    body = {
        "changes": {
            "code.issues_per_minute": CODES_A_MINUTE, "offline.money": True,
            "closing.own_request": False,
        },
        "document_number": "卡中心1号", "reason": "多人同时用码, 网络不稳",
    }  # fmt: skip
    walk.ask(maker, "PUT", f"/staff/policy-proposals/{id_}", body)
    walk.ask(checker, "POST", f"/staff/policy-proposals/{id_}/approval")
    while len(walk.people) < 12:
        enrol(walk)
    for one in walk.people:
        if walk.chance.random() < 0.8 and one.physical:
            path = f"/staff/cards/{one.physical.id}/operations/{new_id()}"
            walk.ask(maker, "PUT", path, {"event": "activate", "documents": ["id_document"]})
            one.happen(one.physical, "activate")
