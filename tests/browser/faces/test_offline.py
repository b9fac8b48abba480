"""Till and gate with the network cut: a real server, a real browser, and nothing between them."""

import json
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from factories import (
    Bound,
    Device,
    Person,
    balances,
    give,
    make_gate,
    make_holder,
    make_person,
    make_till,
)
from flask import Flask
from phones import DevicePhone, Phone
from playwright.sync_api import Browser, BrowserContext, Page, expect
from scanners import money_without_network

from backend import clock
from backend.charges.models import Charge, ChargeState
from backend.db import transaction
from backend.gates.models import Decision, Passage
from backend.http.parts import Parts
from backend.settings import Settings
from qr import Scope

pytestmark = pytest.mark.browser

EXPECTED_IN_CONSOLE = ("net::ERR_", "the server responded with a status of")
BOOKS = """(table) => new Promise(async (done) => {
  const [{ name }] = (await indexedDB.databases()).filter(({ name }) => name.includes("scanner"));
  const opening = indexedDB.open(name);
  opening.onsuccess = () => {
    const asked = opening.result.transaction(table).objectStore(table).getAll();
    asked.onsuccess = () => { opening.result.close(); done(asked.result); };
  };
})"""

DOUBT = "() => Object.entries(localStorage).find(([key]) => key.includes('pending'))?.[1]"


@pytest.fixture
def _money_offline(app: Flask) -> Iterator[None]:
    """Let tills take money without network."""
    with money_without_network():
        yield


@pytest.fixture
def phone(app: Flask, parts: Parts) -> DevicePhone:
    """The phone of somebody with 100 yuan, which may show codes without network."""
    holder = make_holder(parts, balance_fen=10_000)
    made = DevicePhone(Phone(app.test_client(), token=holder.token), holder)
    assert made.enrol().status_code == 201
    return made


def signed_code(phone: DevicePhone, scope: str = "pay", **kind: str) -> str:
    answer = phone.phone.call("POST", "/me/codes", {"scope": scope, **kind})
    text: str = answer.get_json()["codes"][0]["text"]
    return text


def balance_fen(holder: Bound) -> int:
    return sum(balances(holder.id))


class Face:
    """The page of one terminal in a browser of its own, and the cable to it."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context, self.address = context, address
        self.asked: list[tuple[str, str]] = []
        context.on("request", lambda r: self.asked.append((r.method, r.url.partition("/v1")[2])))
        self.page = self.open()

    def open(self) -> Page:
        """Open the page (once more) and wait until it could do without the server."""
        page = self.context.new_page()
        page.goto(self.address)
        page.wait_for_selector("body:not([data-state=loading])")
        expect(page.locator("#facts [data-fact=keys]")).to_have_count(1)
        return page

    def cut(self) -> None:
        """Pull the cable."""
        self.context.set_offline(True)
        expect(self.page.locator("#reach")).to_have_attribute("data-reach", "offline")

    def mend(self) -> None:
        """Put the cable back."""
        self.context.set_offline(False)

    def reload(self) -> None:
        """Load the page anew, as after a crash."""
        self.page.reload()
        self.page.wait_for_selector("body:not([data-state=loading])")
        expect(self.page.locator("#facts [data-fact=keys]")).to_have_count(1)

    def fact(self, name: str) -> str:
        """Read something that the device says of itself."""
        said: str = self.page.locator(f"#facts [data-fact={name}]").inner_text()
        return said

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return what stands in the device's own books."""
        found: list[dict[str, Any]] = self.page.evaluate(BOOKS, table)
        return found

    def show(self, code: str) -> None:
        """Hold a code to the gate's reader."""
        self.page.keyboard.type(code)

    def sell(self, code: str, amount: str = "6") -> None:
        """Key in an amount at the till and scan a code."""
        self.page.keyboard.press("Escape")
        self.page.keyboard.type(amount)
        self.page.keyboard.press("Enter")
        self.page.keyboard.type(code)

    def settles(self) -> None:
        """Wait until nothing is in doubt any more."""
        for _ in range(100):
            if self.page.evaluate(DOUBT) in {None, "[]"}:
                return
            self.page.wait_for_timeout(100)
        raise AssertionError("something stays in doubt")

    def ends(self, state: str, reason: str | None = None) -> None:
        """Wait for a verdict."""
        expect(self.page.locator("body")).to_have_attribute("data-state", state, timeout=15_000)
        if reason:
            expect(self.page.locator("[data-reason]")).to_have_attribute("data-reason", reason)


