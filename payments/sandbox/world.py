"""What every part of the sandbox works with."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from payments.sandbox.notices import Courier
from payments.sandbox.signing import Signer
from payments.sandbox.state import (
    NoticeState,
    Order,
    Refund,
    RefundOutcome,
    State,
    utc_text,
)

PROCESSING_SECONDS = {"wechat": 20, "alipay": 0}
"""How long a refund takes, at a time scale of 1: WeChat answers first and refunds later."""

_MOST_REFUNDS = 50


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

    def refund(
        self,
        order: Order,
        *,
        out_refund_no: str,
        amount_fen: int,
        reason: str,
        notify_url: str,
        content: Mapping[str, Any],
    ) -> tuple[Refund, bool]:
        """Send money back to the payer, once for each number, and announce what comes of it.

        What comes of it is settled now, by the faults in force, and comes true in a moment.

        Returns what stands under the number, and whether this call did it.

        Raises:
            RefundImpossible: the payment does not have that much left, or had too many refunds.
        """
        now, faults = datetime.now(UTC), self.state.faults()
        outcome = RefundOutcome.SUCCEEDED
        if faults.refund_abnormal:
            outcome = RefundOutcome.ABNORMAL
        if faults.refund_closed:
            outcome = RefundOutcome.CLOSED
        takes = timedelta(seconds=PROCESSING_SECONDS[order.channel] / self.courier.time_scale)
        number = int(self.state.derive("refund", order.channel, out_refund_no), 16) % 10**26
        wanted = Refund(
            channel=order.channel,
            out_refund_no=out_refund_no,
            out_trade_no=order.out_trade_no,
            fingerprint=fingerprint(content),
            amount_fen=amount_fen,
            refunded_fen=0,
            reason=reason,
            notify_url=notify_url,
            refund_no=f"50{number:026d}",
            created_at=utc_text(now),
            due_at=utc_text(now + takes),
            outcome=outcome,
        )
        stored, fresh = self.state.open_refund(order, wanted, most=_MOST_REFUNDS, now=now)
        # Also for a repetition, should the sandbox have died just here; it is announced once.
        self.courier.announce(order, stored)
        return stored, fresh


def fingerprint(content: Mapping[str, Any]) -> str:
    """Digest a request, so that a repetition can be told from another request."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
