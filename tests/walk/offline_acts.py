"""What tills take without network, and tell later (脱机消费上送)."""

from typing import Any

from walk.campus import Till
from walk.money_acts import draw, shows_codes
from walk.people import Charge, Code, Person
from walk.walk import DONE, Walk, act

from backend import clock
from backend.clock import rfc3339
from backend.ids import new_id


@act(6)
def sell_without_network(walk: Walk) -> str | None:
    """Let a till decide alone on a code, and tell it later, once or twice, with others or alone."""
    one = shows_codes(walk)
    if one is None:
        return None
    code, verdict = draw(walk, one, "pay")
    if code is None:
        return verdict
    if len(code.text) == 20:  # a short code cannot be read without the server
        return None
    till = walk.chance.choice(walk.campus.tills)
    amount = _price(walk, one, till)
    accepted = amount > 0 and walk.chance.random() < 0.8
    item = _item(till, code, amount=max(1, amount), accepted=accepted)
    items = [item, *(_nonsense(till) for _ in range(walk.chance.randrange(2)))]
    first = _upload(walk, till, items)
    if walk.chance.random() < 0.3:
        again = _upload(walk, till, items)
        if again != first:
            raise walk.wrong(f"an upload that was repeated is answered with {again}")
    want = "charged" if accepted else "recorded"
    if first[item["id"]] != want:
        raise walk.wrong(f"a sale without network is {first[item['id']]}, not {want}")
    if accepted:
        made = Charge(item["id"], till, code.text, amount, "approved", walk.today)
        made.surcharge = one.surcharge_on(amount, till)
        one.pay(made)
        one.use(code)
        one.charges.append(made)
    walk.agree(one)
    return want


def _price(walk: Walk, one: Person, till: Till) -> int:
    """Choose a price that both purses can pay, 0 where they hold too little."""
    most = min(3_000, (one.main + one.subsidy) * 10 // 11)
    price = walk.chance.randrange(1, most + 1) if most > 0 else 0
    fits = price + one.surcharge_on(price, till) <= one.main + one.subsidy
    return price if fits else 0


def _item(till: Till, code: Code, *, amount: int, accepted: bool) -> dict[str, Any]:
    till.sequence += 1
    return {
        "id": str(new_id()), "sequence": till.sequence, "code": code.text,
        "reason": None if accepted else "over-cap", "amount_fen": amount,
        "state": "approved" if accepted else "declined",
        "decided_at": rfc3339(clock.now()), "bundle_sequence": None,
    }  # fmt: skip


def _nonsense(till: Till) -> dict[str, Any]:
    """Return what a till read of something that was no code."""
    till.sequence += 1
    return {
        "id": str(new_id()), "sequence": till.sequence, "code": "https://example.org/",
        "reason": "code-malformed", "amount_fen": 100, "state": "declined",
        "decided_at": rfc3339(clock.now()), "bundle_sequence": None,
    }  # fmt: skip


def _upload(walk: Walk, till: Till, items: list[dict[str, Any]]) -> dict[str, str]:
    said = walk.ask(till, "POST", "/charges/late", {"items": items}, want=DONE).body["items"]
    return {one["id"]: one["outcome"] for one in said}
