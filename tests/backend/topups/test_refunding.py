"""Money back to its holder, over the application's HTTP."""

import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import (
    Bound,
    balances,
    make_holder,
    make_operator,
    make_till,
    other_policies,
    present,
    top_up,
    virtual_card,
)
from flask import Flask
from phones import Phone
from sqlalchemy import select, update

from backend import clock
from backend.arrears import service as arrears
from backend.cards.models import Card, CardState
from backend.cash_desk import service as cash_desk
from backend.cash_desk import shifts
from backend.charges import service as charges
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.operation_log.models import LogEntry
from backend.operators.models import Role
from backend.policies.models import Policy
from backend.refunds import service as refunds
from backend.refunds.models import ChannelRefund
from backend.topups.models import HolderRefund, TopUp
from payments import Refund, RefundState

PATH = "/me/refunds"


@pytest.fixture
def holder(parts: Parts) -> Bound:
    return make_holder(parts)


@pytest.fixture
def phone(app: Flask, holder: Bound) -> Phone:
    return Phone(app.test_client(), token=holder.token)


@pytest.fixture
def policy(app: Flask) -> Any:
    """Change policies for one test."""
    with ExitStack() as changes:
        yield lambda key, value: changes.enter_context(
            other_policies(**{key.replace(".", "__"): value})
        )


def put(phone: Phone, amount_fen: Any, refund_id: UUID | None = None) -> Any:
    return phone.call("PUT", f"{PATH}/{refund_id or new_id()}", {"amount_fen": amount_fen})


def able(phone: Phone) -> dict[str, Any]:
    said: dict[str, Any] = phone.call("GET", "/me/refundable").get_json()
    return said


def rests(phone: Phone) -> dict[str, int]:
    return {rest["reason"]: rest["amount_fen"] for rest in able(phone)["rests"]}


def age(holder: Bound, days: int) -> None:
    """Let the top-ups of a holder be so much older."""
    with transaction() as session:
        session.execute(
            update(TopUp)
            .where(TopUp.holder_id == holder.id)
            .values(paid_at=TopUp.paid_at - timedelta(days=days))
        )


def parts_of(refund_id: str) -> list[ChannelRefund]:
    with transaction() as session:
        found = refunds.of_subjects(session, [UUID(refund_id)])
        return list(found[UUID(refund_id)])


def end(part: ChannelRefund, state: RefundState) -> None:
    """Let a channel tell how a part of a refund ended."""
    now = clock.now()
    word = Refund(part.out_refund_no, part.out_trade_no, state, part.amount_fen, None, now)
    with transaction() as session:
        refunds.begin_send(session, refund_id=part.id, now=now + timedelta(days=1))
        refunds.settle(session, channel=part.channel, answer=word, via="test", now=now)


