"""What happens to cards: at phones, at the counter, at the kiosk, on the telephone."""

import time
from datetime import timedelta

from walk.campus import Caller
from walk.people import ALREADY, GONE, LIFE, Card, Person, first_of
from walk.walk import DONE, Walk, act, seconds_since

from backend.ids import new_id
from backend.operators.models import Role

REFUSED_BY = {
    "lost": "card-lost", "frozen": "card-frozen", "expired": "card-expired",
    "closing": "account-closed", "closed": "account-closed",
}  # fmt: skip
STOPPED_OTHERWISE = ("frozen", "expired", "closing")
EVENTS = ("activate", "report_lost", "restore", "freeze", "unfreeze", "extend", "void")
PHONE_MINUTES = 4
"""A phone that logged in longer ago logs in again before it restores: within five it may."""
TOO_MANY = {"too-many-tries", "too-many-requests"}


def has_phone(one: Person) -> Caller | None:
    """Return the phone that somebody is logged in with, bound to them."""
    return one.phone if one.bound else None


def has_card(one: Person) -> Card | None:
    """Return somebody's physical card that is not gone."""
    return one.physical if one.physical and not one.physical.gone else None


@act(6)
def bind(walk: Walk) -> str | None:
    """Log a phone in and prove who one is, or fail to (绑定)."""
    one = walk.pick(lambda p: not p.bound)
    if one is None:
        return None
    one.platform = walk.chance.choice(["wechat", "alipay"])
    one.login_code = f"phone of {one.number} {new_id()}"
    phone = log_in(walk, one)
    said = {
        "holder_number": one.number, "name": one.name, "document_number": one.document,
        "terms_version": "2026-09",
    }  # fmt: skip
    if walk.chance.random() < 0.15:
        said |= walk.chance.choice(
            [{"name": "别人"}, {"document_number": "11010519491231002X"}, {"holder_number": "0"}]
        )
        want = {"identity-not-matched", *TOO_MANY}
        return walk.ask(phone, "PUT", "/me/binding", said, want=want).verdict
    stands = has_card(one)
    if one.closed:
        want = {"account-closed"}
    elif one.valid_until < walk.today:
        want = {"card-expired"}
    else:
        want = {REFUSED_BY.get(stands.state, DONE) if stands else DONE}
    answer = walk.ask(phone, "PUT", "/me/binding", said, want=want | TOO_MANY)
    if not answer.ok:
        return answer.verdict
    walk.ask(phone, "POST", "/me/binding/payment-identity", {"grant": one.login_code})
    one.bound, one.phone = True, phone
    ((id_, state),) = walk.campus.rows(
        "SELECT id, state FROM cards WHERE holder_id = %s AND kind = 'virtual'"
        " AND state NOT IN ('void', 'closed')",
        one.id,
    )
    one.virtual = Card(str(id_), "active")
    one.new_alias()
    walk.agree(one)
    return str(state)


def log_in(walk: Walk, one: Person) -> Caller:
    """Log somebody's phone in anew."""
    said = {"platform": one.platform, "code": one.login_code}
    answer = walk.ask(Caller(f"new phone of {one.name}", ""), "POST", "/sessions", said)
    one.logged_in = time.monotonic()
    return Caller(f"phone of {one.name}", answer.body["token"])


@act(4)
def log_in_again(walk: Walk) -> str | None:
    """Log in with the phone that is bound, after a loss of the phone as well."""
    one = walk.pick(lambda p: p.bound, lambda p: p.phone is None or walk.chance.random() < 0.05)
    if one is None:
        return None
    one.phone = log_in(walk, one)
    said = walk.ask(one.phone, "GET", "/me").body
    over = one.virtual is None or one.virtual.state == "void"
    believed = one.virtual.state if one.virtual and not over else None
    shown = (said["virtual_card"] or {}).get("state")
    if (said["binding"], shown) != ("active", believed):
        raise walk.wrong(f"the phone shows {shown}, not {believed}")
    return DONE


