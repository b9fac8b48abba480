"""A small college through a year: everything happens on its day, and stands in the log (台账).

`make year` passes every day and prints the diary; here quiet weeks are left out.
"""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from flask import json
from school_year import Member, Year, empty_database, found_college
from sqlalchemy import select

from backend import clock
from backend.charges.models import ChargeState
from backend.db import transaction
from backend.ids import new_id
from backend.operators.models import Role
from backend.policies.models import Policy
from backend.settings import Settings

BEGINS, ENDS = date(2027, 9, 1), date(2028, 8, 31)
OLD_CLASS, NEW_CLASS = "软件2501班", "软件2701班"
STUDENTS = {"category": "学生", "unit": OLD_CLASS, "until": "2028-12-31", "entered": "2025-09-01"}
NEW_STUDENTS = {
    "category": "新生", "unit": NEW_CLASS, "until": "2030-07-15", "entered": "2027-09-01"
}  # fmt: skip
TEACHERS = {"category": "教工", "unit": "图书馆", "until": "", "entered": "2010-03-01"}
EVERYTHING = {"signature": "self", "documents": ["id_document"]}


class People:
    """Who lives here."""

    def __init__(self) -> None:
        self.graduate = Member("20250101", "王小明", "20060312")
        self.deferred = Member("20250102", "李思雨", "20060721")
        self.saver = Member("20250103", "周欣怡", "20060425")
        self.fresh = Member("20270101", "吴一诺", "20090214")
        self.late = Member("20270102", "郑凯", "20090809")
        self.leaver = Member("T1207", "刘芳", "19880923", platform="alipay")
        self.retiree = Member("T0042", "何秀兰", "19730411")
        self.sponsor = Member("T0881", "张建国", "19790615")
        self.mechanic = Member("", "马建军", "19871109")

    @property
    def students(self) -> tuple[Member, ...]:
        return self.graduate, self.deferred, self.saver

    @property
    def freshmen(self) -> tuple[Member, ...]:
        return self.fresh, self.late

    @property
    def teachers(self) -> tuple[Member, ...]:
        return self.leaver, self.retiree, self.sponsor


@pytest.fixture
def year(
    database_url: str, redis_url: str, worker: int, settings: Settings, tmp_path: Path
) -> Iterator[Year]:
    """The college, on the evening before its first day."""
    mine = re.sub(r"db=\d+", f"db={13 - worker}", redis_url)
    with (
        empty_database(database_url) as database,
        found_college(
            tmp_path, database.replace("//postgres@", "//campus_card_app@"), mine, settings, BEGINS
        ) as college,
    ):
        college.parts.redis.flushdb()
        yield college
        college.parts.redis.flushdb()


def on(month: int, day: int) -> date:
    """Return a day of the school year."""
    return date(BEGINS.year + (month < BEGINS.month), month, day)


def test_a_year(year: Year) -> None:
    people = People()
    arrive(year, people)
    live(year, people)
    end_temporary_card(year, people)
    leave_and_retire(year, people)
    graduate(year, people)
    year.live_until(ENDS)
    year.work()
    check_days(year, people)
    check_evidence(year, people)
    check_copy(year, people)
    check_books(year)


def roster(columns: dict[str, str], members: tuple[Member, ...]) -> bytes:
    head = "学工号,姓名,类别,单位,证件号码,有效期至,用工性质,入校日期"
    employment = "事业编" if columns["category"] == "教工" else ""
    rows = [
        ",".join(
            (member.number, member.name, columns["category"], columns["unit"], member.document,
             columns["until"], employment, columns["entered"])
        )
        for member in members
    ]  # fmt: skip
    return "\n".join([head, *rows, ""]).encode()


