"""Arrears of a closed account, written off by two people of finance, over HTTP."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, make_holder, sign_in
from flask import Flask
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

from backend import clock
from backend.arrears import service as arrears
from backend.cards.models import Card, CardState
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, Transfer, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices.models import HolderNotice
from backend.operation_log.models import LogEntry
from backend.operators.models import Role

STAFF = "/api/v1/staff"
SAID = {"amount_fen": 300, "reason": "失联，无法收回", "document": "财〔2026〕9号"}


@dataclass
class Finance:
    """Two people of finance at the API."""

    app: Flask
    parts: Parts

    def __post_init__(self) -> None:
        self.maker, self.checker = (sign_in(self.parts, Role.FINANCE) for _ in range(2))

    def propose(self, holder: Bound, write_off_id: UUID, by: Any = None, **changed: Any) -> Any:
        return self.app.test_client().put(
            f"{STAFF}/arrears-write-offs/{write_off_id}",
            json={"holder_number": holder.number} | SAID | changed,
            headers=by or self.maker,
        )

    def decide(self, write_off_id: UUID, *, approve: bool = True, by: Any = None) -> Any:
        return self.app.test_client().post(
            f"{STAFF}/arrears-write-offs/{write_off_id}/decision",
            json={"approve": approve},
            headers=by or self.checker,
        )

    def debts(self, holder: Bound) -> list[dict[str, Any]]:
        client, found, cursor = self.app.test_client(), [], None
        while True:
            page = client.get(
                f"{STAFF}/arrears", query_string={"cursor": cursor}, headers=self.maker
            ).get_json()
            found += [one for one in page["items"] if one["holder_number"] == holder.number]
            if (cursor := page["next_cursor"]) is None:
                return found


@pytest.fixture
def finance(app: Flask, parts: Parts) -> Finance:
    return Finance(app, parts)


def owe(holder: Bound, amount_fen: int) -> None:
    """Let a holder owe what a late charge left unpaid."""
    with transaction() as session:
        now, charge_id = clock.now(), new_id()
        accounts = [
            ledger.school_account(session, kind)
            for kind in (AccountKind.ARREARS, AccountKind.SURCHARGE)
        ]
        charge = Movement(TransferKind.CHARGE, charge_id, *accounts, Fen(amount_fen))
        ledger.post(session, [charge], now=now)
        arrears.open_arrears(
            session, holder_id=holder.id, charge_id=charge_id, amount_fen=Fen(amount_fen),
            facts={"place": "第一食堂"}, now=now,
        )  # fmt: skip


def close(holder: Bound, state: CardState = CardState.CLOSED) -> None:
    with transaction() as session:
        session.execute(update(Card).where(Card.holder_id == holder.id).values(state=state))


@pytest.fixture
def debtor(parts: Parts) -> Bound:
    """Somebody whose account is closed and who owes 1.00 and 2.00."""
    holder = make_holder(parts)
    owe(holder, 100)
    owe(holder, 200)
    close(holder)
    return holder


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


class TestWritingOff:
    def test_needs_two_people_and_posts_the_loss_once(
        self, finance: Finance, debtor: Bound
    ) -> None:
        id_ = new_id()
        made = [finance.propose(debtor, id_) for _ in range(2)]
        assert [one.status_code for one in made] == [201, 200]
        assert made[0].get_json() == made[1].get_json()
        assert finance.debts(debtor) == [
            {
                "holder_id": str(debtor.id),
                "holder_number": debtor.number,
                "name_masked": finance.debts(debtor)[0]["name_masked"],
                "arrears_fen": 300,
                "opened_at": finance.debts(debtor)[0]["opened_at"],
                "write_off_id": str(id_),
            }
        ]
        assert refused(finance.decide(id_, by=finance.maker)) == (409, "second-person-needed")
        done = [finance.decide(id_) for _ in range(2)]
        assert [one.status_code for one in done] == [201, 200]
        assert done[0].get_json() == done[1].get_json()
        assert refused(finance.decide(id_, approve=False)) == (409, "write-off-decided")
        assert finance.propose(debtor, id_).get_json() == made[0].get_json()
        assert finance.debts(debtor) == []
        with transaction() as session:
            transfers = session.scalars(select(Transfer).where(Transfer.subject_id == id_)).all()
            assert [
                (one.kind, one.debit_account_id, one.credit_account_id, one.amount_fen)
                for one in transfers
            ] == [
                (
                    TransferKind.ARREARS_WRITTEN_OFF,
                    ledger.school_account(session, AccountKind.WRITTEN_OFF),
                    ledger.school_account(session, AccountKind.ARREARS),
                    300,
                )
            ]
            parts = arrears.list_of(session, holder_id=debtor.id)
            assert [(one.paid_fen, one.written_off_fen, one.open_fen) for one in parts] == [
                (0, 100, 0), (0, 200, 0)
            ]  # fmt: skip
            entries = session.scalars(
                select(LogEntry)
                .where(LogEntry.subject_id == id_, LogEntry.outcome == "done")
                .order_by(LogEntry.at)
            ).all()
            told = session.scalars(
                select(HolderNotice.kind).where(HolderNotice.holder_id == debtor.id)
            ).all()
        assert [one.action for one in entries] == [
            "arrears.write_off_make", "arrears.write_off_approve"
        ]  # fmt: skip
        assert {(one.holder_id, *one.documents) for one in entries} == {
            (debtor.id, SAID["document"])
        }
        assert told.count("arrears-written-off") == 1

    def test_the_database_refuses_one_person_for_both(
        self, finance: Finance, debtor: Bound
    ) -> None:
        id_ = new_id()
        finance.propose(debtor, id_)
        with pytest.raises(IntegrityError, match="two_people"), transaction() as session:
            session.execute(
                text(
                    "UPDATE arrears_write_offs SET approved = true, approved_by = made_by,"
                    " decided_at = now() WHERE id = :id"
                ),
                {"id": id_},
            )

    def test_a_refused_one_makes_room_and_changes_nothing(
        self, finance: Finance, debtor: Bound
    ) -> None:
        id_ = new_id()
        finance.propose(debtor, id_)
        waits = finance.propose(debtor, new_id())
        assert refused(waits) == (409, "write-off-waits")
        assert waits.get_json()["write_off_id"] == str(id_)
        assert finance.decide(id_, approve=False).status_code == 201
        assert finance.debts(debtor)[0]["arrears_fen"] == 300
        assert finance.propose(debtor, new_id()).status_code == 201

    def test_is_of_the_amount_that_both_saw(self, finance: Finance, debtor: Bound) -> None:
        id_ = new_id()
        other = finance.propose(debtor, id_, amount_fen=299)
        assert refused(other) == (409, "arrears-differ")
        assert other.get_json()["arrears_fen"] == 300
        finance.propose(debtor, id_)
        owe(debtor, 50)
        assert refused(finance.decide(id_)) == (409, "arrears-differ")
        assert finance.debts(debtor)[0]["arrears_fen"] == 350

    def test_is_for_closed_accounts_closing_ones_too(self, finance: Finance, parts: Parts) -> None:
        holder, id_ = make_holder(parts), new_id()
        owe(holder, 300)
        assert refused(finance.propose(holder, id_)) == (409, "top-up-pays")
        assert finance.debts(holder) == []
        close(holder, CardState.CLOSING)
        assert finance.propose(holder, id_).status_code == 201
        close(holder, CardState.FROZEN)
        assert refused(finance.decide(id_)) == (409, "top-up-pays")

    def test_is_for_finance_and_belongs_to_its_maker(
        self, finance: Finance, debtor: Bound, parts: Parts
    ) -> None:
        id_ = new_id()
        finance.propose(debtor, id_)
        assert refused(finance.propose(debtor, id_, by=finance.checker)) == (404, "not-found")
        assert refused(finance.propose(debtor, id_, reason="另一个原因")) == (409, "id-reused")
        centre = sign_in(parts, Role.CARD_CENTRE)
        assert refused(finance.propose(debtor, new_id(), by=centre)) == (403, "role-not-allowed")
        assert refused(finance.decide(id_, by=centre)) == (403, "role-not-allowed")
        assert refused(finance.decide(new_id())) == (404, "not-found")

    def test_of_four_decisions_at_once_one_is_first(self, finance: Finance, debtor: Bound) -> None:
        id_ = new_id()
        finance.propose(debtor, id_)
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: finance.decide(id_).status_code, range(4)))
        assert sorted(done) == [200, 200, 200, 201]
        with transaction() as session:
            assert arrears.difference(session) == 0
