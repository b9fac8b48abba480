"""Cash over the desk: credited once with a receipt, taken back once by another person."""

from datetime import timedelta
from uuid import UUID

import pytest
from factories import balances, make_holder, make_person, make_till, present, virtual_card
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

from backend import clock
from backend.arrears import service as arrears
from backend.cards.models import Card, CardKind, CardState
from backend.cards.service import AccountClosed, CardExpired
from backend.cash_desk import finding, service
from backend.cash_desk.service import CashReversed, CashSpent, ReversalDayOver
from backend.cash_desk.shifts import CashierCannotSupervise
from backend.charges import service as charges
from backend.db import Session, transaction
from backend.errors import IdReused, NotFound
from backend.holders.limits import BelowLeast, LimitExceeded
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices.models import HolderNotice
from backend.operation_log.models import LogEntry
from backend.operators.models import Role


def notices_of(holder_id: UUID, kind: str) -> list[dict]:
    """Return what a holder was told."""
    with transaction() as session:
        return list(
            session.scalars(
                select(HolderNotice.facts).where(
                    HolderNotice.holder_id == holder_id, HolderNotice.kind == kind
                )
            )
        )


def put_cards(holder_id: UUID, **states: CardState) -> None:
    """Put a holder's cards into states, by kind."""
    with transaction() as session:
        for kind, state in states.items():
            session.execute(
                update(Card)
                .where(Card.holder_id == holder_id, Card.kind == CardKind(kind))
                .values(state=state)
            )


def owe(holder_id: UUID, amount_fen: int) -> None:
    """Let a holder owe what a late charge left unpaid."""
    with transaction() as session:
        now, charge_id = clock.now(), new_id()
        surcharge = ledger.school_account(session, AccountKind.SURCHARGE)
        laid_out = ledger.school_account(session, AccountKind.ARREARS)
        movement = Movement(TransferKind.CHARGE, charge_id, laid_out, surcharge, Fen(amount_fen))
        ledger.post(session, [movement], now=now)
        arrears.open_arrears(
            session, holder_id=holder_id, charge_id=charge_id, amount_fen=Fen(amount_fen),
            facts={"place": "第一食堂"}, now=now,
        )  # fmt: skip


def spend(holder_id: UUID, amount_fen: int) -> None:
    """Let a holder pay at a till."""
    with transaction() as session:
        charges.charge(
            session, charge_id=new_id(), terminal=make_till().caller, code=present(holder_id),
            code_text="", amount_fen=Fen(amount_fen), note=None, now=clock.now(),
        )  # fmt: skip


