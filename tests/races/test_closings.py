"""A closing at the same moment as whatever else may happen to the account."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
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
    top_up,
)
from flask import Flask
from phones import DevicePhone, Phone
from scanners import Told, Uploads, pay_code
from scanners import policies as offline_policies
from sqlalchemy import func, select

from backend import clock
from backend.arrears import service as arrears
from backend.cards import replacement
from backend.cards.models import Card, CardKind, CardState
from backend.cards.rules import CardEvent, TransitionNotPossible
from backend.cards.service import GONE, change_state, find_card, list_cards
from backend.charges.models import Charge
from backend.closings import emptying, service
from backend.closings.models import Closing, ClosingKind, ClosingState
from backend.db import transaction
from backend.errors import DomainError
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import Transfer
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.refunds import payout_lines
from backend.refunds.models import ChannelRefund
from backend.topups import service as topups
from backend.topups import settling
from backend.topups.models import TopUp, TopUpState
from payments import Trade, TradeState

pytestmark = pytest.mark.usefixtures("app")

AtOnce = Callable[..., list[Any]]
ROUNDS = 25
LATER = timedelta(days=4)
"""When the waiting for tills is over."""


@pytest.fixture(autouse=True)
def holds(app: Flask) -> Iterator[None]:
    """Whatever happened, the books agree."""
    yield
    with transaction() as session:
        assert ledger.prove(session).holds
        assert arrears.difference(session) == 0


def start(holder_id: UUID, closing_id: UUID | None = None) -> str:
    """Start to close an account; return `first`, `again` or the refusal's code."""
    try:
        with transaction() as session:
            _, first = service.start(
                session,
                closing_id=closing_id or new_id(),
                holder_id=holder_id,
                kind=ClosingKind.LEAVING,
                document=None,
                actor=SYSTEM,
                now=clock.now(),
            )
    except DomainError as refusal:
        return refusal.code
    return "first" if first else "again"


def closing_of(holder_id: UUID) -> Closing:
    """Return somebody's closing."""
    with transaction() as session:
        found = service.live_closing(session, holder_id=holder_id)
    assert found is not None
    return found


def work(holder_id: UUID) -> Closing:
    """Take somebody's closing as far as it goes, days later."""
    closing_id = closing_of(holder_id).id
    while emptying.advance(closing_id=closing_id, channels=["wechat"], now=clock.now() + LATER):
        pass
    return closing_of(holder_id)


def owed_back(holder_id: UUID) -> int:
    """Return what of a closing is on its way to its holder, at channels and banks."""
    with transaction() as session:
        return payout_lines.due_fen(session, subject_id=closing_of(holder_id).id)


def live_cards(holder_id: UUID) -> list[CardState]:
    """Return the states of somebody's cards that are not gone."""
    with transaction() as session:
        return [
            card.state
            for card in list_cards(session, holder_id=holder_id)
            if card.state not in GONE
        ]


class TestCharge:
    def test_none_commits_after_the_closing(
        self, parts: Parts, at_once: AtOnce, pay: Callable[..., str]
    ) -> None:
        till, dice, seen = make_till(), random.Random(2), Counter[str]()

        def close_and_look(holder: Bound, charge_id: UUID, wait: float) -> bool:
            time.sleep(wait)
            assert start(holder.id) == "first"
            with transaction() as session:  # begins after the closing's commit
                return session.get(Charge, charge_id) is not None

        def scan(code: Any, charge_id: UUID, wait: float) -> str:
            time.sleep(wait)
            return pay(till, code, 300, charge_id=charge_id)

        for _ in range(4 * ROUNDS):
            holder, charge_id = make_holder(parts, balance_fen=1000), new_id()
            code = present(holder.id)
            told, stood = at_once(
                partial(scan, code, charge_id, dice.uniform(0, 0.03)),
                partial(close_and_look, holder, charge_id, dice.uniform(0, 0.01)),
            )
            seen[told] += 1
            assert told in {"approved", "code-stale", "account-closed"}
            assert told != "approved" or stood, "a charge was committed after the closing"
            assert pay(till, code, 300) == "code-stale"
            left = 700 if told == "approved" else 1000
            assert (balances(holder.id), work(holder.id).paid_fen) == ((left, 0), left)
            assert (balances(holder.id), owed_back(holder.id)) == ((0, 0), left)
        assert len(seen) >= 2, f"the race was always won by the same side: {seen}"


