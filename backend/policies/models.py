"""Policies (规定): every number or switch that the card centre may change, as dated rows."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
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
