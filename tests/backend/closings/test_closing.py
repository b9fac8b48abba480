"""One closing, from the counter to the last fen: money, cards, what stands against it."""

from datetime import timedelta

import pytest
from factories import (
    Bound,
    balances,
    give,
    make_holder,
    make_person,
    make_till,
    present,
    sign_in,
    top_up,
    virtual_card,
)
from sqlalchemy import update

from backend import clock
from backend.arrears import service as arrears
from backend.cards.models import CardState
from backend.cards.rules import CardEvent
from backend.cards.service import change_state, is_account_closed, list_cards
from backend.charges import service as charges
from backend.closings.models import ClosingState
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.refunds.models import ChannelRefund, RefundState
from backend.topups import service as topups
from backend.topups import settling
from payments import Trade, TradeState

from .conftest import Counter


@pytest.fixture
def holder(parts: Parts) -> Bound:
    """Somebody with 12.00 yuan in the main purse that came through no channel, and a subsidy."""
    return make_holder(parts, balance_fen=1200, subsidy_fen=300)


def card_states(holder: Bound) -> set[CardState]:
    with transaction() as session:
        return {card.state for card in list_cards(session, holder_id=holder.id)}


def owe(holder: Bound, amount_fen: int) -> None:
    """Let somebody owe for a charge that was taken without network."""
    now, charge_id = clock.now(), new_id()
    with transaction() as session:
        ledger.lock_purse(session, holder_id=holder.id)
        movement = Movement(
            TransferKind.CHARGE,
            charge_id,
            ledger.school_account(session, AccountKind.ARREARS),
            ledger.school_account(session, AccountKind.SURCHARGE),
            Fen(amount_fen),
        )
        ledger.post(session, [movement], now=now)
        arrears.open_arrears(
            session,
            holder_id=holder.id,
            charge_id=charge_id,
            amount_fen=Fen(amount_fen),
            facts={},
            now=now,
        )


class TestStarting:
    def test_no_card_works_from_then_on(self, counter: Counter, holder: Bound) -> None:
        code = present(holder.id)
        answer = counter.start(holder)
        assert answer.status_code == 201
        assert card_states(holder) == {CardState.CLOSING}
        assert virtual_card(holder.id).alias != code.alias
        said = counter.client.get("/api/v1/me", headers=holder.headers).get_json()
        assert said["virtual_card"]["state"] == "closing"
        shown = counter.client.get("/api/v1/me/closing", headers=holder.headers).get_json()
        assert (shown["state"], shown["balance_fen"]) == ("started", 1500)

    def test_a_retry_gets_the_same_and_other_content_is_refused(
        self, counter: Counter, holder: Bound
    ) -> None:
        closing_id = new_id()
        first, again = counter.start(holder, closing_id), counter.start(holder, closing_id)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        other = counter.start(holder, closing_id, kind="early")
        assert (other.status_code, other.get_json()["code"]) == (409, "id-reused")
        second = counter.start(holder)
        assert (second.status_code, second.get_json()["code"]) == (409, "already-closing")
        assert second.get_json()["closing_id"] == str(closing_id)

    def test_is_for_the_card_centre(self, counter: Counter, parts: Parts, holder: Bound) -> None:
        for role in set(Role) - {Role.CARD_CENTRE}:
            path, who = f"/closings/{new_id()}", sign_in(parts, role)
            said = counter.call("PUT", path, who, holder_number=holder.number, kind="leaving")
            assert said.status_code == 403
        assert CardState.CLOSING not in card_states(holder)

    def test_the_phone_may_where_the_school_allows_it(
        self, counter: Counter, holder: Bound
    ) -> None:
        path = f"/api/v1/me/closings/{new_id()}"
        said = counter.client.put(path, headers=holder.headers)
        assert (said.status_code, said.get_json()["code"]) == (409, "own-closing-off")
        assert CardState.CLOSING not in card_states(holder)

    def test_an_account_without_a_card_in_use_takes_nothing_more(
        self, counter: Counter, parts: Parts
    ) -> None:
        """Its only card is void, so no card tells that it closes."""
        person = make_person(parts)
        with transaction() as session:
            (card,) = list_cards(session, holder_id=person.id)
            void = CardEvent.VOID
            change_state(session, card=card, event=void, actor=SYSTEM, now=clock.now())
            assert not is_account_closed(session, holder_id=person.id)
        started = counter.call(
            "PUT", f"/closings/{new_id()}", holder_number=person.number, kind="leaving"
        )
        assert started.status_code == 201
        with transaction() as session:
            assert is_account_closed(session, holder_id=person.id)
        body = {"cause": "damaged", "documents": ["id_document"], "quoted_fee_fen": 2000}
        said = counter.call("PUT", f"/cards/{card.id}/replacements/{new_id()}", **body)
        assert (said.status_code, said.get_json()["code"]) == (409, "account-closed")
        counter.call("POST", f"/closings/{started.get_json()['id']}/cancellation")
        with transaction() as session:
            assert not is_account_closed(session, holder_id=person.id)


