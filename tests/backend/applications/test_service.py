"""Temporary cards: applied for, approved, opened, extended, ended early, reminded of."""

import secrets
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from applicants import Case, morning, paper, person, today
from factories import balances, make_document, make_person, rows_used
from sqlalchemy import select, text

from backend import clock
from backend.applications import ending, opening, service
from backend.applications.ending import ApplicationNotOpened, LeavingNotEarly, LeftEarly
from backend.applications.models import ApplicationState, ApprovalKind, Fault
from backend.applications.opening import (
    ApplicationNotApproved,
    ReceiptNeeded,
    ReceiptNumberUsed,
)
from backend.applications.rules import PeriodNotPossible
from backend.applications.service import (
    ApplicationOpened,
    ApplicationWithdrawn,
    ApprovalAhead,
    ApprovalRecorded,
    DocumentsNotValid,
    OaNumberUsed,
    Person,
    SponsorNotStaff,
)
from backend.cards.models import Card, CardKind, CardState
from backend.cards.reopening import reopen
from backend.cards.rules import CardEvent
from backend.cards.service import change_state, expire_cards, find_card, list_cards
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders.documents import document_index
from backend.holders.identity import IdentityNotMatched, match_roster
from backend.holders.models import Category, DocumentKind, Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.notices.models import HolderNotice
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM


def card(holder_id: UUID) -> Card | None:
    """Return the physical card of a holder."""
    with transaction() as session:
        return find_card(session, holder_id=holder_id, kind=CardKind.PHYSICAL)


def state(holder_id: UUID) -> CardState | None:
    """Return how it stands."""
    found = card(holder_id)
    return found and found.state


def holder(holder_id: UUID) -> Holder:
    """Return a holder."""
    with transaction() as session:
        return session.get_one(Holder, holder_id)


def told(holder_id: UUID, kind: str) -> list[HolderNotice]:
    """Return what a holder was told of one kind."""
    with transaction() as session:
        return list(
            session.scalars(
                select(HolderNotice).where(
                    HolderNotice.holder_id == holder_id, HolderNotice.kind == kind
                )
            )
        )


class TestApplication:
    def test_keeps_no_document_number(self, case: Case) -> None:
        document = make_document()
        case.make(replace(case.wanted, people=[person(document=document)]))
        with transaction() as session:
            for table in ("applications", "applicants", "operation_log"):
                rows = session.execute(text(f"SELECT t::text FROM {table} t")).scalars()
                assert not [row for row in rows if document in row]

    def test_again_is_the_same_and_other_content_is_not(self, case: Case) -> None:
        case.make()
        assert case.make()[1] is False
        with pytest.raises(IdReused):
            case.make(replace(case.wanted, people=[*case.wanted.people, person()]))

    def test_needs_a_sponsor_of_the_staff(self, case: Case, parts: Parts) -> None:
        student = make_person(parts)
        with pytest.raises(SponsorNotStaff):
            case.make(replace(case.wanted, sponsor_number=student.number))

    def test_comes_once_from_one_flow_of_the_oa(self, case: Case, parts: Parts) -> None:
        case.make()
        second = Case(parts)
        wanted = replace(second.wanted, oa_number=case.wanted.oa_number)
        with pytest.raises(OaNumberUsed):
            second.make(wanted)
        case.withdraw()
        assert second.make(wanted)[1]

    def test_says_which_documents_cannot_be(self, case: Case) -> None:
        twice, wrong = make_document(), "110105194912310021"
        people = [
            person(document=number) for number in (twice, wrong, make_document(), twice, None)
        ]
        with pytest.raises(DocumentsNotValid) as refused:
            case.make(replace(case.wanted, people=people))
        assert refused.value.facts == {"positions": [1, 2, 4]}

    @pytest.mark.parametrize(("begins", "ends"), [(0, -1), (5, 4), (-9, -1), (0, 3_000)])
    def test_has_a_period_that_can_be(self, case: Case, begins: int, ends: int) -> None:
        first, last = (today() + timedelta(days=days) for days in (begins, ends))
        with pytest.raises(PeriodNotPossible):
            case.make(replace(case.wanted, valid_from=first, valid_until=last))


