"""Late uploads at the same moment as what they may collide with."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from factories import Device, balances, make_gate, make_holder, make_till, top_up
from flask import Flask
from phones import API, DevicePhone, Phone
from scanners import Told, Uploads, pay_code, policies
from sqlalchemy import func, select

from backend import clock
from backend.arrears import service as arrears
from backend.cards.loss import report_lost
from backend.charges import service as charges
from backend.charges.models import Charge, ChargeState
from backend.db import transaction
from backend.gates.models import Passage
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger.models import Transfer
from backend.operation_log.service import SYSTEM
from backend.uploads.models import LateUpload
from qr import Scope

pytestmark = pytest.mark.usefixtures("app")

AtOnce = Callable[..., list[Any]]
ROUNDS = 12


@pytest.fixture(autouse=True)
def money_offline(app: Flask) -> Iterator[None]:
    """Tills take money without network, as much as they like."""
    with policies(
        money=True, per_card_count=200, per_card_fen=10**6, per_sale_fen=10**5,
        per_terminal_fen=10**8,
    ):  # fmt: skip
        yield


@pytest.fixture
def phone(app: Flask, parts: Parts) -> Callable[[int], DevicePhone]:
    """Make a phone that may show codes without network, of somebody with some money."""

    def make(balance_fen: int) -> DevicePhone:
        known = make_holder(parts, balance_fen=balance_fen)
        made = DevicePhone(Phone(app.test_client(), token=known.token), known)
        assert made.enrol().status_code == 201
        return made

    return make


@pytest.fixture
def upload(app: Flask) -> Callable[..., str]:
    """Upload one item with a client of its own; return its outcome."""
    return lambda device, item: Uploads(app.test_client()).outcome(device, item)


@pytest.fixture
def pay_online(app: Flask) -> Callable[..., str]:
    """Charge a code online; return `approved` or the code of the refusal."""

    def pay(till: Device, code: str, amount_fen: int, charge_id: str | None = None) -> str:
        answer = app.test_client().put(
            f"{API}/charges/{charge_id or new_id()}",
            json={"code": code, "amount_fen": amount_fen},
            headers=till.headers,
        )
        said: dict[str, Any] = answer.get_json()
        return str(said.get("code") or said["state"])

    return pay


def posted(item: dict[str, Any]) -> int:
    """Return how much of a charge was posted."""
    with transaction() as session:
        moved = session.scalar(
            select(func.sum(Transfer.amount_fen)).where(Transfer.subject_id == UUID(item["id"]))
        )
    return int(moved or 0)


class TestALateCharge:
    def test_and_an_online_charge_of_the_same_code_pay_once(
        self, phone: Callable[[int], DevicePhone], at_once: AtOnce,
        upload: Callable[..., str], pay_online: Callable[..., str],
    ) -> None:  # fmt: skip
        known, seen = phone(100_000), Counter[tuple[str, ...]]()
        for round_ in range(ROUNDS):
            late, online = make_till(), make_till()
            code = pay_code(known, sequence=round_)
            item, before = Told(late).charge(code, 500), balances(known.holder.id)[0]
            outcomes = at_once(partial(upload, late, item), partial(pay_online, online, code, 500))
            seen[tuple(outcomes)] += 1
            assert balances(known.holder.id)[0] == before - 500
        assert seen.keys() <= {("charged", "code-spent"), ("under-review", "approved")}

    def test_and_its_own_unanswered_original_pay_once(
        self, phone: Callable[[int], DevicePhone], at_once: AtOnce,
        upload: Callable[..., str], pay_online: Callable[..., str],
    ) -> None:  # fmt: skip
        known, till, seen = phone(100_000), make_till(), Counter[str]()
        told = Told(till)
        for round_ in range(ROUNDS):
            item = told.charge(pay_code(known, sequence=round_), 500)
            before = balances(known.holder.id)[0]
            outcome, state = at_once(
                partial(upload, till, item),
                partial(pay_online, till, item["code"], 500, item["id"]),
            )
            seen[outcome] += 1
            assert state == "approved"
            assert balances(known.holder.id)[0] == before - 500
            assert posted(item) == 500
        assert seen.keys() <= {"charged", "already-charged"}

    def test_and_its_void_leave_it_voided_or_for_a_person(
        self, phone: Callable[[int], DevicePhone], at_once: AtOnce, upload: Callable[..., str]
    ) -> None:
        known, till = phone(100_000), make_till()
        told = Told(till)

        def void(item: dict[str, Any]) -> None:
            with transaction() as session:
                charges.void(
                    session, charge_id=UUID(item["id"]), terminal=till.caller, now=clock.now()
                )

        for round_ in range(ROUNDS):
            item = told.charge(pay_code(known, sequence=round_), 500)
            outcome, _ = at_once(partial(upload, till, item), partial(void, item))
            assert outcome in ("charged", "under-review")
            with transaction() as session:
                state = session.get_one(Charge, UUID(item["id"])).state
            assert state is ChargeState.VOIDED
            assert balances(known.holder.id) == (100_000, 0)

    def test_sent_many_times_at_once_happens_once(
        self, phone: Callable[[int], DevicePhone], at_once: AtOnce, app: Flask
    ) -> None:
        known, till = phone(100_000), make_till()
        told = Told(till)
        items = [told.charge(pay_code(known, sequence=n), 500) for n in range(6)]

        def send(order: list[dict[str, Any]]) -> list[Any]:
            said = Uploads(app.test_client()).send(till, *order).get_json()["items"]
            return sorted(said, key=lambda outcome: outcome["sequence"])

        orders = [items, items[::-1], items[3:] + items[:3], items[::2] + items[1::2]] * 2
        answers = at_once(*(partial(send, order) for order in orders))
        assert all(answer == answers[0] for answer in answers)
        assert balances(known.holder.id) == (100_000 - 6 * 500, 0)

    def test_and_a_loss_report_are_one_after_the_other(
        self, phone: Callable[[int], DevicePhone], at_once: AtOnce, upload: Callable[..., str]
    ) -> None:
        seen = Counter[str]()
        for _ in range(ROUNDS):
            known, till = phone(1000), make_till()
            item = Told(till).charge(pay_code(known), 500)

            def report(holder_id: UUID = known.holder.id) -> None:
                with transaction() as session:
                    report_lost(
                        session, report_id=new_id(), holder_id=holder_id, credential="phone",
                        stop_virtual_card=False, actor=SYSTEM, now=clock.now(),
                    )  # fmt: skip

            outcome, _ = at_once(partial(upload, till, item), report)
            seen[outcome] += 1
            # It was decided before the report, whatever comes to us first.
            assert (outcome, balances(known.holder.id)) == ("charged", (500, 0))
            late = Told(make_till())
            after = late.charge(pay_code(known, sequence=1), 500)
            assert upload(late.device, after) == "charged-to-risk"
            assert balances(known.holder.id) == (500, 0)

    def test_waits_for_a_loss_report_that_is_under_way(
        self, phone: Callable[[int], DevicePhone], upload: Callable[..., str]
    ) -> None:
        known, till = phone(1000), make_till()
        with ThreadPoolExecutor(1) as threads:
            with transaction() as session:
                report_lost(
                    session, report_id=new_id(), holder_id=known.holder.id, credential="phone",
                    stop_virtual_card=False, actor=SYSTEM, now=clock.now(),
                )  # fmt: skip
                after = clock.now() + timedelta(seconds=1)
                item = Told(till).charge(pay_code(known, now=after), 500, at=after)
                uploading = threads.submit(upload, till, item)
                time.sleep(0.5)
                assert not uploading.done()
            assert uploading.result() == "charged-to-risk"
        assert balances(known.holder.id) == (1000, 0)

    def test_and_others_on_one_purse_owe_what_it_lacks_and_no_more(
        self, phone: Callable[[int], DevicePhone], at_once: AtOnce, upload: Callable[..., str]
    ) -> None:
        known = phone(1200)
        tills = [make_till() for _ in range(5)]
        items = [Told(t).charge(pay_code(known, sequence=n), 500) for n, t in enumerate(tills)]
        outcomes = Counter(
            at_once(
                *(partial(upload, till, item) for till, item in zip(tills, items, strict=True)),
                partial(top_up, known.holder.id, 400),
                partial(top_up, known.holder.id, 300),
            )
        )
        assert outcomes[None] == 2
        assert outcomes["charged"] + outcomes["charged-with-arrears"] == 5
        with transaction() as session:
            owed_fen = arrears.open_fen(session, holder_id=known.holder.id)
        assert (balances(known.holder.id)[0], owed_fen) == (0, 2500 - 1200 - 700)


class TestALatePassage:
    def test_at_many_gates_is_recorded_at_each_and_flagged_at_all_but_one(
        self, phone: Callable[[int], DevicePhone], at_once: AtOnce, upload: Callable[..., str]
    ) -> None:
        known, gates = phone(0), [make_gate() for _ in range(4)]
        for round_ in range(6):
            code = known.code(Scope.GATE, sequence=round_)
            items = [Told(gate).passage(code) for gate in gates]
            for item in items:
                item["sequence"] = round_ + 1
            assert (
                at_once(
                    *(partial(upload, gate, item) for gate, item in zip(gates, items, strict=True))
                )
                == ["recorded"] * 4
            )
            with transaction() as session:
                rows = [session.get_one(LateUpload, UUID(item["id"])) for item in items]
                assert all(session.get(Passage, row.id) for row in rows)
            assert sorted(row.conflicts for row in rows) == [[], *[["double-use"]] * 3]
