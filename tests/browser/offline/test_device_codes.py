"""The phone without network: its own codes (脱机码), what they are good for, and when they end."""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from axe import violations
from factories import Device, make_gate, make_till
from flask import Flask
from phones import DevicePhone
from playwright.sync_api import Route, expect
from screens import read_symbols
from sqlalchemy import delete

from backend import clock
from backend.cards.models import DelegationChallenge
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.settings import Settings
from qr import CodeWrongScope, DeviceCode, Scope, Verifier

pytestmark = pytest.mark.browser

HALF_MINUTE = 30_000
HOUR = 3_600_000
UNTIL = re.compile(r"^离线码可用至 \d\d-\d\d \d\d:\d\d$")


@pytest.fixture
def verify(parts: Parts, settings: Settings) -> Callable[..., DeviceCode]:
    """Judge a text as a scanner without network does; it has to be a device code."""

    def judge(text: str, *, need: Scope = Scope.PAY, later: int = 0) -> DeviceCode:
        now = clock.now() + timedelta(seconds=later)
        keys = parts.code_keys.public_keys(clock.now())
        code = Verifier(keys, issuer=settings.issuer).verify(text, need=need, now=now)
        assert isinstance(code, DeviceCode)
        return code

    return judge


@pytest.fixture
def charge(app: Flask) -> Callable[..., tuple[int, str]]:
    """Charge a code at a till of its own; say the status, and the state or the refusal."""
    till, client = make_till(), app.test_client()

    def ask(text: str, amount_fen: int = 100) -> tuple[int, str]:
        answer = client.put(
            f"/api/v1/charges/{new_id()}",
            json={"code": text, "amount_fen": amount_fen},
            headers=till.headers,
        )
        said = answer.get_json()
        return answer.status_code, said.get("code") or said["state"]

    return ask


def pass_gate(app: Flask, gate: Device, text: str) -> dict[str, Any]:
    """Show a code at a gate."""
    answer = app.test_client().put(
        f"/api/v1/passages/{new_id()}", json={"code": text, "direction": "in"}, headers=gate.headers
    )
    said: dict[str, Any] = answer.get_json()
    return said


def moment(code: DeviceCode) -> tuple[datetime, int]:
    """Return what orders a card's codes."""
    return code.issued_at, code.sequence


def ask_for_another(screen: Any) -> str:
    """Tap for another code, as somebody does whose code was just used; return its text."""
    before = screen.shown.get_attribute("data-code-text")
    screen.page.wait_for_timeout(3_100)  # the page refuses a hammering pace
    screen.page.locator('[data-action="renew"]').click()
    expect(screen.shown).not_to_have_attribute("data-code-text", before)
    text: str = screen.own.get_attribute("data-code-text")
    return text


