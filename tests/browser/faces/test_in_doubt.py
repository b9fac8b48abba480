"""No answer came. The till says so, asks under the same number, and in the end voids."""

import json

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

CODE = "961" + "2718281828" * 19 + "45904523"
OTHER_CODE = "960" + "4" * 17
CHARGE = "PUT /charges/(?P<charge_id>[0-9a-f-]{36})"
VOID = CHARGE + "/void"
REVERSAL = CHARGE + "/reversals/(?P<reversal_id>[0-9a-f-]{36})"


def no_answer(**_):
    return None


def voided(*, charge_id, **_):
    return 201, {"id": charge_id, "state": "voided", "amount_fen": 1250, "reference": "EC-V01D5"}


def reversed_(*, charge_id, reversal_id, body, **_):
    return 201, {"id": reversal_id, "charge_id": charge_id, **body, "total_fen": 345}


def pending(page: Page) -> list[dict[str, object]]:
    stored = "Object.entries(localStorage).find(([key]) => key.includes('pending'))"
    return json.loads(page.evaluate(f"{stored}?.[1] ?? '[]'"))


def scan(till: Page) -> None:
    till.keyboard.type("12.5")
    till.keyboard.press("Enter")
    till.keyboard.type(CODE)


def expect_state(page: Page, state: str) -> None:
    expect(page.locator("body")).to_have_attribute("data-state", state, timeout=15_000)


class TestChargeInDoubt:
    def test_is_kept_with_its_number_and_without_its_code(self, till, script):
        script.on(CHARGE, no_answer)
        scan(till)
        expect_state(till, "doubt")
        [entry] = pending(till)
        assert script.sent(CHARGE)[0][0] == f"/charges/{entry['id']}"
        assert entry["amount_fen"] == 1250
        assert CODE not in till.evaluate("JSON.stringify(localStorage)")

    def test_is_sent_again_under_the_same_number(self, till, script):
        ordinary = script.answer_of(CHARGE)
        script.on(
            CHARGE, lambda **asked: ordinary(**asked) if len(script.sent(CHARGE)) > 1 else None
        )
        scan(till)
        expect_state(till, "approved")
        first, second = script.sent(CHARGE)
        assert first == second
        assert pending(till) == []

    @pytest.mark.parametrize("status", [408, 500, 503], ids=str)
    def test_counts_a_busy_or_broken_server_as_no_answer(self, till, script, status):
        ordinary = script.answer_of(CHARGE)
        busy = (status, {"code": "unavailable", "title": "later", "status": status})
        script.on(
            CHARGE, lambda **asked: ordinary(**asked) if len(script.sent(CHARGE)) > 1 else busy
        )
        scan(till)
        expect_state(till, "approved")
        assert len({path for path, _ in script.sent(CHARGE)}) == 1

    def test_is_refused_by_a_brake_at_first_but_stays_in_doubt_behind_a_lost_answer(
        self, till, script
    ):
        brake = (429, {"code": "too-many-requests", "title": "slow down", "status": 429})
        script.on(CHARGE, lambda **_: brake)
        scan(till)
        expect_state(till, "refused")
        script.on(CHARGE, lambda **_: None if len(script.sent(CHARGE)) == 2 else brake)
        script.on(VOID, voided)
        till.locator("#again").click()
        till.keyboard.type(OTHER_CODE)
        expect_state(till, "voided")

    def test_is_voided_after_giving_up(self, till, script):
        script.on(CHARGE, no_answer)
        script.on(VOID, lambda **asked: voided(**asked) if len(script.sent(VOID)) > 1 else None)
        scan(till)
        expect_state(till, "voided")
        charges = {path for path, _ in script.sent(CHARGE)}
        voids = {path for path, _ in script.sent(VOID)}
        assert voids == {f"{path}/void" for path in charges}
        assert len(charges) == 1
        assert pending(till) == []

    def test_is_voided_at_once_when_the_cashier_gives_up(self, till, script):
        script.on(CHARGE, no_answer)
        script.on(VOID, voided)
        scan(till)
        expect_state(till, "doubt")
        till.keyboard.press("Escape")
        expect_state(till, "voided")
        expect(till.locator("#panel-view")).to_contain_text("没有扣款")

    def test_is_believed_when_the_server_says_it_went_through(self, till, script):
        _, made = script.answer_of(CHARGE)(charge_id="x", body={"amount_fen": 1250})
        script.on(CHARGE, no_answer)
        script.on(
            "GET /charges/(?P<charge_id>.*)",
            lambda charge_id, **_: (
                200,
                {**made, "id": charge_id, "reason": None, "reversed_fen": 0},
            ),
        )
        scan(till)
        expect_state(till, "approved")
        assert script.sent(VOID) == []

    def test_is_neither_success_nor_failure_and_lets_nothing_else_in(self, till, script):
        script.on(CHARGE, no_answer)
        script.on(VOID, no_answer)
        scan(till)
        expect_state(till, "doubt")
        expect(till.locator("#panel-view")).to_contain_text("请勿重复收款")
        expect(till.locator("#charge")).to_be_disabled()
        till.keyboard.type("961" + "1" * 198)
        expect(till.locator("#notice")).to_have_text("上一笔还没有结果")
        assert len({path for path, _ in script.sent(CHARGE)}) == 1
        expect(till.locator("#reach")).to_have_text("离线")

    def test_is_settled_after_a_reload(self, till, script):
        script.on(CHARGE, no_answer)
        script.on(VOID, no_answer)
        scan(till)
        expect_state(till, "doubt")
        [entry] = pending(till)
        script.on(VOID, voided)
        till.reload()
        expect_state(till, "voided")
        assert f"/charges/{entry['id']}/void" in {path for path, _ in script.sent(VOID)}
        assert pending(till) == []

    def test_gives_the_code_back_when_it_was_voided(self, till, script):
        ordinary = script.answer_of(CHARGE)
        script.on(CHARGE, no_answer)
        script.on(VOID, voided)
        scan(till)
        expect_state(till, "voided")
        script.on(CHARGE, ordinary)
        till.keyboard.press("Enter")
        till.keyboard.type(CODE)
        expect_state(till, "approved")

    def test_counts_once_in_the_day(self, till, script):
        scan(till)
        expect_state(till, "approved")
        expect(till.locator("#today")).to_have_text("今日 1 笔 · ¥12.50")
        till.reload()
        expect_state(till, "amount")
        expect(till.locator("#today")).to_have_text("今日 1 笔 · ¥12.50")


