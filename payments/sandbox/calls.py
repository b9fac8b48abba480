"""Which call of which platform a request is, in the words of `payments.Channel`."""

import re
from collections.abc import Mapping
from typing import Final

_WECHAT = (
    ("POST", r"/v3/pay/transactions/(jsapi|native)", "create"),
    ("GET", r"/v3/pay/transactions/[^/]+/[^/]+", "query"),
    ("POST", r"/v3/pay/transactions/out-trade-no/[^/]+/close", "close"),
    ("POST", r"/v3/refund/domestic/refunds", "refund"),
    ("GET", r"/v3/refund/domestic/refunds/[^/]+", "query_refund"),
    ("GET", r"/v3/bill.*", "bill"),
    ("GET", r"/sns/jscode2session", "login"),
    ("POST", r"/cgi-bin/(stable_)?token", "token"),
    ("POST", r"/cgi-bin/message/.*", "message"),
    ("POST", r"/intp/realname/checkrealnameinfo", "check_real_name"),
)
_ALIPAY: Final[Mapping[str, str]] = {
    "alipay.trade.create": "create",
    "alipay.trade.precreate": "create",
    "alipay.trade.query": "query",
    "alipay.trade.close": "close",
    "alipay.trade.refund": "refund",
    "alipay.trade.fastpay.refund.query": "query_refund",
    "alipay.data.dataservice.bill.downloadurl.query": "bill",
    "alipay.system.oauth.token": "login",
    "alipay.user.certdoc.certverify.preconsult": "check_real_name",
    "alipay.user.certdoc.certverify.consult": "check_real_name",
}
_OWN = re.compile(r"/(control|merchant|pay|static)(/.*)?|/(healthz|language|favicon\.ico)?")


def call_of(method: str, path: str, alipay_method: str) -> tuple[str, str] | None:
    """Name the channel and the call of a request; None for the sandbox's own pages and controls.

    >>> call_of("POST", "/v3/pay/transactions/jsapi", "")
    ('wechat', 'create')
    >>> call_of("POST", "/gateway.do", "alipay.trade.refund")
    ('alipay', 'refund')
    >>> call_of("GET", "/pay/wechat/1", "")
    """
    if _OWN.fullmatch(path):
        return None
    if path == "/gateway.do":
        return "alipay", _ALIPAY.get(alipay_method, "other")
    if path == "/downloadBillFile.resource":
        return "alipay", "bill"
    for verb, shape, call in _WECHAT:
        if verb == method and re.fullmatch(shape, path):
            return "wechat", call
    return "wechat", "other"
