"""Merchants (商户) and their stalls (窗口)."""

from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class Merchant(Base):
    """Who sells on campus."""

    __tablename__ = "merchants"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    is_canteen: Mapped[bool]
    """Only canteens (食堂) take the meal surcharge."""


class Stall(Base):
    """A place at which a merchant sells."""

    __tablename__ = "stalls"
    __table_args__ = (UniqueConstraint("merchant_id", "name"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    merchant_id: Mapped[UUID] = mapped_column(ForeignKey("merchants.id"))
    name: Mapped[str]
