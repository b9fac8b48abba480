"""The cash desk over the application's HTTP: who may, what is answered, and answered again."""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, balances, make_holder, sign_in
from flask import Flask
from flask.testing import FlaskClient
from phones import API, Phone

from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role

DESK = f"{API}/staff/cash-desk"
SHIFT = {"desk": "行政楼 1号窗", "opening_float_fen": 20_000}


class Clerk:
    """Somebody of the staff at the cash desk, with an open shift where they may have one."""

    def __init__(self, client: FlaskClient, headers: dict[str, str]) -> None:
        self.client, self.headers, self.shift_id = client, headers, new_id()

    def get(self, path: str, **query: Any) -> Any:
        """Look."""
        return self.client.get(f"{DESK}/{path}", query_string=query, headers=self.headers)

    def put(self, path: str, said: dict[str, Any]) -> Any:
        """Do."""
        return self.client.put(f"{DESK}/{path}", json=said, headers=self.headers)

    def look_up(self, shown: str, by: str = "holder_number") -> Any:
        """Find a holder."""
        said = {"by": by, "shown": shown}
        return self.client.post(f"{DESK}/holder-lookups", json=said, headers=self.headers)

    def open(self, **said: Any) -> Any:
        """Open the shift."""
        return self.put(f"shifts/{self.shift_id}", SHIFT | said)

    def take(self, holder: Bound, top_up_id: UUID | None = None, **said: Any) -> Any:
        """Take 50.00 yuan."""
        wanted = {
            "shift_id": str(self.shift_id),
            "holder_id": str(holder.id),
            "amount_fen": 5_000,
        }
        return self.put(f"top-ups/{top_up_id or new_id()}", wanted | said)

    def reverse(self, top_up: dict[str, Any], reversal_id: UUID | None = None) -> Any:
        """Take a top-up back."""
        path = f"top-ups/{top_up['id']}/reversals/{reversal_id or new_id()}"
        return self.put(path, {"reason": "误充他人账户"})

    def count(self, counted_fen: int, **said: Any) -> Any:
        """Close out."""
        return self.put(f"shifts/{self.shift_id}/close-out", {"counted_fen": counted_fen} | said)

    def rule(self, shift_id: UUID, decision: str) -> Any:
        """Rule on a count."""
        said = {"decision": decision, "reason": "已核对录像"}
        return self.put(f"shifts/{shift_id}/close-out/ruling", said)


@pytest.fixture
def clerk(app: Flask, parts: Parts) -> Callable[[Role], Clerk]:
    """Make somebody of a role."""
    return lambda role: Clerk(app.test_client(), sign_in(parts, role))


@pytest.fixture
def cashier(clerk: Callable[[Role], Clerk]) -> Clerk:
    """A cashier of logistics with an open shift."""
    made = clerk(Role.LOGISTICS)
    assert made.open().status_code == 201
    return made


@pytest.fixture
def supervisor(clerk: Callable[[Role], Clerk]) -> Clerk:
    return clerk(Role.CARD_CENTRE)


def refused(answer: Any) -> tuple[int, str]:
    """Return status and code of a refusal."""
    return answer.status_code, answer.get_json()["code"]


class TestRoles:
    CASHIERS = frozenset({Role.LOGISTICS, Role.FINANCE})
    SUPERVISORS = frozenset({Role.FINANCE, Role.CARD_CENTRE})
    LOOK = CASHIERS | SUPERVISORS | {Role.AUDITOR}

    @pytest.mark.parametrize("role", Role)
    def test_may_do_what_they_answer_for(self, clerk, role) -> None:
        who, nobody = clerk(role), new_id()
        tried = {
            "look up": (who.look_up("nobody"), self.CASHIERS),
            "current": (who.get("shifts/current"), self.CASHIERS),
            "open": (who.open(), self.CASHIERS),
            "count": (who.count(20_000), self.CASHIERS),
            "rule": (who.rule(nobody, "approve"), self.SUPERVISORS),
            "reverse": (who.reverse({"id": nobody}), self.SUPERVISORS),
            "shifts": (who.get("shifts"), self.LOOK),
            "shift": (who.get(f"shifts/{nobody}"), self.LOOK),
            "top-ups": (who.get("top-ups"), self.LOOK),
            "top-up": (who.get(f"top-ups/{nobody}"), self.LOOK),
            "reversals": (who.get("reversals"), self.LOOK),
            "reversal": (who.get(f"top-ups/{nobody}/reversals/{nobody}"), self.LOOK),
        }
        said = {name for name, (answer, _) in tried.items() if answer.status_code == 403}
        assert said == {name for name, (_, roles) in tried.items() if role not in roles}
        for name in said:
            assert tried[name][0].get_json()["code"] == "role-not-allowed"


