"""Orders, and the platform sandbox's controls: its payer, its faults, its signatures."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from factories import Bound
from sandboxes import Platform

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.topups import service
from backend.topups.models import TopUp
from payments.sandbox.keys import prepare
from payments.sandbox.signing import Signer


@pytest.fixture
def platform(platform_sandbox: str) -> Iterator[Platform]:
    """The platform; it forgets its faults after each test."""
    controls = Platform(platform_sandbox)
    yield controls
    controls.faults()


@pytest.fixture(scope="session")
def signer(app: Any, state: Path) -> Signer:
    """The platforms' signatures, for notices that the sandbox would not send."""
    return Signer(prepare(state / "sandbox"))


Order = Callable[..., TopUp]


@pytest.fixture(scope="session")
def order(app: Any) -> Order:
    """Store an order, as the route does before it asks the channel."""

    def store(
        holder: Bound,
        amount_fen: int = 1000,
        *,
        channel: str = "wechat",
        top_up_id: UUID | None = None,
        payer_sealed: bytes | None = None,
        replaces_id: UUID | None = None,
        now: datetime | None = None,
    ) -> TopUp:
        with transaction() as session:
            return service.order(
                session,
                top_up_id=top_up_id or new_id(),
                holder_id=holder.id,
                channel=channel,
                amount_fen=Fen(amount_fen),
                payer_sealed=payer_sealed,
                replaces_id=replaces_id,
                actor=SYSTEM,
                now=now or clock.now(),
            )[0]

    return store


@pytest.fixture(scope="session")
def reread(parts: Parts) -> Callable[[TopUp], TopUp]:
    """Return an order as it is stored now."""

    def read(top_up: TopUp) -> TopUp:
        with transaction() as session:
            return session.get_one(TopUp, top_up.id)

    return read
