"""Two counters replace one card: one new card, one fee."""

from collections import Counter
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from factories import balances, give, make_holder, make_operator, make_till, present
from races.conftest import AtOnce
from sqlalchemy import func, select

from backend import clock
from backend.cards import counter, found, replacement
from backend.cards.models import Card, CardKind, CardState, Replacement
from backend.cards.rules import CardEvent
from backend.cards.service import change_state, find_card
from backend.db import transaction
from backend.errors import DomainError
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.operators.service import OperatorCaller

pytestmark = pytest.mark.usefixtures("app")
FEE_FEN = 2_000


@pytest.fixture(autouse=True)
def holds(app: Any) -> Any:
    """Whatever happened, the ledger holds."""
    yield
    with transaction() as session:
        assert ledger.prove(session).holds


def lose(holder_id: UUID) -> Card:
    """Let a holder lose the physical card."""
    with transaction() as session:
        card = find_card(session, holder_id=holder_id, kind=CardKind.PHYSICAL)
        assert card is not None
        change_state(session, card=card, event=CardEvent.REPORT_LOST, actor=SYSTEM, now=clock.now())
        return card


def replace(card: Card, operator: OperatorCaller, replacement_id: UUID | None = None) -> str:
    """Replace a card; return `done` or the refusal's code."""
    try:
        with transaction() as session:
            replacement.replace(
                session,
                replacement_id=replacement_id or new_id(),
                card_id=card.id,
                wanted=replacement.Wanted("lost", ["id_document"], Fen(FEE_FEN)),
                operator=operator,
                now=clock.now(),
            )
    except DomainError as refusal:
        return refusal.code
    return "done"


def restore(card: Card, operator: OperatorCaller) -> str:
    """Restore a card at the counter."""
    try:
        with transaction() as session:
            counter.operate(
                session,
                operation_id=new_id(),
                card_id=card.id,
                wanted=counter.Wanted(
                    CardEvent.RESTORE, documents=["id_document"], card_number=card.number
                ),
                operator=operator,
                now=clock.now(),
            )
    except DomainError as refusal:
        return refusal.code
    return "done"


def live(holder_id: UUID) -> int:
    """Count a holder's physical cards that are in use."""
    with transaction() as session:
        return session.scalar(
            select(func.count())
            .select_from(Card)
            .where(
                Card.holder_id == holder_id,
                Card.kind == CardKind.PHYSICAL,
                Card.state == CardState.ACTIVE,
            )
        ) or 0  # fmt: skip


class TestReplacement:
    def test_by_many_at_once_is_one(self, parts: Parts, at_once: AtOnce) -> None:
        clerks = [make_operator(parts, Role.CARD_CENTRE) for _ in range(4)]
        for _ in range(8):
            holder = make_holder(parts, balance_fen=5 * FEE_FEN)
            card = lose(holder.id)
            said = at_once(*(partial(replace, card, clerk) for clerk in clerks))
            assert Counter(said) == {"done": 1, "replaced": 3}
            assert (live(holder.id), balances(holder.id)[0]) == (1, 4 * FEE_FEN)
            with transaction() as session:
                made = select(func.count()).select_from(Replacement)
                assert session.scalar(made.where(Replacement.holder_id == holder.id)) == 1

    def test_said_many_times_at_once_is_made_once(self, parts: Parts, at_once: AtOnce) -> None:
        clerk, holder, id_ = make_operator(parts, Role.CARD_CENTRE), None, new_id()
        holder = make_holder(parts, balance_fen=5 * FEE_FEN)
        card = lose(holder.id)
        assert set(at_once(*[partial(replace, card, clerk, id_)] * 6)) == {"done"}
        assert (live(holder.id), balances(holder.id)[0]) == (1, 4 * FEE_FEN)

    def test_and_a_charge_spend_the_money_once(
        self, parts: Parts, at_once: AtOnce, pay: Any
    ) -> None:
        clerk, till = make_operator(parts, Role.CARD_CENTRE), make_till()
        for _ in range(10):
            holder = make_holder(parts, balance_fen=FEE_FEN)
            card = lose(holder.id)
            said = at_once(
                partial(replace, card, clerk), partial(pay, till, present(holder.id), 600)
            )
            assert said in (["done", "insufficient-balance"], ["replacement-fee-short", "approved"])
            left = 0 if said[0] == "done" else FEE_FEN - 600
            assert balances(holder.id) == (left, 0)
            assert live(holder.id) == (1 if said[0] == "done" else 0)

    def test_and_a_restoration_are_one_or_the_other(self, parts: Parts, at_once: AtOnce) -> None:
        one, other = (make_operator(parts, Role.CARD_CENTRE) for _ in range(2))
        for _ in range(10):
            holder = make_holder(parts, balance_fen=FEE_FEN)
            card = lose(holder.id)
            said = at_once(partial(replace, card, one), partial(restore, card, other))
            assert said in (["done", "replaced"], ["report-lost-first", "done"])
            assert live(holder.id) == 1
            assert balances(holder.id)[0] == (0 if said[0] == "done" else FEE_FEN)


class TestFoundCard:
    def test_found_by_many_and_topped_up_meanwhile(self, parts: Parts, at_once: AtOnce) -> None:
        clerk, holder = make_operator(parts, Role.LOGISTICS), make_holder(parts)
        with transaction() as session:
            card = find_card(session, holder_id=holder.id, kind=CardKind.PHYSICAL)
        assert card is not None

        def find() -> bool:
            with transaction() as session:
                return found.record(
                    session, found_id=new_id(), number=card.number or "", place="食堂",
                    actor=clerk.actor, now=clock.now(),
                )[1]  # fmt: skip

        def receive() -> bool:
            with transaction() as session:
                give(session, holder.id, main_fen=100, subsidy_fen=0, now=clock.now())
            return True

        assert all(at_once(*[find] * 3, *[receive] * 3))
        with transaction() as session:
            assert session.get_one(Card, card.id).state is CardState.LOST
        assert balances(holder.id)[0] == 300
