"""Closing the own account from the phone: what it says before, asking for it, taking it back."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, balances, make_holder, other_policies, top_up
from sqlalchemy import select, update

from backend import clock
from backend.cards.models import CardState
from backend.cards.service import list_cards
from backend.db import transaction
from backend.holders.models import HolderSession
from backend.http.parts import Parts
from backend.ids import new_id
from backend.notices.models import HolderNotice
from backend.operation_log.models import LogEntry
from backend.sealing import token_hash

from .conftest import Counter
from .test_closing import owe


@pytest.fixture
def allowed() -> Iterator[None]:
    """Let the school take requests from phones."""
    with other_policies(closing__own_request=True):
        yield


@pytest.fixture
def holder(parts: Parts) -> Bound:
    """Somebody with 10.00 yuan by WeChat, 2.00 that came through no channel, and a subsidy."""
    made = make_holder(parts, balance_fen=200, subsidy_fen=300)
    top_up(made.id, 1000)
    return made


class Phone:
    """A holder's phone at the API."""

    def __init__(self, counter: Counter, holder: Bound) -> None:
        self.client, self.holder = counter.client, holder

    def call(self, method: str, path: str, **body: Any) -> Any:
        said = {"json": body} if body else {}
        return self.client.open(
            f"/api/v1{path}", method=method, headers=self.holder.headers, **said
        )

    def ask(self, closing_id: UUID | None = None) -> Any:
        """Ask to close the account."""
        return self.call("PUT", f"/me/closings/{closing_id or new_id()}")

    def states(self) -> set[CardState]:
        with transaction() as session:
            return {card.state for card in list_cards(session, holder_id=self.holder.id)}

    def age_login(self) -> None:
        """Let the login be an hour old."""
        with transaction() as session:
            session.execute(
                update(HolderSession)
                .where(HolderSession.token_hash == token_hash(self.holder.token))
                .values(created_at=clock.now() - timedelta(hours=1))
            )


@pytest.fixture
def phone(counter: Counter, holder: Bound) -> Phone:
    return Phone(counter, holder)


class TestPreview:
    def test_says_where_each_fen_goes(self, phone: Phone, holder: Bound) -> None:
        owe(holder, 150)
        said = phone.call("GET", "/me/closing/preview").get_json()
        assert said["to_source"] == [{"channel": "wechat", "amount_fen": 1000}]
        assert (said["to_list_fen"], said["owed_fen"], said["subsidy_fen"]) == (50, 150, 300)
        assert said["reason"] == "own-closing-off"
        stands = {check["check"]: check["stands"] for check in said["checks"]}
        assert stands == {
            "arrears": False,
            "unpaid-orders": False,
            "refunds-under-way": False,
            "reviews": False,
            "waiting": True,
        }

    @pytest.mark.usefixtures("allowed")
    def test_is_what_the_closing_does(self, counter: Counter, phone: Phone, holder: Bound) -> None:
        owe(holder, 150)
        before = phone.call("GET", "/me/closing/preview").get_json()
        assert before["reason"] is None
        phone.ask()
        closing = counter.work(holder)
        assert closing.paid_fen == 1000 + before["to_list_fen"]
        assert closing.withdrawn_fen == before["subsidy_fen"]
        parts = phone.call("GET", "/me/closing").get_json()["parts"]
        assert sorted((part["channel"] or "", part["amount_fen"]) for part in parts) == [
            ("", 50),
            ("wechat", 1000),
        ]

    def test_changes_nothing(self, phone: Phone, holder: Bound) -> None:
        owe(holder, 150)
        phone.call("GET", "/me/closing/preview")
        assert balances(holder.id) == (1200, 300)
        assert phone.states() == {CardState.ACTIVE}

    def test_names_a_closing_that_goes_on(
        self, counter: Counter, phone: Phone, holder: Bound
    ) -> None:
        counter.start(holder)
        said = phone.call("GET", "/me/closing/preview").get_json()
        assert said["reason"] == "already-closing"


@pytest.mark.usefixtures("allowed")
class TestAsking:
    def test_stops_both_cards_and_says_what_is_waited_for(self, phone: Phone) -> None:
        closing_id = new_id()
        first, again = phone.ask(closing_id), phone.ask(closing_id)
        assert (first.status_code, again.status_code) == (201, 200)
        said = first.get_json()
        assert (said["state"], said["may_withdraw"]) == ("started", True)
        (waiting,) = [check for check in said["checks"] if check["stands"]]
        assert waiting["check"] == "waiting"
        assert phone.states() == {CardState.CLOSING}
        refused = phone.call("POST", "/me/codes", scope="pay")
        assert refused.get_json()["code"] == "account-closed"

    def test_needs_a_fresh_login(self, phone: Phone) -> None:
        phone.age_login()
        said = phone.ask()
        assert (said.status_code, said.get_json()["code"]) == (403, "step-up-required")
        assert phone.states() == {CardState.ACTIVE}

    def test_a_retry_with_an_old_login_gets_the_first_answer(self, phone: Phone) -> None:
        closing_id = new_id()
        assert phone.ask(closing_id).status_code == 201
        phone.age_login()
        assert phone.ask(closing_id).status_code == 200

    def test_somebody_elses_id_is_nobodys(
        self, counter: Counter, phone: Phone, parts: Parts
    ) -> None:
        closing_id = new_id()
        phone.ask(closing_id)
        other = Phone(counter, make_holder(parts))
        assert other.ask(closing_id).status_code == 404
        assert other.call("DELETE", f"/me/closings/{closing_id}").status_code == 404