class TestTaking:
    def test_is_credited_once_with_a_receipt(self, desk, parts) -> None:
        holder, top_up_id = make_holder(parts, balance_fen=700, subsidy_fen=300), new_id()
        first, again = (desk.take(holder.id, top_up_id=top_up_id) for _ in range(2))
        assert (first[1], again[1]) == (True, False)
        assert balances(holder.id) == (5_700, 300)
        top_up = first[0]
        assert again[0].receipt_number == top_up.receipt_number
        day, _, number = top_up.receipt_number.partition("-")
        assert day == f"{clock.business_date(clock.now()):%Y%m%d}"
        assert int(number) == top_up.number
        assert top_up.balance_fen == 6_000
        [told] = notices_of(holder.id, "cash-top-up")
        assert told == {
            "top_up_id": str(top_up_id),
            "amount_fen": 5_000,
            "balance_fen": 6_000,
            "place": "行政楼 1号窗",
            "receipt_number": top_up.receipt_number,
        }

    def test_is_numbered_one_after_the_other_also_after_a_failure(self, desk, parts) -> None:
        holder = make_holder(parts)
        before = desk.take(holder.id)[0].number
        with Session() as session:  # goes away before it commits
            service.take(
                session, top_up_id=new_id(), shift_id=desk.shift_id, holder_id=holder.id,
                amount_fen=Fen(100), note=None, cashier=desk.cashier, now=clock.now(),
            )  # fmt: skip
        assert desk.take(holder.id)[0].number == before + 1

    def test_of_other_content_or_by_somebody_else_is_refused(self, desks, parts) -> None:
        desk, other = desks(), desks()
        holder, stranger = make_holder(parts), make_holder(parts)
        top_up, _ = desk.take(holder.id, note="家长代充")
        for holder_id, fen, note in (
            (stranger.id, 5_000, "家长代充"),
            (holder.id, 5_001, "家长代充"),
            (holder.id, 5_000, None),
        ):
            with pytest.raises(IdReused):
                desk.take(holder_id, fen, note=note, top_up_id=top_up.id)
        with pytest.raises(NotFound):
            other.take(holder.id, top_up_id=top_up.id, note="家长代充")
        other.shift_id = desk.shift_id
        with pytest.raises(NotFound):  # nobody takes money in another's shift
            other.take(holder.id)
        with pytest.raises(NotFound):
            desk.take(new_id())
        assert balances(holder.id) == (5_000, 0)

    def test_pays_arrears_first(self, desk, parts) -> None:
        holder = make_holder(parts)
        owe(holder.id, 1_200)
        top_up, _ = desk.take(holder.id)
        assert balances(holder.id) == (3_800, 0)
        assert top_up.balance_fen == 3_800
        assert len(notices_of(holder.id, "arrears-settled")) == 1

    def test_needs_no_phone(self, desk, parts) -> None:
        person = make_person(parts)
        desk.take(person.id)
        assert balances(person.id) == (5_000, 0)

    def test_is_possible_with_a_void_card_alone(self, desk, parts) -> None:
        """Who is short of the fee for a new card brings it."""
        person = make_person(parts)
        put_cards(person.id, physical=CardState.VOID)
        desk.take(person.id)
        assert balances(person.id) == (5_000, 0)

    @pytest.mark.parametrize("stopped", [CardState.LOST, CardState.FROZEN])
    def test_is_possible_while_a_card_is_stopped(self, desk, parts, stopped) -> None:
        holder = make_holder(parts)
        put_cards(holder.id, physical=stopped, virtual=stopped)
        desk.take(holder.id)
        assert balances(holder.id) == (5_000, 0)

    @pytest.mark.parametrize(
        ("states", "refusal"),
        [
            ({"physical": CardState.CLOSED, "virtual": CardState.CLOSED}, AccountClosed),
            ({"physical": CardState.CLOSING}, AccountClosed),
            ({"virtual": CardState.CLOSING}, AccountClosed),
            ({"physical": CardState.EXPIRED, "virtual": CardState.EXPIRED}, CardExpired),
        ],
    )
    def test_is_refused_where_the_account_ends(self, desk, parts, states, refusal) -> None:
        holder = make_holder(parts)
        put_cards(holder.id, **states)
        with pytest.raises(refusal):
            desk.take(holder.id)
        assert balances(holder.id) == (0, 0)

    @pytest.mark.parametrize(
        ("fen", "limit", "limit_fen"),
        [(99, "cash_least", 100), (50_001, "cash_most", 50_000)],
    )
    def test_is_neither_too_little_nor_too_much(self, desk, parts, fen, limit, limit_fen) -> None:
        with pytest.raises(BelowLeast if fen < limit_fen else LimitExceeded) as refusal:
            desk.take(make_holder(parts).id, fen)
        assert refusal.value.facts == {"limit": limit, "limit_fen": limit_fen}

    def test_lets_no_balance_grow_too_high(self, desk, parts) -> None:
        holder = make_holder(parts, balance_fen=199_000)
        with pytest.raises(LimitExceeded) as refusal:
            desk.take(holder.id, 1_001)
        assert refusal.value.facts == {"limit": "top_up_balance", "limit_fen": 200_000}
        desk.take(holder.id, 1_000)

    def test_fills_no_drawer_beyond_what_may_lie_in_it(self, desk, parts) -> None:
        holders = [make_holder(parts) for _ in range(10)]
        taken = [desk.take(holder.id, 50_000)[0] for holder in holders for _ in range(4)]
        stranger = make_holder(parts)
        with pytest.raises(LimitExceeded) as refusal:
            desk.take(stranger.id, 100)
        assert refusal.value.facts == {"limit": "cash_shift", "limit_fen": 2_000_000}
        desk.reverse(taken[0].id)
        desk.take(stranger.id, 50_000)

    def test_is_on_record(self, desk, parts) -> None:
        holder = make_holder(parts)
        top_up, _ = desk.take(holder.id, note="学生家长 13800000000")
        with transaction() as session:
            entry = session.scalars(select(LogEntry).where(LogEntry.subject_id == top_up.id)).one()
        assert (entry.action, entry.holder_id) == ("cash_top_up.take", holder.id)
        assert entry.actor == f"operator:{desk.cashier.operator_id}"
        assert entry.receipt_number == top_up.receipt_number
        assert "13800000000" not in str(entry.facts)

    def test_stands_in_the_statement_with_its_receipt(self, desk, parts) -> None:
        holder = make_holder(parts)
        top_up, _ = desk.take(holder.id)
        desk.reverse(top_up.id)
        day = clock.business_date(clock.now())
        with transaction() as session:
            lines = ledger.statement(
                session, holder_id=holder.id, first=day, after=day + timedelta(days=1),
                before=None, limit=10,
            )  # fmt: skip
        assert [(line.kind, line.amount_fen, line.facts["receipt_number"]) for line in lines] == [
            ("cash_top_up_reversal", -5_000, top_up.receipt_number),
            ("cash_top_up", 5_000, top_up.receipt_number),
        ]