class TestEnrolment:
    def test_happens_without_a_word(self, open_phone, holder):
        screen = open_phone()
        kept = screen.wait_until_enrolled()
        (granted,) = holder.delegations()
        assert kept["id"] == str(granted.id)
        assert (kept["capFen"], kept["capCount"]) == (1500, 3)
        assert kept["pending"] is None
        expect(screen.page.locator(".toast")).to_have_count(0)
        expect(screen.kind).to_have_attribute("data-code-kind", "signed")

    def test_does_not_hold_up_the_code(self, open_phone, holder):
        screen = open_phone(page="pages/bills/index")
        held: list[str] = []
        # Nobody answers it.
        screen.page.route("**/me/delegations/**", lambda route: held.append(route.request.url))
        screen.open_tab(0)
        screen.shown.wait_for()
        screen.wait_for(lambda: len(held) == 1)
        assert holder.delegations() == []

    def test_comes_with_binding_before_the_code_was_ever_opened(self, open_phone, holder):
        assert holder.api.call("DELETE", "/me/binding").status_code == 204
        screen, who = open_phone(page="pages/bind/index"), holder.person
        screen.page.locator('[data-action="agree"]').click()
        screen.page.locator('[data-action="next"]').click()
        said = {"holder_number": who.number, "name": who.name, "document_number": who.document}
        for name, text in said.items():
            screen.page.locator(f'[data-field="{name}"]').fill(text)
        screen.page.locator('[data-action="check"]').click()
        screen.page.locator('[data-action="confirm"]').click()
        screen.page.locator('[data-action="open"]').wait_for()
        screen.wait_for(lambda: bool((screen.stored("encrypted/delegation") or {}).get("id")))
        assert len(holder.delegations()) == 1

    def test_takes_the_first_answer_when_it_was_lost(self, open_phone, holder):
        lost: list[str] = []

        def lose(route: Route) -> None:
            if route.request.method == "PUT" and not lost:
                lost.append(route.request.url)
                assert route.fetch().status == 201
                route.abort()
            else:
                route.continue_()

        screen = open_phone(page="pages/bills/index")
        screen.page.route("**/me/delegations/*", lose)
        screen.open_tab(0)
        kept = screen.wait_until_enrolled()
        (granted,) = holder.delegations()
        assert kept["id"] == str(granted.id)
        assert lost[0].endswith(kept["id"])

    def test_takes_a_new_challenge_when_one_has_expired(self, open_phone, holder):
        sent: list[str] = []

        def expire(route: Route) -> None:
            if route.request.method == "PUT":
                if not sent:
                    with transaction() as session:
                        session.execute(delete(DelegationChallenge))
                sent.append(route.request.url)
            route.continue_()

        screen = open_phone(page="pages/bills/index")
        screen.page.route("**/me/delegations/*", expire)
        screen.open_tab(0)
        screen.wait_until_enrolled()
        assert len(holder.delegations()) == 1
        assert len(set(sent)) == 2

    def test_is_not_tried_again_at_once_where_it_was_refused(self, open_phone, holder):
        phone = DevicePhone(holder.api, holder.person)
        for _ in range(3):  # as many keys as a card may have in a day
            phone = DevicePhone(holder.api, holder.person)
            assert phone.enrol().status_code == 201
        screen = open_phone()
        asked = lambda: [u for u in screen.urls if "/me/delegations/" in u]  # noqa: E731
        screen.wait_for(lambda: len(asked()) == 2)
        screen.page.wait_for_timeout(5_000)
        assert len(asked()) == 2, "a challenge and a proof, and then silence"
        expect(screen.page.locator(".toast")).to_have_count(0)
        expect(screen.kind).to_have_attribute("data-code-kind", "signed")