class TestSettling:
    def test_waits_for_tills_without_network(self, counter: Counter, holder: Bound) -> None:
        counter.start(holder)
        assert counter.work(holder, days=2.9).state is ClosingState.STARTED
        assert balances(holder.id) == (1200, 300)

    def test_what_came_through_no_channel_goes_onto_the_list(
        self, counter: Counter, holder: Bound
    ) -> None:
        counter.start(holder)
        closing = counter.work(holder)
        assert closing.state is ClosingState.PAYING
        assert balances(holder.id) == (0, 0)
        assert (closing.paid_fen, closing.withdrawn_fen) == (1200, 300)
        (line,) = counter.lines(holder)
        assert (line["amount_fen"], line["state"]) == (1200, "listed")

    def test_top_ups_go_back_where_they_came_from(self, counter: Counter, parts: Parts) -> None:
        holder = make_holder(parts, balance_fen=200)
        top_up(holder.id, 1000)
        counter.start(holder)
        closing = counter.work(holder)
        shown = counter.call("GET", f"/closings/{closing.id}").get_json()
        assert sorted((part["channel"] or "", part["amount_fen"]) for part in shown["parts"]) == [
            ("", 200),
            ("wechat", 1000),
        ]

    def test_arrears_are_paid_first(self, counter: Counter, holder: Bound) -> None:
        owe(holder, 500)
        counter.start(holder)
        assert counter.work(holder).paid_fen == 700

    def test_arrears_beyond_the_balance_stand_against_it_until_they_are_waived(
        self, counter: Counter, parts: Parts
    ) -> None:
        holder = make_holder(parts, subsidy_fen=300)
        owe(holder, 500)
        closing_id = counter.start(holder).get_json()["id"]
        closing = counter.work(holder)
        assert (closing.state, closing.standing) == (ClosingState.SETTLING, ["arrears"])
        assert balances(holder.id) == (0, 300)
        path = f"/closings/{closing_id}/waivers"
        wrong = counter.call("POST", path, check="reviews", reason="x")
        assert (wrong.status_code, wrong.get_json()["code"]) == (409, "check-not-waivable")
        assert counter.call("POST", path, check="arrears", reason="已故").status_code == 200
        assert counter.work(holder).state is ClosingState.CLOSED
        with transaction() as session:
            assert arrears.open_fen(session, holder_id=holder.id) == 500

    def test_an_order_that_may_still_be_paid_stands_against_it(
        self, counter: Counter, holder: Bound
    ) -> None:
        with transaction() as session:
            topups.order(
                session,
                top_up_id=new_id(),
                holder_id=holder.id,
                channel="wechat",
                amount_fen=Fen(100),
                payer_sealed=None,
                actor=SYSTEM,
                now=clock.now(),
            )
        counter.start(holder)
        closing = counter.work(holder)
        assert (closing.state, closing.standing) == (ClosingState.SETTLING, ["unpaid-orders"])