@act(2)
def unbind(walk: Walk) -> str | None:
    """Unbind the phone (解绑): not while a card is lost, or the virtual card is stopped."""
    one = walk.pick(has_phone)
    if one is None or one.phone is None:
        return None
    virtual = one.virtual if one.virtual and not one.virtual.gone else None
    if any(card.state == "lost" for card in one.cards):
        want = "restore-first"
    elif virtual and virtual.state in ("frozen", "closing"):
        want = "transition-not-possible"
    else:
        want = DONE
    answer = walk.ask(one.phone, "DELETE", "/me/binding", want=want)
    if answer.ok:
        if virtual:
            one.happen(virtual, "void")
        one.bound, one.phone = False, None
    walk.agree(one)
    return answer.verdict


@act(2)
def burn_codes(walk: Walk) -> str | None:
    """Make every code shown so far worthless."""
    one = walk.pick(has_phone)
    if one is None or one.phone is None:
        return None
    want = code_refusal(one)
    answer = walk.ask(one.phone, "DELETE", "/me/codes", want=want)
    if answer.ok:
        one.new_alias()
    return answer.verdict


def code_refusal(one: Person) -> str:
    """Return why the phone of somebody gets no code, `done` where it does."""
    if one.virtual is None or one.virtual.gone:
        return "account-closed" if one.closed else "not-bound"
    return REFUSED_BY.get(one.virtual.state, DONE)


@act(3)
def change_limits(walk: Walk) -> str | None:
    """Lower or raise the own limits, pause payments (限额, 暂停)."""
    one = walk.pick(has_phone)
    if one is None or one.phone is None:
        return None
    if walk.chance.random() < 0.6:
        paused = walk.chance.random() < 0.3
        if one.paused and not paused:
            return _resume_payments(walk, one)
        one.paused = paused
        return walk.ask(one.phone, "PATCH", "/me/limits", {"paused": paused}).verdict
    name = walk.chance.choice(["per_charge_fen", "per_day_fen"])
    value = walk.chance.choice([None, 2_000, 10_000, 30_000])
    answer = walk.ask(one.phone, "PATCH", "/me/limits", {name: value})
    before = one.limits[name]
    if value is not None and (before is None or value <= before):
        one.limits[name] = value  # a higher one holds from tomorrow
    return answer.verdict


def _resume_payments(walk: Walk, one: Person) -> str:
    """Resume payments (恢复付款): with a fresh login and the document, as for a lost card."""
    if one.phone is None or seconds_since(one.logged_in) > PHONE_MINUTES * 60:
        one.phone = log_in(walk, one)
    right = walk.chance.random() < 0.85
    said = {"paused": False, "document_last_six": one.document[-6:] if right else "000000"}
    want = {DONE if right else "identity-not-matched", *TOO_MANY}
    answer = walk.ask(one.phone, "PATCH", "/me/limits", said, want=want)
    one.paused = not answer.ok
    return f"resumed: {answer.verdict}"


@act(6)
def report_lost_by_phone(walk: Walk) -> str | None:
    """Report the card, the phone or both lost, from a phone (挂失)."""
    one = walk.pick(has_phone)
    if one is None or one.phone is None:
        return None
    said = {
        "credential": walk.chance.choice(["physical_card", "physical_card", "phone"]),
        "stop_virtual_card": walk.chance.random() < 0.3,
    }
    physical, virtual = has_card(one), one.virtual
    if virtual and virtual.gone:
        virtual = None
    phone, path = one.phone, f"/me/loss-reports/{new_id()}"
    began = time.monotonic()
    if said["credential"] == "phone":
        want = DONE if virtual else "nothing-to-report"
        answer = walk.ask(phone, "PUT", path, said, want=want, alone=True)
        if answer.ok:
            one.phone = None
            if virtual and virtual.state not in STOPPED_OTHERWISE:
                one.happen(virtual, "report_lost")
    else:
        hit = [card for card in (physical, virtual if said["stop_virtual_card"] else None) if card]
        want = _possible(hit, "report_lost") if physical else "nothing-to-report"
        answer = walk.ask(phone, "PUT", path, said, want=want)
        if answer.ok:
            for card in hit:
                one.happen(card, "report_lost")
    if answer.ok:
        walk.campus.seconds.append(seconds_since(began))
    walk.agree(one)
    return answer.verdict