class TestAsking:
    def test_is_done_once_and_answered_again_for_ever(self, phone: Phone, holder: Bound) -> None:
        top_up(holder.id, 1000)
        refund_id = new_id()
        first = put(phone, 400, refund_id)
        assert first.status_code == 201
        said = first.get_json()
        assert (said["id"], said["amount_fen"], said["state"]) == (
            str(refund_id), 400, "processing",
        )  # fmt: skip
        assert balances(holder.id) == (600, 0)
        end(parts_of(said["id"])[0], RefundState.SUCCEEDED)
        again = put(phone, 400, refund_id)
        assert (again.status_code, again.data) == (200, first.data)
        assert balances(holder.id) == (600, 0)
        now = phone.call("GET", f"{PATH}/{refund_id}").get_json()
        assert (now["state"], now["parts"][0]["state"]) == ("succeeded", "succeeded")
        assert now["parts"][0]["settled_at"] is not None

    def test_other_content_is_a_fault(self, phone: Phone, holder: Bound) -> None:
        top_up(holder.id, 1000)
        refund_id = new_id()
        put(phone, 400, refund_id)
        answer = put(phone, 401, refund_id)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "id-reused")
        assert balances(holder.id) == (600, 0)

    def test_somebody_elses_is_not_there(self, phone: Phone, holder: Bound, parts: Parts) -> None:
        top_up(holder.id, 1000)
        refund_id = new_id()
        put(phone, 400, refund_id)
        other = make_holder(parts)
        theirs = Phone(phone.client, token=other.token)
        assert put(theirs, 400, refund_id).status_code == 404
        assert theirs.call("GET", f"{PATH}/{refund_id}").status_code == 404

    @pytest.mark.parametrize("amount", [0, -1, 1.5, "10", None, True, 10**12])
    def test_no_amount_changes_nothing(self, phone: Phone, holder: Bound, amount: Any) -> None:
        top_up(holder.id, 1000)
        assert put(phone, amount).status_code == 422
        assert balances(holder.id) == (1000, 0)

    def test_goes_over_the_newest_top_ups_first(self, phone: Phone, holder: Bound) -> None:
        for fen in (1000, 500, 200):
            top_up(holder.id, fen)
        said = put(phone, 900).get_json()
        assert [part["amount_fen"] for part in said["parts"]] == [200, 500, 200]
        assert able(phone)["refundable_fen"] == 800

    def test_more_than_can_go_back_is_refused_with_how_much_can(
        self, phone: Phone, holder: Bound
    ) -> None:
        top_up(holder.id, 1000)
        answer = put(phone, 1001)
        said = answer.get_json()
        assert (answer.status_code, said["code"]) == (409, "refund-not-possible")
        assert (said["refundable_fen"], said["least_fen"]) == (1000, 1)
        assert balances(holder.id) == (1000, 0)

    def test_what_was_spent_does_not_go_back(self, phone: Phone, holder: Bound) -> None:
        top_up(holder.id, 1000)
        charge(holder, 300)
        assert able(phone)["refundable_fen"] == 700
        assert put(phone, 701).status_code == 409
        assert put(phone, 700).status_code == 201
        assert balances(holder.id) == (0, 0)

    def test_a_charge_cannot_spend_it_any_more(self, phone: Phone, holder: Bound) -> None:
        top_up(holder.id, 1000)
        put(phone, 800)
        assert charge(holder, 300) == "insufficient-balance"
        assert charge(holder, 200, later=1) == "approved"

    def test_is_in_the_statement_the_inbox_and_the_log(self, phone: Phone, holder: Bound) -> None:
        after = phone.call("GET", "/me/events").get_json()["next"]
        top_up(holder.id, 1000)
        refund_id = put(phone, 400).get_json()["id"]
        end(parts_of(refund_id)[0], RefundState.CLOSED)
        lines = phone.call("GET", "/me/statement").get_json()["items"]
        assert [(line["kind"], line["amount_fen"], line["channel"]) for line in lines[:2]] == [
            ("refund_returned", 400, "wechat"),
            ("refund", -400, "wechat"),
        ]
        events: list[dict[str, Any]] = []
        for _ in range(50):  # the horizon waits for other tests' transactions
            answer = phone.call("GET", f"/me/events?after={after}")
            events = (answer.get_json(silent=True) or {"items": []})["items"]
            if len(events) == 3:
                break
            time.sleep(0.1)
        told = [(event["kind"], event.get("refund_id")) for event in events]
        assert told[1:] == [("refund-requested", refund_id), ("refund-returned", refund_id)]
        with transaction() as session:
            logged = session.scalars(
                select(LogEntry).where(LogEntry.subject_id == UUID(refund_id))
            ).one()
            assert (logged.action, logged.facts["amount_fen"]) == ("refund.request", 400)

    def test_keeps_the_policies_that_it_was_decided_by(self, phone: Phone, holder: Bound) -> None:
        top_up(holder.id, 1000)
        refund_id = put(phone, 400).get_json()["id"]
        with transaction() as session:
            used = session.get_one(HolderRefund, UUID(refund_id)).policy_ids
            keys = session.scalars(select(Policy.key).where(Policy.id.in_(used))).all()
        assert sorted(keys) == [
            *("refund.alipay_days", "refund.enabled", "refund.least_fen"),
            *("refund.per_day", "refund.wechat_days"),
        ]