class TestCancelling:
    def test_leaves_the_cards_frozen_and_the_money_where_it_is(
        self, counter: Counter, holder: Bound
    ) -> None:
        closing_id = counter.start(holder).get_json()["id"]
        for _ in range(2):
            said = counter.call("POST", f"/closings/{closing_id}/cancellation")
            assert (said.status_code, said.get_json()["state"]) == (200, "cancelled")
        assert card_states(holder) == {CardState.FROZEN}
        assert balances(holder.id) == (1200, 300)
        again = counter.start(holder)
        assert again.status_code == 201

    def test_is_too_late_once_money_has_moved(self, counter: Counter, holder: Bound) -> None:
        closing_id = counter.start(holder).get_json()["id"]
        counter.work(holder)
        said = counter.call("POST", f"/closings/{closing_id}/cancellation")
        assert (said.status_code, said.get_json()["code"]) == (409, "closing-not-possible")
        assert (said.get_json()["state"], said.get_json()["event"]) == ("paying", "cancel")


class TestPaying:
    def test_two_people_of_finance_pay_and_the_account_is_closed(
        self, counter: Counter, holder: Bound
    ) -> None:
        counter.start(holder)
        counter.work(holder)
        (line,) = counter.lines(holder)
        paid = f"/payout-lines/{line['id']}/payment"
        early = counter.call("PUT", paid, counter.maker, bank_reference="1")
        assert (early.status_code, early.get_json()["code"]) == (409, "batch-not-approved")
        path = f"/payout-batches/{new_id()}"
        assert counter.call("PUT", path, counter.maker).status_code == 201
        assert counter.call("PUT", path, counter.maker).status_code == 200
        alone = counter.call("POST", f"{path}/decision", counter.maker, approve=True)
        assert (alone.status_code, alone.get_json()["code"]) == (409, "second-person-needed")
        unapproved = counter.call("POST", f"{path}/exports", counter.maker)
        assert unapproved.get_json()["code"] == "batch-not-approved"
        counter.call("POST", f"{path}/decision", counter.checker, approve=True)
        file = counter.call("POST", f"{path}/exports", counter.maker).get_data(as_text=True)
        assert line["id"] in file
        assert "12.00" in file
        assert holder.name not in file
        for _ in range(2):
            said = counter.call("PUT", paid, counter.maker, bank_reference="B-1")
            assert (said.status_code, said.get_json()["state"]) == (200, "paid")
        other = counter.call("PUT", paid, counter.maker, bank_reference="B-2")
        assert other.get_json()["code"] == "id-reused"
        closing = counter.work(holder)
        assert closing.state is ClosingState.CLOSED
        assert card_states(holder) == {CardState.CLOSED}
        shown = counter.client.get("/api/v1/me/closing", headers=holder.headers).get_json()
        assert shown["state"] == "closed"
        assert counter.lines(holder) == []

    def test_what_bounces_is_listed_again_and_opens_the_closing(
        self, counter: Counter, holder: Bound
    ) -> None:
        counter.start(holder)
        counter.work(holder)
        (line,) = counter.lines(holder)
        counter.batch()
        counter.call(
            "PUT", f"/payout-lines/{line['id']}/payment", counter.maker, bank_reference="1"
        )
        assert counter.work(holder).state is ClosingState.CLOSED
        path = f"/payout-lines/{line['id']}/bounce"
        for _ in range(2):
            said = counter.call("PUT", path, counter.maker, reason="账号已注销")
            assert (said.status_code, said.get_json()["state"]) == (200, "bounced")
        (again,) = counter.lines(holder)
        assert (again["amount_fen"], again["state"]) == (1200, "listed")
        assert again["owed_since"] == line["owed_since"]
        assert counter.work(holder).state is ClosingState.PAYING
        batch = counter.batch()
        file = counter.call("POST", f"{batch}/exports", counter.maker).get_data(as_text=True)
        assert "账号已注销" in file
        counter.call(
            "PUT", f"/payout-lines/{again['id']}/payment", counter.maker, bank_reference="2"
        )
        assert counter.work(holder).state is ClosingState.CLOSED

    def test_a_refused_batch_lists_its_lines_again(self, counter: Counter, holder: Bound) -> None:
        counter.start(holder)
        counter.work(holder)
        path = f"/payout-batches/{new_id()}"
        counter.call("PUT", path, counter.maker)
        assert [line["state"] for line in counter.lines(holder)] == ["batched"]
        counter.call("POST", f"{path}/decision", counter.checker, approve=False)
        assert [line["state"] for line in counter.lines(holder)] == ["listed"]

    def test_what_a_channel_cannot_send_comes_to_the_list(
        self, counter: Counter, parts: Parts
    ) -> None:
        holder = make_holder(parts)
        top_up(holder.id, 1000)
        counter.start(holder)
        closing = counter.work(holder)
        with transaction() as session:
            session.execute(
                update(ChannelRefund)
                .where(ChannelRefund.subject_id == closing.id)
                .values(state=RefundState.ABNORMAL, next_try_at=None)
            )
        counter.work(holder)
        (line,) = counter.lines(holder)
        assert line["amount_fen"] == 1000
        counter.batch()
        counter.call(
            "PUT", f"/payout-lines/{line['id']}/payment", counter.maker, bank_reference="3"
        )
        assert counter.work(holder).state is ClosingState.CLOSED


