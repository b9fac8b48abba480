"""The holder's inbox (消息): what happened to my codes and my money."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class HolderNotice(Base):
    """One thing that the holder is told."""

    __tablename__ = "holder_notices"
    __table_args__ = (Index(None, "holder_id", "written_by", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    kind: Mapped[str]
    facts: Mapped[dict[str, Any]]
    at: Mapped[datetime]
    written_by: Mapped[int] = mapped_column(
        BigInteger, server_default=text("pg_current_xact_id()::text::bigint")
    )
    """The transaction that wrote it: readers stop below the oldest one still running."""
