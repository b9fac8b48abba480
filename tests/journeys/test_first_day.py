"""The story that the college was founded for: bind, top up, pay, pass, lose, find again."""

import threading
from itertools import starmap
from uuid import uuid4

from journeys.outsider import Answer, Demo, Phone, eventually

TOP_UP_FEN = 5_000
MEAL_FEN = 1_250


class TestFirstDay:
    def test_from_binding_to_the_bill(self, demo: Demo):
        phone = demo.holder("20240103")
        binds(phone)
        for channel in ("wechat", "alipay"):
            tops_up(phone, channel)
        pays_at_two_tills_at_once(phone)
        passes_the_gate(phone)
        is_refused_once_reported_lost(phone)
        is_charged_again_once_restored(phone)
        kinds = [item["kind"] for item in phone.get("/me/statement")["items"]]
        assert kinds == ["charge", "charge", "top_up", "top_up"]
        assert phone.balance_fen == 2 * TOP_UP_FEN - 2 * MEAL_FEN
        proof = demo.campus_card("prove-ledger")
        assert proof.returncode == 0, proof
        assert "purses that differ   0\n" in proof.stdout
        assert "difference           0.00\n" in proof.stdout
        assert "the ledger holds" in proof.stdout


def binds(phone: Phone) -> None:
    """Nobody so far, the newcomer proves who they are."""
    assert phone.binding == "none"
    assert phone.codes().code == "not-bound"
    bound = phone.bind()
    assert (bound.status, bound.body["binding"]) == (200, "active")
    assert phone.balance_fen == 0


def tops_up(phone: Phone, channel: str) -> None:
    """The payer pays in the sandbox, whose notice brings the money."""
    before, order = phone.balance_fen, phone.order(channel, TOP_UP_FEN)
    phone.demo.pay(order["out_trade_no"])
    assert eventually(lambda: phone.state_of(order) == "paid")
    assert phone.balance_fen == before + TOP_UP_FEN


def pays_at_two_tills_at_once(phone: Phone) -> None:
    """Two tills read one screen: one of them is paid."""
    before, code = phone.balance_fen, phone.code()
    tills = [phone.demo.terminal(place) for place in ("第一食堂 1号窗", "第一食堂 2号窗")]
    answers = at_once([(till.charge, code, MEAL_FEN) for till in tills])
    won, lost = sorted(answers, key=lambda answer: answer.status)
    assert (won.status, won.body["total_fen"]) == (201, MEAL_FEN)
    assert (lost.status, lost.code) == (409, "code-spent")
    assert phone.balance_fen == before - MEAL_FEN == won.body["balance_fen"]


def passes_the_gate(phone: Phone) -> None:
    """A gate code opens the gate; a pay code does not."""
    gate = phone.demo.terminal("图书馆 正门")
    passed = gate.let_pass(phone.code("gate"))
    assert (passed.status, passed.body["decision"]) == (201, "allow")
    denied = gate.let_pass(phone.code("pay"))
    assert (denied.body["decision"], denied.body["reason"]) == ("deny", "code-wrong-scope")
    assert [item["decision"] for item in phone.get("/me/passages")["items"]][-1] == "allow"


def is_refused_once_reported_lost(phone: Phone) -> None:
    """What the phone showed before is worthless, and whoever holds it now is nobody."""
    shown = {scope: phone.code(scope) for scope in ("pay", "gate")}
    before = phone.balance_fen
    assert phone.report_lost().status == 201
    refused = phone.demo.terminal("校园超市 收银台").charge(shown["pay"], MEAL_FEN)
    assert (refused.status, refused.code) == (409, "code-stale")
    denied = phone.demo.terminal("3号宿舍楼 大门").let_pass(shown["gate"])
    assert (denied.body["decision"], denied.body["reason"]) == ("deny", "code-stale")
    assert phone.ask("GET", "/me").status == 401
    phone.log_in()
    assert phone.codes().code == "card-lost"
    assert phone.balance_fen == before


def is_charged_again_once_restored(phone: Phone) -> None:
    """Found again: the same purse, new codes."""
    restored = phone.restore()
    assert (restored.status, restored.body["restored"]) == (201, ["virtual_card"])
    before = phone.balance_fen
    charged = phone.demo.terminal("图书馆咖啡 吧台").charge(phone.code(), MEAL_FEN)
    assert (charged.status, charged.body["balance_fen"]) == (201, before - MEAL_FEN)


class TestSameChargeAgain:
    def test_fifty_equal_requests_charge_once(self, demo: Demo):
        phone, till = demo.holder("T0881"), demo.terminal("第一食堂 1号窗")
        before, code, charge_id = phone.balance_fen, phone.code(), str(uuid4())
        put = (lambda: till.charge(code, MEAL_FEN, charge_id=charge_id),)
        answers = at_once([put] * 50)
        assert sorted(answer.status for answer in answers) == [200] * 49 + [201]
        assert all(answer.body == answers[0].body for answer in answers)
        assert phone.balance_fen == before - MEAL_FEN
        assert till.ask("GET", f"/charges/{charge_id}").body["state"] == "approved"

    def test_another_amount_under_the_same_id_is_refused(self, demo: Demo):
        phone, till = demo.holder("T0881"), demo.terminal("第一食堂 1号窗")
        code, charge_id = phone.code(), str(uuid4())
        assert till.charge(code, MEAL_FEN, charge_id=charge_id).status == 201
        before = phone.balance_fen
        other = till.charge(code, MEAL_FEN + 1, charge_id=charge_id)
        assert (other.status, other.code) == (409, "id-reused")
        assert phone.balance_fen == before

    def test_another_tills_id_is_not_there(self, demo: Demo):
        phone, charge_id = demo.holder("T0881"), str(uuid4())
        code = phone.code()
        first = demo.terminal("第一食堂 1号窗").charge(code, MEAL_FEN, charge_id=charge_id)
        assert first.status == 201
        second = demo.terminal("第一食堂 2号窗").charge(code, MEAL_FEN, charge_id=charge_id)
        assert (second.status, second.code) == (404, "not-found")


class TestRefusals:
    def test_who_is_short_of_money_learns_by_how_much(self, demo: Demo):
        phone = demo.holder("20240204")
        refused = demo.terminal("第一食堂 1号窗").charge(phone.code(), MEAL_FEN)
        assert (refused.status, refused.code) == (409, "insufficient-balance")
        assert refused.body["short_fen"] == MEAL_FEN - phone.balance_fen
        assert refused.body["balance_fen"] == phone.balance_fen

    def test_an_expired_card_gets_no_code(self, demo: Demo):
        assert demo.holder("20210377").codes().code == "card-expired"

    def test_a_lost_card_gets_no_code(self, demo: Demo):
        assert demo.holder("20240104").codes().code == "card-lost"

    def test_a_temporary_holder_pays_the_meal_surcharge(self, demo: Demo):
        phone = demo.holder("L0301")
        meal = demo.terminal("第一食堂 2号窗").charge(phone.code(), 1_000)
        assert (meal.body["surcharge_fen"], meal.body["total_fen"]) == (100, 1_100)
        goods = demo.terminal("校园超市 收银台").charge(phone.code(), 1_000)
        assert (goods.body["surcharge_fen"], goods.body["total_fen"]) == (0, 1_000)


def at_once(calls: list[tuple]) -> list[Answer]:
    """Make all calls at the same moment, each from a thread of its own."""
    answers: list[Answer] = []
    ready = threading.Barrier(len(calls))

    def make(call, *arguments) -> None:
        ready.wait()
        answers.append(call(*arguments))

    threads = list(starmap(lambda *call: threading.Thread(target=make, args=call), calls))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