def _possible(cards: list[Card], event: str) -> str:
    fits = all((card.state, event) in LIFE or ALREADY.get(event) == card.state for card in cards)
    return DONE if fits else "transition-not-possible"


@act(3)
def restore_by_phone(walk: Walk) -> str | None:
    """Put what is lost back in use, from a phone that logged in just now (解挂)."""
    one = walk.pick(has_phone, lambda p: walk.chance.random() < 0.15 or _lost(p))
    if one is None or one.phone is None:
        return None
    if seconds_since(one.logged_in) > PHONE_MINUTES * 60:
        one.phone = log_in(walk, one)
    right = walk.chance.random() < 0.85
    said = {"document_last_six": one.document[-6:] if right else "000000"}
    want = "identity-not-matched" if not right else DONE if _lost(one) else "nothing-to-restore"
    answer = walk.put(one.phone, "/me/restorations/{}", said, want={want, *TOO_MANY})
    if answer.ok:
        _restore_all(one)
    walk.agree(one)
    return answer.verdict


def _lost(one: Person) -> list[Card]:
    return [card for card in one.cards if card.state == "lost"]


def _restore_all(one: Person) -> None:
    for card in _lost(one):
        one.happen(card, "restore")
        if card is one.physical:
            one.request = None


@act(4)
def use_the_kiosk(walk: Walk) -> str | None:
    """Report a card lost or restore it at the kiosk, by its number (自助机)."""
    one = walk.pick(has_card)
    if one is None or one.physical is None:
        return None
    card, kiosk = one.physical, walk.campus.kiosk
    if walk.chance.random() < 0.5:
        want = _possible([card], "report_lost")
        answer = walk.put(kiosk, "/kiosk/loss-reports/{}", {"card_number": card.number}, want=want)
        if answer.ok:
            one.happen(card, "report_lost")
    else:
        right = walk.chance.random() < 0.85
        said = {
            "card_number": card.number,
            "document_number": one.document if right else "11010519491231002X",
        }
        want = "identity-not-matched" if not right else DONE if _lost(one) else "nothing-to-restore"
        answer = walk.put(kiosk, "/kiosk/restorations/{}", said, want={want, *TOO_MANY})
        if answer.ok:
            _restore_all(one)
    walk.agree(one)
    return answer.verdict


@act(16)
def operate_at_the_counter(walk: Walk) -> str | None:
    """Let any event happen to any card, also one that is gone, with or without its proof."""
    one = walk.pick()
    if one is None:
        return None
    cards = [card for card in (one.physical, one.virtual, *one.old_cards) if card]
    card = walk.chance.choice(cards)
    chance = walk.chance.random
    possible = [event for event in EVENTS if (card.state, event) in LIFE and event != "void"]
    event = walk.chance.choice(possible if possible and chance() < 0.5 else EVENTS)
    body: dict[str, object] = {"event": event, "documents": ["id_document"], "reason": "柜台办理"}
    hotline = chance() < 0.1
    if hotline:
        body |= {"channel": "hotline", "documents": ["hotline_questions"]}
    proven = chance() < 0.9
    if not proven:
        body["documents"] = ["old_card"]
    number = chance() < 0.9
    if event == "restore" and card.number:
        body["card_number"] = card.number if number else "0"
    until = walk.campus.day + timedelta(days=walk.chance.randrange(5, 60))
    if event == "extend":
        body |= {"valid_until": until.isoformat(), "approval_number": "教务〔2026〕7号"}
    stop_virtual = event == "report_lost" and card is one.physical and chance() < 0.3
    if stop_virtual:
        body["stop_virtual_card"] = True
    want = _counter_verdict(
        one, card, event, hotline=hotline, proven=proven, number=number, both=stop_virtual
    )
    path = f"/staff/cards/{card.id}/operations/{new_id()}"
    answer = walk.ask(walk.campus.one(Role.CARD_CENTRE), "PUT", path, body, want=want)
    if answer.ok:
        _operated(one, card, event, both=stop_virtual)
        if event == "extend":
            one.valid_until = until
    walk.agree(one)
    return answer.verdict


