"""Channels that bring money in, and the platforms that say who is there.

Money enters here; it leaves a purse in `backend/charges`.
"""

from payments.alipay import AlipayChannel
from payments.alipay_mini_program import AlipayMiniProgram
from payments.bill import (
    MAX_BILL_BYTES,
    Bill,
    BillMalformed,
    BillRow,
    BillRowKind,
    BillTotals,
)
from payments.channel import (
    MAX_NOTICE_BYTES,
    Acknowledgement,
    BillNotReady,
    Channel,
    ChannelBusy,
    ChannelError,
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
from payments.config import (
    AlipayConfig,
    AlipayMiniProgramConfig,
    MessageTemplate,
    WeChatMiniProgramConfig,
    WeChatPayConfig,
)
from payments.environment import Configs, read_configs
from payments.platform import (
    LoginRefused,
    MessageRefused,
    MessageUnknown,
    Messenger,
    Platform,
    PlatformAccount,
    PlatformError,
    PlatformUnavailable,
    RealNameResult,
    TokenCache,
)
from payments.wechat import WeChatPayChannel
from payments.wechat_mini_program import WeChatMiniProgram

__all__ = [
    "MAX_BILL_BYTES",
    "MAX_NOTICE_BYTES",
    "Acknowledgement",
    "AlipayChannel",
    "AlipayConfig",
    "AlipayMiniProgram",
    "AlipayMiniProgramConfig",
    "Bill",
    "BillMalformed",
    "BillNotReady",
    "BillRow",
    "BillRowKind",
    "BillTotals",
    "Channel",
    "ChannelBusy",
    "ChannelError",
    "ChannelMisconfigured",
    "ChannelRejected",
    "ChannelUnknown",
    "CloseOutcome",
    "Configs",
    "LoginRefused",
    "MessageRefused",
    "MessageTemplate",
    "MessageUnknown",
    "Messenger",
    "Notice",
    "NoticeEvent",
    "NoticeForged",
    "Platform",
    "PlatformAccount",
    "PlatformError",
    "PlatformUnavailable",
    "Prepayment",
    "RealNameResult",
    "Refund",
    "RefundOrder",
    "RefundState",
    "TokenCache",
    "TopUpOrder",
    "Trade",
    "TradeState",
    "WeChatMiniProgram",
    "WeChatMiniProgramConfig",
    "WeChatPayChannel",
    "WeChatPayConfig",
    "read_configs",
]
