"""Several tills at the same moment."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, balances, make_gate, make_holder, make_till, present
from sqlalchemy import text

from backend import clock
from backend.cards.loss import report_lost, restore
from backend.charges import service
from backend.charges.models import Charge, ChargeState
from backend.charges.service import ReversalTooLarge
from backend.db import transaction
from backend.gates import service as gates
from backend.gates.models import Decision, Direction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.money import Fen
from backend.operation_log.service import SYSTEM

pytestmark = pytest.mark.usefixtures("app")

AtOnce = Callable[..., list[Any]]
Pay = Callable[..., str]


def report(holder: Bound) -> None:
    """Report the phone lost."""
    with transaction() as session:
        report_lost(
            session,
            report_id=new_id(),
            holder_id=holder.id,
            credential="phone",
            stop_virtual_card=False,
            actor=SYSTEM,
            now=clock.now(),
        )


def put_back(holder: Bound) -> None:
    """Put the virtual card back in use."""
    with transaction() as session:
        restore(
            session,
            restoration_id=new_id(),
            holder_id=holder.id,
            policy_ids=[],
            actor=SYSTEM,
            now=clock.now(),
        )


class TestOneCode:
    def test_on_two_tills_pays_once(self, parts: Parts, at_once: AtOnce, pay: Pay) -> None:
        holder, tills = make_holder(parts, balance_fen=50_000), (make_till(), make_till())
        for issued_at in range(30):
            code = present(holder.id, issued_at=issued_at)
            outcomes = at_once(*(partial(pay, till, code, 100) for till in tills))
            assert sorted(outcomes) == ["approved", "code-spent"]
        assert balances(holder.id) == (50_000 - 30 * 100, 0)

    def test_at_two_gates_opens_one(self, parts: Parts, at_once: AtOnce) -> None:
        holder, both = make_holder(parts), (make_gate(), make_gate())

        def pass_through(gate: Any, code: Any) -> Decision:
            with transaction() as session:
                return gates.decide(
                    session,
                    passage_id=new_id(),
                    terminal=gate.caller,
                    code=code,
                    code_text=repr(code),
                    direction=Direction.IN,
                    now=clock.now(),
                )[0].decision

        for issued_at in range(30):
            code = present(holder.id, issued_at=issued_at)
            decisions = at_once(*(partial(pass_through, gate, code) for gate in both))
            assert sorted(decisions) == [Decision.ALLOW, Decision.DENY]


class TestOneCharge:
    def test_sent_fifty_times_at_once_happens_once(
        self, parts: Parts, at_once: AtOnce, caller: Any
    ) -> None:
        holder, till = make_holder(parts, balance_fen=10_000), make_till()
        codes = caller.send("POST", "/api/v1/me/codes", holder.headers, json={"scope": "pay"})
        body = {"code": codes.json()["codes"][0]["text"], "amount_fen": 850}
        path = f"/api/v1/charges/{new_id()}"
        answers = at_once(
            *(partial(caller.send, "PUT", path, till.headers, json=body) for _ in range(50))
        )
        assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
        assert len({answer.content for answer in answers}) == 1
        assert balances(holder.id) == (10_000 - 850, 0)

    def test_and_its_void_at_once_leave_it_voided(
        self, parts: Parts, at_once: AtOnce, pay: Pay
    ) -> None:
        holder, till = make_holder(parts, balance_fen=1000), make_till()

        def void(charge_id: UUID) -> str:
            with transaction() as session:
                service.void(session, charge_id=charge_id, terminal=till.caller, now=clock.now())
            return "voided"

        seen = set()
        for issued_at in range(40):
            charge_id, code = new_id(), present(holder.id, issued_at=issued_at)
            told, _ = at_once(
                partial(pay, till, code, 850, charge_id=charge_id), partial(void, charge_id)
            )
            seen.add(told)
            with transaction() as session:
                assert session.get_one(Charge, charge_id).state is ChargeState.VOIDED
            assert balances(holder.id) == (1000, 0)
        assert seen <= {"approved", "charge-voided"}

    def test_is_reversed_no_further_than_to_nothing(
        self, parts: Parts, at_once: AtOnce, pay: Pay
    ) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        pay(till, present(holder.id), 850, charge_id=charge_id)

        def reverse() -> str:
            try:
                with transaction() as session:
                    service.reverse(
                        session,
                        charge_id=charge_id,
                        reversal_id=new_id(),
                        terminal=till.caller,
                        amount_fen=Fen(100),
                        now=clock.now(),
                    )
            except ReversalTooLarge:
                return "too-large"
            return "reversed"

        assert Counter(at_once(*[reverse] * 12)) == {"reversed": 8, "too-large": 4}
        assert balances(holder.id) == (950, 0)


class TestOnePurse:
    @pytest.mark.parametrize(("balance_fen", "amount_fen"), [(850, 850), (3000, 850), (9999, 850)])
    def test_pays_as_often_as_there_is_money(
        self, parts: Parts, at_once: AtOnce, pay: Pay, balance_fen: int, amount_fen: int
    ) -> None:
        holder, tills = make_holder(parts, balance_fen=balance_fen), (make_till(), make_till())
        enough, issued = balance_fen // amount_fen, itertools.count()
        approved = 0

        def scan(till: Any, code: Any) -> str:
            return pay(till, code, amount_fen)

        # A code that a newer one overtook is spent: its owner shows another, as the phone does.
        for _ in range(20):
            codes = [present(holder.id, issued_at=next(issued)) for _ in range(20)]
            outcomes = at_once(*(partial(scan, tills[n % 2], code) for n, code in enumerate(codes)))
            approved += outcomes.count("approved")
            assert set(outcomes) <= {"approved", "insufficient-balance", "code-spent"}
            assert outcomes[-1] != "code-spent"  # nothing is newer than the newest
            assert balances(holder.id) == (balance_fen - approved * amount_fen, 0)
            if approved == enough:
                break
        assert approved == enough

    def test_is_split_over_subsidy_and_own_money_without_loss(
        self, parts: Parts, at_once: AtOnce, pay: Pay
    ) -> None:
        holder = make_holder(parts, balance_fen=500, subsidy_fen=500, pays_surcharge=True)
        till, issued = make_till(is_canteen=True), itertools.count()
        for _ in range(6):
            codes = [present(holder.id, issued_at=next(issued)) for _ in range(8)]
            at_once(*(partial(pay, till, code, 150) for code in codes))
        assert balances(holder.id) == (1000 - 6 * 165, 0)


class TestLoss:
    def test_lets_no_charge_commit_after_the_report(
        self, parts: Parts, at_once: AtOnce, pay: Pay
    ) -> None:
        holder, till = make_holder(parts, balance_fen=500_00), make_till()
        dice, seen = random.Random(1), Counter[str]()

        def report_and_look(charge_id: UUID, wait: float) -> bool:
            time.sleep(wait)
            report(holder)
            with transaction() as session:  # begins after the report's commit
                return session.get(Charge, charge_id) is not None

        def scan(charge_id: UUID, code: Any, wait: float) -> str:
            time.sleep(wait)
            return pay(till, code, 10, charge_id=charge_id)

        for _ in range(200):
            charge_id, code = new_id(), present(holder.id)
            told, stood = at_once(
                partial(scan, charge_id, code, dice.uniform(0, 0.006)),
                partial(report_and_look, charge_id, dice.uniform(0, 0.006)),
            )
            seen[told] += 1
            assert told in {"approved", "code-stale"}
            assert told != "approved" or stood, "a charge was committed after the report"
            assert pay(till, code, 10) == "code-stale"
            put_back(holder)
            assert pay(till, code, 10) == "code-stale"  # and stays dead after the restoration
        assert balances(holder.id)[0] == 500_00 - 10 * seen["approved"]
        assert len(seen) == 2, f"the race was always won by the same side: {seen}"


class TestEverythingAtOnce:
    def test_of_one_holder_ends_without_a_deadlock(
        self, parts: Parts, at_once: AtOnce, pay: Pay
    ) -> None:
        holder, till, gate = make_holder(parts, balance_fen=50_000), make_till(), make_gate()
        for issued_at in range(25):
            code = present(holder.id, issued_at=10 * issued_at)
            newer = present(holder.id, issued_at=10 * issued_at + 1)
            earlier = new_id()
            pay(till, code, 100, charge_id=earlier)

            def void(charge_id: UUID = earlier) -> None:
                with transaction() as session:
                    service.void(
                        session, charge_id=charge_id, terminal=till.caller, now=clock.now()
                    )

            def pass_through(shown: Any = code) -> None:
                with transaction() as session:
                    gates.decide(
                        session,
                        passage_id=new_id(),
                        terminal=gate.caller,
                        code=shown,
                        code_text=repr(shown),
                        direction=Direction.OUT,
                        now=clock.now(),
                    )

            at_once(partial(report, holder), partial(pay, till, newer, 10), void, pass_through)
            put_back(holder)

    def test_never_shows_a_reader_books_that_do_not_balance(
        self, parts: Parts, at_once: AtOnce, pay: Pay
    ) -> None:
        holders, till = [make_holder(parts, balance_fen=5000) for _ in range(4)], make_till()

        def spend(holder: Bound) -> bool:
            for issued_at in range(15):
                pay(till, present(holder.id, issued_at=issued_at), 100)
            return True

        def read() -> bool:
            proofs = []
            for _ in range(10):
                with transaction() as session:
                    session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
                    proofs.append(ledger.prove(session))
            return all(proof.holds for proof in proofs)

        assert all(at_once(*(partial(spend, holder) for holder in holders), read, read))
