"""Orders that were paid on a former day, with the platform sandbox to tell of them."""

import itertools
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import requests
from factories import Bound, make_holder

from backend import clock
from backend.clock import SHANGHAI, business_date
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.reconciliation import fetching, importing
from backend.reconciliation import service as bills
from backend.reconciliation.importing import Imported
from backend.reconciliation.models import BillSource, ChannelBill, LineMatch
from backend.topups import asking, following, service
from backend.topups.models import TopUp
from payments import Channel

_days = itertools.count(3)


class Past:
    """A former day on one platform: who paid then, and what its bill tells."""

    def __init__(self, url: str, parts: Parts, *, channel: Channel, day: date) -> None:
        self.url, self.parts, self.channel, self.day = url, parts, channel, day
        self.holder: Bound = make_holder(parts)

    def post(self, path: str, body: object) -> Any:
        """Use a control of the sandbox."""
        answer = requests.post(f"{self.url}/control/{path}", json=body, timeout=10)
        assert answer.ok, answer.text
        return answer.json()

    def differ(self, *differences: str | dict[str, str]) -> None:
        """Have the day's bill tell these things wrongly, and nothing else."""
        wanted = [{"kind": said} if isinstance(said, str) else said for said in differences]
        name, day = self.channel.name, self.day.isoformat()
        self.post("bill-differences", {"channel": name, "day": day, "differences": wanted})

    def rows(self) -> list[dict[str, Any]]:
        """Tell what the day's bill says, row by row."""
        path = f"{self.url}/control/bills/{self.channel.name}/{self.day.isoformat()}"
        told: list[dict[str, Any]] = requests.get(path, timeout=10).json()["told"]
        return told

    def order(self, *, amount_fen: int = 1000) -> TopUp:
        """Order a top-up and pay it on that day, of which we are not told."""
        with transaction() as session:
            top_up, _ = service.order(
                session,
                top_up_id=new_id(),
                holder_id=self.holder.id,
                channel=self.channel.name,
                amount_fen=Fen(amount_fen),
                payer_sealed=None,
                actor=SYSTEM,
                now=clock.now(),
            )
        asking.place_order(top_up, channel=self.channel, sealer=self.parts.sealer)
        self.post("pay", {"out_trade_no": top_up.out_trade_no, "outcome": "paid"})
        self.backdate(top_up, self.day)
        return top_up

    def backdate(self, top_up: TopUp, paid: date, refunded: date | None = None) -> None:
        """Move a payment, and its refunds, to noon of other days."""
        said = {"channel": self.channel.name, "out_trade_no": top_up.out_trade_no}
        for name, day in (("paid_at", paid), ("refunded_at", refunded or paid)):
            noon = datetime(day.year, day.month, day.day, 12, tzinfo=SHANGHAI)
            said[name] = noon.isoformat()
        self.post("backdate", said)

    def settle(self, top_up: TopUp) -> None:
        """Let us ask about an order that was paid."""
        now = clock.now()
        question = following.question_about(top_up, now=now)
        asking.ask(question, channel=self.channel, sealer=self.parts.sealer, now=now)

    def settled(self, *, amount_fen: int = 1000) -> TopUp:
        """Return an order that was paid on that day and is credited here."""
        top_up = self.order(amount_fen=amount_fen)
        self.settle(top_up)
        return top_up

    def take(self, content: bytes | None = None, *, day: date | None = None) -> Imported:
        """Import a file, by default the day's bill, and ask nobody."""
        content = self.channel.fetch_bill(self.day) if content is None else content
        with transaction() as session:
            return importing.import_bill(
                session,
                channel=self.channel,
                day=day or self.day,
                content=content,
                source=BillSource.FETCHED,
                sealer=self.parts.sealer,
                actor=SYSTEM,
                now=clock.now(),
            )

    def take_and_ask(self, content: bytes | None = None) -> Imported:
        """Import a file, by default the day's bill, and ask about what it calls paid."""
        return fetching.take_in(
            self.channel,
            self.day,
            self.channel.fetch_bill(self.day) if content is None else content,
            source=BillSource.UPLOADED,
            sealer=self.parts.sealer,
            actor=SYSTEM,
            now=clock.now(),
        )

    def bills(self) -> list[ChannelBill]:
        """Return the day's bills by version."""
        with transaction() as session:
            found = bills.list_bills(
                session, channel=self.channel.name, day=self.day, before=None, limit=99
            )
        return sorted(found, key=lambda bill: bill.version)


@pytest.fixture(params=["wechat", "alipay"])
def past(request: pytest.FixtureRequest, parts: Parts, platform_sandbox: str) -> Iterator[Past]:
    """A day that no other test has, on each platform, which forgets its faults after each test."""
    day = business_date(clock.now()) - timedelta(days=next(_days))
    found = Past(platform_sandbox, parts, channel=parts.channels[request.param], day=day)
    found.post("faults", {"drop": True})  # nobody is told: there is no server that listens
    yield found
    found.post("faults", {})


def lines_of(bill_id: UUID) -> dict[str, list[LineMatch]]:
    """Return how the rows of a bill stand, by the order that they name, in the file's order."""
    with transaction() as session:
        found = bills.list_lines(session, bill_id=bill_id, before=None, limit=1000)
    told: dict[str, list[LineMatch]] = {}
    for line in sorted(found, key=lambda line: line.line):
        told.setdefault(line.out_trade_no, []).append(line.match)
    return told
