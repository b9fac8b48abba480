"""Several codes of one person at one gate at one moment: one of them passes."""

from collections.abc import Callable
from functools import partial
from typing import Any

from factories import Device, make_gate, make_holder, present

from backend import clock
from backend.cards.codes import PresentedCode
from backend.db import transaction
from backend.gates import access, service
from backend.gates.models import Direction
from backend.gates.rules import GateAccess
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.service import SYSTEM

ROUNDS, CODES = 15, 4


def scan(gate: Device, code: PresentedCode) -> str:
    """Decide as the route does."""
    with transaction() as session:
        passage, _ = service.decide(
            session, passage_id=new_id(), terminal=gate.caller, code=code, code_text=repr(code),
            direction=Direction.IN, now=clock.now(),
        )  # fmt: skip
        return passage.decision


class TestPassback:
    def test_lets_one_of_them_in(self, parts: Parts, at_once: Callable[..., list[Any]]) -> None:
        gate = make_gate()
        with transaction() as session:
            access.change(
                session, terminal_id=gate.id, wanted=GateAccess(passback_minutes=5), actor=SYSTEM,
                now=clock.now(),
            )  # fmt: skip
        for _ in range(ROUNDS):
            holder = make_holder(parts)
            codes = [present(holder.id, issued_at=number) for number in range(CODES)]
            found = at_once(*(partial(scan, gate, code) for code in codes))
            assert sorted(found) == ["allow"] + ["deny"] * (CODES - 1)
