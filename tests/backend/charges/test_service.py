"""Scan and pay on a real PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import (
    Bound,
    Device,
    balances,
    give,
    keys_of,
    make_gate,
    make_holder,
    make_till,
    present,
    virtual_card,
)

from backend import clock
from backend.cards.codes import PresentedCode, burn_codes, read_code
from backend.cards.models import Card, CardState
from backend.charges import service
from backend.charges.models import Charge, ChargeReversal, ChargeState
from backend.charges.service import NotCharged, ReversalTooLarge
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import login
from backend.holders.limits import change_limits
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.terminals.service import TerminalNotAllowed
from qr import CodeError, CodeForged, CodeMalformed, Issuer, Scope

pytestmark = pytest.mark.usefixtures("app")

NOON = datetime(2026, 9, 1, 4, tzinfo=UTC)
"""12:00 in Shanghai, far from midnight."""


def charge(
    till: Device,
    code: PresentedCode | CodeError,
    amount_fen: int = 850,
    *,
    charge_id: UUID | None = None,
    text: str = "",
    now: datetime | None = None,
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
            now=now or clock.now(),
        )


def refusal(outcome: Charge) -> str | None:
    """Return the code that the till is told, None for an approved charge."""
    found = service.refusal_of(outcome)
    return found.code if found else None


def void(till: Device, charge_id: UUID) -> tuple[Charge, bool]:
    """Void as the route does."""
    with transaction() as session:
        return service.void(session, charge_id=charge_id, terminal=till.caller, now=clock.now())


def reverse(
    till: Device, charge_id: UUID, amount_fen: int, *, reversal_id: UUID | None = None
) -> tuple[ChargeReversal, bool]:
    """Reverse as the route does."""
    with transaction() as session:
        return service.reverse(
            session,
            charge_id=charge_id,
            reversal_id=reversal_id or new_id(),
            terminal=till.caller,
            amount_fen=Fen(amount_fen),
            now=clock.now(),
        )


def put_card(holder: Bound, state: CardState) -> None:
    """Put the virtual card into a state, keeping its alias, so that only the state stands out."""
    with transaction() as session:
        session.get_one(Card, virtual_card(holder.id).id).state = state


def limit(
    holder: Bound, *, paused: bool | None = None, now: datetime = NOON, **wanted: Any
) -> None:
    """Change a holder's own limits."""
    with transaction() as session:
        change_limits(
            session,
            holder_id=holder.id,
            wanted=wanted,
            paused=paused,
            may_resume=True,
            actor=SYSTEM,
            now=now,
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

    @pytest.mark.parametrize(
        ("main_fen", "subsidy_fen", "after", "from_subsidy_fen"),
        [
            (1000, 0, (65, 0), 0),
            (1000, 300, (365, 0), 300),
            (1000, 850, (915, 0), 850),
            (1000, 900, (965, 0), 900),
            (1000, 935, (1000, 0), 935),
            (1000, 1000, (1000, 65), 935),
            (0, 935, (0, 0), 935),
            (1, 934, (0, 0), 934),
        ],
    )
    def test_splits_price_and_surcharge_over_both_purses(
        self,
        parts: Parts,
        main_fen: int,
        subsidy_fen: int,
        after: tuple[int, int],
        from_subsidy_fen: int,
    ) -> None:
        holder = make_holder(
            parts, balance_fen=main_fen, subsidy_fen=subsidy_fen, pays_surcharge=True
        )
        outcome, _ = charge(make_till(is_canteen=True), present(holder.id))
        assert outcome.surcharge_fen == 85
        assert (balances(holder.id), outcome.from_subsidy_fen) == (after, from_subsidy_fen)
        assert outcome.balance_fen == sum(after)

    def test_takes_the_surcharge_on_top_in_canteens_only(self, parts: Parts) -> None:
        holder = make_holder(parts, balance_fen=5000, pays_surcharge=True)
        canteen, shop = make_till(is_canteen=True), make_till()
        assert charge(canteen, present(holder.id, issued_at=1))[0].surcharge_fen == 85
        assert charge(shop, present(holder.id, issued_at=2))[0].surcharge_fen == 0
        assert balances(holder.id) == (5000 - 850 - 85 - 850, 0)

    def test_takes_no_surcharge_of_those_who_pay_none(self, parts: Parts) -> None:
        holder = make_holder(parts, balance_fen=1000)
        assert charge(make_till(is_canteen=True), present(holder.id))[0].surcharge_fen == 0

    def test_takes_the_last_fen_and_not_one_more(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=850), make_till()
        declined, _ = charge(till, present(holder.id, issued_at=1), 851)
        assert declined.facts == {"balance_fen": 850, "short_fen": 1}
        assert refusal(charge(till, present(holder.id, issued_at=2), 850)[0]) is None
        assert balances(holder.id) == (0, 0)

    def test_returns_the_first_charge_to_a_retry(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        code = present(holder.id)
        first, was_first = charge(till, code, charge_id=charge_id)
        again, was_first_again = charge(till, code, charge_id=charge_id)
        assert (first.reference, was_first, was_first_again) == (again.reference, True, False)
        assert balances(holder.id) == (150, 0)

    def test_is_answered_again_when_the_code_is_long_dead(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        first, _ = charge(till, present(holder.id), charge_id=charge_id, text="961")
        put_card(holder, CardState.LOST)
        again, was_first = charge(till, CodeMalformed(), charge_id=charge_id, text="961")
        assert (refusal(again), again.reference, was_first) == (None, first.reference, False)

    def test_leaves_nothing_behind_when_the_code_is_at_fault(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        refused, _ = charge(till, CodeForged(), charge_id=charge_id)
        assert refused.reason == "code-forged"
        assert charge(till, present(holder.id), charge_id=charge_id)[0].reason is None

    def test_stores_which_rules_it_used(self, parts: Parts) -> None:
        outcome, _ = charge(make_till(), present(make_holder(parts, balance_fen=1000).id))
        with transaction() as session:
            assert keys_of(session, outcome.policy_ids) == {
                "charge.per_charge_cap_fen",
                "charge.per_day_cap_fen",
                "charge.surcharge_permille",
                "notice.charge_from_fen",
                "notice.low_balance_fen",
            }


class TestDeclined:
    def test_is_stored_and_answered_again(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=100), make_till(), new_id()
        code = present(holder.id)
        first, _ = charge(till, code, charge_id=charge_id)
        with transaction() as session:  # enough by now, and it changes nothing
            give(session, holder.id, main_fen=5000, subsidy_fen=0, now=clock.now())
        again, was_first = charge(till, code, charge_id=charge_id)
        assert (refusal(first), first.facts) == (
            "insufficient-balance",
            {"balance_fen": 100, "short_fen": 750},
        )
        assert (refusal(again), again.facts) == (refusal(first), first.facts)
        assert (again.reference, was_first) == (first.reference, False)
        assert balances(holder.id) == (5100, 0)

    def test_uses_the_code_up(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=100), make_till()
        code = present(holder.id)
        charge(till, code, 850)
        assert refusal(charge(till, code, 50)[0]) == "code-spent"
        assert balances(holder.id) == (100, 0)

    def test_moves_nothing(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=100), make_till()
        with transaction() as session:
            before = ledger.prove(session).transfers
        charge(till, present(holder.id))
        with transaction() as session:
            assert ledger.prove(session).transfers == before

    def test_keeps_its_facts_from_other_tills_and_other_contents(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=100), make_till(), new_id()
        code = present(holder.id)
        charge(till, code, charge_id=charge_id)
        theirs, _ = charge(make_till(), code, charge_id=charge_id)
        assert (refusal(theirs), theirs.facts) == ("not-found", {})
        other, _ = charge(till, code, 900, charge_id=charge_id)
        assert (refusal(other), other.facts) == ("id-reused", {})


class TestCode:
    def test_pays_once(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=5000), make_till()
        code = present(holder.id)
        assert refusal(charge(till, code)[0]) is None
        assert refusal(charge(make_till(), code)[0]) == "code-spent"
        assert balances(holder.id) == (4150, 0)

    def test_is_dead_once_a_newer_one_was_used(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=5000), make_till()
        filmed, shown = present(holder.id, issued_at=100), present(holder.id, issued_at=130)
        assert refusal(charge(till, shown)[0]) is None
        assert refusal(charge(till, filmed)[0]) == "code-spent"

    def test_is_dead_once_another_of_its_second_was_used(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=5000), make_till()
        charge(till, present(holder.id, issued_at=100))
        assert refusal(charge(till, present(holder.id, issued_at=100))[0]) == "code-spent"

    def test_survives_an_older_one(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=5000), make_till()
        for issued_at in (100, 101, 130):
            code = present(holder.id, issued_at=issued_at)
            assert refusal(charge(till, code)[0]) is None

    def test_of_nobody_is_stale(self, parts: Parts) -> None:
        unknown = PresentedCode(b"k" * 12, b"nobody", 1)
        outcome, _ = charge(make_till(), unknown)
        assert (refusal(outcome), outcome.holder_id) == ("code-stale", None)

    def test_shown_before_a_burning_is_stale(self, parts: Parts) -> None:
        holder = make_holder(parts, balance_fen=5000)
        code = present(holder.id)
        burn(holder)
        assert refusal(charge(make_till(), code)[0]) == "code-stale"


def burn(holder: Bound) -> None:
    """Make every code of a holder worthless."""
    with transaction() as session:
        caller = login.authenticate(session, holder.token, clock.now())
        card = session.get_one(Card, virtual_card(holder.id).id)
        burn_codes(session, card=card, caller=caller, now=clock.now())


class TestOrderOfRefusals:
    """Two faults at once: the one that stands earlier in the contract is told."""

    def test_terminal_not_allowed_before_charge_voided(self) -> None:
        till, charge_id = make_till(), new_id()
        void(till, charge_id)
        with pytest.raises(TerminalNotAllowed):
            charge(make_gate(), CodeMalformed(), charge_id=charge_id)

    def test_not_found_before_charge_voided_and_id_reused(self) -> None:
        till, charge_id = make_till(), new_id()
        void(till, charge_id)
        other = make_till()
        assert refusal(charge(other, CodeMalformed(), charge_id=charge_id)[0]) == "not-found"

    def test_charge_voided_before_id_reused(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=5000), make_till(), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        void(till, charge_id)
        other, _ = charge(till, present(holder.id), 1, charge_id=charge_id)
        assert refusal(other) == "charge-voided"

    def test_id_reused_before_code_malformed(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=5000), make_till(), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        assert refusal(charge(till, CodeMalformed(), charge_id=charge_id)[0]) == "id-reused"

    @pytest.mark.parametrize(
        ("faults", "told"),
        [
            ({"malformed", "expired"}, "code-malformed"),
            ({"forged", "expired"}, "code-forged"),
            ({"forged", "scope"}, "code-forged"),
            ({"unknown-key", "early"}, "code-unknown-key"),
            ({"unknown-key", "expired"}, "code-unknown-key"),
            ({"early", "scope"}, "code-not-yet-valid"),
            ({"expired", "scope"}, "code-expired"),
            ({"scope", "stale"}, "code-wrong-scope"),
            ({"expired", "stale"}, "code-expired"),
        ],
    )
    def test_of_the_code_itself(self, parts: Parts, faults: set[str], told: str) -> None:
        holder, till, now = make_holder(parts, balance_fen=5000), make_till(), clock.now()
        key = parts.code_keys.current(now)
        ring_id = 255 if "unknown-key" in faults else key.key_id
        text = Issuer(key.private_key, key_id=ring_id, issuer=parts.settings.issuer).issue(
            b"nobody" if "stale" in faults else virtual_card(holder.id).alias or b"",
            scope=Scope.GATE if "scope" in faults else Scope.PAY,
            issued_at=now + timedelta(hours=1 * ("early" in faults) - 1 * ("expired" in faults)),
        )
        if "forged" in faults:  # one digit of the signature
            text = text[:-1] + str((int(text[-1]) + 1) % 10)
        if "malformed" in faults:
            text = text[:-1]
        try:
            code: PresentedCode | CodeError = read_code(
                text,
                need=Scope.PAY,
                key_ring=parts.code_keys,
                issuer=parts.settings.issuer,
                redis=parts.redis,
                rates=parts.rates,
                reader="test",
                now=now,
            )
        except CodeError as error:
            code = error
        assert refusal(charge(till, code, text=text)[0]) == told

    def test_code_stale_before_code_spent(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=5000), make_till()
        code = present(holder.id)
        charge(till, code)
        burn(holder)
        assert refusal(charge(till, code)[0]) == "code-stale"

    @pytest.mark.parametrize(
        "card_state",
        [
            CardState.LOST,
            CardState.FROZEN,
            CardState.EXPIRED,
            CardState.CLOSING,
            CardState.CLOSED,
        ],
    )
    def test_code_spent_before_the_cards_state_before_payment_paused(
        self, parts: Parts, card_state: CardState
    ) -> None:
        holder, till = make_holder(parts, balance_fen=5000), make_till()
        used, fresh = present(holder.id, issued_at=1), present(holder.id, issued_at=2)
        charge(till, used)
        put_card(holder, card_state)
        limit(holder, paused=True, now=clock.now())
        closing = card_state in (CardState.CLOSING, CardState.CLOSED)
        said = "account-closed" if closing else f"card-{card_state.value}"
        assert refusal(charge(till, used)[0]) == "code-spent"
        assert refusal(charge(till, fresh)[0]) == said

    def test_payment_paused_before_limit_exceeded(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=5000), make_till()
        limit(holder, paused=True, per_charge_fen=100, now=clock.now())
        assert refusal(charge(till, present(holder.id))[0]) == "payment-paused"

    def test_limit_exceeded_before_insufficient_balance(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=500), make_till()
        limit(holder, per_charge_fen=800, now=clock.now())
        assert refusal(charge(till, present(holder.id))[0]) == "limit-exceeded"

    def test_the_limit_of_a_charge_before_that_of_a_day(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=5000), make_till()
        limit(holder, per_charge_fen=800, per_day_fen=700, now=clock.now())
        outcome, _ = charge(till, present(holder.id))
        assert outcome.facts == {"limit": "per_charge", "limit_fen": 800}


class TestLimits:
    def at(self, day: int, hour: int = 12) -> datetime:
        """Return an hour in Shanghai in September 2026."""
        return datetime(2026, 9, day, 0, tzinfo=UTC) + timedelta(hours=hour - 8)

    @pytest.fixture
    def pay(self, parts: Parts) -> Callable[..., Charge]:
        till, issued = make_till(), iter(range(1, 1000))

        def pay(holder: Bound, amount_fen: int, *, now: datetime = NOON) -> Charge:
            code = present(holder.id, issued_at=next(issued))
            return charge(till, code, amount_fen, now=now)[0]

        return pay

    def test_of_the_school_hold_for_everybody(
        self, parts: Parts, pay: Callable[..., Charge]
    ) -> None:
        holder = make_holder(parts, balance_fen=500_000)
        limit(holder, per_charge_fen=900_000, per_day_fen=900_000)
        assert pay(holder, 50_001).facts == {"limit": "per_charge", "limit_fen": 50_000}
        assert refusal(pay(holder, 50_000)) is None
        assert refusal(pay(holder, 50_000)) is None
        assert pay(holder, 1).facts == {
            "limit": "per_day",
            "limit_fen": 100_000,
            "spent_fen": 100_000,
        }

    def test_count_the_surcharge(self, parts: Parts) -> None:
        holder = make_holder(parts, balance_fen=5000, pays_surcharge=True)
        limit(holder, per_charge_fen=934)
        outcome, _ = charge(make_till(is_canteen=True), present(holder.id), now=NOON)
        assert refusal(outcome) == "limit-exceeded"

    def test_are_met_by_exactly_their_amount(
        self, parts: Parts, pay: Callable[..., Charge]
    ) -> None:
        holder = make_holder(parts, balance_fen=5000)
        limit(holder, per_charge_fen=600, per_day_fen=1000)
        assert refusal(pay(holder, 601)) == "limit-exceeded"
        assert refusal(pay(holder, 600)) is None
        assert refusal(pay(holder, 401)) == "limit-exceeded"
        assert refusal(pay(holder, 400)) is None

    def test_of_a_day_end_at_midnight_in_shanghai(
        self, parts: Parts, pay: Callable[..., Charge]
    ) -> None:
        holder = make_holder(parts, balance_fen=5000)
        limit(holder, per_day_fen=1000, now=self.at(1))
        midnight = self.at(2, 0)
        assert refusal(pay(holder, 1000, now=midnight - timedelta(seconds=1))) is None
        assert refusal(pay(holder, 1, now=midnight - timedelta(seconds=1))) == "limit-exceeded"
        assert refusal(pay(holder, 1000, now=midnight)) is None

    def test_hold_at_once_when_lower_and_from_tomorrow_when_higher(
        self, parts: Parts, pay: Callable[..., Charge]
    ) -> None:
        holder = make_holder(parts, balance_fen=50_000)
        limit(holder, per_charge_fen=500, now=self.at(1))
        assert refusal(pay(holder, 501, now=self.at(1))) == "limit-exceeded"
        limit(holder, per_charge_fen=900, now=self.at(1))
        assert refusal(pay(holder, 501, now=self.at(1, 23))) == "limit-exceeded"
        assert refusal(pay(holder, 900, now=self.at(2, 0))) is None
        assert refusal(pay(holder, 901, now=self.at(2, 0))) == "limit-exceeded"

    def test_are_lifted_from_tomorrow_when_none_is_wanted(
        self, parts: Parts, pay: Callable[..., Charge]
    ) -> None:
        holder = make_holder(parts, balance_fen=50_000)
        limit(holder, per_day_fen=500, now=self.at(1))
        limit(holder, per_day_fen=None, now=self.at(1))
        assert refusal(pay(holder, 501, now=self.at(1))) == "limit-exceeded"
        assert refusal(pay(holder, 40_000, now=self.at(2))) is None

    def test_of_a_day_are_given_back_by_a_void_and_by_a_reversal(
        self, parts: Parts, pay: Callable[..., Charge]
    ) -> None:
        holder, till = make_holder(parts, balance_fen=5000), make_till()
        limit(holder, per_day_fen=1000)
        charge_id = new_id()
        charge(till, present(holder.id, issued_at=0), 1000, charge_id=charge_id, now=NOON)
        reverse(till, charge_id, 300)
        assert refusal(pay(holder, 301)) == "limit-exceeded"
        assert refusal(pay(holder, 300)) is None
        void(till, charge_id)
        assert refusal(pay(holder, 701)) == "limit-exceeded"
        assert refusal(pay(holder, 700)) is None

    def test_count_no_declined_charge(self, parts: Parts, pay: Callable[..., Charge]) -> None:
        holder = make_holder(parts, balance_fen=500)
        limit(holder, per_day_fen=1000)
        assert refusal(pay(holder, 900)) == "insufficient-balance"
        assert refusal(pay(holder, 500)) is None


class TestVoid:
    @pytest.mark.parametrize("subsidy_fen", [0, 300, 900, 2000])
    def test_gives_everything_back_to_the_purses_it_came_from(
        self, parts: Parts, subsidy_fen: int
    ) -> None:
        holder = make_holder(parts, balance_fen=1000, subsidy_fen=subsidy_fen, pays_surcharge=True)
        till, charge_id = make_till(is_canteen=True), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        voided, news = void(till, charge_id)
        assert (voided.state, news) == (ChargeState.VOIDED, True)
        assert balances(holder.id) == (1000, subsidy_fen)

    def test_happens_once(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        first, news = void(till, charge_id)
        again, news_again = void(till, charge_id)
        assert (first.reference, news, news_again) == (again.reference, True, False)
        assert balances(holder.id) == (1000, 0)

    def test_makes_a_retry_of_the_original_charge_voided(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        code = present(holder.id)
        charge(till, code, charge_id=charge_id)
        void(till, charge_id)
        assert refusal(charge(till, code, charge_id=charge_id)[0]) == "charge-voided"
        assert balances(holder.id) == (1000, 0)

    def test_leaves_a_tombstone_for_an_original_that_comes_late(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        tombstone, news = void(till, charge_id)
        assert (tombstone.state, tombstone.amount_fen, news) == (ChargeState.VOIDED, None, True)
        code = present(holder.id)
        assert refusal(charge(till, code, charge_id=charge_id)[0]) == "charge-voided"
        assert balances(holder.id) == (1000, 0)
        assert refusal(charge(till, code)[0]) is None  # the code was not used up

    def test_of_a_declined_charge_moves_nothing(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=100), make_till(), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        assert void(till, charge_id)[0].state is ChargeState.VOIDED
        assert balances(holder.id) == (100, 0)

    def test_gives_back_what_reversals_left(self, parts: Parts) -> None:
        holder = make_holder(parts, balance_fen=1000, subsidy_fen=300, pays_surcharge=True)
        till, charge_id = make_till(is_canteen=True), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        reverse(till, charge_id, 333)
        void(till, charge_id)
        assert balances(holder.id) == (1000, 300)

    def test_of_a_wholly_reversed_charge_moves_nothing(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        reverse(till, charge_id, 850)
        void(till, charge_id)
        assert balances(holder.id) == (1000, 0)

    def test_is_for_the_same_till_only(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        with pytest.raises(NotFound):
            void(make_till(), charge_id)
        with pytest.raises(TerminalNotAllowed):
            void(make_gate(), charge_id)
        assert balances(holder.id) == (150, 0)


class TestReverse:
    def test_gives_a_part_back(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        reversal, first = reverse(till, charge_id, 300)
        assert (reversal.amount_fen, reversal.surcharge_fen, first) == (300, 0, True)
        assert balances(holder.id) == (450, 0)

    @pytest.mark.parametrize("parts_fen", [[850], [1, 849], [425, 425], [283, 283, 284], [849, 1]])
    def test_gives_everything_back_in_any_parts(self, parts: Parts, parts_fen: list[int]) -> None:
        holder = make_holder(parts, balance_fen=1000, subsidy_fen=300, pays_surcharge=True)
        till, charge_id = make_till(is_canteen=True), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        back = [reverse(till, charge_id, fen)[0] for fen in parts_fen]
        assert sum(part.surcharge_fen for part in back) == 85
        assert balances(holder.id) == (1000, 300)

    def test_gives_the_holders_own_money_back_first(self, parts: Parts) -> None:
        holder = make_holder(parts, balance_fen=1000, subsidy_fen=300, pays_surcharge=True)
        till, charge_id = make_till(is_canteen=True), new_id()
        charge(till, present(holder.id), charge_id=charge_id)  # 635 of 935 out of the main purse
        reverse(till, charge_id, 550)  # and 55 of surcharge
        assert balances(holder.id) == (365 + 605, 0)
        reverse(till, charge_id, 100)  # and 10: 30 are still the holder's own
        assert balances(holder.id) == (1000, 80)

    def test_refuses_more_than_is_left(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        reverse(till, charge_id, 800)
        with pytest.raises(ReversalTooLarge) as refused:
            reverse(till, charge_id, 51)
        assert refused.value.facts == {"reversible_fen": 50}
        assert balances(holder.id) == (950, 0)

    def test_is_answered_again_to_a_retry(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        reversal_id = new_id()
        first, _ = reverse(till, charge_id, 800, reversal_id=reversal_id)
        again, was_first = reverse(till, charge_id, 800, reversal_id=reversal_id)
        assert (again.reference, was_first) == (first.reference, False)
        assert balances(holder.id) == (950, 0)

    def test_refuses_its_id_with_another_amount_or_charge(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=5000), make_till()
        one, other, reversal_id = new_id(), new_id(), new_id()
        charge(till, present(holder.id, issued_at=1), charge_id=one)
        charge(till, present(holder.id, issued_at=2), charge_id=other)
        reverse(till, one, 10, reversal_id=reversal_id)
        with pytest.raises(IdReused):
            reverse(till, one, 11, reversal_id=reversal_id)
        with pytest.raises(NotFound):
            reverse(till, other, 10, reversal_id=reversal_id)

    def test_refuses_what_was_not_charged(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=1000), make_till()
        voided, declined, tombstone = new_id(), new_id(), new_id()
        charge(till, present(holder.id, issued_at=1), charge_id=voided)
        void(till, voided)
        charge(till, present(holder.id, issued_at=2), 5000, charge_id=declined)
        void(till, tombstone)
        for charge_id in (voided, declined, tombstone):
            with pytest.raises(NotCharged):
                reverse(till, charge_id, 1)
        with pytest.raises(NotFound):
            reverse(till, new_id(), 1)
        assert balances(holder.id) == (1000, 0)

    def test_is_for_the_same_till_only(self, parts: Parts) -> None:
        holder, till, charge_id = make_holder(parts, balance_fen=1000), make_till(), new_id()
        charge(till, present(holder.id), charge_id=charge_id)
        with pytest.raises(NotFound):
            reverse(make_till(), charge_id, 1)
        with pytest.raises(TerminalNotAllowed):
            reverse(make_gate(), charge_id, 1)
        assert balances(holder.id) == (150, 0)
