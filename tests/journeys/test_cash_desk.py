"""A day at the cash desk (现金充值), as its cashier, a supervisor and a holder live it."""

from typing import Any
from uuid import uuid4

import pyotp
from journeys.outsider import Answer, Demo, Phone, ask

FLOAT_FEN = 20_000


class Clerk:
    """A person of the demo's staff, logged in."""

    def __init__(self, demo: Demo, username: str) -> None:
        self.base = f"{demo.said['base_url']}/api/v1/staff"
        (said,) = [one for one in demo.said["staff"] if one["username"] == username]
        content = {
            "username": username,
            "password": said["password"],
            "totp": pyotp.TOTP(said["totp_secret"]).now(),
        }
        opened = ask("POST", f"{self.base}/sessions", content)
        assert opened.status == 201, opened
        self.token = opened.body["token"]

    def ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Answer:
        """Call the desk's API."""
        return ask(method, f"{self.base}/cash-desk{path}", content, token=self.token)

    def get(self, path: str) -> Any:
        """Look."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def put(self, path: str, **content: Any) -> Answer:
        """Do."""
        return self.ask("PUT", path, content)


class TestCashDesk:
    def test_a_day_from_the_float_to_the_bank(self, demo: Demo):
        cashier, supervisor = Clerk(demo, "houqin"), Clerk(demo, "caiwu2")
        phone, shift = demo.holder("20240201"), f"/shifts/{uuid4()}"
        opened = cashier.put(shift, desk="行政楼 1号窗", opening_float_fen=FLOAT_FEN)
        assert (opened.status, opened.body["state"]) == (201, "open"), opened
        kept = takes(cashier, shift, phone, 3_000)
        mistaken = takes(cashier, shift, phone, 5_000)
        is_taken_back(cashier, supervisor, phone, mistaken)
        counts(cashier, supervisor, shift, expected_fen=FLOAT_FEN + 3_000)
        lines = [item for item in phone.get("/me/statement")["items"] if item["receipt_number"]]
        assert [(line["kind"], line["receipt_number"]) for line in lines[:3]] == [
            ("cash_top_up_reversal", mistaken["receipt_number"]),
            ("cash_top_up", mistaken["receipt_number"]),
            ("cash_top_up", kept["receipt_number"]),
        ]
        proof = demo.campus_card("prove-ledger")
        assert proof.returncode == 0, proof
        assert "cash that differs    0.00\n" in proof.stdout
        assert "\ncash                 0.00\n" in proof.stdout

    def test_the_month_before_has_closed_shifts(self, demo: Demo):
        auditor = Clerk(demo, "shenji")
        past = [one for one in auditor.get("/shifts")["items"] if one["cashier"] == "houqin"][-2:]
        assert [one["state"] for one in past] == ["closed", "closed"]
        assert [one["difference_fen"] for one in past] == [-50, 0]
        taken_back = auditor.get("/reversals")["items"][-1]
        assert (taken_back["supervisor"], taken_back["amount_fen"]) == ("caiwu", 5_000)
        assert auditor.put(f"/shifts/{uuid4()}", desk="x", opening_float_fen=0).status == 403


def takes(cashier: Clerk, shift: str, phone: Phone, amount_fen: int) -> dict[str, Any]:
    """The holder shows a code, the cashier takes the money, the answer is lost once."""
    found = cashier.ask("POST", "/holder-lookups", {"by": "code", "shown": phone.code()})
    assert (found.status, found.body["reason"]) == (200, None), found
    before, path = phone.balance_fen, f"/top-ups/{uuid4()}"
    assert found.body["balance_fen"] == before
    content = {
        "shift_id": shift.rpartition("/")[2],
        "holder_id": found.body["holder_id"],
        "amount_fen": amount_fen,
    }
    first, again = (cashier.put(path, **content) for _ in range(2))
    assert (first.status, again.status) == (201, 200), first
    assert first.body == again.body
    assert phone.balance_fen == first.body["balance_fen"] == before + amount_fen
    told: dict[str, Any] = first.body
    return told


def is_taken_back(
    cashier: Clerk, supervisor: Clerk, phone: Phone, mistaken: dict[str, Any]
) -> None:
    """Not by the cashier; by a supervisor, once."""
    before = phone.balance_fen
    path = f"/top-ups/{mistaken['id']}/reversals/{uuid4()}"
    assert cashier.put(path, reason="误充").code == "role-not-allowed"
    first, again = (supervisor.put(path, reason="误充") for _ in range(2))
    assert (first.status, again.status) == (201, 200), first
    assert phone.balance_fen == before - mistaken["amount_fen"]
    stands = cashier.get(f"/top-ups/{mistaken['id']}")
    assert stands["reversal"]["reason"] == "误充"


def counts(cashier: Clerk, supervisor: Clerk, shift: str, *, expected_fen: int) -> None:
    """A count that is off by 20 yuan: said why, held, sent back; the second one is right."""
    wrong = cashier.put(f"{shift}/close-out", counted_fen=expected_fen - 2_000)
    assert (wrong.code, wrong.body["expected_fen"]) == ("difference-unexplained", expected_fen)
    held = cashier.put(f"{shift}/close-out", counted_fen=expected_fen - 2_000, note="不明")
    assert held.body["state"] == "closing"
    ruled = supervisor.put(f"{shift}/close-out/ruling", decision="recount", reason="再数一遍")
    assert ruled.body["state"] == "open"
    closed = cashier.put(f"{shift}/close-out", counted_fen=expected_fen)
    assert (closed.body["state"], closed.body["difference_fen"]) == ("closed", 0)
    assert cashier.ask("GET", "/shifts/current").code == "not-found"
