"""Each defence of the money alone: a named check holds with it, and notices when it is gone.

A defence that another one hides is no defence until a check misses it by itself.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, Device, make_holder, make_till, present
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session as SessionType

from backend import clock
from backend.cards.codes import PresentedCode
from backend.cards.models import Card, CardKind, CardState
from backend.cards.service import find_card
from backend.charges import service as charges
from backend.db import Session
from backend.errors import DomainError
from backend.holders.models import Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen

pytestmark = pytest.mark.usefixtures("app")


@dataclass
class Bench:
    """A holder with 10.00 yuan and a till, in a transaction that is rolled back."""

    session: SessionType
    holder: Bound
    till: Device
    other_till: Device
    shown: PresentedCode
    now: datetime = field(default_factory=clock.now)

    def charge(
        self,
        code: PresentedCode,
        amount_fen: int = 100,
        *,
        charge_id: UUID | None = None,
        till: Device | None = None,
    ) -> str:
        """Return `approved` or the code of the refusal."""
        outcome, _ = charges.charge(
            self.session,
            charge_id=charge_id or new_id(),
            terminal=(till or self.till).caller,
            code=code,
            code_text=repr(code),
            amount_fen=Fen(amount_fen),
            note=None,
            now=self.now,
        )
        refusal = charges.refusal_of(outcome)
        return refusal.code if refusal else "approved"

    def code(self, issued_at: int = 100) -> PresentedCode:
        """Return a code of the holder."""
        return replace(self.shown, key=secrets.token_bytes(12), issued_at=issued_at)

    def card(self) -> Card:
        """Return the holder's virtual card."""
        card = find_card(self.session, holder_id=self.holder.id, kind=CardKind.VIRTUAL)
        assert card is not None
        return card

    def move(self, debit: UUID, credit: UUID, amount_fen: int, subject_id: UUID) -> None:
        """Post one movement."""
        kind = TransferKind.SUBSIDY
        movement = Movement(kind, subject_id, debit, credit, Fen(amount_fen))
        ledger.post(self.session, [movement], now=self.now)

    @property
    def purse(self) -> UUID:
        """The holder's main purse."""
        found = ledger.purses_of(self.session, holder_id=self.holder.id)
        return found[AccountKind.MAIN_PURSE].id

    @property
    def fund(self) -> UUID:
        """An account that may run negative."""
        return ledger.school_account(self.session, AccountKind.SUBSIDY_FUND)

    def run(self, statement: str, **values: Any) -> None:
        """Run SQL by hand."""
        self.session.execute(text(statement), values)


@pytest.fixture
def bench(parts: Parts, owner: Engine) -> Iterator[Bench]:
    holder, till, other = make_holder(parts, balance_fen=1000), make_till(), make_till()
    shown = present(holder.id)  # before a sabotage locks tables
    with Session(bind=owner) as session:
        yield Bench(session, holder, till, other, shown)
        session.rollback()


def one_code_is_spent_once(bench: Bench) -> None:
    spent = "INSERT INTO spent_codes VALUES (:key, 'alias', 1, 1, :id, now())"
    bench.run(spent, key=b"k", id=new_id())
    bench.run(spent, key=b"k", id=new_id())


def a_filmed_frame_is_dead(bench: Bench) -> None:
    bench.charge(bench.code(200))
    must_refuse(bench.charge(bench.code(100)))


def a_purse_is_never_negative(bench: Bench) -> None:
    bench.move(bench.purse, bench.fund, 1001, new_id())


def one_movement_happens_once(bench: Bench) -> None:
    subject_id = new_id()
    for _ in range(2):
        bench.move(bench.fund, bench.purse, 5, subject_id)


def money_goes_to_accounts_that_exist(bench: Bench) -> None:
    bench.move(bench.fund, new_id(), 5, new_id())


def transfers_stay_as_they_are(bench: Bench) -> None:
    bench.run("UPDATE transfers SET amount_fen = 1 WHERE false")


def transfers_stay_for_a_superuser_too(bench: Bench) -> None:
    bench.run("SET LOCAL session_replication_role = replica")
    bench.run("DELETE FROM transfers WHERE false")


def a_charge_is_its_tills_own(bench: Bench) -> None:
    charge_id, code = new_id(), bench.code()
    bench.charge(code, charge_id=charge_id)
    told = bench.charge(code, charge_id=charge_id, till=bench.other_till)
    must_refuse("" if told == "id-reused" else told)  # the content tells tills apart as well


def an_id_has_one_content(bench: Bench) -> None:
    charge_id, code = new_id(), bench.code()
    bench.charge(code, charge_id=charge_id)
    must_refuse(bench.charge(code, 101, charge_id=charge_id))


def a_tombstone_declines_the_late_original(bench: Bench) -> None:
    charge_id = new_id()
    charges.void(bench.session, charge_id=charge_id, terminal=bench.till.caller, now=bench.now)
    bench.session.flush()
    told = bench.charge(bench.code(), charge_id=charge_id)
    must_refuse(told if told == "charge-voided" else "approved")


def a_lost_card_pays_nothing(bench: Bench) -> None:
    code = bench.code()
    bench.card().state = CardState.LOST
    bench.session.flush()
    must_refuse(bench.charge(code))


def a_code_from_before_a_change_is_stale(bench: Bench) -> None:
    code = bench.code()
    bench.card().alias = b"change"
    bench.session.flush()
    must_refuse(bench.charge(code))