class TestReversal:
    def test_takes_everything_back_once(self, desk, parts) -> None:
        holder, reversal_id = make_holder(parts, balance_fen=700), new_id()
        top_up, _ = desk.take(holder.id)
        first, again = (desk.reverse(top_up.id, reversal_id=reversal_id) for _ in range(2))
        assert (first[1], again[1]) == (True, False)
        assert first[0].balance_fen == again[0].balance_fen == 700
        assert balances(holder.id) == (700, 0)
        [told] = notices_of(holder.id, "cash-top-up-reversed")
        assert (told["amount_fen"], told["balance_fen"]) == (5_000, 700)
        assert told["receipt_number"] == top_up.receipt_number
        with pytest.raises(CashReversed) as refusal:
            desk.reverse(top_up.id)
        assert refusal.value.facts == {"reversal_id": str(reversal_id)}

    def test_of_other_content_or_by_somebody_else_is_refused(self, desks, parts) -> None:
        desk, other = desks(), desks()
        top_up, second = (desk.take(make_holder(parts).id)[0] for _ in range(2))
        reversal, _ = desk.reverse(top_up.id)
        with pytest.raises(IdReused):
            desk.reverse(top_up.id, reversal_id=reversal.id, reason="别的理由")
        with pytest.raises(IdReused):
            desk.reverse(second.id, reversal_id=reversal.id)
        with pytest.raises(NotFound):
            desk.reverse(top_up.id, reversal_id=reversal.id, by=other.supervisor)
        with pytest.raises(NotFound):
            desk.reverse(new_id())

    def test_is_for_another_person_also_in_the_database(self, desks, parts) -> None:
        desk = desks(role=Role.FINANCE)
        top_up, _ = desk.take(make_holder(parts).id)
        with pytest.raises(CashierCannotSupervise):
            desk.reverse(top_up.id, by=desk.cashier)
        insert = text(
            "INSERT INTO cash_reversals (id, top_up_id, cashier_id, business_date, supervisor_id,"
            " amount_fen, balance_fen, reason, reversed_at) SELECT uuidv7(), id, :cashier,"
            " business_date + :later, :supervisor, amount_fen, 0, 'x', now()"
            " FROM cash_top_ups WHERE id = :id"
        )
        mine, theirs = desk.cashier.operator_id, desk.supervisor.operator_id
        for cashier, supervisor, later, refused_by in (
            (mine, mine, 0, "another_person_reverses"),
            (theirs, mine, 0, "fk_cash_reversals_top_up"),  # not who took it
            (mine, theirs, 1, "fk_cash_reversals_top_up"),  # not the day
        ):
            with pytest.raises(IntegrityError, match=refused_by), transaction() as session:
                session.execute(
                    insert,
                    {"cashier": cashier, "supervisor": supervisor, "later": later, "id": top_up.id},
                )

    def test_says_what_is_missing_where_it_was_spent(self, desk, parts) -> None:
        holder = make_holder(parts)
        top_up, _ = desk.take(holder.id)
        spend(holder.id, 1_200)
        with pytest.raises(CashSpent) as refusal:
            desk.reverse(top_up.id)
        assert refusal.value.facts == {"balance_fen": 3_800, "short_fen": 1_200}
        assert balances(holder.id) == (3_800, 0)

    def test_leaves_the_subsidy_alone(self, desk, parts) -> None:
        holder = make_holder(parts, subsidy_fen=9_000)
        owe(holder.id, 1_000)
        top_up, _ = desk.take(holder.id)
        with pytest.raises(CashSpent):
            desk.reverse(top_up.id)
        assert balances(holder.id) == (4_000, 9_000)

    def test_is_of_the_same_accounting_day(self, desks, parts) -> None:
        desk = desks(opened=False)
        # Half an hour before midnight in Shanghai, and what an hour makes of it.
        late = clock.start_of_day(clock.business_date(clock.now())) - timedelta(minutes=30)
        desk.open(now=late)
        top_up, _ = desk.take(make_holder(parts).id, now=late)
        with pytest.raises(ReversalDayOver) as refusal:
            desk.reverse(top_up.id, now=late + timedelta(hours=1))
        assert refusal.value.facts == {"day": top_up.business_date.isoformat()}
        assert desk.reverse(top_up.id, now=late + timedelta(minutes=29))[1]

    def test_works_while_the_card_is_lost(self, desk, parts) -> None:
        holder = make_holder(parts)
        top_up, _ = desk.take(holder.id)
        put_cards(holder.id, virtual=CardState.LOST)
        desk.reverse(top_up.id)
        assert balances(holder.id) == (0, 0)


