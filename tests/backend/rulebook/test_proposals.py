"""Proposals of policies: two people, what is approved is what holds, and the past stays."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from factories import make_operator, make_person
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend import clock, db
from backend.errors import IdReused, NotFound
from backend.holders.models import Category
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operators.models import Role
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import OperatorCaller, RoleNotAllowed
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


@pytest.fixture
def owners_session(app: object, owner: Engine) -> Iterator[Session]:
    """The same of the database's owner, who may change what is decided."""
    with Session(owner) as session:
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
        reason=more.get("reason", "食材价格回落"),
        valid_from=more.get("valid_from"),
        valid_until=more.get("valid_until"),
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

    def test_never_one_that_ends_before_it_begins(self, session: Session, people: Any) -> None:
        for began, ended in (
            (None, NOW),
            (None, NOW - HOUR),
            (NOW + HOUR, NOW + HOUR),
            (NOW + HOUR, NOW + HOUR / 2),
            (None, NOW + timedelta(days=1826)),
        ):
            with pytest.raises(PolicyMomentRefused):
                propose(session, people["maker"], asked(valid_from=began, valid_until=ended))

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
        "changed",
        [
            {"changes": {RATE: 0}},
            {"document_number": "x"},
            {"reason": "x"},
            {"valid_from": NOW + HOUR},
            {"valid_until": NOW + HOUR},
        ],
    )
    def test_executes_nothing_but_what_was_proposed(
        self, owners_session: Session, people: Any, changed: Any
    ) -> None:
        session = owners_session
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

    def test_with_an_end_what_held_before_holds_again(self, session: Session, people: Any) -> None:
        before = policies_at(session, NOW)
        proposal = propose(
            session,
            people["maker"],
            asked(valid_from=NOW + HOUR, valid_until=NOW + 3 * HOUR, document_number="暂行"),
        )
        proposals.approve(session, proposal_id=proposal.id, checker=people["checker"], now=NOW)
        held = [policies_at(session, NOW + hours * HOUR)[RATE] for hours in range(5)]
        assert held == [100, 50, 50, 100, 100]
        back = policies_at(session, NOW + 3 * HOUR).ids[RATE]
        assert service.document_of(session, back) == service.document_of(session, before.ids[RATE])
        assert {row.id for row in proposals.rows_of(session, proposal_id=proposal.id)} == {
            policies_at(session, NOW + HOUR).ids[RATE],
            back,
        }

    def test_an_end_does_not_outlast_what_is_decided_already(
        self, session: Session, people: Any
    ) -> None:
        for said in (
            asked({RATE: 70}, valid_from=NOW + 2 * HOUR),
            asked(valid_from=NOW + HOUR, valid_until=NOW + 3 * HOUR),
        ):
            proposal = propose(session, people["maker"], said)
            proposals.approve(session, proposal_id=proposal.id, checker=people["checker"], now=NOW)
        held = [policies_at(session, NOW + hours * HOUR)[RATE] for hours in range(5)]
        assert held == [100, 50, 70, 70, 70]

    def test_never_leaves_a_least_above_its_most_later_on(
        self, session: Session, people: Any
    ) -> None:
        high = propose(session, people["maker"], asked({CAP: 95_000}, valid_from=NOW + 2 * HOUR))
        proposals.approve(session, proposal_id=high.id, checker=people["checker"], now=NOW)
        low = {"charge.per_day_cap_fen": 94_000}
        for_now = propose(session, people["maker"], asked(low, valid_until=NOW + HOUR))
        proposals.approve(session, proposal_id=for_now.id, checker=people["checker"], now=NOW)
        for_good = propose(session, people["maker"], asked(low, valid_from=NOW + 1.5 * HOUR))
        with pytest.raises(PoliciesDisordered):
            proposals.approve(session, proposal_id=for_good.id, checker=people["checker"], now=NOW)

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

    def test_takes_its_end_along(self, session: Session, people: Any) -> None:
        rows = proposals.history(session, key=RATE)
        proposal = propose(
            session, people["maker"], asked(valid_from=NOW + HOUR, valid_until=NOW + 3 * HOUR)
        )
        proposals.approve(session, proposal_id=proposal.id, checker=people["checker"], now=NOW)
        assert len(proposals.history(session, key=RATE)) == len(rows) + 2
        self.withdraw(session, proposal, people["maker"])
        assert proposals.history(session, key=RATE) == rows
        assert rows[0].valid_until is None

    def test_not_when_something_later_needs_it(self, session: Session, people: Any) -> None:
        high = propose(
            session, people["maker"], asked({"top_up.most_fen": 90_000}, valid_from=NOW + HOUR)
        )
        proposals.approve(session, proposal_id=high.id, checker=people["checker"], now=NOW)
        low = propose(
            session,
            people["maker"],
            asked({"top_up.least_fen": 80_000}, valid_from=NOW + 2 * HOUR),
        )
        proposals.approve(session, proposal_id=low.id, checker=people["checker"], now=NOW)
        with pytest.raises(PoliciesDisordered):
            self.withdraw(session, high, people["maker"])

    def test_not_once_it_holds(self, session: Session, people: Any) -> None:
        proposal = propose(session, people["maker"], asked(valid_from=NOW + HOUR))
        proposals.approve(session, proposal_id=proposal.id, checker=people["checker"], now=NOW)
        with pytest.raises(ProposalInForce):
            self.withdraw(session, proposal, people["maker"], NOW + HOUR)

    def test_is_for_the_roles_of_its_keys(self, session: Session, people: Any) -> None:
        proposal = propose(session, people["maker"], asked({CAP: 40_000}))
        with pytest.raises(RoleNotAllowed):
            self.withdraw(session, proposal, people["logistics"])


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 8),
            st.none() | st.integers(1, 6),
            st.integers(0, 500),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_at_every_moment_one_value_holds_whatever_is_decided_and_taken_back(
    app: object, owner: Engine, steps: list[tuple[int, int | None, int, bool]]
) -> None:
    """Against a plain model: which value begins when; an end is a beginning of the former one."""
    with Session(owner) as session:
        session.execute(delete(Policy).where(Policy.key == RATE))
        service.put_in_force(session, key=RATE, value=999, document_number="t", at=NOW - HOUR)
        model = {-1: 999}
        for offset, hours, value, back in steps:
            known = {row.id for row in proposals.history(session, key=RATE)}
            try:
                service.put_in_force(
                    session,
                    key=RATE,
                    value=value,
                    document_number="t",
                    at=NOW + offset * HOUR,
                    until=None if hours is None else NOW + (offset + hours) * HOUR,
                )
            except MomentTaken:
                assert offset in model
                continue
            assert offset not in model
            if back:
                for row in proposals.history(session, key=RATE):
                    if row.id not in known:
                        service.take_back(session, row)
                continue
            held = model[max(since for since in model if since <= offset)]
            later = min((since for since in model if since > offset), default=99)
            model[offset] = value
            if hours is not None and offset + hours < later:
                model[offset + hours] = held
        for hour in range(-1, 16):
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
        assert (found.next_change_at, found.next_value) == (NOW + 5 * HOUR, 70)
        assert found.touched is not None
        assert found.touched >= 1
        assert found.meals is not None

    def test_tells_what_holds_after_an_end(self, session: Session) -> None:
        (found,) = preview.preview(session, {RATE: 50}, at=NOW, until=NOW + HOUR, now=NOW)
        assert (found.next_change_at, found.next_value) == (NOW + HOUR, 100)

    def test_counts_the_categories_that_a_key_is_for(self, session: Session, parts: Parts) -> None:
        keys = ["permissions.staff", "permissions.student", "card.restore_channels"]
        before = preview.preview(session, dict.fromkeys(keys), at=NOW, now=clock.now())
        make_person(parts, category=Category.STAFF)
        after = preview.preview(session, dict.fromkeys(keys), at=NOW, now=clock.now())
        more = {
            one.key: (one.touched or 0) - (was.touched or 0)
            for one, was in zip(after, before, strict=True)
        }
        assert more == {
            "card.restore_channels": 1,
            "permissions.staff": 1,
            "permissions.student": 0,
        }


class TestAddMissing:
    def test_gives_an_older_school_the_shipped_value_and_leaves_the_rest(
        self, owners_session: Session
    ) -> None:
        session = owners_session
        before = policies_at(session, NOW)
        session.execute(delete(Policy).where(Policy.key == "refund.least_fen"))
        service.add_missing(session.connection())
        after = policies_at(session, NOW)
        assert after["refund.least_fen"] == PRESETS["standard"]["refund.least_fen"]
        paper = service.document_of(session, after.ids["refund.least_fen"])
        assert paper == service.SHIPPED_DOCUMENT
        same = before.ids.keys() - {"refund.least_fen"}
        assert {key: after.ids[key] for key in same} == {key: before.ids[key] for key in same}

    def test_leaves_a_school_alone_that_is_not_founded(self, owners_session: Session) -> None:
        session = owners_session
        session.execute(delete(Policy))
        service.add_missing(session.connection())
        assert session.scalars(select(Policy)).all() == []
