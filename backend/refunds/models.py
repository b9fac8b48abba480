"""Refunds (退款) at a channel: what goes back, of which payment, and how far it has come."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.money import Fen


class RefundState(StrEnum):
    """How far a refund has come.  Until it ends, its money lies in the account `refunds_due`."""

    DUE = "due"
    """待退: the channel has never been asked"""
    SENDING = "sending"
    """发送中: the channel was asked, or was about to be, and has said neither yes nor no"""
    PROCESSING = "processing"
    """处理中: the channel has taken it"""
    SUCCEEDED = "succeeded"
    """已退回: the payer has it"""
    RETURNED = "returned"
    """退款退回: the channel surely does not send it; the money is back in the purse"""
    ABNORMAL = "abnormal"
    """异常: it cannot be sent and belongs into no purse; a person has to find another way"""
    PAID_OUT = "paid_out"
    """线下退款: paid by hand"""


class RefundedPayment(Base):
    """A payment of which something went back, or is on its way.

    One row of each payment counts its refunds, kept by the trigger `count_refund`: whatever any
    code does, at most what was paid goes back (P5).
    """

    __tablename__ = "refunded_payments"
    __table_args__ = (
        CheckConstraint("refunded_fen BETWEEN 0 AND paid_fen", name="never_more_than_paid"),
        UniqueConstraint("channel", "trade_no", "paid_fen"),
    )

    channel: Mapped[str] = mapped_column(primary_key=True)
    trade_no: Mapped[str] = mapped_column(primary_key=True)
    """The platform's number of the payment."""
    paid_fen: Mapped[Fen]
    refunded_fen: Mapped[Fen]
    """The sum of its refunds but those that were returned."""
    refunds: Mapped[int]
    """How many were ever asked for, returned ones too: the platforms limit them."""
    sent_at: Mapped[datetime | None]
    """When one of them was last sent: the platforms want a pause between two."""


