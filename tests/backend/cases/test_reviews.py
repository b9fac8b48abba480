"""Reviews: what a person may decide about what was told late, once, and what follows."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from factories import Device, balances, make_gate, make_holder, make_till, sign_in
from flask import Flask
from flask.testing import FlaskClient
from phones import API, DevicePhone, Phone
from scanners import Told, Uploads, pay_code, policies
from sqlalchemy import select

from backend.arrears import service as arrears
from backend.charges.models import Charge
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind
from backend.operation_log.models import LogEntry
from backend.operators.models import Role
from backend.uploads.models import LateUpload

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def money_offline(app: Flask) -> Iterator[None]:
    """Tills take money without network, and have for years."""
    with policies(money=True):
        yield


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def uploads(client: FlaskClient) -> Uploads:
    return Uploads(client)


@pytest.fixture
def phone(client: FlaskClient, parts: Parts) -> DevicePhone:
    """A phone that may show codes without network; its holder has 10.00 yuan."""
    known = make_holder(parts, balance_fen=1000)
    made = DevicePhone(Phone(client, token=known.token), known)
    assert made.enrol().status_code == 201
    return made


class Desk:
    """Somebody of the staff who looks at reviews."""

    def __init__(self, client: FlaskClient, headers: dict[str, str]) -> None:
        self.client, self.headers = client, headers

    def look(self, item: dict[str, Any]) -> Any:
        """Look at one."""
        return self.client.get(f"{API}/staff/reviews/{item['id']}", headers=self.headers)

    def list(self, **query: Any) -> list[str]:
        """Return the ids of a page."""
        answer = self.client.get(f"{API}/staff/reviews", query_string=query, headers=self.headers)
        assert answer.status_code == 200, answer.get_json()
        return [item["id"] for item in answer.get_json()["items"]]

    def decide(self, item: dict[str, Any], decision: str, reason: str = "核对监控") -> Any:
        """Decide one."""
        path = f"{API}/staff/reviews/{item['id']}/resolution"
        said = {"decision": decision, "reason": reason}
        return self.client.post(path, json=said, headers=self.headers)


@pytest.fixture
def desk(client: FlaskClient, parts: Parts) -> Callable[..., Desk]:
    """Sign somebody in."""
    return lambda role=Role.CARD_CENTRE: Desk(client, sign_in(parts, role))


def risk_fen() -> int:
    """Return what the school's risk account stands at."""
    with transaction() as session:
        return ledger.prove(session).by_kind[AccountKind.RISK.value]


def double_use(uploads: Uploads, phone: DevicePhone, amount_fen: int = 400) -> dict[str, Any]:
    """Let a till tell of a code that another one has used already."""
    code, first, till = pay_code(phone), make_till(), make_till()
    uploads.send(first, Told(first).charge(code, 100))
    item = Told(till).charge(code, amount_fen)
    assert uploads.outcomes(till, item) == [("under-review", "double-use")]
    return item


def over_cap(uploads: Uploads, phone: DevicePhone, till: Device) -> dict[str, Any]:
    """Let a till tell of more than it may take."""
    with policies(per_sale_fen=100):
        item = Told(till).charge(pay_code(phone), 300)
        assert uploads.outcome(till, item) == "charged"
    return item


