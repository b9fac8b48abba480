"""Notices (回调): what they say, and the courier who repeats them until they are accepted."""

import ipaddress
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode, urlsplit

import requests

from payments._yuan import yuan_from_fen
from payments._zone import SHANGHAI
from payments.sandbox.faults import Dice, Faults
from payments.sandbox.signing import Signer
from payments.sandbox.state import (
    Due,
    NoticeState,
    Order,
    OrderState,
    Refund,
    RefundOutcome,
    State,
)

_MINUTE = 60
_HOUR = 60 * _MINUTE
# Seconds from one sending to the next, as the platforms publish them.
LADDERS = {
    "wechat": (
        *(15, 15, 30, 3 * _MINUTE, 10 * _MINUTE, 20 * _MINUTE, 30 * _MINUTE, 30 * _MINUTE),
        *(30 * _MINUTE, _HOUR, 3 * _HOUR, 3 * _HOUR, 3 * _HOUR, 6 * _HOUR, 6 * _HOUR),
    ),
    "alipay": (
        *(4 * _MINUTE, 10 * _MINUTE, 10 * _MINUTE, _HOUR, 2 * _HOUR, 6 * _HOUR, 15 * _HOUR),
    ),
}
ANSWER_WITHIN_SECONDS = 5

_SENDERS = 16
_HELD_SECONDS = 1  # by the fault `reorder`
_HELD_TOGETHER = 64
_POLL_SECONDS = 0.02
_KEPT_OF_ANSWER = 200
_OF_SENDINGS = frozenset(
    (
        *("duplicate", "bad_signature", "signtest", "stale"),
        *("wrong_amount", "foreign_currency", "foreign_merchant", "foreign_app"),
    )
)
_ALIPAY_TIME = "%Y-%m-%d %H:%M:%S"


