"""Money over channels on their worst day: every fault on, and programs that are killed.

`MONEY_TOP_UPS` says how many top-ups people make, a fifth as many refunds they ask for;
`make money` does 1,000 and 200, and prints what became of them.  `MONEY_SEED` makes another day.
"""

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
from agenda import Agenda
from college import College, Vandal, count_lines, leaks, send
from factories import Bound, balances, make_holder, other_policies
from sqlalchemy import func, select, update

from backend import app as wiring
from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import Transfer, TransferKind
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.refunds import asking as refunds_asking
from backend.refunds import service as refunds
from backend.refunds.models import ChannelRefund, RefundState
from backend.settings import Settings
from backend.topups import asking, service
from backend.topups.models import ChannelNotice, NoticeOutcome, StrayPayment, TopUp, TopUpState
from backend.topups.rules import UNRESOLVED
from payments.sandbox.faults import Faults
from payments.sandbox.notices import alipay_notice, wechat_notice
from payments.sandbox.signing import Signer
from payments.sandbox.state import Order, OrderState, utc_text

TOP_UPS = int(os.environ.get("MONEY_TOP_UPS", "60"))
REFUNDS = TOP_UPS // 5
SEED = int(os.environ.get("MONEY_SEED", "1"))
EARLY = TOP_UPS * 9 // 10
"""How many people begin well before the faults end."""
HOLDERS = max(12, TOP_UPS // 6)
PEOPLE = 12
STEPS = 40
"""How long refunds are tried with all faults on: from one due date to the next."""
A_SECOND = 8
"""Top-ups that people begin."""
CALLBACKS = {"wechat": "/callbacks/wechat-pay", "alipay": "/callbacks/alipay"}
SUCCESS = {"wechat": (204, b""), "alipay": (200, b"success")}
TIME_SCALE = 100
"""How much faster than in life the platforms repeat their notices."""
VALID_SECONDS = 18 if TOP_UPS < 500 else 42
"""How long an order can be paid: shorter than in life, so that orders end while faults are on."""
LATE = (0.7 * VALID_SECONDS, 1.2 * VALID_SECONDS)
"""Seconds after which a late payer tries to pay: around the end of the order."""
FAULTS: dict[str, Any] = {
    "drop": 0.3,
    "duplicate": {"value": 3, "share": 0.2},
    "reorder": 0.2,
    "delay_seconds": {"value": 20, "share": 0.15},
    "delay_past_expiry": 0.05,
    "answer_5xx": 0.1,
    "lose_answer": 0.15,
    "hang_seconds": {"value": 1.2, "share": 0.03},
    "bad_signature": 0.05,
    "signtest": 0.05,
    "stale": 0.05,
    "foreign_merchant": 0.02,
    "foreign_app": 0.02,
    "before_create_returns": 0.05,
    "close_race": 0.2,
    "pay_after_close": 0.2,
}
"""All that a platform and its line do.  Not among them: telling a wrong amount or currency, which
freezes the order for a person (`tests/backend/topups`)."""
REFUND_FAULTS: dict[str, Any] = {
    "drop": 0.3,
    "duplicate": {"value": 3, "share": 0.2},
    "answer_5xx": 0.15,
    "lose_answer": 0.3,
    "hang_seconds": {"value": 1.2, "share": 0.1},
    "bad_signature": 0.1,
    "signtest": 0.05,
    "not_enough": 0.1,
}

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(scope="module")
def college(
    settings: Settings, app: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[College]:
    """Two web servers, three workers and a sandbox; nothing of other tests is due."""
    with transaction() as session:
        session.execute(update(TopUp).values(next_query_at=None))
        session.execute(update(ChannelRefund).values(next_try_at=None))
    made = College(
        settings, tmp_path_factory.mktemp("college"), webs=2, workers=3, time_scale=TIME_SCALE
    )
    with other_policies(top_up__valid_minutes=VALID_SECONDS / 60):
        made.start()
        yield made
        made.stop()


@pytest.fixture(scope="module")
def own(college: College) -> Parts:
    """The same parts as the college's programs have, here."""
    return wiring.wire(college.settings)


@dataclass
class Phones:
    """Holders at their phones: they send again what was not answered."""

    college: College
    holders: list[Bound]
    agenda: Agenda = field(default_factory=Agenda)
    made: dict[UUID, Bound] = field(default_factory=dict)
    asked: dict[UUID, tuple[Bound, int]] = field(default_factory=dict)
    said: Counter[str] = field(default_factory=Counter)
    secrets: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, word: str) -> None:
        """Count one of something."""
        with self.lock:
            self.said[word] += 1

    def call(self, holder: Bound, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a request until it is answered, to either server."""
        for attempt in range(120):
            url = self.college.urls[(attempt + hash(path)) % len(self.college.urls)]
            try:
                answer = send(method, f"{url}/api/v1/me/{path}", json=body, headers=holder.headers)
            except requests.RequestException:
                self.count("requests that no server answered")
                time.sleep(0.3)
                continue
            if answer.status_code in (429, 503):
                self.count(f"answers {answer.status_code}")
                time.sleep(0.3)
                continue
            assert answer.status_code < 500, (answer.status_code, answer.text)
            said: dict[str, Any] = answer.json()
            return said
        raise AssertionError("never answered")

    def order(self, holder: Bound, body: dict[str, Any]) -> UUID:
        """Order a top-up; ask again while the channel has not answered, as the phone does."""
        top_up_id = new_id()
        with self.lock:
            self.made[top_up_id] = holder
        for _ in range(20):
            said = self.call(holder, "PUT", f"top-ups/{top_up_id}", body)
            if said.get("client_params"):
                params = said["client_params"]
                with self.lock:
                    for name in ("paySign", "package", "tradeNO", "code_url"):
                        if name in params:
                            self.secrets[f"{name} of {top_up_id}"] = params[name]
                break
            if "code" in said:
                self.count(f"refused: {said['code']}")
                break
            self.count("answers that the channel owed us")
            time.sleep(0.5)
        return top_up_id

    def pay(self, top_up_id: UUID) -> None:
        """Pay at the platform, if that is possible there."""
        answer = self.college.control(
            "POST", "pay", {"out_trade_no": top_up_id.hex, "outcome": "paid"}
        )
        assert answer.status_code in (200, 404, 409), answer.text

    def sync(self, top_up_id: UUID) -> None:
        """Come back from paying."""
        said = self.call(self.made[top_up_id], "POST", f"top-ups/{top_up_id}/sync")
        assert "state" in said or said["code"] == "not-found", said

    def top_up(self, number: int) -> None:
        """Let one person top up, in one of the ways that people have."""
        chance = random.Random(f"{SEED}:{number}")
        holder = self.holders[number % len(self.holders)]
        body = {
            "channel": chance.choice(["wechat", "alipay"]),
            "amount_fen": chance.randrange(100, 3000),
        }
        top_up_id = self.order(holder, body)
        way = chance.choices(
            ["pay", "pay late", "leave", "cancel", "replace"], [58, 14, 6, 10, 12]
        )[0]
        if way == "pay late" and number >= EARLY:
            way = "leave"
        self.count(f"people who {way}")
        agenda = self.agenda
        if way == "pay":
            agenda.add(chance.uniform(0, 1), lambda: self.pay(top_up_id))
            if chance.random() < 0.4:
                agenda.add(chance.uniform(0, 2), lambda: self.sync(top_up_id))
        elif way == "pay late":
            agenda.add(chance.uniform(*LATE), lambda: self.pay(top_up_id))
        elif way == "cancel":
            agenda.add(
                chance.uniform(0, 1),
                lambda: void(self.call(holder, "POST", f"top-ups/{top_up_id}/cancel")),
            )
            if chance.random() < 0.7:
                agenda.add(chance.uniform(0, 2), lambda: self.pay(top_up_id))
        elif way == "replace":
            other = "alipay" if body["channel"] == "wechat" else "wechat"
            changed = {"channel": chance.choice([other, body["channel"]])}
            changed |= {"amount_fen": body["amount_fen"] + chance.randrange(2)}
            agenda.add(
                chance.uniform(0, 1),
                lambda: self.replace(holder, top_up_id, changed, chance.uniform(0, 2)),
            )
            if chance.random() < 0.6:
                agenda.add(chance.uniform(0, 3), lambda: self.pay(top_up_id))

    def replace(
        self, holder: Bound, top_up_id: UUID, body: dict[str, Any], pay_after: float
    ) -> None:
        """Choose another channel or amount, and pay that."""
        replacing = self.order(holder, body | {"replaces": str(top_up_id)})
        self.agenda.add(pay_after, lambda: self.pay(replacing))

    def bring(self, holder: Bound, number: int) -> None:
        """Top up without trouble, through one channel or the other."""
        body = {"channel": ("wechat", "alipay")[number % 2], "amount_fen": 1000 + number}
        top_up_id = self.order(holder, body)
        self.pay(top_up_id)
        self.sync(top_up_id)

    def ask_back(self, number: int) -> None:
        """Ask for some of the balance back; sometimes twice at once, as phones do."""
        chance = random.Random(f"{SEED}:refund:{number}")
        holder = self.holders[number % len(self.holders)]
        known = self.call(holder, "GET", "refundable")
        if known["refundable_fen"] < 1:
            self.count("holders with nothing to give back")
            return
        amount_fen = chance.randrange(1, min(known["refundable_fen"], 2500) + 1)
        refund_id = new_id()
        for _ in range(1 + (chance.random() < 0.3)):
            said = self.call(holder, "PUT", f"refunds/{refund_id}", {"amount_fen": amount_fen})
        if "code" in said:
            self.count(f"refunds refused: {said['code']}")
            return
        with self.lock:
            self.asked[refund_id] = (holder, amount_fen)


def void(_: object) -> None:
    """Forget an answer."""


def make_holders(parts: Parts, chance: random.Random) -> list[Bound]:
    """Make people with accounts as the platforms name them."""
    made = []
    for number in range(HOLDERS):
        platform = ("wechat", "alipay")[number % 2]
        code = "".join(chance.choice("0123456789abcdef") for _ in range(31))
        account_id = f"o{code[:27]}" if platform == "wechat" else f"0{code}"
        made.append(make_holder(parts, platform=platform, account_id=account_id))
    return made


def run_out(own: Parts, now: datetime, *, most: int = 10_000) -> datetime:
    """Let time pass, from one due date to the next, until nothing is due; return when that is.

    Two workers work at each.  Fewer than `most` steps have to do, or it goes no further than that.
    """
    for _ in range(most):
        with transaction() as session:
            due = min(
                (
                    moment
                    for moment in (
                        session.scalar(select(func.min(TopUp.next_query_at))),
                        session.scalar(select(func.min(ChannelRefund.next_try_at))),
                    )
                    if moment is not None
                ),
                default=None,
            )
        if due is None:
            return now
        now = max(now, due) + timedelta(minutes=1)
        with ThreadPoolExecutor(2) as workers:
            for done in [workers.submit(ask_all, own, now) for _ in range(2)]:
                done.result()
    assert most < 10_000, "something is due for ever"
    return now


def ask_all(own: Parts, now: datetime) -> None:
    """Work as one worker does at a moment."""
    asking.ask_due(channels=own.channels, sealer=own.sealer, now=now)
    refunds_asking.ask_due(channels=own.channels, now=now)


@dataclass
class Books:
    """What the platforms have, and what we have, about the same orders."""

    paid: dict[str, dict[str, Any]]
    """The platforms' paid orders by our number."""
    orders: dict[str, TopUp]
    credited: dict[str, int]
    """What was credited by number: the sum of its transfers."""
    credits: Counter[str]
    strays: dict[str, list[StrayPayment]]
    refunds: list[ChannelRefund]

    @classmethod
    def read(cls, college: College, top_ups: set[UUID]) -> "Books":
        """Read both sides."""
        numbers = {top_up_id.hex for top_up_id in top_ups}
        paid = {
            order["out_trade_no"]: order
            for order in college.pages("orders")
            if order["paid_at"] and order["out_trade_no"] in numbers
        }
        with transaction() as session:
            orders = session.scalars(select(TopUp).where(TopUp.id.in_(top_ups))).all()
            posted = session.execute(
                select(Transfer.subject_id, Transfer.amount_fen).where(
                    Transfer.kind == TransferKind.TOP_UP, Transfer.subject_id.in_(top_ups)
                )
            ).all()
            strays = session.scalars(
                select(StrayPayment).where(StrayPayment.top_up_id.in_(top_ups))
            ).all()
            owed = session.scalars(
                select(ChannelRefund).where(ChannelRefund.out_trade_no.in_(numbers))
            ).all()
        books = cls(paid, {top_up.id.hex: top_up for top_up in orders}, {}, Counter(), {}, [*owed])
        for subject_id, amount_fen in posted:
            books.credits[subject_id.hex] += 1
            books.credited[subject_id.hex] = books.credited.get(subject_id.hex, 0) + amount_fen
        for stray in strays:
            books.strays.setdefault(stray.top_up_id.hex, []).append(stray)
        return books

    @property
    def paid_fen(self) -> int:
        """What the payers paid."""
        return sum(order["amount_fen"] for order in self.paid.values())

    @property
    def stray_fen(self) -> int:
        """What no purse took."""
        return sum(stray.amount_fen for found in self.strays.values() for stray in found)

    def astray(self) -> list[str]:
        """Return the orders whose payment was not credited or sent back exactly once, as it was."""
        found = []
        for number, order in self.paid.items():
            ours, back = self.orders[number], self.strays.get(number, [])
            fen = self.credited.get(number, 0) + sum(stray.amount_fen for stray in back)
            if (
                self.credits[number] + len(back) != 1
                or not fen == order["amount_fen"] == ours.amount_fen
                or (ours.channel, ours.trade_no) != (order["channel"], order["trade_no"])
                or ours.state is not (TopUpState.RETURNED if back else TopUpState.PAID)
            ):
                found.append(number)
        return [*found, *({*self.credited, *self.strays} - {*self.paid})]

    def unresolved(self) -> list[str]:
        """Return the orders and refunds that the ladder left open."""
        orders = [
            number
            for number, order in self.orders.items()
            if order.state in UNRESOLVED or order.next_query_at is not None
        ]
        return orders + [
            refund.id.hex
            for refund in self.refunds
            if refund.state is not RefundState.SUCCEEDED or refund.next_try_at is not None
        ]

    def sent_back(self) -> dict[str, list[int]]:
        """Return what the platforms sent back under each number of a refund."""
        sent: dict[str, list[int]] = defaultdict(list)
        for order in self.paid.values():
            for one in order["refunds"]:
                if one["state"] != "closed":
                    sent[one["out_refund_no"]].append(one["amount_fen"])
        return sent

    def wrongly_refunded(self) -> list[str]:
        """Return the refunds not made exactly once, and the payments refunded beyond their sum."""
        sent, owed = self.sent_back(), {one.id.hex: one.amount_fen for one in self.refunds}
        beyond = [
            number
            for number, order in self.paid.items()
            if sum(o["amount_fen"] for o in order["refunds"] if o["state"] != "closed")
            > order["amount_fen"]
        ]
        return beyond + [no for no in {*sent, *owed} if sent.get(no) != [owed.get(no)]]


def difference(college: College) -> int:
    """Prove the ledger, as the operations do; return what it is off by."""
    environment = {**os.environ, **college.webs[0].environment}
    proof = subprocess.run(
        [Path(sys.executable).with_name("campus-card"), "prove-ledger"],
        env=environment, check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert proof.returncode == 0, proof.stdout + proof.stderr
    with transaction() as session:
        proved = ledger.prove(session)
        assert proved.holds
        return proved.difference_fen + refunds.difference(session)


def check_logs(college: College, phones: Phones) -> list[Path]:
    """See that no log of the run holds a secret or a person; return the logs."""
    secrets = {**college.secrets(), **phones.secrets}
    for holder in phones.holders:
        secrets |= {
            f"token of {holder.number}": holder.token,
            f"document of {holder.number}": holder.document,
            f"account of {holder.number}": holder.account_id,
        }
    logs = [part.log for part in college.parts]
    assert leaks(logs, secrets) == {}
    return logs


def report(title: str, figures: dict[str, object]) -> None:
    """Print figures; `make money` shows them."""
    lines = [f"  {name:<52} {figure}" for name, figure in figures.items()]
    print("\n".join(["", title, *lines]))  # noqa: T201


def yuan(fen: int) -> str:
    """Write an amount."""
    return f"{fen / 100:.2f}"


def test_on_the_worst_day_every_payment_is_credited_or_goes_back_once(
    college: College, own: Parts, parts: Parts
) -> None:
    phones = Phones(college, make_holders(parts, random.Random(SEED)))
    began = time.monotonic()
    college.control("POST", "faults", FAULTS | {"seed": SEED}).raise_for_status()
    for number in range(TOP_UPS):
        # The last are still under way when the faults end.
        begin = number / A_SECOND + (LATE[1] if number >= EARLY else 0)
        phones.agenda.add(begin, lambda number=number: phones.top_up(number))
    with Vandal(college, seed=SEED, pauses=(1.5, 4)):
        phones.agenda.work(PEOPLE)
    worst = time.monotonic() - began
    for worker in college.workers:
        worker.kill()
    met = college.control("GET", "notices").json()["counts"]
    college.control("POST", "faults", {}).raise_for_status()
    with transaction() as session:
        open_then = session.scalar(
            select(func.count()).where(TopUp.id.in_(phones.made), TopUp.state.in_(UNRESOLVED))
        )
    for url in college.urls:
        college.await_answer(url)
    ended = run_out(own, clock.now())
    resent = send_again(college)
    run_out(own, ended)

    books = Books.read(college, {*phones.made})
    assert (books.astray(), books.unresolved(), books.wrongly_refunded()) == ([], [], [])
    assert sum(books.credited.values()) + books.stray_fen == books.paid_fen
    for holder in phones.holders:
        mine = [n for n, top_up in books.orders.items() if top_up.holder_id == holder.id]
        assert balances(holder.id) == (sum(books.credited.get(n, 0) for n in mine), 0)
    off_fen = difference(college)
    assert off_fen == 0
    logs = check_logs(college, phones)

    states = Counter(top_up.state.value for top_up in books.orders.values())
    reasons = Counter(stray.reason.value for found in books.strays.values() for stray in found)
    with transaction() as session:
        heard = dict(
            session.execute(
                select(ChannelNotice.outcome, func.count())
                .where(ChannelNotice.top_up_id.in_(phones.made))
                .group_by(ChannelNotice.outcome)
            ).all()
        )
    report(
        f"{TOP_UPS} people top up (seed {SEED})",
        {
            **dict(sorted(phones.said.items())),
            **{f"killed: {part.name}": part.kills for part in college.parts if part.kills},
            **{f"notices {name}": count for name, count in sorted(met.items())},
            **{f"notices heard: {name.value}": count for name, count in sorted(heard.items())},
            "notices sent once more after the end": resent,
            "orders": len(books.orders),
            **{f"orders {name}": count for name, count in sorted(states.items())},
            "orders open when the faults ended": open_then,
            "paid at the platforms": f"{len(books.paid)}, {yuan(books.paid_fen)}",
            "credited once": f"{len(books.credited)}, {yuan(sum(books.credited.values()))}",
            "sent back once": f"{len(books.strays)}, {yuan(books.stray_fen)}",
            **{f"sent back: {name}": count for name, count in sorted(reasons.items())},
            "credited + sent back - paid": yuan(
                sum(books.credited.values()) + books.stray_fen - books.paid_fen
            ),
            "payments not credited or sent back exactly once": len(books.astray()),
            "unresolved": len(books.unresolved()),
            "ledger's difference": yuan(off_fen),
            "lines of log, none with a secret": count_lines(logs),
            "seconds of the worst day": f"{worst:.0f}",
            "hours until nothing was due": f"{(ended - clock.now()).total_seconds() / 3600:.1f}",
        },
    )
    assert sum(part.kills for part in college.workers), "no worker was killed"
    assert college.sandbox.kills, "the sandbox was not killed"
    assert books.strays, "nothing went back"


def test_with_answers_that_are_lost_every_refund_is_made_once(
    college: College, own: Parts, parts: Parts
) -> None:
    phones = Phones(college, make_holders(parts, random.Random(f"{SEED}:refunds"))[:HOLDERS])
    college.control("POST", "faults", {"drop": True}).raise_for_status()
    for number, holder in enumerate(2 * phones.holders):
        phones.agenda.add(0, lambda number=number, holder=holder: phones.bring(holder, number))
    phones.agenda.work(PEOPLE)
    brought = {holder.id: balances(holder.id)[0] for holder in phones.holders}
    assert min(brought.values()) > 0

    began = time.monotonic()
    college.control("POST", "faults", REFUND_FAULTS | {"seed": SEED}).raise_for_status()
    for worker in college.workers:
        worker.restart()
    kills = sum(part.kills for part in college.parts)
    for number in range(REFUNDS):
        phones.agenda.add(number / A_SECOND, lambda number=number: phones.ask_back(number))
    with Vandal(college, seed=SEED, pauses=(1.5, 4)):
        phones.agenda.work(PEOPLE)
        now = run_out(own, clock.now(), most=STEPS)
    worst = time.monotonic() - began
    for worker in college.workers:
        worker.kill()
    college.control("POST", "faults", {}).raise_for_status()
    with transaction() as session:
        open_then = session.scalar(
            select(func.count()).where(
                ChannelRefund.subject_id.in_(phones.asked), ChannelRefund.next_try_at.is_not(None)
            )
        )
    ended = run_out(own, now)

    books = Books.read(college, {*phones.made})
    assert (books.unresolved(), books.wrongly_refunded()) == ([], [])
    parts_of: dict[UUID, list[ChannelRefund]] = defaultdict(list)
    for refund in books.refunds:
        parts_of[refund.subject_id].append(refund)
    assert {
        refund_id: sum(part.amount_fen for part in found) for refund_id, found in parts_of.items()
    } == {refund_id: amount_fen for refund_id, (_, amount_fen) in phones.asked.items()}
    for holder in phones.holders:
        gone = sum(fen for of, fen in phones.asked.values() if of.id == holder.id)
        assert balances(holder.id) == (brought[holder.id] - gone, 0)
    off_fen = difference(college)
    assert off_fen == 0
    logs = check_logs(college, phones)
    sent_fen = sum(one["amount_fen"] for order in books.paid.values() for one in order["refunds"])
    report(
        f"{REFUNDS} refunds asked for (seed {SEED})",
        {
            **dict(sorted(phones.said.items())),
            "kills": sum(part.kills for part in college.parts) - kills,
            "refunds asked for": len(phones.asked),
            "parts, each through the channel of its top-up": len(books.refunds),
            "parts asked about more than once": sum(part.tries > 1 for part in books.refunds),
            "parts open when the faults ended": open_then,
            "most questions about one part": max(part.tries for part in books.refunds),
            "asked for": yuan(sum(fen for _, fen in phones.asked.values())),
            "sent back by the platforms": yuan(sent_fen),
            "not made exactly once, or beyond what was paid": len(books.wrongly_refunded()),
            "ledger's difference": yuan(off_fen),
            "lines of log, none with a secret": count_lines(logs),
            "seconds of the worst day": f"{worst:.0f}",
            "hours until nothing was due": f"{(ended - clock.now()).total_seconds() / 3600:.1f}",
        },
    )
    assert sent_fen == sum(fen for _, fen in phones.asked.values())
    assert any(part.tries > 1 for part in books.refunds), "no answer was lost"


@pytest.mark.parametrize("name", ["wechat", "alipay"])
def test_one_notice_ten_times_at_once_to_two_servers_is_credited_once(
    college: College, own: Parts, parts: Parts, name: str
) -> None:
    holder = make_holder(parts)
    for url in college.urls:
        college.await_answer(url)
    college.control("POST", "faults", {"drop": True}).raise_for_status()
    signer, begin = Signer(college.keys), threading.Barrier(10)
    for round_ in range(1, 6):
        with transaction() as session:
            top_up, _ = service.order(
                session, top_up_id=new_id(), holder_id=holder.id, channel=name,
                amount_fen=Fen(1000), payer_sealed=None, actor=SYSTEM, now=clock.now(),
            )  # fmt: skip
        headers, body = notice_of(top_up, signer)

        def tell(number: int, headers: Any = headers, body: bytes = body) -> tuple[int, bytes]:
            begin.wait(10)
            url = college.urls[number % 2]
            answer = send("POST", f"{url}{CALLBACKS[name]}", data=body, headers=headers)
            return answer.status_code, answer.content

        with ThreadPoolExecutor(10) as threads:
            answers = [*threads.map(tell, range(10))]
        assert answers == [SUCCESS[name]] * 10
        assert balances(holder.id) == (1000 * round_, 0)
        with transaction() as session:
            heard = Counter(
                session.scalars(
                    select(ChannelNotice.outcome).where(ChannelNotice.top_up_id == top_up.id)
                )
            )
        assert heard == {NoticeOutcome.CREDITED: 1, NoticeOutcome.ALREADY_SETTLED: 9}


def notice_of(top_up: TopUp, signer: Signer) -> tuple[dict[str, str], bytes]:
    """Write and sign the notice that an order was paid."""
    stamp = utc_text(datetime.now(UTC))
    told = Order(
        channel=top_up.channel, out_trade_no=top_up.out_trade_no, kind="native", fingerprint="",
        amount_fen=top_up.amount_fen, description="校园卡充值", notify_url="", reference="",
        trade_no=f"42{top_up.out_trade_no}", payer="o" + "A" * 27, created_at=stamp,
        expires_at=stamp, state=OrderState.PAID, paid_at=stamp,
    )  # fmt: skip
    write = wechat_notice if top_up.channel == "wechat" else alipay_notice
    return write("n-1", told, signer, Faults())


def send_again(college: College, most: int = 200) -> int:
    """Have notices sent that were lost or repeated in vain; wait until each was answered."""
    wanted = [
        notice["notice_id"]
        for notice, _ in zip(college.pages("notices"), range(most), strict=False)
    ]
    for notice_id in wanted:
        college.control("POST", f"notices/{notice_id}/send").raise_for_status()
    for _ in range(300):
        counts = college.control("GET", "notices").json()["counts"]
        if not counts.get("pending"):
            break
        time.sleep(0.1)
    return len(wanted)