def arrive(year: Year, people: People) -> None:
    """September: the roster, cards by class, phones, money, a temporary card."""
    year.live_until(BEGINS)
    for role, source, columns, members in (
        (Role.ACADEMIC, "academic", STUDENTS, people.students),
        (Role.ACADEMIC, "academic", NEW_STUDENTS, people.freshmen),
        (Role.PERSONNEL, "personnel", TEACHERS, people.teachers),
    ):
        report = year.send(
            "POST", f"/staff/roster-imports?source={source}", roster(columns, members),
            {**year.clerk(role), "Content-Type": "text/csv"},
        )  # fmt: skip
        assert (report["added"], report["faults"]) == (len(members), []), report
        for member in members:
            year.enrol(member)
    year.live_until(on(9, 2))
    for unit, members in (
        (OLD_CLASS, people.students), (NEW_CLASS, people.freshmen), ("图书馆", people.teachers),
    ):  # fmt: skip
        batch = f"/staff/issue-batches/{new_id()}"
        year.send("PUT", batch, {"unit": unit}, year.clerk(Role.CARD_CENTRE), expect=201)
        sign_for(year, batch, members)
    year.live_until(on(9, 3))
    for member, amount_fen in (
        (people.graduate, 20_000), (people.fresh, 10_000), (people.leaver, 5_000),
        (people.retiree, 3_000), (people.deferred, 1_000), (people.late, 1_000),
    ):  # fmt: skip
        year.bind(member)
        year.top_up(member, amount_fen)
    year.live_until(on(9, 6))
    assert year.eat(people.graduate, 850)["total_fen"] == 850
    assert year.pass_gate(people.fresh)["decision"] == "allow"
    apply_for(year, people)
    take_cash(year, people)


def sign_for(year: Year, batch: str, members: tuple[Member, ...]) -> None:
    for member in members:
        year.send(
            "PUT", f"{batch}/items/{member.id}/receipts/{new_id()}",
            {"signed_by": member.name, **EVERYTHING}, year.clerk(Role.CARD_CENTRE), expect=201,
        )  # fmt: skip


def apply_for(year: Year, people: People) -> None:
    """A mechanic of another company gets a card for as long as the contract runs."""
    year.live_until(on(9, 10))
    centre, path = year.clerk(Role.CARD_CENTRE), f"/staff/applications/{new_id()}"
    wanted = {
        "oa_number": "OA-2027-0815", "sponsor_unit": "图书馆",
        "sponsor_number": people.sponsor.number, "purpose": "电梯维护",
        "category": "temporary_outsider", "permissions": ["pay", "identify", "finance"],
        "pays_surcharge": True, "valid_from": str(on(9, 15)), "valid_until": str(on(1, 31)),
        "people": [{"name": people.mechanic.name, "unit": "设备维护公司",
                    "document_kind": "resident_id",
                    "document_number": people.mechanic.document}],
    }  # fmt: skip
    year.send("PUT", path, wanted, centre, expect=201)
    for kind in ("unit", "leader"):
        paper = {
            "kind": kind, "approver": "陈院长", "document": "附件1", "decided_on": str(year.today)
        }  # fmt: skip
        year.send("PUT", f"{path}/approvals/{new_id()}", paper, centre, expect=201)
    opened = year.send(
        "PUT", f"{path}/openings/{new_id()}", {"receipt_number": "R2027091001"}, centre, expect=201
    )
    people.mechanic.number = opened["people"][0]["holder_number"]
    year.enrol(people.mechanic)
    assert year.card_of(people.mechanic)["state"] == "pending"


def take_cash(year: Year, people: People) -> None:
    """Two people pay in notes; the drawer is counted."""
    year.live_until(on(9, 20))
    cashier = year.clerk(Role.LOGISTICS)
    shift = f"/staff/cash-desk/shifts/{new_id()}"
    year.send("PUT", shift, {"desk": "行政楼 1号窗", "opening_float_fen": 0}, cashier, expect=201)
    for member, amount_fen in ((people.saver, 5_000), (people.mechanic, 6_000)):
        said = {
            "shift_id": shift.rpartition("/")[2], "holder_id": str(member.id),
            "amount_fen": amount_fen, "note": None,
        }  # fmt: skip
        year.send("PUT", f"/staff/cash-desk/top-ups/{new_id()}", said, cashier, expect=201)
    count = {"counted_fen": 11_000, "counts": None, "note": None}
    year.send("PUT", f"{shift}/close-out", count, cashier, expect=201)
    year.bind(people.mechanic)
    assert year.eat(people.mechanic, 1_000)["surcharge_fen"] == 100