class TestLooking:
    def test_tells_what_where_when_how_much_and_why(
        self, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        item = double_use(uploads, phone)
        said = desk().look(item).get_json()
        assert (said["kind"], said["state"], said["amount_fen"]) == ("charge", "open", 400)
        assert (said["outcome"], said["conflicts"]) == ("under-review", ["double-use"])
        assert (said["name_masked"], said["holder_number"]) == ("王**", phone.holder.number)
        assert said["device_at"] == item["decided_at"]
        assert said["decisions"] == ["charge_holder", "charge_risk", "reject"]
        assert (said["resolution"], said["record_id"]) == (None, None)

    def test_pages_from_the_newest_on_by_state(
        self, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        items = [double_use(uploads, phone) for _ in range(1)]
        till = make_till()
        told = Told(till)
        items += [told.charge("") for _ in range(3)]
        uploads.send(till, *items[1:])
        person, ids = desk(), {item["id"] for item in items}
        answer = person.client.get(
            f"{API}/staff/reviews?limit=2", headers=person.headers
        ).get_json()
        seen = [item["id"] for item in answer["items"]]
        assert len(seen) == 2
        while ids - {*seen}:
            answer = person.client.get(
                f"{API}/staff/reviews?limit=2&cursor={answer['next_cursor']}",
                headers=person.headers,
            ).get_json()
            seen += [item["id"] for item in answer["items"]]
        assert len(seen) == len({*seen})
        person.decide(items[0], "reject")
        assert items[0]["id"] not in person.list(limit=100)
        assert items[0]["id"] in person.list(limit=100, state="resolved")
        assert items[0]["id"] in person.list(limit=100, state="all")

    def test_what_needs_nobody_is_no_review(
        self, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        till = make_till()
        item = Told(till).charge(pay_code(phone), 1500)
        assert uploads.outcome(till, item) == "charged-with-arrears"
        assert desk().look(item).status_code == 404


class TestRoles:
    def test_who_may_look_and_who_may_decide(
        self, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        item = double_use(uploads, phone)
        people = {role: desk(role) for role in Role}
        looked = {role for role, person in people.items() if person.look(item).status_code == 200}
        assert looked == {Role.CARD_CENTRE, Role.FINANCE, Role.AUDITOR}
        for role in set(Role) - {Role.CARD_CENTRE, Role.FINANCE}:
            assert people[role].decide(item, "reject").status_code == 403
        assert people[Role.FINANCE].decide(item, "reject").status_code == 201

    def test_finance_does_not_see_where_people_go(
        self, uploads: Uploads, desk: Callable[..., Desk]
    ) -> None:
        gate = make_gate()
        item = Told(gate).passage("")
        uploads.send(gate, item)
        finance = desk(Role.FINANCE)
        assert finance.look(item).status_code == 404
        assert finance.decide(item, "accept").status_code == 404
        assert item["id"] not in finance.list(limit=100)
        assert desk().look(item).get_json()["decisions"] == ["accept"]


class TestDeciding:
    def test_to_charge_the_holder_posts_it_now(
        self, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        item, person = double_use(uploads, phone), desk()
        answer = person.decide(item, "charge_holder")
        assert answer.status_code == 201, answer.get_json()
        assert balances(phone.holder.id) == (1000 - 100 - 400, 0)
        said = answer.get_json()
        assert (said["state"], said["decisions"], said["record_id"]) == (
            "resolved", [], item["id"],
        )  # fmt: skip
        assert said["resolution"]["reason"] == "核对监控"

    def test_to_charge_the_holder_opens_arrears_where_it_must(
        self, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        item = double_use(uploads, phone, 1300)
        desk().decide(item, "charge_holder")
        assert balances(phone.holder.id) == (0, 0)
        with transaction() as session:
            assert arrears.open_fen(session, holder_id=phone.holder.id) == 400

    def test_to_charge_the_school_leaves_the_holder_alone(
        self, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        item, before_fen = double_use(uploads, phone), risk_fen()
        assert desk().decide(item, "charge_risk").status_code == 201
        assert balances(phone.holder.id) == (900, 0)
        assert risk_fen() == before_fen - 400

    def test_to_reject_posts_nothing(
        self, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        item, before_fen = double_use(uploads, phone), risk_fen()
        assert desk().decide(item, "reject").status_code == 201
        assert (balances(phone.holder.id), risk_fen()) == ((900, 0), before_fen)
        with transaction() as session:
            assert session.get(Charge, UUID(item["id"])) is None

    def test_a_flag_is_only_taken_note_of(
        self, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        till, person = make_till(), desk()
        item = over_cap(uploads, phone, till)
        refused = person.decide(item, "charge_risk")
        assert (refused.status_code, refused.get_json()["code"]) == (409, "ruling-not-possible")
        assert refused.get_json()["decisions"] == ["accept"]
        assert person.decide(item, "accept").status_code == 201
        assert balances(phone.holder.id) == (700, 0)

    def test_what_was_lost_is_never_the_holders(
        self, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        phone.phone.call("PUT", f"/me/loss-reports/{new_id()}", {"credential": "phone"})
        item, person = double_use(uploads, phone), desk()
        with transaction() as session:
            assert "after-loss" in session.get_one(LateUpload, UUID(item["id"])).conflicts
        assert person.decide(item, "charge_holder").status_code == 409
        assert person.decide(item, "charge_risk").status_code == 201
        assert balances(phone.holder.id) == (1000, 0)

    def test_what_names_nobody_is_the_schools_or_the_merchants(
        self, uploads: Uploads, desk: Callable[..., Desk]
    ) -> None:
        till, person, before_fen = make_till(), desk(), risk_fen()
        item = Told(till).charge("forged", 700)
        uploads.send(till, item)
        assert person.look(item).get_json()["decisions"] == ["charge_risk", "reject"]
        assert person.decide(item, "charge_risk").status_code == 201
        assert risk_fen() == before_fen - 700

    def test_what_was_declined_online_is_posted_under_an_id_of_its_own(
        self, uploads: Uploads, phone: DevicePhone, client: FlaskClient, desk: Callable[..., Desk]
    ) -> None:
        till, person = make_till(), desk()
        item = Told(till).charge(pay_code(phone), 600)
        client.put(f"{API}/charges/{item['id']}/void", headers=till.headers)
        assert uploads.outcome(till, item) == "under-review"
        said = person.decide(item, "charge_holder").get_json()
        assert said["record_id"] not in (None, item["id"])
        assert balances(phone.holder.id) == (400, 0)

    def test_once_the_same_again_gets_the_first_answer(
        self, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        item, person, other = double_use(uploads, phone), desk(), desk(Role.FINANCE)
        first = person.decide(item, "charge_holder")
        again = other.decide(item, "charge_holder")
        assert (again.status_code, again.get_json()) == (200, first.get_json())
        for decision, reason in (("reject", "核对监控"), ("charge_holder", "另有原因")):
            refused = other.decide(item, decision, reason)
            assert (refused.status_code, refused.get_json()["code"]) == (409, "review-resolved")
        assert balances(phone.holder.id) == (500, 0)

    def test_by_many_at_once_happens_once(
        self, app: Flask, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        item, headers = double_use(uploads, phone), desk().headers
        people = [Desk(app.test_client(), headers) for _ in range(6)]
        with ThreadPoolExecutor(len(people)) as threads:
            answers = [*threads.map(lambda person: person.decide(item, "charge_holder"), people)]
        assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
        assert balances(phone.holder.id) == (500, 0)

    def test_is_on_record_with_who_and_what(
        self, uploads: Uploads, phone: DevicePhone, desk: Callable[..., Desk]
    ) -> None:
        item = double_use(uploads, phone)
        desk().decide(item, "charge_risk")
        with transaction() as session:
            [entry] = session.scalars(
                select(LogEntry).where(
                    LogEntry.subject_id == UUID(item["id"]), LogEntry.action == "review.resolve"
                )
            )
        assert entry.holder_id == phone.holder.id
        assert entry.facts == {
            "decision": "charge_risk", "kind": "charge", "amount_fen": 400,
            "conflicts": ["double-use"],
        }  # fmt: skip

    @pytest.mark.parametrize(
        "said",
        [{}, {"decision": "reject"}, {"reason": "x"}, {"decision": "pay", "reason": "x"},
         {"decision": "reject", "reason": ""}, {"decision": "reject", "reason": "x" * 501},
         {"decision": "reject", "reason": "a\x00b"}],
    )  # fmt: skip
    def test_needs_a_decision_and_a_reason(
        self,
        uploads: Uploads,
        phone: DevicePhone,
        desk: Callable[..., Desk],
        said: dict[str, Any],
    ) -> None:
        item, person = double_use(uploads, phone), desk()
        path = f"{API}/staff/reviews/{item['id']}/resolution"
        assert person.client.post(path, json=said, headers=person.headers).status_code == 422
        assert person.look(item).get_json()["state"] == "open"
