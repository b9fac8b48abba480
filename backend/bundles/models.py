"""Bundles (终端数据包) that terminals were given."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class TerminalBundle(Base):
    """One bundle of one terminal: which sections it had, to tell what has changed since."""

    __tablename__ = "terminal_bundles"

    terminal_id: Mapped[UUID] = mapped_column(ForeignKey("terminals.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Only grows; a scanner takes none that is not above its own."""
    sections: Mapped[dict[str, Any]]
    """The hash of each section, by its name."""
    issued_at: Mapped[datetime]
