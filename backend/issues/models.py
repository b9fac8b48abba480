"""Issue batches (发卡批次): whose cards are handed out together, and how it went for each."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class BatchKind(StrEnum):
    """What is handed out."""

    FIRST = "first"
    """首次发卡: the card that was opened for each person, free of charge"""
    EXCHANGE = "exchange"
    """换卡: a student card for each new-student card, free of charge"""


class Outcome(StrEnum):
    """How the handing out went for one person."""

    HANDED_OUT = "handed_out"
    """已领取"""
    NOT_COLLECTED = "not_collected"
    """未报到: the person never came, and the card is void without ever having been active"""
    DEFERRED = "deferred"
    """缓领: on leave, or away; the card can still be handed out, also after the batch is closed"""


class DeferralReason(StrEnum):
    """Why somebody gets the card later."""

    ON_LEAVE = "on_leave"
    """休学"""
    AWAY = "away"
    """外出实习或请假"""
    OTHER = "other"
    """其他"""


class Signature(StrEnum):
    """Who signed for a card."""

    SELF = "self"
    """本人签收"""
    PROXY = "proxy"
    """代领"""


class IssueBatch(Base):
    """The cards of one class or department, handed out together."""

    __tablename__ = "issue_batches"
    __table_args__ = (Index(None, "made_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[BatchKind]
    unit: Mapped[str]
    """Class (班级) or department (部门)."""
    note: Mapped[str | None]
    due_on: Mapped[date | None]
    """Of an exchange: the day on which the class was due."""
    policy_ids: Mapped[list[Any]]
    made_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    """None: proposed by the system, on the day."""
    made_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    """When the last item had an outcome."""


class IssueItem(Base):
    """One person of a batch.  Nobody waits in two batches of a kind."""

    __tablename__ = "issue_items"
    __table_args__ = (
        Index(
            "uq_issue_items_waiting",
            "holder_id",
            "kind",
            unique=True,
            postgresql_where=text("outcome IS NULL OR outcome = 'deferred'"),
        ),
    )

    batch_id: Mapped[UUID] = mapped_column(ForeignKey("issue_batches.id"), primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"), primary_key=True)
    kind: Mapped[BatchKind]
    due_on: Mapped[date | None]
    """Of an exchange: this person's own day."""
    outcome: Mapped[Outcome | None]
    """The newest decision's; None while the card waits."""


class IssueDecision(Base):
    """What happened to an item: signed for (签收), not collected, deferred.  Never changed."""

    __tablename__ = "issue_decisions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["batch_id", "holder_id"],
            ["issue_items.batch_id", "issue_items.holder_id"],
            name="fk_issue_decisions_item",
        ),
        Index(None, "batch_id", "holder_id"),
        Index(None, "holder_id"),
        CheckConstraint(
            "(outcome = 'handed_out') = (signed_by IS NOT NULL)"
            " AND (signed_by IS NULL) = (signature IS NULL)",
            name="receipt_is_signed",
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    batch_id: Mapped[UUID]
    holder_id: Mapped[UUID]
    outcome: Mapped[Outcome]
    signature: Mapped[Signature | None]
    signed_by: Mapped[str | None]
    """The name on the receipt (签收人)."""
    documents: Mapped[list[Any]]
    """Kinds of papers that were checked."""
    reason: Mapped[DeferralReason | None]
    note: Mapped[str | None]
    card_id: Mapped[UUID] = mapped_column(ForeignKey("cards.id"))
    """The card that was handed out or made void; of a deferral, the one that waits."""
    replaced_card_id: Mapped[UUID | None] = mapped_column(ForeignKey("cards.id"))
    """Of an exchange: the new-student card, void since."""
    decided_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    decided_at: Mapped[datetime]