class TestState:
    def test_is_told_by_its_parts(self, phone: Phone, holder: Bound) -> None:
        top_up(holder.id, 1000)
        top_up(holder.id, 500)
        refund_id = put(phone, 1500).get_json()["id"]
        newer, older = parts_of(refund_id)

        def state() -> str:
            said: str = phone.call("GET", f"{PATH}/{refund_id}").get_json()["state"]
            return said

        end(newer, RefundState.SUCCEEDED)
        assert state() == "processing"
        end(older, RefundState.ABNORMAL)
        assert state() == "abnormal"
        end(older, RefundState.CLOSED)
        assert state() == "partly_returned"
        assert balances(holder.id) == (1000, 0)

    def test_the_top_up_tells_what_of_it_went_back(self, phone: Phone, holder: Bound) -> None:
        top_up(holder.id, 1000)
        refund_id = put(phone, 400).get_json()["id"]
        (listed,) = phone.call("GET", "/me/top-ups").get_json()["items"]
        assert listed["refunded_fen"] == 400
        end(parts_of(refund_id)[0], RefundState.CLOSED)
        read = phone.call("GET", f"/me/top-ups/{listed['id']}").get_json()
        assert (read["state"], read["refunded_fen"]) == ("paid", 0)

    def test_the_list_is_paged_newest_first(self, phone: Phone, holder: Bound) -> None:
        top_up(holder.id, 1000)
        made = [put(phone, fen).get_json()["id"] for fen in (1, 2, 3)]
        first = phone.call("GET", f"{PATH}?limit=2").get_json()
        second = phone.call("GET", f"{PATH}?limit=2&cursor={first['next_cursor']}").get_json()
        assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
        assert second["next_cursor"] is None


class TestWhatCannotGoBack:
    def test_a_subsidy(self, phone: Phone, parts: Parts) -> None:
        holder = make_holder(parts, subsidy_fen=900)
        top_up(holder.id, 1000)
        own = Phone(phone.client, token=holder.token)
        assert (able(own)["refundable_fen"], rests(own)) == (1000, {"subsidy": 900})
        assert put(own, 1001).status_code == 409

    def test_what_is_too_old(self, phone: Phone, holder: Bound) -> None:
        top_up(holder.id, 1000)
        age(holder, 361)
        top_up(holder.id, 500)
        assert (able(phone)["refundable_fen"], rests(phone)) == (500, {"too-old": 1000})
        assert put(phone, 501).status_code == 409

    def test_cash_but_for_what_was_taken_back(
        self, phone: Phone, holder: Bound, parts: Parts
    ) -> None:
        cashier, supervisor = (make_operator(parts, Role.FINANCE) for _ in range(2))
        with transaction() as session:
            shift, _ = shifts.open_shift(
                session,
                shift_id=new_id(),
                desk="行政楼 1号窗",
                opening_float_fen=Fen(0),
                cashier=cashier,
                now=clock.now(),
            )
            session.flush()
            taken = [
                cash_desk.take(
                    session,
                    top_up_id=new_id(),
                    shift_id=shift.id,
                    holder_id=holder.id,
                    amount_fen=Fen(fen),
                    note=None,
                    cashier=cashier,
                    now=clock.now(),
                )[0]
                for fen in (700, 500)
            ]
        assert (able(phone)["refundable_fen"], rests(phone)) == (0, {"cash": 1200})
        with transaction() as session:
            cash_desk.reverse(
                session,
                reversal_id=new_id(),
                top_up_id=taken[1].id,
                reason="误充他人账户",
                supervisor=supervisor,
                now=clock.now(),
            )
        assert rests(phone) == {"cash": 700}

    def test_what_came_from_nowhere(self, phone: Phone, parts: Parts) -> None:
        own = Phone(phone.client, token=make_holder(parts, balance_fen=300).token)
        assert rests(own) == {"spent-or-other": 300}

    def test_a_payment_refunded_fifty_times(self, phone: Phone, holder: Bound, policy: Any) -> None:
        policy("refund.per_day", 100)
        top_up(holder.id, 1000)
        for _ in range(50):
            assert put(phone, 1).status_code == 201
        assert (able(phone)["refundable_fen"], rests(phone)) == (0, {"payment-not-refundable": 950})

    def test_the_split_is_shown_before(self, phone: Phone, holder: Bound) -> None:
        for fen in (1000, 500):
            top_up(holder.id, fen)
        said = able(phone)
        assert [part["amount_fen"] for part in said["parts"]] == [500, 1000]
        assert (said["balance_fen"], said["least_fen"], said["reason"]) == (1500, 1, None)