class TestFinding:
    def test_by_number_card_and_code(self, desk, parts) -> None:
        holder = make_holder(parts)
        with transaction() as session:
            card_number = session.scalar(
                select(Card.number).where(
                    Card.holder_id == holder.id, Card.kind == CardKind.PHYSICAL
                )
            )
            assert card_number is not None
            assert finding.find_by_number(session, holder_number=holder.number) == holder.id
            assert finding.find_by_card(session, card_number=card_number) == holder.id
            assert finding.find_by_code(session, code=present(holder.id)) == holder.id
            for missing in ("", "nobody", card_number):
                with pytest.raises(NotFound):
                    finding.find_by_number(session, holder_number=missing)
            with pytest.raises(NotFound):
                finding.find_by_card(session, card_number=holder.number)

    def test_spends_no_code(self, desk, parts) -> None:
        holder = make_holder(parts, balance_fen=1_000)
        code = present(holder.id)
        with transaction() as session:
            finding.find_by_code(session, code=code)
            charged, _ = charges.charge(
                session, charge_id=new_id(), terminal=make_till().caller, code=code, code_text="",
                amount_fen=Fen(500), note=None, now=clock.now(),
            )  # fmt: skip
        assert charged.state == "approved"

    def test_shows_what_the_desk_may_see_and_is_on_record(self, desk, parts) -> None:
        holder = make_holder(parts, balance_fen=700, subsidy_fen=300)
        put_cards(holder.id, virtual=CardState.LOST)
        with transaction() as session:
            seen = finding.look_at(
                session, holder_id=holder.id, operator=desk.cashier, now=clock.now()
            )
        assert (seen.balance_fen, seen.arrears_fen, seen.refusal) == (1_000, 0, None)
        assert (seen.physical_card_state, seen.virtual_card_state) == ("active", "lost")
        with transaction() as session:
            entry = session.scalars(
                select(LogEntry).where(
                    LogEntry.holder_id == holder.id, LogEntry.action == "holder.view"
                )
            ).one()
        assert entry.actor == f"operator:{desk.cashier.operator_id}"
        assert virtual_card(holder.id).state is CardState.LOST