class ChannelRefund(Base):
    """One refund of one payment.  Its number at the channel, `out_refund_no`, is `id.hex`."""

    __tablename__ = "channel_refunds"
    __table_args__ = (
        CheckConstraint("amount_fen > 0", name="amount"),
        CheckConstraint(
            "(state IN ('succeeded', 'returned', 'paid_out')) = (settled_at IS NOT NULL)",
            name="settled_when",
        ),
        # The very same sum in all refunds of a payment.
        ForeignKeyConstraint(
            ["channel", "trade_no", "paid_fen"],
            [
                "refunded_payments.channel",
                "refunded_payments.trade_no",
                "refunded_payments.paid_fen",
            ],
            name="fk_channel_refunds_payment",
        ),
        UniqueConstraint("subject_id", "channel", "trade_no"),
        Index(None, "holder_id", "created_at"),
        Index(None, "channel", "trade_no"),
        Index(None, "state", "created_at"),
        Index(
            "ix_channel_refunds_due",
            "next_try_at",
            postgresql_where=text("next_try_at IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    subject_id: Mapped[UUID]
    """What it is for: the holder's refund, or the stray payment."""
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    to_purse: Mapped[bool]
    """Whether the holder's purse takes the money back if the channel surely does not send it."""
    channel: Mapped[str]
    out_trade_no: Mapped[str]
    """Our number of the order that was paid."""
    trade_no: Mapped[str]
    paid_fen: Mapped[Fen]
    """What the payment was."""
    amount_fen: Mapped[Fen]
    """What goes back of it."""
    reason: Mapped[str]
    """What the payer reads."""
    state: Mapped[RefundState]
    refund_no: Mapped[str | None]
    """The platform's number of the refund."""
    answer: Mapped[str | None]
    """The last answer that was no yes: the platform's code, or why it was not to be trusted."""
    tries: Mapped[int]
    """How often the channel was asked or sent it without an end."""
    next_try_at: Mapped[datetime | None]
    """When to ask the channel next; None when there is nothing left to ask."""
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    """When it was last sent, or about to be."""
    settled_at: Mapped[datetime | None]

    @property
    def out_refund_no(self) -> str:
        """The refund's number at the channel: 32 hexadecimal digits."""
        return self.id.hex


class StrangeRefund(Base):
    """A refund that a channel tells of and nobody here asked for: made in the merchant console.

    Kept as evidence, and listed for staff; it moves no money here.
    """

    __tablename__ = "strange_refunds"

    channel: Mapped[str] = mapped_column(primary_key=True)
    out_refund_no: Mapped[str] = mapped_column(primary_key=True)
    out_trade_no: Mapped[str]
    state: Mapped[str]
    """As the channel told it last."""
    amount_fen: Mapped[Fen | None]
    refund_no: Mapped[str | None]
    told_at: Mapped[datetime]
    """When it was first told."""


class Payout(Base):
    """A payment by hand (线下退款) in place of a refund that its channel cannot make.

    One of finance makes it, another decides on it.  A refused one makes room for the next.
    """

    __tablename__ = "refund_payouts"
    __table_args__ = (
        CheckConstraint("checker_id <> maker_id", name="two_people"),
        CheckConstraint(
            "(approved IS NULL) = (checker_id IS NULL)"
            " AND (approved IS NULL) = (decided_at IS NULL)",
            name="decided_whole",
        ),
        Index(
            "uq_refund_payouts_refund_id",
            "refund_id",
            unique=True,
            postgresql_where=text("approved IS NOT FALSE"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    refund_id: Mapped[UUID] = mapped_column(ForeignKey("channel_refunds.id"))
    bank_reference: Mapped[str]
    """The bank's number of the transfer, or the number of the paper (凭证号)."""
    maker_id: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]
    approved: Mapped[bool | None]
    """None while it waits for the second person."""
    checker_id: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    decided_at: Mapped[datetime | None]


class PayoutLineState(StrEnum):
    """How far a line of the payout list has come."""

    LISTED = "listed"
    """待打款: in no batch yet"""
    BATCHED = "batched"
    """已入批: in a batch that was not refused"""
    PAID = "paid"
    """已打款: the bank has sent it"""
    BOUNCED = "bounced"
    """已退票: the bank could not, or sent it and got it back; the next line takes its place"""
    WITHDRAWN = "withdrawn"
    """已撤出: the channel sent it after all, or it was paid by hand"""


class ClaimWay(StrEnum):
    """How a holder wants to get what came back from the bank (认领方式)."""

    NEW_ACCOUNT = "new_account"
    """新账户: they have told finance of another bank account"""
    IN_PERSON = "in_person"
    """到财务领取"""


class PayoutBatch(Base):
    """Lines that finance pays together (打款批次).  Who makes a batch does not approve it."""

    __tablename__ = "payout_batches"
    __table_args__ = (
        CheckConstraint("approved_by <> made_by", name="two_people"),
        CheckConstraint(
            "(approved IS NULL) = (approved_by IS NULL)"
            " AND (approved IS NULL) = (decided_at IS NULL)",
            name="decided_whole",
        ),
        Index(None, "made_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    lines: Mapped[int]
    total_fen: Mapped[Fen]
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]
    approved: Mapped[bool | None]
    """None while it waits for the second person; the lines of a refused one are listed again."""
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    decided_at: Mapped[datetime | None]


class PayoutLine(Base):
    """One item of the payout list (打款清单): money in `refunds_due` that a bank has to send.

    A try at the bank is a line: what bounces stays as it is, and another line comes after it.
    """

    __tablename__ = "payout_lines"
    __table_args__ = (
        CheckConstraint("amount_fen > 0", name="amount"),
        CheckConstraint(
            "(claim_id IS NULL) = (claim_way IS NULL)"
            " AND (claim_id IS NULL) = (claimed_at IS NULL)",
            name="claimed_whole",
        ),
        CheckConstraint(
            "(claim_accepted IS NULL) = (answered_by IS NULL)"
            " AND (claim_accepted IS NULL) = (answered_at IS NULL)"
            " AND (claim_accepted IS NULL OR claim_id IS NOT NULL)",
            name="answered_whole",
        ),
        CheckConstraint(
            "claim_accepted IS NOT TRUE OR claim_way = 'in_person'"
            " OR account_reference IS NOT NULL",
            name="accepted_where",
        ),
        CheckConstraint(
            "(claim_accepted IS FALSE) = (claim_refusal IS NOT NULL)", name="refused_why"
        ),
        CheckConstraint("(state = 'bounced') = (bounce_reason IS NOT NULL)", name="bounced_why"),
        CheckConstraint(
            "state <> 'paid' OR bank_reference IS NOT NULL", name="paid_with_reference"
        ),
        Index(
            "uq_payout_lines_refund_id",
            "refund_id",
            unique=True,
            postgresql_where=text("state IN ('listed', 'batched', 'paid')"),
        ),
        Index(None, "subject_id"),
        Index(None, "batch_id"),
        Index(None, "state", "owed_since", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    subject_id: Mapped[UUID]
    """The closing that it is for."""
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    refund_id: Mapped[UUID | None] = mapped_column(ForeignKey("channel_refunds.id"))
    """The refund that its channel could not send; None for what went to no channel."""
    follows_id: Mapped[UUID | None] = mapped_column(ForeignKey("payout_lines.id"))
    """The line that bounced."""
    amount_fen: Mapped[Fen]
    state: Mapped[PayoutLineState]
    batch_id: Mapped[UUID | None] = mapped_column(ForeignKey("payout_batches.id"))
    bank_reference: Mapped[str | None]
    bounce_reason: Mapped[str | None]
    owed_since: Mapped[datetime]
    """When the first of its lines was listed: how long nobody could be paid."""
    listed_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    claim_id: Mapped[UUID | None] = mapped_column(unique=True)
    """Made by the holder's phone, of a line that comes after a bounced one."""
    claim_way: Mapped[ClaimWay | None]
    claimed_at: Mapped[datetime | None]
    claim_accepted: Mapped[bool | None]
    """What finance answered; None where nobody claimed, or it waits: no batch takes it."""
    account_reference: Mapped[str | None]
    """Under which number finance keeps the new account (账户登记号); no number of an account."""
    claim_refusal: Mapped[str | None]
    answered_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    answered_at: Mapped[datetime | None]

    @property
    def claim_waits(self) -> bool:
        """Whether finance has a claim to answer (待答复)."""
        return self.claim_id is not None and self.claim_accepted is None