def live(year: Year, people: People) -> None:
    """The autumn: a lost card, a subsidy, and the exchange of the new-student cards."""
    year.live_until(on(10, 20))
    said = {"credential": "physical_card", "stop_virtual_card": False}
    year.send("PUT", f"/me/loss-reports/{new_id()}", said, year.phone(people.fresh), expect=201)
    year.live_until(on(10, 22))
    said = {"cause": "lost", "documents": ["id_document"], "quoted_fee_fen": 2_000}
    card = year.card_of(people.fresh)
    year.send(
        "PUT", f"/staff/cards/{card['id']}/replacements/{new_id()}", said,
        year.clerk(Role.CARD_CENTRE), expect=201,
    )  # fmt: skip
    year.live_until(on(11, 5))
    path = f"/staff/subsidy-batches/{new_id()}"
    batch = {
        "name": "秋季伙食补贴", "document_number": "学工〔2027〕18号", "fund": "学生资助经费",
        "pay_on": str(on(11, 10)),
        "items": [{"holder_number": people.late.number, "amount_fen": 5_000}],
    }  # fmt: skip
    year.send("PUT", path, batch, year.clerk(Role.STUDENT_AFFAIRS), expect=201)
    year.send("POST", f"{path}/approval", None, year.clerk(Role.FINANCE), expect=201)
    year.live_until(on(11, 12))
    assert year.eat(people.late, 1_200)["balance_fen"] == 1_000 + 5_000 - 1_200
    year.live_until(on(12, 1))
    assert exchanges(year) == []
    year.live_until(on(12, 2))
    (due,) = exchanges(year)
    sign_for(year, f"/staff/issue-batches/{due['id']}", people.freshmen)


def exchanges(year: Year) -> list[Any]:
    found = year.send(
        "GET", "/staff/issue-batches?kind=exchange", None, year.clerk(Role.CARD_CENTRE)
    )
    items: list[Any] = found["items"]
    return items


def end_temporary_card(year: Year, people: People) -> None:
    """The contract ends on 31 January; what is left goes to the mechanic's bank."""
    year.live_until(on(1, 31))
    assert year.eat(people.mechanic, 500)["state"] == "approved"
    year.live_until(on(2, 1))
    assert year.card_of(people.mechanic)["state"] == "closing"
    screen(year, "2027-2028-1", on(2, 2))
    year.live_until(on(2, 8))
    pay_out(year, "招行 2028020800017")


def screen(year: Year, term: str, day: date) -> None:
    """Look through all accounts after a term, decide on each finding, and file it."""
    year.live_until(day)
    centre, path = year.clerk(Role.CARD_CENTRE), f"/staff/screenings/{new_id()}"
    made = year.send("PUT", path, {"term": term}, centre, expect=201)
    for item in made["items"]:
        said = {"outcome": "contact", "reason": "已联系本人"}
        year.send("PUT", f"{path}/items/{item['id']}", said, centre)
    year.send("POST", f"{path}/filing", None, centre)


def pay_out(year: Year, reference: str, *, bounces: bool = False) -> None:
    """Let two people answer for a batch of payouts; the bank pays it, or sends it back."""
    maker, checker = year.clerk(Role.FINANCE), year.clerk(Role.FINANCE, 2)
    path = f"/staff/payout-batches/{new_id()}"
    batch = year.send("PUT", path, None, maker, expect=201)
    year.send("POST", f"{path}/decision", {"approve": True}, checker)
    for line in batch["items"]:
        where = f"/staff/payout-lines/{line['id']}"
        if bounces:
            year.send("PUT", f"{where}/bounce", {"reason": "账号已注销"}, maker)
        else:
            year.send("PUT", f"{where}/payment", {"bank_reference": reference}, maker)
    year.work()


def leave_and_retire(year: Year, people: People) -> None:
    """Spring: one of the staff leaves, another retires."""
    year.live_until(on(2, 20))
    year.top_up(people.leaver, 8_000)
    departure = {
        "holder_numbers": [people.leaver.number], "kind": "leaving", "effective_on": str(on(3, 1)),
        "document": "人事〔2028〕9号",
    }  # fmt: skip
    year.send(
        "PUT", f"/staff/departures/{new_id()}", departure, year.clerk(Role.PERSONNEL), expect=201
    )
    year.live_until(on(2, 29))
    assert year.eat(people.leaver, 1_000)["state"] == "approved"
    year.live_until(on(3, 1))
    assert year.card_of(people.leaver)["state"] == "closing"
    said = {"channel": "alipay", "amount_fen": 1_000}
    phone = year.phone(people.leaver)
    year.send("PUT", f"/me/top-ups/{new_id()}", said, phone, expect=409)
    year.live_until(on(3, 4))
    year.await_refund(people.leaver)
    year.live_until(on(3, 6))
    pay_out(year, "招行 2028030600002")
    year.live_until(on(3, 8))  # the passage of 6 September is 183 days old
    year.live_until(on(4, 1))
    retired = {"holder_number": people.retiree.number, "document": "人事〔2028〕12号"}
    year.send(
        "PUT", f"/staff/retirements/{new_id()}", retired, year.clerk(Role.CARD_CENTRE), expect=201
    )
    assert year.eat(people.retiree, 700)["state"] == "approved"


