"""What till and gate make of the school's rules, and how they tell it what they did meanwhile."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from playwright.sync_api import Page, expect
from schools import TILL_RULES, School, gate_rules

from qr import Scope
from qr.rules import OfflinePolicy

pytestmark = pytest.mark.browser

CHARGE, PASSAGE = "PUT /charges/[^/]+", "PUT /passages/[^/]+"
LATE = "POST /(charges|passages)/late"
FILL = """async (count) => {
  const names = (await indexedDB.databases()).map(({ name }) => name);
  const name = names.find((one) => one.includes("scanner"));
  const { ScannerStore } = await import("/stage/faces/qr/store.js");
  const { IndexedTables } = await import("/stage/faces/qr/tables.js");
  const store = new ScannerStore(await IndexedTables.open(name));
  await store.deciding(async (deciding) => {
    for (let number = 1; number <= count; number += 1) {
      const id = `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
      const item = { id, code: "", direction: "in", decided_at: new Date().toISOString() };
      await deciding.enqueue(item, { accepted: true, facts: {} });
    }
  });
}"""


def no_answer(**_):
    return None


def outcomes(outcome="recorded"):
    """An answer to an upload: the same for each item."""

    def answer(body, **_):
        said = [
            {"id": i["id"], "sequence": i["sequence"], "outcome": outcome, "reference": "EC-L8T3R"}
            for i in body["items"]
        ]
        return 200, {"items": said}

    return answer


def with_bundle(face: Page) -> Page:
    """Wait until a page has its first bundle, and return it."""
    expect(face.locator("[data-fact=bundle]")).to_contain_text("第 1 版")
    return face


@pytest.fixture
def gate_with(open_alone, script, terminals):
    """Opens a gate whose bundle has these rules, while nobody answers its questions about codes."""

    def open_(**changed):
        school = School(script, terminals["gate"], gate=gate_rules(**changed))
        script.on(PASSAGE, no_answer)
        return with_bundle(open_alone(terminals["gate"])), school

    return open_


@pytest.fixture
def till_alone(open_alone, script, terminals):
    school = School(script, terminals["till"], till=TILL_RULES)
    script.on(CHARGE, no_answer)
    return with_bundle(open_alone(terminals["till"])), school


def show(gate: Page, code: str, state: str, reason: str | None = None) -> None:
    gate.keyboard.type(code)
    expect(gate.locator("body")).to_have_attribute("data-state", state, timeout=10_000)
    if reason:
        expect(gate.locator("#verdict")).to_have_attribute("data-reason", reason)


def fill(gate: Page, count: int) -> None:
    """Put passages in the queue, as a long time without network does."""
    gate.evaluate(FILL, count)


def waits_for(page: Page, condition) -> None:
    for _ in range(100):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not come to that")


def meet(page: Page) -> None:
    page.evaluate("dispatchEvent(new Event('online'))")


class TestGate:
    def test_lets_everybody_pass_whose_policy_is_open(self, gate_with):
        gate, school = gate_with(offline=OfflinePolicy.OPEN)
        show(gate, school.device_code(Scope.PAY), "allow", "code-wrong-scope")
        expect(gate.locator("[data-field=next]")).to_have_text("已放行 · 脱机")
        gate.locator("#drawer-open").click()
        expect(gate.locator("#log li").first).to_contain_text("这个码不能用在这里")
        expect(gate.locator("[data-fact=policy]")).to_have_text("脱机时全部放行")

    def test_lets_nobody_pass_whose_policy_is_closed(self, gate_with):
        gate, school = gate_with(offline=OfflinePolicy.CLOSED)
        show(gate, school.device_code(Scope.GATE), "deny", "offline-closed")

    def test_wants_people_to_leave_before_they_come_in_again(self, gate_with):
        gate, school = gate_with(passback=timedelta(minutes=30))
        show(gate, school.device_code(Scope.GATE), "allow")
        show(gate, school.device_code(Scope.GATE), "deny", "passback")
        gate.locator("#direction label").nth(1).click()
        show(gate, school.device_code(Scope.GATE), "allow")

    def test_remembers_who_came_in_while_it_was_online(self, gate_with, script):
        gate, school = gate_with(passback=timedelta(minutes=30))
        script.on(
            PASSAGE,
            lambda body, **_: (201, {"decision": "allow", "reason": None, "holder": None, **body}),
        )
        show(gate, school.device_code(Scope.GATE), "allow")
        script.on(PASSAGE, no_answer)
        show(gate, school.device_code(Scope.GATE), "deny", "passback")

    def test_asks_nobody_in_an_emergency_that_the_school_declared(self, gate_with, script):
        gate, _ = gate_with(emergency=True)
        gate.locator("#direction label").nth(1).click()
        expect(gate.locator("#verdict")).to_contain_text("请直接离开")
        gate.keyboard.type("hello")
        gate.keyboard.type("123")
        gate.keyboard.press("Enter")
        expect(gate.locator("body")).to_have_attribute("data-state", "allow")
        assert script.sent(PASSAGE) == []


class TestBundle:
    def test_that_the_school_did_not_sign_is_not_used(self, open_alone, script, terminals):
        school = School(script, terminals["gate"], gate=gate_rules())
        script.on(
            r"GET /terminals/current/bundle(\?after=\d+)?",
            lambda **_: (
                200,
                {"sequence": 1, "bundle": school.bundle(private_key=Ed25519PrivateKey.generate())},
            ),
        )
        gate = open_alone(terminals["gate"])
        expect(gate.locator("[data-fact=bundle]")).to_have_text("还没有收到")
        expect(gate.locator("[data-fact=trouble]")).to_contain_text("验签不符")
        script.on(PASSAGE, no_answer)
        show(gate, school.device_code(Scope.GATE), "doubt")

    def test_is_judged_by_the_keys_of_the_first_contact(self, gate_with, script):
        gate, school = gate_with()
        school.root, school.sequence = Ed25519PrivateKey.generate(), 2
        gate.reload()
        expect(gate.locator("[data-fact=trouble]")).to_contain_text("验签不符")
        expect(gate.locator("[data-fact=bundle]")).to_contain_text("第 1 版")
        assert len(script.sent("GET /terminals/current/bundle/keys")) == 1

    def test_that_is_newer_is_learnt_by_what_has_changed(self, gate_with, script):
        gate, school = gate_with()
        school.rules, school.sequence = {"gate": gate_rules(offline=OfflinePolicy.OPEN)}, 2
        meet(gate)
        expect(gate.locator("[data-fact=bundle]")).to_contain_text("第 2 版")
        expect(gate.locator("[data-fact=policy]")).to_have_text("脱机时全部放行")
        assert script.sent(r"GET /terminals/current/bundle\?after=1") != []

    def test_is_told_in_the_heartbeat(self, gate_with, script):
        gate, school = gate_with()
        show(gate, school.device_code(Scope.GATE), "allow")
        expect(gate.locator("#queue")).to_have_text("待上送 1 笔")
        script.on(LATE, no_answer)
        meet(gate)
        gate.wait_for_timeout(300)
        _, told = script.sent("POST /terminals/current/heartbeat")[-1]
        assert (told["queue_length"], told["last_sequence"], told["bundle_sequence"]) == (1, 1, 1)
        assert told["clock"].endswith("Z")


class TestUpload:
    def test_comes_in_batches_and_each_item_once(self, gate_with, script):
        gate, _ = gate_with()
        script.on(LATE, outcomes())
        fill(gate, 450)
        meet(gate)
        waits_for(gate, lambda: len(script.sent(LATE)) == 3)
        expect(gate.locator("#queue")).to_be_hidden()
        batches = [body["items"] for _, body in script.sent(LATE)]
        assert [len(batch) for batch in batches] == [200, 200, 50]
        assert [item["sequence"] for batch in batches for item in batch] == list(range(1, 451))

    def test_goes_on_where_it_was_cut(self, gate_with, script):
        gate, _ = gate_with()
        recorded = outcomes()
        script.on(LATE, lambda **asked: recorded(**asked) if len(script.sent(LATE)) < 2 else None)
        fill(gate, 250)
        meet(gate)
        expect(gate.locator("#queue")).to_have_text("待上送 50 笔")
        script.on(LATE, recorded)
        meet(gate)
        expect(gate.locator("#queue")).to_be_hidden()
        first, *others = [len(body["items"]) for _, body in script.sent(LATE)]
        assert (first, set(others)) == (200, {50})

    def test_that_the_server_did_not_take_stays_and_lets_the_others_go(self, gate_with, script):
        gate, _ = gate_with()

        def all_but_the_first(body, **_):
            status, said = outcomes()(body)
            for item in said["items"]:
                if item["sequence"] == 1:
                    item["outcome"] = "malformed"
            return status, said

        script.on(LATE, all_but_the_first)
        fill(gate, 250)
        meet(gate)
        expect(gate.locator("#queue")).to_have_text("待上送 1 笔")
        expect(gate.locator("#attention [data-outcome=malformed]")).to_have_count(1)

    def test_that_needs_a_look_is_listed_until_somebody_has_seen_it(self, till_alone, script):
        till, school = till_alone
        script.on(LATE, no_answer)
        till.keyboard.type("12.5")
        till.keyboard.press("Enter")
        till.keyboard.type(school.device_code(Scope.PAY))
        expect(till.locator("body")).to_have_attribute("data-state", "recorded", timeout=10_000)
        [(path, body)] = dict(script.sent(CHARGE)).items()
        script.on(LATE, outcomes("charged-with-arrears"))
        meet(till)
        expect(till.locator("#device-open")).to_have_attribute("data-attention", "")
        till.locator("#device-open").click()
        row = till.locator("#attention li")
        expect(row).to_contain_text("¥12.50")
        expect(row).to_contain_text("记为欠费")
        expect(row).to_contain_text("编号 EC-L8T3R")
        row.get_by_role("button").click()
        expect(row).to_have_count(0)
        _, told = script.sent(LATE)[-1]
        [item] = told["items"]
        assert f"/charges/{item['id']}" == path
        assert (item["code"], item["amount_fen"]) == (body["code"], 1250)
        assert (item["sequence"], item["state"], item["reason"]) == (1, "approved", None)
        assert item["bundle_sequence"] == 1
        expect(till.locator("#recent [data-alone]")).to_have_attribute(
            "data-alone", "charged-with-arrears"
        )
        expect(till.locator("#recent [data-reverse]")).to_be_enabled()

    def test_is_refused_to_a_till_whose_token_died_which_keeps_it(self, till_alone, script):
        till, school = till_alone
        till.keyboard.type("6")
        till.keyboard.press("Enter")
        till.keyboard.type(school.device_code(Scope.PAY))
        expect(till.locator("body")).to_have_attribute("data-state", "recorded", timeout=10_000)
        script.on(LATE, lambda **_: (401, {"code": "not-authenticated", "title": "no"}))
        meet(till)
        expect(till.locator("[data-fact=trouble]")).to_contain_text("not-authenticated")
        expect(till.locator("#queue")).to_have_text("待上送 1 笔")