class TestApproval:
    def test_of_both_makes_it_approved(self, case: Case) -> None:
        case.make()
        case.approve(paper(ApprovalKind.LEADER))
        assert case.stands().state is ApplicationState.WAITING
        case.approve(paper(ApprovalKind.UNIT))
        assert case.stands().state is ApplicationState.APPROVED

    def test_again_changes_nothing(self, case: Case) -> None:
        case.make()
        approval = new_id()
        case.approve(paper(ApprovalKind.UNIT), approval)
        assert case.approve(paper(ApprovalKind.UNIT), approval)[1] is False
        with pytest.raises(IdReused):
            case.approve(paper(ApprovalKind.UNIT, document="附件2"), approval)
        with pytest.raises(ApprovalRecorded):
            case.approve(paper(ApprovalKind.UNIT))

    def test_is_not_of_tomorrow(self, case: Case) -> None:
        case.make()
        with pytest.raises(ApprovalAhead):
            case.approve(paper(ApprovalKind.UNIT, decided_on=today() + timedelta(days=1)))


class TestWithdrawal:
    def test_stops_it_before_the_opening_alone(self, case: Case, parts: Parts) -> None:
        case.approved().withdraw()
        assert case.withdraw()[1] is False
        with pytest.raises(ApplicationWithdrawn):
            case.open()
        with pytest.raises(ApplicationWithdrawn):
            case.approve(paper(ApprovalKind.UNIT))
        opened = Case(parts).opened()
        with pytest.raises(ApplicationOpened):
            opened.withdraw()