def graduate(year: Year, people: People) -> None:
    """July: the cards of the old class expire, and their accounts are closed together."""
    year.live_until(on(6, 20))
    departure = {
        "holder_numbers": [member.number for member in people.students], "kind": "graduation",
        "effective_on": str(on(7, 1)), "document": "教务〔2028〕12号",
    }  # fmt: skip
    year.send(
        "PUT", f"/staff/departures/{new_id()}", departure, year.clerk(Role.ACADEMIC), expect=201
    )
    year.live_until(on(7, 1))
    assert year.card_of(people.saver)["state"] == "expired"
    year.live_until(on(7, 2))
    centre, path = year.clerk(Role.CARD_CENTRE), f"/staff/closing-batches/{new_id()}"
    batch = {"graduated_on": str(on(7, 1)), "holder_numbers": None, "document": "教务〔2028〕13号"}
    made = year.send("PUT", path, batch, centre, expect=201)
    assert made["deadline"] == str(on(7, 1).replace(month=10))
    rows = year.send("GET", f"{path}/preview", None, centre)["items"]
    assert {row["holder_number"] for row in rows} == {one.number for one in people.students}
    deferred = next(r["id"] for r in rows if r["holder_number"] == people.deferred.number)
    exemption = {"exemption": "deferred", "reason": "延期一年", "until": "2029-06-30"}
    year.send("PUT", f"{path}/graduates/{deferred}", exemption, centre)
    year.send("POST", f"{path}/approval", None, year.clerk(Role.CARD_CENTRE, 2))
    assert year.send("POST", f"{path}/runs", None, centre)["left"] == 0
    year.live_until(on(7, 6))
    year.await_refund(people.graduate)
    year.live_until(on(7, 8))
    pay_out(year, "", bounces=True)
    year.live_until(on(7, 15))
    pay_out(year, "招行 2028071500001")
    screen(year, "2027-2028-2", on(7, 17))


def check_days(year: Year, people: People) -> None:
    """Each event stands in the log on its day, by the clock in Shanghai, and on no other."""
    diary: list[tuple[str, Member | None, list[date]]] = [
        ("roster.import", None, [on(9, 1)]),
        ("card.open_account", people.graduate, [on(9, 1)]),
        ("issue_batch.hand_out", people.graduate, [on(9, 2)]),
        ("card.activate", people.graduate, [on(9, 2)]),
        ("holder.bind", people.graduate, [on(9, 3)]),
        ("top_up.settle", people.graduate, [on(9, 3)]),
        ("application.open_card", people.mechanic, [on(9, 10)]),
        ("card.activate", people.mechanic, [on(9, 15)]),
        ("cash_top_up.take", people.saver, [on(9, 20)]),
        ("card.report_lost", people.fresh, [on(10, 20)]),
        ("card.replace", people.fresh, [on(10, 22)]),
        ("subsidy.approve", None, [on(11, 5)]),
        ("subsidy.pay", people.late, [on(11, 10)]),
        ("issue_batch.propose", None, [on(12, 2)]),
        ("issue_batch.exchange", people.late, [on(12, 2)]),
        ("card.expire", people.mechanic, [on(2, 1)]),
        ("closing.start", people.mechanic, [on(2, 1)]),
        ("closing.settle", people.mechanic, [on(2, 4)]),
        ("closing.close", people.mechanic, [on(2, 8)]),
        ("departure.file", None, [on(2, 20), on(6, 20)]),
        ("closing.start", people.leaver, [on(3, 1)]),
        ("closing.settle", people.leaver, [on(3, 4)]),
        ("refund.succeeded", people.leaver, [on(3, 4)]),
        ("closing.close", people.leaver, [on(3, 6)]),
        ("passage.forget", None, [on(3, 8)]),
        ("retirement.switch", people.retiree, [on(4, 1)]),
        ("card.expire", people.retiree, []),
        ("departure.end_validity", people.graduate, [on(7, 1)]),
        *(("card.expire", member, [on(7, 1)]) for member in people.students),
        ("closing_batch.approve", None, [on(7, 2)]),
        ("closing_batch.run", None, [on(7, 2)]),
        ("closing.close", people.graduate, [on(7, 6)]),
        ("payout_line.bounce", people.saver, [on(7, 8)]),
        ("payout_line.pay", people.saver, [on(7, 15)]),
        ("closing.close", people.saver, [on(7, 15)]),
        ("closing.start", people.deferred, []),
        ("screening.make", None, [on(2, 2), on(7, 17)]),
        ("screening.file", None, [on(2, 2), on(7, 17)]),
    ]
    for action, member, days in diary:
        found = sorted({clock.business_date(entry.at) for entry in year.log(action, member)})
        print(f"{' '.join(map(str, found)):<22} {action:<22} {member.name if member else ''}")  # noqa: T201 - make year
        assert found == days, (action, member and member.name)
    charged = [(charge.business_date, charge.state) for charge in year.charges(people.mechanic)]
    assert charged == [
        (on(9, 20), ChargeState.APPROVED),
        (on(1, 31), ChargeState.APPROVED),
    ]