class TestTopUp:
    def test_is_in_the_purse_or_goes_back_never_both_nor_neither(
        self, parts: Parts, at_once: AtOnce
    ) -> None:
        dice, seen = random.Random(3), Counter[TopUpState]()

        def tell(order: TopUp, wait: float) -> None:
            time.sleep(wait)
            trade = Trade(
                out_trade_no=order.out_trade_no,
                state=TradeState.PAID,
                amount_fen=order.amount_fen,
                currency="CNY",
                trade_no=f"race-{order.out_trade_no}",
                merchant_id="",
                app_id="",
                paid_at=clock.now(),
                payer=None,
            )
            with transaction() as session:
                settling.settle(session, channel="wechat", trade=trade, via="test", now=clock.now())

        def close(holder: Bound, wait: float) -> str:
            time.sleep(wait)
            return start(holder.id)

        for _ in range(2 * ROUNDS):
            holder = make_holder(parts, balance_fen=200)
            with transaction() as session:
                order, _ = topups.order(
                    session,
                    top_up_id=new_id(),
                    holder_id=holder.id,
                    channel="wechat",
                    amount_fen=Fen(1000),
                    payer_sealed=None,
                    actor=SYSTEM,
                    now=clock.now(),
                )
            at_once(
                partial(tell, order, dice.uniform(0, 0.02)),
                partial(close, holder, dice.uniform(0, 0.02)),
            )
            with transaction() as session:
                state = session.get_one(TopUp, order.id).state
                sent = session.scalars(
                    select(ChannelRefund).where(ChannelRefund.holder_id == holder.id)
                ).all()
            seen[state] += 1
            stray_fen = sum(refund.amount_fen for refund in sent)
            in_purse = 1200 if state is TopUpState.PAID else 200
            assert balances(holder.id) == (in_purse, 0)
            assert in_purse + stray_fen == 1200, "money was lost or doubled"
            work(holder.id)
            assert (balances(holder.id), owed_back(holder.id)) == ((0, 0), in_purse)
        assert set(seen) == {TopUpState.PAID, TopUpState.RETURNED}, seen


class TestReplacement:
    def test_leaves_no_card_in_use(self, parts: Parts, at_once: AtOnce) -> None:
        clerk, seen = make_operator(parts, Role.CARD_CENTRE), Counter[str]()
        dice = random.Random(4)

        def replace(card: Card, wait: float) -> str:
            time.sleep(wait)
            try:
                with transaction() as session:
                    replacement.replace(
                        session,
                        replacement_id=new_id(),
                        card_id=card.id,
                        wanted=replacement.Wanted("damaged", ["id_document"], Fen(2000)),
                        operator=clerk,
                        now=clock.now(),
                    )
            except DomainError as refusal:
                return refusal.code
            return "done"

        def close(holder: Bound, wait: float) -> str:
            time.sleep(wait)
            return start(holder.id)

        for _ in range(ROUNDS):
            holder = make_holder(parts, balance_fen=5000)
            with transaction() as session:
                card = find_card(session, holder_id=holder.id, kind=CardKind.PHYSICAL)
            assert card is not None
            told, closed = at_once(
                partial(replace, card, dice.uniform(0, 0.02)),
                partial(close, holder, dice.uniform(0, 0.02)),
            )
            seen[told] += 1
            assert (told in ("done", "account-closed"), closed) == (True, "first"), told
            assert live_cards(holder.id) == [CardState.CLOSING] * 2
            left = 3000 if told == "done" else 5000
            assert (balances(holder.id)[0], work(holder.id).paid_fen) == (left, left)
        assert len(seen) == 2, f"the race was always won by the same side: {seen}"


