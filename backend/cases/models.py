"""Reviews (复核): what a person decided about what was told late."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


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
