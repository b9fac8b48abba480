"""Threads that start at the same moment, and a till whose charges they make."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
import requests
from factories import Device

from backend import clock
from backend.cards.codes import PresentedCode
from backend.charges import service
from backend.charges.models import Charge
from backend.db import transaction
from backend.ids import new_id
from backend.money import Fen

AtOnce = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def at_once() -> AtOnce:
    """Run functions at the same moment, each in a thread of its own.

    Returns what they returned, in order; an exception is raised here.
    """

    def run(*functions: Callable[[], Any]) -> list[Any]:
        barrier = threading.Barrier(len(functions))

        def start(function: Callable[[], Any]) -> Any:
            barrier.wait(10)
            return function()

        with ThreadPoolExecutor(len(functions)) as threads:
            return [future.result() for future in [threads.submit(start, f) for f in functions]]

    return run


@pytest.fixture(scope="session")
def pay(app: Any) -> Callable[..., str]:
    """Charge a presented code; return `approved` or the code of the refusal."""

    def charge(
        till: Device, code: PresentedCode, amount_fen: int, *, charge_id: UUID | None = None
    ) -> str:
        with transaction() as session:
            outcome: Charge = service.charge(
                session,
                charge_id=charge_id or new_id(),
                terminal=till.caller,
                code=code,
                code_text=repr(code),
                amount_fen=Fen(amount_fen),
                note=None,
                now=clock.now(),
            )[0]
        refusal = service.refusal_of(outcome)
        return refusal.code if refusal else "approved"

    return charge


class Caller:
    """Sends requests as a device does: what is answered with 503 is sent again."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def send(
        self, method: str, path: str, headers: dict[str, str], **request: Any
    ) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            for _ in range(20):
                answer = session.request(
                    method, self.base_url + path, headers=headers, timeout=20, **request
                )
                if answer.status_code != 503:
                    return answer
        raise AssertionError("never answered")


@pytest.fixture(scope="session")
def caller(server: str) -> Caller:
    """Requests over real HTTP."""
    return Caller(server)
