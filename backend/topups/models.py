"""Top-ups (充值) through a channel, and the notices (回调) that the channels send."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.money import Fen
from payments import TradeState


class TopUpState(StrEnum):
    """How far a top-up has come."""

    CREATED = "created"
    """已建单: ours alone so far, or the channel's answer was lost"""
    PENDING = "pending"
    """待支付"""
    PAID = "paid"
    """已到账"""
    CLOSING = "closing"
    """关闭中: the channel was asked to close it and has not said yes"""
    CLOSED = "closed"
    """已关闭"""
    FAILED = "failed"
    """下单失败"""
    EXCEPTION = "exception"
    """异常: paid, but not as ordered; frozen for a person to settle"""
    RETURNED = "returned"
    """已原路退回: paid, but no purse takes it: it goes back where it came from"""


class TopUp(Base):
    """One order, under the id that the phone made.  `out_trade_no` is `id.hex`."""

    __tablename__ = "top_ups"
    __table_args__ = (
        UniqueConstraint("channel", "trade_no"),
        Index(None, "holder_id", "created_at"),
        # Whatever of one wish is paid, and however often: one is credited.
        Index(
            "uq_top_ups_credited", "wish_id", unique=True, postgresql_where=text("state = 'paid'")
        ),
        Index(
            "ix_top_ups_due",
            "next_query_at",
            postgresql_where=text("next_query_at IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    channel: Mapped[str]
    amount_fen: Mapped[Fen]
    replaces_id: Mapped[UUID | None] = mapped_column(ForeignKey("top_ups.id"))
    """The unpaid order that this one stands for: its holder chose another channel or amount."""
    wish_id: Mapped[UUID]
    """The first order of the holder's wish to top up: its own id, unless it replaces another."""
    state: Mapped[TopUpState]
    payer_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The platform account that pays; None when another platform is to show a code."""
    prepayment: Mapped[str | None]
    """The channel's name for the order."""
    client_params: Mapped[dict[str, Any] | None]
    trade_no: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    paid_at: Mapped[datetime | None]
    next_query_at: Mapped[datetime | None]
    """When to ask the channel next; None when there is nothing left to ask."""
    queries: Mapped[int]
    policy_ids: Mapped[list[Any]]

    @property
    def out_trade_no(self) -> str:
        """The order number at the channel: exactly WeChat's 32 characters."""
        return self.id.hex


class HolderRefund(Base):
    """What a holder asked to have back (退款), under the id that the phone made.

    It is split over top-ups: each part is a refund at a channel whose subject this is.
    """

    __tablename__ = "holder_refunds"
    __table_args__ = (Index(None, "holder_id", "requested_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    amount_fen: Mapped[Fen]
    requested_at: Mapped[datetime]
    policy_ids: Mapped[list[Any]]


class StrayReason(StrEnum):
    """Why no purse takes a payment."""

    SECOND_PAYMENT = "second_payment"
    """重复支付: the order had been paid already"""
    OTHER_CHANNEL = "other_channel"
    """The order was to be paid through another channel."""
    REPLACED = "replaced"
    """Another order of the same wish was credited."""
    ACCOUNT_CLOSED = "account_closed"
    """The account is closing or closed (销户)."""
    NOT_AS_ORDERED = "not_as_ordered"
    """金额或币种不符: two people had it sent back"""


class StrayPayment(Base):
    """A payment that came in and is never credited (多付款): it goes back where it came from.

    The key of channel and number makes it go back once, whoever brings the news, and how often.
    """

    __tablename__ = "stray_payments"
    __table_args__ = (UniqueConstraint("channel", "trade_no"), Index(None, "top_up_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    channel: Mapped[str]
    """The one that it came through."""
    trade_no: Mapped[str]
    """The platform's number of this payment."""
    top_up_id: Mapped[UUID] = mapped_column(ForeignKey("top_ups.id"))
    """The order whose number it carries."""
    amount_fen: Mapped[Fen]
    reason: Mapped[StrayReason]
    paid_at: Mapped[datetime]
    received_at: Mapped[datetime]


class ResolutionWay(StrEnum):
    """What becomes of a frozen order, by the present word of its channel."""

    CREDIT = "credit"
    """入账: it is paid as ordered after all"""
    SEND_BACK = "send_back"
    """退回付款人: it is paid, and not as ordered"""
    GONE_BACK = "gone_back"
    """平台已退款: it was paid, and the channel has sent it back already"""
    OF_ANOTHER = "of_another"
    """另一订单已入账: the payment it tells of was credited for another order"""
    NOTHING_CAME = "nothing_came"
    """未收到款: nobody has paid it"""


class TopUpResolution(Base):
    """How a frozen top-up (异常充值) is settled (处理): one of finance proposes, another decides.

    What the channel said when it was proposed stands beside it: only that is what is approved.
    """

    __tablename__ = "top_up_resolutions"
    __table_args__ = (
        CheckConstraint("approved_by <> made_by", name="two_people"),
        CheckConstraint(
            "(approved IS NULL) = (approved_by IS NULL)"
            " AND (approved IS NULL) = (decided_at IS NULL)",
            name="decided_whole",
        ),
        Index(None, "top_up_id"),
        Index(
            "uq_top_up_resolutions_waits",
            "top_up_id",
            unique=True,
            postgresql_where=text("approved IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    top_up_id: Mapped[UUID] = mapped_column(ForeignKey("top_ups.id"))
    way: Mapped[ResolutionWay]
    told_state: Mapped[TradeState]
    told_fen: Mapped[Fen | None]
    told_currency: Mapped[str]
    trade_no: Mapped[str | None]
    reason: Mapped[str]
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]
    approved: Mapped[bool | None]
    """None while it waits for the second person; a refused one makes room for the next."""
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    decided_at: Mapped[datetime | None]


class NoticeOutcome(StrEnum):
    """What became of a channel's notice."""

    CREDITED = "credited"
    ALREADY_SETTLED = "already_settled"
    IGNORED = "ignored"
    RETURNED = "returned"
    """Paid, but no purse takes it: kept as a stray payment, and sent back."""
    MISMATCH = "mismatch"
    """Well signed, but not what was ordered: recorded, not credited."""
    UNKNOWN_ORDER = "unknown_order"
    REFUND_NOTED = "refund_noted"
    """What it tells of a refund is noted."""
    UNKNOWN_REFUND = "unknown_refund"
    """Of a refund that nobody here asked for: kept for staff."""
    FORGED = "forged"


class ChannelNotice(Base):
    """One notice that came in.  Kept as evidence; the order's state is what makes credit once."""

    __tablename__ = "channel_notices"
    __table_args__ = (Index(None, "top_up_id"), Index(None, "channel", "notice_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    channel: Mapped[str]
    notice_id: Mapped[str | None]
    top_up_id: Mapped[UUID | None]
    outcome: Mapped[NoticeOutcome]
    reason: Mapped[str | None]
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 of the raw body."""
    received_at: Mapped[datetime]
