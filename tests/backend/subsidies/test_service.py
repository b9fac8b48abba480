"""Subsidy batches: whole or not at all, two people, each item paid once, mistakes taken back."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, balances, make_holder, make_operator, make_person, make_till, present
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

from backend import clock, db
from backend.charges import service as charges
from backend.clock import business_date
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger.models import Transfer, TransferKind
from backend.money import Fen
from backend.notices.models import HolderNotice
from backend.operators.models import Role
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import OperatorCaller
from backend.subsidies import paying, service, taking_back
from backend.subsidies.models import BatchState, ItemState, SubsidyBatch
from backend.subsidies.rules import Row
from backend.subsidies.service import (
    Asked,
    SubsidyBatchDecided,
    SubsidyDayOver,
    SubsidyRowsFaulty,
)
from backend.subsidies.taking_back import SubsidyNotPaid, SubsidyWithdrawalWaits


@pytest.fixture(scope="module")
def maker(parts: Parts) -> OperatorCaller:
    return make_operator(parts, Role.STUDENT_AFFAIRS)


@pytest.fixture(scope="module")
def checker(parts: Parts) -> OperatorCaller:
    return make_operator(parts, Role.FINANCE)


def asked(rows: list[tuple[str, int]], **more: Any) -> Asked:
    """Return a batch of these holders and amounts."""
    said = {
        "name": "伙食补贴",
        "document_number": "学工〔2026〕18号",
        "fund": "资助",
        "pay_on": None,
    }
    numbered = [Row(at, number, fen) for at, (number, fen) in enumerate(rows, start=1)]
    return Asked(rows=numbered, **(said | more))


def make(wanted: Asked, maker: OperatorCaller, batch_id: UUID | None = None) -> tuple[UUID, bool]:
    with transaction() as session:
        batch, first = service.make(
            session, batch_id=batch_id or new_id(), asked=wanted, maker=maker, now=clock.now()
        )
        return batch.id, first


def approve(batch_id: UUID, checker: OperatorCaller) -> bool:
    with transaction() as session:
        _, first = service.approve(session, batch_id=batch_id, checker=checker, now=clock.now())
        return first


def paid(rows: list[tuple[str, int]], maker: Any, checker: Any) -> UUID:
    """Make, approve and pay a batch."""
    batch_id, _ = make(asked(rows), maker)
    approve(batch_id, checker)
    paying.pay_due(now=clock.now())
    return batch_id


def items(batch_id: UUID) -> list[Any]:
    with transaction() as session:
        found = service.items_of(session, batch_id=batch_id, after=None, limit=100)
        return [item for item, *_ in found]


def close(holder_id: UUID) -> None:
    with transaction() as session:
        session.execute(
            text("UPDATE cards SET state = 'closed' WHERE holder_id = :id"), {"id": holder_id}
        )


class TestCheck:
    def test_tells_every_fault_by_its_row(self, parts: Parts) -> None:
        good, gone = make_person(parts), make_person(parts)
        close(gone.id)
        rows = [
            Row(1, good.number, 100),
            Row(2, "nobody\x00", 100),
            Row(3, gone.number, 100),
            Row(4, good.number, 100),
            Row(5, make_person(parts).number, 0),
            Row(6, make_person(parts).number, 500_001),
            Row(7, make_person(parts).number, None),
        ]
        with transaction() as session:
            report = service.check(session, rows, now=clock.now())
        assert (report.rows, report.total_fen) == (7, 100)
        assert [(fault["row"], fault["fault"]) for fault in report.faults] == [
            (2, "unknown-holder"),
            (3, "account-closed"),
            (4, "twice"),
            (5, "amount"),
            (6, "amount"),
            (7, "amount"),
        ]

    def test_knows_an_account_by_more_than_its_cards(self, parts: Parts) -> None:
        """A card that is void waits for another one: the account is open all the same."""
        person = make_person(parts)
        with transaction() as session:
            session.execute(
                text("UPDATE cards SET state = 'void' WHERE holder_id = :id"), {"id": person.id}
            )
        with transaction() as session:
            report = service.check(session, [Row(1, person.number, 100)], now=clock.now())
        assert (report.total_fen, report.faults) == (100, [])


class TestMake:
    def test_is_idempotent_and_of_one_person(
        self, parts: Parts, maker: OperatorCaller, checker: OperatorCaller
    ) -> None:
        wanted, id_ = asked([(make_person(parts).number, 100)]), new_id()
        assert make(wanted, maker, id_) == (id_, True)
        assert make(wanted, maker, id_) == (id_, False)
        with pytest.raises(IdReused):
            make(asked([(make_person(parts).number, 101)]), maker, id_)
        with pytest.raises(NotFound):
            make(wanted, make_operator(parts, Role.STUDENT_AFFAIRS), id_)

    def test_is_whole_or_not_at_all(self, parts: Parts, maker: OperatorCaller) -> None:
        id_ = new_id()
        with pytest.raises(SubsidyRowsFaulty) as refused:
            make(asked([(make_person(parts).number, 100), ("nobody", 100)]), maker, id_)
        assert refused.value.facts["count"] == 1
        with transaction() as session, pytest.raises(NotFound):
            service.find(session, batch_id=id_)

    def test_not_for_a_day_that_is_over(self, parts: Parts, maker: OperatorCaller) -> None:
        yesterday = business_date(clock.now()) - timedelta(days=1)
        with pytest.raises(SubsidyDayOver):
            make(asked([(make_person(parts).number, 100)], pay_on=yesterday), maker)


class TestApprove:
    def test_takes_another_person_in_the_database_too(
        self, parts: Parts, maker: OperatorCaller, checker: OperatorCaller
    ) -> None:
        id_, _ = make(asked([(make_person(parts).number, 100)]), maker)
        with pytest.raises(SecondPersonNeeded):
            approve(id_, maker)
        with transaction() as session, pytest.raises(IntegrityError, match="another_person"):
            session.execute(
                update(SubsidyBatch)
                .where(SubsidyBatch.id == id_)
                .values(approved_by=maker.operator_id, state=BatchState.APPROVED)
            )
        assert (approve(id_, checker), approve(id_, checker)) == (True, False)
        with pytest.raises(SubsidyBatchDecided):
            approve(id_, make_operator(parts, Role.FINANCE))

    def run(self, what: str, id_: UUID, who: OperatorCaller, at: Barrier) -> str | None:
        """Approve or withdraw; return what was done, or None where the other was first."""
        at.wait()
        try:
            with transaction() as session:
                if what == "approve":
                    service.approve(session, batch_id=id_, checker=who, now=clock.now())
                else:
                    service.withdraw_batch(
                        session, batch_id=id_, reason="x", who=who, now=clock.now()
                    )
        except SubsidyBatchDecided:
            return None
        return what

    def test_against_a_withdrawal_one_of_them_wins(
        self, parts: Parts, maker: OperatorCaller, checker: OperatorCaller
    ) -> None:
        for _ in range(6):
            holder = make_person(parts)
            id_, _ = make(asked([(holder.number, 100)]), maker)
            barrier = Barrier(2)
            with ThreadPoolExecutor(2) as pool:
                runs = [
                    pool.submit(self.run, what, id_, who, barrier)
                    for what, who in (("approve", checker), ("withdraw", maker))
                ]
            won = [run.result() for run in runs if run.result()]
            assert len(won) == 1
            paying.pay_due(now=clock.now())
            assert balances(holder.id) == (0, 100 if won == ["approve"] else 0)


class TestPay:
    def test_each_item_once_into_the_subsidy_purse(
        self, parts: Parts, maker: OperatorCaller, checker: OperatorCaller
    ) -> None:
        first, second = make_person(parts), make_person(parts)
        id_ = paid([(first.number, 100), (second.number, 250)], maker, checker)
        assert (balances(first.id), balances(second.id)) == ((0, 100), (0, 250))
        assert paying.pay_due(now=clock.now()) == 0
        assert [item.state for item in items(id_)] == [ItemState.PAID] * 2
        with transaction() as session:
            assert service.find(session, batch_id=id_).state is BatchState.PAID
            told = session.scalars(
                select(HolderNotice).where(HolderNotice.holder_id == second.id)
            ).one()
            assert (told.kind, told.facts["amount_fen"]) == ("subsidy-paid", 250)

    def test_not_before_its_day(
        self, parts: Parts, maker: OperatorCaller, checker: OperatorCaller
    ) -> None:
        holder, now = make_person(parts), clock.now()
        day = business_date(now) + timedelta(days=2)
        id_, _ = make(asked([(holder.number, 100)], pay_on=day), maker)
        approve(id_, checker)
        paying.pay_due(now=now)
        assert balances(holder.id) == (0, 0)
        paying.pay_due(now=now + timedelta(days=2))
        assert balances(holder.id) == (0, 100)

    def test_whose_account_has_closed_is_left_out(
        self, parts: Parts, maker: OperatorCaller, checker: OperatorCaller
    ) -> None:
        stays, leaves = make_person(parts), make_person(parts)
        id_, _ = make(asked([(stays.number, 100), (leaves.number, 100)]), maker)
        approve(id_, checker)
        close(leaves.id)
        paying.pay_due(now=clock.now())
        assert [item.state for item in items(id_)] == [ItemState.PAID, ItemState.LEFT_OUT]
        assert balances(leaves.id) == (0, 0)
        with transaction() as session:
            assert service.find(session, batch_id=id_).state is BatchState.PAID

    def test_goes_on_where_it_was_killed_and_beside_itself(
        self, parts: Parts, maker: OperatorCaller, checker: OperatorCaller,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        people = [make_person(parts) for _ in range(12)]
        id_, _ = make(asked([(person.number, 70) for person in people]), maker)
        approve(id_, checker)
        monkeypatch.setattr(paying, "AT_ONCE", 2)
        with db.Session() as session:  # killed before it commits
            batch = service.find(session, batch_id=id_)
            paying._pay_items(session, batch, items(id_)[:2], now=clock.now())
            session.rollback()
        workers = [Thread(target=paying.pay_due, kwargs={"now": clock.now()}) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        paying.pay_due(now=clock.now())
        assert [balances(person.id) for person in people] == [(0, 70)] * 12
        with transaction() as session:
            assert service.find(session, batch_id=id_).state is BatchState.PAID


class TestTakeBack:
    def ask(self, item_id: UUID, who: OperatorCaller, id_: UUID | None = None) -> UUID:
        with transaction() as session:
            asked_back, _ = taking_back.ask_back(
                session,
                withdrawal_id=id_ or new_id(),
                item_id=item_id,
                reason="重复发放",
                maker=who,
                now=clock.now(),
            )
            return asked_back.id

    def take(self, id_: UUID, who: OperatorCaller) -> tuple[int | None, bool]:
        with transaction() as session:
            taken, first = taking_back.take_back(
                session, withdrawal_id=id_, checker=who, now=clock.now()
            )
            return taken.amount_fen, first

    def spend(self, holder: Bound, amount_fen: int) -> None:
        with transaction() as session:
            charged, _ = charges.charge(
                session,
                charge_id=new_id(),
                terminal=make_till().caller,
                code=present(holder.id),
                code_text="",
                amount_fen=Fen(amount_fen),
                note=None,
                now=clock.now(),
            )
            assert charged.reason is None

    @pytest.mark.parametrize(("spent_fen", "back_fen"), [(0, 500), (300, 200), (500, 0)])
    def test_at_most_what_is_left_and_once(
        self, parts: Parts, maker: OperatorCaller, checker: OperatorCaller, spent_fen: int,
        back_fen: int,
    ) -> None:  # fmt: skip
        holder = make_holder(parts, balance_fen=1_000)
        (item,) = items(paid([(holder.number, 500)], maker, checker))
        if spent_fen:
            self.spend(holder, spent_fen)
        id_ = self.ask(item.id, maker)
        assert self.ask(item.id, maker, id_) == id_
        with pytest.raises(SubsidyWithdrawalWaits):
            self.ask(item.id, maker)
        assert self.take(id_, checker) == (back_fen, True)
        assert self.take(id_, checker) == (back_fen, False)
        assert balances(holder.id) == (1_000, 0)
        with pytest.raises(SubsidyNotPaid):
            self.ask(item.id, maker)
        with transaction() as session:
            moved = session.scalars(
                select(Transfer.amount_fen).where(
                    Transfer.subject_id == id_, Transfer.kind == TransferKind.SUBSIDY_WITHDRAWN
                )
            ).all()
            assert sum(moved) == back_fen

    def test_leaves_other_subsidies_alone(
        self, parts: Parts, maker: OperatorCaller, checker: OperatorCaller
    ) -> None:
        holder = make_holder(parts, subsidy_fen=900)
        (item,) = items(paid([(holder.number, 500)], maker, checker))
        self.take(self.ask(item.id, maker), checker)
        assert balances(holder.id) == (0, 900)

    def test_takes_two_people(
        self, parts: Parts, maker: OperatorCaller, checker: OperatorCaller
    ) -> None:
        holder = make_person(parts)
        (item,) = items(paid([(holder.number, 500)], maker, checker))
        id_ = self.ask(item.id, checker)
        with pytest.raises(SecondPersonNeeded):
            self.take(id_, checker)
        with pytest.raises(NotFound):
            self.ask(item.id, maker, id_)
        with pytest.raises(NotFound):
            self.take(new_id(), checker)
