"""Accounts (账户) and the transfers (分录) between them."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.money import Fen


class AccountKind(StrEnum):
    """What an account stands for."""

    MAIN_PURSE = "main_purse"
    """A holder's own money (主钱包)."""
    SUBSIDY_PURSE = "subsidy_purse"
    """Subsidies given to a holder (补贴钱包): spent first, never refunded."""
    MERCHANT = "merchant"
    """What the school owes a merchant (商户)."""
    SURCHARGE = "surcharge"
    """Meal surcharge (搭伙费) collected."""
    CHANNEL = "channel"
    """What a payment channel (渠道) has brought in and still holds; runs negative by design."""
    SUBSIDY_FUND = "subsidy_fund"
    """Where subsidies (补贴) come from; runs negative by design."""
    ARREARS = "arrears"
    """What holders owe (欠费) for charges that their purses could not pay; runs negative."""
    RISK = "risk"
    """What the school bears (风险金), as charges after a loss report; runs negative by design."""
    REFUNDS_DUE = "refunds_due"
    """Money on its way back (待退款): out of a purse, or never credited, and not yet sent."""
    CASH = "cash"
    """Cash in the drawers of open shifts (现金); runs negative, as what a channel holds does."""
    CASH_DIFFERENCE = "cash_difference"
    """What drawers held too much or too little (长短款) when they were counted."""
    BANK = "bank"
    """The school's bank account (银行存款): counted cash goes in, payouts by hand come out."""
    CARD_FEES = "card_fees"
    """Card fees (工本费) taken from purses."""
    WRITTEN_OFF = "written_off"
    """Arrears that the school gave up (核销欠费), its loss; runs negative by design."""


class Account(Base):
    """One account of the double-entry ledger.

    Only a purse stores a balance, because only a purse may refuse.  Every other account is the sum
    of its transfers, so a busy merchant is no busy row.

    A holder's main purse also repeats the virtual card's alias and state.  The foreign key keeps
    them equal (ON UPDATE CASCADE), so the debit finds card, state and balance in one locked row,
    and no charge slips between a loss report and its effect.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("balance_fen >= 0", name="purse_not_negative"),
        CheckConstraint(
            "(kind IN ('main_purse', 'subsidy_purse')) = (balance_fen IS NOT NULL)",
            name="only_purses_store_a_balance",
        ),
        CheckConstraint("card_id IS NULL OR kind = 'main_purse'", name="card_on_main_purse"),
        ForeignKeyConstraint(
            ["card_id", "card_alias", "card_state"],
            ["cards.id", "cards.alias", "cards.state"],
            name="fk_accounts_card",
            onupdate="CASCADE",
        ),
        UniqueConstraint("holder_id", "kind"),
        UniqueConstraint("kind", "name"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[AccountKind]
    name: Mapped[str | None]
    """Tells accounts of one kind apart where no holder or merchant does, such as `wechat`."""
    holder_id: Mapped[UUID | None] = mapped_column(ForeignKey("holders.id"))
    merchant_id: Mapped[UUID | None] = mapped_column(ForeignKey("merchants.id"), unique=True)
    balance_fen: Mapped[Fen | None]
    """Credits less debits.  Equal to the sum over `transfers`; `prove-ledger` shows it."""
    card_id: Mapped[UUID | None]
    card_alias: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    card_state: Mapped[str | None]


class TransferKind(StrEnum):
    """Why money moved."""

    CHARGE = "charge"
    """消费"""
    SURCHARGE = "surcharge"
    """搭伙费"""
    CHARGE_REVERSAL = "charge_reversal"
    """冲正"""
    SURCHARGE_REVERSAL = "surcharge_reversal"
    TOP_UP = "top_up"
    """充值"""
    SUBSIDY = "subsidy"
    """补贴"""
    ARREARS = "arrears"
    """补缴欠费: out of a main purse, for what the school had laid out"""
    ARREARS_CASH = "arrears_cash"
    """现金补缴欠费: of a closed account, past its purses"""
    ARREARS_CASH_REVERSAL = "arrears_cash_reversal"
    """现金补缴冲正"""
    ARREARS_WRITTEN_OFF = "arrears_written_off"
    """核销欠费: of a closed account, by two people"""
    REFUND = "refund"
    """退款: out of a main purse, to be sent back where it came from"""
    REFUND_RETURNED = "refund_returned"
    """退款退回: could not be sent, back into the purse"""
    REFUND_SENT = "refund_sent"
    """退款到账: the channel says that the payer has it"""
    REFUND_PAYOUT = "refund_payout"
    """线下退款: paid by hand, because the channel could not"""
    STRAY_PAYMENT = "stray_payment"
    """多付款: came in through a channel and belongs to no purse; it goes back"""
    CASH_TOP_UP = "cash_top_up"
    """现金充值"""
    CASH_TOP_UP_REVERSAL = "cash_top_up_reversal"
    """现金充值冲正"""
    CASH_HANDED_IN = "cash_handed_in"
    """交款: counted cash, from the drawer to the bank"""
    CASH_DIFFERENCE = "cash_difference"
    """长短款: what the count of a drawer was off by"""
    CARD_FEE = "card_fee"
    """工本费: for a card in place of a lost one"""
    CLOSING = "closing"
    """销户退余额: what a closing account had left, to be paid back"""
    SUBSIDY_WITHDRAWN = "subsidy_withdrawn"
    """补贴收回: back to the fund, because the account closes or the subsidy was a mistake"""
    SURCHARGE_RETURNED = "surcharge_returned"
    """搭伙费退回: more was taken than the regulation asks for"""
    CORRECTION = "correction"
    """更正: between a purse and another account, proposed and approved by two people"""


class Transfer(Base):
    """One debit, one credit, one amount: balanced by construction, never changed, never deleted.

    The accounts are not foreign keys: a reference would lock the merchant's row in every charge.
    `post_transfer` refuses an account that does not exist, and `prove-ledger` looks again.
    """

    __tablename__ = "transfers"
    __table_args__ = (
        CheckConstraint("amount_fen BETWEEN 1 AND 100000000", name="amount_within_bounds"),
        CheckConstraint("debit_account_id <> credit_account_id", name="two_accounts"),
        # One movement of one subject happens once, whatever the callers do.
        UniqueConstraint("subject_id", "kind", "debit_account_id", "credit_account_id"),
        Index(None, "debit_account_id", "posted_at"),
        Index(None, "credit_account_id", "posted_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[TransferKind]
    subject_id: Mapped[UUID]
    """The charge, reversal, top-up or subsidy that this belongs to; a payment of arrears stands
    for itself."""
    debit_account_id: Mapped[UUID]
    credit_account_id: Mapped[UUID]
    amount_fen: Mapped[Fen]
    facts: Mapped[dict[str, Any]]
    """What a statement (流水) shows beside the amount: place, channel, reference."""
    posted_at: Mapped[datetime]
    business_date: Mapped[date]
