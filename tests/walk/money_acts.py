"""What happens to money: at tills and gates, over channels, at the cash desk, by subsidy."""

import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import requests
from walk.campus import Caller, Staff, Till
from walk.card_acts import code_refusal, has_phone
from walk.people import MOST_BALANCE, Charge, Code, Person, TopUp
from walk.walk import DONE, Walk, act

from backend import jobs
from backend.ids import new_id
from backend.operators.models import Role

STORED = {"insufficient-balance", "limit-exceeded", "payment-paused", "not-permitted"}
"""What a charge of a genuine code is declined with: the decision uses the code up."""
LATE = "too-many-requests"
CODES_A_MINUTE = 14


def draw(walk: Walk, one: Person, scope: str) -> tuple[Code | None, str]:
    """Let a phone draw codes; return the first, or None, and the verdict."""
    assert one.phone is not None
    want = code_refusal(one)
    if want == DONE:
        if ("pay" if scope == "pay" else "identify") in one.denied:
            want = "not-permitted"
        elif scope == "pay" and one.paused:
            want = "payment-paused"
    said: dict[str, Any] = {"scope": scope}
    if scope == "pay" and walk.chance.random() < 0.2:
        said["kind"] = "short"
    answer = walk.ask(one.phone, "POST", "/me/codes", said, want={want, LATE})
    if not answer.ok:
        return None, answer.verdict
    one.drawn = [*one.drawn[1 - CODES_A_MINUTE :], time.monotonic()]
    one.turns += 1
    shown = answer.body["codes"][0]
    expires = datetime.fromisoformat(shown["expires_at"]).timestamp()
    code = Code(shown["text"], scope, one.epoch, one.turns, expires)
    one.codes = [*one.codes[-5:], code]
    return code, DONE