class TestTwoClosings:
    def test_are_one(self, parts: Parts, at_once: AtOnce) -> None:
        for _ in range(ROUNDS):
            holder, same = make_holder(parts, balance_fen=500), new_id()
            told = at_once(*[partial(start, holder.id, same)] * 2, *[partial(start, holder.id)] * 2)
            assert told.count("first") == 1, told
            assert set(told) <= {"first", "again", "already-closing"}
            with transaction() as session:
                found = session.scalar(
                    select(func.count()).select_from(Closing).where(Closing.holder_id == holder.id)
                )
            assert found == 1

    def test_two_workers_empty_the_purse_once(self, parts: Parts, at_once: AtOnce) -> None:
        for _ in range(ROUNDS):
            holder = make_holder(parts, balance_fen=500)
            top_up(holder.id, 700)
            start(holder.id)
            at_once(*[partial(work, holder.id)] * 3)
            closing = closing_of(holder.id)
            assert (closing.state, closing.paid_fen) == (ClosingState.PAYING, 1200)
            assert (balances(holder.id), owed_back(holder.id)) == ((0, 0), 1200)

    def test_a_withdrawal_and_the_worker_are_one_or_the_other(
        self, parts: Parts, at_once: AtOnce
    ) -> None:
        seen = Counter[str]()

        def cancel(closing_id: UUID) -> str:
            try:
                with transaction() as session:
                    service.cancel(session, closing_id=closing_id, actor=SYSTEM, now=clock.now())
            except DomainError as refusal:
                return refusal.code
            return "cancelled"

        def advance(closing_id: UUID) -> None:
            for _ in range(3):
                emptying.advance(closing_id=closing_id, channels=[], now=clock.now() + LATER)

        for number in range(ROUNDS):
            holder = make_holder(parts, balance_fen=500)
            start(holder.id)
            closing_id = closing_of(holder.id).id
            jobs = [partial(cancel, closing_id), partial(advance, closing_id)]
            told = [one for one in at_once(*(jobs if number % 2 else jobs[::-1])) if one]
            seen[told[0]] += 1
            if told == ["cancelled"]:
                assert balances(holder.id) == (500, 0)
                assert live_cards(holder.id) == [CardState.FROZEN] * 2
            else:
                assert told == ["closing-not-possible"]
                assert (balances(holder.id), owed_back(holder.id)) == ((0, 0), 500)


class TestLossReport:
    def test_of_the_card_and_a_closing_stop_everything(self, parts: Parts, at_once: AtOnce) -> None:
        def lose(holder: Bound) -> None:
            try:
                with transaction() as session:
                    card = find_card(session, holder_id=holder.id, kind=CardKind.PHYSICAL)
                    assert card is not None
                    change_state(
                        session,
                        card=card,
                        event=CardEvent.REPORT_LOST,
                        actor=SYSTEM,
                        now=clock.now(),
                    )
            except TransitionNotPossible:
                return  # the closing came first

        for _ in range(ROUNDS):
            holder = make_holder(parts)
            at_once(partial(lose, holder), partial(start, holder.id))
            assert live_cards(holder.id) == [CardState.CLOSING] * 2


@pytest.fixture
def money_offline(app: Flask) -> Iterator[None]:
    """Tills take money without network, as much as they like."""
    with offline_policies(
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


def taken(item: dict[str, Any]) -> int:
    """Return how much of a late charge was posted."""
    with transaction() as session:
        moved = session.scalar(
            select(func.sum(Transfer.amount_fen)).where(Transfer.subject_id == UUID(item["id"]))
        )
    return int(moved or 0)


@pytest.mark.usefixtures("money_offline")
class TestLateUpload:
    def test_and_the_emptying_of_the_purse_lose_nothing(
        self, app: Flask, at_once: AtOnce, phone: Callable[[int], DevicePhone]
    ) -> None:
        seen = Counter[str]()
        dice = random.Random(5)
        for _ in range(ROUNDS):
            shown, till = phone(1000), make_till()
            holder_id, item = shown.holder.id, Told(till).charge(pay_code(shown), 300)
            start(holder_id)

            def tell(
                item: dict[str, Any] = item, till: Any = till, wait: float = dice.uniform(0, 0.03)
            ) -> str:
                time.sleep(wait)
                return Uploads(app.test_client()).outcome(till, item)

            outcome, _ = at_once(tell, partial(work, holder_id))
            seen[outcome] += 1
            assert outcome in {"charged", "charged-with-arrears"}
            assert taken(item) == 300
            closing = work(holder_id)
            assert (balances(holder_id), closing.paid_fen) == ((0, 0), owed_back(holder_id))
            with transaction() as session:
                owed_fen = arrears.open_fen(session, holder_id=holder_id)
            assert closing.paid_fen - owed_fen == 700, "the holder or the school lost money"
        assert seen
