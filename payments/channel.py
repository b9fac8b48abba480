"""What a channel (渠道) that brings money in can do, in our words.

The rest of the product knows only these types.  WeChat Pay speaks them in `wechat.py`, Alipay in
`alipay.py`; the table of words is in `README.md`.

    ChannelError
    ├── ChannelMisconfigured    our keys or ids are wrong: refuse to start
    ├── ChannelRejected         surely no: it was not done
    ├── ChannelUnknown          no trustworthy answer: it may have been done, ask again
    │   └── ChannelBusy         not even asked: the platform hangs, or too many wait for it
    └── BillNotReady            the day's bill is not written yet: ask again later
    NoticeForged                not the platform's word to us: refuse it, touch nothing
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from payments.bill import Bill

MAX_NOTICE_BYTES: Final = 64 * 1024
"""No platform sends more; read no more of a notice's body."""


class ChannelError(Exception):
    """A channel could not do what was asked.  Its text holds no secret and no personal data."""


class ChannelMisconfigured(ChannelError):
    """Keys or ids do not fit together.  `faults` names every one of them, without its value."""

    def __init__(self, channel: str, faults: list[str]) -> None:
        super().__init__(f"{channel}: {'; '.join(faults)}")
        self.channel = channel
        self.faults = faults


class ChannelRejected(ChannelError):
    """The platform surely refused, and nothing was done.  `code` is the platform's own word.

    `for_now` tells the two kinds of no apart: False, surely never, give it up; True, surely not
    now, and the very same request may be taken later: the merchant's balance is too small, or we
    ask too often.  A no for now speaks of this one request: an earlier one may have been taken.
    """

    def __init__(self, code: str, *, for_now: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.for_now = for_now


class ChannelUnknown(ChannelError):
    """No trustworthy answer: a timeout, a 5xx, a bad signature.  It may have been done: ask again.

    `reason` is for logs: one word or the platform's code.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ChannelBusy(ChannelUnknown):
    """The platform is down, or too many wait for it: it was not asked this time.  Ask again."""

    def __init__(self) -> None:
        super().__init__("busy")


class BillNotReady(ChannelError):
    """The platform has not written the bill of that day yet: ask again in half an hour."""

    def __init__(self) -> None:
        super().__init__("not-ready")


class NoticeForged(Exception):
    """A notice that is not the platform's word to us.  Refuse it; change nothing because of it.

    `reason` is one of `size`, `headers`, `timestamp`, `serial`, `expired`, `signtest`, `encoding`,
    `signature`, `content`, `merchant`, `app`.  `signtest` is WeChat probing whether we verify:
    expected now and then, no alarm.  `merchant` and `app` are signed well but meant for others.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TopUpOrder:
    """One top-up (充值) to be paid on one channel.

    A retry of `Channel.create` must carry the very same values, or WeChat refuses the number.

    Attributes:
        out_trade_no: our number of the order (商户订单号), 32 hexadecimal digits.
        amount_fen: at least 1.
        description: what the payer reads on the platform's sheet.
        payer: the account on this channel's platform, as `Platform.login` names it; None when it
            is unknown, because the holder is logged in on the other platform.
        expires_at: from then on the payer can no longer pay.
    """

    out_trade_no: str
    amount_fen: int
    description: str
    payer: str | None
    expires_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Prepayment:
    """An order that the payer can pay now.

    Attributes:
        reference: the platform's handle: prepay_id, trade_no, or "" for a QR hand-off.
        client_params: for the mini program, JSON-ready; `kind` says what to do with the rest:
            `wechat-jsapi` → `wx.requestPayment`, `alipay-trade` → `my.tradePay`, `qr` → draw
            `code_url` for the other platform's scanner.
    """

    reference: str
    client_params: dict[str, Any]


class TradeState(StrEnum):
    """How a payment stands at the platform."""

    UNKNOWN = "unknown"
    """The platform does not know the number; on Alipay, also a QR code nobody has scanned yet."""
    UNPAID = "unpaid"
    """待支付"""
    PAID = "paid"
    """已支付"""
    REFUNDED = "refunded"
    """Was paid, then money went back or is going back, wholly or in part: still a paid order."""
    CLOSED = "closed"
    """已关闭: not paid, and can no longer be paid."""


@dataclass(frozen=True, slots=True)
class Trade:
    """A payment as the platform tells it, over a verified signature.

    Whether it fits the order, amount and currency, is for the caller to judge, who has the order.

    Attributes:
        amount_fen: what the order costs, before the platform's own coupons; None when not told.
        currency: ISO 4217; always `CNY` on Alipay.
        trade_no: the platform's number of the payment; None until paid (Alipay: until opened).
        merchant_id: who gets the money: WeChat's mchid, Alipay's seller_id.
        payer: the paying account, as `Platform.login` names it; not always told.
    """

    out_trade_no: str
    state: TradeState
    amount_fen: int | None
    currency: str
    trade_no: str | None
    merchant_id: str
    app_id: str
    paid_at: datetime | None
    payer: str | None


class CloseOutcome(StrEnum):
    """What became of a wish to close an order at the platform."""

    CLOSED = "closed"
    """It can no longer be paid; also when it had been closed before."""
    ALREADY_PAID = "already-paid"
    """The payer was faster: settle it."""
    NOT_FOUND = "not-found"
    """The platform does not know the number.  An Alipay QR code that nobody has scanned is not
    known either, and stays payable until it expires."""
    RETRY = "retry"
    """The platform answered "not now": query, then try again later."""


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """A refund (退款) to be sent back to where a payment came from.

    A retry must carry the very same values: the platform knows the refund by `out_refund_no`.

    Attributes:
        out_refund_no: our number of the refund, 32 hexadecimal digits, stored before it is sent.
        out_trade_no: our number of the order that was paid.
        trade_no: the platform's number of the payment that goes back; an order can have been paid
            twice.
        paid_fen: what that payment was.
        amount_fen: what goes back, from 1 to `paid_fen`.
        reason: what the payer reads.
    """

    out_refund_no: str
    out_trade_no: str
    trade_no: str
    paid_fen: int
    amount_fen: int
    reason: str


class RefundState(StrEnum):
    """How a refund stands at the platform."""

    UNKNOWN = "unknown"
    """The platform does not know the number: it was never sent, or never arrived."""
    PROCESSING = "processing"
    """处理中"""
    SUCCEEDED = "succeeded"
    """已退回"""
    CLOSED = "closed"
    """已关闭: it did not go back and will not; the money is still with the merchant."""
    ABNORMAL = "abnormal"
    """异常: the payer's bank account does not take it; a person has to find another way."""


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund as the platform tells it, over a verified signature.

    Attributes:
        amount_fen: None when not told.
        refund_no: the platform's number of the refund; None when it has none.
    """

    out_refund_no: str
    out_trade_no: str
    state: RefundState
    amount_fen: int | None
    refund_no: str | None
    refunded_at: datetime | None


class NoticeEvent(StrEnum):
    """What a notice (回调) tells."""

    PAID = "paid"
    REFUND = "refund"
    """A refund came to its end.  Never a payment, whatever its trade status says."""
    CLOSED = "closed"
    IGNORED = "ignored"
    """Genuine, and of no interest: acknowledge it."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A genuine notice from a platform.

    Attributes:
        channel: the name of the channel.
        notice_id: unique per channel; the same on every repetition.
        refund: set only on `NoticeEvent.REFUND`, and None even there when Alipay does not name our
            refund; its `amount_fen` is None on Alipay, which tells what all refunds come to.
    """

    channel: str
    notice_id: str
    event: NoticeEvent
    trade: Trade
    refund: Refund | None = None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The exact HTTP answer to a notice.  Only an accepting one ends the repetitions."""

    body: bytes
    status: int
    content_type: str | None


class Channel(Protocol):
    """A platform that takes payments for us.

    Every call but `parse_notice` and `acknowledge` talks to the platform and blocks for up to the
    configured timeouts: never call inside a database transaction.  Safe to share among threads.
    """

    @property
    def name(self) -> str:
        """`wechat` or `alipay`."""

    def create(self, order: TopUpOrder) -> Prepayment:
        """Open the order at the platform.  A retry with the same values is harmless.

        Raises:
            ChannelRejected: the order does not exist at the platform.
            ChannelUnknown: it may exist, or may even be paid: query before anything else.
        """

    def query(self, out_trade_no: str) -> Trade:
        """Ask how the payment stands.

        Raises:
            ChannelRejected: the platform refuses to tell.
            ChannelUnknown: no trustworthy answer.
        """

    def close(self, out_trade_no: str) -> CloseOutcome:
        """Make the order unpayable.  Idempotent.

        Raises:
            ChannelRejected: the platform refuses for another reason than the order's state.
            ChannelUnknown: no trustworthy answer: the order may be closed, or paid.
        """

    def refund(self, order: RefundOrder) -> Refund:
        """Send money back to where it came from.  A retry with the same values is harmless.

        Often `PROCESSING` at first: `query_refund` until it is another state.  A no for good is
        given only after the platform said that it does not know the number either, so no earlier
        attempt can have been taken.

        Raises:
            ChannelRejected: surely not refunded; with `for_now`, this attempt was not.
            ChannelUnknown: it may be refunded: query, or repeat with the same values.
        """

    def query_refund(self, order: RefundOrder) -> Refund:
        """Ask how the refund stands.

        `UNKNOWN` says that the platform does not know the number, and is no promise while a
        request may still be on its way: repeat it with the same values.

        Raises:
            ChannelRejected: the platform refuses to tell; says nothing of the refund.
            ChannelUnknown: no trustworthy answer, or one about other values than ours.
        """

    def parse_notice(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> Notice:
        """Verify and read a notice from its headers and its raw, untouched body.

        Needs no network.  Says nothing of whether the order is ours or the amount is right.

        Raises:
            NoticeForged: not the platform's word to us.
        """

    def acknowledge(self, *, accepted: bool) -> Acknowledgement:
        """Tell what to answer to a notice; `accepted` only after the effect is committed."""

    def fetch_bill(self, day: date) -> bytes:
        """Fetch the bill (账单) of a day in Asia/Shanghai, as `read_bill` reads it.

        Returns the file that the platform vouches for; nothing (`b""`) for a day without a trade.

        Raises:
            BillNotReady: the day is not over, or its bill not written yet.
            ChannelRejected: the platform refuses to tell.
            ChannelUnknown: no trustworthy answer, or a file other than the one announced.
        """

    def read_bill(self, content: bytes, day: date) -> Bill:
        """Read a bill, also one that a person fetched at the platform's desk.  Needs no network.

        Raises:
            BillMalformed: it is not our bill of that day, or not whole.
        """

    def self_test(self) -> None:
        """Prove, without the network, that our keys and ids can work.  For start-up.

        Raises:
            ChannelMisconfigured: they cannot; names every fault.
        """