class TestShift:
    def test_is_opened_once_and_the_retry_gets_the_first_answer(self, clerk, parts) -> None:
        who = clerk(Role.LOGISTICS)
        assert refused(who.get("shifts/current")) == (404, "not-found")
        first = who.open()
        assert first.status_code == 201
        assert who.get("shifts/current").get_json() == first.get_json()
        who.take(make_holder(parts))
        who.count(25_010, note="找零有误")
        again = who.open()
        assert (again.status_code, again.get_json()) == (200, first.get_json())
        assert refused(who.open(desk="别处")) == (409, "id-reused")
        stands = who.get(f"shifts/{who.shift_id}").get_json()
        assert (stands["state"], stands["difference_fen"]) == ("closed", 10)
        assert stands["note"] == "找零有误"

    def test_that_waits_is_told_so_and_the_retry_too(self, cashier, supervisor) -> None:
        first = cashier.count(25_000, note="多出")
        assert (first.status_code, first.get_json()["state"]) == (201, "closing")
        ruled = supervisor.rule(cashier.shift_id, "approve")
        assert (ruled.status_code, ruled.get_json()["state"]) == (201, "closed")
        assert ruled.get_json()["resolution"]["reason"] == "已核对录像"
        assert supervisor.rule(cashier.shift_id, "approve").status_code == 200
        again = cashier.count(25_000, note="多出")
        assert (again.status_code, again.get_json()) == (200, first.get_json())
        assert refused(supervisor.rule(cashier.shift_id, "recount")) == (409, "shift-not-closing")

    def test_of_others_is_nobodys_business(self, cashier, clerk, supervisor) -> None:
        stranger, path = clerk(Role.LOGISTICS), f"shifts/{cashier.shift_id}"
        assert refused(stranger.get(path)) == (404, "not-found")
        assert refused(stranger.put(path, SHIFT)) == (404, "not-found")
        assert supervisor.get(path).status_code == 200

    def test_counts_by_notes_and_coins(self, cashier) -> None:
        counts = [{"value_fen": 10_000, "count": 2}]
        wrong = cashier.count(20_100, counts=counts)
        assert refused(wrong) == (409, "count-does-not-add-up")
        assert (wrong.get_json()["counted_fen"], wrong.get_json()["sum_fen"]) == (20_100, 20_000)
        assert cashier.count(20_000, counts=counts).get_json()["counts"] == counts

    @pytest.mark.parametrize(
        "wrong",
        [{"counted_fen": -1}, {"counted_fen": 1.5}, {"counted_fen": True}, {"note": ""},
         {"counts": [{"value_fen": 3, "count": 1}]}, {"counts": [{"value_fen": 100}]},
         {"counts": [{"value_fen": 100, "count": -1}]}, {"counts": {}}, {"note": "\x00"}],
    )  # fmt: skip
    def test_takes_no_count_that_is_none(self, cashier, wrong) -> None:
        said = {"counted_fen": 20_000} | wrong
        answer = cashier.put(f"shifts/{cashier.shift_id}/close-out", said)
        assert refused(answer) == (422, "validation-failed")
        assert cashier.get("shifts/current").get_json()["state"] == "open"

    def test_is_listed_in_pages(self, clerk) -> None:
        who = clerk(Role.LOGISTICS)
        made = []
        for _ in range(3):
            who.shift_id = new_id()
            who.open()
            who.count(20_000)
            made.append(str(who.shift_id))
        seen, cursor = [], None
        while True:
            answer = who.get("shifts", limit=2, **({"cursor": cursor} if cursor else {}))
            seen += [item["id"] for item in answer.get_json()["items"]]
            cursor = answer.get_json()["next_cursor"]
            if cursor is None:
                break
        assert seen == made[::-1]
        assert who.get("shifts", state="open").get_json()["items"] == []
        assert refused(who.get("top-ups", cursor=cursor or "x")) == (422, "cursor-unknown")


