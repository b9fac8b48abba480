"""Charges (消费): what a card code paid for, and what was given back."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.money import Fen


class ChargeState(StrEnum):
    """How a charge ended.  It is decided at once; only an approved one can still be voided."""

    APPROVED = "approved"
    """已扣款"""
    DECLINED = "declined"
    """已拒绝"""
    VOIDED = "voided"
    """已撤销: also the tombstone that a void leaves when it comes first"""


class Charge(Base):
    """One sale, under the id that the till made before it first sent it.

    The row is the answer: every retry reads it back.  Written by `post_charge`, by
    `late.post` for what was taken without network, and by the void and reversals for the columns
    that they own.
    """

    __tablename__ = "charges"
    __table_args__ = (
        Index(None, "holder_id", "charged_at"),
        Index(None, "terminal_id", "charged_at"),
        CheckConstraint(
            "state = 'voided' OR amount_fen IS NOT NULL", name="only_tombstones_lack_an_amount"
        ),
        CheckConstraint(
            "reversed_fen BETWEEN 0 AND coalesce(amount_fen, 0)"
            " AND surcharge_reversed_fen BETWEEN 0 AND surcharge_fen",
            name="reversed_within_charged",
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    terminal_id: Mapped[UUID] = mapped_column(ForeignKey("terminals.id"))
    merchant_id: Mapped[UUID]
    place: Mapped[str]
    content_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Of all that the till sent, to tell a retry from a reused id."""
    state: Mapped[ChargeState]
    reason: Mapped[str | None]
    """The code of the refusal when declined."""
    facts: Mapped[dict[str, Any]]
    """The facts of the refusal; of a late charge, when the till decided."""
    holder_id: Mapped[UUID | None] = mapped_column(ForeignKey("holders.id"))
    """Who pays.  Null: nobody is known, or the school's risk account bears it."""
    name_masked: Mapped[str | None]
    category: Mapped[str | None]
    amount_fen: Mapped[Fen | None]
    """The price."""
    surcharge_fen: Mapped[Fen]
    from_subsidy_fen: Mapped[Fen]
    """How much of price and surcharge came out of the subsidy purse."""
    reversed_fen: Mapped[Fen]
    surcharge_reversed_fen: Mapped[Fen]
    balance_fen: Mapped[Fen | None]
    """Both purses after the charge."""
    note: Mapped[str | None]
    policy_ids: Mapped[list[Any]]
    charged_at: Mapped[datetime]
    business_date: Mapped[date]
    reference: Mapped[str] = mapped_column(index=True)


class ChargeReversal(Base):
    """Money given back for a charge (冲正), whole or in part."""

    __tablename__ = "charge_reversals"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    charge_id: Mapped[UUID] = mapped_column(ForeignKey("charges.id"), index=True)
    amount_fen: Mapped[Fen]
    surcharge_fen: Mapped[Fen]
    reversed_at: Mapped[datetime]
    reference: Mapped[str] = mapped_column(index=True)


class SurchargeRerating(Base):
    """A period whose meal surcharge is computed anew (搭伙费重算): what was too much goes back.

    Proposed by one person with its sums, approved by another, then paid by a job, charge by charge.
    """

    __tablename__ = "surcharge_reratings"
    __table_args__ = (
        CheckConstraint("approved_by <> made_by", name="another_person_approves"),
        CheckConstraint("first_day <= last_day", name="period"),
        Index(None, "made_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    first_day: Mapped[date]
    last_day: Mapped[date]
    """Included."""
    permille: Mapped[int | None]
    """The rate as it should have been; None: as the policies say of each moment."""
    flags: Mapped[bool]
    """Whether who pays the surcharge today should have paid it then, and nobody else."""
    document_number: Mapped[str]
    """文号"""
    reason: Mapped[str]
    return_charges: Mapped[int]
    return_fen: Mapped[Fen]
    """What goes back, of how many charges, as it was proposed."""
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    approved_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    """When all of it had gone back."""


class SurchargeReturn(Base):
    """Surcharge that went back for one charge, because it was too much: once in its life."""

    __tablename__ = "surcharge_returns"
    __table_args__ = (CheckConstraint("amount_fen > 0 AND due_fen >= 0", name="amounts"),)

    charge_id: Mapped[UUID] = mapped_column(ForeignKey("charges.id"), primary_key=True)
    rerating_id: Mapped[UUID] = mapped_column(ForeignKey("surcharge_reratings.id"), index=True)
    due_fen: Mapped[Fen]
    """What the surcharge on the whole price should have been: reversals go by it from then on."""
    amount_fen: Mapped[Fen]
    returned_at: Mapped[datetime]