class TestWithoutNetwork:
    def test_prefetched_codes_go_first_and_own_ones_follow(self, open_phone, verify):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.cut()
        expect(screen.kind).to_have_attribute("data-code-kind", "signed")
        screen.set_clock(180)
        text = screen.own.get_attribute("data-code-text")
        assert read_symbols(screen.own) == [text]
        assert read_symbols(screen.own, lambda found: found.ec_level) == ["M"]
        code = verify(text, later=180)
        with pytest.raises(CodeWrongScope):
            verify(text, need=Scope.GATE, later=180)
        expect(screen.page.locator("[data-chip]")).to_have_text("离线")
        expect(screen.page.locator(".renew-text")).to_have_text(UNTIL)
        expect(screen.page.locator(".note")).to_have_text("单笔不超过 ¥15.00 · 每台收银每天 3 笔")
        expect(screen.page.locator(".balance.muted")).to_have_text("¥100.00")
        expect(screen.page.get_by_text("截至")).to_be_visible()
        screen.page.locator('[data-scope="gate"]').click()
        expect(screen.own).not_to_have_attribute("data-code-text", text)
        assert read_symbols(screen.own) == [screen.own.get_attribute("data-code-text")]
        gate = verify(screen.own.get_attribute("data-code-text"), need=Scope.GATE, later=180)
        assert moment(gate) > moment(code)
        expect(screen.page.locator(".renew-text")).to_have_text(UNTIL)
        expect(screen.page.locator(".note")).to_have_text("将二维码对准闸机扫描区")

    def test_they_are_good_at_tills_and_gates(self, open_phone, app, charge, holder):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.cut()
        signed = screen.shown.get_attribute("data-code-text")
        assert charge(signed) == (201, "approved")
        first = ask_for_another(screen)
        [seen] = read_symbols(screen.own)
        assert seen == first
        assert charge(seen) == (201, "approved")
        assert charge(seen) == (409, "code-spent")
        assert charge(ask_for_another(screen)) == (201, "approved")

    def test_a_gate_opens_for_one(self, open_phone, app):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.cut()
        screen.page.locator('[data-scope="gate"]').click()
        [text] = read_symbols(screen.own)
        assert pass_gate(app, make_gate(), text)["decision"] == "allow"
        assert pass_gate(app, make_gate(), text)["decision"] == "deny"

    def test_the_network_brings_signed_ones_back_that_are_newer(self, open_phone, charge):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.cut()
        assert charge(ask_for_another(screen)) == (201, "approved")
        screen.reconnect()
        expect(screen.page.locator("[data-result=charge-approved]")).to_be_visible()
        screen.page.locator('[data-result] [data-action="close"]').click()
        expect(screen.kind).to_have_attribute("data-code-kind", "signed")
        assert charge(screen.shown.get_attribute("data-code-text")) == (201, "approved")

    def test_another_one_comes_every_half_minute(self, open_phone, verify):
        screen = open_phone(clock=True)
        screen.wait_until_enrolled()
        screen.cut()
        screen.page.clock.fast_forward(180_000)
        texts = []
        for _ in range(3):
            expect(screen.own).not_to_have_attribute("data-code-text", (texts or [""])[-1])
            texts.append(screen.own.get_attribute("data-code-text"))
            screen.page.clock.fast_forward(HALF_MINUTE)
        times = [verify(text, later=180 + 30 * at).issued_at for at, text in enumerate(texts)]
        gaps = [(b - a).total_seconds() for a, b in pairwise(times)]
        assert all(30 <= gap <= 33 for gap in gaps)

    def test_they_end_with_the_delegation(self, open_phone):
        screen = open_phone(clock=True)
        screen.wait_until_enrolled()
        screen.cut()
        screen.page.clock.fast_forward(71 * HOUR)
        screen.own.wait_for()
        screen.page.clock.fast_forward(HOUR + 1000)
        expect(screen.page.locator("[data-state=exhausted]")).to_contain_text("需要联网更新")
        expect(screen.shown).to_have_count(0)

    def test_a_restart_still_has_them_and_never_goes_back(self, open_phone, verify):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.cut()
        before = [verify(ask_for_another(screen))]
        for kind in ("default", "signed"):  # on a slow machine one of them is newer by now
            screen.store(f"codes/pay/{kind}", [])
        screen.page.context.set_offline(False)
        screen.page.route("**/api/**", lambda route: route.abort())
        for _ in range(2):
            screen.page.reload()
            expect(screen.page.locator("[data-chip=offline]")).to_be_visible()
            before.append(verify(screen.own.get_attribute("data-code-text")))
        assert len({moment(code) for code in before}) == 3
        assert sorted(map(moment, before)) == list(map(moment, before))

    def test_several_within_one_second_are_in_order(self, open_phone, verify):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.cut()
        screen.page.clock.set_fixed_time(datetime.now(UTC) + timedelta(seconds=180))
        moments, text = [], screen.own.get_attribute("data-code-text")
        for scope, need in [("gate", Scope.GATE), ("pay", Scope.PAY)] * 20:
            screen.page.locator(f'[data-scope="{scope}"]').click()
            expect(screen.own).not_to_have_attribute("data-code-text", text)
            text = screen.own.get_attribute("data-code-text")
            moments.append(moment(verify(text, need=need, later=180)))
        assert sorted(set(moments)) == moments
        assert len({second for second, _ in moments}) > 1, "fifteen fit into a second"

    def test_a_server_that_is_down_is_no_network(self, open_phone, verify):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.page.route("**/api/**", lambda route: route.fulfill(status=502, body="bad gateway"))
        screen.page.reload()
        expect(screen.page.locator("[data-chip=offline]")).to_be_visible()
        verify(ask_for_another(screen))
        screen.page.unroute("**/api/**")
        expect(screen.page.locator("[data-chip=online]")).to_be_visible(timeout=10_000)
        expect(screen.kind).to_have_attribute("data-code-kind", "signed")

    def test_a_phone_that_knows_its_clock_to_be_wrong_still_knows_it_after_a_restart(
        self, open_phone
    ):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.set_clock(3600)
        expect(screen.page.locator("[data-state=clock]")).to_be_visible()
        screen.page.route("**/api/**", lambda route: route.abort())
        screen.page.reload()
        expect(screen.page.locator("[data-state=clock]")).to_contain_text("手机时间不准")
        expect(screen.shown).to_have_count(0)

    def test_a_clock_set_back_is_named_until_the_server_told_the_time(self, open_phone):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.cut()
        screen.set_clock(180)
        screen.own.wait_for()
        screen.set_clock(0)
        expect(screen.page.locator("[data-state=clock]")).to_be_visible()
        screen.reconnect()
        screen.shown.wait_for()
        screen.cut()
        ask_for_another(screen)

    def test_paused_payments_stay_paused_and_gates_stay_open(self, open_phone, holder, verify):
        screen = open_phone()
        screen.wait_until_enrolled()
        assert holder.api.call("PATCH", "/me/limits", {"paused": True}).status_code == 200
        screen.open_tab(3)
        screen.open_tab(0)
        expect(screen.page.locator("[data-state=payment-paused]")).to_be_visible()
        screen.page.context.set_offline(True)
        screen.page.locator('[data-scope="gate"]').click()
        verify(screen.own.get_attribute("data-code-text"), need=Scope.GATE)
        screen.page.locator('[data-scope="pay"]').click()
        expect(screen.page.locator("[data-state=payment-paused]")).to_be_visible()


