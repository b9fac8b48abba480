"""Top-ups over the application's HTTP."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, balances, make_holder, make_till
from flask import Flask
from phones import Phone

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.topups.models import TopUp, TopUpState

PATH = "/me/top-ups"
REPLY = {
    *("id", "channel", "amount_fen", "state", "out_trade_no", "client_params"),
    *("created_at", "expires_at", "paid_at", "refunded_fen"),
}


@pytest.fixture
def holder(parts: Parts) -> Bound:
    # On the other platform than the channel below: a QR code is handed over.
    return make_holder(parts, platform="alipay")


@pytest.fixture
def phone(app: Flask, holder: Bound) -> Phone:
    return Phone(app.test_client(), token=holder.token)


@pytest.fixture(autouse=True)
def _silent(platform: Any) -> None:
    """No notice arrives: what is paid is learnt by asking."""
    platform.faults(drop=True)


def put(phone: Phone, top_up_id: UUID | None = None, **changes: Any) -> Any:
    """Order 10.00 yuan through WeChat, or with changes; `...` leaves a field out."""
    body = {"channel": "wechat", "amount_fen": 1000} | changes
    said = {name: value for name, value in body.items() if value is not ...}
    return phone.call("PUT", f"{PATH}/{top_up_id or new_id()}", said)


class TestOrder:
    def test_is_made_once_and_answered_again(self, phone: Phone, holder: Bound) -> None:
        top_up_id = new_id()
        first, again = (put(phone, top_up_id) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.data == again.data
        said = first.get_json()
        assert set(said) == REPLY
        assert (said["id"], said["out_trade_no"]) == (str(top_up_id), top_up_id.hex)
        assert (said["state"], said["client_params"]["kind"]) == ("pending", "qr")
        read = phone.call("GET", f"{PATH}/{top_up_id}")
        assert (read.status_code, read.data) == (200, first.data)
        assert balances(holder.id) == (0, 0)

    def test_whose_answer_was_lost_is_finished_by_a_retry(
        self, phone: Phone, platform: Any
    ) -> None:
        top_up_id = new_id()
        platform.faults(drop=True, lose_answer=True)
        first = put(phone, top_up_id)
        assert (first.status_code, first.get_json()["state"]) == (201, "created")
        assert first.get_json()["client_params"] is None
        platform.faults(drop=True)
        again = put(phone, top_up_id)
        assert (again.status_code, again.get_json()["state"]) == (200, "pending")

    def test_is_answered_the_same_for_ever(
        self, phone: Phone, holder: Bound, platform: Any
    ) -> None:
        top_up_id = new_id()
        first = put(phone, top_up_id)
        assert platform.pay(top_up_id).ok
        after = phone.call("POST", f"{PATH}/{top_up_id}/sync").get_json()
        assert (after["state"], balances(holder.id)) == ("paid", (1000, 0))
        again = put(phone, top_up_id)
        assert (again.status_code, again.data) == (200, first.data)
        assert phone.call("GET", f"{PATH}/{top_up_id}").get_json() == after

    def test_says_how_many_wait_when_there_are_too_many(self, phone: Phone) -> None:
        for _ in range(10):
            assert put(phone).status_code == 201
        answer = put(phone)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "too-many-unpaid")
        assert answer.get_json()["detail"] == "有 10 笔充值还未支付，请先支付，或等它们过期。"

    @pytest.mark.parametrize("changes", [{"amount_fen": 1001}, {"channel": "alipay"}])
    def test_is_refused_under_a_reused_id(self, phone: Phone, changes: dict[str, Any]) -> None:
        top_up_id = new_id()
        put(phone, top_up_id)
        answer = put(phone, top_up_id, **changes)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "id-reused")

    def test_shows_somebody_else_nothing(self, parts: Parts, phone: Phone) -> None:
        top_up_id = new_id()
        put(phone, top_up_id)
        other = Phone(phone.client, token=make_holder(parts).token)
        for answer in (
            put(other, top_up_id),
            other.call("GET", f"{PATH}/{top_up_id}"),
            other.call("POST", f"{PATH}/{top_up_id}/sync"),
        ):
            assert (answer.status_code, answer.get_json()["code"]) == (404, "not-found")
        assert other.call("GET", PATH).get_json()["items"] == []

    @pytest.mark.parametrize(
        ("amount_fen", "limit_fen", "code"),
        [(99, 100, "below-least"), (50_001, 50_000, "limit-exceeded")],
    )
    def test_is_refused_beyond_the_limits(
        self, phone: Phone, amount_fen: int, limit_fen: int, code: str
    ) -> None:
        answer = put(phone, amount_fen=amount_fen)
        assert (answer.status_code, answer.get_json()["code"]) == (409, code)
        assert limit_fen in answer.get_json().values()

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            *(({"amount_fen": value}, "amount_fen") for value in (0, -1, 1.5, "5", True, None)),
            *(({"amount_fen": value}, "amount_fen") for value in (10**30, [1000], ...)),
            *(({"channel": value}, "channel") for value in ("cash", "", None, 1, ...)),
            ({"balance_fen": 1}, "balance_fen"),
        ],
    )
    def test_is_refused_when_the_body_does_not_fit(
        self, phone: Phone, changes: dict[str, Any], field: str
    ) -> None:
        answer = put(phone, **changes)
        assert (answer.status_code, answer.get_json()["code"]) == (422, "validation-failed")
        assert list(answer.get_json()["errors"]) == [field]

    def test_is_refused_with_a_number_longer_than_python_reads(self, phone: Phone) -> None:
        answer = phone.client.put(
            f"/api/v1{PATH}/{new_id()}",
            data='{"channel": "wechat", "amount_fen": ' + "9" * 5000 + "}",
            content_type="application/json",
            headers={"Authorization": f"Bearer {phone.token}"},
        )
        assert answer.status_code == 400

    def test_is_for_holders_only(self, phone: Phone) -> None:
        assert put(Phone(phone.client, token=make_till().token)).status_code == 401


class TestSync:
    def test_finds_a_payment_at_once(self, phone: Phone, holder: Bound, platform: Any) -> None:
        top_up_id = new_id()
        put(phone, top_up_id)
        before = phone.call("POST", f"{PATH}/{top_up_id}/sync")
        assert (before.status_code, before.get_json()["state"]) == (200, "pending")
        assert platform.pay(top_up_id).ok
        for _ in range(3):
            after = phone.call("POST", f"{PATH}/{top_up_id}/sync").get_json()
            assert (after["state"], balances(holder.id)) == ("paid", (1000, 0))
        assert after["paid_at"].endswith("Z")

    def test_tells_what_is_known_while_the_platform_is_silent(
        self, phone: Phone, platform: Any
    ) -> None:
        top_up_id = new_id()
        put(phone, top_up_id)
        platform.faults(drop=True, answer_5xx=True)
        answer = phone.call("POST", f"{PATH}/{top_up_id}/sync")
        assert (answer.status_code, answer.get_json()["state"]) == (200, "pending")


class TestReplace:
    def test_closes_the_order_that_it_replaces(
        self, phone: Phone, holder: Bound, platform: Any
    ) -> None:
        old, new = new_id(), new_id()
        put(phone, old)
        answer = put(phone, new, amount_fen=2000, replaces=str(old))
        assert (answer.status_code, answer.get_json()["state"]) == (201, "pending")
        assert phone.call("GET", f"{PATH}/{old}").get_json()["state"] == "closed"
        assert platform.pay(old).status_code == 409
        assert platform.pay(new).ok

    def test_orders_nothing_when_the_old_one_turns_out_paid(
        self, phone: Phone, holder: Bound, platform: Any
    ) -> None:
        old, new = new_id(), new_id()
        put(phone, old)
        platform.faults(drop=True)
        platform.pay(old)
        refused = put(phone, new, channel="alipay", replaces=str(old))
        body = refused.get_json()
        assert (refused.status_code, body["code"]) == (409, "top-up-paid")
        assert (body["top_up_id"], body["state"], body["amount_fen"]) == (str(old), "paid", 1000)
        assert balances(holder.id) == (1000, 0)
        assert phone.call("GET", f"{PATH}/{new}").status_code == 404

    @pytest.mark.parametrize("first", ["old", "new"])
    def test_goes_on_when_nobody_knows_and_one_of_two_payments_goes_back(
        self, phone: Phone, holder: Bound, platform: Any, first: str
    ) -> None:
        ids = {"old": new_id(), "new": new_id()}
        put(phone, ids["old"])
        platform.faults(drop=True, answer_5xx=True)
        answer = put(phone, ids["new"], amount_fen=2000, replaces=str(ids["old"]))
        assert (answer.status_code, answer.get_json()["state"]) == (201, "created")
        platform.faults(drop=True)
        put(phone, ids["new"], amount_fen=2000, replaces=str(ids["old"]))
        second = "new" if first == "old" else "old"
        for name, state in ((first, "paid"), (second, "returned")):
            assert platform.pay(ids[name]).ok
            asked = phone.call("POST", f"{PATH}/{ids[name]}/sync").get_json()
            assert asked["state"] == state
        assert balances(holder.id) == (1000 if first == "old" else 2000, 0)

    def test_is_answered_again_and_closes_nothing_twice(self, phone: Phone, platform: Any) -> None:
        old, new = new_id(), new_id()
        put(phone, old)
        first = put(phone, new, replaces=str(old))
        again = put(phone, new, replaces=str(old))
        assert (again.status_code, again.data) == (200, first.data)
        reused = put(phone, new)
        assert (reused.status_code, reused.get_json()["code"]) == (409, "id-reused")

    def test_of_somebody_elses_is_not_found(self, parts: Parts, phone: Phone) -> None:
        other, theirs = Phone(phone.client, token=make_holder(parts).token), new_id()
        put(other, theirs, channel="alipay")
        answer = put(phone, replaces=str(theirs))
        assert (answer.status_code, answer.get_json()["code"]) == (404, "not-found")
        assert other.call("GET", f"{PATH}/{theirs}").get_json()["state"] == "pending"

    def test_makes_room_below_the_limit(self, phone: Phone) -> None:
        last = ""
        for _ in range(10):
            last = put(phone).get_json()["id"]
        assert put(phone).status_code == 409
        assert put(phone, replaces=last).status_code == 201


class TestCancel:
    @pytest.mark.parametrize(("channel", "said"), [("wechat", "closing"), ("alipay", "closed")])
    def test_closes_at_the_platform_when_that_may_be(
        self, phone: Phone, channel: str, said: str
    ) -> None:
        top_up_id = new_id()
        put(phone, top_up_id, channel=channel)
        for _ in range(2):
            answer = phone.call("POST", f"{PATH}/{top_up_id}/cancel")
            assert (answer.status_code, answer.get_json()["state"]) == (200, said)

    def test_tells_that_the_payer_was_faster(
        self, phone: Phone, holder: Bound, platform: Any
    ) -> None:
        top_up_id = new_id()
        put(phone, top_up_id)
        platform.faults(drop=True)
        platform.pay(top_up_id)
        answer = phone.call("POST", f"{PATH}/{top_up_id}/cancel")
        assert (answer.get_json()["state"], balances(holder.id)) == ("paid", (1000, 0))

    def test_says_closing_while_the_platform_is_silent(self, phone: Phone, platform: Any) -> None:
        top_up_id = new_id()
        put(phone, top_up_id, channel="alipay")
        platform.faults(answer_5xx=True)
        answer = phone.call("POST", f"{PATH}/{top_up_id}/cancel")
        assert (answer.status_code, answer.get_json()["state"]) == (200, "closing")

    def test_of_nothing_is_not_found(self, phone: Phone) -> None:
        assert phone.call("POST", f"{PATH}/{new_id()}/cancel").status_code == 404


class TestList:
    def test_comes_in_pages(self, phone: Phone) -> None:
        made = [put(phone).get_json()["id"] for _ in range(3)]
        first = phone.call("GET", f"{PATH}?limit=2").get_json()
        second = phone.call("GET", f"{PATH}?limit=2&cursor={first['next_cursor']}").get_json()
        assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
        assert second["next_cursor"] is None

    @pytest.mark.parametrize("cursor", ["x", "%00", "A" * 200, json.dumps("1")])
    def test_refuses_a_cursor_it_did_not_make(self, phone: Phone, cursor: str) -> None:
        answer = phone.call("GET", f"{PATH}?cursor={cursor}")
        assert (answer.status_code, answer.get_json()["code"]) == (422, "cursor-unknown")


class TestFigures:
    def test_say_what_somebody_has_to_look_at(
        self, phone: Phone, holder: Bound, order: Any
    ) -> None:
        def unresolved() -> int:
            (line,) = [
                line
                for line in phone.client.get("/metrics").text.splitlines()
                if line.startswith("campus_card_top_ups_unresolved ")
            ]
            return int(line.split()[1])

        before = unresolved()
        stuck = order(holder, now=clock.now() - timedelta(hours=26, minutes=1))
        assert unresolved() == before + 1
        with transaction() as session:
            session.get_one(TopUp, stuck.id).state = TopUpState.CLOSED
        assert unresolved() == before
