"""Operators (操作员): the card centre's staff, and their sessions."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class Role(StrEnum):
    """What an operator answers for, regulation 一(二)–(五)."""

    CARD_CENTRE = "card_centre"
    """卡中心"""
    FINANCE = "finance"
    """计划财务处"""
    LOGISTICS = "logistics"
    """后勤保卫处"""
    ACADEMIC = "academic"
    """教务处"""
    STUDENT_AFFAIRS = "student_affairs"
    """学生工作处"""
    PERSONNEL = "personnel"
    """人事处"""
    AUDITOR = "auditor"
    """审计"""
    SYSTEM_ADMINISTRATOR = "system_administrator"
    """系统管理员: who may work here, and as what; moves no money and sees no holder"""


class OperatorState(StrEnum):
    """Whether an operator may sign in."""

    INVITED = "invited"
    """待启用: has yet to set a password and a second factor, for the first time or anew"""
    ACTIVE = "active"
    SUSPENDED = "suspended"
    """停用"""


class Operator(Base):
    """One person of the staff."""

    __tablename__ = "operators"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    role: Mapped[Role]
    state: Mapped[OperatorState]
    password_hash: Mapped[str | None]
    """argon2id; None until the person has set one."""
    totp_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    last_totp_step: Mapped[int]
    """The newest step that was used: a code logs in once."""


class OperatorTry(Base):
    """A login that failed, counted per user name."""

    __tablename__ = "operator_tries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username_index: Mapped[bytes] = mapped_column(LargeBinary, index=True)
    at: Mapped[datetime]


class OperatorSession(Base):
    """A login: 15 minutes idle, 8 hours at most."""

    __tablename__ = "operator_sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    operator_id: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime]
    """When the person last showed a one-time code: what moves money or shows names asks for it."""
    used_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class ChangeKind(StrEnum):
    """What is to become of an operator's access."""

    APPOINT = "appoint"
    """任用"""
    CHANGE_ROLE = "change_role"
    """换岗"""
    SUSPEND = "suspend"
    """停用: the one that takes one person only, and holds at once"""
    RESUME = "resume"
    """复用"""
    RECOVER = "recover"
    """重置: a lost second factor or password is set anew"""


class OperatorChange(Base):
    """A change of an operator's access (权限变更), made by one person, approved by another."""

    __tablename__ = "operator_changes"
    __table_args__ = (
        CheckConstraint("approved_by <> made_by", name="another_person_approves"),
        CheckConstraint(
            "made_by <> operator_id AND approved_by <> operator_id", name="nobody_for_himself"
        ),
        CheckConstraint(
            "approved IS NOT TRUE OR approved_by IS NOT NULL OR kind = 'suspend'",
            name="two_people",
        ),
        Index(
            "uq_operator_changes_waiting",
            "operator_id",
            unique=True,
            postgresql_where=text("approved IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    operator_id: Mapped[UUID] = mapped_column(index=True)
    """Who it is about; not there yet while an appointment waits."""
    kind: Mapped[ChangeKind]
    username: Mapped[str | None]
    """Of an appointment, as is the name."""
    name: Mapped[str | None]
    role: Mapped[Role | None]
    """Of an appointment and a change of role: the role from then on."""
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]
    approved: Mapped[bool | None]
    """None while it waits for the second person."""
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    decided_at: Mapped[datetime | None]


class OperatorEnrolment(Base):
    """One token with which a person sets password and second factor (启用凭据), 15 minutes long."""

    __tablename__ = "operator_enrolments"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    operator_id: Mapped[UUID] = mapped_column(ForeignKey("operators.id"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    issued_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    """None for those that the command line gave out."""
    expires_at: Mapped[datetime]
    password_hash: Mapped[str | None]
    totp_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    ended_at: Mapped[datetime | None]
    """Used, or replaced by a newer one."""
