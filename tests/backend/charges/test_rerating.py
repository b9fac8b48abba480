"""Re-rating: what was too much goes back once, reversals are respected, nothing is ever taken."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import (
    Bound,
    Device,
    balances,
    make_holder,
    make_operator,
    make_till,
    present,
    rows_used,
    sign_in,
)
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text, update

from backend import clock
from backend.charges import meal_sums, paying_back, rerating, service
from backend.charges.meal_sums import ReratingPeriodRefused
from backend.charges.models import Charge, SurchargeReturn
from backend.charges.rerating import (
    NothingToReturn,
    ReratingChanged,
    ReratingDecided,
    ReratingLapsed,
)
from backend.charges.rules import (
    meal_surcharge,
    rerated_to_return,
    surcharge_excess,
    surcharge_to_return,
)
from backend.clock import business_date
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders.models import Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger.models import Transfer, TransferKind
from backend.money import Fen
from backend.notices.models import HolderNotice
from backend.operators.models import Role
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import OperatorCaller

DAYS = iter(date(2027 + n // 300, 1, 1) + timedelta(days=n % 300) for n in range(10_000))
"""A day of its own for each test, as a re-rating is of all that was charged then."""


@dataclass
class Meals:
    """A canteen on one day, and who answers for the surcharge."""

    parts: Parts
    till: Device
    day: date
    maker: OperatorCaller
    checker: OperatorCaller

    @property
    def now(self) -> datetime:
        return clock.now().replace(year=2029)

    def guest(self, **more: Any) -> Bound:
        return make_holder(self.parts, **({"balance_fen": 50_000, "pays_surcharge": True} | more))

    def eat(self, guest: Bound, price_fen: int = 1000, till: Device | None = None) -> UUID:
        with transaction() as session:
            charged, _ = service.charge(
                session,
                charge_id=new_id(),
                terminal=(till or self.till).caller,
                code=present(guest.id),
                code_text="",
                amount_fen=Fen(price_fen),
                note=None,
                now=clock.now(),
            )
            assert charged.reason is None
        with transaction() as session:
            session.execute(
                update(Charge).where(Charge.id == charged.id).values(business_date=self.day)
            )
        return charged.id

    def reverse(self, charge_id: UUID, amount_fen: int) -> int:
        with transaction() as session:
            reversal, _ = service.reverse(
                session,
                charge_id=charge_id,
                reversal_id=new_id(),
                terminal=self.till.caller,
                amount_fen=Fen(amount_fen),
                now=clock.now(),
            )
            return reversal.surcharge_fen

    def sums(self, permille: int | None = None, *, flags: bool = False) -> meal_sums.MealSums:
        with transaction() as session:
            return meal_sums.sums(
                session, first_day=self.day, last_day=self.day, permille=permille, flags=flags
            )

    def propose(self, permille: int | None = None, *, flags: bool = False, **more: Any) -> UUID:
        with transaction() as session:
            proposed, _ = rerating.propose(
                session,
                **(
                    {
                        "rerating_id": new_id(),
                        "first_day": self.day,
                        "last_day": self.day,
                        "permille": permille,
                        "flags": flags,
                        "document_number": "后勤〔2026〕7号",
                        "reason": "比例有误",
                        "maker": self.maker,
                        "now": self.now,
                    }
                    | more
                ),
            )
            return proposed.id

    def approve(self, id_: UUID, who: OperatorCaller | None = None, later: Any = None) -> bool:
        with transaction() as session:
            _, first = rerating.approve(
                session,
                rerating_id=id_,
                checker=who or self.checker,
                now=self.now + (later or timedelta(0)),
            )
            return first

    def rerate(self, permille: int | None = None, *, flags: bool = False) -> int:
        self.approve(self.propose(permille, flags=flags))
        return paying_back.pay_due(now=self.now)


@pytest.fixture(scope="module")
def people(parts: Parts) -> tuple[OperatorCaller, OperatorCaller]:
    return make_operator(parts, Role.LOGISTICS), make_operator(parts, Role.FINANCE)


@pytest.fixture
def meals(parts: Parts, people: Any) -> Meals:
    return Meals(parts, make_till(is_canteen=True), next(DAYS), *people)


class TestClause:
    """Who pays the surcharge at all, 三(七)."""

    @pytest.mark.parametrize("canteen", [True, False])
    @pytest.mark.parametrize("flagged", [True, False])
    def test_only_the_flagged_in_canteens(self, meals: Meals, canteen: bool, flagged: bool) -> None:
        guest = meals.guest(pays_surcharge=flagged)
        till = make_till(is_canteen=canteen)
        meals.eat(guest, 1005, till)
        surcharge_fen = 101 if canteen and flagged else 0  # half up, on top of the price
        assert balances(guest.id) == (50_000 - 1005 - surcharge_fen, 0)


class TestSums:
    def test_tell_too_much_too_little_and_leave_the_rest(self, meals: Meals) -> None:
        too_much, right = meals.guest(), meals.guest(pays_surcharge=False)
        meals.eat(too_much)
        meals.eat(right)
        found = meals.sums(40)
        assert (found.charges, found.taken_fen) == (1, 100)
        assert (found.return_charges, found.return_fen, found.short_fen) == (1, 60, 0)
        assert meals.sums().return_fen == 0
        higher = meals.sums(150)
        assert (higher.return_fen, higher.short_charges, higher.short_fen) == (0, 1, 50)

    def test_flags_count_only_where_they_are_what_was_wrong(self, meals: Meals) -> None:
        wrongly = meals.guest()
        meals.eat(wrongly)
        with transaction() as session:
            session.execute(
                update(Holder).where(Holder.id == wrongly.id).values(pays_surcharge=False)
            )
        assert meals.sums().return_fen == 0
        assert meals.sums(flags=True).return_fen == 100

    def test_a_closed_account_is_for_people(self, meals: Meals) -> None:
        guest = meals.guest()
        meals.eat(guest)
        with transaction() as session:
            session.execute(
                text("UPDATE cards SET state = 'closed' WHERE holder_id = :id"), {"id": guest.id}
            )
        found = meals.sums(40)
        assert (found.return_fen, found.closed_charges, found.closed_fen) == (0, 1, 60)

    def test_a_holder_between_two_cards_is_paid_back(self, meals: Meals) -> None:
        guest = meals.guest()
        meals.eat(guest)
        with transaction() as session:
            session.execute(
                text("UPDATE cards SET state = 'void' WHERE holder_id = :id"), {"id": guest.id}
            )
        found = meals.sums(40)
        assert (found.return_fen, found.closed_charges) == (60, 0)

    @pytest.mark.parametrize("days", [-1, 366])
    def test_of_a_period_that_is_none(self, meals: Meals, days: int) -> None:
        with transaction() as session, pytest.raises(ReratingPeriodRefused):
            meal_sums.sums(
                session,
                first_day=meals.day,
                last_day=meals.day + timedelta(days=days),
                permille=None,
                flags=False,
            )


class TestProposing:
    def test_is_idempotent_and_of_one_person(self, meals: Meals) -> None:
        meals.eat(meals.guest())
        id_ = meals.propose(40)
        assert meals.propose(40, rerating_id=id_) == id_
        with pytest.raises(IdReused):
            meals.propose(41, rerating_id=id_)
        with pytest.raises(NotFound):
            meals.propose(40, rerating_id=id_, maker=meals.checker)

    def test_needs_something_to_pay_and_days_that_are_over(self, meals: Meals) -> None:
        with pytest.raises(NothingToReturn):
            meals.propose(40)
        meals.eat(meals.guest())
        with pytest.raises(ReratingPeriodRefused):
            meals.propose(40, last_day=business_date(meals.now))

    def test_takes_two_people_and_sums_that_stand(self, meals: Meals) -> None:
        charge_id = meals.eat(meals.guest())
        meals.eat(meals.guest())
        id_ = meals.propose(40)
        with pytest.raises(SecondPersonNeeded):
            meals.approve(id_, meals.maker)
        with pytest.raises(ReratingLapsed):
            meals.approve(id_, later=timedelta(hours=25))
        meals.reverse(charge_id, 1000)
        with pytest.raises(ReratingChanged):
            meals.approve(id_)
        id_ = meals.propose(40)
        assert (meals.approve(id_), meals.approve(id_)) == (True, False)
        with pytest.raises(ReratingDecided):
            meals.approve(id_, meals.maker)
        paying_back.pay_due(now=meals.now)


class TestPaying:
    def test_pays_once_and_tells_the_holder(self, meals: Meals) -> None:
        guest = meals.guest()
        charge_id = meals.eat(guest)
        assert meals.rerate(40) == 1
        assert balances(guest.id) == (50_000 - 1000 - 40, 0)
        assert paying_back.pay_due(now=meals.now) == 0
        assert meals.sums(0).charges == 0
        with transaction() as session:
            (moved,) = session.scalars(
                select(Transfer).where(
                    Transfer.subject_id == charge_id,
                    Transfer.kind == TransferKind.SURCHARGE_RETURNED,
                )
            )
            assert moved.amount_fen == 60
            told = session.scalars(
                select(HolderNotice).where(
                    HolderNotice.holder_id == guest.id, HolderNotice.kind == "surcharge-returned"
                )
            ).one()
            assert told.facts["amount_fen"] == 60

    def test_names_the_rates_that_it_went_by(self, meals: Meals) -> None:
        wrongly = meals.guest()
        charge_id = meals.eat(wrongly)
        with transaction() as session:
            session.execute(
                update(Holder).where(Holder.id == wrongly.id).values(pays_surcharge=False)
            )
        by_policies, by_hand = meals.propose(flags=True), meals.propose(40)
        assert rows_used(by_policies, "surcharge.rerate_propose") == {"charge.surcharge_permille"}
        assert rows_used(by_hand, "surcharge.rerate_propose") == set()
        meals.approve(by_policies)
        paying_back.pay_due(now=meals.now)
        assert rows_used(by_policies, "surcharge.rerate_approve") == {"charge.surcharge_permille"}
        assert rows_used(charge_id, "surcharge.return") == {"charge.surcharge_permille"}

    def test_goes_on_where_it_was_killed(self, meals: Meals) -> None:
        guests = [meals.guest() for _ in range(3)]
        charges = [meals.eat(guest) for guest in guests]
        id_ = meals.propose(40)
        meals.approve(id_)
        with transaction() as session:
            found, _ = rerating.find(session, rerating_id=id_)
            basis = meal_sums.Basis.of(session, permille=40, flags=False)
            assert paying_back._pay_one(session, found, charges[1], basis, now=meals.now)
        assert paying_back.pay_due(now=meals.now) == 2
        assert [balances(guest.id)[0] for guest in guests] == [48_960] * 3
        with transaction() as session:
            found, returned_fen = rerating.find(session, rerating_id=id_)
            assert (returned_fen, found.finished_at is not None) == (180, True)

    def test_a_reversal_afterwards_gives_back_the_rest_and_no_more(self, meals: Meals) -> None:
        guest = meals.guest()
        charge_id = meals.eat(guest)
        assert meals.reverse(charge_id, 500) == 50
        meals.rerate(40)
        assert balances(guest.id)[0] == 50_000 - 500 - 20
        assert meals.reverse(charge_id, 500) == 20
        assert balances(guest.id)[0] == 50_000

    def test_a_subsidy_comes_back_as_one(self, meals: Meals) -> None:
        guest = meals.guest(balance_fen=0, subsidy_fen=2_000)
        meals.eat(guest)
        meals.rerate(40)
        assert balances(guest.id) == (0, 2_000 - 1_040)


@given(
    amount=st.integers(1, 10_000),
    taken=st.integers(0, 500),
    due=st.integers(0, 500),
    parts=st.lists(st.integers(1, 4_000), max_size=4),
    after=st.integers(0, 4),
)
def test_never_gives_back_more_than_was_taken_whenever_it_is_rerated(
    amount: int, taken: int, due: int, parts: list[int], after: int
) -> None:
    price = Fen(amount)
    surcharge, due_fen = (meal_surcharge(price, permille=rate) for rate in (taken, due))
    reversed_fen = back = excess = 0
    rerated = False
    for number in range(len(parts) + 1):
        if number == after:
            excess = surcharge_excess(
                amount_fen=price,
                surcharge_fen=surcharge,
                reversed_fen=Fen(reversed_fen),
                surcharge_reversed_fen=Fen(back),
                due_fen=due_fen,
            )
            rerated = excess > 0
            excess = max(0, excess)
        if number == len(parts):
            break
        before, reversed_fen = reversed_fen, min(amount, reversed_fen + parts[number])
        if rerated:
            back += rerated_to_return(
                amount_fen=price,
                due_fen=due_fen,
                reversed_before_fen=Fen(before),
                reversed_fen=Fen(reversed_fen),
            )
        else:
            back += surcharge_to_return(
                amount_fen=price,
                surcharge_fen=surcharge,
                reversed_fen=Fen(reversed_fen),
                surcharge_reversed_fen=Fen(back),
            )
        assert 0 <= back + excess <= surcharge
    if reversed_fen == amount:
        assert back + excess == surcharge


class TestRoutes:
    PATH = "/api/v1/staff/surcharge-reratings"

    def test_from_the_preview_to_the_purse(self, app: Flask, parts: Parts, meals: Meals) -> None:
        client, guest = app.test_client(), meals.guest()
        maker, checker = sign_in(parts, Role.LOGISTICS), sign_in(parts, Role.CARD_CENTRE)
        meals.day = date(2020, 1, 1) + timedelta(days=meals.day.toordinal() % 1500)
        meals.eat(guest)
        said = {"first_day": str(meals.day), "last_day": str(meals.day), "permille": 40}
        preview = client.post(f"{self.PATH}/previews", json=said, headers=maker)
        assert preview.status_code == 200, preview.text
        assert preview.get_json()["return_fen"] >= 60
        path = f"{self.PATH}/{new_id()}"
        said |= {"document_number": "后勤〔2026〕7号", "reason": "比例有误"}
        for status in (201, 200):
            assert client.put(path, json=said, headers=maker).status_code == status
        assert client.post(f"{path}/approval", headers=maker).status_code == 403
        for status in (201, 200):
            assert client.post(f"{path}/approval", headers=checker).status_code == status
        paying_back.pay_due(now=clock.now())
        full = client.get(path, headers=checker).get_json()
        assert full["returned_fen"] == full["return_fen"]
        assert full["finished_at"]
        assert balances(guest.id) == (48_960, 0)
        assert path.rpartition("/")[2] in client.get(self.PATH, headers=maker).text

    @pytest.mark.parametrize(
        "said",
        [{"permille": 501}, {"permille": 1.5}, {"flags": 1}, {"reason": "  "}, {"first_day": "x"}],
    )
    def test_refuses_what_does_not_fit(self, app: Flask, parts: Parts, said: Any) -> None:
        whole = {"first_day": "2026-01-01", "last_day": "2026-01-01", "permille": 40}
        whole |= {"document_number": "1", "reason": "1"}
        answer = app.test_client().put(
            f"{self.PATH}/{new_id()}", json=whole | said, headers=sign_in(parts, Role.LOGISTICS)
        )
        assert answer.status_code == 422


def test_returns_are_no_more_than_was_taken_in_the_database(app: Flask) -> None:
    """What all tests above have left: each return stays within its charge."""
    with transaction() as session:
        for charged, returned in session.execute(
            select(Charge, SurchargeReturn).join(
                SurchargeReturn, SurchargeReturn.charge_id == Charge.id
            )
        ):
            back = charged.surcharge_reversed_fen + returned.amount_fen
            assert back <= charged.surcharge_fen