@pytest.mark.usefixtures("allowed")
class TestWithdrawing:
    def test_leaves_the_cards_frozen_and_the_money_where_it_is(
        self, phone: Phone, holder: Bound
    ) -> None:
        closing_id = phone.ask().get_json()["id"]
        for _ in range(2):
            said = phone.call("DELETE", f"/me/closings/{closing_id}")
            assert (said.status_code, said.get_json()["state"]) == (200, "cancelled")
        assert phone.states() == {CardState.FROZEN}
        assert balances(holder.id) == (1200, 300)
        assert phone.call("GET", "/me/closing").status_code == 404
        assert phone.ask().status_code == 201

    def test_is_too_late_once_money_moves(
        self, counter: Counter, phone: Phone, holder: Bound
    ) -> None:
        closing_id = phone.ask().get_json()["id"]
        counter.work(holder)
        assert phone.call("GET", "/me/closing").get_json()["may_withdraw"] is False
        said = phone.call("DELETE", f"/me/closings/{closing_id}")
        assert (said.status_code, said.get_json()["code"]) == (409, "closing-not-possible")

    def test_what_the_card_centre_started_is_not_the_holders_to_take_back(
        self, counter: Counter, phone: Phone, holder: Bound
    ) -> None:
        closing_id = counter.start(holder).get_json()["id"]
        assert phone.call("GET", "/me/closing").get_json()["may_withdraw"] is False
        assert phone.call("DELETE", f"/me/closings/{closing_id}").status_code == 404
        assert phone.states() == {CardState.CLOSING}

    def test_the_cancelled_request_gets_its_first_answer_for_ever(
        self, counter: Counter, phone: Phone
    ) -> None:
        closing_id = new_id()
        phone.ask(closing_id)
        phone.call("DELETE", f"/me/closings/{closing_id}")
        said = phone.ask(closing_id)
        assert (said.status_code, said.get_json()["state"]) == (200, "cancelled")
        assert phone.states() == {CardState.FROZEN}


class TestAfterwards:
    def test_every_page_can_say_that_it_is_closed(
        self, counter: Counter, phone: Phone, parts: Parts
    ) -> None:
        holder = make_holder(parts)
        phone = Phone(counter, holder)
        counter.start(holder)
        counter.work(holder)
        me = phone.call("GET", "/me").get_json()
        assert (me["physical_card"]["state"], me["virtual_card"]["state"]) == ("closed", "closed")
        refused = phone.call("POST", "/me/codes", scope="pay")
        assert (refused.status_code, refused.get_json()["code"]) == (409, "account-closed")
        receipt = phone.call("GET", "/me/closing").get_json()
        assert (receipt["state"], receipt["checks"]) == ("closed", [])
        assert receipt["closed_at"]


@pytest.fixture
def bounced(counter: Counter, phone: Phone, holder: Bound) -> dict[str, Any]:
    """What is shown of a payment that the bank sent back, and that is listed again."""
    counter.start(holder)
    counter.work(holder)
    (line,) = counter.lines(holder)
    counter.batch()
    said = counter.call(
        "PUT", f"/payout-lines/{line['id']}/bounce", counter.maker, reason="账号已注销"
    )
    assert said.status_code == 200, said.get_json()
    parts = phone.call("GET", "/me/closing").get_json()["parts"]
    (listed,) = [part for part in parts if part["state"] == "listed"]
    return listed


def told(holder: Bound, kind: str) -> list[int]:
    """Return of how much a holder was told, each time."""
    with transaction() as session:
        facts = session.scalars(
            select(HolderNotice.facts).where(
                HolderNotice.holder_id == holder.id, HolderNotice.kind == kind
            )
        )
        return [one["amount_fen"] for one in facts]