def a_paused_holder_pays_nothing(bench: Bench) -> None:
    bench.session.get_one(Holder, bench.holder.id).payment_paused = True
    bench.session.flush()
    must_refuse(bench.charge(bench.code()))


def one_charge_has_a_limit(bench: Bench) -> None:
    bench.session.get_one(Holder, bench.holder.id).per_charge_limit_fen = 99
    bench.session.flush()
    must_refuse(bench.charge(bench.code(), 100))


def one_day_has_a_limit(bench: Bench) -> None:
    bench.session.get_one(Holder, bench.holder.id).per_day_limit_fen = 199
    bench.session.flush()
    bench.charge(bench.code(1), 100)
    must_refuse(bench.charge(bench.code(2), 100))


def a_short_purse_is_told_before_it_is_touched(bench: Bench) -> None:
    try:
        must_refuse(bench.charge(bench.code(), 1001))
    except DBAPIError:
        return  # the database stopped it, and the till would read of a fault of ours


def no_more_comes_back_than_was_charged(bench: Bench) -> None:
    charge_id = new_id()
    bench.charge(bench.code(), charge_id=charge_id)
    bench.run("UPDATE charges SET reversed_fen = 101 WHERE id = :id", id=charge_id)


def one_holder_has_one_live_card_of_a_kind(bench: Bench) -> None:
    bench.run(
        "INSERT INTO cards (id, holder_id, kind, state, number, created_at)"
        " VALUES (:id, :holder_id, 'physical', 'active', :number, now())",
        id=new_id(),
        holder_id=bench.holder.id,
        number=new_id().hex,
    )


def must_refuse(told: str) -> None:
    """Raise a refusal where a refusal was told."""
    if told not in ("approved", ""):
        raise Refused


class Refused(Exception):
    """What a defence does."""


def weaken(function: str, old: str, new: str) -> Callable[[Bench], None]:
    """Return what replaces a part of a database function."""

    def act(bench: Bench) -> None:
        connection = bench.session.connection()
        source = connection.exec_driver_sql(
            f"SELECT pg_get_functiondef('{function}'::regproc)"
        ).scalar_one()
        assert old in source
        connection.exec_driver_sql(source.replace(old, new))

    return act


def drop(statement: str) -> Callable[[Bench], None]:
    """Return what takes a constraint, an index or a trigger away."""
    return lambda bench: bench.run(statement)


Check = Callable[[Bench], None]
DEFENCES: list[tuple[Check, Callable[[Bench], None]]] = [
    (one_code_is_spent_once, drop("ALTER TABLE spent_codes DROP CONSTRAINT pk_spent_codes")),
    (a_filmed_frame_is_dead, weaken("spend_code", "NOT newer", "true")),
    (
        a_purse_is_never_negative,
        drop("ALTER TABLE accounts DROP CONSTRAINT ck_accounts_purse_not_negative"),
    ),
    (
        one_movement_happens_once,
        drop(
            "ALTER TABLE transfers DROP CONSTRAINT"
            " uq_transfers_subject_id_kind_debit_account_id_credit_account_id"
        ),
    ),
    (money_goes_to_accounts_that_exist, weaken("post_transfer", "<> 2", "> 2")),
    (transfers_stay_as_they_are, drop("DROP TRIGGER append_only ON transfers")),
    (
        transfers_stay_for_a_superuser_too,
        drop("ALTER TABLE transfers ENABLE TRIGGER append_only"),
    ),
    (
        a_charge_is_its_tills_own,
        weaken("post_charge", "answer.terminal_id <> p_terminal_id", "false"),
    ),
    (
        an_id_has_one_content,
        weaken("post_charge", "answer.content_hash <> p_content_hash", "false"),
    ),
    (
        a_tombstone_declines_the_late_original,
        weaken("post_charge", "answer.state = 'voided'", "false"),
    ),
    (a_lost_card_pays_nothing, weaken("card_refusal", "'card-lost'", "NULL")),
    (
        a_code_from_before_a_change_is_stale,
        drop("ALTER TABLE accounts DROP CONSTRAINT fk_accounts_card"),
    ),
    (a_paused_holder_pays_nothing, weaken("post_charge", "holder.payment_paused", "false")),
    (one_charge_has_a_limit, weaken("post_charge", "IF total > most", "IF false")),
    (one_day_has_a_limit, weaken("post_charge", "IF today + total > most", "IF false")),
    (
        a_short_purse_is_told_before_it_is_touched,
        weaken("post_charge", "purse.balance_fen + subsidy.balance_fen < total", "false"),
    ),
    (
        no_more_comes_back_than_was_charged,
        drop("ALTER TABLE charges DROP CONSTRAINT ck_charges_reversed_within_charged"),
    ),
    (one_holder_has_one_live_card_of_a_kind, drop("DROP INDEX uq_cards_one_live")),
]


def refuses(check: Check, bench: Bench) -> bool:
    """Tell whether something stood in the way."""
    try:
        check(bench)
    except (Refused, DBAPIError, DomainError):
        return True
    return False


@pytest.mark.parametrize(("check", "remove"), DEFENCES, ids=[c.__name__ for c, _ in DEFENCES])
class TestDefence:
    def test_holds(self, bench: Bench, check: Check, remove: Any) -> None:
        assert refuses(check, bench)

    def test_is_missed_when_it_is_gone(self, bench: Bench, check: Check, remove: Any) -> None:
        remove(bench)
        assert not refuses(check, bench)
