"""Late uploads (脱机上送): what terminals decided without network, as they tell it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.money import Fen
from backend.uploads.rules import Outcome, UploadKind


class LateUpload(Base):
    """One decision of a terminal without network, under the id that the terminal made.

    The row is the answer: every repeat reads it back.  What the device claims stands beside what
    the server knows, never instead of it (F5).  The text of the code is not kept.
    """

    __tablename__ = "late_uploads"
    __table_args__ = (
        Index(
            "uq_late_uploads_sequence",
            "terminal_id",
            "enrolled_at",
            "sequence",
            unique=True,
            postgresql_where=text("outcome <> 'sequence-reused'"),
        ),
        Index(None, "terminal_id", "decided_at"),
        Index(
            "ix_late_uploads_review",
            "received_at",
            "id",
            postgresql_where=text("needs_review"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[UploadKind]
    terminal_id: Mapped[UUID] = mapped_column(ForeignKey("terminals.id"))
    enrolled_at: Mapped[datetime]
    """Of the device that tells: the next one at the same place counts from 1 again."""
    sequence: Mapped[int] = mapped_column(BigInteger)
    """Its place among all that the device decided alone, from 1, without gaps (F3)."""
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    """Of all that was said, to tell a repeat from a reused id."""
    place: Mapped[str]
    holder_id: Mapped[UUID | None] = mapped_column(ForeignKey("holders.id"))
    code_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    code_fault: Mapped[str | None]
    """What was wrong with the code at the device's time, as `CodeError.code`."""
    accepted: Mapped[bool]
    """Whether the gate opened, or the till took the money."""
    reason: Mapped[str | None]
    """The device's: why not, or what stood against it."""
    amount_fen: Mapped[Fen | None]
    note: Mapped[str | None]
    caps: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Of a charge: the limits that held at the device's time."""
    policy_ids: Mapped[list[Any]]
    """The rows that it was judged by, those of the device's time among them."""
    bundle_sequence: Mapped[int | None] = mapped_column(BigInteger)
    """The bundle that the device went by."""
    decided_at: Mapped[datetime]
    """By the device's clock: a claim."""
    received_at: Mapped[datetime]
    outcome: Mapped[Outcome]
    conflicts: Mapped[list[Any]]
    """Words of `Conflict`, the gravest first; one that shows later is added at the end."""
    needs_review: Mapped[bool]
    record_id: Mapped[UUID | None]
    """The passage or charge that it became; null for a charge that is not posted."""
    reference: Mapped[str] = mapped_column(index=True)
