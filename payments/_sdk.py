"""The platforms' SDKs, made quiet.  Nothing outside `payments/` imports them.

python-alipay-sdk configures the whole process's logging on import, which closes every handler that
exists by then; here it is imported with that call switched off.  At DEBUG the libraries below
write addresses with the AppSecret, access tokens and form bodies: they are pinned to WARNING.
"""

import logging
import logging.config

from wechatpayv3 import WeChatPay
from wechatpayv3.type import WeChatPayType
from wechatpayv3.utils import aes_decrypt, build_authorization
from wechatpy.client import WeChatClient
from wechatpy.exceptions import WeChatClientException

_configure_logging = logging.config.dictConfig
try:
    logging.config.dictConfig = lambda config: None  # noqa: ARG005 - the name is the API
    from alipay import AliPay
    from alipay.utils import AliPayConfig
finally:
    logging.config.dictConfig = _configure_logging

QUIET_LOGGERS = ("python-alipay-sdk", "urllib3", "wechatpy")

for _name in QUIET_LOGGERS:
    logging.getLogger(_name).setLevel(logging.WARNING)

__all__ = [
    "QUIET_LOGGERS",
    "AliPay",
    "AliPayConfig",
    "WeChatClient",
    "WeChatClientException",
    "WeChatPay",
    "WeChatPayType",
    "aes_decrypt",
    "build_authorization",
]
