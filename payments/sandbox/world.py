"""What every part of the sandbox works with."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Response, after_this_request, g

from payments.sandbox.faults import Dice, FaultPlan, Faults
from payments.sandbox.messages import Messages
from payments.sandbox.notices import Courier
from payments.sandbox.signing import Signer
from payments.sandbox.state import (
    NoticeState,
    Order,
    OrderState,
    Refund,
    RefundOutcome,
    State,
    utc_text,
)

_FIRST_NOTICE_SECONDS = 2
PROCESSING_SECONDS = {"wechat": 20, "alipay": 0}
"""How long a refund takes, at a time scale of 1: WeChat answers first and refunds later."""

_MOST_REFUNDS = 50
OUTCOMES = ("paid", "cancelled", "timeout")


class NotPayable(Exception):
    """The order is paid, closed or expired."""


@dataclass(frozen=True, slots=True)
class World:
    """The simulated platforms' memory, keys, faults and courier."""

    state: State
    signer: Signer
    dice: Dice
    courier: Courier
    messages: Messages

    def meet(self, channel: str, call: str) -> Faults:
        """Draw the faults of the call that has just come."""
        g.faults = self.dice.draw(channel, call)
        return self.faults()

    def faults(self) -> Faults:
        """Tell what goes wrong at the present call."""
        met: Faults = g.get("faults") or Faults()
        return met

    def set_faults(self, plan: FaultPlan) -> None:
        """Put faults in force, in place of the former, also over a restart."""
        self.state.set_faults(plan)
        self.dice.load(plan)

    def pay(self, order: Order, *, closed: bool = False) -> NoticeState | None:
        """Pay the order as its payer; None if it can no longer be paid.

        Returns what will become of the notice about it.
        """
        with self.state.together():
            if not self.state.pay(order, now=datetime.now(UTC), closed=closed):
                return None
            return self.courier.announce(order)

    def play(self, order: Order, outcome: str) -> NoticeState | None:
        """Play the payer, with one of `OUTCOMES`; return what becomes of a notice, if there is one.

        Raises:
            NotPayable: the order is over.
        """
        standing = self.state.order(order.channel, order.out_trade_no) or order
        if standing.standing(datetime.now(UTC)) != OrderState.UNPAID:
            raise NotPayable
        if outcome == "paid":
            notice = self.pay(order)
            if notice is None:
                raise NotPayable
            return notice
        if outcome == "timeout":
            with self.state.together():
                self.state.expire_order(order, now=datetime.now(UTC))
                # Alipay closes an expired trade and says so; WeChat does neither.
                if order.channel == "alipay" and self.state.close_order(order):
                    return self.courier.announce(order)
        return None

    def opened(self, order: Order) -> None:
        """Let the payer be faster than the answer to `create`, where a fault wants it."""
        if not self.faults().before_create_returns:
            return
        if self.pay(order) is NoticeState.PENDING:
            self.courier.await_answer(order, seconds=_FIRST_NOTICE_SECONDS)

    def closing(self, order: Order) -> None:
        """Let the payer be faster than a close, or slower, where a fault wants it."""
        if self.faults().close_race:
            self.pay(order)
        if self.faults().pay_after_close:

            @after_this_request
            def pay_once_answered(response: Response) -> Response:
                response.call_on_close(lambda: self.pay(order, closed=True))
                return response

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
        now, faults = datetime.now(UTC), self.faults()
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
        with self.state.together():
            stored, fresh = self.state.open_refund(order, wanted, most=_MOST_REFUNDS, now=now)
            if fresh:
                self.courier.announce(order, stored)
        return stored, fresh


def fingerprint(content: Mapping[str, Any]) -> str:
    """Digest a request, so that a repetition can be told from another request."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
