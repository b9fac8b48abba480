"""The holder's inbox (消息), and the messages (订阅消息) that also go to their platform account."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class HolderNotice(Base):
    """One thing that the holder is told."""

    __tablename__ = "holder_notices"
    __table_args__ = (
        Index(None, "holder_id", "written_by", "id"),
        Index(None, "at", postgresql_using="brin"),  # for the job that deletes old ones
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    kind: Mapped[str]
    facts: Mapped[dict[str, Any]]
    at: Mapped[datetime]
    written_by: Mapped[int] = mapped_column(
        BigInteger, server_default=text("pg_current_xact_id()::text::bigint")
    )
    """The transaction that wrote it: readers stop below the oldest one still running."""


class InboxMark(Base):
    """How far a holder has read their inbox: a place in it, which only moves on."""

    __tablename__ = "inbox_marks"

    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"), primary_key=True)
    written_by: Mapped[int] = mapped_column(BigInteger)
    notice_id: Mapped[UUID]


class MessageConsent(Base):
    """What a holder answered when their platform asked whether we may write to them (订阅授权)."""

    __tablename__ = "message_consents"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    accepted: Mapped[list[Any]]
    rejected: Mapped[list[Any]]
    """Template ids, both."""
    at: Mapped[datetime]


class SubscriptionCredit(Base):
    """How many messages of one template a platform account still lets us send (订阅次数).

    Counted by us: WeChat tells nobody.
    """

    __tablename__ = "subscription_credits"
    __table_args__ = (
        CheckConstraint("credits >= 0", name="never_below_zero"),
        Index(None, "holder_id"),
    )

    account_index: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    template_id: Mapped[str] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    platform: Mapped[str]
    account_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    kinds: Mapped[list[Any]]
    """The kinds of notice that this template told of when the holder agreed to it."""
    long_term: Mapped[bool]
    """长期订阅: a message uses nothing up."""
    credits: Mapped[int]
    agreed_at: Mapped[datetime]


class MessageState(StrEnum):
    """How far a message has come."""

    DUE = "due"
    """待发送"""
    SENDING = "sending"
    """发送中: committed before the platform is called, so it is never called twice in doubt"""
    SENT = "sent"
    """已发送"""
    REFUSED = "refused"
    """被拒绝: surely not sent"""
    UNKNOWN = "unknown"
    """结果不明: may have been sent, so it is not sent again"""
    DROPPED = "dropped"
    """已放弃: too late, or no longer wanted; never sent"""


class NoticeMessage(Base):
    """A notice on its way to the holder's platform account.  The outbox (发件箱)."""

    __tablename__ = "notice_messages"
    __table_args__ = (
        Index(
            "ix_notice_messages_due",
            "due_at",
            postgresql_where=text("state IN ('due', 'sending')"),
        ),
        Index(None, "holder_id"),
        Index(None, "written_at"),
        CheckConstraint(
            "(state IN ('due', 'sending')) = (account_sealed IS NOT NULL)",
            name="ended_ones_forget_the_account",
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    platform: Mapped[str]
    account_index: Mapped[bytes] = mapped_column(LargeBinary)
    account_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    template_id: Mapped[str]
    kind: Mapped[str]
    facts: Mapped[dict[str, Any]]
    state: Mapped[MessageState]
    code: Mapped[str | None]
    """Why it was refused, dropped or is unknown: the platform's own code, or a word of ours."""
    tries: Mapped[int]
    due_at: Mapped[datetime]
    """When to send it; of one being sent, when nobody can be at it any more."""
    written_at: Mapped[datetime]
    tried_at: Mapped[datetime | None]
