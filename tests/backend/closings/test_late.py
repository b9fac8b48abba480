"""What a till took without network and tells when the account is closing or closed already."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from factories import balances, make_holder, make_till
from flask import Flask
from phones import DevicePhone, Phone
from scanners import Told, Uploads, pay_code, policies
from sqlalchemy import select

from backend import clock
from backend.arrears import service as arrears
from backend.charges.models import Charge
from backend.closings.models import ClosingState
from backend.db import transaction
from backend.http.parts import Parts
from backend.ledger import service as ledger
from backend.ledger.models import TransferKind
from backend.notices.models import HolderNotice

from .conftest import Counter

PRICE_FEN = 300


@pytest.fixture(autouse=True)
def money_offline(app: Flask) -> Iterator[None]:
    """Tills take money without network."""
    with policies(money=True, per_terminal_fen=10**8):
        yield


class Sale:
    """A till that took money from a phone before the account was closed, and has not told yet."""

    def __init__(self, app: Flask, parts: Parts, *, balance_fen: int) -> None:
        self.holder = make_holder(parts, balance_fen=balance_fen)
        self.phone = DevicePhone(Phone(app.test_client(), token=self.holder.token), self.holder)
        assert self.phone.enrol().status_code == 201
        self.till = make_till()
        self._told, self._uploads = Told(self.till), Uploads(app.test_client())
        self.code = pay_code(self.phone)
        self.item = self._told.charge(self.code, PRICE_FEN)

    def tell(self) -> str:
        """Let the till tell of it."""
        return self._uploads.outcome(self.till, self.item)

    def tell_of_one_after(self) -> str:
        """Let it tell of a sale that it made after the closing had begun, not knowing of it."""
        code = pay_code(self.phone, sequence=1)
        return self._uploads.outcome(
            self.till, self._told.charge(code, PRICE_FEN, at=clock.now() + timedelta(seconds=1))
        )

    def owed(self) -> int:
        with transaction() as session:
            return arrears.open_fen(session, holder_id=self.holder.id)

    def merchant_has(self) -> int:
        with transaction() as session:
            return ledger.came_in(
                session,
                account_id=self.till.caller.merchant_account_id,
                kind=TransferKind.CHARGE,
            )


class TestOfAClosedAccount:
    def test_is_posted_and_the_debt_stays_on_record(
        self, app: Flask, parts: Parts, counter: Counter
    ) -> None:
        sale = Sale(app, parts, balance_fen=0)
        counter.start(sale.holder)
        assert counter.work(sale.holder).state is ClosingState.CLOSED
        assert sale.tell() == "charged-with-arrears"
        assert sale.tell() == "charged-with-arrears"  # the first answer, for ever
        assert (sale.owed(), sale.merchant_has()) == (PRICE_FEN, PRICE_FEN)
        assert counter.work(sale.holder).state is ClosingState.CLOSED
        with transaction() as session:
            charges = session.scalars(
                select(Charge).where(Charge.holder_id == sale.holder.id)
            ).all()
            told = session.scalars(
                select(HolderNotice.kind).where(HolderNotice.holder_id == sale.holder.id)
            ).all()
        assert [charge.amount_fen for charge in charges] == [PRICE_FEN]
        assert {"charge-late", "arrears-opened"} <= {*told}

    def test_made_after_it_closed_is_the_schools(
        self, app: Flask, parts: Parts, counter: Counter
    ) -> None:
        sale = Sale(app, parts, balance_fen=0)
        counter.start(sale.holder)
        counter.work(sale.holder)
        assert sale.tell_of_one_after() == "charged-to-risk"
        assert (sale.owed(), sale.merchant_has()) == (0, PRICE_FEN)


class TestWhileMoneyIsOnItsWay:
    def test_is_paid_out_of_what_is_listed(
        self, app: Flask, parts: Parts, counter: Counter
    ) -> None:
        sale = Sale(app, parts, balance_fen=1000)
        counter.start(sale.holder)
        assert counter.work(sale.holder).paid_fen == 1000
        assert sale.tell() == "charged-with-arrears"
        closing = counter.work(sale.holder)
        assert (closing.state, closing.paid_fen) == (ClosingState.PAYING, 1000 - PRICE_FEN)
        (line,) = counter.lines(sale.holder)
        assert line["amount_fen"] == 1000 - PRICE_FEN
        assert (sale.owed(), balances(sale.holder.id)) == (0, (0, 0))

    def test_that_is_less_than_it_is_paid_in_part(
        self, app: Flask, parts: Parts, counter: Counter
    ) -> None:
        sale = Sale(app, parts, balance_fen=100)
        counter.start(sale.holder)
        counter.work(sale.holder)
        sale.tell()
        closing = counter.work(sale.holder)
        assert (closing.state, closing.paid_fen) == (ClosingState.CLOSED, 0)
        assert counter.lines(sale.holder) == []
        assert sale.owed() == PRICE_FEN - 100

    def test_leaves_what_two_people_answer_for(
        self, app: Flask, parts: Parts, counter: Counter
    ) -> None:
        sale = Sale(app, parts, balance_fen=1000)
        counter.start(sale.holder)
        counter.work(sale.holder)
        counter.batch()
        sale.tell()
        closing = counter.work(sale.holder)
        assert (closing.paid_fen, sale.owed()) == (1000, PRICE_FEN)
        (line,) = counter.lines(sale.holder)
        assert (line["amount_fen"], line["state"]) == (1000, "batched")

    def test_during_the_waiting_is_an_ordinary_late_charge(
        self, app: Flask, parts: Parts, counter: Counter
    ) -> None:
        sale = Sale(app, parts, balance_fen=1000)
        counter.start(sale.holder)
        assert sale.tell() == "charged"
        assert counter.work(sale.holder).paid_fen == 1000 - PRICE_FEN
