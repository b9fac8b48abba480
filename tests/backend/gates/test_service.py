"""Passages on a real PostgreSQL: every decision is stored, and made once."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, Device, make_gate, make_holder, make_till, present, virtual_card

from backend import clock
from backend.cards.codes import PresentedCode
from backend.cards.models import Card, CardState
from backend.charges import service as charges
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.gates import service
from backend.gates.models import Decision, Direction, Passage
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.money import Fen
from backend.terminals.service import TerminalNotAllowed
from qr import CodeError, CodeForged, CodeMalformed, CodeWrongScope, Scope

pytestmark = pytest.mark.usefixtures("app")

ALLOWED = (Decision.ALLOW, None)


def scan(
    gate: Device,
    code: PresentedCode | CodeError,
    *,
    passage_id: UUID | None = None,
    direction: Direction = Direction.IN,
    text: str = "",
) -> tuple[Passage, bool]:
    """Decide as the route does."""
    with transaction() as session:
        return service.decide(
            session,
            passage_id=passage_id or new_id(),
            terminal=gate.caller,
            code=code,
            code_text=text or repr(code),
            direction=direction,
            now=clock.now(),
        )


def told(gate: Device, code: PresentedCode | CodeError, **said: Any) -> tuple[str, str | None]:
    """Return decision and reason."""
    passage, _ = scan(gate, code, **said)
    return passage.decision, passage.reason


@pytest.fixture
def holder(parts: Parts) -> Bound:
    return make_holder(parts)


@pytest.fixture
def gate(parts: Parts) -> Device:
    return make_gate()


class TestDecide:
    def test_allows_the_holder_of_a_good_code(self, holder: Bound, gate: Device) -> None:
        passage, first = scan(gate, present(holder.id))
        assert (passage.decision, passage.reason, first) == (*ALLOWED, True)
        assert (passage.holder_id, passage.name_masked) == (holder.id, "王**")

    def test_costs_nothing(self, parts: Parts, gate: Device) -> None:
        with transaction() as session:
            before = ledger.prove(session).transfers
        scan(gate, present(make_holder(parts).id))
        with transaction() as session:
            assert ledger.prove(session).transfers == before

    def test_gives_a_retry_the_first_answer_whatever_happened_since(
        self, holder: Bound, gate: Device
    ) -> None:
        passage_id = new_id()
        first, _ = scan(gate, present(holder.id), passage_id=passage_id, text="961")
        again, was_first = scan(gate, CodeForged(), passage_id=passage_id, text="961")
        assert (again.decision, again.reference, was_first) == (
            Decision.ALLOW,
            first.reference,
            False,
        )

    @pytest.mark.parametrize("fault", [CodeMalformed(), CodeForged(), CodeWrongScope(Scope.PAY)])
    def test_stores_a_denial_for_the_codes_own_fault(self, gate: Device, fault: CodeError) -> None:
        passage_id = new_id()
        first, _ = scan(gate, fault, passage_id=passage_id)
        again, was_first = scan(gate, fault, passage_id=passage_id)
        assert (first.decision, first.reason, first.holder_id) == (Decision.DENY, fault.code, None)
        assert (again.reference, was_first) == (first.reference, False)

    @pytest.mark.parametrize(
        ("card_state", "reason"),
        [
            (CardState.LOST, "card-lost"),
            (CardState.FROZEN, "card-frozen"),
            (CardState.EXPIRED, "card-expired"),
            (CardState.CLOSING, "account-closed"),
            (CardState.CLOSED, "account-closed"),
        ],
    )
    def test_denies_by_the_cards_state_after_a_spent_code(
        self, holder: Bound, gate: Device, card_state: CardState, reason: str
    ) -> None:
        used, fresh = present(holder.id, issued_at=1), present(holder.id, issued_at=2)
        scan(gate, used)
        with transaction() as session:
            session.get_one(Card, virtual_card(holder.id).id).state = card_state
        assert told(gate, used) == (Decision.DENY, "code-spent")
        assert told(gate, fresh) == (Decision.DENY, reason)

    def test_denies_nobodys_code_as_stale(self, gate: Device) -> None:
        assert told(gate, PresentedCode(b"k" * 12, b"nobody", 1)) == (Decision.DENY, "code-stale")

    def test_uses_a_code_up(self, holder: Bound, gate: Device) -> None:
        code = present(holder.id)
        assert told(gate, code) == ALLOWED
        assert told(make_gate(), code) == (Decision.DENY, "code-spent")

    def test_kills_older_codes(self, holder: Bound, gate: Device) -> None:
        filmed, shown = present(holder.id, issued_at=100), present(holder.id, issued_at=130)
        assert told(gate, shown) == ALLOWED
        assert told(gate, filmed) == (Decision.DENY, "code-spent")

    def test_leaves_pay_codes_alone(self, parts: Parts, gate: Device) -> None:
        # The floor is per scope: passing a gate does not kill the pay code shown before it.
        holder = make_holder(parts, balance_fen=1000)
        pay_code = present(holder.id, issued_at=100)
        assert told(gate, present(holder.id, issued_at=130)) == ALLOWED
        with transaction() as session:
            outcome, _ = charges.charge(
                session,
                charge_id=new_id(),
                terminal=make_till().caller,
                code=pay_code,
                code_text="",
                amount_fen=Fen(100),
                note=None,
                now=clock.now(),
            )
        assert outcome.reason is None

    def test_refuses_an_id_of_other_content_or_of_another_gate(
        self, holder: Bound, gate: Device
    ) -> None:
        passage_id, code = new_id(), present(holder.id)
        scan(gate, code, passage_id=passage_id)
        with pytest.raises(IdReused):
            scan(gate, code, passage_id=passage_id, direction=Direction.OUT)
        with pytest.raises(IdReused):
            scan(gate, code, passage_id=passage_id, text="another")
        with pytest.raises(NotFound):
            scan(make_gate(), code, passage_id=passage_id)

    def test_is_for_gates_only(self, holder: Bound) -> None:
        with pytest.raises(TerminalNotAllowed):
            scan(make_till(), present(holder.id))


class TestFind:
    def test_shows_a_gate_its_own_passages(self, holder: Bound, gate: Device) -> None:
        passage, _ = scan(gate, present(holder.id))
        with transaction() as session:
            found = service.find(session, passage_id=passage.id, terminal=gate.caller)
            assert found.reference == passage.reference
            with pytest.raises(NotFound):
                service.find(session, passage_id=passage.id, terminal=make_gate().caller)
            with pytest.raises(NotFound):
                service.find(session, passage_id=new_id(), terminal=gate.caller)


class TestList:
    def test_is_of_ones_own_newest_first_in_pages(
        self, parts: Parts, holder: Bound, gate: Device
    ) -> None:
        scan(gate, present(make_holder(parts).id))
        made = [scan(gate, present(holder.id, issued_at=n))[0].id for n in range(5)]
        with transaction() as session:
            found, before = [], None
            while page := service.list_passages(
                session, holder_id=holder.id, before=before, limit=2
            ):
                found += [passage.id for passage in page]
                before = (page[-1].decided_at, page[-1].id)
        assert found == made[::-1]
        later = clock.now() + timedelta(days=1)
        with transaction() as session:
            both = service.list_passages(
                session, holder_id=holder.id, before=(later, new_id()), limit=9
            )
        assert len(both) == 5