@pytest.fixture
def open_face(chromium: Browser, server: str) -> Iterator[Callable[[Device], Face]]:
    """Opens the page of a terminal that is registered already."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def open_(device: Device) -> Face:
        kind = device.caller.kind.value
        identity = {
            "name": f"campus-card.{kind}.identity",
            "value": json.dumps({"token": device.token}),
        }
        context = chromium.new_context(
            viewport={"width": 1280, "height": 800},
            storage_state={
                "cookies": [],
                "origins": [{"origin": server, "localStorage": [identity]}],
            },
        )
        contexts.append(context)
        context.on("weberror", lambda error: faults.append(str(error.error)))
        context.on(
            "console",
            lambda said: (
                faults.append(said.text)
                if said.type in {"error", "warning"}
                and not any(known in said.text for known in EXPECTED_IN_CONSOLE)
                else None
            ),
        )
        return Face(context, f"{server}/stage/{kind}/")

    yield open_
    for context in contexts:
        context.close()
    assert faults == []


@pytest.mark.usefixtures("_money_offline")
class TestTill:
    def test_takes_a_signed_code_and_a_device_code_and_says_so(self, open_face, phone):
        till = open_face(make_till())
        codes = [signed_code(phone), phone.code()]
        till.cut()
        for code in codes:
            till.sell(code)
            till.ends("recorded")
        panel = till.page.locator("#panel-view")
        expect(panel).to_contain_text("脱机收款 · 已记账，联网后入账")
        expect(panel.locator("[data-field=asked]")).to_have_text("¥6.00")
        expect(till.page.locator("#queue")).to_have_text("待上送 2 笔")
        expect(till.page.locator("#today")).to_have_text("今日 2 笔 · ¥12.00（含脱机 2 笔）")
        row = till.page.locator("#recent [data-alone=waiting]").first
        expect(row).to_contain_text("上送后可冲正")
        expect(row.locator("[data-reverse]")).to_be_disabled()
        assert [item["code"] for item in till.rows("queue")] == codes
        assert sorted(said["sequence"] for said in till.rows("decisions")) == [1, 2]
        kept = till.page.evaluate("JSON.stringify(localStorage)")
        assert not any(code in kept for code in codes)
        assert balance_fen(phone.holder) == 10_000

    def test_keeps_marks_and_queue_through_a_reload_without_network(self, open_face, phone):
        till = open_face(make_till())
        till.page.wait_for_function("() => navigator.serviceWorker.controller !== null")
        code = phone.code()
        till.cut()
        till.sell(code)
        till.ends("recorded")
        till.reload()
        expect(till.page.locator("#place")).not_to_have_text("")
        expect(till.page.locator("#queue")).to_have_text("待上送 1 笔")
        till.sell(code)
        till.ends("refused", "code-spent")
        till.sell(phone.code(sequence=1))
        till.ends("recorded")
        expect(till.page.locator("#today")).to_have_text("今日 2 笔 · ¥12.00（含脱机 2 笔）")

    def test_refuses_more_than_its_caps_and_names_the_cap(self, open_face, phone):
        till = open_face(make_till())
        till.cut()
        till.sell(phone.code(), "15.01")
        till.ends("refused", "offline-cap-exceeded")
        expect(till.page.locator("[data-field=reason]")).to_have_text("脱机单笔最多 ¥15.00")
        for sequence in (1, 2, 3):
            till.sell(phone.code(sequence=sequence), "1")
            till.ends("recorded")
        till.sell(phone.code(sequence=4), "1")
        till.ends("refused", "offline-cap-exceeded")
        expect(till.page.locator("[data-field=reason]")).to_contain_text("已满 3 次")

    def test_refuses_a_revoked_phone_and_a_short_code(self, open_face, phone):
        code = phone.code()
        assert phone.phone.call("DELETE", phone.path).status_code in {200, 204}
        short = signed_code(phone, kind="short")
        till = open_face(make_till())
        till.cut()
        till.sell(code)
        till.ends("refused", "code-revoked")
        till.sell(short)
        till.ends("refused", "code-online-only")
        expect(till.page.locator("[data-field=next]")).to_contain_text("二维码")

    @pytest.mark.parametrize(
        ("hours", "reason"), [(25, "bundle-stale"), (73, "bundle-expired"), (-1, "clock-behind")]
    )
    def test_takes_nothing_with_old_knowledge_or_a_clock_set_back(
        self, open_face, phone, hours, reason
    ):
        till = open_face(make_till())
        till.cut()
        till.page.clock.set_system_time(clock.now() + timedelta(hours=hours))
        till.sell(phone.code(later=hours * 3600))
        till.ends("refused", reason)

    def test_never_shows_the_server_a_refused_sale_as_good(self, open_face, phone):
        """The first try may have reached the server: it is voided there later."""
        till = open_face(make_till())
        till.cut()
        till.sell(phone.code(), "15.01")
        till.ends("refused", "offline-cap-exceeded")
        [decision] = till.rows("decisions")
        till.mend()
        expect(till.page.locator("#reach")).to_have_attribute("data-reach", "online")
        till.settles()
        assert state_of(decision["id"]) in {ChargeState.VOIDED, ChargeState.DECLINED}
        assert balance_fen(phone.holder) == 10_000

    def test_never_voids_what_it_took(self, open_face, phone):
        """As if it had crashed after the sale was on disk and before it was out of doubt."""
        till = open_face(make_till())
        till.cut()
        till.sell(phone.code())
        till.ends("recorded")
        [decision] = till.rows("decisions")
        left = json.dumps(
            [{"kind": "charge", "id": decision["id"], "amount_fen": 600, "alone": True}]
        )
        till.page.evaluate(
            "left => localStorage.setItem("
            "Object.keys(localStorage).find((key) => key.includes('pending')), left)",
            left,
        )
        till.mend()
        till.reload()
        till.ends("recorded")
        expect(till.page.locator("#panel-view")).to_contain_text("刷新前的一笔")
        assert not any(path.endswith("/void") for _, path in till.asked)

    def test_gives_a_charge_with_a_lost_answer_one_id(self, open_face, phone):
        till = open_face(make_till())

        def lose(route):
            route.fetch()
            till.context.set_offline(True)
            route.abort()

        till.page.route("**/api/v1/charges/*", lose)
        till.sell(phone.code())
        till.ends("recorded")
        [decision] = till.rows("decisions")
        assert state_of(decision["id"]) is ChargeState.APPROVED
        assert balance_fen(phone.holder) == 9_400

    def test_remembers_offline_what_it_took_online(self, open_face, phone):
        till = open_face(make_till())
        older = phone.code()
        till.sell(phone.code(sequence=1))
        till.ends("approved")
        till.cut()
        till.sell(older)
        till.ends("refused", "code-spent")

    def test_takes_one_code_once_in_two_windows(self, open_face, phone):
        till = open_face(make_till())
        other = till.open()
        code = phone.code()
        till.cut()
        for page in (till.page, other):
            page.keyboard.type("6")
            page.keyboard.press("Enter")
        for page in (till.page, other):
            page.locator("#paste [name=code]").fill(code)
        for page in (till.page, other):
            page.evaluate("document.querySelector('#paste').requestSubmit()")
        for page in (till.page, other):
            page.wait_for_selector("body[data-state=recorded], body[data-state=refused]")
        states = {page.locator("body").get_attribute("data-state") for page in (till.page, other)}
        assert states == {"recorded", "refused"}
        refused = next(
            p for p in (till.page, other) if p.locator("body[data-state=refused]").count()
        )
        expect(refused.locator("#panel-view")).to_have_attribute("data-reason", "code-spent")
        assert sorted(said["sequence"] for said in till.rows("decisions")) == [1, 2]


class TestTillWithoutOfflineMoney:
    def test_stays_in_doubt_and_voids(self, open_face, phone):
        till = open_face(make_till())
        till.cut()
        till.sell(phone.code())
        till.ends("doubt")
        till.page.wait_for_timeout(3000)
        assert till.rows("queue") == []
        till.mend()
        till.ends("voided")
        assert balance_fen(phone.holder) == 10_000


class TestGate:
    def test_opens_for_good_codes_and_once_each(self, open_face, phone):
        gate = open_face(make_gate())
        gate.page.wait_for_function("() => navigator.serviceWorker.controller !== null")
        signed, made = signed_code(phone, "gate"), phone.code(Scope.GATE)
        gate.cut()
        for code in (signed, made):
            gate.show(code)
            gate.ends("allow")
            expect(gate.page.locator("[data-field=next]")).to_have_text("已放行 · 脱机")
        gate.reload()
        gate.show(made)
        gate.ends("deny", "code-spent")
        gate.show(phone.code(Scope.PAY, sequence=1))
        gate.ends("deny", "code-wrong-scope")
        expect(gate.page.locator("#queue")).to_have_text("待上送 4 笔")
        items = gate.rows("queue")
        assert [item["decision"] for item in items] == ["allow", "allow", "deny", "deny"]

    def test_says_what_it_knows(self, open_face, phone):
        assert phone.phone.call("DELETE", phone.path).status_code in {200, 204}
        gate = open_face(make_gate())
        gate.page.locator("#drawer-open").click()
        assert gate.fact("bundle").startswith("第 1 版，0 分钟前")
        assert (gate.fact("fresh"), gate.fact("policy")) == ("有效", "脱机时验码放行")
        assert int(gate.fact("keys")) >= 1
        assert int(gate.fact("revoked")) >= 1
        assert int(gate.fact("stopped")) >= 0
        assert gate.fact("contact") != "还没有"
        assert ":" in gate.fact("try")

    def test_lets_everybody_out_when_the_building_burns(self, open_face, phone):
        gate = open_face(make_gate())
        gate.page.locator("#direction label").nth(1).click()
        gate.page.locator("#drawer-open").click()
        gate.page.locator("#emergency").click()
        gate.page.locator("#drawer-close").click()
        expect(gate.page.locator("#verdict")).to_contain_text("出口常开")
        gate.cut()
        gate.show("961" + "0" * 198)
        gate.ends("allow")
        gate.page.locator("#direction label").nth(0).click()
        gate.show("961" + "1" * 198)
        gate.ends("deny", "code-malformed")


SHOWN = '.wx-page:not([hidden]) .qr [data-code-text]:not([data-code-text=""])'


@pytest.fixture
def phone_page(
    chromium: Browser, server: str, settings: Settings, app: Flask, parts: Parts
) -> Iterator[tuple[Page, Person]]:
    """The phone of somebody with 100 yuan, as they see it."""
    assert settings.demo is not None
    settings.demo.write_text('{"holders": [], "terminals": []}')
    person, login_code = make_person(parts), f"wx_{secrets.token_hex(8)}"
    owner = Phone(app.test_client(), login_code=login_code)
    assert owner.log_in().status_code == 201
    owner.bind(person)
    with transaction() as session:
        give(session, person.id, main_fen=10_000, subsidy_fen=0, now=clock.now())
    context = chromium.new_context(viewport={"width": 390, "height": 844}, locale="zh-CN")
    page = context.new_page()
    page.goto(f"{server}/stage/phone/?login={login_code}")
    page.locator(SHOWN).wait_for(timeout=15_000)
    page.wait_for_function(
        "key => JSON.parse(localStorage.getItem(key) ?? '{}').delegation",
        arg=f"phone/wechat/{login_code}/encrypted/delegation",
    )
    yield page, person
    context.close()


@pytest.mark.usefixtures("_money_offline")
class TestPhoneAndTill:
    def test_do_without_a_server(self, open_face, phone_page):
        page, person = phone_page
        till = open_face(make_till())
        till.cut()
        page.context.set_offline(True)
        page.locator("[data-chip=offline]").wait_for()
        codes = [page.locator(SHOWN).get_attribute("data-code-text")]
        till.sell(codes[0], "7.5")
        till.ends("recorded")
        page.wait_for_timeout(3_100)  # the phone refuses a hammering pace
        page.locator('[data-action="renew"]').click()
        expect(page.locator(SHOWN)).not_to_have_attribute("data-code-text", codes[0])
        codes.append(page.locator(SHOWN).get_attribute("data-code-text"))
        till.sell(codes[1])
        till.ends("recorded")
        assert [code[:3] for code in codes] == ["961", "962"]
        assert [item["code"] for item in till.rows("queue")] == codes
        assert sum(balances(person.id)) == 10_000


@pytest.mark.usefixtures("_money_offline")
class TestReconnect:
    def test_tells_the_server_and_the_ledger_agrees(self, open_face, phone):
        till = open_face(make_till())
        codes = [signed_code(phone), phone.code()]
        till.cut()
        for code in codes:
            till.sell(code)
            till.ends("recorded")
        sold = [item["id"] for item in till.rows("queue")]
        till.mend()
        expect(till.page.locator("#queue")).to_be_hidden(timeout=15_000)
        assert till.rows("queue") == []
        assert [state_of(charge_id) for charge_id in sold] == [ChargeState.APPROVED] * 2
        assert balance_fen(phone.holder) == 10_000 - 1_200
        expect(till.page.locator("#today")).to_have_text("今日 2 笔 · ¥12.00（含脱机 2 笔）")
        expect(till.page.locator("#recent [data-alone=charged]")).to_have_count(2)
        till.page.keyboard.press("F2")
        till.page.locator("#reversal [type=submit]").click()
        expect(till.page.locator("#reversal")).to_be_hidden()
        assert balance_fen(phone.holder) == 10_000 - 600

    def test_charges_once_what_the_server_had_charged_before_the_cut(self, open_face, phone):
        till = open_face(make_till())

        def lose(route):
            route.fetch()
            till.context.set_offline(True)
            route.abort()

        till.page.route("**/api/v1/charges/*", lose)
        till.sell(phone.code())
        till.ends("recorded")
        till.page.unroute("**/api/v1/charges/*")
        till.mend()
        expect(till.page.locator("#queue")).to_be_hidden(timeout=15_000)
        expect(till.page.locator("#recent [data-alone=already-charged]")).to_have_count(1)
        assert balance_fen(phone.holder) == 9_400

    def test_of_phone_and_till_brings_the_money(self, open_face, phone_page):
        page, person = phone_page
        till = open_face(make_till())
        till.cut()
        page.context.set_offline(True)
        till.sell(page.locator(SHOWN).get_attribute("data-code-text"), "7.5")
        till.ends("recorded")
        till.mend()
        page.context.set_offline(False)
        expect(till.page.locator("#queue")).to_be_hidden(timeout=15_000)
        assert sum(balances(person.id)) == 10_000 - 750

    def test_says_when_the_money_did_not_reach(self, open_face, phone, parts, app):
        poor = make_holder(parts, balance_fen=500)
        theirs = DevicePhone(Phone(app.test_client(), token=poor.token), poor)
        assert theirs.enrol().status_code == 201
        till = open_face(make_till())
        till.cut()
        till.sell(theirs.code())
        till.ends("recorded")
        till.mend()
        expect(till.page.locator("#attention [data-outcome=charged-with-arrears]")).to_have_count(1)
        expect(till.page.locator("#queue")).to_be_hidden()

    def test_tells_of_passages(self, open_face, phone):
        gate = open_face(make_gate())
        code = phone.code(Scope.GATE)
        gate.cut()
        gate.show(code)
        gate.ends("allow")
        gate.show(phone.code(Scope.PAY, sequence=1))
        gate.ends("deny", "code-wrong-scope")
        made = [item["id"] for item in gate.rows("queue")]
        gate.mend()
        expect(gate.page.locator("#queue")).to_be_hidden(timeout=15_000)
        with transaction() as session:
            found = [session.get_one(Passage, passage_id) for passage_id in made]
            assert [passage.decision for passage in found] == [Decision.ALLOW, Decision.DENY]
            assert found[0].holder_id == phone.holder.id


def state_of(charge_id: str) -> ChargeState | None:
    with transaction() as session:
        charge = session.get(Charge, charge_id)
        return charge and charge.state
