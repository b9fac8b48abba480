"""What people decide: reviews (复核), write-offs (核销), signals of lending (出借迹象)."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.money import Fen


class Ruling(StrEnum):
    """What a person can decide about a late upload."""

    CHARGE_HOLDER = "charge_holder"
    """由持卡人承担: it is posted to the holder, as arrears where the purses hold too little"""
    CHARGE_RISK = "charge_risk"
    """由学校承担: it is posted to the risk account"""
    REJECT = "reject"
    """不予入账: nothing is posted, the merchant bears it"""
    ACCEPT = "accept"
    """知悉: what is recorded stays as it is"""


class Resolution(Base):
    """How a review ended.  Made once, never changed; the operation log says the same."""

    __tablename__ = "resolutions"

    upload_id: Mapped[UUID] = mapped_column(ForeignKey("late_uploads.id"), primary_key=True)
    ruling: Mapped[Ruling]
    reason: Mapped[str]
    operator_id: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    resolved_at: Mapped[datetime]


class WriteOff(Base):
    """What a closed account owes, given up (核销欠费): one of finance proposes, another decides."""

    __tablename__ = "arrears_write_offs"
    __table_args__ = (
        CheckConstraint("amount_fen > 0", name="amount_positive"),
        CheckConstraint("approved_by <> made_by", name="two_people"),
        CheckConstraint(
            "(approved IS NULL) = (approved_by IS NULL)"
            " AND (approved IS NULL) = (decided_at IS NULL)",
            name="decided_whole",
        ),
        Index(None, "holder_id"),
        Index(
            "uq_arrears_write_offs_waits",
            "holder_id",
            unique=True,
            postgresql_where=text("approved IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    amount_fen: Mapped[Fen]
    """All that was owed when it was proposed."""
    reason: Mapped[str]
    document: Mapped[str]
    """The number of the paper that allows it (文号)."""
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]
    approved: Mapped[bool | None]
    """None while it waits for the second person; a refused one makes room for the next."""
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    decided_at: Mapped[datetime | None]


class SignalKind(StrEnum):
    """What looks as if a card were lent (出借迹象)."""

    SEVERAL_PEOPLE = "several_people"
    """一部手机先后绑定多人"""
    TWO_PLACES = "two_places"
    """一分钟内两地使用"""


class SignalOutcome(StrEnum):
    """What a person made of a signal.  Nothing follows from it by itself."""

    HARMLESS = "harmless"
    """无异常"""
    REMINDED = "reminded"
    """已提醒本人"""


class LendingSignal(Base):
    """Something that looks as if a card were lent, for a person to look at, 二(三)."""

    __tablename__ = "lending_signals"
    __table_args__ = (
        CheckConstraint(
            "(outcome IS NULL) = (reason IS NULL) AND (outcome IS NULL) = (decided_by IS NULL)"
            " AND (outcome IS NULL) = (decided_at IS NULL)",
            name="decided_whole",
        ),
        Index(None, "found_at", "id"),
        Index(None, "holder_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[SignalKind]
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    """Whose card it is; of several people the one who was bound last."""
    key: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    """Hash of what was seen: the same is listed once."""
    uses: Mapped[list[Any]]
    """Of two places: both, each with `place`, `at` and `reference`."""
    holder_ids: Mapped[list[Any]]
    """Of several people: all of them, the one who was bound last at the end."""
    seen_at: Mapped[datetime]
    found_at: Mapped[datetime]
    outcome: Mapped[SignalOutcome | None]
    reason: Mapped[str | None]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    decided_at: Mapped[datetime | None]
