"""Policies (规定): every number or switch that the card centre may change, as dated rows."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class Policy(Base):
    """One rule, for the half-open period from `valid_from` up to `valid_until`."""

    __tablename__ = "policies"
    __table_args__ = (
        CheckConstraint("valid_until > valid_from", name="period"),
        Index(None, "key", "valid_from", unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str]
    value: Mapped[Any] = mapped_column(JSONB)
    document_number: Mapped[str]
    """The paper that decided it (文号)."""
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime | None]
    proposal_id: Mapped[UUID | None] = mapped_column(ForeignKey("policy_proposals.id"), index=True)
    """The proposal that brought it; None: a preset, adopted on the command line, or shipped."""


class ProposalState(StrEnum):
    """How far a proposal has come.  One that nobody approved within a day has lapsed."""

    WAITING = "waiting"
    """待批准"""
    APPROVED = "approved"
    """已批准"""
    WITHDRAWN = "withdrawn"
    """已撤回: before it took effect"""


class PolicyProposal(Base):
    """A change of policies (提议): one person makes it, another approves it as it stands."""

    __tablename__ = "policy_proposals"
    __table_args__ = (
        CheckConstraint("approved_by <> made_by", name="another_person_approves"),
        CheckConstraint(
            "(state = 'approved') <= (approved_by IS NOT NULL AND effective_at IS NOT NULL)",
            name="approved_by_somebody",
        ),
        CheckConstraint(
            "(state = 'withdrawn') = (withdrawn_by IS NOT NULL)", name="withdrawn_by_somebody"
        ),
        Index(None, "made_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    """Of what was asked for, to tell a retry from a reused id."""
    preset: Mapped[str | None]
    changes: Mapped[dict[str, Any]]
    """Key to value; those of a preset that changed something when it was proposed."""
    document_number: Mapped[str]
    """文号"""
    reason: Mapped[str | None]
    """Why (事由); None: it was made before reasons were asked for."""
    valid_from: Mapped[datetime | None]
    """When it is to take effect; None: when it is approved."""
    valid_until: Mapped[datetime | None]
    """When what held before holds again; None: it holds until something else is decided."""
    payload_hash: Mapped[bytes] = mapped_column(LargeBinary)
    """Of changes, paper and moment as proposed; compared when it is approved."""
    state: Mapped[ProposalState]
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    approved_at: Mapped[datetime | None]
    effective_at: Mapped[datetime | None]
    """Since when its rows hold, or will hold."""
    withdrawn_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    withdrawn_at: Mapped[datetime | None]
    withdrawn_reason: Mapped[str | None]