class TestScreenshot:
    def test_brings_another_code_and_the_truth_about_the_old_one(self, open_phone, verify):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.cut()
        old = ask_for_another(screen)
        screen.page.get_by_role("button", name="截屏").click()
        expect(screen.page.locator(".toast")).to_have_text(
            "检测到截屏。离线时原来的码最长一分钟内仍有效"
        )
        expect(screen.own).not_to_have_attribute("data-code-text", old)
        assert moment(verify(screen.own.get_attribute("data-code-text"))) > moment(verify(old))

    def test_of_a_prefetched_code_hides_it_too(self, open_phone):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.cut()
        screen.page.get_by_role("button", name="截屏").click()
        screen.own.wait_for()


class TestRenewal:
    def test_keeps_the_key_and_says_nothing(self, open_phone, holder, charge):
        screen = open_phone()
        before = screen.wait_until_enrolled()
        screen.store("encrypted/delegation", {**before, "renewAt": 0})
        screen.page.reload()
        screen.wait_for(lambda: screen.stored("encrypted/delegation")["id"] != before["id"])
        after = screen.wait_until_enrolled()
        assert after["seed"] == before["seed"]
        old, new = holder.delegations()
        assert old.public_key == new.public_key
        assert (old.revoked_at, new.revoked_at, new.superseded_at) == (None, None, None)
        expect(screen.page.locator(".toast")).to_have_count(0)
        screen.cut()
        assert charge(ask_for_another(screen)) == (201, "approved")

    def test_that_got_lost_is_made_good(self, open_phone, holder):
        lost = []

        def lose(route: Route) -> None:
            if route.request.method == "PUT":
                answer = route.fetch()
                route.abort()
                lost.append(answer.status)
            else:
                route.continue_()

        screen = open_phone()
        before = screen.wait_until_enrolled()
        screen.store("encrypted/delegation", {**before, "renewAt": 0})
        screen.page.route("**/me/delegations/*", lose, times=2)
        screen.page.reload()
        screen.wait_for(lambda: lost == [201])
        screen.page.unroute("**/me/delegations/*")
        screen.page.reload()
        screen.wait_for(lambda: screen.stored("encrypted/delegation")["id"] != before["id"])
        assert screen.stored("encrypted/delegation")["id"] == str(holder.delegations()[1].id)
        assert len(holder.delegations()) == 2