class TestRefusal:
    def refused(self, phone: Phone, code: str) -> dict[str, Any]:
        answer = put(phone, 100)
        said: dict[str, Any] = answer.get_json()
        assert (answer.status_code, said["code"]) == (409, code)
        assert able(phone)["reason"] == code
        return said

    def put_card(self, holder: Bound, state: CardState) -> None:
        with transaction() as session:
            session.execute(
                update(Card).where(Card.id == virtual_card(holder.id).id).values(state=state)
            )

    def test_of_an_account_that_is_closed(self, phone: Phone, holder: Bound) -> None:
        top_up(holder.id, 1000)
        with transaction() as session:
            session.execute(
                update(Card).where(Card.holder_id == holder.id).values(state=CardState.CLOSED)
            )
        self.refused(phone, "account-closed")

    @pytest.mark.parametrize(
        ("card_state", "code"),
        [(CardState.FROZEN, "card-frozen"), (CardState.CLOSING, "account-closed")],
    )
    def test_of_a_card_that_is_stopped(
        self, phone: Phone, holder: Bound, card_state: CardState, code: str
    ) -> None:
        top_up(holder.id, 1000)
        self.put_card(holder, card_state)
        self.refused(phone, code)

    @pytest.mark.parametrize("card_state", [CardState.LOST, CardState.EXPIRED])
    def test_not_of_a_lost_or_expired_card_whose_money_is_its_holders(
        self, phone: Phone, holder: Bound, card_state: CardState
    ) -> None:
        top_up(holder.id, 1000)
        self.put_card(holder, card_state)
        assert put(phone, 1000).status_code == 201

    def test_while_something_is_owed(self, phone: Phone, holder: Bound) -> None:
        top_up(holder.id, 1000)
        with transaction() as session:
            now, charge_id = clock.now(), new_id()
            arrears.open_arrears(
                session, holder_id=holder.id, charge_id=charge_id,
                amount_fen=Fen(380), facts={}, now=now,
            )  # fmt: skip
            movement = Movement(
                TransferKind.CHARGE,
                charge_id,
                ledger.school_account(session, AccountKind.ARREARS),
                ledger.school_account(session, AccountKind.SURCHARGE),
                Fen(380),
            )
            ledger.post(session, [movement], now=now)
        assert self.refused(phone, "arrears-open")["arrears_fen"] == 380

    def test_of_one_too_many_a_day(self, phone: Phone, holder: Bound, policy: Any) -> None:
        policy("refund.per_day", 2)
        top_up(holder.id, 1000)
        assert [put(phone, 1).status_code for _ in range(2)] == [201, 201]
        assert self.refused(phone, "too-many-refunds")["per_day"] == 2

    def test_where_the_school_gives_nothing_back(
        self, phone: Phone, holder: Bound, policy: Any
    ) -> None:
        policy("refund.enabled", False)
        top_up(holder.id, 1000)
        self.refused(phone, "refunds-off")

    def test_of_less_than_the_least(self, phone: Phone, holder: Bound, policy: Any) -> None:
        policy("refund.least_fen", 100)
        top_up(holder.id, 1000)
        assert put(phone, 99).get_json()["code"] == "refund-not-possible"
        assert put(phone, 100).status_code == 201


def charge(holder: Bound, amount_fen: int, *, later: int = 0) -> str:
    """Charge a holder at a till; return `approved` or the code of the refusal."""
    with transaction() as session:
        made, *_ = charges.charge(
            session,
            charge_id=new_id(),
            terminal=make_till().caller,
            code=present(holder.id, issued_at=int(clock.now().timestamp()) + later),
            code_text=str(new_id()),
            amount_fen=Fen(amount_fen),
            note=None,
            now=clock.now(),
        )
    return made.reason or made.state.value
