"""What the role that serves can do to policies alone: nothing that two people did not decide."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import make_operator, owners_transaction
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend import clock, db
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.policies.service import adopt_preset, policies_at
from backend.rulebook import proposals
from backend.rulebook.proposals import Asked

HOUR = timedelta(hours=1)
FEE = "card.replacement_fee_fen"
FREE = "0"


@pytest.fixture
def session(app: object) -> Iterator[Session]:
    """A session of the role that serves, whose changes nobody else sees."""
    with db.Session() as session:
        yield session
        session.rollback()


@pytest.fixture(scope="module")
def people(parts: Parts) -> tuple[OperatorCaller, OperatorCaller]:
    """Two people who decide about the fee of a card."""
    return make_operator(parts, Role.CARD_CENTRE), make_operator(parts, Role.CARD_CENTRE)


def refused(session: Session, statement: str, **values: Any) -> str:
    """Return what the database says to a statement, with what it would say at the end."""
    session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    with pytest.raises(DBAPIError) as told:
        session.execute(text(statement), values)
    session.rollback()
    return str(told.value.orig.diag.message_primary)  # type: ignore[union-attr]


def insert(session: Session, *, at: datetime, value: str = FREE, **more: Any) -> str:
    """Return what the database says to a new row."""
    said = {"key": FEE, "paper": "图文〔2026〕9号", "proposal": None, **more}
    return refused(
        session,
        "INSERT INTO policies (id, key, value, document_number, valid_from, proposal_id)"
        " VALUES (uuidv7(), :key, CAST(:value AS jsonb), :paper, :at, :proposal)",
        at=at, value=value, **said,
    )  # fmt: skip


def proposed(
    session: Session, maker: OperatorCaller, *, at: datetime | None, until: datetime | None = None
) -> UUID:
    """Let somebody propose that a card costs another fee."""
    now = clock.now()
    asked = Asked(
        changes={FEE: 1700}, preset=None, document_number="图文〔2026〕9号", reason="成本",
        valid_from=at, valid_until=until,
    )  # fmt: skip
    id_ = new_id()
    proposals.propose(session, proposal_id=id_, asked=asked, maker=maker, now=now)
    session.flush()
    return id_


COMES = "a policy comes and goes by a proposal of two people"
DECIDED = "a proposal is decided once"


class TestBringingIn:
    @pytest.mark.parametrize("when", [timedelta(days=-2000), timedelta(0), timedelta(days=1)])
    def test_takes_a_proposal(self, session: Session, when: timedelta) -> None:
        assert insert(session, at=clock.now() + when) == COMES
        assert insert(session, at=clock.now() + when, key="no.such") == COMES

    def test_takes_one_that_is_approved(self, session: Session, people: Any) -> None:
        at = clock.now() + HOUR
        id_ = proposed(session, people[0], at=at)
        assert insert(session, at=at, value="1700", proposal=id_) == COMES

    @pytest.mark.parametrize(
        "other",
        [{"value": FREE}, {"paper": "x"}, {"key": "card.restore_channels"},
         {"at": clock.now() + 3 * HOUR}, {"at": clock.now() - HOUR}],
    )  # fmt: skip
    def test_brings_what_was_approved_and_nothing_else(
        self, session: Session, people: Any, other: dict[str, Any]
    ) -> None:
        at = clock.now() + HOUR
        id_ = proposed(session, people[0], at=at, until=at + HOUR)
        proposals.approve(session, proposal_id=id_, checker=people[1], now=clock.now())
        values = policies_at(session, at + timedelta(minutes=1)).values
        assert values[FEE] == 1700
        said: dict[str, Any] = {"at": at, "value": "1700", "proposal": id_}
        assert insert(session, **(said | other)) == COMES

    def test_not_into_the_past_by_people_who_are_made_up(
        self, session: Session, people: Any
    ) -> None:
        """A proposal that was written, and approved, in the names of two people."""
        at = clock.now() - HOUR
        id_ = proposed(session, people[0], at=None)
        session.execute(
            text(
                "UPDATE policy_proposals SET state = 'approved', approved_by = :by,"
                " approved_at = :at, effective_at = :at WHERE id = :id"
            ),
            {"by": people[1].operator_id, "at": at, "id": id_},
        )
        assert insert(session, at=at, value="1700", proposal=id_) == COMES

    def test_is_the_owners_where_it_is_a_preset(self, session: Session, app: object) -> None:
        with pytest.raises(DBAPIError, match=COMES):
            adopt_preset(session, "regulation", document_number="x", now=clock.now())
        with owners_transaction() as owner:
            adopt_preset(owner, "regulation", document_number="x", now=clock.now())
            owner.rollback()


class TestTakingOut:
    def test_nothing_that_holds_or_held(self, session: Session) -> None:
        assert refused(session, "DELETE FROM policies") == COMES
        assert refused(session, "DELETE FROM policies WHERE key = :key", key=FEE) == COMES

    def test_nothing_that_is_decided(self, session: Session, people: Any) -> None:
        id_ = proposed(session, people[0], at=clock.now() + HOUR)
        proposals.approve(session, proposal_id=id_, checker=people[1], now=clock.now())
        session.flush()
        delete = "DELETE FROM policies WHERE proposal_id = :id"
        assert refused(session, delete, id=id_) == COMES

    def test_goes_with_a_proposal_that_is_withdrawn_in_time(
        self, session: Session, people: Any
    ) -> None:
        at = clock.now() + HOUR
        before = policies_at(session, at).ids[FEE]
        id_ = proposed(session, people[0], at=at, until=at + HOUR)
        proposals.approve(session, proposal_id=id_, checker=people[1], now=clock.now())
        assert policies_at(session, at).ids[FEE] != before
        proposals.withdraw(session, proposal_id=id_, reason="x", who=people[0], now=clock.now())
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        assert policies_at(session, at).ids[FEE] == before

    @pytest.mark.parametrize("until", ["now()", "valid_from + interval '1 s'", "'infinity'"])
    def test_no_row_ends_before_the_next_begins(self, session: Session, until: str) -> None:
        said = refused(session, f"UPDATE policies SET valid_until = {until} WHERE key = '{FEE}'")
        assert said == "a policy holds until the next one"


class TestProposals:
    def test_come_in_undecided(self, session: Session, people: Any) -> None:
        proposed(session, people[0], at=None)
        said = refused(
            session,
            "INSERT INTO policy_proposals (id, content_hash, changes, document_number,"
            " payload_hash, state, made_by, made_at, approved_by, approved_at, effective_at)"
            " SELECT uuidv7(), content_hash, changes, document_number, payload_hash, 'approved',"
            " made_by, made_at, :by, now(), now() FROM policy_proposals LIMIT 1",
            by=people[1].operator_id,
        )
        assert said == DECIDED

    @pytest.mark.parametrize(
        "change",
        ["approved_at = now()", "effective_at = now() + interval '2 h'", "state = 'waiting'",
         "approved_by = NULL"],
    )  # fmt: skip
    def test_stay_as_they_were_decided(self, session: Session, people: Any, change: str) -> None:
        id_ = proposed(session, people[0], at=clock.now() + HOUR)
        proposals.approve(session, proposal_id=id_, checker=people[1], now=clock.now())
        session.flush()
        said = refused(session, f"UPDATE policy_proposals SET {change} WHERE id = :id", id=id_)
        assert said == DECIDED

    def test_that_hold_are_not_withdrawn(self, session: Session, people: Any) -> None:
        id_ = proposed(session, people[0], at=None)
        proposals.approve(session, proposal_id=id_, checker=people[1], now=clock.now())
        session.flush()
        said = refused(
            session,
            "UPDATE policy_proposals SET state = 'withdrawn', withdrawn_by = made_by,"
            " withdrawn_at = now() WHERE id = :id",
            id=id_,
        )
        assert said == DECIDED