def check_copy(year: Year, people: People) -> None:
    """A member reads all of the year that is about them, and nothing about the others."""
    year.live_until(ENDS)
    copy = year.send("GET", "/me/data", None, year.phone(people.fresh))
    kept = copy["kept"]
    assert [one["name"] for one in kept["holders"]] == [people.fresh.name]
    assert {"top_ups", "loss_reports", "replacements", "issue_decisions"} <= set(kept)
    assert kept.get("passages", []) == []  # kept for 183 days
    actions = {entry["action"] for entry in kept["operation_log"]}
    assert {"card.report_lost", "card.replace", "issue_batch.exchange"} <= actions
    assert {look["role"] for look in copy["looks"]} == {"card_centre"}
    for other in (people.late, people.graduate):
        assert str(other.id) not in json.dumps(copy)


def check_evidence(year: Year, people: People) -> None:
    """The entries say by which rules it was decided, what stood before and what after."""
    with transaction() as session:
        rules = {str(id_): key for id_, key in session.execute(select(Policy.id, Policy.key))}
    for action, member, decided_by in (
        ("card.replace", people.fresh, {"card.replacement_fee_fen"}),
        ("issue_batch.propose", None, {"exchange.months"}),
        ("issue_batch.exchange", people.late, {"exchange.months"}),
        ("closing.start", people.mechanic, {"closing.wait_days"}),
        ("retirement.switch", people.retiree, {"retired.valid_months"}),
        ("closing_batch.make", None, {"closing.deadline_months"}),
        ("subsidy.make", None, {"subsidy.most_fen"}),
        ("screening.make", None, {"term.autumn_ends_day", "term.spring_ends_day"}),
    ):
        for entry in year.log(action, member):
            assert decided_by <= {rules[id_] for id_ in entry.policy_ids or ()}, action
    for action, member, before, after in (
        ("card.report_lost", people.fresh, "active", "lost"),
        ("card.expire", people.mechanic, "active", "expired"),
        ("retirement.switch", people.retiree, "staff", "temporary_retired"),
        ("departure.end_validity", people.graduate, "2028-12-31", "2028-06-30"),
    ):
        entry = year.log(action, member)[0]
        assert before in json.dumps(entry.before), (action, entry.before)
        assert after in json.dumps(entry.after), (action, entry.after)
    (opened,) = year.log("application.open_card", people.mechanic)
    assert opened.receipt_number == "R2027091001"
    (expired, *_) = year.log("card.expire", people.mechanic)
    assert (expired.channel.value, expired.actor) == ("batch", "system")
    (refused,) = [one for one in year.log("top_up.order", people.leaver) if one.outcome != "done"]
    assert (refused.outcome, clock.business_date(refused.at)) == ("account-closed", on(3, 1))


def check_books(year: Year) -> None:
    """The ledger and the log prove themselves, and nobody's number or token stands anywhere."""
    year.seal()
    proof = year.command("prove-ledger")
    assert (proof.returncode, "difference           0.00" in proof.stdout) == (0, True), proof
    verified = year.command("verify-log")
    assert verified.returncode == 0, verified
    assert "unsealed     0\n" in verified.stdout
    scanned = year.command(
        "scan-leaks", "year.log", "--find-from", "-", said="\n".join(year.secrets)
    )
    assert scanned.returncode == 0, scanned.stdout + scanned.stderr
    print(scanned.stdout)  # noqa: T201 - make year
    values = re.search(r"read (\d+) values of (\d+) tables and 1 files", scanned.stdout)
    assert values is not None
    assert int(values[1]) > 2_000
    assert len(year.secrets) > 100
