"""Proposals of policies: two people, what is approved is what holds, and the past stays."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from factories import make_operator, make_person
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend import clock, db
from backend.errors import IdReused, NotFound
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operators.models import Role
from backend.operators.service import OperatorCaller, RoleNotAllowed, SecondPersonNeeded
from backend.policies import service
from backend.policies.models import Policy, PolicyProposal, ProposalState
from backend.policies.rules import PRESETS
from backend.policies.service import MomentTaken, policies_at
from backend.rulebook import preview, proposals
from backend.rulebook.proposals import (
    Asked,
    NothingToChange,
    PoliciesDisordered,
    PolicyInvalid,
    PolicyMomentRefused,
    ProposalChanged,
    ProposalDecided,
    ProposalInForce,
    ProposalLapsed,
)

NOW = datetime(2031, 9, 1, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
RATE = "charge.surcharge_permille"
CAP = "charge.per_charge_cap_fen"


@pytest.fixture
def session(app: object) -> Iterator[Session]:
    """A session whose changes nobody else sees, as policies hold for everybody."""
    with db.Session() as session:
        yield session
        session.rollback()


@pytest.fixture(scope="module")
def people(parts: Parts) -> dict[str, OperatorCaller]:
    """Two of the card centre, and one of each other role that may propose something."""
    return {
        "maker": make_operator(parts, Role.CARD_CENTRE),
        "checker": make_operator(parts, Role.CARD_CENTRE),
        "finance": make_operator(parts, Role.FINANCE),
        "logistics": make_operator(parts, Role.LOGISTICS),
    }


def asked(changes: dict[str, Any] | None = None, **more: Any) -> Asked:
    """Return what is asked for, by a paper."""
    return Asked(
        changes={RATE: 50} if changes is None else changes,
        preset=more.get("preset"),
        document_number=more.get("document_number", "图文〔2031〕3号"),
        valid_from=more.get("valid_from"),
    )


def propose(session: Session, who: OperatorCaller, wanted: Asked, **more: Any) -> PolicyProposal:
    proposal, _ = proposals.propose(
        session,
        proposal_id=more.get("id", new_id()),
        asked=wanted,
        maker=who,
        now=more.get("now", NOW),
    )
    session.flush()
    return proposal


class TestPropose:
    def test_changes_nothing_yet(self, session: Session, people: Any) -> None:
        before = policies_at(session, NOW)
        proposal = propose(session, people["maker"], asked())
        assert policies_at(session, NOW) == before
        assert proposal.state is ProposalState.WAITING
        assert [one.id for one in proposals.waiting(session, now=NOW)] == [proposal.id]

    def test_again_is_the_same(self, session: Session, people: Any) -> None:
        id_ = new_id()
        first = propose(session, people["maker"], asked(), id=id_)
        again, news = proposals.propose(
            session, proposal_id=id_, asked=asked(), maker=people["maker"], now=NOW + 30 * HOUR
        )
        assert (again, news) == (first, False)
        with pytest.raises(IdReused):
            propose(session, people["maker"], asked({RATE: 51}), id=id_)
        with pytest.raises(NotFound):
            propose(session, people["checker"], asked(), id=id_)

    @pytest.mark.parametrize(
        ("changes", "refusal"),
        [
            ({RATE: 501}, PolicyInvalid),
            ({RATE: 1.5}, PolicyInvalid),
            ({RATE: True}, PolicyInvalid),
            ({"no.such": 1}, PolicyInvalid),
            ({"no.\x00such": 1}, PolicyInvalid),
            ({CAP: 200_000}, PoliciesDisordered),
            ({}, NothingToChange),
        ],
    )
    def test_refuses_what_cannot_be(
        self, session: Session, people: Any, changes: Any, refusal: Any
    ) -> None:
        with pytest.raises(refusal):
            propose(session, people["maker"], asked(changes))

    @pytest.mark.parametrize("offset", [-timedelta(milliseconds=1), timedelta(days=1826)])
    def test_never_of_the_past_nor_of_a_far_future(
        self, session: Session, people: Any, offset: timedelta
    ) -> None:
        with pytest.raises(PolicyMomentRefused):
            propose(session, people["maker"], asked(valid_from=NOW + offset))

    def test_each_key_is_for_its_roles(self, session: Session, people: Any) -> None:
        propose(session, people["logistics"], asked())
        propose(session, people["finance"], asked({CAP: 40_000}))
        for who, changes in (
            ("logistics", {CAP: 40_000}),
            ("logistics", {RATE: 50, CAP: 40_000}),
            ("finance", {RATE: 50}),
            ("finance", {"code.refresh_seconds": 20}),
        ):
            with pytest.raises(RoleNotAllowed):
                propose(session, people[who], asked(changes))

    def test_a_preset_stands_for_what_it_changes(self, session: Session, people: Any) -> None:
        proposal = propose(session, people["maker"], asked({}, preset="regulation"))
        assert proposal.changes == PRESETS["regulation"]
        with pytest.raises(NothingToChange):
            propose(session, people["maker"], asked({}, preset="standard"))


class TestApprove:
    def test_puts_it_in_force_at_once_with_its_paper(self, session: Session, people: Any) -> None:
        proposal = propose(session, people["maker"], asked())
        before = policies_at(session, NOW)
        _, news = proposals.approve(
            session, proposal_id=proposal.id, checker=people["checker"], now=NOW + HOUR
        )
        assert news
        assert policies_at(session, NOW + HOUR - timedelta(seconds=1)) == before
        after = policies_at(session, NOW + HOUR)
        assert after[RATE] == 50
        assert service.document_of(session, after.ids[RATE]) == "图文〔2031〕3号"
        session.flush()
        entry = session.scalars(
            select(LogEntry).where(
                LogEntry.subject_id == proposal.id, LogEntry.action == "policy.approve"
            )
        ).one()
        assert (entry.before, entry.after) == ({RATE: 100}, {RATE: 50})
        assert entry.policy_ids == [str(after.ids[RATE])]

    def test_again_is_the_same_for_the_same_person_only(
        self, session: Session, people: Any
    ) -> None:
        proposal = propose(session, people["maker"], asked())
        for _ in range(2):
            answer = proposals.approve(
                session, proposal_id=proposal.id, checker=people["checker"], now=NOW
            )
        assert answer == (proposal, False)
        assert len(proposals.rows_of(session, proposal_id=proposal.id)) == 1
        with pytest.raises(ProposalDecided):
            proposals.approve(session, proposal_id=proposal.id, checker=people["finance"], now=NOW)

    def test_takes_another_person_in_the_database_too(self, session: Session, people: Any) -> None:
        proposal = propose(session, people["maker"], asked())
        with pytest.raises(SecondPersonNeeded):
            proposals.approve(session, proposal_id=proposal.id, checker=people["maker"], now=NOW)
        with pytest.raises(IntegrityError, match="another_person_approves"):
            session.execute(
                update(PolicyProposal)
                .where(PolicyProposal.id == proposal.id)
                .values(approved_by=proposal.made_by)
            )

    def test_takes_a_role_that_the_key_names(self, session: Session, people: Any) -> None:
        proposal = propose(session, people["maker"], asked({"code.refresh_seconds": 20}))
        with pytest.raises(RoleNotAllowed):
            proposals.approve(session, proposal_id=proposal.id, checker=people["finance"], now=NOW)

    def test_lives_a_day(self, session: Session, people: Any) -> None:
        proposal = propose(session, people["maker"], asked())
        late = NOW + timedelta(hours=24)
        assert proposals.waiting(session, now=late) == []
        with pytest.raises(ProposalLapsed):
            proposals.approve(session, proposal_id=proposal.id, checker=people["checker"], now=late)

    @pytest.mark.parametrize(
        "changed", [{"changes": {RATE: 0}}, {"document_number": "x"}, {"valid_from": NOW + HOUR}]
    )
    def test_executes_nothing_but_what_was_proposed(
        self, session: Session, people: Any, changed: Any
    ) -> None:
        proposal = propose(session, people["maker"], asked())
        session.execute(
            update(PolicyProposal).where(PolicyProposal.id == proposal.id).values(**changed)
        )
        with pytest.raises(ProposalChanged):
            proposals.approve(session, proposal_id=proposal.id, checker=people["checker"], now=NOW)

    def test_not_when_its_moment_has_passed(self, session: Session, people: Any) -> None:
        proposal = propose(session, people["maker"], asked(valid_from=NOW + HOUR))
        with pytest.raises(PolicyMomentRefused):
            proposals.approve(
                session, proposal_id=proposal.id, checker=people["checker"], now=NOW + 2 * HOUR
            )

    def test_looks_again_at_what_holds_by_then(self, session: Session, people: Any) -> None:
        low = propose(session, people["maker"], asked({"top_up.least_fen": 40_000}))
        high = propose(session, people["maker"], asked({"top_up.most_fen": 30_000}))
        proposals.approve(session, proposal_id=low.id, checker=people["checker"], now=NOW)
        with pytest.raises(PoliciesDisordered):
            proposals.approve(session, proposal_id=high.id, checker=people["checker"], now=NOW)

    def test_two_at_the_same_moment_are_one_too_many(self, session: Session, people: Any) -> None:
        for value in (50, 60):
            proposal = propose(
                session, people["maker"], asked({RATE: value}, valid_from=NOW + HOUR)
            )
            if value == 50:
                proposals.approve(
                    session, proposal_id=proposal.id, checker=people["checker"], now=NOW
                )
        with pytest.raises(MomentTaken):
            proposals.approve(session, proposal_id=proposal.id, checker=people["checker"], now=NOW)


class TestWithdraw:
    def withdraw(self, session: Session, proposal: PolicyProposal, who: Any, now: Any = NOW) -> Any:
        return proposals.withdraw(
            session, proposal_id=proposal.id, reason="写错了", who=who, now=now
        )

    def test_leaves_no_trace_in_what_holds(self, session: Session, people: Any) -> None:
        before = policies_at(session, NOW + 9 * HOUR)
        proposal = propose(session, people["maker"], asked(valid_from=NOW + HOUR))
        proposals.approve(session, proposal_id=proposal.id, checker=people["checker"], now=NOW)
        assert policies_at(session, NOW + 9 * HOUR) != before
        assert self.withdraw(session, proposal, people["maker"]) == (proposal, True)
        assert policies_at(session, NOW + 9 * HOUR) == before
        assert self.withdraw(session, proposal, people["maker"]) == (proposal, False)
        with pytest.raises(ProposalDecided):
            self.withdraw(session, proposal, people["checker"])
        with pytest.raises(ProposalDecided):
            proposals.approve(session, proposal_id=proposal.id, checker=people["checker"], now=NOW)

    def test_not_once_it_holds(self, session: Session, people: Any) -> None:
        proposal = propose(session, people["maker"], asked(valid_from=NOW + HOUR))
        proposals.approve(session, proposal_id=proposal.id, checker=people["checker"], now=NOW)
        with pytest.raises(ProposalInForce):
            self.withdraw(session, proposal, people["maker"], NOW + HOUR)

    def test_is_for_the_roles_of_its_keys(self, session: Session, people: Any) -> None:
        proposal = propose(session, people["maker"], asked({CAP: 40_000}))
        with pytest.raises(RoleNotAllowed):
            self.withdraw(session, proposal, people["logistics"])


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 500), st.booleans()), min_size=1, max_size=8
    )
)
def test_at_every_moment_one_value_holds_whatever_is_decided_and_taken_back(
    app: object, steps: list[tuple[int, int, bool]]
) -> None:
    """Against a plain model: the newest decision before a moment that was not taken back."""
    with db.Session() as session:
        session.execute(delete(Policy).where(Policy.key == RATE))
        service.put_in_force(session, key=RATE, value=999, document_number="t", at=NOW - HOUR)
        model = {-1: 999}
        for offset, value, back in steps:
            try:
                row = service.put_in_force(
                    session, key=RATE, value=value, document_number="t", at=NOW + offset * HOUR
                )
            except MomentTaken:
                assert offset in model
                continue
            assert offset not in model
            if back:
                service.take_back(session, row)
            else:
                model[offset] = value
        for hour in range(-1, 10):
            held = policies_at(session, NOW + hour * HOUR).values[RATE]
            assert held == model[max(since for since in model if since <= hour)]
        session.rollback()


class TestPreview:
    def test_tells_what_holds_what_comes_and_how_many(
        self, session: Session, people: Any, parts: Parts
    ) -> None:
        make_person(parts, pays_surcharge=True)
        later = propose(session, people["maker"], asked({RATE: 70}, valid_from=NOW + 5 * HOUR))
        proposals.approve(session, proposal_id=later.id, checker=people["checker"], now=NOW)
        (found,) = preview.preview(session, {RATE: 50}, at=NOW, now=clock.now())
        assert found.present is not None
        assert (found.present.value, found.value) == (100, 50)
        assert found.next_change_at == NOW + 5 * HOUR
        assert found.touched is not None
        assert found.touched >= 1
        assert found.meals is not None


class TestAddMissing:
    def test_gives_an_older_school_the_shipped_value_and_leaves_the_rest(
        self, session: Session
    ) -> None:
        before = policies_at(session, NOW)
        session.execute(delete(Policy).where(Policy.key == "refund.least_fen"))
        service.add_missing(session.connection())
        after = policies_at(session, NOW)
        assert after["refund.least_fen"] == PRESETS["standard"]["refund.least_fen"]
        paper = service.document_of(session, after.ids["refund.least_fen"])
        assert paper == service.SHIPPED_DOCUMENT
        same = before.ids.keys() - {"refund.least_fen"}
        assert {key: after.ids[key] for key in same} == {key: before.ids[key] for key in same}

    def test_leaves_a_school_alone_that_is_not_founded(self, session: Session) -> None:
        session.execute(delete(Policy))
        service.add_missing(session.connection())
        assert session.scalars(select(Policy)).all() == []
