"""Alipay (支付宝), over python-alipay-sdk."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from payments import _alipay_bill
from payments._alipay_gateway import AlipayGateway, AlipayRefused
from payments._bill_download import download, require_finished, since_midnight_after
from payments._plain import handle, in_utc, trade_number
from payments._refund import asked, believed_no, check, untold
from payments._yuan import fen_from_yuan, yuan_from_fen
from payments._zone import SHANGHAI
from payments.bill import Bill
from payments.channel import (
    MAX_NOTICE_BYTES,
    Acknowledgement,
    BillNotReady,
    ChannelMisconfigured,
    ChannelRejected,
    ChannelUnknown,
    CloseOutcome,
    Notice,
    NoticeEvent,
    NoticeForged,
    Prepayment,
    Refund,
    RefundOrder,
    RefundState,
    TopUpOrder,
    Trade,
    TradeState,
)
from payments.config import ALIPAY_BILL_HOSTS, AlipayConfig

STATES: Final = {
    "WAIT_BUYER_PAY": TradeState.UNPAID,
    "TRADE_SUCCESS": TradeState.PAID,
    "TRADE_FINISHED": TradeState.PAID,
    "TRADE_CLOSED": TradeState.CLOSED,
}
NOT_FOUND: Final = "ACQ.TRADE_NOT_EXIST"
# The trade's own state forbids it: paid, or closed.  Which of the two, only a query tells.
WRONG_STATE: Final = {
    "ACQ.TRADE_STATUS_ERROR",
    "ACQ.REASON_TRADE_STATUS_INVALID",
    "ACQ.TRADE_HAS_SUCCESS",
    "ACQ.TRADE_HAS_FINISHED",
    "ACQ.TRADE_HAS_CLOSE",
}
# These answers to a create may mean that the number is taken by a trade that can be paid.
MAY_EXIST: Final = WRONG_STATE | {"ACQ.CONTEXT_INCONSISTENT", "ACQ.INVALID_PARAMETER"}

# These answers to a refund pass: money comes into the seller's account, a dispute ends.
REFUND_NOT_NOW: Final = {
    "ACQ.SELLER_BALANCE_NOT_ENOUGH",
    "ACQ.REASON_TRADE_BEEN_FREEZEN",
    "isv.app-call-limited",
}
REFUND_STATES: Final = {
    "REFUND_SUCCESS": RefundState.SUCCEEDED,
    "REFUND_PROCESSING": RefundState.PROCESSING,
}
NO_BILL: Final = "bill_not_exist"
# Alipay says the same of a bill not written yet and of a day without a trade.  It writes bills by
# nine in the morning; from noon on, none means no trade.
WRITTEN_BY: Final = timedelta(hours=12)

# Alipay repeats a notice for 24 h 22 min, and does not say whether it dates it afresh.
REPEATED_FOR: Final = timedelta(hours=25)
CLOCK_SKEW: Final = timedelta(minutes=5)

_MAX_REASON = 256
_FORBIDDEN_IN_SUBJECT = str.maketrans("/=&", "   ")
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S"


class AlipayChannel:
    """Alipay as a `Channel`."""

    name: Final = "alipay"

    def __init__(self, config: AlipayConfig) -> None:
        """Read the keys; call nobody.

        Raises:
            ChannelMisconfigured: a key is unusable.
        """
        self._config = config
        self._gateway = AlipayGateway(config)

    def create(self, order: TopUpOrder) -> Prepayment:
        """Open a trade for a known payer, else precreate one, a QR code (扫码)."""
        content = {
            "out_trade_no": order.out_trade_no,
            "total_amount": yuan_from_fen(order.amount_fen),
            "subject": order.description.translate(_FORBIDDEN_IN_SUBJECT),
            "time_expire": order.expires_at.astimezone(SHANGHAI).strftime(_TIME_FORMAT),
        }
        if order.payer is None:
            answer = self._open("alipay.trade.precreate", content)
            code_url = _answered(answer, "qr_code")
            return Prepayment(reference="", client_params={"kind": "qr", "code_url": code_url})
        # Old apps know an account by its 16-digit user_id, new ones by its open_id.
        old = order.payer.isdecimal() and order.payer.startswith("2088")
        content |= {
            "product_code": "JSAPI_PAY",
            "op_app_id": self._config.app_id,
            "buyer_id" if old else "buyer_open_id": order.payer,
        }
        answer = self._open("alipay.trade.create", content)
        trade_no = _answered(answer, "trade_no")
        return Prepayment(
            reference=trade_no, client_params={"kind": "alipay-trade", "tradeNO": trade_no}
        )

    def query(self, out_trade_no: str) -> Trade:
        """Ask Alipay for the trade by our number.

        A QR code that nobody has scanned yet is not yet a trade: `UNKNOWN`.
        """
        try:
            answer = self._gateway.call("alipay.trade.query", {"out_trade_no": out_trade_no})
        except AlipayRefused as refused:
            if refused.code == NOT_FOUND:
                return self._unknown_trade(out_trade_no)
            raise ChannelRejected(refused.code) from None
        try:
            trade = self._read_trade(answer, paid_at=answer.get("send_pay_date"))
        except (KeyError, TypeError, ValueError):
            raise ChannelUnknown("content") from None
        if trade.out_trade_no != out_trade_no:
            raise ChannelUnknown("content")
        return trade

    def close(self, out_trade_no: str) -> CloseOutcome:
        """Close the trade; when its state forbids that, ask which state it is."""
        try:
            self._gateway.call("alipay.trade.close", {"out_trade_no": out_trade_no})
        except AlipayRefused as refused:
            if refused.code == NOT_FOUND:
                return CloseOutcome.NOT_FOUND
            if refused.code not in WRONG_STATE:
                raise ChannelRejected(refused.code) from None
        else:
            return CloseOutcome.CLOSED
        match self.query(out_trade_no).state:
            case TradeState.PAID | TradeState.REFUNDED:
                return CloseOutcome.ALREADY_PAID
            case TradeState.CLOSED:
                return CloseOutcome.CLOSED
            case _:
                return CloseOutcome.RETRY

    def refund(self, order: RefundOrder) -> Refund:
        """Ask Alipay to send money back.

        Its yes tells that the request was taken; only `fund_change` tells that money moved now.
        A repetition moves none, so then the refund itself is asked for.
        """
        content = {
            "trade_no": order.trade_no,
            "refund_amount": yuan_from_fen(order.amount_fen),
            "out_request_no": order.out_refund_no,
            "refund_reason": order.reason[:_MAX_REASON],
        }
        try:
            answer = self._gateway.call("alipay.trade.refund", content)
        except AlipayRefused as refused:
            if refused.code in REFUND_NOT_NOW:
                raise ChannelRejected(refused.code, for_now=True) from None
            return believed_no(self.query_refund, order, refused.code)
        if answer.get("fund_change") == "Y":
            return self._refunded(answer, order)
        refund = asked(self.query_refund, order)
        # Asked within seconds, Alipay may not know yet what it has just taken.
        known = refund.state is not RefundState.UNKNOWN
        return refund if known else untold(order, RefundState.PROCESSING)

    def query_refund(self, order: RefundOrder) -> Refund:
        """Ask Alipay for the refund by our number.

        It says yes to a question about any number; what it does not know it leaves out.
        """
        content = {
            "trade_no": order.trade_no,
            "out_request_no": order.out_refund_no,
            "query_options": ["gmt_refund_pay"],
        }
        try:
            answer = self._gateway.call("alipay.trade.fastpay.refund.query", content)
        except AlipayRefused as refused:
            if refused.code == NOT_FOUND:
                return untold(order, RefundState.UNKNOWN)
            raise ChannelRejected(refused.code) from None
        if not answer.get("refund_status"):
            return untold(order, RefundState.UNKNOWN)
        try:
            refund = Refund(
                out_refund_no=handle(answer["out_request_no"]),
                out_trade_no=handle(answer["out_trade_no"]),
                state=REFUND_STATES[answer["refund_status"]],
                amount_fen=fen_from_yuan(answer["refund_amount"]),
                refund_no=None,
                refunded_at=_refund_moment(answer.get("gmt_refund_pay")),
            )
            return check(refund, order, trade_no=trade_number(answer["trade_no"]))
        except (KeyError, TypeError, ValueError):
            raise ChannelUnknown("content") from None

    def parse_notice(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> Notice:
        """Verify and read a notice.  Alipay signs the form's fields; the headers tell nothing."""
        del headers
        form = self._verified_form(body, now)
        try:
            sent_at = _moment(form["notify_time"])
            if not now - REPEATED_FOR <= sent_at <= now + CLOCK_SKEW:
                raise NoticeForged("timestamp")
            if form["seller_id"] != self._config.seller_id:
                raise NoticeForged("merchant")
            if form["app_id"] != self._config.app_id:
                raise NoticeForged("app")
            return self._read_notice(form)
        except (KeyError, ValueError):
            raise NoticeForged("content") from None

    def acknowledge(self, *, accepted: bool) -> Acknowledgement:
        """Exactly `success` or `fail`: Alipay reads the body only."""
        return Acknowledgement(
            body=b"success" if accepted else b"fail", status=200, content_type="text/plain"
        )

    def fetch_bill(self, day: date) -> bytes:
        """Fetch the bill of trades, a zip.  Alipay signs its address, not its content."""
        now = datetime.now(UTC)
        require_finished(day, now=now)
        wanted = {"bill_type": "trade", "bill_date": day.isoformat()}
        try:
            answer = self._gateway.call("alipay.data.dataservice.bill.downloadurl.query", wanted)
        except AlipayRefused as refused:
            if refused.code.lower().rpartition(".")[2] != NO_BILL:
                raise ChannelRejected(refused.code) from None
            if since_midnight_after(day, now=now) < WRITTEN_BY:
                raise BillNotReady from None
            return b""
        url = self._checked(_answered(answer, "bill_download_url"))
        return download(url, headers={}, timeout_seconds=self._config.timeout_seconds)

    def read_bill(self, content: bytes, day: date) -> Bill:
        """Read a bill of trades, the zip as it is fetched."""
        return _alipay_bill.parse(content, day=day, seller_id=self._config.seller_id)

    def self_test(self) -> None:
        """Sign and verify with the app's key; compare every certificate with the clock."""
        if faults := self._gateway.faults(datetime.now(UTC)):
            raise ChannelMisconfigured(self.name, faults)

    def _refunded(self, answer: dict[str, Any], order: RefundOrder) -> Refund:
        """Read a yes by which money moved; its `refund_fee` is the sum of all refunds so far."""
        try:
            refund = Refund(
                out_refund_no=order.out_refund_no,
                out_trade_no=handle(answer["out_trade_no"]),
                state=RefundState.SUCCEEDED,
                amount_fen=order.amount_fen,
                refund_no=None,
                refunded_at=_refund_moment(answer.get("gmt_refund_pay")),
            )
            if fen_from_yuan(answer["refund_fee"]) < order.amount_fen:
                raise ValueError("less went back than was ordered")
            return check(refund, order, trade_no=trade_number(answer["trade_no"]))
        except (KeyError, TypeError, ValueError):
            raise ChannelUnknown("content") from None

    def _checked(self, url: str) -> str:
        """Return the address of a bill, of Alipay's own hosts only, and never in the clear.

        Alipay writes it with http; the same lies behind https.
        """
        try:
            named = urlsplit(url)
            port = named.port
        except ValueError:
            raise ChannelUnknown("download-host") from None
        if self._config.sandbox:
            if named.netloc != urlsplit(self._config.base_url).netloc:
                raise ChannelUnknown("download-host")
            return url
        if named.netloc.partition(":")[0] not in ALIPAY_BILL_HOSTS or port not in {None, 80, 443}:
            raise ChannelUnknown("download-host")
        return urlunsplit(("https", named.netloc.partition(":")[0], named.path, named.query, ""))

    def _open(self, method: str, content: dict[str, str]) -> dict[str, Any]:
        try:
            return self._gateway.call(method, content, notify_url=self._config.notify_url)
        except AlipayRefused as refused:
            code = refused.code
        if code in MAY_EXIST and self.query(content["out_trade_no"]).state != TradeState.UNKNOWN:
            raise ChannelUnknown(code)
        raise ChannelRejected(code)

    def _verified_form(self, body: bytes, now: datetime) -> dict[str, str]:
        if len(body) > MAX_NOTICE_BYTES:
            raise NoticeForged("size")
        try:
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict"
            )
        except ValueError:
            raise NoticeForged("encoding") from None
        form = dict(pairs)
        if len(form) != len(pairs) or form.get("charset", "utf-8").lower() != "utf-8":
            raise NoticeForged("encoding")
        self._gateway.verify(form, now)
        return form

    def _read_notice(self, form: dict[str, str]) -> Notice:
        notice_id = handle(form["notify_id"])
        if form["notify_type"] != "trade_status_sync":
            return Notice(self.name, notice_id, NoticeEvent.IGNORED, self._unknown_trade(""))
        trade = self._read_trade(form, paid_at=form.get("gmt_payment"))
        event = _event(trade.state)
        refund = None
        if event is NoticeEvent.REFUND and form.get("out_biz_no"):
            refund = Refund(
                out_refund_no=handle(form["out_biz_no"]),
                out_trade_no=trade.out_trade_no,
                state=RefundState.SUCCEEDED,  # Alipay announces no other end of a refund
                amount_fen=None,
                refund_no=None,
                refunded_at=_refund_moment(form.get("gmt_refund")),
            )
        return Notice(self.name, notice_id, event, trade, refund)

    def _read_trade(self, data: Mapping[str, Any], *, paid_at: str | None) -> Trade:
        """Read a trade, out of an answer or a notice.

        A partial refund comes as TRADE_SUCCESS with refund_fee, a full one as TRADE_CLOSED of a
        trade that had been paid.
        """
        state = STATES[data["trade_status"]]
        refunded = "gmt_refund" in data or fen_from_yuan(data.get("refund_fee") or "0") > 0
        if refunded or (state is TradeState.CLOSED and paid_at):
            state = TradeState.REFUNDED
        return Trade(
            out_trade_no=handle(data["out_trade_no"]),
            state=state,
            amount_fen=fen_from_yuan(data["total_amount"]),
            currency="CNY",
            trade_no=trade_number(data["trade_no"]),
            merchant_id=data.get("seller_id", self._config.seller_id),
            app_id=data.get("app_id", self._config.app_id),
            paid_at=_moment(paid_at) if paid_at else None,
            payer=data.get("buyer_open_id") or data.get("buyer_user_id") or data.get("buyer_id"),
        )

    def _unknown_trade(self, out_trade_no: str) -> Trade:
        return Trade(
            out_trade_no=out_trade_no,
            state=TradeState.UNKNOWN,
            amount_fen=None,
            currency="CNY",
            trade_no=None,
            merchant_id=self._config.seller_id,
            app_id=self._config.app_id,
            paid_at=None,
            payer=None,
        )


def _event(state: TradeState) -> NoticeEvent:
    match state:
        case TradeState.PAID:
            return NoticeEvent.PAID
        case TradeState.REFUNDED:
            return NoticeEvent.REFUND
        case TradeState.CLOSED:
            return NoticeEvent.CLOSED
        case _:
            return NoticeEvent.IGNORED


def _answered(answer: Mapping[str, Any], name: str) -> str:
    try:
        return handle(answer.get(name))
    except ValueError:
        raise ChannelUnknown("content") from None


def _refund_moment(text: str | None) -> datetime | None:
    """Read the time of a refund, which Alipay writes with or without milliseconds."""
    return _moment(text.partition(".")[0]) if text else None


def _moment(text: str) -> datetime:
    """Read Alipay's naive Beijing time."""
    naive = datetime.strptime(text, _TIME_FORMAT)  # noqa: DTZ007 - the next line gives the zone
    return in_utc(naive.replace(tzinfo=SHANGHAI))
