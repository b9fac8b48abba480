"""The room where cards are handed out."""

import secrets

import pytest
from factories import make_person
from sqlalchemy import select

from backend.cards.models import Card, CardState
from backend.db import transaction
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operators.models import Role


@pytest.fixture
def unit() -> str:
    """A class of this test alone."""
    return f"新班 {secrets.token_hex(4)}"


def cards_of(holder_id) -> list[CardState]:
    """Return how somebody's cards stand."""
    with transaction() as session:
        return list(session.scalars(select(Card.state).where(Card.holder_id == holder_id)))


def make(person, unit: str) -> str:
    """Make a batch and return its page."""
    batch_id = new_id()
    made = person.post("/console/issues/batches", {"batch_id": batch_id, "unit": unit})
    assert made.location == f"/console/issues/{batch_id}"
    return made.location


class TestCounter:
    def test_hands_a_card_out_once(self, staff, parts, unit) -> None:
        clerk, holder = staff(), make_person(parts, unit=unit, issued=False)
        page = make(clerk, unit)
        shown = clerk.get(page).text
        assert holder.number in shown
        assert holder.name not in shown
        said = {"receipt_id": new_id(), "signed_by": "王小明", "signature": "self"}
        receipt = f"{page}/items/{holder.id}/receipt"
        assert [clerk.post(receipt, said).status_code for _ in range(2)] == [303, 303]
        assert clerk.post(receipt, said | {"receipt_id": new_id()}).status_code == 409
        assert cards_of(holder.id) == [CardState.ACTIVE]

    def test_says_what_does_not_fit(self, staff, parts, unit) -> None:
        clerk, holder = staff(), make_person(parts, unit=unit, issued=False)
        page = make(clerk, unit)
        said = {"receipt_id": new_id(), "signed_by": "", "signature": "self"}
        assert clerk.post(f"{page}/items/{holder.id}/receipt", said).status_code == 422
        assert cards_of(holder.id) == [CardState.PENDING]
        refused = clerk.post("/console/issues/batches", {"batch_id": new_id(), "unit": unit})
        assert (refused.status_code, unit in refused.text) == (409, True)

    def test_notes_who_never_came(self, staff, parts, unit) -> None:
        clerk, holder = staff(), make_person(parts, unit=unit, issued=False)
        page = make(clerk, unit)
        said = {"decision_id": new_id(), "outcome": "not_collected"}
        assert clerk.post(f"{page}/items/{holder.id}/decision", said).status_code == 303
        assert cards_of(holder.id) == [CardState.VOID]
        assert "已结束" in clerk.get("/console/issues?state=closed").text

    def test_prints_names_on_record(self, staff, parts, unit) -> None:
        clerk, holder = staff(), make_person(parts, unit=unit, issued=False)
        page = make(clerk, unit)
        assert holder.name in clerk.post(f"{page}/sheet").text
        with transaction() as session:
            actions = session.scalars(
                select(LogEntry.action).where(LogEntry.subject_id == page.rpartition("/")[2])
            ).all()
        assert set(actions) == {"issue_batch.make", "issue_batch.print"}

    def test_shows_the_list_to_those_who_feed_the_roster(self, staff, parts, unit) -> None:
        make_person(parts, unit=unit, issued=False)
        page = make(staff(), unit)
        assert "receipt_id" not in staff(Role.ACADEMIC).get(page).text
