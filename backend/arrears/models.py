"""Arrears (欠费): what a holder owes the school because a purse held too little."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.money import Fen


class Arrears(Base):
    """What one charge left unpaid.  Money that comes in pays the oldest first."""

    __tablename__ = "arrears"
    __table_args__ = (
        CheckConstraint(
            "least(paid_fen, written_off_fen) >= 0 AND amount_fen > 0"
            " AND paid_fen + written_off_fen <= amount_fen",
            name="paid_within",
        ),
        CheckConstraint(
            "(paid_fen + written_off_fen = amount_fen) = (settled_at IS NOT NULL)",
            name="settled_when",
        ),
        Index(
            "ix_arrears_open",
            "holder_id",
            "opened_at",
            postgresql_where=text("settled_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    charge_id: Mapped[UUID] = mapped_column(unique=True)
    amount_fen: Mapped[Fen]
    paid_fen: Mapped[Fen]
    written_off_fen: Mapped[Fen] = mapped_column(server_default=text("0"))
    """What the school gave up (核销)."""
    facts: Mapped[dict[str, Any]]
    """Of the charge, for the statement: place, reference, when the till decided."""
    opened_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]

    @property
    def open_fen(self) -> Fen:
        """What is still owed."""
        return Fen(self.amount_fen - self.paid_fen - self.written_off_fen)