class Courier:
    """Sends notices in the background, along the platforms' own ladder of repetitions."""

    def __init__(self, state: State, signer: Signer, dice: Dice, *, time_scale: float) -> None:
        """Prepare; `start` sends.

        Args:
            time_scale: how many times faster than the platforms it repeats.
        """
        self.time_scale = time_scale
        self._state = state
        self._signer = signer
        self._dice = dice
        self._news = threading.Condition()
        self._stopped = False
        self._told = 0
        self._senders = [
            threading.Thread(target=self._run, name=f"notices {number}", daemon=True)
            for number in range(_SENDERS)
        ]

    def start(self) -> None:
        """Send what is due, also what was left from before a restart."""
        self._state.release_taken(time.time())
        for sender in self._senders:
            sender.start()

    def stop(self) -> None:
        """Finish the sendings under way."""
        with self._news:
            self._stopped = True
            self._news.notify_all()
        for sender in self._senders:
            sender.join()

    def announce(self, order: Order, refund: Refund | None = None) -> NoticeState:
        """Have the merchant told how the order stands by now, or what a refund came to."""
        faults = self._dice.draw(order.channel, "notice", event="new notice")
        now = time.time()
        standing = self._state.order(order.channel, order.out_trade_no) or order
        state = NoticeState.DROPPED if faults.drop else NoticeState.PENDING
        if not _on_loopback(order.notify_url if refund is None else refund.notify_url):
            state = NoticeState.NOT_LOOPBACK
        due_at = now
        if refund is not None:
            due_at = max(now, datetime.fromisoformat(refund.due_at).timestamp())
        due_at += faults.delay_seconds + (_HELD_SECONDS if faults.reorder else 0)
        if faults.delay_past_expiry:
            due_at = max(due_at, datetime.fromisoformat(order.expires_at).timestamp() + 1)
        self._state.add_notice(
            standing, refund, state=state, now=now, due_at=due_at, held=faults.reorder
        )
        self._wake()
        return state

    def send_now(self, notice_id: str) -> NoticeState | None:
        """Send a notice now, also one that is over; None if there is none."""
        state = self._state.send_now(notice_id, time.time())
        self._wake()
        return state

    def await_answer(self, order: Order, *, seconds: float) -> None:
        """Wait until a notice of the order was sent and answered, or so many seconds."""
        patience = time.monotonic() + seconds
        while time.monotonic() < patience:
            if any(notice["attempts"] for notice in self._state.notices(order)):
                return
            time.sleep(_POLL_SECONDS)

    def _wake(self) -> None:
        with self._news:
            self._told += 1
            self._news.notify()

    def _run(self) -> None:
        """Send one notice after the other: what every sender does."""
        while True:
            with self._news:
                told = self._told
                if self._stopped:
                    return
            # The news are not held here: who tells them may hold the memory.
            due_at, now = self._state.next_due(), time.time()
            if due_at is None or due_at > now:
                with self._news:
                    if told == self._told and not self._stopped:
                        self._news.wait(None if due_at is None else due_at - now)
                continue
            taken = self._state.take_due(now=now, held_by=now + _HELD_SECONDS, most=_HELD_TOGETHER)
            self._wake()  # another sender may find another one due
            for due in taken:
                self._deliver(due)

    def _deliver(self, due: Due) -> None:
        channel = due.order.channel
        faults = self._dice.draw(channel, "notice", event="sending")
        state = NoticeState.PENDING
        for _ in range(1 + faults.duplicate):
            status, answer = self._send(due, faults)
            self._state.record_attempt(due.notice_id, status, answer, _visible(faults))
            if _accepted(channel, status, answer):
                state = NoticeState.ACCEPTED
        ladder = LADDERS[channel]
        due_at = time.time()
        if state is NoticeState.PENDING and due.sendings >= len(ladder):
            state = NoticeState.GIVEN_UP
        elif state is NoticeState.PENDING:
            due_at += ladder[due.sendings] / self.time_scale
        self._state.settle_notice(due.notice_id, state, due_at)
        self._wake()

    def _send(self, due: Due, faults: Faults) -> tuple[int | None, str]:
        """Post the notice; return the status and the beginning of the answer's body."""
        write = wechat_notice if due.order.channel == "wechat" else alipay_notice
        headers, body = write(due.notice_id, due.order, self._signer, faults, due.refund)
        with requests.Session() as session:
            session.trust_env = False  # no proxy between two programs of one machine
            try:
                response = session.post(
                    due.notify_url,
                    data=body,
                    headers=headers,
                    timeout=ANSWER_WITHIN_SECONDS,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                return None, type(error).__name__
        return response.status_code, response.content[:_KEPT_OF_ANSWER].decode(errors="replace")


def wechat_notice(
    notice_id: str, order: Order, signer: Signer, faults: Faults, refund: Refund | None = None
) -> tuple[dict[str, str], bytes]:
    """Write WeChat Pay's notice of a payment, or of what a refund came to: headers and body."""
    merchant_id = "1900000001" if faults.foreign_merchant else signer.keys.wechat_merchant_id
    content: dict[str, object]
    if refund is None:
        told_at, kind = order.paid_at, "transaction"
        event, summary = "TRANSACTION.SUCCESS", "支付成功"
        app_id = "wx0000000000000001" if faults.foreign_app else signer.keys.wechat_app_id
        content = {**wechat_transaction(order, signer, faults), "appid": app_id}
    else:
        told_at, kind = refund.due_at, "refund"
        event, summary = _WECHAT_REFUND_EVENTS[refund.outcome]
        content = {
            **wechat_refund(order, refund, str(refund.outcome)),
            "refund_status": event.removeprefix("REFUND."),
        }
        del content["status"]
    envelope = {
        "id": notice_id,
        "create_time": _shanghai(told_at or order.created_at),
        "event_type": event,
        "resource_type": "encrypt-resource",
        "summary": summary,
        "resource": signer.wechat_resource(kind, {**content, "mchid": merchant_id}),
    }
    body = json.dumps(envelope, ensure_ascii=False).encode()
    signature = signer.wechat_headers(body, faults, order.signed_with)
    return {"Content-Type": "application/json", **signature}, body


_WECHAT_REFUND_EVENTS = {
    RefundOutcome.SUCCEEDED: ("REFUND.SUCCESS", "退款成功"),
    RefundOutcome.ABNORMAL: ("REFUND.ABNORMAL", "退款异常"),
    RefundOutcome.CLOSED: ("REFUND.CLOSED", "退款关闭"),
}


def wechat_refund(order: Order, refund: Refund, standing: str) -> dict[str, object]:
    """Tell how a refund stands, as WeChat Pay tells it in its answers."""
    told: dict[str, object] = {
        "refund_id": refund.refund_no,
        "out_refund_no": refund.out_refund_no,
        "transaction_id": order.trade_no,
        "out_trade_no": order.out_trade_no,
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": _shanghai(refund.created_at),
        "status": "SUCCESS" if standing == RefundOutcome.SUCCEEDED else standing.upper(),
        "funds_account": "AVAILABLE",
        "amount": {
            "total": order.amount_fen,
            "refund": refund.amount_fen,
            "payer_total": order.amount_fen,
            "payer_refund": refund.amount_fen,
            "settlement_refund": refund.amount_fen,
            "settlement_total": order.amount_fen,
            "discount_refund": 0,
            "currency": "CNY",
        },
    }
    if standing == RefundOutcome.SUCCEEDED:
        told["success_time"] = _shanghai(refund.due_at)
    return told


def wechat_transaction(
    order: Order, signer: Signer, faults: Faults, *, refunded_fen: int = 0
) -> dict[str, object]:
    """Tell how an order stands, as WeChat Pay tells it in a notice and in a query."""
    told: dict[str, object] = {
        "appid": signer.keys.wechat_app_id,
        "mchid": signer.keys.wechat_merchant_id,
        "out_trade_no": order.out_trade_no,
        "trade_type": "JSAPI" if order.kind == "jsapi" else "NATIVE",
        "attach": "",
    }
    amount_fen = order.amount_fen + (1 if faults.wrong_amount else 0)
    currency = "USD" if faults.foreign_currency else "CNY"
    match order.state:
        case OrderState.PAID:
            return {
                **told,
                "trade_state": "REFUND" if refunded_fen else "SUCCESS",
                "trade_state_desc": "转入退款" if refunded_fen else "支付成功",
                "transaction_id": order.trade_no,
                "bank_type": "OTHERS",
                "success_time": _shanghai(order.paid_at or order.created_at),
                "payer": {"openid": order.payer},
                "amount": {
                    "total": amount_fen,
                    "payer_total": amount_fen,
                    "currency": currency,
                    "payer_currency": currency,
                },
            }
        case OrderState.CLOSED:
            return {**told, "trade_state": "CLOSED", "trade_state_desc": "订单已关闭"}
        case OrderState.UNPAID:
            return {
                **told,
                "trade_state": "NOTPAY",
                "trade_state_desc": "订单未支付",
                "amount": {"total": amount_fen, "currency": currency},
            }


def alipay_notice(
    notice_id: str, order: Order, signer: Signer, faults: Faults, refund: Refund | None = None
) -> tuple[dict[str, str], bytes]:
    """Write Alipay's notice of a trade's new status, or of a refund: headers and body.

    A partial refund comes with the status of a paid trade, a full one with that of a closed one.
    """
    keys = signer.keys
    sent_at = datetime.now(UTC) - (timedelta(days=3) if faults.stale else timedelta())
    form = {
        **alipay_trade(order, faults, refunded_fen=refund.refunded_fen if refund else 0),
        "notify_time": sent_at.astimezone(SHANGHAI).strftime(_ALIPAY_TIME),
        "notify_type": "trade_status_sync",
        "notify_id": notice_id,
        "app_id": "2021000000000001" if faults.foreign_app else keys.alipay_app_id,
        "auth_app_id": keys.alipay_app_id,
        "seller_id": "2088000000000001" if faults.foreign_merchant else keys.alipay_seller_id,
        "subject": order.description,
        "gmt_create": alipay_time(order.created_at),
        "charset": "utf-8",
        "version": "1.0",
    }
    if paid_at := form.pop("send_pay_date", None):
        form["gmt_payment"] = paid_at
    if refund is not None:
        form |= {
            "out_biz_no": refund.out_refund_no,
            "gmt_refund": f"{alipay_time(refund.due_at)}.000",
        }
    if order.signed_with:
        form["alipay_cert_sn"] = order.signed_with
    signed = "&".join(f"{name}={form[name]}" for name in sorted(form))
    form |= {"sign_type": "RSA2", "sign": signer.alipay_signature(signed, faults)}
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    return headers, urlencode(form).encode()


def alipay_trade(order: Order, faults: Faults, *, refunded_fen: int = 0) -> dict[str, str]:
    """Tell how a trade stands, as Alipay tells it in a notice and in a query.

    Args:
        refunded_fen: what has gone back of it; all of it closes the trade.
    """
    status = {
        OrderState.UNPAID: "WAIT_BUYER_PAY",
        OrderState.PAID: "TRADE_SUCCESS",
        OrderState.CLOSED: "TRADE_CLOSED",
    }[order.state]
    total = yuan_from_fen(order.amount_fen + (1 if faults.wrong_amount else 0))
    told = {
        "out_trade_no": order.out_trade_no,
        "trade_no": order.trade_no,
        "trade_status": status,
        "total_amount": total,
        "buyer_open_id": order.payer,
    }
    if order.paid_at:
        told |= {"send_pay_date": alipay_time(order.paid_at), "receipt_amount": total}
    if refunded_fen:
        told["refund_fee"] = yuan_from_fen(refunded_fen)
    if refunded_fen == order.amount_fen:
        told["trade_status"] = "TRADE_CLOSED"
    return told


def _visible(faults: Faults) -> list[str]:
    """Name the faults that a sending itself carries."""
    return [name for name in faults.met() if name in _OF_SENDINGS]


def _accepted(channel: str, status: int | None, answer: str) -> bool:
    if channel == "wechat":
        return status in {200, 204}
    return status == requests.codes.ok and answer == "success"


def host_of(url: str) -> str:
    """Give the host of an http address, or ""."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.hostname or "" if parts.scheme in {"http", "https"} else ""


def _on_loopback(url: str) -> bool:
    host = host_of(url)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shanghai(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(SHANGHAI).isoformat(timespec="seconds")


def alipay_time(text: str) -> str:
    """Write a moment as Alipay does: Beijing time without a zone."""
    return datetime.fromisoformat(text).astimezone(SHANGHAI).strftime(_ALIPAY_TIME)
