"""Alipay's gateway, the platform's side."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from payments._yuan import fen_from_yuan, yuan_from_fen
from payments._zone import SHANGHAI
from payments.sandbox import bills
from payments.sandbox.bills import DifferenceKind
from payments.sandbox.notices import alipay_time, alipay_trade, host_of
from payments.sandbox.state import (
    Order,
    OrderState,
    RefundImpossible,
    Temper,
    utc_text,
)
from payments.sandbox.world import World, fingerprint

_NUMBER = re.compile(r"[0-9A-Za-z_]{1,64}")
_TIME = "%Y-%m-%d %H:%M:%S"
_SKEW_SECONDS = 900
_MAX_CODE = 512


class _Refused(Exception):
    """A no.  Alipay signs it, unless the request itself is malformed or forged."""

    def __init__(self, sub_code: str, *, code: str = "40004", signed: bool = True) -> None:
        super().__init__(sub_code)
        self.sub_code = sub_code
        self.code = code
        self.signed = signed


def blueprint(world: World) -> Blueprint:
    """Serve Alipay's one address."""
    routes = Blueprint("alipay", __name__)
    gateway = _Gateway(world)

    @routes.post("/gateway.do")
    def call() -> Response:
        return gateway.call({**request.args.to_dict(), **request.form.to_dict()})

    @routes.get("/downloadBillFile.resource")
    def download() -> Response:
        given, now = request.args.get("token", ""), datetime.now(UTC)
        day = bills.day_of_token(world, "alipay", given, now=now)
        content = bills.write(world, "alipay", day).content if day else None
        if content is None:
            return Response("<h1>403</h1>", 403, content_type="text/html;charset=utf-8")
        return Response(content, content_type="application/octet-stream")

    return routes