class TestAnotherPhone:
    def test_takes_the_right_and_gives_it_back_to_the_one_in_use(self, open_phone, holder, charge):
        screen = open_phone()
        before = screen.wait_until_enrolled()
        screen.cut()
        other = DevicePhone(holder.api, holder.person)
        assert other.enrol().status_code == 201
        assert charge(ask_for_another(screen)) == (409, "code-revoked")
        screen.reconnect()
        screen.wait_for(lambda: screen.stored("encrypted/delegation")["id"] != before["id"])
        after = screen.wait_until_enrolled()
        assert after["seed"] == before["seed"]
        assert charge(other.code()) == (409, "code-revoked")
        screen.cut()
        assert charge(ask_for_another(screen)) == (201, "approved")

    def test_leaves_no_dead_code_where_the_right_cannot_be_had_back(self, open_phone, holder):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.page.route("**/me/delegations/**", lambda route: route.abort())
        assert DevicePhone(holder.api, holder.person).enrol().status_code == 201
        screen.page.reload()
        screen.wait_for(lambda: not screen.stored("encrypted/delegation")["delegation"])
        screen.cut()
        screen.set_clock(180)
        expect(screen.page.locator("[data-state=exhausted]")).to_be_visible()


class TestForgetting:
    def test_comes_with_unbinding(self, open_phone, holder):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.open_tab(3)
        screen.page.locator('[data-action="unbind"]').click()
        screen.page.locator(".modal-confirm").click()
        expect(screen.page.locator('[data-state="unbound"]')).to_be_visible()
        assert screen.stored("encrypted/delegation") is None
        (granted,) = holder.delegations()
        assert granted.revoked_at is not None

    def test_comes_with_an_unbinding_elsewhere(self, open_phone, holder):
        screen = open_phone()
        screen.wait_until_enrolled()
        assert holder.api.call("DELETE", "/me/binding").status_code == 204
        screen.page.reload()
        expect(screen.page.locator('[data-state="unbound"]')).to_be_visible()
        screen.wait_for(lambda: screen.stored("encrypted/delegation") is None)

    def test_comes_with_the_loss_of_the_phone_and_a_restoration_brings_a_new_key(
        self, open_phone, holder
    ):
        screen = open_phone()
        before = screen.wait_until_enrolled()
        page = screen.page
        screen.open_tab(3)
        page.locator('[data-action="card"]').click()
        page.locator('[data-action="report-phone"]').click()
        page.locator('[data-action="confirm-report"]').click()
        screen.wait_for(lambda: screen.stored("encrypted/delegation") is None)
        page.locator('[data-action="restore"]').click()
        page.locator('[data-field="document_last_six"]').fill(holder.person.document[-6:])
        page.locator('[data-action="confirm-restore"]').click()
        screen.wait_for(lambda: bool((screen.stored("encrypted/delegation") or {}).get("id")))
        assert screen.stored("encrypted/delegation")["seed"] != before["seed"]


