"""Scan and pay on a real PostgreSQL."""

from uuid import UUID

import pytest
from factories import Device, balances, make_holder, make_till, present

from backend import clock
from backend.cards.codes import PresentedCode
from backend.charges import service
from backend.charges.models import Charge, ChargeState
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from qr import CodeError, CodeForged

pytestmark = pytest.mark.usefixtures("app")


def charge(
    till: Device,
    code: PresentedCode | CodeError,
    amount_fen: int = 850,
    *,
    charge_id: UUID | None = None,
    text: str = "",
) -> tuple[Charge, bool]:
    """Charge as the route does."""
    with transaction() as session:
        return service.charge(
            session,
            charge_id=charge_id or new_id(),
            terminal=till.caller,
            code=code,
            code_text=text or repr(code),
            amount_fen=Fen(amount_fen),
            note=None,
            now=clock.now(),
        )


class TestCharge:
    def test_moves_the_price_to_the_merchant(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=1000), make_till()
        outcome, first = charge(till, present(holder.id))
        assert (outcome.state, first, outcome.balance_fen) == (ChargeState.APPROVED, True, 150)
        assert balances(holder.id) == (150, 0)

    def test_spends_the_subsidy_first(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=1000, subsidy_fen=300), make_till()
        outcome, _ = charge(till, present(holder.id))
        assert (balances(holder.id), outcome.from_subsidy_fen) == ((450, 0), 300)

    def test_takes_the_surcharge_on_top_in_canteens_only(self, parts: Parts) -> None:
        holder = make_holder(parts, balance_fen=5000, pays_surcharge=True)
        canteen, shop = make_till(is_canteen=True), make_till()
        assert charge(canteen, present(holder.id, issued_at=1))[0].surcharge_fen == 85
        assert charge(shop, present(holder.id, issued_at=2))[0].surcharge_fen == 0
        assert balances(holder.id) == (5000 - 850 - 85 - 850, 0)

    def test_returns_the_first_charge_to_a_retry(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        code = present(holder.id)
        first, was_first = charge(till, code, charge_id=charge_id)
        again, was_first_again = charge(till, code, charge_id=charge_id)
        assert (first.reference, was_first, was_first_again) == (again.reference, True, False)
        assert balances(holder.id) == (150, 0)

    def test_leaves_nothing_behind_when_the_code_is_at_fault(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        refused, _ = charge(till, CodeForged(), charge_id=charge_id)
        assert refused.reason == "code-forged"
        assert charge(till, present(holder.id), charge_id=charge_id)[0].reason is None