class TestOpening:
    def test_waits_for_the_approvals(self, case: Case) -> None:
        case.make()
        case.approve(paper(ApprovalKind.UNIT))
        with pytest.raises(ApplicationNotApproved) as refused:
            case.open()
        assert refused.value.facts == {"missing": ["leader"]}
        assert case.people()[0].holder_id is None

    def test_opens_fifty_people_with_one_receipt(self, case: Case) -> None:
        case.opened(replace(case.wanted, people=[person() for _ in range(50)]))
        people = case.people()
        ids = {one.holder_id for one in people}
        assert len(ids) == 50
        assert None not in ids
        first = holder(case.holder_id)
        assert (first.category, first.pays_surcharge, first.valid_until) == (
            Category.TEMPORARY_OUTSIDER, True, case.wanted.valid_until
        )  # fmt: skip
        assert first.holder_number == people[0].holder_number
        assert state(first.id) is CardState.ACTIVE
        assert balances(first.id) == (0, 0)
        with transaction() as session:
            entry = session.scalars(
                select(LogEntry).where(LogEntry.subject_id == people[0].id)
            ).one()
        assert (entry.receipt_number, entry.holder_id) == (case.receipt, first.id)
        assert entry.policy_ids

    def test_again_opens_nothing_twice(self, case: Case) -> None:
        case.opened()
        before = case.people()[0].holder_id
        assert case.open() is False
        assert case.people()[0].holder_id == before
        with pytest.raises(IdReused):
            case.open(receipt_number="another")
        with pytest.raises(ApplicationOpened):
            case.open(opening_id=new_id())

    def test_leaves_out_who_has_a_card_already(self, case: Case, parts: Parts) -> None:
        known = make_person(parts)
        case.opened(replace(case.wanted, people=[person(document=known.document), person()]))
        one, other = case.people()
        assert (one.holder_id, one.fault) == (None, Fault.HOLDER_KNOWN)
        assert (other.fault, other.holder_id is None) == (None, False)

    def test_leaves_out_whose_number_is_known_under_another_kind(
        self, case: Case, parts: Parts
    ) -> None:
        known, number = make_person(parts), f"E{secrets.randbelow(10**8):08d}"
        with transaction() as session:
            holder = session.get_one(Holder, known.id)
            holder.document_kind = DocumentKind.PASSPORT
            holder.document_index = document_index(
                parts.sealer, kind=DocumentKind.PASSPORT, document=number
            )
        permit = Person("钱工", "设备维护公司", DocumentKind.HK_MACAO_PERMIT, number.lower())
        with transaction() as session:
            ahead = service.faults_ahead(
                session, people=[person(), permit], documents=[None, number], sealer=parts.sealer
            )
        assert ahead == {2: Fault.NUMBER_KNOWN}
        case.opened(replace(case.wanted, people=[permit, person()]))
        one, other = case.people()
        assert (one.holder_id, one.fault) == (None, Fault.NUMBER_KNOWN)
        assert (other.fault, other.holder_id is None) == (None, False)
        with transaction() as session:
            assert opening.fault_of(session, one) is Fault.NUMBER_KNOWN
            said = replace(permit, document_kind=DocumentKind.PASSPORT)
            ahead = service.faults_ahead(
                session, people=[said], documents=[number], sealer=parts.sealer
            )
        assert ahead == {1: Fault.HOLDER_KNOWN}

    def test_opens_the_account_of_who_comes_back_again(self, case: Case, parts: Parts) -> None:
        known = make_person(parts)
        with transaction() as session:
            for card in list_cards(session, holder_id=known.id):
                for event in (CardEvent.START_CLOSING, CardEvent.CLOSE):
                    change_state(session, card=card, event=event, actor=SYSTEM, now=clock.now())
        tomorrow = today() + timedelta(days=1)
        people = [person(document=known.document)]
        case.opened(replace(case.wanted, people=people, valid_from=tomorrow))
        one = case.people()[0]
        assert (one.holder_id, one.fault) == (known.id, None)
        with transaction() as session:
            back = session.get_one(Holder, known.id)
            states = [card.state for card in list_cards(session, holder_id=known.id)]
        assert sorted(states) == ["closed", "pending"]
        assert (back.category, back.holder_number, back.valid_until) == (
            case.wanted.category, one.holder_number, case.wanted.valid_until
        )  # fmt: skip
        assert back.pays_surcharge
        opening.begin_due(now=clock.now())
        assert state(known.id) is CardState.PENDING
        opening.begin_due(now=clock.now() + timedelta(days=1))
        assert state(known.id) is CardState.ACTIVE

    def test_begins_with_the_newest_application_of_who_came_back(
        self, case: Case, parts: Parts
    ) -> None:
        case.opened()
        came = case.people()[0].holder_id
        assert came is not None
        with transaction() as session:
            for card in list_cards(session, holder_id=came):
                for event in (CardEvent.START_CLOSING, CardEvent.CLOSE):
                    change_state(session, card=card, event=event, actor=SYSTEM, now=clock.now())
        again = Case(parts)
        begins = today() + timedelta(days=5)
        again.opened(replace(again.wanted, people=case.wanted.people, valid_from=begins))
        opening.begin_due(now=clock.now())
        assert state(came) is CardState.PENDING

    def test_leaves_a_card_alone_that_the_counter_hands_out(self, case: Case, parts: Parts) -> None:
        case.opened()
        came = case.people()[0].holder_id
        assert came is not None
        with transaction() as session:
            for card in list_cards(session, holder_id=came):
                for event in (CardEvent.START_CLOSING, CardEvent.CLOSE):
                    change_state(session, card=card, event=event, actor=SYSTEM, now=clock.now())
            reopen(session, holder_id=came, state=CardState.PENDING, actor=SYSTEM, now=clock.now())
        opening.begin_due(now=clock.now() + timedelta(days=3))
        assert state(came) is CardState.PENDING

    def test_of_outsiders_needs_a_receipt_of_its_own(self, case: Case, parts: Parts) -> None:
        case.approved()
        with pytest.raises(ReceiptNeeded) as refused:
            case.open(receipt_number=None)
        assert len(refused.value.policy_ids) == 1
        case.open()
        second = Case(parts).approved()
        with pytest.raises(ReceiptNumberUsed):
            second.open(receipt_number=case.receipt)

    @pytest.mark.parametrize("category", [Category.TEMPORARY_TRAINEE, Category.TEMPORARY_RETIRED])
    def test_of_others_costs_nothing(self, case: Case, category: Category) -> None:
        case.approved(replace(case.wanted, category=category)).open(receipt_number=None)
        assert case.stands().state is ApplicationState.OPENED

    def test_of_a_registered_person_gives_a_card_and_no_way_to_bind(
        self, case: Case, parts: Parts
    ) -> None:
        case.opened(replace(case.wanted, people=[person(document=None), person(document=None)]))
        one = holder(case.holder_id)
        assert state(one.id) is CardState.ACTIVE
        for shown in ("None", f"registered:{case.people()[0].id}", make_document()):
            with transaction() as session, pytest.raises(IdentityNotMatched):
                match_roster(
                    session, holder_number=one.holder_number, name=one.name,
                    document_number=shown, sealer=parts.sealer,
                )  # fmt: skip

    def test_ahead_begins_on_the_day(self, case: Case) -> None:
        first = today() + timedelta(days=3)
        case.opened(replace(case.wanted, valid_from=first))
        assert state(case.holder_id) is CardState.PENDING
        opening.begin_due(now=clock.start_of_day(first) - timedelta(seconds=1))
        assert state(case.holder_id) is CardState.PENDING
        opening.begin_due(now=clock.start_of_day(first))
        assert state(case.holder_id) is CardState.ACTIVE