class TestStopping:
    def test_is_for_the_holder_to_do_and_to_undo(self, open_phone, holder):
        screen = open_phone()
        before = screen.wait_until_enrolled()
        screen.open_tab(3)
        row = screen.page.locator("[data-offline-codes]")
        expect(row).to_contain_text(re.compile(r"脱机码：可用至 \d\d-\d\d \d\d:\d\d"))
        expect(row).to_contain_text("没有网络时")
        row.locator('[data-action="offline-codes"]').click()
        expect(row).to_have_attribute("data-offline-codes", "off")
        assert holder.delegations()[0].revoked_at is not None
        screen.open_tab(0)
        screen.shown.wait_for()
        screen.page.wait_for_timeout(2_500)  # more than one poll
        assert len(holder.delegations()) == 1, "it is not asked for again"
        screen.cut()
        screen.set_clock(180)
        expect(screen.page.locator("[data-state=exhausted]")).to_be_visible()
        screen.set_clock(0)
        screen.page.context.set_offline(False)
        screen.open_tab(3)
        row.locator('[data-action="offline-codes"]').click()
        expect(row).to_have_attribute("data-offline-codes", "held")
        assert screen.stored("encrypted/delegation")["seed"] == before["seed"]

    def test_needs_the_network_and_says_so(self, open_phone, holder):
        screen = open_phone()
        screen.wait_until_enrolled()
        screen.open_tab(3)
        row = screen.page.locator("[data-offline-codes=held]")
        row.wait_for()
        screen.page.context.set_offline(True)
        row.locator('[data-action="offline-codes"]').click()
        expect(screen.page.locator(".toast")).to_have_text("网络不可用")
        expect(row).to_be_visible()
        assert holder.delegations()[0].revoked_at is None


class TestSecrecy:
    def test_no_secret_and_no_code_leaves_the_phone(self, open_phone, caplog):
        with caplog.at_level(logging.DEBUG):
            screen = open_phone()
            bodies: list[str] = []
            screen.page.on("request", lambda request: bodies.append(request.post_data or ""))
            kept = screen.wait_until_enrolled()
            screen.cut()
            text = ask_for_another(screen)
            screen.reconnect()
            screen.wait_for(lambda: screen.kind.get_attribute("data-code-kind") == "signed")
        written = "\n".join([*screen.console, caplog.text, *screen.urls])
        for secret in (kept["seed"], kept["delegation"], text):
            assert secret not in written
        assert kept["seed"] not in "\n".join(bodies)
        assert text not in "\n".join(bodies)

    def test_nothing_but_the_encrypted_record_holds_the_seed(self, open_phone):
        screen = open_phone()
        kept = screen.wait_until_enrolled()
        everything = screen.page.evaluate("Object.entries(localStorage)")
        assert [key.rpartition("/")[2] for key, text in everything if kept["seed"] in text] == [
            "delegation"
        ]


class TestFaces:
    def test_english_is_spoken_too(self, open_phone):
        screen = open_phone(locale="en-GB")
        screen.wait_until_enrolled()
        screen.cut()
        screen.set_clock(180)
        screen.own.wait_for()
        expect(screen.page.locator("[data-chip]")).to_have_text("Offline")
        expect(screen.page.locator(".renew-text")).to_contain_text("Offline codes until")
        expect(screen.page.locator(".note")).to_have_text(
            "Up to ¥15.00 a sale · 3 a day at each till"
        )
        screen.open_tab(3)
        expect(screen.page.locator("[data-offline-codes=held]")).to_contain_text(
            "Offline codes: until"
        )

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("px", ["17", "24"])
    def test_everybody_can_use_them(self, open_phone, scheme, px):
        screen = open_phone(color_scheme=scheme)
        screen.page.get_by_label("系统字号").select_option(px)
        screen.wait_until_enrolled()
        screen.cut()
        screen.set_clock(180)
        assert read_symbols(screen.own) == [screen.own.get_attribute("data-code-text")]
        for tab in (0, 3):
            screen.open_tab(tab)
            assert violations(screen.page) == []
            wide = screen.page.evaluate(
                "() => { const page = document.querySelector('.wx-page:not([hidden])');"
                " return page.scrollWidth - page.clientWidth }"
            )
            assert wide <= 0, "nothing runs off the screen"