def _counter_verdict(
    one: Person, card: Card, event: str, *, hotline: bool, proven: bool, number: bool, both: bool
) -> str:
    possible = (card.state, event) in LIFE or ALREADY.get(event) == card.state
    phone_lost = card is one.virtual and event == "report_lost"
    stopped = not (possible or (phone_lost and card.state in STOPPED_OTHERWISE))
    virtual = [one.virtual] if both and one.virtual and not one.virtual.gone else []
    return first_of(
        (not possible and card.replaced, "replaced"),
        (stopped, "transition-not-possible"),
        (hotline and event != "report_lost", "not-by-phone"),
        (event in ("activate", "report_lost", "restore") and not proven, "documents-missing"),
        (event == "restore" and card.number and not number, "card-number-mismatch"),
        (True, _possible(virtual, "report_lost")),
    )


def _operated(one: Person, card: Card, event: str, *, both: bool) -> None:
    if event == "extend":
        one.wake()
        return
    if card is one.virtual and event in ("report_lost", "void") and card.state not in GONE:
        one.phone = None
        if event == "void":
            one.bound = False
    if not (event == "report_lost" and card is one.virtual and card.state in STOPPED_OTHERWISE):
        one.happen(card, event)
    if both and one.virtual and not one.virtual.gone:
        one.happen(one.virtual, "report_lost")
    if event == "restore" and card is one.physical:
        one.request = None


@act(5)
def replace_at_the_counter(walk: Walk) -> str | None:
    """Hand out a new card for a lost, damaged or badly made one (补卡), or refuse it."""
    one = walk.pick(lambda p: p.physical, lambda p: _lost(p) or walk.chance.random() < 0.3)
    if one is None or one.physical is None:
        return None
    card = walk.chance.choice([one.physical, one.physical, *one.old_cards])
    cause = walk.chance.choice(["lost", "lost", "damaged", "quality"])
    proven, quoted = walk.chance.random() < 0.9, walk.memory["fee_fen"]
    told = quoted if walk.chance.random() < 0.9 else quoted - 1
    body = {
        "cause": cause, "documents": ["id_document"] if proven else [], "quoted_fee_fen": told,
        "reason": "卡片问题", "evidence": "柜台照片7",
    }  # fmt: skip
    want = _replaceable(walk, one, card, cause)
    if want == DONE and not proven:
        want = "documents-missing"
    if want == DONE and cause != "quality":
        if told < quoted:
            want = "quote-outdated"
        elif one.main < quoted:
            want = "replacement-fee-short"
    answer = walk.ask(
        walk.campus.one(Role.CARD_CENTRE), "PUT",
        f"/staff/cards/{card.id}/replacements/{new_id()}", body, want=want,
    )  # fmt: skip
    if answer.code == "replacement-fee-short" and answer.body["short_fen"] != quoted - one.main:
        raise walk.wrong("the shortfall is another")
    if answer.ok:
        one.main -= answer.body["fee_fen"]
        if answer.body["fee_fen"] != (0 if cause == "quality" else quoted):
            raise walk.wrong("the fee is another")
        one.happen(card, "void")
        card.replaced, one.request = True, None
        new_card(walk, one)
    walk.agree(one)
    return answer.verdict


