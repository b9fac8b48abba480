"""Staff and refunds over HTTP: what needs a person, asking again, giving up, paying by hand."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, balances, rows_used, sign_in
from flask import Flask
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role
from backend.refunds import service
from backend.refunds.models import ChannelRefund, Payout, RefundState
from backend.refunds.rules import ON_ITS_WAY
from payments import Refund
from payments import RefundState as Told

from .conftest import Desk, refunds_due_of

PATH = "/api/v1/staff/refunds"


class Office:
    """Two people of finance and one of another role, at the API."""

    def __init__(self, app: Flask, parts: Parts) -> None:
        self.client, self.parts = app.test_client(), parts
        self.maker, self.checker = (sign_in(parts, Role.FINANCE) for _ in range(2))

    def call(self, method: str, path: str, who: dict[str, str] | None = None, **body: Any) -> Any:
        said = {"json": body} if body else {}
        return self.client.open(PATH + path, method=method, headers=who or self.maker, **said)

    def look(self, refund: ChannelRefund) -> dict[str, Any]:
        said: dict[str, Any] = self.call("GET", f"/{refund.id}").get_json()
        return said

    def pay(self, refund: ChannelRefund, payout_id: UUID, reference: str = "20261125-7") -> Any:
        return self.call("PUT", f"/{refund.id}/payouts/{payout_id}", bank_reference=reference)

    def decide(self, refund: ChannelRefund, payout_id: UUID, who: Any, *, approve: bool) -> Any:
        path = f"/{refund.id}/payouts/{payout_id}/decision"
        return self.call("POST", path, who, approve=approve)


@pytest.fixture
def office(app: Flask, parts: Parts) -> Office:
    return Office(app, parts)


@pytest.fixture
def abnormal(desk: Desk, holder: Bound) -> ChannelRefund:
    """A refund of 10.00 yuan that WeChat cannot send."""
    desk.paid(holder, 1000)
    desk.platform.faults(drop=True, refund_abnormal=True)
    (refund,) = desk.ask_back(holder, 1000)
    desk.work()
    time.sleep(0.05)  # the sandbox makes a refund within 33 ms
    desk.work(timedelta(minutes=2))
    desk.platform.faults(drop=True)
    present = desk.reread(refund)
    assert present.state is RefundState.ABNORMAL
    return present


def let_it_arrive(refund: ChannelRefund) -> None:
    """Let what was sent have had its time to reach the channel."""
    with transaction() as session:
        session.execute(
            update(ChannelRefund)
            .where(ChannelRefund.id == refund.id)
            .values(sent_at=clock.now() - ON_ITS_WAY)
        )


class TestLooking:
    def test_what_needs_a_person_is_listed_first(
        self, office: Office, abnormal: ChannelRefund, holder: Bound
    ) -> None:
        listed = office.call("GET", "?limit=100").get_json()["items"]
        found = next(item for item in listed if item["id"] == str(abnormal.id))
        assert (found["state"], found["amount_fen"], found["paid_fen"]) == ("abnormal", 1000, 1000)
        assert found["holder_number"] == holder.number
        assert found["name_masked"] == "王**"
        assert found["refund_id"] == str(abnormal.subject_id)
        for other in ("succeeded", "due"):
            listed = office.call("GET", f"?state={other}&limit=100").get_json()["items"]
            assert str(abnormal.id) not in [item["id"] for item in listed]

    def test_one_tells_its_history(self, office: Office, abnormal: ChannelRefund) -> None:
        said = office.look(abnormal)
        assert [item["action"] for item in said["history"]] == ["refund.abnormal"]
        assert said["payouts"] == []

    @pytest.mark.parametrize("role", [Role.LOGISTICS, Role.ACADEMIC])
    def test_is_for_some_roles_only(self, office: Office, parts: Parts, role: Role) -> None:
        other = sign_in(parts, role)
        assert office.call("GET", "", other).status_code == 403
        assert office.call("GET", "/strange", other).status_code == 403

    @pytest.mark.parametrize("role", [Role.CARD_CENTRE, Role.AUDITOR])
    def test_others_look_and_do_nothing(
        self, office: Office, parts: Parts, abnormal: ChannelRefund, role: Role
    ) -> None:
        other = sign_in(parts, role)
        assert office.call("GET", f"/{abnormal.id}", other).status_code == 200
        for path in (f"/{abnormal.id}/query", f"/{abnormal.id}/return"):
            assert office.call("POST", path, other).status_code == 403
        path = f"/{abnormal.id}/payouts/{new_id()}"
        assert office.call("PUT", path, other, bank_reference="1").status_code == 403
        assert office.call("POST", f"{path}/decision", other, approve=True).status_code == 403

    def test_none_is_not_found(self, office: Office) -> None:
        for method, path in (("GET", ""), ("POST", "/query"), ("POST", "/return")):
            assert office.call(method, f"/{new_id()}{path}").status_code == 404


class TestAskingAgain:
    def test_brings_what_the_channel_says_by_now(
        self, office: Office, desk: Desk, holder: Bound
    ) -> None:
        desk.paid(holder, 1000, "alipay")
        (refund,) = desk.ask_back(holder, 1000)
        said = office.call("POST", f"/{refund.id}/query").get_json()
        assert said["state"] == "succeeded"
        assert [item["action"] for item in said["history"]] == [
            "refund.succeeded", "refund.ask_again",
        ]  # fmt: skip
        assert said["history"][1]["operator"]
        again = office.call("POST", f"/{refund.id}/query")
        assert (again.status_code, again.get_json()["code"]) == (409, "refund-ended")

    def test_what_is_abnormal_stays_so(
        self, office: Office, desk: Desk, abnormal: ChannelRefund
    ) -> None:
        assert office.call("POST", f"/{abnormal.id}/query").get_json()["state"] == "abnormal"
        assert desk.reread(abnormal).next_try_at is None


class TestGivingUp:
    def test_of_what_was_never_sent_needs_no_channel(
        self, office: Office, desk: Desk, holder: Bound
    ) -> None:
        desk.paid(holder, 1000)
        (refund,) = desk.ask_back(holder, 1000)
        desk.platform.faults(drop=True, answer_5xx=True)
        said = office.call("POST", f"/{refund.id}/return").get_json()
        assert said["state"] == "returned"
        assert balances(holder.id) == (1000, 0)
        desk.platform.faults(drop=True)
        assert desk.work(timedelta(hours=1)) == 0

    def test_of_what_was_sent_a_moment_ago_waits(
        self, office: Office, desk: Desk, holder: Bound
    ) -> None:
        desk.paid(holder, 1000)
        (refund,) = desk.ask_back(holder, 1000)
        with transaction() as session:
            service.begin_send(session, refund_id=refund.id, now=clock.now())
        answer = office.call("POST", f"/{refund.id}/return")
        said = answer.get_json()
        assert (answer.status_code, said["code"]) == (409, "refund-on-its-way")
        assert 0 < said["retry_after"] <= 600
        let_it_arrive(refund)
        assert office.call("POST", f"/{refund.id}/return").get_json()["state"] == "returned"

    def test_of_what_the_channel_has_is_refused_and_settled(
        self, office: Office, desk: Desk, holder: Bound
    ) -> None:
        desk.paid(holder, 1000, "alipay")
        (refund,) = desk.ask_back(holder, 1000)
        desk.platform.faults(drop=True, lose_answer=True)
        desk.work()
        assert desk.reread(refund).state is RefundState.SENDING
        desk.platform.faults(drop=True)
        let_it_arrive(refund)
        answer = office.call("POST", f"/{refund.id}/return")
        assert answer.get_json()["code"] == "channel-has-refund"
        assert desk.reread(refund).state is RefundState.SUCCEEDED
        assert balances(holder.id) == (0, 0)

    def test_without_a_trustworthy_answer_changes_nothing(
        self, office: Office, desk: Desk, abnormal: ChannelRefund
    ) -> None:
        let_it_arrive(abnormal)
        desk.platform.faults(drop=True, answer_5xx=True)
        answer = office.call("POST", f"/{abnormal.id}/return")
        assert (answer.status_code, answer.get_json()["code"]) == (503, "channel-silent")
        assert desk.reread(abnormal).state is RefundState.ABNORMAL

    def test_of_what_is_abnormal_at_the_channel_is_refused(
        self, office: Office, abnormal: ChannelRefund
    ) -> None:
        let_it_arrive(abnormal)
        answer = office.call("POST", f"/{abnormal.id}/return").get_json()
        assert (answer["code"], answer["state"]) == ("channel-has-refund", "abnormal")

    def test_of_what_belongs_into_no_purse_makes_it_a_case_for_two(
        self, office: Office, desk: Desk, holder: Bound
    ) -> None:
        top_up = desk.paid(holder, 1000)
        refund = desk.owe_stray(holder, top_up, 1000, to_purse=False)
        assert office.call("POST", f"/{refund.id}/return").get_json()["state"] == "abnormal"
        assert balances(holder.id) == (1000, 0)
        again = office.call("POST", f"/{refund.id}/return")
        assert (again.status_code, again.get_json()["code"]) == (409, "refund-no-purse")


class TestPayingByHand:
    def test_is_made_by_one_and_approved_by_another_and_posted_once(
        self, office: Office, abnormal: ChannelRefund, holder: Bound
    ) -> None:
        payout_id = new_id()
        first, again = (office.pay(abnormal, payout_id) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.data == again.data
        assert refunds_due_of(abnormal) == []
        decided = [
            office.decide(abnormal, payout_id, office.checker, approve=True) for _ in range(2)
        ]
        assert [answer.status_code for answer in decided] == [201, 200]
        assert decided[0].data == decided[1].data
        assert decided[0].get_json()["checker"] != decided[0].get_json()["maker"]
        assert office.look(abnormal)["state"] == "paid_out"
        assert refunds_due_of(abnormal) == [("refund_payout", "refunds_due", "bank", 1000)]
        assert office.pay(abnormal, payout_id).data == first.data
        assert {item["action"] for item in office.look(abnormal)["history"]} == {
            *("refund.payout_approve", "refund.payout_make", "refund.abnormal"),
        }
        assert rows_used(abnormal.id, "refund.payout_make") == {"operator.payout_day_fen"}

    def test_nobody_approves_what_they_made(self, office: Office, abnormal: ChannelRefund) -> None:
        payout_id = new_id()
        office.pay(abnormal, payout_id)
        answer = office.decide(abnormal, payout_id, office.maker, approve=True)
        assert answer.get_json()["code"] == "second-person-needed"
        assert office.look(abnormal)["state"] == "abnormal"

    def test_the_database_knows_two_people_too(
        self, office: Office, abnormal: ChannelRefund
    ) -> None:
        payout_id = new_id()
        office.pay(abnormal, payout_id)
        with pytest.raises(IntegrityError, match="two_people"), transaction() as session:
            session.execute(
                text(
                    "UPDATE refund_payouts SET approved = true, checker_id = maker_id,"
                    " decided_at = now() WHERE id = :id"
                ),
                {"id": payout_id},
            )

    def test_one_waits_at_a_time_and_a_refused_one_makes_room(
        self, office: Office, abnormal: ChannelRefund
    ) -> None:
        wrong, right = new_id(), new_id()
        office.pay(abnormal, wrong)
        assert office.pay(abnormal, right).get_json()["code"] == "payout-waits"
        office.decide(abnormal, wrong, office.checker, approve=False)
        assert refunds_due_of(abnormal) == []
        otherwise = office.decide(abnormal, wrong, office.checker, approve=True)
        assert otherwise.get_json()["code"] == "payout-decided"
        assert office.pay(abnormal, right).status_code == 201
        office.decide(abnormal, right, office.checker, approve=True)
        assert office.look(abnormal)["state"] == "paid_out"

    def test_other_content_is_a_fault(self, office: Office, abnormal: ChannelRefund) -> None:
        payout_id = new_id()
        office.pay(abnormal, payout_id)
        assert office.pay(abnormal, payout_id, "another").get_json()["code"] == "id-reused"

    def test_what_its_channel_can_send_is_not_paid_by_hand(
        self, office: Office, desk: Desk, holder: Bound
    ) -> None:
        desk.paid(holder, 1000)
        (refund,) = desk.ask_back(holder, 1000)
        answer = office.pay(refund, new_id()).get_json()
        assert (answer["code"], answer["state"]) == ("payout-not-possible", "due")

    def test_what_the_channel_sent_meanwhile_is_not_paid_twice(
        self, office: Office, abnormal: ChannelRefund
    ) -> None:

        payout_id = new_id()
        office.pay(abnormal, payout_id)
        word = Refund(
            abnormal.out_refund_no, abnormal.out_trade_no, Told.SUCCEEDED, 1000, None, clock.now()
        )
        with transaction() as session:
            service.settle(session, channel="wechat", answer=word, via="test", now=clock.now())
        answer = office.decide(abnormal, payout_id, office.checker, approve=True)
        assert answer.get_json()["code"] == "payout-not-possible"
        assert refunds_due_of(abnormal) == [("refund_sent", "refunds_due", "channel", 1000)]
        with transaction() as session:
            assert session.get_one(Payout, payout_id).approved is None

    @pytest.mark.parametrize("reference", ["", "x" * 65, "a\u202eb", 7, None])
    def test_a_reference_is_one_line_of_text(
        self, office: Office, abnormal: ChannelRefund, reference: Any
    ) -> None:
        path = f"/{abnormal.id}/payouts/{new_id()}"
        assert office.call("PUT", path, bank_reference=reference).status_code == 422
