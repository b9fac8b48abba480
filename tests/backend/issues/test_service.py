"""Handing cards out: class lists, receipts, absences, and the exchange."""

import secrets
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import balances, keys_of, make_holder, make_operator, make_person, virtual_card
from flask import Flask
from sqlalchemy import select, update

from backend import clock
from backend.cards import loss
from backend.cards.models import Card, CardKind, CardState
from backend.cards.rules import CardEvent, TransitionNotPossible
from backend.cards.service import CardLost, change_state, find_card
from backend.clock import business_date, start_of_day
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders.models import Category, Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.issues import exchanges, handing_out, service
from backend.issues.handing_out import ItemDecided, OutcomeNotPossible
from backend.issues.models import (
    BatchKind,
    DeferralReason,
    IssueBatch,
    IssueDecision,
    IssueItem,
    Outcome,
    Signature,
)
from backend.issues.rules import months_later
from backend.issues.service import NothingToIssue
from backend.notices.models import HolderNotice
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.operators.service import OperatorCaller


class Counter:
    """The card centre's counter, with one class before it."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.unit = parts, f"新班 {secrets.token_hex(4)}"
        self.operator: OperatorCaller = make_operator(parts, Role.CARD_CENTRE)
        self.batch_id = new_id()

    def person(self, **said: Any) -> UUID:
        return make_person(
            self.parts, unit=self.unit, **({"category": Category.NEW_STUDENT} | said)
        ).id

    def make(self, batch_id: UUID | None = None, **said: Any) -> tuple[IssueBatch, bool]:
        self.batch_id = batch_id or self.batch_id
        with transaction() as session:
            return service.make_batch(
                session, batch_id=self.batch_id, operator=self.operator, now=clock.now(),
                **({"unit": self.unit, "note": None} | said),
            )  # fmt: skip

    def hand_out(
        self, holder_id: UUID, receipt_id: UUID | None = None, **said: Any
    ) -> tuple[IssueDecision, bool]:
        with transaction() as session:
            return handing_out.hand_out(
                session, receipt_id=receipt_id or new_id(), batch_id=self.batch_id,
                holder_id=holder_id, operator=self.operator, now=clock.now(),
                **({"signed_by": "王小明", "signature": Signature.SELF,
                    "documents": ["id_document"]} | said),
            )  # fmt: skip

    def decide(
        self,
        holder_id: UUID,
        outcome: Outcome,
        reason: DeferralReason | None = None,
        decision_id: UUID | None = None,
    ) -> tuple[IssueDecision, bool]:
        with transaction() as session:
            return handing_out.decide(
                session, decision_id=decision_id or new_id(), batch_id=self.batch_id,
                holder_id=holder_id, outcome=outcome, reason=reason, note=None,
                operator=self.operator, now=clock.now(),
            )  # fmt: skip

    def propose(self, now: datetime) -> IssueBatch | None:
        with transaction() as session:
            batch = exchanges.propose(session, unit=self.unit, now=now)
        if batch is not None:
            self.batch_id = batch.id
        return batch

    def due_day(self) -> datetime:
        """Return the first moment of the day on which cards that were made now are due."""
        return start_of_day(months_later(business_date(clock.now()), 3))

    def batch(self) -> IssueBatch:
        with transaction() as session:
            return service.find_batch(session, batch_id=self.batch_id)


@pytest.fixture
def counter(app: Flask, parts: Parts) -> Counter:
    """A counter with a class of its own."""
    return Counter(parts)


def physical(holder_id: UUID) -> Card | None:
    """Return the physical card somebody has by now."""
    with transaction() as session:
        return find_card(session, holder_id=holder_id, kind=CardKind.PHYSICAL)


def state(holder_id: UUID) -> CardState | None:
    """Return how it stands."""
    card = physical(holder_id)
    return card and card.state


def log_of(subject_id: UUID) -> LogEntry:
    """Return the one row that the operation log has of something."""
    with transaction() as session:
        return session.scalars(select(LogEntry).where(LogEntry.subject_id == subject_id)).one()


class TestBatch:
    def test_lists_whose_cards_wait_and_nobody_else(self, counter: Counter) -> None:
        waiting = {counter.person(issued=False) for _ in range(3)}
        counter.person()
        batch, first = counter.make()
        with transaction() as session:
            items = service.items_of(session, batch)
        assert first
        assert {one.holder.id for one in items} == waiting
        assert {one.item.outcome for one in items} == {None}

    def test_again_is_the_same_and_other_content_is_not(self, counter: Counter) -> None:
        counter.person(issued=False)
        counter.make()
        assert counter.make()[1] is False
        with pytest.raises(IdReused):
            counter.make(note="另一份")

    def test_nobody_stands_on_two_lists(self, counter: Counter) -> None:
        counter.person(issued=False)
        counter.make()
        with pytest.raises(NothingToIssue):
            counter.make(new_id())
        late = counter.person(issued=False)
        batch, _ = counter.make(new_id())
        with transaction() as session:
            assert [one.holder.id for one in service.items_of(session, batch)] == [late]

    def test_a_change_of_class_leaves_the_card_on_the_first_list(self, counter: Counter) -> None:
        moved, other = counter.person(issued=False), Counter(counter.parts)
        batch, _ = counter.make()
        with transaction() as session:
            session.execute(update(Holder).where(Holder.id == moved).values(unit=other.unit))
        with pytest.raises(NothingToIssue):
            other.make()
        with transaction() as session:
            (one,) = service.items_of(session, batch)
        assert one.moved
        counter.hand_out(moved)
        assert state(moved) is CardState.ACTIVE


class TestReceipt:
    def test_makes_the_card_active_and_is_on_record(self, counter: Counter) -> None:
        holder = counter.person(issued=False)
        counter.make()
        assert state(holder) is CardState.PENDING
        decision, first = counter.hand_out(holder, signature=Signature.PROXY, signed_by="李思")
        assert first
        assert state(holder) is CardState.ACTIVE
        assert counter.batch().closed_at is not None
        entry = log_of(decision.id)
        assert (entry.action, entry.documents) == ("issue_batch.hand_out", ["id_document"])
        assert entry.facts["fee_fen"] == 0
        assert "李思" not in str(entry.facts)
        with transaction() as session:
            kinds = session.scalars(
                select(HolderNotice.kind).where(HolderNotice.holder_id == holder)
            ).all()
        assert kinds == ["card-issued"]

    def test_again_gets_the_first_answer(self, counter: Counter) -> None:
        holder, receipt = counter.person(issued=False), new_id()
        counter.make()
        first, _ = counter.hand_out(holder, receipt)
        again, news = counter.hand_out(holder, receipt)
        assert (again.id, again.decided_at, news) == (receipt, first.decided_at, False)
        with pytest.raises(IdReused):
            counter.hand_out(holder, receipt, signed_by="别人")

    def test_another_one_is_refused(self, counter: Counter) -> None:
        holder = counter.person(issued=False)
        counter.make()
        counter.hand_out(holder)
        with pytest.raises(ItemDecided) as refused:
            counter.hand_out(holder)
        assert refused.value.facts == {"outcome": "handed_out"}

    def test_is_for_people_of_the_list(self, counter: Counter) -> None:
        counter.person(issued=False)
        counter.make()
        with pytest.raises(NotFound):
            counter.hand_out(counter.person(issued=False))

    def test_waits_until_the_last_one_is_handed_out(self, counter: Counter) -> None:
        a, b = counter.person(issued=False), counter.person(issued=False)
        counter.make()
        counter.hand_out(a)
        assert counter.batch().closed_at is None
        counter.hand_out(b)
        assert counter.batch().closed_at is not None


class TestAbsence:
    def test_makes_the_card_void_and_never_active(self, counter: Counter) -> None:
        holder = counter.person(issued=False)
        counter.make()
        decision, _ = counter.decide(holder, Outcome.NOT_COLLECTED)
        assert state(holder) is None
        with transaction() as session:
            assert session.get_one(Card, decision.card_id).state is CardState.VOID
            befores = session.scalars(
                select(LogEntry.before).where(LogEntry.card_id == decision.card_id)
            ).all()
        assert "active" not in befores
        assert counter.batch().closed_at is not None

    def test_who_comes_later_after_all_gets_another_first_card_free(self, counter: Counter) -> None:
        bound = make_holder(counter.parts, unit=counter.unit, issued=False, balance_fen=100)
        counter.make()
        absent, _ = counter.decide(bound.id, Outcome.NOT_COLLECTED)
        receipt, first = counter.hand_out(bound.id)
        assert first
        assert receipt.card_id != absent.card_id
        assert state(bound.id) is CardState.ACTIVE
        assert virtual_card(bound.id).state is CardState.ACTIVE
        assert balances(bound.id) == (100, 0)
        with transaction() as session:
            assert session.get_one(Card, absent.card_id).state is CardState.VOID
        with pytest.raises(ItemDecided):
            counter.hand_out(bound.id)

    def test_what_the_counter_froze_for_another_reason_stays_frozen(self, counter: Counter) -> None:
        bound = make_holder(counter.parts, unit=counter.unit, issued=False)
        counter.make()
        with transaction() as session:
            change_state(
                session,
                card=session.get_one(Card, virtual_card(bound.id).id),
                event=CardEvent.FREEZE,
                actor=SYSTEM,
                now=clock.now(),
            )
        counter.decide(bound.id, Outcome.NOT_COLLECTED)
        counter.hand_out(bound.id)
        assert virtual_card(bound.id).state is CardState.FROZEN

    def test_freezes_a_phone_that_was_bound_on_day_one(self, counter: Counter) -> None:
        bound = make_holder(counter.parts, unit=counter.unit, issued=False)
        counter.make()
        counter.decide(bound.id, Outcome.NOT_COLLECTED)
        assert virtual_card(bound.id).state is CardState.FROZEN

    def test_can_be_later_instead(self, counter: Counter) -> None:
        holder, decision_id = counter.person(issued=False), new_id()
        counter.make()
        counter.decide(holder, Outcome.DEFERRED, DeferralReason.ON_LEAVE, decision_id)
        assert counter.batch().closed_at is not None
        assert state(holder) is CardState.PENDING
        with pytest.raises(NothingToIssue):
            counter.make(new_id())
        counter.batch_id = log_batch(decision_id)
        counter.hand_out(holder)
        assert state(holder) is CardState.ACTIVE
        again, news = counter.decide(holder, Outcome.DEFERRED, DeferralReason.ON_LEAVE, decision_id)
        assert (again.outcome, news) == (Outcome.DEFERRED, False)


def log_batch(decision_id: UUID) -> UUID:
    """Return the batch of a decision."""
    with transaction() as session:
        return session.get_one(IssueDecision, decision_id).batch_id


class TestBinding:
    def test_works_on_day_one_and_goes_on_when_the_card_comes(self, counter: Counter) -> None:
        bound = make_holder(counter.parts, unit=counter.unit, issued=False)
        assert state(bound.id) is CardState.PENDING
        before = virtual_card(bound.id)
        assert before.state is CardState.ACTIVE
        counter.make()
        counter.hand_out(bound.id)
        assert virtual_card(bound.id).alias == before.alias


class TestExchange:
    def test_is_proposed_on_the_day_once_and_told(self, counter: Counter) -> None:
        holder = counter.person()
        day = counter.due_day()
        assert counter.propose(day - timedelta(seconds=1)) is None
        batch = counter.propose(day)
        assert batch is not None
        assert (batch.kind, batch.made_by, batch.due_on) == (
            BatchKind.EXCHANGE, None, business_date(day)
        )  # fmt: skip
        assert len(batch.policy_ids) == 1
        assert counter.propose(day + timedelta(days=1)) is None
        with transaction() as session:
            told = session.scalars(
                select(HolderNotice).where(HolderNotice.holder_id == holder)
            ).one()
        assert (told.kind, told.facts) == (
            "card-exchange-due", {"due_on": business_date(day).isoformat()}
        )  # fmt: skip

    def test_runs_as_a_job_and_a_second_run_changes_nothing(self, counter: Counter) -> None:
        holder, day = counter.person(), counter.due_day()
        assert exchanges.propose_due(now=day) >= 1
        assert exchanges.propose_due(now=day) == 0
        with transaction() as session:
            items = session.scalars(select(IssueItem).where(IssueItem.holder_id == holder)).all()
        assert len(items) == 1

    def test_counts_from_the_receipt(self, counter: Counter) -> None:
        holder = counter.person(issued=False)
        counter.make()
        assert counter.propose(counter.due_day()) is None
        decision, _ = counter.hand_out(holder)
        with transaction() as session:
            session.execute(
                update(Card)
                .where(Card.holder_id == holder)
                .values(created_at=clock.now() - timedelta(days=60))
            )
        due = start_of_day(months_later(business_date(decision.decided_at), 3))
        assert counter.propose(due - timedelta(days=1)) is None
        assert counter.propose(due) is not None

    def test_keeps_account_phone_and_virtual_card(self, counter: Counter) -> None:
        bound = make_holder(
            counter.parts, unit=counter.unit, category=Category.NEW_STUDENT, balance_fen=1_234
        )
        old, virtual = physical(bound.id), virtual_card(bound.id)
        assert old is not None
        counter.propose(counter.due_day())
        decision, _ = counter.hand_out(bound.id)
        new = physical(bound.id)
        assert new is not None
        assert (decision.card_id, decision.replaced_card_id) == (new.id, old.id)
        assert (new.state, new.number == old.number) == (CardState.ACTIVE, False)
        assert virtual_card(bound.id).alias == virtual.alias
        assert balances(bound.id) == (1_234, 0)
        with transaction() as session:
            person = session.get_one(Holder, bound.id)
            assert (person.category, person.proven) == (Category.STUDENT, ["category"])
            assert session.get_one(Card, old.id).state is CardState.VOID
        entry = log_of(new.id)
        assert isinstance(entry.before, dict)
        assert entry.before["category"] == "new_student"
        with transaction() as session:
            used = keys_of(session, entry.policy_ids or [])
        assert used == {"exchange.months", "permissions.student"}

    @pytest.mark.parametrize("category", list(Category))
    def test_goes_by_the_card_and_not_by_what_a_roster_calls_its_holder(
        self, counter: Counter, category: Category
    ) -> None:
        holder = counter.person()
        became(holder, category)
        batch = counter.propose(counter.due_day())
        students = (Category.NEW_STUDENT, Category.STUDENT)
        assert (batch is not None) is (category in students)
        if batch is None:
            return
        assert holder in overdue(counter.due_day() + timedelta(days=15))
        decision, _ = counter.hand_out(holder)
        became(holder, Category.STUDENT)
        with transaction() as session:
            made_for = {
                card.id: card.new_student
                for card in session.scalars(select(Card).where(Card.holder_id == holder))
            }
        assert made_for == {decision.card_id: False, decision.replaced_card_id: True}
        assert counter.propose(counter.due_day()) is None

    def test_leaves_the_card_of_whoever_was_always_a_student(self, counter: Counter) -> None:
        counter.person(category=Category.STUDENT)
        assert counter.propose(counter.due_day()) is None

    def test_does_not_take_a_lost_card(self, counter: Counter) -> None:
        holder = counter.person()
        counter.propose(counter.due_day())
        with transaction() as session:
            loss.report_lost(
                session, report_id=new_id(), holder_id=holder, credential="physical_card",
                stop_virtual_card=False, actor=SYSTEM, now=clock.now(),
            )  # fmt: skip
        with pytest.raises(CardLost):
            counter.hand_out(holder)
        assert state(holder) is CardState.LOST
        with transaction() as session:
            assert session.get_one(Holder, holder).category is Category.NEW_STUDENT

    def test_nobody_is_absent_for_good(self, counter: Counter) -> None:
        holder = counter.person()
        counter.propose(counter.due_day())
        with pytest.raises(OutcomeNotPossible):
            counter.decide(holder, Outcome.NOT_COLLECTED)
        counter.decide(holder, Outcome.DEFERRED, DeferralReason.ON_LEAVE)
        assert state(holder) is CardState.ACTIVE

    def test_is_an_exception_after_the_grace_and_stays_usable(self, counter: Counter) -> None:
        holder, day = counter.person(), counter.due_day()
        counter.propose(day)
        assert holder not in overdue(day + timedelta(days=14))
        assert holder in overdue(day + timedelta(days=15))
        assert state(holder) is CardState.ACTIVE
        counter.hand_out(holder)
        assert holder not in overdue(day + timedelta(days=15))


def became(holder_id: UUID, category: Category) -> None:
    """Make somebody another kind of holder, as a roster does."""
    with transaction() as session:
        session.execute(update(Holder).where(Holder.id == holder_id).values(category=category))


def overdue(now: datetime) -> set[UUID]:
    """Return who is on the list of exceptions."""
    with transaction() as session:
        return {one.holder.id for one in exchanges.overdue(session, now=now)}


def test_a_pending_card_that_was_voided_elsewhere_is_not_handed_out(counter: Counter) -> None:
    holder = counter.person(issued=False)
    counter.make()
    with transaction() as session:
        session.execute(update(Card).where(Card.holder_id == holder).values(state=CardState.VOID))
    with pytest.raises(TransitionNotPossible):
        counter.hand_out(holder)
