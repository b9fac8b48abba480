"""Holders (持卡人), their bindings to platform accounts, and their sessions."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class Category(StrEnum):
    """What kind of holder, by the regulation's 二(三)–(六)."""

    STUDENT = "student"
    """学生"""
    NEW_STUDENT = "new_student"
    """新生: a student in the first three months"""
    STAFF = "staff"
    """教工"""
    TEMPORARY_RETIRED = "temporary_retired"
    """临时·退休教职工"""
    TEMPORARY_TRAINEE = "temporary_trainee"
    """临时·培训学员"""
    TEMPORARY_OUTSIDER = "temporary_outsider"
    """临时·校外人员"""


class Holder(Base):
    """A person on the roster (名册).

    Of the ID document only keyed hashes are kept: of the whole number, and of its last six
    characters (under the holder number, so equal endings do not show).
    """

    __tablename__ = "holders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_number: Mapped[str] = mapped_column(unique=True)
    """学工号"""
    name: Mapped[str]
    category: Mapped[Category]
    unit: Mapped[str]
    """Class (班级) of a student, department (部门) of others."""
    document_index: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    document_tail_index: Mapped[bytes] = mapped_column(LargeBinary)
    pays_surcharge: Mapped[bool]
    """Whether meals cost the meal surcharge (搭伙费) on top: some temporary holders, 三(七)."""
    valid_until: Mapped[date]
    """The last day of the card's life."""
    per_charge_limit_fen: Mapped[int | None]
    """The holder's own limits (限额); None leaves only the school's."""
    per_day_limit_fen: Mapped[int | None]
    raised_limits: Mapped[dict[str, Any] | None]
    """Higher limits that the holder asked for: they hold `from` the next day on."""
    payment_paused: Mapped[bool] = mapped_column(server_default=text("false"))


class BindingState(StrEnum):
    """How far a real-name binding (实名绑定) has come, regulation 五(一)."""

    IDENTITY_VERIFIED = "identity_verified"
    """The person was found on the roster; the payment account is not yet shown to be theirs."""
    ACTIVE = "active"
    ENDED = "ended"


class Binding(Base):
    """One platform account bound to one holder.  Both have at most one live binding."""

    __tablename__ = "bindings"
    __table_args__ = (
        Index(
            "uq_bindings_live_holder",
            "holder_id",
            unique=True,
            postgresql_where=text("state <> 'ended'"),
        ),
        Index(
            "uq_bindings_live_account",
            "account_index",
            unique=True,
            postgresql_where=text("state <> 'ended'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    account_index: Mapped[bytes] = mapped_column(LargeBinary)
    platform: Mapped[str]
    state: Mapped[BindingState]
    terms_version: Mapped[str]
    identity_verified_at: Mapped[datetime]
    activated_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class BindingTry(Base):
    """One attempt at the identity step, counted per platform account and per holder number."""

    __tablename__ = "binding_tries"
    __table_args__ = (Index(None, "account_index", "at"), Index(None, "holder_number_index", "at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_index: Mapped[bytes] = mapped_column(LargeBinary)
    holder_number_index: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime]


class HolderSession(Base):
    """A login of a platform account.  Its token is opaque and dies at once when the row ends."""

    __tablename__ = "holder_sessions"
    __table_args__ = (Index(None, "account_index"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    platform: Mapped[str]
    account_index: Mapped[bytes] = mapped_column(LargeBinary)
    account_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    """The platform's account id, for calls back to that platform."""
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    identity_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Name and document between the two steps of binding, readable only with the bearer token."""
    identity_sealed_at: Mapped[datetime | None]
