"""Orders, and the platform sandbox's controls: its payer, its faults, its signatures."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
from factories import Bound

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


class Platform:
    """The controls of the platform sandbox."""

    def __init__(self, url: str) -> None:
        self.url = url

    def faults(self, **faults: object) -> None:
        """Put these faults in force, in place of the former."""
        self._post("faults", faults).raise_for_status()

    def pay(self, top_up: TopUp | UUID, outcome: str = "paid") -> requests.Response:
        """Play the payer."""
        number = top_up.hex if isinstance(top_up, UUID) else top_up.out_trade_no
        return self._post("pay", {"out_trade_no": number, "outcome": outcome})

    def order(self, top_up: TopUp) -> dict[str, Any]:
        """Tell how the platform knows an order."""
        answer = self._send("GET", f"orders/{top_up.out_trade_no}").json()
        found: dict[str, Any] = answer["items"][0]
        return found

    def _post(self, path: str, body: object) -> requests.Response:
        return self._send("POST", path, json=body)

    def _send(self, method: str, path: str, **request: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, f"{self.url}/control/{path}", timeout=10, **request)


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