class TestExtension:
    def test_keeps_the_card_and_wakes_an_expired_one(self, case: Case) -> None:
        case.opened()
        before, later = card(case.holder_id), case.wanted.valid_until + timedelta(days=30)
        with transaction() as session:
            session.get_one(Holder, case.holder_id).valid_until = today() - timedelta(days=1)
        with transaction() as session:
            expire_cards(session, now=clock.now())
        assert state(case.holder_id) is CardState.EXPIRED
        extension = new_id()
        assert case.extend(later, extension_id=extension, oa_number=f"x{extension}")[1]
        after = card(case.holder_id)
        assert before is not None
        assert after is not None
        assert (after.id, after.state) == (before.id, CardState.ACTIVE)
        assert holder(case.holder_id).valid_until == later
        assert not case.extend(later, extension_id=extension, oa_number=f"x{extension}")[1]
        with pytest.raises(IdReused):
            case.extend(later, extension_id=extension)

    def test_is_later_and_by_a_new_flow(self, case: Case) -> None:
        case.approved()
        with pytest.raises(ApplicationNotOpened):
            case.extend(case.wanted.valid_until + timedelta(days=1))
        case.open()
        with pytest.raises(PeriodNotPossible):
            case.extend(case.wanted.valid_until)
        with pytest.raises(OaNumberUsed):
            case.extend(
                case.wanted.valid_until + timedelta(days=1), oa_number=case.wanted.oa_number
            )

    @pytest.mark.parametrize(
        ("event", "stands"),
        [(CardEvent.REPORT_LOST, CardState.LOST), (CardEvent.FREEZE, CardState.FROZEN)],
    )
    def test_undoes_no_loss_and_no_freeze(
        self, case: Case, event: CardEvent, stands: CardState
    ) -> None:
        case.opened()
        with transaction() as session:
            card = find_card(session, holder_id=case.holder_id, kind=CardKind.PHYSICAL)
            assert card is not None
            change_state(session, card=card, event=event, actor=SYSTEM, now=clock.now())
        with transaction() as session:
            expire_cards(session, now=morning(case.wanted.valid_until + timedelta(days=1)))
        assert state(case.holder_id) is CardState.EXPIRED
        case.extend(case.wanted.valid_until + timedelta(days=9))
        assert state(case.holder_id) is stands


class TestEarlyLeaving:
    def test_ends_the_card_with_that_day(self, case: Case) -> None:
        case.opened()
        leaving = new_id()
        assert case.leave(case.holder_id, today(), leaving)[1]
        assert holder(case.holder_id).valid_until == today()
        with transaction() as session:
            expire_cards(session, now=clock.now())
        assert state(case.holder_id) is CardState.ACTIVE
        with transaction() as session:
            expire_cards(session, now=morning(today() + timedelta(days=1)))
        assert state(case.holder_id) is CardState.EXPIRED
        assert not case.leave(case.holder_id, today(), leaving)[1]
        with pytest.raises(IdReused):
            case.leave(case.holder_id, today() + timedelta(days=1), leaving)
        with pytest.raises(LeftEarly):
            case.leave(case.holder_id, today())

    def test_is_not_undone_by_an_extension(self, case: Case) -> None:
        case.opened(replace(case.wanted, people=[person(), person()]))
        case.leave(case.holder_id, today())
        later = case.wanted.valid_until + timedelta(days=9)
        case.extend(later)
        ends = [holder(one.holder_id).valid_until for one in case.people() if one.holder_id]
        assert ends == [today(), later]

    def test_makes_a_card_void_that_never_began(self, case: Case) -> None:
        first = today() + timedelta(days=10)
        case.opened(replace(case.wanted, valid_from=first))
        case.leave(case.holder_id, today())
        assert state(case.holder_id) is None

    def test_is_early_and_of_this_application(self, case: Case, parts: Parts) -> None:
        case.opened()
        with pytest.raises(LeavingNotEarly):
            case.leave(case.holder_id, case.wanted.valid_until)
        with pytest.raises(NotFound):
            case.leave(make_person(parts).id, today())


class TestReminder:
    def test_comes_once_for_each_end(self, case: Case) -> None:
        case.opened(replace(case.wanted, people=[person(), person()]))
        ends = case.wanted.valid_until
        ending.remind_due(now=morning(ends - timedelta(days=15)))
        assert told(case.holder_id, "card-ends-soon") == []
        for days in (14, 13, 0):
            ending.remind_due(now=morning(ends - timedelta(days=days)))
        (notice,) = told(case.holder_id, "card-ends-soon")
        assert notice.facts == {"valid_until": ends.isoformat()}
        assert rows_used(case.id, "application.remind") == {"application.remind_days"}
        (sponsored,) = told(case.sponsor.id, "sponsored-cards-end")
        assert sponsored.facts["people"] == 2
        later = ends + timedelta(days=30)
        case.extend(later)
        ending.remind_due(now=morning(later - timedelta(days=1)))
        assert len(told(case.holder_id, "card-ends-soon")) == 2
