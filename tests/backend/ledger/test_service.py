"""The ledger's door on a real PostgreSQL: what it refuses, what it reports, what it proves."""

from collections.abc import Iterator
from datetime import date, timedelta
from uuid import UUID

import pytest
from factories import Person, balances, give, make_person
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as SessionType

from backend import clock
from backend.clock import business_date
from backend.db import Session, transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import InsufficientBalance, Movement, prove, statement, totals
from backend.money import Fen

pytestmark = pytest.mark.usefixtures("app")

EVER = {"first": date(2000, 1, 1), "after": date(2100, 1, 1)}


@pytest.fixture
def scratch(parts: Parts) -> Iterator[SessionType]:
    """A transaction that is rolled back: whatever is broken in it is whole again afterwards."""
    with Session() as session:
        yield session
        session.rollback()


@pytest.fixture
def rich(parts: Parts) -> Person:
    """Somebody with 10.00 yuan of their own and 3.00 of subsidy."""
    person = make_person(parts)
    with transaction() as session:
        give(session, person.id, main_fen=1000, subsidy_fen=300, now=clock.now())
    return person


def purse_of(session: SessionType, person: Person, kind: AccountKind) -> UUID:
    return service.purses_of(session, holder_id=person.id)[kind].id


def move(
    session: SessionType,
    debit: UUID,
    credit: UUID,
    amount_fen: int,
    *,
    subject_id: UUID | None = None,
    kind: TransferKind = TransferKind.SUBSIDY,
) -> None:
    movement = Movement(kind, subject_id or new_id(), debit, credit, Fen(amount_fen))
    service.post(session, [movement], now=clock.now())


def take(person: Person, *amounts_fen: int, subject_id: UUID | None = None) -> None:
    """Take amounts out of somebody's main purse, in one transaction."""
    with transaction() as session:
        fund = service.school_account(session, AccountKind.SUBSIDY_FUND)
        main = purse_of(session, person, AccountKind.MAIN_PURSE)
        for amount_fen in amounts_fen:
            move(session, main, fund, amount_fen, subject_id=subject_id)


class TestPost:
    def test_moves_money_between_purses(self, rich: Person) -> None:
        with transaction() as session:
            main = purse_of(session, rich, AccountKind.MAIN_PURSE)
            subsidy = purse_of(session, rich, AccountKind.SUBSIDY_PURSE)
            move(session, main, subsidy, 250)
        assert balances(rich.id) == (750, 550)

    def test_empties_a_purse_to_the_last_fen(self, rich: Person) -> None:
        take(rich, 1000)
        assert balances(rich.id) == (0, 300)

    def test_refuses_one_fen_more_than_there_is(self, rich: Person) -> None:
        with pytest.raises(InsufficientBalance):
            take(rich, 1001)
        assert balances(rich.id) == (1000, 300)

    def test_undoes_the_movements_before_the_one_that_fails(self, rich: Person) -> None:
        with pytest.raises(InsufficientBalance):
            take(rich, 900, 101)
        assert balances(rich.id) == (1000, 300)

    def test_lets_the_schools_accounts_run_negative(self, rich: Person) -> None:
        with transaction() as session:
            channel = service.school_account(session, AccountKind.CHANNEL, "wechat")
            move(session, channel, purse_of(session, rich, AccountKind.MAIN_PURSE), 5)
        assert balances(rich.id) == (1005, 300)

    @pytest.mark.parametrize("unknown", ["debit", "credit"])
    def test_refuses_an_account_that_does_not_exist(
        self, scratch: SessionType, rich: Person, unknown: str
    ) -> None:
        main = purse_of(scratch, rich, AccountKind.MAIN_PURSE)
        sides = (new_id(), main) if unknown == "debit" else (main, new_id())
        with pytest.raises(IntegrityError, match="an account does not exist"):
            move(scratch, *sides, 1)

    def test_refuses_a_transfer_to_the_same_account(
        self, scratch: SessionType, rich: Person
    ) -> None:
        main = purse_of(scratch, rich, AccountKind.MAIN_PURSE)
        with pytest.raises(IntegrityError, match="an account does not exist"):
            move(scratch, main, main, 1)

    @pytest.mark.parametrize("amount_fen", [-1, 100_000_001])
    def test_refuses_an_amount_out_of_bounds(
        self, scratch: SessionType, rich: Person, amount_fen: int
    ) -> None:
        fund = service.school_account(scratch, AccountKind.SUBSIDY_FUND)
        main = purse_of(scratch, rich, AccountKind.MAIN_PURSE)
        with pytest.raises(IntegrityError, match="amount_within_bounds"):
            move(scratch, fund, main, amount_fen)

    def test_leaves_out_a_movement_of_nothing(self, rich: Person) -> None:
        with transaction() as session:
            before = prove(session).transfers
            fund = service.school_account(session, AccountKind.SUBSIDY_FUND)
            move(session, fund, purse_of(session, rich, AccountKind.MAIN_PURSE), 0)
            assert prove(session).transfers == before

    def test_refuses_the_same_movement_of_one_subject_twice(
        self, scratch: SessionType, rich: Person
    ) -> None:
        fund = service.school_account(scratch, AccountKind.SUBSIDY_FUND)
        main = purse_of(scratch, rich, AccountKind.MAIN_PURSE)
        subject_id = new_id()
        move(scratch, fund, main, 5, subject_id=subject_id)
        with pytest.raises(IntegrityError, match="uq_transfers_subject_id"):
            move(scratch, fund, main, 7, subject_id=subject_id)

    def test_is_undone_as_a_whole_by_a_movement_said_twice(self, rich: Person) -> None:
        subject_id = new_id()
        with pytest.raises(IntegrityError):
            take(rich, 5, 5, subject_id=subject_id)
        assert balances(rich.id) == (1000, 300)