def price(walk: Walk, one: Person, till: Till) -> int:
    """Choose a price: mostly a meal, now and then one at the edge of what can be paid."""
    usual = walk.chance.randrange(1, 3_000)
    have = one.main + one.subsidy
    edge = next((p for p in range(max(1, have - have // 10), have + 2)
                 if p + one.surcharge_on(p, till) >= have), usual)  # fmt: skip
    return walk.chance.choice([usual] * 8 + [edge, edge + 1, 60_000])


@act(40)
def pay_at_a_till(walk: Walk) -> str | None:
    """Show a code at a till (扫码消费)."""
    one = shows_codes(walk)
    if one is None:
        return None
    code, verdict = draw(walk, one, "pay")
    if code is None:
        return verdict
    return charge(walk, one, code)


def shows_codes(walk: Walk) -> Person | None:
    """Return somebody with a phone: mostly one whose card is in use, and who may draw a code."""
    if walk.chance.random() < 0.8:
        return walk.pick(
            has_phone,
            lambda p: p.virtual and p.virtual.state == "active",
            lambda p: len(p.drawn) < CODES_A_MINUTE or time.monotonic() - p.drawn[0] > 60,
        )
    return walk.pick(has_phone)


def charge(walk: Walk, one: Person, code: Code) -> str:
    """Let a till charge a genuine code of somebody, and compare every figure."""
    till = walk.chance.choice(walk.campus.tills)
    amount, id_ = price(walk, one, till), new_id()
    want = one.pay_verdict(code, amount, till, walk.today)
    body = {"code": code.text, "amount_fen": amount}
    answer = walk.ask(till, "PUT", f"/charges/{id_}", body, want=want)
    state = "approved" if answer.ok else "declined"
    made = Charge(str(id_), till, code.text, amount, state, walk.today)
    if code.epoch == one.epoch:
        one.use(code)
    if answer.ok:
        made.surcharge = one.surcharge_on(amount, till)
        one.pay(made)
        figures = (made.surcharge, one.main + one.subsidy, amount + made.surcharge)
        said = tuple(answer.body[name] for name in ("surcharge_fen", "balance_fen", "total_fen"))
        if said != figures:
            raise walk.wrong(f"the till shows {said}, not {figures}")
    if answer.code == "insufficient-balance":
        short = amount + one.surcharge_on(amount, till) - one.main - one.subsidy
        if answer.body["short_fen"] != short:
            raise walk.wrong("the shortfall is another")
    one.charges.append(made)
    walk.agree(one)
    return answer.verdict


@act(8)
def show_an_old_code(walk: Walk) -> str | None:
    """Show a code that was used, burnt, lost, overtaken or is too old (K1, K2, K3, K5)."""
    now = time.time()
    old = [
        (one, code)
        for one in walk.people
        for code in one.codes
        if code.scope == "pay" and len(code.text) > 20 and not -9 < now - code.expires < 12
    ]
    if not old:
        return None
    one, code = walk.chance.choice(old)
    if now < code.expires:
        return charge(walk, one, code)
    body = {"code": code.text, "amount_fen": 100}
    till = walk.chance.choice(walk.campus.tills)
    return walk.put(till, "/charges/{}", body, want="code-expired").verdict


@act(6)
def show_no_pay_code(walk: Walk) -> str | None:
    """Show a till what is no pay code: garbage, a forgery, a gate code, a token (K4)."""
    one = walk.pick(has_phone)
    if one is None or one.phone is None:
        return None
    till = walk.chance.choice(walk.campus.tills)
    kind = walk.chance.choice(["garbage", "token", "gate", "forged", "bearer"])
    if kind in ("garbage", "token"):
        text, want = ("?" * 30 if kind == "garbage" else one.phone.token), {"code-malformed"}
    else:
        code, verdict = draw(walk, one, "gate" if kind == "gate" else "pay")
        if code is None:
            return verdict
        text, want = code.text, {"code-wrong-scope"}
        if kind == "bearer":
            answer = walk.ask(Caller("a code", text), "GET", "/me", want="unauthenticated")
            return answer.verdict
        if kind == "forged":
            if len(text) == 20:
                return None
            place = walk.chance.randrange(40, len(text) - 10)
            text = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
            want = {"code-forged", "code-malformed"}
    body = {"code": text, "amount_fen": 100}
    return walk.put(till, "/charges/{}", body, want=want).verdict


@act(15)
def pass_a_gate(walk: Walk) -> str | None:
    """Show a code at a gate (门禁)."""
    one = shows_codes(walk)
    if one is None:
        return None
    code, verdict = draw(walk, one, "gate")
    if code is None:
        return verdict
    if walk.chance.random() < 0.15:  # somebody else's, shown before
        older = [old for old in one.codes if old.scope == "gate"]
        code = walk.chance.choice(older)
        if time.time() > code.expires - 9:
            return None
    right = one.code_verdict(code)
    if right == DONE and "identify" in one.denied:
        right = "not-permitted"
    gate = walk.chance.choice(walk.campus.gates)
    if right == DONE and not gate.lets(one.category):
        right = "access-not-allowed"
    direction = walk.chance.choice(["in", "out"])
    body = {"code": code.text, "direction": direction}
    answer = walk.put(gate, "/passages/{}", body)
    if code.epoch == one.epoch:
        one.use(code)
    decision, reason = answer.body["decision"], answer.body["reason"]
    open_ = right == DONE or (direction == "out" and walk.memory["emergencies"])
    if (decision, reason) != ("allow" if open_ else "deny", None if right == DONE else right):
        raise walk.wrong(f"the gate says {decision}, {reason}, where {right} is right")
    return f"{decision}: {reason or 'nothing against it'}"


def a_charge(walk: Walk, *states: str) -> tuple[Person, Charge] | None:
    """Return a charge in one of some states."""
    found = [(one, made) for one in walk.people for made in one.charges if made.state in states]
    return walk.chance.choice(found[-200:]) if found else None


@act(5)
def void_a_charge(walk: Walk) -> str | None:
    """Give a charge in doubt up: before it came, or after (I4)."""
    if walk.chance.random() < 0.3:
        one = walk.pick(has_phone)
        till, id_ = walk.chance.choice(walk.campus.tills), new_id()
        if one is None:
            return None
        walk.ask(till, "PUT", f"/charges/{id_}/void")
        code, verdict = draw(walk, one, "pay")
        if code is None:
            return verdict
        body = {"code": code.text, "amount_fen": 100}
        answer = walk.ask(till, "PUT", f"/charges/{id_}", body, want="charge-voided")
        one.charges.append(Charge(str(id_), till, code.text, 100, "voided", walk.today))
        return answer.verdict
    found = a_charge(walk, "approved", "declined", "voided")
    if found is None:
        return None
    one, made = found
    walk.ask(made.till, "PUT", f"/charges/{made.id}/void")
    if made.state == "approved":
        one.give_back(made, made.amount - made.reversed)
    made.state = "voided"
    walk.agree(one)
    return DONE


@act(5)
def reverse_a_charge(walk: Walk) -> str | None:
    """Give a charge back, whole or in part, or more than there is of it (冲正)."""
    found = a_charge(walk, "approved", "approved", "voided", "declined")
    if found is None:
        return None
    one, made = found
    left = made.amount - made.reversed
    amount = walk.chance.choice([max(1, left // 2), max(1, left), left + 1])
    if made.state != "approved":
        want = "not-charged"
    else:
        want = DONE if amount <= left else "reversal-too-large"
    path = f"/charges/{made.id}/reversals/{new_id()}"
    answer = walk.ask(made.till, "PUT", path, {"amount_fen": amount}, want=want)
    if answer.ok and one.give_back(made, amount) != answer.body["surcharge_fen"]:
        raise walk.wrong("the surcharge that goes back is another")
    walk.agree(one)
    return answer.verdict


@act(12)
def top_up(walk: Walk) -> str | None:
    """Order a top-up over a channel; mostly it is paid, and its notice comes once or more often."""
    one = walk.pick(has_phone)
    if one is None or one.phone is None:
        return None
    amount = walk.chance.choice([walk.chance.randrange(1_000, 20_000)] * 8 + [50_000, 99, 50_001])
    channel = walk.chance.choice(["wechat", "alipay"])
    want = _takes_no_money(one)
    if amount < 100:
        want.add("below-least")
    if amount > 50_000 or one.main + amount > MOST_BALANCE:
        want.add("limit-exceeded")
    if sum(order.state == "waiting" for order in one.top_ups) >= 10:
        want.add("too-many-unpaid")
    body, id_ = {"channel": channel, "amount_fen": amount}, new_id()
    answer = walk.ask(one.phone, "PUT", f"/me/top-ups/{id_}", body, want=want or DONE)
    if not answer.ok:
        return answer.verdict
    order = TopUp(str(id_), channel, amount, "waiting")
    one.top_ups.append(order)
    if walk.chance.random() < 0.85:
        pay_order(walk, one, order)
    return DONE


def _takes_no_money(one: Person) -> set[str]:
    """Return why an account takes no money."""
    want = set()
    if one.closed:
        want.add("account-closed")
    if one.virtual and one.virtual.state == "expired":
        want.add("card-expired")
    if "finance" in one.denied:
        want.add("not-permitted")
    return want


def pay_order(walk: Walk, one: Person, order: TopUp) -> None:
    """Pay an order at the platform, and wait for its notice or ask."""
    paid = walk.campus.college.control(
        "POST", "pay", {"out_trade_no": UUID(order.id).hex, "outcome": "paid"}
    )
    if paid.status_code != 200:
        raise walk.wrong(f"the platform says {paid.text}")
    if one.phone is not None and walk.chance.random() < 0.5:
        walk.ask(one.phone, "POST", f"/me/top-ups/{order.id}/sync", want={DONE, LATE})
    walk.campus.await_notices()
    ((state,),) = walk.campus.rows("SELECT state FROM top_ups WHERE id = %s", order.id)
    expected = "returned" if one.closed else "paid"
    if state != expected:
        raise walk.wrong(f"the order is {state}, not {expected}")
    order.state = expected
    if expected == "paid":
        one.main += order.amount
    walk.agree(one)


def an_order(walk: Walk, *states: str) -> tuple[Person, TopUp] | None:
    """Return an order in one of some states."""
    found = [(one, order) for one in walk.people for order in one.top_ups if order.state in states]
    return walk.chance.choice(found) if found else None


@act(3)
def give_an_order_up(walk: Walk) -> str | None:
    """Cancel an unpaid order, or pay one that was left."""
    found = an_order(walk, "waiting")
    if found is None:
        return None
    one, order = found
    if one.phone is None or walk.chance.random() < 0.4:
        pay_order(walk, one, order)
        return "paid late"
    path = f"/me/top-ups/{order.id}/cancel"
    answer = walk.ask(one.phone, "POST", path, want={DONE, LATE}, still=False)
    if answer.ok and answer.body["state"] == "closed":
        order.state = "over"
    return answer.body.get("state", answer.verdict)


@act(4)
def tell_again(walk: Walk) -> str | None:
    """Let a platform send a notice again, or let somebody forge one: nothing changes."""
    found = an_order(walk, "paid", "returned")
    if found is None:
        return None
    one, order = found
    if walk.chance.random() < 0.4:
        return _forge(walk, order)
    said = walk.campus.college.control("GET", f"notices?out_trade_no={UUID(order.id).hex}").json()
    own = [one for one in said["items"] if one.get("out_trade_no") == UUID(order.id).hex]
    for notice in own[:3]:
        walk.campus.college.control("POST", f"notices/{notice['notice_id']}/send")
    walk.campus.await_notices()
    walk.agree(one)
    return DONE if own else None


def _forge(walk: Walk, order: TopUp) -> str:
    before = walk.standing()
    name = "wechat-pay" if order.channel == "wechat" else "alipay"
    got = requests.post(
        f"{walk.campus.college.urls[0]}/callbacks/{name}",
        data=f"out_trade_no={UUID(order.id).hex}&trade_status=TRADE_SUCCESS&sign=AAAA",
        headers={"Wechatpay-Signature": "AAAA", "Wechatpay-Serial": "1",
                 "Content-Type": "application/x-www-form-urlencoded"},
        timeout=20, proxies={"http": ""},
    )  # fmt: skip
    believed = got.status_code < 400 and got.text.strip() != "fail"
    if believed or got.status_code >= 500 or walk.standing() != before:
        raise walk.wrong(f"a forged notice was answered with {got.status_code} {got.text}")
    return "forged"


@act(4)
def ask_money_back(walk: Walk) -> str | None:
    """Ask for some of the balance back, to where it came from (退款)."""
    one = walk.pick(has_phone, lambda p: p.main or walk.chance.random() < 0.1)
    if one is None or one.phone is None:
        return None
    open_ = sum(order.amount - order.back for order in one.top_ups if order.state == "paid")
    most = min(one.main, open_)
    shown = walk.ask(one.phone, "GET", "/me/refundable").body["refundable_fen"]
    if shown != most:
        raise walk.wrong(f"{shown} can go back, not {most}")
    amount = walk.chance.choice([max(1, most // 3), max(1, most), most + 1])
    want = set()
    state = one.virtual.state if one.virtual and not one.virtual.gone else ""
    if state == "frozen":
        want.add("card-frozen")
    if one.closed:
        want.add("account-closed")
    if "finance" in one.denied:
        want.add("not-permitted")
    if one.refunds_today >= 5:
        want.add("too-many-refunds")
    if not want and amount > most:
        want.add("refund-not-possible")
    answer = walk.put(one.phone, "/me/refunds/{}", {"amount_fen": amount}, want=want or DONE)
    if answer.ok:
        one.main -= amount
        one.refunds_today += 1
        follow_refunds(walk, one)
    walk.agree(one)
    return answer.verdict


def follow_refunds(walk: Walk, one: Person) -> None:
    """Learn which orders the money goes back to."""
    back = dict(
        walk.campus.rows(
            "SELECT out_trade_no, sum(amount_fen)::bigint FROM channel_refunds"
            " WHERE holder_id = %s AND state <> 'returned' GROUP BY out_trade_no",
            one.id,
        )
    )
    for order in one.top_ups:
        order.back = int(back.get(UUID(order.id).hex, 0))
        if order.back > order.amount:
            raise walk.wrong("more went back than was paid")


@act(3)
def send_money_back(walk: Walk) -> str | None:
    """Run the jobs that talk to the channels; now and then no account takes the money back."""
    taken = walk.chance.random() < 0.8
    control = walk.campus.college.control
    control("POST", "faults", {} if taken else {"refund_abnormal": True}).raise_for_status()
    walk.campus.settle_channels()
    control("POST", "faults", {}).raise_for_status()
    learn_what_came_back(walk)
    return DONE if taken else "not taken"


def learn_what_came_back(walk: Walk) -> None:
    """Put what no channel took back into the purse that it was taken from."""
    theirs: list[Person] = []
    for refund, holder_id, amount in walk.campus.rows(
        "SELECT id, holder_id, amount_fen FROM channel_refunds"
        " WHERE state = 'returned' AND to_purse"
    ):
        if refund not in walk.memory["came back"]:
            walk.memory["came back"].append(refund)
            one = next(one for one in walk.people if one.id == str(holder_id))
            one.main += amount
            follow_refunds(walk, one)
            theirs.append(one)
    walk.agree(*theirs)


@act(2)
def pay_by_hand(walk: Walk) -> str | None:
    """Pay by bank what no channel could send back, by two people (线下打款)."""
    waiting = walk.campus.rows(
        "SELECT id FROM channel_refunds WHERE state = 'abnormal'"
        " AND subject_id NOT IN (SELECT id FROM closings)"
    )
    if not waiting:
        return None
    ((refund,),) = walk.chance.sample(waiting, 1)
    maker, checker = walk.campus.two(Role.FINANCE)
    path = f"/staff/refunds/{refund}/payouts/{new_id()}"
    walk.ask(maker, "PUT", path, {"bank_reference": "B-7"})
    path, approve = f"{path}/decision", walk.chance.random() < 0.8
    walk.ask(maker, "POST", path, {"approve": approve}, want="second-person-needed")
    walk.ask(checker, "POST", path, {"approve": approve})
    return "paid" if approve else "refused"


@act(8)
def work_at_the_cash_desk(walk: Walk) -> str | None:
    """Open a shift, take cash, take it back, count the drawer (现金窗口)."""
    shifts = walk.memory["shifts"]
    cashier = walk.chance.choice([*walk.campus.staff[Role.FINANCE],
                                  *walk.campus.staff[Role.LOGISTICS]])  # fmt: skip
    shift = next((one for one in shifts if one["cashier"] is cashier), None)
    if shift is None:
        body = {"desk": f"窗口 {cashier.name}", "opening_float_fen": 10_000}
        id_ = new_id()
        walk.ask(cashier, "PUT", f"/staff/cash-desk/shifts/{id_}", body)
        shifts.append({"id": str(id_), "cashier": cashier, "taken": 0, "state": "open"})
        return "shift opened"
    if shift["state"] == "closing":
        return _rule(walk, shift)
    way = walk.chance.choices(["take", "reverse", "count"], [7, 2, 1])[0]
    if way == "count":
        return _count(walk, shift)
    return _take(walk, shift) if way == "take" else _take_back(walk)


def _take(walk: Walk, shift: dict[str, Any]) -> str | None:
    one = walk.pick()
    if one is None:
        return None
    amount = walk.chance.choice([walk.chance.randrange(100, 9_000)] * 6 + [50_000, 99, 50_001])
    want = _takes_no_money(one)
    if one.physical and one.physical.state == "expired":
        want.add("card-expired")
    if amount < 100:
        want.add("below-least")
    if amount > 50_000 or one.main + amount > MOST_BALANCE:
        want.add("limit-exceeded")
    id_ = new_id()
    body = {"shift_id": shift["id"], "holder_id": one.id, "amount_fen": amount}
    path = f"/staff/cash-desk/top-ups/{id_}"
    answer = walk.ask(shift["cashier"], "PUT", path, body, want=want or DONE)
    if answer.ok:
        one.main += amount
        shift["taken"] += amount
        walk.memory["cash"].append({"id": str(id_), "one": one, "fen": amount, "shift": shift})
    walk.agree(one)
    return answer.verdict


def _take_back(walk: Walk) -> str | None:
    if not walk.memory["cash"]:
        return None
    taken = walk.chance.choice(walk.memory["cash"])
    shift, one = taken["shift"], taken["one"]
    supervisor: Staff = walk.chance.choice([*walk.campus.staff[Role.FINANCE],
                                            *walk.campus.staff[Role.CARD_CENTRE]])  # fmt: skip
    if supervisor is shift["cashier"]:
        want = "cashier-cannot-supervise"
    elif taken.get("back"):
        want = "cash-reversed"
    elif shift["state"] != "open":
        want = "shift-not-open"
    else:
        want = DONE if one.main >= taken["fen"] else "cash-spent"
    path = f"/staff/cash-desk/top-ups/{taken['id']}/reversals/{new_id()}"
    answer = walk.ask(supervisor, "PUT", path, {"reason": "收错人"}, want=want)
    if answer.ok:
        taken["back"] = True
        one.main -= taken["fen"]
        shift["taken"] -= taken["fen"]
    walk.agree(one)
    return f"reversal: {answer.verdict}"


def _count(walk: Walk, shift: dict[str, Any]) -> str:
    off = walk.chance.choice([0, 0, 5, -5, 2_000])
    counted = 10_000 + shift["taken"] + off
    note = None if off == 5 else "点款"
    want = "difference-unexplained" if off == 5 else DONE
    path = f"/staff/cash-desk/shifts/{shift['id']}/close-out"
    body = {"counted_fen": counted, "note": note}
    answer = walk.ask(shift["cashier"], "PUT", path, body, want=want, alone=True)
    if answer.ok:
        shift["state"] = answer.body["state"]
        if shift["state"] != ("closing" if abs(off) > 1_000 else "closed"):
            raise walk.wrong(f"a count that is off by {off} leaves the shift {shift['state']}")
        _end(walk, shift)
    return f"count: {answer.verdict}"


def _rule(walk: Walk, shift: dict[str, Any]) -> str:
    who: Staff = walk.chance.choice([*walk.campus.staff[Role.FINANCE],
                                     *walk.campus.staff[Role.CARD_CENTRE]])  # fmt: skip
    decision = walk.chance.choice(["approve", "recount"])
    want = "cashier-cannot-supervise" if who is shift["cashier"] else DONE
    path = f"/staff/cash-desk/shifts/{shift['id']}/close-out/ruling"
    body = {"decision": decision, "reason": "已复核"}
    answer = walk.ask(who, "PUT", path, body, want=want, alone=True)
    if answer.ok:
        shift["state"] = answer.body["state"]
        _end(walk, shift)
    return f"ruling: {answer.verdict}"


def _end(walk: Walk, shift: dict[str, Any]) -> None:
    if shift["state"] == "closed":
        walk.memory["shifts"].remove(shift)


@act(4)
def give_subsidies(walk: Walk) -> str | None:
    """Make a batch of subsidies with its faults, approve it, pay it (补贴)."""
    waiting = walk.memory["subsidies"]
    if waiting and walk.chance.random() < 0.6:
        return _decide_subsidies(walk, walk.chance.choice(waiting))
    people = [one for one in (walk.pick() for _ in range(4)) if one]
    items = [
        {"holder_number": one.number, "amount_fen": walk.chance.randrange(1, 3_000)}
        for one in {one.id: one for one in people}.values()
    ]
    faulty = any(one.closed for one in people)
    if walk.chance.random() < 0.1:
        items.append(walk.chance.choice([items[0], {"holder_number": "0", "amount_fen": 1}]))
        faulty = True
    pay_on = walk.chance.choice([None, walk.campus.day + timedelta(days=2)])
    id_ = new_id()
    body = {
        "items": items, "name": "生活补贴", "document_number": "学工3号", "fund": "学生资助",
        "pay_on": pay_on and pay_on.isoformat(),
    }  # fmt: skip
    maker = walk.campus.one(Role.STUDENT_AFFAIRS)
    want = "subsidy-rows-faulty" if faulty else DONE
    answer = walk.ask(maker, "PUT", f"/staff/subsidy-batches/{id_}", body, want=want)
    if answer.ok:
        owed = [(by_number(walk, item["holder_number"]), item["amount_fen"]) for item in items]
        waiting.append({"id": str(id_), "owed": owed, "pay_on": pay_on, "state": "waiting"})
    return answer.verdict


def by_number(walk: Walk, number: str) -> Person:
    """Return who has a number."""
    return next(one for one in walk.people if one.number == number)


def _decide_subsidies(walk: Walk, batch: dict[str, Any]) -> str:
    path = f"/staff/subsidy-batches/{batch['id']}"
    if batch["state"] == "waiting":
        if walk.chance.random() < 0.15:
            who = walk.campus.one(Role.FINANCE)
            walk.ask(who, "POST", f"{path}/withdrawal", {"reason": "名单有误"})
            walk.memory["subsidies"].remove(batch)
            return "withdrawn"
        walk.ask(walk.campus.one(Role.FINANCE), "POST", f"{path}/approval")
        batch["state"] = "approved"
        return "approved"
    jobs.pay_subsidies(walk.campus.parts, walk.campus.later)
    pay_subsidies(walk)
    return "paid"


def pay_subsidies(walk: Walk) -> None:
    """Believe that what approved batches owe by now was paid."""
    theirs: list[Person] = []
    for batch in [*walk.memory["subsidies"]]:
        due = batch["pay_on"] is None or batch["pay_on"] <= walk.campus.day
        if batch["state"] == "approved" and due:
            for one, amount in batch["owed"]:
                if not one.closed:
                    one.subsidy += amount
            walk.memory["subsidies"].remove(batch)
            walk.memory["paid_subsidies"].append(batch)
            theirs += [one for one, _ in batch["owed"]]
    walk.agree(*theirs)


@act(2)
def take_a_subsidy_back(walk: Walk) -> str | None:
    """Take a mistaken subsidy back, by two people, at most what is left of it."""
    if not walk.memory["paid_subsidies"]:
        return None
    batch = walk.chance.choice(walk.memory["paid_subsidies"])
    who = walk.campus.one(Role.STUDENT_AFFAIRS)
    listed = walk.ask(who, "GET", f"/staff/subsidy-batches/{batch['id']}/items").body["items"]
    item = walk.chance.choice(listed)
    one = by_number(walk, item["holder_number"])
    if item["withdrawal"] and item["state"] == "paid":
        want = "subsidy-withdrawal-waits"
    else:
        want = DONE if item["state"] == "paid" else "subsidy-not-paid"
    id_ = new_id()
    body = {"item_id": item["id"], "reason": "发错"}
    answer = walk.ask(who, "PUT", f"/staff/subsidy-withdrawals/{id_}", body, want=want)
    if not answer.ok:
        return answer.verdict
    path = f"/staff/subsidy-withdrawals/{id_}/approval"
    walk.ask(who, "POST", path, want="role-not-allowed")
    walk.ask(walk.campus.one(Role.FINANCE), "POST", path)
    one.subsidy -= min(item["amount_fen"], one.subsidy)
    walk.agree(one)
    return DONE