class TestClaiming:
    def claim(self, phone: Phone, part: dict[str, Any], way: str, id_: Any = None) -> Any:
        path = f"/me/payout-claims/{id_ or new_id()}"
        return phone.call("PUT", path, line_id=part["line_id"], way=way)

    def test_tells_finance_how_to_pay(
        self, counter: Counter, phone: Phone, holder: Bound, bounced: dict[str, Any]
    ) -> None:
        assert (bounced["may_claim"], bounced["claim_way"]) == (True, None)
        claim_id = new_id()
        said = [self.claim(phone, bounced, "new_account", claim_id) for _ in range(2)]
        assert [one.status_code for one in said] == [201, 200]
        other = self.claim(phone, bounced, "in_person", claim_id)
        assert (other.status_code, other.get_json()["code"]) == (409, "id-reused")
        (line,) = counter.lines(holder)
        assert line["claim_way"] == "new_account"
        assert self.claim(phone, bounced, "in_person").status_code == 201
        (line,) = counter.lines(holder)
        assert line["claim_way"] == "in_person"

    def answer(self, counter: Counter, claim_id: Any, by: Any = None, **said: Any) -> Any:
        path = f"/payout-claims/{claim_id}/answer"
        return counter.call("PUT", path, by or counter.maker, **said)

    def test_waits_for_finance_and_goes_into_the_next_batch_with_the_account(
        self, counter: Counter, phone: Phone, holder: Bound, bounced: dict[str, Any]
    ) -> None:
        other = make_holder(counter.parts, balance_fen=500)
        counter.start(other)
        counter.work(other)
        claim_id = new_id()
        self.claim(phone, bounced, "new_account", claim_id)
        counter.batch()
        (line,) = counter.lines(holder)
        assert (line["state"], line["claim_accepted"]) == ("listed", None)
        said = {"accept": True, "account_reference": "财务登记〔2026〕17号"}
        bare = self.answer(counter, claim_id, accept=True)
        assert (bare.status_code, bare.get_json()["code"]) == (409, "account-reference-needed")
        for status in (201, 200):
            answered = self.answer(counter, claim_id, **said)
            assert answered.status_code == status
        assert answered.get_json()["account_reference"] == "财务登记〔2026〕17号"
        otherwise = self.answer(counter, claim_id, accept=False, reason="户名不符")
        assert (otherwise.status_code, otherwise.get_json()["code"]) == (409, "claim-answered")
        assert told(holder, "payout-claim-accepted") == [bounced["amount_fen"]]
        batch = counter.batch()
        sheet = counter.call("POST", f"{batch}/exports", counter.maker).text
        (row,) = [row for row in sheet.splitlines() if bounced["line_id"] in row]
        assert row.endswith("新账户,财务登记〔2026〕17号")
        late = self.claim(phone, bounced, "in_person")
        assert (late.status_code, late.get_json()["state"]) == (409, "batched")
        with transaction() as session:
            entry = session.scalars(
                select(LogEntry).where(
                    LogEntry.subject_id == UUID(bounced["line_id"]),
                    LogEntry.action == "payout_line.claim_accept",
                )
            ).one()
        assert entry.facts["account_reference"] == "财务登记〔2026〕17号"

    def test_is_refused_with_a_reason_and_made_anew(
        self, counter: Counter, phone: Phone, holder: Bound, bounced: dict[str, Any]
    ) -> None:
        claim_id, again = new_id(), new_id()
        self.claim(phone, bounced, "new_account", claim_id)
        for status in (201, 200):
            answered = self.answer(counter, claim_id, accept=False, reason="户名不符")
            assert answered.status_code == status
        assert told(holder, "payout-claim-refused") == [bounced["amount_fen"]]
        parts = phone.call("GET", "/me/closing").get_json()["parts"]
        (part,) = [part for part in parts if part["line_id"] == bounced["line_id"]]
        assert (part["claim_accepted"], part["claim_refusal"]) == (False, "户名不符")
        assert part["may_claim"]
        said = self.claim(phone, bounced, "in_person", again)
        assert said.status_code == 201
        assert self.answer(counter, claim_id, accept=True).status_code == 404
        assert self.answer(counter, again, accept=True).status_code == 201

    @pytest.mark.parametrize("wrong", [
        {}, {"accept": False}, {"accept": True, "reason": "x"}, {"accept": "yes"},
        {"accept": False, "reason": "x", "account_reference": "1号"},
        {"accept": True, "account_reference": "6222 0212 3456 7890 123"},
    ])  # fmt: skip
    def test_takes_no_answer_that_is_none(
        self, counter: Counter, phone: Phone, bounced: dict[str, Any], wrong: dict[str, Any]
    ) -> None:
        claim_id = new_id()
        self.claim(phone, bounced, "new_account", claim_id)
        assert self.answer(counter, claim_id, **wrong).status_code in (415, 422)
        for by, status in ((counter.centre, 403), (counter.maker, 404)):
            id_ = claim_id if status == 403 else new_id()
            assert self.answer(counter, id_, by, accept=False, reason="x").status_code == status

    def test_somebody_elses_line_is_nobodys(
        self, counter: Counter, parts: Parts, bounced: dict[str, Any]
    ) -> None:
        other = Phone(counter, make_holder(parts))
        assert self.claim(other, bounced, "in_person").status_code == 404

    def test_what_never_bounced_or_was_paid_cannot_be_claimed(
        self, counter: Counter, phone: Phone, holder: Bound, parts: Parts, bounced: dict[str, Any]
    ) -> None:
        fresh = make_holder(parts, balance_fen=500)
        counter.start(fresh)
        counter.work(fresh)
        (line,) = counter.lines(fresh)
        said = self.claim(Phone(counter, fresh), {"line_id": line["id"]}, "in_person")
        assert (said.status_code, said.get_json()["code"]) == (409, "nothing-to-claim")
        counter.batch()
        counter.call(
            "PUT", f"/payout-lines/{bounced['line_id']}/payment", counter.maker, bank_reference="9"
        )
        assert self.claim(phone, bounced, "in_person").get_json()["code"] == "nothing-to-claim"
