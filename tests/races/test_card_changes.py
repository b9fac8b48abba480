"""A card that is exchanged, replaced, retired, extended or expired while something else happens."""

import random
import secrets
import time
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from factories import (
    Bound,
    balances,
    make_holder,
    make_operator,
    make_till,
    present,
)
from sqlalchemy import update

from backend import clock
from backend.cards import counter, replacement
from backend.cards.loss import report_lost
from backend.cards.models import Card, CardKind, CardState
from backend.cards.rules import CardEvent
from backend.cards.service import GONE, expire_cards, find_card, list_cards
from backend.charges import service as charges
from backend.clock import business_date, start_of_day
from backend.closings import graduates, retirements, service
from backend.closings.models import ClosingKind, Graduate
from backend.db import transaction
from backend.errors import DomainError
from backend.holders.models import Category, Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.issues import exchanges, handing_out
from backend.issues.models import Signature
from backend.issues.rules import months_later
from backend.ledger import service as ledger
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.operators.service import OperatorCaller

pytestmark = pytest.mark.usefixtures("app")

AtOnce = Callable[..., list[Any]]
ROUNDS = 25
FEE_FEN = 2_000
MOST_WAIT_SECONDS = 0.02


@pytest.fixture(autouse=True)
def holds(app: Any) -> Any:
    """Whatever happened, the ledger holds."""
    yield
    with transaction() as session:
        assert ledger.prove(session).holds


@pytest.fixture
def clerk(parts: Parts) -> OperatorCaller:
    return make_operator(parts, Role.CARD_CENTRE)


@pytest.fixture
def dice() -> random.Random:
    return random.Random(7)


def told_by(act: Callable[..., Any]) -> str:
    """Do something in a transaction of its own; return `done` or the refusal's code."""
    try:
        with transaction() as session:
            act(session)
    except DomainError as refusal:
        return refusal.code
    return "done"


def soon(dice: random.Random, act: Callable[..., Any]) -> Callable[[], str]:
    """Do something a moment later, by chance."""
    wait = dice.uniform(0, MOST_WAIT_SECONDS)

    def do() -> str:
        time.sleep(wait)
        return told_by(act)

    return do


def physical(holder_id: UUID) -> Card:
    """Return somebody's physical card."""
    with transaction() as session:
        card = find_card(session, holder_id=holder_id, kind=CardKind.PHYSICAL)
    assert card is not None
    return card


def live(holder_id: UUID, kind: CardKind = CardKind.PHYSICAL) -> list[CardState]:
    """Return how somebody's cards of a kind stand that are not gone for ever: one at most."""
    with transaction() as session:
        return [
            card.state
            for card in list_cards(session, holder_id=holder_id)
            if card.state not in GONE and card.kind is kind
        ]


def replace(card: Card, clerk: OperatorCaller, session: Any) -> None:
    replacement.replace(
        session,
        replacement_id=new_id(),
        card_id=card.id,
        wanted=replacement.Wanted("damaged", ["id_document"], Fen(FEE_FEN)),
        operator=clerk,
        now=clock.now(),
    )


def lose(holder_id: UUID, session: Any) -> None:
    report_lost(
        session,
        report_id=new_id(),
        holder_id=holder_id,
        credential="physical_card",
        stop_virtual_card=True,
        actor=SYSTEM,
        now=clock.now(),
    )


