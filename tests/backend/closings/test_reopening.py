"""Somebody comes back: a closed account is opened again, over HTTP, and may be closed again."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, give, make_holder, make_person, sign_in
from sqlalchemy import func, select

from backend import clock
from backend.cards.models import CardState
from backend.cards.service import is_account_closed, list_cards
from backend.closings import emptying, service
from backend.closings.models import Closing, ClosingState
from backend.closings.screenings import Finding, _look
from backend.db import transaction
from backend.holders.models import Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.operation_log.models import LogEntry
from backend.operators.models import Role

from .conftest import Counter


def day(days: int) -> str:
    return (clock.business_date(clock.now()) + timedelta(days=days)).isoformat()


@pytest.fixture
def gone(counter: Counter, parts: Parts) -> Bound:
    """Somebody whose account is closed, with nothing left and nothing owed."""
    holder = make_holder(parts)
    counter.start(holder)
    assert counter.work(holder).state is ClosingState.CLOSED
    return holder


def reopen(counter: Counter, holder: Any, **changed: Any) -> Any:
    who, path = changed.pop("who", None), f"/reopenings/{changed.pop('id', new_id())}"
    said = {"holder_number": holder.number, "document": "人事〔2028〕3号", "valid_until": day(400)}
    return counter.call("PUT", path, who, **(said | changed))


def import_row(counter: Counter, holder: Any, batch: UUID, *, valid_until: str) -> Any:
    """Import a roster that has one person in it; return the report, which a retry gets, too."""
    heading = "holder_number,name,category,unit,document_number,valid_until"
    row = f"{holder.number},{holder.name},student,软件2401班,{holder.document},{valid_until}"
    for _ in range(2):
        answer = counter.client.post(
            f"/api/v1/staff/roster-imports?batch_id={batch}",
            data=f"{heading}\n{row}\n".encode(),
            headers=counter.centre | {"Content-Type": "text/csv"},
        )
        assert answer.status_code == 200, answer.text
    assert answer.get_json()["faults"] == []
    return answer.get_json()


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


class TestReopening:
    def test_gives_a_new_card_that_waits_and_lets_the_phone_be_bound_anew(
        self, counter: Counter, gone: Bound
    ) -> None:
        path = new_id()
        made = reopen(counter, gone, id=path)
        assert (made.status_code, reopen(counter, gone, id=path).status_code) == (201, 200)
        assert made.get_json()["valid_until"] == day(400)
        with transaction() as session:
            cards = list_cards(session, holder_id=gone.id)
            assert sorted(card.state for card in cards) == ["closed", "closed", "pending"]
            assert str(cards[0].id) == made.get_json()["card_id"]
            assert not is_account_closed(session, holder_id=gone.id)
            entry = session.scalars(
                select(LogEntry).where(
                    LogEntry.holder_id == gone.id, LogEntry.action == "card.reopen_account"
                )
            ).one()
        assert (entry.before, entry.after, entry.documents) == (
            "closed", "pending", ["人事〔2028〕3号"]
        )  # fmt: skip
        assert counter.client.get("/api/v1/me", headers=gone.headers).status_code == 401
        operation = f"/cards/{made.get_json()['card_id']}/operations/{new_id()}"
        active = counter.call("PUT", operation, event="activate", documents=["id_document"])
        assert active.get_json()["after"] == "active"

    def test_is_not_undone_by_a_card_that_is_made_void(
        self, counter: Counter, parts: Parts, gone: Bound
    ) -> None:
        card_id = reopen(counter, gone).get_json()["card_id"]
        void = f"/cards/{card_id}/operations/{new_id()}"
        done = counter.call("PUT", void, event="void", documents=["id_document"], reason="错卡")
        assert done.get_json()["after"] == "void"
        with transaction() as session:
            assert not is_account_closed(session, holder_id=gone.id)
            assert service.live_closing(session, holder_id=gone.id) is None
        assert refused(reopen(counter, gone)) == (409, "account-open")
        assert counter.start(gone).status_code == 201

    def test_leaves_the_closing_as_it_was_and_the_money_in_the_purse(
        self, counter: Counter, gone: Bound
    ) -> None:
        reopen(counter, gone)
        with transaction() as session:
            give(session, gone.id, main_fen=700, subsidy_fen=0, now=clock.now())
        emptying.advance_due(channels=counter.parts.channels, now=clock.now() + timedelta(days=1))
        with transaction() as session:
            closing = session.scalars(select(Closing).where(Closing.holder_id == gone.id)).one()
            assert closing.state is ClosingState.CLOSED
            assert ledger.balance_of(session, holder_id=gone.id) == 700
            found = _look(session, unused_months=6, now=clock.now())
        assert (Finding.CLOSED_WITH_BALANCE, gone.id) not in {(f, id_) for f, id_, _ in found}

    def test_may_be_closed_again_once_for_all(self, counter: Counter, gone: Bound) -> None:
        reopen(counter, gone)
        assert counter.start(gone).status_code == 201
        assert refused(counter.start(gone)) == (409, "already-closing")
        assert refused(reopen(counter, gone)) == (409, "account-closed")
        assert counter.work(gone).state is ClosingState.CLOSED
        assert refused(counter.start(gone)) == (409, "already-closing")
        with transaction() as session:
            assert {card.state for card in list_cards(session, holder_id=gone.id)} == {
                CardState.CLOSED
            }
            give(session, gone.id, main_fen=900, subsidy_fen=0, now=clock.now())
        emptying.advance_due(channels=counter.parts.channels, now=clock.now() + timedelta(days=9))
        with transaction() as session:
            states = session.execute(
                select(Closing.state, func.sum(Closing.paid_fen))
                .where(Closing.holder_id == gone.id)
                .group_by(Closing.state)
            ).all()
        assert sorted(states) == [("closed", 0), ("paying", 900)]  # the second one alone pays it

    def test_waits_until_the_earlier_money_is_paid(self, counter: Counter, gone: Bound) -> None:
        with transaction() as session:
            give(session, gone.id, main_fen=900, subsidy_fen=0, now=clock.now())
        counter.work(gone, days=9)
        assert refused(reopen(counter, gone)) == (409, "payout-open")

    def test_goes_by_a_roster_that_names_them_until_the_day_that_it_says(
        self, counter: Counter, gone: Bound
    ) -> None:
        batch, number = new_id(), {"holder_number": gone.number}
        by_roster = number | {"roster_batch_id": str(batch)}
        path = f"/reopenings/{new_id()}"
        assert refused(counter.call("PUT", path, **by_roster)) == (409, "not-on-roster")
        row = import_row(counter, gone, batch, valid_until=day(77))
        assert row["remarks"] == [
            {"row": 2, "holder_number": gone.number, "remark": "account-closed"}
        ]
        made = counter.call("PUT", path, **by_roster)
        assert (made.status_code, counter.call("PUT", path, **by_roster).status_code) == (201, 200)
        said = made.get_json()
        assert (said["valid_until"], said["document"]) == (day(77), None)
        assert said["roster_batch_id"] == str(batch)
        assert refused(reopen(counter, gone, id=path.rpartition("/")[2])) == (409, "id-reused")
        with transaction() as session:
            assert "valid_until" not in session.get_one(Holder, gone.id).proven
            entry = session.scalars(
                select(LogEntry).where(
                    LogEntry.holder_id == gone.id,
                    LogEntry.action == "card.reopen_account",
                    LogEntry.card_id.is_not(None),
                )
            ).one()
        assert (entry.documents, entry.facts["roster_batch"]) == (None, str(batch))
        assert import_row(counter, gone, new_id(), valid_until=day(77))["remarks"] == []

    def test_a_roster_of_before_the_closing_says_nothing(
        self, counter: Counter, gone: Bound
    ) -> None:
        batch = new_id()
        import_row(counter, gone, batch, valid_until=day(77))
        reopen(counter, gone)
        counter.start(gone)
        assert counter.work(gone).state is ClosingState.CLOSED
        again = counter.call(
            "PUT",
            f"/reopenings/{new_id()}",
            holder_number=gone.number,
            roster_batch_id=str(batch),
        )
        assert refused(again) == (409, "not-on-roster")

    @pytest.mark.parametrize("wrong", [
        {}, {"document": "x"}, {"valid_until": "2099-01-01"},
        {"roster_batch_id": str(new_id()), "document": "x"},
        {"roster_batch_id": str(new_id()), "valid_until": "2099-01-01"},
        {"roster_batch_id": "x"},
    ])  # fmt: skip
    def test_goes_by_one_ground(self, counter: Counter, wrong: dict[str, str]) -> None:
        said = {"holder_number": "1"} | wrong
        assert counter.call("PUT", f"/reopenings/{new_id()}", **said).status_code == 422

    def test_is_refused_for_what_is_wrong(
        self, counter: Counter, parts: Parts, gone: Bound
    ) -> None:
        assert refused(reopen(counter, make_person(parts))) == (409, "account-open")
        assert refused(reopen(counter, gone, valid_until=day(-1))) == (409, "card-expired")
        assert refused(reopen(counter, gone, holder_number="nobody")) == (404, "not-found")
        assert refused(reopen(counter, gone, who=counter.maker)) == (403, "role-not-allowed")
        path = new_id()
        reopen(counter, gone, id=path)
        assert refused(reopen(counter, gone, id=path, document="x")) == (409, "id-reused")
        other = sign_in(parts, Role.CARD_CENTRE)
        assert refused(reopen(counter, gone, id=path, who=other)) == (404, "not-found")
        assert refused(reopen(counter, gone)) == (409, "account-open")