class _Gateway:
    def __init__(self, world: World) -> None:
        self._world = world
        self._keys = world.signer.keys
        self._methods: dict[str, Callable[[dict[str, str], dict[str, Any]], dict[str, Any]]] = {
            "alipay.trade.create": self._create,
            "alipay.trade.precreate": self._precreate,
            "alipay.trade.query": self._query,
            "alipay.trade.close": self._close,
            "alipay.trade.refund": self._refund,
            "alipay.trade.fastpay.refund.query": self._query_refund,
            "alipay.data.dataservice.bill.downloadurl.query": self._bill_url,
            "alipay.system.oauth.token": self._redeem,
            "alipay.user.certdoc.certverify.preconsult": self._preconsult,
            "alipay.user.certdoc.certverify.consult": self._consult,
        }

    def call(self, parameters: dict[str, str]) -> Response:
        method = parameters.get("method", "")
        name = f"{method.replace('.', '_')}_response"
        signed, cert_sn = True, ""
        try:
            self._authenticate(parameters)
            cert_sn = self._cert_sn(parameters)
            handler = self._methods.get(method)
            if handler is None:
                raise _Refused("isv.invalid-method", code="40002", signed=False)
            content = {"code": "10000", "msg": "Success"}
            content |= handler(parameters, _biz_content(parameters))
        except _Refused as refused:
            signed = refused.signed
            content = {"code": refused.code, "msg": "Failed", "sub_code": refused.sub_code}
            if method not in self._methods or method == "alipay.system.oauth.token":
                name = "error_response"
        return self._answer(name, content, signed=signed, cert_sn=cert_sn)

    def _answer(
        self, name: str, content: dict[str, Any], *, signed: bool, cert_sn: str
    ) -> Response:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        answer = f'{{"{name}":{text}'
        if signed:
            signature = self._world.signer.alipay_signature(text, self._world.faults())
            answer += f',"sign":"{signature}"'
            answer += f',"alipay_cert_sn":"{cert_sn}"' if cert_sn else ""
        return Response(answer + "}", content_type="text/html;charset=utf-8")

    def _authenticate(self, parameters: dict[str, str]) -> None:
        """Check the app's signature over everything it sent."""
        signed = "&".join(
            f"{name}={value}"
            for name, value in sorted(parameters.items())
            if name != "sign" and value
        )
        if not self._world.signer.app_signed(signed.encode(), parameters.get("sign", "")):
            raise _Refused("isv.invalid-signature", code="40002", signed=False)
        if not self._world.signer.app_known(parameters.get("app_id")):
            raise _Refused("isv.invalid-app-id", code="40002", signed=False)
        if parameters.get("sign_type") != "RSA2":
            raise _Refused("isv.invalid-signature-type", code="40002", signed=False)
        sent_at = _moment(parameters.get("timestamp"))
        if sent_at is None or abs((datetime.now(UTC) - sent_at).total_seconds()) > _SKEW_SECONDS:
            raise _Refused("isv.invalid-timestamp", code="40002", signed=False)

    def _cert_sn(self, parameters: dict[str, str]) -> str:
        """Name Alipay's certificate to an app in certificate mode; "" in public-key mode.

        An app certificate that was not made here leaves the app in public-key mode.
        """
        if parameters.get("app_cert_sn") != self._keys.alipay_app_cert_sn:
            return ""
        if parameters.get("alipay_root_cert_sn") != self._keys.alipay_root_cert_sn:
            raise _Refused("isv.invalid-root-cert-sn", code="40002", signed=False)
        return self._keys.alipay_cert_sn

    def _create(self, parameters: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
        order = self._open_order("create", parameters, content)
        return {"out_trade_no": order.out_trade_no, "trade_no": order.trade_no}

    def _precreate(self, parameters: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
        order = self._open_order("precreate", parameters, content)
        return {"out_trade_no": order.out_trade_no, "qr_code": order.reference}

    def _query(self, _: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
        order, state = self._find(content), self._world.state
        refunded_fen = state.refunded_fen(order, now=datetime.now(UTC))
        return dict(alipay_trade(order, self._world.faults(), refunded_fen=refunded_fen))

    def _close(self, _: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
        order = self._find(content)
        self._world.closing(order)
        if not self._world.state.close_order(order):
            raise _Refused("ACQ.TRADE_STATUS_ERROR")
        return {"out_trade_no": order.out_trade_no, "trade_no": order.trade_no}

    def _refund(self, _: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
        """Refund at once; the same number moves money once, and says so by `fund_change`."""
        order, state = self._find(content), self._world.state
        out_request_no = content.get("out_request_no")
        try:
            amount_fen = fen_from_yuan(str(content.get("refund_amount")))
        except ValueError:
            amount_fen = 0
        if (
            amount_fen < 1
            or not isinstance(out_request_no, str)
            or not _NUMBER.fullmatch(out_request_no)
        ):
            raise _Refused("ACQ.INVALID_PARAMETER")
        if order.state is not OrderState.PAID:
            raise _Refused("ACQ.TRADE_STATUS_ERROR")
        self._refuse_by_fault(known=state.refund("alipay", out_request_no) is not None)
        try:
            refund, fresh = self._world.refund(
                order,
                out_refund_no=out_request_no,
                amount_fen=amount_fen,
                reason=str(content.get("refund_reason", "")),
                notify_url=order.notify_url,
                content=content,
            )
        except RefundImpossible:
            raise _Refused("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL") from None
        if refund.fingerprint != fingerprint(content):
            raise _Refused("ACQ.DISCORDANT_REPEAT_REQUEST")
        total_fen = state.refunded_fen(order, now=datetime.now(UTC))
        return {
            "trade_no": order.trade_no,
            "out_trade_no": order.out_trade_no,
            "buyer_open_id": order.payer,
            "fund_change": "Y" if fresh else "N",
            "refund_fee": yuan_from_fen(total_fen),
            "send_back_fee": yuan_from_fen(amount_fen if fresh else 0),
        }

    def _refuse_by_fault(self, *, known: bool) -> None:
        faults = self._world.faults()
        if known:
            return
        if faults.not_enough:
            raise _Refused("ACQ.SELLER_BALANCE_NOT_ENOUGH")
        if faults.refund_abnormal:
            raise _Refused("ACQ.BUYER_ENABLE_STATUS_FORBID")
        if faults.refund_closed:
            raise _Refused("ACQ.TRADE_HAS_FINISHED")

    def _query_refund(self, _: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
        """Tell a refund; of an unknown one Alipay says yes, and nothing."""
        order = self._find(content)
        refund = self._world.state.refund("alipay", str(content.get("out_request_no")))
        if refund is None or refund.out_trade_no != order.out_trade_no:
            return {}
        told = {
            "trade_no": order.trade_no,
            "out_trade_no": order.out_trade_no,
            "out_request_no": refund.out_refund_no,
            "refund_reason": refund.reason,
            "total_amount": yuan_from_fen(order.amount_fen),
            "refund_amount": yuan_from_fen(refund.amount_fen),
            "refund_status": "REFUND_SUCCESS",
        }
        if "gmt_refund_pay" in content.get("query_options", []):
            told["gmt_refund_pay"] = alipay_time(refund.due_at)
        return told

    def _bill_url(self, _: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
        """Say where a bill lies; of a day without a trade, and of one not written, say the same."""
        day = bills.finished_day(content.get("bill_date"))
        if day is None or content.get("bill_type") != "trade":
            raise _Refused("INVAILID_ARGUMENTS")  # so it is spelled
        if self._world.faults().bill_differences:
            bills.plant(self._world, "alipay", day)
        bill = bills.write(self._world, "alipay", day)
        if bill.content is None or DifferenceKind.NOT_READY in bill.differences:
            raise _Refused("isp.bill_not_exist")
        until = datetime.now(UTC) + bills.ALIPAY_URL_LIVES
        query = {
            "bizType": "trade",
            "userId": f"{self._keys.alipay_seller_id}0156",
            "fileType": "csv.zip",
            "bizDates": f"{day:%Y%m%d}",
            "token": bills.token(self._world, "alipay", day, until=until),
        }
        address = f"{request.url_root}downloadBillFile.resource?{urlencode(query)}"
        return {"bill_download_url": address}

    def _find(self, content: dict[str, Any]) -> Order:
        """Find a trade.  An unscanned QR code is none yet; an expired trade closes by itself."""
        state = self._world.state
        if "trade_no" in content:
            order = state.order_of_trade("alipay", str(content["trade_no"]))
        else:
            order = state.order("alipay", str(content.get("out_trade_no")))
        if order is None or (order.kind == "precreate" and order.state is OrderState.UNPAID):
            raise _Refused("ACQ.TRADE_NOT_EXIST")
        if order.state is OrderState.UNPAID and order.expired(datetime.now(UTC)):
            self._world.state.close_order(order)
            return self._world.state.order("alipay", order.out_trade_no) or order
        return order

    def _open_order(self, kind: str, parameters: dict[str, str], content: dict[str, Any]) -> Order:
        wanted = self._read_order(kind, parameters, content)
        stored = self._world.state.open_order(wanted)
        if stored.state is OrderState.PAID:
            raise _Refused("ACQ.TRADE_HAS_SUCCESS")
        if stored.state is OrderState.CLOSED or stored.expired(datetime.now(UTC)):
            raise _Refused("ACQ.TRADE_HAS_CLOSE")
        if stored.fingerprint != wanted.fingerprint:
            raise _Refused("ACQ.CONTEXT_INCONSISTENT")
        self._world.opened(stored)
        return stored

    def _read_order(self, kind: str, parameters: dict[str, str], content: dict[str, Any]) -> Order:
        out_trade_no, subject = content.get("out_trade_no"), content.get("subject")
        notify_url = parameters.get("notify_url", "")
        expires_at = _moment(content.get("time_expire"))
        try:
            amount_fen = fen_from_yuan(str(content.get("total_amount")))
        except ValueError:
            amount_fen = 0
        if (
            not isinstance(out_trade_no, str)
            or not _NUMBER.fullmatch(out_trade_no)
            or not isinstance(subject, str)
            or not re.fullmatch(r"[^/=&]{1,256}", subject)
            or amount_fen < 1
            or expires_at is None
            or expires_at <= datetime.now(UTC)
            or not host_of(notify_url)
        ):
            raise _Refused("ACQ.INVALID_PARAMETER")
        derive = self._world.state.derive
        code = derive("alipay", kind, out_trade_no)
        trade_no = f"2026{int(derive('alipay', out_trade_no), 16) % 10**24:024d}"
        return Order(
            channel="alipay",
            out_trade_no=out_trade_no,
            kind=kind,
            fingerprint=fingerprint(content),
            amount_fen=amount_fen,
            description=subject,
            notify_url=notify_url,
            reference=trade_no if kind == "create" else f"https://qr.alipay.com/bax{code[:21]}",
            trade_no=trade_no,
            payer=self._payer(kind, content, scanner=f"0{derive('scanner', out_trade_no)[:31]}"),
            created_at=utc_text(datetime.now(UTC)),
            expires_at=utc_text(expires_at),
            signed_with=self._cert_sn(parameters),
        )

    def _payer(self, kind: str, content: dict[str, Any], *, scanner: str) -> str:
        """Read who pays; for a QR code, name the stranger who will scan it."""
        if kind == "precreate":
            return scanner
        buyer = content.get("buyer_open_id") or content.get("buyer_id")
        if not isinstance(buyer, str) or not re.fullmatch(r"[0-9A-Za-z_-]{16,64}", buyer):
            raise _Refused("ACQ.INVALID_PARAMETER")
        if content.get("product_code") != "JSAPI_PAY":
            raise _Refused("ACQ.ACCESS_FORBIDDEN")
        if content.get("op_app_id") != self._keys.alipay_app_id:
            raise _Refused("ACQ.INVALID_PARAMETER")
        return buyer

    def _redeem(self, parameters: dict[str, str], _: dict[str, Any]) -> dict[str, Any]:
        """Give an access token for a login code, or for a consent told whose it is."""
        state, code = self._world.state, parameters.get("code", "")
        if parameters.get("grant_type") != "authorization_code":
            raise _Refused("isv.grant-type-invalid", code="40002")
        if not code or len(code) > _MAX_CODE or self._world.faults().refuse_login:
            raise _Refused("isv.code-invalid", code="40002")
        logged_in = parameters.get("sandbox_open_id")
        if logged_in is None:
            account_id = state.log_in("alipay", code)
        else:
            account_id = state.consenting("alipay", code, logged_in)
        return {
            "open_id": account_id,
            "access_token": f"{account_id}.{state.derive('alipay token', account_id)}",
            "expires_in": 1_296_000,
            "refresh_token": state.derive("alipay refresh token", account_id),
            "re_expires_in": 2_592_000,
        }

    def _preconsult(self, _: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
        name, document_number = content.get("user_name"), content.get("cert_no")
        if content.get("cert_type") != "IDENTITY_CARD" or not name or not document_number:
            raise _Refused("isv.missing-parameter", code="40001")
        return {"verify_id": self._world.state.person(str(name), str(document_number))}

    def _consult(self, parameters: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
        state = self._world.state
        account_id, _, proof = parameters.get("auth_token", "").partition(".")
        if proof != state.derive("alipay token", account_id):
            raise _Refused("aop.invalid-auth-token", code="20001")
        account = state.account("alipay", account_id)
        if account.person is not None:
            return {"passed": "T" if account.person == content.get("verify_id") else "F"}
        if account.temper is Temper.UNAVAILABLE:
            raise _Refused("isv.insufficient-user-permissions", code="40006")
        return {"passed": "T" if account.temper is Temper.MATCH else "F"}


def _biz_content(parameters: dict[str, str]) -> dict[str, Any]:
    try:
        content = json.loads(parameters.get("biz_content") or "{}")
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise _Refused("isv.invalid-parameter", code="40002", signed=False)
    return content


def _moment(text: object) -> datetime | None:
    try:
        naive = datetime.strptime(str(text), _TIME)  # noqa: DTZ007 - the next line gives the zone
        return naive.replace(tzinfo=SHANGHAI).astimezone(UTC)
    except (OverflowError, ValueError):
        return None