class TestReversal:
    def test_returns_a_part_under_one_number_whatever_the_network_does(self, till, script):
        script.on(
            REVERSAL, lambda **asked: reversed_(**asked) if len(script.sent(REVERSAL)) > 1 else None
        )
        scan(till)
        expect_state(till, "approved")
        till.locator("#recent [data-reverse]").click()
        till.locator("#reversal [name=amount]").fill("3")
        till.locator("#reversal [type=submit]").click()
        expect(till.locator("#reversal [role=alert]")).to_contain_text("请勿重复冲正")
        expect(till.locator("#reversal")).to_be_hidden()
        first, second = script.sent(REVERSAL)
        assert first == second
        assert first[1] == {"amount_fen": 300}
        expect(till.locator("#today")).to_have_text("今日 1 笔 · ¥9.50")
        expect(till.locator("#recent")).to_contain_text("已冲正 ¥3.00")

    def test_refuses_more_than_was_charged(self, till, script):
        scan(till)
        expect_state(till, "approved")
        till.keyboard.press("F2")
        till.locator("#reversal [name=amount]").fill("12.51")
        till.keyboard.press("Enter")
        expect(till.locator("#reversal [role=alert]")).to_have_text("金额不对")
        assert script.sent("PUT .*/reversals/.*") == []


class TestPassageInDoubt:
    PASSAGE = "PUT /passages/(?P<passage_id>[0-9a-f-]{36})"

    def test_keeps_the_door_shut_and_asks_for_the_same_decision_again(self, gate, script):
        ordinary = script.answer_of(self.PASSAGE)
        script.on(self.PASSAGE, no_answer)
        gate.keyboard.type(CODE)
        expect_state(gate, "doubt")
        script.on(self.PASSAGE, ordinary)
        gate.keyboard.type(CODE)
        expect_state(gate, "allow")
        assert len({path for path, _ in script.sent(self.PASSAGE)}) == 1
