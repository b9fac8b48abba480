"""Closings over HTTP: the counter, finance, and the jobs that take them on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, sign_in
from flask import Flask
from sandboxes import Platform
from sqlalchemy import update

from backend import clock
from backend.closings import emptying, service
from backend.closings.models import Closing
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role
from backend.refunds import asking
from backend.refunds.models import ChannelRefund, PayoutLine, PayoutLineState

PATH = "/api/v1/staff"


@dataclass
class Counter:
    """The card centre and two people of finance, at the API."""

    app: Flask
    parts: Parts
    centre: dict[str, str] = field(init=False)
    maker: dict[str, str] = field(init=False)
    checker: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.app.test_client()
        self.centre = sign_in(self.parts, Role.CARD_CENTRE)
        self.maker, self.checker = (sign_in(self.parts, Role.FINANCE) for _ in range(2))

    def call(self, method: str, path: str, who: dict[str, str] | None = None, **body: Any) -> Any:
        """Call the API as the card centre, unless somebody else is named."""
        said = {"json": body} if body else {}
        return self.client.open(PATH + path, method=method, headers=who or self.centre, **said)

    def start(self, holder: Bound, closing_id: UUID | None = None, kind: str = "leaving") -> Any:
        """Start to close somebody's account."""
        path = f"/closings/{closing_id or new_id()}"
        return self.call(
            "PUT", path, holder_number=holder.number, kind=kind, document="人事〔2026〕1号"
        )

    def closing(self, holder: Bound) -> Closing:
        """Return somebody's closing as it is stored."""
        with transaction() as session:
            found = service.live_closing(session, holder_id=holder.id)
        assert found is not None
        return found

    def work(self, holder: Bound, *, days: float = 4, now: datetime | None = None) -> Closing:
        """Let the job take one closing as far as it goes, so many days later."""
        at = now or clock.now() + timedelta(days=days)
        closing = self.closing(holder)
        while emptying.advance(closing_id=closing.id, channels=self.parts.channels, now=at):
            pass
        return self.closing(holder)

    def send(self, days: float = 4) -> None:
        """Let the refunds' worker run."""
        asking.ask_due(channels=self.parts.channels, now=clock.now() + timedelta(days=days))

    def lines(self, holder: Bound) -> list[dict[str, Any]]:
        """Return what of the payout list is somebody's."""
        said = self.call("GET", "/payout-lines", self.maker).get_json()
        return [line for line in said["items"] if line["holder_number"] == holder.number]

    def batch(self) -> str:
        """Put what is listed into a batch that two people answer for."""
        path = f"/payout-batches/{new_id()}"
        assert self.call("PUT", path, self.maker).status_code == 201
        approved = self.call("POST", f"{path}/decision", self.checker, approve=True)
        assert approved.status_code == 200
        return path


@pytest.fixture
def platform(platform_sandbox: str) -> Iterator[Platform]:
    """The platform; it forgets its faults after each test."""
    controls = Platform(platform_sandbox)
    yield controls
    controls.faults()


@pytest.fixture
def counter(app: Flask, parts: Parts) -> Counter:
    """The counter; nothing that other tests left is due."""
    with transaction() as session:
        session.execute(update(ChannelRefund).values(next_try_at=None))
    return Counter(app, parts)


def line_of(line_id: str) -> PayoutLine:
    """Return a line as it is stored."""
    with transaction() as session:
        return session.get_one(PayoutLine, UUID(line_id))


__all__ = ["Counter", "PayoutLineState", "line_of"]