class TestRetirement:
    def switch(self, holder: Bound, clerk: OperatorCaller, session: Any) -> None:
        retirements.switch(
            session,
            retirement_id=new_id(),
            holder_id=holder.id,
            document="人事〔2026〕1号",
            operator=clerk,
            now=clock.now(),
        )

    def test_and_a_loss_report_leave_one_card_and_stop_what_was_lost(
        self, parts: Parts, at_once: AtOnce, clerk: OperatorCaller, dice: random.Random
    ) -> None:
        seen = Counter[CardState]()
        for _ in range(ROUNDS):
            holder = make_holder(parts, balance_fen=500, category=Category.STAFF)
            old = physical(holder.id)
            told = at_once(
                soon(dice, partial(self.switch, holder, clerk)),
                soon(dice, partial(lose, holder.id)),
            )
            assert told == ["done", "done"], told
            with transaction() as session:
                assert session.get_one(Card, old.id).state is CardState.VOID
            (state,) = live(holder.id)
            # Reported before: the old card. Reported after: the new one, as it was in use by then.
            assert state in (CardState.ACTIVE, CardState.LOST)
            assert live(holder.id, CardKind.VIRTUAL) == [CardState.LOST]
            assert balances(holder.id) == (500, 0)
            seen[state] += 1
        assert len(seen) == 2, f"the race was always won by the same side: {seen}"

    def test_and_a_replacement_leave_one_card_and_take_at_most_one_fee(
        self, parts: Parts, at_once: AtOnce, clerk: OperatorCaller, dice: random.Random
    ) -> None:
        for _ in range(ROUNDS):
            holder = make_holder(parts, balance_fen=5000, category=Category.STAFF)
            told = at_once(
                soon(dice, partial(self.switch, holder, clerk)),
                soon(dice, partial(replace, physical(holder.id), clerk)),
            )
            assert told[0] == "done"
            assert told[1] in ("done", "replaced"), told
            assert live(holder.id) == [CardState.ACTIVE]
            assert balances(holder.id)[0] == (3000 if told[1] == "done" else 5000)

    def test_said_twice_gives_one_card(
        self, parts: Parts, at_once: AtOnce, clerk: OperatorCaller, dice: random.Random
    ) -> None:
        for _ in range(ROUNDS):
            holder = make_holder(parts, category=Category.STAFF)
            switch = partial(self.switch, holder, clerk)
            told = at_once(*[soon(dice, switch) for _ in range(3)])
            assert sorted(told) == ["done", "not-staff", "not-staff"]
            assert live(holder.id) == [CardState.ACTIVE]


class TestExchange:
    def test_and_a_replacement_leave_one_card_and_take_at_most_one_fee(
        self, parts: Parts, at_once: AtOnce, clerk: OperatorCaller, dice: random.Random
    ) -> None:
        seen = Counter[str]()
        for _ in range(ROUNDS):
            unit = secrets.token_hex(4)
            holder = make_holder(parts, balance_fen=5000, unit=unit, category=Category.NEW_STUDENT)
            day = start_of_day(months_later(business_date(clock.now()), 3))
            with transaction() as session:
                batch = exchanges.propose(session, unit=unit, now=day)
            assert batch is not None
            batch_id = batch.id

            def hand_out(
                session: Any, batch_id: UUID = batch_id, holder_id: UUID = holder.id
            ) -> None:
                handing_out.hand_out(
                    session, receipt_id=new_id(), batch_id=batch_id, holder_id=holder_id,
                    signed_by="王小明", signature=Signature.SELF, documents=[], operator=clerk,
                    now=clock.now(),
                )  # fmt: skip

            told = at_once(
                soon(dice, hand_out), soon(dice, partial(replace, physical(holder.id), clerk))
            )
            seen[told[1]] += 1
            assert told[0] in ("done", "transition-not-possible"), told
            assert told[1] in ("done", "replaced"), told
            assert live(holder.id) == [CardState.ACTIVE]
            assert balances(holder.id)[0] == (3000 if told[1] == "done" else 5000)
        assert seen


def give_until(holder_id: UUID, last: date) -> None:
    """Let somebody's last day be this one."""
    with transaction() as session:
        session.execute(update(Holder).where(Holder.id == holder_id).values(valid_until=last))


