"""What every part of the sandbox works with."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from payments.sandbox.notices import Courier
from payments.sandbox.signing import Signer
from payments.sandbox.state import NoticeState, Order, State


@dataclass(frozen=True, slots=True)
class World:
    """The simulated platforms' memory, keys and courier."""

    state: State
    signer: Signer
    courier: Courier

    def pay(self, order: Order) -> NoticeState | None:
        """Pay the order as its payer; None if it can no longer be paid.

        Returns what will become of the notice about it.
        """
        if not self.state.pay(order, now=datetime.now(UTC)):
            return None
        return self.courier.announce(order)


def fingerprint(content: Mapping[str, Any]) -> str:
    """Digest a request, so that a repetition can be told from another request."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
