"""WeChat Pay API v3, the platform's side."""

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, request

from payments.sandbox import bills
from payments.sandbox.bills import DifferenceKind
from payments.sandbox.notices import host_of, wechat_refund, wechat_transaction
from payments.sandbox.state import (
    Order,
    OrderState,
    Refund,
    RefundImpossible,
    utc_text,
)
from payments.sandbox.world import World, fingerprint

_AUTHORIZATION = re.compile(r"WECHATPAY2-SHA256-RSA2048 (.+)")
_FIELD = re.compile(r'(\w+)="([^"]*)"')
_NUMBER = re.compile(r"[0-9A-Za-z_\-|*]{6,32}")
_SKEW_SECONDS = 300
_PREPAY_LIVES = timedelta(hours=2)
_REFUND_NUMBER = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}")
_MAX_DESCRIPTION = 127
_MAX_REASON = 80
_MAX_AMOUNT_FEN = 1_000_000_000


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message


def blueprint(world: World) -> Blueprint:
    """Serve WeChat Pay's interfaces for payments, refunds and bills."""
    routes = Blueprint("wechat_pay", __name__, url_prefix="/v3")
    desk = _Desk(world)

    @routes.before_request
    def authenticate() -> None:
        desk.authenticate()

    @routes.errorhandler(_Refused)
    def refuse(refused: _Refused) -> Response:
        # As on WeChat's side, a refusal carries no signature.
        body = json.dumps({"code": refused.code, "message": refused.message}, ensure_ascii=False)
        return Response(body, refused.status, content_type="application/json; charset=utf-8")

    _serve_payments(routes, world, desk)
    _serve_refunds(routes, world, desk)
    _serve_bills(routes, world, desk)
    return routes


def _serve_payments(routes: Blueprint, world: World, desk: "_Desk") -> None:

    @routes.post("/pay/transactions/jsapi")
    def jsapi() -> Response:
        order = desk.open_order("jsapi")
        return desk.answer({"prepay_id": order.reference})

    @routes.post("/pay/transactions/native")
    def native() -> Response:
        order = desk.open_order("native")
        return desk.answer({"code_url": order.reference})

    @routes.get("/pay/transactions/out-trade-no/<out_trade_no>")
    def query(out_trade_no: str) -> Response:
        desk.require_merchant(request.args.get("mchid"))
        order = desk.find(out_trade_no)
        refunded_fen = world.state.refunded_fen(order, now=datetime.now(UTC))
        faults = world.faults()
        return desk.answer(
            wechat_transaction(order, world.signer, faults, refunded_fen=refunded_fen)
        )

    @routes.post("/pay/transactions/out-trade-no/<out_trade_no>/close")
    def close(out_trade_no: str) -> Response:
        desk.require_merchant(desk.content().get("mchid"))
        order = desk.find(out_trade_no)
        world.closing(order)
        if not world.state.close_order(order):
            raise _order_refusal(desk.find(out_trade_no).state)
        return desk.answer(None)