class TestExpiry:
    def test_takes_no_charge_after_midnight_in_shanghai_however_late_the_job_is(
        self, parts: Parts, at_once: AtOnce, dice: random.Random
    ) -> None:
        till, midnight = make_till(), start_of_day(business_date(clock.now()) + timedelta(days=1))
        moments = [midnight + timedelta(milliseconds=ms) for ms in (-200, -1, 0, 1, 200)]
        seen = Counter[tuple[bool, str]]()

        def charge(code: Any, at: datetime) -> str:
            with transaction() as session:
                outcome = charges.charge(
                    session,
                    charge_id=new_id(),
                    terminal=till.caller,
                    code=code,
                    code_text=repr(code),
                    amount_fen=Fen(100),
                    note=None,
                    now=at,
                )[0]
            refusal = charges.refusal_of(outcome)
            return refusal.code if refusal else "approved"

        for number in range(2 * ROUNDS):
            holder = make_holder(parts, balance_fen=500)
            give_until(holder.id, business_date(clock.now()))
            at, code = moments[number % len(moments)], present(holder.id)
            said, _ = at_once(
                partial(charge, code, at),
                soon(dice, lambda session: expire_cards(session, now=midnight)),
            )
            is_over = at >= midnight
            seen[is_over, said] += 1
            if is_over:
                assert said in ("card-expired", "code-stale"), said
            else:
                assert said in ("approved", "code-stale"), said
            left = 400 if said == "approved" else 500
            assert balances(holder.id) == (left, 0)
            told_by(lambda session: expire_cards(session, now=midnight))
            assert live(holder.id, CardKind.VIRTUAL) == [CardState.EXPIRED]
        assert seen[True, "card-expired"], seen
        assert seen[False, "approved"], seen

    def test_and_an_extension_leave_the_card_as_its_last_day_says(
        self, parts: Parts, at_once: AtOnce, clerk: OperatorCaller, dice: random.Random
    ) -> None:
        tomorrow = clock.now() + timedelta(days=1)
        year = business_date(tomorrow) + timedelta(days=365)

        def extend(card: Card, session: Any) -> None:
            counter.operate(
                session,
                operation_id=new_id(),
                card_id=card.id,
                wanted=counter.Wanted(
                    CardEvent.EXTEND, valid_until=year, approval_number="教务〔2026〕1号"
                ),
                operator=clerk,
                now=tomorrow,
            )

        def expire(session: Any) -> None:
            expire_cards(session, now=tomorrow)

        for _ in range(ROUNDS):
            holder = make_holder(parts)
            give_until(holder.id, business_date(clock.now()))
            told_by(expire)
            told = at_once(
                soon(dice, partial(extend, physical(holder.id))),
                soon(dice, expire),
                soon(dice, expire),
            )
            assert told[0] == "done"
            told_by(expire)
            assert live(holder.id) == [CardState.ACTIVE]
            assert live(holder.id, CardKind.VIRTUAL) == [CardState.ACTIVE]


class TestGraduates:
    def test_who_are_extended_are_closed_with_the_batch_or_go_on_whole(
        self, parts: Parts, at_once: AtOnce, clerk: OperatorCaller, dice: random.Random
    ) -> None:
        year = business_date(clock.now()) + timedelta(days=365)
        seen, second = Counter[str](), make_operator(parts, Role.CARD_CENTRE)
        for _ in range(ROUNDS):
            people = [make_holder(parts, balance_fen=500) for _ in range(3)]
            batch_id = new_id()
            with transaction() as session:
                graduates.make(
                    session,
                    batch_id=batch_id,
                    graduated_on=business_date(clock.now()),
                    holder_numbers=[one.number for one in people],
                    document="教务〔2026〕1号",
                    operator=clerk,
                    now=clock.now(),
                )
                graduates.approve(session, batch_id=batch_id, operator=second, now=clock.now())
                extended = people[0].id
                session.execute(
                    update(Holder)
                    .where(Holder.id.in_([one.id for one in people]))
                    .values(valid_until=business_date(clock.now()) - timedelta(days=1))
                )
                expire_cards(session, now=clock.now())

            def run(session: Any, batch_id: UUID = batch_id) -> None:
                graduates.run(session, batch_id=batch_id, operator=clerk, now=clock.now())

            old = physical(extended)

            def extend(session: Any, card: Card = old) -> None:
                counter.operate(
                    session,
                    operation_id=new_id(),
                    card_id=card.id,
                    wanted=counter.Wanted(
                        CardEvent.EXTEND, valid_until=year, approval_number="教务〔2026〕2号"
                    ),
                    operator=clerk,
                    now=clock.now(),
                )

            told = at_once(soon(dice, run), soon(dice, run), soon(dice, extend))
            seen[told[2]] += 1
            assert told[:2] == ["done", "done"]
            assert told[2] in ("done", "transition-not-possible"), told
            if told[2] == "done":  # it came before: the card goes on, and so does the account
                assert live(extended) == [CardState.ACTIVE]
                with transaction() as session:
                    assert service.live_closing(session, holder_id=extended) is None
            for one in people[told[2] == "done" :]:
                assert live(one.id) == [CardState.CLOSING]
                with transaction() as session:
                    closing = service.live_closing(session, holder_id=one.id)
                    assert closing is not None
                    assert closing.kind is ClosingKind.GRADUATION
                    (graduate,) = session.query(Graduate).filter_by(
                        batch_id=batch_id, holder_id=one.id
                    )
                    assert graduate.closing_id == closing.id
        assert seen
