"""Arrears of a closed account, paid in cash past its purses, over HTTP."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, balances, make_holder, sign_in
from flask import Flask
from phones import API
from sqlalchemy import select

from backend.arrears import service as arrears
from backend.cards.models import CardState
from backend.cash_desk import shifts
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger.models import Account, AccountKind, Transfer, TransferKind
from backend.operation_log.models import LogEntry
from backend.operators.models import Role

from .test_routes import DESK, SHIFT
from .test_service import notices_of, owe, put_cards

Call = Callable[..., Any]


@pytest.fixture
def debtor(parts: Parts) -> Bound:
    """Somebody whose account is closed and who owes 3.00 and 5.00."""
    holder = make_holder(parts)
    owe(holder.id, 300)
    owe(holder.id, 500)
    put_cards(holder.id, physical=CardState.CLOSED, virtual=CardState.CLOSED)
    return holder


@pytest.fixture
def call(app: Flask, parts: Parts) -> Call:
    """A cashier of finance with an open shift, and a supervisor where `by` says so."""
    client, shift_id = app.test_client(), new_id()
    people = {name: sign_in(parts, Role.FINANCE) for name in ("cashier", "supervisor")}

    def make(path: str, *, by: str = "cashier", **said: Any) -> Any:
        return client.put(f"{DESK}/{path}", json=said, headers=people[by])

    assert make(f"shifts/{shift_id}", **SHIFT).status_code == 201
    make.shift_id = shift_id  # type: ignore[attr-defined]
    return make


def pay(call: Any, holder: Bound, amount_fen: int, payment_id: UUID | None = None) -> Any:
    said = {"shift_id": str(call.shift_id), "holder_id": str(holder.id), "amount_fen": amount_fen}
    return call(f"arrears-payments/{payment_id or new_id()}", **said)


def owed(holder: Bound) -> int:
    with transaction() as session:
        return arrears.open_fen(session, holder_id=holder.id)


def moved(subject_id: Any) -> list[tuple[TransferKind, AccountKind, AccountKind, int]]:
    with transaction() as session:
        kinds = {row.id: row.kind for row in session.execute(select(Account.id, Account.kind))}
        return [
            (one.kind, kinds[one.debit_account_id], kinds[one.credit_account_id], one.amount_fen)
            for one in session.scalars(
                select(Transfer).where(Transfer.subject_id == UUID(str(subject_id)))
            )
        ]


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


class TestPaying:
    def test_goes_from_cash_to_the_arrears_past_the_purses_the_oldest_first(
        self, call: Call, debtor: Bound
    ) -> None:
        payment_id = new_id()
        made = pay(call, debtor, 450, payment_id)
        assert (made.status_code, pay(call, debtor, 450, payment_id).status_code) == (201, 200)
        assert made.get_json() == pay(call, debtor, 450, payment_id).get_json()
        assert (made.get_json()["purpose"], owed(debtor)) == ("arrears", 350)
        assert moved(payment_id) == [
            (TransferKind.ARREARS_CASH, AccountKind.CASH, AccountKind.ARREARS, 450)
        ]
        assert balances(debtor.id) == (0, 0)
        with transaction() as session:
            first, second = arrears.list_of(session, holder_id=debtor.id)
            assert (first.open_fen, second.open_fen) == (0, 350)
            assert first.settled_at is not None
            entry = session.scalars(select(LogEntry).where(LogEntry.subject_id == payment_id)).one()
        assert (entry.action, entry.holder_id) == ("arrears.pay_in_cash", debtor.id)
        assert entry.receipt_number == made.get_json()["receipt_number"]
        told = notices_of(debtor.id, "arrears-settled")
        assert [(one["amount_fen"], one["arrears_fen"]) for one in told] == [(450, 350)]
        assert pay(call, debtor, 350).status_code == 201
        assert owed(debtor) == 0

    def test_is_numbered_and_counted_with_the_top_ups(
        self, call: Call, debtor: Bound, parts: Parts
    ) -> None:
        other = make_holder(parts)
        before = pay(call, debtor, 100).get_json()["receipt_number"]
        said = {"holder_id": str(other.id), "amount_fen": 5_000}
        top_up = call(f"top-ups/{new_id()}", shift_id=str(call.shift_id), **said).get_json()
        assert int(top_up["receipt_number"][-4:]) == int(before[-4:]) + 1
        count = call(f"shifts/{call.shift_id}/close-out", counted_fen=25_100).get_json()
        assert (count["state"], count["difference_fen"]) == ("closed", 0)
        with transaction() as session:
            assert shifts.difference(session) == 0

    def test_is_taken_back_by_a_supervisor_and_owed_again(self, call: Call, debtor: Bound) -> None:
        paid = pay(call, debtor, 450).get_json()
        path, reversal_id = f"top-ups/{paid['id']}/reversals", new_id()
        own = call(f"{path}/{reversal_id}", reason="误收")
        assert refused(own) == (403, "cashier-cannot-supervise")
        for status in (201, 200):
            answer = call(f"{path}/{reversal_id}", by="supervisor", reason="误收")
            assert answer.status_code == status
        assert owed(debtor) == 800
        assert moved(reversal_id) == [
            (TransferKind.ARREARS_CASH_REVERSAL, AccountKind.ARREARS, AccountKind.CASH, 450)
        ]
        with transaction() as session:
            assert all(
                one.settled_at is None for one in arrears.list_of(session, holder_id=debtor.id)
            )

    def test_is_refused_for_what_is_wrong(
        self, app: Flask, call: Call, debtor: Bound, parts: Parts
    ) -> None:
        open_ = make_holder(parts)
        owe(open_.id, 500)
        assert refused(pay(call, open_, 500)) == (409, "top-up-pays")
        more = pay(call, debtor, 801)
        assert refused(more) == (409, "arrears-differ")
        assert more.get_json()["arrears_fen"] == 800
        assert refused(pay(call, debtor, 60_000)) == (409, "limit-exceeded")
        payment_id = new_id()
        pay(call, debtor, 100, payment_id)
        assert refused(pay(call, debtor, 101, payment_id)) == (409, "id-reused")
        said = {"holder_id": str(debtor.id), "amount_fen": 100}
        as_top_up = call(f"top-ups/{payment_id}", shift_id=str(call.shift_id), **said)
        assert refused(as_top_up) == (409, "id-reused")
        assert owed(debtor) == 700
        for role, code in ((Role.LOGISTICS, "not-found"), (Role.AUDITOR, "role-not-allowed")):
            answer = app.test_client().put(
                f"{DESK}/arrears-payments/{payment_id}",
                json=said | {"shift_id": str(call.shift_id)},
                headers=sign_in(parts, role),
            )
            assert answer.get_json()["code"] == code

    def test_of_somebody_else_is_told_to_the_desk(
        self, app: Flask, debtor: Bound, parts: Parts
    ) -> None:
        seen = app.test_client().post(
            f"{API}/staff/cash-desk/holder-lookups",
            json={"by": "holder_number", "shown": debtor.number},
            headers=sign_in(parts, Role.LOGISTICS),
        )
        assert (seen.get_json()["reason"], seen.get_json()["arrears_fen"]) == (
            "account-closed", 800
        )  # fmt: skip
