"""WeChat Pay (微信支付), API v3, over wechatpayv3 behind our own guard."""

import hashlib
import hmac
import json
import re
import secrets
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from payments import _keys, _wechat_bill, _wechat_signature
from payments._bill_download import download, require_finished
from payments._gate import Gate
from payments._refund import believed_no, check, untold
from payments._sdk import WeChatPay, WeChatPayType, aes_decrypt, build_authorization
from payments._unpack import gunzip
from payments._wechat_keys import opens_what_it_seals, read_keys
from payments._wechat_words import fen, read_refund, read_trade, text, transaction_id
from payments._zone import SHANGHAI
from payments.bill import Bill, BillMalformed
from payments.channel import (
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
from payments.config import WeChatPayConfig

NOT_FOUND: Final = {"ORDER_NOT_EXIST", "ORDERNOTEXIST", "RESOURCE_NOT_EXISTS"}
REFUND_NOT_FOUND: Final = {"RESOURCE_NOT_EXISTS", "REFUND_NOT_EXISTS", "REFUNDNOTEXIST"}
# These answers to a refund pass: money comes into the merchant's account, a minute goes by.
REFUND_NOT_NOW: Final = {"NOT_ENOUGH", "FREQUENCY_LIMITED", "RATELIMIT_EXCEEDED"}
NOT_NOW: Final = {"FREQUENCY_LIMITED", "RATELIMIT_EXCEEDED", "USERPAYING"}
NO_BILL: Final = "NO_STATEMENT_EXIST"
BILL_NOT_READY: Final = "STATEMENT_CREATING"
# These answers to a create may mean that the number is taken by an order that can be paid.
MAY_EXIST: Final = {"INVALID_REQUEST", "PARAM_ERROR", "ORDERPAID", "OUT_TRADE_NO_USED"}

_MAX_REASON = 80
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class WeChatPayChannel:
    """WeChat Pay as a `Channel`."""

    name: Final = "wechat"

    def __init__(self, config: WeChatPayConfig) -> None:
        """Read the keys; call nobody.

        Raises:
            ChannelMisconfigured: a key or id is unusable.
        """
        self._config = config
        self._gate = Gate()
        self._keys = read_keys(config)
        self._public_keys = self._keys.platform
        serial, asked_for = next(iter(self._public_keys.items()))
        sdk = WeChatPay(  # type: ignore[no-untyped-call]
            wechatpay_type=WeChatPayType.MINIPROG,
            mchid=config.merchant_id,
            private_key=_keys.pkcs8_pem(self._keys.private),
            cert_serial_no=config.merchant_serial,
            appid=config.app_id,
            apiv3_key=config.api_v3_key,
            notify_url=config.notify_url,
            timeout=tuple(config.timeout_seconds),
            public_key=_keys.spki_pem(asked_for.public),
            public_key_id=serial,
        )
        # wechatpayv3 offers no public way to either: the address, and a guarded verification.
        core: Any = sdk._core  # noqa: SLF001
        core._gate_way = config.base_url.rstrip("/")  # noqa: SLF001
        core._verify_signature = self._verify_answer  # noqa: SLF001
        self._sdk: Any = sdk

    def create(self, order: TopUpOrder) -> Prepayment:
        """Open the order: JSAPI for a known payer, else NATIVE, a QR code (扫码)."""
        payer = {"openid": order.payer} if order.payer is not None else None
        status, answer = self._ask(
            lambda: self._sdk.pay(
                description=order.description,
                out_trade_no=order.out_trade_no,
                amount={"total": order.amount_fen, "currency": "CNY"},
                payer=payer,
                time_expire=order.expires_at.astimezone(SHANGHAI).isoformat(timespec="seconds"),
                pay_type=WeChatPayType.JSAPI if payer else WeChatPayType.NATIVE,
            )
        )
        if status != HTTPStatus.OK:
            raise self._refusal_of_create(status, answer, order.out_trade_no)
        try:
            prepared = text(answer, "prepay_id" if payer else "code_url")
        except ValueError:
            raise ChannelUnknown("content") from None
        if payer is None:
            return Prepayment(reference="", client_params={"kind": "qr", "code_url": prepared})
        return Prepayment(reference=prepared, client_params=self._jsapi_params(prepared))

    def query(self, out_trade_no: str) -> Trade:
        """Ask WeChat for the order by our number."""
        status, answer = self._ask(lambda: self._sdk.query(out_trade_no=out_trade_no))
        code = _code(answer)
        if status == HTTPStatus.NOT_FOUND and code in NOT_FOUND:
            return self._unknown_trade(out_trade_no)
        if status != HTTPStatus.OK:
            raise _refusal(status, code)
        try:
            trade = read_trade(answer)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ChannelUnknown("content") from None
        if trade.out_trade_no != out_trade_no:
            raise ChannelUnknown("content")
        if trade.merchant_id != self._config.merchant_id:
            raise ChannelUnknown("merchant")
        if trade.app_id != self._config.app_id:
            raise ChannelUnknown("app")
        return trade

    def close(self, out_trade_no: str) -> CloseOutcome:
        """Close the order.  WeChat advises against it in the first five minutes of an order."""
        status, answer = self._ask(lambda: self._sdk.close(out_trade_no=out_trade_no))
        code = _code(answer)
        if status == HTTPStatus.NO_CONTENT or code in {"ORDER_CLOSED", "ORDERCLOSED"}:
            return CloseOutcome.CLOSED
        if code == "ORDERPAID":
            return CloseOutcome.ALREADY_PAID
        if code in NOT_FOUND:
            return CloseOutcome.NOT_FOUND
        if status == HTTPStatus.TOO_MANY_REQUESTS or code in NOT_NOW:
            return CloseOutcome.RETRY
        raise _refusal(status, code)

    def refund(self, order: RefundOrder) -> Refund:
        """Ask WeChat to send money back; its yes means `PROCESSING`, not yet refunded."""
        status, answer = self._ask(
            lambda: self._sdk.refund(
                out_refund_no=order.out_refund_no,
                transaction_id=order.trade_no,
                reason=order.reason[:_MAX_REASON],
                amount={
                    "refund": order.amount_fen,
                    "total": order.paid_fen,
                    "currency": "CNY",
                },
            )
        )
        if status == HTTPStatus.OK:
            return _told_refund(answer, order)
        code = _code(answer)
        if status == HTTPStatus.TOO_MANY_REQUESTS or code in REFUND_NOT_NOW:
            raise ChannelRejected(code, for_now=True)
        return believed_no(self.query_refund, order, code)

    def query_refund(self, order: RefundOrder) -> Refund:
        """Ask WeChat for the refund by our number."""
        status, answer = self._ask(
            lambda: self._sdk.query_refund(out_refund_no=order.out_refund_no)
        )
        code = _code(answer)
        if status == HTTPStatus.NOT_FOUND and code in REFUND_NOT_FOUND:
            return untold(order, RefundState.UNKNOWN)
        if status != HTTPStatus.OK:
            raise _refusal(status, code)
        return _told_refund(answer, order)

    def parse_notice(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> Notice:
        """Verify, decrypt and read a notice."""
        _wechat_signature.verify(headers, body, public_keys=self._public_keys, now=now)
        try:
            envelope = json.loads(body)
            resource = self._decrypt(envelope["resource"])
            notice = self._read_notice(envelope, resource)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise NoticeForged("content") from None
        if notice.trade.merchant_id != self._config.merchant_id:
            raise NoticeForged("merchant")
        if notice.trade.app_id != self._config.app_id:
            raise NoticeForged("app")
        return notice

    def acknowledge(self, *, accepted: bool) -> Acknowledgement:
        """204 without a body, or 400: WeChat reads the status only."""
        if accepted:
            return Acknowledgement(body=b"", status=204, content_type=None)
        refusal = json.dumps({"code": "FAIL", "message": "失败"}, ensure_ascii=False).encode()
        return Acknowledgement(body=refusal, status=400, content_type="application/json")

    def fetch_bill(self, day: date) -> bytes:
        """Fetch the bill of trades, unpacked: that is the file whose hash WeChat signed.

        The file itself carries no signature.
        """
        require_finished(day, now=datetime.now(UTC))
        status, answer = self._ask(
            lambda: self._sdk.trade_bill(
                bill_date=day.isoformat(), bill_type="ALL", tar_type="GZIP"
            )
        )
        code = _code(answer)
        if code == NO_BILL:
            return b""
        if code == BILL_NOT_READY:
            raise BillNotReady
        if status != HTTPStatus.OK:
            raise _refusal(status, code)
        if answer.get("hash_type") != "SHA1":
            raise ChannelUnknown("hash-type")
        try:
            url, told = text(answer, "download_url"), text(answer, "hash_value")
            content = gunzip(self._download(url))
        except (BillMalformed, ValueError):
            raise ChannelUnknown("content") from None
        if not hmac.compare_digest(hashlib.sha1(content).hexdigest(), told.lower()):  # noqa: S324
            raise ChannelUnknown("hash")
        return content

    def read_bill(self, content: bytes, day: date) -> Bill:
        """Read a bill of trades, type ALL, gzipped or not."""
        return _wechat_bill.parse(content, day=day, merchant_id=self._config.merchant_id)

    def self_test(self) -> None:
        """Sign and verify, encrypt and decrypt; compare every certificate with the clock."""
        message = secrets.token_hex(16)
        signature = b64decode(self._sdk.sign([message]))
        own = _keys.PlatformKey(self._keys.private.public_key())
        faults = _keys.date_faults(
            [
                ("merchant_certificate", self._keys.merchant_certificate),
                *(
                    (f"platform_public_keys[{serial}]", key.certificate)
                    for serial, key in self._public_keys.items()
                ),
            ],
            datetime.now(UTC),
        )
        if not own.signed(f"{message}\n".encode(), signature):
            faults.append("merchant_private_key cannot sign")
        if not opens_what_it_seals(self._config.api_v3_key):
            faults.append("api_v3_key cannot decrypt")
        if faults:
            raise ChannelMisconfigured(self.name, faults)

    def _download(self, url: str) -> bytes:
        """Fetch a bill's file with a signed request, from WeChat's own gateway only."""
        official, named = urlsplit(self._config.base_url), urlsplit(url)
        if (named.scheme, named.netloc) != (official.scheme, official.netloc):
            raise ChannelUnknown("download-host")
        if not named.path.startswith("/v3/bill") or named.fragment:
            raise ChannelUnknown("download-path")
        target = requests.Request("GET", url).prepare().path_url  # as it will be sent, so signed
        authorization = build_authorization(  # type: ignore[no-untyped-call]
            target,
            "GET",
            self._config.merchant_id,
            self._config.merchant_serial,
            self._keys.private,
        )
        return download(
            url,
            headers={"Authorization": authorization, "Accept": "application/json, */*"},
            timeout_seconds=self._config.timeout_seconds,
        )

    def _ask(self, call: Callable[[], tuple[int, Any]]) -> tuple[int, dict[str, Any]]:
        """Call the SDK and return a status below 500 with its JSON object, empty if there is none.

        Raises:
            ChannelUnknown: no answer, a 5xx, or a 2xx whose signature does not hold.
        """
        try:
            status, content = self._gate.call(call)
        except ChannelUnknown:
            raise
        except requests.Timeout:
            raise ChannelUnknown("timeout") from None
        except requests.RequestException:
            raise ChannelUnknown("unreachable") from None
        except Exception as error:  # noqa: BLE001 - wechatpayv3 raises bare Exception
            raise ChannelUnknown(type(error).__name__) from None
        try:
            answer = json.loads(content) if content else {}
        except (ValueError, RecursionError):
            answer = {}
        if not isinstance(answer, dict):
            answer = {}
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ChannelUnknown(_code(answer))
        return status, answer

    def _verify_answer(self, headers: Mapping[str, str], body: str) -> bool:
        """Stand in for wechatpayv3's own check, which would fetch unknown serials."""
        try:
            _wechat_signature.verify(
                headers, body.encode(), public_keys=self._public_keys, now=datetime.now(UTC)
            )
        except NoticeForged as forged:
            # The request was carried out all the same: WeChat probes answers, too.
            raise ChannelUnknown(f"answer-{forged.reason}") from None
        return True

    def _refusal_of_create(
        self, status: int, answer: dict[str, Any], out_trade_no: str
    ) -> ChannelRejected | ChannelUnknown:
        code = _code(answer)
        if code in MAY_EXIST and self.query(out_trade_no).state is not TradeState.UNKNOWN:
            return ChannelUnknown(code)
        return _refusal(status, code)

    def _jsapi_params(self, prepay_id: str) -> dict[str, Any]:
        """Sign what `wx.requestPayment` needs; every call signs afresh."""
        timestamp = str(int(datetime.now(UTC).timestamp()))
        nonce = secrets.token_hex(16)
        package = f"prepay_id={prepay_id}"
        return {
            "kind": "wechat-jsapi",
            "timeStamp": timestamp,
            "nonceStr": nonce,
            "package": package,
            "signType": "RSA",
            "paySign": self._sdk.sign([self._config.app_id, timestamp, nonce, package]),
        }

    def _decrypt(self, resource: dict[str, str]) -> dict[str, Any]:
        if resource["algorithm"] != "AEAD_AES_256_GCM":
            raise ValueError("unknown algorithm")
        plain = aes_decrypt(  # type: ignore[no-untyped-call]
            nonce=resource["nonce"],
            ciphertext=resource["ciphertext"],
            associated_data=resource.get("associated_data") or "",
            apiv3_key=self._config.api_v3_key,
        )
        if plain is None:
            raise ValueError("the APIv3 key does not open it")
        decrypted = json.loads(plain)
        if not isinstance(decrypted, dict):
            raise TypeError("not an object")
        return decrypted

    def _read_notice(self, envelope: dict[str, Any], resource: dict[str, Any]) -> Notice:
        event_type = envelope["event_type"]
        refund = None
        if event_type == "TRANSACTION.SUCCESS":
            trade = read_trade(resource)
            paid = trade.state in {TradeState.PAID, TradeState.REFUNDED}
            event = NoticeEvent.PAID if paid else NoticeEvent.IGNORED
        elif event_type.startswith("REFUND."):
            event, trade = NoticeEvent.REFUND, self._read_refunded_trade(resource)
            refund = read_refund(resource, "refund_status")
        else:
            event, trade = NoticeEvent.IGNORED, self._unknown_trade("")
        notice_id = text(envelope, "id")
        return Notice(self.name, notice_id, event, trade, refund)

    def _read_refunded_trade(self, resource: dict[str, Any]) -> Trade:
        """Read a refund notice, which names the order and its total, but no app and no currency."""
        return Trade(
            out_trade_no=text(resource, "out_trade_no"),
            state=TradeState.REFUNDED,
            amount_fen=fen(resource["amount"]["total"]),
            currency="CNY",
            trade_no=transaction_id(resource),
            merchant_id=text(resource, "mchid"),
            app_id=self._config.app_id,
            paid_at=None,
            payer=None,
        )

    def _unknown_trade(self, out_trade_no: str) -> Trade:
        return Trade(
            out_trade_no=out_trade_no,
            state=TradeState.UNKNOWN,
            amount_fen=None,
            currency="CNY",
            trade_no=None,
            merchant_id=self._config.merchant_id,
            app_id=self._config.app_id,
            paid_at=None,
            payer=None,
        )


def _told_refund(answer: dict[str, Any], order: RefundOrder) -> Refund:
    try:
        refund = read_refund(answer, "status")
        return check(refund, order, trade_no=transaction_id(answer))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ChannelUnknown("content") from None


def _code(answer: Mapping[str, Any]) -> str:
    """WeChat's error code, if it is one: it goes into logs."""
    code = answer.get("code")
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "unreadable"


def _refusal(status: int, code: str) -> ChannelRejected | ChannelUnknown:
    unsure = status == HTTPStatus.TOO_MANY_REQUESTS or code in NOT_NOW or code == "unreadable"
    return ChannelUnknown(code) if unsure else ChannelRejected(code)