class TestTopUp:
    def test_is_taken_once_and_the_retry_gets_the_first_answer(
        self, cashier, supervisor, parts
    ) -> None:
        holder, top_up_id = make_holder(parts, name="欧阳晓明"), new_id()
        first = cashier.take(holder, top_up_id)
        assert first.status_code == 201
        told = first.get_json()
        assert (told["amount_fen"], told["balance_fen"], told["reversal"]) == (5_000, 5_000, None)
        assert (told["holder_number"], told["name_masked"]) == (holder.number, "欧***")
        reversed_ = supervisor.reverse(told)
        assert reversed_.status_code == 201
        again = cashier.take(holder, top_up_id)
        assert (again.status_code, again.get_json()) == (200, told)
        assert refused(cashier.take(holder, top_up_id, amount_fen=1)) == (409, "id-reused")
        stands = cashier.get(f"top-ups/{top_up_id}").get_json()
        assert stands == told | {"reversal": reversed_.get_json()}
        assert balances(holder.id) == (0, 0)

    def test_shows_in_statement_and_events(self, app, cashier, supervisor, parts) -> None:
        holder = make_holder(parts)
        phone = Phone(app.test_client(), token=holder.token)
        start = phone.call("GET", "/me/events").get_json()["next"]
        told = cashier.take(holder).get_json()
        supervisor.reverse(told)
        items = phone.call("GET", "/me/statement").get_json()["items"]
        assert [(item["kind"], item["receipt_number"]) for item in items] == [
            ("cash_top_up_reversal", told["receipt_number"]),
            ("cash_top_up", told["receipt_number"]),
        ]
        assert items[0]["place"] == SHIFT["desk"]
        kinds: list[str] = []
        for _ in range(50):  # the horizon waits for other tests' transactions
            answer = phone.call("GET", f"/me/events?after={start}")
            kinds = [event["kind"] for event in (answer.get_json() or {"items": []})["items"]]
            if len(kinds) == 2:
                break
            time.sleep(0.1)
        assert kinds == ["cash-top-up", "cash-top-up-reversed"]

    @pytest.mark.parametrize(
        "wrong",
        [{"amount_fen": 0}, {"amount_fen": -5}, {"amount_fen": "5000"}, {"amount_fen": 50.5},
         {"amount_fen": 10**20}, {"holder_id": "x"}, {"shift_id": None}, {"note": "\x00"},
         {"note": "x" * 201}, {"more": 1}],
    )  # fmt: skip
    def test_takes_nothing_that_does_not_fit(self, cashier, parts, wrong) -> None:
        holder = make_holder(parts)
        assert refused(cashier.take(holder, **wrong)) == (422, "validation-failed")
        assert balances(holder.id) == (0, 0)

    def test_is_listed_by_shift(self, cashier, supervisor, parts) -> None:
        holder = make_holder(parts)
        made = [cashier.take(holder).get_json()["id"] for _ in range(3)]
        listed = supervisor.get("top-ups", shift_id=str(cashier.shift_id)).get_json()
        assert [item["id"] for item in listed["items"]] == made[::-1]
        assert [item["id"] for item in cashier.get("top-ups").get_json()["items"]] == made[::-1]


class TestReversal:
    def test_is_made_once_and_refused_to_the_cashier(self, clerk, supervisor, parts) -> None:
        cashier = clerk(Role.FINANCE)
        cashier.open()
        told, reversal_id = cashier.take(make_holder(parts)).get_json(), new_id()
        assert refused(cashier.reverse(told)) == (403, "cashier-cannot-supervise")
        first, again = (supervisor.reverse(told, reversal_id) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        assert first.get_json()["receipt_number"] == told["receipt_number"]
        path = f"top-ups/{told['id']}/reversals/{reversal_id}"
        assert cashier.get(path).get_json() == first.get_json()
        assert refused(supervisor.reverse(told)) == (409, "cash-reversed")
        assert refused(clerk(Role.FINANCE).reverse(told, reversal_id)) == (404, "not-found")
        listed = supervisor.get("reversals").get_json()["items"]
        assert listed[0] == first.get_json()

    def test_of_another_cashier_is_not_seen(self, clerk, cashier, supervisor, parts) -> None:
        told, reversal_id = cashier.take(make_holder(parts)).get_json(), new_id()
        supervisor.reverse(told, reversal_id)
        path = f"top-ups/{told['id']}/reversals/{reversal_id}"
        assert cashier.get(path).status_code == 200
        stranger = clerk(Role.LOGISTICS)
        assert refused(stranger.get(path)) == (404, "not-found")
        assert refused(stranger.get(f"top-ups/{told['id']}")) == (404, "not-found")
        assert stranger.get("reversals").get_json()["items"] == []
        assert refused(supervisor.get(f"top-ups/{new_id()}/reversals/{reversal_id}"))[0] == 404


class TestLookUp:
    def test_finds_by_number_and_by_a_shown_code(self, app, cashier, parts) -> None:
        holder = make_holder(parts, name="欧阳晓明", balance_fen=700)
        by_number = cashier.look_up(holder.number)
        assert by_number.status_code == 200
        assert by_number.get_json() == {
            "holder_id": str(holder.id),
            "holder_number": holder.number,
            "name_masked": "欧***",
            "category": "student",
            "physical_card_state": "active",
            "virtual_card_state": "active",
            "balance_fen": 700,
            "arrears_fen": 0,
            "reason": None,
        }
        phone = Phone(app.test_client(), token=holder.token)
        for kind in ("signed", "short"):
            shown = phone.call("POST", "/me/codes", {"scope": "pay", "kind": kind}).get_json()
            found = cashier.look_up(shown["codes"][0]["text"], by="code")
            assert found.get_json() == by_number.get_json()
        assert refused(cashier.look_up(holder.number, by="card_number")) == (404, "not-found")

    def test_says_what_is_wrong_with_a_code(self, app, cashier, parts) -> None:
        phone = Phone(app.test_client(), token=make_holder(parts).token)
        gate = phone.call("POST", "/me/codes", {"scope": "gate"}).get_json()["codes"][0]["text"]
        stale = phone.call("POST", "/me/codes", {"scope": "pay"}).get_json()["codes"][0]["text"]
        phone.call("DELETE", "/me/codes")
        for shown, code in (
            (gate, "code-wrong-scope"),
            (stale, "code-stale"),
            ("no code", "code-malformed"),
            ("961" + "0" * 198, "code-forged"),
        ):
            answer = cashier.look_up(shown, by="code")
            assert answer.status_code == 409
            assert answer.get_json()["code"] in (code, "code-malformed", "code-unknown-key")