def _serve_refunds(routes: Blueprint, world: World, desk: "_Desk") -> None:
    @routes.post("/refund/domestic/refunds")
    def refund() -> Response:
        stored, fresh = desk.refund()
        # However soon it ends: WeChat accepts a refund first, and carries it out later.
        now = datetime.fromisoformat(stored.created_at) if fresh else datetime.now(UTC)
        return desk.answer_refund(stored, now)

    @routes.get("/refund/domestic/refunds/<out_refund_no>")
    def query_refund(out_refund_no: str) -> Response:
        stored = world.state.refund("wechat", out_refund_no)
        if stored is None:
            raise _Refused(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
        return desk.answer_refund(stored, datetime.now(UTC))


def _serve_bills(routes: Blueprint, world: World, desk: "_Desk") -> None:
    @routes.get("/bill/tradebill")
    def trade_bill() -> Response:
        day = _bill_day()
        if world.faults().bill_differences:
            bills.plant(world, "wechat", day)
        bill = bills.write(world, "wechat", day)
        if DifferenceKind.NOT_READY in bill.differences:
            raise _Refused(400, "STATEMENT_CREATING", "账单生成中")
        if bill.content is None:
            raise _Refused(400, "NO_STATEMENT_EXIST", "请求的账单文件不存在")
        token = bills.token(world, "wechat", day, until=datetime.now(UTC) + bills.WECHAT_URL_LIVES)
        packed = "&tartype=gzip" if request.args.get("tar_type") == "GZIP" else ""
        return desk.answer(
            {
                "hash_type": "SHA1",
                "hash_value": bills.wechat_hash(bill),
                "download_url": f"{request.url_root}v3/billdownload/file?token={token}{packed}",
            }
        )

    @routes.get("/billdownload/file")
    def download() -> Response:
        given, now = request.args.get("token", ""), datetime.now(UTC)
        day = bills.day_of_token(world, "wechat", given, now=now)
        content = bills.write(world, "wechat", day).content if day else None
        if content is None:
            raise _Refused(403, "NO_AUTH", "下载地址已失效")
        if request.args.get("tartype") == "gzip":
            return Response(bills.pack(content), content_type="application/x-gzip")
        return Response(content, content_type="text/plain")


def _bill_day() -> date:
    day = bills.finished_day(request.args.get("bill_date"))
    known = request.args.get("tar_type", "GZIP") == "GZIP"
    if day is None or request.args.get("bill_type", "ALL") != "ALL" or not known:
        raise _Refused(400, "PARAM_ERROR", "账单日期或类型错误")
    return day


class _Desk:
    def __init__(self, world: World) -> None:
        self._world = world
        self._keys = world.signer.keys

    def authenticate(self) -> None:
        """Check the merchant's signature over the request as it came."""
        match = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
        given = dict(_FIELD.findall(match[1])) if match else {}
        timestamp, nonce = given.get("timestamp", ""), given.get("nonce_str", "")
        target = request.environ.get("REQUEST_URI", request.path)
        message = f"{request.method}\n{target}\n{timestamp}\n{nonce}\n".encode()
        message += request.get_data() + b"\n"
        ours = (
            given.get("mchid") == self._keys.wechat_merchant_id
            and given.get("serial_no") == self._keys.wechat_merchant_serial
            and nonce != ""
            and re.fullmatch(r"[0-9]{1,12}", timestamp) is not None
            and abs(datetime.now(UTC).timestamp() - int(timestamp)) <= _SKEW_SECONDS
        )
        if not ours or not self._world.signer.merchant_signed(message, given.get("signature", "")):
            raise _Refused(401, "SIGN_ERROR", "签名错误")

    def content(self) -> dict[str, Any]:
        content = request.get_json(force=True, silent=True)
        if not isinstance(content, dict):
            raise _Refused(400, "PARAM_ERROR", "参数错误")
        return content

    def require_merchant(self, merchant_id: object) -> None:
        if merchant_id != self._keys.wechat_merchant_id:
            raise _Refused(400, "PARAM_ERROR", "商户号错误")

    def find(self, out_trade_no: str) -> Order:
        order = self._world.state.order("wechat", out_trade_no)
        if order is None:
            raise _Refused(404, "ORDER_NOT_EXIST", "订单不存在")
        return order

    def open_order(self, kind: str) -> Order:
        """Open the order, or find it again if everything in the request is the same."""
        content = self.content()
        wanted = self._read_order(kind, content)
        stored = self._world.state.open_order(wanted)
        if stored.state is not OrderState.UNPAID:
            raise _order_refusal(stored.state)
        if stored.fingerprint != wanted.fingerprint:
            raise _Refused(400, "INVALID_REQUEST", "201 商户订单号重复")
        self._world.opened(stored)
        return stored

    def refund(self) -> tuple[Refund, bool]:
        """Refund, or find the refund again if everything in the request is the same.

        Returns the refund, and whether this request made it.
        """
        content = self.content()
        out_refund_no, reason = content.get("out_refund_no"), content.get("reason", "")
        if not isinstance(out_refund_no, str) or not _REFUND_NUMBER.fullmatch(out_refund_no):
            raise _Refused(400, "PARAM_ERROR", "商户退款单号错误")
        if not isinstance(reason, str) or len(reason) > _MAX_REASON:
            raise _Refused(400, "PARAM_ERROR", "退款原因错误")
        order = self._paid_order(content)
        notify_url = content.get("notify_url", order.notify_url)
        if not isinstance(notify_url, str) or not host_of(notify_url):
            raise _Refused(400, "PARAM_ERROR", "通知地址错误")
        amount_fen = _refund_fen(content.get("amount"), order)
        known = self._world.state.refund("wechat", out_refund_no) is not None
        if self._world.faults().not_enough and not known:
            raise _Refused(403, "NOT_ENOUGH", "基本账户余额不足，请充值后重新发起")
        try:
            stored, fresh = self._world.refund(
                order,
                out_refund_no=out_refund_no,
                amount_fen=amount_fen,
                reason=reason,
                notify_url=notify_url,
                content=content,
            )
        except RefundImpossible:
            raise _Refused(400, "INVALID_REQUEST", "退款金额大于可退金额，或退款次数过多") from None
        if stored.fingerprint != fingerprint(content):
            raise _Refused(400, "INVALID_REQUEST", "退款单号已存在，且参数不一致")
        return stored, fresh

    def _paid_order(self, content: dict[str, Any]) -> Order:
        state = self._world.state
        if "transaction_id" in content:
            order = state.order_of_trade("wechat", str(content["transaction_id"]))
        else:
            order = state.order("wechat", str(content.get("out_trade_no")))
        if order is None or order.state is not OrderState.PAID:
            raise _Refused(404, "RESOURCE_NOT_EXISTS", "订单不存在")
        return order

    def answer_refund(self, refund: Refund, now: datetime) -> Response:
        """Tell how the refund stands at this time."""
        order = self.find(refund.out_trade_no)
        return self.answer(wechat_refund(order, refund, refund.standing(now)))

    def answer(self, content: dict[str, Any] | None) -> Response:
        """Sign and send a 200, or a 204 if there is nothing to say."""
        faults = replace(self._world.faults(), stale=False)  # only notices are
        body = b"" if content is None else json.dumps(content, ensure_ascii=False).encode()
        response = Response(body, 204 if content is None else 200)
        response.headers.extend(self._world.signer.wechat_headers(body, faults, self._serial()))
        response.content_type = "application/json; charset=utf-8"
        return response

    def _serial(self) -> str:
        return self._world.signer.wechat_serial(request.headers.get("Wechatpay-Serial"))

    def _read_order(self, kind: str, content: dict[str, Any]) -> Order:
        self.require_merchant(content.get("mchid"))
        out_trade_no, description = content.get("out_trade_no"), content.get("description")
        amount, notify_url = content.get("amount"), content.get("notify_url")
        if content.get("appid") != self._keys.wechat_app_id:
            raise _Refused(400, "APPID_MCHID_NOT_MATCH", "AppID和mch_id不匹配")
        if not isinstance(out_trade_no, str) or not _NUMBER.fullmatch(out_trade_no):
            raise _Refused(400, "PARAM_ERROR", "商户订单号错误")
        if not isinstance(description, str) or not 0 < len(description) <= _MAX_DESCRIPTION:
            raise _Refused(400, "PARAM_ERROR", "商品描述错误")
        if not isinstance(notify_url, str) or not host_of(notify_url):
            raise _Refused(400, "PARAM_ERROR", "通知地址错误")
        amount_fen = _amount_fen(amount)
        derive = self._world.state.derive
        code = derive("wechat", kind, out_trade_no)
        return Order(
            channel="wechat",
            out_trade_no=out_trade_no,
            kind=kind,
            fingerprint=fingerprint(content),
            amount_fen=amount_fen,
            description=description,
            notify_url=notify_url,
            reference=(
                f"wx{code[:34]}" if kind == "jsapi" else f"weixin://wxpay/bizpayurl?pr={code[:10]}"
            ),
            trade_no=f"42{int(derive('wechat', out_trade_no), 16) % 10**26:026d}",
            payer=_payer(kind, content, scanner=f"o{derive('scanner', out_trade_no)[:27]}"),
            created_at=utc_text(datetime.now(UTC)),
            expires_at=utc_text(_expiry(content.get("time_expire"))),
            signed_with=self._serial(),
        )


def _amount_fen(amount: object) -> int:
    if isinstance(amount, dict) and amount.get("currency", "CNY") == "CNY":
        total = amount.get("total")
        if isinstance(total, int) and total is not True and 0 < total <= _MAX_AMOUNT_FEN:
            return total
    raise _Refused(400, "PARAM_ERROR", "订单金额错误")


def _refund_fen(amount: object, order: Order) -> int:
    if isinstance(amount, dict) and amount.get("currency") == "CNY":
        refund, total = amount.get("refund"), amount.get("total")
        if isinstance(refund, int) and refund is not True and refund > 0:
            if total == order.amount_fen and total is not True:
                return refund
            raise _Refused(400, "INVALID_REQUEST", "订单金额与原订单不一致")
    raise _Refused(400, "PARAM_ERROR", "退款金额错误")


def _payer(kind: str, content: dict[str, Any], *, scanner: str) -> str:
    """Read who pays; for a QR code, name the stranger who will scan it."""
    if kind == "native":
        return scanner
    payer = content.get("payer")
    openid = payer.get("openid") if isinstance(payer, dict) else None
    if not isinstance(openid, str) or not re.fullmatch(r"o[0-9A-Za-z_-]{27}", openid):
        raise _Refused(400, "PARAM_ERROR", "无效的openid")
    return openid


def _expiry(text: object) -> datetime:
    """Read until when an order can be paid; of one that does not say, for two hours.

    `time_expire` may be left out.  WeChat's prepay_id and code_url are good for two hours, and
    here one order has one of them.
    """
    if text is None:
        return datetime.now(UTC) + _PREPAY_LIVES
    try:
        moment = datetime.fromisoformat(str(text))
        utc = moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise _Refused(400, "PARAM_ERROR", "交易结束时间错误") from None
    if moment.tzinfo is None or utc <= datetime.now(UTC):
        raise _Refused(400, "PARAM_ERROR", "交易结束时间错误")
    return utc


def _order_refusal(state: OrderState) -> _Refused:
    if state is OrderState.PAID:
        return _Refused(400, "ORDERPAID", "该订单已支付")
    return _Refused(400, "ORDER_CLOSED", "订单已关闭")