class TestLateMoney:
    def test_a_code_that_was_shown_before_is_refused(self, counter: Counter, parts: Parts) -> None:
        holder = make_holder(parts, balance_fen=1000)
        code = present(holder.id)
        counter.start(holder)
        with transaction() as session:
            outcome, _ = charges.charge(
                session,
                charge_id=new_id(),
                terminal=make_till().caller,
                code=code,
                code_text="shown before",
                amount_fen=Fen(100),
                note=None,
                now=clock.now(),
            )
        assert outcome.reason == "code-stale"
        assert balances(holder.id) == (1000, 0)

    def test_a_top_up_that_is_paid_after_the_start_is_sent_back(
        self, counter: Counter, parts: Parts
    ) -> None:
        holder = make_holder(parts)
        now = clock.now()
        with transaction() as session:
            order, _ = topups.order(
                session,
                top_up_id=new_id(),
                holder_id=holder.id,
                channel="wechat",
                amount_fen=Fen(700),
                payer_sealed=None,
                actor=SYSTEM,
                now=now,
            )
        counter.start(holder)
        with transaction() as session:
            trade = Trade(
                out_trade_no=order.out_trade_no,
                state=TradeState.PAID,
                amount_fen=700,
                currency="CNY",
                trade_no=f"late-{order.out_trade_no}",
                merchant_id="",
                app_id="",
                paid_at=now,
                payer=None,
            )
            settling.settle(session, channel="wechat", trade=trade, via="test", now=now)
        assert balances(holder.id) == (0, 0)
        assert counter.work(holder).state is ClosingState.CLOSED

    def test_money_that_comes_into_a_closed_account_is_paid_too(
        self, counter: Counter, parts: Parts
    ) -> None:
        holder = make_holder(parts)
        counter.start(holder)
        assert counter.work(holder).state is ClosingState.CLOSED
        with transaction() as session:
            give(session, holder.id, main_fen=50, subsidy_fen=0, now=clock.now())
        assert counter.work(holder).state is ClosingState.PAYING
        (line,) = counter.lines(holder)
        assert line["amount_fen"] == 50


def test_the_waiting_period_is_the_policys(counter: Counter, holder: Bound) -> None:
    counter.start(holder)
    closing = counter.closing(holder)
    assert closing.wait_until - closing.started_at == timedelta(days=3)
