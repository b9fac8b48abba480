"""The platform sandbox's controls: its payer, its faults, what it knows."""

from typing import Any
from uuid import UUID

import requests

from backend.topups.models import TopUp


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

    def refunds(self, top_up: TopUp) -> list[tuple[str, int, str]]:
        """Tell number, amount and state of what the platform sent back of an order."""
        return [
            (refund["out_refund_no"], refund["amount_fen"], refund["state"])
            for refund in self.order(top_up)["refunds"]
        ]

    def _post(self, path: str, body: object) -> requests.Response:
        return self._send("POST", path, json=body)

    def _send(self, method: str, path: str, **request: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, f"{self.url}/control/{path}", timeout=10, **request)