def new_card(walk: Walk, one: Person) -> None:
    """Put a new physical card into somebody's hand."""
    if one.physical:
        one.old_cards.append(one.physical)
    ((id_, number, state),) = walk.campus.rows(
        "SELECT id, number, state FROM cards WHERE holder_id = %s AND kind = 'physical'"
        " AND state NOT IN ('void', 'closed')",
        one.id,
    )
    one.physical = Card(str(id_), str(state), str(number))


def _replaceable(walk: Walk, one: Person, card: Card, cause: str) -> str:
    fitting = card.state in (("lost",) if cause == "lost" else ("active", "lost", "void"))
    return first_of(
        (card.replaced, "replaced"),
        (one.closed, "account-closed"),
        (fitting and one.valid_until < walk.today, "card-expired"),
        (fitting, DONE if card is one.physical else "replaced"),
        (card.state == "active", "report-lost-first"),
        (card.state in REFUSED_BY, REFUSED_BY.get(card.state, "")),
        (True, "transition-not-possible"),
    )


@act(3)
def ask_for_a_new_card(walk: Walk) -> str | None:
    """Ask for a new card by phone, or take the request back."""
    one = walk.pick(has_phone)
    if one is None or one.phone is None or one.physical is None:
        return None
    if one.request and walk.chance.random() < 0.4:
        answer = walk.ask(one.phone, "DELETE", f"/me/replacements/{one.request}")
        one.request = None
        return answer.verdict
    cause = walk.chance.choice(["lost", "damaged"])
    want = _replaceable(walk, one, one.physical, cause)
    if want == DONE and one.request:
        want = "replacement-asked"
    if want == DONE and one.main < walk.memory["fee_fen"]:
        want = "replacement-fee-short"
    id_ = new_id()
    answer = walk.ask(one.phone, "PUT", f"/me/replacements/{id_}", {"cause": cause}, want=want)
    if answer.ok:
        one.request = str(id_)
    return answer.verdict


@act(4)
def find_a_card(walk: Walk) -> str | None:
    """Bring a card that was found to the kiosk or to somebody of the staff (拾卡)."""
    one = walk.pick(lambda p: p.physical)
    if one is None or one.physical is None:
        return None
    card = walk.chance.choice([one.physical, *one.old_cards])
    number = card.number if walk.chance.random() < 0.9 else "4711"
    id_, known = new_id(), number == card.number
    if walk.chance.random() < 0.2:
        answer = walk.ask(
            walk.campus.kiosk, "PUT", f"/kiosk/found-cards/{id_}", {"number": number},
            want={DONE, "too-many-requests"},
        )  # fmt: skip
    else:
        finder = walk.campus.one(walk.chance.choice([Role.CARD_CENTRE, Role.LOGISTICS]))
        body = {"number": number, "place": "第一食堂"}
        answer = walk.ask(finder, "PUT", f"/staff/found-cards/{id_}", body)
    if answer.ok:
        if known and card.state == "active":
            one.happen(card, "report_lost")
        walk.memory["found"].append((str(id_), one if known else None, card))
    walk.agree(one)
    return answer.verdict


@act(3)
def hand_a_found_card_back(walk: Walk) -> str | None:
    """Hand a found card to its holder, against the document."""
    if not walk.memory["found"]:
        return None
    found = walk.chance.choice(walk.memory["found"])
    id_, one, card, *handed_back = found
    proven = walk.chance.random() < 0.9
    if handed_back:
        want = "handed-back"
    elif one is None:
        want = "found-card-unknown"
    else:
        want = DONE if proven else "documents-missing"
    body = {"documents": ["id_document"] if proven else ["old_card"]}
    path = f"/staff/found-cards/{id_}/hand-backs/{new_id()}"
    answer = walk.ask(walk.campus.one(Role.CARD_CENTRE), "PUT", path, body, want=want)
    if answer.ok and one is not None:
        walk.memory["found"].remove(found)
        walk.memory["found"].append((*found, "handed back"))
        if card.state == "lost":
            one.happen(card, "restore")
            one.request = None
        walk.agree(one)
    return answer.verdict
