"""What staff decide about people, over HTTP: permissions, category, data, the roster's say."""

import itertools
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import (
    Bound,
    balances,
    keys_of,
    make_document,
    make_gate,
    make_holder,
    make_person,
    make_till,
    present,
    sign_in,
    virtual_card,
)
from flask import Flask
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from backend import clock
from backend.bundles import service as bundles
from backend.cards.counter import wake_all
from backend.cards.models import Card, CardState
from backend.cards.service import ended_accounts, open_accounts
from backend.charges import service as charges
from backend.clock import business_date
from backend.db import transaction
from backend.gates import service as gates
from backend.gates.models import Direction
from backend.holders import category_changes, identity, permissions, roster, viewing
from backend.holders.identity import IdentityNotMatched
from backend.holders.models import (
    Category,
    CategoryChange,
    DataChange,
    Holder,
    RosterConflict,
)
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.policies.service import policies_at
from qr.bundle import as_bundle, read_bundle

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(app: Flask, parts: Parts) -> Ask:
    """Return what asks as an operator of the card centre, or as somebody else."""
    client = app.test_client()
    own = sign_in(parts, Role.CARD_CENTRE)

    def send(
        method: str, path: str, body: Any = None, *, by: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        answer = client.open(f"/api/v1/staff/{path}", method=method, json=body, headers=by or own)
        return answer.status_code, answer.get_json(silent=True)

    return send


def override(**changed: Any) -> dict[str, Any]:
    """Return an exception that takes away paying."""
    return {
        "permission": "pay",
        "allowed": False,
        "reason": "仅限门禁",
        "document_number": "卡务〔2026〕1号",
        "until": None,
    } | changed


def except_(ask: Ask, holder_id: UUID, **changed: Any) -> dict[str, Any]:
    """Make an exception."""
    status, body = ask(
        "PUT", f"holders/{holder_id}/permission-overrides/{new_id()}", override(**changed)
    )
    assert status == 201, body
    made: dict[str, Any] = body
    return made


SECONDS = itertools.count(1)
"""When codes are made, each later than the one before: an older one would count as spent."""


def charge(holder: Bound, till: Any) -> charges.Charge:
    """Charge 8.50 yuan."""
    with transaction() as session:
        return charges.charge(
            session,
            charge_id=new_id(),
            terminal=till.caller,
            code=present(holder.id, issued_at=next(SECONDS)),
            code_text=secrets.token_hex(8),
            amount_fen=Fen(850),
            note=None,
            now=clock.now(),
        )[0]


def entries(holder_id: UUID, action: str) -> list[LogEntry]:
    """Return what the operation log has of a holder."""
    with transaction() as session:
        return list(
            session.scalars(
                select(LogEntry)
                .where(
                    LogEntry.holder_id == holder_id,
                    LogEntry.action == action,
                    LogEntry.outcome == "done",
                )
                .order_by(LogEntry.id)
            )
        )


class TestPermissions:
    def test_without_pay_nothing_is_charged_and_everything_else_works(
        self, ask: Ask, parts: Parts, app: Flask
    ) -> None:
        holder, till, gate = make_holder(parts, balance_fen=5000), make_till(), make_gate()
        except_(ask, holder.id)
        declined = charge(holder, till)
        assert (declined.reason, declined.facts) == ("not-permitted", {"permission": "pay"})
        assert balances(holder.id) == (5000, 0)
        client = app.test_client()
        said = client.post("/api/v1/me/codes", json={"scope": "pay"}, headers=holder.headers)
        assert (said.status_code, said.get_json()["code"]) == (409, "not-permitted")
        assert said.get_json()["permission"] == "pay"
        said = client.post("/api/v1/me/codes", json={"scope": "gate"}, headers=holder.headers)
        assert said.status_code == 200
        with transaction() as session:
            passage, _ = gates.decide(
                session,
                passage_id=new_id(),
                terminal=gate.caller,
                code=present(holder.id),
                code_text="x",
                direction=Direction.IN,
                now=clock.now(),
            )
        assert passage.reason is None

    def test_without_identify_no_gate_opens_and_meals_are_paid(
        self, ask: Ask, parts: Parts
    ) -> None:
        holder, till, gate = make_holder(parts, balance_fen=5000), make_till(), make_gate()
        except_(ask, holder.id, permission="identify")
        with transaction() as session:
            passage, _ = gates.decide(
                session,
                passage_id=new_id(),
                terminal=gate.caller,
                code=present(holder.id),
                code_text="x",
                direction=Direction.IN,
                now=clock.now(),
            )
        assert (passage.reason, passage.decision) == ("not-permitted", "deny")
        assert charge(holder, till).reason is None

    def test_without_finance_no_money_comes_in_or_goes_back(
        self, ask: Ask, parts: Parts, app: Flask
    ) -> None:
        holder, client = make_holder(parts, balance_fen=5000), app.test_client()
        except_(ask, holder.id, permission="finance")
        for path, body in (
            (f"me/top-ups/{new_id()}", {"channel": "wechat", "amount_fen": 5000}),
            (f"me/refunds/{new_id()}", {"amount_fen": 100}),
        ):
            said = client.put(f"/api/v1/{path}", json=body, headers=holder.headers)
            assert (said.status_code, said.get_json()["code"]) == (409, "not-permitted"), path
        assert balances(holder.id) == (5000, 0)

    def test_comes_after_the_cards_state_and_before_paused(self, ask: Ask, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=5000), make_till()
        except_(ask, holder.id)
        with transaction() as session:
            session.get_one(Holder, holder.id).payment_paused = True
        assert charge(holder, till).reason == "not-permitted"
        with transaction() as session:
            session.get_one(Card, virtual_card(holder.id).id).state = CardState.FROZEN
        assert charge(holder, till).reason == "card-frozen"

    def test_terminals_that_work_alone_hear_of_it(self, ask: Ask, parts: Parts, app: Flask) -> None:
        holder, till, gate = make_holder(parts), make_till(), make_gate()
        alias = virtual_card(holder.id).alias
        except_(ask, holder.id)
        for device, stopped in ((till, True), (gate, False)):
            with transaction() as session:
                issued = bundles.issue(
                    session,
                    terminal=device.caller,
                    after=None,
                    code_keys={},
                    issuer="test",
                    sealer=parts.sealer,
                    now=clock.now(),
                )
            assert issued is not None
            bundle = as_bundle(
                read_bundle(issued[1], roots=bundles.root_keys(parts.sealer), issuer="test")
            )
            assert (alias in bundle.stopped) is stopped

    def test_an_exception_ends_with_its_day_or_by_hand(self, ask: Ask, parts: Parts) -> None:
        holder, today = make_person(parts), business_date(clock.now())
        made = except_(ask, holder.id, until=today.isoformat())
        assert denied(holder.id) == ["pay"]
        tomorrow = clock.now() + timedelta(days=1)
        with transaction() as session:
            permissions.work_out(session, policies=policies_at(session, tomorrow), now=tomorrow)
        assert denied(holder.id) == []
        except_(ask, holder.id, permission="finance")
        again = except_(ask, holder.id, permission="finance", reason="其他")
        assert denied(holder.id) == ["pay", "finance"]  # it is still today
        path = f"holders/{holder.id}/permission-overrides/{again['id']}"
        for _ in range(2):
            status, body = ask("DELETE", path)
            assert (status, body["ended_at"] is None) == (200, False)
        assert denied(holder.id) == ["pay"]
        assert len(entries(holder.id, "holder.end_exception")) == 1
        [first, *_] = entries(holder.id, "holder.except")
        assert (first.before, first.after) == (
            ["pay", "identify", "finance", "information"],
            ["identify", "finance", "information"],
        )
        assert first.subject_id == UUID(made["id"])
        assert len(first.policy_ids or []) == 1

    def test_a_category_without_a_permission_and_an_exception_that_gives_it(
        self, ask: Ask, parts: Parts
    ) -> None:
        holder = make_person(parts, category=Category.TEMPORARY_OUTSIDER)
        now = clock.now()
        with transaction() as session:
            policies = policies_at(session, now)
            policies.values["permissions.temporary_outsider"] = ["identify"]
            permissions.work_out(session, policies=policies, now=now, holder_ids=[holder.id])
        assert denied(holder.id) == ["pay", "finance", "information"]
        except_(ask, holder.id, permission="pay", allowed=True)
        with transaction() as session:
            permissions.work_out(session, policies=policies, now=now, holder_ids=[holder.id])
        assert denied(holder.id) == ["finance", "information"]
        with transaction() as session:  # as the college has it
            permissions.work_out(session, policies=policies_at(session, now), now=now)

    def test_one_that_is_over_is_not_made(self, ask: Ask, parts: Parts) -> None:
        holder, today = make_person(parts), business_date(clock.now())
        path = f"holders/{holder.id}/permission-overrides/{new_id()}"
        over = override(until=(today - timedelta(days=1)).isoformat())
        status, said = ask("PUT", path, over)
        assert (status, said["code"], said["day"]) == (409, "exception-over", today.isoformat())
        assert entries(holder.id, "holder.except") == []
        assert ask("PUT", path, override(until=today.isoformat()))[0] == 201

    def test_retries_and_strangers(self, ask: Ask, parts: Parts) -> None:
        holder, other, id_ = make_person(parts), make_person(parts), new_id()
        path = f"holders/{holder.id}/permission-overrides/{id_}"
        first = ask("PUT", path, override())
        assert (first[0], ask("PUT", path, override())) == (201, (200, first[1]))
        assert ask("PUT", path, override(allowed=True))[1]["code"] == "id-reused"
        stolen = f"holders/{other.id}/permission-overrides/{id_}"
        assert ask("PUT", stolen, override())[0] == 404
        assert ask("DELETE", stolen)[0] == 404
        assert (
            ask("PUT", f"holders/{new_id()}/permission-overrides/{new_id()}", override())[0] == 404
        )
        for role in Role:
            if role is not Role.CARD_CENTRE:
                by = sign_in(parts, role)
                assert ask("PUT", path, override(), by=by)[1]["code"] == "role-not-allowed"


def denied(holder_id: UUID) -> list[str]:
    """Return what a holder may not do."""
    with transaction() as session:
        return session.get_one(Holder, holder_id).denied


def to_staff(**changed: Any) -> dict[str, Any]:
    """Return a change to staff."""
    return {
        "category": "staff",
        "employment": "college",
        "unit": "图书馆",
        "holder_number": "T" + secrets.token_hex(4),
        "from": business_date(clock.now()).isoformat(),
        "valid_until": "2060-01-01",
        "document_number": "人事〔2026〕8号",
    } | changed


class TestCategoryChanges:
    def test_keep_account_binding_and_the_old_number(self, ask: Ask, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=5000), make_till()
        wanted = to_staff()
        status, body = ask("PUT", f"holders/{holder.id}/category-changes/{new_id()}", wanted)
        assert (status, body["applied_at"] is not None) == (201, True)
        assert charge(holder, till).balance_fen == 4150
        with transaction() as session:
            now = session.get_one(Holder, holder.id)
            assert (now.category, now.employment, now.unit) == ("staff", "college", "图书馆")
            assert (now.holder_number, now.valid_until) == (
                wanted["holder_number"], date(2060, 1, 1),
            )  # fmt: skip
            for number in (holder.number, wanted["holder_number"]):
                assert viewing.id_by_number(session, holder_number=number) == holder.id
                assert identity.match_document(
                    session,
                    holder_number=number,
                    document_number=holder.document,
                    sealer=parts.sealer,
                ).id == holder.id  # fmt: skip
            identity.check_document_tail(
                session, holder_id=holder.id, last_six=holder.document[-6:], sealer=parts.sealer
            )
        [entry] = entries(holder.id, "holder.change_category")
        assert (entry.before, entry.after) == ("student", "staff")
        with transaction() as session:
            assert keys_of(session, entry.policy_ids or []) == {"permissions.staff"}
        _, person = ask("GET", f"holders/{holder.id}")
        assert set(person["numbers"]) == {holder.number, wanted["holder_number"]}

    def test_an_old_number_is_never_given_to_another(self, ask: Ask, parts: Parts) -> None:
        holder, other = make_person(parts), make_person(parts)
        ask("PUT", f"holders/{holder.id}/category-changes/{new_id()}", to_staff())
        path = f"holders/{other.id}/category-changes/{new_id()}"
        said = ask("PUT", path, to_staff(holder_number=holder.number))
        assert said[1]["code"] == "holder-number-taken"
        with pytest.raises(IntegrityError), transaction() as session:
            session.get_one(Holder, other.id).holder_number = holder.number

    def test_wait_for_midnight_in_shanghai(self, ask: Ask, parts: Parts) -> None:
        holder, id_ = make_person(parts), new_id()
        day = business_date(clock.now()) + timedelta(days=40)
        path = f"holders/{holder.id}/category-changes/{id_}"
        body = to_staff(**{"from": day.isoformat()})
        assert ask("PUT", path, body)[1]["applied_at"] is None
        assert ask("PUT", path, body)[0] == 200
        second = ask("PUT", f"holders/{holder.id}/category-changes/{new_id()}", to_staff())
        assert second[1]["code"] == "change-waiting"
        assert second[1]["change_id"] == str(id_)
        midnight = clock.start_of_day(day)
        for now, category in (
            (midnight - timedelta(seconds=1), Category.STUDENT),
            (midnight, Category.STAFF),
            (midnight, Category.STAFF),
        ):
            with transaction() as session:
                category_changes.apply_due(session, now=now)
            with transaction() as session:
                assert session.get_one(Holder, holder.id).category is category
        assert len(entries(holder.id, "holder.change_category")) == 1
        with transaction() as session:
            assert session.get_one(CategoryChange, id_).applied_at == midnight

    def test_two_who_want_one_number_at_once(self, ask: Ask, parts: Parts) -> None:
        number = "T" + secrets.token_hex(4)
        people = [make_person(parts) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            said = list(
                pool.map(
                    lambda person: ask(
                        "PUT",
                        f"holders/{person.id}/category-changes/{new_id()}",
                        to_staff(holder_number=number),
                    ),
                    people,
                )
            )
        assert sorted(status for status, _ in said) == [201, 409, 409, 409]

    @pytest.mark.parametrize(
        "changed",
        [{"employment": "boss"}, {"category": "student"}, {"from": "soon"},
         {"holder_number": "a b"}, {"unit": ""}, {"document_number": None}],
    )  # fmt: skip
    def test_bad_input_changes_nothing(
        self, ask: Ask, parts: Parts, changed: dict[str, Any]
    ) -> None:
        holder = make_person(parts)
        path = f"holders/{holder.id}/category-changes/{new_id()}"
        assert ask("PUT", path, to_staff(**changed))[0] == 422
        with transaction() as session:
            assert session.get_one(Holder, holder.id).category is Category.STUDENT


def new_name(**changed: Any) -> dict[str, Any]:
    """Return a change of name."""
    return {"field": "name", "value": "王大明", "documents": ["household_register"]} | changed


class TestDataChanges:
    def test_a_name_needs_a_second_person(self, ask: Ask, parts: Parts) -> None:
        holder, id_ = make_person(parts), new_id()
        path = f"holders/{holder.id}/data-changes/{id_}"
        assert ask("PUT", path, new_name())[0] == 201
        assert ask("PUT", path, new_name())[0] == 200
        assert ask("PUT", path, new_name(value="王小红"))[1]["code"] == "id-reused"
        approval = f"data-changes/{id_}/approval"
        assert ask("PUT", approval, {"approve": True})[1]["code"] == "second-person-needed"
        assert str(id_) in {item["id"] for item in ask("GET", "data-changes")[1]["items"]}
        checker = sign_in(parts, Role.CARD_CENTRE)
        for _ in range(2):
            assert ask("PUT", approval, {"approve": True}, by=checker)[1]["approved"] is True
        late = ask("PUT", approval, {"approve": False}, by=checker)
        assert late[1]["code"] == "change-decided"
        with transaction() as session:
            now = session.get_one(Holder, holder.id)
            assert (now.name, now.proven) == ("王大明", ["name"])
            change = session.get_one(DataChange, id_)
            assert (change.old, change.new) == ("王小明", "王大明")
        assert [e.documents for e in entries(holder.id, "holder.approve_data")] == [
            ["household_register"]
        ]

    def test_the_database_asks_for_two_people_too(self, ask: Ask, parts: Parts) -> None:
        holder, id_ = make_person(parts), new_id()
        ask("PUT", f"holders/{holder.id}/data-changes/{id_}", new_name())
        with pytest.raises(DBAPIError, match="two_people"), transaction() as session:
            session.execute(
                text(
                    "UPDATE data_changes SET decided_by = made_by, decided_at = now(),"
                    " approved = true WHERE id = :id"
                ),
                {"id": id_},
            )

    def test_a_refused_one_changes_nothing(self, ask: Ask, parts: Parts) -> None:
        holder, id_ = make_person(parts), new_id()
        ask("PUT", f"holders/{holder.id}/data-changes/{id_}", new_name())
        by = sign_in(parts, Role.CARD_CENTRE)
        ask("PUT", f"data-changes/{id_}/approval", {"approve": False}, by=by)
        with transaction() as session:
            now = session.get_one(Holder, holder.id)
            assert (now.name, now.proven) == ("王小明", [])

    def test_a_document_is_compared_and_forgotten(self, ask: Ask, parts: Parts) -> None:
        holder, other, id_ = make_person(parts), make_person(parts), new_id()
        document = make_document()
        body = {"field": "document", "value": document, "document_kind": "resident_id",
                "documents": ["resident_id", "police_certificate"]}  # fmt: skip
        path = f"holders/{holder.id}/data-changes/{id_}"
        taken = ask("PUT", path, body | {"value": other.document})
        assert taken[1]["code"] == "document-in-use"
        assert ask("PUT", path, body | {"value": "110105194912310021"})[0] == 422
        assert ask("PUT", path, body)[0] == 201
        by = sign_in(parts, Role.CARD_CENTRE)
        ask("PUT", f"data-changes/{id_}/approval", {"approve": True}, by=by)
        with transaction() as session:
            found = identity.match_document(
                session,
                holder_number=holder.number,
                document_number=document,
                sealer=parts.sealer,
            )
            identity.check_document_tail(
                session, holder_id=holder.id, last_six=document[-6:], sealer=parts.sealer
            )
            assert found.proven == ["document"]
            with pytest.raises(IdentityNotMatched):
                identity.match_document(
                    session,
                    holder_number=holder.number,
                    document_number=holder.document,
                    sealer=parts.sealer,
                )
            kept = session.execute(
                text("SELECT CAST(d AS text) FROM data_changes d WHERE id = :id"), {"id": id_}
            ).scalar_one()
        assert document not in kept

    def test_a_unit_is_changed_by_one_person(self, ask: Ask, parts: Parts) -> None:
        holder = make_person(parts)
        body = {"field": "unit", "value": "软件2403班", "documents": ["unit_letter"]}
        _, said = ask("PUT", f"holders/{holder.id}/data-changes/{new_id()}", body)
        assert said["approved"] is True
        with transaction() as session:
            assert session.get_one(Holder, holder.id).unit == "软件2403班"


class TestConflicts:
    @pytest.fixture
    def differing(self, ask: Ask, parts: Parts) -> tuple[Any, str]:
        """Return somebody whose proven name the roster has otherwise, and where to settle it."""
        holder = make_person(parts)
        with transaction() as session:
            now = session.get_one(Holder, holder.id)
            now.name, now.proven = "王大明", ["name"]
        self.bring(parts, holder, "王小明")
        [conflict] = [
            item
            for item in ask("GET", "roster-conflicts")[1]["items"]
            if item["holder_id"] == str(holder.id)
        ]
        return holder, f"roster-conflicts/{conflict['id']}/settlement"

    @staticmethod
    def bring(parts: Parts, holder: Any, name: str) -> None:
        """Import a roster that has somebody under a name."""
        feed = (
            "学工号,姓名,类别,单位,证件号码,有效期至\n"
            f"{holder.number},{name},学生,软件2401班,{holder.document},2099-07-01\n"
        )
        with transaction() as session:
            report = roster.import_roster(
                session,
                content=feed.encode(),
                source=roster.RosterSource.ACADEMIC,
                sealer=parts.sealer,
                actor=SYSTEM,
                now=clock.now(),
                dry_run=False,
                open_accounts=open_accounts,
                ended_accounts=ended_accounts,
                wake_cards=wake_all,
            )
        assert [fault.column for fault in report.conflicts] == ["name"]

    @staticmethod
    def named(holder: Any) -> tuple[str, list[str]]:
        """Return somebody's name as it stands, and what is proven of them."""
        with transaction() as session:
            now = session.get_one(Holder, holder.id)
            return now.name, now.proven

    def test_one_person_keeps_what_is_proven(self, ask: Ask, differing: tuple[Any, str]) -> None:
        holder, path = differing
        for _ in range(2):
            assert ask("PUT", path, {"accept": False})[1]["accepted"] is False
        assert ask("PUT", path, {"accept": True})[1]["code"] == "conflict-settled"
        assert self.named(holder) == ("王大明", ["name"])

    def test_what_two_people_proved_takes_two_to_undo(
        self, ask: Ask, parts: Parts, differing: tuple[Any, str]
    ) -> None:
        holder, path = differing
        for _ in range(2):
            status, said = ask("PUT", path, {"accept": True})
            assert (status, said["settled_at"], said["accepted"]) == (200, None, None)
            assert said["made_at"] is not None
        assert self.named(holder) == ("王大明", ["name"])
        second = sign_in(parts, Role.CARD_CENTRE)
        for by in (second, None):
            assert ask("PUT", path, {"accept": True}, by=by)[1]["accepted"] is True
        assert self.named(holder) == ("王小明", [])
        with transaction() as session:
            steps = session.execute(
                select(LogEntry.action, LogEntry.actor)
                .where(LogEntry.holder_id == holder.id, LogEntry.action.like("holder.%settle%"))
                .order_by(LogEntry.at, LogEntry.id)
            ).all()
        assert [step.action for step in steps] == [
            "holder.propose_settlement", "holder.settle_conflict",
        ]  # fmt: skip
        assert steps[0].actor != steps[1].actor

    def test_another_keeps_what_one_wanted_taken_over(
        self, ask: Ask, parts: Parts, differing: tuple[Any, str]
    ) -> None:
        holder, path = differing
        ask("PUT", path, {"accept": True})
        second = sign_in(parts, Role.CARD_CENTRE)
        assert ask("PUT", path, {"accept": False}, by=second)[1]["accepted"] is False
        assert self.named(holder) == ("王大明", ["name"])

    def test_a_newer_roster_ends_what_was_proposed_of_an_older_one(
        self, ask: Ask, parts: Parts, differing: tuple[Any, str]
    ) -> None:
        holder, path = differing
        ask("PUT", path, {"accept": True})
        self.bring(parts, holder, "王中明")
        second = sign_in(parts, Role.CARD_CENTRE)
        assert ask("PUT", path, {"accept": True}, by=second)[1]["settled_at"] is None
        assert self.named(holder) == ("王大明", ["name"])
        assert ask("PUT", path, {"accept": True})[1]["accepted"] is True
        assert self.named(holder) == ("王中明", [])

    @pytest.mark.parametrize("maker", ["NULL", "'x'"])
    def test_the_database_lets_nobody_do_both(self, differing: tuple[Any, str], maker: str) -> None:
        holder, _ = differing
        with pytest.raises(IntegrityError), transaction() as session:
            session.execute(
                text(
                    "UPDATE roster_conflicts SET settled_at = now(), settled_by = 'x',"
                    f" accepted = true, made_by = {maker},"
                    f" made_at = CASE WHEN {maker} IS NULL THEN NULL ELSE now() END"
                    " WHERE holder_id = :id"
                ),
                {"id": holder.id},
            )

    def test_one_person_takes_a_unit_over_and_a_last_day_wakes_the_card(
        self, ask: Ask, parts: Parts
    ) -> None:
        holder = make_person(parts)
        conflicts = {"unit": "软件2409班", "valid_until": "2099-07-01"}
        ids = {field: new_id() for field in conflicts}
        with transaction() as session:
            one = session.get_one(Holder, holder.id)
            one.valid_until, one.proven = date(2020, 7, 1), list(conflicts)
            session.execute(
                update(Card).where(Card.holder_id == holder.id).values(state=CardState.EXPIRED)
            )
            for field, value in conflicts.items():
                session.add(
                    RosterConflict(
                        id=ids[field],
                        holder_id=holder.id,
                        field=field,
                        value=value,
                        seen_at=clock.now(),
                    )
                )
        for field, alone in (("unit", True), ("valid_until", None)):
            path = f"roster-conflicts/{ids[field]}/settlement"
            assert ask("PUT", path, {"accept": True})[1]["accepted"] is alone
        ask("PUT", path, {"accept": True}, by=sign_in(parts, Role.CARD_CENTRE))
        with transaction() as session:
            one = session.get_one(Holder, holder.id)
            assert (one.unit, one.valid_until, one.proven) == (
                "软件2409班", date(2099, 7, 1), [],
            )  # fmt: skip
            states = set(session.scalars(select(Card.state).where(Card.holder_id == holder.id)))
        assert states == {CardState.ACTIVE}