class TestStatement:
    def test_shows_what_came_in(self, rich: Person) -> None:
        with transaction() as session:
            lines = statement(session, holder_id=rich.id, **EVER, before=None, limit=10)
        assert {(line.kind, line.purse, line.amount_fen) for line in lines} == {
            ("subsidy", "main", 1000),
            ("subsidy", "subsidy", 300),
        }

    def test_makes_one_line_of_all_parts_of_a_charge(self, rich: Person) -> None:
        charge_id, now = new_id(), clock.now()
        with transaction() as session:
            main = purse_of(session, rich, AccountKind.MAIN_PURSE)
            subsidy = purse_of(session, rich, AccountKind.SUBSIDY_PURSE)
            surcharge = service.school_account(session, AccountKind.SURCHARGE)
            fund = service.school_account(session, AccountKind.SUBSIDY_FUND)
            facts = {"place": "1号窗"}
            service.post(
                session,
                [
                    Movement(TransferKind.CHARGE, charge_id, subsidy, fund, Fen(300), facts),
                    Movement(TransferKind.CHARGE, charge_id, main, fund, Fen(550), facts),
                    Movement(TransferKind.SURCHARGE, charge_id, main, surcharge, Fen(85), facts),
                ],
                now=now,
            )
            line = statement(session, holder_id=rich.id, **EVER, before=None, limit=1)[0]
        assert (line.id, line.kind, line.amount_fen, line.purse, line.surcharge_fen) == (
            charge_id,
            "charge",
            -935,
            "both",
            85,
        )
        assert line.facts == facts
        assert line.business_date == business_date(now)

    def test_comes_in_pages_that_miss_nothing_and_repeat_nothing(self, rich: Person) -> None:
        with transaction() as session:
            fund = service.school_account(session, AccountKind.SUBSIDY_FUND)
            main = purse_of(session, rich, AccountKind.MAIN_PURSE)
            now = clock.now()
            for step in range(7):  # some share a moment: the id keeps them apart
                movement = Movement(TransferKind.SUBSIDY, new_id(), fund, main, Fen(1))
                service.post(session, [movement], now=now + timedelta(seconds=step // 3))
            whole = statement(session, holder_id=rich.id, **EVER, before=None, limit=100)
            paged, before = [], None
            while page := statement(session, holder_id=rich.id, **EVER, before=before, limit=2):
                paged += page
                before = (page[-1].at, page[-1].id)
        assert len(whole) == 9
        assert paged == whole
        assert [line.at for line in whole] == sorted((line.at for line in whole), reverse=True)

    def test_holds_the_accounting_days_asked_for(self, rich: Person) -> None:
        with transaction() as session:
            fund = service.school_account(session, AccountKind.SUBSIDY_FUND)
            main = purse_of(session, rich, AccountKind.MAIN_PURSE)
            midnight = clock.start_of_day(date(2026, 9, 1))
            for moment, fen in ((midnight - timedelta(seconds=1), 3), (midnight, 5)):
                movement = Movement(TransferKind.SUBSIDY, new_id(), fund, main, Fen(fen))
                service.post(session, [movement], now=moment)
            september = {"first": date(2026, 9, 1), "after": date(2026, 10, 1)}
            august = {"first": date(2026, 8, 1), "after": date(2026, 9, 1)}
            assert totals(session, holder_id=rich.id, **september) == (5, 0)
            assert totals(session, holder_id=rich.id, **august) == (3, 0)
            lines = statement(session, holder_id=rich.id, **august, before=None, limit=9)
            assert [line.amount_fen for line in lines] == [3]

    def test_holds_nothing_of_anybody_else(self, parts: Parts, rich: Person) -> None:
        nobody = make_person(parts)
        with transaction() as session:
            assert statement(session, holder_id=nobody.id, **EVER, before=None, limit=9) == []
            assert totals(session, holder_id=nobody.id, **EVER) == (0, 0)


class TestTotals:
    def test_add_up_to_the_balances(self, rich: Person) -> None:
        take(rich, 120)
        with transaction() as session:
            in_fen, out_fen = totals(session, holder_id=rich.id, **EVER)
        assert (in_fen, out_fen) == (1300, 120)
        assert sum(balances(rich.id)) == in_fen - out_fen


class TestProof:
    @pytest.fixture
    def scratch(self, owner: Engine) -> Iterator[SessionType]:
        """The same as the owner, who alone gets past `post_transfer`."""
        with SessionType(owner) as session:
            yield session
            session.rollback()

    def test_holds_over_what_all_tests_did(self, scratch: SessionType, rich: Person) -> None:
        proof = prove(scratch)
        assert proof.holds
        assert proof.transfers > 0
        assert proof.purses > 0
        assert sum(proof.by_kind.values()) == 0

    def test_finds_a_balance_that_its_transfers_do_not_give(
        self, scratch: SessionType, rich: Person
    ) -> None:
        scratch.execute(
            text(
                "UPDATE accounts SET balance_fen = balance_fen + 1"
                " WHERE holder_id = :id AND kind = 'main_purse'"
            ),
            {"id": rich.id},
        )
        proof = prove(scratch)
        assert (proof.wrong_purses, proof.difference_fen, proof.holds) == (1, 1, False)

    def test_finds_two_errors_that_cancel_out(
        self, scratch: SessionType, parts: Parts, rich: Person
    ) -> None:
        other = make_person(parts)
        scratch.execute(
            text(
                "UPDATE accounts SET balance_fen = balance_fen"
                " + CASE WHEN holder_id = :rich THEN -7 ELSE 7 END"
                " WHERE holder_id IN (:rich, :other) AND kind = 'main_purse'"
            ),
            {"rich": rich.id, "other": other.id},
        )
        proof = prove(scratch)
        assert (proof.wrong_purses, proof.difference_fen, proof.holds) == (2, 0, False)

    def test_finds_a_transfer_that_no_balance_knows(
        self, scratch: SessionType, rich: Person
    ) -> None:
        self.plant(scratch, purse_of(scratch, rich, AccountKind.MAIN_PURSE))
        assert prove(scratch).wrong_purses == 1

    def test_finds_a_transfer_to_an_account_that_does_not_exist(self, scratch: SessionType) -> None:
        self.plant(scratch, new_id())
        proof = prove(scratch)
        assert (proof.strange_accounts, proof.holds) == (1, False)

    def plant(self, session: SessionType, credit: UUID) -> None:
        """Write a transfer past `post_transfer`, as only SQL by hand can."""
        session.execute(
            text(
                "INSERT INTO transfers (id, kind, subject_id, debit_account_id, credit_account_id,"
                " amount_fen, facts, posted_at, business_date)"
                " VALUES (uuidv7(), 'subsidy', uuidv7(), :debit, :credit, 9, '{}', now(), now())"
            ),
            {
                "debit": service.school_account(session, AccountKind.SUBSIDY_FUND),
                "credit": credit,
            },
        )
